"""Orders that wait for their price: their table, their journal rows, and when they can next do anything.

The rows of a slot are chained; free rows are chained too. An order sleeps until ``wake``: the scan ahead proves that
no path of the bars between reaches its price, so that bars without anything to do need not look at it.
Source: ``docs/execution.md``, "Kinds of orders".
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import Intrabar, OrderKind, OrderStatus, RejectReason, TriggerPrice
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.account import NO_BAR
from backtester.kernel.fills import SNAP
from backtester.kernel.state import EXIT_BAR, NONE, WAKE, Book, Journal, Market, Setup
from backtester.kernel.value import price_to_value, slipped, value_to_price

MARKET = constant(OrderKind.MARKET)
LIMIT = constant(OrderKind.LIMIT)
STOP = constant(OrderKind.STOP)
STOP_LIMIT = constant(OrderKind.STOP_LIMIT)
TAKE_PROFIT = constant(OrderKind.TAKE_PROFIT)
TAKE_PROFIT_LIMIT = constant(OrderKind.TAKE_PROFIT_LIMIT)
TRAILING_STOP = constant(OrderKind.TRAILING_STOP)
WATCHES_LAST = constant(TriggerPrice.LAST)
WATCHES_MARK = constant(TriggerPrice.MARK)
CLOSE_ONLY = constant(Intrabar.CLOSE)
FILLED = constant(OrderStatus.FILLED)
CLIPPED = constant(OrderStatus.CLIPPED)
REJECTED = constant(OrderStatus.REJECTED)
DROPPED = constant(OrderStatus.DROPPED)
CANCELLED = constant(OrderStatus.CANCELLED)
EXPIRED = constant(OrderStatus.EXPIRED)
PENDING = constant(OrderStatus.PENDING)
NO_REASON = constant(RejectReason.NONE)
BY_OCO = constant(RejectReason.OCO)
BY_LOT = constant(RejectReason.LOT)
BY_MIN_QUANTITY = constant(RejectReason.MIN_QUANTITY)
BY_MIN_NOTIONAL = constant(RejectReason.MIN_NOTIONAL)
FREE = constant(NONE)
NO_ORDER = constant(NONE)
FIRST_SPAN = constant(64)
WIDEST_SPAN = constant(8192)


# -- the journal -----------------------------------------------------------------------------------------------------


@step
def write_order(
    setup: Setup,
    book: Book,
    journal: Journal,
    i: int,
    kind: int,
    origin: int,
    request: int,
    decision_time: int,
    due_time: int,
    target: float,
    wanted: float,
) -> int:
    """Write the row of a new order and return its number."""
    account = book.account[0]
    number: int = account["orders"]
    row = journal.orders[number]
    row["order_id"] = number
    row["symbol"] = book.positions[i]["row"]
    row["position_side"] = setup.instruments[i]["leg"]
    row["kind"] = kind
    row["origin"] = origin
    row["request"] = request
    row["decision_time"] = decision_time
    row["due_time"] = due_time
    row["end_time"] = -1
    row["target"] = target
    row["wanted_quantity"] = wanted
    row["filled_quantity"] = 0.0
    row["limit_price"] = math.nan
    row["trigger_price"] = math.nan
    row["status"] = PENDING
    row["reason"] = NO_REASON
    row["bars_waited"] = 0
    account["orders"] = number + 1
    return number


@inlined
def end_row(book: Book, journal: Journal, number: int, status: int, reason: int) -> None:
    """Close an order's row with what became of it."""
    row = journal.orders[number]
    row["end_time"] = book.account[0]["time"]
    row["status"] = status
    row["reason"] = reason


@step
def status_of(filled: float, wanted: float, reason: int) -> int:
    """Return what became of an order that is over after its fill."""
    if reason == NO_REASON and filled == wanted:
        return FILLED
    if filled != 0.0:
        return CLIPPED
    return DROPPED if reason in (BY_MIN_QUANTITY, BY_MIN_NOTIONAL, BY_LOT) else REJECTED


# -- the table -------------------------------------------------------------------------------------------------------


