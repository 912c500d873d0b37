"""What a run's summary needs, counted while it is replayed: no record of a bar is kept.

Between two events the position is constant and equity is a line in the mark, so that the extremes of a block of closes
(see ``blocks``) tell its largest drawdown, its worst margin ratio and its nearest liquidation. A block is passed when
its extremes cannot liquidate and cannot set a new maximum that must be dated; else its parts are looked at. Source:
accounting specification, section 2; ``docs/metrics.md`` defines each figure.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import (
    FillReason,
    LedgerKind,
    LiquidationKind,
    Liquidity,
    MarginMode,
    OrderStatus,
    RejectReason,
    Side,
)
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.account import wallet_balance
from backtester.kernel.blocks import (
    CLOSE_HIGH,
    CLOSE_LOW,
    FALL,
    PATH_HIGH,
    PATH_LOW,
    RISE,
    SINGLE,
    TOP,
    TRADE_HIGH,
    TRADE_LOW,
    level_shift,
)
from backtester.kernel.path import requirement_at
from backtester.kernel.plain import line_at
from backtester.kernel.state import NONE, Book, Journal, Market, Setup
from backtester.kernel.value import price_to_value, value_to_price

ISOLATED = constant(MarginMode.ISOLATED)
BUY = constant(Side.BUY)
MAKER = constant(Liquidity.MAKER)
TAKEOVER = constant(LiquidationKind.TAKEOVER)
FILL_STEP = constant(FillReason.LIQUIDATION_STEP)
FILL_TAKEOVER = constant(FillReason.LIQUIDATION)
FILL_DELISTING = constant(FillReason.DELISTING)
FILL_COLLATERAL = constant(FillReason.COLLATERAL)
LIQUIDATION_FEE = constant(LedgerKind.LIQUIDATION_FEE)
CLEARANCE = constant(LedgerKind.INSURANCE_CLEARANCE)
STATUSES = len(OrderStatus)
REASONS = len(RejectReason)
LEDGER_KINDS = len(LedgerKind)
NO_REASON = constant(RejectReason.NONE)
FLAT = 1e-9  # as the round trips of the analysis: what is left below this share of the largest size is rounding
YES = constant(1)
NO = constant(0)

TALLY = np.dtype(
    [
        # equity at closes; bars are -1 for the open of the first one
        ("peak", np.float64),
        ("peak_from", np.int64),  # the last close at the peak lies in bars [peak_from, peak_to)
        ("peak_to", np.int64),
        ("peak_value", np.float64),  # mark there; NaN: it is the last of those bars
        ("depth", np.float64),  # of the drawdown under way, a fraction <= 0
        ("trough_from", np.int64),
        ("trough_to", np.int64),
        ("trough_value", np.float64),  # NaN: the first of those bars
        ("max_drawdown", np.float64),
        ("max_drawdown_start", np.int64),
        ("max_drawdown_trough", np.int64),
        ("max_drawdown_end", np.int64),  # NONE: it lasts
        ("max_drawdown_ms", np.int64),
        ("longest_drawdown_ms", np.int64),
        ("final_equity", np.float64),
        ("final_wallet", np.float64),
        # daily closes
        ("day", np.int64),  # next day to close
        ("days", np.int64),
        ("mean_return", np.float64),
        ("square_return", np.float64),  # sum of squared deviations
        ("downside", np.float64),  # sum of squares of the negative ones
        ("best_day", np.float64),
        ("worst_day", np.float64),
        ("positive_days", np.int64),
        ("mean_equity", np.float64),
        ("mean_exposure", np.float64),
        ("mean_net_exposure", np.float64),
        # risk
        ("worst_margin_ratio", np.float64),
        ("held_bars", np.int64),
        ("nearest", np.float64),  # smallest distance to liquidation; infinite: never one
        ("liquidation_price", np.float64),  # as last recorded
        # fills
        ("fills", np.int64),
        ("notional", np.float64),
        ("own_notional", np.float64),
        ("maker_notional", np.float64),
        ("own_slippage", np.float64),
        ("step_slippage", np.float64),
        ("takeover_slippage", np.float64),
        # the round trip under way, or the last one
        ("trip_quantity", np.float64),
        ("trip_largest", np.float64),
        ("trip_side", np.float64),
        ("trip_time", np.int64),
        ("trip_opened", np.float64),  # units that opened or added, and their worth
        ("trip_worth", np.float64),
        ("trip_net", np.float64),
        ("trip_low", np.float64),
        ("trip_high", np.float64),
        # round trips that are over
        ("trips", np.int64),
        ("wins", np.int64),
        ("losses", np.int64),
        ("gain", np.float64),
        ("loss", np.float64),
        ("net", np.float64),
        ("adverse", np.float64),
        ("favourable", np.float64),
        ("held_ms", np.int64),
        # funding, liquidations, counts
        ("settlements", np.int64),
        ("funding_received", np.float64),
        ("funding_paid", np.float64),
        ("takeovers", np.int64),
        ("steps", np.int64),
        ("disputed", np.int64),
        ("insurance_flow", np.float64),
        ("ledger", np.float64, (LEDGER_KINDS,)),
        ("orders", np.int64),
        ("orders_waited", np.int64),
        ("order_ends", np.int64, (STATUSES, REASONS)),
        ("disputed_bars", np.int64),
        ("coarse_unchecked", np.int64),
        ("bars_waited", np.int64),
        ("account_takeovers", np.int64),
    ]
)


class Watch(NamedTuple):
    """What the tally of a run on one contract reads and writes beside the account."""

    blocks: NDArray[np.float64]  # (block_count(T), blocks.WIDTH)
    starts: NDArray[np.int64]  # (LEVELS,), row of each level's first block
    day_bar: NDArray[np.int64]  # (D,), last bar that closes by the end of each calendar day
    equity: NDArray[np.float64]  # (D,), scratch: at each of them
    gross: NDArray[np.float64]  # (D,), notional
    net: NDArray[np.float64]
    tally: NDArray[np.void]  # (1,)


# -- drawdown --------------------------------------------------------------------------------------------------------


@inlined
def closed_at(market: Market, bar: int) -> int:
    """Return the close of a bar [ms]; of bar -1, the first open."""
    time: int = market.open_time[bar + 1]
    return time


@step
def last_peak(market: Market, watch: Watch) -> int:
    """Return the last bar whose close stood at the peak."""
    tally = watch.tally[0]
    bar: int = tally["peak_to"] - 1
    if not math.isnan(tally["peak_value"]):
        while market.mark_close[0, bar] != tally["peak_value"] and bar > tally["peak_from"]:
            bar -= 1
    return bar


@step
def first_trough(market: Market, watch: Watch) -> int:
    """Return the first bar whose close stood at the lowest point of the drawdown under way."""
    tally = watch.tally[0]
    bar: int = tally["trough_from"]
    if not math.isnan(tally["trough_value"]):
        while market.mark_close[0, bar] != tally["trough_value"] and bar + 1 < tally["trough_to"]:
            bar += 1
    return bar


@step
def end_drawdown(market: Market, watch: Watch, bar: int, has_recovered: int) -> None:
    """Take the drawdown that ends at a close, if there was one, among those that count."""
    tally = watch.tally[0]
    is_deepest = tally["depth"] < tally["max_drawdown"]
    longest = closed_at(market, bar) - closed_at(market, tally["peak_from"])
    if not is_deepest and longest <= tally["longest_drawdown_ms"]:
        return
    peak = last_peak(market, watch)
    if has_recovered == YES and bar - peak <= 1:
        return  # nothing lies between the two
    length = closed_at(market, bar) - closed_at(market, peak)
    tally["longest_drawdown_ms"] = max(tally["longest_drawdown_ms"], length)
    if is_deepest:
        tally["max_drawdown"] = tally["depth"]
        tally["max_drawdown_start"] = peak
        tally["max_drawdown_trough"] = first_trough(market, watch)
        tally["max_drawdown_end"] = bar if has_recovered == YES else NONE
        tally["max_drawdown_ms"] = length


@inlined
def see_closes(
    market: Market,
    watch: Watch,
    low: float,
    high: float,
    low_value: float,
    high_value: float,
    drop: float,
    first: int,
    stop: int,
) -> bool:
    """Follow the drawdown over the closes of bars ``[first, stop)``; return whether that could be done as a whole.

    Parameters
    ----------
    low, high : float
        Least and largest equity of the closes.
    low_value, high_value : float
        Marks at which they stand.
    drop : float
        Largest way down from one of the equities to a later one.
    """
    tally = watch.tally[0]
    peak = tally["peak"]
    if high < peak:
        depth = low / peak - 1.0
        if depth < tally["depth"]:
            tally["depth"] = depth
            tally["trough_from"] = first
            tally["trough_to"] = stop
            tally["trough_value"] = low_value
        return True
    if stop - first > 1:
        # Somewhere in here the peak is reached again: passed as a whole where neither depth nor length can count.
        deepest = tally["max_drawdown"]
        if tally["depth"] < deepest or low / peak - 1.0 < deepest or -drop / peak < deepest:
            return False
        if closed_at(market, stop - 1) - closed_at(market, tally["peak_from"]) > tally["longest_drawdown_ms"]:
            return False
    else:
        end_drawdown(market, watch, first, YES)
    tally["peak"] = high
    tally["peak_from"] = first
    tally["peak_to"] = stop
    tally["peak_value"] = high_value
    tally["depth"] = 0.0
    return True


@inlined
def see_flat(market: Market, watch: Watch, equity: float, first: int, stop: int) -> None:
    """Follow the drawdown over bars at whose close nothing is held."""
    tally = watch.tally[0]
    peak = tally["peak"]
    if equity < peak:
        depth = equity / peak - 1.0
        if depth < tally["depth"]:
            tally["depth"] = depth
            tally["trough_from"] = first
            tally["trough_to"] = stop
            tally["trough_value"] = math.nan
        return
    end_drawdown(market, watch, first, YES)
    tally["peak"] = equity
    tally["peak_from"] = stop - 1
    tally["peak_to"] = stop
    tally["peak_value"] = math.nan
    tally["depth"] = 0.0


# -- segments --------------------------------------------------------------------------------------------------------


@inlined
def see_days(market: Market, book: Book, watch: Watch, wallet: float, stop: int) -> None:
    """Write the daily closes of bars before ``stop``, through which the position has stood."""
    tally = watch.tally[0]
    p = book.positions[0]
    quantity = p["quantity"]
    entry = p["entry_value"]
    day = tally["day"]
    while day < watch.day_bar.size and watch.day_bar[day] < stop:
        equity = wallet
        gross = 0.0
        net = 0.0
        if quantity != 0.0:
            value = market.mark_close[0, watch.day_bar[day]]
            equity += quantity * (value - entry)
            gross = abs(quantity) * abs(value)
            net = quantity * abs(value)
        watch.equity[day] = equity
        watch.gross[day] = gross
        watch.net[day] = net
        day += 1
    tally["day"] = day


@inlined
def ratio_of(requirement: float, balance: float) -> float:
    """Return requirement over balance; infinite once nothing is left."""
    return requirement / balance if balance > 0.0 else math.inf


@inlined
def see_risk(
    setup: Setup, market: Market, book: Book, watch: Watch, base: float, low: float, high: float, first: int, stop: int
) -> None:
    """Follow margin ratio and distance to liquidation over closes between two marks, both of which were reached."""
    tally = watch.tally[0]
    quantity = book.positions[0]["quantity"]
    entry = book.positions[0]["entry_value"]
    tally["held_bars"] += stop - first
    constant, slope, bottom, top = line_at(setup, book, low)
    at_low = ratio_of(constant + slope * abs(low), base + quantity * (low - entry))
    tally["worst_margin_ratio"] = max(tally["worst_margin_ratio"], at_low)
    if bottom <= abs(high) < top:
        # one bracket: a quotient of two lines is monotone
        at_high = ratio_of(constant + slope * abs(high), base + quantity * (high - entry))
        tally["worst_margin_ratio"] = max(tally["worst_margin_ratio"], at_high)
    else:
        adverse = low if quantity > 0.0 else high
        largest = max(requirement_at(setup, book, 0, low), requirement_at(setup, book, 0, high))
        if ratio_of(largest, base + quantity * (adverse - entry)) > tally["worst_margin_ratio"]:
            see_ratios(setup, market, book, watch, base, first, stop)
    level = tally["liquidation_price"]
    if math.isfinite(level):
        side = 1.0 if quantity > 0.0 else -1.0
        mark = value_to_price(low if quantity > 0.0 else high, setup.instruments[0]["sign"])
        tally["nearest"] = min(tally["nearest"], side * (mark - level) / mark)


@step
def see_ratios(setup: Setup, market: Market, book: Book, watch: Watch, base: float, first: int, stop: int) -> None:
    """Follow the margin ratio close by close, where the mark went through brackets."""
    tally = watch.tally[0]
    p = book.positions[0]
    for t in range(first, stop):
        value = market.mark_close[0, t]
        ratio = ratio_of(requirement_at(setup, book, 0, value), base + p["quantity"] * (value - p["entry_value"]))
        tally["worst_margin_ratio"] = max(tally["worst_margin_ratio"], ratio)


@step
def see_close(setup: Setup, market: Market, book: Book, watch: Watch, bar: int) -> None:
    """Follow the close of a bar that was replayed step by step; a bracket that binds after a step still does."""
    tally = watch.tally[0]
    wallet = wallet_balance(book)
    see_days(market, book, watch, wallet, bar + 1)
    p = book.positions[0]
    quantity = p["quantity"]
    if quantity == 0.0:
        see_flat(market, watch, wallet, bar, bar + 1)
        return
    value = market.mark_close[0, bar]
    profit = quantity * (value - p["entry_value"])
    equity = wallet + profit
    see_closes(market, watch, equity, equity, value, value, 0.0, bar, bar + 1)
    is_isolated = setup.instruments[0]["margin_mode"] == ISOLATED
    balance = (p["margin"] if is_isolated else book.account[0]["free_wallet"]) + profit
    tally["worst_margin_ratio"] = max(
        tally["worst_margin_ratio"], ratio_of(requirement_at(setup, book, 0, value), balance)
    )
    tally["held_bars"] += 1
    level = tally["liquidation_price"]
    if math.isfinite(level):
        side = 1.0 if quantity > 0.0 else -1.0
        mark = value_to_price(value, setup.instruments[0]["sign"])
        tally["nearest"] = min(tally["nearest"], side * (mark - level) / mark)


@inlined
def pass_bars(setup: Setup, market: Market, book: Book, watch: Watch, start: int, stop: int) -> int:
    """Pass the bars from ``start`` on that cannot liquidate, counting what their closes are worth.

    Returns
    -------
    int
        ``stop``, or the first bar whose path must be walked.
    """
    tally = watch.tally[0]
    account = book.account[0]
    p = book.positions[0]
    quantity = p["quantity"]
    wallet = account["free_wallet"] + p["margin"]
    if stop <= start:
        return start
    if quantity == 0.0:
        see_flat(market, watch, wallet, start, stop)
        see_days(market, book, watch, wallet, stop)
        return stop
    entry = p["entry_value"]
    base = p["margin"] if setup.instruments[0]["margin_mode"] == ISOLATED else account["free_wallet"]
    is_linear = setup.instruments[0]["sign"] > 0.0
    is_long = quantity > 0.0
    least = math.inf
    most = -math.inf
    trip_low = tally["trip_low"]
    trip_high = tally["trip_high"]
    constant = 0.0
    slope = 0.0
    bottom = math.inf  # no line yet
    top = 0.0
    limit = TOP
    t = start
    while t < stop:
        level = limit
        while level > SINGLE and ((t & ((1 << level_shift(level)) - 1)) != 0 or t + (1 << level_shift(level)) > stop):
            level -= 1
        if level == SINGLE:
            size = 1
            low = market.path_low[0, t]
            high = market.path_high[0, t]
            close_low = market.mark_close[0, t]
            close_high = close_low
            drop = 0.0
        else:
            size = 1 << level_shift(level)
            row = watch.blocks[watch.starts[level] + (t >> level_shift(level))]
            low = row[PATH_LOW]
            high = row[PATH_HIGH]
            close_low = row[CLOSE_LOW]
            close_high = row[CLOSE_HIGH]
            drop = quantity * row[FALL] if is_long else -quantity * row[RISE]
        adverse = low if is_long else high
        largest = high if is_linear else low
        unit = abs(largest)
        if not bottom <= unit < top:
            constant, slope, bottom, top = line_at(setup, book, largest)
        is_safe = base + quantity * (adverse - entry) - constant - slope * unit > 0.0
        if not is_safe and level == SINGLE:
            break
        is_passed = False
        if is_safe:
            low_value = close_low if is_long else close_high
            high_value = close_high if is_long else close_low
            is_passed = see_closes(
                market,
                watch,
                wallet + quantity * (low_value - entry),
                wallet + quantity * (high_value - entry),
                low_value,
                high_value,
                drop,
                t,
                t + size,
            )
        if not is_passed:
            limit = level - 1
            continue
        least = min(least, close_low)
        most = max(most, close_high)
        if level == SINGLE:
            trip_low = min(trip_low, market.trade_low[0, t])
            trip_high = max(trip_high, market.trade_high[0, t])
        else:
            row = watch.blocks[watch.starts[level] + (t >> level_shift(level))]
            trip_low = min(trip_low, row[TRADE_LOW])
            trip_high = max(trip_high, row[TRADE_HIGH])
        t += size
        limit = TOP
    tally["trip_low"] = trip_low
    tally["trip_high"] = trip_high
    if t > start:
        see_risk(setup, market, book, watch, base, least, most, start, t)
        see_days(market, book, watch, wallet, t)
    return t


# -- events ----------------------------------------------------------------------------------------------------------


@inlined
def end_trip(setup: Setup, watch: Watch, time: int) -> None:
    """Count the round trip that ends at a time."""
    tally = watch.tally[0]
    sign = setup.instruments[0]["sign"]
    entry = value_to_price(tally["trip_worth"] / tally["trip_opened"], sign)
    down = 0.0
    up = 0.0
    if tally["trip_low"] <= tally["trip_high"]:  # else no bar was passed with it
        down = value_to_price(tally["trip_low"], sign) / entry - 1.0
        up = value_to_price(tally["trip_high"], sign) / entry - 1.0
    adverse = down if tally["trip_side"] > 0.0 else -up
    favourable = up if tally["trip_side"] > 0.0 else -down
    tally["adverse"] += min(adverse, 0.0)
    tally["favourable"] += max(favourable, 0.0)
    tally["trips"] += 1
    tally["held_ms"] += time - tally["trip_time"]
    net = tally["trip_net"]
    tally["net"] += net
    if net > 0.0:
        tally["wins"] += 1
        tally["gain"] += net
    elif net < 0.0:
        tally["losses"] += 1
        tally["loss"] -= net


@inlined
def see_bar_in_trip(market: Market, watch: Watch, bar: int) -> None:
    """Let the traded extremes of a bar count for the round trip under way."""
    tally = watch.tally[0]
    tally["trip_low"] = min(tally["trip_low"], market.trade_low[0, bar])
    tally["trip_high"] = max(tally["trip_high"], market.trade_high[0, bar])


@inlined
def take_fill(setup: Setup, watch: Watch, journal: Journal, n: int) -> None:
    """Count a fill, and let it open, change or end a round trip."""
    tally = watch.tally[0]
    row = journal.fills[n]
    tally["fills"] += 1
    tally["notional"] += row["notional"]
    reason = row["reason"]
    is_engine = reason in (FILL_TAKEOVER, FILL_STEP, FILL_COLLATERAL)
    if not is_engine and reason != FILL_DELISTING:
        tally["own_notional"] += row["notional"]
        if row["liquidity"] == MAKER:
            tally["maker_notional"] += row["notional"]
    if reason == FILL_TAKEOVER:
        tally["takeover_slippage"] += row["slippage_paid"]
    elif is_engine:
        tally["step_slippage"] += row["slippage_paid"]
    else:
        tally["own_slippage"] += row["slippage_paid"]
    change = row["quantity"] if row["side"] == BUY else -row["quantity"]
    before = tally["trip_quantity"]
    after = before + change
    if before == 0.0:
        tally["trip_time"] = row["time"]
        tally["trip_side"] = 1.0 if change > 0.0 else -1.0
        tally["trip_opened"] = 0.0
        tally["trip_worth"] = 0.0
        tally["trip_net"] = 0.0
        tally["trip_low"] = math.inf
        tally["trip_high"] = -math.inf
        tally["trip_largest"] = 0.0
    tally["trip_largest"] = max(tally["trip_largest"], abs(after), abs(change))
    if abs(after) <= FLAT * tally["trip_largest"]:
        after = 0.0
    tally["trip_quantity"] = after
    tally["trip_net"] += row["realized_pnl"] - row["fee_paid"]
    if abs(after) > abs(before):
        tally["trip_opened"] += abs(change)
        tally["trip_worth"] += abs(change) * price_to_value(row["price"], setup.instruments[0]["sign"])
    if after == 0.0:
        end_trip(setup, watch, row["time"])


@inlined
def take_orders(watch: Watch, book: Book, journal: Journal) -> None:
    """Count the orders of the journal, whose ends are known, and forget them."""
    tally = watch.tally[0]
    account = book.account[0]
    for n in range(account["orders"]):
        row = journal.orders[n]
        tally["orders"] += 1
        tally["order_ends"][row["status"], row["reason"]] += 1
        if row["bars_waited"] > 0:
            tally["orders_waited"] += 1
    account["orders"] = 0


@inlined
def take_events(
    setup: Setup, market: Market, book: Book, watch: Watch, journal: Journal, bar: int, walked: int
) -> None:
    """Count what the journal holds of a bar and forget it: fills and what was paid in the order of their times.

    An entry at the time of a fill belongs to what was held before it. A round trip counts the extremes of the bars
    that it was held through: not of one at whose open it ended, nor of one on whose path it began.

    Parameters
    ----------
    walked : int
        1: the bar's path is over, its extremes count here; else they count when it is passed.
    """
    tally = watch.tally[0]
    account = book.account[0]
    opened = account["bar_open"]
    paid = 0
    booked = 0
    is_seen = walked == NO
    for n in range(account["fills"]):
        time = journal.fills[n]["time"]
        while paid < account["funding"] and journal.funding[paid]["time"] <= time:
            take_payment(watch, journal, paid)
            paid += 1
        reason = journal.fills[n]["reason"]
        takes = reason in (FILL_TAKEOVER, FILL_STEP)
        while booked < account["ledger"] and is_before_fill(journal, booked, time, takes):
            take_entry(watch, journal, booked)
            booked += 1
        if not is_seen and time > opened:
            is_seen = True
            if tally["trip_quantity"] != 0.0:
                see_bar_in_trip(market, watch, bar)
        take_fill(setup, watch, journal, n)
    while paid < account["funding"]:
        take_payment(watch, journal, paid)
        paid += 1
    while booked < account["ledger"]:
        take_entry(watch, journal, booked)
        booked += 1
    if not is_seen and tally["trip_quantity"] != 0.0:
        see_bar_in_trip(market, watch, bar)
    for n in range(account["liquidations"]):
        row = journal.liquidations[n]
        if row["kind"] == TAKEOVER:
            tally["takeovers"] += 1
        else:
            tally["steps"] += 1
        tally["disputed"] += row["disputed"]
        tally["insurance_flow"] += row["insurance_flow"]
    if account["positions"] > 0:
        tally["liquidation_price"] = journal.positions[account["positions"] - 1]["liquidation_price"]
    account["fills"] = 0
    account["funding"] = 0
    account["ledger"] = 0
    account["liquidations"] = 0
    account["positions"] = 0
    if account["pending_count"] == 0 and account["resting_count"] == 0:
        take_orders(watch, book, journal)


@inlined
def is_liquidation(kind: int) -> bool:
    """Return whether a ledger entry is what a liquidation took."""
    return bool(kind in (LIQUIDATION_FEE, CLEARANCE))


@inlined
def is_before_fill(journal: Journal, n: int, time: int, is_engine: bool) -> bool:
    """Return whether a ledger entry belongs to what was held before a fill.

    What a liquidation took at that very time belongs to what the engine's fill closes: a position can end on a bar's
    path where another one begins and is liquidated.
    """
    row = journal.ledger[n]
    if row["time"] != time:
        return bool(row["time"] < time)
    return is_engine or not is_liquidation(row["kind"])


@inlined
def take_payment(watch: Watch, journal: Journal, n: int) -> None:
    """Count a settlement."""
    tally = watch.tally[0]
    payment = journal.funding[n]["funding_payment"]
    tally["settlements"] += 1
    if payment > 0.0:
        tally["funding_received"] += payment
    else:
        tally["funding_paid"] += payment
    tally["trip_net"] += payment


@inlined
def take_entry(watch: Watch, journal: Journal, n: int) -> None:
    """Count a ledger entry; what a liquidation took belongs to the round trip, unless it is the whole account's."""
    tally = watch.tally[0]
    row = journal.ledger[n]
    kind = row["kind"]
    tally["ledger"][kind] += row["amount"]
    if row["symbol"] >= 0 and is_liquidation(kind):
        tally["trip_net"] += row["amount"]


