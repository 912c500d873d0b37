"""One market, one strategy, one base configuration: what becomes of any number of parameter sets on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from backtester.analytics import complete
from backtester.domain.config import RunConfig
from backtester.engine.assembly import Inputs, assembled
from backtester.engine.decisions import decide, find_class, instructions_for, shared_bars
from backtester.engine.result import Result
from backtester.engine.run import Loaded, check_books, load_run, replay_inputs, watches_index
from backtester.engine.run_checks import refuse_clashes
from backtester.engine.run_file import Tree, build_config, merge
from backtester.engine.transfers import transfers_of
from backtester.engine.venue_events import refuse_clearing, venue_events_of, with_rows
from backtester.errors import BacktesterError, UnknownNameError, UsageError
from backtester.market.panel import Panel
from backtester.market.schema import timeframe_ms
from backtester.market.store import Store
from backtester.research.counted import Counted, Counter, Share
from backtester.research.rows import (
    LOOP,
    POLARS,
    REPLAY,
    ParamValue,
    done_row,
    facts_frame,
    failed_row,
    joined,
    metrics_of,
    rows_frame,
)
from backtester.strategy import Indicator, Strategy
from backtester.strategy.base import kind_of
from backtester.strategy.evaluate import Evaluator
from backtester.strategy.indicators import REF_PREFIX
from backtester.strategy.target_plan import TargetPlan, is_local, plan_targets

MEMORY = 1 << 28  # bytes that indicators may take
_PLANNED = 512  # sets that are planned at a time
_AHEAD = 2  # such parts that threads may be counting while the next one is planned
_LOOKED_AT = 256  # sets whose warm-up is looked at
_PLACE = "__place"  # column of a set's place among all
_KEPT = 4  # configurations whose bars are kept

Tell = Callable[[pl.DataFrame], None]
"""Called with the rows of sets as they are done."""


@dataclass(frozen=True, eq=False)
class _Group:
    """Sets that share everything but the strategy's parameters: their places, and the values of those."""

    config: RunConfig
    places: list[int]
    names: list[str]
    values: list[tuple[ParamValue, ...]]


@dataclass(frozen=True, eq=False)
class _Ground:
    """Bars that strategies read, with a warm-up, and what counts sets on them."""

    bars: Evaluator
    references: frozenset[str]
    counter: Counter


@dataclass(frozen=True, eq=False)
class _Begun:
    """Sets under way."""

    places: list[int]
    ground: _Ground
    share: Share


