"""What an ``on_bar`` function reads: the bars that it is called on and the strategy's indicators, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from backtester.engine.instructions import Floats, Ints
from backtester.engine.signal_clock import SignalClock

SERIES = ("open", "high", "low", "close", "volume", "mark_close", "index_close")


@dataclass(frozen=True, eq=False)
class LoopSeries:
    """Signal bars as arrays, of every contract that is traded.

    Attributes
    ----------
    open_time : ndarray of int64, shape (S,)
        Opens of the signal bars that the replay covers whole [ms since 1970, UTC].
    last_bar : ndarray of int64, shape (S,)
        Last replayed bar inside each: the function is called at its close.
    open, high, low, close, volume, mark_close, index_close : ndarray of float64, shape (N, S)
        As a strategy's columns of these names; NaN where there is no bar or no such series.
    indicators : ndarray of float64, shape (K, N, S)
        In the order in which they are named; NaN before their first value.
    """

    open_time: Ints
    last_bar: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    mark_close: Floats
    index_close: Floats
    indicators: Floats


def loop_series(
    bars: pl.DataFrame, evaluated: pl.DataFrame, indicators: Sequence[str], clock: SignalClock, symbols: Sequence[str]
) -> LoopSeries:
    """Return the arrays that an ``on_bar`` function reads.

    Parameters
    ----------
    bars : polars.DataFrame
        What the strategy reads, long: ``open_time, symbol`` and the columns of `SERIES`; bars of the warm-up and
        others that are not replayed are left out here.
    evaluated : polars.DataFrame
        The same rows in the same order with the columns of ``indicators``.
    indicators : sequence of str
        Names in the order in which the function counts them.
    clock : SignalClock
        The bars of the run.
    symbols : sequence of str
        Contracts that are traded, in the order of the first axis.
    """
    opened = clock.opens()
    shape = (len(symbols), opened.size)
    order = {name: i for i, name in enumerate(symbols)}
    row = bars["symbol"].replace_strict(order, return_dtype=pl.Int64).to_numpy()
    time = bars["open_time"].dt.epoch("ms").to_numpy()
    place = np.searchsorted(opened, time)
    kept = opened[np.minimum(place, opened.size - 1)] == time if opened.size else np.zeros(time.size, np.bool_)
    flat = (row * opened.size + place)[kept]

    def spread(frame: pl.DataFrame, name: str) -> Floats:
        out = np.full(shape, np.nan)
        values = frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        out.reshape(-1)[flat] = values[kept]
        return out

    measured = np.empty((len(indicators), *shape))
    for k, name in enumerate(indicators):
        measured[k] = spread(evaluated, name)
    series = {name: spread(bars, name) for name in SERIES}
    return LoopSeries(open_time=opened, last_bar=clock.ends(opened), indicators=measured, **series)
