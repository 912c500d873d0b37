"""Sets on one contract, counted instead of recorded: targets to change points, change points to tallies, to metrics.

A target that can be compiled is calculated for all sets of a batch at once, each indicator once; the rest is evaluated
by polars, set by set. Either way a set's target is kept as the bars at which it changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.analytics.tallies import TallyTerms, tally_metrics
from backtester.domain.config import RunConfig
from backtester.engine.decisions import decide, instructions_for, signal_clock
from backtester.engine.instructions import Instructions
from backtester.engine.prepare import prepare
from backtester.engine.run import Loaded, contract_terms
from backtester.engine.run_checks import refuse_clashes
from backtester.engine.segments import Changes, SharedMarket, obstacle, shared_market, tally_run, tally_sets
from backtester.engine.transfers import transfers_of
from backtester.engine.universe import has_universe
from backtester.engine.venue_events import refuse_clearing, venue_events_of
from backtester.errors import BacktesterError
from backtester.market.schema import timeframe_ms
from backtester.market.store import Store
from backtester.research.rows import COMPILED, DONE, FACTS, POLARS, SEGMENTS
from backtester.strategy import Strategy
from backtester.strategy.evaluate import Evaluator
from backtester.strategy.indicators import Indicator
from backtester.strategy.refusals import OPTIONAL_SERIES
from backtester.strategy.target_plan import TargetBatch, TargetPlan, target_batches
from backtester.strategy.target_tiles import ChangePoints, change_points_of_sets

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Column = str | Indicator

_SETS_AT_ONCE = 128  # sets that a thread takes up: enough to share the columns of a tile
_PARTS_EACH = 2  # that a thread takes up of a batch, at least, so that all end together
_LEAST_COLUMNS = 8  # that are kept, whatever memory allows
_PROBED = 1 << 13  # bars in which most first values lie


@dataclass(frozen=True, eq=False)
class Counted:
    """Rows of sets that were counted.

    Attributes
    ----------
    places : list of int
        Which of the sets.
    rows : polars.DataFrame
        Facts and metrics, one row a set, in the same order.
    """

    places: list[int]
    rows: pl.DataFrame


@dataclass(frozen=True, eq=False)
class Share:
    """Sets under way: what threads are counting, and what is left to do set by set."""

    strategies: Sequence[Strategy]
    tasks: list[Future[tuple[Counted, list[int]]]]
    left: list[int]


class Columns:
    """Columns that targets are calculated from, as rows of one matrix; they are forgotten when it is full.

    Parameters
    ----------
    bars : Evaluator
        What they are computed on.
    at_most : int
        Rows.
    """

    def __init__(self, bars: Evaluator, at_most: int) -> None:
        self.bars = bars
        self.matrix = np.empty((at_most, bars.bars.height))  # untouched pages of it cost nothing
        self.first = np.zeros(at_most, np.int64)
        self._rows: dict[Column, int] = {}

    @property
    def at_most(self) -> int:
        """Rows that there are."""
        return self.first.size

    def lacks_room(self, columns: Sequence[Column]) -> bool:
        """Return whether some must be forgotten to take up others."""
        return len(self._rows.keys() | set(columns)) > self.at_most

    def forget(self) -> None:
        """Begin again: nothing may still be reading the matrix."""
        self._rows.clear()

    def rows(self, columns: Sequence[Column], pool: ThreadPoolExecutor) -> Ints:
        """Return the rows of columns, computing those that are not there."""
        new = [column for column in columns if column not in self._rows]
        for column in new:
            self._rows[column] = len(self._rows)
        try:
            list(pool.map(self._fill, new))
        except BaseException:
            for column in new:
                del self._rows[column]
            raise
        return np.array([self._rows[column] for column in columns], np.int64)

    def _fill(self, column: Column) -> None:
        row = self._rows[column]
        if isinstance(column, Indicator):
            self.bars.values_into(column, self.matrix[row])
        else:
            self.matrix[row] = self.bars.column(column)
        self.first[row] = first_value(self.matrix[row])

    def first_of(self, item: Indicator) -> int:
        """Return the bar of an indicator's first value."""
        if item in self._rows:
            return int(self.first[self._rows[item]])
        return first_value(self.bars.values(item))


