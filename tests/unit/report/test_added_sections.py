"""Sections of other packages, found through the metadata of a distribution that is made up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backtester import analytics
from backtester.engine.result import Result
from backtester.report.added_sections import added_sections
from backtester.report.page import render_page
from tests.unit.report import sample

MODULE = '''
import plotly.graph_objects as go
import polars as pl

from backtester.report.section import Plot, Section
from backtester.report.table import Column, build


def hours(result):
    """Fills by hour of the day."""
    counts = result.fills.group_by(pl.col("time").dt.hour().alias("hour")).len().sort("hour")
    figure = go.Figure(go.Bar(x=counts["hour"].to_list(), y=counts["len"].to_list()))
    columns = [
        Column("hour", "Hour", lambda row: f"{row['hour']:02d}"),
        Column("len", "Fills", lambda row: str(row["len"])),
    ]
    return Section(
        id="hours",
        title="Fills by hour",
        short="Hours",
        lead="When orders fill, by hour of the day (UTC).",
        plots=(Plot("hours", "Bars of the fills of each hour.", figure),),
        tables=(build("hours", "Fills by hour", counts, columns),),
        context={"facts": [("most", "Most in an hour", str(counts["len"].max()))]},
    )


def nothing(result):
    return None


def raises(result):
    raise ValueError("<script>alert(1)</script> is no number")


def leaves(result):
    raise SystemExit(3)


def returns_text(result):
    return "text"


def unknown_template(result):
    return Section("x", "X", "X", "A lead.", template="../../etc/passwd")


def unknown_style(result):
    return Section("x", "X", "X", "A lead.", styles=("mine.css",))


def fails_when_drawn(result):
    return Section("x", "X", "X", "A lead.", plots=(Plot("x", "x", "no figure"),))


def odd_texts(result):
    name = "key figures' \\"><b>"
    return Section(name, "<b>bold</b>", "<i>i</i>", "<script>alert(2)</script>", context={"empty": "<u>none</u>"})


def takes_an_anchor(result):
    return Section("hours", "Hours again", "Again", "A lead.")


not_callable = 3
'''


@pytest.fixture(scope="module")
def result() -> Result:
    return analytics.complete(sample.make(1, 24 * 20))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Put a distribution with entry points where Python looks for them."""
    (tmp_path / "my_sections.py").write_text(MODULE, encoding="utf-8")
    info = tmp_path / "my_sections-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-sections\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(*names: str) -> None:
        lines = "".join(f"{name} = my_sections:{name}\n" for name in names)
        (info / "entry_points.txt").write_text(f"[backtester.report_sections]\n{lines}")

    yield install
    sys.modules.pop("my_sections", None)


def test_a_section_stands_behind_ours(install, result: Result) -> None:
    plain = render_page(result)
    install("hours", "nothing")
    (section,) = added_sections(result)
    assert (section.id, section.title) == ("added-hours", "Fills by hour")
    page = render_page(result)
    assert len(page) > len(plain)
    assert page.index('id="configuration"') < page.index('id="added-hours"')
    assert '<a href="#added-hours">Hours</a>' in page
    assert "When orders fill, by hour of the day (UTC)." in page
    assert 'data-plot="hours"' in page
    assert "--plot-height: 360px" in page
    assert 'data-table="hours"' in page
    assert "Most in an hour" in page


FAULTS = {
    "raises": "ValueError: &lt;script&gt;alert(1)&lt;/script&gt; is no number",
    "leaves": "SystemExit: 3",
    "returns_text": "it returned str, not a backtester.report.section.Section",
    "unknown_template": "TemplateNotFound",
    "unknown_style": "TemplateNotFound: mine.css",
    "fails_when_drawn": "no attribute &#39;layout&#39;",
    "not_callable": "TypeError",
    "missing": "AttributeError",
}


def test_one_that_fails_is_a_box_and_hides_nothing(install, result: Result) -> None:
    install(*FAULTS, "hours")
    page = render_page(result)
    assert page.count("data-added-error") == len(FAULTS)
    for name, words in FAULTS.items():
        box = page[page.index(f'id="added-{name.replace("_", "-")}"') :]
        box = box[: box.index("</section>")]
        assert words in box
        assert f"my_sections:{name}" in box
        assert "added by my-sections" in box
    assert 'id="added-hours"' in page
    assert 'id="configuration"' in page
    assert "<script>alert(1)" not in page


def test_texts_stay_texts_and_anchors_are_free(install, result: Result) -> None:
    install("odd_texts", "hours", "takes_an_anchor")
    page = render_page(result)
    assert "<b>bold" not in page
    assert "<script>alert(2)" not in page
    assert "<u>none" not in page
    assert 'id="added-key-figures-b"' in page
    assert [section.id for section in added_sections(result)] == ["added-hours", "added-key-figures-b", "added-hours-2"]
    assert added_sections(result, {"added-hours"})[0].id == "added-hours-2"


def test_without_any_there_is_none(result: Result) -> None:
    assert added_sections(result) == []
