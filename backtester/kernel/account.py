"""Steps that change the account, each writing what it did to the journal.

Source: accounting specification, sections 2 to 5.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import CloseFeeBasis, FundingSource, LedgerKind, MarginMode, PositionSide, Side
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.fills import add_on_grid
from backtester.kernel.funding import funding_payment
from backtester.kernel.margin import initial_margin
from backtester.kernel.path import collateral_worth, displayed_liquidation, requirement_at
from backtester.kernel.state import EXIT_BAR, NO_TIER_BOUND, REFRESH, TOUCHED, Book, Journal, Setup
from backtester.kernel.value import average_entry, unrealized_pnl, value_to_price

ISOLATED = constant(MarginMode.ISOLATED)
LONG = constant(PositionSide.LONG)
SHORT = constant(PositionSide.SHORT)
BUY = constant(Side.BUY)
SELL = constant(Side.SELL)
REALIZED_PNL = constant(LedgerKind.REALIZED_PNL)
TRADING_FEE = constant(LedgerKind.TRADING_FEE)
FUNDING = constant(LedgerKind.FUNDING)
CLEARANCE = constant(LedgerKind.INSURANCE_CLEARANCE)
WALLET_FIRST = constant(FundingSource.WALLET_FIRST)
CAPPED = constant(FundingSource.CAPPED)
FEE_AT_BANKRUPTCY = constant(CloseFeeBasis.BANKRUPTCY)
WHOLE_ACCOUNT = constant(-1)
DUST = 1e-12  # of a position: what sizes off the grid leave when they cancel out
NO_BAR = constant(1 << 40)  # a bar that no run reaches
CHANGED = constant(1)  # attached orders must be looked at: size
SET = constant(2)  # other settings: and placed
INCREASED = constant(3)  # and placed, those that have closed their share too
# A capped payment leaves the balance a hair above the requirement: at equality it would liquidate after all.
ABOVE = 1.0 + 1e-9


@inlined
def wallet_balance(book: Book) -> float:
    """Return the wallet: free wallet and isolated margins [settlement currency]."""
    total = book.account[0]["free_wallet"]
    for j in range(book.account[0]["isolated_count"]):
        total += book.positions[book.isolated[j]]["margin"]
    for j in range(book.account[0]["spot_count"]):
        total += book.positions[book.spot[j]]["margin"]
    return total


@inlined
def cross_equity(book: Book) -> float:
    """Return free wallet, unrealised profit of cross positions and what spot adds, at ``value_now``."""
    total = book.account[0]["free_wallet"] + collateral_worth(book)
    for j in range(book.account[0]["cross_count"]):
        p = book.positions[book.cross[j]]
        total += unrealized_pnl(p["quantity"], p["entry_value"], p["value_now"])
    return total


@step
def cross_requirement(setup: Setup, book: Book) -> float:
    """Return the requirement of all cross positions, at ``value_now``."""
    total = 0.0
    for j in range(book.account[0]["cross_count"]):
        i = book.cross[j]
        total += requirement_at(setup, book, i, book.positions[i]["value_now"])
    return total


@inlined
def account_equity(book: Book) -> float:
    """Return the whole account's equity, isolated positions and spot included, at ``value_now``."""
    total = book.account[0]["free_wallet"]
    for j in range(book.account[0]["cross_count"]):
        p = book.positions[book.cross[j]]
        total += unrealized_pnl(p["quantity"], p["entry_value"], p["value_now"])
    for j in range(book.account[0]["isolated_count"]):
        p = book.positions[book.isolated[j]]
        total += p["margin"] + unrealized_pnl(p["quantity"], p["entry_value"], p["value_now"])
    for j in range(book.account[0]["spot_count"]):
        p = book.positions[book.spot[j]]
        total += p["margin"] + unrealized_pnl(p["quantity"], p["entry_value"], p["value_now"])
    return total


@inlined
def stamp(book: Book, time: int, bar: int) -> None:
    """Set the time and the bar of the records that follow."""
    book.account[0]["time"] = time
    book.account[0]["bar"] = bar


