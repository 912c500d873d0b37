"""The figures of a comparison as text: which metrics, in which groups, the best marked, differences below."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from backtester.analytics.comparison import Comparison, is_money
from backtester.report import numbers
from backtester.report.sweep_metrics import Metric, metric_of

GROUPS: dict[str, tuple[str, ...]] = {
    "Returns": (
        "total_return", "annual_return", "net_profit", "volatility", "sharpe", "sortino", "calmar", "best_day",
        "worst_day", "positive_days", "days",
    ),
    "Risk": (
        "max_drawdown", "max_drawdown_days", "longest_drawdown_days", "worst_margin_ratio",
        "closest_liquidation_distance", "time_at_risk", "liquidations", "liquidation_steps",
    ),
    "Trades": (
        "trades", "open_trades", "hit_rate", "profit_factor", "average_trade", "average_win", "average_loss",
        "average_mae", "average_mfe", "average_holding_hours", "fills", "maker_share",
    ),
    "Costs and exposure": (
        "funding", "fees", "slippage", "liquidation", "mean_exposure", "mean_net_exposure", "turnover",
    ),
    "Orders": ("orders", "orders_filled", "orders_clipped", "orders_rejected", "orders_dropped"),
}  # fmt: skip
"""Metrics that the page and the terminal show; the JSON and the frames have all."""

SHORT = ("total_return", "sharpe", "max_drawdown", "trades", "funding", "liquidations")
"""Metrics of the overview of runs."""

LABEL_LENGTH = 28


@dataclass(frozen=True)
class GridCell:
    """One cell: its text, what stands below it, its sign where colour helps (-1, 0, 1), whether it is the best."""

    text: str
    note: str = ""
    tone: int = 0
    is_best: bool = False


@dataclass(frozen=True)
class GridRow:
    """One row of a grid of runs: its key, its heading and a cell for each run."""

    key: str
    label: str
    cells: list[GridCell]
    is_total: bool = False


@dataclass(frozen=True)
class Grid:
    """A table with a column a run.

    Attributes
    ----------
    name : str
        Identifier within the page.
    title : str
        Stands above the table; empty: nothing does.
    caption : str
        What a screen reader says first.
    corner : str
        Heading of the first column.
    columns : list of str
        Headings of the runs.
    groups : list of tuple of str and list
        Name and rows of each group; an empty name has no line of its own.
    is_text : bool
        Cells are texts that may be long, not figures.
    """

    name: str
    title: str
    caption: str
    corner: str
    columns: list[str]
    groups: list[tuple[str, list[GridRow]]] = field(default_factory=list)
    is_text: bool = False


def short_labels(comparison: Comparison) -> dict[str, str]:
    """Return the name of each run to a label that fits a heading."""
    return {run: numbers.shorten(label, LABEL_LENGTH) for run, label in comparison.labels.items()}


def known_metric(key: str, values: pl.Series) -> Metric:
    """Return how a metric of a comparison is written."""
    whole = bool((values.drop_nulls() % 1 == 0).all())
    return metric_of(key, is_whole=whole)


def metric_grid(comparison: Comparison, *, common: bool = False) -> Grid:
    """Return the table of metrics, of each run's own span or of the common one."""
    metrics = comparison.common_metrics if common else comparison.metrics
    differences = comparison.common_differences if common else comparison.differences
    names = comparison.names
    rows = {row["metric"]: row for row in metrics.iter_rows(named=True)}
    apart = {row["metric"]: row for row in differences.iter_rows(named=True)}
    digits = money_digits(comparison)
    groups = []
    for group, keys in GROUPS.items():
        lines = [_row(key, rows[key], apart[key], comparison, digits) for key in keys if key in rows]
        if lines:
            groups.append((group, lines))
    title = "" if comparison.is_one_span else "Over the common span" if common else "Each over its own span"
    caption = f"Metrics of {len(names)} runs" + (f", {title[0].lower()}{title[1:]}" if title else "")
    name = "common" if common else "own"
    return Grid(name, title, caption, "Metric", list(short_labels(comparison).values()), groups)


def money_digits(comparison: Comparison) -> int:
    """Return the decimals of amounts: those of the smallest account."""
    return numbers.money_digits(min(comparison.runs["initial_balance"], default=100.0))


def difference_text(metric: Metric, value: float | None, digits: int) -> str:
    """Return the difference of two values with its sign; of percentages in points; nothing where there is none."""
    if not value:
        return ""
    if metric.kind in {"percent", "share"}:
        return numbers.decimal(100 * value, 2, signed=True, unit="\u00a0pp")
    if metric.kind in {"money", "amount"}:
        return numbers.decimal(value, digits, signed=True)
    if metric.kind == "count":
        return numbers.decimal(value, 0, signed=True)
    if metric.kind in {"hours", "days"}:
        return numbers.decimal(value, 1, signed=True, unit=metric.format()[1])
    return numbers.decimal(value, 2, signed=True, unit=metric.format()[1])


def _row(key: str, row: dict[str, object], apart: dict[str, object], comparison: Comparison, digits: int) -> GridRow:
    names = comparison.names
    values = pl.Series([row[name] for name in names], dtype=pl.Float64)
    metric = known_metric(key, values)
    comparable = comparison.is_one_currency or not is_money(key)
    best: object = row["best"]
    cells = []
    for place, name in enumerate(names):
        value = values[place]
        below = difference_text(metric, apart.get(name), digits) if place and comparable else ""  # type: ignore[arg-type]
        is_best = isinstance(best, list) and name in best
        cells.append(GridCell(metric.text(value, digits), below, _tone(metric, value), is_best))
    return GridRow(key, metric.label, cells)


def _tone(metric: Metric, value: float | None) -> int:
    if value is None or not value or not metric.is_centred or metric.kind not in {"percent", "money"}:
        return 0
    return 1 if value > 0 else -1
