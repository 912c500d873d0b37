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
    Liquidity,
    MarginMode,
    OrderStatus,
    PositionSide,
    RejectReason,
    Takeover,
)
from backtester.kernel._jit import constant, step
from backtester.kernel.account import SET, ask_refresh, cross_equity, post, record_fill, set_quantity
from backtester.kernel.exits import detach
from backtester.kernel.fills import add_on_grid, trading_fee
from backtester.kernel.groups import (
    CROSS_GROUP,
    balance_share,
    execution_value,
    group_balance,
    group_requirement,
    pay_from_group,
    tier_requirement,
    unit_slippage,
)
from backtester.kernel.path import tier_at
from backtester.kernel.resting import cancel_slot
from backtester.kernel.state import EXIT_BAR, PENDING, REFRESH, Book, Journal, Setup
from backtester.kernel.steps import restore_step, step_candidate, tier_of_size, tier_step
from backtester.kernel.value import unrealized_pnl, value_to_price

ISOLATED = constant(MarginMode.ISOLATED)
LONG = constant(PositionSide.LONG)
SHORT = constant(PositionSide.SHORT)
REALIZED_PNL = constant(LedgerKind.REALIZED_PNL)
LIQUIDATION_FEE = constant(LedgerKind.LIQUIDATION_FEE)
CLEARANCE = constant(LedgerKind.INSURANCE_CLEARANCE)
STEP_TIER = constant(LiquidationStep.TIER)
KIND_STEP = constant(LiquidationKind.STEP)
KIND_TAKEOVER = constant(LiquidationKind.TAKEOVER)
REASON_STEP = constant(FillReason.LIQUIDATION_STEP)
REASON_TAKEOVER = constant(FillReason.LIQUIDATION)
REASON_COLLATERAL = constant(FillReason.COLLATERAL)
TAKER = constant(Liquidity.TAKER)
TAKEOVER_MARKET = constant(Takeover.MARKET)
CANCELLED = constant(OrderStatus.CANCELLED)
BY_LIQUIDATION = constant(RejectReason.LIQUIDATION)
NO_ORDER = constant(-1)  # engine fills have none
WAITING = constant(2)


