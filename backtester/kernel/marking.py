"""Mark to market over bars in which nothing happens, in blocks that the compiler turns into vector code.

Two passes: is every point of a bar's path safe whatever order it takes, and what stands at its close. The first is a
bound (each position at its own worst extreme, each requirement at its largest notional), so a bar that passes needs no
path; one that fails is walked exactly. Source: accounting specification, section 5.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from backtester.domain.enums import MarginMode
from backtester.kernel._jit import constant, inlined, step
from backtester.kernel.account import wallet_balance
from backtester.kernel.lines import is_safe_between, refresh_line, requirement_on_line
from backtester.kernel.path import FALLING, RISING, has_fixed_tier, line_in_tier, requirement_at, tier_at, tier_boundary
from backtester.kernel.state import Book, Columns, Market, Setup

SHORT = constant(16)  # bars of a block up to which brackets are looked up bar by bar, from the last one found
ISOLATED = constant(MarginMode.ISOLATED)


@inlined
def held_count(book: Book) -> int:
    """Return how many positions are held that can be liquidated; spot is left out."""
    count: int = book.account[0]["cross_count"] + book.account[0]["isolated_count"]
    return count


@inlined
def held_at(book: Book, j: int) -> int:
    """Return the j-th held position: the cross ones first, then the isolated."""
    cross = book.account[0]["cross_count"]
    i: int = book.cross[j] if j < cross else book.isolated[j - cross]
    return i


@step
def stays_within(units: NDArray[np.float64], low: float, high: float) -> bool:
    """Return whether every ``|v|`` of a block lies in ``[low, high)``."""
    outside = 0
    for t in range(units.size):
        unit = abs(units[t])
        outside |= (unit < low) | (unit >= high)
    return outside == 0


@step
def subtract_worst(
    setup: Setup, book: Book, i: int, low: NDArray[np.float64], high: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Add position ``i`` to a block's lower bound of balance less requirement, bar by bar."""
    p = book.positions[i]
    quantity = p["quantity"]
    entry = p["entry_value"]
    adverse = low if quantity > 0.0 else high
    largest = high if setup.instruments[i]["sign"] > 0.0 else low
    tier = tier_at(setup, book, i, largest[0])
    constant, slope = line_in_tier(setup, book, i, tier)
    fixed = has_fixed_tier(setup, book, i)
    if fixed or stays_within(
        largest, tier_boundary(setup, book, i, tier, FALLING), tier_boundary(setup, book, i, tier, RISING)
    ):
        for t in range(out.size):
            out[t] += quantity * (adverse[t] - entry) - constant - slope * abs(largest[t])
    else:
        for t in range(out.size):
            out[t] += quantity * (adverse[t] - entry) - requirement_at(setup, book, i, largest[t])


@step
def count_safe(setup: Setup, market: Market, book: Book, columns: Columns, start: int, stop: int) -> int:
    """Return how many bars from ``start`` on cannot liquidate on any path, at most ``stop - start`` (one block)."""
    account = book.account[0]
    if held_count(book) == 0:
        return stop - start
    low = market.path_low
    high = market.path_high
    count = stop - start
    if count <= SHORT:
        for t in range(count):
            if not is_safe_between(setup, book, low, high, start + t):
                return t
        return count
    worst = columns.scratch[:count]
    first = count
    for j in range(account["isolated_count"]):
        i = book.isolated[j]
        row = book.positions[i]["row"]
        worst[:] = book.positions[i]["margin"]
        subtract_worst(setup, book, i, low[row, start:stop], high[row, start:stop], worst)
        first = min(first, first_not_positive(worst))
    if account["cross_count"] > 0:
        worst[:] = account["free_wallet"]
        for j in range(account["cross_count"]):
            i = book.cross[j]
            row = book.positions[i]["row"]
            subtract_worst(setup, book, i, low[row, start:stop], high[row, start:stop], worst)
        for j in range(account["cross_count"], account["cross_count"] + account["collateral_count"]):
            p = book.positions[book.cross[j]]
            worth = p["weight"] * p["quantity"]
            lows = low[p["row"], start:stop]
            for t in range(count):
                worst[t] += worth * lows[t]
        first = min(first, first_not_positive(worst))
    return first


