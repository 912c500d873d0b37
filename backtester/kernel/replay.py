"""The bar loop: the order of events, and nothing else.

Source: accounting specification, section 5. Steps are numbered as there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import Intrabar, JointPath, MarginMode, OrderStatus, Rebalance
from backtester.kernel._jit import constant, entry, inlined, step
from backtester.kernel.account import (
    clear_debt,
    cross_equity,
    cross_requirement,
    record_positions,
    set_values_now,
    settle_funding,
    stamp,
)
from backtester.kernel.groups import CROSS_GROUP
from backtester.kernel.liquidation import liquidate
from backtester.kernel.marking import count_safe, held_at, held_count, mark_columns
from backtester.kernel.orders import decide_by_band, fill_orders, stop_trading, take_due_targets, write_undue_targets
from backtester.kernel.path import NEVER, first_trigger
from backtester.kernel.state import BLOCK, NO_TIER_BOUND, Book, Columns, Journal, Market, Schedule, Setup

ISOLATED = constant(MarginMode.ISOLATED)
ADVERSE = constant(Intrabar.ADVERSE)
COLOR = constant(Intrabar.COLOR)
CLOSE_ONLY = constant(Intrabar.CLOSE)
COMMON = constant(JointPath.COMMON)
WORST = constant(JointPath.WORST)
BAND = constant(Rebalance.BAND)
PENDING = constant(OrderStatus.PENDING)
NO_TIME = constant(-1)
UNDISPUTED = constant(0)
MARKS = constant(0)
TRADES = constant(1)
AT_OPEN = constant(0)
INSIDE = constant(1)
NO = constant(0)
ONE = constant(1)
YES = constant(1)
NO_GROUP = constant(-2)


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
    """Pay the settlements at a bar's open (step 1), or inside it (step 4)."""
    account = book.account[0]
    rows = schedule.settlements
    is_marked = False
    while account["settlement"] < rows.size:
        row = rows[account["settlement"]]
        if row["bar"] != bar or row["inside"] != inside:
            return
        account["settlement"] += 1
        i = row["symbol"]
        p = book.positions[i]
        if p["quantity"] == 0.0:
            continue
        if not is_marked:
            set_values_now(book, marks, bar)
            is_marked = True
        value = marks[i, bar] if np.isnan(row["value"]) else row["value"]
        stamp(book, row["time"], bar)
        settle_funding(setup, book, journal, i, row["rate"], value)
        p["value_now"] = marks[i, bar]


@inlined
def switch_tables(schedule: Schedule, book: Book, bar: int) -> None:
    """Put the tier tables in force that begin by a bar's open; open positions are judged by them too."""
    account = book.account[0]
    rows = schedule.switches
    while account["switch"] < rows.size and rows[account["switch"]]["bar"] <= bar:
        row = rows[account["switch"]]
        book.positions[row["symbol"]]["table"] = row["table"]
        account["switch"] += 1


@step
def cross_excess(setup: Setup, book: Book, values: NDArray[np.float64], bar: int) -> float:
    """Return the cross balance less its requirement with every mark in one column of a bar."""
    set_values_now(book, values, bar)
    return cross_equity(book) - cross_requirement(setup, book)


@step
def choose_order(
    setup: Setup,
    book: Book,
    joint: int,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    bar: int,
) -> None:
    """Say for each held position whether its path visits the low first.

    Parameters
    ----------
    joint : int
        `JointPath` of several cross positions under ``adverse``.
    """
    account = book.account[0]
    for j in range(held_count(book)):
        i = held_at(book, j)
        p = book.positions[i]
        p["low_first"] = p["up"] if setup.rules[0]["intrabar"] == COLOR else int(p["quantity"] > 0.0)
    if setup.rules[0]["intrabar"] == ADVERSE and joint == COMMON and account["cross_count"] > 1:
        low_first = int(cross_excess(setup, book, low, bar) <= cross_excess(setup, book, high, bar))
        for j in range(account["cross_count"]):
            book.positions[book.cross[j]]["low_first"] = low_first


@step
def point_of(leg: int, low_first: int, open_: float, high: float, low: float, close: float) -> float:
    """Return the price at the start of a leg: 0 open, 1 and 2 the extremes, 3 close."""
    if leg == 0:
        return open_
    if leg == 3:
        return close
    return low if (leg == 1) == (low_first == 1) else high


