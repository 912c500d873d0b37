"""From targets to fills at an open (or a close): due, sized, reduced, then opened as far as the margin carries.

Source: accounting specification, sections 3 and 4.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import FillReason, MarginMode, OrderStatus, Rebalance, RejectReason, TierUnit
from backtester.kernel._jit import constant, step
from backtester.kernel.account import (
    account_equity,
    cross_equity,
    increase_position,
    opening_margin,
    reduce_position,
    set_values_now,
)
from backtester.kernel.fills import SLACK, add_on_grid, floor_to_step, largest_below
from backtester.kernel.margin import initial_margin
from backtester.kernel.state import Book, Journal, Market, Schedule, Setup
from backtester.kernel.value import slipped

ISOLATED = constant(MarginMode.ISOLATED)
UNIT_CONTRACTS = constant(TierUnit.CONTRACTS)
BAND = constant(Rebalance.BAND)
BY_TARGET = constant(FillReason.TARGET)
FILLED = constant(OrderStatus.FILLED)
CLIPPED = constant(OrderStatus.CLIPPED)
REJECTED = constant(OrderStatus.REJECTED)
DROPPED = constant(OrderStatus.DROPPED)
SUPERSEDED = constant(OrderStatus.SUPERSEDED)
CANCELLED = constant(OrderStatus.CANCELLED)
PENDING = constant(OrderStatus.PENDING)
NO_REASON = constant(RejectReason.NONE)
BY_MARGIN = constant(RejectReason.MARGIN)
BY_TIER_CAP = constant(RejectReason.TIER_CAP)
BY_MIN_QUANTITY = constant(RejectReason.MIN_QUANTITY)
BY_MIN_NOTIONAL = constant(RejectReason.MIN_NOTIONAL)
BY_LOT = constant(RejectReason.LOT)
BY_NO_VOLUME = constant(RejectReason.NO_VOLUME)
BY_DEBT = constant(RejectReason.DEBT)
BY_STOP = constant(RejectReason.STOPPED)

CRUMB = 1e-9  # share of an order: without lots, what a clip leaves of it below this is rounding, not size
IDLE = constant(0)
DUE = constant(1)
WAITING = constant(2)


@step
def position_cap(setup: Setup, table_index: int, leverage: float) -> float:
    """Return the size below which every bracket of a table allows a leverage; 0 where none does."""
    table = setup.tables[table_index]
    cap = 0.0
    for k in range(table["start"], table["stop"]):
        if setup.tiers[k]["max_leverage"] < leverage:
            break
        cap = setup.tiers[k]["cap"]
    return cap


@step
def write_order(book: Book, journal: Journal, i: int) -> None:
    """Give the pending order of symbol ``i`` its row, if it has none yet."""
    account = book.account[0]
    p = book.positions[i]
    if p["order"] >= 0:
        return
    p["order"] = account["orders"]
    row = journal.orders[account["orders"]]
    row["order_id"] = account["orders"]
    row["symbol"] = i
    row["decision_time"] = p["decision_time"]
    row["due_time"] = p["due_time"]
    row["end_time"] = -1
    row["target"] = p["target"]
    row["wanted_quantity"] = math.nan
    row["filled_quantity"] = 0.0
    row["status"] = PENDING
    row["reason"] = NO_REASON
    row["bars_waited"] = 0
    account["orders"] += 1


@step
def end_order(book: Book, journal: Journal, i: int, status: int, reason: int) -> None:
    """Close the pending order of symbol ``i`` with what became of it."""
    p = book.positions[i]
    row = journal.orders[p["order"]]
    row["end_time"] = book.account[0]["time"]
    row["status"] = status
    row["reason"] = reason
    p["pending"] = IDLE
    book.account[0]["pending_count"] -= 1


@step
def take_due_targets(market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int) -> None:
    """Turn the rows due at a bar into pending orders; a newer one replaces one that waits."""
    account = book.account[0]
    rows = schedule.targets
    while account["due_row"] < rows.size and rows[account["due_row"]]["due_bar"] <= bar:
        row = rows[account["due_row"]]
        account["due_row"] += 1
        if row["acts"] == 0:
            continue
        i = row["symbol"]
        p = book.positions[i]
        if p["pending"] == WAITING:
            end_order(book, journal, i, SUPERSEDED, BY_NO_VOLUME)
        p["pending"] = DUE
        account["pending_count"] += 1
        p["target"] = row["target"]
        p["order"] = -1
        p["decision_time"] = market.open_time[row["decision_bar"] + 1] - 1
        p["due_time"] = account["time"]


@step
def write_undue_targets(
    market: Market,
    schedule: Schedule,
    book: Book,
    journal: Journal,
    last_bar: int,
    time: int,
    status: int,
) -> None:
    """Write an order for each acting row decided up to a bar that never came due, with what became of it."""
    account = book.account[0]
    rows = schedule.targets
    bars = market.open_time.size - 1
    while account["due_row"] < rows.size:
        row = rows[account["due_row"]]
        account["due_row"] += 1
        if row["acts"] == 0 or row["decision_bar"] > last_bar:
            continue
        due = market.open_time[min(row["due_bar"], bars)]
        due += max(row["due_bar"] - bars, 0) * (market.open_time[bars] - market.open_time[bars - 1])
        order = journal.orders[account["orders"]]
        order["order_id"] = account["orders"]
        order["symbol"] = row["symbol"]
        order["decision_time"] = market.open_time[row["decision_bar"] + 1] - 1
        order["due_time"] = due
        order["end_time"] = time
        order["target"] = row["target"]
        order["wanted_quantity"] = math.nan
        order["filled_quantity"] = 0.0
        order["status"] = status
        order["reason"] = BY_STOP if status == CANCELLED else NO_REASON
        order["bars_waited"] = 0
        account["orders"] += 1


@step
def stop_trading(market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int) -> None:
    """After the takeover that ends a run's trading: cancel what waits and what is not due yet."""
    for i in range(book.positions.size):
        if book.positions[i]["pending"] != IDLE:
            end_order(book, journal, i, CANCELLED, BY_STOP)
    write_undue_targets(market, schedule, book, journal, bar, book.account[0]["time"], CANCELLED)


