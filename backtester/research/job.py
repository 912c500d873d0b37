"""One market, one strategy, one base configuration: what becomes of any number of parameter sets on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from backtester.errors import BacktesterError, UnknownNameError, UsageError
from backtester.market.store import Store
from backtester.research.rows import ParamValue, done_row, failed_row, metrics_of, rows_frame
from backtester.strategy import Indicator, Strategy
from backtester.strategy.coarse import bar_length
from backtester.strategy.declared import declared_indicators
from backtester.strategy.evaluate import Evaluator

MEMORY = 1 << 30  # bytes that indicators may take
_MEASURED = 8  # sets on which a warm-up is measured that no indicator states

Tell = Callable[[pl.DataFrame], None]
"""Called with the rows of sets as they are done."""


@dataclass(frozen=True, eq=False)
class _Group:
    """Sets that share everything but the strategy's parameters."""

    config: RunConfig
    places: list[int]
    strategies: list[Strategy | BacktesterError]


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
        if strategy is None:
            strategy = find_class(config, folders)
        self.config = config
        self.store = store
        self.strategy = strategy
        self.memory = memory
        self.threads = threads
        self._loaded: dict[str, Loaded] = {}
        base = self._strategy({})
        self._watches_index = isinstance(base, Strategy) and watches_index(base)
        self.base = self._market(config)

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
        rows: list[Mapping[str, Any]] = [{}] * sets.height
        for group in self._groups(sets, names):
            for place, row in self._group_rows(group):
                rows[place] = row
                if tell is not None:
                    tell(rows_frame(sets[place : place + 1], [row]))
        return rows_frame(sets, rows)

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
            strategies = (
                [self._strategy(dict(zip(bare, row, strict=True))) for row in sets[members].select(bare).iter_rows()]
                if bare
                else [self._strategy({}) for _ in members]
            )
            yield _Group(config, members, strategies)

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

    # -- one after the other, in full --------------------------------------------------------------------------------

    def _group_rows(self, group: _Group) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Return the rows of a group by their place."""
        sound = [strategy for strategy in group.strategies if isinstance(strategy, Strategy) and _speaks(strategy)]
        shared: Evaluator | None = None
        for place, strategy in zip(group.places, group.strategies, strict=True):
            try:
                if isinstance(strategy, BacktesterError):
                    raise strategy
                loaded = self._market(group.config)
                shared = shared or (self._shared(sound, loaded) if sound else None)
                row = done_row(metrics_of(self._replayed(strategy, loaded, shared)), "replay")
            except BacktesterError as error:
                row = failed_row(str(error))
            yield place, row

    def _market(self, config: RunConfig) -> Loaded:
        """Return the market and the account of a configuration, loaded once."""
        key = config.model_copy(update={"strategy": _without_params(config)}).model_dump_json()
        if key not in self._loaded:
            self._loaded[key] = load_run(config, self.store, watches_index=self._watches_index)
        return self._loaded[key]

    def _shared(self, strategies: Sequence[Strategy], loaded: Loaded) -> Evaluator:
        """Return the bars of a group with the warm-up that its sets need at most.

        A warm-up that no class states is measured on a few sets, the one that looks back farthest among them; a set
        that raises says so when it is replayed.
        """
        config = loaded.resolved.config
        bars = shared_bars(strategies[:1], config, self.store, loaded.panel, 0)
        reach = [_reach(strategy, bars) for strategy in strategies]
        farthest = strategies[max(range(len(reach)), key=reach.__getitem__)]
        stride = max(1, len(strategies) // _MEASURED)
        needs = (_warmup(strategy, bars) for strategy in {id(s): s for s in (*strategies[::stride], farthest)}.values())
        return Evaluator(shared_bars(strategies, config, self.store, loaded.panel, max(*reach, *needs)))

    def _replayed(self, strategy: Strategy, loaded: Loaded, shared: Evaluator | None) -> Result:
        """Return a set's run with every record."""
        resolved, panel = loaded.resolved, loaded.panel
        decisions = decide(strategy, resolved, self.store, panel, shared)
        moved, _ = transfers_of(resolved.config, panel.open_time)
        told = replace(instructions_for(decisions, resolved.config, self.store, panel), transfers=moved)
        refuse_clashes(resolved, decisions)
        replayed = replay_inputs(Inputs(panel, resolved, decisions, told))
        check_books(replayed)
        return complete(assembled(replayed, self.store, ()))


def _speaks(strategy: Strategy) -> bool:
    """Return whether a strategy says what it reads; one that raises must not take the others with it."""
    try:
        return strategy.references is not None
    except BacktesterError:
        return False


def _reach(strategy: Strategy, bars: pl.DataFrame) -> int:
    """Return the bars that a strategy's indicators look back, 0 where it cannot say."""
    if strategy.warmup is not None:
        return strategy.warmup
    try:
        declared = declared_indicators(strategy).values()
        return max((item.lookback_at(bar_length(bars)) for item in declared if isinstance(item, Indicator)), default=0)
    except BacktesterError:
        return 0


def _warmup(strategy: Strategy, bars: pl.DataFrame) -> int:
    try:
        return strategy.warmup_bars(bars)
    except BacktesterError:
        return 0


def _without_params(config: RunConfig) -> Any:
    return config.strategy.model_copy(update={"params": {}})
