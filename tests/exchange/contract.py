"""A contract as an exchange lists it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np

from tests.exchange.bars import HOUR_MS, Ints


def utc(text: str) -> int:
    """Return an ISO time, UTC unless it names a zone, in milliseconds since 1970."""
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


@dataclass(frozen=True)
class Bracket:
    """One margin bracket.

    Attributes
    ----------
    cap : int
        Largest notional [quote currency].
    maintenance_rate : str
        Maintenance margin [fraction of notional].
    leverage : int
        Largest leverage.
    """

    cap: int
    maintenance_rate: str
    leverage: int


BRACKETS = (Bracket(50_000, "0.004", 125), Bracket(250_000, "0.005", 100), Bracket(3_000_000, "0.01", 50))


@dataclass(frozen=True)
class Contract:
    """A perpetual contract.

    Attributes
    ----------
    base, quote : str
        Currencies.
    listed : int
        Start of trading, on the minute [ms].
    delisted : int or None
        End of trading, on the minute [ms].
    tick, lot : str
        Steps of price and quantity, as the exchange writes them.
    min_notional : str
        Smallest order [quote currency].
    first_price : float
        Level around which a made-up price moves.
    intervals : tuple of (int, int)
        ``(from [ms], hours)``, ascending: the funding interval in force from each moment on; a settlement at that
        very moment still belongs to the one before. Settlements stand on the UTC clock: with 4 hours at 00:00, 04:00.
    brackets : tuple of Bracket
        Margin brackets, the smallest first.
    contract_size : str
        What one contract is [base currency; quote currency for an inverse one]. Only exchanges that count contracts
        use it; tick, lot and volumes of the market are in base units.
    is_inverse : bool
        Settles in the base currency, not in the quote currency.
    """

    base: str
    quote: str = "USDT"
    listed: int = utc("2022-01-01")
    delisted: int | None = None
    tick: str = "0.01"
    lot: str = "0.001"
    min_notional: str = "5"
    first_price: float = 100.0
    intervals: tuple[tuple[int, int], ...] = ((0, 8),)
    brackets: tuple[Bracket, ...] = BRACKETS
    contract_size: str = "1"
    is_inverse: bool = False

    @property
    def id(self) -> str:
        """The exchange's own name."""
        return self.base + self.quote

    @property
    def symbol(self) -> str:
        """Unified name."""
        return f"{self.base}/{self.quote}:{self.settle}"

    @property
    def settle(self) -> str:
        """Currency of margin and profit."""
        return self.base if self.is_inverse else self.quote

    @property
    def contract_lot(self) -> str:
        """Step of the quantity of a linear contract [contracts], as the exchange writes it."""
        return f"{(Decimal(self.lot) / Decimal(self.contract_size)).normalize():f}"

    @property
    def tick_decimals(self) -> int:
        """Number of decimals of a price."""
        return len(self.tick.partition(".")[2])

    @property
    def lot_decimals(self) -> int:
        """Number of decimals of a quantity."""
        return len(self.lot.partition(".")[2])

    @property
    def tick_size(self) -> float:
        """Step of the price."""
        return float(self.tick)

    @property
    def tick_units(self) -> int:
        """Step of the price in units of the last decimal."""
        return int(Decimal(self.tick).scaleb(self.tick_decimals))

    @property
    def lot_units(self) -> int:
        """Step of the quantity in units of the last decimal."""
        return int(Decimal(self.lot).scaleb(self.lot_decimals))

    def is_listed(self, now: int) -> bool:
        """Say whether the exchange knows the contract at a moment, traded or not."""
        return self.listed <= now

    def is_traded(self, now: int) -> bool:
        """Say whether the contract is traded at a moment."""
        return self.listed <= now and (self.delisted is None or now < self.delisted)

    def interval_hours(self, time: int) -> int:
        """Return the funding interval in force at a moment [hours]."""
        return [hours for start, hours in self.intervals if start <= time][-1]

    def settlement_times(self, first: int, last: int) -> Ints:
        """Return the settlements of ``[first, last]`` [ms], after the listing and before the delisting."""
        begin = max(first, self.listed + 1)
        stop = last if self.delisted is None else min(last, self.delisted - 1)
        hours = np.arange(-(-begin // HOUR_MS), stop // HOUR_MS + 1, dtype=np.int64)
        steps = np.zeros(len(hours), np.int64)
        for start, step in self.intervals:
            steps[hours * HOUR_MS > start] = step
        times: Ints = hours[hours % np.maximum(steps, 1) == 0] * HOUR_MS
        return times
