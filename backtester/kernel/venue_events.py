"""What a venue does to an account that did nothing: it deleverages positions and claws back profit.

Source: accounting specification, section 7; ``docs/execution.md``, "Deleveraging and shared losses".
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import FillReason, LedgerKind, Liquidity, MarginMode, VenueEventKind
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.account import (
    DUST,
    WHOLE_ACCOUNT,
    account_equity,
    cross_equity,
    post,
    reduce_position,
    set_values_now,
    stamp,
)
from backtester.kernel.exits import POSITION_CLOSED, detach
from backtester.kernel.fills import floor_to_step
from backtester.kernel.resting import CANCELLED
from backtester.kernel.state import PENDING, REFRESH, Book, Columns, Journal, Market, Schedule, Setup
from backtester.kernel.targets import WAITING, cancel_limits, end_order
from backtester.kernel.triggers import attach_at_point
from backtester.kernel.value import unrealized_pnl, value_to_price

ISOLATED = constant(MarginMode.ISOLATED)
DELEVERAGE = constant(VenueEventKind.DELEVERAGE)
AUTO_DELEVERAGE = constant(LedgerKind.AUTO_DELEVERAGE)
SOCIALIZED_LOSS = constant(LedgerKind.SOCIALIZED_LOSS)
TRANSFER = constant(LedgerKind.TRANSFER)
BY_DELEVERAGING = constant(FillReason.AUTO_DELEVERAGE)
TAKER = constant(Liquidity.TAKER)
NO_ORDER = constant(-1)
NO_FEE = 0.0
WHOLE = 1.0


@inlined
def has_venue_event(schedule: Schedule, book: Book, bar: int, at_close: int) -> bool:
    """Return whether the next of the venue's events is one of a bar's open, or of its close."""
    row = book.account[0]["venue_event"]
    rows = schedule.venue_events
    return bool(row < rows.size and rows[row]["bar"] == bar and rows[row]["at_close"] == at_close)


@step
def bearable_quantity(setup: Setup, book: Book, i: int, wanted: float, value: float) -> float:
    """Return how much of a closing at a value the balance behind position ``i`` stays at or above zero for.

    Parameters
    ----------
    wanted : float
        Units to close, at most what is held.
    value : float
        Deleveraging price in value space; ``value_now`` of the held positions holds their marks.

    Notes
    -----
    An isolated margin is released in proportion, so it bears the whole or nothing.
    """
    p = book.positions[i]
    side = 1.0 if p["quantity"] > 0.0 else -1.0
    loss = side * (p["value_now"] - value)
    if loss <= 0.0:
        return wanted
    if setup.instruments[i]["margin_mode"] == ISOLATED:
        left = p["margin"] + unrealized_pnl(p["quantity"], p["entry_value"], value)
        return wanted if left >= 0.0 else 0.0
    most = max(cross_equity(book), 0.0) / loss
    if wanted <= most:
        return wanted
    instrument = setup.instruments[i]
    return float(floor_to_step(most, instrument["step_num"], instrument["step_den"]))


@step
def leave_flat(book: Book, journal: Journal, i: int) -> None:
    """After position ``i`` was closed whole: nothing that waits for it opens it again, until a target differs."""
    detach(book, journal, i)
    if book.marks[PENDING, i] == WAITING:
        end_order(book, journal, i, CANCELLED, POSITION_CLOSED)
    cancel_limits(book, journal, i, CANCELLED, POSITION_CLOSED)
    book.marks[REFRESH, i] = 0
    book.positions[i]["blocked"] = 1


@step
def deleverage(setup: Setup, schedule: Schedule, book: Book, journal: Journal) -> None:
    """Close part of a position at the venue's price: profit at the mark, the difference to it by itself, no fee."""
    account = book.account[0]
    row = schedule.venue_events[account["venue_event"]]
    i = row["symbol"]
    p = book.positions[i]
    held = p["quantity"]
    if held == 0.0 or held * row["side"] < 0.0:
        account["deleverages_idle"] += 1
        return
    instrument = setup.instruments[i]
    side = 1.0 if held > 0.0 else -1.0
    if not math.isnan(row["mark"]):
        p["value_now"] = row["mark"]
    mark = p["value_now"]
    value = mark if math.isnan(row["value"]) else row["value"]
    wanted = abs(held)
    if not math.isnan(row["quantity"]):
        wanted = min(row["quantity"], wanted)
    elif row["fraction"] < WHOLE:
        wanted = floor_to_step(row["fraction"] * wanted, instrument["step_num"], instrument["step_den"])
    size = bearable_quantity(setup, book, i, wanted, value)
    if size < wanted or wanted == 0.0:
        account["deleverages_cut"] += 1
    if size <= 0.0:
        return
    reduce_position(setup, book, journal, i, NO_ORDER, -side * size, mark, mark, NO_FEE, TAKER, BY_DELEVERAGING)
    difference = side * size * (value - mark)
    account["free_wallet"] += difference
    post(book, journal, i, AUTO_DELEVERAGE, difference)
    fill = journal.fills[account["fills"] - 1]
    fill["price"] = value_to_price(value, instrument["sign"])
    fill["notional"] = size * abs(value)
    fill["slippage_paid"] = 0.0 - difference
    if p["quantity"] == 0.0:
        leave_flat(book, journal, i)


