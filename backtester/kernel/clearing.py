"""The clearing of a whole market, bar by bar: the order of events, and the books closed after each bar.

Accounts whose positions sum to zero, the liquidation engine, its funds and one outside market are replayed over mark,
trade and funding series. Each leg of a bar's path is walked from trigger to trigger; what the engine sells moves the
price, which can bring the next trigger near. Source: accounting specification, sections 5 to 7.
"""

from __future__ import annotations

import math

from backtester.kernel._jit import constant, entry, step
from backtester.kernel.clearing_engine import (
    fund_worth,
    mark_at_end,
    outside_trades,
    pay_wallet,
    place_mark,
    sell_inventory,
    set_holding,
)
from backtester.kernel.clearing_funding import pay_accounts, settle_due
from backtester.kernel.clearing_groups import group_balance, group_requirement, joint_changed
from backtester.kernel.clearing_joint import NEVER, leave_leg, next_joint, open_joint
from backtester.kernel.clearing_liquidation import liquidate
from backtester.kernel.clearing_queue import (
    light_at,
    note_peak,
    peak_of,
    run_waterfall,
    share_losses,
    start_period,
)
from backtester.kernel.clearing_state import (
    ALONE,
    BELOW_LIMIT,
    CASH,
    CHECKED,
    CLOSED,
    DELEVERAGINGS,
    ENDLESS,
    GUEST,
    GUEST_NEXT,
    LAST_CHECK,
    MONEY_LOST,
    MOVED_IN,
    PINNED,
    SCALE,
    SIZES_APART,
    START,
    SUMMED,
    Books,
    Journal,
    World,
)
from backtester.kernel.clearing_watch import (
    backing,
    cross_edge,
    line_at,
    new_bracket,
    next_high,
    next_low,
    watch_again,
    watch_all,
)
from backtester.kernel.value import average_entry, unrealized_pnl

TOLERANCE = 1e-9
OPEN, HIGH, LOW, CLOSE = 0, 1, 2, 3
LEGS = 3
AT_OPEN, INSIDE = constant(0), constant(1)
CHECK_MS = 24 * 3_600_000  # between two checks that ask each account for its limit


@step
def fraction_at(f: float, here: float, there: float, value: float) -> float:
    """Return the fraction of the whole leg at which a mark that is at ``here`` now comes to a value."""
    if there == here:
        return f
    return min(1.0, f + (1.0 - f) * max(0.0, (value - here) / (there - here)))


@step
def next_alone(world: World, books: Books, f: float) -> tuple[int, float, float, int]:
    """Return the next position that stands alone and has an event on the leg: number, value, fraction, falling."""
    best = -1
    value = 0.0
    soonest = NEVER
    falling = 1
    for c in range(world.contracts.size):
        here = books.state[c]["mark"]
        there = mark_at_end(world, books, c)
        p, at = next_low(world, books, c, here, there)
        if p >= 0:
            fraction = fraction_at(f, here, there, at)
            if fraction < soonest:
                best, value, soonest, falling = p, at, fraction, 1
        p, at = next_high(world, books, c, here, there)
        if p >= 0:
            fraction = fraction_at(f, here, there, at)
            if fraction < soonest:
                best, value, soonest, falling = p, at, fraction, 0
    return best, value, soonest, falling


@step
def walk_leg(world: World, books: Books, journal: Journal, bar: int) -> bool:
    """Walk all contracts along the present leg, from trigger to trigger; return whether the end was reached."""
    f = 0.0
    for _ in range(1000 + 64 * books.positions.size):
        p, value, soonest, falling = next_alone(world, books, f)
        joint, at = next_joint(world, books, f)
        if joint >= 0 and (at < soonest or p < 0):
            f = at
            for c in range(world.contracts.size):
                place_mark(world, books, c, f)
            liquidate(world, books, journal, bar, books.accounts[joint]["first"], f)
            continue
        if p < 0:
            for c in range(world.contracts.size):
                place_mark(world, books, c, 1.0)
            leave_leg(world, books)
            return True
        f = soonest
        for c in range(world.contracts.size):
            place_mark(world, books, c, f)
        books.state[books.positions[p]["contract"]]["mark"] = value
        if not cross_edge(world, books, p, falling == 1):
            liquidate(world, books, journal, bar, p, f)
    return False


@step
def stand_still(world: World, books: Books) -> None:
    """Make the end of the leg its start, so that walking it only settles what is due where the marks stand."""
    for c in range(world.contracts.size):
        state = books.state[c]
        state["mark_from"] = state["mark_to"]
        state["trade_from"] = state["trade_to"]
        place_mark(world, books, c, 1.0)


