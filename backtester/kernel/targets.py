"""From targets to orders: when one is due, what it asks for, how it fills, what becomes of it.

Source: accounting specification, section 3; ``docs/execution.md``, "Targets".
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import FillReason, Liquidity, OrderKind, OrderStatus, Rebalance, RejectReason
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.account import NO_BAR, account_equity, set_values_now
from backtester.kernel.execution import fill_opening, fill_reducing, opening_part, reducing_part
from backtester.kernel.exits import POSITION_CLOSED
from backtester.kernel.fills import add_on_grid, floor_to_step
from backtester.kernel.resting import (
    CANCELLED,
    DROPPED,
    FILLED,
    REJECTED,
    end_resting,
    end_row,
    expire,
    place,
    set_limit,
    status_of,
    write_order,
)
from backtester.kernel.sizing import NO_REASON, wanted_quantity
from backtester.kernel.state import EXIT_BAR, NONE, PENDING, Book, Journal, Market, Schedule, Setup

BAND = constant(Rebalance.BAND)
BY_TARGET = constant(FillReason.TARGET)
BY_TIME = constant(FillReason.TIME_EXIT)
BY_DRAWDOWN = constant(FillReason.DRAWDOWN_STOP)
TAKER = constant(Liquidity.TAKER)
KIND_MARKET = constant(OrderKind.MARKET)
KIND_LIMIT = constant(OrderKind.LIMIT)
SUPERSEDED = constant(OrderStatus.SUPERSEDED)
BY_LOT = constant(RejectReason.LOT)
BY_NO_VOLUME = constant(RejectReason.NO_VOLUME)
BY_STOP = constant(RejectReason.STOPPED)
BY_NO_STOP = constant(RejectReason.NO_STOP)
NO_REQUEST = constant(NONE)
IDLE = constant(0)
DUE = constant(1)
WAITING = constant(2)
EVERY_ORDER = constant(0)
EXITS_ALONE = constant(1)


@step
def write_target_order(setup: Setup, book: Book, journal: Journal, i: int) -> None:
    """Give the pending order of slot ``i`` its row, if it has none yet."""
    p = book.positions[i]
    if p["order"] >= 0:
        return
    target = p["target"] if p["origin"] == BY_TARGET else math.nan
    kind = KIND_MARKET if p["rungs"] == 0 else KIND_LIMIT
    p["order"] = write_order(
        setup,
        book,
        journal,
        i,
        kind,
        p["origin"],
        NO_REQUEST,
        p["decision_time"],
        p["due_time"],
        target,
        math.nan,
    )


@inlined
def leave(book: Book, i: int) -> None:
    """Let slot ``i`` have no pending order any more."""
    book.marks[PENDING, i] = IDLE
    book.account[0]["pending_count"] -= 1


@step
def end_order(book: Book, journal: Journal, i: int, status: int, reason: int) -> None:
    """Close the pending order of slot ``i`` with what became of it."""
    end_row(book, journal, book.positions[i]["order"], status, reason)
    leave(book, i)


@step
def put_pending(book: Book, journal: Journal, i: int, target: float, origin: int, decision_time: int) -> None:
    """Make a market order pending in slot ``i``; it replaces one that waits."""
    p = book.positions[i]
    if book.marks[PENDING, i] == WAITING:
        end_order(book, journal, i, SUPERSEDED, BY_NO_VOLUME)
    if book.marks[PENDING, i] == IDLE:
        book.account[0]["pending_count"] += 1
    book.marks[PENDING, i] = DUE
    p["target"] = target
    p["origin"] = origin
    p["first_rung"] = 0
    p["rungs"] = 0
    p["order"] = -1
    p["decision_time"] = decision_time
    p["due_time"] = book.account[0]["time"]


@step
def cancel_limits(book: Book, journal: Journal, i: int, status: int, reason: int) -> None:
    """End what rests of a target's limit orders."""
    k = book.positions[i]["first_order"]
    while k != NONE:
        following = book.resting[k]["next"]
        if book.resting[k]["origin"] == BY_TARGET:
            end_resting(book, journal, k, status, reason)
        k = following


@step
def take_due_targets(market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int) -> None:
    """Turn the rows due at a bar into pending orders; a newer one replaces one that waits or rests."""
    account = book.account[0]
    rows = schedule.targets
    while account["due_row"] < rows.size and rows[account["due_row"]]["due_bar"] <= bar:
        row = rows[account["due_row"]]
        account["due_row"] += 1
        if row["acts"] == 0 or account["drawn_down"] == 1:
            continue
        i = row["symbol"]
        cancel_limits(book, journal, i, SUPERSEDED, NO_REASON)
        put_pending(book, journal, i, row["target"], BY_TARGET, market.open_time[row["decision_bar"] + 1] - 1)
        book.positions[i]["first_rung"] = row["first_rung"]
        book.positions[i]["rungs"] = row["rungs"]


