"""The path inside a bar: liquidations and resting orders fire along it, in the order in which prices reach them.

Source: accounting specification, sections 5 and 6; ``docs/execution.md``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import Intrabar, JointPath, MarginMode
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.costs import set_engine_slippage
from backtester.kernel.groups import CROSS_GROUP
from backtester.kernel.lines import is_safe_between, requirement_on_line
from backtester.kernel.liquidation import liquidate
from backtester.kernel.marking import held_at, held_count
from backtester.kernel.path import NEVER, first_trigger
from backtester.kernel.state import NONE, Book, Journal, Market, Setup
from backtester.kernel.triggers import NOTHING, fire, has_passed, move_to, next_on_leg, rouse, watched_now

ISOLATED = constant(MarginMode.ISOLATED)
ADVERSE = constant(Intrabar.ADVERSE)
FAVORABLE = constant(Intrabar.FAVORABLE)
COLOR = constant(Intrabar.COLOR)
CLOSE_ONLY = constant(Intrabar.CLOSE)
COMMON = constant(JointPath.COMMON)
WORST = constant(JointPath.WORST)
UNDISPUTED = constant(0)
MARKS = constant(0)
TRADES = constant(1)
INDEX = constant(2)
NO = constant(0)
YES = constant(1)
ONE = constant(1)
NO_GROUP = constant(-2)
NO_SPOT = constant(0)


# -- which extreme comes first ---------------------------------------------------------------------------------------


@step
def cross_excess(setup: Setup, book: Book, values: NDArray[np.float64], bar: int) -> float:
    """Return the cross balance less its requirement with every mark in one column of a bar."""
    account = book.account[0]
    excess = account["free_wallet"]
    for j in range(account["cross_count"]):
        i = book.cross[j]
        p = book.positions[i]
        value = values[p["row"], bar]
        excess += p["quantity"] * (value - p["entry_value"]) - requirement_on_line(setup, book, i, value)
    for j in range(account["cross_count"], account["cross_count"] + account["collateral_count"]):
        p = book.positions[book.cross[j]]
        excess += p["weight"] * p["quantity"] * values[p["row"], bar]
    return float(excess)


@inlined
def visits_low_first(setup: Setup, book: Book, i: int) -> int:
    """Return 1 where the path of a slot visits its low first, by its contract's net position or its colour."""
    p = book.positions[i]
    net = p["quantity"]
    sibling = setup.instruments[i]["sibling"]
    if sibling != NONE:
        net += book.positions[sibling]["quantity"]
    rule = setup.rules[0]["intrabar"]
    if rule in (COLOR, CLOSE_ONLY) or net == 0.0:
        return int(p["up"])
    return int((net > 0.0) == (rule == ADVERSE))


@step
def has_joint_path(book: Book) -> bool:
    """Return whether several symbols move the cross balance, collateral included: legs of one share its path anyway."""
    account = book.account[0]
    for j in range(1, account["cross_count"] + account["collateral_count"]):
        if book.positions[book.cross[j]]["row"] != book.positions[book.cross[0]]["row"]:
            return bool(account["cross_count"] > 0)
    return False


@step
def choose_order(
    setup: Setup,
    book: Book,
    joint: int,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    bar: int,
) -> None:
    """Say for each held position, each held spot and each awake slot whether its path visits the low first.

    Parameters
    ----------
    joint : int
        `JointPath` of several cross positions under ``adverse`` and ``favorable``.
    """
    account = book.account[0]
    for j in range(held_count(book)):
        i = held_at(book, j)
        book.positions[i]["low_first"] = visits_low_first(setup, book, i)
    for j in range(account["spot_count"]):
        book.positions[book.spot[j]]["low_first"] = visits_low_first(setup, book, book.spot[j])
    rule = setup.rules[0]["intrabar"]
    for n in range(account["awake"]):
        i = book.awake[n]
        if book.positions[i]["quantity"] == 0.0 or setup.instruments[i]["is_spot"] == 1:
            book.positions[i]["low_first"] = visits_low_first(setup, book, i)
    if rule in (ADVERSE, FAVORABLE) and joint == COMMON and has_joint_path(book):
        lower_at_low = cross_excess(setup, book, low, bar) <= cross_excess(setup, book, high, bar)
        low_first = int(lower_at_low == (rule == ADVERSE))
        for j in range(account["cross_count"] + account["collateral_count"]):
            book.positions[book.cross[j]]["low_first"] = low_first
    for n in range(account["awake"]):
        i = book.awake[n]
        sibling = setup.instruments[i]["sibling"]
        if sibling != NONE and book.positions[i]["quantity"] == 0.0 and book.positions[sibling]["quantity"] != 0.0:
            book.positions[i]["low_first"] = book.positions[sibling]["low_first"]


