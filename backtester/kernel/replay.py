"""The bar loop: the order of events, and nothing else.

Source: accounting specification, section 5, and ``docs/execution.md``. Steps are numbered as there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import FillReason, OrderStatus, Rebalance, RejectReason
from backtester.kernel._jit import constant, entry, inlined, step
from backtester.kernel.account import (
    clear_debt,
    record_positions,
    set_values_now,
    settle_funding,
    stamp,
)
from backtester.kernel.costs import set_engine_slippage
from backtester.kernel.exits import apply_setting, drop_exits
from backtester.kernel.lines import is_safe_between
from backtester.kernel.loop import DONE, REQUESTED, LoopContext
from backtester.kernel.marking import count_safe, held_count, mark_columns
from backtester.kernel.movements import apply_transfers, book_own_fill, enter_holdings, settle_delistings
from backtester.kernel.requests import carry_out_due
from backtester.kernel.resting import sleep_from
from backtester.kernel.state import BLOCK, NO_TIER_BOUND, PENDING, Book, Columns, Journal, Market, Schedule, Setup
from backtester.kernel.targets import (
    EVERY_ORDER,
    EXITS_ALONE,
    IDLE,
    decide_by_band,
    fill_targets,
    is_tradable,
    put_pending,
    stop_trading,
    take_due_targets,
    take_time_exits,
    write_undue_targets,
)
from backtester.kernel.triggers import attach_at_point, expire_orders, fill_market_orders, fire_at_point
from backtester.kernel.venue_events import has_venue_event, strike_at_close, strike_at_open
from backtester.kernel.views import show_bar, show_positions
from backtester.kernel.walk import walk_bar, walk_coarse_bar, walk_own_bar

BAND = constant(Rebalance.BAND)
STATUS_PENDING = constant(OrderStatus.PENDING)
BY_DRAWDOWN = constant(FillReason.DRAWDOWN_STOP)
STOPPED = constant(RejectReason.STOPPED)
DRAWN_DOWN = constant(RejectReason.DRAWDOWN)
NO_TIME = constant(-1)
AT_OPEN = constant(0)
INSIDE = constant(1)
AT_CLOSE = constant(1)
NO = constant(0)
YES = constant(1)
NEVER = constant(1 << 62)


# -- funding, and trades executed elsewhere --------------------------------------------------------------------------


@step
def next_settlement(schedule: Schedule, book: Book, bar: int, inside: int) -> int:
    """Return the time of the next settlement at a bar's open or inside it; ``NEVER`` where there is none."""
    row = book.account[0]["settlement"]
    rows = schedule.settlements
    if row >= rows.size or rows[row]["bar"] != bar or rows[row]["inside"] != inside:
        return NEVER
    return int(rows[row]["time"])


@step
def next_own_fill(schedule: Schedule, book: Book, bar: int) -> int:
    """Return the time of the next own fill of a bar; ``NEVER`` where there is none."""
    row = book.account[0]["own_fill"]
    rows = schedule.own_fills
    if row >= rows.size or rows[row]["bar"] > bar:
        return NEVER
    return int(rows[row]["time"])


@step
def settle_next(
    setup: Setup, schedule: Schedule, book: Book, journal: Journal, bar: int, marks: NDArray[np.float64]
) -> None:
    """Pay the next settlement; ``value_now`` of the held positions holds the marks."""
    account = book.account[0]
    row = schedule.settlements[account["settlement"]]
    account["settlement"] += 1
    i = row["symbol"]
    p = book.positions[i]
    if p["quantity"] == 0.0:
        return
    value = marks[p["row"], bar] if np.isnan(row["value"]) else row["value"]
    stamp(book, row["time"], bar)
    settle_funding(setup, book, journal, i, row["rate"], value)
    p["value_now"] = marks[p["row"], bar]


@step
def settle_due(
    setup: Setup,
    schedule: Schedule,
    book: Book,
    journal: Journal,
    bar: int,
    inside: int,
    marks: NDArray[np.float64],
) -> None:
    """Pay the settlements at a bar's open (step 2), or inside it, own fills between them (step 4)."""
    is_marked = False
    while True:
        funding = next_settlement(schedule, book, bar, inside)
        own = next_own_fill(schedule, book, bar) if inside == INSIDE else NEVER
        if funding == NEVER and own == NEVER:
            return
        if funding <= own:
            if not is_marked:
                set_values_now(book, marks, bar)
                is_marked = True
            settle_next(setup, schedule, book, journal, bar, marks)
        else:
            stamp(book, own, bar)
            book_own_fill(setup, schedule, book, journal)
            is_marked = False  # it may have opened a position


