"""Requests that no order can be: found before the replay takes them over."""

from __future__ import annotations

import math

import numpy as np

from backtester.domain.enums import OrderKind, SettingField, TriggerPrice
from backtester.errors import format_time
from backtester.kernel._jit import constant, njit
from backtester.kernel.loop import (
    AMEND,
    LIMIT,
    REQUESTED,
    SET,
    STOP,
    STOP_LIMIT,
    SUBMIT,
    TAKE_PROFIT,
    TIME,
    TRAILING_STOP,
    LoopContext,
)
from backtester.kernel.state import RUNGS

TAKE_PROFIT_LIMIT = constant(OrderKind.TAKE_PROFIT_LIMIT)
NO_FAULT, CONTRACT, QUANTITY, LIMIT_PRICE, TRIGGER, DISTANCE, VALUE, KIND, WATCHES, SETTING, RUNG, RANGE = range(12)
STOP_LOSS = constant(SettingField.STOP_LOSS)
TRAILING = constant(SettingField.TRAILING_STOP)
GAIN = constant(SettingField.TAKE_PROFIT)
GAIN_PRICE = constant(SettingField.TAKE_PROFIT_PRICE)
SHARE = constant(SettingField.TAKE_PROFIT_SHARE)
HOLD = constant(SettingField.HOLD_BARS)
COOLDOWN = constant(SettingField.COOLDOWN_BARS)
ACTIVE = constant(SettingField.ACTIVE)
LEVERAGE = constant(SettingField.LEVERAGE)
KINDS, WATCHED, SETTINGS = len(OrderKind), len(TriggerPrice), len(SettingField)
_KNOWN = "Ask only where the prices that it is made of are there: if price > 0."
WAYS_ON = {
    CONTRACT: "Count i from 0 to below loop.symbol_count(ctx).",
    QUANTITY: _KNOWN,
    LIMIT_PRICE: _KNOWN,
    TRIGGER: _KNOWN,
    DISTANCE: "Give a distance in price above 0, or a fraction of the best price above 0 and below 1.",
    VALUE: _KNOWN,
    KIND: f"Use loop.OrderKind: {', '.join(kind.name for kind in OrderKind)}.",
    WATCHES: f"Use loop.TriggerPrice: {', '.join(price.name for price in TriggerPrice)}.",
    SETTING: f"Use loop.SettingField: {', '.join(field.name for field in SettingField)}.",
    RUNG: f"Count rungs from 0 to {RUNGS - 1}; only take-profits have them.",
}
_AT_LEAST_0 = "It must be at least 0; 0 switches it off."
_FRACTION = "It must be a fraction of at least 0 and below 1 (0.05 is 5 %); 0 switches it off."
_BARS = "It must be a whole number of signal bars, at least 0; 0 switches it off."
RANGES = {
    SettingField.STOP_LOSS: _FRACTION,
    SettingField.STOP_PRICE: _AT_LEAST_0,
    SettingField.TRAILING_STOP: _FRACTION,
    SettingField.TAKE_PROFIT: _AT_LEAST_0,
    SettingField.TAKE_PROFIT_PRICE: _AT_LEAST_0,
    SettingField.TAKE_PROFIT_SHARE: "It must be more than 0 and at most 1.",
    SettingField.HOLD_BARS: _BARS,
    SettingField.COOLDOWN_BARS: _BARS,
    SettingField.ACTIVE: "It must be 1 (true) or 0 (false).",
    SettingField.LEVERAGE: "It must be more than 0, and no more than the contract's margin tiers allow.",
}


@njit
def first_fault(ctx: LoopContext, first: int) -> tuple[int, int]:
    """Return the first request from ``first`` on that no order can be, and what is wrong with it; 0: nothing.

    Parameters
    ----------
    ctx : LoopContext
        After a call of ``on_bar``.
    first : int
        Number of the first request that the call made.

    Returns
    -------
    tuple of int
        Number of the request and code of the fault.
    """
    for number in range(first, ctx.clock[REQUESTED]):
        if ctx.requests[number % ctx.requests.size]["number"] != number:
            continue  # passed over
        fault = _fault(ctx, number)
        if fault != NO_FAULT:
            return number, fault
    return -1, NO_FAULT


@njit
def _fault(ctx: LoopContext, number: int) -> int:
    row = ctx.requests[number % ctx.requests.size]
    ask = row["ask"]
    is_submit = ask == SUBMIT
    if row["symbol"] >= ctx.bars.shape[1] or row["symbol"] < (0 if is_submit or ask == SET else -1):
        return CONTRACT
    if ask == SET:
        return _setting_fault(ctx, row)
    if ask == AMEND:
        return _amend_fault(row)
    return _order_fault(row) if is_submit else NO_FAULT


@njit
def _setting_fault(ctx: LoopContext, row: np.void) -> int:
    setting, value = row["setting"], row["value"]
    if setting < 0 or setting >= SETTINGS:
        return SETTING
    if not math.isfinite(value):
        return VALUE
    has_rungs = setting in (GAIN, GAIN_PRICE, SHARE)
    if row["rung"] < 0 or row["rung"] >= (RUNGS if has_rungs else 1):
        return RUNG
    return NO_FAULT if _is_in_range(ctx, row["symbol"], setting, value) else RANGE


