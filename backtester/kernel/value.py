"""Value space: one kernel for linear and inverse contracts.

``v(p) = p`` for a linear contract, ``v(p) = -1/p`` for an inverse one. Both rise with the price, profit is linear in
``v`` and ``|v|`` is the notional of one unit. ``sign`` is +1 for linear and -1 for inverse contracts, so that
``|v| = sign * v``. Source: accounting specification, section 1.
"""

from __future__ import annotations

from backtester.kernel._jit import entry


@entry
def price_to_value(price: float, sign: float) -> float:
    """Return the value of one unit at a price.

    Parameters
    ----------
    price : float
        Positive price [quote]; NaN stays NaN.
    sign : float
        +1 linear, -1 inverse.

    Returns
    -------
    float
        Settlement currency per unit of quantity; negative for inverse contracts.
    """
    return price if sign > 0 else -1.0 / price


@entry
def value_to_price(value: float, sign: float) -> float:
    """Return the price at which one unit has a value; the inverse of `price_to_value`."""
    return value if sign > 0 else -1.0 / value


@entry
def slipped(value: float, side: float, slippage: float, sign: float) -> float:
    """Return the value after slippage against an order.

    Parameters
    ----------
    value : float
        Reference price in value space.
    side : float
        +1 buy, -1 sell.
    slippage : float
        Fraction of the price.
    sign : float
        +1 linear, -1 inverse.
    """
    factor = 1.0 + side * slippage
    return value * factor if sign > 0 else value / factor


@entry
def unrealized_pnl(quantity: float, entry_value: float, value: float) -> float:
    """Return the price profit of an open position [settlement currency]: ``Q (v - v_entry)``."""
    return quantity * (value - entry_value)


@entry
def average_entry(quantity: float, entry_value: float, added: float, fill_value: float) -> float:
    """Return the entry value after adding to a position: the size-weighted mean in value space.

    Arithmetic in price for linear contracts, harmonic for inverse ones. ``quantity`` and ``added`` are signed alike.
    """
    if quantity == 0.0:
        return fill_value
    return (quantity * entry_value + added * fill_value) / (quantity + added)
