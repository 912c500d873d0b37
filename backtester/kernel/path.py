"""Where inside a bar a group of positions first fails its liquidation test.

A group is what shares a balance: one isolated position, or all cross positions. Along a leg every mark moves linearly
in value space with the leg's fraction ``f``; balance and requirement are linear in ``f`` between tier boundaries, so
the first point with ``balance <= requirement`` has a closed form on each piece. Source: accounting specification,
sections 5 and 6.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import MarginMode
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.margin import BASIS_ENTRY, UNIT_CONTRACTS, find_tier, liquidation_value, requirement_line
from backtester.kernel.state import NONE, Book, Setup

ISOLATED = constant(MarginMode.ISOLATED)
RISING = constant(1)  # the notional of one unit grows along the way
FALLING = constant(0)
UP = np.float64(1.0)
DOWN = np.float64(-1.0)
NO_LEG = constant(NONE)
NEVER = 2.0  # a fraction beyond every leg


@inlined
def size_unit(setup: Setup, book: Book, i: int, value: float) -> float:
    """Return what one unit of quantity counts in the unit of the tier table's bounds."""
    table = setup.tables[book.positions[i]["table"]]
    if table["unit"] == UNIT_CONTRACTS:
        return 1.0 / setup.instruments[i]["contract_size"]
    if setup.rules[0]["mmr_basis"] == BASIS_ENTRY:
        return abs(book.positions[i]["entry_value"])
    return abs(value)


@inlined
def bracket_size(setup: Setup, book: Book, i: int) -> float:
    """Return the size that chooses the bracket of position ``i``: its own, or that of both legs."""
    size = abs(book.positions[i]["quantity"])
    if setup.rules[0]["hedge_gross"] == 1 and setup.instruments[i]["sibling"] >= 0:
        size += abs(book.positions[setup.instruments[i]["sibling"]]["quantity"])
    return size


@inlined
def has_fixed_tier(setup: Setup, book: Book, i: int) -> bool:
    """Return whether the bracket does not depend on the mark: contracts or the entry choose it."""
    table = setup.tables[book.positions[i]["table"]]
    return table["unit"] == UNIT_CONTRACTS or setup.rules[0]["mmr_basis"] == BASIS_ENTRY


@inlined
def tier_at(setup: Setup, book: Book, i: int, value: float) -> int:
    """Return the bracket of position ``i`` at a mark; a boundary belongs to the upper one. Bounds are left out."""
    table = setup.tables[book.positions[i]["table"]]
    size = bracket_size(setup, book, i) * size_unit(setup, book, i, value)
    return find_tier(setup.floors, table["start"], table["stop"], size)


@inlined
def line_in_tier(setup: Setup, book: Book, i: int, tier: int) -> tuple[float, float]:
    """Return ``requirement_line`` of position ``i`` in a bracket, or in the one that binds it after a step."""
    position = book.positions[i]
    instrument = setup.instruments[i]
    k = min(tier, position["tier_bound"]) + setup.tables[position["table"]]["start"]
    row = setup.tiers[k]
    rate = row["rate"] + row["slope"] * abs(position["quantity"]) / instrument["contract_size"]
    return requirement_line(
        position["quantity"],
        position["entry_value"],
        position["held_leverage"],
        rate,
        row["deduction"],
        instrument["close_fee"],
        setup.rules[0]["mmr_basis"],
        setup.rules[0]["close_fee_basis"],
    )


@inlined
def requirement_at(setup: Setup, book: Book, i: int, value: float) -> float:
    """Return the requirement of the liquidation test of position ``i`` at a mark [settlement currency]."""
    constant, slope = line_in_tier(setup, book, i, tier_at(setup, book, i, value))
    return constant + slope * abs(value)


@inlined
def tier_boundary(setup: Setup, book: Book, i: int, tier: int, rising: int) -> float:
    """Return the unit value ``|v|`` at which position ``i`` leaves a bracket; infinity or 0 where it never does."""
    table = setup.tables[book.positions[i]["table"]]
    k = table["start"] + tier
    size = bracket_size(setup, book, i)
    if rising == RISING:
        return setup.floors[k + 1] / size if k + 1 < table["stop"] else math.inf
    return setup.floors[k] / size if tier > 0 else 0.0


@step
def first_trigger(
    setup: Setup, book: Book, members: NDArray[np.int64], count: int, backing: int, base: float, start: float
) -> float:
    """Return the first fraction of the leg, from ``start`` on, at which a group's balance is used up.

    Parameters
    ----------
    setup, book
        The account; ``value_from`` and ``value_to`` of the members hold the leg.
    members : array of int64
        The group is ``members[:count]``.
    backing : int
        Spot that counts for the group: ``members[count : count + backing]``.
    base : float
        What backs it: the isolated margin, or the free wallet [settlement currency].
    start : float
        Fraction in [0, 1].

    Returns
    -------
    float
        Fraction in [start, 1], or ``NEVER``. ``tier`` of each member is left at its bracket there.

    Notes
    -----
    A boundary belongs to the upper bracket: arriving from below its requirement holds there, leaving downward it still
    does. Pieces are walked one boundary at a time, so a jump of a flat table triggers on the boundary itself.
    """
    positions = book.positions
    for j in range(count):
        p = positions[members[j]]
        p["tier"] = tier_at(setup, book, members[j], p["value_from"] + start * (p["value_to"] - p["value_from"]))
    f = start
    while True:
        excess = base
        slope = 0.0
        f_next = 1.0
        leaving = -1
        step = 0
        for j in range(count):
            i = members[j]
            p = positions[i]
            sign = setup.instruments[i]["sign"]
            change = p["value_to"] - p["value_from"]
            value = p["value_from"] + f * change
            constant, rate = line_in_tier(setup, book, i, p["tier"])
            excess += p["quantity"] * (value - p["entry_value"]) - constant - rate * abs(value)
            slope += (p["quantity"] - rate * sign) * change
            if change == 0.0 or has_fixed_tier(setup, book, i):
                continue
            rising = RISING if sign * change > 0.0 else FALLING
            boundary = tier_boundary(setup, book, i, p["tier"], rising)
            if 0.0 < boundary < math.inf:
                f_boundary = (sign * boundary - p["value_from"]) / change
                if f_boundary < f_next:
                    f_next = f_boundary
                    leaving = i
                    step = 1 if rising == RISING else -1
        for j in range(count, count + backing):
            p = positions[members[j]]
            change = p["value_to"] - p["value_from"]
            worth = p["weight"] * p["quantity"]
            excess += worth * (p["value_from"] + f * change)
            slope += worth * change
        if excess <= 0.0:
            return f
        if slope < 0.0:
            root = f - excess / slope
            if root <= f_next:
                return root
        if leaving < 0:
            return NEVER
        f = max(f, f_next)
        positions[leaving]["tier"] += step


