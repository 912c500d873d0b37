"""Resting orders meet the market: at an open, or on a leg of the path.

Source: ``docs/execution.md``, "The order of events in a bar" and "Kinds of orders".
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import FillReason, Liquidity, RejectReason
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.account import DUST, set_values_now
from backtester.kernel.execution import BY_REDUCE_ONLY, execute
from backtester.kernel.exits import POSITION_CLOSED, refresh_exits
from backtester.kernel.fills import add_on_grid, floor_to_step
from backtester.kernel.path import NEVER
from backtester.kernel.resting import (
    CANCELLED,
    EXPIRED,
    LIMIT,
    MARKET,
    REJECTED,
    STOP_LIMIT,
    TAKE_PROFIT_LIMIT,
    TRAILING_STOP,
    WATCHES_LAST,
    WATCHES_MARK,
    better,
    cancel_group,
    end_resting,
    fires_below,
    level_of,
    note_left,
    recall_best,
    status_of,
    wake_now,
)
from backtester.kernel.sizing import NO_REASON
from backtester.kernel.state import NONE, REFRESH, WAKE, Book, Journal, Market, Setup
from backtester.kernel.targets import cancel_limits, is_tradable

TAKER = constant(Liquidity.TAKER)
MAKER = constant(Liquidity.MAKER)
BY_ORDER = constant(FillReason.ORDER)
BY_TARGET = constant(FillReason.TARGET)
BY_CLOSE = constant(FillReason.CLOSE)
POST_ONLY = constant(RejectReason.POST_ONLY)
BY_NO_VOLUME = constant(RejectReason.NO_VOLUME)
NOTHING = constant(NONE)
ORDERS_RESTING = constant(0)
ORDERS_AT_MARKET = constant(1)


# -- where prices stand ----------------------------------------------------------------------------------------------


@inlined
def stand_at(
    book: Book,
    i: int,
    bar: int,
    trade_values: NDArray[np.float64],
    mark_values: NDArray[np.float64],
    index_values: NDArray[np.float64],
) -> None:
    """Put the prices of a slot where a column of bars has them."""
    p = book.positions[i]
    p["trade_now"] = trade_values[p["row"], bar]
    p["value_now"] = mark_values[p["row"], bar]
    if index_values.shape[1] > 0:
        p["index_now"] = index_values[p["row"], bar]


@inlined
def watched_now(book: Book, k: int) -> float:
    """Return where the series that an order watches stands now; a limit order watches trades."""
    o = book.resting[k]
    p = book.positions[o["slot"]]
    if o["kind"] == LIMIT or o["watches"] == WATCHES_LAST:
        return float(p["trade_now"])
    return float(p["value_now"]) if o["watches"] == WATCHES_MARK else float(p["index_now"])


@inlined
def has_passed(setup: Setup, book: Book, k: int, value: float) -> bool:
    """Return whether an order fires at a value of the series that it watches."""
    level = level_of(setup, book, k)
    return bool(value <= level) if fires_below(book, k) else bool(value >= level)


@step
def follow(book: Book, i: int, bar: int) -> None:
    """Let the awake trailing stops of a slot take the present price as their best, where it is."""
    k = book.positions[i]["first_order"]
    while k != NONE:
        o = book.resting[k]
        if o["kind"] == TRAILING_STOP and o["wake"] <= bar:
            o["best"] = better(o["side"], o["best"], watched_now(book, k))
        k = o["next"]


# -- a firing --------------------------------------------------------------------------------------------------------


@step
def volume_room(setup: Setup, market: Market, book: Book, k: int, bar: int) -> float:
    """Return how many units a limit order may fill of the bar's volume, in whole lots; infinite without a bound."""
    o = book.resting[k]
    i = o["slot"]
    instrument = setup.instruments[i]
    share = setup.rules[0]["volume_share"]
    if share == math.inf or instrument["has_volume"] == 0:
        return math.inf
    first = setup.slots[instrument["row"], 0]  # both legs of a contract share its volume
    p = book.positions[first]
    if p["volume_bar"] != bar:
        p["volume_bar"] = bar
        p["volume_used"] = 0.0
    most = share * market.volume[instrument["row"], bar]
    room = most - p["volume_used"]
    if not room > DUST * most:
        return 0.0
    if instrument["sign"] < 0.0:
        room /= abs(o["limit"])
    return max(floor_to_step(room, instrument["step_num"], instrument["step_den"]), 0.0)


