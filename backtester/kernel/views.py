"""What an ``on_bar`` function is shown of the account, refreshed before each call."""

from __future__ import annotations

import math

from backtester.kernel._jit import entry, step
from backtester.kernel.account import set_values_now
from backtester.kernel.loop import (
    AVAILABLE,
    BAR,
    DECISION_BAR,
    DONE,
    DUE_BAR,
    EQUITY,
    LEG_ENTRY,
    LEG_QUANTITY,
    TIME,
    WALLET,
    LoopContext,
)
from backtester.kernel.movements import withdrawable
from backtester.kernel.state import Book, Columns, Market, Schedule, Setup
from backtester.kernel.value import value_to_price


@entry
def show_account(
    setup: Setup, market: Market, schedule: Schedule, book: Book, columns: Columns, loop: LoopContext
) -> None:
    """Put the account as it stands at the close of the next signal bar into the function's context."""
    account = book.account[0]
    call = account["call"]
    bar = schedule.calls[call]
    loop.clock[BAR] = call
    loop.clock[TIME] = market.open_time[bar + 1]
    loop.clock[DECISION_BAR] = bar
    loop.clock[DUE_BAR] = schedule.call_due[call]
    loop.clock[DONE] = account["request"]
    loop.account[EQUITY] = columns.equity[bar]
    loop.account[WALLET] = columns.wallet[bar]
    set_values_now(book, market.mark_close, bar)
    loop.account[AVAILABLE] = withdrawable(book)
    if account["views"] == 0:
        return
    account["views"] = 0
    for i in range(book.positions.size):
        show_position(setup, book, loop, i)


@step
def show_position(setup: Setup, book: Book, loop: LoopContext, i: int) -> None:
    """Show a slot: the net position of its contract, or one leg of it and the net."""
    p = book.positions[i]
    row = p["row"]
    price = math.nan
    if p["quantity"] != 0.0:
        price = value_to_price(p["entry_value"], setup.instruments[i]["sign"])
    leg = setup.instruments[i]["leg"]
    if leg == 0:
        loop.legs[row, 0, LEG_QUANTITY] = p["quantity"]
        loop.legs[row, 0, LEG_ENTRY] = price
        side = 1 if p["quantity"] >= 0.0 else 2
        loop.legs[row, 1, LEG_QUANTITY] = 0.0
        loop.legs[row, 2, LEG_QUANTITY] = 0.0
        loop.legs[row, 1, LEG_ENTRY] = math.nan
        loop.legs[row, 2, LEG_ENTRY] = math.nan
        loop.legs[row, side, LEG_QUANTITY] = p["quantity"]
        loop.legs[row, side, LEG_ENTRY] = price
        return
    side = 1 if leg > 0 else 2
    loop.legs[row, side, LEG_QUANTITY] = p["quantity"]
    loop.legs[row, side, LEG_ENTRY] = price
    loop.legs[row, 0, LEG_ENTRY] = math.nan
    loop.legs[row, 0, LEG_QUANTITY] = p["quantity"]
    if setup.instruments[i]["sibling"] >= 0:
        loop.legs[row, 0, LEG_QUANTITY] += book.positions[setup.instruments[i]["sibling"]]["quantity"]
