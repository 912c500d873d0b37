"""How accounts of a whole market are liquidated: partial steps while they help, then the takeover by the engine.

Source: accounting specification, section 6.
"""

from __future__ import annotations

import math

from backtester.domain.enums import LiquidationKind, LiquidationStep
from backtester.kernel._jit import constant, step
from backtester.kernel.clearing_engine import (
    engine_trades,
    fund_earns,
    fund_fee,
    pay_margin,
    pay_wallet,
    sell_inventory,
    set_holding,
)
from backtester.kernel.clearing_groups import (
    group_balance,
    group_requirement,
    group_span,
    largest_requirement,
    own_requirement,
    watch_account,
)
from backtester.kernel.clearing_state import CASH, LIQUIDATIONS, PINNED, Books, Journal, World
from backtester.kernel.clearing_watch import bracket_unit, line_at, tier_lookup
from backtester.kernel.fills import SNAP, add_on_grid, floor_to_step, largest_below, less_one_step, trading_fee
from backtester.kernel.margin import bankruptcy_value
from backtester.kernel.value import unrealized_pnl

STEP_NONE = constant(LiquidationStep.NONE)
STEP_TIER = constant(LiquidationStep.TIER)
STEP_RESTORE = constant(LiquidationStep.RESTORE)
KIND_STEP = constant(LiquidationKind.STEP)
KIND_TAKEOVER = constant(LiquidationKind.TAKEOVER)
FIRST_TIER = constant(0)


@step
def record(
    books: Books,
    journal: Journal,
    bar: int,
    p: int,
    kind: int,
    closed: float,
    bankruptcy: float,
    balance: float,
    requirement: float,
    fee: float,
    deficit: float,
) -> None:
    """Write what a liquidation did, the position as the test saw it; beyond the journal's size it is only counted."""
    position = books.positions[p]
    state = books.state[position["contract"]]
    state["liquidated"] += closed * abs(state["mark"])
    state["liquidations"] += 1
    n = books.counters[LIQUIDATIONS]
    books.counters[LIQUIDATIONS] = n + 1
    if n >= journal.liquidations.size:
        return
    row = journal.liquidations[n]
    row["bar"] = bar
    row["contract"] = position["contract"]
    row["account"] = position["account"]
    row["kind"] = kind
    row["quantity"] = closed if position["quantity"] > 0.0 else -closed
    row["mark"] = state["mark"]
    row["bankruptcy"] = bankruptcy
    row["balance"] = balance
    row["requirement"] = requirement
    row["fee"] = fee
    row["deficit"] = deficit
    row["tier"] = position["tier"]


@step
def size_below(world: World, books: Books, p: int, tier: int) -> float:
    """Return the largest size of a position below the bracket above ``tier``, less than is held."""
    position = books.positions[p]
    contract = world.contracts[position["contract"]]
    num = contract["step_num"]
    den = contract["step_den"]
    unit = bracket_unit(world, books, p, books.state[position["contract"]]["mark"])
    cap = world.tiers[contract["tier_start"] + tier + 1]["floor"]
    less = less_one_step(abs(position["quantity"]), num, den)
    if num == 0.0:
        return min(cap / unit * (1.0 - SNAP), less)
    return min(largest_below(cap, unit, num, den), less)


@step
def requirement_left(world: World, books: Books, p: int, left: float, tier: int) -> float:
    """Return the requirement of a position at the mark were its size ``left`` (unsigned) and a bracket in force."""
    position = books.positions[p]
    held = position["quantity"]
    position["quantity"] = left if held > 0.0 else -left
    constant, slope = line_at(world, books, p, tier)
    position["quantity"] = held
    return constant + slope * abs(books.state[position["contract"]]["mark"])


@step
def restores(world: World, books: Books, p: int, balance: float, others: float, left: float, tier: int) -> bool:
    """Return whether the balance exceeds the requirement once ``left`` of a position remains."""
    closed = abs(books.positions[p]["quantity"]) - left
    mark = books.state[books.positions[p]["contract"]]["mark"]
    after = balance - trading_fee(closed, mark, world.rules[0]["liquidation_fee"])
    return after > others + requirement_left(world, books, p, left, tier)


@step
def tier_step(world: World, books: Books, p: int, balance: float, others: float) -> tuple[float, int]:
    """Return what a step to a lower bracket leaves of a position, and that bracket; 0 where there is none."""
    position = books.positions[p]
    c = position["contract"]
    tier = position["tier"]
    down = world.rules[0]["step_tiers"]
    if down > 0:
        target = max(0, tier - down)
        return size_below(world, books, p, target), target
    for k in range(tier):
        target = tier - 1 - k
        left = size_below(world, books, p, target)
        if left <= 0.0:
            break
        in_force = tier_lookup(world, books, p, left, books.state[c]["mark"])
        if restores(world, books, p, balance, others, left, in_force):
            return left, target
    return 0.0, 0


