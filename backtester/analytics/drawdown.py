"""Drawdowns at bar closes. The peak starts at the initial balance, at the open of the first bar."""

from __future__ import annotations

import numpy as np
import polars as pl

from backtester.analytics.value import FloatArray

TIME = pl.Datetime("ms", "UTC")
SCHEMA = pl.Schema(
    {
        "peak_time": TIME,
        "trough_time": TIME,
        "recovery_time": TIME,
        "depth": pl.Float64(),
        "length": pl.Duration("ms"),
    }
)


def underwater(equity: FloatArray, initial_balance: float) -> FloatArray:
    """Return equity over its running peak, less one: 0 at a peak, -1 when nothing is left.

    Parameters
    ----------
    equity : ndarray of float64
        Equity at bar closes [settlement currency].
    initial_balance : float
        The first peak [settlement currency], > 0.
    """
    peak = np.maximum(np.maximum.accumulate(equity), initial_balance) if len(equity) else equity
    return equity / peak - 1.0


def episodes(equity: pl.DataFrame, initial_balance: float) -> pl.DataFrame:
    """Return every drawdown, in order of time.

    Parameters
    ----------
    equity : polars.DataFrame
        A run's equity frame.
    initial_balance : float
        Equity before the first bar [settlement currency].

    Returns
    -------
    polars.DataFrame
        ``peak_time`` (last close at the peak, or the first open), ``trough_time``, ``recovery_time`` (first close at
        or above the peak; null while it lasts), ``depth`` (fraction, < 0), ``length`` (peak to recovery, or to the
        last close).
    """
    values = equity["equity"].cast(pl.Float64).to_numpy() if not equity.is_empty() else np.empty(0)
    below = underwater(values, initial_balance)
    is_below = below < 0
    edges = np.diff(np.concatenate(([False], is_below, [False])).astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(starts):
        return pl.DataFrame(schema=SCHEMA)
    closes = equity["close_time"].cast(pl.Int64).to_numpy()
    first_open = int(equity["open_time"].cast(pl.Int64)[0])
    last = len(values) - 1
    peak_time = np.where(starts > 0, closes[np.maximum(starts - 1, 0)], first_open)
    recovered = ends <= last
    end_time = closes[np.minimum(ends, last)]
    # A reduction over interleaved [start, end) pairs visits each drawdown once; the odd results lie between them.
    pairs = np.column_stack((starts, ends)).ravel()
    depth = np.minimum.reduceat(np.append(below, 0.0), pairs)[::2]
    number = np.cumsum(edges[:-1] == 1) - 1
    at_trough = np.flatnonzero(is_below & (below == depth[np.maximum(number, 0)]))
    trough = at_trough[np.searchsorted(at_trough, starts)]
    return pl.DataFrame(
        {
            "peak_time": peak_time,
            "trough_time": closes[trough],
            "recovery_time": pl.Series(end_time).set(pl.Series(~recovered), None),
            "depth": depth,
            "length": end_time - peak_time,
        }
    ).cast(SCHEMA)


def worst(equity: pl.DataFrame, initial_balance: float, count: int = 10) -> pl.DataFrame:
    """Return the deepest drawdowns, deepest first, with the columns of `episodes`."""
    return episodes(equity, initial_balance).sort("depth", maintain_order=True).head(count)
