"""The plain bar: one position, a settlement or a market order at the open, and nothing else that could happen.

Most bars in which something happens are of this kind. They take the steps of any other bar (see ``replay``), with one
position held in a few numbers: no list of what is held is kept in between, nothing that cannot be there is asked for,
and all of it is compiled into one loop, since a call between compiled functions hands over some sixty arrays.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import (
    FillReason,
    FundingSource,
    LedgerKind,
    Liquidity,
    MarginMode,
    OrderKind,
    OrderStatus,
    PositionSide,
    Rebalance,
    RejectReason,
    SizingUnit,
)
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.account import (
    BUY,
    DUST,
    INCREASED,
    LONG,
    NO_BAR,
    SELL,
    SHORT,
    opening_margin,
)
from backtester.kernel.costs import FIXED, HALF_SPREAD
from backtester.kernel.fills import SLACK, add_on_grid, floor_to_step, largest_below, trading_fee
from backtester.kernel.funding import funding_payment
from backtester.kernel.margin import UNIT_CONTRACTS, initial_margin, liquidation_value
from backtester.kernel.path import FALLING, RISING, has_fixed_tier, line_in_tier, tier_at, tier_boundary
from backtester.kernel.sizing import CRUMB, position_cap
from backtester.kernel.state import (
    BLOCK,
    EXIT_BAR,
    NO_TIER_BOUND,
    REFRESH,
    TOUCHED,
    Book,
    Columns,
    Journal,
    Market,
    Schedule,
    Setup,
)
from backtester.kernel.value import average_entry, slipped, value_to_price

ISOLATED = constant(MarginMode.ISOLATED)
BAND = constant(Rebalance.BAND)
BY_RISK = constant(SizingUnit.RISK)
BY_WEIGHT = constant(SizingUnit.WEIGHT)
BY_NOTIONAL = constant(SizingUnit.NOTIONAL)
WALLET_FIRST = constant(FundingSource.WALLET_FIRST)
CAPPED = constant(FundingSource.CAPPED)
TAKER = constant(Liquidity.TAKER)
MARKET_ORDER = constant(OrderKind.MARKET)
BY_TARGET = constant(FillReason.TARGET)
REALIZED_PNL = constant(LedgerKind.REALIZED_PNL)
TRADING_FEE = constant(LedgerKind.TRADING_FEE)
FUNDING = constant(LedgerKind.FUNDING)
FLAT_SIDE = constant(PositionSide.FLAT)
FILLED = constant(OrderStatus.FILLED)
CLIPPED = constant(OrderStatus.CLIPPED)
REJECTED = constant(OrderStatus.REJECTED)
DROPPED = constant(OrderStatus.DROPPED)
NO_REASON = constant(RejectReason.NONE)
BY_MARGIN = constant(RejectReason.MARGIN)
BY_TIER_CAP = constant(RejectReason.TIER_CAP)
BY_MIN_QUANTITY = constant(RejectReason.MIN_QUANTITY)
BY_MIN_NOTIONAL = constant(RejectReason.MIN_NOTIONAL)
BY_DEBT = constant(RejectReason.DEBT)
SMOOTH = 1e-9  # relative: the requirement of two brackets where they meet
ONLY = constant(0)  # the slot


@step
def is_convex(setup: Setup) -> bool:
    """Return whether the requirement of every tier table is continuous in the notional and rises ever steeper.

    Then it has one root, and over a balance that is a line it is largest at an end of any range of marks.
    """
    for n in range(setup.tables.size):
        for k in range(setup.tables[n]["start"], setup.tables[n]["stop"] - 1):
            floor = setup.floors[k + 1]
            lower = setup.tiers[k]
            upper = setup.tiers[k + 1]
            before = floor * lower["rate"] - lower["deduction"]
            after = floor * upper["rate"] - upper["deduction"]
            if lower["slope"] != 0.0 or upper["slope"] != 0.0 or abs(after - before) > SMOOTH * abs(before):
                return False
            if upper["rate"] < lower["rate"]:
                return False
    return True


@step
def is_plain_run(setup: Setup, market: Market, schedule: Schedule) -> bool:
    """Return whether a run can have plain bars: one contract, market orders alone, a mark on the bars' own grid."""
    rules = setup.rules[0]
    return bool(
        setup.instruments.size == 1
        and setup.instruments[ONLY]["is_spot"] == 0
        and setup.instruments[ONLY]["only_side"] == 0
        and setup.fee_tiers.size == 0
        and market.coarse_bar.size == 0
        and schedule.settings.size == 0
        and schedule.transfers.size == 0
        and schedule.own_fills.size == 0
        and schedule.delistings.size == 0
        and schedule.venue_events.size == 0
        and rules["fill_at_close"] == 0
        and rules["has_holdings"] == 0
        and rules["has_limits"] == 0
        and rules["rebalance"] != BAND
        and rules["sizing"] != BY_RISK
        and rules["paid_from"] != CAPPED
        and rules["drawdown_stop"] == 0.0
        and (rules["slippage_model"] == FIXED or rules["slippage_model"] == HALF_SPREAD)
        and is_convex(setup)
    )


