"""What the venue does to the account: deleveragings, and clawbacks of profit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from tests.reference.book import ZERO, Book
from tests.reference.case import Clawback, Deleverage
from tests.reference.fills import after_close
from tests.reference.groups import Group
from tests.reference.limits import SLACK, whole_steps
from tests.reference.moment import Moment
from tests.reference.prices import shortened


def strike(book: Book, moment: Moment) -> bool:
    """Let the events of a bar's open, or those after it, happen; tell whether there was one."""
    found = [event for event in book.case.venue_events if happens(book, event, moment)]
    for event in sorted(found, key=lambda e: e.time):
        if isinstance(event, Deleverage):
            deleverage(book, event, moment)
        else:
            claw_back(book, event, moment)
    return bool(found)


def happens(book: Book, event: Deleverage | Clawback, moment: Moment) -> bool:
    """Tell whether an event belongs to a bar's open or to its close; a gap of the bars belongs to the next open."""
    case, bar = book.case, book.bar
    covered = case.open_time[bar] + case.bar_ms
    if moment.is_close:
        last_gap = bar + 1 == len(case.open_time)
        return case.open_time[bar] < event.time < (case.end_of(bar) if last_gap else covered)
    before = case.open_time[bar - 1] + case.bar_ms if bar else case.open_time[0]
    return before <= event.time <= case.open_time[bar]


def deleverage(book: Book, event: Deleverage, moment: Moment) -> None:
    """Close part of each position that is meant."""
    counts = book.outcome.counts
    own = [i for i, slot in enumerate(book.slots) if slot.symbol == event.symbol and book.positions[i].size != 0]
    struck = [i for i in own if event.side in {0, book.positions[i].side}]
    if not struck:
        counts["deleverages_idle"] = counts.get("deleverages_idle", 0) + 1
    for i in struck:
        wanted = abs(book.positions[i].size)
        if event.mark is not None:
            moment = replace(moment, marks={**moment.marks, i: Fraction(event.mark)})
        if event.quantity is not None:
            wanted = min(wanted, in_lots(Fraction(event.quantity), book.rules[i].step))
        elif event.fraction < 1:
            wanted = whole_steps(Fraction(event.fraction) * wanted, book.rules[i].step)
        price = moment.marks[i] if event.price is None else Fraction(event.price)
        size = bearable(book, i, wanted, price, moment.marks)
        if size < wanted or wanted == 0:
            counts["deleverages_cut"] = counts.get("deleverages_cut", 0) + 1
        if size > 0:
            close_for_venue(book, i, size, price, moment)


def in_lots(quantity: Fraction, step: Fraction) -> Fraction:
    """Return the whole lots that a float stands for: 85.8 is no exact multiple of 0.1."""
    nearest = round(quantity / step) * step if step else quantity
    return nearest if abs(nearest - quantity) <= SLACK * quantity else quantity


def bearable(book: Book, i: int, wanted: Fraction, price: Fraction, marks: Mapping[int, Fraction]) -> Fraction:
    """Return the most that can be closed without a balance below zero."""
    position, kind = book.positions[i], book.rules[i].kind
    lost = -kind.profit(Fraction(position.side), marks[i], price)
    if lost <= 0:
        return wanted
    if book.rules[i].isolated:
        return wanted if position.margin + book.unrealised(i, price) >= 0 else ZERO
    balance = max(ZERO, Group(book, None).balance(marks))
    return wanted if wanted * lost <= balance else whole_steps(balance / lost, book.rules[i].step)


def close_for_venue(book: Book, i: int, size: Fraction, price: Fraction, moment: Moment) -> None:
    """Book a deleveraging: the profit at the mark, then what its price makes of it."""
    position, kind, mark = book.positions[i], book.rules[i].kind, moment.marks[i]
    signed = size * position.side
    realised = shortened(kind.profit(signed, position.entry, mark))
    difference = shortened(kind.profit(signed, mark, price))
    book.write_fill(
        moment.time,
        i,
        -signed,
        price,
        price,
        order_id=-1,
        position_side="long" if position.side > 0 else "short",
        fee_paid=ZERO,
        realized_pnl=realised,
        reason="auto_deleverage",
    )
    book.outcome.fills[-1]["slippage_paid"] = -difference
    book.post(moment.time, i, "realized_pnl", realised)
    book.post(moment.time, i, "auto_deleverage", difference)
    left = abs(position.size) - size
    if left <= SLACK * abs(position.size):  # a quantity of floats is no exact multiple of a lot
        left = ZERO
    position.margin = shortened(position.margin * left / abs(position.size))
    position.size = left * position.side
    if position.size == 0:
        waiting = book.waiting.pop(i, None)
        after_close(book, i, "auto_deleverage", moment.time)
        if waiting is not None:
            book.cancel([waiting], moment.time, "position_closed")


def claw_back(book: Book, event: Clawback, moment: Moment) -> None:
    """Take part of the profit of a period."""
    equity = book.equity(moment.marks)
    base, rows = book.period
    if event.since is not None:
        later = [k for k, opened in enumerate(book.case.open_time) if opened >= event.since]
        first = min([*later, book.bar])
        base = Fraction(book.outcome.equity[first - 1]) if first else Fraction(book.case.settings.balance)
        rows = sum(1 for row in book.outcome.ledger if row["bar"] < first)
    flows = [row["amount"] for row in book.outcome.ledger[rows:] if row["kind"] in {"transfer", "socialized_loss"}]
    profit = max(ZERO, equity - base - sum(flows, ZERO))
    asked = profit * Fraction(event.rate) if event.amount is None else Fraction(event.amount)
    paid = max(ZERO, min(asked, profit, equity))
    if paid < asked:
        book.outcome.counts["clawbacks_cut"] = book.outcome.counts.get("clawbacks_cut", 0) + 1
    book.post(moment.time, -1, "socialized_loss", -shortened(paid))
    book.period = (equity - paid, len(book.outcome.ledger))
