"""Tier tables: lookup, deductions, continuity, caps, dates."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from backtester.domain.enums import TierForm, TierUnit
from backtester.domain.margin_tiers import MarginTier, TierTable, table_in_force


def tier(floor: float, cap: float, rate: float, leverage: float = 10.0, **more: float | None) -> MarginTier:
    return MarginTier(
        notional_floor=floor, notional_cap=cap, maintenance_margin_rate=rate, max_leverage=leverage, **more
    )


THREE = (tier(0, 100, 0.01, 50), tier(100, 1000, 0.02, 20), tier(1000, math.inf, 0.05, 5))


def table(*tiers: MarginTier, **more: object) -> TierTable:
    return TierTable(symbol="X", tiers=tiers or THREE, **more)


@pytest.mark.parametrize(
    ("size", "bracket"), [(0, 0), (99.999, 0), (100, 1), (999.999, 1), (1000, 2), (1e12, 2)]
)  # fmt: skip
def test_the_floor_belongs_to_a_bracket_and_the_cap_does_not(size, bracket):
    assert table().lookup(size) == bracket


def test_beyond_a_finite_last_cap_the_last_bracket_holds():
    assert table(tier(0, 100, 0.01), tier(100, 200, 0.02)).lookup(5000) == 1


def test_missing_deductions_follow_from_continuity():
    assert table().deductions() == pytest.approx((0.0, 1.0, 31.0))


def test_stated_deductions_are_taken_and_carried_on():
    stated = table(THREE[0], tier(100, 1000, 0.02, maintenance_amount=2.0), THREE[2])
    assert stated.deductions() == pytest.approx((0.0, 2.0, 32.0))
    assert stated.discontinuities() == [(1, 2.0, 1.0)]


def test_flat_tables_and_ramps_have_none():
    assert table(form=TierForm.FLAT).deductions() == (0.0, 0.0, 0.0)
    ramp = table(tier(0, math.inf, 0.01, slope=1e-5), form=TierForm.RAMP, unit=TierUnit.CONTRACTS)
    assert ramp.deductions() == (0.0,)
    wrong = table(tier(0, 1, 0.01, maintenance_amount=9.0), form=TierForm.FLAT)
    assert wrong.discontinuities() == []


def test_a_first_deduction_is_a_discontinuity():
    assert table(tier(0, math.inf, 0.01, maintenance_amount=3.0)).discontinuities() == [(0, 3.0, 0.0)]


def test_the_tolerance_of_continuity_is_relative_above_one():
    big = (tier(0, 1e9, 0.01), tier(1e9, math.inf, 0.02, maintenance_amount=1e7 + 1.0))
    assert table(*big).discontinuities() == []
    assert table(big[0], tier(1e9, math.inf, 0.02, maintenance_amount=1e7 + 11.0)).discontinuities() != []
    small = tier(100, 1000, 0.02, maintenance_amount=1.0 + 2e-6)
    assert len(table(THREE[0], small).discontinuities()) == 1


@given(
    st.lists(st.tuples(st.floats(1, 1e6), st.floats(0, 0.2)), min_size=1, max_size=8),
    st.floats(0, 0.2),
)
def test_completed_tables_are_continuous(steps, rate):
    tiers, floor = [], 0.0
    for width, rise in steps:
        rate = min(rate + rise, 0.99)
        tiers.append(tier(floor, floor + width, rate))
        floor += width
    built = table(*tiers)
    assert built.discontinuities() == []
    deductions = built.deductions()
    for k in range(1, len(tiers)):
        at = tiers[k].notional_floor
        below = at * tiers[k - 1].maintenance_margin_rate - deductions[k - 1]
        above = at * tiers[k].maintenance_margin_rate - deductions[k]
        assert above == pytest.approx(below, rel=1e-9, abs=1e-9 * at)


@pytest.mark.parametrize(("leverage", "cap"), [(60, 0), (50, 100), (21, 100), (20, 1000), (5, math.inf), (1, math.inf)])
def test_a_leverage_caps_the_position(leverage, cap):
    assert table().position_cap(leverage) == cap
    assert table().max_leverage == 50


@pytest.mark.parametrize(
    ("tiers", "said"),
    [
        ((tier(10, 100, 0.01),), "must start at 0"),
        ((tier(0, 100, 0.01), tier(200, 300, 0.02)), "ends at 100.0 and the next starts at 200.0"),
        ((tier(0, 100, 0.02), tier(100, 300, 0.01)), "the maintenance rate falls"),
    ],
)
def test_holes_and_falling_rates_are_refused(tiers, said):
    with pytest.raises(ValidationError, match=said):
        table(*tiers)


def test_a_ramp_counts_contracts():
    with pytest.raises(ValidationError, match="ramp counts contracts"):
        table(form=TierForm.RAMP)


@pytest.mark.parametrize(
    "wrong",
    [
        {"maintenance_margin_rate": 1.0},
        {"maintenance_margin_rate": -0.1},
        {"max_leverage": 0},
        {"notional_floor": -1},
        {"notional_floor": 5, "notional_cap": 5},
        {"cum": 1},
    ],
)
def test_impossible_brackets_are_refused(wrong):
    with pytest.raises(ValidationError):
        MarginTier(**{"maintenance_margin_rate": 0.01, "max_leverage": 10, **wrong})


def test_an_empty_table_is_refused():
    with pytest.raises(ValidationError):
        TierTable(symbol="X", tiers=())


def test_the_newest_table_that_is_valid_holds():
    always, old, new = table(), table(valid_from=100), table(valid_from=200)
    assert table_in_force([new, old], 50) is old  # all are younger: the oldest
    assert table_in_force([new, old], 100) is old
    assert table_in_force([new, old], 199) is old
    assert table_in_force([new, old], 200) is new
    assert table_in_force([new, always, old], 50) is always


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["binance_2022-11-25", "binance_2024-10-24", "binance_2025-10", "binance_2026-09"])
def test_real_tables_are_whole_and_continuous(real_data: Path, name):
    dump = json.loads((real_data / "tiers" / f"{name}.json").read_text("utf-8"))
    assert len(dump) > 100
    for symbol, rows in dump.items():
        tiers = tuple(
            tier(
                row["minNotional"],
                row["maxNotional"],
                row["maintenanceMarginRate"],
                row["maxLeverage"],
                maintenance_amount=float(row["info"]["cum"]),
            )
            for row in rows
        )
        assert TierTable(symbol=symbol, tiers=tiers).discontinuities() == [], symbol