@step
def use_volume(setup: Setup, book: Book, i: int, filled: float, limit: float, is_short: bool) -> None:
    """Count what a limit order filled against the bar's volume; without lots, one short of it leaves nothing."""
    instrument = setup.instruments[i]
    first = setup.slots[instrument["row"], 0]
    base = abs(filled) if instrument["sign"] > 0.0 else abs(filled * limit)
    uses_all = is_short and instrument["step_num"] == 0.0
    book.positions[first]["volume_used"] = math.inf if uses_all else book.positions[first]["volume_used"] + base


@step
def settle_firing(
    setup: Setup, market: Market, book: Book, journal: Journal, k: int, filled: float, why: int, bar: int
) -> None:
    """After a fill: shorten or close the order, cancel its group, look after what is attached to the position."""
    o = book.resting[k]
    i = o["slot"]
    p = book.positions[i]
    instrument = setup.instruments[i]
    row = journal.orders[o["number"]]
    row["filled_quantity"] = add_on_grid(row["filled_quantity"], filled, instrument["step_num"], instrument["step_den"])
    o["left"] = max(add_on_grid(o["left"], -abs(filled), instrument["step_num"], instrument["step_den"]), 0.0)
    if o["left"] <= DUST * abs(row["filled_quantity"]):
        o["left"] = 0.0
    note_left(book, k)
    group = o["group"]
    number = o["number"]
    origin = o["origin"]
    kind = o["kind"]
    if o["rung"] >= 0:
        book.rungs[o["rung"]]["taken"] += abs(filled)
    if why != NO_REASON:
        status = status_of(row["filled_quantity"], row["wanted_quantity"], why)
        if filled == 0.0 and why == BY_REDUCE_ONLY:
            status = CANCELLED
        end_resting(book, journal, k, status, why)
    elif o["left"] == 0.0:
        if o["rung"] >= 0:
            book.rungs[o["rung"]]["is_done"] = 1
        end_resting(book, journal, k, status_of(row["filled_quantity"], row["filled_quantity"], why), why)
    if filled != 0.0 and group > 0:
        cancel_group(book, journal, group, number)
    if filled != 0.0 and p["quantity"] == 0.0 and origin not in (BY_ORDER, BY_TARGET, BY_CLOSE):
        p["blocked"] = 1
        cancel_limits(book, journal, i, CANCELLED, POSITION_CLOSED)
    if kind != MARKET:  # after the market orders of an open all is attached together
        refresh_exits(setup, market, book, journal, i, bar)


@step
def fill_resting(
    setup: Setup,
    market: Market,
    book: Book,
    journal: Journal,
    k: int,
    bar: int,
    reference: float,
    liquidity: int,
    room: float,
) -> None:
    """Fill an order at a price, at most ``room`` units of it."""
    o = book.resting[k]
    i = o["slot"]
    p = book.positions[i]
    is_limit = o["kind"] == LIMIT
    size = min(o["left"], room)
    limit = o["limit"] if is_limit else math.nan
    filled, why = execute(
        setup,
        market,
        book,
        journal,
        i,
        o["number"],
        bar,
        o["side"] * size,
        reference,
        p["value_now"],
        limit,
        liquidity,
        o["reduce_only"],
        o["origin"],
    )
    can_open = o["reduce_only"] == 0 and o["side"] * setup.instruments[i]["only_side"] >= 0.0
    if why == NO_REASON and p["quantity"] == 0.0 and size < o["left"] and not can_open:
        why = BY_REDUCE_ONLY  # what the volume left of it has nothing to reduce any more
    if is_limit:
        use_volume(setup, book, i, filled, o["limit"], room < o["left"] and abs(filled) == room)
    settle_firing(setup, market, book, journal, k, filled, why, bar)


