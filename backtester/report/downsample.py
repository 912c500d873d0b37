"""Fewer points, the same picture: every bucket keeps its extremes."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def extremes(values: FloatArray, points: int) -> IntArray:
    """Return the rows to draw, in order: first, last, and the least and greatest value of each bucket.

    Parameters
    ----------
    values : ndarray of float64
        A series; NaN is never an extreme.
    points : int
        About how many rows to keep; a series that is not longer is kept whole.
    """
    n = len(values)
    if n <= points:
        return np.arange(n)
    size = -(-n // max(1, points // 2))
    buckets = -(-n // size)
    padded = np.full(buckets * size, np.nan)
    padded[:n] = values
    grid = padded.reshape(buckets, size)
    base = np.arange(buckets) * size
    low = base + np.argmin(np.where(np.isnan(grid), np.inf, grid), axis=1)
    high = base + np.argmax(np.where(np.isnan(grid), -np.inf, grid), axis=1)
    return np.unique(np.concatenate(([0, n - 1], low, high)))


def thin(time: IntArray, weight: FloatArray, points: int) -> IntArray:
    """Return the heaviest row of each of ``points`` equal spans of time, in order; all rows where they are few."""
    if len(time) <= points:
        return np.arange(len(time))
    span = max(1, int(time.max() - time.min()) + 1)
    bucket = (time - time.min()) * points // span
    order = np.lexsort((-weight, bucket))
    firsts = np.flatnonzero(np.diff(bucket[order], prepend=-1))
    return np.sort(order[firsts])


def ohlc(bars: pl.DataFrame, count: int) -> pl.DataFrame:
    """Return bars merged into at most ``count`` longer ones: first open, extremes, last close.

    Parameters
    ----------
    bars : polars.DataFrame
        ``open_time, open, high, low, close`` of one symbol, in order.
    count : int
        Most bars to return.
    """
    if bars.height <= count:
        return bars.select("open_time", "open", "high", "low", "close")
    size = -(-bars.height // count)
    first = np.arange(0, bars.height, size)
    last = np.append(first[1:], bars.height) - 1
    return pl.DataFrame(
        {
            "open_time": bars["open_time"].gather(first),
            "open": bars["open"].gather(first),
            "high": np.maximum.reduceat(bars["high"].to_numpy(), first),
            "low": np.minimum.reduceat(bars["low"].to_numpy(), first),
            "close": bars["close"].gather(last),
        }
    )
