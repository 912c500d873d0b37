"""Bars of every symbol placed on one clock: contiguous arrays, holes refused or bridged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backtester.market.admission import (
    BLOCK_BARS,
    BarArrays,
    check_gaps,
    check_prices,
    check_times,
    check_volume,
)
from backtester.market.carry import CarriedSource, age_notes, check_age
from backtester.market.schema import PRICES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from backtester.market.bar_columns import BarColumns
    from backtester.market.carry import Source
    from backtester.market.series import BarSource
    from backtester.market.store import Store

Places: TypeAlias = slice | NDArray[np.int64]  # where a series' bars stand on the clock


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
    notes : tuple of str
        Which carried values were older than they should be.
    """

    time: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64] | None
    present: NDArray[np.bool_] | None
    notes: tuple[str, ...] = ()

    @property
    def prices(self) -> tuple[NDArray[np.float64], ...]:
        """Open, high, low and close."""
        return self.open, self.high, self.low, self.close


def load_grid(
    store: Store,
    sources: Sequence[Source | None],
    spans: Sequence[tuple[int, int]],
    time: NDArray[np.int64],
    step: int,
    *,
    allow_gaps: bool,
) -> Grid:
    """Read, check and place the bars of one series.

    Parameters
    ----------
    store : Store
        Where they are stored.
    sources : sequence of BarSource, CarriedSource or None
        One per symbol, of one timeframe; None: the symbol's rows are NaN.
    spans : sequence of tuple of int
        First open that is needed of each symbol, on the grid, and the end of its last bar [ms].
    time : ndarray of int64
        The clock: every open of the range [ms], which the grid keeps.
    step : int
        Length of a bar [ms].
    allow_gaps : bool
        Leave holes as NaN, with ``present``, instead of refusing them; carried values are then used however old.
    """
    start = int(time[0])
    shape = (len(sources), len(time))
    prices = tuple(np.empty(shape) for _ in PRICES)
    # np.full costs a pass over memory that whole series overwrite at once; few parts of the prices need it
    knows_volume = any(source is not None and "volume" in source.key.schema.columns for source in sources)
    volume = np.full(shape, np.nan) if knows_volume else None
    present = np.zeros(shape, dtype=np.bool_) if allow_gaps else None
    has_volume = False
    notes: list[str] = []
    for i, (source, (join, end)) in enumerate(zip(sources, spans, strict=True)):
        begin, stop = (join - start) // step, min(-((start - end) // step), len(time))
        rows = [p[i, :stop] for p in prices]
        for row in prices:
            row[i, 0 if source is None else stop :] = np.nan
        if source is None:
            continue
        if isinstance(source, CarriedSource):
            notes += _place_carried(source, store, time[begin:stop], rows, allow_gaps=allow_gaps)
            if present is not None:
                present[i, :stop] = ~np.isnan(rows[1])  # the high: open and close are known
            continue
        with source.columns(store, join, start + stop * step) as columns:
            places = _places(source, columns, time[:stop], begin)
            _place_prices(source.name, columns, places, time, rows)
            if volume is not None and "volume" in source.key.schema.columns:
                has_volume |= _place_volume(source.name, columns, places, time, volume[i])
        if present is not None:
            present[i, places] = True
        elif not isinstance(places, slice):
            check_gaps(source.name, time[places], time[begin:stop])
    return Grid(time, prices[0], prices[1], prices[2], prices[3], volume if has_volume else None, present, tuple(notes))


def _place_carried(
    source: CarriedSource,
    store: Store,
    time: NDArray[np.int64],
    rows: Sequence[NDArray[np.float64]],
    *,
    allow_gaps: bool,
) -> list[str]:
    """Fill one symbol's rows with what was known in each bar from its join on; return what is to be said of it."""
    carried = source.bars(store, time)
    if not allow_gaps:
        check_age(source, carried)
    for row, values in zip(rows, carried.prices, strict=True):
        begin = len(row) - len(time)
        row[:begin], row[begin:] = np.nan, values
    return age_notes(source, carried)


def _places(source: BarSource, columns: BarColumns, time: NDArray[np.int64], begin: int) -> Places:
    """Return where bars stand on the clock: one stretch from ``begin`` on, or place by place where some are missing.

    The times are compared with the clock as they are read; they are kept only where they are not its own.
    """
    at, is_whole = begin, len(columns) == len(time) - begin
    for block in columns.times() if is_whole else ():
        if not np.array_equal(block, time[at : at + len(block)]):
            is_whole = False
            break
        at += len(block)
    if is_whole:
        return slice(begin, len(time))
    stamps = np.concatenate([np.empty(0, dtype=np.int64), *columns.times()])
    check_times(source.name, stamps, source.step_ms, int(time[0]))
    places: NDArray[np.int64] = (stamps - time[0]) // source.step_ms
    return places