@step
def fire_limit(setup: Setup, market: Market, book: Book, journal: Journal, k: int, bar: int, as_taker: bool) -> None:
    """Fill a limit order: at its limit as maker, or as taker at the present price."""
    o = book.resting[k]
    if as_taker and o["post_only"] == 1:
        has_filled = journal.orders[o["number"]]["filled_quantity"] != 0.0
        end_resting(book, journal, k, CANCELLED if has_filled else REJECTED, POST_ONLY)
        return
    room = volume_room(setup, market, book, k, bar)
    o["is_new"] = 0
    if room < o["left"]:
        o["used_up"] = bar  # what the volume leaves waits for the next bar
    if room == 0.0:
        return
    if as_taker:
        fill_resting(setup, market, book, journal, k, bar, book.positions[o["slot"]]["trade_now"], TAKER, room)
    else:
        fill_resting(setup, market, book, journal, k, bar, o["limit"], MAKER, room)


@step
def fire(setup: Setup, market: Market, book: Book, journal: Journal, k: int, bar: int, is_gap: bool) -> None:
    """Let an order do what it does at the present prices.

    Parameters
    ----------
    is_gap : bool
        The price stood beyond the order's level already; else it has just come to it.
    """
    o = book.resting[k]
    if o["kind"] == LIMIT:
        fire_limit(setup, market, book, journal, k, bar, o["is_new"] == 1)
        return
    p = book.positions[o["slot"]]
    reference = p["trade_now"]
    if o["watches"] == WATCHES_LAST and not is_gap:
        reference = level_of(setup, book, k)
        p["trade_now"] = reference
    if o["kind"] in (STOP_LIMIT, TAKE_PROFIT_LIMIT):
        o["kind"] = LIMIT
        o["is_new"] = 1
        if has_passed(setup, book, k, reference):
            fire_limit(setup, market, book, journal, k, bar, True)
        else:
            o["is_new"] = 0
        return
    fill_resting(setup, market, book, journal, k, bar, reference, TAKER, math.inf)


# -- at an open ------------------------------------------------------------------------------------------------------


@step
def next_at_point(setup: Setup, book: Book, bar: int, at_market: int) -> int:
    """Return the awake order that came first of those that fire where prices stand now, or ``NONE``.

    Parameters
    ----------
    at_market : int
        ``ORDERS_AT_MARKET``: market orders alone; else all others.
    """
    best = NOTHING
    for n in range(book.account[0]["awake"]):
        k = book.positions[book.awake[n]]["first_order"]
        while k != NONE:
            o = book.resting[k]
            following = o["next"]
            if o["wake"] <= bar and (best == NOTHING or o["rank"] < book.resting[best]["rank"]):
                if o["kind"] == MARKET:
                    best = k if at_market == ORDERS_AT_MARKET else best
                elif at_market == ORDERS_RESTING and o["used_up"] != bar:
                    best = k if has_passed(setup, book, k, watched_now(book, k)) else best
            k = following
    return best


@step
def rouse_trailing(setup: Setup, market: Market, book: Book, i: int, bar: int, seen: int) -> None:
    """Wake the trailing stops of a slot, a fill of which may change them in the middle of a bar.

    Parameters
    ----------
    seen : int
        First bar whose path they have not followed yet: ``bar``, or the next one at its close.
    """
    k = book.positions[i]["first_order"]
    while k != NONE:
        o = book.resting[k]
        if o["kind"] == TRAILING_STOP and o["wake"] > bar:
            recall_best(setup, market, book, k, seen)
            wake_now(book, k, bar)
        k = o["next"]