# -- legs ------------------------------------------------------------------------------------------------------------


@inlined
def point_of(leg: int, low_first: int, open_: float, high: float, low: float, close: float) -> float:
    """Return the price at the start of a leg: 0 open, 1 and 2 the extremes, 3 close."""
    if leg == 0:
        return open_
    if leg == 3:
        return close
    return low if (leg == 1) == (low_first == 1) else high


@inlined
def put_slot_on_leg(
    book: Book,
    i: int,
    leg: int,
    last: int,
    bar: int,
    open_: NDArray[np.float64],
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    close: NDArray[np.float64],
    series: int,
) -> None:
    """Put a slot's mark, trade or index on a leg of the bar's path."""
    p = book.positions[i]
    row = p["row"]
    start = point_of(leg, p["low_first"], open_[row, bar], high[row, bar], low[row, bar], close[row, bar])
    end = point_of(last, p["low_first"], open_[row, bar], high[row, bar], low[row, bar], close[row, bar])
    if series == TRADES:
        p["trade_from"] = start
        p["trade_to"] = end
    elif series == MARKS:
        p["value_from"] = start
        p["value_to"] = end
    else:
        p["index_from"] = start
        p["index_to"] = end


@step
def put_on_leg(
    setup: Setup,
    book: Book,
    leg: int,
    only_open: int,
    held: int,
    bar: int,
    open_: NDArray[np.float64],
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    close: NDArray[np.float64],
    series: int,
) -> None:
    """Put the awake slots, and what is held, on a leg of the bar's path; at the open the leg has no length.

    Parameters
    ----------
    held : int
        Whether positions and held spot are put there too.
    """
    account = book.account[0]
    last = 3 if setup.rules[0]["intrabar"] == CLOSE_ONLY else leg + 1
    if only_open == YES:
        last = 0
    if held == YES:
        for j in range(held_count(book)):
            put_slot_on_leg(book, held_at(book, j), leg, last, bar, open_, high, low, close, series)
        for j in range(account["spot_count"]):
            put_slot_on_leg(book, book.spot[j], leg, last, bar, open_, high, low, close, series)
    for n in range(account["awake"]):
        put_slot_on_leg(book, book.awake[n], leg, last, bar, open_, high, low, close, series)


@step
def cross_trigger(setup: Setup, book: Book, at: float) -> float:
    """Return the fraction of the leg at which the cross account is used up, or ``NEVER``."""
    account = book.account[0]
    count = account["cross_count"]
    return first_trigger(setup, book, book.cross, count, account["collateral_count"], account["free_wallet"], at)


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
    choose_order(setup, book, joint, low, high, bar)
    for leg in range(3):
        put_on_leg(setup, book, leg, NO, YES, bar, open_, high, low, close, MARKS)
        if cross_trigger(setup, book, 0.0) <= 1.0:
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
    if not has_joint_path(book) or setup.rules[0]["intrabar"] != ADVERSE:
        return 0
    if not cross_would_trigger(setup, book, WORST, bar, open_, high, low, close):
        return 0
    if cross_would_trigger(setup, book, COMMON, bar, open_, high, low, close):
        return 0
    book.account[0]["disputed_bars"] += 1
    return 1


# -- what fires ------------------------------------------------------------------------------------------------------


