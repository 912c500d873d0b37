"""What a run tells of settings and decisions that change nothing, clash, or were assumed."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import backtester
from backtester import Strategy
from backtester.engine.notices import _order_notices
from backtester.engine.result import listed

BTC, SPOT = "BTC/USDT:USDT", "BTC/USDT"
SPAN = {"start": "2024-03-01", "end": "2024-03-05", "timeframe": "1h", "out": None}


class Idle(Strategy):
    """Decide nothing."""

    def target(self) -> pl.Expr:
        return pl.lit(None, pl.Float64)


class Long(Strategy):
    """Always long."""

    def target(self) -> float:
        return 0.5


class Geared(Long):
    """Long at a leverage of its own, behind a stop."""

    def leverage(self) -> float:
        return 3.0

    def stop_loss(self) -> float:
        return 0.2


class Short(Strategy):
    """Short at every fourth bar, else flat."""

    def target(self) -> pl.Expr:
        return pl.when(pl.col("open_time").dt.hour() % 4 == 0).then(-0.5).otherwise(0.0)


def told(strategy: Strategy, store: Path, *, symbols: tuple[str, ...] = (BTC,), **over: object) -> dict[str, str]:
    result = backtester.run(strategy, data=store, symbols=symbols, **SPAN, **over)
    return {notice.code: notice.text for notice in result.notices}


def test_a_run_without_an_order_is_told_with_what_it_may_lack(demo_store: Path) -> None:
    text = told(Idle(), demo_store)["no_orders"]
    assert text.startswith("No order was made in the whole run: idle decided nothing. A strategy that compares symbols")
    assert "--symbols BTC/USDT,BTC/USDT:USDT" in text
    both = told(Idle(), demo_store, symbols=(SPOT, BTC))["no_orders"]
    assert both == "No order was made in the whole run: idle decided nothing."
    assert "no_orders" not in told(Long(), demo_store)


def test_keys_without_effect_are_named(demo_store: Path) -> None:
    settings = {
        "sizing": {"vol_target": 0.2},
        "costs": {"impact_factor": 2.0},
        "execution": {"band": 0.1, "limit_bars": 4},
    }
    text = told(Long(), demo_store, settings=settings)["settings_unused"]
    assert text == (
        "Set, but without effect in this run: sizing.vol_target (counts with sizing.unit = volatility), "
        "costs.impact_factor (counts with costs.slippage = impact), "
        "execution.band (counts with execution.rebalance = band), "
        "execution.limit_bars (counts where limit_price is decided)."
    )
    used = {"costs": {"impact_factor": 2.0, "slippage": "impact"}, "execution": {"band": 0.1, "rebalance": "band"}}
    assert "settings_unused" not in told(Long(), demo_store, settings=used)
    stop = {"execution": {"trigger": "mark"}}
    assert "settings_unused" not in told(Geared(), demo_store, settings=stop)
    assert "execution.trigger" in told(Long(), demo_store, settings=stop)["settings_unused"]


def test_what_was_assumed_of_the_account_is_told(demo_store: Path) -> None:
    assert told(Long(), demo_store)["account_assumed"] == (
        "Not named, so assumed: balance 10,000 USDT, leverage 5, margin mode cross."
    )
    assert told(Geared(), demo_store, balance=500.0)["account_assumed"] == "Not named, so assumed: margin mode cross."
    named = {"balance": 500.0, "leverage": 2.0, "margin_mode": "isolated"}
    assert "account_assumed" not in told(Long(), demo_store, **named)


def test_which_leverage_wins_is_told_where_several_are_set(demo_store: Path) -> None:
    own = {"instruments": {BTC: {"leverage": 8.0}}}
    text = told(Geared(), demo_store, leverage=4.0, settings=own)["leverage_chosen"]
    assert text == (
        "Leverage is set in 3 places, the first that says something wins: leverage() of the strategy; "
        'leverage of [instruments."SYMBOL"] (BTC/USDT:USDT); account.leverage = 4.'
    )
    assert "leverage_chosen" not in told(Geared(), demo_store)
    assert "leverage_chosen" not in told(Long(), demo_store, leverage=4.0)


def test_sizing_by_volatility_on_every_change_is_warned_of(demo_store: Path) -> None:
    sizing = {"sizing": {"unit": "volatility", "vol_window": 24}}
    assert "every bar" in told(Long(), demo_store, settings=sizing)["volatility_trades_every_bar"]
    band = {**sizing, "execution": {"rebalance": "band"}}
    assert "volatility_trades_every_bar" not in told(Long(), demo_store, settings=band)


def test_short_targets_on_spot_are_counted(demo_store: Path) -> None:
    """Four days have 24 bars whose hour is a multiple of four."""
    notices = told(Short(), demo_store, symbols=(SPOT, BTC))
    assert notices["spot_short"] == (
        "24 targets below 0 on spot (BTC/USDT) want nothing: spot can be held, never sold short."
    )
    assert "spot_short" not in told(Short(), demo_store)


def test_refused_orders_are_counted_among_their_like() -> None:
    rows = [
        ("target", "filled", "none"),
        ("target", "rejected", "inactive"),
        ("stop_loss", "cancelled", "position_closed"),
        ("stop_loss", "cancelled", "position_closed"),
        ("order", "rejected", "post_only"),
    ]
    orders = pl.DataFrame(rows, schema=("origin", "status", "reason"), orient="row")
    assert [notice.text for notice in _order_notices(orders, {"bars_waited": 0})] == [
        "1 of 2 target orders were rejected (1 inactive).",
        "1 of 1 requested orders were rejected (1 post only).",
    ]


@pytest.mark.parametrize(
    ("count", "text"), [(1, "S0"), (3, "S0, S1, S2"), (4, "S0, S1, S2 and 1 more"), (500, "S0, S1, S2 and 497 more")]
)
def test_long_lists_of_names_are_cut(count: int, text: str) -> None:
    assert listed([f"S{number}" for number in range(count)]) == text