@step
def put_on_leg(
    setup: Setup,
    book: Book,
    leg: int,
    only_open: int,
    bar: int,
    open_: NDArray[np.float64],
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    close: NDArray[np.float64],
    series: int,
) -> None:
    """Put each held position's mark, or its trade, on a leg of the bar's path; at the open the leg has no length."""
    last = 3 if setup.rules[0]["intrabar"] == CLOSE_ONLY else leg + 1
    if only_open == YES:
        last = 0
    for j in range(held_count(book)):
        i = held_at(book, j)
        p = book.positions[i]
        start = point_of(leg, p["low_first"], open_[i, bar], high[i, bar], low[i, bar], close[i, bar])
        end = point_of(last, p["low_first"], open_[i, bar], high[i, bar], low[i, bar], close[i, bar])
        if series == TRADES:
            p["trade_from"] = start
            p["trade_to"] = end
        else:
            p["value_from"] = start
            p["value_to"] = end


@step
def cross_would_trigger(
    setup: Setup,
    book: Book,
    joint: int,
    bar: int,
    open_: NDArray[np.float64],
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    close: NDArray[np.float64],
) -> bool:
    """Return whether the cross account, left as it is, would be liquidated on the joint path."""
    account = book.account[0]
    choose_order(setup, book, joint, low, high, bar)
    for leg in range(3):
        put_on_leg(setup, book, leg, NO, bar, open_, high, low, close, MARKS)
        if first_trigger(setup, book, book.cross, account["cross_count"], account["free_wallet"], 0.0) <= 1.0:
            return True
    return False


@step
def judge_dispute(
    setup: Setup,
    book: Book,
    bar: int,
    open_: NDArray[np.float64],
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    close: NDArray[np.float64],
) -> int:
    """Return 1 and count the bar where only the worst joint path liquidates the cross account."""
    if book.account[0]["cross_count"] < 2 or setup.rules[0]["intrabar"] != ADVERSE:
        return 0
    if not cross_would_trigger(setup, book, WORST, bar, open_, high, low, close):
        return 0
    if cross_would_trigger(setup, book, COMMON, bar, open_, high, low, close):
        return 0
    book.account[0]["disputed_bars"] += 1
    return 1


@step
def fire_on_leg(
    setup: Setup,
    book: Book,
    journal: Journal,
    disputed: int,
) -> None:
    """Liquidate along one leg, in the order of the triggers, each on what the one before left."""
    account = book.account[0]
    at = 0.0
    while held_count(book) > 0:
        first = NEVER
        group = NO_GROUP
        for j in range(account["isolated_count"]):
            i = book.isolated[j]
            if book.positions[i]["walked"] == NO:
                continue
            book.single[0] = i
            f = first_trigger(setup, book, book.single, ONE, book.positions[i]["margin"], at)
            if f < first:
                first = f
                group = i
        if account["walk_cross"] == YES and account["cross_count"] > 0:
            f = first_trigger(setup, book, book.cross, account["cross_count"], account["free_wallet"], at)
            if f < first:
                first = f
                group = CROSS_GROUP
        if group == NO_GROUP or first > 1.0:
            return
        at = first
        for j in range(held_count(book)):
            p = book.positions[held_at(book, j)]
            p["value_now"] = p["value_from"] + at * (p["value_to"] - p["value_from"])
            p["trade_now"] = p["trade_from"] + at * (p["trade_to"] - p["trade_from"])
        liquidate(setup, book, journal, group, disputed if group == CROSS_GROUP else UNDISPUTED)


