"""What the liquidation engine does once a group's balance is used up: steps, then the takeover.

Source: accounting specification, section 6.
"""

from __future__ import annotations

import math

from backtester.domain.enums import (
    FillReason,
    LedgerKind,
    LiquidationKind,
    LiquidationStep,
    MarginMode,
    OrderStatus,
    PositionSide,
    RejectReason,
    Takeover,
)
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.account import cross_equity, post, record_fill, set_quantity
from backtester.kernel.fills import SNAP, add_on_grid, floor_to_step, largest_below, trading_fee
from backtester.kernel.margin import BASIS_ENTRY, find_tier
from backtester.kernel.path import line_in_tier, size_unit, tier_at
from backtester.kernel.state import NO_TIER_BOUND, Book, Journal, Setup
from backtester.kernel.value import slipped, unrealized_pnl, value_to_price

ISOLATED = constant(MarginMode.ISOLATED)
LONG = constant(PositionSide.LONG)
SHORT = constant(PositionSide.SHORT)
REALIZED_PNL = constant(LedgerKind.REALIZED_PNL)
LIQUIDATION_FEE = constant(LedgerKind.LIQUIDATION_FEE)
CLEARANCE = constant(LedgerKind.INSURANCE_CLEARANCE)
STEP_NONE = constant(LiquidationStep.NONE)
STEP_TIER = constant(LiquidationStep.TIER)
STEP_RESTORE = constant(LiquidationStep.RESTORE)
KIND_STEP = constant(LiquidationKind.STEP)
KIND_TAKEOVER = constant(LiquidationKind.TAKEOVER)
REASON_STEP = constant(FillReason.LIQUIDATION_STEP)
REASON_TAKEOVER = constant(FillReason.LIQUIDATION)
TAKEOVER_MARKET = constant(Takeover.MARKET)
CANCELLED = constant(OrderStatus.CANCELLED)
BY_LIQUIDATION = constant(RejectReason.LIQUIDATION)
NO_ORDER = constant(-1)  # engine fills have none
FIRST_TIER = constant(0)
CROSS_GROUP = constant(-1)
WAITING = constant(2)


@inlined
def tier_requirement(setup: Setup, book: Book, i: int) -> float:
    """Return the requirement of position ``i`` in its current ``tier``, at ``value_now``."""
    p = book.positions[i]
    constant, slope = line_in_tier(setup, book, i, p["tier"])
    return constant + slope * abs(p["value_now"])


@inlined
def group_balance(book: Book, group: int) -> float:
    """Return the margin balance of a group at ``value_now``: an isolated position's, or the cross account's."""
    if group == CROSS_GROUP:
        return cross_equity(book)
    p = book.positions[group]
    return p["margin"] + unrealized_pnl(p["quantity"], p["entry_value"], p["value_now"])


@inlined
def group_requirement(setup: Setup, book: Book, group: int) -> float:
    """Return the requirement of a group at ``value_now``, each position in its current ``tier``."""
    if group != CROSS_GROUP:
        return tier_requirement(setup, book, group)
    total = 0.0
    for j in range(book.account[0]["cross_count"]):
        total += tier_requirement(setup, book, book.cross[j])
    return total


@step
def balance_share(setup: Setup, book: Book, i: int, balance: float, requirement: float) -> float:
    """Return the part of a group's balance that position ``i`` stands for: all, or by its share of the requirement."""
    if setup.instruments[i]["margin_mode"] == ISOLATED:
        return balance
    if requirement <= 0.0:
        return balance / book.account[0]["cross_count"]
    return balance * tier_requirement(setup, book, i) / requirement


@step
def engine_reference(setup: Setup, book: Book, i: int) -> float:
    """Return the engine's price for position ``i`` before slippage: the mark, or the worse of mark and trade."""
    p = book.positions[i]
    if setup.rules[0]["engine_trade"] == 0:
        return float(p["value_now"])
    return min(p["value_now"], p["trade_now"]) if p["quantity"] > 0.0 else max(p["value_now"], p["trade_now"])