@step
def is_tradable(setup: Setup, market: Market, i: int, bar: int, trade_values: NDArray[np.float64]) -> bool:
    """Return whether orders of symbol ``i`` can fill at a bar: it is listed and, where volumes are known, traded."""
    if math.isnan(trade_values[i, bar]) or math.isnan(market.mark_open[i, bar]):
        return False
    return setup.instruments[i]["has_volume"] == 0 or market.volume[i, bar] != 0.0


@step
def wanted_quantity(setup: Setup, book: Book, i: int, equity: float, value: float) -> float:
    """Return the size that a target asks for: ``target * max(E, 0) / |v|`` toward zero to the lot."""
    target = book.positions[i]["target"]
    if target == 0.0:
        return 0.0
    instrument = setup.instruments[i]
    return floor_to_step(target * max(equity, 0.0) / abs(value), instrument["step_num"], instrument["step_den"])


@step
def available_margin(setup: Setup, book: Book, i: int) -> float:
    """Return what opening position ``i`` can use [settlement currency], at ``value_now`` of the held positions."""
    account = book.account[0]
    free = account["free_wallet"]
    cross = cross_equity(book)
    for j in range(account["cross_count"]):
        held = book.cross[j]
        p = book.positions[held]
        cross -= initial_margin(p["quantity"], p["value_now"], setup.instruments[held]["leverage"])
    available = min(cross, free) if setup.instruments[i]["margin_mode"] == ISOLATED else cross
    return max(available, 0.0)


