"""From orders to fills: what reduces, then what opens, and what a fill does to all that depends on the position."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from tests.reference import exits
from tests.reference.book import REJECTING, ZERO, Book, Order
from tests.reference.costs import base_units, count_traded, fee_rate, slippage
from tests.reference.limits import SLACK, allowed_increase, initial_margin, whole_steps
from tests.reference.moment import Moment
from tests.reference.prices import shortened, sign, slipped

LEAVES_FLAT = {"stop_loss", "take_profit", "trailing_stop", "time_exit", "auto_deleverage"}


@dataclass
class Ticket:
    """One order while it is being filled; ``wanted`` is what this filling asks for, signed."""

    order: Order
    reference: Fraction
    wanted: Fraction
    filled: Fraction = ZERO
    reason: str = "none"
    is_maker: bool = False
    limit: Fraction | None = None
    is_own: bool = False  # executed elsewhere: nothing is tested
    fee: Fraction | None = None

    @property
    def status(self) -> str:
        if self.filled == self.wanted:
            return "filled"
        if self.filled != 0:
            return "clipped"
        return "rejected" if self.reason in REJECTING else "dropped"


def fill_price(book: Book, ticket: Ticket, side: int, quantity: Fraction) -> Fraction:
    """Return the price of a fill: a maker's limit, else the reference with slippage, within the limit."""
    if ticket.is_maker or ticket.is_own:
        return ticket.reference
    price = slipped(ticket.reference, side, slippage(book, ticket.order.slot, quantity, ticket.reference))
    if ticket.limit is None:
        return price
    return min(price, ticket.limit) if side > 0 else max(price, ticket.limit)


def write_own_fill(
    book: Book, ticket: Ticket, signed: Fraction, price: Fraction, realised: Fraction, side: int, time: int
) -> None:
    """Write a fill of the trader's and post its profit and fee."""
    i = ticket.order.slot
    notional = abs(signed) * book.rules[i].kind.worth(price)
    if ticket.fee is None:
        fee = shortened(notional * fee_rate(book, i, time, maker=ticket.is_maker))
    else:
        fee = shortened(ticket.fee * abs(signed / ticket.wanted))
    book.write_fill(
        time,
        i,
        signed,
        price,
        ticket.reference,
        order_id=ticket.order.number,
        position_side="long" if side > 0 else "short",
        fee_paid=fee,
        realized_pnl=realised,
        liquidity="maker" if ticket.is_maker else "taker",
        reason=ticket.order.origin,
    )
    book.post(time, i, "realized_pnl", realised)
    book.post(time, i, "trading_fee", -fee)
    count_traded(book, time, notional)
    ticket.filled += signed


def reduce(book: Book, ticket: Ticket, moment: Moment) -> None:
    """Fill the part of an order that closes what is held."""
    i = ticket.order.slot
    position, rules = book.positions[i], book.rules[i]
    if position.size * ticket.wanted >= 0:
        return
    side = position.side
    closed = min(abs(position.size), abs(ticket.wanted))
    price = fill_price(book, ticket, -side, closed)
    realised = shortened(rules.kind.profit(closed * side, position.entry, price))
    write_own_fill(book, ticket, -closed * side, price, realised, side, moment.time)
    left = abs(position.size) - closed
    if rules.step == 0 and left <= SLACK * abs(position.size):  # what cutting sizes leaves
        left = ZERO
    position.margin = shortened(position.margin * left / abs(position.size))
    position.size = left * side
    if position.size == 0:
        after_close(book, i, ticket.order.origin, moment.time)


def increase(book: Book, ticket: Ticket, moment: Moment) -> None:
    """Fill the part of an order that opens or adds, as far as leverage, margin and minimums allow."""
    i, wanted = ticket.order.slot, ticket.wanted - ticket.filled
    if wanted == 0:
        return
    position, rules, side = book.positions[i], book.rules[i], sign(wanted)
    quantity = abs(wanted)
    if not ticket.is_own:
        quantity = allowed_increase(book, ticket, side, fill_price(book, ticket, side, quantity), moment)
    if quantity == 0:
        return
    price = fill_price(book, ticket, side, quantity)
    if position.size == 0:
        position.entry, position.opened = price, book.open_time
    else:
        position.entry = rules.kind.average(position.size, position.entry, side * quantity, price)
    position.size += side * quantity
    position.bound, position.leverage = None, book.leverage(i)
    if rules.isolated:
        position.margin += shortened(quantity * initial_margin(book, i, side, price))
    write_own_fill(book, ticket, side * quantity, price, ZERO, side, moment.time)
    exits.rebase(book, i)