@step
def place(
    book: Book,
    journal: Journal,
    i: int,
    kind: int,
    origin: int,
    side: float,
    left: float,
    number: int,
    bar: int,
) -> int:
    """Put an order into the table, new to the market, and return its place; its prices are set afterwards."""
    account = book.account[0]
    p = book.positions[i]
    k: int = account["free_order"]
    o = book.resting[k]
    account["free_order"] = o["next"]
    o["slot"] = i
    o["next"] = p["first_order"]
    p["first_order"] = k
    p["orders"] += 1
    account["resting_count"] += 1
    account["market_count"] += int(kind == MARKET)
    o["number"] = number
    o["rank"] = account["placed"]
    account["placed"] += 1
    o["request"] = journal.orders[number]["request"]
    o["kind"] = kind
    o["origin"] = origin
    o["side"] = side
    o["left"] = left
    o["limit"] = math.nan
    o["touch"] = math.nan
    o["trigger"] = math.nan
    o["watches"] = WATCHES_LAST
    o["distance"] = 0.0
    o["fraction"] = 0.0
    o["best"] = math.nan
    o["scanned"] = bar
    o["best_before"] = math.nan
    o["reduce_only"] = 0
    o["post_only"] = 0
    o["is_new"] = 1
    o["used_up"] = NONE
    o["group"] = 0
    o["expire_bar"] = NO_BAR
    o["rung"] = NONE
    wake_now(book, k, bar)
    return k


@inlined
def wake_now(book: Book, k: int, bar: int) -> None:
    """Let an order take part in the bar under way, whatever was known of it."""
    o = book.resting[k]
    o["wake"] = bar
    o["span"] = FIRST_SPAN
    slot = o["slot"]
    book.marks[WAKE, slot] = min(book.marks[WAKE, slot], bar)
    book.account[0]["wake"] = min(book.account[0]["wake"], bar)


@inlined
def note_left(book: Book, k: int) -> None:
    """Tell the on_bar function's request how much of it is still to fill."""
    o = book.resting[k]
    if o["request"] < 0:
        return
    row = book.requests[o["request"] % book.requests.size]
    if row["number"] == o["request"]:
        row["left"] = o["left"]


@step
def remove(book: Book, k: int) -> None:
    """Take an order out of the table."""
    account = book.account[0]
    o = book.resting[k]
    p = book.positions[o["slot"]]
    o["left"] = 0.0
    note_left(book, k)
    if p["exit_order"] == k:
        p["exit_order"] = NONE
    if p["trail_order"] == k:
        p["trail_order"] = NONE
    if o["rung"] >= 0:
        book.rungs[o["rung"]]["order"] = NONE
    if p["first_order"] == k:
        p["first_order"] = o["next"]
    else:
        before = p["first_order"]
        while book.resting[before]["next"] != k:
            before = book.resting[before]["next"]
        book.resting[before]["next"] = o["next"]
    p["orders"] -= 1
    if p["orders"] == 0:
        book.marks[WAKE, o["slot"]] = NO_BAR
    account["resting_count"] -= 1
    account["market_count"] -= int(o["kind"] == MARKET)
    o["slot"] = NONE
    o["next"] = account["free_order"]
    account["free_order"] = k


@step
def end_resting(book: Book, journal: Journal, k: int, status: int, reason: int) -> None:
    """Close a resting order."""
    end_row(book, journal, book.resting[k]["number"], status, reason)
    remove(book, k)


@step
def cancel_slot(book: Book, journal: Journal, i: int, reason: int) -> None:
    """Cancel every resting order of a slot."""
    while book.positions[i]["first_order"] != NONE:
        end_resting(book, journal, book.positions[i]["first_order"], CANCELLED, reason)


@step
def cancel_group(book: Book, journal: Journal, group: int, number: int) -> None:
    """Cancel the other resting orders of a group, whose order ``number`` has filled."""
    for k in range(book.resting.size):
        o = book.resting[k]
        if o["slot"] != NONE and o["group"] == group and o["number"] != number:
            end_resting(book, journal, k, CANCELLED, BY_OCO)


# -- prices ----------------------------------------------------------------------------------------------------------