@step
def walk(
    setup: Setup,
    book: Book,
    journal: Journal,
    bar: int,
    only_open: int,
    open_: NDArray[np.float64],
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    close: NDArray[np.float64],
    trade_open: NDArray[np.float64],
    trade_high: NDArray[np.float64],
    trade_low: NDArray[np.float64],
    trade_close: NDArray[np.float64],
) -> None:
    """Liquidate along a bar's path, leg by leg, or at its open alone.

    Parameters
    ----------
    bar : int
        Column of the series.
    only_open : int
        1: step 2, what a gap to the open has passed.
    open_, high, low, close, trade_open, trade_high, trade_low, trade_close : array, shape (N, T)
        Marks that liquidation sees, and the trades beside them; ``up`` and ``walked`` of the positions are set.
    """
    disputed = UNDISPUTED
    legs = 3
    if only_open == YES:
        legs = 1
    else:
        if book.account[0]["walk_cross"] == YES:
            disputed = judge_dispute(setup, book, bar, open_, high, low, close)
        choose_order(setup, book, setup.rules[0]["joint"], low, high, bar)
        if setup.rules[0]["intrabar"] == CLOSE_ONLY:
            legs = 1
    for leg in range(legs):
        put_on_leg(setup, book, leg, only_open, bar, open_, high, low, close, MARKS)
        put_on_leg(setup, book, leg, only_open, bar, trade_open, trade_high, trade_low, trade_close, TRADES)
        fire_on_leg(setup, book, journal, disputed)


@step
def enter_walk(market: Market, book: Book, bar: int) -> None:
    """Let every position take part in a walk on the bar's own path."""
    book.account[0]["walk_cross"] = YES
    for i in range(book.positions.size):
        p = book.positions[i]
        p["walked"] = YES
        p["up"] = int(market.trade_close[i, bar] >= market.trade_open[i, bar])


@step
def enter_coarse_walk(setup: Setup, market: Market, book: Book, bar: int) -> None:
    """Let those take part in a coarse walk that were held unchanged since the mark bar's open; count the rest."""
    account = book.account[0]
    account["walk_cross"] = YES if account["cross_count"] > 0 else NO
    for i in range(book.positions.size):
        p = book.positions[i]
        p["up"] = market.coarse_up[i, market.coarse_bar[bar]]
        p["walked"] = NO
        same = p["quantity"] == p["quantity_before"]
        if setup.instruments[i]["margin_mode"] != ISOLATED:
            account["walk_cross"] = account["walk_cross"] if same else NO
        elif p["quantity"] != 0.0:
            p["walked"] = int(same)
            account["coarse_unchecked"] += int(not same)
    if account["cross_count"] > 0 and account["walk_cross"] == NO:
        account["coarse_unchecked"] += 1


@step
def walk_bar(setup: Setup, market: Market, book: Book, journal: Journal, bar: int, only_open: int) -> None:
    """Walk the bar's own path (step 5), or look at its open alone (step 2)."""
    enter_walk(market, book, bar)
    walk(
        setup,
        book,
        journal,
        bar,
        only_open,
        market.path_open,
        market.path_high,
        market.path_low,
        market.path_close,
        market.trade_open,
        market.trade_high,
        market.trade_low,
        market.trade_close,
    )


@step
def walk_coarse_bar(setup: Setup, market: Market, book: Book, journal: Journal, bar: int) -> None:
    """At a coarse mark bar's end, walk its own path; there are no trades beside it: the engine's price is the mark."""
    enter_coarse_walk(setup, market, book, bar)
    walk(
        setup,
        book,
        journal,
        market.coarse_bar[bar],
        NO,
        market.coarse_open,
        market.coarse_high,
        market.coarse_low,
        market.coarse_close,
        market.coarse_open,
        market.coarse_high,
        market.coarse_low,
        market.coarse_close,
    )


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
def replay_bar(
    setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, columns: Columns, bar: int
) -> None:
    """One bar with everything that can happen in it, in order.

    Records at the open carry its time; on the path and at the close they carry the last millisecond of the bar, since
    the order inside a bar is a model and not a time.
    """
    account = book.account[0]
    at_close = setup.rules[0]["fill_at_close"] == 1
    open_time = market.open_time[bar]
    last_moment = market.open_time[bar + 1] - 1
    remember_quantities(market, book, bar, NO)
    switch_tables(schedule, book, bar)
    settle_due(setup, schedule, book, journal, bar, AT_OPEN, market.mark_open)
    stamp(book, open_time, bar)
    if held_count(book) > 0:
        walk_bar(setup, market, book, journal, bar, YES)
    if not at_close:
        take_due_targets(market, schedule, book, journal, bar)
        fill_orders(setup, market, book, journal, bar, market.trade_open, market.mark_open)
    remember_quantities(market, book, bar, YES)
    set_values_now(book, market.mark_open, bar)
    record_positions(setup, book, journal)
    settle_due(setup, schedule, book, journal, bar, INSIDE, market.mark_close)
    stamp(book, last_moment, bar)
    if held_count(book) > 0 and count_safe(setup, market, book, columns, bar, bar + 1) == 0:
        walk_bar(setup, market, book, journal, bar, NO)
    if market.coarse_bar.size > 0 and market.coarse_ends[bar] == 1 and held_count(book) > 0:
        walk_coarse_bar(setup, market, book, journal, bar)
    if at_close:
        decide_by_band(setup, market, schedule, book, bar)
        take_due_targets(market, schedule, book, journal, bar)
        fill_orders(setup, market, book, journal, bar, market.trade_close, market.mark_close)
    clear_debt(book, journal)
    if not at_close:
        decide_by_band(setup, market, schedule, book, bar)
    set_values_now(book, market.mark_close, bar)
    record_positions(setup, book, journal)
    mark_columns(setup, market, book, columns, bar, bar + 1)
    for i in range(book.positions.size):
        book.positions[i]["tier_bound"] = NO_TIER_BOUND
        book.positions[i]["stepped"] = 0
    if account["stopped_bar"] == bar:
        stop_trading(market, schedule, book, journal, bar)


