"""What an ``on_bar`` function sees, and how it asks for orders.

The replay calls the function at the close of each signal bar with one argument, a ``LoopContext``. The functions below
read it and write requests; they are compiled, and callable from Python with the same result. Prices are prices here,
quantities signed base units (quote units for inverse contracts). What is asked for takes effect at the next open (after
the run's latency), in the order in which it was asked.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numba.experimental.function_type
import numpy as np
from numba import types
from numpy.typing import NDArray

from backtester.domain.enums import OrderKind, RequestKind, TriggerPrice
from backtester.kernel._jit import constant, njit
from backtester.kernel.state import NONE, REQUEST

SUBMIT = constant(RequestKind.SUBMIT)
AMEND = constant(RequestKind.AMEND)
CANCEL = constant(RequestKind.CANCEL)
CANCEL_ALL = constant(RequestKind.CANCEL_ALL)
CLOSE = constant(RequestKind.CLOSE)
SET = constant(RequestKind.SET)
MARKET = constant(OrderKind.MARKET)
LIMIT = constant(OrderKind.LIMIT)
STOP = constant(OrderKind.STOP)
STOP_LIMIT = constant(OrderKind.STOP_LIMIT)
TAKE_PROFIT = constant(OrderKind.TAKE_PROFIT)
TRAILING_STOP = constant(OrderKind.TRAILING_STOP)
LAST = constant(TriggerPrice.LAST)
NO = constant(0)
ALL = constant(NONE)
REDUCE_ONLY = 1
POST_ONLY = 2

# places in the clock
BAR, TIME, DECISION_BAR, DUE_BAR, REQUESTED, DONE, LOST = range(7)
# places in the account's figures
EQUITY, WALLET, FREE = range(3)
# places of a slot's backing: what the margin of the whole account is computed from
# places of the bars' series
OPEN, HIGH, LOW, CLOSE_PRICE, VOLUME, MARK, INDEX = range(7)
SERIES = 7
BACK_FIGURES = 6
BACK_SYMBOL, BACK_SIGN, BACK_QUANTITY, BACK_ENTRY, BACK_MARGIN_RATE, BACK_WEIGHT = range(BACK_FIGURES)
# places of a leg's figures
LEG_QUANTITY, LEG_ENTRY = range(2)


class LoopContext(NamedTuple):
    """What an ``on_bar`` function is called with; read it through the functions of this module.

    ``N`` contracts in configured order, ``S`` signal bars. ``clock[0]`` is the signal bar that has just closed; nothing
    after it may be read. Few arrays, since each one costs time at every call.
    """

    clock: NDArray[np.int64]
    bars: NDArray[np.float64]  # (7, N, S): open, high, low, close, volume, mark and index at the close
    indicators: NDArray[np.float64]  # (K, N, S)
    account: NDArray[np.float64]
    legs: NDArray[np.float64]  # (N, 3, 2): net, long, short; quantity and entry price
    backing: NDArray[np.float64]  # (slots, 6): what each cross position and collateral does to the available margin
    most_leverage: NDArray[np.float64]  # (N,): of the contracts' tiers; infinite where they are not known
    params: NDArray[np.float64]
    state: NDArray[np.float64]  # (rows, columns): the function's own
    requests: NDArray[np.void]  # REQUEST, a ring


def empty_context() -> LoopContext:
    """Return a context without bars, for runs that call no function."""
    nothing = np.zeros((0, 0))
    return LoopContext(
        clock=np.zeros(7, np.int64),
        bars=np.zeros((SERIES, 0, 0)),
        indicators=np.zeros((0, 0, 0)),
        account=np.zeros(3),
        legs=np.zeros((0, 3, 2)),
        backing=np.zeros((0, 6)),
        most_leverage=np.zeros(0),
        params=np.zeros(0),
        state=nothing,
        requests=np.zeros(1, REQUEST),
    )


SIGNATURE: Any = types.void(numba.typeof(empty_context()))  # type: ignore[no-untyped-call]


class NoFunction(types.WrapperAddressProtocol):
    """Stands where no ``on_bar`` function is: it has the type of one and is never called."""

    def __wrapper_address__(self) -> int:
        """Return an address that is not null."""
        return 1

    def signature(self) -> Any:
        """Return the signature of every ``on_bar`` function."""
        return SIGNATURE


# -- bars ------------------------------------------------------------------------------------------------------------


@njit
def symbol_count(ctx: LoopContext) -> int:
    """Return the number of contracts."""
    return ctx.bars.shape[1]


@njit
def bar_number(ctx: LoopContext) -> int:
    """Return the number of the signal bar that has just closed; the first is 0."""
    return int(ctx.clock[BAR])


@njit
def close_time(ctx: LoopContext) -> int:
    """Return when the bar closed [ms since 1970, UTC]."""
    return int(ctx.clock[TIME])


@njit
def _must_be_contract(ctx: LoopContext, i: int) -> None:
    """End the run where there is no contract of this number: NaN would pass for a price that is not known yet."""
    if i < 0 or i >= ctx.bars.shape[1]:
        raise IndexError("there is no contract of this number: count from 0 to below loop.symbol_count(ctx)")


@njit
def _bar_before(ctx: LoopContext, back: int) -> int:
    """Return the number of the bar that many bars ago; negative before the first."""
    if back < 0:
        raise IndexError("back counts bars before the one that has closed, from 0: later ones are not known")
    return int(ctx.clock[BAR] - back)


@njit
def _past(ctx: LoopContext, series: int, i: int, back: int) -> float:
    _must_be_contract(ctx, i)
    bar = _bar_before(ctx, back)
    if bar < 0:
        return math.nan
    return float(ctx.bars[series, i, bar])


@njit
def open_price(ctx: LoopContext, i: int, back: int = 0) -> float:
    """Return the traded open of contract ``i``, ``back`` bars ago; NaN where there is no bar."""
    return _past(ctx, OPEN, i, back)


@njit
def high_price(ctx: LoopContext, i: int, back: int = 0) -> float:
    """Return the traded high; see `open_price`."""
    return _past(ctx, HIGH, i, back)


@njit
def low_price(ctx: LoopContext, i: int, back: int = 0) -> float:
    """Return the traded low; see `open_price`."""
    return _past(ctx, LOW, i, back)


@njit
def close_price(ctx: LoopContext, i: int, back: int = 0) -> float:
    """Return the traded close; see `open_price`."""
    return _past(ctx, CLOSE_PRICE, i, back)


@njit
def volume(ctx: LoopContext, i: int, back: int = 0) -> float:
    """Return the traded volume [base]; NaN where it is not known."""
    return _past(ctx, VOLUME, i, back)


@njit
def mark_price(ctx: LoopContext, i: int, back: int = 0) -> float:
    """Return the mark at the bar's close."""
    return _past(ctx, MARK, i, back)