@step
def execution_value(setup: Setup, book: Book, i: int) -> float:
    """Return the engine's price for position ``i``, with slippage."""
    instrument = setup.instruments[i]
    side = -1.0 if book.positions[i]["quantity"] > 0.0 else 1.0
    return slipped(engine_reference(setup, book, i), side, instrument["slippage"], instrument["sign"])


@step
def engine_slippage(setup: Setup, book: Book, i: int) -> float:
    """Return the slippage of one unit that the engine closes of position ``i``, >= 0."""
    return abs(execution_value(setup, book, i) - engine_reference(setup, book, i))


@step
def tier_row(setup: Setup, book: Book, i: int, tier: int) -> int:
    """Return the row of a bracket of position ``i`` in the table of all tiers."""
    row: int = setup.tables[book.positions[i]["table"]]["start"] + tier
    return row


@step
def step_candidate(setup: Setup, book: Book, group: int, balance: float, requirement: float) -> int:
    """Return the position that a step would reduce, or -1: the largest requirement among those that may step."""
    rules = setup.rules[0]
    if rules["step"] == STEP_NONE or balance <= 0.0:
        return -1
    count = 1 if group != CROSS_GROUP else book.account[0]["cross_count"]
    best = -1
    largest = -math.inf
    for j in range(count):
        i = group if group != CROSS_GROUP else book.cross[j]
        p = book.positions[i]
        tier = min(p["tier"], p["tier_bound"])
        once = rules["step_once"] == 1 or rules["step"] == STEP_RESTORE  # restoring by crumbs would never end
        if tier < max(1, rules["step_from_tier"]) or (once and p["stepped"] == 1):
            continue
        own = tier_requirement(setup, book, i)
        if own > largest:
            best = i
            largest = own
    if best >= 0 and rules["step_above_first"] == 1:
        constant, slope = line_in_tier(setup, book, best, FIRST_TIER)
        at_first = constant + slope * abs(book.positions[best]["value_now"])
        if balance <= requirement - largest + at_first:
            return -1
    return best


@step
def requirement_after(setup: Setup, book: Book, i: int, left: float, tier: int) -> float:
    """Return the requirement of position ``i`` were its size ``left`` (unsigned) and a bracket in force."""
    p = book.positions[i]
    held = p["quantity"]
    bound = p["tier_bound"]
    p["quantity"] = left if held > 0.0 else -left
    p["tier_bound"] = NO_TIER_BOUND
    constant, slope = line_in_tier(setup, book, i, tier)
    p["quantity"] = held
    p["tier_bound"] = bound
    return constant + slope * abs(p["value_now"])


@step
def tier_of_size(setup: Setup, book: Book, i: int, size: float) -> int:
    """Return the bracket of position ``i`` were it ``size`` (unsigned), at ``value_now``."""
    table = setup.tables[book.positions[i]["table"]]
    unit = size_unit(setup, book, i, book.positions[i]["value_now"])
    return find_tier(setup.floors, table["start"], table["stop"], size * unit)


@step
def size_below_tier(setup: Setup, book: Book, i: int, tier: int) -> float:
    """Return the largest size of position ``i`` that stays below the bracket above ``tier``."""
    instrument = setup.instruments[i]
    unit = size_unit(setup, book, i, book.positions[i]["value_now"])
    cap = setup.floors[tier_row(setup, book, i, tier + 1)]
    if instrument["step_num"] == 0.0:
        return cap / unit * (1.0 - SNAP)
    return largest_below(cap, unit, instrument["step_num"], instrument["step_den"])


@step
def less_one_step(size: float, step_num: float, step_den: float) -> float:
    """Return a size less the smallest step; without a step, less a billionth of it."""
    if step_num == 0.0:
        return size * (1.0 - SNAP)
    return add_on_grid(size, -step_num / step_den, step_num, step_den)


