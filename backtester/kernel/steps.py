"""How much of a position a partial liquidation closes.

Source: accounting specification, section 6, number 2.
"""

from __future__ import annotations

import math

from backtester.domain.enums import (
    LiquidationStep,
    MarginMode,
)
from backtester.kernel._jit import constant, step
from backtester.kernel.fills import SNAP, add_on_grid, floor_to_step, largest_below, less_one_step, trading_fee
from backtester.kernel.groups import CROSS_GROUP, execution_value, tier_requirement
from backtester.kernel.margin import BASIS_ENTRY, find_tier
from backtester.kernel.path import bracket_size, line_in_tier, size_unit
from backtester.kernel.state import NO_TIER_BOUND, Book, Setup

ISOLATED = constant(MarginMode.ISOLATED)
STEP_NONE = constant(LiquidationStep.NONE)
STEP_RESTORE = constant(LiquidationStep.RESTORE)
FIRST_TIER = constant(0)


@step
def tier_row(setup: Setup, book: Book, i: int, tier: int) -> int:
    """Return the row of a bracket of position ``i`` in the table of all tiers."""
    row: int = setup.tables[book.positions[i]["table"]]["start"] + tier
    return row


@step
def step_candidate(setup: Setup, book: Book, group: int, balance: float, requirement: float) -> int:
    """Return the position that a step would reduce, or -1: the largest requirement among those that may step."""
    rules = setup.rules[0]
    if rules["step"] == STEP_NONE or balance <= 0.0:
        return -1
    count = 1 if group != CROSS_GROUP else book.account[0]["cross_count"]
    best = -1
    largest = -math.inf
    for j in range(count):
        i = group if group != CROSS_GROUP else book.cross[j]
        p = book.positions[i]
        tier = min(p["tier"], p["tier_bound"])
        once = rules["step_once"] == 1 or rules["step"] == STEP_RESTORE  # restoring by crumbs would never end
        if tier < max(1, rules["step_from_tier"]) or (once and p["stepped"] == 1):
            continue
        own = tier_requirement(setup, book, i)
        if own > largest:
            best = i
            largest = own
    if best >= 0 and rules["step_above_first"] == 1:
        constant, slope = line_in_tier(setup, book, best, FIRST_TIER)
        at_first = constant + slope * abs(book.positions[best]["value_now"])
        if balance <= requirement - largest + at_first:
            return -1
    return best


@step
def requirement_after(setup: Setup, book: Book, i: int, left: float, tier: int) -> float:
    """Return the requirement of position ``i`` were its size ``left`` (unsigned) and a bracket in force."""
    p = book.positions[i]
    held = p["quantity"]
    bound = p["tier_bound"]
    p["quantity"] = left if held > 0.0 else -left
    p["tier_bound"] = NO_TIER_BOUND
    constant, slope = line_in_tier(setup, book, i, tier)
    p["quantity"] = held
    p["tier_bound"] = bound
    return constant + slope * abs(p["value_now"])


@step
def size_below_tier(setup: Setup, book: Book, i: int, tier: int) -> float:
    """Return the largest size of position ``i`` that stays below the bracket above ``tier``, less than is held.

    On a boundary rounding can put the held size itself below it.
    """
    instrument = setup.instruments[i]
    p = book.positions[i]
    unit = size_unit(setup, book, i, p["value_now"])
    cap = setup.floors[tier_row(setup, book, i, tier + 1)]
    others = bracket_size(setup, book, i) - abs(p["quantity"])
    less = less_one_step(abs(p["quantity"]), instrument["step_num"], instrument["step_den"])
    if instrument["step_num"] == 0.0:
        return min(cap / unit * (1.0 - SNAP) - others, less)
    largest = largest_below(cap, unit, instrument["step_num"], instrument["step_den"])
    return min(add_on_grid(largest, -others, instrument["step_num"], instrument["step_den"]), less)


@step
def tier_of_size(setup: Setup, book: Book, i: int, size: float) -> int:
    """Return the bracket of position ``i`` were it ``size`` (unsigned), at ``value_now``."""
    table = setup.tables[book.positions[i]["table"]]
    unit = size_unit(setup, book, i, book.positions[i]["value_now"])
    size += bracket_size(setup, book, i) - abs(book.positions[i]["quantity"])
    return find_tier(setup.floors, table["start"], table["stop"], size * unit)


