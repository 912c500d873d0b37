"""One fill: first what reduces, then what opens, as far as the account carries it.

Source: accounting specification, sections 3 and 4.
"""

from __future__ import annotations

import math

from backtester.domain.enums import RejectReason
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.account import DUST, increase_position, reduce_position
from backtester.kernel.costs import MAKER, count_volume, fee_rate, slippage
from backtester.kernel.exits import BY_STOP_LOSS, BY_TAKE_PROFIT, BY_TRAILING, detach
from backtester.kernel.fills import add_on_grid, trading_fee
from backtester.kernel.sizing import NO_REASON, fitting_increase
from backtester.kernel.state import Book, Journal, Market, Setup
from backtester.kernel.value import slipped

BY_REDUCE_ONLY = constant(RejectReason.REDUCE_ONLY)


@inlined
def fill_price(
    setup: Setup, market: Market, i: int, bar: int, change: float, reference: float, limit: float, liquidity: int
) -> float:
    """Return the value at which ``change`` fills: with slippage as taker, never beyond a limit (NaN: none)."""
    if liquidity == MAKER:
        return reference
    side = 1.0 if change > 0.0 else -1.0
    fraction = slippage(setup, market, i, bar, change, reference)
    value = slipped(reference, side, fraction, setup.instruments[i]["sign"])
    if not math.isnan(limit):
        value = min(value, limit) if side > 0.0 else max(value, limit)
    return value


@inlined
def reducing_part(book: Book, i: int, change: float) -> float:
    """Return the part of a signed change that moves position ``i`` toward zero."""
    held = book.positions[i]["quantity"]
    if held * change >= 0.0:
        return 0.0
    return change if abs(change) < abs(held) else -held


@inlined
def opening_part(setup: Setup, i: int, change: float, reducing: float) -> float:
    """Return the part of a signed change that opens or adds; 0 where the slot cannot have that side."""
    instrument = setup.instruments[i]
    if change * instrument["only_side"] < 0.0:
        return 0.0
    opening: float = add_on_grid(change, -reducing, instrument["step_num"], instrument["step_den"])
    return opening if abs(opening) > DUST * abs(change) else 0.0


@step
def fill_reducing(
    setup: Setup,
    market: Market,
    book: Book,
    journal: Journal,
    i: int,
    order: int,
    bar: int,
    change: float,
    reference: float,
    limit: float,
    liquidity: int,
    reason: int,
) -> None:
    """Fill the reducing part of an order: it needs no margin."""
    fill_value = fill_price(setup, market, i, bar, change, reference, limit, liquidity)
    fee = trading_fee(change, fill_value, fee_rate(setup, book, i, liquidity))
    reduce_position(setup, book, journal, i, order, change, reference, fill_value, fee, liquidity, reason)
    count_volume(setup, book, abs(change * fill_value))
    if book.positions[i]["quantity"] == 0.0 and reason not in (BY_STOP_LOSS, BY_TAKE_PROFIT, BY_TRAILING):
        detach(book, journal, i)  # what opens next is another position


@step
def fill_opening(
    setup: Setup,
    market: Market,
    book: Book,
    journal: Journal,
    i: int,
    order: int,
    bar: int,
    wanted: float,
    reference: float,
    mark_value: float,
    limit: float,
    liquidity: int,
    reason: int,
) -> tuple[float, int]:
    """Fill the opening part of an order as far as it fits; return the unsigned size and why not all of it."""
    side = 1.0 if wanted > 0.0 else -1.0
    rate = fee_rate(setup, book, i, liquidity)
    fill_value = fill_price(setup, market, i, bar, wanted, reference, limit, liquidity)
    size, why = fitting_increase(setup, book, i, wanted, fill_value, reference, mark_value, rate)
    if size > 0.0:
        if size < abs(wanted):
            fill_value = fill_price(setup, market, i, bar, side * size, reference, limit, liquidity)
        book.positions[i]["value_now"] = mark_value
        fee = trading_fee(size, fill_value, rate)
        increase_position(setup, book, journal, i, order, side * size, reference, fill_value, fee, liquidity, reason)
        count_volume(setup, book, abs(size * fill_value))
    return size, why


@step
def execute(
    setup: Setup,
    market: Market,
    book: Book,
    journal: Journal,
    i: int,
    order: int,
    bar: int,
    change: float,
    reference: float,
    mark_value: float,
    limit: float,
    liquidity: int,
    reduce_only: int,
    reason: int,
) -> tuple[float, int]:
    """Fill an order as a whole, both parts.

    Parameters
    ----------
    change : float
        Signed size.
    reference, mark_value : float
        Price before slippage, and the mark, in value space; ``value_now`` of the held positions holds their marks.
    limit : float
        Bound of the fill's value, or NaN.
    liquidity, reason : int
        `Liquidity`, `FillReason`.

    Returns
    -------
    filled : float
        Signed.
    why : int
        `RejectReason` of what did not fill.
    """
    reducing = reducing_part(book, i, change)
    opening = opening_part(setup, i, change, reducing)
    if reduce_only == 1:
        opening = 0.0
    if reducing != 0.0:
        fill_reducing(setup, market, book, journal, i, order, bar, reducing, reference, limit, liquidity, reason)
    if opening == 0.0:
        is_whole = abs(change - reducing) <= DUST * abs(change)
        return reducing, NO_REASON if is_whole else BY_REDUCE_ONLY
    size, why = fill_opening(
        setup, market, book, journal, i, order, bar, opening, reference, mark_value, limit, liquidity, reason
    )
    side = 1.0 if opening > 0.0 else -1.0
    instrument = setup.instruments[i]
    return add_on_grid(reducing, side * size, instrument["step_num"], instrument["step_den"]), why
