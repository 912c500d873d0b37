"""A compiled target gives what polars gives, to the bit, or is left to polars."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from backtester.errors import StrategyError
from backtester.strategy import Evaluator, Strategy, lag, rolling_max, sma
from backtester.strategy.target_plan import plan_targets, target_batches
from backtester.strategy.target_tiles import NOT_FINITE, TILE, change_points, change_points_of_sets
from tests.property.targets import COLUMNS, bars_of, numbers, strategy_of

NOT_TRADABLE = ("that is NaN", "that is infinite")
INDICATORS = {"mean": sma("close", 3), "top": rolling_max("high", 5), "before": lag("low", 2)}


def by_polars(strategy: Strategy, bars: pl.DataFrame, start: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return bars and targets where a known target differs from the last known one; None: not finite."""
    try:
        target = Evaluator(bars).columns(strategy)["target"]
    except StrategyError as error:
        if any(text in str(error) for text in NOT_TRADABLE):
            return None
        raise
    found = [(bar, value) for bar, value in enumerate(target.to_list()) if value is not None and bar >= start]
    kept = [item for place, item in enumerate(found) if place == 0 or item[1] != found[place - 1][1]]
    return np.array([bar for bar, _ in kept], np.int64), np.array([value for _, value in kept], np.float64)


def compiled_inputs(strategies, bars):
    """Return the one batch of strategies, its matrix of columns and where each strategy begins."""
    plans = plan_targets(strategies)
    (batch,) = target_batches(plans)

    def values(column):
        if isinstance(column, str):
            return bars[column].fill_null(np.nan).to_numpy()
        return column.compute(*(bars[name].fill_null(np.nan).to_numpy() for name in column.inputs))

    matrix = np.array([values(column) for column in batch.columns]).reshape(len(batch.columns), bars.height)
    firsts = np.zeros(len(plans), np.int64)
    for place, plan in enumerate(plans):
        for indicator in plan.indicators:
            known = ~np.isnan(values(indicator))
            firsts[place] = max(firsts[place], int(known.argmax()) if known.any() else bars.height)
    return batch, matrix, firsts


def check(strategy: Strategy, bars: pl.DataFrame, start: int) -> bool:
    """Compare both ways; return whether there was a program."""
    plan = plan_targets([strategy])[0]
    if plan.program is None:
        assert plan.reason
        return False
    expected = by_polars(strategy, bars, start)
    batch, matrix, firsts = compiled_inputs([strategy], bars)
    bar, target = np.empty(bars.height, np.int64), np.empty(bars.height)
    count = change_points(batch.steps, batch.literals, batch.places, matrix, firsts[0], start, bar, target)
    points = change_points_of_sets(batch.steps, batch.literals, batch.places, matrix, firsts, start)
    if expected is None:
        assert count == NOT_FINITE
        assert not points.is_finite[0]
        assert points.bar.size == 0
        return True
    assert points.is_finite[0]
    for found in ((bar[:count], target[:count]), (points.bar, points.target)):
        np.testing.assert_array_equal(found[0], expected[0])
        assert (found[1] + 0.0).tobytes() == (expected[1] + 0.0).tobytes()  # the sign of a zero tells nothing
    return True


def drawn_case(data: DataObject) -> tuple[Strategy, pl.DataFrame, int]:
    count = data.draw(st.sampled_from([2, 3, 17, 63, 64, 65, 200, TILE + 70]))
    bars = bars_of(data.draw(st.integers(0, 1000)), count)
    declared = data.draw(st.sampled_from([{}, INDICATORS, {"mean": INDICATORS["mean"]}]))
    if data.draw(st.integers(0, 3)) == 0:
        declared = {**declared, "own": data.draw(numbers(2))}
    names = (*COLUMNS, *declared)
    strategy = strategy_of(data.draw(numbers(data.draw(st.integers(1, 4)), names)), declared)
    return strategy, bars, data.draw(st.integers(0, count // 2))


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_compiled_target_is_that_of_polars(data) -> None:
    check(*drawn_case(data))


@pytest.mark.long
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_compiled_target_is_that_of_polars_in_many_cases(data) -> None:
    check(*drawn_case(data))
