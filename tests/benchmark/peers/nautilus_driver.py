"""NautilusTrader: a fixed quantity long or short, filled at the close of the bar that decides."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
from nautilus_trader import __version__
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TraderId, Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.trading.strategy import Strategy
from protocol import Answer, Request, answer, changes, request, timed

QUANTITY = 0.5
DIGITS = 9
VENUE = Venue("SIM")
CONVENTION = "a fixed quantity of +-0.5, filled at the close of the bar that decides (the market is at its close then)"


class Told(StrategyConfig, frozen=True):
    """Where the strategy finds its bars."""

    instrument_id: InstrumentId
    bar_type: BarType


class Cross(Strategy):
    """Follows the moving averages from signals that are made before."""

    signals: tuple[np.ndarray, np.ndarray]

    def on_start(self) -> None:
        self.place = 0
        self.held = 0.0
        self.up, self.down = self.signals
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar: Bar) -> None:
        k = self.place
        self.place += 1
        if self.up[k]:
            self.go(QUANTITY)
        elif self.down[k]:
            self.go(-QUANTITY)

    def go(self, wanted: float) -> None:
        change = wanted - self.held
        side = OrderSide.BUY if change > 0 else OrderSide.SELL
        self.submit_order(self.order_factory.market(self.config.instrument_id, side, Quantity(abs(change), 3)))
        self.held = wanted


def perpetual(fee: float) -> CryptoPerpetual:
    """Return the contract."""
    symbol = Symbol("BTCUSDT")
    return CryptoPerpetual(
        instrument_id=InstrumentId(symbol, VENUE),
        raw_symbol=symbol,
        base_currency=BTC,
        quote_currency=USDT,
        settlement_currency=USDT,
        is_inverse=False,
        price_precision=DIGITS,
        size_precision=3,
        price_increment=Price(10**-DIGITS, DIGITS),
        size_increment=Quantity(0.001, 3),
        ts_event=0,
        ts_init=0,
        margin_init=Decimal("0.2"),
        margin_maint=Decimal(0),
        maker_fee=Decimal(str(fee)),
        taker_fee=Decimal(str(fee)),
    )


def signals(asked: Request) -> tuple[np.ndarray, np.ndarray]:
    """Return the bars after which the set goes long, and short."""
    fast, slow = (pd.Series(asked.close).rolling(length).mean().to_numpy() for length in (asked.fast[0], asked.slow[0]))
    return changes(fast, slow, asked.slow[0] - 1)


def main() -> None:
    asked = request()
    contract = perpetual(asked.fee)
    bar_type = BarType.from_str(f"{contract.id}-1-MINUTE-LAST-EXTERNAL")
    index = pd.date_range("2024-01-01", periods=asked.close.size, freq="min", tz="UTC")
    prices = {"open": asked.open, "high": asked.high, "low": asked.low, "close": asked.close}
    bars = BarDataWrangler(bar_type, contract).process(pd.DataFrame({**prices, "volume": 1_000.0}, index=index))
    engine = BacktestEngine(
        BacktestEngineConfig(trader_id=TraderId("BENCH-001"), logging=LoggingConfig(bypass_logging=True))
    )
    cash = [Money(asked.cash, USDT)]
    engine.add_venue(VENUE, OmsType.NETTING, AccountType.MARGIN, cash, default_leverage=Decimal(5))
    engine.add_instrument(contract)
    engine.add_data(bars)
    strategy = Cross(Told(instrument_id=contract.id, bar_type=bar_type))
    engine.add_strategy(strategy)

    def simulate(given: tuple[np.ndarray, np.ndarray]) -> list[float]:
        engine.reset()
        strategy.signals = given
        engine.run()
        balance = float(engine.portfolio.account(VENUE).balance_total(USDT))
        held = engine.cache.positions_open()
        return [balance + sum(float(p.unrealized_pnl(Price(float(asked.close[-1]), DIGITS))) for p in held)]

    # One set, once: a run takes long, and no two sets share anything.
    equity, whole = timed(lambda: simulate(signals(asked)), 1)
    simulation = None
    if asked.is_single:
        given = signals(asked)
        _, simulation = timed(lambda: simulate(given), 1)
    answer([Answer("NautilusTrader", equity, whole, simulation, CONVENTION)], __version__)


if __name__ == "__main__":
    main()