@step
def margin_need(setup: Setup, i: int, side: float, fill_value: float, mark_value: float) -> float:
    """Return what one unit of an opening order asks of the margin: initial margin, fee, and the loss at the mark."""
    need = opening_margin(setup, i, side, fill_value) + abs(fill_value) * setup.instruments[i]["taker_fee"]
    return need + max(0.0, side * (fill_value - mark_value))


@step
def fitting_increase(
    setup: Setup, book: Book, i: int, wanted: float, fill_value: float, reference: float, mark_value: float
) -> tuple[float, int]:
    """Return how much of an opening part can fill, and why not all of it.

    Parameters
    ----------
    wanted : float
        Signed size of the part.
    fill_value, reference, mark_value : float
        Price with slippage, without, and the mark, in value space.

    Returns
    -------
    quantity : float
        Unsigned.
    reason : int
        `RejectReason`.
    """
    instrument = setup.instruments[i]
    p = book.positions[i]
    step_num = instrument["step_num"]
    step_den = instrument["step_den"]
    side = 1.0 if wanted > 0.0 else -1.0
    size = abs(wanted)
    reason = NO_REASON
    if book.account[0]["free_wallet"] < setup.rules[0]["debt"]:
        return 0.0, BY_DEBT
    cap = position_cap(setup, p["table"], instrument["leverage"])
    if cap < math.inf:
        contracts = setup.tables[p["table"]]["unit"] == UNIT_CONTRACTS
        unit = 1.0 / instrument["contract_size"] if contracts else abs(mark_value)
        room = max(
            add_on_grid(largest_below(cap, unit, step_num, step_den), -abs(p["quantity"]), step_num, step_den), 0.0
        )
        if size > room:
            size = room
            reason = BY_TIER_CAP
    need = margin_need(setup, i, side, fill_value, mark_value)
    available = available_margin(setup, book, i)
    if size * need > available * (1.0 + SLACK):
        reason = BY_MARGIN
        size = 0.0 if setup.rules[0]["reject"] == 1 else floor_to_step(available / need, step_num, step_den)
    if step_num == 0.0 and reason != NO_REASON and size <= CRUMB * abs(wanted):
        size = 0.0
    if size > 0.0 and size / instrument["contract_size"] < instrument["min_quantity"] * (1.0 - SLACK):
        return 0.0, BY_MIN_QUANTITY
    if size > 0.0 and size * abs(reference) < instrument["min_notional"] * (1.0 - SLACK):
        return 0.0, BY_MIN_NOTIONAL
    return size, reason


@step
def size_order(
    setup: Setup,
    book: Book,
    journal: Journal,
    i: int,
    equity: float,
    value: float,
) -> None:
    """Size the pending order of symbol ``i``, fill its reducing part, leave the rest in ``increase``."""
    p = book.positions[i]
    instrument = setup.instruments[i]
    held = p["quantity"]
    wanted = wanted_quantity(setup, book, i, equity, value)
    change = add_on_grid(wanted, -held, instrument["step_num"], instrument["step_den"])
    p["increase"] = 0.0
    if wanted == 0.0:
        change = -held
    is_dust = instrument["step_num"] == 0.0 and abs(change * value) <= -setup.rules[0]["debt"]
    if change == 0.0 or (is_dust and wanted != 0.0):
        if p["order"] >= 0:
            end_order(book, journal, i, DROPPED, BY_LOT)
        else:
            p["pending"] = IDLE
            book.account[0]["pending_count"] -= 1
        return
    write_order(book, journal, i)
    row = journal.orders[p["order"]]
    row["wanted_quantity"] = change
    reducing = 0.0
    if held * change < 0.0:
        reducing = change if abs(change) < abs(held) else -held
    p["increase"] = add_on_grid(change, -reducing, instrument["step_num"], instrument["step_den"])
    if reducing != 0.0:
        side = 1.0 if change > 0.0 else -1.0
        fill_value = slipped(value, side, instrument["slippage"], instrument["sign"])
        reduce_position(setup, book, journal, i, p["order"], reducing, value, fill_value, BY_TARGET)
        row["filled_quantity"] = reducing
    if p["increase"] == 0.0:
        end_order(book, journal, i, FILLED, NO_REASON)


