"""Returns and drawdowns, against hand-worked figures and against two other libraries."""

from __future__ import annotations

import warnings
from datetime import date

import numpy as np
import polars as pl
import pytest

from backtester.analytics import drawdown, returns

DAY = 86_400_000
START = 1_704_067_200_000
TIME = pl.Datetime("ms", "UTC")


def equity_frame(values: list[float] | np.ndarray, step: int = DAY, start: int = START) -> pl.DataFrame:
    opens = start + np.arange(len(values)) * step
    return pl.DataFrame(
        {"open_time": opens, "close_time": opens + step, "equity": np.asarray(values, dtype=float)}
    ).with_columns(pl.col("open_time", "close_time").cast(TIME))


@pytest.fixture(scope="module")
def walk() -> np.ndarray:
    return 10_000 * np.cumprod(1 + np.random.default_rng(5).normal(0.0007, 0.02, 500))


def test_bar_closing_at_midnight_belongs_to_the_day_that_ends() -> None:
    daily = returns.daily_returns(equity_frame([100, 110, 121, 133.1], step=DAY // 2), 100.0)
    assert daily["day"].to_list() == [date(2024, 1, 1), date(2024, 1, 2)]
    assert daily["return"].to_list() == pytest.approx([0.10, 0.21])


def test_days_without_a_close_keep_the_equity() -> None:
    daily = returns.daily_returns(equity_frame([100, 120], step=3 * DAY), 100.0)
    assert daily["day"].len() == 4
    assert daily["return"].to_list() == pytest.approx([0.0, 0.0, 0.0, 0.2])


def test_days_after_ruin_return_nothing() -> None:
    daily = returns.daily_returns(equity_frame([0.0, 0.0, 0.0]), 100.0)
    assert daily["return"].to_list() == [-1.0, 0.0, 0.0]
    assert returns.annual_return(-1.0, 3) == -1.0


def test_undefined_ratios_are_none() -> None:
    flat = np.zeros(10)
    assert returns.sharpe(flat) is None
    assert returns.sortino(flat) is None
    assert returns.sharpe(np.full(10, 0.01)) is None
    assert returns.volatility(np.array([0.1])) is None
    assert returns.calmar(0.1, 0.0) is None
    assert returns.annual_return(None, 3) is None
    assert returns.annual_return(1e9, 1) is None


def ledger_frame(*rows: tuple[int, str, float]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema={"time": pl.Int64, "kind": pl.String, "amount": pl.Float64}, orient="row")
    return frame.with_columns(pl.col("time").cast(TIME))


def test_without_transfers_the_equity_is_the_very_same() -> None:
    equity = equity_frame([101.0, 99.0])
    assert returns.time_weighted(equity, ledger_frame((START, "funding", 5.0)), 100.0) is equity
    assert returns.time_weighted(equity, ledger_frame(), 100.0) is equity


def test_transfers_are_no_returns() -> None:
    # 100 grow to 110 (+10 %); 90 come in: 200 grow to 220 (+10 %); 120 go out: 100 fall to 75 (-25 %)
    equity = equity_frame([110.0, 220.0, 75.0])
    moves = ledger_frame((START + DAY, "transfer", 90.0), (START + 2 * DAY, "transfer", -120.0))
    grown = returns.time_weighted(equity, moves, 100.0)
    assert grown["equity"].to_list() == pytest.approx([110.0, 121.0, 90.75])
    assert returns.daily_returns(grown, 100.0)["return"].to_list() == pytest.approx([0.1, 0.1, -0.25])
    assert drawdown.episodes(grown, 100.0)["depth"].to_list() == pytest.approx([-0.25])
    assert equity["equity"].to_list() == [110.0, 220.0, 75.0]


def test_two_transfers_of_one_bar_count_together_and_at_its_open() -> None:
    # 100 + 50 + 50 at the first open, then 200 earn 10; collateral that enters at the first open is such a transfer
    equity = equity_frame([210.0, 210.0])
    moves = ledger_frame((START, "transfer", 50.0), (START, "transfer", 50.0))
    assert returns.time_weighted(equity, moves, 100.0)["equity"].to_list() == pytest.approx([105.0, 105.0])


def test_money_that_comes_after_ruin_makes_no_returns() -> None:
    equity = equity_frame([0.0, 50.0, 75.0])
    moves = ledger_frame((START + DAY, "transfer", 50.0))
    grown = returns.time_weighted(equity, moves, 100.0)
    assert grown["equity"].to_list() == [0.0, 0.0, 0.0]
    owing = returns.time_weighted(equity_frame([-10.0, 40.0]), moves, 100.0)
    assert owing["equity"].to_list() == pytest.approx([-10.0, -10.0])


def test_a_bar_that_begins_with_nothing_returns_nothing() -> None:
    # all is withdrawn at the second open, 60 come back at the third and grow by a half
    equity = equity_frame([100.0, 0.0, 90.0])
    moves = ledger_frame((START + DAY, "transfer", -100.0), (START + 2 * DAY, "transfer", 60.0))
    assert returns.time_weighted(equity, moves, 100.0)["equity"].to_list() == pytest.approx([100.0, 100.0, 150.0])


def test_months_compound() -> None:
    daily = returns.daily_returns(equity_frame(100 * 1.01 ** np.arange(1, 61)), 100.0)
    monthly = returns.monthly_returns(daily)
    assert monthly["days"].to_list() == [31, 29]
    assert monthly["return"].to_list() == pytest.approx([1.01**31 - 1, 1.01**29 - 1])


def test_empty_equity() -> None:
    empty = equity_frame([])
    assert returns.daily_returns(empty, 1.0).is_empty()
    assert drawdown.episodes(empty, 1.0).is_empty()


def test_agrees_with_empyrical_and_quantstats(walk: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import empyrical
        import pandas as pd
        import quantstats as qs

        daily = returns.daily_returns(equity_frame(walk), 10_000.0)
        own = daily["return"].to_numpy()
        series = pd.Series(own, index=pd.to_datetime(daily["day"].to_list()))
        annual = returns.annual_return(returns.total_return(10_000.0, walk[-1]), len(own))
        deepest = drawdown.worst(equity_frame(walk), 10_000.0, 1)["depth"][0]
        expected = {
            "annual": empyrical.annual_return(series, annualization=365),
            "volatility": empyrical.annual_volatility(series, annualization=365),
            "sharpe": empyrical.sharpe_ratio(series, annualization=365),
            "sortino": empyrical.sortino_ratio(series, annualization=365),
            "calmar": empyrical.calmar_ratio(series, annualization=365),
            "drawdown": empyrical.max_drawdown(series),
        }
        other = {
            "volatility": qs.stats.volatility(series, periods=365),
            "sharpe": qs.stats.sharpe(series, periods=365),
            "sortino": qs.stats.sortino(series, periods=365),
            "drawdown": qs.stats.max_drawdown(series),
        }
    found = {
        "annual": annual,
        "volatility": returns.volatility(own),
        "sharpe": returns.sharpe(own),
        "sortino": returns.sortino(own),
        "calmar": returns.calmar(annual, deepest),
        "drawdown": deepest,
    }
    assert found == pytest.approx(expected, rel=1e-9)
    assert {key: found[key] for key in other} == pytest.approx(other, rel=1e-9)


def test_drawdown_dates_and_length() -> None:
    found = drawdown.episodes(equity_frame([110, 99, 104.5, 110, 120, 60, 90]), 100.0)
    assert found["depth"].to_list() == pytest.approx([-0.1, -0.5])
    assert found["peak_time"].cast(pl.Int64).to_list() == [START + DAY, START + 5 * DAY]
    assert found["trough_time"].cast(pl.Int64).to_list() == [START + 2 * DAY, START + 6 * DAY]
    assert found["recovery_time"].cast(pl.Int64).to_list() == [START + 4 * DAY, None]
    assert found["length"].dt.total_days().to_list() == [3, 2]


def test_first_peak_is_the_initial_balance() -> None:
    found = drawdown.episodes(equity_frame([90.0, 100.0]), 100.0)
    assert found["peak_time"].cast(pl.Int64).to_list() == [START]
    assert found["depth"].to_list() == pytest.approx([-0.1])


def test_drawdowns_match_a_plain_loop(walk: np.ndarray) -> None:
    peak, deepest = 10_000.0, 0.0
    for value in walk:
        peak = max(peak, value)
        deepest = min(deepest, value / peak - 1)
    found = drawdown.episodes(equity_frame(walk), 10_000.0)
    assert found["depth"].min() == deepest
    worst = drawdown.worst(equity_frame(walk), 10_000.0, 3)["depth"].to_list()
    assert worst == sorted(found["depth"].to_list())[:3]