class Job:
    """Parameter sets of one strategy, replayed on one span of one market.

    Parameters
    ----------
    config : RunConfig
        What the sets have in common: it names the strategy; its parameters hold where a set does not give them.
    store : Store
        Market data.
    strategy : type of Strategy, optional
        The class, instead of the one that the configuration names.
    folders : sequence of Path
        Where strategies are looked for before the bundled ones.
    memory : int
        Bytes that indicators may take at a time.
    threads : int
        Threads that replay sets.

    Raises
    ------
    BacktesterError
        The configuration or the market is refused.
    """

    def __init__(
        self,
        config: RunConfig,
        store: Store,
        *,
        strategy: type[Strategy] | None = None,
        folders: Sequence[Path] = (),
        memory: int = MEMORY,
        threads: int = 1,
    ) -> None:
        refuse_clearing(config)
        if strategy is None:
            strategy = find_class(config, folders)
        self.config = config = with_rows(config)
        self.store = store
        self.strategy = strategy
        self.memory = memory
        self.threads = threads
        self._panels: dict[str, Panel] = {}
        self._grounds: dict[str, _Ground] = {}
        self._lookbacks: dict[Indicator, int] = {}
        self._warmup: int | None = None
        self._tried_on: dict[str, pl.DataFrame] = {}
        base = self._strategy({})
        self._watches_index = isinstance(base, Strategy) and watches_index(base)
        self.base = self._market(config)
        self._bar_ms = timeframe_ms(str(self.base.config.data.timeframe))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be made again: a job is sent to other processes."""
        return {**self.__dict__, "_grounds": {}, "_tried_on": {}}

    def check(self, names: Sequence[str]) -> None:
        """Refuse names that are neither a parameter of the strategy nor, with a dot, a key of the run file.

        Raises
        ------
        UnknownNameError, ConfigError
            With the nearest name.
        """
        fields = self.strategy.model_fields
        for name in names:
            if "." not in name and name not in fields:
                raise UnknownNameError(
                    f"parameter of strategy {self.strategy.name!r}",
                    name,
                    list(fields),
                    hint=f"It has {', '.join(fields) or 'no parameters'}; a key of the run file has a dot "
                    "(account.leverage).",
                )
            if name.startswith(("strategy.", "report.")):
                raise UsageError(f"{name} cannot be swept.", "Parameters of the strategy are given by their bare name.")

    def evaluate(self, sets: pl.DataFrame, tell: Tell | None = None) -> pl.DataFrame:
        """Return what becomes of each set.

        Parameters
        ----------
        sets : polars.DataFrame
            One row a set; a column with a dot in its name is a key of the run file, every other one a parameter of
            the strategy, but for ``set``, which is passed on.
        tell : callable, optional
            Called with the rows of each part as it is done.

        Returns
        -------
        polars.DataFrame
            The columns of ``sets``, then ``status`` (``done``, ``failed``), ``error``, ``path`` and the metrics of the
            summary; one row a set, in the same order. A set whose strategy raises, or whose account is refused, is a
            row with its error; the others go on.
        """
        names = [name for name in sets.columns if name != "set"]
        self.check(names)
        was_prepared = self._warmup is not None
        if not was_prepared:
            self.prepare(sets)
        try:
            return self._rows(sets, names, tell)
        finally:
            if not was_prepared:
                self._warmup = None

    def _rows(self, sets: pl.DataFrame, names: Sequence[str], tell: Tell | None) -> pl.DataFrame:
        """Return the rows of sets in their order."""
        parts = []
        for group in self._groups(sets, names):
            for places, rows in self._group_rows(group):
                parts.append(rows.with_columns(pl.Series(_PLACE, places, pl.Int64)))
                if tell is not None:
                    tell(pl.concat([sets[places], rows], how="horizontal"))
        if not parts:
            return rows_frame(sets, [])
        rows = joined(parts).sort(_PLACE).drop(_PLACE)
        return pl.concat([sets, rows], how="horizontal")

    def result(self, values: Mapping[str, ParamValue]) -> Result:
        """Return one set replayed in full, with every record; raises what refuses it."""
        config, strategy = self._of(values)
        loaded = self._market(config)
        return self._replayed(strategy, loaded, None)

    # -- groups ------------------------------------------------------------------------------------------------------

    def _groups(self, sets: pl.DataFrame, names: Sequence[str]) -> Iterator[_Group]:
        """Return sets by what they change of the configuration, in the order of their first set."""
        keys = [name for name in names if "." in name]
        bare = [name for name in names if "." not in name]
        places: dict[tuple[Any, ...], list[int]] = {}
        for place, key in enumerate(sets.select(keys).iter_rows()) if keys else ():
            places.setdefault(key, []).append(place)
        if not keys:
            places = {(): list(range(sets.height))}
        for key, members in places.items():
            config = self._config(dict(zip(keys, key, strict=True)))
            yield _Group(config, members, bare, sets[members].select(bare).rows() if bare else [()] * len(members))

    def _config(self, keys: Mapping[str, ParamValue]) -> RunConfig:
        """Return the base configuration with other values of some keys."""
        tree: Tree = self.config.model_dump(exclude_unset=True)
        for key, value in keys.items():
            change: Any = value
            for part in reversed(key.split(".")):
                change = {part: change}
            tree = merge(tree, change)
        return build_config(tree) if keys else self.config

    def _strategy(self, params: Mapping[str, ParamValue]) -> Strategy | BacktesterError:
        """Return the strategy with a set's parameters, or why it refuses them."""
        try:
            return self.strategy(**{**self.config.strategy.params, **params})
        except BacktesterError as error:
            return error

    def _of(self, values: Mapping[str, ParamValue]) -> tuple[RunConfig, Strategy]:
        config = self._config({name: value for name, value in values.items() if "." in name})
        strategy = self._strategy({name: value for name, value in values.items() if "." not in name and name != "set"})
        if isinstance(strategy, BacktesterError):
            raise strategy
        return config, strategy

    # -- rows --------------------------------------------------------------------------------------------------------

    def _group_rows(self, group: _Group) -> Iterator[tuple[list[int], pl.DataFrame]]:
        """Return the rows of a group by their places: counted where that can be, else replayed in full.

        While threads count one part of the sets, the next one is planned.
        """
        with ThreadPoolExecutor(self.threads) as pool:
            under_way: deque[_Begun] = deque()
            for start in range(0, len(group.places), _PLANNED):
                part = slice(start, start + _PLANNED)
                for ready in self._begin(group, group.places[part], group.values[part], pool):
                    if isinstance(ready, _Begun):
                        under_way.append(ready)
                    else:
                        yield ready
                while len(under_way) > _AHEAD:
                    yield from self._finish(under_way.popleft())
            while under_way:
                yield from self._finish(under_way.popleft())

    def _begin(
        self,
        group: _Group,
        places: Sequence[int],
        values: Sequence[tuple[ParamValue, ...]],
        pool: ThreadPoolExecutor,
    ) -> Iterator[_Begun | tuple[list[int], pl.DataFrame]]:
        """Begin sets of a group; return those under way, by the warm-up that they share, and those refused."""
        sound: list[tuple[int, Strategy]] = []
        for place, row in zip(places, values, strict=True):
            strategy = self._strategy(dict(zip(group.names, row, strict=True)))
            if isinstance(strategy, Strategy):
                sound.append((place, strategy))
            else:
                yield [place], facts_frame([failed_row(str(strategy))])
        plans = plan_targets([strategy for _, strategy in sound])
        alike: dict[tuple[int, tuple[str, ...]], list[int]] = {}
        for n, (_, strategy) in enumerate(sound):
            warmup = self._warmup_of(strategy, plans[n], group.config)
            alike.setdefault((warmup, _references(strategy, plans[n])), []).append(n)
        for (warmup, references), members in alike.items():
            own = [sound[n][0] for n in members]
            strategies = [sound[n][1] for n in members]
            try:
                ground = self._ground(group.config, warmup, references)
                share = ground.counter.begin(strategies, [plans[n] for n in members], pool)
            except BacktesterError as error:
                yield own, facts_frame([failed_row(str(error))] * len(own))
                continue
            yield _Begun(own, ground, share)

    def _finish(self, begun: _Begun) -> Iterator[tuple[list[int], pl.DataFrame]]:
        """Return the rows of sets under way by their places."""
        for counted in begun.ground.counter.finish(begun.share):
            if isinstance(counted, Counted):
                yield [begun.places[n] for n in counted.places], counted.rows
                continue
            n, refusal = counted
            row = self._full_row(begun.share.strategies[n], begun.ground, refusal)
            yield [begun.places[n]], facts_frame([row])

    def _full_row(self, strategy: Strategy, ground: _Ground, refusal: BacktesterError | None) -> Mapping[str, Any]:
        """Return the row of a set that is replayed with every record, or of one that was refused."""
        if refusal is not None:
            return failed_row(str(refusal))
        try:
            metrics = metrics_of(self._replayed(strategy, ground.counter.loaded, ground.bars))
            return done_row(metrics, REPLAY, LOOP if kind_of(type(strategy)) == "loop" else POLARS)
        except BacktesterError as error:
            return failed_row(str(error))

    def _market(self, config: RunConfig) -> Loaded:
        """Return the market and the account of a configuration; series are loaded once."""
        key = _key(config, "data", "funding", "execution", "collateral")
        loaded = load_run(config, self.store, watches_index=self._watches_index, panel=self._panels.get(key))
        self._panels[key] = loaded.panel
        return loaded

    def _ground(self, config: RunConfig, warmup: int, references: Sequence[str]) -> _Ground:
        """Return what sets that share a configuration are evaluated on: kept, so that later sets begin at once."""
        key = f"{warmup} {_key(config)}"
        known = self._grounds.pop(key, None)
        needed = frozenset(references)
        if known is None or not needed <= known.references:
            loaded = self._market(config)
            bars = Evaluator(shared_bars(references, loaded.resolved.config, self.store, loaded.panel, warmup))
            known = _Ground(bars, needed, Counter(loaded, self.store, bars, self.memory, self.threads))
        while len(self._grounds) >= _KEPT:
            del self._grounds[next(iter(self._grounds))]
        self._grounds[key] = known  # the newest last
        return known

    # -- warm-up -----------------------------------------------------------------------------------------------------

    def prepare(self, sets: pl.DataFrame) -> None:
        """Find the warm-up that sets share, however they are evaluated in parts later.

        Recursive indicators depend on where they begin, if only in the last digits: every set of a sweep begins at the
        same bar. A set that needs more gets what it needs.

        Parameters
        ----------
        sets : polars.DataFrame
            All sets, as ``evaluate`` takes them; of many, some are looked at, the corners of the grid among them.
        """
        names = [name for name in sets.columns if name != "set" and "." not in name]
        tried = _corners(sets.select(names)) if names else [()]
        found = [self._strategy(dict(zip(names, row, strict=True))) for row in tried]
        sound = [strategy for strategy in found if isinstance(strategy, Strategy)]
        plans = plan_targets(sound)
        self._warmup = max(
            (self._reach_of(s, plan) for s, plan in zip(sound, plans, strict=True) if is_sure(s, plan)), default=0
        )

    def _warmup_of(self, strategy: Strategy, plan: TargetPlan, config: RunConfig) -> int:
        """Return the bars before the run that a set needs: those that all share, or, where it has to be tried, its own.

        A run of the set alone measures the same.
        """
        reach = self._reach_of(strategy, plan)
        if strategy.warmup is not None:
            return reach
        if is_sure(strategy, plan):
            return max(self._warmup or 0, reach)
        references = _references(strategy, plan)
        key = f"{references} {_key(config, 'data')}"
        if key not in self._tried_on:
            loaded = self._market(config)
            self._tried_on.clear()
            self._tried_on[key] = shared_bars(references, loaded.resolved.config, self.store, loaded.panel, 0)
        return max(reach, _measured(strategy, self._tried_on[key]))

    def _reach_of(self, strategy: Strategy, plan: TargetPlan) -> int:
        """Return the bars that a strategy looks back, by what it states or its indicators do."""
        if strategy.warmup is not None:
            return strategy.warmup
        reach = 0
        for item in plan.indicators:
            if item not in self._lookbacks:
                self._lookbacks[item] = item.lookback_at(self._bar_ms)
            reach = max(reach, self._lookbacks[item])
        return reach

    # -- in full -----------------------------------------------------------------------------------------------------

    def _replayed(self, strategy: Strategy, loaded: Loaded, shared: Evaluator | None) -> Result:
        """Return a set's run with every record."""
        resolved, panel = loaded.resolved, loaded.panel
        decisions = decide(strategy, resolved, self.store, panel, shared)
        moved, _ = transfers_of(resolved.config, panel.open_time)
        refuse_clearing(resolved.config)
        struck, _ = venue_events_of(resolved.config, panel, resolved.instruments)
        told = instructions_for(decisions, resolved.config, self.store, panel)
        told = replace(told, transfers=moved, venue_events=struck)
        refuse_clashes(resolved, decisions)
        replayed = replay_inputs(Inputs(panel, resolved, decisions, told))
        check_books(replayed)
        return complete(assembled(replayed, self.store, ()))


