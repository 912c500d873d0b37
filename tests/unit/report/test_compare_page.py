"""The text of a comparison's page, without a browser."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from backtester import analytics
from backtester.analytics.comparison import Comparison
from backtester.report.compare_metrics import GROUPS, difference_text, metric_grid
from backtester.report.compare_page import render_compare_page
from backtester.report.sweep_metrics import KNOWN, metric_of
from tests.unit.report import sample

HOSTILE = "<script>alert('x')</script>\"'&" + "long" * 2_500


@pytest.fixture(scope="module")
def found() -> Comparison:
    first, second = (analytics.complete(sample.make(1, 24 * 30, exposure=size)) for size in (0.6, 1.2))
    return Comparison.of([first, replace(second, run_id="second")])


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("total_return", 0.0123, "+1.23\u00a0pp"),
        ("sharpe", -0.5, "\u22120.50"),
        ("trades", 3.0, "+3"),
        ("fees", -1234.5, "\u22121,234.50"),
        ("average_holding_hours", 2.0, "+2.0\u00a0h"),
        ("sharpe", 0.0, ""),
        ("sharpe", None, ""),
    ],
)
def test_differences_have_a_sign_and_a_unit(key: str, value: float | None, text: str) -> None:
    assert difference_text(metric_of(key, is_whole=False), value, 2) == text


def test_every_row_has_a_name_and_a_cell_a_run(found: Comparison) -> None:
    grid = metric_grid(found)
    rows = [row for _, rows in grid.groups for row in rows]
    assert [name for name, _ in grid.groups] == list(GROUPS)
    assert {len(row.cells) for row in rows} == {2}
    assert {row.key for row in rows} <= {*KNOWN, *GROUPS["Orders"]}
    for row in rows:
        assert row.cells[0].note == ""  # the first is what the others are measured against


def test_stars_stand_where_the_comparison_has_them(found: Comparison) -> None:
    best = {row["metric"]: row["best"] for row in found.metrics.iter_rows(named=True)}
    for _, rows in metric_grid(found).groups:
        for row in rows:
            starred = [name for name, cell in zip(found.names, row.cells, strict=True) if cell.is_best]
            assert starred == best[row.key]


def test_hostile_texts_are_escaped_and_cut() -> None:
    base = analytics.complete(sample.make(1, 24 * 10))
    params = base.config.strategy.model_copy(update={"params": {HOSTILE: HOSTILE}})
    one = replace(base, run_id=HOSTILE, strategy_name=HOSTILE, strategy_source=HOSTILE)
    other = replace(base, run_id="b", config=base.config.model_copy(update={"strategy": params}), settle=HOSTILE)
    text = render_compare_page(Comparison.of([one, other]))
    body = text[text.index("<body>") :]
    assert "<script>alert" not in body
    assert "&lt;script&gt;alert" in body
    assert max(map(len, re.findall(r"(?:long)+", re.sub(r"<script.*?</script>", "", body, flags=re.DOTALL)))) < 500