@step
def tier_step(setup: Setup, book: Book, i: int, balance: float, others: float) -> tuple[float, int]:
    """Return what a step to a lower bracket leaves of position ``i``, and that bracket; 0 where there is none."""
    p = book.positions[i]
    tier = min(p["tier"], p["tier_bound"])
    tiers_down = setup.rules[0]["step_tiers"]
    if tiers_down > 0:
        target = max(0, tier - tiers_down)
        return size_below_tier(setup, book, i, target), target
    for k in range(tier):
        target = tier - 1 - k
        left = size_below_tier(setup, book, i, target)
        if left <= 0.0:
            break
        in_force = tier_of_size(setup, book, i, left)  # lots are coarse: it may lie further down than the target
        if restores(setup, book, i, balance, others, left, in_force):
            return left, target
    return 0.0, 0


@step
def restores(setup: Setup, book: Book, i: int, balance: float, others: float, left: float, tier: int) -> bool:
    """Return whether the balance exceeds the requirement once ``left`` of position ``i`` remains, in a bracket."""
    closed = abs(book.positions[i]["quantity"]) - left
    after = balance - closed * step_cost(setup, book, i)
    return after > others + requirement_after(setup, book, i, left, tier)


@step
def step_cost(setup: Setup, book: Book, i: int) -> float:
    """Return what closing one unit costs the balance: the way from the mark to the engine's price, and the fee."""
    fill_value = execution_value(setup, book, i)
    fee = trading_fee(1.0, fill_value, setup.rules[0]["liquidation_fee"])
    return abs(fill_value - book.positions[i]["value_now"]) + fee


@step
def restoring_size(setup: Setup, book: Book, i: int, balance: float, others: float, tier: int) -> float:
    """Return the size of position ``i`` at which, inside a bracket, balance and requirement meet.

    There ``R = constant + a * size + b * size^2``, with ``b`` from a ramp alone, and the balance is linear in the size.
    Negative where they never meet.
    """
    p = book.positions[i]
    row = setup.tiers[tier_row(setup, book, i, tier)]
    unit = p["entry_value"] if setup.rules[0]["mmr_basis"] == BASIS_ENTRY else p["value_now"]
    square = row["slope"] / setup.instruments[i]["contract_size"] * abs(unit)
    constant = requirement_after(setup, book, i, 0.0, tier)
    cost = step_cost(setup, book, i)
    linear = requirement_after(setup, book, i, 1.0, tier) - constant - square - cost
    room = balance - abs(p["quantity"]) * cost - others - constant
    if square == 0.0:
        return room / linear if linear > 0.0 else -1.0
    inner = linear * linear + 4.0 * square * room
    return (math.sqrt(inner) - linear) / (2.0 * square) if inner >= 0.0 else -1.0


@step
def restore_step(setup: Setup, book: Book, i: int, balance: float, others: float) -> tuple[float, int]:
    """Return what the smallest restoring step leaves of position ``i``, and its bracket; 0 where none restores.

    Brackets are tried from the held size down: the largest size of each first, then the one where the test turns.
    """
    p = book.positions[i]
    instrument = setup.instruments[i]
    step_num = instrument["step_num"]
    step_den = instrument["step_den"]
    unit = size_unit(setup, book, i, p["value_now"])
    tier = min(p["tier"], p["tier_bound"])
    for down in range(tier + 1):
        k = tier - down
        left = less_one_step(abs(p["quantity"]), step_num, step_den)
        if down > 0:
            left = size_below_tier(setup, book, i, k)
        if not restores(setup, book, i, balance, others, left, k):
            root = restoring_size(setup, book, i, balance, others, k)
            if root <= 0.0:
                continue
            if step_num == 0.0:
                left = min(left, root * (1.0 - SNAP))
            else:
                left = min(left, floor_to_step(root, step_num, step_den))
                if not restores(setup, book, i, balance, others, left, k):
                    left = less_one_step(left, step_num, step_den)
            if not restores(setup, book, i, balance, others, left, k):
                continue
        if left > 0.0 and left * unit >= setup.floors[tier_row(setup, book, i, k)]:
            return left, k
    return 0.0, 0


