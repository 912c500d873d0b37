"""How much may be opened now: the venue's brackets, the run's own bounds, the margin, the minimums."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from tests.reference.book import ZERO, Book
from tests.reference.costs import fee_rate
from tests.reference.moment import Moment
from tests.reference.prices import SNAP, shortened

if TYPE_CHECKING:
    from tests.reference.fills import Ticket

SLACK = Fraction(1e-12)
NOTHING = Fraction(1e-9)
PLENTY = Fraction(10**30)


def whole_steps(quantity: Fraction, step: Fraction) -> Fraction:
    """Return a size rounded toward zero to the quantity step, or to the step next to it within the snap."""
    if step == 0:
        return shortened(quantity)
    steps = quantity / step
    nearest = math.floor(steps + Fraction(1, 2))
    if abs(steps - nearest) <= SNAP * max(Fraction(1), abs(steps) / 10**6):
        return nearest * step
    return math.trunc(steps) * step


def on_grid(quantity: Fraction, step: Fraction) -> Fraction:
    """Return a quantity that was given in floats as the whole steps that it means, where it means some."""
    if step == 0:
        return quantity
    nearest = math.floor(quantity / step + Fraction(1, 2))
    return nearest * step if abs(quantity / step - nearest) <= SNAP * max(1, abs(nearest)) else quantity


def initial_margin(book: Book, i: int, side: int, price: Fraction) -> Fraction:
    """Return what one unit filled at a price has to be backed with."""
    rules, settings, leverage = book.rules[i], book.case.settings, book.leverage(i)
    margin = rules.kind.worth(price) / leverage
    if settings.close_fee_basis == "bankruptcy" and not rules.is_spot:
        margin += rules.kind.margin_exhausted(side, price, leverage) * Fraction(settings.close_fee)
    return margin


def cross_available(book: Book, marks: Mapping[int, Fraction]) -> Fraction:
    """Return what cross margin leaves; it can be negative."""
    cross = book.free_wallet + book.collateral(marks)
    for j in book.cross_held():
        cross += book.unrealised(j, marks[j]) - book.notional(j, marks[j]) / book.leverage(j)
    return cross


def available(book: Book, i: int, marks: Mapping[int, Fraction]) -> Fraction:
    """Return the money with which a position may be opened or increased."""
    cross = cross_available(book, marks)
    return max(ZERO, min(cross, book.free_wallet) if book.rules[i].isolated else cross)


def is_in_debt(book: Book, marks: Mapping[int, Fraction]) -> bool:
    """Tell whether a negative free wallet stands against opening; collateral that outweighs it lifts the bar."""
    if book.free_wallet >= -SLACK * Fraction(book.case.settings.balance):
        return False
    backed = book.free_wallet + book.collateral(marks)
    backed += sum((book.unrealised(i, marks[i]) for i in book.cross_held()), ZERO)
    return not (book.collateral_held() and backed > 0)


def forbidden(book: Book, i: int, marks: Mapping[int, Fraction]) -> str | None:
    """Return why nothing at all may be opened."""
    terms = book.terms[i]
    if terms.get("active") == 0:
        return "inactive"
    if book.positions[i].size == 0 and i in book.closed_at:
        until = book.closed_at[i] + terms.get("cooldown_bars") * book.signal_ms
        if book.open_time < until:
            return "cooldown"
    return "debt" if is_in_debt(book, marks) else None


def room_in_tiers(book: Book, i: int, mark: Fraction) -> Fraction:
    """Return the largest size whose brackets all allow the leverage; without a cap, more than any order wants."""
    rules, table = book.rules[i], book.tables[i][book.bar]
    cap = table.cap(book.leverage(i))
    if rules.is_spot or cap is None:
        return PLENTY
    twin = book.twin(i)
    other = ZERO if twin is None else abs(book.positions[twin].size)
    limit = cap * rules.contract_size if table.counts_contracts else cap / rules.kind.worth(mark)
    if rules.step == 0:
        return max(ZERO, shortened(limit * (1 - SLACK)) - other)
    limit -= other
    return max(ZERO, (math.ceil(limit / rules.step) - 1) * rules.step)


def room_in_limits(book: Book, i: int, side: int, marks: Mapping[int, Fraction]) -> Fraction:
    """Return the size that the run's bounds of exposure let open."""
    settings, rules, room = book.case.settings, book.rules[i], PLENTY
    equity, unit = max(ZERO, book.equity(marks)), book.rules[i].kind.worth(marks[i])
    if settings.gross_limit is not None:
        gross = sum((book.notional(j, marks[j]) for j in book.held()), ZERO)
        room = min(room, (Fraction(settings.gross_limit) * equity - gross) / unit)
    if settings.net_limit is not None:
        net = sum((book.positions[j].side * book.notional(j, marks[j]) for j in book.held()), ZERO)
        room = min(room, (Fraction(settings.net_limit) * equity - side * net) / unit)
    if settings.symbol_limit is not None:
        own = book.symbol_size(book.slots[i].symbol)
        room = min(room, Fraction(settings.symbol_limit) * equity / unit - side * own)
    if room >= PLENTY:
        return room
    return max(ZERO, whole_steps(room, rules.step))


def unit_need(book: Book, i: int, side: int, price: Fraction, mark: Fraction, fee: Fraction) -> Fraction:
    """Return the money that opening one unit takes: margin, fee, and the loss against the mark that it starts with."""
    rules = book.rules[i]
    start_loss = max(ZERO, -rules.kind.profit(Fraction(side), price, mark))
    return initial_margin(book, i, side, price) + rules.kind.worth(price) * fee + start_loss


def allowed_increase(book: Book, ticket: Ticket, side: int, price: Fraction, moment: Moment) -> Fraction:
    """Return the size that may be opened now; the ticket keeps the reason where it is less than wanted."""
    i, marks = ticket.order.slot, moment.marks
    rules, position = book.rules[i], book.positions[i]
    wanted = abs(ticket.wanted - ticket.filled)
    if wanted == 0:
        return ZERO
    reason = forbidden(book, i, marks)
    if reason is not None:
        ticket.reason = reason
        return ZERO
    quantity = min(wanted, room_in_tiers(book, i, marks[i]) - abs(position.size))
    if quantity < wanted:
        ticket.reason = "tier_cap"
        quantity = max(quantity, ZERO)
    room = room_in_limits(book, i, side, marks)
    if room < quantity:
        ticket.reason, quantity = "limit", room
    fee = fee_rate(book, i, moment.time, maker=ticket.is_maker)
    need = unit_need(book, i, side, price, marks[i], fee)
    money = available(book, i, marks)
    if quantity * need > money * (1 + SLACK):
        ticket.reason = "margin"
        reject = book.case.settings.insufficient_margin == "reject"
        quantity = ZERO if reject else whole_steps(money / need, rules.step)
    if quantity <= 0 or (rules.step == 0 and quantity < wanted and quantity <= NOTHING * wanted):
        return ZERO
    return quantity if is_large_enough(book, ticket, quantity) else ZERO


def is_large_enough(book: Book, ticket: Ticket, quantity: Fraction) -> bool:
    """Tell whether an opening passes the minimums; the ticket keeps the reason where it does not."""
    rules = book.rules[ticket.order.slot]
    if quantity / rules.contract_size < rules.min_quantity * (1 - SLACK):
        ticket.reason = "min_quantity"
        return False
    if quantity * rules.kind.worth(ticket.reference) < rules.min_notional * (1 - SLACK):
        ticket.reason = "min_notional"
        return False
    return True