@step
def open_order(
    setup: Setup,
    book: Book,
    journal: Journal,
    i: int,
    value: float,
    mark_value: float,
) -> None:
    """Fill the opening part of the order of symbol ``i`` as far as it fits, and close the order."""
    p = book.positions[i]
    instrument = setup.instruments[i]
    wanted = p["increase"]
    side = 1.0 if wanted > 0.0 else -1.0
    fill_value = slipped(value, side, instrument["slippage"], instrument["sign"])
    size, reason = fitting_increase(setup, book, i, wanted, fill_value, value, mark_value)
    row = journal.orders[p["order"]]
    if size > 0.0:
        p["value_now"] = mark_value
        increase_position(setup, book, journal, i, p["order"], side * size, value, fill_value, BY_TARGET)
    filled = row["filled_quantity"] + side * size
    row["filled_quantity"] = filled
    p["increase"] = 0.0
    status = FILLED
    if filled == 0.0:
        status = DROPPED if reason in (BY_MIN_QUANTITY, BY_MIN_NOTIONAL) else REJECTED
    elif reason != NO_REASON:
        status = CLIPPED
    end_order(book, journal, i, status, reason)


@step
def fill_orders(
    setup: Setup,
    market: Market,
    book: Book,
    journal: Journal,
    bar: int,
    trade_values: NDArray[np.float64],
    mark_values: NDArray[np.float64],
) -> None:
    """Fill what is due or waits: all reducing parts first, then the opening ones, in configured order.

    Parameters
    ----------
    trade_values, mark_values : array, shape (N, T)
        The column at which orders fill and positions are valued: opens, or closes.
    """
    account = book.account[0]
    if account["pending_count"] == 0:
        return
    set_values_now(book, mark_values, bar)
    equity = account_equity(book)
    for i in range(book.positions.size):
        p = book.positions[i]
        p["increase"] = 0.0
        if p["pending"] == IDLE:
            continue
        if not is_tradable(setup, market, i, bar, trade_values):
            write_order(book, journal, i)
            journal.orders[p["order"]]["reason"] = BY_NO_VOLUME
            p["pending"] = WAITING
            journal.orders[p["order"]]["bars_waited"] += 1
            account["bars_waited"] += 1
            continue
        size_order(setup, book, journal, i, equity, trade_values[i, bar])
    for i in range(book.positions.size):
        if book.positions[i]["increase"] != 0.0:
            open_order(setup, book, journal, i, trade_values[i, bar], mark_values[i, bar])


@step
def band_acts(setup: Setup, book: Book, i: int, target: float, equity: float, mark_value: float) -> bool:
    """Return whether a target is far enough from what is held, or zero, or on the other side."""
    p = book.positions[i]
    held = p["quantity"]
    if p["blocked"] == 1:
        if target == p["in_force"]:
            return False
        p["blocked"] = 0
    if target == 0.0:
        return held != 0.0
    if held * target <= 0.0 or equity <= 0.0:
        return True
    return abs(held * abs(mark_value) / equity - target) > setup.rules[0]["band"]


@step
def decide_by_band(setup: Setup, market: Market, schedule: Schedule, book: Book, bar: int) -> None:
    """At a bar's close, say of each target decided there whether it becomes an order."""
    account = book.account[0]
    rows = schedule.targets
    if setup.rules[0]["rebalance"] != BAND:
        return
    set_values_now(book, market.mark_close, bar)
    equity = account_equity(book)
    while account["decision_row"] < rows.size and rows[account["decision_row"]]["decision_bar"] <= bar:
        row = rows[account["decision_row"]]
        account["decision_row"] += 1
        i = row["symbol"]
        row["acts"] = 1 if band_acts(setup, book, i, row["target"], equity, market.mark_close[i, bar]) else 0
        book.positions[i]["in_force"] = row["target"]
