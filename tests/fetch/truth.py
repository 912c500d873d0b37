"""What the store should hold after a fetch from the loopback exchange."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from backtester.market.fetch import FetchResult
from backtester.market.schema import DatasetKey, timeframe_ms
from backtester.market.store import Store
from tests.exchange.contract import utc
from tests.exchange.market import Market

BTC, ETH, SOL, LUNA = (f"{base}/USDT:USDT" for base in ("BTC", "ETH", "SOL", "LUNA"))
NOW = utc("2024-03-20T10:20:30")
START = utc("2024-01-10")
HOUR, DAY = 3_600_000, 86_400_000

Fetch = Callable[..., FetchResult]


def truth(market: Market, symbol: str, series: str, timeframe: str, start: int, end: int) -> pl.DataFrame:
    """Return the finished bars that the exchange has in ``[start, end)``, as the store should hold them."""
    contract = market.contract(symbol)
    assert contract is not None
    step = timeframe_ms(timeframe)
    frame = market.bars(contract, series, step, start, end - step).frame()
    return frame if series == "trade" else frame.drop("volume")


def settled(market: Market, symbol: str, start: int, end: int) -> pl.DataFrame:
    """Return time and rate of the settlements in ``[start, end)``."""
    contract = market.contract(symbol)
    assert contract is not None
    found = market.settlements(contract, start, end - 1)
    return pl.DataFrame({"funding_time": found.time, "funding_rate": found.rate / 1e8})


def stored(store: Store, venue: str, symbol: str, series: str, timeframe: str) -> pl.DataFrame:
    """Return stored rows without the flag of filled ones."""
    frame = store.read(DatasetKey(venue, symbol, series, timeframe))
    return frame.drop("filled", strict=False)