@inlined
def is_plain_account(book: Book) -> bool:
    """Return whether nothing waits or rests, and trading goes on."""
    account = book.account[0]
    busy = account["pending_count"] + account["resting_count"] + account["market_count"] + account["drawn_down"]
    return bool(busy == 0 and account["stopped_bar"] < 0 and account["request"] == account["requested"])


@inlined
def next_plain_event(market: Market, schedule: Schedule, book: Book) -> int:
    """Return the next bar in which something is scheduled, of an account for which nothing waits or rests."""
    account = book.account[0]
    event = market.open_time.size - 1
    if account["due_row"] < schedule.targets.size:
        event = min(event, schedule.targets[account["due_row"]]["due_bar"])
    if account["settlement"] < schedule.settlements.size:
        event = min(event, schedule.settlements[account["settlement"]]["bar"])
    if account["switch"] < schedule.switches.size:
        event = min(event, schedule.switches[account["switch"]]["bar"])
    return event


@inlined
def has_target_at(schedule: Schedule, book: Book, bar: int) -> bool:
    """Return whether a target is due at a bar's open."""
    row = book.account[0]["due_row"]
    return bool(row < schedule.targets.size and schedule.targets[row]["due_bar"] == bar)


@inlined
def trades_at(setup: Setup, market: Market, bar: int) -> bool:
    """Return whether an order can fill at a bar's open."""
    if math.isnan(market.trade_open[0, bar]) or math.isnan(market.mark_open[0, bar]):
        return False
    return bool(setup.instruments[ONLY]["has_volume"] == 0 or market.volume[0, bar] != 0.0)


@inlined
def is_plain_bar(setup: Setup, market: Market, schedule: Schedule, book: Book, bar: int) -> bool:
    """Return whether all that happens before a bar's path is settlements at the open and one market order there.

    The account is plain.
    """
    account = book.account[0]
    row = account["switch"]
    if row < schedule.switches.size and schedule.switches[row]["bar"] <= bar:
        return False
    row = account["settlement"]
    while row < schedule.settlements.size and schedule.settlements[row]["bar"] == bar:
        if schedule.settlements[row]["inside"] == 1:
            return False
        row += 1
    if not has_target_at(schedule, book, bar):
        return True
    row = account["due_row"]
    if schedule.targets[row]["rungs"] > 0 or not trades_at(setup, market, bar):
        return False
    return bool(row + 1 >= schedule.targets.size or schedule.targets[row + 1]["due_bar"] > bar)


@inlined
def line_at(setup: Setup, book: Book, value: float) -> tuple[float, float, float, float]:
    """Return the requirement as a line ``constant + slope |v|``, and the ``|v|`` between which it holds."""
    tier = tier_at(setup, book, ONLY, value)
    constant, slope = line_in_tier(setup, book, ONLY, tier)
    if has_fixed_tier(setup, book, ONLY):
        return constant, slope, 0.0, math.inf
    low = tier_boundary(setup, book, ONLY, tier, FALLING)
    return constant, slope, low, tier_boundary(setup, book, ONLY, tier, RISING)