@step
def rouse(
    setup: Setup,
    market: Market,
    book: Book,
    bar: int,
    trade_values: NDArray[np.float64],
    mark_values: NDArray[np.float64],
    index_values: NDArray[np.float64],
) -> None:
    """List the slots whose orders can act in a bar, and put their prices where a column has them."""
    account = book.account[0]
    account["awake"] = 0
    if account["resting_count"] == 0 or account["wake"] > bar:
        return
    for i in range(book.positions.size):
        if (
            book.marks[WAKE, i] <= bar
            and book.positions[i]["orders"] > 0
            and is_tradable(setup, market, i, bar, trade_values)
        ):
            book.awake[account["awake"]] = i
            account["awake"] += 1
            rouse_trailing(setup, market, book, i, bar, bar)
            stand_at(book, i, bar, trade_values, mark_values, index_values)
            follow(book, i, bar)


@step
def expire_orders(book: Book, journal: Journal, bar: int) -> None:
    """Cancel the resting orders whose time is over at a bar's open; the others are new no more."""
    account = book.account[0]
    if account["resting_count"] == 0 or account["wake"] > bar:
        return
    for i in range(book.positions.size):
        if book.marks[WAKE, i] > bar:
            continue
        k = book.positions[i]["first_order"]
        while k != NONE:
            following = book.resting[k]["next"]
            if book.resting[k]["expire_bar"] <= bar:
                end_resting(book, journal, k, EXPIRED, NO_REASON)
            else:
                book.resting[k]["is_new"] = 0
            k = following


@step
def fill_market_orders(
    setup: Setup,
    market: Market,
    book: Book,
    journal: Journal,
    bar: int,
    trade_values: NDArray[np.float64],
    mark_values: NDArray[np.float64],
    index_values: NDArray[np.float64],
) -> None:
    """Fill the market orders of an on_bar function one after another; those that cannot fill wait."""
    if book.account[0]["market_count"] == 0:
        return
    rouse(setup, market, book, bar, trade_values, market.path_open, index_values)  # as trailing stops see it
    for n in range(book.account[0]["awake"]):
        p = book.positions[book.awake[n]]
        p["value_now"] = mark_values[p["row"], bar]
    set_values_now(book, mark_values, bar)
    k = next_at_point(setup, book, bar, ORDERS_AT_MARKET)
    while k != NOTHING:
        o = book.resting[k]
        p = book.positions[o["slot"]]
        if o["origin"] == BY_CLOSE and p["quantity"] == 0.0:
            end_resting(book, journal, k, CANCELLED, BY_REDUCE_ONLY)
            k = next_at_point(setup, book, bar, ORDERS_AT_MARKET)
            continue
        if o["origin"] == BY_CLOSE:
            o["left"] = abs(p["quantity"])
            o["side"] = -1.0 if p["quantity"] > 0.0 else 1.0
            journal.orders[o["number"]]["wanted_quantity"] = -p["quantity"]
        fill_resting(setup, market, book, journal, k, bar, p["trade_now"], TAKER, math.inf)
        k = next_at_point(setup, book, bar, ORDERS_AT_MARKET)
    count_waiting(book, journal)


@step
def count_waiting(book: Book, journal: Journal) -> None:
    """Count the market orders that wait through a bar."""
    for i in range(book.positions.size):
        k = book.positions[i]["first_order"]
        while k != NONE:
            o = book.resting[k]
            if o["kind"] == MARKET:
                row = journal.orders[o["number"]]
                row["bars_waited"] += 1
                row["reason"] = BY_NO_VOLUME
                book.account[0]["bars_waited"] += 1
            k = o["next"]


@step
def settle_in(book: Book, bar: int) -> None:
    """Let the orders that came to a bar's open be new no more."""
    for i in range(book.positions.size):
        if book.marks[WAKE, i] <= bar:
            k = book.positions[i]["first_order"]
            while k != NONE:
                book.resting[k]["is_new"] = 0
                k = book.resting[k]["next"]