@step
def on_tick(setup: Setup, i: int, value: float, side: float) -> float:
    """Return a value whose price stands on the tick: a buyer's rounded down, a seller's up."""
    instrument = setup.instruments[i]
    num = instrument["tick_num"]
    den = instrument["tick_den"]
    if num == 0.0 or math.isnan(value):
        return value
    ticks = value_to_price(value, instrument["sign"]) * den / num
    nearest = float(round(ticks))
    if abs(ticks - nearest) > SNAP * max(1.0, 1e-6 * abs(ticks)):
        nearest = math.floor(ticks) if side > 0.0 else math.ceil(ticks)
    return price_to_value(max(nearest, 1.0) * num / den, instrument["sign"])


@step
def set_limit(setup: Setup, book: Book, journal: Journal, k: int, value: float) -> None:
    """Give an order its limit, on the tick, and the value at which the market must trade to fill it."""
    o = book.resting[k]
    i = o["slot"]
    sign = setup.instruments[i]["sign"]
    o["limit"] = on_tick(setup, i, value, o["side"])
    o["touch"] = o["limit"]
    ticks = setup.rules[0]["through_ticks"]
    num = setup.instruments[i]["tick_num"]
    if ticks > 0.0 and num > 0.0:
        den = setup.instruments[i]["tick_den"]
        level = float(round(value_to_price(o["limit"], sign) * den / num)) - o["side"] * ticks
        o["touch"] = price_to_value(max(level, 1.0) * num / den, sign)
    journal.orders[o["number"]]["limit_price"] = value_to_price(o["limit"], sign)


@step
def set_trigger(setup: Setup, book: Book, journal: Journal, k: int, value: float) -> None:
    """Give an order its trigger, on the tick."""
    o = book.resting[k]
    o["trigger"] = on_tick(setup, o["slot"], value, o["side"])
    sign = setup.instruments[o["slot"]]["sign"]
    journal.orders[o["number"]]["trigger_price"] = value_to_price(o["trigger"], sign)


@inlined
def fires_below(book: Book, k: int) -> bool:
    """Return whether an order fires at and below its level, else at and above."""
    o = book.resting[k]
    kind = o["kind"]
    with_trend = kind in (LIMIT, TAKE_PROFIT, TAKE_PROFIT_LIMIT)
    is_buy = o["side"] > 0.0
    return bool(with_trend == is_buy)


@step
def trailed(setup: Setup, book: Book, k: int, best: float) -> float:
    """Return the level of a trailing stop whose best value so far is given."""
    o = book.resting[k]
    sign = setup.instruments[o["slot"]]["sign"]
    if o["fraction"] > 0.0:
        return slipped(best, o["side"], o["fraction"], sign)
    price = value_to_price(best, sign) + o["side"] * o["distance"]
    if price <= 0.0:
        return -math.inf  # a sell that follows by more than the price never fires
    return price_to_value(price, sign)


@inlined
def better(side: float, best: float, value: float) -> float:
    """Return the better value for a trailing stop: the higher for one that sells."""
    if math.isnan(best):
        return value
    return max(best, value) if side < 0.0 else min(best, value)


@inlined
def level_of(setup: Setup, book: Book, k: int) -> float:
    """Return the value at which an order fires."""
    o = book.resting[k]
    if o["kind"] == LIMIT:
        return float(o["touch"])
    if o["kind"] == TRAILING_STOP:
        return trailed(setup, book, k, o["best"])
    return float(o["trigger"])


# -- sleep -----------------------------------------------------------------------------------------------------------


@step
def first_reach(lows: NDArray[np.float64], highs: NDArray[np.float64], level: float, below: bool) -> int:
    """Return the first bar that comes to a level, or the number of bars."""
    if below:
        for t in range(lows.size):
            if lows[t] <= level:
                return t
        return lows.size
    for t in range(highs.size):
        if highs[t] >= level:
            return t
    return highs.size


