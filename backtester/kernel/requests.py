"""What an ``on_bar`` function asked for, carried out at the open at which it is due.

Source: ``docs/execution.md``, "The order of events in a bar".
"""

from __future__ import annotations

import math

from backtester.domain.enums import FillReason, OrderKind, RejectReason, RequestKind, SettingField, TriggerPrice
from backtester.kernel._jit import constant, step
from backtester.kernel.exits import apply_setting, drop_exits
from backtester.kernel.fills import floor_to_step
from backtester.kernel.resting import (
    CANCELLED,
    DROPPED,
    REJECTED,
    TRAILING_STOP,
    cancel_slot,
    end_resting,
    end_row,
    expire,
    place,
    recall_best,
    set_limit,
    set_trigger,
    wake_now,
    watched,
    write_order,
)
from backtester.kernel.state import NONE, Book, Journal, Market, Setup
from backtester.kernel.value import price_to_value

SUBMIT = constant(RequestKind.SUBMIT)
AMEND = constant(RequestKind.AMEND)
CANCEL = constant(RequestKind.CANCEL)
CANCEL_ALL = constant(RequestKind.CANCEL_ALL)
CLOSE = constant(RequestKind.CLOSE)
BY_ORDER = constant(FillReason.ORDER)
BY_CLOSE = constant(FillReason.CLOSE)
REQUESTED = constant(RejectReason.REQUESTED)
BY_LOT = constant(RejectReason.LOT)
BY_NO_INDEX = constant(RejectReason.NO_INDEX)
WATCHES_INDEX = constant(TriggerPrice.INDEX)
KIND_LIMIT = constant(OrderKind.LIMIT)
KIND_MARKET = constant(OrderKind.MARKET)
STOP_PRICE = constant(SettingField.STOP_PRICE)
TAKE_PRICE = constant(SettingField.TAKE_PROFIT_PRICE)
HOLD = constant(SettingField.HOLD_BARS)
COOLDOWN = constant(SettingField.COOLDOWN_BARS)
UNKNOWN = constant(NONE)
LONG_LEG = constant(0)
SHORT_LEG = constant(1)


@step
def slot_of(setup: Setup, symbol: int, side: int, opens: float) -> int:
    """Return the slot of a contract's leg; without a leg, the one that an order of that sign opens."""
    is_short = side < 0 or (side == 0 and opens < 0.0)
    slot: int = setup.slots[symbol, SHORT_LEG if is_short else LONG_LEG]
    return slot


@step
def carry_out_submit(setup: Setup, market: Market, book: Book, journal: Journal, n: int, bar: int) -> None:
    """Place a submitted order."""
    row = book.requests[n]
    i = slot_of(setup, row["symbol"], row["side"], row["quantity"])
    instrument = setup.instruments[i]
    size = floor_to_step(abs(row["quantity"]), instrument["step_num"], instrument["step_den"])
    side = 1.0 if row["quantity"] > 0.0 else -1.0
    number = write_submit(setup, market, book, journal, n, i, side * size)
    if not size > 0.0:
        end_row(book, journal, number, DROPPED, BY_LOT)
        row["left"] = 0.0
        return
    if row["watches"] == WATCHES_INDEX and row["kind"] not in (KIND_MARKET, KIND_LIMIT) and market.index_open.size == 0:
        end_row(book, journal, number, REJECTED, BY_NO_INDEX)
        row["left"] = 0.0
        return
    k = place(book, journal, i, row["kind"], BY_ORDER, side, size, number, bar)
    row["order"] = k
    row["left"] = size
    o = book.resting[k]
    o["watches"] = row["watches"]
    o["distance"] = row["distance"]
    o["fraction"] = row["fraction"]
    if row["kind"] == TRAILING_STOP:
        opens, _, _, _ = watched(market, row["watches"])
        o["best"] = opens[instrument["row"], bar]
    o["reduce_only"] = row["reduce_only"]
    o["post_only"] = row["post_only"]
    o["group"] = row["group"]
    if not math.isnan(row["limit"]):
        set_limit(setup, book, journal, k, price_to_value(row["limit"], instrument["sign"]))
    if not math.isnan(row["trigger"]):
        set_trigger(setup, book, journal, k, price_to_value(row["trigger"], instrument["sign"]))
    if row["good_for"] > 0:
        expire(market, book, k, row["good_for"] * setup.rules[0]["signal_ms"])


@step
def write_submit(setup: Setup, market: Market, book: Book, journal: Journal, n: int, i: int, wanted: float) -> int:
    """Write the row of a submitted order and return its number."""
    row = book.requests[n]
    bars = market.open_time.size - 1
    due = market.open_time[min(row["due_bar"], bars)]
    decided = market.open_time[row["decision_bar"] + 1] - 1
    return write_order(setup, book, journal, i, row["kind"], BY_ORDER, row["number"], decided, due, math.nan, wanted)


