"""A made-up market that needs no memory: any minute of any contract follows from the seed and the time alone.

The index is a sum of waves and a hashed noise; the premium likewise; trade and mark follow from both. Bars of every
timeframe are aggregates of the minutes, so fine bars always add up to coarse ones, at a listing too.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tests.exchange.bars import DAY_MS, MINUTE_MS, Bars, Settlements, open_of

if TYPE_CHECKING:
    from tests.exchange.bars import Ints
    from tests.exchange.contract import Contract

SERIES = ("trade", "mark", "index", "premium")
_PERIODS = np.array([400, 61, 9, 1.3, 0.21, 0.033]) * DAY_MS / MINUTE_MS
_INDEX_SIZES = np.array([0.5, 0.2, 0.08, 0.02, 0.006, 0.002])
_PREMIUM_SIZES = np.array([1e-4, 1e-4, 2e-4, 2e-4, 1e-4, 1e-4])
_MARK_SHARE = 0.8  # of the premium that the mark follows
_INTEREST = 10_000  # 0.01 % [1e-8]


def _noise(minutes: Ints, salt: int) -> NDArray[np.float64]:
    """Return one number of [0, 1) for each minute: the mixing of splitmix64."""
    z = minutes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2**53


@dataclass(frozen=True)
class GeneratedSource:
    """Bars and settlements made from a seed.

    Attributes
    ----------
    seed : int
        Another seed is another market.
    """

    seed: int = 0

    def bars(self, contract: Contract, series: str, timeframe_ms: int, first: int, last: int) -> Bars:
        """Return the bars whose opens lie in ``[first, last]`` [ms], both included and inside the contract's life."""
        begin = max(first, open_of(contract.listed, timeframe_ms))
        stop = open_of(last, timeframe_ms) + timeframe_ms
        if contract.delisted is not None:
            stop = min(stop, contract.delisted)
        minutes = np.arange(
            max(-(-begin // MINUTE_MS), contract.listed // MINUTE_MS), -(-stop // MINUTE_MS), dtype=np.int64
        )
        opens = open_of(minutes * MINUTE_MS, timeframe_ms)
        minutes, opens = minutes[opens >= first], opens[opens >= first]
        decimals = contract.tick_decimals if series == "trade" else 8
        if not len(minutes):
            return Bars(minutes, np.empty((0, 4), np.int64), minutes, decimals, contract.lot_decimals)
        return _aggregate(self._minutes(contract, series, minutes), opens, decimals, contract.lot_decimals)

    def settlements(self, contract: Contract, first: int, last: int) -> Settlements:
        """Return the settlements of ``[first, last]`` [ms], both included."""
        times = contract.settlement_times(first, last)
        minutes = times // MINUTE_MS
        rate = self._level(contract, "premium", minutes) + _INTEREST
        return Settlements(times, rate, self._level(contract, "mark", minutes))

    def _waves(self, contract: Contract, name: str, minutes: Ints, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
        salt = zlib.crc32(f"{self.seed}|{contract.id}|{name}".encode())
        phases = np.random.default_rng(salt).uniform(0.0, 2 * np.pi, len(_PERIODS))
        total: NDArray[np.float64] = sizes[-1] * (_noise(minutes, salt) - 0.5)
        for period, size, phase in zip(_PERIODS, sizes, phases, strict=True):
            total += size * np.sin(2 * np.pi * minutes / period + phase)
        return total

    def _level(self, contract: Contract, series: str, minutes: Ints) -> Ints:
        """Return the value of a series at the start of each minute, in units of its last decimal."""
        premium = self._waves(contract, "premium", minutes, _PREMIUM_SIZES)
        if series == "premium":
            return np.rint(premium * 1e8).astype(np.int64)
        index = contract.first_price * np.exp(self._waves(contract, "index", minutes, _INDEX_SIZES))
        if series == "trade":
            return np.rint(index * (1 + premium) / contract.tick_size).astype(np.int64) * contract.tick_units
        share = _MARK_SHARE if series == "mark" else 0.0
        return np.rint(index * (1 + share * premium) * 1e8).astype(np.int64)

    def _minutes(self, contract: Contract, series: str, minutes: Ints) -> tuple[Ints, Ints]:
        """Return prices ``(n, 4)`` and volume ``(n,)`` of the minutes."""
        levels = self._level(contract, series, np.append(minutes, minutes[-1] + 1))
        first, close = levels[:-1], levels[1:]
        unit = contract.tick_units if series == "trade" else 1
        salt = zlib.crc32(f"{self.seed}|{contract.id}|{series}|wick".encode())
        reach = np.abs(close - first) // (2 * unit) + 3
        up = (_noise(minutes, salt) * reach).astype(np.int64) * unit
        down = (_noise(minutes, salt + 1) * reach).astype(np.int64) * unit
        prices = np.column_stack([first, np.maximum(first, close) + up, np.minimum(first, close) - down, close])
        if series != "trade":
            return prices, np.zeros(len(minutes), np.int64)
        return prices, (1 + (_noise(minutes, salt + 2) * 5_000).astype(np.int64)) * contract.lot_units


def _aggregate(minutes: tuple[Ints, Ints], opens: Ints, price_decimals: int, volume_decimals: int) -> Bars:
    prices, volume = minutes
    starts = np.flatnonzero(np.append(True, np.diff(opens) != 0))
    ends = np.append(starts[1:], len(opens)) - 1
    table = np.column_stack(
        [
            prices[starts, 0],
            np.maximum.reduceat(prices[:, 1], starts),
            np.minimum.reduceat(prices[:, 2], starts),
            prices[ends, 3],
        ]
    )
    return Bars(opens[starts], table, np.add.reduceat(volume, starts), price_decimals, volume_decimals)
