"""A made-up year of one contract at 1m, for timing: trades, marks, funding every 8 hours, margin tiers."""

from __future__ import annotations

import numpy as np
import polars as pl

from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.market.schema import EVENT, TIME, DatasetKey, instrument_frame, tier_frame
from backtester.market.store import Store

VENUE = "binance"
SYMBOL = "BTC/USDT:USDT"
SOURCE = "made up for timing"
START = 1_704_067_200_000  # 2024-01-01
MINUTE_MS = 60_000
FUNDING_MS = 480 * MINUTE_MS
YEAR = 365 * 1440
TIERS = tuple(
    MarginTier(notional_floor=floor, notional_cap=cap, maintenance_margin_rate=rate, max_leverage=leverage)
    for floor, cap, rate, leverage in (
        (0.0, 5e4, 0.004, 125.0),
        (5e4, 2.5e5, 0.005, 100.0),
        (2.5e5, 1e6, 0.01, 50.0),
        (1e6, 1e9, 0.025, 20.0),
    )
)


def tier_table() -> TierTable:
    """Return the brackets of the contract."""
    return TierTable(symbol=SYMBOL, tiers=TIERS)


def walk(bars: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return open, high, low and close of a random walk at 1m with an annual volatility of 15 %."""
    rng = np.random.default_rng(seed)
    close = 20_000.0 * np.exp(np.cumsum(rng.normal(0.0, 2e-4, bars)))
    open_ = np.concatenate((close[:1], close[:-1]))
    high = np.maximum(open_, close) * (1.0 + np.abs(rng.normal(0.0, 1e-4, bars)))
    low = np.minimum(open_, close) * (1.0 - np.abs(rng.normal(0.0, 1e-4, bars)))
    return open_, high, low, close


def write_year(store: Store, bars: int = YEAR) -> None:
    """Write the contract's series to a store; prices stand on ticks of 0.1, marks a little beside the trades."""
    times = pl.Series(START + np.arange(bars, dtype=np.int64) * MINUTE_MS).cast(TIME)
    rng = np.random.default_rng(2)
    open_, high, low, close = walk(bars)
    names = ("open", "high", "low", "close")
    trade = pl.DataFrame({"open_time": times, **dict(zip(names, _ticks(open_, high, low, close), strict=True))})
    trade = trade.with_columns(pl.Series("volume", rng.integers(1, 500_000, bars) * 0.001).round(3))
    beside = 1.0 + 1e-4 * np.sin(np.arange(bars) / 700.0)
    mark_ticks = _ticks(*(price * beside for price in (open_, high, low, close)), tick=0.01)
    mark = pl.DataFrame({"open_time": times, **dict(zip(names, mark_ticks, strict=True))})
    settled = np.arange(START, START + bars * MINUTE_MS, FUNDING_MS, dtype=np.int64)
    rates = np.round(1e-4 + 2e-4 * rng.standard_normal(settled.size), 8)
    funding = pl.DataFrame({"funding_time": pl.Series(settled).cast(TIME), "funding_rate": rates})
    instrument = Instrument(
        symbol=SYMBOL, tick=0.1, lot=0.001, min_quantity=0.001, min_notional=100.0, taker_fee=0.0005
    )
    frames = {
        ("trade", "1m"): trade,
        ("mark", "1m"): mark,
        ("funding", EVENT): funding,
        ("tiers", EVENT): tier_frame([tier_table()]),
        ("instrument", EVENT): instrument_frame(instrument),
    }
    for (series, timeframe), frame in frames.items():
        store.write(DatasetKey(VENUE, SYMBOL, series, timeframe), frame, source=SOURCE, replace=True)


def _ticks(*prices: np.ndarray, tick: float = 0.1) -> list[np.ndarray]:
    per_unit = round(1.0 / tick)
    return [np.round(price * per_unit) / per_unit for price in prices]
