"""Which strategies have a compiled target, what they read, and which go together."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from backtester.strategy import Indicator, Param, Strategy, atr, registry, sma
from backtester.strategy.target_plan import plan_targets, target_batches

BUNDLED = {
    "bracket": "it also decides stop_loss, take_profit, trailing_stop",
    "breakout": "target() uses forward_fill or backward_fill",
    "buy_and_hold": "",
    "cross_momentum": "indicator 'is_due' uses .dt",
    "funding_carry": "target() uses .over()",
    "funding_fade": "",
    "grid": "it decides by on_bar()",
    "market_maker": "it decides by on_bar()",
    "martingale": "it decides by on_bar()",
    "pairs": "it decides by signals()",
    "premium_reversion": "",
    "trend": "",
}


class Cross(Strategy):
    """Two averages, a third indicator that the target does not read, and a column of the bars."""

    fast: int = Param(3, ge=2)
    slow: int = Param(9, ge=3)
    most: float = Param(0.5, gt=0)

    def indicators(self) -> dict[str, Indicator | pl.Expr]:
        return {
            "fast": sma("close", self.fast),
            "slow": sma("close", self.slow),
            "again": sma("close", self.fast),
            "range": atr(14),
            "gap": pl.col("close") / pl.col("open") - 1,
        }

    def target(self) -> pl.Expr:
        rises = (pl.col("fast") > pl.col("slow")) & (pl.col("volume") > 0)
        return pl.when(rises).then(pl.col("gap").clip(-self.most, self.most)).otherwise(0.0)


class Wide(Cross):
    """As above, in other words."""

    def target(self) -> pl.Expr:
        return pl.col("slow") - pl.col("fast")


class Stopped(Cross):
    """As above, with a stop."""

    def stop_loss(self) -> float:
        return 0.1


class Broken(Cross):
    """It raises."""

    def target(self) -> pl.Expr:
        return pl.col("fast") * self.nothing


class Python(Cross):
    """It calls Python."""

    def target(self) -> pl.Expr:
        return pl.col("fast").map_batches(lambda values: values)


class Legs(Strategy):
    """Two legs."""

    def target_long(self) -> float:
        return 0.5


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_strategies_are_compiled_or_say_why_not(name) -> None:
    (plan,) = plan_targets([registry.find(name)()])
    assert plan.reason == BUNDLED[name]
    assert (plan.program is None) == bool(plan.reason)


def test_every_bundled_strategy_is_listed(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # away from ./strategies
    assert {entry.name for entry in registry.listing() if entry.origin == "bundled"} == set(BUNDLED)


def test_a_plan_names_what_is_read_and_what_is_waited_for() -> None:
    (plan,) = plan_targets([Cross(fast=4, slow=7)])
    assert plan.indicators == (sma("close", 4), sma("close", 7), atr(14))
    assert plan.columns == (sma("close", 4), sma("close", 7), "volume", "close", "open")
    assert plan.program is not None
    assert plan.program.literals[-4:] == (1.0, -0.5, 0.5, 0.0)


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        (Stopped(), "it also decides stop_loss"),
        (Legs(), "it decides by target_long()"),
        (Broken(), "target() cannot be read: Strategy 'broken' raised AttributeError in target()"),
        (Python(), "target() cannot be read: Strategy 'python' raised"),
    ],
)
def test_others_say_why(strategy, reason) -> None:
    (plan,) = plan_targets([strategy])
    assert plan.program is None
    assert plan.reason.startswith(reason)
    assert plan.columns == ()


def test_plans_of_one_shape_are_one_batch() -> None:
    sets = [Cross(fast=3, slow=9), Wide(fast=2, slow=5), Stopped(), Cross(fast=2, slow=9, most=0.1), Wide()]
    batches = target_batches(plan_targets(sets))
    assert [batch.members.tolist() for batch in batches] == [[0, 3], [1, 4]]
    first, second = batches
    assert first.columns == (sma("close", 3), sma("close", 9), "volume", "close", "open", sma("close", 2))
    assert first.places.tolist() == [[0, 1, 2, 3, 4], [5, 1, 2, 3, 4]]
    assert first.literals[:, -2].tolist() == [0.5, 0.1]
    assert second.places.tolist() == [[0, 1], [2, 3]]
    assert second.steps.dtype == np.int64


def test_batches_are_closed_before_they_read_too_many_columns() -> None:
    plans = plan_targets([Wide(fast=2 + k, slow=50) for k in range(10)])
    batches = target_batches(plans, columns_at_most=4)
    assert [batch.members.size for batch in batches] == [3, 3, 3, 1]
    assert all(len(batch.columns) <= 4 for batch in batches)
    assert len(target_batches(plans, columns_at_most=1)) == 10
