"""What the arguments of a search over many runs stand for, beside those of a single run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backtester.arguments import call_tree, folder_options, from_here, opened_store
from backtester.domain.config import RunConfig
from backtester.engine.loose_frame import FrameLike
from backtester.engine.result import Notice
from backtester.engine.run_file import build_config, merge
from backtester.errors import BacktesterError
from backtester.market.store import Store
from backtester.research.job import Job
from backtester.strategy import Strategy
from backtester.strategy.registry import find

DEFAULT_OUT = Path("reports")

AnyStrategy = Strategy | type[Strategy] | RunConfig | str | Path
"""What a search takes as its strategy: an instance, a class, a configuration, a name or the path of a run file."""


@dataclass(frozen=True)
class OpenRun:
    """A configuration put together from arguments, with what it is run on.

    Attributes
    ----------
    config : RunConfig
        With the parameters of an instance that was given.
    strategy : type of Strategy or None
        The class of what was given as one; None: the configuration names it.
    store : Store
        Market data.
    notices : tuple of Notice
        What was assumed of a frame.
    folders : tuple of tuple of str and Path, or None
        Options of a command that repeats a run of it; None where no command can.
    places : tuple of Path
        Folders of strategies.
    """

    config: RunConfig
    strategy: type[Strategy] | None
    store: Store
    notices: tuple[Notice, ...]
    folders: tuple[tuple[str, Path], ...] | None
    places: tuple[Path, ...]

    def job(self, config: RunConfig) -> Job:
        """Return the job of a configuration on this market, for all cores."""
        threads = os.cpu_count() or 1
        return Job(config, self.store, strategy=self.strategy, folders=self.places, threads=threads)


@contextmanager
def opened_run(
    strategy: AnyStrategy,
    data: Store | Path | str | FrameLike,
    given: Mapping[str, Any],
    strategies: Sequence[Path | str] = (),
) -> Iterator[OpenRun]:
    """Give what the arguments of a search say, for the time of the search.

    Parameters
    ----------
    strategy
        The strategy.
    data
        As in ``backtester.run``.
    given : mapping
        ``config, params, tiers, settings`` as in ``backtester.run`` (each may be missing) and ``options``, its other
        arguments.
    strategies
        As in ``backtester.run``.
    """
    found: type[Strategy] | None = None
    if isinstance(strategy, type) and issubclass(strategy, Strategy):
        found, strategy = strategy, RunConfig()
    tree, instance = call_tree(
        strategy,
        config=given.get("config"),
        params=given.get("params"),
        tiers=given.get("tiers"),
        settings=given.get("settings"),
        options=given.get("options") or {},
    )
    if instance is not None:
        found = type(instance)
        tree = merge(tree, {"strategy": {"params": instance.model_dump()}})
    places = tuple(Path(folder) for folder in strategies)
    with opened_store(data, tree) as (store, whole_tree, notices):
        repeats = isinstance(data, Store | str | Path) and _is_named(found, places)
        folders = tuple(folder_options(data, strategies)) if repeats else None
        yield OpenRun(build_config(whole_tree), found, store, tuple(notices), folders, places)


def run_command(config: Path, folders: Sequence[tuple[str, Path]], out: Path) -> str:
    """Return the command line that makes the run of a run file, to be called from the current folder.

    Parameters
    ----------
    config : Path
        The run file.
    folders : sequence of tuple of str and Path
        Options: where data and strategies lie.
    out : Path
        Folder of all runs.
    """
    options = [("--config", config), *folders]
    if out != DEFAULT_OUT:
        options.append(("--out", out))
    return shlex.join(["backtester", "run", *(part for name, path in options for part in (name, from_here(path)))])


def _is_named(strategy: type[Strategy] | None, places: Sequence[Path]) -> bool:
    """Return whether the command line finds the very class by its name."""
    if strategy is None:
        return True
    try:
        return find(strategy.name, places) is strategy
    except BacktesterError:
        return False
