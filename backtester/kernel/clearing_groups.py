"""The accounts of a whole market as groups that stand and fall together: balance, requirement, what must be watched.

Source: accounting specification, sections 4 and 6.
"""

from __future__ import annotations

import math

from backtester.kernel._jit import constant, step
from backtester.kernel.clearing_state import ALONE, DISTANCE, Books, World
from backtester.kernel.clearing_watch import line_at, sift_up, watch_again
from backtester.kernel.value import unrealized_pnl

TOP = constant(0)
UNKNOWN = -1.0  # where on the leg a joint account is liquidated


@step
def joint_changed(books: Books, a: int) -> None:
    """Have an account with several cross positions looked at again, after it or its margin changed."""
    j = books.accounts[a]["joint"]
    if j < 0:
        return
    books.joint_at[j] = UNKNOWN
    if books.joint_key[j] > -math.inf:
        books.joint_key[j] = -books.totals[DISTANCE]
        sift_up(books.joint_key, books.joint_heap, books.joint_place, TOP, books.joint_place[j])


@step
def watch_account(world: World, books: Books, a: int) -> None:
    """Set the keys of an account's positions anew."""
    account = books.accounts[a]
    for p in range(account["first"], account["stop"]):
        watch_again(world, books, p)
    joint_changed(books, a)


@step
def own_requirement(world: World, books: Books, p: int) -> float:
    """Return the requirement of a position at the mark, in its present bracket; 0 when flat."""
    position = books.positions[p]
    if position["quantity"] == 0.0:
        return 0.0
    constant, slope = line_at(world, books, p, position["tier"])
    return constant + slope * abs(books.state[position["contract"]]["mark"])


@step
def group_span(books: Books, p: int) -> tuple[int, int]:
    """Return the positions that stand and fall with position ``p``: itself, or all of a cross account."""
    account = books.accounts[books.positions[p]["account"]]
    if books.positions[p]["kind"] == ALONE or account["isolated"] == 1:
        return p, p + 1
    return account["first"], account["stop"]


@step
def group_balance(books: Books, p: int) -> float:
    """Return the margin balance of the group of position ``p`` at the marks."""
    account = books.accounts[books.positions[p]["account"]]
    first, stop = group_span(books, p)
    total = books.positions[p]["margin"] if account["isolated"] == 1 else account["wallet"]
    for j in range(first, stop):
        position = books.positions[j]
        total += unrealized_pnl(position["quantity"], position["entry"], books.state[position["contract"]]["mark"])
    return total


@step
def group_requirement(world: World, books: Books, p: int) -> float:
    """Return the requirement of the group of position ``p`` at the marks, in the present brackets."""
    first, stop = group_span(books, p)
    total = 0.0
    for j in range(first, stop):
        total += own_requirement(world, books, j)
    return total


@step
def largest_requirement(world: World, books: Books, p: int) -> int:
    """Return the open position of the group with the largest requirement, the first of equals; -1: all are flat."""
    first, stop = group_span(books, p)
    best = -1
    largest = -math.inf
    for j in range(first, stop):
        if books.positions[j]["quantity"] != 0.0:
            own = own_requirement(world, books, j)
            if own > largest:
                best = j
                largest = own
    return best