@step
def attach_at_point(
    setup: Setup,
    market: Market,
    book: Book,
    journal: Journal,
    bar: int,
    seen: int,
    trade_values: NDArray[np.float64],
    mark_values: NDArray[np.float64],
    index_values: NDArray[np.float64],
) -> None:
    """Place, move and resize what is attached to positions whose size or settings changed; nothing once trading ended.

    Parameters
    ----------
    seen : int
        First bar whose path trailing stops have not followed yet: ``bar``, or the next one at its close.
    """
    if book.account[0]["drawn_down"] == 1 or 0 <= book.account[0]["stopped_bar"] < bar:
        return
    if book.account[0]["refresh"] == 0:
        return
    book.account[0]["refresh"] = 0
    for i in range(book.positions.size):
        if book.marks[REFRESH, i] > 0:
            rouse_trailing(setup, market, book, i, bar, seen)
            stand_at(book, i, bar, trade_values, mark_values, index_values)
            refresh_exits(setup, market, book, journal, i, bar)


@step
def fire_at_point(
    setup: Setup,
    market: Market,
    book: Book,
    journal: Journal,
    bar: int,
    trade_values: NDArray[np.float64],
    mark_values: NDArray[np.float64],
    index_values: NDArray[np.float64],
) -> None:
    """Attach orders to positions that changed, then fire what the present prices have passed, in order of placing."""
    account = book.account[0]
    attach_at_point(setup, market, book, journal, bar, bar, trade_values, mark_values, index_values)
    if account["resting_count"] == 0:
        return
    rouse(setup, market, book, bar, trade_values, mark_values, index_values)
    set_values_now(book, mark_values, bar)
    k = next_at_point(setup, book, bar, ORDERS_RESTING)
    while k != NOTHING:
        fire(setup, market, book, journal, k, bar, True)
        k = next_at_point(setup, book, bar, ORDERS_RESTING)
    settle_in(book, bar)


# -- on a leg --------------------------------------------------------------------------------------------------------


@inlined
def order_fraction(setup: Setup, book: Book, k: int, at: float) -> float:
    """Return the fraction of the leg, from ``at`` on, at which an order fires, or ``NEVER``."""
    o = book.resting[k]
    p = book.positions[o["slot"]]
    start = p["trade_from"]
    end = p["trade_to"]
    if o["kind"] != LIMIT and o["watches"] != WATCHES_LAST:
        is_mark = o["watches"] == WATCHES_MARK
        start = p["value_from"] if is_mark else p["index_from"]
        end = p["value_to"] if is_mark else p["index_to"]
    below = fires_below(book, k)
    level = level_of(setup, book, k)
    now = start + at * (end - start)
    if (below and now <= level) or (not below and now >= level):
        return at
    o["is_new"] = 0
    if (below and end <= level) or (not below and end >= level):
        return min(max((level - start) / (end - start), at), 1.0)
    return NEVER


@step
def next_on_leg(setup: Setup, book: Book, bar: int, at: float) -> tuple[float, int]:
    """Return the fraction at which the next awake order fires, and the order; the first placed of equals."""
    first = NEVER
    best = NOTHING
    for n in range(book.account[0]["awake"]):
        k = book.positions[book.awake[n]]["first_order"]
        while k != NONE:
            o = book.resting[k]
            if o["wake"] <= bar and o["kind"] != MARKET and o["used_up"] != bar:
                f = order_fraction(setup, book, k, at)
                if f < first or (f == first and f < NEVER and o["rank"] < book.resting[best]["rank"]):
                    first = f
                    best = k
            k = o["next"]
    return first, best


@step
def move_to(book: Book, bar: int, at: float) -> None:
    """Put the prices of the awake slots at a fraction of the leg; trailing stops follow."""
    for n in range(book.account[0]["awake"]):
        i = book.awake[n]
        p = book.positions[i]
        p["trade_now"] = p["trade_from"] + at * (p["trade_to"] - p["trade_from"])
        p["value_now"] = p["value_from"] + at * (p["value_to"] - p["value_from"])
        p["index_now"] = p["index_from"] + at * (p["index_to"] - p["index_from"])
        follow(book, i, bar)