@njit
def _is_in_range(ctx: LoopContext, i: int, setting: int, value: float) -> bool:
    """Return whether an expression might return the value; see ``columns.first_fault``."""
    if setting in (STOP_LOSS, TRAILING):
        return bool(0.0 <= value < 1.0)
    if setting == SHARE:
        return bool(0.0 < value <= 1.0)
    if setting in (HOLD, COOLDOWN):
        return bool(value >= 0.0 and value == math.floor(value))
    if setting == ACTIVE:
        return value in (0.0, 1.0)
    if setting == LEVERAGE:
        return bool(value > 0.0 and (i >= ctx.most_leverage.size or value <= ctx.most_leverage[i]))
    return bool(value >= 0.0)


@njit
def _amend_fault(row: np.void) -> int:
    """Return what is wrong with the figures of a change; NaN keeps one."""
    if math.isinf(row["quantity"]):
        return QUANTITY
    if row["limit"] <= 0.0 or math.isinf(row["limit"]):
        return LIMIT_PRICE
    if row["trigger"] <= 0.0 or math.isinf(row["trigger"]):
        return TRIGGER
    return NO_FAULT


@njit
def _order_fault(row: np.void) -> int:
    kind = row["kind"]
    if kind < 0 or kind >= KINDS:
        return KIND
    if row["watches"] < 0 or row["watches"] >= WATCHED:
        return WATCHES
    if not math.isfinite(row["quantity"]):
        return QUANTITY
    if kind in (LIMIT, STOP_LIMIT, TAKE_PROFIT_LIMIT) and not 0.0 < row["limit"] < np.inf:
        return LIMIT_PRICE
    if kind in (STOP, STOP_LIMIT, TAKE_PROFIT, TAKE_PROFIT_LIMIT) and not 0.0 < row["trigger"] < np.inf:
        return TRIGGER
    return NO_FAULT if kind != TRAILING_STOP or _follows(row["distance"], row["fraction"]) else DISTANCE


@njit
def _follows(distance: float, fraction: float) -> bool:
    """Return whether a trailing stop can follow the best price at a distance, or at a fraction of it."""
    return bool(0.0 <= distance < np.inf and 0.0 <= fraction < 1.0 and distance + fraction > 0.0)


def fault_text(ctx: LoopContext, number: int, fault: int) -> str:
    """Return what a request asks for that no order can be, and when."""
    row = ctx.requests[number % ctx.requests.size]
    return f"{_what(ctx, row, fault)} {moment(ctx)}"


def way_on(ctx: LoopContext, number: int, fault: int) -> str:
    """Return what to do about a request that no order can be."""
    row = ctx.requests[number % ctx.requests.size]
    if fault != RANGE:
        return WAYS_ON[fault]
    field = SettingField(row["setting"])
    if field is SettingField.LEVERAGE and row["value"] > 0.0:
        return f"The contract's margin tiers allow {ctx.most_leverage[row['symbol']]:g} at most."
    return RANGES[field]


def moment(ctx: LoopContext) -> str:
    """Return which call of ``on_bar`` is meant, in words."""
    return f"at the close at {format_time(int(ctx.clock[TIME]))}"


def _what(ctx: LoopContext, row: np.void, fault: int) -> str:
    """Return what a faulty request asks for."""
    if fault == CONTRACT:
        return f"asks for contract number {row['symbol']} of {ctx.bars.shape[1]}, counted from 0,"
    if fault in (SETTING, VALUE, RUNG, RANGE):
        return _what_setting(row, fault)
    if row["ask"] == AMEND:
        names = {QUANTITY: "quantity", LIMIT_PRICE: "limit", TRIGGER: "trigger"}
        return f"changes the {names[fault]} of an order to {row[names[fault]]}"
    if fault == KIND:
        return f"asks for an order of kind {row['kind']}, which there is not,"
    kind = OrderKind(row["kind"]).name.lower().replace("_", " ")
    return {
        QUANTITY: f"asks for a {kind} order of {row['quantity']} units",
        LIMIT_PRICE: f"asks for a {kind} order at {row['limit']}",
        TRIGGER: f"asks for a {kind} order with its trigger at {row['trigger']}",
        DISTANCE: f"asks for a trailing stop at a distance of {row['distance'] or row['fraction']}",
        WATCHES: f"asks for a {kind} order that watches price {row['watches']}, which there is not,",
    }[fault]


def _what_setting(row: np.void, fault: int) -> str:
    """Return what a faulty request sets."""
    if fault == SETTING:
        return f"sets the setting number {row['setting']}, which there is not,"
    name = SettingField(row["setting"]).name
    if fault == RUNG:
        return f"sets rung {row['rung']} of {name}, which there is not,"
    return f"sets {name} to {row['value']:g}"
