"""What shares a balance, at a trigger: balance, requirement, and the price at which the engine closes.

Source: accounting specification, section 6.
"""

from __future__ import annotations

from backtester.domain.enums import (
    MarginMode,
)
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.account import cross_equity
from backtester.kernel.costs import engine_slippage
from backtester.kernel.path import line_in_tier
from backtester.kernel.state import Book, Setup
from backtester.kernel.value import slipped, unrealized_pnl

ISOLATED = constant(MarginMode.ISOLATED)
CROSS_GROUP = constant(-1)


@inlined
def tier_requirement(setup: Setup, book: Book, i: int) -> float:
    """Return the requirement of position ``i`` in its current ``tier``, at ``value_now``."""
    p = book.positions[i]
    constant, slope = line_in_tier(setup, book, i, p["tier"])
    return constant + slope * abs(p["value_now"])


@inlined
def group_balance(book: Book, group: int) -> float:
    """Return the margin balance of a group at ``value_now``: an isolated position's, or the cross account's."""
    if group == CROSS_GROUP:
        return cross_equity(book)
    p = book.positions[group]
    return p["margin"] + unrealized_pnl(p["quantity"], p["entry_value"], p["value_now"])


@inlined
def group_requirement(setup: Setup, book: Book, group: int) -> float:
    """Return the requirement of a group at ``value_now``, each position in its current ``tier``."""
    if group != CROSS_GROUP:
        return tier_requirement(setup, book, group)
    total = 0.0
    for j in range(book.account[0]["cross_count"]):
        total += tier_requirement(setup, book, book.cross[j])
    return total


@step
def balance_share(setup: Setup, book: Book, i: int, balance: float, requirement: float) -> float:
    """Return the part of a group's balance that position ``i`` stands for: all, or by its share of the requirement."""
    if setup.instruments[i]["margin_mode"] == ISOLATED:
        return balance
    if requirement <= 0.0:
        return balance / book.account[0]["cross_count"]
    return balance * tier_requirement(setup, book, i) / requirement


@step
def engine_reference(setup: Setup, book: Book, i: int) -> float:
    """Return the engine's price for position ``i`` before slippage: the mark, or the worse of mark and trade."""
    p = book.positions[i]
    if setup.rules[0]["engine_trade"] == 0:
        return float(p["value_now"])
    return min(p["value_now"], p["trade_now"]) if p["quantity"] > 0.0 else max(p["value_now"], p["trade_now"])


@step
def execution_value(setup: Setup, book: Book, i: int) -> float:
    """Return the engine's price for position ``i``, with slippage."""
    instrument = setup.instruments[i]
    side = -1.0 if book.positions[i]["quantity"] > 0.0 else 1.0
    reference = engine_reference(setup, book, i)
    return slipped(reference, side, engine_slippage(setup, book, i, reference), instrument["sign"])


@step
def unit_slippage(setup: Setup, book: Book, i: int) -> float:
    """Return the slippage of one unit that the engine closes of position ``i``, >= 0."""
    return abs(execution_value(setup, book, i) - engine_reference(setup, book, i))


@step
def pay_from_group(setup: Setup, book: Book, i: int, amount: float) -> None:
    """Book an amount where position ``i`` keeps its margin: its isolated margin, or the free wallet."""
    if setup.instruments[i]["margin_mode"] == ISOLATED:
        book.positions[i]["margin"] += amount
    else:
        book.account[0]["free_wallet"] += amount
