"""The bar loop of a run on one contract with market orders alone, as far as its bars are plain.

It hands back every other bar, for ``replay`` to take: it is small, and most runs need nothing but it to be compiled.
"""

from __future__ import annotations

from backtester.kernel._jit import entry, inlined
from backtester.kernel.plain import (
    has_target_at,
    is_plain_account,
    is_plain_bar,
    is_plain_run,
    is_safe_at_open,
    mark_plainly,
    next_plain_event,
    record_plain_position,
    settle_plainly,
    trade_plainly,
)
from backtester.kernel.state import Book, Columns, Journal, Market, Schedule, Setup


@entry
def is_plain(setup: Setup, market: Market, schedule: Schedule) -> bool:
    """Return whether a run can be replayed by ``replay_plainly``."""
    return is_plain_run(setup, market, schedule)


@inlined
def has_room_plainly(setup: Setup, book: Book, journal: Journal) -> bool:
    """Return whether the journal can take one more bar of an account for which no order rests."""
    account = book.account[0]
    rows = setup.rules[0]["rows_per_bar"] + 16
    return (
        account["fills"] + rows <= journal.fills.size
        and account["funding"] + rows <= journal.funding.size
        and account["ledger"] + 4 * rows <= journal.ledger.size
        and account["positions"] + rows <= journal.positions.size
        and account["orders"] + rows <= journal.orders.size
    )


@entry
def replay_plainly(
    setup: Setup,
    market: Market,
    schedule: Schedule,
    book: Book,
    journal: Journal,
    columns: Columns,
    start: int,
    stop: int,
) -> int:
    """Replay bars ``[start, stop)`` of a run for which ``is_plain`` holds.

    Parameters
    ----------
    setup, market, schedule, book, journal, columns, start, stop
        As ``replay`` takes them; columns are those of one instrument.

    Returns
    -------
    int
        ``stop``, or the bar that ``replay`` must take next: it is not plain, its path can liquidate, or the journal
        must grow. What was due at its open may be done: the account says so.
    """
    bar = start
    while bar < stop and is_plain_account(book):
        event = min(next_plain_event(market, schedule, book), stop)
        bar = mark_plainly(setup, market, book, columns, bar, event)
        if bar == stop or bar < event:
            return bar
        if not has_room_plainly(setup, book, journal) or not is_plain_bar(setup, market, schedule, book, bar):
            return bar
        time = market.open_time[bar]
        book.account[0]["bar_open"] = time
        settle_plainly(setup, schedule, book, journal, bar, market.mark_open[0, bar])
        if not is_safe_at_open(setup, market, book, bar):
            return bar
        if has_target_at(schedule, book, bar):
            trade_plainly(setup, market, schedule, book, journal, bar, time)
        if book.account[0]["touched"] == 1:
            record_plain_position(setup, book, journal, bar, time, market.mark_open[0, bar])
        book.account[0]["begun"] = bar
    return bar