@step
def restore_step(world: World, books: Books, p: int, balance: float, others: float) -> tuple[float, int]:
    """Return what the smallest restoring step leaves of a position, and its bracket; 0 where none restores."""
    position = books.positions[p]
    c = position["contract"]
    contract = world.contracts[c]
    num = contract["step_num"]
    den = contract["step_den"]
    mark = books.state[c]["mark"]
    held = abs(position["quantity"])
    tier = position["tier"]
    cost = trading_fee(1.0, mark, world.rules[0]["liquidation_fee"])
    for down in range(tier + 1):
        k = tier - down
        left = size_below(world, books, p, k) if down > 0 else less_one_step(held, num, den)
        if left > 0.0 and not restores(world, books, p, balance, others, left, k):
            fixed = requirement_left(world, books, p, 0.0, k)
            slope = requirement_left(world, books, p, 1.0, k) - fixed - cost
            room = balance - held * cost - others - fixed
            root = room / slope if slope > 0.0 else -1.0
            if root <= 0.0:
                continue
            left = min(left, root * (1.0 - SNAP) if num == 0.0 else floor_to_step(root, num, den))
            if num != 0.0 and not restores(world, books, p, balance, others, left, k):
                left = less_one_step(left, num, den)
            if not restores(world, books, p, balance, others, left, k):
                continue
        if left > 0.0 and tier_lookup(world, books, p, left, mark) == k:
            return left, k
    return 0.0, 0


@step
def step_candidate(world: World, books: Books, p: int, balance: float, requirement: float) -> int:
    """Return the position of the group that a step would reduce, or -1: the largest requirement that may step."""
    rules = world.rules[0]
    if rules["step"] == STEP_NONE or balance <= 0.0:
        return -1
    first, stop = group_span(books, p)
    once = rules["step_once"] == 1 or rules["step"] == STEP_RESTORE
    best = -1
    largest = -math.inf
    for j in range(first, stop):
        position = books.positions[j]
        tier = position["tier"]
        if position["quantity"] == 0.0 or tier < max(1, rules["step_from_tier"]):
            continue
        if once and position["pinned"] > 0:
            continue
        own = own_requirement(world, books, j)
        if own > largest:
            best = j
            largest = own
    if best >= 0 and rules["step_above_first"] == 1:
        constant, slope = line_at(world, books, best, FIRST_TIER)
        at_first = constant + slope * abs(books.state[books.positions[best]["contract"]]["mark"])
        if balance <= requirement - largest + at_first:
            return -1
    return best


@step
def pin(books: Books, p: int, tier: int) -> None:
    """Let no bracket above ``tier`` bind a position until the bar ends."""
    if books.positions[p]["pinned"] == 0:
        books.pinned[books.counters[PINNED]] = p
        books.counters[PINNED] += 1
    books.positions[p]["pinned"] = tier + 1


@step
def try_step(
    world: World, books: Books, journal: Journal, bar: int, p: int, balance: float, requirement: float
) -> bool:
    """Close a part of one position of the group if the venue steps and a step exists; return whether it was done."""
    j = step_candidate(world, books, p, balance, requirement)
    if j < 0:
        return False
    others = requirement - own_requirement(world, books, j)
    position = books.positions[j]
    c = position["contract"]
    contract = world.contracts[c]
    if world.rules[0]["step"] == STEP_TIER:
        left, target = tier_step(world, books, j, balance, others)
    else:
        left, target = restore_step(world, books, j, balance, others)
    held = position["quantity"]
    if left <= 0.0 or left >= abs(held):
        return False
    side = 1.0 if held > 0.0 else -1.0
    closed = add_on_grid(abs(held), -left, contract["step_num"], contract["step_den"])
    mark = books.state[c]["mark"]
    fee = min(trading_fee(closed, mark, world.rules[0]["liquidation_fee"]), max(balance, 0.0))
    bankruptcy = bankruptcy_value(held, mark, balance)
    record(books, journal, bar, j, KIND_STEP, closed, bankruptcy, balance, requirement, fee, 0.0)
    pay_margin(books, j, unrealized_pnl(side * closed, position["entry"], mark) - fee)
    set_holding(books, j, held - side * closed, position["entry"])
    pin(books, j, target)
    position["tier"] = min(target, tier_lookup(world, books, j, abs(position["quantity"]), mark))
    fund_fee(world, books, c, fee)
    engine_trades(world, books, c, side * closed, mark)
    return True