@step
def settle_point(world: World, books: Books, journal: Journal, bar: int, now: int) -> bool:
    """Run the waterfall at a point of the path until it asks for nothing more; return whether that came to an end."""
    for _ in range(1000):
        if not run_waterfall(world, books, journal, bar, now):
            return True
        stand_still(world, books)
        if not walk_leg(world, books, journal, bar):
            return False
    return False


@step
def guest_trades(world: World, books: Books, bar: int) -> None:
    """Let the guest do what its path says for this bar, against the outside market."""
    n = books.counters[GUEST_NEXT]
    guest = books.accounts.size - 1
    while n < world.guest.size and world.guest[n]["bar"] <= bar:
        event = world.guest[n]
        c = event["contract"]
        change = event["quantity"]
        value = event["value"]
        p = books.accounts[guest]["first"] + c
        position = books.positions[p]
        held = position["quantity"]
        if change != 0.0:
            if held * change >= 0.0:
                set_holding(books, p, held + change, average_entry(held, position["entry"], change, value))
            else:
                side = 1.0 if held > 0.0 else -1.0
                closed = min(abs(held), abs(change))
                pay_wallet(books, guest, unrealized_pnl(side * closed, position["entry"], value))
                left = held + change if closed < abs(held) else 0.0
                set_holding(books, p, left, position["entry"] if left != 0.0 else 0.0)
                beyond = change + side * closed
                if closed == abs(held) and beyond != 0.0:
                    set_holding(books, p, beyond, value)
            outside_trades(books, c, -change, value)
        pay_wallet(books, guest, event["cash"])
        books.totals[MOVED_IN] += event["cash"]
        books.accounts[guest]["paid_in"] += event["cash"]
        n += 1
    books.counters[GUEST_NEXT] = n


@step
def begin_bar(world: World, books: Books, bar: int) -> None:
    """Set what belongs to one bar: the point of the open, volume, counts, and the brackets that steps had pinned."""
    rules = world.rules[0]
    for c in range(world.contracts.size):
        state = books.state[c]
        state["previous_mark"] = state["mark"]
        state["shift"] *= rules["fading"]
        state["volume"] = world.volume[c, bar]
        state["budget"] = rules["volume_share"] * state["volume"] if rules["volume_share"] < math.inf else math.inf
        state["liquidated"] = 0.0
        state["deleveraged"] = 0.0
        state["sold"] = 0.0
        state["liquidations"] = 0
        state["mark_to"] = world.mark[OPEN, c, bar]
        state["trade_to"] = world.trade[OPEN, c, bar]
    stand_still(world, books)
    if bar == 0:
        for c in range(world.contracts.size):
            books.state[c]["previous_mark"] = books.state[c]["mark"]
    for fund in range(books.funds.size):
        row = books.funds[fund]
        row["surplus"] = 0.0
        row["deficit"] = 0.0
        row["fees"] = 0.0
        row["funding"] = 0.0
        row["shared"] = 0.0
    for n in range(books.counters[PINNED]):
        p = books.pinned[n]
        books.positions[p]["pinned"] = 0
        new_bracket(world, books, p, books.state[books.positions[p]["contract"]]["mark"])
        watch_again(world, books, p)
        joint_changed(books, books.positions[p]["account"])
    books.counters[PINNED] = 0


@step
def aim_leg(world: World, books: Books, bar: int, leg: int) -> None:
    """Set the ends of a leg: low first where the trade bar closes at or above its open, else high first."""
    for c in range(world.contracts.size):
        state = books.state[c]
        rising = world.trade[CLOSE, c, bar] >= world.trade[OPEN, c, bar]
        point = CLOSE
        if leg == 0:
            point = LOW if rising else HIGH
        elif leg == 1:
            point = HIGH if rising else LOW
        state["mark_from"] = state["mark_to"]
        state["trade_from"] = state["trade_to"]
        state["mark_to"] = world.mark[point, c, bar]
        state["trade_to"] = world.trade[point, c, bar]


@step
def period_of(time: int, length: int, offset: int) -> int:
    """Return the number of the period that holds a moment; a moment on a boundary begins the next."""
    return (time - offset) // length