# -- begin and end ---------------------------------------------------------------------------------------------------


@step
def begin_tally(watch: Watch, balance: float) -> None:
    """Put the tally at the open of the first bar; it is zero otherwise."""
    tally = watch.tally[0]
    tally["peak"] = balance
    tally["peak_from"] = NONE
    tally["peak_to"] = 0
    tally["peak_value"] = math.nan
    tally["max_drawdown_start"] = NONE
    tally["max_drawdown_trough"] = NONE
    tally["max_drawdown_end"] = NONE
    tally["nearest"] = math.inf
    tally["liquidation_price"] = math.nan


@step
def end_tally(market: Market, book: Book, watch: Watch, journal: Journal, balance: float) -> None:
    """Finish the tally after the last bar."""
    tally = watch.tally[0]
    account = book.account[0]
    bars = market.open_time.size - 1
    take_orders(watch, book, journal)
    peak = last_peak(market, watch)
    if peak < bars - 1:
        end_drawdown(market, watch, bars - 1, NO)
    p = book.positions[0]
    tally["final_wallet"] = wallet_balance(book)
    tally["final_equity"] = tally["final_wallet"]
    if p["quantity"] != 0.0:
        tally["final_equity"] += p["quantity"] * (market.mark_close[0, bars - 1] - p["entry_value"])
    tally["disputed_bars"] = account["disputed_bars"]
    tally["coarse_unchecked"] = account["coarse_unchecked"]
    tally["bars_waited"] = account["bars_waited"]
    tally["account_takeovers"] = account["takeovers"]
    end_days(watch, balance)


