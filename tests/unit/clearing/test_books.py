"""Random markets under random rules: the books close after every bar, and each account is asked for its limit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from backtester.clearing import (
    ClearingMarket,
    ClearingRules,
    FundingSchedule,
    Guest,
    Population,
    from_open_interest,
    simulate,
)
from backtester.domain.enums import ContractKind, TierForm, TierUnit
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable
from tests.unit.clearing.scene import HOUR

DAY = 24 * HOUR  # a bar a day, so that every bar's check is the thorough one
PAYERS = [
    ("market", "fund"),
    ("market", "fund", "deleverage"),
    ("market", "fund", "share"),
    ("market", "fund", "deleverage", "share"),
]


def random_table(rng: np.random.Generator, symbol: str, scale: float) -> TierTable:
    form = TierForm.FLAT if rng.random() < 0.5 else TierForm.PROGRESSIVE
    unit = TierUnit.CONTRACTS if form is TierForm.FLAT and rng.random() < 0.3 else TierUnit.NOTIONAL
    count = int(rng.integers(1, 5))
    steps = (rng.random(count - 1) * 5 + 0.1) * (scale if unit is TierUnit.NOTIONAL else 1.0)
    floors = [0.0, *np.cumsum(steps).tolist(), float("inf")]
    rates = np.sort(rng.random(count) * 0.05 + 0.003).tolist()
    tiers = tuple(
        MarginTier(notional_floor=low, notional_cap=high, maintenance_margin_rate=rate, max_leverage=100.0)
        for low, high, rate in zip(floors[:-1], floors[1:], rates, strict=True)
    )
    return TierTable(symbol=symbol, tiers=tiers, form=form, unit=unit)


def random_market(rng: np.random.Generator) -> ClearingMarket:
    count, bars = int(rng.integers(1, 4)), int(rng.integers(5, 25))
    inverse = rng.random() < 0.4
    step = float(rng.choice([0.01, 0.05]))
    path = 100 * np.exp(np.cumsum(step * rng.standard_normal((count, bars + 1)), axis=1))
    opens = path[:, :-1] * np.exp(step * rng.standard_normal((count, bars)) * (rng.random((count, bars)) < 0.2))
    closes = path[:, 1:]
    high = np.maximum(opens, closes) * (1 + step * rng.random(opens.shape))
    low = np.minimum(opens, closes) * (1 - step * rng.random(opens.shape))
    basis = 1 + 0.002 * rng.standard_normal((count, 1))
    symbols = tuple(f"S{c}/USD:{'S' if inverse else 'USD'}" for c in range(count))
    kind = ContractKind.INVERSE if inverse else ContractKind.LINEAR
    lot = [None, 0.001, 0.1][int(rng.integers(3))]
    times = np.arange(bars, dtype=np.int64) * DAY

    def schedule() -> FundingSchedule:
        late = 0 if rng.random() < 0.7 else DAY // 2
        return FundingSchedule(times + late, 0.005 * rng.standard_normal(bars), np.full(bars, np.nan))

    return ClearingMarket(
        symbols=symbols,
        open_time=times,
        bar_ms=DAY,
        open=opens,
        high=high,
        low=low,
        close=closes,
        volume=10 ** rng.uniform(-1, 4, opens.shape) * (100 if inverse else 1) * (rng.random(opens.shape) > 0.1),
        mark_open=opens * basis,
        mark_high=high * basis,
        mark_low=low * basis,
        mark_close=closes * basis,
        funding=tuple(schedule() for _ in symbols),
        instruments=tuple(Instrument(symbol=s, kind=kind, settle=s.partition(":")[2], lot=lot) for s in symbols),
        tiers=tuple(random_table(rng, s, 0.01 if inverse else 100.0) for s in symbols),
    )


def random_rules(rng: np.random.Generator) -> ClearingRules:
    def one(*choices: object) -> object:
        return choices[int(rng.integers(len(choices)))]

    return ClearingRules().with_changes(
        takeover=one("bankruptcy", "market"),
        step=one("none", "tier", "restore"),
        step_tiers=one(0, 1, 2),
        step_above_first=one(True, False),
        step_once=one(True, False),
        liquidation_fee=one(0.0, 0.005),
        close_fee=one(0.0, 0.0006),
        close_fee_basis=one("mark", "bankruptcy"),
        mmr_basis=one("mark", "entry"),
        funding_paid_from=one("margin", "wallet_first", "capped"),
        fund=one("contract", "settlement"),
        booking=one("at_once", "daily"),
        waterfall=one(*PAYERS),
        drawdown=one(0.0, 0.3),
        ranking=one("roi", "binance", "bitmex", "hyperliquid"),
        deleverage_price=one("bankruptcy", "mark", "previous_mark"),
        bankruptcy_band=one(0.0, 0.05),
        sharing_hours=one(24.0, 72.0),
        volume_share=one(0.0, 0.1, 1.0, float("inf")),
        impact=one(0.0, 0.05, 0.5),
        mark_share=one(0.0, 0.5, 1.0),
    )


def random_people(rng: np.random.Generator, market: ClearingMarket, seed: int) -> Population:
    scale = 100 if market.signs[0] < 0 else 1
    sizes = {s: float(10 ** rng.uniform(0, 2)) * scale for s in market.symbols}
    mix = {float(x): 1.0 for x in rng.uniform(1.5, 25, 4)}
    number = int(rng.integers(2 * len(sizes), 30))
    return from_open_interest(market, sizes, number, mix, seed, several_share=rng.random(), spare_wallet=rng.random())


def random_guest(rng: np.random.Generator, market: ClearingMarket) -> Guest:
    bars = np.sort(rng.integers(0, len(market.open_time), 5))
    path = pl.DataFrame(
        {
            "time": bars * DAY,
            "symbol": rng.choice(market.symbols, 5),
            "quantity_change": rng.standard_normal(5),
            "price": np.full(5, 100.0),
            "cash_change": -0.01 * rng.random(5),
        }
    )
    return Guest(1e4, path)


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_the_books_close_whatever_the_rules(first: int) -> None:
    happened = np.zeros(3)
    for seed in range(first, first + 10):
        rng = np.random.default_rng(seed)
        market = random_market(rng)
        people = random_people(rng, market, seed)
        guest = random_guest(rng, market) if seed % 2 else None
        result = simulate(market, people, random_rules(rng), guest=guest)
        assert result.summary["conservation_error"] <= 1e-9
        equity = result.accounts.filter(~pl.col("guest"))["equity"]
        assert equity.min() > -1e-6 * float(people.wallet.max())  # type: ignore[operator]
        happened += [len(result.liquidations), len(result.deleveragings), len(result.clawbacks)]
    assert happened[0] > 0