@step
def end_bar(world: World, books: Books, journal: Journal, bar: int) -> None:
    """Book what is due and write the bar's row of each contract and fund."""
    rules = world.rules[0]
    begin = world.open_time[bar]
    close = begin + world.bar_ms
    if rules["booking_ms"] > 0:
        length = rules["booking_ms"]
        offset = rules["booking_offset_ms"]
        if period_of(begin, length, offset) != period_of(close, length, offset):
            for fund in range(books.funds.size):
                books.funds[fund]["balance"] += books.funds[fund]["pending"]
                books.funds[fund]["pending"] = 0.0
    for c in range(world.contracts.size):
        state = books.state[c]
        row = journal.bars[c, bar]
        row["liquidated_notional"] = state["liquidated"]
        row["deleveraged_notional"] = state["deleveraged"]
        row["sold_notional"] = state["sold"]
        row["inventory"] = state["engine_quantity"]
        row["price_shift"] = state["shift"]
        row["mark"] = state["mark"]
        row["open_interest"] = state["long_quantity"] + max(state["engine_quantity"], 0.0)
        row["open_interest"] += max(state["outside_quantity"], 0.0)
        row["outside_quantity"] = state["outside_quantity"]
        row["liquidations"] = state["liquidations"]
    for fund in range(books.funds.size):
        source = books.funds[fund]
        target = journal.funds[fund, bar]
        target["balance"] = source["balance"]
        target["pending"] = source["pending"]
        target["unrealized"] = fund_worth(world, books, fund) - source["balance"] - source["pending"]
        target["surplus"] = source["surplus"]
        target["deficit"] = source["deficit"]
        target["fees"] = source["fees"]
        target["funding"] = source["funding"]
        target["shared"] = source["shared"]
        target["deleveraging"] = source["active"]
        note_peak(books, journal, fund, bar)
        target["peak"] = peak_of(world, books, journal, fund, close)


@step
def everything(books: Books) -> float:
    """Return what all hold together: accounts, engine, outside market and funds, without open profit."""
    total = books.totals[CASH] - books.totals[MOVED_IN]
    for c in range(books.state.size):
        state = books.state[c]
        total += state["outside_cash"] - state["engine_quantity"] * state["engine_entry"]
    for fund in range(books.funds.size):
        total += books.funds[fund]["balance"] + books.funds[fund]["pending"]
    return total


@step
def sum_of_accounts(books: Books) -> float:
    """Return the accounts' part of it, summed in full."""
    total = 0.0
    for a in range(books.accounts.size):
        total += books.accounts[a]["wallet"]
    for p in range(books.positions.size):
        position = books.positions[p]
        total += position["margin"] - position["quantity"] * position["entry"]
    return total


@step
def lowest_excess(world: World, books: Books) -> float:
    """Return the least of balance less requirement, as a part of the notional, over all that can be liquidated."""
    worst = math.inf
    for p in range(books.positions.size):
        position = books.positions[p]
        if position["quantity"] == 0.0 or position["kind"] == GUEST or position["pinned"] > 0:
            continue
        mark = books.state[position["contract"]]["mark"]
        if position["kind"] == ALONE:
            constant, slope = line_at(world, books, p, position["tier"])
            excess = backing(books, p) + unrealized_pnl(position["quantity"], position["entry"], mark)
            excess -= constant + slope * abs(mark)
        else:
            first = books.accounts[position["account"]]["first"]
            if p > first:  # the account was looked at with its first position, unless that is flat
                excess = math.inf if books.positions[p - 1]["quantity"] != 0.0 else joint_excess(world, books, p)
            else:
                excess = joint_excess(world, books, p)
        books.counters[CHECKED] += 1
        if excess < worst * abs(position["quantity"] * mark):
            worst = excess / abs(position["quantity"] * mark)
    return worst


@step
def joint_excess(world: World, books: Books, p: int) -> float:
    """Return balance less requirement of an account with several cross positions."""
    account = books.accounts[books.positions[p]["account"]]
    for j in range(account["first"], account["stop"]):
        new_bracket(world, books, j, books.state[books.positions[j]["contract"]]["mark"])
    return group_balance(books, p) - group_requirement(world, books, p)


@step
def sizes_differ(books: Books) -> bool:
    """Return whether the positions of any contract do not sum to zero, engine and outside market included."""
    for c in range(books.state.size):
        state = books.state[c]
        size = state["long_quantity"] + abs(state["engine_quantity"]) + abs(state["outside_quantity"])
        state["largest_interest"] = max(size, state["largest_interest"])
        held = state["account_quantity"] + state["engine_quantity"] + state["outside_quantity"]
        if abs(held) > TOLERANCE * state["largest_interest"]:
            return True
    return False


@step
def close_books(world: World, books: Books, journal: Journal, bar: int, thorough: bool) -> int:
    """Check a bar's books; return what is wrong with them.

    The heaps tell whether any account stands below its limit; a thorough check asks each of them.
    """
    error = abs(everything(books) - books.totals[START]) / books.totals[SCALE]
    error = max(error, books.totals[SUMMED])
    books.totals[SUMMED] = 0.0
    journal.error[bar] = error
    if not error <= TOLERANCE:
        return MONEY_LOST
    if sizes_differ(books):
        return SIZES_APART
    for c in range(world.contracts.size):
        here = books.state[c]["mark"]
        p, _ = next_low(world, books, c, here, here)
        if p >= 0 and cash_below(world, books, p):
            return BELOW_LIMIT
        p, _ = next_high(world, books, c, here, here)
        if p >= 0 and cash_below(world, books, p):
            return BELOW_LIMIT
    if thorough:
        books.counters[LAST_CHECK] = bar
        if not lowest_excess(world, books) >= -TOLERANCE:
            return BELOW_LIMIT
    return CLOSED


