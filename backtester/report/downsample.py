"""Fewer points, the same picture: every bucket keeps its extremes."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tsdownsample import MinMaxDownsampler

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
    if n <= max(points, 2):
        return np.arange(n)
    reducer = MinMaxDownsampler()  # type: ignore[no-untyped-call]  # the package has no annotations there
    kept = reducer.downsample(np.ascontiguousarray(values), n_out=max(4, points // 2 * 2))
    return np.unique(np.concatenate(([0], kept.astype(np.int64), [n - 1])))


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
    return merged(bars.select("open_time", "open", "high", "low", "close"), -(-bars.height // count))


def merged(bars: pl.DataFrame, size: int) -> pl.DataFrame:
    """Return each ``size`` neighbouring bars as one: first open, extremes, last close, last mark and index.

    Parameters
    ----------
    bars : polars.DataFrame
        ``open_time, open, high, low, close`` and, where known, ``mark_close, index_close`` of one symbol, in order.
    size : int
        Bars in one; 1 changes nothing.
    """
    if size <= 1 or not bars.height:
        return bars
    first = np.arange(0, bars.height, size)
    last = np.append(first[1:], bars.height) - 1
    columns = {
        "open_time": bars["open_time"].gather(first),
        "open": bars["open"].gather(first),
        "high": pl.Series(np.maximum.reduceat(bars["high"].to_numpy(), first)),
        "low": pl.Series(np.minimum.reduceat(bars["low"].to_numpy(), first)),
    }
    closes = {name: bars[name].gather(last) for name in ("close", "mark_close", "index_close") if name in bars.columns}
    return pl.DataFrame(columns | closes)
