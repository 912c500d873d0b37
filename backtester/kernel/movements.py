"""What changes the account without an order: transfers, holdings, trades executed elsewhere, delistings.

Source: ``docs/execution.md``, "Deposits, withdrawals, delisting, own fills" and "Spot and collateral".
"""

from __future__ import annotations

import math

from backtester.domain.enums import FillReason, LedgerKind, RejectReason
from backtester.kernel._jit import constant, step
from backtester.kernel.account import (
    WHOLE_ACCOUNT,
    cross_equity,
    increase_position,
    post,
    reduce_position,
    set_quantity,
    set_values_now,
)
from backtester.kernel.costs import MAKER, TAKER, count_volume, fee_rate
from backtester.kernel.execution import opening_part, reducing_part
from backtester.kernel.exits import detach
from backtester.kernel.fills import trading_fee
from backtester.kernel.margin import initial_margin
from backtester.kernel.resting import CANCELLED, cancel_slot
from backtester.kernel.state import PENDING, REFRESH, Book, Journal, Market, Schedule, Setup
from backtester.kernel.targets import IDLE, end_order, write_target_order

TRANSFER = constant(LedgerKind.TRANSFER)
BY_OWN = constant(FillReason.OWN)
BY_DELISTING = constant(FillReason.DELISTING)
DELISTED = constant(RejectReason.DELISTED)
NO_ORDER = constant(-1)
NO_FEE = 0.0


@step
def enter_holdings(setup: Setup, market: Market, book: Book, journal: Journal) -> None:
    """Put what is held from the start into the account, at the first mark."""
    account = book.account[0]
    for i in range(book.positions.size):
        held = setup.instruments[i]["holding"]
        if held == 0.0:
            continue
        p = book.positions[i]
        value = market.mark_open[p["row"], 0]
        p["entry_value"] = value
        p["margin"] = held * value
        set_quantity(setup, book, i, held)
        p["base"] = held
        post(book, journal, i, TRANSFER, held * value)
        account["peak"] += held * value


@step
def withdrawable(book: Book) -> float:
    """Return what may leave the account [settlement currency], at ``value_now``."""
    account = book.account[0]
    available = cross_equity(book)
    for j in range(account["cross_count"]):
        p = book.positions[book.cross[j]]
        available -= initial_margin(p["quantity"], p["value_now"], p["leverage"])
    return max(min(available, account["free_wallet"]), 0.0)


@step
def apply_transfers(schedule: Schedule, market: Market, book: Book, journal: Journal, bar: int) -> None:
    """Book the deposits and withdrawals due by a bar's open; a withdrawal takes at most what is free."""
    account = book.account[0]
    rows = schedule.transfers
    while account["transfer"] < rows.size and rows[account["transfer"]]["bar"] <= bar:
        amount = rows[account["transfer"]]["amount"]
        account["transfer"] += 1
        if amount < 0.0:
            set_values_now(book, market.mark_open, bar)
            free = withdrawable(book)
            if -amount > free:
                amount = -free
                account["transfers_cut"] += 1
        account["free_wallet"] += amount
        account["peak"] += amount
        post(book, journal, WHOLE_ACCOUNT, TRANSFER, amount)


@step
def book_own_fill(setup: Setup, schedule: Schedule, book: Book, journal: Journal) -> None:
    """Book the next trade that was executed elsewhere, whatever the margin says."""
    account = book.account[0]
    row = schedule.own_fills[account["own_fill"]]
    account["own_fill"] += 1
    i = row["symbol"]
    value = row["value"]
    liquidity = MAKER if row["is_maker"] == 1 else TAKER
    rate = fee_rate(setup, book, i, liquidity)
    if not math.isnan(row["fee"]):
        rate = row["fee"] / abs(row["quantity"] * value)
    reducing = reducing_part(book, i, row["quantity"])
    opening = opening_part(setup, i, row["quantity"], reducing)
    if reducing != 0.0:
        fee = trading_fee(reducing, value, rate)
        reduce_position(setup, book, journal, i, NO_ORDER, reducing, value, value, fee, liquidity, BY_OWN)
        count_volume(setup, book, abs(reducing * value))
        if book.positions[i]["quantity"] == 0.0:
            detach(book, journal, i)
    if opening != 0.0:
        fee = trading_fee(opening, value, rate)
        increase_position(setup, book, journal, i, NO_ORDER, opening, value, value, fee, liquidity, BY_OWN)
        count_volume(setup, book, abs(opening * value))


@step
def settle_delistings(setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int) -> None:
    """Settle what ends with a bar: cancel its orders, close its position at the mark close, without fee."""
    account = book.account[0]
    rows = schedule.delistings
    while account["delisting"] < rows.size and rows[account["delisting"]]["bar"] <= bar:
        i = rows[account["delisting"]]["symbol"]
        account["delisting"] += 1
        p = book.positions[i]
        cancel_slot(book, journal, i, DELISTED)
        if book.marks[PENDING, i] != IDLE:
            write_target_order(setup, book, journal, i)
            end_order(book, journal, i, CANCELLED, DELISTED)
        if p["quantity"] != 0.0:
            value = market.mark_close[p["row"], bar]
            reduce_position(
                setup, book, journal, i, NO_ORDER, -p["quantity"], value, value, NO_FEE, TAKER, BY_DELISTING
            )
            book.marks[REFRESH, i] = 0
