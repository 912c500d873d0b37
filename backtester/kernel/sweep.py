"""Many parameter sets on one contract: the replay's own steps, without a record of any bar.

The bars between two events are passed by the extremes of blocks (see ``tally``); a bar in which something happens, or
could, is replayed step by step as in ``replay``. The journal holds the rows of one bar at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtester.kernel._jit import entry, inlined, step
from backtester.kernel.plain import (
    has_target_at,
    is_plain_account,
    is_plain_bar,
    is_plain_run,
    is_safe_at_open,
    next_plain_event,
    record_plain_position,
    settle_plainly,
    trade_plainly,
)
from backtester.kernel.replay import (
    begin_after_funding,
    begin_bar,
    end_bar,
    finish,
    has_room,
    next_event,
    walk_to_close,
)
from backtester.kernel.state import Book, Journal, Market, Schedule, Setup
from backtester.kernel.tally import (
    NO,
    YES,
    Watch,
    begin_tally,
    end_tally,
    pass_bars,
    see_close,
    take_events,
)


@step
def copy_rows(source: NDArray[np.void], into: NDArray[np.void]) -> None:
    """Copy structured rows."""
    for n in range(source.size):
        into[n] = source[n]


@step
def copy_book(source: Book, into: Book) -> None:
    """Put an account back to where another one stands."""
    copy_rows(source.account, into.account)
    copy_rows(source.positions, into.positions)
    copy_rows(source.rungs, into.rungs)
    copy_rows(source.resting, into.resting)
    copy_rows(source.lines, into.lines)
    for n in range(source.volumes.size):
        into.volumes[n] = source.volumes[n]
    for kind in range(source.marks.shape[0]):
        for n in range(source.marks.shape[1]):
            into.marks[kind, n] = source.marks[kind, n]


@step
def write_targets(
    rows: NDArray[np.void],
    decided: NDArray[np.int64],
    target: NDArray[np.float64],
    due: NDArray[np.int64],
    acts: int,
) -> None:
    """Write the targets of a set as the replay reads them."""
    for n in range(decided.size):
        row = rows[n]
        row["decision_bar"] = decided[n]
        row["due_bar"] = due[decided[n]]
        row["symbol"] = 0
        row["target"] = target[n]
        row["acts"] = acts
        row["first_rung"] = 0
        row["rungs"] = 0


@inlined
def begin_plain_bar(setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, bar: int) -> None:
    """Take steps 1 to 4 of a plain bar."""
    account = book.account[0]
    time = market.open_time[bar]
    account["bar_open"] = time
    settle_plainly(setup, schedule, book, journal, bar, market.mark_open[0, bar])
    if not is_safe_at_open(setup, market, book, bar):
        begin_after_funding(setup, market, schedule, book, journal, bar)
        return
    if has_target_at(schedule, book, bar):
        trade_plainly(setup, market, schedule, book, journal, bar, time)
    if account["touched"] == 1:
        record_plain_position(setup, book, journal, bar, time, market.mark_open[0, bar])


@step
def replay_set(
    setup: Setup, market: Market, schedule: Schedule, book: Book, journal: Journal, watch: Watch, balance: float
) -> bool:
    """Replay one set into the tally; return whether the journal had the room."""
    bars = market.open_time.size - 1
    may_be_plain = is_plain_run(setup, market, schedule)
    begin_tally(setup, watch, balance)
    bar = 0
    begun = -1
    while bar < bars:
        is_plain = may_be_plain and is_plain_account(book)
        event = next_plain_event(market, schedule, book) if is_plain else next_event(setup, market, schedule, book, bar)
        bar = pass_bars(setup, market, book, watch, bar, min(event, bars))
        if bar == bars:
            break
        if is_plain and bar != begun and is_plain_bar(setup, market, schedule, book, bar):
            begin_plain_bar(setup, market, schedule, book, journal, bar)
            take_events(setup, market, book, watch, journal, bar, NO)
            begun = bar
            continue  # its path is passed with the bars that follow, or walked
        if not has_room(setup, book, journal):
            return False
        if bar != begun:
            begin_bar(setup, market, schedule, book, journal, bar)
        walk_to_close(setup, market, schedule, book, journal, bar)
        take_events(setup, market, book, watch, journal, bar, YES)
        see_close(setup, market, book, watch, bar)
        end_bar(setup, market, schedule, book, journal, bar)
        bar += 1
    if journal.orders.size - book.account[0]["orders"] < schedule.targets.size + 16:
        return False
    finish(setup, market, schedule, book, journal)
    end_tally(market, book, watch, journal, balance)
    return True


@entry
def replay_sets(
    setup: Setup,
    market: Market,
    schedule: Schedule,
    fresh: Book,
    book: Book,
    journal: Journal,
    watch: Watch,
    blank: NDArray[np.void],
    starts: NDArray[np.int64],
    decided: NDArray[np.int64],
    target: NDArray[np.float64],
    due: NDArray[np.int64],
    acts: int,
    balance: float,
    tallies: NDArray[np.void],
    first: int,
) -> int:
    """Replay parameter sets one after the other.

    Parameters
    ----------
    setup, market
        Inputs with one slot, checked by ``engine.prepare``.
    schedule
        What all sets share; its ``targets`` have room for those of any set, and are written here.
    fresh, book
        An account that has not traded, and one that is used for each set.
    journal
        Room for what one bar records.
    watch, blank
        Blocks, days and one tally, which is used for each set; a tally of zeros.
    starts, decided, target : arrays, shape (S + 1,), (C,), (C,)
        Set ``k`` wants ``target[c]`` from the close of bar ``decided[c]`` on, for c in ``starts[k]:starts[k + 1]``.
    due : array, shape (T,)
        Bar at which what is decided at each bar's close is due.
    acts : int
        1: every target becomes an order; 0: those that pass the band; -1: the schedule holds the targets already.
    balance : float
        Initial balance.
    tallies : array, shape (S,)
        Written.
    first : int
        Set to begin with.

    Returns
    -------
    int
        S, or the set for which the journal must grow first.
    """
    for k in range(first, tallies.size):
        copy_book(fresh, book)
        watch.tally[0] = blank[0]
        rows = schedule.targets
        if acts >= 0:
            rows = schedule.targets[: starts[k + 1] - starts[k]]
            write_targets(rows, decided[starts[k] : starts[k + 1]], target[starts[k] : starts[k + 1]], due, acts)
        own = Schedule(
            rows,
            schedule.settlements,
            schedule.switches,
            schedule.ladder,
            schedule.settings,
            schedule.transfers,
            schedule.own_fills,
            schedule.delistings,
            schedule.venue_events,
            schedule.calls,
            schedule.call_due,
        )
        if not replay_set(setup, market, own, book, journal, watch, balance):
            return k
        tallies[k] = watch.tally[0]
    return tallies.size
