"""Which columns decide, which belong together, which values can be traded."""

from __future__ import annotations

import polars as pl
import pytest

from backtester.engine.decision_columns import (
    decision_column,
    decision_columns,
    refuse_apart,
    refuse_unknown,
    refuse_untradable,
)
from backtester.errors import DataError, UnknownNameError


def test_numbered_columns_are_rungs() -> None:
    found = [decision_column(name) for name in ("take_profit", "take_profit_2", "limit_share_4", "take_profit_price_3")]
    assert [(c.base, c.rung) for c in found if c] == [
        ("take_profit", 0),
        ("take_profit", 1),
        ("limit_share", 3),
        ("take_profit_price", 2),
    ]
    for name in ("take_profit_1", "take_profit_5", "stop_loss_2", "close", "target_2"):
        assert decision_column(name) is None, name


def test_unknown_columns_are_named() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'stop_loss'"):
        refuse_unknown(["target", "stoploss"], "signals x.csv")


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["stop_loss"], "no column target"),
        (["target", "target_long"], "target and a target of one leg"),
        (["target", "take_profit", "take_profit_3"], "take_profit_3 without take_profit_2"),
        (["target", "take_profit", "take_profit_2"], "several take_profit, but no take_profit_share"),
        (["target", "limit_price", "limit_price_2", "limit_share"], "but no limit_share_2"),
        (["target", "limit_share"], "limit_share without its limit_price"),
    ],
)
def test_columns_that_need_others(names: list[str], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        refuse_apart(decision_columns(names), "signals x.csv")


def test_columns_that_go_together() -> None:
    refuse_apart(decision_columns(["target_long", "target_short", "take_profit_price", "take_profit_share"]), "x")
    refuse_apart(decision_columns(["target", "limit_price", "active", "universe"]), "x")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("target", float("nan"), "target of B is NaN"),
        ("stop_loss", 1.0, "must be at least 0 and below 1"),
        ("trailing_stop", -0.1, "must be at least 0 and below 1"),
        ("take_profit", -0.1, "must be at least 0"),
        ("take_profit_2", float("inf"), "take_profit_2 of B is infinite"),
        ("limit_price", -1.0, "must be at least 0"),
        ("limit_share_2", 1.5, "must be more than 0 and at most 1"),
        ("hold_bars", 1.5, "must be a whole number of bars"),
        ("leverage", 0.0, "must be more than 0"),
        ("target_short", 0.5, "a short leg has a negative target"),
        ("target_long", -0.5, "must be at least 0"),
    ],
)
def test_values_that_cannot_be_traded(name: str, value: float, problem: str) -> None:
    times = pl.Series([0, 3_600_000]).cast(pl.Datetime("ms", "UTC"))
    frame = pl.DataFrame({"open_time": times, "symbol": ["A", "B"], name: [None, value]})
    with pytest.raises(DataError, match=rf"{problem}.* at 1970-01-01 01:00 UTC"):
        refuse_untradable(frame, decision_columns([name]), "signals x.csv", "open_time")


def test_values_that_can() -> None:
    frame = pl.DataFrame(
        {
            "open_time": pl.Series([0]).cast(pl.Datetime("ms", "UTC")),
            "symbol": ["A"],
            "stop_loss": [0.0],
            "take_profit": [2.5],
            "hold_bars": [0.0],
            "limit_share": [1.0],
            "target_short": [-1.0],
            "active": [False],
        }
    )
    refuse_untradable(frame, decision_columns(frame.columns), "signals x.csv", "open_time")
