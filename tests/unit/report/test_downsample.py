"""Thinned series keep their extremes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from backtester.report.downsample import extremes, ohlc, thin
from tests.unit.report import sample


@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 1_000, 12_345])
def test_extremes_first_and_last_survive(count: int) -> None:
    values = np.random.default_rng(1).normal(size=count).cumsum()
    kept = extremes(values, 100)
    assert kept[0] == 0
    assert kept[-1] == count - 1
    assert (np.diff(kept) > 0).all()
    assert len(kept) <= 104
    assert values[kept].max() == values.max()
    assert values[kept].min() == values.min()


def test_every_bucket_keeps_its_own_extremes() -> None:
    values = np.zeros(10_000)
    values[5_001], values[5_002] = 7.0, -7.0
    kept = extremes(values, 200)
    assert {5_001, 5_002} <= set(kept.tolist())


def test_nan_is_never_an_extreme() -> None:
    values = np.full(1_000, np.nan)
    values[500] = 3.0
    assert 500 in extremes(values, 10)


def test_merged_bars_keep_open_extremes_and_close() -> None:
    bars = sample.flat(1_000).bars
    merged = ohlc(bars, 64)
    assert merged.height <= 64
    assert merged["open"][0] == bars["open"][0]
    assert merged["close"][-1] == bars["close"][-1]
    assert merged["high"].max() == bars["high"].max()
    assert merged["low"].min() == bars["low"].min()
    assert ohlc(bars, 5_000).height == bars.height


def test_thinning_keeps_the_heaviest_of_each_span() -> None:
    time = np.arange(1_000)
    weight = np.random.default_rng(2).random(1_000)
    kept = thin(time, weight, 10)
    assert kept.tolist() == [int(weight[i : i + 100].argmax()) + i for i in range(0, 1_000, 100)]
    assert pl.Series(thin(time[:5], weight[:5], 10)).to_list() == [0, 1, 2, 3, 4]
