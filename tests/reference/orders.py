"""From targets to orders, from orders to fills."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from tests.reference.book import ZERO, Book, Order
from tests.reference.prices import shortened, sign, slipped

SNAP = Fraction(1e-9)
SLACK = Fraction(1e-12)
NOTHING = Fraction(1e-9)


def whole_steps(quantity: Fraction, step: Fraction) -> Fraction:
    """Return a size rounded toward zero to the quantity step, or to the step next to it within the snap."""
    if step == 0:
        return shortened(quantity)
    steps = quantity / step
    nearest = math.floor(steps + Fraction(1, 2))
    if abs(steps - nearest) <= SNAP * max(Fraction(1), abs(steps) / 10**6):
        return nearest * step
    return math.trunc(steps) * step


@dataclass
class Ticket:
    """One order while it is being filled."""

    order: Order
    reference: Fraction
    wanted: Fraction  # signed difference to what is held
    filled: Fraction = ZERO
    reason: str = "none"

    @property
    def status(self) -> str:
        if self.filled == self.wanted:
            return "filled"
        if self.filled != 0:
            return "clipped"
        return "rejected" if self.reason in {"margin", "tier_cap", "debt"} else "dropped"


def execute(
    book: Book, orders: list[Order], references: Mapping[int, Fraction], marks: Mapping[int, Fraction], time: int
) -> None:
    """Fill the orders of one moment: all are sized at the same equity, reducing parts fill first."""
    equity = max(book.equity(dict(marks)), ZERO)
    tickets = []
    for order in orders:
        i = order.symbol
        held, reference = book.positions[i].size, references[i]
        wanted = whole_steps(order.target * equity / book.rules[i].kind.worth(reference), book.rules[i].step)
        if wanted != held and not is_dust(book, i, wanted - held, reference):
            tickets.append(Ticket(order, reference, wanted - held))
    for ticket in tickets:
        reduce(book, ticket, time)
    for ticket in tickets:
        increase(book, ticket, marks, time)
    for ticket in tickets:
        book.finish_order(ticket.order, time, ticket.status, ticket.reason, wanted=ticket.wanted, filled=ticket.filled)


def is_dust(book: Book, i: int, difference: Fraction, reference: Fraction) -> bool:
    """Tell whether an order without a quantity step is no more than what rounding leaves."""
    if book.rules[i].step or book.positions[i].size + difference == 0:
        return False
    return abs(difference) * book.rules[i].kind.worth(reference) <= SLACK * Fraction(book.case.settings.balance)


def write_own_fill(
    book: Book, ticket: Ticket, signed: Fraction, price: Fraction, realised: Fraction, side: int, time: int
) -> None:
    """Write a fill of the trader's and post its profit and fee."""
    i = ticket.order.symbol
    fee = shortened(abs(signed) * book.rules[i].kind.worth(price) * book.rules[i].fee)
    book.write_fill(
        time,
        i,
        signed,
        price,
        ticket.reference,
        order_id=ticket.order.order_id,
        position_side="long" if side > 0 else "short",
        fee_paid=fee,
        realized_pnl=realised,
        reason="target",
    )
    book.post(time, i, "realized_pnl", realised)
    book.post(time, i, "trading_fee", -fee)
    ticket.filled += signed


def reduce(book: Book, ticket: Ticket, time: int) -> None:
    """Fill the part of an order that closes what is held."""
    i = ticket.order.symbol
    position, rules = book.positions[i], book.rules[i]
    if position.size * ticket.wanted >= 0:
        return
    side = position.side
    closed = min(abs(position.size), abs(ticket.wanted))
    price = slipped(ticket.reference, -side, rules.slippage)
    realised = shortened(rules.kind.profit(closed * side, position.entry, price))
    write_own_fill(book, ticket, -closed * side, price, realised, side, time)
    position.margin = shortened(position.margin * (abs(position.size) - closed) / abs(position.size))
    position.size -= closed * side


