"""What an ``on_bar`` function asks for, and what expressions set, once it is due."""

from __future__ import annotations

from fractions import Fraction

from tests.reference.book import Book, Order
from tests.reference.case import Amend, Cancel, Close, Request, Setting, Submit
from tests.reference.limits import whole_steps
from tests.reference.moment import Moment
from tests.reference.prices import to_tick
from tests.reference.slots import chosen
from tests.reference.terms import EXITS, RUNGS


def change_terms(book: Book, row: Setting) -> None:
    """Let a setting take effect."""
    for i in chosen(book.slots, row.symbol, row.side):
        differs = book.terms[i].change(row.name, row.rung, Fraction(row.value))
        if differs and row.name in EXITS and book.positions[i].size != 0:
            book.touched.add(i)
            if row.name in RUNGS:  # a rung that is set anew may fill again
                rearm(book, i, row.rung)


def rearm(book: Book, i: int, rung: int) -> None:
    """Let a take-profit that has closed its share do so again."""
    position = book.positions[i]
    if rung in position.taken:
        position.taken.remove(rung)
        position.of_base.pop(rung, None)


def obey(book: Book, number: int, request: Request, decided: int, moment: Moment) -> None:
    """Do what a request asks for."""
    if isinstance(request, Submit):
        submit(book, number, request, decided, moment)
    elif isinstance(request, Amend):
        amend(book, request, moment)
    elif isinstance(request, Cancel):
        cancel(book, request, moment)
    else:
        close(book, number, request, decided, moment)


def exact(figure: float | None) -> Fraction | None:
    return None if figure is None else Fraction(figure)


def submit(book: Book, number: int, request: Submit, decided: int, moment: Moment) -> None:
    """Place an order."""
    side = 1 if request.buy else -1
    i = chosen(book.slots, request.symbol, request.side or side)[0]
    rules = book.rules[i]
    left = side * whole_steps(Fraction(request.quantity), rules.step)
    order = Order(
        slot=i,
        kind=request.kind,
        origin="order",
        decision_time=decided,
        due_time=moment.time,
        request=number,
        wanted=left,
        left=left,
        limit=None if request.limit is None else to_tick(Fraction(request.limit), rules.tick, side),
        trigger=None if request.trigger is None else to_tick(Fraction(request.trigger), rules.tick, side),
        watches=request.watches,
        distance=exact(request.distance),
        fraction=exact(request.fraction),
        reduce_only=request.reduce_only,
        post_only=request.post_only,
        group=request.group,
        expires=moment.time + request.good_for * book.signal_ms if request.good_for else None,
    )
    book.place(order)
    if left == 0:
        book.finish(order, moment.time, "dropped", "lot")
    elif order.kind == "trailing_stop" and i in moment.trades:
        order.best = moment.price(order.watches, i)


def amend(book: Book, request: Amend, moment: Moment) -> None:
    """Change an order that still rests."""
    for order in [o for o in book.live if o.request == request.request]:
        rules, side = book.rules[order.slot], order.side
        if request.quantity is not None:
            order.left = side * whole_steps(Fraction(request.quantity), rules.step)
            if order.left == 0:
                book.finish(order, moment.time, "cancelled", "requested")
                continue
            order.wanted = order.filled + order.left
        prices = (order.limit, order.trigger)
        if request.limit is not None:
            order.limit = to_tick(Fraction(request.limit), rules.tick, side)
        if request.trigger is not None:
            order.trigger = to_tick(Fraction(request.trigger), rules.tick, side)
        if prices != (order.limit, order.trigger):
            order.is_new = True


def cancel(book: Book, request: Cancel, moment: Moment) -> None:
    """Cancel one order, those of a symbol, or all."""
    if request.request is not None:
        found = [o for o in book.live if o.request == request.request]
    else:
        found = [o for o in book.live if request.symbol in {None, book.slots[o.slot].symbol}]
    book.cancel(found, moment.time, "requested")


def close(book: Book, number: int, request: Close, decided: int, moment: Moment) -> None:
    """Place a market order against each position that is to be closed."""
    for i in book.held():
        if request.symbol in {None, book.slots[i].symbol}:
            wanted = -book.positions[i].size
            book.place(
                Order(
                    slot=i,
                    kind="market",
                    origin="close",
                    decision_time=decided,
                    due_time=moment.time,
                    request=number,
                    wanted=wanted,
                    left=wanted,
                    reduce_only=True,
                )
            )