@step
def end_days(watch: Watch, balance: float) -> None:
    """Turn daily closes into means and spreads of daily returns and exposures."""
    tally = watch.tally[0]
    days = watch.day_bar.size
    tally["days"] = days
    equity_sum = 0.0
    return_sum = 0.0
    gross_sum = 0.0
    net_sum = 0.0
    known = 0
    best = -math.inf
    worst = math.inf
    downside = 0.0
    positive = 0
    before = balance
    for d in range(days):
        equity = watch.equity[d]
        equity_sum += equity
        gross = watch.gross[d]
        if equity > 0.0 or gross == 0.0:
            known += 1
            if gross > 0.0:
                gross_sum += gross / equity
                net_sum += watch.net[d] / equity
        change = equity / before - 1.0 if before > 0.0 else 0.0
        watch.equity[d] = change  # the equity is not needed again
        return_sum += change
        downside += min(change, 0.0) ** 2
        best = max(best, change)
        worst = min(worst, change)
        positive += change > 0.0
        before = equity
    mean = return_sum / days
    square = 0.0
    for d in range(days):
        square += (watch.equity[d] - mean) ** 2
    tally["mean_return"] = mean
    tally["square_return"] = square
    tally["downside"] = downside
    tally["best_day"] = best
    tally["worst_day"] = worst
    tally["positive_days"] = positive
    tally["mean_equity"] = equity_sum / days
    tally["mean_exposure"] = gross_sum / known if known > 0 else math.nan
    tally["mean_net_exposure"] = net_sum / known if known > 0 else math.nan
