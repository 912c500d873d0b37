"""What a fetch is asked for, and which contracts of an exchange that means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from backtester.errors import UnknownNameError, UsageError, format_time
from backtester.market.schema import BAR_SERIES, EVENT, EVENT_SERIES, SERIES_NAMES

DEFAULT_SERIES = ("trade", "mark", "index", "funding", "tiers", "instrument")
DEFAULT_TIMEFRAME = "1h"
FIRST_DAY_MS = 1_483_228_800_000  # 2017-01-01: older than any exchange that is served, BitMEX apart
_WILD = frozenset("*?[")


@dataclass(frozen=True)
class FetchRequest:
    """What to fetch.

    Attributes
    ----------
    venue : str
        Name of a rule pack, or of an exchange as ccxt knows it.
    symbols : tuple of str
        Unified names, or patterns with ``*``; empty with ``top`` or ``update``.
    series : tuple of str
        Series of the store; empty: `DEFAULT_SERIES`, with ``update`` those that are stored.
    timeframes : tuple of str
        Of bars; empty: `DEFAULT_TIMEFRAME`, with ``update`` those that are stored.
    start, end : int or None
        Range [ms], end excluded; None: all that there is, until now.
    top : int or None
        The contracts with the largest volume of the last day.
    update : bool
        Extend what is stored instead of naming symbols.
    again : bool
        Ask also for what the exchange did not have when it was asked before.
    workers : int
        Datasets at a time.
    """

    venue: str
    symbols: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    timeframes: tuple[str, ...] = ()
    start: int | None = None
    end: int | None = None
    top: int | None = None
    update: bool = False
    again: bool = False
    workers: int = 8

    def __post_init__(self) -> None:
        for name in self.series:
            if name not in SERIES_NAMES:
                raise UnknownNameError("series", name, SERIES_NAMES)
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise UsageError(
                f"The range is empty: it starts at {format_time(self.start)} and ends at {format_time(self.end)}.",
                "Give an --end after --start; the end itself is excluded.",
            )
        if self.update and self.top is not None:
            raise UsageError(
                "--update and --top exclude each other.", "An update takes what is stored, or the --symbols of it."
            )
        if not (self.symbols or self.top or self.update):
            raise UsageError(
                "Nothing says which contracts to fetch.",
                "Give --symbols BTC/USDT:USDT (or a pattern, '*/USDT:USDT'), --top 20, or --update for what is stored.",
            )

    def wanted(self, have: Iterable[tuple[str, str]] = ()) -> list[tuple[str, str]]:
        """Return pairs of series and timeframe to fetch of one symbol, ``"event"`` for those without bars.

        Parameters
        ----------
        have : iterable of tuple of str
            What is stored of it, for an update.
        """
        if self.update:
            return [
                (series, timeframe)
                for series, timeframe in have
                if (not self.series or series in self.series)
                and (not self.timeframes or timeframe in (*self.timeframes, EVENT))
            ]
        chosen = self.series or DEFAULT_SERIES
        bars = self.timeframes or (DEFAULT_TIMEFRAME,)
        events = [(series, EVENT) for series in ("instrument", "tiers", "funding") if series in chosen]
        assert set(EVENT_SERIES) == {"funding", "tiers", "instrument"}
        return [*events, *((series, t) for series in BAR_SERIES if series in chosen for t in bars)]


def is_pattern(symbol: str) -> bool:
    """Return whether a symbol stands for several."""
    return bool(_WILD & set(symbol))


def chosen_symbols(
    request: FetchRequest, contracts: Iterable[str], volumes: Mapping[str, float], where: str
) -> list[str]:
    """Return the contracts that a request names, sorted, those of ``top`` by volume.

    Parameters
    ----------
    request : FetchRequest
        Names and patterns; with ``top`` the largest of those that the patterns let through.
    contracts : iterable of str
        What the exchange trades.
    volumes : mapping of str to float
        Quote volume by contract, for ``top``.
    where : str
        The exchange, in an error.

    Raises
    ------
    UnknownNameError
        The exchange has no such contract, or none that fits a pattern.
    """
    known = sorted(contracts)
    found: list[str] = []
    for symbol in request.symbols or ("*",):
        if is_pattern(symbol):
            fitting = [name for name in known if fnmatchcase(name, symbol)]
            if not fitting:
                raise UnknownNameError("pattern", symbol, known, f"of {where}")
            found += fitting
        elif symbol in known:
            found.append(symbol)
        else:
            raise UnknownNameError("symbol", symbol, known, f"of {where}")
    unique = list(dict.fromkeys(found))
    if request.top is None:
        return unique
    largest = sorted(unique, key=lambda name: (-volumes.get(name, 0.0), name))
    return largest[: request.top]