@step
def order_of(book: Book, request: int) -> int:
    """Return the resting order that a request placed, or ``NONE`` where it is over."""
    if request < 0:
        return UNKNOWN
    row = book.requests[request % book.requests.size]
    if row["number"] != request or row["order"] < 0:
        return UNKNOWN
    k = row["order"]
    if book.resting[k]["slot"] == NONE or book.resting[k]["request"] != request:
        return UNKNOWN
    return int(k)


@step
def carry_out_amend(setup: Setup, market: Market, book: Book, journal: Journal, n: int, bar: int) -> None:
    """Change a resting order's figures; with another price it is new at this open."""
    row = book.requests[n]
    k = order_of(book, row["request"])
    if k == UNKNOWN:
        return
    o = book.resting[k]
    instrument = setup.instruments[o["slot"]]
    recall_best(setup, market, book, k, bar)
    wake_now(book, k, bar)
    if not math.isnan(row["quantity"]):
        left = floor_to_step(abs(row["quantity"]), instrument["step_num"], instrument["step_den"])
        if left == 0.0:
            end_resting(book, journal, k, CANCELLED, REQUESTED)
            return
        o["left"] = left
        order = journal.orders[o["number"]]
        order["wanted_quantity"] = order["filled_quantity"] + o["side"] * left
        book.requests[row["request"] % book.requests.size]["left"] = left
    if not math.isnan(row["limit"]):
        set_limit(setup, book, journal, k, price_to_value(row["limit"], instrument["sign"]))
        o["is_new"] = 1
    if not math.isnan(row["trigger"]):
        set_trigger(setup, book, journal, k, price_to_value(row["trigger"], instrument["sign"]))
        o["is_new"] = 1


@step
def close_slot(setup: Setup, market: Market, book: Book, journal: Journal, n: int, i: int, bar: int) -> None:
    """Place the market order that closes a slot's position."""
    held = book.positions[i]["quantity"]
    if held == 0.0:
        return
    row = book.requests[n]
    decided = market.open_time[row["decision_bar"] + 1] - 1
    due = book.account[0]["time"]
    number = write_order(setup, book, journal, i, KIND_MARKET, BY_CLOSE, row["number"], decided, due, math.nan, -held)
    k = place(book, journal, i, KIND_MARKET, BY_CLOSE, -1.0 if held > 0.0 else 1.0, abs(held), number, bar)
    book.resting[k]["reduce_only"] = 1


@step
def carry_out_setting(setup: Setup, book: Book, journal: Journal, n: int, i: int) -> None:
    """Put a setting of an on_bar function in force, unless it is meant for the other leg."""
    row = book.requests[n]
    if row["side"] * setup.instruments[i]["leg"] < 0:
        return
    value = row["value"]
    if row["setting"] in (STOP_PRICE, TAKE_PRICE) and value != 0.0:
        value = price_to_value(value, setup.instruments[i]["sign"])
    elif row["setting"] in (HOLD, COOLDOWN):
        value *= setup.rules[0]["signal_ms"]
    apply_setting(book, i, row["setting"], row["rung"], value)
    drop_exits(setup, book, journal)


@step
def carry_out(setup: Setup, market: Market, book: Book, journal: Journal, n: int, bar: int) -> None:
    """Carry out one request, which stands in row ``n`` of the ring."""
    row = book.requests[n]
    ask = row["ask"]
    if ask == SUBMIT:
        carry_out_submit(setup, market, book, journal, n, bar)
    elif ask == AMEND:
        carry_out_amend(setup, market, book, journal, n, bar)
    elif ask == CANCEL:
        k = order_of(book, row["request"])
        if k != UNKNOWN:
            end_resting(book, journal, k, CANCELLED, REQUESTED)
    else:
        for i in range(book.positions.size):
            if row["symbol"] >= 0 and row["symbol"] != book.positions[i]["row"]:
                continue
            if ask == CANCEL_ALL:
                cancel_slot(book, journal, i, REQUESTED)
            elif ask == CLOSE:
                close_slot(setup, market, book, journal, n, i, bar)
            else:
                carry_out_setting(setup, book, journal, n, i)


@step
def carry_out_due(setup: Setup, market: Market, book: Book, journal: Journal, bar: int) -> None:
    """Carry out the requests due at a bar's open, in the order in which they were made."""
    account = book.account[0]
    while account["request"] < account["requested"]:
        n = account["request"] % book.requests.size
        if book.requests[n]["due_bar"] > bar:
            return
        is_passed_over = book.requests[n]["number"] != account["request"]  # the row of an order that still rests
        account["request"] += 1
        if is_passed_over:
            continue
        if account["drawn_down"] == 0:
            carry_out(setup, market, book, journal, n, bar)
        else:
            book.requests[n]["left"] = 0.0
