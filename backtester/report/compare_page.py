"""The page of a comparison of runs: one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from backtester.analytics.comparison import Comparison
from backtester.errors import format_time
from backtester.report import numbers
from backtester.report.compare_metrics import known_metric, short_labels
from backtester.report.compare_sections import compare_sections
from backtester.report.html_file import write_html
from backtester.report.key_figures import Tile
from backtester.report.page import page_html

_BEST = (
    ("total_return", "Best return"),
    ("sharpe", "Best Sharpe ratio"),
    ("calmar", "Best Calmar ratio"),
    ("max_drawdown", "Smallest drawdown"),
)


def write_compare_page(comparison: Comparison, path: Path | str) -> Path:
    """Write the page of a comparison; it appears whole or not at all.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    return write_html(Path(path), render_compare_page(comparison))


def render_compare_page(comparison: Comparison) -> str:
    """Return the page of a comparison as HTML."""
    synthetic = comparison.runs["synthetic"]
    return page_html(
        title=_title(comparison),
        brand="Comparison",
        run=_facts(comparison),
        synthetic=bool(synthetic.all()),
        notices=comparison.notices,
        headline=_headline(comparison),
        sections=compare_sections(comparison),
    )


def _title(comparison: Comparison) -> str:
    strategies = comparison.runs["strategy"].unique(maintain_order=True).to_list()
    shown = ", ".join(numbers.shorten(one, 40) for one in strategies[:3])
    more = f" and {len(strategies) - 3} more" if len(strategies) > 3 else ""
    return f"{len(comparison.names)} runs of {shown}{more}"


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    span = comparison.common_span
    shared = (
        "none in common" if span is None else f"{format_time(span[0])} to {format_time(span[1])}".replace(" UTC", "")
    )
    if span is not None and not comparison.is_one_span:
        shared += ", shared by all"
    settles = comparison.runs["settle"].unique(maintain_order=True).to_list()
    return [
        ("Runs", str(len(comparison.names))),
        ("First run", short_labels(comparison)[comparison.names[0]]),
        ("Span (UTC)", shared),
        ("Settled in", ", ".join(numbers.shorten(one, 20) for one in settles)),
    ]


def _headline(comparison: Comparison) -> list[Tile]:
    """Return the best of each deciding metric, over the common span where the spans differ, and the correlation."""
    is_common = comparison.common_metrics.height > 0
    frame = comparison.common_metrics if is_common else comparison.metrics
    rows = {row["metric"]: row for row in frame.iter_rows(named=True)}
    labels = short_labels(comparison)
    tiles = []
    for key, title in _BEST:
        row = rows.get(key)
        if row is None:
            continue
        best = row["best"]
        value = row[best[0] if best else comparison.names[0]]  # without a best one all are alike or not defined
        text = known_metric(key, pl.Series([value], dtype=pl.Float64)).text(value)
        who = (
            f"{labels[best[0]]}" + (f" and {len(best) - 1} more" if len(best) > 1 else "")
            if best
            else "no one is better"
        )
        tiles.append(Tile(f"best_{key}", title, text, who))
    pairs = [
        comparison.correlation[name][place]
        for column, name in enumerate(comparison.names)
        for place in range(column)
        if comparison.correlation[name][place] is not None
    ]
    mean = sum(pairs) / len(pairs) if pairs else None
    tiles.append(
        Tile(
            "correlation",
            "Correlation" if len(pairs) <= 1 else "Mean correlation",
            numbers.decimal(mean, 2, signed=True),
            f"of daily returns, {len(pairs)} pair{'' if len(pairs) == 1 else 's'}",
        )
    )
    different = comparison.settings.height
    tiles.append(
        Tile("settings", "Settings that differ", numbers.count(different), f"{comparison.equal_settings:,} are equal")
    )
    return tiles
