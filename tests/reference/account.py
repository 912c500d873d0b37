"""The reference account: a replay in exact arithmetic, event by event, in prices.

It is slow and plain on purpose. It shares nothing with the compiled kernel but the description of a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from tests.reference.book import ZERO, Book, Order
from tests.reference.case import Case, Number, Outcome, OwnFill
from tests.reference.decisions import Decisions
from tests.reference.engine import liquidate
from tests.reference.exits import follow
from tests.reference.fills import Ticket, increase, reduce
from tests.reference.groups import Group, groups_held
from tests.reference.limits import on_grid
from tests.reference.market import Due, Market
from tests.reference.moment import Moment
from tests.reference.prices import shortened, sign
from tests.reference.resting import expire, fire_at_open
from tests.reference.slots import chosen
from tests.reference.spot import delist, enter_holdings, transfer
from tests.reference.venue import strike
from tests.reference.walker import Walker

KEEP_ABOVE = 1 + Fraction(1, 10**9)  # a capped payment leaves this multiple of the requirement


def replay(case: Case) -> Outcome:
    """Replay a run and return all that happened."""
    return replay_book(case).outcome


def replay_book(case: Case) -> Book:
    """Replay a run and return the book with its final positions."""
    book, market = Book.opened(case), Market(case)
    decisions, walker = Decisions(book), Walker(book, market)
    for bar in range(len(case.open_time)):
        begin_bar(book, bar)
        replay_bar(book, market, decisions, walker)
    decisions.leave_pending()
    return book


def begin_bar(book: Book, bar: int) -> None:
    """Forget what holds for one bar alone."""
    book.bar, book.taken_over, book.left_flat = bar, set(), set()
    for position in book.positions:
        position.bound, position.stepped = None, False
    for order in book.live:
        order.is_new = False
    share = book.case.settings.volume_share
    book.volume_left = {}
    for symbol, contract in enumerate(book.case.contracts):
        if share is not None and contract.volume is not None and not math.isnan(contract.volume[bar]):
            book.volume_left[symbol] = Fraction(share) * Fraction(contract.volume[bar])


def replay_bar(book: Book, market: Market, decisions: Decisions, walker: Walker) -> None:
    """Run one bar's steps in their order."""
    at_close = book.case.settings.fill == "close"
    enter_holdings(book, market)
    transfer(book, market)
    opening = moment_at(book, market, "open")
    settle_at_open(book, market, opening)
    trade_at_open(book, market, decisions, opening)
    if market.opens_mark_bar(book.bar):
        walker.sizes_at_mark_open = [p.size for p in book.positions]
    inside_bar(book, market)
    walker.walk_bar()
    if market.closes_mark_bar(book.bar):
        walker.walk_mark_bar()
    closing = moment_at(book, market, "close")
    if strike(book, closing):
        for i in range(len(book.slots)):
            follow(book, i, seen_by_triggers(book, market, closing))
    if at_close:
        on_path = seen_by_triggers(book, market, closing)
        decisions.decide(closing.marks)
        decisions.take_effect(on_path)
        decisions.fill_targets(closing, market.traded(book.bar))
        decisions.attach_exits(on_path)
    delist(book, market)
    if not book.held() and book.free_wallet < 0:
        book.post(closing.time, -1, "insurance_clearance", -book.free_wallet)
    record(book, closing.marks)
    if not at_close:
        decisions.decide(closing.marks)
    if book.taken_over and book.case.settings.then == "stop":
        decisions.stop("stopped")
    if has_fallen(book):
        decisions.stop("drawdown")


def moment_at(book: Book, market: Market, end: str) -> Moment:
    """Return the prices at a bar's open or close."""
    bar, is_close = book.bar, end == "close"
    return Moment(
        marks=market.mark_closes(bar) if is_close else market.mark_opens(bar),
        trades={i: getattr(market.trade(i, bar), end) for i in market.listed(bar)},
        indexes={i: getattr(b, end) for i, b in market.indexed(bar).items()},
        time=book.case.end_of(bar) - 1 if is_close else book.open_time,
        is_close=is_close,
    )


