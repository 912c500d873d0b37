"""Whether the series of one symbol cover each other and the life of the contract."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from backtester.domain.instrument import is_spot_name
from backtester.errors import format_time
from backtester.market.quality.finding import CUT_HINT, Code, Finding, Severity, counted, from_to, length
from backtester.market.schema import BAR_SERIES, DatasetKey, timeframe_ms

if TYPE_CHECKING:
    import polars as pl

    from backtester.market.quality.symbol_data import SymbolData

_NEEDED = ("mark", "funding")  # a run is cut to the span of these; the others some strategies read
_DAY_MS = 86_400_000


def check_companions(data: SymbolData, key: DatasetKey) -> Iterator[Finding]:
    """Yield what a run over traded bars would miss; asked once a symbol, for its coarsest timeframe.

    A spot pair needs nothing but its trades.
    """
    if key != data.of("trade")[-1] or is_spot_name(key.symbol):
        return
    have = {k.series for k in data.keys}
    wanted: tuple[tuple[str, Code, str, str], ...] = (
        (
            "mark",
            "no_mark",
            "no mark series: margin would be judged on traded prices",
            'Import it, or run with data.mark = "trade".',
        ),
        ("funding", "no_funding", "no funding records", 'Import them, or run with funding.source = "none".'),
        (
            "tiers",
            "no_tiers",
            "no margin tiers: every run of it is refused until they are imported or stated",
            "Import them (--format ccxt-tiers), or state [[tiers.SYMBOL]] in the run file.",
        ),
    )
    for series, code, text, hint in wanted:
        if series not in have:
            yield Finding("warning", code, key, None, None, 0, text, hint)


def check_ends(data: SymbolData, key: DatasetKey, interval_ms: int) -> Iterator[Finding]:
    """Yield where a series begins after the trades, ends before them or goes on after them.

    Parameters
    ----------
    data : SymbolData
        What is stored of the symbol.
    key : DatasetKey
        Bars or settlements.
    interval_ms : int
        Length of a bar, or the interval of the newest settlement: what lacks or exceeds less than that is whole.
    """
    span, trades = data.span(key), data.trade_span()
    if span is None or trades is None:
        return
    severity: Severity = "warning" if key.series in _NEEDED else "info"
    verb = "the records" if key.series == "funding" else "the bars"
    # the first settlement comes an interval after the listing; the first coarse bar may open before it
    leeway = max(interval_ms + (key.series == "funding"), data.first_trade_step())
    if span[0] - trades[0] >= leeway:
        text = f"{verb} begin at {format_time(span[0])}, the trades at {format_time(trades[0])}"
        yield Finding(severity, "starts_late", key, trades[0], span[0], 0, text, CUT_HINT)
    # a bar ends with its span, a settlement is due an interval after the last one
    lacks = trades[1] - span[1]
    leeway = max(interval_ms + (key.series == "funding"), data.last_trade_step())
    if lacks >= leeway:
        text = f"{verb} end at {format_time(span[1])}, the trades at {format_time(trades[1])}"
        yield Finding(severity, "ends_early", key, span[1], trades[1], 0, text, CUT_HINT)
    if -lacks >= interval_ms:
        text = f"{verb} go on to {format_time(span[1])}, {length(-lacks)} after the end of the trades"
        yield Finding("info", "ends_late", key, trades[1], span[1], 0, text, CUT_HINT)


def check_listing(data: SymbolData, key: DatasetKey, frame: pl.DataFrame) -> Iterator[Finding]:
    """Yield rows outside the life of the contract, and trades that do not span it.

    Parameters
    ----------
    data : SymbolData
        What is stored of the symbol.
    key : DatasetKey
        Bars or settlements.
    frame : DataFrame
        Its rows.
    """
    terms = data.store.instruments(key.venue, key.symbol)
    listed = next((i.listed for i in reversed(terms) if i.listed is not None), None)
    delisted = next((i.delisted for i in reversed(terms) if i.delisted is not None), None)
    times = frame[str(key.schema.time)].dt.epoch("ms")
    step = timeframe_ms(key.timeframe) if key.series in BAR_SERIES else 1
    noun = "bar" if key.series in BAR_SERIES else "settlement"
    if listed is not None and len(early := times.filter(times + step <= listed)):
        yield Finding(
            "warning",
            "before_listing",
            key,
            int(early[0]),
            listed,
            len(early),
            f"{counted(len(early), noun)} before the listing at {format_time(listed)}, "
            f"{from_to(int(early[0]), int(early[-1]))}",
            "Another contract of the same name, or a listing date that is wrong: begin runs after it.",
        )
    if delisted is not None and len(late := times.filter(times >= delisted)):
        yield Finding(
            "warning",
            "after_delisting",
            key,
            int(late[0]),
            int(late[-1]) + step,
            len(late),
            f"{counted(len(late), noun)} after the delisting at {format_time(delisted)}, "
            f"{from_to(int(late[0]), int(late[-1]))}",
            "Nobody could trade then: end runs before it.",
        )
    if key.series == "trade" and len(times):
        yield from _life(key, int(times[0]), int(times[-1]) + step, listed, delisted)


def _life(key: DatasetKey, first: int, end: int, listed: int | None, delisted: int | None) -> Iterator[Finding]:
    """Yield parts of the contract's life of which no trades are stored."""
    fetch = "Fetch it where it is needed: `backtester data fetch`."
    if listed is not None and first - listed > _DAY_MS:
        text = (
            f"the bars begin at {format_time(first)}, {length(first - listed)} after the listing at "
            f"{format_time(listed)}"
        )
        yield Finding("info", "starts_after_listing", key, listed, first, 0, text, fetch)
    if delisted is not None and delisted - end > _DAY_MS and delisted <= time.time() * 1000:
        text = (
            f"the bars end at {format_time(end)}, {length(delisted - end)} before the delisting at "
            f"{format_time(delisted)}"
        )
        hint = f"Positions that are held to the end are not closed by the delisting. {fetch}"
        yield Finding("warning", "ends_before_delisting", key, end, delisted, 0, text, hint)
