"""What each contract brought adds up to the change of equity."""

from __future__ import annotations

import numpy as np
import pytest

from backtester import analytics
from backtester.analytics import attribution, contributions, returns
from tests.unit.report import sample


def test_the_contributions_of_a_day_are_its_change_of_equity() -> None:
    run = analytics.complete(sample.make(3, 24 * 40))
    symbols, brought = contributions.daily_contributions(run)
    daily = returns.daily_returns(run.equity, run.config.account.balance)
    assert symbols == run.symbols
    assert brought.shape == (3, 40)
    change = np.diff(daily["equity"].to_numpy(), prepend=run.config.account.balance)
    assert brought.sum(axis=0) == pytest.approx(change, abs=1e-6)
    parts = attribution.attribute_symbols(run)
    assert brought.sum(axis=1) == pytest.approx(parts["total"].to_numpy(), abs=1e-6)


@pytest.mark.parametrize("make", [sample.flat, sample.one_trade, sample.one_day])
def test_edges_add_up(make) -> None:
    run = analytics.complete(make())
    _, brought = contributions.daily_contributions(run)
    assert brought.sum() == pytest.approx(run.summary["net_profit"], abs=1e-6)


def test_correlations_are_those_of_the_days_on_which_something_moved() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(3, 50))
    rows[2] = 0.0
    idle = np.concatenate((rows, np.zeros((3, 20))), axis=1)
    found = contributions.correlation(idle)
    assert found[:2, :2] == pytest.approx(np.corrcoef(rows[:2]))
    assert np.isnan(found[2]).all()
    assert np.isnan(contributions.correlation(np.zeros((2, 10)))).all()