def seen_by_triggers(book: Book, market: Market, moment: Moment) -> Moment:
    """Return a moment with the marks that liquidation and triggers see."""
    end = "close" if moment.is_close else "open"
    return replace(moment, marks={i: getattr(market.path_bar(i, book.bar), end) for i in moment.marks})


def settle_at_open(book: Book, market: Market, opening: Moment) -> None:
    """Settle the funding due at the open, then test what is held."""
    for due in market.settlements(book.bar):
        if due.time == opening.time:
            settle(book, market, due, opening.marks)
    strike(book, opening)
    on_path = seen_by_triggers(book, market, opening)
    for group in groups_held(book):
        liquidate(group, on_path)


def trade_at_open(book: Book, market: Market, decisions: Decisions, opening: Moment) -> None:
    """Let orders end, come and fill at the open."""
    traded, on_path = market.traded(book.bar), seen_by_triggers(book, market, opening)
    expire(book, opening.time)
    if book.case.settings.fill == "close":
        decisions.close_out(opening, traded)
    else:
        decisions.take_effect(on_path)
        decisions.fill_targets(opening, traded)
    decisions.fill_market_orders(opening, traded)
    decisions.attach_exits(on_path)
    fire_at_open(book, on_path, traded)


def inside_bar(book: Book, market: Market) -> None:
    """Book own fills and settle funding inside the bar, by time; funding first where both have the same time."""
    marks, opening = (
        moment_at(book, market, "close").marks,
        seen_by_triggers(book, market, moment_at(book, market, "open")),
    )
    dues = [d for d in market.settlements(book.bar) if d.time > book.open_time]
    fills = [f for f in book.case.own_fills if book.open_time <= f.time < book.case.end_of(book.bar)]
    events: list[Due | OwnFill] = [*dues, *fills]
    for event in sorted(events, key=lambda e: e.time):
        if isinstance(event, Due):
            settle(book, market, event, marks)
        else:
            book_own_fill(book, event, opening)
    for i in range(len(book.slots)) if fills else ():
        follow(book, i, replace(opening, time=fills[-1].time))


def book_own_fill(book: Book, fill: OwnFill, opening: Moment) -> None:
    """Book a trade executed elsewhere, whatever the margin says."""
    quantity = Fraction(fill.quantity)
    i = chosen(book.slots, fill.symbol, fill.side or sign(quantity))[0]
    moment = replace(opening, time=fill.time)
    quantity = on_grid(quantity, book.rules[i].step)
    if book.slots[i].only_side == -sign(quantity):  # a leg is never carried through zero
        quantity = sign(quantity) * min(abs(quantity), abs(book.positions[i].size))
    if quantity == 0:
        return
    order = Order(i, "market", "own", fill.time, fill.time)
    ticket = Ticket(
        order,
        Fraction(fill.price),
        quantity,
        is_own=True,
        is_maker=fill.is_maker,
        fee=None if fill.fee is None else Fraction(fill.fee),
    )
    reduce(book, ticket, moment)
    increase(book, ticket, moment)


# -- funding -----------------------------------------------------------------------------------------------------


def settlement_price(book: Book, market: Market, due: Due, marks: Mapping[int, Fraction]) -> Fraction:
    """Return the price that values a settlement; ``marks`` are the opens, or the closes inside a bar."""
    if book.case.settings.funding_price == "index":
        index = market.index(due.slot, book.bar)
        return index.open if due.time == book.case.open_time[book.bar] else index.close
    return marks[due.slot] if due.mark_price is None else due.mark_price


def settle(book: Book, market: Market, due: Due, marks: Mapping[int, Fraction]) -> None:
    """Let a held position pay or receive funding."""
    i = due.slot
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
            "symbol": book.slots[i].symbol,
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
    equity = book.equity(closes)
    book.peak = max(book.peak, equity)
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
    outcome.drawdown.append(equity / book.peak - 1 if book.peak > 0 else ZERO)


def has_fallen(book: Book) -> bool:
    """Tell whether equity has fallen from its peak by as much as the run bears."""
    most = book.case.settings.max_drawdown_stop
    return most is not None and book.outcome.equity[-1] <= (1 - Fraction(most)) * book.peak