@step
def first_not_positive(values: NDArray[np.float64]) -> int:
    """Return the place of the first value that is not above 0, or the size."""
    bad = 0
    for t in range(values.size):
        bad |= values[t] <= 0.0
    if bad == 0:
        return values.size
    for t in range(values.size):
        if values[t] <= 0.0:
            return t
    return values.size


@step
def add_position(
    setup: Setup,
    book: Book,
    i: int,
    close: NDArray[np.float64],
    equity: NDArray[np.float64],
    requirement: NDArray[np.float64],
) -> None:
    """Add the unrealised profit and the requirement of position ``i`` to a block."""
    p = book.positions[i]
    quantity = p["quantity"]
    entry = p["entry_value"]
    tier = tier_at(setup, book, i, close[0])
    constant, slope = line_in_tier(setup, book, i, tier)
    if has_fixed_tier(setup, book, i) or stays_within(
        close, tier_boundary(setup, book, i, tier, FALLING), tier_boundary(setup, book, i, tier, RISING)
    ):
        for t in range(close.size):
            value = close[t]
            equity[t] += quantity * (value - entry)
            requirement[t] += constant + slope * abs(value)
    else:
        for t in range(close.size):
            equity[t] += quantity * (close[t] - entry)
            requirement[t] += requirement_at(setup, book, i, close[t])


@step
def mark_columns(setup: Setup, market: Market, book: Book, columns: Columns, start: int, stop: int) -> None:
    """Write what holds at the closes of a block of bars through which the positions stay as they are."""
    if stop <= start:
        return
    if stop - start <= SHORT and columns.gross.size > 0:
        for t in range(start, stop):
            mark_bar(setup, market, book, columns, t)
        return
    account = book.account[0]
    wallet = wallet_balance(book)
    equity = columns.equity[start:stop]
    requirement = columns.requirement[start:stop]
    columns.wallet[start:stop] = wallet
    equity[:] = wallet
    requirement[:] = 0.0
    if columns.gross.size == 0:
        for j in range(held_count(book)):
            i = held_at(book, j)
            close = market.mark_close[book.positions[i]["row"], start:stop]
            add_position(setup, book, i, close, equity, requirement)
        return
    cross_equity = columns.cross_equity[: stop - start]
    cross_requirement = columns.cross_requirement[: stop - start]
    collateral = columns.collateral[: stop - start]
    maintenance = columns.maintenance[start:stop]
    ratio = columns.margin_ratio[start:stop]
    gross = columns.gross[start:stop]
    net = columns.net[start:stop]
    maintenance[:] = 0.0
    ratio[:] = 0.0 if held_count(book) == 0 else -math.inf
    gross[:] = 0.0
    net[:] = 0.0
    cross_equity[:] = account["free_wallet"]
    cross_requirement[:] = 0.0
    for j in range(held_count(book)):
        i = held_at(book, j)
        quantity = book.positions[i]["quantity"]
        close = market.mark_close[book.positions[i]["row"], start:stop]
        if book.lines[i]["is_stale"] == 1:
            refresh_line(setup, book, i, close[0])
        fee_constant = book.lines[i]["fee_constant"]
        fee_slope = book.lines[i]["fee_slope"]
        for t in range(close.size):
            unit = abs(close[t])
            gross[t] += abs(quantity) * unit
            net[t] += quantity * unit
            maintenance[t] -= fee_constant + fee_slope * unit
        if j < account["cross_count"]:
            add_position(setup, book, i, close, cross_equity, cross_requirement)
        else:
            own_balance = columns.scratch[: stop - start]
            own_requirement = columns.scratch_two[: stop - start]
            own_balance[:] = book.positions[i]["margin"]
            own_requirement[:] = 0.0
            add_position(setup, book, i, close, own_balance, own_requirement)
            for t in range(close.size):
                equity[t] += own_balance[t] - book.positions[i]["margin"]
                requirement[t] += own_requirement[t]
                ratio[t] = max(ratio[t], test_ratio(own_requirement[t], own_balance[t]))
    add_spot(market, book, columns, start, stop)
    if account["cross_count"] > 0:
        free = account["free_wallet"]
        for t in range(stop - start):
            equity[t] += cross_equity[t] - free
            requirement[t] += cross_requirement[t]
            ratio[t] = max(ratio[t], test_ratio(cross_requirement[t], cross_equity[t] + collateral[t]))
    for t in range(stop - start):
        maintenance[t] += requirement[t]


