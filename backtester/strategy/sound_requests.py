"""Requests that no order can be: found before the replay takes them over."""

from __future__ import annotations

import math

import numpy as np

from backtester.domain.enums import OrderKind
from backtester.errors import format_time
from backtester.kernel._jit import constant, njit
from backtester.kernel.loop import (
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

TAKE_PROFIT_LIMIT = constant(OrderKind.TAKE_PROFIT_LIMIT)
NO_FAULT, CONTRACT, QUANTITY, LIMIT_PRICE, TRIGGER, DISTANCE, VALUE = range(7)
_KNOWN = "Ask only where the prices that it is made of are there: if price > 0."
WAYS_ON = {
    CONTRACT: "Count i from 0 to below loop.symbol_count(ctx).",
    QUANTITY: _KNOWN,
    LIMIT_PRICE: _KNOWN,
    TRIGGER: _KNOWN,
    DISTANCE: "Give a distance, or a fraction, above 0.",
    VALUE: _KNOWN,
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
    if ask == SET and not math.isfinite(row["value"]):
        return VALUE
    return _order_fault(row) if is_submit else NO_FAULT


@njit
def _order_fault(row: np.void) -> int:
    kind = row["kind"]
    if not math.isfinite(row["quantity"]):
        return QUANTITY
    if kind in (LIMIT, STOP_LIMIT, TAKE_PROFIT_LIMIT) and not 0.0 < row["limit"] < np.inf:
        return LIMIT_PRICE
    if kind in (STOP, STOP_LIMIT, TAKE_PROFIT, TAKE_PROFIT_LIMIT) and not 0.0 < row["trigger"] < np.inf:
        return TRIGGER
    if kind == TRAILING_STOP and not 0.0 < row["distance"] + row["fraction"] < np.inf:
        return DISTANCE
    return NO_FAULT


def fault_text(ctx: LoopContext, number: int, fault: int) -> str:
    """Return what a request asks for that no order can be, and when."""
    row = ctx.requests[number % ctx.requests.size]
    kind = OrderKind(row["kind"]).name.lower().replace("_", " ")
    what = {
        CONTRACT: f"asks for contract number {row['symbol']} of {ctx.bars.shape[1]}, counted from 0,",
        QUANTITY: f"asks for a {kind} order of {row['quantity']} units",
        LIMIT_PRICE: f"asks for a {kind} order at {row['limit']}",
        TRIGGER: f"asks for a {kind} order with its trigger at {row['trigger']}",
        DISTANCE: f"asks for a trailing stop at a distance of {row['distance'] + row['fraction']}",
        VALUE: f"sets an exit to {row['value']}",
    }[fault]
    return f"{what} at the close at {format_time(int(ctx.clock[TIME]))}"
