"""Accounts with several cross positions: when one of them can next be liquidated.

Their balance depends on several marks at once, so that no key in one price tells. Each has a reach instead: how far, as
a fraction, every mark may move before its balance can meet its requirement. Only accounts whose reach is used up are
looked at in full, and all reaches are found anew when these become many. Source: accounting specification, section 5.
"""

from __future__ import annotations

import math

import numpy as np

from backtester.kernel._jit import njit, step
from backtester.kernel.clearing_engine import group_balance, group_requirement, mark_at_end
from backtester.kernel.clearing_state import JOINT_DIRTY, Books, World
from backtester.kernel.clearing_watch import edges, line_at, new_bracket
from backtester.kernel.value import unrealized_pnl

NEVER = 2.0  # a fraction of a leg that no path reaches
MOST_LOOKED_AT = 32  # beyond this many, or a part of all, the reaches are found anew
PART_LOOKED_AT = 16


@step
def reach_of(world: World, books: Books, a: int) -> float:
    """Return how far all marks may move, as a fraction, before the account can be liquidated."""
    account = books.accounts[a]
    exposure = 0.0
    nearest = math.inf
    first = account["first"]
    for p in range(first, account["stop"]):
        position = books.positions[p]
        if position["quantity"] == 0.0:
            continue
        contract = world.contracts[position["contract"]]
        mark = books.state[position["contract"]]["mark"]
        new_bracket(world, books, p, mark)
        exposure += abs(position["quantity"] * mark) * (1.0 + contract["largest_slope"])
        if contract["jumps"] == 1:
            low, high = edges(world, books, p)
            nearest = min(nearest, (mark - low) / abs(mark), (high - mark) / abs(mark))
    if exposure == 0.0:
        return math.inf
    return min(nearest, (group_balance(books, first) - group_requirement(world, books, first)) / exposure)


@njit
def find_reaches(world: World, books: Books) -> None:
    """Find the reach of every joint account at the present marks, and sort them by it."""
    for j in range(books.joint_accounts.size):
        books.joint_radius[j] = reach_of(world, books, books.joint_accounts[j])
    books.joint_order[:] = np.argsort(books.joint_radius)
    books.counters[JOINT_DIRTY] = 0
    for c in range(world.contracts.size):
        books.state[c]["joint_mark"] = books.state[c]["mark"]
        books.state[c]["joint_funding"] = books.state[c]["funding_sum"]


@step
def distance(world: World, books: Books) -> float:
    """Return how far any mark is, or will be at the leg's end, from where the reaches were found, funding included."""
    farthest = 0.0
    for c in range(world.contracts.size):
        state = books.state[c]
        origin = state["joint_mark"]
        moved = max(abs(state["mark"] - origin), abs(mark_at_end(world, books, c) - origin))
        moved += state["funding_sum"] - state["joint_funding"]
        farthest = max(farthest, moved / abs(origin))
    return farthest


@step
def value_on_leg(world: World, books: Books, c: int, t: float) -> float:
    """Return the mark of a contract at a fraction of what is left of the leg."""
    here = books.state[c]["mark"]
    return here + t * (mark_at_end(world, books, c) - here)


@step
def excess_on_leg(world: World, books: Books, a: int, t: float) -> float:
    """Return balance less requirement of an account at a fraction of what is left of the leg, in present brackets."""
    account = books.accounts[a]
    total = account["wallet"]
    for p in range(account["first"], account["stop"]):
        position = books.positions[p]
        if position["quantity"] == 0.0:
            continue
        value = value_on_leg(world, books, position["contract"], t)
        constant, slope = line_at(world, books, p, position["tier"])
        total += unrealized_pnl(position["quantity"], position["entry"], value) - constant - slope * abs(value)
    return total


@step
def next_edge(world: World, books: Books, a: int, t: float) -> tuple[float, int, int]:
    """Return where on the leg an account first leaves a bracket after ``t``, with which position and in what way."""
    account = books.accounts[a]
    best = NEVER
    which = -1
    change = 0
    for p in range(account["first"], account["stop"]):
        position = books.positions[p]
        c = position["contract"]
        here = books.state[c]["mark"]
        there = mark_at_end(world, books, c)
        if position["quantity"] == 0.0 or here == there:
            continue
        low, high = edges(world, books, p)
        edge = low if there < here else high
        if not abs(edge) < math.inf:
            continue
        at = max(t, (edge - here) / (there - here))
        if at < best and at <= 1.0:
            best = at
            which = p
            grows = (there < here) == (world.contracts[c]["sign"] < 0.0)
            change = 1 if grows else -1
    return best, which, change


@step
def first_trigger(world: World, books: Books, a: int) -> float:
    """Return the fraction of what is left of the leg at which an account is liquidated; 2: it is not."""
    account = books.accounts[a]
    for p in range(account["first"], account["stop"]):
        new_bracket(world, books, p, books.state[books.positions[p]["contract"]]["mark"])
    t = 0.0
    excess = excess_on_leg(world, books, a, t)
    while excess > 0.0:
        edge, which, change = next_edge(world, books, a, t)
        stop = min(edge, 1.0)
        after = excess_on_leg(world, books, a, stop)
        if after <= 0.0:
            return t + (stop - t) * excess / (excess - after)
        if edge > 1.0:
            return NEVER
        books.positions[which]["tier"] += change
        t = edge
        excess = excess_on_leg(world, books, a, t)
    return t


@njit
def next_joint(world: World, books: Books) -> tuple[int, float]:
    """Return the joint account that is liquidated first on what is left of the leg, and where; -1: none.

    Ties, as after a jump, go to the account with the lower number, in whatever order they are looked at.
    """
    best = -1
    soonest = NEVER
    count = books.joint_accounts.size
    if count == 0:
        return best, soonest
    most = max(MOST_LOOKED_AT, count // PART_LOOKED_AT)
    far = distance(world, books)
    crowd = min(most, count - 1)
    if books.counters[JOINT_DIRTY] > min(most, books.joint_dirty.size) or (
        count > most and books.joint_radius[books.joint_order[crowd]] <= far
    ):
        find_reaches(world, books)
        far = distance(world, books)
    for n in range(books.counters[JOINT_DIRTY]):
        a = books.joint_dirty[n]
        at = first_trigger(world, books, a)
        if at < soonest or (at == soonest and a < best):
            best = a
            soonest = at
    for j in range(count):
        place = books.joint_order[j]
        if books.joint_radius[place] > far:
            break
        a = books.joint_accounts[place]
        at = first_trigger(world, books, a)
        if at < soonest or (at == soonest and a < best):
            best = a
            soonest = at
    return best, soonest