@step
def take_over_at_bankruptcy(
    world: World,
    books: Books,
    journal: Journal,
    bar: int,
    p: int,
    balance: float,
    requirement: float,
    remainder: float,
) -> None:
    """Hand a position to the engine at its bankruptcy value: the account keeps nothing of ``remainder``."""
    position = books.positions[p]
    c = position["contract"]
    held = position["quantity"]
    mark = books.state[c]["mark"]
    bankruptcy = bankruptcy_value(held, mark, remainder)
    record(books, journal, bar, p, KIND_TAKEOVER, abs(held), bankruptcy, balance, requirement, 0.0, 0.0)
    pay_margin(books, p, unrealized_pnl(held, position["entry"], mark) - remainder)
    set_holding(books, p, 0.0, 0.0)
    engine_trades(world, books, c, held, bankruptcy)


@step
def clear_margin(books: Books, p: int) -> float:
    """Set what backs a flat position or account to zero, and return what it was: rounding, or a deficit's residue."""
    a = books.positions[p]["account"]
    if books.accounts[a]["isolated"] == 1:
        rest = books.positions[p]["margin"]
        books.positions[p]["margin"] = 0.0
    else:
        rest = books.accounts[a]["wallet"]
        books.accounts[a]["wallet"] = 0.0
    books.totals[CASH] -= rest
    return rest


@step
def take_over_at_market(
    world: World, books: Books, journal: Journal, bar: int, p: int, balance: float, requirement: float, last: bool
) -> None:
    """Hand a position to the engine at the mark: what is left after the fee stays with the account.

    The last position of its group leaves no debt: the fund pays it.
    """
    position = books.positions[p]
    a = position["account"]
    c = position["contract"]
    held = position["quantity"]
    mark = books.state[c]["mark"]
    fee = min(trading_fee(held, mark, world.rules[0]["liquidation_fee"]), max(balance, 0.0))
    deficit = max(-balance, 0.0) if last else 0.0
    share = balance * own_requirement(world, books, p) / requirement if requirement > 0.0 else balance
    bankruptcy = bankruptcy_value(held, mark, share)
    record(books, journal, bar, p, KIND_TAKEOVER, abs(held), bankruptcy, balance, requirement, fee, deficit)
    pay_margin(books, p, unrealized_pnl(held, position["entry"], mark) - fee)
    set_holding(books, p, 0.0, 0.0)
    fund_fee(world, books, c, fee)
    engine_trades(world, books, c, held, mark)
    if last and balance < 0.0:
        fund_earns(world, books, c, clear_margin(books, p))
    elif books.accounts[a]["isolated"] == 1:
        left = position["margin"]
        position["margin"] = 0.0
        books.accounts[a]["wallet"] += left


@step
def take_over(
    world: World, books: Books, journal: Journal, bar: int, p: int, balance: float, requirement: float
) -> None:
    """Hand the positions of a group to the engine by the venue's rule."""
    first, stop = group_span(books, p)
    if world.rules[0]["at_market"] == 0:
        left = requirement
        for j in range(first, stop):
            if books.positions[j]["quantity"] == 0.0:
                continue
            share = balance
            if stop - first > 1:
                share = balance * own_requirement(world, books, j) / left if left > 0.0 else 0.0
            take_over_at_bankruptcy(world, books, journal, bar, j, balance, requirement, share)
        fund_earns(world, books, books.positions[p]["contract"], clear_margin(books, p))  # rounding alone
        return
    while True:
        j = largest_requirement(world, books, p)
        if j < 0:
            return
        open_count = 0
        for i in range(first, stop):
            if books.positions[i]["quantity"] != 0.0:
                open_count += 1
        take_over_at_market(world, books, journal, bar, j, balance, requirement, open_count == 1)
        balance = group_balance(books, p)
        requirement = group_requirement(world, books, p)
        if balance > requirement:
            return


@step
def lift_debt(world: World, books: Books, a: int, c: int) -> None:
    """Let the fund pay the negative free wallet of an account that holds nothing."""
    account = books.accounts[a]
    if account["wallet"] >= 0.0:
        return
    for p in range(account["first"], account["stop"]):
        if books.positions[p]["quantity"] != 0.0:
            return
    fund_earns(world, books, c, account["wallet"])
    pay_wallet(books, a, -account["wallet"])


@step
def liquidate(world: World, books: Books, journal: Journal, bar: int, p: int, f: float) -> None:
    """Liquidate the group of position ``p`` at the present marks: steps while they help, then the takeover.

    The brackets are those in which the trigger was found: on a boundary a mark would not tell.
    """
    a = books.positions[p]["account"]
    first, stop = group_span(books, p)
    begun = True  # at the trigger itself balance and requirement are equal up to rounding
    while True:
        balance = group_balance(books, p)
        requirement = group_requirement(world, books, p)
        if not begun and balance > requirement:
            break
        begun = False
        if not try_step(world, books, journal, bar, p, balance, requirement):
            take_over(world, books, journal, bar, p, balance, requirement)
            break
    lift_debt(world, books, a, books.positions[p]["contract"])
    watch_account(world, books, a)
    for j in range(first, stop):
        c = books.positions[j]["contract"]
        sell_inventory(world, books, c, f)
