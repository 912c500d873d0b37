"""The plain bar: one position, a settlement or a market order at the open, and nothing else that could happen.

Most bars in which something happens are of this kind. They take the same steps as any other (see ``replay``), without
asking for all that is not there.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import MarginMode, Rebalance
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.account import settle_funding, stamp
from backtester.kernel.margin import initial_margin, liquidation_value
from backtester.kernel.path import FALLING, RISING, has_fixed_tier, line_in_tier, tier_at, tier_boundary
from backtester.kernel.state import TOUCHED, Book, Journal, Market, Schedule, Setup
from backtester.kernel.targets import EVERY_ORDER, fill_targets, is_tradable, take_due_targets
from backtester.kernel.value import value_to_price

ISOLATED = constant(MarginMode.ISOLATED)
BAND = constant(Rebalance.BAND)
SMOOTH = 1e-9  # relative: the requirement of two brackets where they meet
AT_OPEN = constant(0)
ONLY = constant(0)  # the slot


@step
def is_continuous(setup: Setup) -> bool:
    """Return whether the requirement of every tier table is continuous in the notional: then it has one root."""
    for n in range(setup.tables.size):
        for k in range(setup.tables[n]["start"], setup.tables[n]["stop"] - 1):
            floor = setup.floors[k + 1]
            lower = setup.tiers[k]
            upper = setup.tiers[k + 1]
            before = floor * lower["rate"] - lower["deduction"]
            after = floor * upper["rate"] - upper["deduction"]
            if lower["slope"] != 0.0 or upper["slope"] != 0.0 or abs(after - before) > SMOOTH * abs(before):
                return False
    return True


@step
def is_plain_run(setup: Setup, market: Market, schedule: Schedule) -> bool:
    """Return whether a run can have plain bars: one contract, market orders alone, a mark on the bars' own grid."""
    rules = setup.rules[0]
    return bool(
        setup.instruments.size == 1
        and setup.instruments[ONLY]["is_spot"] == 0
        and market.coarse_bar.size == 0
        and schedule.settings.size == 0
        and schedule.transfers.size == 0
        and schedule.own_fills.size == 0
        and schedule.delistings.size == 0
        and rules["fill_at_close"] == 0
        and rules["has_holdings"] == 0
        and rules["rebalance"] != BAND
    )


@inlined
def has_target_at(schedule: Schedule, book: Book, bar: int) -> bool:
    """Return whether a target is due at a bar's open."""
    row = book.account[0]["due_row"]
    return bool(row < schedule.targets.size and schedule.targets[row]["due_bar"] == bar)


@step
def is_plain_bar(setup: Setup, market: Market, schedule: Schedule, book: Book, bar: int) -> bool:
    """Return whether all that happens before a bar's path is a settlement at the open or one market order there."""
    account = book.account[0]
    busy = account["pending_count"] + account["resting_count"] + account["market_count"] + account["drawn_down"]
    if busy > 0 or account["stopped_bar"] >= 0 or account["request"] < account["requested"]:
        return False
    row = account["switch"]
    if row < schedule.switches.size and schedule.switches[row]["bar"] <= bar:
        return False
    row = account["settlement"]
    while row < schedule.settlements.size and schedule.settlements[row]["bar"] == bar:
        if schedule.settlements[row]["inside"] == 1:
            return False
        row += 1
    if has_target_at(schedule, book, bar):
        row = account["due_row"]
        if schedule.targets[row]["rungs"] > 0 or not is_tradable(setup, market, ONLY, bar, market.trade_open):
            return False
        return bool(row + 1 >= schedule.targets.size or schedule.targets[row + 1]["due_bar"] > bar)
    return True


@inlined
def balance_of(setup: Setup, book: Book) -> float:
    """Return what backs the position before its own profit: its margin, or the free wallet under cross."""
    if setup.instruments[ONLY]["margin_mode"] == ISOLATED:
        return float(book.positions[ONLY]["margin"])
    return float(book.account[0]["free_wallet"])


@step
def plain_liquidation(setup: Setup, book: Book, value: float) -> float:
    """Return the liquidation value of the position, at a mark; NaN where no positive price liquidates it.

    The requirement is continuous or does not depend on the mark's bracket: there is one root, which is looked for
    bracket by bracket from the mark's own.
    """
    p = book.positions[ONLY]
    quantity = p["quantity"]
    entry = p["entry_value"]
    sign = setup.instruments[ONLY]["sign"]
    base = balance_of(setup, book)
    table = setup.tables[p["table"]]
    tier = tier_at(setup, book, ONLY, value)
    constant, slope = line_in_tier(setup, book, ONLY, tier)
    if base + quantity * (value - entry) - constant - slope * abs(value) <= 0.0:
        return value
    root = liquidation_value(quantity, entry, base, constant, slope, sign)
    if not has_fixed_tier(setup, book, ONLY):
        for _ in range(table["stop"] - table["start"]):
            unit = sign * root
            if unit > tier_boundary(setup, book, ONLY, tier, RISING):
                tier += 1
            elif unit < tier_boundary(setup, book, ONLY, tier, FALLING):
                tier -= 1
            else:
                break
            constant, slope = line_in_tier(setup, book, ONLY, tier)
            root = liquidation_value(quantity, entry, base, constant, slope, sign)
    return root if sign * root > 0.0 else math.nan


@step
def record_plain_position(setup: Setup, book: Book, journal: Journal, value: float) -> None:
    """Write the position after it changed at a mark."""
    account = book.account[0]
    p = book.positions[ONLY]
    account["touched"] = 0
    if book.marks[TOUCHED, ONLY] == 0:
        return
    book.marks[TOUCHED, ONLY] = 0
    p["value_now"] = value
    sign = setup.instruments[ONLY]["sign"]
    row = journal.positions[account["positions"]]
    row["time"] = account["time"]
    row["bar"] = account["bar"]
    row["symbol"] = p["row"]
    row["position_side"] = setup.instruments[ONLY]["leg"]
    row["position_quantity"] = p["quantity"]
    row["entry_price"] = math.nan
    row["margin"] = 0.0
    row["liquidation_price"] = math.nan
    if p["quantity"] != 0.0:
        row["entry_price"] = value_to_price(p["entry_value"], sign)
        row["margin"] = p["margin"]
        if setup.instruments[ONLY]["margin_mode"] != ISOLATED:
            row["margin"] = initial_margin(p["quantity"], value, p["leverage"])
        row["liquidation_price"] = value_to_price(plain_liquidation(setup, book, value), sign)
    account["positions"] += 1


@step
def settle_at_open(
    setup: Setup, schedule: Schedule, book: Book, journal: Journal, bar: int, marks: NDArray[np.float64]
) -> None:
    """Pay what is due at a bar's open."""
    account = book.account[0]
    p = book.positions[ONLY]
    while account["settlement"] < schedule.settlements.size:
        row = schedule.settlements[account["settlement"]]
        if row["bar"] != bar:
            return
        account["settlement"] += 1
        if p["quantity"] != 0.0:
            value = marks[0, bar] if math.isnan(row["value"]) else row["value"]
            stamp(book, row["time"], bar)
            settle_funding(setup, book, journal, ONLY, row["rate"], value)


@step
def trade_plainly(setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int) -> None:
    """Fill the order that is due at a bar's open, and write the position if it changed there."""
    if has_target_at(schedule, book, bar):
        take_due_targets(market, schedule, book, journal, bar)
        fill_targets(setup, market, schedule, book, journal, bar, market.trade_open, market.mark_open, EVERY_ORDER)
    if book.account[0]["touched"] == 1:
        record_plain_position(setup, book, journal, market.mark_open[0, bar])
