"""Sets of a sweep replayed in full, to see that the fast way came to the same figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from backtester.engine.result import SummaryValue
from backtester.errors import BacktesterError, InternalError
from backtester.research.job import Job
from backtester.research.rows import DONE, metrics_of
from backtester.research.space import SET

TOLERANCE = 1e-9
"""Largest difference of two figures, as a fraction of their scale."""

# Amounts: their scale is the account's, since they are differences of balances.
_AMOUNTS = frozenset(
    {
        "final_equity",
        "net_profit",
        "average_trade",
        "average_win",
        "average_loss",
        "price",
        "slippage",
        "fees",
        "funding",
        "liquidation",
        "auto_deleverage",
        "socialized_loss",
        "transfer",
        "funding_received",
        "funding_paid",
        "insurance_flow",
    }
)


def exact_check(job: Job, rows: pl.LazyFrame, axes: list[str], count: int, seed: int = 0) -> dict[str, Any]:
    """Replay random sets of a sweep in full and compare every metric.

    Parameters
    ----------
    job : Job
        The sweep's.
    rows : polars.LazyFrame
        Evaluated sets.
    axes : list of str
        Columns that make a set.
    count : int
        How many of those that are done; all where there are fewer.
    seed : int
        Of the choice.

    Returns
    -------
    dict
        ``sets`` (their numbers), ``metrics`` (how many were compared), ``largest_difference`` and where it is.
        Differences are fractions of a scale: the largest of 1, the two figures, and for amounts the initial balance.

    Raises
    ------
    InternalError
        A metric differs by more than 1e-9 of its scale, or a set is refused: it names both.
    """
    done = rows.filter(pl.col("status") == DONE).select(SET).collect()[SET].to_numpy()
    chosen = np.sort(np.random.default_rng(seed).choice(done, min(count, done.size), replace=False))
    found = rows.filter(pl.col(SET).is_in(chosen.tolist())).sort(SET).collect()
    largest, place, compared = 0.0, None, 0
    for row in found.iter_rows(named=True):
        exact = _exact(job, row, axes)
        for metric in dict.fromkeys((*exact, *(name for name in found.columns if name.startswith("orders_")))):
            replayed = exact.get(metric, 0 if metric.startswith("orders_") else None)
            difference = scaled_difference(metric, row.get(metric), replayed, exact)
            compared += 1
            if difference > TOLERANCE:
                raise InternalError(
                    f"Set {row[SET]} ({_values_text(row, axes)}): {metric} is {row.get(metric)!r} in the sweep "
                    f"({row['path']}) and {replayed!r} replayed in full.",
                    "This is a bug of the fast path: please report it with the sweep's sweep.toml.",
                )
            if difference > largest:
                largest, place = difference, f"{metric} of set {row[SET]}"
    return {
        "sets": chosen.tolist(),
        "seed": seed,
        "metrics": compared,
        "largest_difference": largest,
        "largest_at": place,
        "tolerance": TOLERANCE,
    }


def scaled_difference(metric: str, one: Any, other: Any, summary: Mapping[str, SummaryValue]) -> float:
    """Return the difference of two figures as a fraction of their scale; infinite where only one is a number."""
    if one == other:
        return 0.0
    if not isinstance(one, int | float) or not isinstance(other, int | float):
        return float("inf")
    balance = summary.get("initial_balance")
    scale = max(1.0, abs(one), abs(other))
    if metric in _AMOUNTS and isinstance(balance, int | float):
        scale = max(scale, abs(balance))
    difference = abs(one - other) / scale
    return float("inf") if math.isnan(difference) else difference


def _exact(job: Job, row: Mapping[str, Any], axes: list[str]) -> Mapping[str, SummaryValue]:
    try:
        return metrics_of(job.result({name: row[name] for name in axes}))
    except BacktesterError as error:
        raise InternalError(
            f"Set {row[SET]} ({_values_text(row, axes)}) is done in the sweep and refused when replayed in full: "
            f"{error.message}"
        ) from error


def _values_text(row: Mapping[str, Any], axes: list[str]) -> str:
    return ", ".join(f"{name}={row[name]}" for name in axes)
