"""Which series a run needs, and the span that they cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backtester.errors import DataError, UsageError, format_time
from backtester.market.carry import source_on
from backtester.market.funding_records import FundingRecords
from backtester.market.schema import timeframe_ms, timeframe_name
from backtester.market.series import bar_source, ceil_to, floor_to, stored_timeframes, trade_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backtester.market.carry import Source
    from backtester.market.series import BarSource
    from backtester.market.store import Store


@dataclass(frozen=True, eq=False)
class SymbolSeries:
    """The series of one symbol that a run reads.

    Attributes
    ----------
    symbol : str
        Unified name.
    trade : BarSource
        Traded bars.
    mark : BarSource or None
        Mark bars; None where the traded prices serve as mark.
    index : BarSource, CarriedSource or None
        Index bars where they are needed, carried where they stand on another grid than the trades.
    funding : FundingRecords or None
        Settlements where they are needed.
    """

    symbol: str
    trade: BarSource
    mark: BarSource | None
    index: Source | None
    funding: FundingRecords | None

    @property
    def bar_sources(self) -> list[Source]:
        """All series of bars."""
        return [s for s in (self.trade, self.mark, self.index) if s is not None]

    @property
    def latest_source(self) -> Source:
        """The series of bars that begins last."""
        return max(self.bar_sources, key=lambda s: s.first)

    @property
    def first_bar(self) -> int:
        """First open from which all series of bars are there [ms]."""
        return self.latest_source.first

    @property
    def last_end(self) -> tuple[int, str]:
        """End of the bars [ms], and the series that ends first."""
        shortest = min(self.bar_sources, key=lambda s: s.end)
        return shortest.end, shortest.name


@dataclass(frozen=True)
class Span:
    """The replayed range.

    Attributes
    ----------
    start, end : int
        First open and end of the last bar [ms].
    joins : tuple of int
        First open of each symbol inside the range [ms].
    notes : tuple of str
        What was moved or cut, and who joins late.
    """

    start: int
    end: int
    joins: tuple[int, ...]
    notes: tuple[str, ...]


def symbol_series(
    store: Store,
    venue: str,
    symbols: Sequence[str],
    step_ms: int,
    *,
    mark: str,
    mark_timeframe: str | None,
    funding: bool,
    index: bool,
) -> tuple[SymbolSeries, ...]:
    """Find the series of each symbol, refusing those that a run needs and the store does not hold."""
    mark_ms = step_ms if mark == "trade" else _mark_step(store, venue, symbols, step_ms, mark_timeframe)
    trades = [trade_source(store, venue, symbol, step_ms) for symbol in symbols]
    found = tuple(
        SymbolSeries(
            symbol=symbol,
            trade=trade,
            mark=bar_source(store, venue, symbol, "mark", mark_ms) if mark != "trade" else None,
            index=_index_source(store, trade) if index else None,
            funding=FundingRecords(store, venue, symbol) if funding else None,
        )
        for symbol, trade in zip(symbols, trades, strict=True)
    )
    _check_grids(found)
    return found


def _mark_step(store: Store, venue: str, symbols: Sequence[str], step_ms: int, mark_timeframe: str | None) -> int:
    """Return the length of a mark bar: the trade bar's where it is stored or can be built, else the finest multiple."""
    available = []
    for symbol in symbols:
        stored = stored_timeframes(store, venue, symbol, "mark")
        if not stored:
            raise DataError(
                f"{venue} {symbol} mark",
                "there is no mark series",
                hint='Import or fetch it, or judge margin on traded prices with data.mark = "trade".',
            )
        available.append(stored)
    if mark_timeframe is not None:
        wanted = [timeframe_ms(mark_timeframe)]
    else:
        multiples = {ms for stored in available for ms in stored if ms % step_ms == 0}
        wanted = [step_ms, *sorted(multiples - {step_ms})]
    for candidate in wanted:
        if candidate % step_ms == 0 and all(any(candidate % ms == 0 for ms in stored) for stored in available):
            return candidate
    worst = min(range(len(symbols)), key=lambda i: any(ms % step_ms == 0 for ms in available[i]))
    names = ", ".join(timeframe_name(ms) for ms in available[worst])
    asked = f" at {mark_timeframe}" if mark_timeframe is not None else ""
    raise DataError(
        f"{venue} {symbols[worst]} mark ({names})",
        f"its grid{asked} is neither that of the {timeframe_name(step_ms)} trades nor an exact multiple",
        hint='Choose another data.timeframe or data.mark_timeframe, import a finer mark, or use data.mark = "trade".',
    )


def _index_source(store: Store, trade: BarSource) -> Source:
    found = source_on(store, trade, "index")
    if found is None:
        raise DataError(
            f"{trade.key.venue} {trade.key.symbol} index {timeframe_name(trade.step_ms)}",
            "there is no index series",
            hint='Import or fetch it, or value settlements at the mark with funding.price = "mark".',
        )
    return found


def _check_grids(found: Sequence[SymbolSeries]) -> None:
    reference = found[0].trade
    by_step: dict[int, Source] = {reference.step_ms: reference}
    for source in (s for series in found for s in series.bar_sources):
        twin = by_step.setdefault(source.step_ms, source)
        for other, grid in ((reference, reference.step_ms), (twin, source.step_ms)):
            if (source.first - other.first) % grid != 0:
                raise DataError(
                    source.name,
                    f"its bars do not open on the grid of {other.name}",
                    source.first,
                    'Import the series on one grid; without a fitting mark there is data.mark = "trade".',
                )


