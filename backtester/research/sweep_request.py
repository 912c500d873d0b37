"""A sweep that is asked for: checked, with its data written out, its sets known and its holdout sealed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backtester.domain.config import RunConfig
from backtester.engine.result import Notice
from backtester.engine.run import Loaded
from backtester.engine.run_file import parse_time
from backtester.errors import UnknownNameError, UsageError, format_time
from backtester.market.series import SYNTHETIC_VENUE
from backtester.market.store import Store
from backtester.research import holdout
from backtester.research.axes import Written, refuse_unswept
from backtester.research.evaluation import refuse_column_names
from backtester.research.executors import EXECUTORS, Executor, make_executor
from backtester.research.job import MEMORY, Job
from backtester.research.plan import SweepPlan, pinned, symbols_seen
from backtester.research.ranking import DEFAULT_METRIC
from backtester.research.space import SET, Sample, Space
from backtester.research.sweep import refuse_unasked
from backtester.strategy import Strategy

DEFAULT_RUNS = Path("reports")


@dataclass(frozen=True, eq=False)
class SweepRequest:
    """A sweep to be made.

    Attributes
    ----------
    config : RunConfig
        What all sets have in common.
    grid : dict of str to str or sequence
        Values of parameters (bare names) and keys of the run file (dotted): texts as on the command line, or values.
    store : Store
        Market data.
    strategy : type of Strategy, optional
        Instead of the one that the configuration names.
    where : str, optional
        Condition on a set, in SQL over the names of the axes.
    sample : Sample, optional
        Draw so many sets.
    seed : int
        Of the sets that are checked.
    holdout : str, optional
        Bars to seal: ``"2025-07-01.."`` or ``"2025-07-01..2025-10-01"``.
    out : Path, optional
        Folder of the runs; None writes nothing.
    resume : Path, optional
        Folder of the sweep to go on with.
    folders : sequence of Path
        Where strategies are looked for.
    options : sequence of tuple of str and Path
        Options of a command that repeats a run: where data and strategies lie.
    memory : int
        Bytes that indicators may take.
    workers : int
        Threads or processes.
    executor, address : str
        Where sets are evaluated, and the cluster's address.
    exact : int
        Sets that are replayed in full and compared.
    metric : str
        By which sets are ranked.
    asked : bool
        Start a sweep of any size.
    notices : tuple of Notice
        Told first.
    """

    config: RunConfig
    grid: Mapping[str, str | Sequence[Any]]
    store: Store
    strategy: type[Strategy] | None = None
    where: str | None = None
    sample: Sample | None = None
    seed: int = 0
    holdout: str | None = None
    out: Path | None = DEFAULT_RUNS
    resume: Path | None = None
    folders: Sequence[Path] = ()
    options: Sequence[tuple[str, Path]] = ()
    memory: int = MEMORY
    workers: int = 0
    executor: str = "local"
    address: str | None = None
    exact: int = 0
    metric: str = DEFAULT_METRIC
    asked: bool = False
    notices: tuple[Notice, ...] = ()

    @property
    def runs(self) -> Path:
        """Folder of the runs whose seals hold."""
        return self.resume.parent if self.resume is not None else self.out or DEFAULT_RUNS

    @property
    def worker_count(self) -> int:
        """Number of workers: what was asked for, else the cores that this process may use."""
        if self.workers:
            return self.workers
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity is not None else os.cpu_count() or 1

    @property
    def processes(self) -> int:
        """Workers that evaluate parts at the same time."""
        return 1 if self.executor == "local" else self.worker_count


@dataclass(frozen=True, eq=False)
class Prepared:
    """A sweep that can begin.

    Attributes
    ----------
    job : Job
        What evaluates sets.
    executor : Executor
        Where.
    plan : SweepPlan
        With all data written out.
    space : Space
        The sets.
    notices : tuple of Notice
        What was chosen for what was left out, and what was put aside.
    """

    job: Job
    executor: Executor
    plan: SweepPlan
    space: Space
    notices: tuple[Notice, ...]


def prepared(request: SweepRequest) -> Prepared:
    """Return a sweep that can begin; what cannot is refused before anything is written, but for the seal.

    Raises
    ------
    BacktesterError
        The grid, the filter, the data or the account are refused; the span reaches into sealed bars; there are more
        than a million sets and nobody said that they are meant.
    """
    config = request.config
    if config.strategy.signals is not None or config.strategy.fills is not None:
        raise UsageError(
            "A sweep varies the parameters of a strategy; signals and trades have none.", "Name a strategy."
        )
    if request.executor not in EXECUTORS:
        raise UnknownNameError("executor", request.executor, EXECUTORS)
    if request.exact < 0 or request.workers < 0 or request.memory < 1:
        raise UsageError("--exact-check, --workers and --memory must not be negative.")
    if not request.grid:
        raise UsageError("The grid is empty: no axis is given.", "Example: -g fast=5:200:5 -g slow=log:50:2000:40.")
    written = {name: _written(given) for name, given in request.grid.items()}
    refuse_unswept(written)
    job = _job(request, config)
    job.check(list(written))
    refuse_column_names(list(written), {SET})
    loaded = job.base
    aside, cut = _without_holdout(request, loaded)
    plan = SweepPlan(pinned(config, loaded, cut), written, request.where, request.sample, request.holdout)
    space = plan.space(job.strategy)
    _refuse_sealed(request, plan, space, job)
    if cut != loaded.panel.end or any(name.startswith("data.") for name in written):
        job = _job(request, plan.config)
    if not request.asked:
        refuse_unasked(space, job)
    _ = space.count  # a filter that leaves nothing is refused before anything is written
    if aside is not None:
        runs = request.runs
        holdout.seal(runs, loaded.panel.venue, loaded.panel.traded_symbols, aside)
    told = (*_notices(loaded), *request.notices, *_holdout_notices(aside, loaded, cut))
    return Prepared(job, _executor(request), plan, space, told)


def _job(request: SweepRequest, config: RunConfig) -> Job:
    threads = request.worker_count if request.executor == "local" else 1
    return Job(
        config,
        request.store,
        strategy=request.strategy,
        folders=request.folders,
        memory=request.memory,
        threads=threads,
    )


def _written(given: Any) -> Written:
    """Return an axis as ``sweep.toml`` holds it."""
    if isinstance(given, str):
        return given
    if isinstance(given, range) and len(given) > 1 and given.step > 0:
        return f"{given[0]}:{given[-1]}:{given.step}"
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise UsageError(
            f"An axis of the grid is a sequence of values or a text, not {given!r}.", 'Example: {"fast": [5, 10]}.'
        )
    return tuple(value.item() if hasattr(value, "item") else value for value in given)


def _without_holdout(request: SweepRequest, loaded: Loaded) -> tuple[holdout.Span | None, int]:
    """Return what is put aside, and the end of what is swept [ms since 1970, UTC]."""
    panel = loaded.panel
    if request.holdout is None:
        return None, panel.end
    aside = holdout.parse_holdout(request.holdout)
    return aside, holdout.cut_before(aside, panel.start, panel.end)


def _refuse_sealed(request: SweepRequest, plan: SweepPlan, space: Space, job: Job) -> None:
    """Refuse sealed bars, also those that are only read, and those that an axis over the data's span would reach."""
    runs = request.runs
    if request.holdout is None and not (runs / holdout.HOLDOUT_FILE).is_file():
        return
    data, panel = plan.config.data, job.base.panel
    symbols = symbols_seen(job, _strategies_tried(space))
    moved = {axis.name: axis for axis in space.axes if axis.name in ("data.start", "data.end", "data.venue")}
    if request.holdout is not None and moved:
        raise UsageError(
            f"{next(iter(moved))} is swept beside --holdout: which bars were put aside would differ from set to set.",
            "State the span with --start and --end.",
        )
    choices = [
        moved[name].values.take(np.arange(moved[name].count)).to_list() if name in moved else [base]
        for name, base in (("data.venue", panel.venue), ("data.start", data.start), ("data.end", data.end))
    ]
    for venue, start, end in itertools.product(*choices):
        span = parse_time(str(start), "data.start"), parse_time(str(end), "data.end")
        holdout.refuse_sealed(runs, venue, symbols, *span, what="The sweep")


