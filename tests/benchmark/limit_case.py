"""The case on which the replay is held against C: one contract, 1,000,000 bars, an account that turns over in turns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtester.domain.config import AccountConfig, RunConfig
from backtester.domain.enums import MarginMode
from backtester.domain.instrument import Instrument
from backtester.engine.contract_terms import ContractTerms
from backtester.engine.instructions import Instructions, TargetRows
from backtester.engine.prepare import Prepared, prepare
from backtester.market.panel import Bars, Panel, Settlements
from tests.benchmark.c_loops import Floats, Market, Terms, Whole
from tests.benchmark.market import FUNDING_MS, MINUTE_MS, SYMBOL, VENUE, tier_table, walk

BARS = 1_000_000
TRADES = (100, 1_000, 10_000)
BALANCE = 100_000.0  # as a position: in the second bracket, and across its lower bound once fees have eaten half
LEVERAGE = 5.0
FEE = 0.00005  # the account survives ten thousand reversals
LOT = 0.001
RATE = 1e-4
CONFIG = RunConfig(account=AccountConfig(balance=BALANCE))


@dataclass(frozen=True, eq=False)
class Case:
    """The inputs that both sides read; an order decided at a bar's close is due at the next open."""

    prices: tuple[Floats, Floats, Floats, Floats]
    decided: Whole
    target: Floats
    settled: Whole

    def market(self) -> Market:
        """Return the columns for the C loops: marks are the trades."""
        open_, high, low, close = self.prices
        return Market(open_, open_, low, high, close, self.settled, np.full(self.settled.size, RATE))

    def terms(self) -> Terms:
        """Return what contract and account state."""
        return Terms(tier_table(), LOT, LEVERAGE, FEE, BALANCE)

    def orders(self) -> tuple[Whole, Floats]:
        """Return the bars at which orders fill, and their exposures."""
        return self.decided + 1, self.target

    def panel(self) -> Panel:
        """Return the market as the replay takes it."""
        bars = self.prices[0].size
        open_time = np.arange(bars, dtype=np.int64) * MINUTE_MS
        prices = Bars(*(price[None] for price in self.prices))
        count = self.settled.size
        none = np.full(count, np.nan)
        records = Settlements(self.settled * MINUTE_MS, np.full(count, RATE), none, np.full(count, 8.0))
        return Panel(
            venue=VENUE,
            symbols=(SYMBOL,),
            timeframe_ms=MINUTE_MS,
            open_time=open_time,
            trade=prices,
            volume=None,
            mark=prices,
            mark_open_time=open_time,
            mark_timeframe_ms=MINUTE_MS,
            index=None,
            settlements=(records,),
            mark_is_trade=False,
        )

    def prepared(self) -> Prepared:
        """Return the replay's inputs with an account that has not traded."""
        terms = ContractTerms(
            Instrument(symbol=SYMBOL, lot=LOT), (tier_table(),), MarginMode.CROSS, LEVERAGE, taker_fee=FEE
        )
        rows = TargetRows(self.decided, np.zeros(self.decided.size, np.int64), self.target)
        return prepare(self.panel(), [terms], CONFIG, Instructions(rows))


def make_case(trades: int, bars: int = BARS) -> Case:
    """Return minutes in which the account turns over ``trades`` times, long and short in turn."""
    decided, target = reversals(trades, bars)
    return Case(walk(bars), decided, target, np.arange(480, bars, FUNDING_MS // MINUTE_MS, dtype=np.int64))


def reversals(trades: int, bars: int = BARS, first: int = 0) -> tuple[Whole, Floats]:
    """Return decisions at even distances from a first bar on, short and long in turn."""
    decided = np.arange(first, bars - 1, bars // trades, dtype=np.int64)
    return decided, np.where(np.arange(decided.size) % 2 == 1, 1.0, -1.0)