@inlined
def balance_of(setup: Setup, book: Book) -> float:
    """Return what backs the position before its own profit: its margin, or the free wallet under cross."""
    if setup.instruments[ONLY]["margin_mode"] == ISOLATED:
        return float(book.positions[ONLY]["margin"])
    return float(book.account[0]["free_wallet"])


@inlined
def plain_liquidation(setup: Setup, book: Book, value: float) -> float:
    """Return the liquidation value of the position, at a mark; NaN where no positive price liquidates it.

    The requirement is continuous or does not depend on the mark's bracket: there is one root, which is looked for
    bracket by bracket from the mark's own.
    """
    p = book.positions[ONLY]
    quantity = p["quantity"]
    entry = p["entry_value"]
    sign = setup.instruments[ONLY]["sign"]
    base = balance_of(setup, book)
    table = setup.tables[p["table"]]
    tier = tier_at(setup, book, ONLY, value)
    constant, slope = line_in_tier(setup, book, ONLY, tier)
    if base + quantity * (value - entry) - constant - slope * abs(value) <= 0.0:
        return value
    root = liquidation_value(quantity, entry, base, constant, slope, sign)
    if not has_fixed_tier(setup, book, ONLY):
        for _ in range(table["stop"] - table["start"]):
            unit = sign * root
            if unit > tier_boundary(setup, book, ONLY, tier, RISING):
                tier += 1
            elif unit < tier_boundary(setup, book, ONLY, tier, FALLING):
                tier -= 1
            else:
                break
            constant, slope = line_in_tier(setup, book, ONLY, tier)
            root = liquidation_value(quantity, entry, base, constant, slope, sign)
    return root if sign * root > 0.0 else math.nan


@inlined
def record_plain_position(setup: Setup, book: Book, journal: Journal, bar: int, time: int, value: float) -> None:
    """Write the position after it changed at a mark."""
    account = book.account[0]
    p = book.positions[ONLY]
    account["touched"] = 0
    book.marks[TOUCHED, ONLY] = 0
    sign = setup.instruments[ONLY]["sign"]
    row = journal.positions[account["positions"]]
    row["time"] = time
    row["bar"] = bar
    row["symbol"] = p["row"]
    row["position_side"] = FLAT_SIDE
    row["position_quantity"] = p["quantity"]
    row["entry_price"] = math.nan
    row["margin"] = 0.0
    row["liquidation_price"] = math.nan
    if p["quantity"] != 0.0:
        row["entry_price"] = value_to_price(p["entry_value"], sign)
        row["margin"] = p["margin"]
        if setup.instruments[ONLY]["margin_mode"] != ISOLATED:
            row["margin"] = initial_margin(p["quantity"], value, p["leverage"])
        row["liquidation_price"] = value_to_price(plain_liquidation(setup, book, value), sign)
    account["positions"] += 1


@inlined
def enter(book: Book, journal: Journal, bar: int, time: int, kind: int, amount: float) -> None:
    """Write a ledger row of a change that the wallet has just seen; nothing for an amount of zero."""
    if amount == 0.0:
        return
    account = book.account[0]
    row = journal.ledger[account["ledger"]]
    row["time"] = time
    row["bar"] = bar
    row["symbol"] = book.positions[ONLY]["row"]
    row["kind"] = kind
    row["amount"] = amount
    row["wallet_balance"] = account["free_wallet"] + book.positions[ONLY]["margin"]
    account["ledger"] += 1