@step
def first_trail(setup: Setup, market: Market, book: Book, k: int, start: int, stop: int, must_hold: bool) -> int:
    """Return the first bar in which a trailing stop might fire, and move its best price up to it.

    Parameters
    ----------
    start, stop : int
        Bars that are looked at.
    must_hold : bool
        The stop is known not to fire there: move the best price alone.
    """
    o = book.resting[k]
    row = setup.instruments[o["slot"]]["row"]
    with_volume = setup.instruments[o["slot"]]["has_volume"] == 1
    only_close = setup.rules[0]["intrabar"] == CLOSE_ONLY
    opens, highs, lows, closes = watched(market, o["watches"])
    side = o["side"]
    for t in range(start, stop):
        if math.isnan(opens[row, t]) or (with_volume and market.volume[row, t] == 0.0):
            continue
        high = max(opens[row, t], closes[row, t]) if only_close else highs[row, t]
        low = min(opens[row, t], closes[row, t]) if only_close else lows[row, t]
        best = better(side, o["best"], high if side < 0.0 else low)
        level = trailed(setup, book, k, best)
        if not must_hold and ((side < 0.0 and low <= level) or (side > 0.0 and high >= level)):
            return t
        o["best"] = best
    return stop


@step
def recall_best(setup: Setup, market: Market, book: Book, k: int, bar: int) -> None:
    """Bring a sleeping trailing stop's best price back to what was known at a bar's open: it is to be changed there."""
    o = book.resting[k]
    if o["kind"] == TRAILING_STOP and o["wake"] > bar:
        o["best"] = o["best_before"]
        first_trail(setup, market, book, k, o["scanned"], bar, must_hold=True)


@inlined
def watched(
    market: Market, watches: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the series that a trigger watches: open, high, low, close."""
    if watches == WATCHES_LAST:
        return market.trade_open, market.trade_high, market.trade_low, market.trade_close
    if watches == WATCHES_MARK:
        return market.path_open, market.path_high, market.path_low, market.path_close
    return market.index_open, market.index_high, market.index_low, market.index_close


@step
def look_ahead(setup: Setup, market: Market, book: Book, k: int, start: int) -> None:
    """Find the first bar from ``start`` on in which an order can do anything: exactly, or the end of the look."""
    o = book.resting[k]
    bars = market.open_time.size - 1
    if o["kind"] == MARKET:
        o["wake"] = start
        return
    stop = min(start + o["span"], bars)
    o["span"] = min(2 * o["span"], WIDEST_SPAN)
    row = setup.instruments[o["slot"]]["row"]
    if o["kind"] == TRAILING_STOP:
        o["scanned"] = start
        o["best_before"] = o["best"]
        wake = first_trail(setup, market, book, k, start, stop, must_hold=False)
    else:
        _, highs, lows, _ = watched(market, WATCHES_LAST if o["kind"] == LIMIT else o["watches"])
        level = level_of(setup, book, k)
        wake = start + first_reach(lows[row, start:stop], highs[row, start:stop], level, fires_below(book, k))
    if wake == stop and stop == bars:
        wake = NO_BAR
    o["wake"] = min(wake, o["expire_bar"])


@step
def sleep_from(setup: Setup, market: Market, book: Book, bar: int) -> None:
    """Let every slot sleep until one of its orders, or its time exit, can do something: from a bar on."""
    account = book.account[0]
    if account["wake"] > bar:
        return
    first = NO_BAR
    for i in range(book.positions.size):
        if book.marks[WAKE, i] <= bar:
            wake = NO_BAR
            k = book.positions[i]["first_order"]
            while k != NONE:
                o = book.resting[k]
                if o["wake"] <= bar:
                    look_ahead(setup, market, book, k, bar)
                wake = min(wake, o["wake"])
                k = o["next"]
            book.marks[WAKE, i] = wake
        first = min(first, book.marks[WAKE, i], book.marks[EXIT_BAR, i])
    account["wake"] = first


@step
def first_bar_at(market: Market, time: int) -> int:
    """Return the first bar that opens at or after a time; the number of bars where none does."""
    low = 0
    high = market.open_time.size - 1
    while low < high:
        middle = (low + high) // 2
        if market.open_time[middle] < time:
            low = middle + 1
        else:
            high = middle
    return low


@step
def expire(market: Market, book: Book, k: int, length_ms: int) -> None:
    """Let an order placed now end after a time [ms]."""
    book.resting[k]["expire_bar"] = first_bar_at(market, book.account[0]["time"] + length_ms)
