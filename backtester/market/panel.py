"""Several series on one clock: trade, mark, index and settlements as contiguous arrays.

The panel is what the replay reads. Everything that a run must refuse about its data is refused here, by name, with
the first bad time and the way on; what was cut or assumed stands in ``Panel.notes``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backtester.errors import DataError, UsageError, format_time
from backtester.market.carry import Source, carried_notes
from backtester.market.clock import Grid, bridged, load_grid, selected, with_own_trades
from backtester.market.filled import filled_notes
from backtester.market.funding_records import FundingRecords
from backtester.market.schema import timeframe_ms, timeframe_name
from backtester.market.series import BarSource, built_notes, ceil_to, check_symbols
from backtester.market.span import HiddenSeries, Span, SymbolSeries, resolve_span, symbol_series
from backtester.market.store import Store


@dataclass(frozen=True, eq=False)
class Bars:
    """Open, high, low and close of every symbol on one grid.

    Attributes
    ----------
    open, high, low, close : ndarray of float64, shape (symbols, bars)
        Prices, C-contiguous; NaN where the symbol has no bar yet, or no more. Holes that were permitted hold the last
        close.
    """

    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Settlements:
    """Funding settlements of one symbol, ascending.

    Attributes
    ----------
    time : ndarray of int64
        Settlement times [ms since 1970, UTC], snapped to the minute.
    rate : ndarray of float64
        Funding rates [fraction of notional].
    mark_price : ndarray of float64
        The records' own mark prices; NaN where unknown.
    interval_hours : ndarray of float64
        Hours that each settlement covers, as measured from the records.
    """

    time: NDArray[np.int64]
    rate: NDArray[np.float64]
    mark_price: NDArray[np.float64]
    interval_hours: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Panel:
    """All series of a run on one clock.

    Attributes
    ----------
    venue : str
        Name of the store's venue.
    symbols : tuple of str
        The first axis of every array: those that are traded, in the configured order, then those of ``hidden``.
    timeframe_ms : int
        Length of a trade bar [ms].
    open_time : ndarray of int64, shape (bars,)
        Opens of the trade bars; the last one ends at ``end``.
    trade : Bars
        Traded prices.
    volume : ndarray of float64, shape (symbols, bars), or None
        Traded volume [base units], NaN where unknown, 0 in permitted holes; None where no symbol's series has any.
    mark : Bars
        Mark prices on ``mark_open_time``; those of a spot pair are its trades.
    mark_open_time : ndarray of int64
        Equal grids: the very array ``open_time``; else the opens of the coarser bars that cover the range.
    mark_timeframe_ms : int
        Length of a mark bar [ms].
    index : Bars or None
        Index prices on the trade grid. Of an index on another grid each bar holds what was known of it: ``close`` is
        the close of the last index bar that had closed by the bar's end; ``open`` the same at the bar's open, or the
        open of an index bar that opens at that very moment; ``high`` and ``low`` are the larger and the smaller of
        both. ``notes`` says which series was carried so, and how old its values can be. That of a spot pair are its
        trades.
    settlements : tuple of Settlements
        One per symbol, within ``[open_time[0], end)``.
    mark_is_trade : bool
        The traded prices serve as mark, of every symbol.
    notes : tuple of str
        What was cut, assumed or built, one sentence each.
    last_bar : ndarray of int64, shape (symbols,)
        Place of the last bar of a symbol that was delisted inside the range, -1 where it goes on. Later bars are NaN.
        Empty: all go on.
    hidden : int
        How many of the last symbols value what is held and are not traded.
    """

    venue: str
    symbols: tuple[str, ...]
    timeframe_ms: int
    open_time: NDArray[np.int64]
    trade: Bars
    volume: NDArray[np.float64] | None
    mark: Bars
    mark_open_time: NDArray[np.int64]
    mark_timeframe_ms: int
    index: Bars | None
    settlements: tuple[Settlements, ...]
    mark_is_trade: bool
    notes: tuple[str, ...] = ()
    last_bar: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    hidden: int = 0

    @property
    def traded_symbols(self) -> tuple[str, ...]:
        """Symbols that a strategy trades."""
        return self.symbols[: len(self.symbols) - self.hidden]

    @property
    def start(self) -> int:
        """Open of the first bar [ms since 1970, UTC]."""
        return int(self.open_time[0])

    @property
    def end(self) -> int:
        """End of the last bar [ms since 1970, UTC], excluded."""
        return int(self.open_time[-1]) + self.timeframe_ms


def load_panel(  # noqa: PLR0917 - store, place and range read in one natural order
    store: Store,
    venue: str,
    symbols: Sequence[str],
    timeframe: str,
    start: int | None = None,
    end: int | None = None,
    *,
    mark: str = "mark",
    mark_timeframe: str | None = None,
    allow_gaps: bool = False,
    funding: bool = True,
    index: bool = False,
    hidden: Sequence[HiddenSeries] = (),
) -> Panel:
    """Load the series of a run onto one clock.

    Parameters
    ----------
    store : Store
        Where they are stored.
    venue : str
        Name of the store's venue.
    symbols : sequence of str
        Contracts and spot pairs, in the order of every array. A spot pair (a name without a settlement currency) needs
        its trades alone.
    timeframe : str
        Bar of the replay; where it is not stored it is built from the finest stored one that divides it.
    start, end : int, optional
        Range [ms since 1970, UTC], end excluded. With a start, symbols whose series begin later join late; without, the
        longest span that every needed series covers is taken.
    mark : {"mark", "trade"}
        Series on which margin is judged.
    mark_timeframe : str, optional
        Bar of the mark series; None: the traded bar where stored or built, else the finest multiple of it.
    allow_gaps : bool
        Go on over holes. Where a part of the symbols has no bar, their prices stay at the last close and nothing trades
        (volume 0); where no symbol has one, the clock leaves the time out. A symbol whose data ends before an ``end``
        that was asked for ends there, as if it was delisted.
    funding : bool
        Whether settlements are needed.
    index : bool
        Whether index bars are needed.
    hidden : sequence of HiddenSeries
        Series of what is held and not traded; they take the last rows and must reach over the whole range.

    Returns
    -------
    Panel
        Contiguous arrays, checked.

    Raises
    ------
    UsageError
        The venue or a symbol is unknown, or the range is empty.
    DataError
        The data must be refused: see section 8 of the accounting specification.
    """
    if not symbols:
        raise UsageError("No symbol is named.", "Give --symbols.")
    check_symbols(store, venue, symbols)
    step = timeframe_ms(timeframe)
    found = symbol_series(
        store,
        venue,
        symbols,
        step,
        mark=mark,
        mark_timeframe=mark_timeframe,
        funding=funding,
        index=index,
        hidden=hidden,
    )
    span = resolve_span(found, start, end, allow_ends=allow_gaps)
    grids = _load_grids(store, found, span, allow_gaps=allow_gaps)
    sources = [s for series in found for s in series.bar_sources]
    stored = [s for s in sources if isinstance(s, BarSource)]
    notes = [*span.notes, *built_notes(stored), *carried_notes(sources)]
    notes += grids.index.notes if grids.index is not None else ()
    notes += filled_notes(store, stored, span.start, span.end)
    joins = span.joins
    if allow_gaps:
        grids, joins, gap_notes = _bridge(grids, found, span)
        notes += gap_notes
    trade = Bars(*grids.trade.prices)
    notes += _mark_notes(grids, found, step)
    last = int(grids.trade.time[-1]) + step
    stops = [min(stop, last) for stop in span.stops]
    return Panel(
        venue=venue,
        symbols=tuple(series.symbol for series in found),
        timeframe_ms=step,
        open_time=grids.trade.time,
        trade=trade,
        volume=grids.trade.volume,
        mark=trade if grids.mark is None else Bars(*grids.mark.prices),
        mark_open_time=grids.trade.time if grids.mark is None or grids.coarseness == 1 else grids.mark.time,
        mark_timeframe_ms=step * grids.coarseness,
        index=None if grids.index is None else Bars(*grids.index.prices),
        settlements=tuple(
            _settlements(s.funding, join, stop) for s, join, stop in zip(found, joins, stops, strict=True)
        ),
        mark_is_trade=grids.mark is None,
        notes=tuple(notes),
        last_bar=_last_bars(grids.trade.time, span),
        hidden=len(hidden),
    )


def _last_bars(time: NDArray[np.int64], span: Span) -> NDArray[np.int64]:
    """Return the place of each symbol's last bar on the clock, -1 where it goes on."""
    stops = np.array(span.stops, np.int64)
    return np.where(stops < span.end, np.searchsorted(time, stops, side="left") - 1, -1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class _Grids:
    """The series of bars as read; ``coarseness`` is how many traded bars a mark bar spans."""

    trade: Grid
    mark: Grid | None
    index: Grid | None
    coarseness: int


def _load_grids(store: Store, found: Sequence[SymbolSeries], span: Span, *, allow_gaps: bool) -> _Grids:
    step = found[0].trade.step_ms
    mark_step = max((s.mark.step_ms for s in found if s.mark is not None), default=step)
    clock = np.arange(span.start, span.end, step, dtype=np.int64)
    mark_clock = clock
    if mark_step != step:
        mark_clock = np.arange(span.start, ceil_to(span.end, mark_step, span.start), mark_step, dtype=np.int64)
    _check_files(store, found, span)
    spans = list(zip(span.joins, span.stops, strict=True))
    trade = load_grid(store, [s.trade for s in found], spans, clock, step, allow_gaps=allow_gaps)

    def load(sources: Sequence[Source | None], time: NDArray[np.int64], length: int) -> Grid | None:
        if not any(sources):
            return None
        grid = load_grid(store, sources, spans, time, length, allow_gaps=allow_gaps)
        return with_own_trades(grid, trade, _spot_rows(found), length // step)

    mark = load([s.mark for s in found], mark_clock, mark_step)
    return _Grids(trade, mark, load([s.index for s in found], clock, step), mark_step // step)


def _spot_rows(found: Sequence[SymbolSeries]) -> list[int]:
    return [i for i, series in enumerate(found) if series.is_spot]


def _check_files(store: Store, found: Sequence[SymbolSeries], span: Span) -> None:
    """Compare the files that are to be read with their checksums, several at once: hashing frees the other cores."""
    wanted = [source for series in found for source in series.bar_sources]
    with ThreadPoolExecutor(min(len(wanted), os.cpu_count() or 1)) as pool:
        for _ in pool.map(lambda source: source.files(store, span.start, span.end), wanted):
            pass  # the first refusal is raised here


def _bridge(grids: _Grids, found: Sequence[SymbolSeries], span: Span) -> tuple[_Grids, tuple[int, ...], list[str]]:
    """Bridge permitted holes and leave out the times at which no symbol traded.

    Under a coarse mark whole mark bars stay or go, so that each still begins with its first traded bar.
    """
    fine = [g for g in (grids.trade, grids.index) if g is not None]
    if grids.coarseness == 1 and grids.mark is not None:
        fine.append(grids.mark)
    block = np.arange(len(grids.trade.time)) // grids.coarseness
    starts = np.logical_and.reduce([_presence(g) for g in fine])[:, :: grids.coarseness]
    if grids.coarseness > 1 and grids.mark is not None:
        starts = starts & _presence(grids.mark)
    for series, row in zip(found, starts, strict=True):
        if not row.any():
            raise DataError(
                series.trade.name, "no bar can be replayed in the range from", span.start, "Choose another span."
            )
    stops = np.array(span.stops)[:, None]
    live = np.logical_or.accumulate(starts, axis=1) & (grids.trade.time[:: grids.coarseness] < stops)
    fine_live = live[:, block] & (grids.trade.time < stops)
    traded = _presence(grids.trade) & fine_live
    keep = np.zeros(live.shape[1], dtype=np.bool_)
    keep[block[traded.any(axis=0)]] = True

    def whole(grid: Grid | None, *, coarse: bool) -> Grid | None:
        if grid is None:
            return None
        return selected(bridged(grid, live if coarse else fine_live), keep if coarse else keep[block])

    trade = whole(grids.trade, coarse=False)
    assert trade is not None
    mark = whole(grids.mark, coarse=grids.coarseness > 1)
    if mark is not None:  # a coarse bar of a spot pair opens with the first bridged one
        with_own_trades(mark, trade, _spot_rows(found), grids.coarseness)
    out = _Grids(trade, mark, whole(grids.index, coarse=False), grids.coarseness)
    joins = tuple(int(grids.trade.time[:: grids.coarseness][k]) for k in live.argmax(axis=1))
    return out, joins, _gap_notes(grids, found, live, fine_live)


def _presence(grid: Grid) -> NDArray[np.bool_]:
    assert grid.present is not None
    return grid.present


def _gap_notes(
    grids: _Grids, found: Sequence[SymbolSeries], live: NDArray[np.bool_], fine_live: NDArray[np.bool_]
) -> list[str]:
    notes = []
    named = (("trade", grids.trade), ("mark", grids.mark), ("index", grids.index))
    for name, grid in ((n, g) for n, g in named if g is not None):
        holes = (fine_live if len(grid.time) == fine_live.shape[1] else live) & ~_presence(grid)
        own = _spot_rows(found) if name != "trade" else []  # their holes are those of the trades
        for i in (i for i in np.flatnonzero(holes.any(axis=1)).tolist() if i not in own):
            first = format_time(int(grid.time[int(np.argmax(holes[i]))]))
            count = int(holes[i].sum())
            notes.append(
                f"{found[i].symbol}: {count} bar{'s' * (count > 1)} of the {name} series missing, first at {first}. "
                "The run goes on over them (allow_gaps): positions are held and nothing trades meanwhile."
            )
    return notes


def _mark_notes(grids: _Grids, found: Sequence[SymbolSeries], step: int) -> list[str]:
    if all(series.is_spot for series in found):
        return []
    if grids.mark is None:
        return ['Margin is judged on traded prices (data.mark = "trade").']
    if grids.coarseness == 1:
        return []
    mark, trade = timeframe_name(step * grids.coarseness), timeframe_name(step)
    return [
        f"The mark is known at {mark} only, the trades at {trade}: between two mark opens it follows the traded price, "
        f"and liquidation is checked on the {mark} bars' own path too."
    ]


def _settlements(records: FundingRecords | None, start: int, end: int) -> Settlements:
    if records is None:
        none = np.empty(0)
        return Settlements(np.empty(0, dtype=np.int64), none, none, none)
    rows = records.rows(start, end)
    return Settlements(
        time=np.ascontiguousarray(records.time[rows]),
        rate=np.ascontiguousarray(records.rate[rows]),
        mark_price=np.ascontiguousarray(records.mark_price[rows]),
        interval_hours=np.ascontiguousarray(records.interval_hours[rows]),
    )
