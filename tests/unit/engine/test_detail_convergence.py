"""As the replayed bars shrink, stops, targets and liquidations come to stand where the finest bars have them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtester.domain.config import RunConfig
from backtester.domain.enums import MarginMode, SettingField
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.engine.contract_terms import ContractTerms
from backtester.engine.instructions import Instructions, SettingRows, TargetRows
from backtester.engine.prepare import prepare
from backtester.engine.replay import replay
from backtester.market.panel import Bars, Panel, Settlements

MINUTE = 60_000
SIGNAL = 240  # minutes
SIGNALS = 60
SEEDS = range(24)
BALANCE = 10_000.0
Floats = NDArray[np.float64]


def minutes(seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Return a random walk of minutes."""
    dice = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(dice.normal(0.0, 0.002, SIGNAL * SIGNALS)))
    open_ = np.concatenate(([100.0], close[:-1]))
    return open_, np.maximum(open_, close), np.minimum(open_, close), close


def merged(bars: tuple[Floats, Floats, Floats, Floats], size: int) -> Bars:
    """Return bars of ``size`` minutes."""
    open_, high, low, close = (series.reshape(-1, size) for series in bars)
    return Bars(open_[None, :, 0], high.max(axis=1)[None], low.min(axis=1)[None], close[None, :, -1])


def final_equity(seed: int, size: int) -> float:
    """Return what a bracketed, leveraged strategy ends with when bars of ``size`` minutes are replayed."""
    bars = merged(minutes(seed), size)
    count = bars.open.shape[1]
    open_time = np.arange(count, dtype=np.int64) * size * MINUTE
    none = np.zeros(0)
    panel = Panel(
        venue="test",
        symbols=("C/USDT:USDT",),
        timeframe_ms=size * MINUTE,
        open_time=open_time,
        trade=bars,
        volume=None,
        mark=bars,
        mark_open_time=open_time,
        mark_timeframe_ms=size * MINUTE,
        index=None,
        settlements=(Settlements(np.zeros(0, np.int64), none, none, none),),
        mark_is_trade=False,
    )
    tiers = (MarginTier(notional_floor=0.0, notional_cap=np.inf, maintenance_margin_rate=0.02, max_leverage=50.0),)
    terms = ContractTerms(
        Instrument(symbol="C/USDT:USDT"),
        (TierTable(symbol="C/USDT:USDT", tiers=tiers),),
        MarginMode.ISOLATED,
        20.0,
        0.0,
    )
    decided = np.arange(SIGNALS - 1) * (SIGNAL // size) + SIGNAL // size - 1
    sides = np.random.default_rng(1000 + seed).choice([-1.0, 1.0], decided.size)
    zero = np.zeros(3, np.int64)
    fields = [int(SettingField.STOP_LOSS), int(SettingField.TAKE_PROFIT), int(SettingField.TRAILING_STOP)]
    told = Instructions(
        TargetRows(decided, np.zeros(decided.size, np.int64), sides * 2.0),
        settings=SettingRows(zero, zero, zero, np.array(fields), zero, np.array([0.008, 0.012, 0.01])),
        signal_ms=SIGNAL * MINUTE,
    )
    config = RunConfig.model_validate({"account": {"balance": BALANCE}, "execution": {"rebalance": "every_bar"}})
    return float(replay(prepare(panel, [terms], config, told)).equity[-1])


def test_results_converge_to_the_finest_bars() -> None:
    sizes = (240, 60, 15, 5)
    exact = [final_equity(seed, 1) for seed in SEEDS]
    errors = [
        np.mean([abs(final_equity(seed, size) - end) for seed, end in zip(SEEDS, exact, strict=True)]) / BALANCE
        for size in sizes
    ]
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[3] < 0.25 * errors[0]