@inlined
def settle_plainly(setup: Setup, schedule: Schedule, book: Book, journal: Journal, bar: int, mark: float) -> None:
    """Pay what is due at a bar's open, at the record's price or the mark's."""
    account = book.account[0]
    p = book.positions[ONLY]
    while account["settlement"] < schedule.settlements.size:
        settlement = schedule.settlements[account["settlement"]]
        if settlement["bar"] != bar:
            return
        account["settlement"] += 1
        quantity = p["quantity"]
        if quantity == 0.0:
            continue
        value = mark if math.isnan(settlement["value"]) else settlement["value"]
        payment = funding_payment(quantity, value, settlement["rate"])
        if setup.instruments[ONLY]["margin_mode"] != ISOLATED:
            account["free_wallet"] -= payment
        elif setup.rules[0]["paid_from"] == WALLET_FIRST:
            from_wallet = payment
            if payment > 0.0:
                from_wallet = min(payment, max(account["free_wallet"], 0.0))
            account["free_wallet"] -= from_wallet
            p["margin"] -= payment - from_wallet
        else:
            p["margin"] -= payment
        account["touched"] = 1
        book.marks[TOUCHED, ONLY] = 1
        enter(book, journal, bar, settlement["time"], FUNDING, -payment)
        row = journal.funding[account["funding"]]
        row["time"] = settlement["time"]
        row["bar"] = bar
        row["symbol"] = p["row"]
        row["funding_rate"] = settlement["rate"]
        row["mark_price"] = value_to_price(value, setup.instruments[ONLY]["sign"])
        row["position_quantity"] = quantity
        row["funding_payment"] = -payment
        account["funding"] += 1


@inlined
def hold(setup: Setup, book: Book, quantity: float) -> None:
    """Give the position its new size; a flat one keeps no entry and no margin."""
    account = book.account[0]
    p = book.positions[ONLY]
    was_flat = p["quantity"] == 0.0
    p["quantity"] = quantity
    account["touched"] = 1
    account["refresh"] = 1
    account["views"] = 1
    book.marks[TOUCHED, ONLY] = 1
    book.marks[REFRESH, ONLY] = INCREASED
    book.lines[ONLY]["is_stale"] = 1
    if was_flat:
        p["opened"] = account["bar_open"]
    if quantity == 0.0:
        p["entry_value"] = 0.0
        p["margin"] = 0.0
        p["tier_bound"] = NO_TIER_BOUND
        book.marks[EXIT_BAR, ONLY] = NO_BAR
        p["closed"] = account["bar_open"]
    is_held = 0 if quantity == 0.0 else 1
    if setup.instruments[ONLY]["margin_mode"] == ISOLATED:
        account["isolated_count"] = is_held
        book.isolated[0] = ONLY
    else:
        account["cross_count"] = is_held
        book.cross[0] = ONLY


@inlined
def write_fill(
    setup: Setup,
    book: Book,
    journal: Journal,
    bar: int,
    time: int,
    order: int,
    position_side: int,
    change: float,
    reference: float,
    fill_value: float,
    fee: float,
    realized: float,
) -> None:
    """Write a fill of a market order."""
    account = book.account[0]
    row = journal.fills[account["fills"]]
    row["time"] = time
    row["bar"] = bar
    row["order_id"] = order
    row["symbol"] = book.positions[ONLY]["row"]
    row["position_side"] = position_side
    row["side"] = BUY if change > 0.0 else SELL
    row["quantity"] = abs(change)
    row["price"] = value_to_price(fill_value, setup.instruments[ONLY]["sign"])
    row["notional"] = abs(change * fill_value)
    row["fee_paid"] = fee
    row["realized_pnl"] = realized
    row["slippage_paid"] = abs(change) * abs(fill_value - reference)
    row["liquidity"] = TAKER
    row["reason"] = BY_TARGET
    account["fills"] += 1


@inlined
def fill_value_of(setup: Setup, reference: float, change: float) -> float:
    """Return the value at which a market order fills."""
    fraction = setup.instruments[ONLY]["slippage"]
    if setup.rules[0]["slippage_model"] == HALF_SPREAD:
        fraction += setup.rules[0]["half_spread"]
    side = 1.0 if change > 0.0 else -1.0
    return slipped(reference, side, fraction, setup.instruments[ONLY]["sign"])