@njit
def index_price(ctx: LoopContext, i: int, back: int = 0) -> float:
    """Return the index at the bar's close; NaN where there is none."""
    return _past(ctx, INDEX, i, back)


@njit
def indicator(ctx: LoopContext, k: int, i: int, back: int = 0) -> float:
    """Return the ``k``-th entry of the strategy's ``indicators()``, counted from 0; NaN where it has no value."""
    if k < 0 or k >= ctx.indicators.shape[0]:
        raise IndexError("there is no indicator of this number: the entries of indicators() count from 0")
    _must_be_contract(ctx, i)
    bar = _bar_before(ctx, back)
    if bar < 0:
        return math.nan
    return float(ctx.indicators[k, i, bar])


# -- account ---------------------------------------------------------------------------------------------------------


@njit
def equity(ctx: LoopContext) -> float:
    """Return the account's equity at the bar's mark close [settlement currency]."""
    return float(ctx.account[EQUITY])


@njit
def wallet_balance(ctx: LoopContext) -> float:
    """Return the wallet balance [settlement currency]."""
    return float(ctx.account[WALLET])


@njit
def available_margin(ctx: LoopContext) -> float:
    """Return what a cross position could be opened with at the bar's mark close [settlement currency]."""
    total = ctx.account[FREE]
    bar = ctx.clock[BAR]
    for k in range(ctx.backing.shape[0]):
        held = ctx.backing[k, BACK_QUANTITY]
        if held == 0.0:
            continue
        symbol = int(ctx.backing[k, BACK_SYMBOL])
        value = ctx.backing[k, BACK_ENTRY]  # what is held and not shown stands at its entry
        if symbol < ctx.bars.shape[1]:
            price = ctx.bars[MARK, symbol, bar]
            value = price if ctx.backing[k, BACK_SIGN] > 0.0 else -1.0 / price
        total += held * (value - ctx.backing[k, BACK_ENTRY]) - abs(held * value) * ctx.backing[k, BACK_MARGIN_RATE]
        total += ctx.backing[k, BACK_WEIGHT] * held * ctx.backing[k, BACK_ENTRY]
    return max(total, 0.0)