@inlined
def set_values_now(book: Book, values: NDArray[np.float64], bar: int) -> None:
    """Put each held position at its value in a column of bars."""
    for j in range(book.account[0]["cross_count"]):
        p = book.positions[book.cross[j]]
        p["value_now"] = values[p["row"], bar]
    for j in range(book.account[0]["isolated_count"]):
        p = book.positions[book.isolated[j]]
        p["value_now"] = values[p["row"], bar]
    for j in range(book.account[0]["spot_count"]):
        p = book.positions[book.spot[j]]
        p["value_now"] = values[p["row"], bar]


@inlined
def list_held(setup: Setup, book: Book) -> None:
    """Find the held positions again, in configured order."""
    cross = 0
    isolated = 0
    spot = 0
    for i in range(book.positions.size):
        if book.positions[i]["quantity"] != 0.0:
            if setup.instruments[i]["is_spot"] == 1:
                book.spot[spot] = i
                spot += 1
            elif setup.instruments[i]["margin_mode"] == ISOLATED:
                book.isolated[isolated] = i
                isolated += 1
            else:
                book.cross[cross] = i
                cross += 1
    account = book.account[0]
    account["cross_count"] = cross
    account["isolated_count"] = isolated
    account["spot_count"] = spot
    account["collateral_count"] = 0
    for j in range(spot):
        if book.positions[book.spot[j]]["weight"] > 0.0:
            book.cross[cross + account["collateral_count"]] = book.spot[j]
            account["collateral_count"] += 1


@inlined
def post(book: Book, journal: Journal, slot: int, kind: int, amount: float) -> None:
    """Write a ledger row of a change that the wallet has just seen; nothing for an amount of zero."""
    if amount == 0.0:
        return
    account = book.account[0]
    row = journal.ledger[account["ledger"]]
    row["time"] = account["time"]
    row["bar"] = account["bar"]
    row["symbol"] = book.positions[slot]["row"] if slot >= 0 else WHOLE_ACCOUNT
    row["kind"] = kind
    row["amount"] = amount
    row["wallet_balance"] = wallet_balance(book)
    account["ledger"] += 1


@step
def record_fill(
    setup: Setup,
    book: Book,
    journal: Journal,
    i: int,
    order: int,
    position_side: int,
    change: float,
    fill_value: float,
    fee: float,
    realized: float,
    slippage_paid: float,
    liquidity: int,
    reason: int,
) -> None:
    """Write a fill."""
    account = book.account[0]
    row = journal.fills[account["fills"]]
    row["time"] = account["time"]
    row["bar"] = account["bar"]
    row["order_id"] = order
    row["symbol"] = book.positions[i]["row"]
    row["position_side"] = position_side
    row["side"] = BUY if change > 0.0 else SELL
    row["quantity"] = abs(change)
    row["price"] = value_to_price(fill_value, setup.instruments[i]["sign"])
    row["notional"] = abs(change * fill_value)
    row["fee_paid"] = fee
    row["realized_pnl"] = realized
    row["slippage_paid"] = slippage_paid
    row["liquidity"] = liquidity
    row["reason"] = reason
    account["fills"] += 1


@inlined
def ask_refresh(book: Book, i: int, change: int) -> None:
    """Ask that what is attached to the position of slot ``i`` follows a change."""
    book.marks[REFRESH, i] = max(book.marks[REFRESH, i], change)
    book.account[0]["refresh"] = 1


@inlined
def set_quantity(setup: Setup, book: Book, i: int, quantity: float) -> None:
    """Give position ``i`` its new size; a flat one keeps no entry and no margin."""
    p = book.positions[i]
    was_flat = p["quantity"] == 0.0
    p["quantity"] = quantity
    book.marks[TOUCHED, i] = 1
    book.account[0]["touched"] = 1
    ask_refresh(book, i, CHANGED)
    book.account[0]["views"] = 1
    book.lines[i]["is_stale"] = 1
    if setup.instruments[i]["sibling"] >= 0:
        book.lines[setup.instruments[i]["sibling"]]["is_stale"] = 1
    if was_flat:
        p["opened"] = book.account[0]["bar_open"]
    if quantity == 0.0:
        p["entry_value"] = 0.0
        p["margin"] = 0.0
        p["tier_bound"] = NO_TIER_BOUND
        book.marks[EXIT_BAR, i] = NO_BAR
        p["closed"] = book.account[0]["bar_open"]
    if was_flat or quantity == 0.0:
        list_held(setup, book)


