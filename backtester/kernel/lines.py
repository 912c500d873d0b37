"""Balance and requirement of a position as lines in its value, kept while it stays in a bracket.

Most bars find every position in the bracket of the bar before: a few numbers a position are then all that a bar reads.
Source: accounting specification, sections 4 and 6.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.margin import BASIS_ENTRY
from backtester.kernel.path import FALLING, RISING, has_fixed_tier, line_in_tier, tier_at, tier_boundary
from backtester.kernel.state import Book, Setup

FIRST_TIER = constant(0)


@step
def close_fee_reserve(setup: Setup, book: Book, i: int) -> tuple[float, float]:
    """Return the part of the requirement that is the fee to close, as a line in ``|v|``: what is not displayed."""
    constant, slope = line_in_tier(setup, book, i, FIRST_TIER)
    p = book.positions[i]
    instrument = setup.instruments[i]
    row = setup.tiers[setup.tables[p["table"]]["start"]]
    size = abs(p["quantity"])
    rate = row["rate"] + row["slope"] * size / instrument["contract_size"]
    if setup.rules[0]["mmr_basis"] == BASIS_ENTRY:
        return constant + row["deduction"] - size * abs(p["entry_value"]) * rate, slope
    return constant + row["deduction"], slope - size * rate


@step
def refresh_line(setup: Setup, book: Book, i: int, value: float) -> None:
    """Find the lines of position ``i`` in the bracket that holds at a value."""
    line = book.lines[i]
    p = book.positions[i]
    tier = tier_at(setup, book, i, value)
    constant, slope = line_in_tier(setup, book, i, tier)
    line["is_stale"] = 0
    line["row"] = p["row"]
    line["sign"] = setup.instruments[i]["sign"]
    line["quantity"] = p["quantity"]
    line["entry"] = p["entry_value"]
    line["constant"] = constant
    line["slope"] = slope
    line["low"] = 0.0
    line["high"] = math.inf
    if not has_fixed_tier(setup, book, i):
        line["low"] = tier_boundary(setup, book, i, tier, FALLING)
        line["high"] = tier_boundary(setup, book, i, tier, RISING)
    fee_constant, fee_slope = close_fee_reserve(setup, book, i)
    line["fee_constant"] = fee_constant
    line["fee_slope"] = fee_slope


@inlined
def requirement_on_line(setup: Setup, book: Book, i: int, value: float) -> float:
    """Return the requirement of position ``i`` at a value, by its line where that holds."""
    line = book.lines[i]
    unit = abs(value)
    if line["is_stale"] == 1 or unit < line["low"] or unit >= line["high"]:
        refresh_line(setup, book, i, value)
    return float(line["constant"] + line["slope"] * unit)


@inlined
def excess_between(
    setup: Setup, book: Book, i: int, low: NDArray[np.float64], high: NDArray[np.float64], bar: int
) -> float:
    """Return the least profit of position ``i`` less its largest requirement, its mark between two series of a bar."""
    line = book.lines[i]
    if line["is_stale"] == 1:
        refresh_line(setup, book, i, low[book.positions[i]["row"], bar])
    row = line["row"]
    adverse = low[row, bar] if line["quantity"] > 0.0 else high[row, bar]
    largest = high[row, bar] if line["sign"] > 0.0 else low[row, bar]
    return line["quantity"] * (adverse - line["entry"]) - requirement_on_line(setup, book, i, largest)


@step
def is_safe_between(setup: Setup, book: Book, low: NDArray[np.float64], high: NDArray[np.float64], bar: int) -> bool:
    """Return whether nothing can be liquidated while each mark of a bar lies between two series."""
    account = book.account[0]
    for j in range(account["isolated_count"]):
        i = book.isolated[j]
        if book.positions[i]["margin"] + excess_between(setup, book, i, low, high, bar) <= 0.0:
            return False
    if account["cross_count"] == 0:
        return True
    excess = account["free_wallet"]
    for j in range(account["cross_count"]):
        excess += excess_between(setup, book, book.cross[j], low, high, bar)
    for j in range(account["cross_count"], account["cross_count"] + account["collateral_count"]):
        p = book.positions[book.cross[j]]
        excess += p["weight"] * p["quantity"] * low[p["row"], bar]
    return bool(excess > 0.0)