# -- parts of a bar --------------------------------------------------------------------------------------------------


@inlined
def switch_tables(schedule: Schedule, book: Book, bar: int) -> None:
    """Put the tier tables in force that begin by a bar's open; open positions are judged by them too."""
    account = book.account[0]
    rows = schedule.switches
    while account["switch"] < rows.size and rows[account["switch"]]["bar"] <= bar:
        row = rows[account["switch"]]
        book.positions[row["symbol"]]["table"] = row["table"]
        book.lines[row["symbol"]]["is_stale"] = 1
        account["switch"] += 1


@step
def apply_settings(setup: Setup, schedule: Schedule, book: Book, journal: Journal, bar: int) -> None:
    """Put the settings in force that are due by a bar, and cancel the attached orders that they switch off."""
    account = book.account[0]
    rows = schedule.settings
    first = account["setting"]
    while account["setting"] < rows.size and rows[account["setting"]]["due_bar"] <= bar:
        row = rows[account["setting"]]
        account["setting"] += 1
        apply_setting(book, row["symbol"], row["setting"], row["rung"], row["value"])
    if account["setting"] > first:
        drop_exits(setup, book, journal)


@inlined
def remember_quantities(market: Market, book: Book, bar: int, is_after_orders: int) -> None:
    """Keep the quantities that stood after the orders at the coarse mark bar's open.

    Quiet bars are not visited: the first visit inside a mark bar finds them unchanged.
    """
    if market.coarse_bar.size == 0 or book.account[0]["coarse_bar"] == market.coarse_bar[bar]:
        return
    is_first = bar == 0 or market.coarse_bar[bar - 1] != market.coarse_bar[bar]
    if is_first and is_after_orders == NO:
        return
    book.account[0]["coarse_bar"] = market.coarse_bar[bar]
    for i in range(book.positions.size):
        book.positions[i]["quantity_before"] = book.positions[i]["quantity"]


@step
def open_bar(setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int) -> None:
    """Take step 1: transfers, rules, funding due at the open."""
    open_time = market.open_time[bar]
    book.account[0]["bar_open"] = open_time
    stamp(book, open_time, bar)
    if bar == 0 and setup.rules[0]["has_holdings"] == YES:
        enter_holdings(setup, market, book, journal)
    apply_transfers(schedule, market, book, journal, bar)
    remember_quantities(market, book, bar, NO)
    switch_tables(schedule, book, bar)
    settle_due(setup, schedule, book, journal, bar, AT_OPEN, market.mark_open)


@step
def close_drawn_down(setup: Setup, market: Market, book: Book, journal: Journal, bar: int) -> None:
    """After the drawdown stop: close whatever is held as soon as it trades."""
    account = book.account[0]
    if account["drawn_down"] == NO:
        return
    for i in range(book.positions.size):
        p = book.positions[i]
        if p["quantity"] == 0.0 or book.marks[PENDING, i] != IDLE:
            continue
        if is_tradable(setup, market, i, bar, market.trade_open):
            put_pending(book, journal, i, 0.0, BY_DRAWDOWN, account["time"])


@step
def trade_at_open(
    setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int, at_close: bool
) -> None:
    """Take step 3: what is due at the open, and what the open has passed; nothing after the bar that ended trading."""
    if 0 <= book.account[0]["stopped_bar"] < bar:
        return
    close_drawn_down(setup, market, book, journal, bar)
    expire_orders(book, journal, bar)
    if not at_close:
        apply_settings(setup, schedule, book, journal, bar)
    carry_out_due(setup, market, book, journal, bar)
    if not at_close:
        take_due_targets(market, schedule, book, journal, bar)
    take_time_exits(setup, market, book, journal, bar)
    only = EXITS_ALONE if at_close else EVERY_ORDER
    fill_targets(setup, market, schedule, book, journal, bar, market.trade_open, market.mark_open, only)
    fill_market_orders(setup, market, book, journal, bar, market.trade_open, market.mark_open, market.index_open)
    fire_at_point(setup, market, book, journal, bar, market.trade_open, market.path_open, market.index_open)