@step
def net_profit(schedule: Schedule, book: Book, journal: Journal, columns: Columns, equity: float) -> float:
    """Return what the account has won since a clawback's period began [settlement currency].

    Transfers are no profit, and what earlier clawbacks took is no loss.
    """
    account = book.account[0]
    since = schedule.venue_events[account["venue_event"]]["since"]
    first = account["period_row"]
    profit = equity - account["period_equity"]
    if since >= 0:
        first = 0
        profit = equity - (columns.equity[since - 1] if since > 0 else account["first_equity"])
    k = account["ledger"] - 1
    while k >= first and journal.ledger[k]["bar"] >= since:
        kind = journal.ledger[k]["kind"]
        if kind in (TRANSFER, SOCIALIZED_LOSS):
            profit -= journal.ledger[k]["amount"]
        k -= 1
    return float(profit)


@step
def claw_back(schedule: Schedule, book: Book, journal: Journal, columns: Columns) -> None:
    """Take a share of a period's profit: never more than the profit, and never more than is there."""
    account = book.account[0]
    row = schedule.venue_events[account["venue_event"]]
    equity = account_equity(book)
    profit = max(net_profit(schedule, book, journal, columns, equity), 0.0)
    asked = row["rate"] * profit if math.isnan(row["amount"]) else row["amount"]
    paid = max(min(asked, profit, equity), 0.0)
    if paid < asked * (1.0 - DUST):  # an account that lost all before has won what it has, to the last bit or not
        account["clawbacks_cut"] += 1
    if paid > 0.0:
        account["free_wallet"] -= paid
        post(book, journal, WHOLE_ACCOUNT, SOCIALIZED_LOSS, -paid)
    account["period_equity"] = equity - paid
    account["period_row"] = account["ledger"]


@step
def strike(
    setup: Setup,
    schedule: Schedule,
    book: Book,
    journal: Journal,
    columns: Columns,
    bar: int,
    at_close: int,
    marks: NDArray[np.float64],
) -> None:
    """Let the venue's events of a bar's open, or of its close, happen in order of their times."""
    account = book.account[0]
    while has_venue_event(schedule, book, bar, at_close):
        set_values_now(book, marks, bar)
        if schedule.venue_events[account["venue_event"]]["kind"] == DELEVERAGE:
            deleverage(setup, schedule, book, journal)
        else:
            claw_back(schedule, book, journal, columns)
        account["venue_event"] += 1


@step
def strike_at_open(
    setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, columns: Columns, bar: int
) -> None:
    """Let the events at a bar's open happen at the mark open: after funding, before the liquidation check."""
    stamp(book, market.open_time[bar], bar)
    strike(setup, schedule, book, journal, columns, bar, 0, market.mark_open)


@step
def strike_at_close(
    setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, columns: Columns, bar: int
) -> None:
    """Let the events inside a bar happen at its mark close, after the path; what is attached follows."""
    strike(setup, schedule, book, journal, columns, bar, 1, market.mark_close)
    attach_at_point(
        setup, market, book, journal, bar, bar + 1, market.trade_close, market.path_close, market.index_close
    )
