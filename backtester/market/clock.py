"""Bars of every symbol placed on one clock: contiguous arrays, holes refused or bridged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backtester.market.admission import bar_arrays, check_bars, check_gaps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from backtester.market.series import BarSource
    from backtester.market.store import Store


@dataclass(frozen=True, eq=False)
class Grid:
    """Bars of one series and every symbol on a regular clock.

    Attributes
    ----------
    time : ndarray of int64, shape (bars,)
        Opens [ms].
    open, high, low, close : ndarray of float64, shape (symbols, bars)
        Prices; NaN where there is no bar.
    volume : ndarray of float64, shape (symbols, bars), or None
        NaN where unknown; None where no symbol knows any.
    present : ndarray of bool, shape (symbols, bars), or None
        Where a bar is stored; None where none is missing after its symbol's join.
    """

    time: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64] | None
    present: NDArray[np.bool_] | None

    @property
    def prices(self) -> tuple[NDArray[np.float64], ...]:
        """Open, high, low and close."""
        return self.open, self.high, self.low, self.close


def load_grid(
    store: Store,
    sources: Sequence[BarSource],
    joins: Sequence[int],
    start: int,
    end: int,
    *,
    allow_gaps: bool,
) -> Grid:
    """Read, check and place the bars of one series.

    Parameters
    ----------
    store : Store
        Where they are stored.
    sources : sequence of BarSource
        One per symbol, of one timeframe.
    joins : sequence of int
        First open that is needed of each symbol [ms], on the grid.
    start, end : int
        First open and end of the last bar [ms].
    allow_gaps : bool
        Leave holes as NaN, with ``present``, instead of refusing them.
    """
    step = sources[0].step_ms
    time = np.arange(start, end, step, dtype=np.int64)
    shape = (len(sources), len(time))
    # np.full costs a pass over memory that whole series overwrite at once, so only the part before a join is filled
    prices = tuple(np.empty(shape) for _ in range(4))
    volume: NDArray[np.float64] | None = None
    present = np.ones(shape, dtype=np.bool_) if allow_gaps else None
    for i, (source, join) in enumerate(zip(sources, joins, strict=True)):
        bars = bar_arrays(source.read(store, join, end))
        check_bars(source.name, bars, step)
        begin = (join - start) // step
        places: slice | NDArray[np.int64] = slice(begin, None)
        if present is None:
            check_gaps(source.name, bars.time, time[begin:])
        elif len(bars.time) != len(time) - begin:
            places = (bars.time - start) // step
            present[i] = False
            present[i, places] = True
        if present is not None:
            present[i, :begin] = False
        for target, values in zip(prices, (bars.open, bars.high, bars.low, bars.close), strict=True):
            target[i, : begin if isinstance(places, slice) else None] = np.nan
            target[i, places] = values
        if bars.volume is not None:
            if volume is None:
                volume = np.full(shape, np.nan)
            volume[i, places] = bars.volume
    return Grid(time, prices[0], prices[1], prices[2], prices[3], volume, present)


def bridged(grid: Grid, live: NDArray[np.bool_]) -> Grid:
    """Fill holes: prices stay at the last close, and nothing trades.

    Parameters
    ----------
    grid : Grid
        With holes.
    live : ndarray of bool, shape (symbols, bars)
        Where the symbol takes part; elsewhere everything is NaN.

    Returns
    -------
    Grid
        NaN only where a symbol does not take part yet; the volume of a bridged bar is 0.
    """
    present = grid.present if grid.present is not None else ~np.isnan(grid.close)
    last = np.maximum.accumulate(np.where(present, np.arange(len(grid.time)), -1), axis=1)
    carried = np.where(last >= 0, np.take_along_axis(grid.close, np.maximum(last, 0), axis=1), np.nan)
    prices = [np.where(live, np.where(present, p, carried), np.nan) for p in grid.prices]
    volume = grid.volume
    holes = live & ~present
    if holes.any():
        volume = np.full(grid.close.shape, np.nan) if volume is None else volume.copy()
        volume[holes] = 0.0
    return Grid(grid.time, prices[0], prices[1], prices[2], prices[3], volume, None)


def selected(grid: Grid, keep: NDArray[np.bool_]) -> Grid:
    """Return the bars of the clock that ``keep`` marks."""
    if keep.all():
        return grid
    cut = [np.ascontiguousarray(p[:, keep]) for p in grid.prices]
    volume = None if grid.volume is None else np.ascontiguousarray(grid.volume[:, keep])
    present = None if grid.present is None else np.ascontiguousarray(grid.present[:, keep])
    return Grid(grid.time[keep], cut[0], cut[1], cut[2], cut[3], volume, present)
