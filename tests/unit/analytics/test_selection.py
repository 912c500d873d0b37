"""What luck alone shows in the best of many trials, against drawing them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from backtester.analytics.selection import expected_best_sharpe


@pytest.mark.parametrize(("trials", "days"), [(10, 100), (100, 250), (400, 730)])
def test_agrees_with_the_best_of_drawn_noise(trials: int, days: int) -> None:
    rng = np.random.default_rng(3)
    best = []
    for _ in range(60_000 // trials):
        returns = rng.normal(0, 0.02, (trials, days))
        best.append((returns.mean(axis=1) / returns.std(axis=1, ddof=1)).max() * math.sqrt(365))
    assert expected_best_sharpe(trials, days) == pytest.approx(np.mean(best), rel=0.04)


def test_grows_with_trials_and_shrinks_with_days() -> None:
    few, many = expected_best_sharpe(10, 365), expected_best_sharpe(10_000, 365)
    assert few is not None
    assert many is not None
    assert 0 < few < many
    assert expected_best_sharpe(10, 4 * 365) == pytest.approx(few / 2)


def test_one_trial_and_one_day() -> None:
    assert expected_best_sharpe(1, 365) == 0.0
    assert expected_best_sharpe(10, 1) is None