@step
def record_liquidation(
    setup: Setup,
    book: Book,
    journal: Journal,
    time: int,
    bar: int,
    i: int,
    kind: int,
    closed: float,
    balance: float,
    requirement: float,
    bankruptcy: float,
    fill_value: float,
    margin_lost: float,
    fee: float,
    insurance_flow: float,
    disputed: int,
) -> None:
    """Write the story of a liquidation; the position is still as the test saw it."""
    account = book.account[0]
    p = book.positions[i]
    sign = setup.instruments[i]["sign"]
    row = journal.liquidations[account["liquidations"]]
    row["time"] = time
    row["bar"] = bar
    row["symbol"] = i
    row["position_side"] = LONG if p["quantity"] > 0.0 else SHORT
    row["kind"] = kind
    row["quantity"] = closed
    row["entry_price"] = value_to_price(p["entry_value"], sign)
    row["trigger_price"] = value_to_price(p["value_now"], sign)
    row["bankruptcy_price"] = value_to_price(bankruptcy, sign)
    if not row["bankruptcy_price"] > 0.0:
        row["bankruptcy_price"] = math.nan
    row["execution_price"] = value_to_price(fill_value, sign)
    row["margin_balance"] = balance
    row["requirement"] = requirement
    row["tier"] = min(p["tier"], p["tier_bound"])
    row["margin_lost"] = margin_lost
    row["liquidation_fee"] = fee
    row["insurance_flow"] = insurance_flow
    row["disputed"] = disputed
    account["liquidations"] += 1


@step
def try_step(
    setup: Setup,
    book: Book,
    journal: Journal,
    time: int,
    bar: int,
    group: int,
    balance: float,
    requirement: float,
    disputed: int,
) -> bool:
    """Reduce one position of the group if the venue steps and a step exists; return whether it was done."""
    i = step_candidate(setup, book, group, balance, requirement)
    if i < 0:
        return False
    p = book.positions[i]
    instrument = setup.instruments[i]
    p["stepped"] = 1
    others = requirement - tier_requirement(setup, book, i)
    if setup.rules[0]["step"] == STEP_TIER:
        left, target = tier_step(setup, book, i, balance, others)
    else:
        left, target = restore_step(setup, book, i, balance, others)
    held = p["quantity"]
    if left <= 0.0 or left >= abs(held):
        return False
    closed = add_on_grid(abs(held), -left, instrument["step_num"], instrument["step_den"])
    side = 1.0 if held > 0.0 else -1.0
    fill_value = execution_value(setup, book, i)
    realized = side * closed * (fill_value - p["entry_value"])
    slippage_paid = closed * engine_slippage(setup, book, i)
    after = balance - closed * abs(fill_value - p["value_now"])
    fee = min(trading_fee(closed, fill_value, setup.rules[0]["liquidation_fee"]), max(after, 0.0))
    bankruptcy = p["value_now"] - balance_share(setup, book, i, balance, requirement) / held
    record_liquidation(
        setup,
        book,
        journal,
        time,
        bar,
        i,
        KIND_STEP,
        closed,
        balance,
        requirement,
        bankruptcy,
        fill_value,
        fee - realized,
        fee,
        fee,
        disputed,
    )
    p["tier_bound"] = target
    p["tier"] = min(target, tier_of_size(setup, book, i, left))
    pay_from_group(setup, book, i, realized)
    set_quantity(setup, book, i, side * left)
    post(book, journal, time, bar, i, REALIZED_PNL, realized)
    pay_from_group(setup, book, i, -fee)
    post(book, journal, time, bar, i, LIQUIDATION_FEE, -fee)
    position_side = LONG if side > 0.0 else SHORT
    record_fill(
        setup,
        book,
        journal,
        time,
        bar,
        i,
        NO_ORDER,
        position_side,
        -side * closed,
        fill_value,
        0.0,
        realized,
        slippage_paid,
        REASON_STEP,
    )
    return True


@step
def pay_from_group(setup: Setup, book: Book, i: int, amount: float) -> None:
    """Book an amount where position ``i`` keeps its margin: its isolated margin, or the free wallet."""
    if setup.instruments[i]["margin_mode"] == ISOLATED:
        book.positions[i]["margin"] += amount
    else:
        book.account[0]["free_wallet"] += amount


@step
def close_position(setup: Setup, book: Book, i: int) -> None:
    """Leave position ``i`` flat after a takeover."""
    set_quantity(setup, book, i, 0.0)
    book.positions[i]["blocked"] = 1
    book.account[0]["takeovers"] += 1