def increase(book: Book, ticket: Ticket, marks: Mapping[int, Fraction], time: int) -> None:
    """Fill the part of an order that opens or adds, as far as leverage, margin and minimums allow."""
    i = ticket.order.symbol
    position, rules = book.positions[i], book.rules[i]
    side = sign(ticket.wanted)
    price = slipped(ticket.reference, side, rules.slippage)
    quantity = allowed_increase(book, ticket, price, marks)
    if quantity == 0:
        return
    if position.size == 0:
        position.entry = price
    else:
        position.entry = rules.kind.average(position.size, position.entry, side * quantity, price)
    position.size += side * quantity
    position.bound = None
    if rules.isolated:
        position.margin += shortened(quantity * initial_margin(book, i, side, price))
    write_own_fill(book, ticket, side * quantity, price, ZERO, side, time)


def initial_margin(book: Book, i: int, side: int, price: Fraction) -> Fraction:
    """Return what one unit filled at a price has to be backed with."""
    rules, settings = book.rules[i], book.case.settings
    margin = rules.kind.worth(price) / rules.leverage
    if settings.close_fee_basis == "bankruptcy":
        margin += rules.kind.margin_exhausted(side, price, rules.leverage) * Fraction(settings.close_fee)
    return margin


def available(book: Book, i: int, marks: Mapping[int, Fraction]) -> Fraction:
    """Return the money with which a position may be opened or increased."""
    cross = book.free_wallet
    for j in book.cross_held():
        cross += book.unrealised(j, marks[j]) - book.notional(j, marks[j]) / book.rules[j].leverage
    return max(ZERO, min(cross, book.free_wallet) if book.rules[i].isolated else cross)


def allowed_increase(book: Book, ticket: Ticket, price: Fraction, marks: Mapping[int, Fraction]) -> Fraction:
    """Return the size that may be opened now; the ticket keeps the reason where it is less than wanted."""
    i = ticket.order.symbol
    rules, position = book.rules[i], book.positions[i]
    wanted = abs(ticket.wanted - ticket.filled)
    if wanted == 0:
        return ZERO
    if book.free_wallet < -SLACK * Fraction(book.case.settings.balance):
        ticket.reason = "debt"
        return ZERO
    quantity = min(wanted, room_in_tiers(book, i, marks[i]) - abs(position.size))
    if quantity < wanted:
        ticket.reason = "tier_cap"
        quantity = max(quantity, ZERO)
    need = unit_need(book, i, sign(ticket.wanted), price, marks[i])
    money = available(book, i, marks)
    if quantity * need > money * (1 + SLACK):
        ticket.reason = "margin"
        reject = book.case.settings.insufficient_margin == "reject"
        quantity = ZERO if reject else whole_steps(money / need, rules.step)
    if quantity <= 0 or (rules.step == 0 and quantity < wanted and quantity <= NOTHING * wanted):
        return ZERO
    if quantity / rules.contract_size < rules.min_quantity * (1 - SLACK):
        ticket.reason = "min_quantity"
        return ZERO
    if quantity * rules.kind.worth(ticket.reference) < rules.min_notional * (1 - SLACK):
        ticket.reason = "min_notional"
        return ZERO
    return quantity


def unit_need(book: Book, i: int, side: int, price: Fraction, mark: Fraction) -> Fraction:
    """Return the money that opening one unit takes: margin, fee, and the loss against the mark that it starts with."""
    rules = book.rules[i]
    start_loss = max(ZERO, -rules.kind.profit(Fraction(side), price, mark))
    return initial_margin(book, i, side, price) + rules.kind.worth(price) * rules.fee + start_loss


def room_in_tiers(book: Book, i: int, mark: Fraction) -> Fraction:
    """Return the largest size whose brackets all allow the leverage; without a cap, more than any order wants."""
    rules, table = book.rules[i], book.tables[i][book.bar]
    cap = table.cap(rules.leverage)
    if cap is None:
        return Fraction(10**30)
    limit = cap * rules.contract_size if table.counts_contracts else cap / rules.kind.worth(mark)
    if rules.step == 0:
        return shortened(limit * (1 - SLACK))
    return max(ZERO, (math.ceil(limit / rules.step) - 1) * rules.step)
