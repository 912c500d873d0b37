"""How the run under other assumptions is printed: one table, one sentence, or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backtester.analytics.assumptions import METRICS, rests_on
from backtester.analytics.capacity import capacity
from backtester.cli.output import print_table
from backtester.engine.result import figure_text

if TYPE_CHECKING:
    import polars as pl

    from backtester.engine.result import Result

# Figure, heading, how it is written, how its difference is written (empty: not shown).
_COLUMNS = (
    ("total_return", "return", "percent", "percent"),
    ("annual_return", "CAGR", "percent", "percent"),
    ("sharpe", "Sharpe", "ratio", "ratio"),
    ("max_drawdown", "drawdown", "percent", "percent"),
    ("liquidations", "liq.", "count", "count"),
    ("final_equity", "final equity", "count", "count"),
)


def print_assumptions(result: Result) -> None:
    """Print the table of a run's assumptions, why some could not be tried, and what the result rests on."""
    import typer

    table = result.assumptions
    tried = table.filter(table["reason"].is_null())
    rows = [_cells(row, result.settle) for row in tried.iter_rows(named=True)]
    headings = ("assumption", *(heading for _, heading, _, _ in _COLUMNS))
    title = f"Other assumptions; below each figure its difference to the run (amounts in {result.settle})"
    print_table(headings, rows, title, right=tuple(range(1, len(headings))), whole=())
    refused = table.drop_nulls("reason").group_by("reason", maintain_order=True).agg("text")
    for reason, texts in refused.iter_rows():
        typer.echo(f"Not tried: {'; '.join(texts)}. {reason}")
    typer.echo(rests_on(table))
    typer.echo(capacity_text(result))


def capacity_text(result: Result) -> str:
    """Return in one sentence how large a part of the traded volume the run is."""
    figures = capacity(result)
    balance = figures["capacity_balance"]
    if balance is None:
        return "Capacity: no fill lies in a bar of known volume."
    larger = result.assumptions.filter(result.assumptions["assumption"].is_in(["impact_10", "impact_100"]))
    cut = larger.drop_nulls("note")
    bounded = (
        f" Margin tiers, margin or limits cut orders before that: {'; '.join(cut['text'].to_list())}."
        if cut.height
        else ""
    )
    return (
        f"Capacity: fills take {figures['median_participation']:.2%} of their bar's volume in the median, "
        f"{figures['max_participation']:.2%} at most; 95 of 100 stay within 1 % up to a balance of "
        f"{balance:,.0f} {result.settle}.{bounded}"
    )


def assumptions_json(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the table of assumptions as JSON has it: name, text, reason, metrics, difference to the run."""
    return [
        {
            "name": row["assumption"],
            "text": row["text"],
            "reason": row["reason"],
            "note": row["note"],
            "metrics": {metric: _json(metric, row[metric]) for metric in METRICS},
            "difference": {metric: _json(metric, row[f"{metric}_difference"]) for metric in METRICS},
        }
        for row in table.iter_rows(named=True)
    ]


def _json(metric: str, value: float | None) -> float | None:
    """Return a figure as the summary has it: what is counted is a whole number."""
    return int(value) if metric == "liquidations" and value is not None else value


def _cells(row: dict[str, Any], settle: str) -> list[str]:
    """Return the cells of one assumption: each figure, and in a second line its difference to the run."""
    is_base = row["assumption"] == "base"
    cells = [f"{row['text']}\n{row['note']}" if row["note"] else row["text"]]
    for metric, _, style, difference_style in _COLUMNS:
        figure = figure_text(row[metric], style, settle)
        change = row[f"{metric}_difference"]
        cells.append(figure if is_base else f"{figure}\n{_difference(change, difference_style)}")
    return cells


def _difference(value: float | None, style: str) -> str:
    """Return a difference with its sign; nothing where there is none."""
    if value is None or value == 0:
        return ""
    text = f"{value:+.2%}" if style == "percent" else f"{value:+,.2f}" if style == "ratio" else f"{value:+,.0f}"
    return text if any(digit in text for digit in "123456789") else ""