@step
def cancel_waiting(book: Book, journal: Journal, time: int, i: int) -> None:
    """Cancel the order that waits for symbol ``i``; one that is due at this open still acts."""
    p = book.positions[i]
    if p["pending"] == WAITING:
        row = journal.orders[p["order"]]
        row["status"] = CANCELLED
        row["reason"] = BY_LIQUIDATION
        row["end_time"] = time
        p["pending"] = 0
        book.account[0]["pending_count"] -= 1


@step
def take_over_at_bankruptcy(
    setup: Setup,
    book: Book,
    journal: Journal,
    time: int,
    bar: int,
    i: int,
    balance: float,
    requirement: float,
    remainder: float,
    disputed: int,
) -> None:
    """Close position ``i`` for an account that keeps nothing of its share of the balance, ``remainder``."""
    p = book.positions[i]
    held = p["quantity"]
    side = LONG if held > 0.0 else SHORT
    fill_value = execution_value(setup, book, i)
    bankruptcy = p["value_now"] - remainder / held
    realized = unrealized_pnl(held, p["entry_value"], p["value_now"])
    flow = held * (fill_value - bankruptcy)
    slippage_paid = abs(held) * engine_slippage(setup, book, i)
    record_liquidation(
        setup,
        book,
        journal,
        time,
        bar,
        i,
        KIND_TAKEOVER,
        abs(held),
        balance,
        requirement,
        bankruptcy,
        fill_value,
        remainder - realized,
        0.0,
        flow,
        disputed,
    )
    pay_from_group(setup, book, i, realized)
    post(book, journal, time, bar, i, REALIZED_PNL, realized)
    pay_from_group(setup, book, i, -remainder)
    close_position(setup, book, i)
    post(book, journal, time, bar, i, CLEARANCE, -remainder)
    record_fill(
        setup,
        book,
        journal,
        time,
        bar,
        i,
        NO_ORDER,
        side,
        -held,
        fill_value,
        0.0,
        realized,
        slippage_paid,
        REASON_TAKEOVER,
    )


@step
def take_over_at_market(
    setup: Setup,
    book: Book,
    journal: Journal,
    time: int,
    bar: int,
    i: int,
    balance: float,
    requirement: float,
    disputed: int,
) -> None:
    """Close position ``i`` at the engine's price; what remains after the fee stays with the account."""
    account = book.account[0]
    p = book.positions[i]
    held = p["quantity"]
    isolated = setup.instruments[i]["margin_mode"] == ISOLATED
    side = LONG if held > 0.0 else SHORT
    fill_value = execution_value(setup, book, i)
    slippage_paid = abs(held) * engine_slippage(setup, book, i)
    realized = unrealized_pnl(held, p["entry_value"], fill_value)
    bankruptcy = p["value_now"] - balance_share(setup, book, i, balance, requirement) / held
    left = balance - abs(held * (fill_value - p["value_now"]))
    fee = min(trading_fee(held, fill_value, setup.rules[0]["liquidation_fee"]), max(left, 0.0))
    left -= fee
    deficit = 0.0
    if left < 0.0 and (isolated or account["cross_count"] == 1):
        deficit = -left
    record_liquidation(
        setup,
        book,
        journal,
        time,
        bar,
        i,
        KIND_TAKEOVER,
        abs(held),
        balance,
        requirement,
        bankruptcy,
        fill_value,
        fee - realized - deficit,
        fee,
        fee - deficit,
        disputed,
    )
    pay_from_group(setup, book, i, realized)
    post(book, journal, time, bar, i, REALIZED_PNL, realized)
    pay_from_group(setup, book, i, -fee)
    post(book, journal, time, bar, i, LIQUIDATION_FEE, -fee)
    if isolated:
        released = max(left, 0.0)
        account["free_wallet"] += released
        p["margin"] -= released
    elif deficit > 0.0:
        account["free_wallet"] = 0.0
    close_position(setup, book, i)
    post(book, journal, time, bar, i, CLEARANCE, deficit)
    record_fill(
        setup,
        book,
        journal,
        time,
        bar,
        i,
        NO_ORDER,
        side,
        -held,
        fill_value,
        0.0,
        realized,
        slippage_paid,
        REASON_TAKEOVER,
    )