@step
def mark_bar(setup: Setup, market: Market, book: Book, columns: Columns, bar: int) -> None:
    """Write what holds at one bar's close, position by position on its lines."""
    account = book.account[0]
    gross = 0.0
    net = 0.0
    fees = 0.0
    cross = account["free_wallet"]
    cross_requirement = 0.0
    for j in range(account["cross_count"]):
        i = book.cross[j]
        line = book.lines[i]
        value = market.mark_close[book.positions[i]["row"], bar]
        cross_requirement += requirement_on_line(setup, book, i, value)
        unit = abs(value)
        cross += line["quantity"] * (value - line["entry"])
        fees += line["fee_constant"] + line["fee_slope"] * unit
        gross += abs(line["quantity"]) * unit
        net += line["quantity"] * unit
    equity = cross
    requirement = cross_requirement
    ratio = -math.inf
    wallet = account["free_wallet"]
    for j in range(account["isolated_count"]):
        i = book.isolated[j]
        line = book.lines[i]
        value = market.mark_close[book.positions[i]["row"], bar]
        own_requirement = requirement_on_line(setup, book, i, value)
        unit = abs(value)
        margin = book.positions[i]["margin"]
        own = margin + line["quantity"] * (value - line["entry"])
        fees += line["fee_constant"] + line["fee_slope"] * unit
        gross += abs(line["quantity"]) * unit
        net += line["quantity"] * unit
        equity += own
        wallet += margin
        requirement += own_requirement
        ratio = max(ratio, test_ratio(own_requirement, own))
    for j in range(account["spot_count"]):
        p = book.positions[book.spot[j]]
        worth = p["quantity"] * market.mark_close[p["row"], bar]
        equity += p["margin"] + worth - p["quantity"] * p["entry_value"]
        wallet += p["margin"]
        gross += worth
        net += worth
        cross += p["weight"] * worth
    if account["cross_count"] > 0:
        ratio = max(ratio, test_ratio(cross_requirement, cross))
    columns.wallet[bar] = wallet
    columns.equity[bar] = equity
    columns.requirement[bar] = requirement
    columns.maintenance[bar] = requirement - fees
    columns.margin_ratio[bar] = 0.0 if held_count(book) == 0 else ratio
    columns.gross[bar] = gross
    columns.net[bar] = net


@step
def add_spot(market: Market, book: Book, columns: Columns, start: int, stop: int) -> None:
    """Add spot to a block's equity and exposures, and what of it is collateral to the block of that name."""
    collateral = columns.collateral[: stop - start]
    collateral[:] = 0.0
    for j in range(book.account[0]["spot_count"]):
        p = book.positions[book.spot[j]]
        close = market.mark_close[p["row"], start:stop]
        quantity = p["quantity"]
        for t in range(stop - start):
            worth = quantity * close[t]
            columns.equity[start + t] += quantity * (close[t] - p["entry_value"])
            columns.gross[start + t] += worth
            columns.net[start + t] += worth
            collateral[t] += p["weight"] * worth


@step
def test_ratio(requirement: float, balance: float) -> float:
    """Return requirement over balance; infinity once nothing is left."""
    return requirement / balance if balance > 0.0 else math.inf