@step
def reduce_position(
    setup: Setup,
    book: Book,
    journal: Journal,
    i: int,
    order: int,
    change: float,
    reference: float,
    fill_value: float,
    fee: float,
    liquidity: int,
    reason: int,
) -> None:
    """Fill the part of an order that moves position ``i`` toward zero.

    Parameters
    ----------
    change : float
        Signed against the position, at most its size.
    reference, fill_value : float
        Price before and after slippage, in value space.
    fee : float
        Trading fee [settlement currency].

    Notes
    -----
    Realised profit, fee and the released share of an isolated margin go to the free wallet.
    """
    account = book.account[0]
    p = book.positions[i]
    instrument = setup.instruments[i]
    held = p["quantity"]
    side = LONG if held > 0.0 else SHORT
    realized = -change * (fill_value - p["entry_value"])
    left = add_on_grid(held, change, instrument["step_num"], instrument["step_den"])
    if abs(change) >= abs(held) or left * held <= 0.0 or abs(left) <= DUST * abs(held):
        left = 0.0
    if instrument["margin_mode"] == ISOLATED:
        released = p["margin"] if left == 0.0 else p["margin"] * abs(change) / abs(held)
        p["margin"] -= released
        account["free_wallet"] += released
    account["free_wallet"] += realized
    margin_left = p["margin"] if left == 0.0 else 0.0
    set_quantity(setup, book, i, left)
    account["free_wallet"] += margin_left
    post(book, journal, i, REALIZED_PNL, realized)
    account["free_wallet"] -= fee
    post(book, journal, i, TRADING_FEE, -fee)
    paid = abs(change) * abs(fill_value - reference)
    record_fill(setup, book, journal, i, order, side, change, fill_value, fee, realized, paid, liquidity, reason)


@inlined
def opening_margin(setup: Setup, book: Book, i: int, change: float, fill_value: float) -> float:
    """Return what opening takes into an isolated margin: the initial margin, and the fee at bankruptcy if reserved."""
    instrument = setup.instruments[i]
    leverage = book.positions[i]["leverage"]
    margin = initial_margin(change, fill_value, leverage)
    if setup.rules[0]["close_fee_basis"] == FEE_AT_BANKRUPTCY and instrument["is_spot"] == 0:
        side = 1.0 if change > 0.0 else -1.0
        bankruptcy = fill_value - side * abs(fill_value) / leverage
        margin += abs(change * bankruptcy) * instrument["close_fee"]
    return margin


@step
def increase_position(
    setup: Setup,
    book: Book,
    journal: Journal,
    i: int,
    order: int,
    change: float,
    reference: float,
    fill_value: float,
    fee: float,
    liquidity: int,
    reason: int,
) -> None:
    """Fill the part of an order that opens position ``i`` or adds to it.

    Parameters
    ----------
    change : float
        Signed like the position, or any sign from flat.
    reference, fill_value : float
        Price before and after slippage, in value space.
    fee : float
        Trading fee [settlement currency].
    """
    account = book.account[0]
    p = book.positions[i]
    instrument = setup.instruments[i]
    side = LONG if change > 0.0 else SHORT
    p["tier_bound"] = NO_TIER_BOUND
    p["entry_value"] = average_entry(p["quantity"], p["entry_value"], change, fill_value)
    if instrument["margin_mode"] == ISOLATED:
        margin = opening_margin(setup, book, i, change, fill_value)
        account["free_wallet"] -= margin
        p["margin"] += margin
    p["held_leverage"] = p["leverage"]
    set_quantity(setup, book, i, add_on_grid(p["quantity"], change, instrument["step_num"], instrument["step_den"]))
    p["base"] = abs(p["quantity"])
    ask_refresh(book, i, INCREASED)
    account["free_wallet"] -= fee
    post(book, journal, i, TRADING_FEE, -fee)
    paid = abs(change) * abs(fill_value - reference)
    record_fill(setup, book, journal, i, order, side, change, fill_value, fee, 0.0, paid, liquidity, reason)


