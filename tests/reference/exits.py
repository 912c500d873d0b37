"""Stops, trailing stops and take-profits that are attached to a position and follow its size."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from tests.reference.book import ZERO, Book, Order
from tests.reference.limits import SLACK, whole_steps
from tests.reference.moment import Moment
from tests.reference.prices import to_tick


@dataclass(frozen=True)
class Wish:
    """An attached order as the settings want it."""

    attached: str
    rung: int
    kind: str
    trigger: Fraction | None = None
    limit: Fraction | None = None
    fraction: Fraction | None = None


def rebase(book: Book, i: int) -> None:
    """Note that a position was increased."""
    position = book.positions[i]
    position.base, position.taken, position.of_base = abs(position.size), set(), {}
    book.touched.add(i)


def attached_to(book: Book, i: int) -> list[Order]:
    return [o for o in book.live if o.slot == i and o.attached]


def wishes(book: Book, i: int) -> list[Wish]:
    """Return what is to be attached to a position: the stop, the trailing stop, the take-profits."""
    settings, terms, position, tick = book.case.settings, book.terms[i], book.positions[i], book.rules[i].tick
    side, found = position.side, []
    away = -side  # the side of an order that closes
    stop = terms.get("stop_price") or position.entry * (1 - side * terms.get("stop_loss"))
    if terms.get("stop_price") > 0 or terms.get("stop_loss") > 0:
        trigger, limit = to_tick(stop, tick, away), None
        if settings.stop_limit_bps is not None:
            limit = to_tick(trigger * (1 - side * Fraction(settings.stop_limit_bps) / 10_000), tick, away)
        found.append(Wish("stop_loss", 0, "stop" if limit is None else "stop_limit", trigger, limit))
    if terms.get("trailing_stop") > 0:
        found.append(Wish("trailing_stop", 0, "trailing_stop", fraction=terms.get("trailing_stop")))
    for rung in terms.rungs():
        fallback = position.entry * (1 + side * terms.get("take_profit", rung))
        level = to_tick(terms.get("take_profit_price", rung) or fallback, tick, away)
        if settings.take_profit == "limit":
            found.append(Wish("take_profit", rung, "limit", limit=level))
        else:
            found.append(Wish("take_profit", rung, "take_profit", trigger=level))
    return [w for w in found if all(p is None or p > 0 for p in (w.trigger, w.limit))]


def attach(book: Book, i: int, moment: Moment) -> None:
    """Bring the attached orders of a held position in line with its settings."""
    position = book.positions[i]
    drop_unwanted(book, i, moment.time)
    present = {(o.attached, o.rung): o for o in attached_to(book, i)}
    for wish in wishes(book, i):
        order = present.get((wish.attached, wish.rung))
        if order is not None:
            amend(order, wish)
        elif wish.attached != "take_profit" or wish.rung not in position.taken:
            place(book, i, wish, moment)
    refresh(book, i, moment.time)


def drop_unwanted(book: Book, i: int, time: int) -> None:
    """Cancel the attached orders that the settings have switched off."""
    wanted = {(w.attached, w.rung) for w in wishes(book, i)}
    book.cancel([o for o in attached_to(book, i) if (o.attached, o.rung) not in wanted], time, "requested")


def amend(order: Order, wish: Wish) -> None:
    """Give a resting order the prices that are wanted now; a stop-limit that was triggered keeps its limit."""
    if order.triggered:
        return
    if order.limit != wish.limit:
        order.is_new = True
    order.trigger, order.limit, order.fraction = wish.trigger, wish.limit, wish.fraction


def place(book: Book, i: int, wish: Wish, moment: Moment) -> None:
    """Let a new attached order rest."""
    watches = book.case.settings.trigger
    book.place(
        Order(
            slot=i,
            kind=wish.kind,
            origin=wish.attached,
            decision_time=moment.time,
            due_time=moment.time,
            trigger=wish.trigger,
            limit=wish.limit,
            fraction=wish.fraction,
            watches=watches,
            reduce_only=True,
            attached=wish.attached,
            rung=wish.rung,
            best=moment.price(watches, i) if wish.kind == "trailing_stop" else None,
        )
    )


def closes_rest(book: Book, i: int, targets: list[Order]) -> bool:
    """Tell whether the only take-profit left closes all: where the shares of all that are on come to the whole."""
    shares = sum((book.terms[i].share(rung) for rung in book.terms[i].rungs()), ZERO)
    return len(targets) == 1 and shares >= 1 - Fraction(1, 10**9)


def share_left(book: Book, i: int, rung: int) -> Fraction:
    """Return what a take-profit has still to close of its share of the base."""
    position, step = book.positions[i], book.rules[i].step
    whole = max(whole_steps(book.terms[i].share(rung) * position.base, step), step)
    left = whole - position.of_base.get(rung, ZERO)
    return left if left > SLACK * whole else ZERO


def leave_done(book: Book, i: int, order: Order, time: int) -> None:
    """End a take-profit that has closed all of a smaller share."""
    book.positions[i].taken.add(order.rung)
    order.wanted = order.filled
    if order.filled != 0:
        book.finish(order, time, "filled", "none")
    else:
        book.finish(order, time, "cancelled", "requested")


def refresh(book: Book, i: int, time: int) -> None:
    """Let the attached orders follow the size of their position."""
    position = book.positions[i]
    held, orders = abs(position.size), attached_to(book, i)
    targets = sorted((o for o in orders if o.attached == "take_profit"), key=lambda o: o.rung)
    for order in list(targets):
        takes_part = book.terms[i].share(order.rung) < 1 and not closes_rest(book, i, targets)
        if takes_part and share_left(book, i, order.rung) == 0:
            targets.remove(order)
            orders.remove(order)
            leave_done(book, i, order, time)
    for order in orders:
        size = held
        if order in targets and book.terms[i].share(order.rung) < 1 and not closes_rest(book, i, targets):
            size = min(held, share_left(book, i, order.rung))
        order.left = -position.side * size
        order.wanted = order.filled + order.left


def follow(book: Book, i: int, moment: Moment) -> None:
    """Attach where an increase or new settings ask for it, else let the attached orders follow the size."""
    is_touched = i in book.touched
    book.touched.discard(i)
    if book.positions[i].size == 0 or book.has_ended:
        return
    if is_touched:
        attach(book, i, moment)
    else:
        refresh(book, i, moment.time)
