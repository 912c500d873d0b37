"""A market of real files: feather tables in freqtrade's layout and the exchange's own ``exchangeInfo``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.exchange.bars import DAY_MS, HOUR_MS, MINUTE_MS, Bars, Ints, Settlements
from tests.exchange.contract import BRACKETS, Bracket, Contract

_LABELS = {MINUTE_MS: "1m", 5 * MINUTE_MS: "5m", HOUR_MS: "1h", DAY_MS: "1d"}
_SUFFIXES = {"trade": "futures", "mark": "mark", "index": "index", "premium": "premiumIndex"}
_EMPTY = np.empty(0, np.int64)


@lru_cache(maxsize=64)
def _table(path: Path) -> pl.DataFrame:
    return pl.read_ipc(path).sort("date")


def _units(column: pl.Series, decimals: int) -> Ints:
    """Return floats as whole numbers of the last decimal."""
    return np.rint(column.to_numpy() * 10.0**decimals).astype(np.int64)


class RecordedSource:
    """Bars and settlements of a folder of feather files; a timeframe that is not stored has no bars.

    Parameters
    ----------
    folder : Path
        Holds ``BTC_USDT_USDT-1h-futures.feather``, ``-mark``, ``-funding_rate``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def bars(self, contract: Contract, series: str, timeframe_ms: int, first: int, last: int) -> Bars:
        """Return the bars whose opens lie in ``[first, last]`` [ms], both included."""
        path = self._path(contract, f"{_LABELS.get(timeframe_ms)}-{_SUFFIXES[series]}")
        if not path.exists():
            return Bars(_EMPTY, np.empty((0, 4), np.int64), _EMPTY, 8, 3)
        table = self._span(path, first, last)
        prices = np.column_stack([_units(table[name], 8) for name in ("open", "high", "low", "close")])
        volume = _units(table["volume"], 3) if series == "trade" else np.zeros(table.height, np.int64)
        return Bars(self._times(table), prices, volume, 8, 3)

    def settlements(self, contract: Contract, first: int, last: int) -> Settlements:
        """Return the settlements of ``[first, last]`` [ms], both included; no mark price is known."""
        path = self._path(contract, "1h-funding_rate")
        if not path.exists():
            return Settlements(_EMPTY, _EMPTY, _EMPTY)
        table = self._span(path, first, last)
        return Settlements(self._times(table), _units(table["open"], 8), np.zeros(table.height, np.int64))

    def bases(self) -> set[str]:
        """Return the base currencies that have files."""
        return {path.name.partition("_")[0] for path in self.folder.glob("*_USDT_USDT-*-futures.feather")}

    def _path(self, contract: Contract, kind: str) -> Path:
        return self.folder / f"{contract.base}_{contract.quote}_{contract.quote}-{kind}.feather"

    @staticmethod
    def _span(path: Path, first: int, last: int) -> pl.DataFrame:
        return _table(path).filter(pl.col("date").dt.epoch("ms").is_between(first, last))

    @staticmethod
    def _times(table: pl.DataFrame) -> Ints:
        return table["date"].dt.epoch("ms").to_numpy().astype(np.int64)


def recorded_contracts(source: RecordedSource, exchange_info: Mapping[str, Any], tiers: Path) -> tuple[Contract, ...]:
    """Return the contracts of ``exchangeInfo`` that have files, with the brackets of a file in ccxt's form."""
    brackets = json.loads(tiers.read_text()) if tiers.exists() else {}
    return tuple(_contracts(source.bases(), exchange_info, brackets))


def _contracts(bases: set[str], exchange_info: Mapping[str, Any], brackets: Mapping[str, Any]) -> Iterator[Contract]:
    for row in exchange_info["symbols"]:
        if row["baseAsset"] not in bases or row["quoteAsset"] != "USDT" or row["contractType"] != "PERPETUAL":
            continue
        filters = {item["filterType"]: item for item in row["filters"]}
        symbol = f"{row['baseAsset']}/USDT:USDT"
        rows = [
            Bracket(int(t["maxNotional"]), str(t["maintenanceMarginRate"]), int(t["maxLeverage"]))
            for t in brackets.get(symbol, ())
        ]
        yield Contract(
            base=row["baseAsset"],
            quote=row["quoteAsset"],
            listed=row["onboardDate"],
            tick=filters["PRICE_FILTER"]["tickSize"],
            lot=filters["LOT_SIZE"]["stepSize"],
            min_notional=filters["MIN_NOTIONAL"]["notional"],
            brackets=tuple(rows) or BRACKETS,
        )
