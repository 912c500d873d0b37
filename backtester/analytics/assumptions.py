"""One run under other assumptions as a table, and what a reader concludes from it."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from backtester.analytics.summary import complete
from backtester.domain.enums import RejectReason, label
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
SHORTEST_CAGR_DAYS = 30
"""Runs of fewer days have no difference in annual returns: a power of them says nothing."""
_CUT = {
    label(RejectReason.TIER_CAP): "the largest size of the tiers",
    label(RejectReason.MARGIN): "margin",
    label(RejectReason.LIMIT): "the run's limits",
    label(RejectReason.DEBT): "debt",
}
"""Why an order that trades less than was wanted changes what an assumption shows, in words."""

_SCHEMA = pl.Schema(
    {
        "assumption": pl.String,
        "text": pl.String,
        "reason": pl.String,
        "note": pl.String,
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
        ``assumption`` (stable name), ``text``, ``reason`` (why it could not be tried, else null), ``note`` (how many
        orders were cut that the run's were not, else null), the figures of ``METRICS`` with the keys and units of the
        summary, and of each the difference to the first row, which is the run itself. Where the balance is a multiple
        of the run's, the difference of the final equity is that of its part for one balance; that of the annual return
        is null for runs shorter than `SHORTEST_CAGR_DAYS`. Null where a figure is not defined.
    """
    rows = [_row(BASE, "as configured", base.summary, base.summary)]
    for one in tried:
        if one.result is None:
            rows.append({"assumption": one.name, "text": one.text, "reason": one.reason})
        else:
            row = _row(one.name, one.text, complete(one.result).summary, base.summary)
            rows.append({**row, "note": _cut_note(one.result, base)})
    return pl.DataFrame(rows, schema=_SCHEMA)


def _row(
    name: str, text: str, summary: dict[str, SummaryValue], base: dict[str, SummaryValue]
) -> dict[str, SummaryValue]:
    row: dict[str, SummaryValue] = {"assumption": name, "text": text}
    for metric in METRICS:
        value, first = _number(summary[metric]), _number(base[metric])
        row[metric] = value
        row[f"{metric}_difference"] = None if value is None or first is None else value - first
    balance, first_balance = _number(summary["initial_balance"]), _number(base["initial_balance"])
    final, first_final = _number(summary["final_equity"]), _number(base["final_equity"])
    if balance and first_balance and final is not None and first_final is not None:
        row["final_equity_difference"] = final * first_balance / balance - first_final
    if name != BASE and (_number(base["days"]) or 0.0) < SHORTEST_CAGR_DAYS:
        row["annual_return_difference"] = None
    return row


def _cut_note(result: Result, base: Result) -> str | None:
    """Return how many more orders were cut or refused than in the run itself, and by what; None where none were."""
    cut, before = _cut_counts(result), _cut_counts(base)
    more = {reason: count - before.get(reason, 0) for reason, count in cut.items() if count > before.get(reason, 0)}
    if not more:
        return None
    total = sum(more.values())
    why = ", ".join(_CUT[reason] for reason in _CUT if reason in more)
    return f"{total:,} more order{'' if total == 1 else 's'} cut by {why}"


def _cut_counts(result: Result) -> dict[str, int]:
    """Return how many orders each bound cut or refused."""
    counted = result.orders.filter(pl.col("reason").is_in(list(_CUT)))["reason"].value_counts()
    return dict(counted.iter_rows())


def _number(value: SummaryValue) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def rests_on(table: pl.DataFrame) -> str:
    """Return in one sentence which assumptions the total return rests on.

    Named are those that turn its sign, or move it by more than a quarter of itself and by a percentage point at least:
    the three that move it most with what they make of it, then the others. A second sentence names those under which
    orders were cut that the run's were not.

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
            f"none turns its sign or moves it by more than a quarter.{_cut_text(moved)}"
        )
    parts = [f"{text} ({total:+.2%})" for text, total in named.select("text", "total_return").head(_NAMED).iter_rows()]
    others = named["text"].to_list()[_NAMED:]
    more = f"; less so {'; '.join(others)}" if others else ""
    return f"The total return of {base:+.2%} rests on what these change: {'; '.join(parts)}{more}.{_cut_text(moved)}"


def _cut_text(tried: pl.DataFrame) -> str:
    """Return the sentence on assumptions under which less was traded than was wanted; empty where there is none."""
    cut = tried.drop_nulls("note") if "note" in tried.columns else tried.clear()
    if cut.is_empty():
        return ""
    named = "; ".join(f"{text} ({note})" for text, note in cut.select("text", "note").iter_rows())
    return f" Not the same trades, so no fair comparison: {named}."
