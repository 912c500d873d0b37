"""The bootstrap: block lengths and samples against another library, figures against what they must be."""

from __future__ import annotations

import numpy as np
import pytest

from backtester import analytics
from backtester.analytics import bootstrap, returns
from backtester.analytics.uncertainty import LEAST_DAYS, sample, uncertainty
from tests.unit.report import sample as runs

arch = pytest.importorskip("arch.bootstrap", reason="the other library of the bootstrap")


def autoregressive(days: int, share: float, seed: int) -> np.ndarray:
    noise, out = np.random.default_rng(seed).normal(size=days), np.zeros(days)
    for t in range(1, days):
        out[t] = share * out[t - 1] + noise[t]
    return out


@pytest.mark.parametrize("seed", range(8))
def test_block_lengths_are_those_of_another_library(seed: int) -> None:
    series = autoregressive((200, 700)[seed % 2], (0.0, 0.3, 0.6, 0.9)[seed % 4], seed)
    expected = arch.optimal_block_length(series)["stationary"].iloc[0]
    assert bootstrap.block_length(series) == pytest.approx(max(1.0, expected))


def test_what_does_not_move_needs_no_blocks() -> None:
    assert bootstrap.block_length(np.full(100, 0.1)) == 1.0
    assert bootstrap.block_length(np.empty(0)) == 1.0


def test_blocks_have_the_wanted_mean_length_and_go_on_in_time() -> None:
    drawn = bootstrap.draws(np.random.default_rng(1), 100, 500, 400, 8.0)
    assert drawn.min() == 0
    assert drawn.max() == 99
    follows = (np.diff(drawn, axis=1) % 100) == 1
    # A day follows the one before unless a block begins there, which happens once in 8 days and hits it by chance.
    assert follows.mean() == pytest.approx(1 - 1 / 8 + 1 / 800, abs=0.003)
    assert np.bincount(drawn.ravel(), minlength=100) / drawn.size == pytest.approx(np.full(100, 0.01), abs=0.001)


def test_blocks_of_one_day_are_independent_draws() -> None:
    drawn = bootstrap.draws(np.random.default_rng(1), 50, 200, 400, 1.0)
    assert ((np.diff(drawn, axis=1) % 50) == 1).mean() == pytest.approx(1 / 50, abs=0.002)


def test_intervals_agree_with_another_library() -> None:
    changes = 0.001 + 0.02 * autoregressive(400, 0.3, 3)
    ours = sample(changes)
    assert ours is not None
    other = arch.StationaryBootstrap(ours.block, changes, seed=5)
    mean, spread = changes.mean(), changes.std(ddof=1)
    drawn = np.array([returns.sharpe(data[0][0]) for data in other.bootstrap(1_000)])
    scale = (365 / 400) ** 0.5 * 20  # about the standard error of a Sharpe ratio over 400 days
    for level in (0.05, 0.5, 0.95):
        assert np.quantile(ours.sharpe, level) == pytest.approx(np.quantile(drawn, level), abs=scale * 0.02)
    assert np.median(ours.sharpe) == pytest.approx(mean / spread * 365**0.5, abs=0.3)


def test_chances_are_shares_of_samples() -> None:
    rng = np.random.default_rng(9)
    good, bad = rng.normal(0.004, 0.01, 300), rng.normal(-0.006, 0.01, 300)
    told = {name: sample(days) for name, days in (("good", good), ("bad", bad))}
    assert told["good"].total_return.min() > 0
    assert told["bad"].total_return.max() < 0
    assert (told["good"].is_ruined.mean(), told["bad"].is_ruined.mean()) == (0.0, 1.0)
    assert (told["bad"].max_drawdown <= told["bad"].total_return + 1e-12).all()


def test_a_sample_of_equal_days_is_that_day() -> None:
    changes = np.full(100, 0.001)
    drawn = sample(changes)
    assert drawn is not None
    assert drawn.annual_return == pytest.approx(np.full(len(drawn.annual_return), 1.001**365 - 1))
    assert np.all(drawn.max_drawdown == 0)
    assert drawn.paths[:, -1] == pytest.approx(np.full(5, 1.001**100))
    assert np.all(drawn.sharpe == 0)  # not defined without deviation


def test_equal_returns_have_equal_samples_and_at_least_a_thousand() -> None:
    changes = np.random.default_rng(2).normal(0, 0.03, 3_000)
    first, second = sample(changes), sample(changes.copy())
    assert first is not None
    assert second is not None
    assert len(first.sharpe) >= 1_000
    assert np.array_equal(first.sharpe, second.sharpe)


@pytest.mark.parametrize("make", [runs.flat, runs.one_trade, runs.one_day, runs.liquidated])
def test_few_days_have_no_interval(make) -> None:
    told = uncertainty(analytics.complete(make()))
    assert told["days"] < LEAST_DAYS
    assert told["samples"] == 0
    assert "sharpe_low" not in told


def test_a_lost_account_is_ruined() -> None:
    changes = np.concatenate(([-1.0], np.zeros(99)))
    drawn = sample(changes)
    assert drawn is not None
    assert np.isfinite(drawn.annual_return).all()
    assert drawn.is_ruined.mean() > 0.9
