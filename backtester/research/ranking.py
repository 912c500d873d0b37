"""Which of two figures is the better one, and the best sets by it."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from backtester.analytics.directions import is_lower_better
from backtester.errors import UnknownNameError, UsageError
from backtester.research.rows import DONE, FACTS
from backtester.research.space import SET

DEFAULT_METRIC = "sharpe"


def metric_names(rows: pl.DataFrame | pl.LazyFrame, axes: Iterable[str]) -> list[str]:
    """Return the columns of evaluated sets that are numbers to rank by."""
    schema = rows.lazy().collect_schema()
    own = {SET, *FACTS, *axes}
    return [name for name, kind in schema.items() if name not in own and (kind.is_numeric() or kind == pl.Boolean)]


def check_metric(rows: pl.DataFrame | pl.LazyFrame, axes: Iterable[str], metric: str) -> None:
    """Refuse what sets cannot be ranked by.

    Raises
    ------
    UsageError
        There is no such metric (with the nearest), or it is not a number.
    """
    known = metric_names(rows, axes)
    if metric in known:
        return
    if metric in rows.lazy().collect_schema():
        raise UsageError(f"Sets cannot be sorted by {metric!r}: it is no figure.", "Example: --sort calmar.")
    raise UnknownNameError("metric", metric, known)


def is_lost(rows: pl.DataFrame | pl.LazyFrame) -> pl.Expr:
    """Return the condition that a set lost its account: all that was there at the beginning."""
    known = "total_return" in rows.lazy().collect_schema()
    return (pl.col("total_return") <= -1).fill_null(value=False) if known else pl.lit(value=False)


def lost_text(rows: pl.DataFrame | pl.LazyFrame) -> str:
    """Return how many of the sets that were done lost their account, in one sentence; empty where none did."""
    done = rows.lazy().filter(pl.col("status") == DONE)
    lost, total = done.select(is_lost(rows).sum().alias("lost"), pl.len().alias("total")).collect().row(0)
    if not lost:
        return ""
    if lost == total:
        every = "The only set" if total == 1 else f"All {total:,} sets"
        return f"{every} lost the whole account: none of them can be called the best."
    sets = "1 set" if lost == 1 else f"{lost:,} sets"
    return f"{sets} of {total:,} lost the whole account; {'it ranks' if lost == 1 else 'they rank'} last."


def ranked(rows: pl.DataFrame | pl.LazyFrame, metric: str, count: int | None = None) -> pl.DataFrame:
    """Return the sets that were done, the best first.

    Parameters
    ----------
    rows : polars.DataFrame or polars.LazyFrame
        Evaluated sets.
    metric : str
        By what; sets of which it is not defined come last, equal ones in the order of their numbers. Those that lost
        their account come behind all others: the ratios of such a run say nothing.
    count : int, optional
        How many; None: all.
    """
    order = rows.lazy().filter(pl.col("status") == DONE)
    best = order.sort(
        is_lost(rows), metric, SET, descending=[False, not is_lower_better(metric), False], nulls_last=True
    )
    return (best if count is None else best.head(count)).collect()
