"""When records happened, in bars: a bar holds what happens from its open to just before the next one's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from backtester.analytics.value import FloatArray, IntArray

DAY_MS = 86_400_000


def milliseconds(times: pl.Series) -> IntArray:
    """Return times as ms since 1970."""
    return times.cast(pl.Int64).to_numpy()


def by_symbol(frame: pl.DataFrame, columns: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Return some columns of each symbol's rows, in order of first appearance; a frame of one symbol is not copied."""
    names = frame["symbol"].unique(maintain_order=True).to_list() if frame.height else []
    if len(names) == 1:
        return {names[0]: frame.select(columns)}
    parts = frame.select("symbol", *columns).partition_by("symbol", as_dict=True, maintain_order=True)
    return {str(key[0]): part for key, part in parts.items()}


def bar_sums(opens: IntArray, times: IntArray, amounts: FloatArray) -> FloatArray:
    """Return the sum of the amounts that fell into each bar.

    Parameters
    ----------
    opens : ndarray of int64, shape (bars,)
        Open of each bar [ms], rising; not empty.
    times : ndarray of int64, shape (entries,)
        When each amount was booked [ms]; what was booked before the first bar counts in it.
    amounts : ndarray of float64, shape (entries,)
        The amounts.
    """
    bar = np.maximum(np.searchsorted(opens, times, side="right") - 1, 0)
    return np.bincount(bar, amounts, minlength=len(opens)).astype(np.float64)


def close_days(equity: pl.DataFrame) -> IntArray:
    """Return the day (UTC, since 1970) of each bar's close; a close at midnight belongs to the day that ends."""
    return (milliseconds(equity["close_time"]) - 1) // DAY_MS
