"""How large an order is, and how much of it the account carries.

Source: accounting specification, sections 3 and 4; ``docs/execution.md``, "Targets" and "Limits".
"""

from __future__ import annotations

import math

from backtester.domain.enums import MarginMode, RejectReason, SizingUnit, TierUnit
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.account import account_equity, cross_equity, opening_margin
from backtester.kernel.fills import SLACK, add_on_grid, floor_to_step, largest_below
from backtester.kernel.margin import initial_margin
from backtester.kernel.path import bracket_size
from backtester.kernel.state import Book, Setup
from backtester.kernel.value import slipped

ISOLATED = constant(MarginMode.ISOLATED)
UNIT_CONTRACTS = constant(TierUnit.CONTRACTS)
BY_WEIGHT = constant(SizingUnit.WEIGHT)
BY_NOTIONAL = constant(SizingUnit.NOTIONAL)
BY_QUANTITY = constant(SizingUnit.QUANTITY)
NO_REASON = constant(RejectReason.NONE)
BY_MARGIN = constant(RejectReason.MARGIN)
BY_TIER_CAP = constant(RejectReason.TIER_CAP)
BY_MIN_QUANTITY = constant(RejectReason.MIN_QUANTITY)
BY_MIN_NOTIONAL = constant(RejectReason.MIN_NOTIONAL)
BY_DEBT = constant(RejectReason.DEBT)
BY_LIMIT = constant(RejectReason.LIMIT)
BY_COOLDOWN = constant(RejectReason.COOLDOWN)
BY_INACTIVE = constant(RejectReason.INACTIVE)
BY_DRAWDOWN = constant(RejectReason.DRAWDOWN)
BY_STOP = constant(RejectReason.STOPPED)

CRUMB = 1e-9  # share of an order: without lots, what a clip leaves of it below this is rounding, not size


@step
def position_cap(setup: Setup, table_index: int, leverage: float) -> float:
    """Return the size below which every bracket of a table allows a leverage; 0 where none does."""
    table = setup.tables[table_index]
    cap = 0.0
    for k in range(table["start"], table["stop"]):
        if setup.tiers[k]["max_leverage"] < leverage:
            break
        cap = setup.tiers[k]["cap"]
    return cap


@step
def stop_value_for(setup: Setup, book: Book, i: int, side: float, value: float) -> float:
    """Return the stop level of a position that would open at a value; NaN where no stop is in force."""
    p = book.positions[i]
    if p["stop_value"] != 0.0:
        return float(p["stop_value"])
    fraction = p["stop_loss"] if p["stop_loss"] > 0.0 else p["trailing"]
    if fraction == 0.0:
        return math.nan
    return slipped(value, -side, fraction, setup.instruments[i]["sign"])


@step
def wanted_quantity(setup: Setup, book: Book, i: int, equity: float, value: float) -> float:
    """Return the signed size that the due target asks for, toward zero to the lot; NaN where it needs a stop."""
    target = book.positions[i]["target"]
    if target == 0.0:
        return 0.0
    instrument = setup.instruments[i]
    unit = setup.rules[0]["sizing"]
    if unit == BY_WEIGHT:
        size = target * max(equity, 0.0) / abs(value)
    elif unit == BY_NOTIONAL:
        size = target / abs(value)
    elif unit == BY_QUANTITY:
        size = target
    else:
        side = 1.0 if target > 0.0 else -1.0
        distance = side * (value - stop_value_for(setup, book, i, side, value))
        size = target * max(equity, 0.0) / distance if distance > 0.0 else math.nan  # beyond its stop already
    if size * instrument["only_side"] < 0.0:
        return 0.0
    if math.isnan(size):
        return size
    return floor_to_step(size, instrument["step_num"], instrument["step_den"])


@step
def available_margin(setup: Setup, book: Book, i: int) -> float:
    """Return what opening position ``i`` can use [settlement currency], at ``value_now`` of the held positions."""
    account = book.account[0]
    free = account["free_wallet"]
    cross = cross_equity(book)
    for j in range(account["cross_count"]):
        p = book.positions[book.cross[j]]
        cross -= initial_margin(p["quantity"], p["value_now"], p["leverage"])
    available = min(cross, free) if setup.instruments[i]["margin_mode"] == ISOLATED else cross
    return max(available, 0.0)


