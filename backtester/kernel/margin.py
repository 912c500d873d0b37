"""Initial and maintenance margin, tiers, and the values at which a balance is used up.

Within one bracket the requirement is a line in the notional of one unit, ``R = constant + slope * |v|``:
every basis and form of the venues is one choice of the two coefficients. Source: accounting specification, sections 4
and 6.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import CloseFeeBasis, MarginBasis, TierUnit
from backtester.kernel._jit import constant, entry

BASIS_ENTRY = constant(MarginBasis.ENTRY)
FEE_AT_BANKRUPTCY = constant(CloseFeeBasis.BANKRUPTCY)
UNIT_CONTRACTS = constant(TierUnit.CONTRACTS)


@entry
def initial_margin(quantity: float, value: float, leverage: float) -> float:
    """Return the initial margin [settlement currency]: ``|Q| |v| / L``."""
    return abs(quantity * value) / leverage


@entry
def find_tier(floors: NDArray[np.float64], start: int, stop: int, size: float) -> int:
    """Return the bracket of ``floors[start:stop]`` whose ``[floor, cap)`` holds a size, counted from ``start``.

    Parameters
    ----------
    floors : array, shape (K,)
        Lower bounds of all tables; those of one table ascend from 0.
    start, stop : int
        The table's place.
    size : float
        Notional or contracts, in the unit of the floors; beyond the last cap, the last bracket.
    """
    k = start
    while k + 1 < stop and size >= floors[k + 1]:
        k += 1
    return k - start


@entry
def bankruptcy_fee(quantity: float, entry_value: float, leverage: float, fee_rate: float) -> float:
    """Return the fee to close at the bankruptcy price of an isolated position at its leverage setting.

    ``|Q| |v_entry - sign(Q) |v_entry| / L| fee``: Bybit reserves it in initial and maintenance margin.
    """
    side = 1.0 if quantity > 0.0 else -1.0
    return abs(quantity) * abs(entry_value - side * abs(entry_value) / leverage) * fee_rate


@entry
def requirement_line(
    quantity: float,
    entry_value: float,
    leverage: float,
    rate: float,
    deduction: float,
    close_fee: float,
    mmr_basis: int,
    close_fee_basis: int,
) -> tuple[float, float]:
    """Return the liquidation test's requirement of a position inside one bracket, as a line in ``|v|``.

    Parameters
    ----------
    quantity : float
        Signed size.
    entry_value : float
        Average entry in value space.
    leverage : float
        Leverage setting; used for the fee at bankruptcy alone.
    rate : float
        Maintenance margin rate of the bracket, a ramp's slope included.
    deduction : float
        Maintenance amount of the bracket [settlement currency].
    close_fee : float
        Fee to close that the test includes [fraction of notional].
    mmr_basis, close_fee_basis : int
        `MarginBasis`, `CloseFeeBasis`.

    Returns
    -------
    constant, slope : float
        ``R = constant + slope * |v|`` [settlement currency].
    """
    size = abs(quantity)
    constant = -deduction
    slope = 0.0
    if mmr_basis == BASIS_ENTRY:
        constant += size * abs(entry_value) * rate
    else:
        slope += size * rate
    if close_fee_basis == FEE_AT_BANKRUPTCY:
        constant += bankruptcy_fee(quantity, entry_value, leverage, close_fee)
    else:
        slope += size * close_fee
    return constant, slope


@entry
def liquidation_value(
    quantity: float, entry_value: float, margin: float, constant: float, slope: float, sign: float
) -> float:
    """Return where ``margin + Q (v - v_entry) = constant + slope |v|``, whatever bracket that lies in.

    Parameters
    ----------
    quantity, entry_value : float
        The position.
    margin : float
        Isolated margin; under cross the wallet plus the other positions' unrealised profit less their requirements.
    constant, slope : float
        From `requirement_line`.
    sign : float
        +1 linear, -1 inverse.

    Returns
    -------
    float
        Value; one that maps to no positive price means that the position cannot be liquidated.
    """
    return (quantity * entry_value - margin + constant) / (quantity - sign * slope)


@entry
def bankruptcy_value(quantity: float, entry_value: float, margin: float) -> float:
    """Return the value at which nothing is left: ``v_entry - margin / Q``."""
    return entry_value - margin / quantity