class Counter:
    """Sets that share a market, an account's terms and bars to decide on.

    Parameters
    ----------
    loaded : Loaded
        Market and terms.
    store : Store
        Where the bars come from.
    bars : Evaluator
        What the strategies read, with a warm-up for each of them.
    memory : int
        Bytes that columns of indicators may take.
    threads : int
        Threads among which the sets are divided.

    Attributes
    ----------
    why_not : str
        Why nothing can be counted here, in words; empty where it can.
    """

    def __init__(self, loaded: Loaded, store: Store, bars: Evaluator, memory: int, threads: int = 1) -> None:
        config = loaded.resolved.config
        self.loaded, self.store, self.bars, self.threads = loaded, store, bars, threads
        signal_ms = timeframe_ms(str(config.data.timeframe))
        told = Instructions(signal_ms=signal_ms if signal_ms != loaded.panel.timeframe_ms else None)
        moved, _ = transfers_of(config, loaded.panel.open_time)
        self.terms = contract_terms(loaded.resolved, loaded.panel)
        refuse_clearing(config)
        struck, _ = venue_events_of(config, loaded.panel, loaded.resolved.instruments)
        told = replace(told, transfers=moved, venue_events=struck)
        self.prepared = prepare(loaded.panel, self.terms, config, told)
        self.why_not = obstacle(self.prepared)
        if self.why_not:
            return
        self.shared: SharedMarket = shared_market(self.prepared, loaded.panel, config, signal_ms)
        self.tally_terms = TallyTerms(
            config.account.balance,
            self.prepared.market.open_time,
            takes_over_at_market=config.liquidation.takeover == "market",
        )
        self._first, self._bar = self._clock()
        self._takes_changes = self._bar.size > 0 and takes_changes(config)
        self._columns = Columns(bars, max(_LEAST_COLUMNS, memory // (8 * max(bars.bars.height, 1))))
        self._running: list[Future[tuple[Counted, list[int]]]] = []

    def _clock(self) -> tuple[int, Ints]:
        """Return the first row of the bars that is replayed, and the last replayed bar inside each row from there on.

        The first is the number of rows where decisions stand on bars of which some in between are not replayed.
        """
        clock = signal_clock(self.loaded.resolved.config, self.store, self.loaded.panel)
        opened = self.bars.bars["open_time"].dt.epoch("ms").to_numpy()
        only = np.zeros(opened.size, np.int64)
        replayed = clock.is_replayed(opened, only)
        first = int(replayed.argmax()) if replayed.any() else opened.size
        if not replayed[first:].all():
            return opened.size, np.empty(0, np.int64)
        return first, clock.last_bars(opened[first:], only[first:])

    # -- which way ---------------------------------------------------------------------------------------------------

    def begin(self, strategies: Sequence[Strategy], plans: Sequence[TargetPlan], pool: ThreadPoolExecutor) -> Share:
        """Begin to count sets, and return at once.

        Parameters
        ----------
        strategies : sequence of Strategy
            The sets.
        plans : sequence of TargetPlan
            How the target of each is calculated where the run lets it.
        pool : ThreadPoolExecutor
            Threads that calculate and replay.
        """
        tasks: list[Future[tuple[Counted, list[int]]]] = []
        if self.why_not or not self._takes_changes:
            return Share(strategies, tasks, list(range(len(strategies))))
        left = [place for place, plan in enumerate(plans) if plan.program is None]
        order = near_to_one_another(plans, self._columns.at_most)
        for batch in target_batches([plans[place] for place in order], self._columns.at_most):
            own = replace(batch, members=np.array(order, np.int64)[batch.members])
            if self._unreadable(own):
                left += own.members.tolist()
            else:
                tasks += self._submit(own, plans, pool)
        return Share(strategies, tasks, left)

    def finish(self, share: Share) -> Iterator[Counted | tuple[int, BacktesterError | None]]:
        """Return rows as they are done; a set that raises with its error, one that needs its records with None."""
        left = list(share.left)
        for task in share.tasks:
            counted, refused = task.result()
            left += refused
            if counted.places:
                yield counted
        for place in sorted(left):
            yield (place, None) if self.why_not else self._by_polars(place, share.strategies[place])

    def _unreadable(self, batch: TargetBatch) -> bool:
        """Return whether a batch reads what is not there, or is empty: polars says so in full."""
        names: set[str] = set()
        for item in batch.columns:
            names |= item.columns if isinstance(item, Indicator) else {item}
        frame = self.bars.bars
        if not names <= set(frame.columns):
            return True
        if any(frame.schema[item] != pl.Float64 for item in batch.columns if isinstance(item, str)):
            return True  # whole numbers have an arithmetic of their own
        return any(frame[name].null_count() == frame.height for name in names & OPTIONAL_SERIES.keys())

    # -- compiled ----------------------------------------------------------------------------------------------------

    def _submit(
        self, batch: TargetBatch, plans: Sequence[TargetPlan], pool: ThreadPoolExecutor
    ) -> list[Future[tuple[Counted, list[int]]]]:
        """Compute the columns of a batch, and hand its sets to the threads."""
        self._running = [task for task in self._running if not task.done()]
        if self._columns.lacks_room(batch.columns):
            wait(self._running)
            self._columns.forget()
        rows = self._columns.rows(batch.columns, pool)
        first = {item: self._columns.first_of(item) for item in batch.columns if isinstance(item, Indicator)}
        firsts = np.zeros(batch.members.size, np.int64)
        for n, member in enumerate(batch.members.tolist()):
            for item in plans[member].indicators:
                if item not in first:  # named by the strategy, not read by its target
                    first[item] = self._columns.first_of(item)
                firsts[n] = max(firsts[n], first[item])
        moved = replace(batch, places=rows[batch.places])
        size = max(1, min(_SETS_AT_ONCE, -(-batch.members.size // (_PARTS_EACH * self.threads))))
        parts = [slice(k, k + size) for k in range(0, batch.members.size, size)]
        tasks = [pool.submit(self._count, moved, firsts, part) for part in parts]
        self._running += tasks
        return tasks

    def _count(self, batch: TargetBatch, firsts: Ints, part: slice) -> tuple[Counted, list[int]]:
        """Return the rows of some sets of a batch, and which of them polars must refuse."""
        members = batch.members[part]
        points = change_points_of_sets(
            batch.steps, batch.literals[part], batch.places[part], self._columns.matrix, firsts[part], self._first
        )
        good = np.flatnonzero(points.is_finite)
        tallies = tally_sets(self.prepared, self.shared, self._changes(points))
        counted = Counted(members[good].tolist(), self._frame(tallies[good], COMPILED))
        return counted, members[~points.is_finite].tolist()

    def _changes(self, points: ChangePoints) -> Changes:
        return Changes(points.offsets, self._bar[points.bar - self._first], points.target + 0.0)

    def _frame(self, tallies: NDArray[np.void], targets: str) -> pl.DataFrame:
        facts = {"status": DONE, "error": None, "path": SEGMENTS, "targets": targets}
        metrics = tally_metrics(tallies, self.tally_terms)
        return metrics.select(*(pl.lit(value, FACTS[name]).alias(name) for name, value in facts.items()), pl.all())

    # -- by polars ---------------------------------------------------------------------------------------------------

    def _by_polars(self, place: int, strategy: Strategy) -> Counted | tuple[int, BacktesterError | None]:
        """Return the row of one set whose decisions polars evaluates, whatever orders they make."""
        resolved, panel = self.loaded.resolved, self.loaded.panel
        try:
            decisions = decide(strategy, resolved, self.store, panel, self.bars)
            if decisions.loop is not None:
                return place, None
            told = instructions_for(decisions, resolved.config, self.store, panel)
            refuse_clashes(resolved, decisions)
            prepared = prepare(panel, self.terms, resolved.config, told)
        except BacktesterError as error:
            return place, error
        return Counted([place], self._frame(tally_run(prepared, self.shared), POLARS))


def takes_changes(config: RunConfig) -> bool:
    """Return whether a run takes targets as they are, and only where they change."""
    return (
        config.execution.rebalance == "on_change"
        and config.sizing.unit not in ("volatility", "risk")
        and not has_universe(config.universe)
    )


def near_to_one_another(plans: Sequence[TargetPlan], at_most: int) -> list[int]:
    """Return an order of plans in which those that share columns follow each other.

    Parameters
    ----------
    plans : sequence of TargetPlan
        In any order.
    at_most : int
        Columns that fit into memory: a grid is cut into squares whose sides read as many columns as fit together.
    """
    ranks: list[dict[Column, int]] = []
    for plan in plans:
        while len(ranks) < len(plan.columns):
            ranks.append({})
        for known, column in zip(ranks, plan.columns, strict=False):
            known.setdefault(column, len(known))
    if sum(map(len, ranks)) <= at_most:
        return list(range(len(plans)))
    side = max(1, at_most // max(len(ranks), 1))

    def square(place: int) -> tuple[int, ...]:
        return tuple(known[column] // side for known, column in zip(ranks, plans[place].columns, strict=False))

    return sorted(range(len(plans)), key=square)


def first_value(values: Floats) -> int:
    """Return the place of the first value that is known; the size where none is."""
    known = ~np.isnan(values[:_PROBED])
    if known.any():
        return int(known.argmax())
    known = ~np.isnan(values)
    return int(known.argmax()) if known.any() else values.size
