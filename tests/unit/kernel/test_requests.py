"""Requests that the reference does not speak of: what a run cannot carry out at all."""

from __future__ import annotations

import math

from tests.reference.adapter import run_kernel
from tests.reference.case import Case, Contract, Ohlc, Submit, Tier, Tiers

HOUR = 3_600_000
FLAT = (100.0,) * 4
TABLES = (Tiers((Tier(0.0, math.inf, 0.01, 100.0),)),)


def test_a_trigger_on_an_index_that_the_run_has_not_is_rejected() -> None:
    prices = Ohlc(FLAT, FLAT, FLAT, FLAT)
    asked = Submit(bar=0, symbol=0, buy=True, quantity=1.0, kind="stop", trigger=101.0, watches="index")
    case = Case((Contract(prices, prices, TABLES),), tuple(k * HOUR for k in range(4)), HOUR, (), requests=(asked,))
    (order,) = run_kernel(case).orders
    assert (order["status"], order["reason"], order["end_time"]) == ("rejected", "no_index", HOUR)