@njit
def leg_quantity(ctx: LoopContext, i: int, side: int) -> float:
    """Return the signed size of a leg in hedge mode (side +1 or -1); side 0: the net size."""
    _must_be_contract(ctx, i)
    leg = 0 if side == 0 else (1 if side > 0 else 2)
    return float(ctx.legs[i, leg, LEG_QUANTITY])


@njit
def leg_entry_price(ctx: LoopContext, i: int, side: int) -> float:
    """Return the average entry price of a leg; NaN when it is flat."""
    _must_be_contract(ctx, i)
    leg = 0 if side == 0 else (1 if side > 0 else 2)
    return float(ctx.legs[i, leg, LEG_ENTRY])


@njit
def quantity(ctx: LoopContext, i: int) -> float:
    """Return the signed size of contract ``i``, legs netted."""
    _must_be_contract(ctx, i)
    return float(ctx.legs[i, 0, LEG_QUANTITY])


@njit
def entry_price(ctx: LoopContext, i: int) -> float:
    """Return the average entry price of contract ``i``; NaN when flat, and in hedge mode."""
    _must_be_contract(ctx, i)
    return float(ctx.legs[i, 0, LEG_ENTRY])


# -- requests --------------------------------------------------------------------------------------------------------


@njit
def _rests(ctx: LoopContext, number: int) -> bool:
    """Return whether an order that was asked for long ago rests in the row of a number."""
    row = ctx.requests[number % ctx.requests.size]
    return bool(row["left"] > 0.0 and row["order"] >= 0)


@njit
def _request(ctx: LoopContext, ask: int, i: int) -> int:
    """Begin a request and return its number; -1 where more are under way than the ring holds.

    The number of a row whose order still rests is passed over: the row must go on telling `remaining`, `amend` and
    `cancel` of it. What carries requests out passes it over too, since the row has another number.
    """
    number = ctx.clock[REQUESTED]
    while number - ctx.clock[DONE] < ctx.requests.size and _rests(ctx, number):
        ctx.requests[number % ctx.requests.size]["due_bar"] = ctx.clock[DUE_BAR]  # when it is passed over
        number += 1
    if number - ctx.clock[DONE] >= ctx.requests.size:
        ctx.clock[LOST] += 1
        return -1
    ctx.clock[REQUESTED] = number + 1
    row = ctx.requests[number % ctx.requests.size]
    row["number"] = number
    row["ask"] = ask
    row["decision_bar"] = ctx.clock[DECISION_BAR]
    row["due_bar"] = ctx.clock[DUE_BAR]
    row["symbol"] = i
    row["side"] = 0
    row["left"] = 0.0
    row["order"] = NONE
    return int(number)


@njit
def submit_order(
    ctx: LoopContext,
    i: int,
    kind: int,
    quantity: float,
    limit: float = math.nan,
    trigger: float = math.nan,
    watches: int = LAST,
    distance: float = 0.0,
    fraction: float = 0.0,
    flags: int = NO,
    good_for: int = NO,
    group: int = NO,
    side: int = NO,
) -> int:
    """Ask for an order of any kind.

    Parameters
    ----------
    ctx : LoopContext
        The function's argument.
    i : int
        Contract.
    kind : int
        `OrderKind`.
    quantity : float
        Positive buys, negative sells [base units; quote units for inverse contracts].
    limit, trigger : float
        Prices, where the kind has them.
    watches : int
        `TriggerPrice` of the trigger.
    distance, fraction : float
        Of a trailing stop: in price, or of the best price.
    flags : int
        ``REDUCE_ONLY``, ``POST_ONLY``, or their sum.
    good_for : int
        Signal bars until it expires; 0: never.
    group : int
        Orders of one group (> 0) cancel each other once one fills.
    side : int
        Leg in hedge mode, +1 or -1; 0: the one that the order opens.

    Returns
    -------
    int
        Number by which `amend`, `cancel` and `remaining` know it; -1 where it was lost.
    """
    number = _request(ctx, SUBMIT, i)
    if number < 0:
        return number
    row = ctx.requests[number % ctx.requests.size]
    row["kind"] = kind
    row["quantity"] = quantity
    row["limit"] = limit
    row["trigger"] = trigger
    row["watches"] = watches
    row["distance"] = distance
    row["fraction"] = fraction
    row["reduce_only"] = flags & REDUCE_ONLY
    row["post_only"] = (flags & POST_ONLY) >> 1
    row["good_for"] = good_for
    row["group"] = group
    row["side"] = side
    row["left"] = abs(quantity)
    return number


