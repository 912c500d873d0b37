"""Targets at a wanted volatility, against hand-worked figures."""

from __future__ import annotations

import math

import polars as pl
import pytest

from backtester.engine.run_file import build_config
from backtester.engine.sizing import MAX_FACTOR, scaled_targets, sizing_warmup
from backtester.errors import DataError
from backtester.market.schema import TIME

DAY = 86_400_000
T0 = 1_735_689_600_000
A, B = "A/USDT:USDT", "B/USDT:USDT"


def sized(**sizing: object):
    return build_config({"data": {"timeframe": "1d"}, "sizing": {"unit": "volatility", **sizing}})


def rows(symbol: str, **columns: list[float | None]) -> pl.DataFrame:
    count = len(next(iter(columns.values())))
    frame = pl.DataFrame({"open_time": [T0 + k * DAY for k in range(count)]}).with_columns(
        pl.col("open_time").cast(TIME), pl.lit(symbol).alias("symbol")
    )
    return frame.with_columns(pl.Series(name, values, pl.Float64) for name, values in columns.items())


def test_a_target_is_scaled_by_the_volatility_known_at_its_close() -> None:
    # returns +10 %, -10 %, +10 %: the deviation of two neighbours (ddof 1) is 0.2 / sqrt(2)
    bars = rows(A, close=[100.0, 110.0, 99.0, 108.9])
    found = scaled_targets(sized(vol_target=0.5, vol_window=2), bars, rows(A, target=[1.0, 1.0, -1.0, 0.5]))
    factor = 0.5 / (0.2 / math.sqrt(2) * math.sqrt(365))
    assert factor == pytest.approx(0.18506, abs=1e-5)
    assert found["target"].to_list() == [None, None, pytest.approx(-factor), pytest.approx(0.5 * factor)]
    assert found.columns == ["open_time", "symbol", "target"]


def test_nothing_is_wanted_before_the_volatility_is_known_but_closing_works() -> None:
    bars = rows(A, close=[100.0, 110.0, 99.0, 108.9])
    found = scaled_targets(sized(vol_window=3), bars, rows(A, target=[0.0, 1.0, None, 0.0]))
    assert found["target"].to_list() == [0.0, None, None, 0.0]


def test_the_factor_is_capped() -> None:
    bars = pl.concat([rows(A, close=[100.0] * 4), rows(B, close=[100.0, 100.01, 100.0, 100.01])])
    targets = pl.concat([rows(A, target=[1.0] * 4), rows(B, target=[2.0] * 4)])
    found = scaled_targets(sized(vol_target=0.5, vol_window=2), bars, targets)
    assert found["target"].to_list()[2:4] == [MAX_FACTOR] * 2  # it did not move at all
    assert found["target"].to_list()[-1] == 2 * MAX_FACTOR


def test_marks_are_taken_where_a_symbol_has_them_and_legs_are_scaled_too() -> None:
    a = rows(A, close=[1.0, 9.0, 2.0], mark_close=[100.0, 110.0, 99.0])
    b = rows(B, close=[100.0, 110.0, 99.0], mark_close=[None, None, None])
    legs = {"target_long": [1.0] * 3, "target_short": [-0.5] * 3}
    targets = pl.concat([rows(A, **legs), rows(B, **legs)]).with_columns(pl.lit(0.02).alias("stop_loss"))
    found = scaled_targets(sized(vol_window=2), pl.concat([a, b]), targets)
    factor = 0.5 / (0.2 / math.sqrt(2) * math.sqrt(365))
    for row in (2, 5):
        assert found["target_long"][row] == pytest.approx(factor)
        assert found["target_short"][row] == pytest.approx(-0.5 * factor)
    assert found["stop_loss"].to_list() == [0.02] * 6


def test_later_bars_change_nothing() -> None:
    bars = rows(A, close=[100.0, 110.0, 99.0, 108.9, 50.0])
    targets = rows(A, target=[1.0] * 5)
    whole = scaled_targets(sized(vol_window=2), bars, targets)
    assert scaled_targets(sized(vol_window=2), bars[:4], targets[:4]).equals(whole[:4])


def test_other_units_are_left_alone_and_too_few_bars_are_refused() -> None:
    bars, targets = rows(A, close=[100.0, 110.0]), rows(A, target=[1.0, 1.0])
    assert scaled_targets(build_config({"data": {"timeframe": "1d"}}), bars, targets) is targets
    assert (sizing_warmup(sized(vol_window=5)), sizing_warmup(build_config({}))) == (6, 0)
    with pytest.raises(DataError, match="no symbol has the 168 returns in a row"):
        scaled_targets(sized(), bars, targets)