@step
def trade_at_close(setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int) -> None:
    """Under ``fill = "close"``: what was decided at this very close fills there."""
    decide_by_band(setup, market, schedule, book, bar)
    apply_settings(setup, schedule, book, journal, bar)
    take_due_targets(market, schedule, book, journal, bar)
    fill_targets(setup, market, schedule, book, journal, bar, market.trade_close, market.mark_close, EVERY_ORDER)
    attach_at_point(
        setup, market, book, journal, bar, bar + 1, market.trade_close, market.path_close, market.index_close
    )


@step
def begin_bar(setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int) -> None:
    """Take steps 1 to 4: what happens before the bar's path is walked."""
    open_bar(setup, market, schedule, book, journal, bar)
    begin_after_funding(setup, market, schedule, book, journal, bar)


@step
def begin_after_funding(
    setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int
) -> None:
    """Take steps 2 to 4: what the gap to the open liquidates, orders at the open, funding due inside the bar."""
    account = book.account[0]
    at_close = setup.rules[0]["fill_at_close"] == 1
    stamp(book, market.open_time[bar], bar)
    if held_count(book) > 0 and not is_safe_between(setup, book, market.path_open, market.path_open, bar):
        set_engine_slippage(setup, market, book, bar)
        walk_own_bar(setup, market, book, journal, bar, YES)
    trade_at_open(setup, market, schedule, book, journal, bar, at_close)
    remember_quantities(market, book, bar, YES)
    if account["touched"] == YES:
        set_values_now(book, market.mark_open, bar)
        record_positions(setup, book, journal)
    own_fills = account["own_fill"]
    settle_due(setup, schedule, book, journal, bar, INSIDE, market.mark_close)
    if account["own_fill"] > own_fills:
        stamp(book, schedule.own_fills[account["own_fill"] - 1]["time"], bar)
        attach_at_point(setup, market, book, journal, bar, bar, market.trade_open, market.path_open, market.index_open)


@step
def walk_path(setup: Setup, market: Market, book: Book, journal: Journal, bar: int) -> None:
    """Take step 5: the path of a bar, and that of a coarser mark bar which ends with it."""
    account = book.account[0]
    stamp(book, market.open_time[bar + 1] - 1, bar)
    if held_count(book) > 0 or account["resting_count"] > 0:
        walk_bar(setup, market, book, journal, bar)
    if market.coarse_bar.size > 0 and market.coarse_ends[bar] == 1 and held_count(book) > 0:
        set_engine_slippage(setup, market, book, bar)
        walk_coarse_bar(setup, market, book, journal, bar)


@step
def close_bar(setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int) -> None:
    """Take what follows the path up to the mark at the close."""
    account = book.account[0]
    at_close = setup.rules[0]["fill_at_close"] == 1
    if at_close:
        trade_at_close(setup, market, schedule, book, journal, bar)
    settle_delistings(setup, market, schedule, book, journal, bar)
    clear_debt(book, journal)
    if not at_close:
        decide_by_band(setup, market, schedule, book, bar)
    if account["touched"] == YES:
        set_values_now(book, market.mark_close, bar)
        record_positions(setup, book, journal)


@step
def walk_to_close(setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int) -> None:
    """Take step 5 and what follows it up to the mark at the close, of a run without events of the venue."""
    walk_path(setup, market, book, journal, bar)
    close_bar(setup, market, schedule, book, journal, bar)


@step
def end_bar(setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int) -> None:
    """After the mark: a bracket binds no longer, and a run whose trading ended in this bar is told so."""
    account = book.account[0]
    if account["stepped"] == YES:
        account["stepped"] = NO
        for i in range(book.positions.size):
            p = book.positions[i]
            if p["tier_bound"] != NO_TIER_BOUND:
                p["tier_bound"] = NO_TIER_BOUND
                book.lines[i]["is_stale"] = 1
            p["stepped"] = 0
    if account["stopped_bar"] == bar:
        stop_trading(setup, market, schedule, book, journal, bar, STOPPED)