@step
def settle_funding(setup: Setup, book: Book, journal: Journal, i: int, rate: float, value: float) -> None:
    """Pay or receive one settlement on position ``i``.

    Parameters
    ----------
    rate : float
        Positive: longs pay.
    value : float
        Price of the settlement in value space; ``value_now`` of the other positions holds the marks.
    """
    account = book.account[0]
    p = book.positions[i]
    instrument = setup.instruments[i]
    isolated = instrument["margin_mode"] == ISOLATED
    paid_from = setup.rules[0]["paid_from"]
    payment = funding_payment(p["quantity"], value, rate)
    p["value_now"] = value
    if paid_from == CAPPED and payment > 0.0:
        if isolated:
            balance = p["margin"] + unrealized_pnl(p["quantity"], p["entry_value"], value)
            room = balance - requirement_at(setup, book, i, value) * ABOVE
        else:
            room = cross_equity(book) - cross_requirement(setup, book) * ABOVE
        payment = min(payment, max(room, 0.0))
    if not isolated:
        account["free_wallet"] -= payment
    elif paid_from == WALLET_FIRST:
        from_wallet = payment
        if payment > 0.0:
            from_wallet = min(payment, max(account["free_wallet"], 0.0))
        account["free_wallet"] -= from_wallet
        p["margin"] -= payment - from_wallet
    else:
        p["margin"] -= payment
    book.account[0]["touched"] = 1
    book.marks[TOUCHED, i] = 1
    post(book, journal, i, FUNDING, -payment)
    row = journal.funding[account["funding"]]
    row["time"] = account["time"]
    row["bar"] = account["bar"]
    row["symbol"] = p["row"]
    row["funding_rate"] = rate
    row["mark_price"] = value_to_price(value, instrument["sign"])
    row["position_quantity"] = p["quantity"]
    row["funding_payment"] = -payment
    account["funding"] += 1


@step
def clear_debt(book: Book, journal: Journal) -> None:
    """Lift the negative free wallet of an account that holds nothing to zero: the fund pays."""
    account = book.account[0]
    held = account["cross_count"] + account["isolated_count"] + account["spot_count"]
    if held == 0 and account["free_wallet"] < 0.0:
        deficit = -account["free_wallet"]
        account["free_wallet"] = 0.0
        post(book, journal, WHOLE_ACCOUNT, CLEARANCE, deficit)


@step
def record_positions(setup: Setup, book: Book, journal: Journal) -> None:
    """Write the positions that changed since the last row; ``value_now`` holds the marks."""
    account = book.account[0]
    account["touched"] = 0
    excess = math.nan
    for i in range(book.positions.size):
        if book.marks[TOUCHED, i] == 0:
            continue
        p = book.positions[i]
        if math.isnan(excess):
            excess = cross_equity(book) - cross_requirement(setup, book)
        book.marks[TOUCHED, i] = 0
        sign = setup.instruments[i]["sign"]
        row = journal.positions[account["positions"]]
        row["time"] = account["time"]
        row["bar"] = account["bar"]
        row["symbol"] = p["row"]
        row["position_side"] = setup.instruments[i]["leg"]
        row["position_quantity"] = p["quantity"]
        row["entry_price"] = math.nan
        row["margin"] = 0.0
        row["liquidation_price"] = math.nan
        if p["quantity"] != 0.0:
            row["entry_price"] = value_to_price(p["entry_value"], sign)
            row["margin"] = p["margin"]
            if setup.instruments[i]["margin_mode"] != ISOLATED:
                row["margin"] = initial_margin(p["quantity"], p["value_now"], p["leverage"])
            row["liquidation_price"] = value_to_price(displayed_liquidation(setup, book, i, excess), sign)
        account["positions"] += 1
