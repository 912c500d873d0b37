"""When a resting order fires, at the open and on the path, and what it becomes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction

from tests.reference.book import Book, Order
from tests.reference.fills import fill_resting, volume_room
from tests.reference.moment import Moment

START = Fraction(0)


@dataclass(frozen=True)
class Leg:
    """The ends of one leg of the path, by series and slot; flat series may be missing."""

    ends: Mapping[str, Mapping[int, tuple[Fraction, Fraction]]]


def series_of(order: Order) -> str:
    """Return the series that fires an order."""
    return "last" if order.is_limit else order.watches


def follow_best(order: Order, price: Fraction) -> None:
    """Let a trailing stop see a price."""
    if order.kind == "trailing_stop":
        best = price if order.best is None else order.best
        order.best = min(best, price) if order.side > 0 else max(best, price)


def level_of(book: Book, order: Order) -> Fraction | None:
    """Return the price at which an order fires."""
    if order.is_limit:
        assert order.limit is not None
        through = book.case.settings.through_ticks * book.rules[order.slot].tick
        return order.limit - order.side * through
    if order.kind == "trailing_stop":
        assert order.best is not None
        if order.fraction is not None:
            return order.best * (1 + order.side * order.fraction)
        assert order.distance is not None
        return order.best + order.side * order.distance
    return order.trigger


def fires_above(order: Order) -> bool:
    """Tell whether an order fires at or above its level, else at or below."""
    is_stop = not order.is_limit and order.kind in {"stop", "stop_limit", "trailing_stop"}
    return (order.side > 0) == is_stop


def is_reached(order: Order, level: Fraction, price: Fraction) -> bool:
    return price >= level if fires_above(order) else price <= level


def is_ready(book: Book, order: Order, traded: Collection[int]) -> bool:
    """Tell whether an order can fire in this bar at all."""
    if order.kind == "market" or order.slot not in traded or order.left == 0:
        return False
    return not (order.is_limit and volume_room(book, order) == 0)


def first_fire(book: Book, order: Order, leg: Leg, begin: Fraction) -> Fraction | None:
    """Return the first fraction of a leg from ``begin`` on at which an order fires."""
    start, end = leg.ends[series_of(order)][order.slot]
    kind = book.rules[order.slot].kind
    present = kind.between(start, end, begin)
    follow_best(order, present)
    level = level_of(book, order)
    if level is None or level <= 0:
        return None
    if is_reached(order, level, present):
        return begin
    order.is_new = False
    if is_reached(order, level, end):
        return kind.fraction_at(start, end, level)
    return None


def fire(book: Book, order: Order, moment: Moment) -> None:
    """Let an order fire at a moment."""
    present = moment.trades[order.slot]
    if not order.is_limit:
        if order.limit is None:
            fill_resting(book, order, present, moment)
        else:
            order.triggered, order.is_new = True, True
    elif not order.is_new:
        assert order.limit is not None
        fill_resting(book, order, order.limit, moment, is_maker=True)
    elif order.post_only:
        status = "rejected" if order.filled == 0 else "cancelled"
        book.finish(order, moment.time, status, "post_only")
    else:
        fill_resting(book, order, present, moment)
        order.is_new = False


def fire_at_open(book: Book, moment: Moment, traded: Collection[int]) -> None:
    """Let the orders fire that the open has passed, the lowest number first, until none is passed."""
    while True:
        passed = [o for o in book.live if is_ready(book, o, traded) and is_passed(book, o, moment)]
        if not passed:
            break
        fire(book, passed[0], moment)
    for order in book.live:
        order.is_new = False


def is_passed(book: Book, order: Order, moment: Moment) -> bool:
    """Tell whether an order's level is passed at a moment."""
    price = moment.price(series_of(order), order.slot)
    follow_best(order, price)
    level = level_of(book, order)
    return level is not None and level > 0 and is_reached(order, level, price)


def expire(book: Book, time: int) -> None:
    """Cancel the orders whose time is over."""
    for order in [o for o in book.live if o.expires is not None and time >= o.expires]:
        book.finish(order, time, "expired", "none")


def see_closes(book: Book, moment: Moment, traded: Collection[int]) -> None:
    """Let trailing stops see where a bar's path ends."""
    for order in book.live:
        if order.kind == "trailing_stop" and order.slot in traded:
            follow_best(order, moment.price(order.watches, order.slot))