def _strategies_tried(space: Space) -> Iterator[dict[str, Any]]:
    """Yield parameters that show which contracts a strategy may read: each text of an axis may name one."""
    own = [axis for axis in space.axes if "." not in axis.name]
    first = {axis.name: axis.values.take(np.zeros(1, dtype=np.int64))[0] for axis in own}
    yield first
    for axis in own:
        if isinstance(first[axis.name], str):
            for value in axis.values.take(np.arange(1, axis.count)):
                yield {**first, axis.name: value}


def _notices(loaded: Loaded) -> tuple[Notice, ...]:
    if loaded.resolved.venue != SYNTHETIC_VENUE:
        return loaded.told
    text = "The market data is synthetic: prices and funding were made by a random process; no venue traded them."
    return (Notice("synthetic", "warning", text), *loaded.told)


def _holdout_notices(aside: holdout.Span | None, loaded: Loaded, cut: int) -> tuple[Notice, ...]:
    if aside is None:
        return ()
    ends = (
        f"the sweep ends at {format_time(cut)}, before them"
        if cut != loaded.panel.end
        else "the sweep does not reach them"
    )
    text = f"The bars from {aside} are sealed as a holdout: {ends}."
    return (Notice("holdout", "assumption", text),)


def _executor(request: SweepRequest) -> Executor:
    """Return where sets are evaluated."""
    return make_executor(request.executor, workers=request.worker_count, address=request.address)
