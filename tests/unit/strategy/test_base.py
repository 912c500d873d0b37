"""The base class: what a subclass may define, and what it tells."""

from __future__ import annotations

import polars as pl
import pytest

from backtester.errors import StrategyError
from backtester.strategy import Param, Strategy, ema, ref, sma
from backtester.strategy.base import kind_of, snake_case
from backtester.strategy.columns import METHODS


@pytest.mark.parametrize(
    ("class_name", "name"),
    [("Trend", "trend"), ("CrossMomentum", "cross_momentum"), ("RSI2Fade", "rsi2_fade"), ("MyRSI", "my_rsi")],
)
def test_names_are_snake_case(class_name, name) -> None:
    assert snake_case(class_name) == name


def test_a_name_can_be_set() -> None:
    class Other(Strategy):
        name = "my_name"
        warmup = 50

        def target(self):
            return pl.lit(0.0)

    assert Other.name == "my_name"
    assert Other().warmup_bars(pl.DataFrame()) == 50


@pytest.mark.parametrize("name", [*METHODS, "warmup", "uses", "signals", "state", "on_bar"])
def test_parameters_cannot_hide_the_surface(name) -> None:
    with pytest.raises(StrategyError, match=f"'wrong' has a parameter {name!r}, which every strategy has") as caught:
        type("Wrong", (Strategy,), {"__annotations__": {name: float}, name: Param(3.0)})
    assert f"for instance '{name}_value'" in caught.value.hint
    assert (f"return it in {name}()" in caught.value.hint) == (name in METHODS)


def signals(self, bars):
    return bars


def on_bar(ctx, params):
    return None


WAYS = {
    "target": lambda self: pl.lit(1.0),
    "target_short": lambda self: pl.lit(-1.0),
    "signals": signals,
    "on_bar": staticmethod(on_bar),
}


@pytest.mark.parametrize(
    ("first", "second"),
    [("target", "signals"), ("target", "target_short"), ("signals", "on_bar"), ("target", "on_bar")],
)
def test_two_ways_to_decide_are_refused(first, second) -> None:
    named = second.replace("short", "long")
    with pytest.raises(StrategyError, match=rf"defines both {first}\(\) and {named}\(\)"):
        type("Wrong", (Strategy,), {first: WAYS[first], second: WAYS[second]})


@pytest.mark.parametrize(
    ("way", "kind"),
    [("target", "expressions"), ("target_short", "expressions"), ("signals", "signals"), ("on_bar", "loop")],
)
def test_the_kind_says_how_it_decides(way, kind) -> None:
    made = type("Made", (Strategy,), {way: WAYS[way]})
    assert kind_of(made) == kind
    assert kind_of(type("Heir", (made,), {"stop_loss": lambda self: 0.1})) == kind
    made()


def test_a_strategy_without_a_decision_is_refused() -> None:
    class Nothing(Strategy):
        def targets(self):
            return pl.lit(1.0)

    with pytest.raises(StrategyError, match=r"'nothing' decides nothing: it has neither target\(\) nor signals\(\)"):
        Nothing()


def test_on_bar_must_be_static_and_makes_its_own_orders() -> None:
    with pytest.raises(StrategyError, match="no staticmethod") as caught:
        type("Wrong", (Strategy,), {"on_bar": on_bar})
    assert "@staticmethod" in caught.value.hint
    for name in ("limit_price", "universe"):
        with pytest.raises(StrategyError, match=rf"defines {name}\(\) beside on_bar\(\)"):
            type("Wrong", (Strategy,), {"on_bar": staticmethod(on_bar), name: lambda self: 1.0})


@pytest.mark.parametrize("warmup", [-1, 2.5, "many"])
def test_warmup_must_be_whole(warmup) -> None:
    with pytest.raises(StrategyError, match="warmup must be a whole number"):
        type("Wrong", (Strategy,), {"warmup": warmup, "target": lambda self: pl.lit(1.0)})


def test_uses_and_references() -> None:
    class Reader(Strategy):
        def indicators(self):
            return {"fast": sma("close", 3), "other": ref("ETH/USDT:USDT", "close") * 2, "slow": ema(pl.col("low"), 4)}

        def target(self):
            return pl.col("fast") * pl.col("premium") * ref("BTC/USDT:USDT", "close") * pl.col("other")

    assert Reader().uses == {"close", "low", "premium", "ref:ETH/USDT:USDT:close", "ref:BTC/USDT:USDT:close"}
    assert Reader().references == ("BTC/USDT:USDT", "ETH/USDT:USDT")


def test_uses_of_signals_are_what_the_class_states() -> None:
    class Reader(Strategy):
        reads = ("close", "index_close")

        def signals(self, bars):
            return bars

    assert Reader().uses == {"close", "index_close"}
