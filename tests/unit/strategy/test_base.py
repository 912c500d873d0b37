"""The base class: what a subclass may define, and what it tells."""

from __future__ import annotations

import polars as pl
import pytest

from backtester.errors import StrategyError
from backtester.strategy import Param, Strategy, ema, ref, sma
from backtester.strategy.base import UNSUPPORTED, snake_case


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


@pytest.mark.parametrize("method", UNSUPPORTED)
def test_unsupported_methods_are_refused_at_once(method) -> None:
    with pytest.raises(
        StrategyError, match=f"{method!r}, but this version trades target exposure with market orders only"
    ):
        type("Wrong", (Strategy,), {method: lambda self: pl.lit(0.1), "target": lambda self: pl.lit(1.0)})


def test_unsupported_parameters_are_refused_too() -> None:
    with pytest.raises(StrategyError, match="'leverage'") as caught:

        class Wrong(Strategy):
            leverage: float = Param(3.0)

            def target(self):
                return pl.lit(1.0)

    assert "--leverage" in caught.value.hint


@pytest.mark.filterwarnings("ignore:Field name")
@pytest.mark.parametrize("name", ["warmup", "uses", "target"])
def test_parameters_cannot_hide_the_surface(name) -> None:
    with pytest.raises((StrategyError, NameError), match=name):
        type("Wrong", (Strategy,), {"__annotations__": {name: int}, name: Param(3), "signals": lambda self, bars: bars})


def test_both_target_and_signals_are_refused() -> None:
    with pytest.raises(StrategyError, match=r"both target\(\) and signals\(\)"):

        class Wrong(Strategy):
            def target(self):
                return pl.lit(1.0)

            def signals(self, bars):
                return bars


def test_a_strategy_without_a_decision_is_refused() -> None:
    class Nothing(Strategy):
        def targets(self):
            return pl.lit(1.0)

    with pytest.raises(StrategyError, match=r"'nothing' decides nothing: it has neither target\(\) nor signals\(\)"):
        Nothing()


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
