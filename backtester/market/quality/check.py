"""Whether stored data can be trusted: what is there against what should be, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from backtester.errors import StoreError
from backtester.market.intervals import HOUR_MS
from backtester.market.quality.bar_findings import check_bars
from backtester.market.quality.cover import check_companions, check_ends, check_listing
from backtester.market.quality.coverage import Coverage, bar_coverage, funding_coverage
from backtester.market.quality.events import check_funding, check_tiers
from backtester.market.quality.finding import Finding
from backtester.market.quality.symbol_data import SymbolData
from backtester.market.schema import BAR_SERIES, EVENT, DatasetKey, timeframe_ms
from backtester.market.store import Store

DIVERGENCE = 0.02
_RANK = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class Check:
    """What a check has shown.

    Attributes
    ----------
    coverage : tuple of Coverage
        One for each readable dataset of bars or settlements, in the order of the keys.
    findings : tuple of Finding
        The worst first.
    """

    coverage: tuple[Coverage, ...]
    findings: tuple[Finding, ...]


def check(
    store: Store,
    keys: Sequence[DatasetKey],
    *,
    divergence: float = DIVERGENCE,
    progress: Callable[[DatasetKey], None] | None = None,
) -> Check:
    """Compare datasets with what they should hold, each alone and each against its companions.

    Parameters
    ----------
    store : Store
        Where they are.
    keys : sequence of DatasetKey
        Which ones; companions of the same symbol are read where needed.
    divergence : float
        Distance of the traded from the mark close that is reported [fraction of the mark]; wicks are reported at
        one and a half times that.
    progress : callable, optional
        Told each dataset before it is read.
    """
    coverage: list[Coverage] = []
    findings: list[Finding] = []
    for (venue, symbol), group in groupby(sorted(keys), key=lambda k: (k.venue, k.symbol)):
        data = SymbolData(store, venue, symbol)
        for key in group:
            if progress is not None:
                progress(key)
            try:
                if not store.manifest(key).rows:
                    findings.append(_emptied(key))
                    continue
                coverage += _cover(data, key)
                findings += _check_one(data, key, divergence)
            except StoreError as e:
                findings.append(Finding("error", "damaged", key, None, None, 1, _bare(e.message, key), e.hint))
    return Check(tuple(coverage), tuple(sorted(findings, key=lambda f: (_RANK[f.severity], f.key, f.start or 0))))


def _cover(data: SymbolData, key: DatasetKey) -> list[Coverage]:
    if key.series in BAR_SERIES:
        return [bar_coverage(key, data.read(key))]
    return [funding_coverage(key, data.read(key))] if key.series == "funding" else []


def _emptied(key: DatasetKey) -> Finding:
    text = "its damaged files were deleted, and nothing has taken their place"
    return Finding("error", "damaged", key, None, None, 0, text, "Fetch or import it again.")


def _bare(message: str, key: DatasetKey) -> str:
    """Return an error's sentence without the name of its dataset and its stop: a finding has both."""
    return message.removeprefix(f"{key}: ").rstrip(".")


def _check_one(data: SymbolData, key: DatasetKey, divergence: float) -> Iterator[Finding]:
    if key.series == "tiers":
        yield from check_tiers(data, key)
    if key.series not in (*BAR_SERIES, "funding"):
        return
    frame = data.read(key)
    if frame.is_empty():
        return
    if key.series == "funding":
        yield from check_funding(data, key)
        interval = max(int((frame["interval_hours"][-1] or 0.0) * HOUR_MS), 1)
    else:
        yield from check_bars(data, key, divergence)
        interval = timeframe_ms(key.timeframe)
    if key.series == "trade":
        yield from check_companions(data, key)
    yield from check_ends(data, key, interval)
    yield from check_listing(data, key, frame)


def select(
    store: Store,
    venue: str | None = None,
    symbols: Sequence[str] = (),
    series: Sequence[str] = (),
    timeframe: str | None = None,
) -> list[DatasetKey]:
    """Return the datasets that pass the filters; a timeframe does not keep funding and tiers out."""
    return [
        k
        for k in store.keys(venue)
        if (not symbols or k.symbol in symbols)
        and (not series or k.series in series)
        and (timeframe is None or k.timeframe in (timeframe, EVENT))
    ]