@inlined
def margin_need(
    setup: Setup, book: Book, i: int, side: float, fill_value: float, mark_value: float, rate: float
) -> float:
    """Return what one unit of an opening order asks of the margin: initial margin, fee, and the loss at the mark."""
    need = opening_margin(setup, book, i, side, fill_value) + abs(fill_value) * rate
    return need + max(0.0, side * (fill_value - mark_value))


@step
def exposure_room(setup: Setup, book: Book, i: int, side: float, mark_value: float) -> float:
    """Return the notional that may still open in slot ``i`` under the run's limits; ``value_now`` holds the marks."""
    rules = setup.rules[0]
    account = book.account[0]
    gross = 0.0
    net = 0.0
    own = 0.0
    row = book.positions[i]["row"]
    held = account["cross_count"] + account["isolated_count"]
    for j in range(held + account["spot_count"]):
        if j < account["cross_count"]:
            k = book.cross[j]
        elif j < held:
            k = book.isolated[j - account["cross_count"]]
        else:
            k = book.spot[j - held]
        p = book.positions[k]
        notional = p["quantity"] * abs(p["value_now"])
        gross += abs(notional)
        net += notional
        if p["row"] == row:
            own += p["quantity"] * abs(mark_value)
    equity = max(account_equity(book), 0.0)
    room = bound(rules["gross_limit"], equity) - gross
    room = min(room, bound(rules["net_limit"], equity) - side * net)
    return max(min(room, bound(rules["symbol_limit"], equity) - side * own), 0.0)


@step
def bound(limit: float, equity: float) -> float:
    """Return a limit in money; infinite where there is none, whatever the equity."""
    return limit * equity if limit < math.inf else math.inf


@step
def forbidden(setup: Setup, book: Book, i: int) -> int:
    """Return why nothing may open in slot ``i`` now, `RejectReason`; NONE where it may."""
    account = book.account[0]
    p = book.positions[i]
    if account["drawn_down"] == 1:
        return BY_DRAWDOWN
    if p["inactive"] == 1:
        return BY_INACTIVE
    if p["cooldown_ms"] > 0 and p["quantity"] == 0.0 and account["bar_open"] < p["closed"] + p["cooldown_ms"]:
        return BY_COOLDOWN
    is_backed = account["collateral_count"] > 0 and cross_equity(book) > 0.0
    if account["free_wallet"] < setup.rules[0]["debt"] and not is_backed:
        return BY_DEBT
    return NO_REASON


@step
def fitting_increase(
    setup: Setup,
    book: Book,
    i: int,
    wanted: float,
    fill_value: float,
    reference: float,
    mark_value: float,
    rate: float,
) -> tuple[float, int]:
    """Return how much of an opening part can fill, and why not all of it.

    Parameters
    ----------
    wanted : float
        Signed size of the part.
    fill_value, reference, mark_value : float
        Price with slippage, without, and the mark, in value space.
    rate : float
        Fee rate.

    Returns
    -------
    quantity : float
        Unsigned.
    reason : int
        `RejectReason`.
    """
    instrument = setup.instruments[i]
    p = book.positions[i]
    step_num = instrument["step_num"]
    step_den = instrument["step_den"]
    side = 1.0 if wanted > 0.0 else -1.0
    size = abs(wanted)
    reason = forbidden(setup, book, i)
    if reason != NO_REASON:
        return 0.0, reason
    cap = position_cap(setup, p["table"], p["leverage"])
    if cap < math.inf:
        contracts = setup.tables[p["table"]]["unit"] == UNIT_CONTRACTS
        unit = 1.0 / instrument["contract_size"] if contracts else abs(mark_value)
        largest = largest_below(cap, unit, step_num, step_den)
        room = max(add_on_grid(largest, -bracket_size(setup, book, i), step_num, step_den), 0.0)
        if size > room:
            size = room
            reason = BY_TIER_CAP
    if setup.rules[0]["has_limits"] == 1:
        notional = exposure_room(setup, book, i, side, mark_value)
        if size * abs(mark_value) > notional * (1.0 + SLACK):
            size = floor_to_step(notional / abs(mark_value), step_num, step_den)
            reason = BY_LIMIT
    need = margin_need(setup, book, i, side, fill_value, mark_value, rate)
    available = available_margin(setup, book, i)
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
