"""The story of a liquidation: the path to it, what was compared, who paid."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from backtester import analytics
from backtester.analytics.liquidation_story import event_count, liquidation_stories
from backtester.engine.result import Result
from tests.unit.analytics.books import A, B, at, result, trip
from tests.unit.report import sample

TIER = {"maintenance_margin_rate": 0.01, "max_leverage": 50.0}


def isolated(kind: str = "takeover", quantity: float = 3.0) -> Result:
    """Long 2 at 100 and 1 more at 94, margin 57, gone at a mark of 80 inside the bar 30."""
    marks = [100.0, *[94.0] * 5, *[90.0] * 22, 85.0, 82.0, 80.0, 80.0]
    gone = at(31, 1)
    fill = ("long", "buy")
    return result(
        {A: marks, B: [10.0] * len(marks)},
        config={
            "account": {"margin_mode": "isolated"},
            "tiers": {A: [{"notional_floor": 0.0, "notional_cap": 100.0, **TIER}, {"notional_floor": 100.0, **TIER}]},
        },
        positions=[
            (at(0), A, "long", 2.0, 100.0, 40.0, 81.0),
            (at(2), A, "long", 3.0, 98.0, 57.0, 79.5),
            (at(0), B, "short", -5.0, 10.0, 10.0, 12.0),
            (gone, A, "flat", 0.0, None, 0.0, None),
        ],
        fills=[
            (at(0), 0, A, *fill, 2.0, 100.0, 200.0, 0.2, 0.0, 0.0, "taker", "target"),
            (at(2), 1, A, *fill, 1.0, 94.0, 94.0, 0.1, 0.0, 0.0, "taker", "target"),
            (gone, -1, A, "long", "sell", quantity, 80.0, 80.0 * quantity, 0.0, -54.0, 0.0, "taker", "liquidation"),
        ],
        funding=[(at(8), A, "long", 0.0001, 90.0, 3.0, -0.5), (at(8), B, "short", 0.0001, 10.0, -5.0, 9.0)],
        liquidations=[
            (gone, A, "long", kind, quantity, 98.0, 80.0, 79.0, 80.0, 3.0, 2.4, 1, 57.0, 0.0, 3.0, False),
        ],
        trades=[trip(A, "long", at(0), gone, "liquidation"), trip(B, "short", at(0), None, "open")],
    )


def test_an_isolated_position_by_hand() -> None:
    (story,) = liquidation_stories(isolated(), 5)
    main = story.main
    assert story.is_isolated
    assert (story.opened, story.first_quantity, story.increases) == (at(0), 2.0, 1)
    assert story.funding == -0.5
    assert story.fees == pytest.approx(-0.3)
    assert story.notional == 240.0
    assert story.effective_rate == pytest.approx(0.01)
    assert (main.liquidation_price, main.bankruptcy_price, main.held) == (79.5, 79.0, 3.0)
    assert main.price_loss == pytest.approx(3 * 18.0)
    assert (main.tier, main.tier_rate) == (1, 0.01)
    labels = [moment.label for moment in story.path]
    assert labels == ["at the first close", "a day before", "at the last close", "at the trigger"]
    first, day, last, trigger = story.path
    assert first.leverage == pytest.approx(200 / 40)
    assert first.distance == pytest.approx(0.19)
    assert (day.time, day.mark) == (at(7), 90.0)
    assert day.leverage == pytest.approx(270 / (57 - 24))
    assert (last.time, last.mark) == (at(30), 82.0)
    assert last.distance == pytest.approx(2.5 / 82)
    assert trigger.leverage == pytest.approx(80.0)


def test_a_step_closes_a_part() -> None:
    (story,) = liquidation_stories(isolated("step", 1.0), 5)
    assert story.kind == "step"
    assert (story.main.quantity, story.main.held) == (1.0, 3.0)
    assert story.notional == 240.0  # the test judged all of it


def test_positions_of_a_cross_account_are_one_story() -> None:
    run = analytics.complete(sample.make(2, 24 * 60, exposure=9.0, seed=11, takeover="bankruptcy"))
    stories = liquidation_stories(run, 20)
    assert event_count(run) == len(stories) < run.liquidations.height
    for story in stories:
        told = run.liquidations.filter(pl.col("time").cast(pl.Int64) == story.time)
        assert sum(one.margin_lost for one in story.closed) == pytest.approx(told["margin_lost"].sum())
        assert story.main.margin_lost == told["margin_lost"].max()
        # At bankruptcy the account loses what the price took and all that was left of the balance.
        lost = sum(one.price_loss for one in story.closed) + story.margin_balance
        assert sum(one.margin_lost for one in story.closed) == pytest.approx(lost)
        assert story.effective_rate == pytest.approx(sample.MMR)
        assert [moment.time for moment in story.path] == sorted({moment.time for moment in story.path})


def test_the_limit_bounds_the_work() -> None:
    run = analytics.complete(sample.make(2, 24 * 60, exposure=9.0, seed=11))
    assert len(liquidation_stories(run, 1)) == 1
    assert liquidation_stories(analytics.complete(sample.flat()), 5) == []


def test_without_round_trips_there_is_no_path() -> None:
    run = isolated()
    (story,) = liquidation_stories(replace(run, trades=run.trades.clear()), 5)
    assert story.opened is None
    assert [moment.label for moment in story.path] == ["at the trigger"]