@step
def replay_bar(
    setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, columns: Columns, bar: int
) -> None:
    """One bar with everything that can happen in it, in order.

    Records at the open carry its time; on the path and at the close they carry the last millisecond of the bar, since
    the order inside a bar is a model and not a time.
    """
    if book.account[0]["begun"] != bar:
        open_bar(setup, market, schedule, book, journal, bar)
        if has_venue_event(schedule, book, bar, AT_OPEN):
            strike_at_open(setup, market, schedule, book, journal, columns, bar)
        begin_after_funding(setup, market, schedule, book, journal, bar)
    walk_path(setup, market, book, journal, bar)
    if has_venue_event(schedule, book, bar, AT_CLOSE):
        strike_at_close(setup, market, schedule, book, journal, columns, bar)
    close_bar(setup, market, schedule, book, journal, bar)
    mark_columns(setup, market, book, columns, bar, bar + 1)
    end_bar(setup, market, schedule, book, journal, bar)


# -- between the bars ------------------------------------------------------------------------------------------------


@step
def next_event(setup: Setup, market: Market, schedule: Schedule, book: Book, bar: int) -> int:
    """Return the next bar, from ``bar`` on, in which something is scheduled; the number of bars where nothing is."""
    account = book.account[0]
    if account["pending_count"] > 0 or account["market_count"] > 0:
        return bar
    if account["drawn_down"] == YES and account["stopped_bar"] < 0 and held_count(book) + account["spot_count"] > 0:
        return bar
    sleep_from(setup, market, book, bar)
    event = min(market.open_time.size - 1, account["wake"])
    if account["due_row"] < schedule.targets.size:
        event = min(event, schedule.targets[account["due_row"]]["due_bar"])
    if setup.rules[0]["rebalance"] == BAND and account["decision_row"] < schedule.targets.size:
        event = min(event, schedule.targets[account["decision_row"]]["decision_bar"])
    if account["settlement"] < schedule.settlements.size:
        event = min(event, schedule.settlements[account["settlement"]]["bar"])
    if account["switch"] < schedule.switches.size:
        event = min(event, schedule.switches[account["switch"]]["bar"])
    if account["setting"] < schedule.settings.size:
        event = min(event, schedule.settings[account["setting"]]["due_bar"])
    if account["transfer"] < schedule.transfers.size:
        event = min(event, schedule.transfers[account["transfer"]]["bar"])
    if account["own_fill"] < schedule.own_fills.size:
        event = min(event, schedule.own_fills[account["own_fill"]]["bar"])
    if account["delisting"] < schedule.delistings.size:
        event = min(event, schedule.delistings[account["delisting"]]["bar"])
    if account["venue_event"] < schedule.venue_events.size:
        event = min(event, schedule.venue_events[account["venue_event"]]["bar"])
    if account["request"] < account["requested"]:
        event = min(event, book.requests[account["request"] % book.requests.size]["due_bar"])
    if setup.rules[0]["has_holdings"] == YES and bar == 0:
        event = 0
    if market.coarse_bar.size > 0 and held_count(book) > 0:
        t = bar
        while t < event and market.coarse_ends[t] == 0:
            t += 1
        event = t
    return max(event, bar)


@step
def find_drawdown(setup: Setup, book: Book, columns: Columns, start: int, stop: int) -> int:
    """Return the first of some marked bars at whose close the drawdown stop strikes, else ``stop``; keeps the peak."""
    account = book.account[0]
    floor = 1.0 - setup.rules[0]["drawdown_stop"]
    peak = account["peak"]
    for t in range(start, stop):
        peak = max(peak, columns.equity[t])
        if columns.equity[t] <= floor * peak:
            account["peak"] = peak
            return t
    account["peak"] = peak
    return stop


@step
def stop_by_drawdown(setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int) -> None:
    """At a close: cancel all orders and close every position at the next open at which it trades."""
    account = book.account[0]
    stamp(book, market.open_time[bar + 1] - 1, bar)
    stop_trading(setup, market, schedule, book, journal, bar, DRAWN_DOWN)
    account["drawn_down"] = 1
    account["request"] = account["requested"]


@step
def watch_closes(
    setup: Setup,
    market: Market,
    schedule: Schedule,
    book: Book,
    journal: Journal,
    columns: Columns,
    start: int,
    stop: int,
) -> int:
    """Test the drawdown stop on bars just marked; return the bar after the one at which it strikes, else ``stop``."""
    if setup.rules[0]["drawdown_stop"] == 0.0 or book.account[0]["drawn_down"] == 1:
        return stop
    struck = find_drawdown(setup, book, columns, start, stop)
    if struck == stop:
        return stop
    stop_by_drawdown(setup, market, schedule, book, journal, struck)
    return struck + 1


