"""Which series a run needs, and the span that they cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backtester.domain.instrument import is_spot_name
from backtester.errors import DataError, UsageError, format_time
from backtester.market.carry import source_on
from backtester.market.funding_records import FundingRecords
from backtester.market.schema import timeframe_ms, timeframe_name
from backtester.market.series import bar_source, ceil_to, delisting, floor_to, stored_timeframes, trade_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backtester.market.carry import Source
    from backtester.market.series import BarSource
    from backtester.market.store import Store

_LATE_MS = 86_400_000  # how long before its delisting the bars of a symbol may end
_ENDED = "ends before the run does"


@dataclass(frozen=True)
class HiddenSeries:
    """A series that values what is held and is not traded: one more row of a panel.

    Attributes
    ----------
    name : str
        What the row is called.
    symbol : str
        Unified name of whose series it is.
    series : str
        ``"trade"``, ``"index"`` or ``"mark"``.
    """

    name: str
    symbol: str
    series: str


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
        Mark bars; None where the traded prices serve as mark, as those of a spot pair always do.
    index : BarSource, CarriedSource or None
        Index bars where they are needed, carried where they stand on another grid than the trades; None for spot.
    funding : FundingRecords or None
        Settlements where they are needed; None for spot.
    is_spot : bool
        Whether the traded prices are mark and index too.
    is_hidden : bool
        Whether it values what is held from the start and is not traded.
    delisted : int or None
        End of trading by the stored terms [ms]; None: unknown, or not yet.
    """

    symbol: str
    trade: BarSource
    mark: BarSource | None
    index: Source | None
    funding: FundingRecords | None
    is_spot: bool = False
    is_hidden: bool = False
    delisted: int | None = None

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

    @property
    def delisting_end(self) -> int | None:
        """End of the last bar of a symbol that was delisted [ms]; None where it goes on, or its last bars are missing.

        Bars that were stored after the delisting are of no market and left out.
        """
        if self.delisted is None or self.delisted <= self.first_bar:
            return None
        wanted, have = ceil_to(self.delisted, self.trade.step_ms, self.trade.first), self.last_end[0]
        return min(wanted, have) if have >= wanted - _LATE_MS else None


@dataclass(frozen=True)
class Span:
    """The replayed range.

    Attributes
    ----------
    start, end : int
        First open and end of the last bar [ms].
    joins : tuple of int
        First open of each symbol inside the range [ms].
    stops : tuple of int
        End of each symbol's last bar inside the range [ms]; ``end`` where it goes on.
    notes : tuple of str
        What was moved or cut, who joins late and who ends early.
    """

    start: int
    end: int
    joins: tuple[int, ...]
    stops: tuple[int, ...]
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
    hidden: Sequence[HiddenSeries] = (),
) -> tuple[SymbolSeries, ...]:
    """Find the series of each symbol, refusing those that a run needs and the store does not hold.

    Spot pairs need their trades alone. Hidden series come last.
    """
    contracts = [symbol for symbol in symbols if not is_spot_name(symbol)]
    has_marks = mark != "trade" and bool(contracts)
    mark_ms = _mark_step(store, venue, contracts, step_ms, mark_timeframe) if has_marks else step_ms
    found = []
    for symbol in symbols:
        trade = trade_source(store, venue, symbol, step_ms)
        delisted = delisting(store, venue, symbol)
        if is_spot_name(symbol):
            found.append(SymbolSeries(symbol, trade, None, None, None, is_spot=True, delisted=delisted))
            continue
        found.append(
            SymbolSeries(
                symbol=symbol,
                trade=trade,
                mark=bar_source(store, venue, symbol, "mark", mark_ms) if has_marks else None,
                index=_index_source(store, trade) if index else None,
                funding=FundingRecords(store, venue, symbol) if funding else None,
                delisted=delisted,
            )
        )
    found += [_hidden_series(store, venue, row, step_ms) for row in hidden]
    _check_grids(found)
    return tuple(found)


def _hidden_series(store: Store, venue: str, row: HiddenSeries, step_ms: int) -> SymbolSeries:
    source = bar_source(store, venue, row.symbol, row.series, step_ms)
    if source is None:
        raise DataError(
            f"{venue} {row.symbol} {row.series} {timeframe_name(step_ms)}",
            f"there are no bars that value {row.name}",
            hint="Import or fetch the series at this timeframe, or at one that divides it.",
        )
    return SymbolSeries(row.name, source, None, None, None, is_spot=True, is_hidden=True)


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