@step
def cash_below(world: World, books: Books, p: int) -> bool:
    """Return whether a position lacks more than rounding at the present mark."""
    position = books.positions[p]
    notional = abs(position["quantity"] * books.state[position["contract"]]["mark"])
    return group_balance(books, p) < group_requirement(world, books, p) - TOLERANCE * notional


@step
def open_books(world: World, books: Books) -> None:
    """Find brackets, keys and sums before the first bar; marks stand at its open."""
    for c in range(world.contracts.size):
        state = books.state[c]
        state["mark_to"] = world.mark[OPEN, c, 0]
        state["trade_to"] = world.trade[OPEN, c, 0]
    stand_still(world, books)
    for p in range(books.positions.size):
        position = books.positions[p]
        state = books.state[position["contract"]]
        new_bracket(world, books, p, state["mark"])
        state["account_quantity"] += position["quantity"]
        state["long_quantity"] += max(position["quantity"], 0.0)
    for c in range(world.contracts.size):
        books.state[c]["largest_interest"] = books.state[c]["long_quantity"] + abs(books.state[c]["outside_quantity"])
    watch_all(world, books)
    books.totals[CASH] = sum_of_accounts(books)
    books.totals[START] = everything(books)
    start_period(books)


@entry
def clear_market(world: World, books: Books, journal: Journal, light_every: int) -> tuple[int, int]:
    """Replay a population of accounts over a market.

    Parameters
    ----------
    world : World
        Contracts, brackets, rules and series; checked.
    books : Books
        Accounts, positions, funds and heaps, which are changed.
    journal : Journal
        Records, filled; what finds no room in them is counted.
    light_every : int
        Bars between two looks at the guest's place in the queue; 0: none.

    Returns
    -------
    outcome, bar : int
        ``CLOSED`` and the number of bars, or what is wrong with the books and the bar after which it is.
    """
    bars = world.open_time.size
    open_books(world, books)
    open_joint(world, books)
    row = 0
    rules = world.rules[0]
    for bar in range(bars):
        now = world.open_time[bar]
        close = now + world.bar_ms
        first_row = row
        deleveragings = books.counters[DELEVERAGINGS]
        begin_bar(world, books, bar)
        row = settle_due(world, books, bar, row, AT_OPEN)
        if not walk_leg(world, books, journal, bar):
            return ENDLESS, bar
        for c in range(world.contracts.size):
            if books.state[c]["engine_quantity"] != 0.0:
                sell_inventory(world, books, c, 1.0)
        stand_still(world, books)
        if not walk_leg(world, books, journal, bar) or not settle_point(world, books, journal, bar, now):
            return ENDLESS, bar
        for n in range(deleveragings, min(books.counters[DELEVERAGINGS], journal.deleveragings.size)):
            journal.deleveragings[n]["at_open"] = 1
        guest_trades(world, books, bar)
        row = settle_due(world, books, bar, row, INSIDE)
        for leg in range(LEGS):
            aim_leg(world, books, bar, leg)
            if not walk_leg(world, books, journal, bar) or not settle_point(world, books, journal, bar, now):
                return ENDLESS, bar
        if rules["shares_losses"] == 1:
            length = rules["sharing_ms"]
            offset = rules["sharing_offset_ms"]
            if period_of(now, length, offset) != period_of(close, length, offset):
                share_losses(world, books, journal, bar)
                start_period(books)
                stand_still(world, books)
                if not walk_leg(world, books, journal, bar):
                    return ENDLESS, bar
        end_bar(world, books, journal, bar)
        if bar == bars - 1:
            pay_accounts(books)  # nothing is due: this only sums up
        since = (bar - books.counters[LAST_CHECK]) * world.bar_ms
        thorough = bar == bars - 1 or (row > first_row and since >= CHECK_MS)
        outcome = close_books(world, books, journal, bar, thorough)
        if outcome != CLOSED:
            return outcome, bar
        if light_every > 0 and (
            bar % light_every == 0 or bar == bars - 1 or books.counters[DELEVERAGINGS] > deleveragings
        ):
            guest = books.accounts.size - 1
            for c in range(world.contracts.size):
                journal.lights[c, bar] = light_at(world, books, books.accounts[guest]["first"] + c)
    return CLOSED, bars
