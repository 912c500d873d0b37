"""Who pays what the fund cannot: the deleveraging queue and shared losses.

Source: accounting specification, section 7.
"""

from __future__ import annotations

import math

from backtester.kernel._jit import constant, step
from backtester.kernel.clearing_engine import engine_trades, fund_worth, pay_margin, pay_wallet, set_holding
from backtester.kernel.clearing_groups import group_requirement, group_span, watch_account
from backtester.kernel.clearing_liquidation import lift_debt
from backtester.kernel.clearing_state import (
    ALONE,
    AT_BANKRUPTCY,
    AT_MARK,
    CLAWBACKS,
    DELEVERAGINGS,
    DUST,
    GUEST,
    RANK_BINANCE,
    RANK_BITMEX,
    RANK_HYPERLIQUID,
    SCALE,
    Books,
    Floats,
    Ints,
    Journal,
    World,
)
from backtester.kernel.clearing_watch import new_bracket
from backtester.kernel.margin import initial_margin
from backtester.kernel.value import unrealized_pnl

TOP = constant(0)


@step
def account_equity(books: Books, a: int) -> float:
    """Return the equity of a whole account at the marks."""
    account = books.accounts[a]
    total = account["wallet"]
    for p in range(account["first"], account["stop"]):
        position = books.positions[p]
        mark = books.state[position["contract"]]["mark"]
        total += position["margin"] + unrealized_pnl(position["quantity"], position["entry"], mark)
    return total


@step
def margin_balance(books: Books, p: int) -> float:
    """Return the margin balance that stands behind a position at the marks: its own, or the cross account's."""
    position = books.positions[p]
    a = position["account"]
    if books.accounts[a]["isolated"] == 1:
        mark = books.state[position["contract"]]["mark"]
        return position["margin"] + unrealized_pnl(position["quantity"], position["entry"], mark)
    return account_equity(books, a)


@step
def bitmex_score(profit: float, entry_notional: float, notional: float, balance: float) -> float:
    """Return profit ratio times effective leverage for a winner, divided by it for a loser."""
    ratio = profit / entry_notional
    leverage = notional / balance
    return ratio * leverage if profit > 0.0 else ratio / leverage


@step
def binance_score(profit: float, wallet: float, maintenance: float, balance: float) -> float:
    """Return the profit ratio of the wallet times the margin ratio; 0 for a loser."""
    return max(0.0, profit) / max(1.0, wallet) * maintenance / balance


@step
def hyperliquid_score(gain: float, notional: float, balance: float) -> float:
    """Return how far the mark has come from the entry, as a ratio above 1 for winners, times the leverage in use."""
    return gain * notional / balance


@step
def rank_score(world: World, books: Books, p: int) -> float:
    """Return the figure that ranks a position in the deleveraging queue, the largest first; -inf: not in it."""
    position = books.positions[p]
    balance = margin_balance(books, p)
    if not balance > 0.0:
        return -math.inf
    account = books.accounts[position["account"]]
    mark = books.state[position["contract"]]["mark"]
    quantity = position["quantity"]
    if position["kind"] != ALONE:
        first, stop = group_span(books, p)
        for j in range(first, stop):
            new_bracket(world, books, j, books.state[books.positions[j]["contract"]]["mark"])
    profit = unrealized_pnl(quantity, position["entry"], mark)
    ranking = world.rules[0]["ranking"]
    if ranking == RANK_BINANCE:
        wallet = position["margin"] if account["isolated"] == 1 else account["wallet"]
        if account["isolated"] == 0:
            profit = balance - wallet
        return binance_score(profit, wallet, group_requirement(world, books, p), balance)
    if ranking == RANK_BITMEX:
        return bitmex_score(profit, abs(quantity * position["entry"]), abs(quantity * mark), balance)
    if ranking == RANK_HYPERLIQUID:
        sign = world.contracts[position["contract"]]["sign"]
        ratio = mark / position["entry"] if sign > 0.0 else position["entry"] / mark
        return hyperliquid_score(ratio if quantity > 0.0 else 1.0 / ratio, abs(quantity * mark), balance)
    return profit / initial_margin(quantity, position["entry"], account["leverage"])


@step
def goes_first(score: Floats, p: int, q: int) -> bool:
    """Return whether position ``p`` stands before ``q`` in the queue; ties by number, which ascends with accounts."""
    return score[p] > score[q] or (score[p] == score[q] and p < q)


@step
def sink(score: Floats, order: Ints, stop: int, at: int) -> None:
    """Restore the heap below a place, the first in the queue at the top."""
    p = order[at]
    while True:
        below = 2 * at + 1
        if below >= stop:
            break
        if below + 1 < stop and goes_first(score, order[below + 1], order[below]):
            below += 1
        if not goes_first(score, order[below], p):
            break
        order[at] = order[below]
        at = below
    order[at] = p


