"""What was held at closes, how near liquidation was, the close calls."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from backtester import analytics
from backtester.analytics import risk
from backtester.analytics.closeness import approaches, average_true_range, close_calls, nearest
from backtester.analytics.held import held_at_closes
from tests.unit.analytics.books import A, B, at, result, trip
from tests.unit.report import sample


def test_a_change_at_the_next_open_is_not_part_of_the_close() -> None:
    run = result(
        {A: [100.0, 90.0, 95.0, 95.0]},
        positions=[(at(1), A, "long", 2.0, 100.0, 50.0, 80.0), (at(3, 1), A, "flat", 0.0, None, 0.0, None)],
    )
    (held,) = held_at_closes(run)
    assert held.quantity.tolist() == [0.0, 2.0, 0.0, 0.0]
    assert held.notional.tolist() == [0.0, 180.0, 0.0, 0.0]
    assert held.leverage[1] == pytest.approx(180 / (50 - 20))
    assert math.isnan(held.leverage[0])
    assert not held.is_isolated


def test_inverse_notional_counts_coins() -> None:
    run = result(
        {A: [80.0, 125.0]},
        config={"instruments": {A: {"kind": "inverse"}}, "account": {"margin_mode": "isolated"}},
        positions=[(at(0), A, "short", -1000.0, 100.0, 5.0, 200.0)],
    )
    (held,) = held_at_closes(run)
    assert held.notional == pytest.approx([-12.5, -8.0])
    assert held.leverage == pytest.approx([12.5 / (5.0 + 2.5), 8.0 / (5.0 - 2.0)])
    assert held.is_isolated


def test_legs_of_a_hedge_are_apart() -> None:
    run = result(
        {A: [100.0, 100.0]},
        config={"account": {"position_mode": "hedge"}},
        positions=[(at(0), A, "long", 2.0, 100.0, 1.0, 50.0), (at(0), A, "short", -1.0, 100.0, 1.0, 150.0)],
    )
    long, short = approaches(held_at_closes(run))
    assert (long.held.quantity[0], short.held.quantity[0]) == (2.0, -1.0)
    assert long.distance.tolist() == pytest.approx([0.5] * 2)
    assert short.distance.tolist() == pytest.approx([0.5] * 2)


def test_legs_that_share_a_price_are_both_as_far_from_it() -> None:
    run = result(
        {A: [100.0, 100.0]},
        config={"account": {"position_mode": "hedge", "margin_mode": "cross"}},
        positions=[(at(0), A, "long", 2.0, 100.0, 1.0, 400.0), (at(0), A, "short", -2.0, 100.0, 1.0, 400.0)],
    )
    assert [one.distance.tolist() for one in approaches(held_at_closes(run))] == [[3.0, 3.0], [3.0, 3.0]]
    found = risk.liquidation_distance(run.positions, run.bars, run.timeframe_ms, hedged=True)
    assert set(found["distance"].to_list()) == {3.0}


def test_average_true_range_is_seeded_by_a_plain_mean() -> None:
    frame = pl.DataFrame(
        {"high": [10.0, 12.0, 11.0, 14.0], "low": [8.0, 9.0, 10.0, 12.0], "close": [9.0, 11.0, 15.0, 13.0]}
    )
    # True ranges 3 (12 to 9), 1 (11 to 10, 11 before), 3 (15 before, to 12).
    assert average_true_range(frame, 2).tolist() == pytest.approx([math.nan, math.nan, 2.0, 2.5], nan_ok=True)
    assert np.isnan(average_true_range(frame, 4)).all()


def test_distance_in_true_ranges() -> None:
    marks = [100.0 + (i % 2) for i in range(20)]  # every true range is 1
    run = result({A: marks}, positions=[(at(0), A, "long", 1.0, 100.0, 20.0, 81.0)])
    (found,) = approaches(held_at_closes(run))
    assert math.isnan(found.ranges[13])
    assert found.ranges[14:16].tolist() == pytest.approx([19.0, 20.0])


def test_the_nearest_of_several_positions() -> None:
    run = result(
        {A: [100.0, 90.0, 90.0], B: [10.0, 10.0, 12.0]},
        positions=[
            (at(0), A, "long", 1.0, 100.0, 20.0, 81.0),
            (at(2), A, "flat", 0.0, None, 0.0, None),
            (at(1), B, "short", -1.0, 10.0, 2.0, 15.0),
        ],
    )
    late = replace(run, bars=run.bars.filter((pl.col("symbol") == A) | (pl.col("open_time").cast(pl.Int64) >= at(1))))
    for one in (run, late):  # listed from the start, or a bar later
        closes = one.equity["close_time"].cast(pl.Int64).to_numpy()
        distance, ranges = nearest(approaches(held_at_closes(one)), closes)
        assert distance.tolist() == pytest.approx([0.19, 0.1, 0.25])
        assert np.isnan(ranges).all()


def test_one_call_a_holding_unless_a_day_lies_between() -> None:
    near = [85.0, 84.0, 85.0]  # 5.9 %, 4.8 %, 5.9 % above 80
    marks = [100.0, *near, *[100.0] * 24, 86.0, 100.0, 100.0, 86.5]
    end = len(marks) - 2
    run = result(
        {A: marks},
        positions=[
            (at(0), A, "long", 1.0, 100.0, 20.0, 80.0),
            (at(end), A, "flat", 0.0, None, 0.0, None),
            (at(end + 1), A, "long", 1.0, 100.0, 20.0, 80.0),
        ],
        trades=[
            trip(A, "long", at(0), at(end), "target", -3.0),
            trip(A, "long", at(end + 1), None, "open"),
        ],
    )
    calls = close_calls(approaches(held_at_closes(run)), run.trades)
    assert calls["mark_close"].to_list() == [84.0, 86.0, 86.5]  # the nearest first
    assert calls["closes"].to_list() == [3, 1, 1]
    assert calls["close_time"][0].timestamp() * 1000 == at(3)
    assert [t.timestamp() * 1000 for t in (calls["from_time"][0], calls["to_time"][0])] == [at(2), at(4)]
    assert calls["day_move"].to_list() == pytest.approx([100 / 84 - 1, 86.5 / 86 - 1, 0.0])
    assert calls["end_reason"].to_list() == ["target", "target", "open"]
    assert calls["end_time"].to_list()[2] is None
    assert calls["net_pnl"].to_list()[:2] == [-3.0, -3.0]


def test_moves_count_for_the_position() -> None:
    run = result(
        {A: [100.0, 110.0]},
        positions=[(at(0), A, "short", -1.0, 100.0, 5.0, 105.0)],
        trades=[trip(A, "short", at(0), None, "open")],
    )
    calls = close_calls(approaches(held_at_closes(run)), run.trades)
    assert calls["distance"].to_list() == pytest.approx([-5 / 110])
    assert calls["position_side"].to_list() == ["short"]
    assert calls["day_move"].to_list() == [0.0]
    up = result(
        {A: [104.0, *[90.0] * 24, 80.0]},
        positions=[(at(0), A, "short", -1.0, 100.0, 5.0, 105.0)],
        trades=[trip(A, "short", at(0), None, "open")],
    )
    calls = close_calls(approaches(held_at_closes(up)), up.trades)
    assert calls["day_move"].to_list() == pytest.approx([1 - 90 / 104])


def test_the_nearest_is_that_of_the_summary() -> None:
    run = analytics.complete(sample.make(2, 24 * 60, exposure=9.0, seed=11))
    found = approaches(held_at_closes(run))
    closest = run.summary["closest_liquidation_distance"]
    assert np.nanmin(nearest(found, run.equity["close_time"].cast(pl.Int64).to_numpy())[0]) == closest
    calls = close_calls(found, run.trades)
    assert calls["distance"][0] == closest
    assert calls["end_reason"].null_count() == 0


def test_nothing_held_has_no_distance() -> None:
    held = held_at_closes(sample.flat())
    assert held == []
    assert close_calls(approaches(held), sample.flat().trades).is_empty()
