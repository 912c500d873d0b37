"""Funding in a whole market: what accounts, engine and outside market pay each other.

Where isolated positions pay from their margins, all that is due at a moment is paid in one pass over the accounts,
which also sums up what they have; a venue that looks at wallets or requirements is settled record by record.
Source: accounting specification, section 5.
"""

from __future__ import annotations

import math

from backtester.domain.enums import FundingSource
from backtester.kernel._jit import constant, step
from backtester.kernel.clearing_engine import displaced
from backtester.kernel.clearing_groups import group_balance, group_span
from backtester.kernel.clearing_state import CASH, DISTANCE, GUEST, SCALE, SUMMED, Books, World
from backtester.kernel.clearing_watch import line_at, tier_lookup
from backtester.kernel.funding import funding_payment

FROM_MARGIN = constant(FundingSource.MARGIN)
WALLET_FIRST = constant(FundingSource.WALLET_FIRST)
CAPPED = constant(FundingSource.CAPPED)
MARK_OPEN, MARK_CLOSE = 0, 3
# A cut payment leaves the balance a hair above the requirement: at equality it would liquidate after all.
ABOVE = 1.0 + 1e-9


@step
def pay_accounts(books: Books) -> None:
    """Let every account pay or receive what is due, and sum up what all of them have, in one pass.

    The sums are compared with the running ones, which are then replaced.
    """
    state = books.state
    for c in range(state.size):
        state[c]["counted"] = 0.0
    paid = 0.0
    cash = 0.0
    for a in range(books.accounts.size):
        account = books.accounts[a]
        wallet = account["wallet"]
        isolated = account["isolated"] == 1
        for p in range(account["first"], account["stop"]):
            position = books.positions[p]
            quantity = position["quantity"]
            if quantity == 0.0:
                cash += position["margin"]
                continue
            row = state[position["contract"]]
            payment = quantity * row["flow"]
            if isolated:
                position["margin"] -= payment
            else:
                wallet -= payment
            paid += payment
            cash += position["margin"] - quantity * position["entry"]
            row["counted"] += quantity
        account["wallet"] = wallet
        cash += wallet
    running = books.totals[CASH] - paid
    books.totals[SUMMED] = max(books.totals[SUMMED], abs(cash - running) / books.totals[SCALE])
    books.totals[CASH] = cash
    for c in range(state.size):
        apart = abs(state[c]["counted"] - state[c]["account_quantity"])
        if state[c]["largest_interest"] > 0.0:
            books.totals[SUMMED] = max(books.totals[SUMMED], apart / state[c]["largest_interest"])


@step
def fund_settles(world: World, books: Books, c: int, amount: float) -> None:
    """Book funding with the fund of contract ``c``."""
    fund = books.funds[world.contracts[c]["fund"]]
    if world.rules[0]["booking_ms"] == 0:
        fund["balance"] += amount
    else:
        fund["pending"] += amount
    fund["funding"] += amount


@step
def pay_venue(world: World, books: Books, c: int, flow: float) -> None:
    """Let the engine, for its fund, and the outside market pay one settlement, and loosen the keys by it."""
    state = books.state[c]
    from_engine = state["engine_quantity"] * flow
    fund_settles(world, books, c, -from_engine)
    state["outside_cash"] -= state["outside_quantity"] * flow
    books.totals[DISTANCE] += abs(flow / state["mark"])
    if flow > 0.0:
        state["low_creep"] += flow * world.contracts[c]["low_factor"]
    else:
        state["high_creep"] -= flow * world.contracts[c]["high_factor"]


@step
def room_for_funding(world: World, books: Books, p: int, value: float) -> float:
    """Return what the group of position ``p`` can pay before it fails: ``p`` at ``value``, the others at the marks.

    The brackets are those of these values; the ones in which triggers are watched stay as they are.
    """
    state = books.state[books.positions[p]["contract"]]
    mark = state["mark"]
    state["mark"] = value
    first, stop = group_span(books, p)
    room = group_balance(books, p)
    for j in range(first, stop):
        position = books.positions[j]
        if position["quantity"] == 0.0:
            continue
        at = books.state[position["contract"]]["mark"]
        tier = tier_lookup(world, books, j, abs(position["quantity"]), at)
        if position["pinned"] > 0:
            tier = min(tier, position["pinned"] - 1)
        constant, slope = line_at(world, books, j, tier)
        room -= (constant + slope * abs(at)) * ABOVE
    state["mark"] = mark
    return room


@step
def pay_with_care(world: World, books: Books, c: int, value: float, flow: float) -> float:
    """Let the accounts pay or receive one settlement where the venue looks at wallet or requirement.

    Returns what the receivers would miss of cut payments. A guest, whom nothing here liquidates, pays in full.
    """
    paid_from = world.rules[0]["paid_from"]
    paid = 0.0
    missing = 0.0
    for p in range(books.positions.size):
        position = books.positions[p]
        if position["contract"] != c or position["quantity"] == 0.0:
            continue
        account = books.accounts[position["account"]]
        owed = position["quantity"] * flow
        payment = owed
        if paid_from == CAPPED and owed > 0.0 and position["kind"] != GUEST:
            payment = min(owed, max(room_for_funding(world, books, p, value), 0.0))
            missing += owed - payment
        from_wallet = payment
        if account["isolated"] == 1:
            from_wallet = 0.0
            if paid_from == WALLET_FIRST:
                from_wallet = min(payment, max(account["wallet"], 0.0))
        account["wallet"] -= from_wallet
        position["margin"] -= payment - from_wallet
        paid += payment
    books.totals[CASH] -= paid
    return missing


@step
def settle_due(world: World, books: Books, bar: int, row: int, inside: int) -> int:
    """Settle the funding due at the open of a bar (``inside`` 0) or within it; return the next row of settlements."""
    first = row
    while row < world.settlements.size:
        due = world.settlements[row]
        if due["bar"] != bar or due["inside"] != inside:
            break
        c = due["contract"]
        value = due["value"]
        if math.isnan(value):
            mark = world.mark[MARK_CLOSE if inside == 1 else MARK_OPEN, c, bar]
            shift = world.rules[0]["mark_share"] * books.state[c]["shift"]
            value = displaced(mark, shift, world.contracts[c]["sign"])
        flow = funding_payment(1.0, value, due["rate"])
        pay_venue(world, books, c, flow)
        if world.rules[0]["paid_from"] == FROM_MARGIN:
            books.state[c]["flow"] += flow
        else:
            fund_settles(world, books, c, -pay_with_care(world, books, c, value, flow))
        row += 1
    if row > first:
        pay_accounts(books)
        for c in range(world.contracts.size):
            books.state[c]["flow"] = 0.0
    return row
