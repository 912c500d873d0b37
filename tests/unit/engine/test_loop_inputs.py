"""The arrays that an on_bar function reads."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.testing import assert_array_equal

from backtester.engine.loop_inputs import SERIES, loop_series
from backtester.engine.signal_clock import SignalClock

HOUR, QUARTER = 3_600_000, 900_000
A, B = "A/USDT:USDT", "B/USDT:USDT"
NAN = float("nan")


def long(rows: list[tuple[str, int, float]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars (symbol, hour, price) whose columns are the price times 1, 2, 3 …, and an indicator, its negative."""
    price = pl.Series([row[2] for row in rows])
    bars = pl.DataFrame(
        {
            "open_time": pl.Series([HOUR * row[1] for row in rows]).cast(pl.Datetime("ms", "UTC")),
            "symbol": [row[0] for row in rows],
            **{name: price * (k + 1) for k, name in enumerate(SERIES)},
        }
    ).with_columns(pl.lit(None, pl.Float64).alias("index_close"))
    first = bars.select("open_time", "symbol", slow=-price, first=pl.int_range(pl.len()).cast(pl.Float64))
    return bars, first.with_columns(pl.when(pl.col("first") > 0).then("first").alias("first"))


def test_rows_stand_at_their_symbol_and_bar() -> None:
    clock = SignalClock((A, B), 2 * HOUR + QUARTER * np.arange(12), QUARTER, HOUR)
    rows = [(A, 1, 1.0), (A, 2, 2.0), (A, 3, 3.0), (A, 4, 4.0), (A, 5, 5.0), (B, 3, 30.0)]
    found = loop_series(*long(rows), ["first", "slow"], clock, (A, B))
    assert found.open_time.tolist() == [2 * HOUR, 3 * HOUR, 4 * HOUR]
    assert found.last_bar.tolist() == [3, 7, 11]
    assert_array_equal(found.open, [[2.0, 3.0, 4.0], [NAN, 30.0, NAN]])
    assert_array_equal(found.close, [[8.0, 12.0, 16.0], [NAN, 120.0, NAN]])
    assert_array_equal(found.mark_close, [[12.0, 18.0, 24.0], [NAN, 180.0, NAN]])
    assert np.isnan(found.index_close).all()
    assert found.indicators.shape == (2, 2, 3)
    assert_array_equal(found.indicators[0], [[1.0, 2.0, 3.0], [NAN, 5.0, NAN]])
    assert_array_equal(found.indicators[1], [[-2.0, -3.0, -4.0], [NAN, -30.0, NAN]])


def test_without_finer_bars_each_bar_is_its_own_last() -> None:
    clock = SignalClock((A,), HOUR * np.array([0, 1, 3]), HOUR, HOUR)
    found = loop_series(*long([(A, 0, 1.0), (A, 1, 2.0), (A, 2, 9.0), (A, 3, 4.0)]), [], clock, (A,))
    assert found.last_bar.tolist() == [0, 1, 2]
    assert_array_equal(found.open, [[1.0, 2.0, 4.0]])
    assert found.indicators.shape == (0, 1, 3)


def test_warm_up_that_an_indicator_had_does_not_show() -> None:
    clock = SignalClock((A,), HOUR * np.arange(2, 4), HOUR, HOUR)
    found = loop_series(*long([(A, 0, 1.0), (A, 1, 2.0), (A, 2, 3.0), (A, 3, 4.0)]), ["first"], clock, (A,))
    assert_array_equal(found.indicators, [[[2.0, 3.0]]])