@inlined
def reduce_plainly(
    setup: Setup, book: Book, journal: Journal, bar: int, time: int, order: int, change: float, reference: float
) -> None:
    """Fill the part of an order that moves the position toward zero."""
    account = book.account[0]
    p = book.positions[ONLY]
    instrument = setup.instruments[ONLY]
    fill_value = fill_value_of(setup, reference, change)
    fee = trading_fee(change, fill_value, instrument["taker_fee"])
    held = p["quantity"]
    side = LONG if held > 0.0 else SHORT
    realized = -change * (fill_value - p["entry_value"])
    left = add_on_grid(held, change, instrument["step_num"], instrument["step_den"])
    if abs(change) >= abs(held) or left * held <= 0.0 or abs(left) <= DUST * abs(held):
        left = 0.0
    if instrument["margin_mode"] == ISOLATED:
        released = p["margin"] if left == 0.0 else p["margin"] * abs(change) / abs(held)
        p["margin"] -= released
        account["free_wallet"] += released
    account["free_wallet"] += realized
    if left == 0.0:
        account["free_wallet"] += p["margin"]
    hold(setup, book, left)
    enter(book, journal, bar, time, REALIZED_PNL, realized)
    account["free_wallet"] -= fee
    enter(book, journal, bar, time, TRADING_FEE, -fee)
    write_fill(setup, book, journal, bar, time, order, side, change, reference, fill_value, fee, realized)


@inlined
def fitting_size(
    setup: Setup, book: Book, wanted: float, fill_value: float, reference: float, mark: float
) -> tuple[float, int]:
    """Return how much of an opening part the account carries, unsigned, and why not all of it."""
    account = book.account[0]
    p = book.positions[ONLY]
    instrument = setup.instruments[ONLY]
    step_num = instrument["step_num"]
    step_den = instrument["step_den"]
    side = 1.0 if wanted > 0.0 else -1.0
    size = abs(wanted)
    reason = NO_REASON
    if account["free_wallet"] < setup.rules[0]["debt"]:
        return 0.0, BY_DEBT
    cap = position_cap(setup, p["table"], p["leverage"])
    if cap < math.inf:
        contracts = setup.tables[p["table"]]["unit"] == UNIT_CONTRACTS
        unit = 1.0 / instrument["contract_size"] if contracts else abs(mark)
        largest = largest_below(cap, unit, step_num, step_den)
        room = max(add_on_grid(largest, -abs(p["quantity"]), step_num, step_den), 0.0)
        if size > room:
            size = room
            reason = BY_TIER_CAP
    rate = instrument["taker_fee"]
    need = opening_margin(setup, book, ONLY, side, fill_value) + abs(fill_value) * rate
    need += max(0.0, side * (fill_value - mark))
    available = account["free_wallet"]
    if instrument["margin_mode"] != ISOLATED and p["quantity"] != 0.0:
        available += p["quantity"] * (mark - p["entry_value"])
        available -= initial_margin(p["quantity"], mark, p["leverage"])
    available = max(available, 0.0)
    if size * need > available * (1.0 + SLACK):
        reason = BY_MARGIN
        size = 0.0 if setup.rules[0]["reject"] == 1 else floor_to_step(available / need, step_num, step_den)
    if step_num == 0.0 and reason != NO_REASON and size <= CRUMB * abs(wanted):
        size = 0.0
    if size > 0.0 and size / instrument["contract_size"] < instrument["min_quantity"] * (1.0 - SLACK):
        return 0.0, BY_MIN_QUANTITY
    if size > 0.0 and size * abs(reference) < instrument["min_notional"] * (1.0 - SLACK):
        return 0.0, BY_MIN_NOTIONAL
    return size, reason


@inlined
def open_plainly(
    setup: Setup,
    book: Book,
    journal: Journal,
    bar: int,
    time: int,
    order: int,
    wanted: float,
    reference: float,
    mark: float,
) -> tuple[float, int]:
    """Fill the opening part of an order as far as it fits; return the unsigned size and why not all of it."""
    account = book.account[0]
    p = book.positions[ONLY]
    instrument = setup.instruments[ONLY]
    fill_value = fill_value_of(setup, reference, wanted)
    size, reason = fitting_size(setup, book, wanted, fill_value, reference, mark)
    if size <= 0.0:
        return size, reason
    change = size if wanted > 0.0 else -size
    fee = trading_fee(size, fill_value, instrument["taker_fee"])
    p["tier_bound"] = NO_TIER_BOUND
    p["entry_value"] = average_entry(p["quantity"], p["entry_value"], change, fill_value)
    if instrument["margin_mode"] == ISOLATED:
        margin = opening_margin(setup, book, ONLY, change, fill_value)
        account["free_wallet"] -= margin
        p["margin"] += margin
    p["held_leverage"] = p["leverage"]
    hold(setup, book, add_on_grid(p["quantity"], change, instrument["step_num"], instrument["step_den"]))
    p["base"] = abs(p["quantity"])
    account["free_wallet"] -= fee
    enter(book, journal, bar, time, TRADING_FEE, -fee)
    side = LONG if change > 0.0 else SHORT
    write_fill(setup, book, journal, bar, time, order, side, change, reference, fill_value, fee, 0.0)
    return size, reason