def _corners(values: pl.DataFrame) -> list[tuple[ParamValue, ...]]:
    """Return the rows of a few sets, those with the least and the largest value of each parameter among them."""
    if values.height <= _LOOKED_AT:
        return values.rows()
    places = {0, values.height - 1, *range(0, values.height, -(-values.height // _LOOKED_AT))}
    for name in values.columns:
        places |= {values[name].arg_min() or 0, values[name].arg_max() or 0}
    numbers = [name for name in values.columns if values[name].dtype.is_numeric()]
    if numbers:
        ranks = values.select(pl.sum_horizontal(pl.col(numbers).rank())).to_series()
        places |= {ranks.arg_min() or 0, ranks.arg_max() or 0}
    return values[sorted(places)].rows()


def is_sure(strategy: Strategy, plan: TargetPlan) -> bool:
    """Return whether a strategy's indicators tell how far it looks back."""
    return plan.program is not None or is_local(strategy)


def _references(strategy: Strategy, plan: TargetPlan) -> tuple[str, ...]:
    """Return the symbols that a strategy reads and does not trade; none of one that raises, as its row will tell."""
    if plan.program is not None and not any(
        name.startswith(REF_PREFIX) for item in (*plan.columns, *plan.indicators) for name in _names(item)
    ):
        return ()
    try:
        return strategy.references
    except BacktesterError:
        return ()


def _names(item: str | Indicator) -> Iterable[str]:
    return (item,) if isinstance(item, str) else item.columns


def _measured(strategy: Strategy, bars: pl.DataFrame) -> int:
    """Return a measured warm-up; 0 where the strategy raises, which its row tells."""
    try:
        return strategy.warmup_bars(bars)
    except BacktesterError:
        return 0


def _key(config: RunConfig, *sections: str) -> str:
    """Return some sections of a configuration as text, all of them by default; parameters are left out."""
    bare = config.model_copy(update={"strategy": config.strategy.model_copy(update={"params": {}})})
    return bare.model_dump_json(include=set(sections) or None)