@step
def record_liquidation(
    setup: Setup,
    book: Book,
    journal: Journal,
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
    row["time"] = account["time"]
    row["bar"] = account["bar"]
    row["symbol"] = p["row"]
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
    book.account[0]["stepped"] = 1
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
    slippage_paid = closed * unit_slippage(setup, book, i)
    after = balance - closed * abs(fill_value - p["value_now"])
    fee = min(trading_fee(closed, fill_value, setup.rules[0]["liquidation_fee"]), max(after, 0.0))
    bankruptcy = p["value_now"] - balance_share(setup, book, i, balance, requirement) / held
    record_liquidation(
        setup,
        book,
        journal,
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
    find_leg_tier(setup, book, i)
    post(book, journal, i, REALIZED_PNL, realized)
    pay_from_group(setup, book, i, -fee)
    post(book, journal, i, LIQUIDATION_FEE, -fee)
    position_side = LONG if side > 0.0 else SHORT
    record_fill(
        setup,
        book,
        journal,
        i,
        NO_ORDER,
        position_side,
        -side * closed,
        fill_value,
        0.0,
        realized,
        slippage_paid,
        TAKER,
        REASON_STEP,
    )
    return True


@step
def find_leg_tier(setup: Setup, book: Book, i: int) -> None:
    """Find the bracket of the other leg again where the size of position ``i`` counts in it."""
    leg = setup.instruments[i]["sibling"]
    if setup.rules[0]["hedge_gross"] == 1 and leg >= 0 and book.positions[leg]["quantity"] != 0.0:
        book.positions[leg]["tier"] = tier_at(setup, book, leg, book.positions[leg]["value_now"])


@step
def close_position(setup: Setup, book: Book, i: int) -> None:
    """Leave position ``i`` flat after a takeover."""
    set_quantity(setup, book, i, 0.0)
    find_leg_tier(setup, book, i)
    book.marks[REFRESH, i] = 0
    book.positions[i]["blocked"] = 1
    book.account[0]["takeovers"] += 1


@step
def cancel_waiting(book: Book, journal: Journal, i: int) -> None:
    """Cancel the order that waits for symbol ``i``; one that is due at this open still acts."""
    p = book.positions[i]
    if book.marks[PENDING, i] == WAITING:
        row = journal.orders[p["order"]]
        row["status"] = CANCELLED
        row["reason"] = BY_LIQUIDATION
        row["end_time"] = book.account[0]["time"]
        book.marks[PENDING, i] = 0
        book.account[0]["pending_count"] -= 1


@step
def cancel_orders(setup: Setup, book: Book, journal: Journal, group: int) -> None:
    """Cancel the resting orders of a group: an isolated position's, or those of all slots under cross margin."""
    for i in range(book.positions.size):
        instrument = setup.instruments[i]
        if i == group or (group == CROSS_GROUP and instrument["margin_mode"] != ISOLATED):
            cancel_waiting(book, journal, i)
            cancel_slot(book, journal, i, BY_LIQUIDATION)


@step
def end_trading(setup: Setup, book: Book) -> None:
    """Let trading end with this bar where a takeover does so; after a drawdown stop it has ended already."""
    account = book.account[0]
    if setup.rules[0]["stop_after"] == 1 and account["stopped_bar"] < 0 and account["drawn_down"] == 0:
        account["stopped_bar"] = account["bar"]


@step
def ask_for_exits(setup: Setup, book: Book, group: int) -> None:
    """Have stops and targets attached anew, at the next open, to what a liquidation leaves of a group."""
    account = book.account[0]
    if account["drawn_down"] == 1 or 0 <= account["stopped_bar"] < account["bar"]:
        return  # trading has ended
    for i in range(book.positions.size):
        p = book.positions[i]
        in_group = i == group or (group == CROSS_GROUP and setup.instruments[i]["margin_mode"] != ISOLATED)
        if in_group and p["quantity"] != 0.0:
            ask_refresh(book, i, SET)
            book.marks[EXIT_BAR, i] = account["bar"] + 1  # so that the next bar is visited
            account["wake"] = min(account["wake"], account["bar"] + 1)


@step
def sell_collateral(setup: Setup, book: Book, journal: Journal) -> None:
    """Turn the spot that counts as collateral into money at what it counts for: the balance stays as it is."""
    account = book.account[0]
    while account["collateral_count"] > 0:
        i = book.cross[account["cross_count"]]
        p = book.positions[i]
        held = p["quantity"]
        fill_value = p["value_now"] * p["weight"]
        realized = unrealized_pnl(held, p["entry_value"], fill_value)
        account["free_wallet"] += p["margin"] + realized
        slippage_paid = held * (p["value_now"] - fill_value)
        detach(book, journal, i)
        set_quantity(setup, book, i, 0.0)
        book.marks[REFRESH, i] = 0
        p["blocked"] = 1
        post(book, journal, i, REALIZED_PNL, realized)
        record_fill(
            setup,
            book,
            journal,
            i,
            NO_ORDER,
            LONG,
            -held,
            fill_value,
            0.0,
            realized,
            slippage_paid,
            TAKER,
            REASON_COLLATERAL,
        )


@step
def take_over_at_bankruptcy(
    setup: Setup,
    book: Book,
    journal: Journal,
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
    slippage_paid = abs(held) * unit_slippage(setup, book, i)
    record_liquidation(
        setup,
        book,
        journal,
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
    post(book, journal, i, REALIZED_PNL, realized)
    pay_from_group(setup, book, i, -remainder)
    close_position(setup, book, i)
    post(book, journal, i, CLEARANCE, -remainder)
    record_fill(
        setup,
        book,
        journal,
        i,
        NO_ORDER,
        side,
        -held,
        fill_value,
        0.0,
        realized,
        slippage_paid,
        TAKER,
        REASON_TAKEOVER,
    )


@step
def take_over_at_market(
    setup: Setup,
    book: Book,
    journal: Journal,
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
    slippage_paid = abs(held) * unit_slippage(setup, book, i)
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
    post(book, journal, i, REALIZED_PNL, realized)
    pay_from_group(setup, book, i, -fee)
    post(book, journal, i, LIQUIDATION_FEE, -fee)
    if isolated:
        released = max(left, 0.0)
        account["free_wallet"] += released
        p["margin"] -= released
    elif deficit > 0.0:
        account["free_wallet"] = 0.0
    close_position(setup, book, i)
    post(book, journal, i, CLEARANCE, deficit)
    record_fill(
        setup,
        book,
        journal,
        i,
        NO_ORDER,
        side,
        -held,
        fill_value,
        0.0,
        realized,
        slippage_paid,
        TAKER,
        REASON_TAKEOVER,
    )


@step
def take_over_cross_at_bankruptcy(setup: Setup, book: Book, journal: Journal, disputed: int) -> None:
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
        take_over_at_bankruptcy(setup, book, journal, i, balance, requirement, book.positions[i]["share"], disputed)
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
def take_over(setup: Setup, book: Book, journal: Journal, group: int, disputed: int) -> None:
    """Hand the group's positions to the engine by the venue's rule."""
    account = book.account[0]
    at_market = setup.rules[0]["takeover"] == TAKEOVER_MARKET
    if group != CROSS_GROUP:
        balance = group_balance(book, group)
        requirement = group_requirement(setup, book, group)
        if at_market:
            take_over_at_market(setup, book, journal, group, balance, requirement, disputed)
        else:
            take_over_at_bankruptcy(setup, book, journal, group, balance, requirement, balance, disputed)
        return
    if not at_market:
        take_over_cross_at_bankruptcy(setup, book, journal, disputed)
        return
    first = True
    while account["cross_count"] > 0:
        balance = cross_equity(book)
        requirement = group_requirement(setup, book, CROSS_GROUP)
        if not first and balance > requirement:
            return
        i = largest_cross_requirement(setup, book)
        take_over_at_market(setup, book, journal, i, balance, requirement, disputed)
        first = False


@step
def liquidate(setup: Setup, book: Book, journal: Journal, group: int, disputed: int) -> None:
    """Liquidate a group at its trigger: steps while they help, then the takeover.

    Parameters
    ----------
    setup, book, journal
        The account; ``value_now``, ``trade_now`` and ``tier`` of the group hold the trigger.
    group : int
        An isolated position, or -1 for all cross positions.
    disputed : int
        1 where only the worst joint path finds the trigger.
    """
    cancel_orders(setup, book, journal, group)
    if group == CROSS_GROUP:
        sell_collateral(setup, book, journal)
    first = True  # at the trigger itself balance and requirement are equal up to rounding
    while True:
        balance = group_balance(book, group)
        requirement = group_requirement(setup, book, group)
        if not first and balance > requirement:
            break
        first = False
        if not try_step(setup, book, journal, group, balance, requirement, disputed):
            take_over(setup, book, journal, group, disputed)
            end_trading(setup, book)
            break
    ask_for_exits(setup, book, group)
