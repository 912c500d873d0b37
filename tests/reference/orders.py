"""From targets to orders: what a due target wants, and the fills of an open that all share one equity."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction

from tests.reference.book import ZERO, Book, Order
from tests.reference.fills import Ticket, increase, reduce
from tests.reference.limits import SLACK, whole_steps
from tests.reference.moment import Moment
from tests.reference.prices import sign, to_tick


def stop_for_sizing(book: Book, i: int, side: int, reference: Fraction) -> Fraction | None:
    """Return the price at which a position opened now would be stopped; None where nothing stops it."""
    terms = book.terms[i]
    fraction = terms.get("stop_loss") or terms.get("trailing_stop")
    if terms.get("stop_price") > 0:
        return terms.get("stop_price")
    return reference * (1 - side * fraction) if fraction > 0 else None


def wanted_size(book: Book, order: Order, equity: Fraction, reference: Fraction) -> Fraction | None:
    """Return the signed size that a target means, None where it needs a stop that is not set."""
    i, target = order.slot, order.target
    assert target is not None
    rules, unit = book.rules[i], book.case.settings.sizing
    worth = rules.kind.worth(reference)
    if target == 0:
        return ZERO
    if unit == "weight":
        size = target * equity / worth
    elif unit == "notional":
        size = target / worth
    elif unit == "quantity":
        size = target
    else:
        stop = stop_for_sizing(book, i, sign(target), reference)
        loss = ZERO if stop is None else -rules.kind.profit(Fraction(sign(target)), reference, stop)
        if loss <= 0:
            return None
        size = target * equity / loss
    return whole_steps(size, rules.step)


def is_dust(book: Book, i: int, difference: Fraction, reference: Fraction) -> bool:
    """Tell whether an order without a quantity step is no more than what rounding leaves."""
    if book.rules[i].step or book.positions[i].size + difference == 0:
        return False
    return abs(difference) * book.rules[i].kind.worth(reference) <= SLACK * Fraction(book.case.settings.balance)


def execute(book: Book, orders: list[Order], closing: Collection[Order], moment: Moment) -> None:
    """Fill the orders of one moment: all are sized at the same equity, reducing parts fill first.

    ``closing`` are market orders that close what is held; targets with limit prices begin to rest.
    """
    equity = max(book.equity(moment.marks), ZERO)
    tickets = [Ticket(o, moment.trades[o.slot], o.left) for o in closing]
    for order in orders:
        i, reference = order.slot, moment.trades[order.slot]
        size = wanted_size(book, order, equity, reference)
        if size is None:
            book.finish(order, moment.time, "rejected", "no_stop")
            continue
        wanted = size - book.positions[i].size
        if wanted == 0 or is_dust(book, i, wanted, reference):
            continue
        if order.rungs:
            place_ladder(book, order, wanted, moment.time)
        else:
            order.wanted = wanted
            tickets.append(Ticket(order, reference, wanted))
    tickets.sort(key=lambda t: t.order.slot)
    for ticket in tickets:
        reduce(book, ticket, moment)
    for ticket in tickets:
        increase(book, ticket, moment)
    for ticket in tickets:
        ticket.order.filled = ticket.filled
        book.finish(ticket.order, moment.time, ticket.status, ticket.reason)


def place_ladder(book: Book, order: Order, wanted: Fraction, time: int) -> None:
    """Let each rung of a target rest with its share of the order, the last with what is left."""
    settings, rules, side = book.case.settings, book.rules[order.slot], sign(wanted)
    left, waited = abs(wanted), order.waited
    for k, (price, share) in enumerate(order.rungs):
        is_last = k + 1 == len(order.rungs)
        size = left if is_last else min(left, whole_steps(abs(wanted) * Fraction(share), rules.step))
        left -= size
        if size == 0:
            continue
        book.place(
            Order(
                slot=order.slot,
                kind="limit",
                origin="target",
                decision_time=order.decision_time,
                due_time=order.due_time,
                target=order.target,
                wanted=side * size,
                left=side * size,
                limit=to_tick(Fraction(price), rules.tick, side),
                post_only=settings.post_only,
                waited=waited,
                expires=time + settings.limit_bars * book.signal_ms if settings.limit_bars else None,
            )
        )
        waited = 0  # counted once
