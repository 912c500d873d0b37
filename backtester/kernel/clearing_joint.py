"""Accounts with several cross positions: when one of them can next be liquidated.

Their balance depends on several marks at once, so that no key in one price tells. The kernel counts a distance
instead: the sum of the largest relative move of any mark, funding included, from point to point. An account that is
looked at has a reach, a fraction that every mark may move before its balance can meet its requirement; nothing can
happen to it before the distance has grown by ``log(1 + reach)``. A heap tells which account is to be looked at next.
Source: accounting specification, section 5.
"""

from __future__ import annotations

import math

from backtester.kernel._jit import constant, step
from backtester.kernel.clearing_engine import mark_at_end
from backtester.kernel.clearing_groups import UNKNOWN, group_balance, group_requirement
from backtester.kernel.clearing_state import DISTANCE, JOINT_NEAR, LEG_BENT, Books, World
from backtester.kernel.clearing_watch import edges, line_at, new_bracket, sift_down, sift_up
from backtester.kernel.value import unrealized_pnl

TOP = constant(0)
CAUTION = 1.0 - 1e-9  # for rounding
NEVER = 2.0  # a fraction of a leg that no path reaches


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


@step
def set_joint_key(books: Books, j: int, key: float) -> None:
    """Give a joint account its key and its place in the heap, the one to be looked at next at the top."""
    before = books.joint_key[j]
    books.joint_key[j] = key
    if key > before:
        sift_up(books.joint_key, books.joint_heap, books.joint_place, TOP, books.joint_place[j])
    elif key < before:
        sift_down(
            books.joint_key, books.joint_heap, books.joint_place, TOP, books.joint_heap.size, books.joint_place[j]
        )


@step
def note_distance(world: World, books: Books) -> None:
    """Add to the distance how far the marks have come since it was last counted."""
    farthest = 0.0
    for c in range(world.contracts.size):
        state = books.state[c]
        farthest = max(farthest, abs(state["mark"] - state["joint_mark"]) / abs(state["joint_mark"]))
        state["joint_mark"] = state["mark"]
    books.totals[DISTANCE] += farthest


@step
def watch_joint(world: World, books: Books, j: int) -> None:
    """Put a joint account back into the heap, by its reach at the present marks."""
    reach = max(reach_of(world, books, books.joint_accounts[j]) * CAUTION, 0.0)
    set_joint_key(books, j, -(books.totals[DISTANCE] + math.log1p(reach)))


@step
def open_joint(world: World, books: Books) -> None:
    """Find the reach of every joint account before the first bar."""
    for c in range(world.contracts.size):
        books.state[c]["joint_mark"] = books.state[c]["mark"]
    for j in range(books.joint_accounts.size):
        watch_joint(world, books, j)


@step
def leave_leg(world: World, books: Books) -> None:
    """Put the accounts that were near on a leg back into the heap, at its end."""
    if books.joint_accounts.size == 0:
        return
    note_distance(world, books)
    for n in range(books.counters[JOINT_NEAR]):
        watch_joint(world, books, books.joint_near[n])
    books.counters[JOINT_NEAR] = 0


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
    is_flat = True
    for p in range(account["first"], account["stop"]):
        if books.positions[p]["quantity"] != 0.0:
            is_flat = False
        new_bracket(world, books, p, books.state[books.positions[p]["contract"]]["mark"])
    if is_flat:
        return NEVER
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


@step
def gather_near(world: World, books: Books) -> None:
    """Take the accounts to which something could happen on what is left of the leg out of the heap."""
    note_distance(world, books)
    span = 0.0
    for c in range(world.contracts.size):
        here = books.state[c]["mark"]
        span = max(span, abs(mark_at_end(world, books, c) - here) / abs(here))
    reach = books.totals[DISTANCE] + span
    while True:
        j = books.joint_heap[0]
        if books.joint_key[j] == -math.inf or -books.joint_key[j] > reach:
            return
        set_joint_key(books, j, -math.inf)
        books.joint_at[j] = UNKNOWN
        books.joint_near[books.counters[JOINT_NEAR]] = j
        books.counters[JOINT_NEAR] += 1


@step
def next_joint(world: World, books: Books, f: float) -> tuple[int, float]:
    """Return the joint account that is liquidated first on the leg after ``f``, and at which fraction; -1: none.

    What is known of the near ones holds until the engine moves a price. Of several at once the lowest number is taken.
    """
    best = -1
    soonest = NEVER
    if books.joint_accounts.size == 0:
        return best, soonest
    gather_near(world, books)
    bent = books.counters[LEG_BENT] == 1
    books.counters[LEG_BENT] = 0
    for n in range(books.counters[JOINT_NEAR]):
        j = books.joint_near[n]
        if bent or books.joint_at[j] < 0.0:
            left = first_trigger(world, books, books.joint_accounts[j])
            books.joint_at[j] = NEVER if left > 1.0 else f + (1.0 - f) * left
        a = books.joint_accounts[j]
        if books.joint_at[j] < soonest or (books.joint_at[j] == soonest < NEVER and a < best):
            best = a
            soonest = books.joint_at[j]
    return best, soonest
