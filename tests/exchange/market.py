"""What the loopback exchange knows: contracts, bars, settlements, and where some of them are missing.

``Market.generated(seed=3)`` needs no data; ``Market.from_real(folder)`` serves a folder of real files. The market is
the truth that a test compares with what a client downloaded: ``market.bars(...)`` and ``market.settlements(...)``
return everything that the exchange has to give, listing bounds and holes included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tests.exchange.bars import Bars, Ints, Settlements, open_of
from tests.exchange.contract import Contract, utc
from tests.exchange.generated import GeneratedSource
from tests.exchange.recorded import RecordedSource, recorded_contracts

Json = object


class Source(Protocol):
    """Where bars and settlements come from; both ends are included."""

    def bars(self, contract: Contract, series: str, timeframe_ms: int, first: int, last: int) -> Bars:
        """Return the bars whose opens lie in ``[first, last]`` [ms]."""

    def settlements(self, contract: Contract, first: int, last: int) -> Settlements:
        """Return the settlements of ``[first, last]`` [ms]."""


@dataclass(frozen=True)
class Hole:
    """A span in which the exchange has nothing.

    Attributes
    ----------
    id : str
        The exchange's name of the contract.
    series : str
        ``trade``, ``mark``, ``index``, ``premium`` or ``funding``.
    start, end : int
        Opens or settlements of ``[start, end)`` are missing [ms].
    """

    id: str
    series: str
    start: int
    end: int


@dataclass(frozen=True)
class BarRequest:
    """A span of bars that somebody asks for.

    Attributes
    ----------
    contract : Contract
        Of whom.
    series : str
        ``trade``, ``mark``, ``index`` or ``premium``.
    timeframe_ms : int
        Length of a bar [ms].
    first, last : int
        Opens of ``[first, last]``, both included [ms].
    now : int
        Time of the exchange [ms].
    revision : int
        Count of requests so far; the open bar differs with each.
    """

    contract: Contract
    series: str
    timeframe_ms: int
    first: int
    last: int
    now: int
    revision: int = 0


def demo_contracts() -> tuple[Contract, ...]:
    """Return an old contract, one with interval changes, a late listing, a delisting, a small price with whole lots."""
    return (
        Contract("BTC", listed=utc("2021-06-01"), tick="0.10", lot="0.001", min_notional="100", first_price=40_000.0),
        Contract(
            "ETH",
            listed=utc("2021-06-01"),
            first_price=2_500.0,
            intervals=((0, 8), (utc("2024-02-01"), 4), (utc("2024-03-01T05:00"), 1), (utc("2024-03-10T05:00"), 4)),
        ),
        Contract("SOL", listed=utc("2024-01-17T10:30"), tick="0.0100", lot="0.1", first_price=90.0),
        Contract("LUNA", listed=utc("2021-09-01"), delisted=utc("2024-01-20T13:45"), lot="0.1", first_price=50.0),
        Contract("DOGE", listed=utc("2021-06-01"), tick="0.00001", lot="1", first_price=0.12, intervals=((0, 4),)),
    )


@dataclass(frozen=True)
class Market:
    """All that the exchange knows.

    Attributes
    ----------
    contracts : tuple of Contract
        What is listed, in the order of the listing answer.
    source : Source
        Bars and settlements.
    holes : tuple of Hole
        Spans in which the exchange has nothing.
    raw : mapping
        Answers that are served as they are: ``exchangeInfo``, ``fundingInfo``.
    """

    contracts: tuple[Contract, ...]
    source: Source
    holes: tuple[Hole, ...] = ()
    raw: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def generated(
        cls, seed: int = 0, contracts: tuple[Contract, ...] | None = None, holes: tuple[Hole, ...] = ()
    ) -> Market:
        """Return a made-up market; without contracts those of `demo_contracts`."""
        return cls(contracts or demo_contracts(), GeneratedSource(seed), holes)

    @classmethod
    def from_real(cls, folder: Path) -> Market:
        """Return the market of a folder with ``binance/*.feather`` and ``api/binanceusdm_*.json``.

        Only the stored timeframes are served; symbols of ``exchangeInfo`` without files are listed and have no bars.
        """
        raw = {
            name: json.loads((folder / "api" / f"binanceusdm_{name}.json").read_text())
            for name in ("exchangeInfo", "fundingInfo")
        }
        source = RecordedSource(folder / "binance")
        contracts = recorded_contracts(source, raw["exchangeInfo"], folder / "tiers" / "binance_2025-10.json")
        return cls(contracts, source, (), raw)

    def with_holes(self, *holes: Hole) -> Market:
        """Return the market with more holes."""
        return replace(self, holes=(*self.holes, *holes))

    def contract(self, name: str) -> Contract | None:
        """Return a contract by the exchange's name or by its unified symbol."""
        return next((c for c in self.contracts if name in (c.id, c.symbol)), None)

    def bars(self, contract: Contract, series: str, timeframe_ms: int, first: int, last: int) -> Bars:
        """Return the bars whose opens lie in ``[first, last]`` [ms], both included, oldest first; all are final."""
        bars = self.source.bars(contract, series, timeframe_ms, first, last)
        alive = bars.open_time + timeframe_ms > contract.listed
        if contract.delisted is not None:
            alive &= bars.open_time < contract.delisted
        return bars.at(alive & ~self._missing(contract, series, bars.open_time))

    def settlements(self, contract: Contract, first: int, last: int) -> Settlements:
        """Return the settlements of ``[first, last]`` [ms], both included, oldest first."""
        found = self.source.settlements(contract, first, last)
        return found.at(~self._missing(contract, "funding", found.time))

    def page(self, bars: BarRequest, limit: int, *, newest: bool = False) -> Bars:
        """Return at most ``limit`` bars of a span, the oldest or the newest ones, holes stepped over; oldest first.

        The bar that is still open is the last one, unfinished.
        """
        step = bars.timeframe_ms
        first = max(bars.first, open_of(bars.contract.listed, step))
        last = min(bars.last, open_of(bars.now, step))
        width = limit * step
        while True:
            near = max(first, last - width + 1) if newest else first
            far = last if newest else min(last, first + width - 1)
            found = self.bars(bars.contract, bars.series, step, near, far)
            if len(found) >= limit or (near == first and far == last):
                break
            width *= 4
        chosen = slice(max(len(found) - limit, 0), None) if newest else slice(0, limit)
        return _unfinished(found.at(chosen), bars)

    def _missing(self, contract: Contract, series: str, times: Ints) -> NDArray[np.bool_]:
        missing = np.zeros(len(times), np.bool_)
        for hole in self.holes:
            if (hole.id, hole.series) == (contract.id, series):
                missing |= (times >= hole.start) & (times < hole.end)
        return missing


def _unfinished(bars: Bars, request: BarRequest) -> Bars:
    """Return the bars with the open one as it stands: something else at every request, and never the final bar."""
    if not len(bars) or bars.open_time[-1] + request.timeframe_ms <= request.now:
        return bars
    prices, volume = bars.prices.copy(), bars.volume.copy()
    start, revision = prices[-1, 0], 1 + request.revision
    close = start + revision * (request.contract.tick_units if request.series == "trade" else 1)
    prices[-1] = (start, close, start, close)
    volume[-1] = revision * request.contract.lot_units if request.series == "trade" else 0
    return replace(bars, prices=prices, volume=volume)