@step
def next_liquidation(setup: Setup, book: Book, at: float) -> tuple[float, int]:
    """Return the fraction of the leg at which the next group is used up, and the group."""
    account = book.account[0]
    first = NEVER
    group = NO_GROUP
    for j in range(account["isolated_count"]):
        i = book.isolated[j]
        if book.positions[i]["walked"] == NO:
            continue
        book.single[0] = i
        f = first_trigger(setup, book, book.single, ONE, NO_SPOT, book.positions[i]["margin"], at)
        if f < first:
            first = f
            group = i
    if account["walk_cross"] == YES and account["cross_count"] > 0:
        f = cross_trigger(setup, book, at)
        if f < first:
            first = f
            group = CROSS_GROUP
    return first, group


@inlined
def hold_at(book: Book, i: int, at: float) -> None:
    """Put a slot's mark and trade at a fraction of the leg."""
    p = book.positions[i]
    p["value_now"] = p["value_from"] + at * (p["value_to"] - p["value_from"])
    p["trade_now"] = p["trade_from"] + at * (p["trade_to"] - p["trade_from"])


@step
def hold_all_at(book: Book, at: float) -> None:
    """Put what is held, spot included, at a fraction of the leg."""
    account = book.account[0]
    for j in range(held_count(book)):
        hold_at(book, held_at(book, j), at)
    for j in range(account["spot_count"]):
        hold_at(book, book.spot[j], at)


@step
def liquidate_on_leg(setup: Setup, book: Book, journal: Journal, disputed: int) -> None:
    """Liquidate along one leg, in the order of the triggers, each on what the one before left."""
    at = 0.0
    while held_count(book) > 0:
        first, group = next_liquidation(setup, book, at)
        if group == NO_GROUP or first > 1.0:
            return
        at = first
        hold_all_at(book, at)
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
    """Liquidate along a bar's path, leg by leg, or at its open alone; orders do not take part.

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
    book.account[0]["awake"] = 0
    if only_open == YES:
        legs = 1
    else:
        if book.account[0]["walk_cross"] == YES:
            disputed = judge_dispute(setup, book, bar, open_, high, low, close)
        choose_order(setup, book, setup.rules[0]["joint"], low, high, bar)
        if setup.rules[0]["intrabar"] == CLOSE_ONLY:
            legs = 1
    for leg in range(legs):
        put_on_leg(setup, book, leg, only_open, YES, bar, open_, high, low, close, MARKS)
        put_on_leg(setup, book, leg, only_open, YES, bar, trade_open, trade_high, trade_low, trade_close, TRADES)
        liquidate_on_leg(setup, book, journal, disputed)


@step
def enter_walk(setup: Setup, market: Market, book: Book, bar: int) -> None:
    """Let every position take part in a walk on the bar's own path."""
    book.account[0]["walk_cross"] = YES
    for i in range(book.positions.size):
        book.positions[i]["walked"] = YES
        if setup.rules[0]["intrabar"] == COLOR or setup.instruments[i]["sibling"] != NONE:
            set_color(market, book, i, bar)
    for n in range(book.account[0]["awake"]):
        set_color(market, book, book.awake[n], bar)


@step
def set_color(market: Market, book: Book, i: int, bar: int) -> None:
    """Keep whether a slot's traded bar closed at or above its open: only some paths depend on it."""
    p = book.positions[i]
    p["up"] = int(market.trade_close[p["row"], bar] >= market.trade_open[p["row"], bar])


@step
def enter_coarse_walk(setup: Setup, market: Market, book: Book, bar: int) -> None:
    """Let those take part in a coarse walk that were held unchanged since the mark bar's open; count the rest."""
    account = book.account[0]
    account["walk_cross"] = YES if account["cross_count"] > 0 else NO
    for i in range(book.positions.size):
        p = book.positions[i]
        p["up"] = market.coarse_up[p["row"], market.coarse_bar[bar]]
        p["walked"] = NO
        same = p["quantity"] == p["quantity_before"]
        if setup.instruments[i]["is_spot"] == 1:
            continue
        if setup.instruments[i]["margin_mode"] != ISOLATED:
            account["walk_cross"] = account["walk_cross"] if same else NO
        elif p["quantity"] != 0.0:
            p["walked"] = int(same)
            account["coarse_unchecked"] += int(not same)
    if account["cross_count"] > 0 and account["walk_cross"] == NO:
        account["coarse_unchecked"] += 1