def resolve_span(found: Sequence[SymbolSeries], start: int | None, end: int | None) -> Span:
    """Return the range to replay.

    Parameters
    ----------
    found : sequence of SymbolSeries
        What is read.
    start, end : int or None
        As asked for [ms], end excluded; None takes the longest span that every series covers.

    Raises
    ------
    UsageError
        The range is empty.
    DataError
        No symbol has data from the start on, or a series ends before the end.
    """
    if start is not None and end is not None and start >= end:
        raise UsageError(
            f"The range is empty: it starts at {format_time(start)} and ends at {format_time(end)}.",
            "Give an --end after --start; the end itself is excluded.",
        )
    step = found[0].trade.step_ms
    coarsest = max((s for series in found for s in series.bar_sources), key=lambda s: s.step_ms)
    grid, phase = coarsest.step_ms, coarsest.first
    notes: list[str] = []
    first_bars = [ceil_to(series.first_bar, grid, phase) for series in found]
    if start is None:
        first = _longest_start(found, first_bars, grid, phase, notes)
    else:
        first = _explicit_start(found, first_bars, (start, end), ceil_to(start, grid, phase), notes)
    if end is None:
        last = _longest_end(found, grid, phase, notes)
    else:
        last = _explicit_end(found, end, floor_to(end, step, phase), first, notes)
    if last <= first and start is not None and end is None:
        end_name = min(found, key=lambda series: series.last_end[0]).last_end[1]
        raise DataError(
            end_name, f"the start {format_time(start)} is not before the end of the data,", last, "Start earlier."
        )
    if last <= first:
        raise DataError(
            found[0].trade.name,
            f"no bar is covered by every needed series: they would start at {format_time(first)} and end "
            f"at {format_time(last)}",
            hint="Name fewer symbols, or give a --start: symbols then join at their first bar.",
        )
    for series, begin in zip(found, first_bars, strict=True):
        if begin >= last:
            raise DataError(
                series.trade.name, "it has no bar before the end; its first is", begin, "Leave the symbol out."
            )
        if begin > first:
            notes.append(f"{series.symbol} joins at its first bar, {format_time(begin)}.")
    return Span(first, last, tuple(max(first, begin) for begin in first_bars), tuple(notes))


def _longest_start(
    found: Sequence[SymbolSeries], first_bars: Sequence[int], grid: int, phase: int, notes: list[str]
) -> int:
    limits = [(begin, series.latest_source.name) for series, begin in zip(found, first_bars, strict=True)]
    limits += [(ceil_to(f.cover[0], grid, phase), f.name) for f in _fundings(found) if f.cover is not None]
    first, name = max(limits, key=lambda limit: limit[0])
    earliest = min(series.trade.first for series in found)
    if earliest < first:
        notes.append(
            f"The run starts at {format_time(first)}, where {name} begins: earlier bars, from {format_time(earliest)} "
            "on, are left out. An explicit start lets symbols join at their first bar."
        )
    return first


def _longest_end(found: Sequence[SymbolSeries], grid: int, phase: int, notes: list[str]) -> int:
    limits = [(floor_to(series.last_end[0], grid, phase), series.last_end[1]) for series in found]
    limits += [(floor_to(f.cover[1], grid, phase), f.name) for f in _fundings(found) if f.cover is not None]
    last, name = min(limits, key=lambda limit: limit[0])
    latest = max(series.trade.end for series in found)
    if latest > last:
        notes.append(
            f"The run ends at {format_time(last)}, where {name} ends: later bars, until {format_time(latest)}, "
            "are left out."
        )
    return last


def _explicit_start(
    found: Sequence[SymbolSeries],
    first_bars: Sequence[int],
    asked: tuple[int, int | None],
    first: int,
    notes: list[str],
) -> int:
    earliest = min(first_bars)
    start, end = asked
    if earliest > first:
        source = found[first_bars.index(earliest)].latest_source
        is_before = end is not None and end <= earliest
        raise DataError(
            source.name,
            f"data begins {format_time(earliest)}, after the end of the range"
            if is_before
            else f"data begins {format_time(earliest)}, after the start {format_time(start)}",
            hint=f"Use --start {_argument(earliest)} or later{', and a later --end' if is_before else ''}.",
        )
    if first != start:
        notes.append(f"The start {format_time(start)} is no bar's open: the run starts at {format_time(first)}.")
    return first


def _explicit_end(found: Sequence[SymbolSeries], asked: int, last: int, first: int, notes: list[str]) -> int:
    for series in found:
        end, name = series.last_end
        if end < last:
            earlier = min(s.last_end[0] for s in found)
            hint = f"Use --end {_argument(earlier)} or earlier, or leave the end out."
            if earlier <= first:  # no end would help
                hint = f"Start before {_argument(earlier)} too, or leave the symbol out."
            raise DataError(name, f"it ends before {format_time(asked)}, namely", end, hint)
    if last != asked:
        notes.append(f"The end {format_time(asked)} is no bar's end: the run ends at {format_time(last)}.")
    return last


def _fundings(found: Sequence[SymbolSeries]) -> list[FundingRecords]:
    return [series.funding for series in found if series.funding is not None]


def _argument(ms: int) -> str:
    """Return a time as ``--start`` and ``--end`` take it."""
    return format_time(ms).removesuffix(" UTC").replace(" ", "T")