@step
def trigger_from(setup: Setup, book: Book, i: int, leg: int, base: float, value: float, direction: float) -> float:
    """Return the first value from ``value`` on, up (+1) or down (-1), at which position ``i`` fails its test.

    Parameters
    ----------
    setup, book
        The account.
    i : int
        The position, held.
    leg : int
        The other leg of its contract where both share a balance, else ``NONE``.
    base : float
        Its margin; under cross the wallet plus the others' unrealised profit less their requirements.
    value : float
        Where to start, in value space.
    direction : float
        +1 or -1.

    Returns
    -------
    float
        Value, or NaN where no positive price on that side fails.
    """
    p = book.positions[i]
    sign = setup.instruments[i]["sign"]
    rising = RISING if sign * direction > 0.0 else FALLING
    fixed = has_fixed_tier(setup, book, i)
    tier = tier_at(setup, book, i, value)
    leg_tier = tier_at(setup, book, leg, value) if leg >= 0 else 0
    quantity = p["quantity"]
    cost = quantity * p["entry_value"]
    if leg >= 0:
        quantity += book.positions[leg]["quantity"]
        cost += book.positions[leg]["quantity"] * book.positions[leg]["entry_value"]
    at = value
    while True:
        constant, slope = line_in_tier(setup, book, i, tier)
        end = math.inf if rising == RISING else 0.0  # as a notional of one unit
        is_leg = False
        if not fixed:
            end = tier_boundary(setup, book, i, tier, rising)
        if leg >= 0:
            leg_constant, leg_slope = line_in_tier(setup, book, leg, leg_tier)
            constant += leg_constant
            slope += leg_slope
            if not fixed:
                leg_end = tier_boundary(setup, book, leg, leg_tier, rising)
                is_leg = leg_end < end if rising == RISING else leg_end > end
                end = leg_end if is_leg else end
        excess = base + quantity * at - cost - constant - slope * abs(at)
        if excess <= 0.0:
            return at
        if direction * (quantity - sign * slope) < 0.0:
            root = liquidation_value(quantity, 0.0, base, constant + cost, slope, sign)
            unit = sign * root
            if (rising == RISING and unit <= end) or (rising == FALLING and unit >= end and unit > 0.0):
                return root
        if end in (math.inf, 0.0):
            return math.nan
        at = sign * end
        step = 1 if rising == RISING else -1
        if is_leg:
            leg_tier += step
        else:
            tier += step


@inlined
def collateral_worth(book: Book) -> float:
    """Return what spot holdings add to the cross balance, at ``value_now`` [settlement currency]."""
    total = 0.0
    first = book.account[0]["cross_count"]
    for j in range(first, first + book.account[0]["collateral_count"]):
        p = book.positions[book.cross[j]]
        total += p["weight"] * p["quantity"] * p["value_now"]
    return total


@inlined
def excess_now(setup: Setup, book: Book, i: int) -> float:
    """Return the unrealised profit of position ``i`` less its requirement, at ``value_now``."""
    p = book.positions[i]
    return p["quantity"] * (p["value_now"] - p["entry_value"]) - requirement_at(setup, book, i, p["value_now"])


@step
def displayed_liquidation(setup: Setup, book: Book, i: int, cross_excess: float) -> float:
    """Return the liquidation value of position ``i`` nearest its mark (``value_now``), or NaN where there is none.

    Legs of one contract under cross margin share it. ``cross_excess`` is the cross balance less all requirements, at
    the marks (``value_now``).
    """
    leg = NO_LEG
    sibling = setup.instruments[i]["sibling"]
    if sibling >= 0 and setup.instruments[i]["margin_mode"] != ISOLATED and book.positions[sibling]["quantity"] != 0.0:
        leg = sibling
    base = book.positions[i]["margin"]
    if setup.instruments[i]["margin_mode"] != ISOLATED:
        base = cross_excess - excess_now(setup, book, i)
        if leg != NO_LEG:
            base -= excess_now(setup, book, leg)
    now = book.positions[i]["value_now"]
    down = trigger_from(setup, book, i, leg, base, now, DOWN)
    up = trigger_from(setup, book, i, leg, base, now, UP)
    if math.isnan(down):
        return up
    if math.isnan(up):
        return down
    return down if now - down <= up - now else up
