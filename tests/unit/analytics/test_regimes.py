"""Regimes of days by rules that can be followed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from backtester import analytics
from backtester.analytics import regimes, returns
from tests.unit.report import sample

DAY = 86_400_000


def bars(closes: dict[str, list[float]], start: int = 0) -> pl.DataFrame:
    rows = [
        ((start + t) * DAY, name, (series[t - 1] if t else close), close)
        for name, series in closes.items()
        for t, close in enumerate(series)
    ]
    schema = {"open_time": pl.Int64, "symbol": pl.String, "open": pl.Float64, "close": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col("open_time").cast(sample.TIME))


def test_the_market_is_the_mean_of_the_contracts_changes() -> None:
    frame = bars({"A": [100.0, 110.0, 99.0], "B": [50.0, 50.0, 60.0]})
    assert regimes.market_changes(frame, np.arange(3)).tolist() == pytest.approx([0.0, 0.05, (-0.1 + 0.2) / 2])


def test_a_contract_listed_later_counts_from_its_second_day() -> None:
    frame = pl.concat([bars({"A": [100.0, 110.0, 121.0]}), bars({"B": [50.0, 60.0]}, start=1)])
    assert regimes.market_changes(frame, np.arange(3)).tolist() == pytest.approx([0.0, 0.1, (0.1 + 0.2) / 2])


def test_a_trend_is_a_move_larger_than_its_noise() -> None:
    rising = 0.01 + 0.001 * np.tile([1, -1], 20)
    labels = regimes.trend(np.concatenate((rising, -rising, 0.01 * np.tile([1, -1], 20))))
    assert set(labels[:20]) == {-1}
    assert set(labels[20:41]) == {0}
    assert set(labels[65:81]) == {2}
    assert set(labels[105:]) == {1}


def test_a_day_does_not_tell_its_own_trend() -> None:
    changes = np.random.default_rng(1).normal(0, 0.02, 60)
    before = regimes.trend(changes)[50]
    changes[50] = 5.0
    assert regimes.trend(changes)[50] == before


def test_volatility_is_cut_into_thirds() -> None:
    labels = regimes.volatility(np.linspace(0.001, 0.05, 140) * np.tile([1.0, -1.0], 70))
    assert set(labels[:20]) == {-1}
    assert labels[20:].tolist() == [0] * 40 + [1] * 40 + [2] * 40


def test_funding_is_signed_by_the_sum_of_the_days_rates() -> None:
    run = sample.flat(24 * 3)
    rate = np.full(run.bars.height, np.nan)
    rate[[0, 8, 16]] = 0.01, -0.02, 0.005
    rate[[24, 32]] = 0.01, 0.01
    known = replace(run, bars=run.bars.with_columns(pl.Series("funding_rate", rate).fill_nan(None)))
    days = sample.START // DAY + np.arange(3)
    assert regimes.funding_sign(known, days).tolist() == [1, 0, 2]
    assert regimes.funding_sign(run, days).tolist() == [2, 2, 2]


def test_every_day_is_in_one_regime_of_each_kind() -> None:
    run = analytics.complete(sample.make(2, 24 * 90))
    daily = returns.daily_returns(run.equity, run.config.account.balance)
    told = regimes.by_regime(run, daily)
    assert told.group_by("kind").agg(pl.col("days").sum())["days"].to_list() == [90, 90, 90]
    for _, rows in told.group_by("kind"):
        grown = np.prod(1 + rows["total"].drop_nulls().to_numpy())
        assert grown == pytest.approx(np.prod(1 + daily["return"].to_numpy()))


def test_a_short_run_has_no_regimes() -> None:
    run = analytics.complete(sample.one_trade())
    daily = returns.daily_returns(run.equity, run.config.account.balance)
    assert regimes.by_regime(run, daily).is_empty()