@inlined
def is_tradable(setup: Setup, market: Market, i: int, bar: int, trade_values: NDArray[np.float64]) -> bool:
    """Return whether orders of slot ``i`` can fill at a bar: it is listed and, where volumes are known, traded."""
    row = setup.instruments[i]["row"]
    if math.isnan(trade_values[row, bar]) or math.isnan(market.mark_open[row, bar]):
        return False
    return setup.instruments[i]["has_volume"] == 0 or market.volume[row, bar] != 0.0


@step
def take_time_exits(setup: Setup, market: Market, book: Book, journal: Journal, bar: int) -> None:
    """Close positions whose time is over, unless a target acts on them at this open, as soon as they trade."""
    if book.account[0]["holds"] == 0:
        return
    now = book.account[0]["bar_open"]
    for i in range(book.positions.size):
        p = book.positions[i]
        is_over = p["hold_ms"] > 0 and now >= p["opened"] + p["hold_ms"]
        if not is_over or p["quantity"] == 0.0 or book.marks[PENDING, i] != IDLE:
            continue
        if is_tradable(setup, market, i, bar, market.trade_open):
            put_pending(book, journal, i, 0.0, BY_TIME, book.account[0]["time"])


@step
def write_undue_targets(
    setup: Setup,
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
        decided = market.open_time[row["decision_bar"] + 1] - 1
        kind = KIND_MARKET if row["rungs"] == 0 else KIND_LIMIT
        number = write_order(
            setup, book, journal, row["symbol"], kind, BY_TARGET, NO_REQUEST, decided, due, row["target"], math.nan
        )
        journal.orders[number]["end_time"] = time
        journal.orders[number]["status"] = status
        journal.orders[number]["reason"] = BY_STOP if status == CANCELLED else NO_REASON


@step
def stop_trading(
    setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int, reason: int
) -> None:
    """End a run's trading: cancel what waits, what rests and what is not due yet; settings change nothing any more."""
    book.account[0]["setting"] = schedule.settings.size
    for i in range(book.positions.size):
        if book.marks[PENDING, i] != IDLE:
            write_target_order(setup, book, journal, i)
            end_order(book, journal, i, CANCELLED, reason)
        while book.positions[i]["first_order"] != NONE:
            end_resting(book, journal, book.positions[i]["first_order"], CANCELLED, reason)
        book.marks[EXIT_BAR, i] = NO_BAR
    first = book.account[0]["orders"]
    write_undue_targets(setup, market, schedule, book, journal, bar, book.account[0]["time"], CANCELLED)
    for number in range(first, book.account[0]["orders"]):
        journal.orders[number]["reason"] = reason


@step
def place_ladder(
    setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, i: int, change: float, bar: int
) -> None:
    """Put a target's order as limit orders: each rung its share, the last one the rest."""
    p = book.positions[i]
    rules = setup.rules[0]
    instrument = setup.instruments[i]
    side = 1.0 if change > 0.0 else -1.0
    left = abs(change)
    waited = journal.orders[p["order"]]["bars_waited"] if p["order"] >= 0 else 0
    for n in range(p["rungs"]):
        rung = schedule.ladder[p["first_rung"] + n]
        size = left
        if n + 1 < p["rungs"]:
            size = floor_to_step(rung["share"] * abs(change), instrument["step_num"], instrument["step_den"])
            size = min(size, left)
        left = add_on_grid(left, -size, instrument["step_num"], instrument["step_den"])
        if size <= 0.0:
            continue
        if p["order"] < 0:
            write_target_order(setup, book, journal, i)
        number = p["order"]
        p["order"] = -1
        journal.orders[number]["wanted_quantity"] = side * size
        journal.orders[number]["bars_waited"] = waited
        journal.orders[number]["reason"] = BY_NO_VOLUME if waited > 0 else NO_REASON
        waited = 0  # counted once
        k = place(book, journal, i, KIND_LIMIT, BY_TARGET, side, size, number, bar)
        book.resting[k]["post_only"] = rules["post_only"]
        set_limit(setup, book, journal, k, rung["value"])
        if rules["limit_bars"] > 0:
            expire(market, book, k, rules["limit_bars"] * rules["signal_ms"])


@step
def size_order(
    setup: Setup,
    market: Market,
    schedule: Schedule,
    book: Book,
    journal: Journal,
    i: int,
    equity: float,
    bar: int,
    value: float,
) -> None:
    """Size the order of slot ``i``: fill its reducing part, leave the rest in ``increase``; or let it rest."""
    p = book.positions[i]
    instrument = setup.instruments[i]
    held = p["quantity"]
    wanted = wanted_quantity(setup, book, i, equity, value)
    p["increase"] = 0.0
    if math.isnan(wanted):
        write_target_order(setup, book, journal, i)
        end_order(book, journal, i, REJECTED, BY_NO_STOP)
        return
    change = add_on_grid(wanted, -held, instrument["step_num"], instrument["step_den"])
    if wanted == 0.0:
        change = -held
    is_dust = instrument["step_num"] == 0.0 and abs(change * value) <= -setup.rules[0]["debt"]
    if change == 0.0 or (is_dust and wanted != 0.0):
        if p["order"] >= 0:
            end_order(book, journal, i, DROPPED, BY_LOT)
        else:
            leave(book, i)
        return
    if p["rungs"] > 0:
        place_ladder(setup, market, schedule, book, journal, i, change, bar)
        leave(book, i)
        return
    write_target_order(setup, book, journal, i)
    row = journal.orders[p["order"]]
    row["wanted_quantity"] = change
    reducing = reducing_part(book, i, change)
    p["increase"] = opening_part(setup, i, change, reducing)
    if reducing != 0.0:
        fill_reducing(setup, market, book, journal, i, p["order"], bar, reducing, value, math.nan, TAKER, p["origin"])
        row["filled_quantity"] = reducing
        if p["origin"] != BY_TARGET:
            p["blocked"] = 1
            cancel_limits(book, journal, i, CANCELLED, POSITION_CLOSED)
    if p["increase"] == 0.0:
        end_order(book, journal, i, FILLED, NO_REASON)


@step
def open_order(
    setup: Setup,
    market: Market,
    book: Book,
    journal: Journal,
    i: int,
    bar: int,
    value: float,
    mark_value: float,
) -> None:
    """Fill the opening part of the order of slot ``i`` as far as it fits, and close the order."""
    p = book.positions[i]
    wanted = p["increase"]
    side = 1.0 if wanted > 0.0 else -1.0
    row = journal.orders[p["order"]]
    size, reason = fill_opening(
        setup, market, book, journal, i, p["order"], bar, wanted, value, mark_value, math.nan, TAKER, BY_TARGET
    )
    filled = row["filled_quantity"] + side * size
    row["filled_quantity"] = filled
    p["increase"] = 0.0
    end_order(book, journal, i, status_of(filled, filled if reason == NO_REASON else math.nan, reason), reason)


@step
def fill_targets(
    setup: Setup,
    market: Market,
    schedule: Schedule,
    book: Book,
    journal: Journal,
    bar: int,
    trade_values: NDArray[np.float64],
    mark_values: NDArray[np.float64],
    only: int,
) -> None:
    """Fill what is due or waits: all reducing parts first, then the opening ones, in configured order.

    Parameters
    ----------
    trade_values, mark_values : array, shape (N, T)
        The column at which orders fill and positions are valued: opens, or closes.
    only : int
        ``EXITS_ALONE`` leaves targets out.
    """
    account = book.account[0]
    if account["pending_count"] == 0:
        return
    set_values_now(book, mark_values, bar)
    equity = account_equity(book)
    for i in range(book.positions.size):
        if book.marks[PENDING, i] == IDLE:
            continue
        p = book.positions[i]
        p["increase"] = 0.0
        if only == EXITS_ALONE and p["origin"] == BY_TARGET:
            continue
        if not is_tradable(setup, market, i, bar, trade_values):
            write_target_order(setup, book, journal, i)
            journal.orders[p["order"]]["reason"] = BY_NO_VOLUME
            book.marks[PENDING, i] = WAITING
            journal.orders[p["order"]]["bars_waited"] += 1
            account["bars_waited"] += 1
            continue
        size_order(setup, market, schedule, book, journal, i, equity, bar, trade_values[p["row"], bar])
    for i in range(book.positions.size):
        p = book.positions[i]
        if book.marks[PENDING, i] != IDLE and p["increase"] != 0.0:
            open_order(setup, market, book, journal, i, bar, trade_values[p["row"], bar], mark_values[p["row"], bar])


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
        mark_value = market.mark_close[book.positions[i]["row"], bar]
        row["acts"] = 1 if band_acts(setup, book, i, row["target"], equity, mark_value) else 0
        book.positions[i]["in_force"] = row["target"]
