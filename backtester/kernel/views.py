"""What an ``on_bar`` function is shown of the account, refreshed before each call."""

from __future__ import annotations

import math

from backtester.domain.enums import MarginMode
from backtester.kernel._jit import constant, entry, inlined, step
from backtester.kernel.loop import (
    BACK_ENTRY,
    BACK_MARGIN_RATE,
    BACK_QUANTITY,
    BACK_SIGN,
    BACK_SYMBOL,
    BACK_WEIGHT,
    BAR,
    DECISION_BAR,
    DONE,
    DUE_BAR,
    EQUITY,
    FREE,
    LEG_ENTRY,
    LEG_QUANTITY,
    TIME,
    WALLET,
    LoopContext,
)
from backtester.kernel.state import Book, Columns, Market, Schedule, Setup
from backtester.kernel.value import value_to_price

ISOLATED = constant(MarginMode.ISOLATED)


@entry
def show_account(
    setup: Setup, market: Market, schedule: Schedule, book: Book, columns: Columns, loop: LoopContext
) -> None:
    """Put the account as it stands at the close of the next signal bar into the function's context."""
    show_bar(market, schedule, book, columns, loop)
    if book.account[0]["views"] == 1:
        show_positions(setup, book, loop)


@inlined
def show_bar(market: Market, schedule: Schedule, book: Book, columns: Columns, loop: LoopContext) -> None:
    """Show the bar that has just closed and what the account is worth there."""
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
    loop.account[FREE] = account["free_wallet"]


@step
def show_positions(setup: Setup, book: Book, loop: LoopContext) -> None:
    """Show every slot; only after something changed."""
    book.account[0]["views"] = 0
    for i in range(book.positions.size):
        show_position(setup, book, loop, i)
        show_backing(setup, book, loop, i)


@step
def show_backing(setup: Setup, book: Book, loop: LoopContext, i: int) -> None:
    """Show what a cross position, or spot that counts as collateral, does to the available margin."""
    p = book.positions[i]
    instrument = setup.instruments[i]
    back = loop.backing[i]
    back[BACK_SYMBOL] = p["row"]
    back[BACK_SIGN] = instrument["sign"]
    back[BACK_QUANTITY] = p["quantity"]
    back[BACK_ENTRY] = p["entry_value"]
    back[BACK_MARGIN_RATE] = 1.0 / p["leverage"]
    back[BACK_WEIGHT] = 0.0
    if instrument["is_spot"] == 1:  # weight * Q * v, as a profit and what it was bought for
        back[BACK_QUANTITY] *= p["weight"]
        back[BACK_MARGIN_RATE] = 0.0
        back[BACK_WEIGHT] = 1.0
    elif instrument["margin_mode"] == ISOLATED:
        back[BACK_QUANTITY] = 0.0


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
