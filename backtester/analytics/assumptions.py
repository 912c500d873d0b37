"""One run under other assumptions as a table, and what a reader concludes from it."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from backtester.analytics.summary import complete
from backtester.engine.assume import Tried
from backtester.engine.result import Result, SummaryValue

METRICS = ("total_return", "annual_return", "sharpe", "max_drawdown", "liquidations", "final_equity")
"""Figures of each row; each has a column ``<figure>_difference`` beside it."""

BASE = "base"
LARGE_SHARE = 0.25
"""Part of the total return by which an assumption must move it to be named."""
SMALLEST_MOVE = 0.01
"""Change of the total return that is too small to be named, whatever its share."""
_NAMED = 3

_SCHEMA = pl.Schema(
    {
        "assumption": pl.String,
        "text": pl.String,
        "reason": pl.String,
        **{name: pl.Float64 for metric in METRICS for name in (metric, f"{metric}_difference")},
    }
)


def assumption_table(base: Result, tried: Iterable[Tried]) -> pl.DataFrame:
    """Return the figures of a run under each assumption.

    Parameters
    ----------
    base : Result
        The run as it was configured, with its summary.
    tried : iterable of Tried
        From ``engine.assume.try_assumptions``; each result is let go once its figures are known.

    Returns
    -------
    polars.DataFrame
        ``assumption`` (stable name), ``text``, ``reason`` (why it could not be tried, else null), the figures of
        ``METRICS`` with the keys and units of the summary, and of each the difference to the first row, which is the
        run itself. Null where a figure is not defined.
    """
    rows = [_row(BASE, "as configured", base.summary, base.summary)]
    for one in tried:
        if one.result is None:
            rows.append({"assumption": one.name, "text": one.text, "reason": one.reason})
        else:
            rows.append(_row(one.name, one.text, complete(one.result).summary, base.summary))
    return pl.DataFrame(rows, schema=_SCHEMA)


def _row(
    name: str, text: str, summary: dict[str, SummaryValue], base: dict[str, SummaryValue]
) -> dict[str, SummaryValue]:
    row: dict[str, SummaryValue] = {"assumption": name, "text": text}
    for metric in METRICS:
        value, first = _number(summary[metric]), _number(base[metric])
        row[metric] = value
        row[f"{metric}_difference"] = None if value is None or first is None else value - first
    return row


def _number(value: SummaryValue) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def rests_on(table: pl.DataFrame) -> str:
    """Return in one sentence which assumptions the total return rests on.

    Named are those that turn its sign, or move it by more than a quarter of itself and by a percentage point at least:
    the three that move it most.

    Parameters
    ----------
    table : polars.DataFrame
        From `assumption_table`.
    """
    base = table["total_return"][0]
    if base is None:
        return "The run has no total return to compare."
    moved = table[1:].drop_nulls("total_return_difference")
    large = pl.col("total_return_difference").abs() > max(LARGE_SHARE * abs(base), SMALLEST_MOVE)
    turned = (pl.col("total_return") * base < 0) & (pl.col("total_return_difference").abs() > SMALLEST_MOVE)
    by_size = pl.col("total_return_difference").abs()
    named = moved.filter(large | turned).sort(by_size, descending=True, maintain_order=True)
    if named.is_empty():
        return (
            f"The total return of {base:+.2%} rests on none of these: "
            "none turns its sign or moves it by more than a quarter."
        )
    parts = [f"{text} ({total:+.2%})" for text, total in named.select("text", "total_return").head(_NAMED).iter_rows()]
    more = f", and {named.height - _NAMED} more" if named.height > _NAMED else ""
    return f"The total return of {base:+.2%} rests on what these change: {'; '.join(parts)}{more}."
