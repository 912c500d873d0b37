"""The liquidation engine of a whole market: its inventory, what it sells outside, and the funds that bear it.

The engine holds one inventory a contract at an average entry; what closing it earns or costs belongs to the fund. The
outside market is the other side of its trades. Source: accounting specification, sections 6 and 7.
"""

from __future__ import annotations

from backtester.kernel._jit import step
from backtester.kernel.clearing_state import CASH, LEG_BENT, Books, World
from backtester.kernel.value import average_entry, unrealized_pnl

DUST = 1e-12  # of a price: a sale at the price paid, but for rounding, is none at a loss
LEAST_PRICE = 0.05  # the engine's own trades never push a price below this part of the market's


@step
def displaced(value: float, shift: float, sign: float) -> float:
    """Return a value after a displacement of its price by a fraction."""
    factor = max(1.0 + shift, LEAST_PRICE)
    return value * factor if sign > 0.0 else value / factor


@step
def pay_wallet(books: Books, a: int, amount: float) -> None:
    """Add an amount to the free wallet of account ``a``."""
    books.accounts[a]["wallet"] += amount
    books.totals[CASH] += amount


@step
def pay_margin(books: Books, p: int, amount: float) -> None:
    """Add an amount to what backs position ``p``: its isolated margin, or the account's wallet."""
    a = books.positions[p]["account"]
    if books.accounts[a]["isolated"] == 1:
        books.positions[p]["margin"] += amount
    else:
        books.accounts[a]["wallet"] += amount
    books.totals[CASH] += amount


@step
def set_holding(books: Books, p: int, quantity: float, entry: float) -> None:
    """Change a position's size and entry, and the sums over all accounts with it."""
    position = books.positions[p]
    state = books.state[position["contract"]]
    held = position["quantity"]
    state["account_quantity"] += quantity - held
    state["long_quantity"] += max(quantity, 0.0) - max(held, 0.0)
    books.totals[CASH] += held * position["entry"] - quantity * entry
    position["quantity"] = quantity
    position["entry"] = entry


@step
def fund_earns(world: World, books: Books, c: int, amount: float) -> None:
    """Book a surplus or a deficit with the fund of contract ``c``: at once, or as pending until the hour of booking."""
    fund = books.funds[world.contracts[c]["fund"]]
    if world.rules[0]["booking_ms"] == 0:
        fund["balance"] += amount
    else:
        fund["pending"] += amount
    if amount >= 0.0:
        fund["surplus"] += amount
    else:
        fund["deficit"] -= amount


@step
def fund_fee(world: World, books: Books, c: int, fee: float) -> None:
    """Book a liquidation fee with the fund of contract ``c``."""
    fund_earns(world, books, c, fee)
    fund = books.funds[world.contracts[c]["fund"]]
    fund["surplus"] -= fee
    fund["fees"] += fee


@step
def engine_trades(world: World, books: Books, c: int, quantity: float, value: float) -> None:
    """Add a signed quantity to the engine's inventory at a value; what it closes is realised by the fund."""
    state = books.state[c]
    held = state["engine_quantity"]
    if held * quantity >= 0.0:
        if quantity != 0.0:
            state["engine_entry"] = average_entry(held, state["engine_entry"], quantity, value)
            state["engine_quantity"] = held + quantity
        return
    closed = min(abs(quantity), abs(held))
    side = 1.0 if held > 0.0 else -1.0
    fund_earns(world, books, c, side * closed * (value - state["engine_entry"]))
    if abs(quantity) >= abs(held):
        rest = quantity + held
        state["engine_quantity"] = rest
        state["engine_entry"] = value if rest != 0.0 else 0.0
    else:
        state["engine_quantity"] = held + quantity


@step
def outside_trades(books: Books, c: int, quantity: float, value: float) -> None:
    """Let the outside market buy (or sell, if negative) a quantity at a value."""
    state = books.state[c]
    state["outside_quantity"] += quantity
    state["outside_cash"] -= quantity * value


@step
def fund_worth(world: World, books: Books, fund: int) -> float:
    """Return the fund with what is not booked yet and with the engine's open profit at the mark."""
    total = books.funds[fund]["balance"] + books.funds[fund]["pending"]
    for c in range(world.contracts.size):
        if world.contracts[c]["fund"] == fund:
            state = books.state[c]
            total += unrealized_pnl(state["engine_quantity"], state["engine_entry"], state["mark"])
    return total


@step
def place_mark(world: World, books: Books, c: int, f: float) -> None:
    """Set mark and trade of contract ``c`` at a fraction of the present leg, the mark displaced by the engine."""
    state = books.state[c]
    sign = world.contracts[c]["sign"]
    if f >= 1.0:
        mark = state["mark_to"]
        state["trade"] = state["trade_to"]
    else:
        mark = state["mark_from"] + f * (state["mark_to"] - state["mark_from"])
        state["trade"] = state["trade_from"] + f * (state["trade_to"] - state["trade_from"])
    state["mark"] = displaced(mark, world.rules[0]["mark_share"] * state["shift"], sign)


@step
def mark_at_end(world: World, books: Books, c: int) -> float:
    """Return the mark at the end of the present leg, displaced as it is now."""
    state = books.state[c]
    return displaced(state["mark_to"], world.rules[0]["mark_share"] * state["shift"], world.contracts[c]["sign"])


@step
def sell_inventory(world: World, books: Books, c: int, f: float) -> None:
    """Trade the engine's inventory outside, as far as volume and, before a deleveraging, the fund allow.

    The price is the traded one at this point of the path, moved against the engine by half of the impact of what it
    offers. Where an exhausted fund leads to deleveraging, only so much is sold at a loss as the fund can pay.
    """
    state = books.state[c]
    held = state["engine_quantity"]
    rules = world.rules[0]
    fund = books.funds[world.contracts[c]["fund"]]
    offer = min(abs(held), state["budget"])
    if offer <= 0.0 or fund["active"] == 1:
        return
    side = 1.0 if held > 0.0 else -1.0
    sign = world.contracts[c]["sign"]
    part = rules["impact"] / state["volume"] if state["volume"] > 0.0 else 0.0
    value = displaced(state["trade"], state["shift"] - side * 0.5 * part * offer, sign)
    loss = side * (state["engine_entry"] - value)
    sold = offer
    if rules["deleverages"] == 1 and rules["on_exhaustion"] == 1 and loss > DUST * abs(value):
        sold = min(offer, max(fund["balance"] + fund["pending"], 0.0) / loss)
    if sold <= 0.0:
        return
    quantity = -held if sold == abs(held) else -side * sold
    engine_trades(world, books, c, quantity, value)
    outside_trades(books, c, -quantity, value)
    state["budget"] -= sold
    state["sold"] += sold * abs(value)
    if part > 0.0:
        state["shift"] -= side * part * sold
        books.counters[LEG_BENT] = 1
    place_mark(world, books, c, f)