def is_ended_note(note: str) -> bool:
    """Return whether a note says that a symbol's series ended before the run, and no terms say why."""
    return _ENDED in note


def resolve_span(
    found: Sequence[SymbolSeries], start: int | None, end: int | None, *, allow_ends: bool = False
) -> Span:
    """Return the range to replay.

    A symbol that was delisted, by its stored terms, ends there and bounds nobody else.

    Parameters
    ----------
    found : sequence of SymbolSeries
        What is read.
    start, end : int or None
        As asked for [ms], end excluded; None takes the longest span that every series covers.
    allow_ends : bool
        Let a symbol end where its series end before an ``end`` that was asked for, as if it was delisted there.

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
    going_on = [series for series in found if series.delisting_end is None and not series.is_hidden]
    # where all were delisted, the one that ended last bounds the span
    going_on = going_on or [max(found, key=lambda series: series.delisting_end or 0)]
    going_on += [series for series in found if series.is_hidden]
    if end is None:
        last = _longest_end(going_on, grid, phase, notes)
        ended = {}
    else:
        last = floor_to(end, step, phase)
        ended = _early_ends(going_on, last) if allow_ends else {}
        left = [series for series in going_on if series.symbol not in ended]
        _explicit_end(left, end, last, first, notes)
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
        if begin > first and series.is_hidden:
            raise DataError(
                series.trade.name,
                f"it values {series.symbol}, which is held from the start, and begins",
                begin,
                f"Use --start {_argument(begin)} or later, or import earlier bars.",
            )
        if begin > first:
            notes.append(f"{series.symbol} joins at its first bar, {format_time(begin)}.")
    joins = tuple(max(first, begin) for begin in first_bars)
    stops = _stops(found, joins, last, ended, notes)
    return Span(first, last, joins, stops, tuple(notes))


def _early_ends(found: Sequence[SymbolSeries], last: int) -> dict[str, int]:
    """Return the end of each traded symbol whose series end before the range does; none where all of them do."""
    early = {s.symbol: s.last_end[0] for s in found if s.last_end[0] < last and not s.is_hidden}
    return early if len(early) < len(found) else {}


def _stops(
    found: Sequence[SymbolSeries], joins: Sequence[int], last: int, ended: dict[str, int], notes: list[str]
) -> tuple[int, ...]:
    """Return the end of each symbol's last bar, and note those that end before the range."""
    stops = []
    for series, join in zip(found, joins, strict=True):
        stop = ended.get(series.symbol, series.delisting_end)
        if stop is None or stop >= last:
            stops.append(last)
            continue
        if stop <= join:
            raise DataError(
                series.trade.name,
                "it has no bar in the range: it ends",
                stop,
                "Leave the symbol out, or give an earlier --start.",
            )
        stops.append(stop)
        if series.symbol in ended:
            notes.append(
                f"{series.symbol}: its data {_ENDED}, at {format_time(stop)}, and no stored terms say that it was "
                "delisted (allow_gaps): what is held is settled at the close of its last bar."
            )
        else:
            notes.append(f"{series.symbol} was delisted: its last bar ends at {format_time(stop)}.")
    return tuple(stops)


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


def _explicit_end(found: Sequence[SymbolSeries], asked: int, last: int, first: int, notes: list[str]) -> None:
    for series in found:
        end, name = series.last_end
        if end < last:
            earlier = min(s.last_end[0] for s in found)
            hint = f"Use --end {_argument(earlier)} or earlier, or leave the end out."
            if earlier <= first:  # no end would help
                hint = f"Start before {_argument(earlier)} too, or leave the symbol out."
            elif len(found) > 1:
                hint += (
                    " A symbol that was delisted ends where the stored terms say so; with data.allow_gaps = true it "
                    "ends with its data."
                )
            raise DataError(name, f"it ends before {format_time(asked)}, namely", end, hint)
    if last != asked:
        notes.append(f"The end {format_time(asked)} is no bar's end: the run ends at {format_time(last)}.")


def _fundings(found: Sequence[SymbolSeries]) -> list[FundingRecords]:
    return [series.funding for series in found if series.funding is not None]


def _argument(ms: int) -> str:
    """Return a time as ``--start`` and ``--end`` take it."""
    return format_time(ms).removesuffix(" UTC").replace(" ", "T")
