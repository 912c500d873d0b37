"""Sets on one contract, counted instead of recorded: targets to change points, change points to tallies, to metrics.

A target that can be compiled is calculated for all sets of a batch at once, each indicator once; the rest is evaluated
by polars, set by set. Either way a set's target is kept as the bars at which it changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.analytics.tallies import TallyTerms, tally_metrics
from backtester.engine.decisions import decide, instructions_for, signal_clock
from backtester.engine.instructions import Instructions
from backtester.engine.prepare import prepare
from backtester.engine.run import Loaded, contract_terms
from backtester.engine.run_checks import refuse_clashes
from backtester.engine.segments import Changes, SharedMarket, obstacle, shared_market, tally_run, tally_sets
from backtester.engine.transfers import transfers_of
from backtester.engine.universe import has_universe
from backtester.errors import BacktesterError
from backtester.market.schema import timeframe_ms
from backtester.market.store import Store
from backtester.research.rows import DONE, SEGMENTS
from backtester.strategy import Strategy
from backtester.strategy.evaluate import Evaluator
from backtester.strategy.indicators import Indicator
from backtester.strategy.refusals import OPTIONAL_SERIES
from backtester.strategy.target_plan import TargetBatch, TargetPlan, target_batches
from backtester.strategy.target_tiles import ChangePoints, change_points_of_sets

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_SETS_AT_ONCE = 128  # sets that a thread takes up: enough to share the columns of a tile
_LEAST_COLUMNS = 4  # of a batch, whatever memory allows


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
        Bytes that the columns of a batch may take.
    threads : int
        Threads that calculate and replay.

    Attributes
    ----------
    why_not : str
        Why nothing can be counted here, in words; empty where it can.
    """

    def __init__(self, loaded: Loaded, store: Store, bars: Evaluator, memory: int, threads: int) -> None:
        config = loaded.resolved.config
        self.loaded, self.store, self.bars, self.memory, self.threads = loaded, store, bars, memory, threads
        signal_ms = timeframe_ms(str(config.data.timeframe))
        told = Instructions(signal_ms=signal_ms if signal_ms != loaded.panel.timeframe_ms else None)
        moved, _ = transfers_of(config, loaded.panel.open_time)
        self.terms = contract_terms(loaded.resolved, loaded.panel)
        self.prepared = prepare(loaded.panel, self.terms, config, replace(told, transfers=moved))
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

    def rows(
        self, strategies: Sequence[Strategy], plans: Sequence[TargetPlan]
    ) -> Iterator[Counted | tuple[int, BacktesterError | None]]:
        """Return rows as they are done; a set that raises with its error, one that needs its records with None.

        Parameters
        ----------
        strategies : sequence of Strategy
            The sets.
        plans : sequence of TargetPlan
            How the target of each is calculated where the run lets it.
        """
        if self.why_not:
            yield from ((place, None) for place in range(len(strategies)))
            return
        is_plain = self._takes_changes()
        left = {place for place, plan in enumerate(plans) if plan.program is None or not is_plain}
        plans = plans if is_plain else []
        at_most = max(_LEAST_COLUMNS, self.memory // (8 * max(self.bars.bars.height, 1)))
        order = near_to_one_another(plans, at_most)
        for batch in target_batches([plans[place] for place in order], at_most):
            own = replace(batch, members=np.array(order, np.int64)[batch.members])
            if self._unreadable(own):
                left.update(own.members.tolist())
                continue
            for counted, unfinished in self._counted(own, plans):
                left.update(unfinished)
                yield counted
        for place in sorted(left):
            yield self._by_polars(place, strategies[place])

    def _takes_changes(self) -> bool:
        """Return whether the run takes targets as they are, and only where they change."""
        config = self.loaded.resolved.config
        return (
            config.execution.rebalance == "on_change"
            and config.sizing.unit not in ("volatility", "risk")
            and not has_universe(config.universe)
            and self.bars.bars.height > 1
            and self._bar.size > 0
        )

    def _unreadable(self, batch: TargetBatch) -> bool:
        """Return whether a batch reads what is not there, or is empty: polars says so in full."""
        names: set[str] = set()
        for item in batch.columns:
            names |= item.columns if isinstance(item, Indicator) else {item}
        frame = self.bars.bars
        if not names <= set(frame.columns):
            return True
        return any(frame[name].null_count() == frame.height for name in names & OPTIONAL_SERIES.keys())

    # -- compiled ----------------------------------------------------------------------------------------------------

    def _counted(self, batch: TargetBatch, plans: Sequence[TargetPlan]) -> Iterator[tuple[Counted, list[int]]]:
        """Return the rows of a batch, and the sets whose targets polars must refuse."""
        matrix, first_values = self._matrix(batch)
        firsts = self._firsts(batch, plans, first_values)
        with ThreadPoolExecutor(self.threads) as pool:
            tasks: list[Future[tuple[Counted, list[int]]]] = []
            for start in range(0, batch.members.size, _SETS_AT_ONCE):
                part = slice(start, start + _SETS_AT_ONCE)
                tasks.append(pool.submit(self._part, batch, matrix, firsts, part))
            for task in tasks:
                yield task.result()

    def _matrix(self, batch: TargetBatch) -> tuple[Floats, Ints]:
        """Return the columns of a batch, one a row, and the first value of each."""
        matrix = np.empty((len(batch.columns), self.bars.bars.height))
        first = np.empty(len(batch.columns), np.int64)

        def fill(row: int) -> None:
            item = batch.columns[row]
            if isinstance(item, Indicator):
                self.bars.values_into(item, matrix[row])
            else:
                matrix[row] = self.bars.column(item)
            first[row] = first_value(matrix[row])

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(fill, range(len(batch.columns))))
        return matrix, first

    def _firsts(self, batch: TargetBatch, plans: Sequence[TargetPlan], first_values: Ints) -> Ints:
        """Return for each set the bar before which one of its indicators has had no value."""
        known = {item: int(first_values[row]) for row, item in enumerate(batch.columns) if isinstance(item, Indicator)}
        firsts = np.zeros(batch.members.size, np.int64)
        for n, member in enumerate(batch.members.tolist()):
            for item in plans[member].indicators:
                if item not in known:
                    known[item] = first_value(self.bars.values(item))
                firsts[n] = max(firsts[n], known[item])
        return firsts

    def _part(self, batch: TargetBatch, matrix: Floats, firsts: Ints, part: slice) -> tuple[Counted, list[int]]:
        """Return the rows of some sets of a batch, and which of them polars must refuse."""
        members = batch.members[part]
        points = change_points_of_sets(
            batch.steps, batch.literals[part], batch.places[part], matrix, firsts[part], self._first
        )
        good = np.flatnonzero(points.is_finite)
        tallies = tally_sets(self.prepared, self.shared, self._changes(points))
        counted = Counted(members[good].tolist(), self._frame(tallies[good]))
        return counted, members[~points.is_finite].tolist()

    def _changes(self, points: ChangePoints) -> Changes:
        return Changes(points.offsets, self._bar[points.bar - self._first], points.target + 0.0)

    def _frame(self, tallies: NDArray[np.void]) -> pl.DataFrame:
        metrics = tally_metrics(tallies, self.tally_terms)
        return metrics.select(
            pl.lit(DONE).alias("status"),
            pl.lit(None, pl.String).alias("error"),
            pl.lit(SEGMENTS).alias("path"),
            pl.all(),
        )

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
        return Counted([place], self._frame(tally_run(prepared, self.shared)))


def near_to_one_another(plans: Sequence[TargetPlan], at_most: int) -> list[int]:
    """Return an order of plans in which those that share columns follow each other.

    Parameters
    ----------
    plans : sequence of TargetPlan
        In any order.
    at_most : int
        Columns that fit into memory: a grid is cut into squares whose sides read as many columns as fit together.
    """
    ranks: list[dict[str | Indicator, int]] = []
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


_PROBED = 1 << 13  # bars in which most first values lie