@step
def queue_up(world: World, books: Books, c: int, side: float) -> tuple[int, float]:
    """Put the positions of one side of a contract into ``books.order`` as a heap; return count and quantity."""
    count = 0
    total = 0.0
    for p in range(books.positions.size):
        position = books.positions[p]
        if position["contract"] == c and position["quantity"] * side > 0.0:
            books.score[p] = rank_score(world, books, p)
            books.order[count] = p
            count += 1
            total += abs(position["quantity"])
    for j in range(count // 2):
        sink(books.score, books.order, count, count // 2 - 1 - j)
    return count, total


@step
def light_of(cumulative: float, total: float) -> int:
    """Return the light of a place in the queue, 1 for the first fifth of the quantity, 5 for the last."""
    return max(1, min(5, math.ceil(5.0 * cumulative / total * (1.0 - 1e-12))))


@step
def light_at(world: World, books: Books, guest: int) -> int:
    """Return the light of one position without sorting the queue; 0 when flat."""
    held = books.positions[guest]["quantity"]
    if held == 0.0:
        return 0
    c = books.positions[guest]["contract"]
    own = rank_score(world, books, guest)
    before = 0.0
    total = 0.0
    for p in range(books.positions.size):
        position = books.positions[p]
        if position["contract"] == c and position["quantity"] * held > 0.0:
            total += abs(position["quantity"])
            score = rank_score(world, books, p)
            if score > own or (score == own and p <= guest):
                before += abs(position["quantity"])
    return light_of(before, total)


@step
def deleveraging_value(world: World, books: Books, c: int) -> float:
    """Return the value at which accounts are closed against the engine."""
    state = books.state[c]
    rules = world.rules[0]
    price = rules["price"]
    if price == AT_MARK:
        return state["mark"]
    if price == AT_BANKRUPTCY:
        entry = state["engine_entry"]
        sign = world.contracts[c]["sign"]
        ratio = entry / state["mark"] if sign > 0.0 else state["mark"] / entry
        if not ratio > 0.0 or abs(ratio - 1.0) > rules["bankruptcy_band"]:
            return state["mark"] if rules["bankruptcy_band"] < math.inf else entry
        return entry
    return state["previous_mark"]


@step
def close_against_engine(world: World, books: Books, p: int, closed: float, value: float) -> None:
    """Close a part (unsigned) of an account's position at a value; margin and profit go to the free wallet."""
    position = books.positions[p]
    a = position["account"]
    held = position["quantity"]
    side = 1.0 if held > 0.0 else -1.0
    whole = closed >= abs(held)
    released = position["margin"] if whole else position["margin"] * closed / abs(held)
    position["margin"] -= released
    books.accounts[a]["wallet"] += released
    pay_wallet(books, a, unrealized_pnl(side * closed, position["entry"], value))
    left = 0.0 if whole else held - side * closed
    set_holding(books, p, left, position["entry"] if left != 0.0 else 0.0)
    if left != 0.0:
        new_bracket(world, books, p, books.state[position["contract"]]["mark"])
    elif position["kind"] != GUEST:
        lift_debt(world, books, a, position["contract"])
    watch_account(world, books, a)


@step
def deleverage(world: World, books: Books, journal: Journal, bar: int, c: int) -> bool:
    """Close the engine's inventory of a contract against opposite accounts in rank order; return whether any was."""
    state = books.state[c]
    held = state["engine_quantity"]
    if held == 0.0:
        return False
    side = 1.0 if held > 0.0 else -1.0
    value = deleveraging_value(world, books, c)
    mark = state["mark"]
    count, total = queue_up(world, books, c, -side)
    cumulative = 0.0
    rank = 0
    done = False
    while count > 0 and state["engine_quantity"] != 0.0:
        p = books.order[0]
        count -= 1
        books.order[0] = books.order[count]
        sink(books.score, books.order, count, TOP)
        if books.score[p] == -math.inf:
            break
        rank += 1
        size = abs(books.positions[p]["quantity"])
        cumulative += size
        closed = min(size, abs(state["engine_quantity"]))
        # the margin of an isolated position comes free in proportion: any part of it is as well backed as the whole
        asked = size if books.accounts[books.positions[p]["account"]]["isolated"] == 1 else closed
        if margin_balance(books, p) - side * asked * (value - mark) < 0.0:
            continue  # its balance would be negative
        n = books.counters[DELEVERAGINGS]
        books.counters[DELEVERAGINGS] = n + 1
        if n < journal.deleveragings.size:
            row = journal.deleveragings[n]
            row["bar"] = bar
            row["contract"] = c
            row["account"] = books.positions[p]["account"]
            row["rank"] = rank
            row["light"] = light_of(cumulative, total)
            row["quantity"] = -side * closed
            row["held"] = -side * size
            row["price"] = value
            row["mark"] = mark
            row["profit_lost"] = side * closed * (value - mark)
        state["deleveraged"] += closed * abs(mark)
        close_against_engine(world, books, p, closed, value)
        engine_trades(world, books, c, -side * closed, value)
        done = True
    return done


@step
def peak_of(world: World, books: Books, journal: Journal, fund: int, now: int) -> float:
    """Return the largest worth of a fund, at the start and at closes, within the trigger's hours before ``now``."""
    head = books.funds[fund]["queue_head"]
    tail = books.funds[fund]["queue_tail"]
    horizon = now - world.rules[0]["drawdown_ms"]
    while head + 1 < tail and world.open_time[books.peak_queue[fund, head]] + world.bar_ms < horizon:
        head += 1
    books.funds[fund]["queue_head"] = head
    peak = books.funds[fund]["start"] if world.open_time[0] >= horizon else -math.inf
    if head < tail:
        row = journal.funds[fund, books.peak_queue[fund, head]]
        peak = max(peak, row["balance"] + row["pending"] + row["unrealized"])
    return peak


@step
def note_peak(books: Books, journal: Journal, fund: int, bar: int) -> None:
    """Enter the worth of a fund at a bar's close into the queue of peaks, which falls from head to tail."""
    row = journal.funds[fund, bar]
    worth = row["balance"] + row["pending"] + row["unrealized"]
    head = books.funds[fund]["queue_head"]
    tail = books.funds[fund]["queue_tail"]
    while tail > head:
        last = journal.funds[fund, books.peak_queue[fund, tail - 1]]
        if last["balance"] + last["pending"] + last["unrealized"] > worth:
            break
        tail -= 1
    books.peak_queue[fund, tail] = bar
    books.funds[fund]["queue_tail"] = tail + 1


@step
def trigger_holds(world: World, books: Books, journal: Journal, fund: int, now: int) -> bool:
    """Return whether a fund is exhausted, or has fallen from its peak as far as the venue's trigger says."""
    rules = world.rules[0]
    worth = fund_worth(world, books, fund)
    if rules["on_exhaustion"] == 1 and worth < -DUST * books.totals[SCALE]:
        return True
    if rules["drawdown"] == math.inf:
        return False
    peak = peak_of(world, books, journal, fund, now)
    return peak > 0.0 and worth <= (1.0 - rules["drawdown"]) * peak


@step
def run_waterfall(world: World, books: Books, journal: Journal, bar: int, now: int) -> bool:
    """Deleverage where a fund's trigger holds; return whether any account was."""
    if world.rules[0]["deleverages"] == 0:
        return False
    done = False
    for fund in range(books.funds.size):
        active = trigger_holds(world, books, journal, fund, now)
        books.funds[fund]["active"] = 1 if active else 0
        if not active:
            continue
        for c in range(world.contracts.size):
            if world.contracts[c]["fund"] == fund and deleverage(world, books, journal, bar, c):
                done = True
    return done


@step
def start_period(books: Books) -> None:
    """Remember the equity of every account, from which the period's net profit is counted."""
    for a in range(books.accounts.size):
        books.accounts[a]["basis"] = account_equity(books, a)
        books.accounts[a]["paid_in"] = 0.0


@step
def net_profit(books: Books, a: int) -> float:
    """Return an account's change of equity in the settlement period, less transfers."""
    return account_equity(books, a) - books.accounts[a]["basis"] - books.accounts[a]["paid_in"]


@step
def pay_share(books: Books, a: int, amount: float) -> None:
    """Take a shared loss from an account: the free wallet first, then isolated margins by what stands behind each."""
    account = books.accounts[a]
    from_margins = 0.0
    if account["isolated"] == 1:
        from_margins = max(amount - max(account["wallet"], 0.0), 0.0)
    behind = 0.0
    if from_margins > 0.0:
        for p in range(account["first"], account["stop"]):
            behind += max(margin_balance(books, p), 0.0)
    if behind <= 0.0:
        pay_wallet(books, a, -amount)
        return
    from_margins = min(from_margins, behind)
    for p in range(account["first"], account["stop"]):
        pay_margin(books, p, -from_margins * max(margin_balance(books, p), 0.0) / behind)
    pay_wallet(books, a, from_margins - amount)


@step
def share_losses(world: World, books: Books, journal: Journal, bar: int) -> None:
    """Take what the funds lack from the winners of the settlement period, in proportion to their net profits."""
    for fund in range(books.funds.size):
        uncovered = -fund_worth(world, books, fund)
        if uncovered <= DUST * books.totals[SCALE]:
            continue
        profits = 0.0
        for a in range(books.accounts.size):
            profits += max(net_profit(books, a), 0.0)
        if profits <= 0.0:
            continue
        rate = uncovered / profits
        for a in range(books.accounts.size):
            profit = net_profit(books, a)
            if profit <= 0.0:
                continue
            paid = min(rate * profit, profit, max(account_equity(books, a), 0.0))
            if paid <= 0.0:
                continue
            n = books.counters[CLAWBACKS]
            books.counters[CLAWBACKS] = n + 1
            if n < journal.clawbacks.size:
                row = journal.clawbacks[n]
                row["bar"] = bar
                row["account"] = a
                row["profit"] = profit
                row["rate"] = rate
                row["paid"] = paid
            pay_share(books, a, paid)
            books.funds[fund]["balance"] += paid
            books.funds[fund]["shared"] += paid
            watch_account(world, books, a)