@step
def walk_own_bar(setup: Setup, market: Market, book: Book, journal: Journal, bar: int, only_open: int) -> None:
    """Walk the bar's own path (step 5) without orders, or look at its open alone (step 2)."""
    enter_walk(setup, market, book, bar)
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


# -- the path with orders on it --------------------------------------------------------------------------------------


@step
def put_all_on_leg(setup: Setup, market: Market, book: Book, leg: int, held: int, bar: int) -> None:
    """Put marks, trades and indices of a bar's own path on a leg."""
    put_on_leg(
        setup,
        book,
        leg,
        NO,
        held,
        bar,
        market.path_open,
        market.path_high,
        market.path_low,
        market.path_close,
        MARKS,
    )
    put_on_leg(
        setup,
        book,
        leg,
        NO,
        held,
        bar,
        market.trade_open,
        market.trade_high,
        market.trade_low,
        market.trade_close,
        TRADES,
    )
    if market.index_open.shape[1] > 0:
        put_on_leg(
            setup,
            book,
            leg,
            NO,
            NO,
            bar,
            market.index_open,
            market.index_high,
            market.index_low,
            market.index_close,
            INDEX,
        )


@step
def may_open(book: Book, bar: int) -> bool:
    """Return whether an awake order could open a position: then the margin of all others matters."""
    for n in range(book.account[0]["awake"]):
        k = book.positions[book.awake[n]]["first_order"]
        while k != NONE:
            o = book.resting[k]
            if o["wake"] <= bar and o["reduce_only"] == 0:
                return True
            k = o["next"]
    return False


@step
def fire_on_leg(
    setup: Setup,
    market: Market,
    book: Book,
    journal: Journal,
    bar: int,
    leg: int,
    disputed: int,
    watch: int,
) -> int:
    """Let liquidations and orders fire along one leg; return whether liquidation must be looked for from here on.

    Parameters
    ----------
    watch : int
        1: a position may be liquidated in this bar, or one may open.
    """
    put_all_on_leg(setup, market, book, leg, watch, bar)
    at = 0.0
    while True:
        first = NEVER
        group = NO_GROUP
        if watch == YES:
            first, group = next_liquidation(setup, book, at)
        f, k = next_on_leg(setup, book, bar, at)
        if k != NOTHING and f < first:
            first = f
            group = NO_GROUP
        if first > 1.0:
            break
        at_order = group == NO_GROUP
        if watch == YES:
            hold_all_at(book, first)
        is_gap = False
        if at_order:
            move_to(book, bar, at)
            is_gap = first == at and has_passed(setup, book, k, watched_now(book, k))
        move_to(book, bar, first)
        at = first
        if not at_order:
            liquidate(setup, book, journal, group, disputed if group == CROSS_GROUP else UNDISPUTED)
            continue
        fire(setup, market, book, journal, k, bar, is_gap)
        if watch == NO and not is_safe_between(setup, book, market.path_low, market.path_high, bar):
            watch = YES
            put_all_on_leg(setup, market, book, leg, watch, bar)
    move_to(book, bar, 1.0)
    return watch


@step
def walk_bar(setup: Setup, market: Market, book: Book, journal: Journal, bar: int) -> None:
    """Walk a bar's own path: resting orders and liquidations (step 5)."""
    account = book.account[0]
    is_safe = is_safe_between(setup, book, market.path_low, market.path_high, bar)
    rouse(setup, market, book, bar, market.trade_open, market.path_open, market.index_open)
    if account["awake"] == 0:
        if not is_safe:
            set_engine_slippage(setup, market, book, bar)
            walk_own_bar(setup, market, book, journal, bar, NO)
        return
    set_engine_slippage(setup, market, book, bar)
    enter_walk(setup, market, book, bar)
    watch = YES if not is_safe or may_open(book, bar) else NO
    disputed = UNDISPUTED
    if not is_safe:
        disputed = judge_dispute(
            setup, book, bar, market.path_open, market.path_high, market.path_low, market.path_close
        )
    choose_order(setup, book, setup.rules[0]["joint"], market.path_low, market.path_high, bar)
    for leg in range(1 if setup.rules[0]["intrabar"] == CLOSE_ONLY else 3):
        watch = fire_on_leg(setup, market, book, journal, bar, leg, disputed, watch)
    account["awake"] = 0