@inlined
def wanted_size(setup: Setup, target: float, equity: float, value: float) -> float:
    """Return the signed size that a target asks for, toward zero to the lot."""
    if target == 0.0:
        return 0.0
    size = target
    if setup.rules[0]["sizing"] == BY_WEIGHT:
        size = target * max(equity, 0.0) / abs(value)
    elif setup.rules[0]["sizing"] == BY_NOTIONAL:
        size = target / abs(value)
    return floor_to_step(size, setup.instruments[ONLY]["step_num"], setup.instruments[ONLY]["step_den"])


@inlined
def trade_plainly(
    setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int, time: int
) -> None:
    """Fill the order of the target that is due at a bar's open."""
    account = book.account[0]
    p = book.positions[ONLY]
    instrument = setup.instruments[ONLY]
    due = schedule.targets[account["due_row"]]
    account["due_row"] += 1
    if due["acts"] == 0:
        return
    value = market.trade_open[0, bar]
    mark = market.mark_open[0, bar]
    held = p["quantity"]
    equity = account["free_wallet"] + p["margin"]
    if held != 0.0:
        equity += held * (mark - p["entry_value"])
    wanted = wanted_size(setup, due["target"], equity, value)
    change = -held
    if wanted != 0.0:
        change = add_on_grid(wanted, -held, instrument["step_num"], instrument["step_den"])
        if instrument["step_num"] == 0.0 and abs(change * value) <= -setup.rules[0]["debt"]:
            return
    if change == 0.0:
        return
    number = account["orders"]
    account["orders"] += 1
    row = journal.orders[number]
    row["order_id"] = number
    row["symbol"] = p["row"]
    row["position_side"] = FLAT_SIDE
    row["kind"] = MARKET_ORDER
    row["origin"] = BY_TARGET
    row["request"] = -1
    row["decision_time"] = market.open_time[due["decision_bar"] + 1] - 1
    row["due_time"] = time
    row["end_time"] = time
    row["target"] = due["target"]
    row["wanted_quantity"] = change
    row["limit_price"] = math.nan
    row["trigger_price"] = math.nan
    row["bars_waited"] = 0
    row["status"] = FILLED
    row["reason"] = NO_REASON
    filled = 0.0
    if held * change < 0.0:
        filled = change if abs(change) < abs(held) else -held
        reduce_plainly(setup, book, journal, bar, time, number, filled, value)
    opening = add_on_grid(change, -filled, instrument["step_num"], instrument["step_den"])
    if abs(opening) > DUST * abs(change):
        size, reason = open_plainly(setup, book, journal, bar, time, number, opening, value, mark)
        filled += size if opening > 0.0 else -size
        row["reason"] = reason
        if reason != NO_REASON:
            is_small = reason in (BY_MIN_QUANTITY, BY_MIN_NOTIONAL)
            row["status"] = CLIPPED if filled != 0.0 else (DROPPED if is_small else REJECTED)
    row["filled_quantity"] = filled


@inlined
def is_safe_at_open(setup: Setup, market: Market, book: Book, bar: int) -> bool:
    """Return whether the mark's open leaves the position alone."""
    p = book.positions[ONLY]
    quantity = p["quantity"]
    if quantity == 0.0:
        return True
    value = market.path_open[0, bar]
    constant, slope = line_in_tier(setup, book, ONLY, tier_at(setup, book, ONLY, value))
    excess = balance_of(setup, book) + quantity * (value - p["entry_value"]) - constant - slope * abs(value)
    return bool(excess > 0.0)


