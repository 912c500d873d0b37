"""Money that does not come from trading: holdings given at the start, collateral that is sold, transfers, delisting."""

from __future__ import annotations

from fractions import Fraction

from tests.reference.book import ZERO, Book
from tests.reference.fills import after_close
from tests.reference.limits import cross_available, on_grid
from tests.reference.market import Market
from tests.reference.moment import Moment


def enter_holdings(book: Book, market: Market) -> None:
    """Let quantities held from the start enter at the first open of their series."""
    for i, slot in enumerate(book.slots):
        contract = book.case.contracts[slot.symbol]
        if contract.holding == 0 or market.first_listed(i) != book.bar:
            continue
        price, position = market.mark(i, book.bar).open, book.positions[i]
        quantity = on_grid(Fraction(contract.holding), book.rules[i].step)
        worth = quantity * price
        position.size = position.base = quantity
        position.entry, position.margin, position.opened = price, worth, book.open_time
        book.post(book.open_time, i, "transfer", worth)
        book.peak += worth


def transfer(book: Book, market: Market) -> None:
    """Book the deposits and withdrawals that are due by this open."""
    last = -1 if book.bar == 0 else book.case.open_time[book.bar - 1]
    for row in sorted(book.case.transfers, key=lambda t: t.time):
        if not (row.time <= book.open_time and (book.bar == 0 or row.time > last)):
            continue
        amount = Fraction(row.amount)
        if amount < 0:
            most = max(ZERO, min(cross_available(book, market.mark_opens(book.bar)), book.free_wallet))
            if -amount > most:
                amount = -most
                book.outcome.counts["transfers_cut"] += 1
        book.post(book.open_time, -1, "transfer", amount)
        book.peak += amount


def sell_collateral(book: Book, moment: Moment) -> None:
    """Sell all that counts as collateral at what it counts for, which leaves the tested balance as it is."""
    for i in book.collateral_held():
        position, counts = book.positions[i], book.rules[i].counts
        assert counts is not None
        mark = moment.marks[i]
        price = mark * counts
        book.left_flat.add(i)
        leave(book, i, price, mark, "collateral", moment.time)
        assert position.size == 0


def delist(book: Book, market: Market) -> None:
    """End what a contract holds and waits for, at its last bar."""
    time = book.case.end_of(book.bar) - 1
    for i, slot in enumerate(book.slots):
        if book.case.contracts[slot.symbol].last_bar != book.bar:
            continue
        waiting = book.waiting.pop(i, None)
        book.cancel([o for o in book.live if o.slot == i], time, "delisted")
        if waiting is not None:
            book.cancel([waiting], time, "delisted")
        if book.positions[i].size != 0:
            price = market.mark(i, book.bar).close
            leave(book, i, price, price, "delisting", time)


def leave(book: Book, i: int, price: Fraction, reference: Fraction, origin: str, time: int) -> None:
    """Close a position whole, without fee and without an order."""
    position = book.positions[i]
    realised = book.unrealised(i, price)
    book.write_fill(
        time,
        i,
        -position.size,
        price,
        reference,
        order_id=-1,
        position_side="long" if position.side > 0 else "short",
        fee_paid=ZERO,
        realized_pnl=realised,
        reason=origin,
    )
    book.post(time, i, "realized_pnl", realised)
    position.size = position.margin = ZERO
    after_close(book, i, origin, time)
