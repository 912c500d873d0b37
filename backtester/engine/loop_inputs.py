"""An ``on_bar`` function as a replay calls it: bars and indicators as arrays, parameters, state, the function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from backtester.engine.instructions import Floats, Ints
from backtester.engine.replay import Loop
from backtester.engine.signal_clock import SignalClock
from backtester.errors import InternalError
from backtester.kernel.loop import LoopContext, empty_context
from backtester.strategy import Strategy
from backtester.strategy.loop import compiled_on_bar, failed_bar, loop_params, loop_state, python_on_bar

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


@dataclass(frozen=True, eq=False)
class LoopStrategy:
    """A strategy that decides by ``on_bar``, what it reads, and the largest leverage of each contract's tiers."""

    strategy: Strategy
    series: LoopSeries
    most_leverage: Floats

    def loop(self, rows: int, *, compiled: bool = True) -> Loop:
        """Return the function with a context that no replay has used.

        Parameters
        ----------
        rows : int
            Rows of the panel, those that are not traded included.
        compiled : bool
            False: Python calls the function, slowly, and shows where it raises.
        """
        series, symbols = self.series, self.series.close.shape[0]
        context = empty_context()._replace(
            bars=np.stack([getattr(series, name) for name in SERIES]),
            indicators=series.indicators,
            legs=_flat_legs(rows),
            most_leverage=self.most_leverage,
            params=loop_params(self.strategy),
            state=loop_state(self.strategy, symbols),
        )
        if compiled:
            return Loop(context, compiled=compiled_on_bar(self.strategy))
        return Loop(context, python=python_on_bar(self.strategy))


def _flat_legs(rows: int) -> Floats:
    """Return what a context shows of legs that hold nothing."""
    legs = np.zeros((rows, 3, 2))
    legs[:, :, 1] = np.nan
    return legs


def has_failed(context: LoopContext) -> bool:
    """Return whether the compiled function of a replay has raised."""
    return failed_bar(context) is not None


def unexplained_failure(name: str) -> InternalError:
    """Return what is raised where a compiled function failed and the same function in Python did not."""
    return InternalError(
        f"on_bar() of strategy {name!r} failed as compiled code and not in Python.",
        "Set strategy.compiled = false to run it in Python, and report this.",
    )
