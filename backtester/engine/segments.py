"""Runs on one contract without records: only what a summary needs is counted, and quiet bars are passed in blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtester.domain import records
from backtester.domain.config import RunConfig
from backtester.domain.enums import Rebalance
from backtester.engine.prepare import Prepared
from backtester.engine.schedule import due_bars
from backtester.kernel import state, sweep
from backtester.kernel.blocks import LEVELS, WIDTH, block_count, fill_blocks, level_start
from backtester.kernel.tally import TALLY, Watch
from backtester.market.panel import Panel

DAY_MS = 86_400_000
_AS_WRITTEN = -1  # the schedule holds the targets already
_ROOM = 64  # rows of each kind that a journal has at first, beside what one bar can need

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def obstacle(prepared: Prepared) -> str:
    """Return why a run needs its records, in words; empty where it can be replayed without.

    Parameters
    ----------
    prepared : Prepared
        Inputs of the replay.
    """
    setup, market, schedule = prepared.setup, prepared.market, prepared.schedule
    rules = setup.rules[0]
    is_unlisted = schedule.delistings.size or bool(np.isnan(market.trade_close[0, [0, -1]]).any())
    reasons = {
        "several positions share the account": setup.instruments.size != 1,
        "spot is traded": setup.instruments[0]["is_spot"],
        "an on_bar function decides": schedule.calls.size or prepared.book.account[0]["requested"],
        "trades are given": schedule.own_fills.size,
        "money is transferred": schedule.transfers.size,
        "the venue deleverages or claws back": schedule.venue_events.size,
        "spot is held from the start": rules["has_holdings"],
        "the contract is not listed all the time": is_unlisted,
        "a drawdown ends the trading": rules["drawdown_stop"] > 0.0,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


@dataclass(frozen=True, eq=False)
class SharedMarket:
    """What all sets on one contract read: blocks, days, the bar at which a decision is due.

    Attributes
    ----------
    blocks, starts
        As ``kernel.tally.Watch`` has them.
    day_bar : array of int64
        Last bar that closes by the end of each calendar day.
    due : array of int64, shape (T,)
        Bar at which what is decided at a bar's close is due.
    """

    blocks: Floats
    starts: Ints
    day_bar: Ints
    due: Ints


def shared_market(prepared: Prepared, panel: Panel, config: RunConfig, signal_ms: int) -> SharedMarket:
    """Return what sets on one contract share.

    Parameters
    ----------
    prepared : Prepared
        Inputs of any of the sets; ``obstacle`` finds none.
    panel : Panel
        The bars.
    config : RunConfig
        Resolved: its latencies are read.
    signal_ms : int
        Length of a bar of decisions [ms].
    """
    blocks, starts = block_arrays(prepared)
    due = due_bars(panel, np.arange(prepared.bars), config, signal_ms)
    return SharedMarket(blocks, starts, day_bars(prepared.market.open_time), due)


def block_arrays(prepared: Prepared) -> tuple[Floats, Ints]:
    """Return the extremes of the contract's series over blocks of bars, and the first row of each level."""
    market, bars = prepared.market, prepared.bars
    blocks = np.empty((block_count(bars), WIDTH))
    fill_blocks(
        market.path_low[0],
        market.path_high[0],
        market.mark_close[0],
        market.trade_low[0],
        market.trade_high[0],
        blocks,
    )
    return blocks, np.array([level_start(bars, level) for level in range(int(LEVELS))], np.int64)


def day_bars(open_time: Ints) -> Ints:
    """Return the last bar that closes by the end of each calendar day (UTC) of a run.

    Parameters
    ----------
    open_time : array of int64, shape (T + 1,)
        Opens, the end of the last bar included [ms].
    """
    day = (open_time[1:] - 1) // DAY_MS
    last = np.append(np.flatnonzero(np.diff(day)), day.size - 1)
    days = np.arange(day[0], day[-1] + 1)
    place: Ints = last[np.searchsorted(day[last], days, side="right") - 1]
    return place


@dataclass(frozen=True, eq=False)
class Changes:
    """Targets of many sets, only where they differ from the one before.

    Attributes
    ----------
    starts : array of int64, shape (S + 1,)
        Set ``k`` has rows ``starts[k]:starts[k + 1]``.
    bar : array of int64
        Replayed bar at whose close the target is decided.
    target : array of float64
        The target.
    """

    starts: Ints
    bar: Ints
    target: Floats

    def __len__(self) -> int:
        return self.starts.size - 1


def tally_sets(prepared: Prepared, shared: SharedMarket, changes: Changes) -> NDArray[np.void]:
    """Replay sets that differ in their targets alone.

    Parameters
    ----------
    prepared : Prepared
        The account that each of them begins with; its own targets are not read, and it is left as it is.
    shared : SharedMarket
        From ``shared_market``.
    changes : Changes
        Targets of the sets.

    Returns
    -------
    structured array, shape (S,)
        ``kernel.tally.TALLY``.
    """
    most = int(np.diff(changes.starts).max(initial=0))
    schedule = prepared.schedule._replace(targets=np.empty(most, state.TARGET))
    return _tallies(prepared, schedule, shared, changes, writes=True)


def tally_run(prepared: Prepared, shared: SharedMarket) -> NDArray[np.void]:
    """Replay one run as it is prepared, whatever its orders; returns one tally."""
    none = Changes(np.zeros(2, np.int64), np.empty(0, np.int64), np.empty(0))
    return _tallies(prepared, prepared.schedule, shared, none, writes=False)


def _tallies(
    prepared: Prepared, schedule: state.Schedule, shared: SharedMarket, changes: Changes, *, writes: bool
) -> NDArray[np.void]:
    """Replay sets until the journal has the room that each of them needs."""
    book = copied(prepared.book)
    days = shared.day_bar.size
    daily = np.empty((3, days))
    watch = Watch(
        shared.blocks, shared.starts, shared.day_bar, daily[0], daily[1], daily[2], np.empty(WIDTH), np.zeros(1, TALLY)
    )
    blank = np.zeros(1, TALLY)
    tallies = np.zeros(len(changes), TALLY)
    acts = int(prepared.setup.rules[0]["rebalance"] != Rebalance.BAND) if writes else _AS_WRITTEN
    rows = int(prepared.setup.rules[0]["rows_per_bar"]) + _ROOM
    done = 0
    while done < len(changes):
        done = sweep.replay_sets(
            prepared.setup,
            prepared.market,
            schedule,
            prepared.book,
            book,
            _journal(rows),
            watch,
            blank,
            changes.starts,
            changes.bar,
            changes.target,
            shared.due,
            acts,
            prepared.balance,
            tallies,
            done,
        )
        rows *= 4
    return tallies


def copied(book: state.Book) -> state.Book:
    """Return an account of its own that stands where another one does."""
    return book._replace(**{name: array.copy() for name, array in book._asdict().items()})


def _journal(rows: int) -> state.Journal:
    """Return a journal with room for a number of rows of each kind; untouched pages of it cost nothing."""
    return state.Journal(
        fills=np.empty(rows, records.FILL),
        funding=np.empty(rows, records.FUNDING),
        liquidations=np.empty(rows, records.LIQUIDATION),
        ledger=np.empty(4 * rows, records.LEDGER),
        positions=np.empty(rows, records.POSITION),
        orders=np.empty(rows, records.ORDER),
    )
