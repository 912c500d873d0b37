"""The reference account: a replay in exact arithmetic, event by event, in prices.

It is slow and plain on purpose. It shares nothing with the compiled kernel but the description of a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from tests.reference.book import ZERO, Book
from tests.reference.case import Case, Number, Outcome
from tests.reference.decisions import Decisions
from tests.reference.engine import Moment, liquidate
from tests.reference.groups import Group, groups_held
from tests.reference.market import Due, Market
from tests.reference.prices import shortened
from tests.reference.walker import Walker

KEEP_ABOVE = 1 + Fraction(1, 10**9)  # a capped payment leaves this multiple of the requirement


def replay(case: Case) -> Outcome:
    """Replay a run and return all that happened."""
    return replay_book(case).outcome


def replay_book(case: Case) -> Book:
    """Replay a run and return the book with its final positions."""
    book, market = Book.opened(case), Market(case)
    decisions, walker = Decisions(book, market), Walker(book, market)
    for bar in range(len(case.open_time)):
        book.bar = bar
        book.taken_over = set()
        for position in book.positions:
            position.bound, position.stepped = None, False
        replay_bar(book, market, decisions, walker)
        if book.taken_over and case.settings.then == "stop":
            decisions.stop()
    decisions.leave_pending()
    return book


def replay_bar(book: Book, market: Market, decisions: Decisions, walker: Walker) -> None:
    """Run one bar's steps in their order."""
    bar, case = book.bar, book.case
    start, last, at_close = case.open_time[bar], case.end_of(bar) - 1, case.settings.fill == "close"
    for due in market.settlements(bar):
        if due.time == start:
            settle(book, market, due, market.mark_opens(bar))
    for group in groups_held(book):
        opens = {i: market.path_bar(i, bar).open for i in group.members()}
        liquidate(group, Moment(opens, {i: market.trade(i, bar).open for i in opens}, start))
    if not at_close:
        decisions.fill_at(start, {i: b.open for i, b in market.traded(bar).items()}, market.mark_opens(bar))
    if market.opens_mark_bar(bar):
        walker.sizes_at_mark_open = [p.size for p in book.positions]
    closes = market.mark_closes(bar)
    for due in market.settlements(bar):
        if due.time > start:
            settle(book, market, due, closes)
    walker.walk_bar()
    if market.closes_mark_bar(bar):
        walker.walk_mark_bar()
    if at_close:
        decisions.decide(closes)
        decisions.fill_at(last, {i: b.close for i, b in market.traded(bar).items()}, closes)
    if not book.held() and book.free_wallet < 0:
        book.post(last, -1, "insurance_clearance", -book.free_wallet)
    record(book, closes)
    if not at_close:
        decisions.decide(closes)


# -- funding -----------------------------------------------------------------------------------------------------


def settlement_price(book: Book, market: Market, due: Due, marks: Mapping[int, Fraction]) -> Fraction:
    """Return the price that values a settlement; ``marks`` are the opens, or the closes inside a bar."""
    if book.case.settings.funding_price == "index":
        index = market.index(due.symbol, book.bar)
        return index.open if due.time == book.case.open_time[book.bar] else index.close
    return marks[due.symbol] if due.mark_price is None else due.mark_price


def settle(book: Book, market: Market, due: Due, marks: Mapping[int, Fraction]) -> None:
    """Let a held position pay or receive funding."""
    i = due.symbol
    position, rules = book.positions[i], book.rules[i]
    if position.size == 0:
        return
    price = settlement_price(book, market, due, marks)
    payment = shortened(position.size * rules.kind.worth(price) * due.rate)
    paid_from = book.case.settings.funding_paid_from
    if paid_from == "capped" and payment > 0:
        group = Group(book, i if rules.isolated else None)
        at = {**marks, i: price}
        payment = shortened(min(payment, max(ZERO, group.balance(at) - group.required(at) * KEEP_ABOVE)))
    if rules.isolated:
        from_free = ZERO
        if paid_from == "wallet_first":
            from_free = min(payment, max(book.free_wallet, ZERO))
        position.margin -= payment - from_free
    book.post(due.time, i, "funding", -payment)
    book.outcome.funding.append(
        {
            "time": due.time,
            "bar": book.bar,
            "symbol": i,
            "funding_rate": due.rate,
            "mark_price": price,
            "position_quantity": position.size,
            "funding_payment": -payment,
        }
    )


# -- the end of a bar --------------------------------------------------------------------------------------------


def ratio(required: Fraction, balance: Fraction) -> Number:
    """Return requirement over balance, infinite where nothing is left."""
    return required / balance if balance > 0 else math.inf


def record(book: Book, closes: Mapping[int, Fraction]) -> None:
    """Write what the account is worth at the mark close."""
    outcome, held = book.outcome, book.held()
    equity = book.equity(dict(closes))
    peak = max([Fraction(book.case.settings.balance), equity, *outcome.equity])
    sizes = {i: book.notional(i, closes[i]) for i in held}
    outcome.equity.append(equity)
    outcome.wallet.append(book.wallet)
    outcome.maintenance.append(sum((book.requirement(i, closes[i], close_fee=False) for i in held), ZERO))
    outcome.margin_ratio.append(
        max((ratio(g.required(closes), g.balance(closes)) for g in groups_held(book)), default=ZERO)
    )
    if held and equity <= 0:
        outcome.gross.append(None)
        outcome.net.append(None)
    else:
        outcome.gross.append(sum(sizes.values(), ZERO) / equity if held else ZERO)
        outcome.net.append(sum((book.positions[i].side * s for i, s in sizes.items()), ZERO) / equity if held else ZERO)
    outcome.drawdown.append(equity / peak - 1)