@step
def next_event(setup: Setup, market: Market, schedule: Schedule, book: Book, bar: int) -> int:
    """Return the next bar, from ``bar`` on, in which something is scheduled; the number of bars where nothing is."""
    account = book.account[0]
    if account["pending_count"] > 0:
        return bar
    event = market.open_time.size - 1
    if account["due_row"] < schedule.targets.size:
        event = min(event, schedule.targets[account["due_row"]]["due_bar"])
    if setup.rules[0]["rebalance"] == BAND and account["decision_row"] < schedule.targets.size:
        event = min(event, schedule.targets[account["decision_row"]]["decision_bar"])
    if account["settlement"] < schedule.settlements.size:
        event = min(event, schedule.settlements[account["settlement"]]["bar"])
    if account["switch"] < schedule.switches.size:
        event = min(event, schedule.switches[account["switch"]]["bar"])
    if market.coarse_bar.size > 0 and held_count(book) > 0:
        t = bar
        while t < event and market.coarse_ends[t] == 0:
            t += 1
        event = t
    return max(event, bar)


@entry
def has_room(setup: Setup, book: Book, journal: Journal) -> bool:
    """Return whether the journal can take one more bar."""
    account = book.account[0]
    rows = setup.rules[0]["rows_per_bar"]
    return (
        account["fills"] + rows <= journal.fills.size
        and account["funding"] + rows <= journal.funding.size
        and account["liquidations"] + rows <= journal.liquidations.size
        and account["ledger"] + 4 * rows <= journal.ledger.size
        and account["positions"] + rows <= journal.positions.size
        and account["orders"] + rows <= journal.orders.size
    )


@entry
def replay(
    setup: Setup,
    market: Market,
    schedule: Schedule,
    book: Book,
    journal: Journal,
    columns: Columns,
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
    start, stop : int
        Bars.

    Returns
    -------
    int
        The next bar: ``stop``, or an earlier one where the journal must grow first.
    """
    bar = start
    while bar < stop:
        event = next_event(setup, market, schedule, book, bar)
        limit = min(event, stop)
        is_quiet = True
        while bar < limit and is_quiet:
            block = min(bar + BLOCK, limit)
            safe = bar + count_safe(setup, market, book, columns, bar, block)
            mark_columns(setup, market, book, columns, bar, safe)
            is_quiet = safe == block
            bar = safe
        if bar >= stop:
            break
        if not has_room(setup, book, journal):
            return bar
        replay_bar(setup, market, schedule, book, journal, columns, bar)
        bar += 1
    return bar


@entry
def finish(market: Market, schedule: Schedule, book: Book, journal: Journal) -> None:
    """After the last bar: write the orders that never came due. The journal must have room for every row left."""
    write_undue_targets(market, schedule, book, journal, market.open_time.size - 1, NO_TIME, PENDING)