@njit
def submit_market(ctx: LoopContext, i: int, quantity: float) -> int:
    """Ask for a market order at the next open."""
    return submit_order(ctx, i, MARKET, quantity)


@njit
def submit_limit(ctx: LoopContext, i: int, quantity: float, price: float) -> int:
    """Ask for a limit order."""
    return submit_order(ctx, i, LIMIT, quantity, price)


@njit
def submit_stop(ctx: LoopContext, i: int, quantity: float, trigger: float) -> int:
    """Ask for a stop that fills at the market."""
    return submit_order(ctx, i, STOP, quantity, math.nan, trigger)


@njit
def submit_stop_limit(ctx: LoopContext, i: int, quantity: float, trigger: float, limit: float) -> int:
    """Ask for a stop that becomes a limit order."""
    return submit_order(ctx, i, STOP_LIMIT, quantity, limit, trigger)


@njit
def submit_take_profit(ctx: LoopContext, i: int, quantity: float, trigger: float) -> int:
    """Ask for a take-profit that fills at the market."""
    return submit_order(ctx, i, TAKE_PROFIT, quantity, math.nan, trigger)


@njit
def submit_trailing(ctx: LoopContext, i: int, quantity: float, fraction: float) -> int:
    """Ask for a stop that follows the best price at a fraction of it."""
    return submit_order(ctx, i, TRAILING_STOP, quantity, math.nan, math.nan, LAST, 0.0, fraction)


@njit
def amend(
    ctx: LoopContext, request: int, quantity: float = math.nan, limit: float = math.nan, trigger: float = math.nan
) -> int:
    """Ask for other figures of an order; NaN keeps one. ``quantity`` is what is still to be filled, unsigned."""
    number = _request(ctx, AMEND, ALL)
    if number >= 0:
        row = ctx.requests[number % ctx.requests.size]
        row["request"] = request
        row["quantity"] = quantity
        row["limit"] = limit
        row["trigger"] = trigger
    return number


@njit
def cancel(ctx: LoopContext, request: int) -> int:
    """Ask for the end of an order; nothing happens where it is over."""
    number = _request(ctx, CANCEL, ALL)
    if number >= 0:
        ctx.requests[number % ctx.requests.size]["request"] = request
    return number


@njit
def cancel_all(ctx: LoopContext, i: int = ALL) -> int:
    """Ask for the end of all resting orders of contract ``i``, attached ones included; -1: of every contract."""
    return _request(ctx, CANCEL_ALL, i)


@njit
def close_position(ctx: LoopContext, i: int = ALL) -> int:
    """Ask to close contract ``i`` (every leg) at the market; -1: every contract."""
    return _request(ctx, CLOSE, i)


@njit
def set_exit(ctx: LoopContext, i: int, setting: int, value: float, rung: int = NO, side: int = NO) -> int:
    """Ask for a setting of contract ``i`` that follows its position.

    Parameters
    ----------
    ctx : LoopContext
        The function's argument.
    i : int
        Contract.
    setting : int
        `SettingField`: stop loss, take profit, trailing stop, leverage …
    value : float
        As in a strategy's expressions: a fraction, a price, signal bars, a leverage; ``ACTIVE`` 1 or 0. 0 switches off.
    rung : int
        Which of the four take-profits, from 0; their ``TAKE_PROFIT_SHARE`` is 1 unless it is set.
    side : int
        Leg in hedge mode, +1 or -1; 0: both. In one-way mode it changes nothing.

    Returns
    -------
    int
        Number of the request; -1 where it was lost.
    """
    number = _request(ctx, SET, i)
    if number >= 0:
        row = ctx.requests[number % ctx.requests.size]
        row["setting"] = setting
        row["value"] = value
        row["rung"] = rung
        row["side"] = side
    return number


@njit
def remaining(ctx: LoopContext, request: int) -> float:
    """Return how many units of a submitted order are still to fill; 0 once it is over."""
    if request < 0:
        return 0.0
    row = ctx.requests[request % ctx.requests.size]
    return float(row["left"]) if row["number"] == request else 0.0
