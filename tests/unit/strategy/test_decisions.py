"""What stands beside the target: settings, legs, rungs, the universe, and the values that are refused."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from backtester.errors import StrategyError
from backtester.strategy import Exit, Param, Rung, Strategy, evaluate, sma
from backtester.strategy.columns import COLUMNS, METHODS
from backtester.strategy.declared import declared_decisions

HERE = Path(__file__).name
SYMBOLS = ("A/USDT:USDT", "B/USDT:USDT", "C/USDT:USDT")
close = pl.col("close")


def made(**methods) -> Strategy:
    """Strategy whose methods return what is given."""
    body = {name: (lambda self, value=value: value) for name, value in methods.items()}
    return type("Made", (Strategy,), body)()


def test_settings_stand_beside_the_target_under_their_names(make_bars) -> None:
    bars = make_bars(12, SYMBOLS[:2])
    strategy = made(
        universe=True,
        target=1,
        stop_loss=0.05,
        trailing_stop=pl.when(close > 0).then(0.1),
        take_profit_price=close * 2,
        leverage=3,
        hold_bars=24,
        cooldown_bars=pl.lit(None),
        active=close > 0,
        stop_price=None,
    )
    decided = evaluate(strategy, bars)
    assert decided.columns == [
        "open_time",
        "symbol",
        "target",
        "stop_loss",
        "trailing_stop",
        "take_profit_price",
        "leverage",
        "hold_bars",
        "cooldown_bars",
        "active",
        "universe",
    ]
    assert decided.schema["active"] == decided.schema["universe"] == pl.Boolean
    floats = set(decided.columns) - {"open_time", "symbol", "active", "universe"}
    assert {decided.schema[name] for name in floats} == {pl.Float64}
    row = decided.row(0, named=True)
    assert (row["target"], row["stop_loss"], row["trailing_stop"], row["leverage"]) == (1.0, 0.05, 0.1, 3.0)
    assert (row["hold_bars"], row["cooldown_bars"], row["active"], row["universe"]) == (24.0, None, True, True)
    assert decided["take_profit_price"].to_list() == (bars["close"] * 2).to_list()


def test_every_method_is_absent_unless_it_is_written(make_bars) -> None:
    assert evaluate(made(target=0.0), make_bars(5)).columns == ["open_time", "symbol", "target"]
    nothing = made(target=0.0, **dict.fromkeys(set(METHODS) - {"target", "target_long", "target_short"}))
    assert evaluate(nothing, make_bars(5)).columns == ["open_time", "symbol", "target"]


def test_partial_exits_and_ladders_are_numbered(make_bars) -> None:
    strategy = made(
        target=1.0,
        take_profit=[Exit(0.02, 0.5), Exit(close * 0 + 0.04, 0.25), Exit(0.06)],
        limit_price=[Rung(close * 0.99, 0.5), Rung(close * 0.98, 0.5)],
    )
    bars = make_bars(5)
    decided = evaluate(strategy, bars)
    assert decided.columns[2:] == [
        "target",
        "limit_price",
        "limit_share",
        "limit_price_2",
        "limit_share_2",
        "take_profit",
        "take_profit_share",
        "take_profit_2",
        "take_profit_share_2",
        "take_profit_3",
        "take_profit_share_3",
    ]
    row = decided.row(0, named=True)
    assert [row[name] for name in ("take_profit", "take_profit_2", "take_profit_3")] == [0.02, 0.04, 0.06]
    shares = ("take_profit_share", "take_profit_share_2", "take_profit_share_3")
    assert [row[name] for name in shares] == [0.5, 0.25, 1.0]
    assert row["limit_price_2"] == bars["close"][0] * 0.98
    assert (row["limit_share"], row["limit_share_2"]) == (0.5, 0.5)


def test_a_single_level_has_no_share(make_bars) -> None:
    columns = evaluate(made(target=1.0, take_profit=0.1, limit_price=close), make_bars(5)).columns
    assert columns[2:] == ["target", "limit_price", "take_profit"]


def test_legs_come_in_pairs(make_bars) -> None:
    both = evaluate(made(target_long=0.5, target_short=-0.25), make_bars(4))
    assert both.columns[2:] == ["target_long", "target_short"]
    assert both.row(3)[2:] == (0.5, -0.25)
    alone = evaluate(made(target_short=-0.25), make_bars(4))
    assert alone.row(3)[2:] == (None, -0.25)


def test_targets_wait_for_indicators_and_settings_do_not(make_bars) -> None:
    strategy = made(indicators={"mean": sma("close", 3)}, target_long=1.0, stop_loss=0.1)
    decided = evaluate(strategy, make_bars(4))
    assert decided["target_long"].to_list() == [None, None, 1.0, 1.0]
    assert decided["stop_loss"].to_list() == [0.1] * 4


def test_signals_may_return_settings_too(make_bars) -> None:
    def signals(self, bars):
        return bars.select("open_time", "symbol", "close", target=pl.lit(1), stop_loss=0.1, limit_price=close)

    strategy = type("Made", (Strategy,), {"signals": signals, "take_profit": lambda self: 0.2})()
    decided = evaluate(strategy, make_bars(4))
    assert decided.columns[2:] == ["target", "limit_price", "stop_loss", "take_profit"]
    assert decided.row(0)[2] == 1.0
    assert decided.row(0)[4:] == (0.1, 0.2)

    clash = type("Made", (Strategy,), {"signals": signals, "stop_loss": lambda self: 0.2})()
    with pytest.raises(StrategyError, match=r"'stop_loss' is returned here and by stop_loss\(\): keep one"):
        evaluate(clash, make_bars(4))


def test_legs_by_signals(make_bars) -> None:
    def signals(self, bars):
        return bars.select("open_time", "symbol", target_long=pl.lit(0.5), target_short=pl.lit(None))

    decided = evaluate(type("Made", (Strategy,), {"signals": signals})(), make_bars(3))
    assert decided.columns[2:] == ["target_long", "target_short"]
    assert decided["target_long"].to_list() == [0.5] * 3


class Strongest(Strategy):
    """All on the symbol with the highest close that may be held."""

    least: float = Param(0.0)

    def universe(self):
        return close >= self.least

    def target(self):
        return (close.rank("ordinal", descending=True).over("open_time") == 1).cast(pl.Float64)


def priced(make_bars) -> pl.DataFrame:
    """Two bars of three symbols with closes 10 and 11, 20 and 5, 30 and null."""
    closes = pl.Series([10.0, 11.0, 20.0, 5.0, 30.0, None])
    return make_bars(2, SYMBOLS).with_columns(close=closes)


def test_outside_the_universe_nothing_is_wanted_nor_seen(make_bars) -> None:
    decided = evaluate(Strongest(least=8.0), priced(make_bars))
    assert decided["universe"].to_list() == [True, True, True, False, True, False], "an unknown close is outside"
    assert decided["target"].to_list() == [0.0, 1.0, 0.0, None, 1.0, None]


def test_the_universe_of_the_run_is_joined_with_the_strategys(make_bars) -> None:
    bars = priced(make_bars)
    members = pl.Series([True, True, True, True, False, None])
    decided = evaluate(Strongest(least=8.0), bars, members)
    assert decided["universe"].to_list() == [True, True, True, False, False, False]
    assert decided["target"].to_list() == [0.0, 1.0, 1.0, None, None, None]
    plain = evaluate(made(target=close.rank().over("open_time")), bars, members)
    assert plain["target"].to_list() == [1.0, 2.0, 2.0, 1.0, None, None]


def test_a_universe_across_symbols_ranks_those_of_the_run(make_bars) -> None:
    largest = close.rank("ordinal", descending=True).over("open_time") == 1
    members = pl.Series([True, True, True, True, False, False])
    decided = evaluate(made(target=1.0, universe=largest), priced(make_bars), members)
    assert decided["universe"].to_list() == [False, True, True, False, False, False]


def test_history_of_a_single_symbol_goes_on_outside_the_universe(make_bars) -> None:
    strategy = made(target=close.shift(1), universe=close >= 8.0)
    assert evaluate(strategy, priced(make_bars))["target"].to_list() == [None, 10.0, None, None, None, None]


@pytest.mark.parametrize(
    ("methods", "problem"),
    [
        ({"stop_loss": 1.0}, "wants a stop_loss of 1 for A/USDT:USDT at 2025-01-01 00:00 UTC"),
        ({"stop_loss": -0.1}, "wants a stop_loss of -0.1"),
        ({"trailing_stop": 1.5}, "wants a trailing_stop of 1.5"),
        ({"take_profit": -0.1}, "wants a take_profit of -0.1"),
        ({"stop_price": -1}, "wants a stop_price of -1"),
        ({"limit_price": pl.when(close > 0).then(float("nan"))}, r"wants a limit_price that is NaN \(not a number\)"),
        ({"take_profit_price": float("inf")}, "wants a take_profit_price that is infinite"),
        ({"leverage": 0}, "wants a leverage of 0"),
        ({"hold_bars": 2.5}, "wants a hold_bars of 2.5"),
        ({"cooldown_bars": -1}, "wants a cooldown_bars of -1"),
        ({"take_profit": [Exit(0.1, 0.5), Exit(0.2, 1.5)]}, "wants a take_profit_share_2 of 1.5"),
        ({"take_profit": [Exit(0.1, 0.0)]}, "wants a take_profit_share of 0"),
        ({"limit_price": [Rung(1.0, 0.6), Rung(1.0, 0.6)]}, r"shares of limit_price\(\) are missing, or come to more"),
        ({"limit_price": [Rung(1.0, pl.lit(None))]}, r"shares of limit_price\(\) are missing, or come to more"),
    ],
)
def test_values_that_cannot_be_traded_are_named(methods, problem, make_bars) -> None:
    with pytest.raises(StrategyError, match=problem) as caught:
        evaluate(made(target=1.0, **methods), make_bars(3, SYMBOLS))
    assert "(9 such bars)" in caught.value.message
    assert HERE in caught.value.hint


@pytest.mark.parametrize(
    "methods",
    [
        {"stop_loss": 0.0},
        {"take_profit": 3.0},
        {"stop_price": 0},
        {"hold_bars": 0},
        {"take_profit": [Exit(0.1, 0.7), Exit(0.2, 0.7)]},
        {"limit_price": [Rung(1.0, 1 / 3), Rung(1.0, 1 / 3), Rung(1.0, 1 / 3)]},
        {"limit_price": [Rung(pl.lit(None), 0.9), Rung(1.0, 0.9)]},
    ],
)
def test_values_at_the_edge_are_taken(methods, make_bars) -> None:
    assert evaluate(made(target=1.0, **methods), make_bars(3)).height == 3


def test_the_first_bad_time_is_named(make_bars) -> None:
    late = pl.when((pl.col("symbol") == SYMBOLS[2]) & (pl.col("open_time").dt.hour() >= 3)).then(1.25).otherwise(0.1)
    with pytest.raises(
        StrategyError, match=r"of 1.25 for C/USDT:USDT at 2025-01-01 03:00 UTC \(2 such bars\)"
    ) as caught:
        evaluate(made(target=1.0, stop_loss=late), make_bars(5, SYMBOLS))
    assert "It must be at least 0 and below 1" in caught.value.hint


@pytest.mark.parametrize(
    ("methods", "problem"),
    [
        ({"stop_loss": sma("close", 3)}, r"stop_loss\(\) returned an indicator: name it in indicators"),
        ({"stop_loss": "5%"}, r"stop_loss\(\) must return a polars expression, got str"),
        ({"stop_loss": [0.1]}, r"stop_loss\(\) must return a polars expression, got list"),
        ({"take_profit": [0.1]}, r"take_profit\(\) must return a list of Exit, got float in it"),
        ({"take_profit": (0.05, 0.5)}, r"got float in it: write \[Exit\(0.05, share=0.5\), Exit\(0.10\)\]"),
        ({"limit_price": [(99.0, 0.5)]}, r"got tuple in it: write \[Rung\(price, 0.5\), Rung\(price \* 0.99, 0.5\)\]"),
        ({"limit_price": [Exit(1.0, 1.0)]}, r"limit_price\(\) must return a list of Rung, got Exit in it"),
        ({"take_profit": Exit(0.1, 0.5)}, r"take_profit\(\) returned Exit\(…\): put it into a list"),
        ({"take_profit": [Exit(0.1, 0.1)] * 5}, r"take_profit\(\) returned 5 of Exit: 4 at most"),
        ({"take_profit": [Exit(0.1)], "take_profit_price": [Exit(9.0)]}, "both state shares"),
        ({"active": 1.0}, "active must be true or false, got Float64"),
        ({"stop_loss": close > 1}, "stop_loss is a number, got Boolean: add .cast"),
        ({"stop_loss": pl.col("clsoe")}, "reads 'clsoe', which is neither"),
        ({"stop_loss": close.shift(1) + close.max().over("open_time")}, "it looks back along rows of several symbols"),
    ],
)
def test_results_of_a_wrong_kind(methods, problem, make_bars) -> None:
    with pytest.raises(StrategyError) as caught:
        evaluate(made(target=1.0, **methods), make_bars(3, SYMBOLS))
    assert re.search(problem, caught.value.message)
    assert HERE in caught.value.hint


def test_columns_that_settings_read_are_among_the_uses() -> None:
    strategy = made(indicators={"mean": sma("low", 3)}, target=pl.col("mean"), stop_price=pl.col("high"))
    assert strategy.uses == {"low", "high"}
    assert list(declared_decisions(strategy)) == ["target", "stop_price"]


def test_spot_symbols_need_no_series_of_contracts(make_bars) -> None:
    bars = make_bars(3, ("A/USDT", SYMBOLS[0])).with_columns(
        premium=pl.when(pl.col("symbol") != "A/USDT").then("premium")
    )
    other = pl.col("premium").max().over("open_time")
    assert evaluate(made(target=other.cast(pl.Float64)), bars)["target"].null_count() == 0


def test_symbols_outside_the_universe_need_no_series(make_bars) -> None:
    is_first = pl.col("symbol") == SYMBOLS[0]
    bars = make_bars(3, SYMBOLS).with_columns(premium=pl.when(is_first).then("premium"))
    strategy = made(target=pl.col("premium"), universe=is_first)
    assert evaluate(strategy, bars)["target"].null_count() == 6
    with pytest.raises(StrategyError, match="reads 'premium', which has no value for B/USDT:USDT"):
        evaluate(made(target=pl.col("premium")), bars)


def test_the_order_of_columns_is_fixed() -> None:
    assert list(COLUMNS)[:4] == ["target", "target_long", "target_short", "limit_price"]
    assert len(COLUMNS) == 14 + 3 * 3 + 2 * 4