def _place_prices(
    name: str, columns: BarColumns, places: Places, time: NDArray[np.int64], rows: Sequence[NDArray[np.float64]]
) -> None:
    """Fill one symbol's rows of the four prices, NaN where it has no bar, and check them."""
    for row, column in zip(rows, PRICES, strict=True):
        row[: places.start if isinstance(places, slice) else None] = np.nan
        for here, values in _placed(columns.floats(column), places):
            row[here] = values
    count = places.stop - places.start if isinstance(places, slice) else len(places)
    for begin in range(0, count, BLOCK_BARS):
        here = _part(places, begin, min(begin + BLOCK_BARS, count))
        open_, high, low, close = (row[here] for row in rows)
        check_prices(name, BarArrays(time[here], open_, high, low, close, None))


def _place_volume(
    name: str, columns: BarColumns, places: Places, time: NDArray[np.int64], row: NDArray[np.float64]
) -> bool:
    """Fill one symbol's row of the volume and check it; return whether any is known."""
    is_known = False
    for here, values in _placed(columns.floats("volume"), places):
        check_volume(name, time[here], values)
        is_known = is_known or not np.isnan(values).all()
        row[here] = values
    return is_known


def _placed(
    blocks: Iterable[NDArray[np.float64]], places: Places
) -> Iterator[tuple[slice | NDArray[np.int64], NDArray[np.float64]]]:
    """Return each block of values with its part of the places."""
    at = 0
    for values in blocks:
        yield _part(places, at, at + len(values)), values
        at += len(values)


def _part(places: Places, begin: int, end: int) -> Places:
    """Return the places of the bars from ``begin`` to ``end``."""
    if isinstance(places, slice):
        return slice(places.start + begin, places.start + end)
    return places[begin:end]


def with_own_trades(grid: Grid, trade: Grid, rows: Sequence[int], coarseness: int) -> Grid:
    """Fill the rows of spot pairs in a grid of marks or index prices: theirs are their trades.

    Parameters
    ----------
    grid : Grid
        Marks or index prices; it is changed.
    trade : Grid
        Trades of the same symbols.
    rows : sequence of int
        The spot pairs.
    coarseness : int
        How many traded bars a bar of ``grid`` spans, from the first one on; the last may be cut short.
    """
    count = len(trade.time)
    starts, places = np.arange(0, count, coarseness), np.arange(count)
    for i in rows:
        known = ~np.isnan(trade.open[i])
        first = np.minimum.reduceat(np.where(known, places, count), starts)
        last = np.maximum.reduceat(np.where(known, places, -1), starts)
        grid.open[i] = np.where(last < 0, np.nan, trade.open[i, np.minimum(first, count - 1)])
        grid.close[i] = np.where(last < 0, np.nan, trade.close[i, last])
        grid.high[i] = np.fmax.reduceat(trade.high[i], starts)  # fmax and fmin look over NaN
        grid.low[i] = np.fmin.reduceat(trade.low[i], starts)
        if grid.present is not None:
            grid.present[i] = last >= 0
    return grid


def bridged(grid: Grid, live: NDArray[np.bool_]) -> Grid:
    """Fill holes: prices stay at the last close, and nothing trades.

    Parameters
    ----------
    grid : Grid
        With holes; rows that have some are changed in place, since copies of hundreds of symbols take much memory.
    live : ndarray of bool, shape (symbols, bars)
        Where the symbol takes part; elsewhere everything is NaN.

    Returns
    -------
    Grid
        NaN only where a symbol does not take part; the volume of a bridged bar is 0.
    """
    present = grid.present if grid.present is not None else ~np.isnan(grid.close)
    volume = grid.volume
    if volume is None and (live & ~present).any():
        volume = np.full(grid.close.shape, np.nan)
    for i in np.flatnonzero((live != present).any(axis=1)).tolist():
        last = np.maximum.accumulate(np.where(present[i], np.arange(len(grid.time)), -1))
        carried = np.where(last >= 0, grid.close[i, last], np.nan)
        for price in grid.prices:
            price[i] = np.where(live[i], np.where(present[i], price[i], carried), np.nan)
        if volume is not None:
            volume[i, live[i] & ~present[i]] = 0.0
    return Grid(grid.time, grid.open, grid.high, grid.low, grid.close, volume, None)


def selected(grid: Grid, keep: NDArray[np.bool_]) -> Grid:
    """Return the bars of the clock that ``keep`` marks."""
    if keep.all():
        return grid
    cut = [np.ascontiguousarray(p[:, keep]) for p in grid.prices]
    volume = None if grid.volume is None else np.ascontiguousarray(grid.volume[:, keep])
    present = None if grid.present is None else np.ascontiguousarray(grid.present[:, keep])
    return Grid(grid.time[keep], cut[0], cut[1], cut[2], cut[3], volume, present)
