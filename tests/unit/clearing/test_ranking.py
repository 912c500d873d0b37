"""Ranks, lights and shares of the clearing's kernel, against published and worked numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest

from backtester.kernel import clearing_queue


def source(function: Any) -> Any:
    """Return the uncompiled function: steps have no wrapper for Python."""
    return getattr(function, "py_func", function)


def test_lights_are_fifths_of_the_quantity() -> None:
    # published example: quantities 10, 20, 30, 10, 10, 20 from the top
    light = source(clearing_queue.light_of)
    assert [light(c, 100.0) for c in (10.0, 30.0, 60.0, 70.0, 80.0, 100.0)] == [1, 2, 3, 4, 4, 5]


def test_bitmex_score() -> None:
    # 1,000 contracts from 5,000, mark 5,500, 10x inverse long
    score = source(clearing_queue.bitmex_score)
    entry, mark = 1000 / 5000, 1000 / 5500
    profit = entry - mark
    balance = entry / 10 + profit
    assert score(profit, entry, mark, balance) == pytest.approx(0.43290043, abs=1e-8)
    assert score(-10.0, 100.0, 90.0, 30.0) == pytest.approx(-0.1 / 3)


def test_binance_score() -> None:
    score = source(clearing_queue.binance_score)
    assert score(500.0, 1000.0, 30.0, 1500.0) == pytest.approx(0.01)
    assert score(-500.0, 1000.0, 30.0, 500.0) == 0.0


def test_hyperliquid_score() -> None:
    assert source(clearing_queue.hyperliquid_score)(1.1, 1000.0, 200.0) == pytest.approx(5.5)


def test_the_queue_falls_by_score_and_then_by_number() -> None:
    first = source(clearing_queue.goes_first)
    assert first([2.0, 1.0], 0, 1)
    assert not first([1.0, 2.0], 0, 1)
    assert first([1.0, 1.0], 0, 1)
    assert not math.isnan(source(clearing_queue.light_of)(1e-9, 1.0))