@step
def take_over_cross_at_bankruptcy(
    setup: Setup, book: Book, journal: Journal, time: int, bar: int, disputed: int
) -> None:
    """Close all cross positions at once; each gives up the share of the equity that its requirement has in the sum."""
    account = book.account[0]
    balance = cross_equity(book)
    requirement = group_requirement(setup, book, CROSS_GROUP)
    count = account["cross_count"]
    for j in range(count):  # shares first: closing one changes the list
        i = book.cross[j]
        book.positions[i]["share"] = balance_share(setup, book, i, balance, requirement)
    while account["cross_count"] > 0:
        i = book.cross[0]
        take_over_at_bankruptcy(
            setup, book, journal, time, bar, i, balance, requirement, book.positions[i]["share"], disputed
        )
    account["free_wallet"] = 0.0


@step
def largest_cross_requirement(setup: Setup, book: Book) -> int:
    """Return the cross position with the largest requirement; the first of equals."""
    best = book.cross[0]
    largest = -math.inf
    for j in range(book.account[0]["cross_count"]):
        own = tier_requirement(setup, book, book.cross[j])
        if own > largest:
            best = book.cross[j]
            largest = own
    return best


@step
def take_over(setup: Setup, book: Book, journal: Journal, time: int, bar: int, group: int, disputed: int) -> None:
    """Hand the group's positions to the engine by the venue's rule."""
    account = book.account[0]
    at_market = setup.rules[0]["takeover"] == TAKEOVER_MARKET
    if group != CROSS_GROUP:
        cancel_waiting(book, journal, time, group)
        balance = group_balance(book, group)
        requirement = group_requirement(setup, book, group)
        if at_market:
            take_over_at_market(setup, book, journal, time, bar, group, balance, requirement, disputed)
        else:
            take_over_at_bankruptcy(setup, book, journal, time, bar, group, balance, requirement, balance, disputed)
        return
    for j in range(account["cross_count"]):
        cancel_waiting(book, journal, time, book.cross[j])
    if not at_market:
        take_over_cross_at_bankruptcy(setup, book, journal, time, bar, disputed)
        return
    first = True
    while account["cross_count"] > 0:
        balance = cross_equity(book)
        requirement = group_requirement(setup, book, CROSS_GROUP)
        if not first and balance > requirement:
            return
        i = largest_cross_requirement(setup, book)
        take_over_at_market(setup, book, journal, time, bar, i, balance, requirement, disputed)
        first = False


@step
def liquidate(setup: Setup, book: Book, journal: Journal, time: int, bar: int, group: int, disputed: int) -> None:
    """Liquidate a group at its trigger: steps while they help, then the takeover.

    Parameters
    ----------
    setup, book, journal
        The account; ``value_now``, ``trade_now`` and ``tier`` of the group hold the trigger.
    time, bar : int
        Stamp of the records.
    group : int
        An isolated position, or -1 for all cross positions.
    disputed : int
        1 where only the worst joint path finds the trigger.
    """
    first = True  # at the trigger itself balance and requirement are equal up to rounding
    while True:
        balance = group_balance(book, group)
        requirement = group_requirement(setup, book, group)
        if not first and balance > requirement:
            break
        first = False
        if not try_step(setup, book, journal, time, bar, group, balance, requirement, disputed):
            take_over(setup, book, journal, time, bar, group, disputed)
            if setup.rules[0]["stop_after"] == 1 and book.account[0]["stopped_bar"] < 0:
                book.account[0]["stopped_bar"] = bar
            break


@inlined
def mark_tiers(setup: Setup, book: Book, group: int) -> None:
    """Set each member's ``tier`` by its notional at ``value_now``."""
    if group != CROSS_GROUP:
        book.positions[group]["tier"] = tier_at(setup, book, group, book.positions[group]["value_now"])
        return
    for j in range(book.account[0]["cross_count"]):
        i = book.cross[j]
        book.positions[i]["tier"] = tier_at(setup, book, i, book.positions[i]["value_now"])
