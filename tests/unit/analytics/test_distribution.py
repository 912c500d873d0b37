"""Shape, rolling figures and timing of returns, by hand and against other libraries."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pytest

from backtester.analytics import distribution
from tests.unit.analytics.test_returns import equity_frame

HOUR = 3_600_000


@pytest.fixture(scope="module")
def days() -> np.ndarray:
    return np.random.default_rng(4).standard_t(4, 400) * 0.02 + 0.001


def test_the_shape_is_that_of_other_libraries(days: np.ndarray) -> None:
    stats = pytest.importorskip("scipy.stats", reason="the other library of moments")
    told = distribution.describe(days)
    assert told["skew"] == pytest.approx(stats.skew(days))
    assert told["kurtosis"] == pytest.approx(stats.kurtosis(days))
    assert told["deviation"] == pytest.approx(days.std(ddof=1))


def test_the_tail_is_that_of_another_library(days: np.ndarray) -> None:
    empyrical = pytest.importorskip("empyrical", reason="the other library of tails")
    told = distribution.describe(days)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert told["var_95"] == pytest.approx(empyrical.value_at_risk(days, 0.05))
        assert told["var_99"] == pytest.approx(empyrical.value_at_risk(days, 0.01))


def test_the_mean_of_the_worst_days_by_hand() -> None:
    days = np.concatenate((np.array([-0.10, -0.08, -0.06]), np.linspace(0.0, 0.05, 58)))
    told = distribution.describe(days)  # 61 days: the quantile at 5 % is the fourth, at 1 % between first and second
    assert told["var_95"] == pytest.approx(0.0)
    assert told["cvar_95"] == pytest.approx((-0.10 - 0.08 - 0.06 + 0.0) / 4)
    assert told["var_99"] == pytest.approx(-0.10 + 0.6 * 0.02)
    assert told["cvar_99"] == pytest.approx(-0.10)


def test_days_without_a_position_do_not_thin_the_tail() -> None:
    days = np.concatenate((np.array([-0.5, -0.1]), np.zeros(99)))  # 101 days: the quantile at 5 % is the sixth
    told = distribution.describe(days)
    assert told["var_95"] == 0.0
    assert told["cvar_95"] == pytest.approx(-0.6 / 6)
    assert told["cvar_99"] == pytest.approx(-0.6 / 2)


def test_few_or_equal_days_have_no_shape() -> None:
    assert distribution.describe(np.array([0.1, 0.2]))["var_95"] is None
    assert distribution.describe(np.full(20, 0.01))["skew"] is None
    assert distribution.describe(np.empty(0))["days"] == 0


def test_rolling_figures_are_those_of_each_window(days: np.ndarray) -> None:
    deviation, ratio = distribution.rolling(days, 30)
    assert np.isnan(deviation[:29]).all()
    last = days[-30:]
    assert deviation[-1] == pytest.approx(last.std(ddof=1) * 365**0.5)
    assert ratio[-1] == pytest.approx(last.mean() / last.std(ddof=1) * 365**0.5)
    assert np.isnan(distribution.rolling(days[:10], 30)[0]).all()
    assert np.isnan(distribution.rolling(np.zeros(40), 30)[1]).all()


def test_hours_and_weekdays_are_those_of_the_open() -> None:
    frame = equity_frame([110.0, 99.0, 99.0, 108.9], step=24 * HOUR)  # opens on Monday 2024-01-01
    change = distribution.bar_returns(frame, 100.0)
    assert change.tolist() == pytest.approx([0.1, -0.1, 0.0, 0.1])
    told = distribution.by_weekday(frame, change, 24 * HOUR)
    assert told["key"].to_list() == [0, 1, 2, 3]
    assert told["total"].to_list() == pytest.approx([0.1, -0.1, 0.0, 0.1])
    assert told["error"].to_list() == [None] * 4
    assert distribution.by_hour(frame, change, 24 * HOUR).is_empty()
    assert distribution.by_weekday(frame, change, 48 * HOUR).is_empty()


def test_the_figures_of_an_hour_by_hand() -> None:
    frame = equity_frame(np.full(48, 100.0), step=HOUR)
    change = np.zeros(48)
    change[5], change[29] = 0.02, -0.01
    told = distribution.by_hour(frame, change, HOUR).row(5, named=True)
    assert told["bars"] == 2
    assert told["mean"] == pytest.approx(0.005)
    assert told["error"] == pytest.approx(np.std([0.02, -0.01], ddof=1) / 2**0.5)
    assert told["positive"] == 0.5


def test_bars_after_ruin_return_nothing() -> None:
    assert distribution.bar_returns(equity_frame([0.0, 0.0]), 100.0).tolist() == [-1.0, 0.0]
    assert distribution.bar_returns(pl.DataFrame({"equity": [50.0]}), 100.0).tolist() == [-0.5]
