"""Walk forward from Python: the twin of the command ``backtester walk-forward``."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from backtester.domain.config import RunConfig
from backtester.domain.margin_tiers import MarginTier
from backtester.engine.folder import REPORT_FILE
from backtester.engine.loose_frame import FrameLike
from backtester.engine.manifest import timestamp, versions
from backtester.engine.result import Notice
from backtester.engine.run import Progress, silent
from backtester.errors import UnknownNameError, UsageError, format_time
from backtester.market.schema import timeframe_ms
from backtester.market.series import SYNTHETIC_VENUE
from backtester.market.store import Store
from backtester.research.axes import build_axis, parse_axis
from backtester.research.constraint import parse_constraints
from backtester.research.dimension import fitted, parse_dimensions
from backtester.research.evaluation import refuse_column_names, refuse_market_axes
from backtester.research.holdout import refuse_sealed
from backtester.research.interrupts import await_second
from backtester.research.metrics import OwnMetric, OwnMetrics, odd_directions, own_metrics, parse_objectives
from backtester.research.optimize import Plan
from backtester.research.optimize_result import fixed_config, job_hashes, known_names
from backtester.research.plan import symbols_seen
from backtester.research.search_folder import new_folder
from backtester.research.space import Space as Grid
from backtester.research.study import SAMPLERS, check_sampler, default_batch
from backtester.research.walk_forward import (
    GridSearch,
    SampledSearch,
    Search,
    Walk,
    WalkPlan,
    refuse_held,
    windows_frame,
)
from backtester.research.walk_result import (
    WalkForwardResult,
    stability_frame,
    stitched,
    stitched_trades,
    walk_summary,
    write_walk,
)
from backtester.research.windows import Window, cut_windows, duration_text, parse_duration
from backtester.search_arguments import DEFAULT_OUT, AnyStrategy, OpenRun, opened_run

__all__ = ["WalkForwardResult", "walk_forward"]

Space = Mapping[str, Any] | Sequence[str]
GRID = "grid"
_MOST_SETS = 10_000_000  # more than anybody waits for, window by window
_COLUMNS = {
    "window", "train_start", "train_end", "test_start", "test_end", "sets", "counted", "ties", "balance",
    "final_balance",
}  # fmt: skip


@dataclass(frozen=True)
class _Wanted:
    """What a call asks for."""

    space: Space
    train: str | timedelta
    test: str | timedelta
    anchored: bool
    objective: str
    constraints: Sequence[str]
    where: str | None
    optimizer: str
    trials: int | None
    batch: int | None
    seed: int | None


def walk_forward(
    strategy: AnyStrategy,
    grid: Space,
    *,
    train: str | timedelta = "180d",
    test: str | timedelta = "30d",
    anchored: bool = False,
    objective: str = "sharpe",
    constraints: str | Sequence[str] = (),
    where: str | None = None,
    optimizer: str = GRID,
    trials: int | None = None,
    batch: int | None = None,
    seed: int | None = None,
    metrics: Mapping[str, OwnMetric] | None = None,
    data: Store | Path | str | FrameLike = "data",
    config: RunConfig | None = None,
    params: Mapping[str, Any] | None = None,
    tiers: Sequence[MarginTier] | Mapping[str, Sequence[MarginTier]] | None = None,
    settings: Mapping[str, Any] | None = None,
    out: Path | str | None = "reports",
    strategies: Sequence[Path | str] = (),
    report: bool = True,
    progress: Progress = silent,
    **options: Any,
) -> WalkForwardResult:
    """Choose parameters on one span, run them on the next, and go on with the equity that is left.

    Parameters
    ----------
    strategy : Strategy, its class, RunConfig, str or Path
        As in `run`.
    grid : mapping or sequence of str
        Values of each parameter: as in `sweep` (``{"fast": "5:60:5"}``), for a sampler as in `optimize`.
    train, test : str or timedelta
        Lengths of the windows: ``180d``, ``4w``, ``12h``.
    anchored : bool
        Train from the start of the span in every window, instead of over the last ``train``.
    objective : str
        The metric in which the chosen set is best; ``max:`` or ``min:`` before it says which values are better.
    constraints : str or sequence of str
        SQL conditions over metrics and parameters that the chosen set fulfils in training.
    where : str, optional
        SQL condition on the sets of a grid: ``"slow > 2 * fast"``.
    optimizer : str
        ``grid``: every set; else the name of a sampler of `optimize`, which looks anew in each window.
    trials : int
        Trials of a sampler in each window. Default: 50.
    batch : int
        Trials that are evaluated together.
    seed : int
        Of the sampler in the first window; default: drawn.
    metrics, data, config, params, tiers, settings, out, strategies, report, progress, **options
        As in `optimize`.

    Returns
    -------
    WalkForwardResult
        After an interruption (Ctrl-C) with the windows that are done.

    Raises
    ------
    UsageError
        The span is too short for one window (it says how long it must be), or an argument is refused.

    Notes
    -----
    Each test begins flat with the equity at which the one before ended; a position that is open there is valued at its
    mark and not closed, so that its exit costs nothing. Its strategy is warmed up on the bars before the test, as a run
    is. Training always begins with the configured balance.

    Examples
    --------
    >>> import backtester
    >>> walk = backtester.walk_forward("trend", {"fast": "5:60:5"}, train="90d", test="30d")  # doctest: +SKIP
    >>> walk.summary["sharpe"]  # doctest: +SKIP
    0.41
    """
    conditions = [constraints] if isinstance(constraints, str) else list(constraints)
    wanted = _Wanted(grid, train, test, anchored, objective, conditions, where, optimizer, trials, batch, seed)
    own = own_metrics(metrics)
    given = {"config": config, "params": params, "tiers": tiers, "settings": settings, "options": options}
    with opened_run(strategy, data, given, strategies) as run:
        progress("Loading the market data", None)
        call = _Call(run, wanted, own, None if out is None else Path(out))
        return call.run(progress, report=report)


class _Call:
    """One call: what it asks for, checked, and the walk with its folder."""

    def __init__(self, run: OpenRun, wanted: _Wanted, own: OwnMetrics, root: Path | None) -> None:
        self.asked, self.wanted, self.own, self.root = run, wanted, own, root
        refuse_held(run.config)
        _refuse_carried(wanted.space)
        self.job = run.job(run.config)
        self.lengths = parse_duration(wanted.train, "--train"), parse_duration(wanted.test, "--test")
        panel = self.job.base.panel
        self.span = (panel.start, panel.end)
        sealed_in = DEFAULT_OUT if root is None else root
        refuse_sealed(sealed_in, panel.venue, symbols_seen(self.job), *self.span, what="The walk forward")
        bar = timeframe_ms(str(self.job.base.config.data.timeframe))
        windows = cut_windows(self.span, *self.lengths, bar, anchored=wanted.anchored)
        self.seed = secrets.randbelow(1 << 31) if wanted.seed is None else wanted.seed
        self.plan, self.search = self._planned(windows)
        read = {name for one in self.plan.constraints for name in one.names}
        names = {self.plan.objective.metric, *read}
        self.functions = {name: function for name, function in own.functions.items() if name in names}
        refuse_column_names(list(self.plan.names), {*_COLUMNS, *self.functions})

    def run(self, progress: Progress, *, report: bool) -> WalkForwardResult:
        """Walk, write and return what was found."""
        begun, interrupted = time.monotonic(), False
        created = str(timestamp())
        walk = Walk(self.job, self.plan, self.search, self.asked.job, self.functions)
        folder = None if self.root is None else new_folder(self.root, "walk-forward", self.job.strategy.name)
        told: tuple[Notice, ...] = ()
        try:
            told = walk.run(progress)
        except KeyboardInterrupt:
            interrupted = True
            try:  # noqa: SIM105 - the second one would be raised on the way into suppress()
                await_second()
            except KeyboardInterrupt:
                pass
            told = walk.notices()
        except BaseException:
            if folder is not None and not walk.steps:
                folder.rmdir()  # nothing stands in it yet
            raise
        summary = walk_summary(walk.steps, walk.first_balance, self.plan)
        result = WalkForwardResult(
            run_id="" if folder is None else folder.name,
            config=fixed_config(self.job),
            strategy_name=self.job.strategy.name,
            plan=self.plan,
            settings=self._settings(),
            windows=windows_frame(walk.steps, self.plan),
            equity=stitched(walk.steps, walk.first_balance),
            trades=stitched_trades(walk.steps),
            summary=summary,
            stability=stability_frame(walk.steps, self.plan.names),
            notices=(*self.asked.notices, *self.own.notices, *self.job.base.told, *told, *self._notices()),
            symbols=self.job.base.panel.traded_symbols,
            span=self.span,
            synthetic=self.job.base.resolved.venue == SYNTHETIC_VENUE,
            settle=self.job.base.resolved.settle,
            interrupted=interrupted,
            manifest={
                "kind": "walk-forward",
                "status": "interrupted" if interrupted else "finished",
                "created": created,
                "windows": len(walk.steps),
                "seconds": round(time.monotonic() - begun, 3),
                "seed": None if self.plan.optimizer == GRID else self.seed,
                "hashes": job_hashes(self.job),
                "versions": versions(),
                "summary": summary,
            },
        )
        if folder is None:
            return result
        write_walk(result, folder)
        if report:
            from backtester.report.walk_page import write_walk_page  # noqa: PLC0415 - plotly takes a while to import

            progress("Writing the report", None)
            write_walk_page(result, folder / REPORT_FILE)
        from backtester.report.shelf_page import refreshed_shelf  # noqa: PLC0415 - only where walks are written

        problem = refreshed_shelf(folder.parent)
        told_last = () if problem is None else (problem,)
        return replace(result, notices=(*result.notices, *told_last), run_dir=folder)

    def _planned(self, windows: tuple[Window, ...]) -> tuple[WalkPlan, Search]:
        """Return what is walked through, and how sets are tried in each window."""
        wanted, own = self.wanted, self.own
        objectives = parse_objectives(wanted.objective, own)
        if len(objectives) > 1:
            raise UsageError(f"A walk forward chooses by one objective, and {len(objectives)} are named.", "Name one.")
        if wanted.optimizer != GRID and wanted.optimizer not in SAMPLERS:
            raise UnknownNameError("optimizer", wanted.optimizer, (GRID, *SAMPLERS))
        if wanted.optimizer == GRID:
            return self._grid(windows)
        if wanted.where is not None:
            raise UsageError("--where filters the sets of a grid.", "Of a sampler's sets: --constraint.")
        dimensions = parse_dimensions(wanted.space)
        check_sampler(wanted.optimizer, dimensions, objectives)
        names = [one.name for one in dimensions]
        self.job.check(names)
        plan = Plan(
            dimensions=fitted(dimensions, self.job.strategy),
            objectives=objectives,
            constraints=parse_constraints(wanted.constraints, known_names(names, own)),
            trials=50 if wanted.trials is None else _least_one("trials", wanted.trials),
            sampler=wanted.optimizer,
            batch=default_batch(wanted.optimizer, dimensions)
            if wanted.batch is None
            else _least_one("batch", wanted.batch),
            seed=self.seed,
        )
        read = {name for one in plan.constraints for name in one.names}
        search = SampledSearch(plan, {name: f for name, f in own.functions.items() if name in read})
        return WalkPlan(tuple(names), objectives[0], plan.constraints, windows, wanted.optimizer, dimensions), search

    def _grid(self, windows: tuple[Window, ...]) -> tuple[WalkPlan, Search]:
        """Return the plan of a grid, whose sets are the same in each window."""
        wanted, own = self.wanted, self.own
        if wanted.trials is not None:
            raise UsageError("--trials are those of a sampler; a grid tries every set.", "Add --optimizer tpe.")
        objective = parse_objectives(wanted.objective, own)[0]
        space = wanted.space
        pairs = list(space.items()) if isinstance(space, Mapping) else [parse_axis(text) for text in space]
        names = [name for name, _ in pairs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"{twice} is given twice.", "Name each parameter once.")
        self.job.check(names)
        axes = [build_axis(name, values, self.job.strategy, self.job.config) for name, values in pairs]
        constraints = parse_constraints(wanted.constraints, known_names(names, own))
        read = {objective.metric, *(name for one in constraints for name in one.names)}
        functions = {name: f for name, f in own.functions.items() if name in read}
        grid = Grid(axes, wanted.where)
        if grid.grid_size > _MOST_SETS:
            raise UsageError(
                f"The grid has {grid.grid_size:,} sets, to be tried in each of {len(windows)} windows.",
                "Take fewer values, or a sampler: --optimizer tpe.",
            )
        search = GridSearch(grid.sets(), functions)
        return WalkPlan(tuple(names), objective, constraints, windows, GRID), search

    def _settings(self) -> dict[str, Any]:
        """Return what was asked for, as the file has it."""
        wanted, is_grid = self.wanted, self.plan.optimizer == GRID
        space = wanted.space
        pairs = list(space.items()) if isinstance(space, Mapping) else [parse_axis(text) for text in space]
        search = self.search
        return {
            "strategy": self.job.strategy.name,
            "train": duration_text(self.lengths[0]),
            "test": duration_text(self.lengths[1]),
            "anchored": wanted.anchored,
            "objective": self.plan.objective.spelled,
            "constraints": [one.text for one in self.plan.constraints],
            "where": wanted.where,
            "optimizer": self.plan.optimizer,
            "trials": search.plan.trials if isinstance(search, SampledSearch) else None,
            "batch": search.plan.batch if isinstance(search, SampledSearch) else None,
            "seed": None if is_grid else self.seed,
            "space": {name: values if isinstance(values, str) else list(values) for name, values in pairs},
        }

    def _notices(self) -> tuple[Notice, ...]:
        """Return how the walk is to be read."""
        train, test = self.lengths
        carried = (
            "Each test begins flat with the equity at which the one before ended. A position open at the end of a test "
            "is valued at its mark and not closed, so that its exit costs nothing."
        )
        found = [Notice("equity_carried", "assumption", carried), *odd_directions((self.plan.objective,))]
        if test > train:
            text = f"The tests ({duration_text(test)}) are longer than the first training ({duration_text(train)})."
            found.append(Notice("test_longer", "warning", text))
        last = self.plan.windows[-1].test_end
        if last < self.span[1]:
            text = (
                f"The span after {format_time(last)} is shorter than a test ({duration_text(test)}) and was left out."
            )
            found.append(Notice("tail_left_out", "assumption", text))
        if self.functions:
            text = f"Each set was replayed with every record, since {', '.join(self.functions)} reads a whole result."
            found.append(Notice("own_metrics", "assumption", text))
        return tuple(found)


def _refuse_carried(space: Space) -> None:
    """Refuse parameters that would undo what a window sets: its span, and the balance that is carried over."""
    names = [str(name) for name in space] if isinstance(space, Mapping) else [parse_axis(text)[0] for text in space]
    refuse_market_axes(names, "A walk forward")
    held = next((name for name in names if name == "account.balance" or name.startswith("collateral")), None)
    if held is not None:
        raise UsageError(
            f"A walk forward cannot vary {held}: each test begins with the equity at which the one before ended.",
            "State it once: --balance.",
        )


def _least_one(name: str, value: int) -> int:
    if value < 1:
        raise UsageError(f"{name} must be at least 1, not {value}.")
    return value