@step
def may_fail(
    adverse: NDArray[np.float64],
    largest: NDArray[np.float64],
    smallest: NDArray[np.float64],
    base: float,
    quantity: float,
    entry: float,
    constant: float,
    slope: float,
    bottom: float,
    top: float,
) -> bool:
    """Return whether a bar of a block could liquidate, or leaves the bracket in which the line holds."""
    outside = 0
    for t in range(adverse.size):
        unit = abs(largest[t])
        excess = base + quantity * (adverse[t] - entry) - constant - slope * unit
        outside |= (excess <= 0.0) | (unit >= top) | (abs(smallest[t]) < bottom)
    return outside != 0


@step
def write_block(
    close: NDArray[np.float64],
    equity: NDArray[np.float64],
    wallet_column: NDArray[np.float64],
    requirement: NDArray[np.float64],
    wallet: float,
    quantity: float,
    entry: float,
    constant: float,
    slope: float,
) -> None:
    """Write what holds at the closes of a block."""
    for t in range(close.size):
        equity[t] = wallet + quantity * (close[t] - entry)
        wallet_column[t] = wallet
        requirement[t] = constant + slope * abs(close[t])


@step
def mark_bar_by_bar(setup: Setup, market: Market, book: Book, columns: Columns, start: int, stop: int) -> int:
    """Write the requirement at the closes of bars whose marks go through brackets; return the first that can fail."""
    p = book.positions[ONLY]
    quantity = p["quantity"]
    base = balance_of(setup, book)
    is_linear = setup.instruments[ONLY]["sign"] > 0.0
    constant, slope, bottom, top = line_at(setup, book, market.mark_close[0, start])
    for t in range(start, stop):
        adverse = market.path_low[0, t] if quantity > 0.0 else market.path_high[0, t]
        largest = market.path_high[0, t] if is_linear else market.path_low[0, t]
        if not bottom <= abs(largest) < top:
            constant, slope, bottom, top = line_at(setup, book, largest)
        if base + quantity * (adverse - p["entry_value"]) - constant - slope * abs(largest) <= 0.0:
            return t
        close = market.mark_close[0, t]
        if not bottom <= abs(close) < top:
            constant, slope, bottom, top = line_at(setup, book, close)
        columns.requirement[t] = constant + slope * abs(close)
    return stop


@inlined
def mark_plainly(setup: Setup, market: Market, book: Book, columns: Columns, start: int, stop: int) -> int:
    """Write what holds at the closes of bars that cannot liquidate; return ``stop``, or the first bar that can."""
    account = book.account[0]
    p = book.positions[ONLY]
    quantity = p["quantity"]
    entry = p["entry_value"]
    wallet = account["free_wallet"] + p["margin"]
    base = balance_of(setup, book)
    sign = setup.instruments[ONLY]["sign"]
    constant = 0.0
    slope = 0.0
    bottom = 0.0
    top = math.inf
    if quantity != 0.0 and start < stop:
        constant, slope, bottom, top = line_at(setup, book, market.mark_close[0, start])
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        write_block(
            market.mark_close[0, first:last],
            columns.equity[first:last],
            columns.wallet[first:last],
            columns.requirement[first:last],
            wallet,
            quantity,
            entry,
            constant,
            slope,
        )
        if quantity == 0.0:
            continue
        low = market.path_low[0, first:last]
        high = market.path_high[0, first:last]
        if quantity > 0.0 and sign > 0.0:
            bad = may_fail(low, high, low, base, quantity, entry, constant, slope, bottom, top)
        elif quantity > 0.0:
            bad = may_fail(low, low, high, base, quantity, entry, constant, slope, bottom, top)
        elif sign > 0.0:
            bad = may_fail(high, high, low, base, quantity, entry, constant, slope, bottom, top)
        else:
            bad = may_fail(high, low, high, base, quantity, entry, constant, slope, bottom, top)
        if bad:
            fails = mark_bar_by_bar(setup, market, book, columns, first, last)
            if fails < last:
                return fails
            constant, slope, bottom, top = line_at(setup, book, market.mark_close[0, last - 1])
    return max(start, stop)