@step
def tier_step(setup: Setup, book: Book, i: int, balance: float, others: float) -> tuple[float, int]:
    """Return what a step to a lower bracket leaves of position ``i``, and that bracket; 0 where there is none."""
    p = book.positions[i]
    tier = min(p["tier"], p["tier_bound"])
    tiers_down = setup.rules[0]["step_tiers"]
    if tiers_down > 0:
        target = max(0, tier - tiers_down)
        return size_below_tier(setup, book, i, target), target
    for k in range(tier):
        target = tier - 1 - k
        left = size_below_tier(setup, book, i, target)
        if left <= 0.0:
            break
        in_force = tier_of_size(setup, book, i, left)  # lots are coarse: it may lie further down than the target
        if restores(setup, book, i, balance, others, left, in_force):
            return left, target
    return 0.0, 0


@step
def step_cost(setup: Setup, book: Book, i: int) -> float:
    """Return what closing one unit costs the balance: the way from the mark to the engine's price, and the fee."""
    fill_value = execution_value(setup, book, i)
    fee = trading_fee(1.0, fill_value, setup.rules[0]["liquidation_fee"])
    return abs(fill_value - book.positions[i]["value_now"]) + fee


@step
def with_leg_in(setup: Setup, book: Book, i: int, others: float, tier: int) -> float:
    """Return what the others require once position ``i`` is in a bracket, which its other leg under cross shares."""
    leg = setup.instruments[i]["sibling"]
    if setup.rules[0]["hedge_gross"] == 0 or leg < 0 or setup.instruments[i]["margin_mode"] == ISOLATED:
        return others
    p = book.positions[leg]
    if p["quantity"] == 0.0:
        return others
    constant, slope = line_in_tier(setup, book, leg, tier)
    return others - tier_requirement(setup, book, leg) + constant + slope * abs(p["value_now"])


@step
def restores(setup: Setup, book: Book, i: int, balance: float, others: float, left: float, tier: int) -> bool:
    """Return whether the balance exceeds the requirement once ``left`` of position ``i`` remains, in a bracket."""
    closed = abs(book.positions[i]["quantity"]) - left
    after = balance - closed * step_cost(setup, book, i)
    return after > with_leg_in(setup, book, i, others, tier) + requirement_after(setup, book, i, left, tier)


@step
def restoring_size(setup: Setup, book: Book, i: int, balance: float, others: float, tier: int) -> float:
    """Return the size of position ``i`` at which, inside a bracket, balance and requirement meet.

    There ``R = constant + a * size + b * size^2``, with ``b`` from a ramp alone, and the balance is linear in the size.
    Negative where they never meet.
    """
    p = book.positions[i]
    row = setup.tiers[tier_row(setup, book, i, tier)]
    unit = p["entry_value"] if setup.rules[0]["mmr_basis"] == BASIS_ENTRY else p["value_now"]
    square = row["slope"] / setup.instruments[i]["contract_size"] * abs(unit)
    constant = requirement_after(setup, book, i, 0.0, tier)
    cost = step_cost(setup, book, i)
    linear = requirement_after(setup, book, i, 1.0, tier) - constant - square - cost
    room = balance - abs(p["quantity"]) * cost - with_leg_in(setup, book, i, others, tier) - constant
    if square == 0.0:
        return room / linear if linear > 0.0 else -1.0
    inner = linear * linear + 4.0 * square * room
    return (math.sqrt(inner) - linear) / (2.0 * square) if inner >= 0.0 else -1.0


@step
def restore_step(setup: Setup, book: Book, i: int, balance: float, others: float) -> tuple[float, int]:
    """Return what the smallest restoring step leaves of position ``i``, and its bracket; 0 where none restores.

    Brackets are tried from the held size down: the largest size of each first, then the one where the test turns.
    """
    p = book.positions[i]
    instrument = setup.instruments[i]
    step_num = instrument["step_num"]
    step_den = instrument["step_den"]
    unit = size_unit(setup, book, i, p["value_now"])
    tier = min(p["tier"], p["tier_bound"])
    for down in range(tier + 1):
        k = tier - down
        left = less_one_step(abs(p["quantity"]), step_num, step_den)
        if down > 0:
            left = size_below_tier(setup, book, i, k)
        if not restores(setup, book, i, balance, others, left, k):
            root = restoring_size(setup, book, i, balance, others, k)
            if root <= 0.0:
                continue
            if step_num == 0.0:
                left = min(left, root * (1.0 - SNAP))
            else:
                left = min(left, floor_to_step(root, step_num, step_den))
                if not restores(setup, book, i, balance, others, left, k):
                    left = less_one_step(left, step_num, step_den)
            if not restores(setup, book, i, balance, others, left, k):
                continue
        others_size = bracket_size(setup, book, i) - abs(p["quantity"])
        if left > 0.0 and (left + others_size) * unit >= setup.floors[tier_row(setup, book, i, k)]:
            return left, k
    return 0.0, 0