def after_close(book: Book, i: int, origin: str, time: int) -> None:
    """Do what a position's end brings."""
    position = book.positions[i]
    position.base, position.taken, position.of_base = ZERO, set(), {}
    book.closed_at[i] = book.open_time
    own = [o for o in book.live if o.slot == i]
    ended = [o for o in own if o.attached]
    if origin in LEAVES_FLAT:
        book.left_flat.add(i)
        ended += [o for o in own if o.origin == "target"]
    book.cancel(ended, time, "position_closed")


def fill_resting(
    book: Book, order: Order, reference: Fraction, moment: Moment, *, is_maker: bool = False, attaches: bool = True
) -> None:
    """Fill an order by itself at a moment, first what reduces, then what opens; a lack of volume lets the rest rest."""
    i, side, limit = order.slot, order.side, order.limit if order.is_limit else None
    amount = abs(order.left)
    capacity = abs(book.positions[i].size) if book.positions[i].side == -side else ZERO
    may_open = not order.reduce_only and book.slots[i].only_side in {0, side}
    is_cut = is_short = False
    if not may_open:
        if capacity == 0:
            book.finish(order, moment.time, "cancelled", "reduce_only")
            return
        is_cut, amount = amount > capacity, min(amount, capacity)
    if limit is not None:
        room = volume_room(book, order)
        is_short, amount = room < amount, min(room, amount)
    book.live.remove(order)
    ticket = Ticket(order, reference, side * amount, is_maker=is_maker, limit=limit)
    reduce(book, ticket, moment)
    increase(book, ticket, moment)
    settle_order(book, order, ticket, moment.time, is_cut=is_cut, is_short=is_short)
    if attaches:
        exits.follow(book, i, moment)


def settle_order(book: Book, order: Order, ticket: Ticket, time: int, *, is_cut: bool, is_short: bool) -> None:
    """Write what a filling left of an order."""
    order.filled += ticket.filled
    order.left -= ticket.filled
    if ticket.limit is not None:
        use_volume(book, order, ticket.filled, used_up=is_short and ticket.filled == ticket.wanted)
    if order.attached == "take_profit":
        closed = book.positions[order.slot].of_base
        closed[order.rung] = closed.get(order.rung, ZERO) + abs(ticket.filled)
    if ticket.filled != 0 and order.group > 0:
        book.cancel([o for o in book.live if o.group == order.group], time, "oco")
    if ticket.filled != ticket.wanted:
        status = "clipped" if order.filled != 0 else ticket.status
        book.finish(order, time, status, ticket.reason)
    elif is_short:
        order.is_new = False
        if order.attached and book.positions[order.slot].size == 0:
            book.finish(order, time, "cancelled", "position_closed")
        else:
            book.put_back(order)
    elif is_cut:
        book.finish(order, time, "clipped", "reduce_only")
    else:
        if order.attached == "take_profit":
            book.positions[order.slot].taken.add(order.rung)
        book.finish(order, time, "filled", "none")


# -- volume ------------------------------------------------------------------------------------------------------


def volume_room(book: Book, order: Order) -> Fraction:
    """Return how much of a limit order the bar's volume still fills, in whole lots."""
    symbol, i = book.slots[order.slot].symbol, order.slot
    if symbol not in book.volume_left or order.limit is None:
        return abs(order.left)
    left = book.volume_left[symbol] / base_units(book, i, Fraction(1), order.limit)
    return min(abs(order.left), max(ZERO, whole_steps(left, book.rules[i].step)))


def use_volume(book: Book, order: Order, filled: Fraction, *, used_up: bool) -> None:
    """Take what a limit order filled from the bar's volume."""
    symbol = book.slots[order.slot].symbol
    if symbol not in book.volume_left or order.limit is None:
        return
    book.volume_left[symbol] -= base_units(book, order.slot, abs(filled), order.limit)
    if used_up and book.rules[order.slot].step == 0:
        book.volume_left[symbol] = ZERO