@entry
def take_requests(book: Book, loop: LoopContext) -> None:
    """Take over what an on_bar function asked for, and tell it how far its requests were carried out."""
    book.account[0]["requested"] = loop.clock[REQUESTED]
    loop.clock[DONE] = book.account[0]["request"]


@step
def call_until_asked(
    setup: Setup,
    market: Market,
    schedule: Schedule,
    book: Book,
    columns: Columns,
    loop: LoopContext,
    on_bar: Any,
    stop: int,
) -> int:
    """Call the on_bar function at the signal bars that end before ``stop``, until it asks for something.

    Returns
    -------
    int
        The bar after the one in which it asked, else ``stop``.
    """
    account = book.account[0]
    while account["call"] < schedule.calls.size and schedule.calls[account["call"]] < stop:
        bar = schedule.calls[account["call"]]
        show_bar(market, schedule, book, columns, loop)
        if account["views"] == 1:
            show_positions(setup, book, loop)
        on_bar(loop)
        account["call"] += 1
        if loop.clock[REQUESTED] != account["requested"]:
            take_requests(book, loop)
            return int(bar + 1)
    return stop


@entry
def has_room(setup: Setup, book: Book, journal: Journal) -> bool:
    """Return whether journal and table of orders can take one more bar."""
    account = book.account[0]
    slots = book.positions.size
    asked = min(account["requested"] - account["request"], book.requests.size)
    orders = account["resting_count"] + asked
    rows = setup.rules[0]["rows_per_bar"] + 16 * orders
    return (
        account["fills"] + rows <= journal.fills.size
        and account["funding"] + setup.rules[0]["rows_per_bar"] <= journal.funding.size
        and account["liquidations"] + setup.rules[0]["rows_per_bar"] <= journal.liquidations.size
        and account["ledger"] + 4 * rows <= journal.ledger.size
        and account["positions"] + rows <= journal.positions.size
        and account["orders"] + rows <= journal.orders.size
        and orders + 12 * slots <= book.resting.size
    )


@entry
def replay(
    setup: Setup,
    market: Market,
    schedule: Schedule,
    book: Book,
    journal: Journal,
    columns: Columns,
    loop: LoopContext,
    on_bar: Any,
    start: int,
    stop: int,
) -> int:
    """Replay bars ``[start, stop)`` through the account.

    Parameters
    ----------
    setup, market, schedule
        Inputs, checked by ``engine.prepare``.
    book, journal, columns
        The account and its records, changed in place; a call goes on where the one before stopped.
    loop, on_bar
        What an ``on_bar`` function is called with, and the function; not called unless the rules say so.
    start, stop : int
        Bars.

    Returns
    -------
    int
        The next bar: ``stop``, or an earlier one where the journal must grow first.
    """
    account = book.account[0]
    bar = start
    width = BLOCK
    while bar < stop:
        limit = min(next_event(setup, market, schedule, book, bar), stop)
        is_quiet = True
        asked = account["requested"]
        struck = account["drawn_down"]
        while bar < limit and is_quiet:
            block = min(bar + width, limit)
            safe = bar + count_safe(setup, market, book, columns, bar, block)
            mark_columns(setup, market, book, columns, bar, safe)
            seen = watch_closes(setup, market, schedule, book, journal, columns, bar, safe)
            if setup.rules[0]["has_loop"] == YES:
                called = call_until_asked(setup, market, schedule, book, columns, loop, on_bar, seen)
                width = min(2 * width, BLOCK) if called == seen else max(called - bar, 1)
                seen = called
            is_quiet = seen == block
            bar = seen
            if account["requested"] != asked or account["drawn_down"] != struck:
                break
        if bar >= stop:
            break
        if account["requested"] != asked or account["drawn_down"] != struck:
            continue  # what comes next has changed
        if not has_room(setup, book, journal):
            return bar
        replay_bar(setup, market, schedule, book, journal, columns, bar)
        watch_closes(setup, market, schedule, book, journal, columns, bar, bar + 1)
        if setup.rules[0]["has_loop"] == YES:
            call_until_asked(setup, market, schedule, book, columns, loop, on_bar, bar + 1)
        bar += 1
    return bar


@entry
def finish(setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal) -> None:
    """After the last bar: write the orders that never came due. The journal must have room for every row left."""
    write_undue_targets(setup, market, schedule, book, journal, market.open_time.size - 1, NO_TIME, STATUS_PENDING)
