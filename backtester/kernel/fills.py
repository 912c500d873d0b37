"""Quantities on the lot grid, and what one fill costs."""

from __future__ import annotations

import math

from backtester.kernel._jit import entry, step

SNAP = 1e-9  # lots: a quantity this near to a whole lot is that lot; binary fractions put 0.3 / 0.1 below 3
SPACING = 2.0**-52  # relative: the next smaller number
WHOLE = 2.0**53  # lots: beyond, every number is a whole one, and soon none that an integer holds
SLACK = 1e-12  # relative: comparisons with limits that the quantity was computed from


@entry
def trading_fee(quantity: float, fill_value: float, fee_rate: float) -> float:
    """Return the fee of a fill [settlement currency]: ``|dQ| |v| rate``; negative for a rebate."""
    return abs(quantity * fill_value) * fee_rate


@entry
def whole_lots(quantity: float, step_num: float, step_den: float) -> float:
    """Return how many whole steps a quantity holds, toward zero.

    Parameters
    ----------
    quantity : float
        Signed quantity.
    step_num, step_den : float
        The step as a fraction of integers, so that lots are counted exactly: 0.001 is 1 / 1000.

    Returns
    -------
    float
        A whole number of steps, signed.

    Notes
    -----
    Within ``SNAP`` of a whole number, that number is taken.
    """
    lots = quantity * step_den / step_num
    if abs(lots) >= WHOLE:
        return lots
    nearest = float(round(lots))
    if abs(lots - nearest) <= SNAP * max(1.0, 1e-6 * abs(lots)):
        return nearest
    return float(math.trunc(lots))


@entry
def floor_to_step(quantity: float, step_num: float, step_den: float) -> float:
    """Return the quantity rounded toward zero to the step; unchanged where there is no step (``step_num`` 0)."""
    if step_num == 0.0:
        return quantity
    return whole_lots(quantity, step_num, step_den) * step_num / step_den


@entry
def add_on_grid(quantity: float, change: float, step_num: float, step_den: float) -> float:
    """Return ``quantity + change`` without the residue of binary fractions where the sum stands on the grid of steps.

    Holdings and trades executed elsewhere need not stand there: then the sum stays as it is.
    """
    total = quantity + change
    if step_num == 0.0:
        return total
    lots = total * step_den / step_num
    if abs(lots) >= WHOLE:
        return total
    nearest = float(round(lots))
    if abs(lots - nearest) > SNAP * max(1.0, 1e-6 * abs(lots)):
        return total
    return nearest * step_num / step_den


@entry
def largest_below(limit: float, unit: float, step_num: float, step_den: float) -> float:
    """Return the largest quantity on the grid with ``quantity * unit`` strictly below a limit.

    Without a grid there is none; a relative 1e-12 below stands for it.
    """
    bound = limit / unit
    if step_num == 0.0:
        return bound * (1.0 - SLACK)
    lots = whole_lots(bound, step_num, step_den)
    while lots > 0.0 and lots * step_num / step_den * unit >= limit:
        lots = min(lots - 1.0, lots * (1.0 - SPACING))  # beyond 2**53 lots, one less is the same number
    return max(lots, 0.0) * step_num / step_den


@step
def less_one_step(size: float, step_num: float, step_den: float) -> float:
    """Return the largest size on the grid of steps below a size; without a grid, a billionth less."""
    if step_num == 0.0:
        return size * (1.0 - SNAP)
    below = floor_to_step(size, step_num, step_den)
    if abs(size - below) > SNAP * step_num / step_den:
        return below
    return add_on_grid(size, -step_num / step_den, step_num, step_den)
