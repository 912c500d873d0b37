"""Steps that a venue tries only while the balance exceeds the first bracket's requirement (OKX), worked by hand.

Flat brackets 1 %, 2 %, 5 % from 0, 1,000 and 2,000 USDT. 30 units long at 100, isolated at 10x: margin 300. The mark
then opens lower at once, in the third bracket, from which steps go two down.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from tests.reference.account import replay
from tests.reference.adapter import run_kernel
from tests.reference.case import Case, Contract, Ohlc, Outcome, Settings, Target, Tier, Tiers

HOUR = 3_600_000
BRACKETS = Tiers(
    (Tier(0.0, 1_000.0, 0.01, 50), Tier(1_000.0, 2_000.0, 0.02, 50), Tier(2_000.0, math.inf, 0.05, 50)), form="flat"
)


def gap_to(mark: float) -> Case:
    bars = Ohlc(*[(100.0, 100.0, mark)] * 4)
    contract = Contract(trade=bars, mark=bars, tables=(BRACKETS,), lot=1.0, margin_mode="isolated", leverage=10.0)
    rules = Settings(step="tier", step_tiers=2, step_from_tier=3, step_above_first=True)
    return Case((contract,), (0, HOUR, 2 * HOUR), HOUR, (Target(0, 0, 0.3),), rules)


@pytest.mark.parametrize("side", [replay, run_kernel])
def test_above_it_a_step_is_enough(side: Callable[[Case], Outcome]) -> None:
    # balance 300 - 30 * 8 = 60 <= 30 * 92 * 5 % = 138, but > 30 * 92 * 1 % = 27.60: 10 units (920) are below 1,000
    rows = side(gap_to(92.0)).liquidations
    assert [(r["kind"], float(r["quantity"])) for r in rows] == [("step", 20.0)]
    assert float(rows[0]["margin_balance"]) == pytest.approx(60.0)
    assert float(rows[0]["requirement"]) == pytest.approx(138.0)


@pytest.mark.parametrize("side", [replay, run_kernel])
def test_below_it_all_is_taken_over(side: Callable[[Case], Outcome]) -> None:
    # balance 300 - 30 * 9.5 = 15 <= 30 * 90.5 * 1 % = 27.15
    outcome = side(gap_to(90.5))
    assert [(r["kind"], float(r["quantity"])) for r in outcome.liquidations] == [("takeover", 30.0)]
    assert float(outcome.wallet[-1]) == pytest.approx(9_700.0)
