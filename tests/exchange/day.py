"""The last day of a contract, as tickers tell it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from tests.exchange.bars import DAY_MS, HOUR_MS, decimal_text
from tests.exchange.contract import Contract
from tests.exchange.market import Market


@dataclass(frozen=True)
class Day:
    """The last 24 whole hours.

    Attributes
    ----------
    open, high, low, close : str
        Prices as texts; zeros where nothing was traded.
    volume : Decimal
        What was traded [base currency].
    turnover : float
        The same [quote currency].
    """

    open: str
    high: str
    low: str
    close: str
    volume: Decimal
    turnover: float


def last_day(market: Market, contract: Contract, now: int) -> Day:
    """Return the last 24 whole hours of a contract before a moment [ms]."""
    last = now // HOUR_MS * HOUR_MS - 1
    bars = market.bars(contract, "trade", HOUR_MS, last + 1 - DAY_MS, last)
    if not len(bars):
        return Day("0", "0", "0", "0", Decimal(0), 0.0)
    prices = (bars.prices[0, 0], bars.prices[:, 1].max(), bars.prices[:, 2].min(), bars.prices[-1, 3])
    texts = [decimal_text(int(price), bars.price_decimals) for price in prices]
    volume = Decimal(decimal_text(int(bars.volume.sum()), bars.volume_decimals))
    turnover = np.sum(bars.volume * 10.0**-bars.volume_decimals * bars.prices[:, 3] * 10.0**-bars.price_decimals)
    return Day(texts[0], texts[1], texts[2], texts[3], volume, float(turnover))
