"""Optimise from Python: the twin of the command ``backtester optimize``."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backtester.domain.config import RunConfig
from backtester.domain.margin_tiers import MarginTier
from backtester.engine.folder import REPORT_FILE
from backtester.engine.loose_frame import FrameLike
from backtester.engine.manifest import timestamp, versions
from backtester.engine.result import Notice
from backtester.engine.run import Progress, silent
from backtester.errors import StoreError, StrategyError, UsageError
from backtester.market.atomic import writer_lock
from backtester.market.series import SYNTHETIC_VENUE
from backtester.market.store import Store
from backtester.research.constraint import parse_constraints
from backtester.research.dimension import fitted, parse_dimensions
from backtester.research.evaluation import refuse_column_names, refuse_market_axes
from backtester.research.holdout import refuse_sealed
from backtester.research.importance import importances
from backtester.research.interrupts import await_second
from backtester.research.job import Job
from backtester.research.metrics import OwnMetric, OwnMetrics, odd_directions, own_metrics, parse_objectives
from backtester.research.optimize import Optimization, Plan, window_jobs
from backtester.research.optimize_result import (
    BEST_FILE,
    PLAN_FILE,
    SECTION,
    OptimizeResult,
    fixed_config,
    job_hashes,
    known_names,
    plan_of,
    plan_tree,
    write_plan,
    write_result,
)
from backtester.research.plan import differences, symbols_seen
from backtester.research.search_folder import MANIFEST, find_folder, new_folder, read_json, read_search, write_json
from backtester.research.study import STUDY_FILE, check_sampler, default_batch, opened_study
from backtester.research.trials import COLUMNS, COMPLETE
from backtester.search_arguments import DEFAULT_OUT, AnyStrategy, OpenRun, opened_run, run_command

__all__ = ["OptimizeResult", "optimize"]

Space = Mapping[str, Any] | Iterable[str]
_WRITE_EVERY = 30.0  # seconds between two writings of the manifest while trials are done


@dataclass(frozen=True)
class _Wanted:
    """What a call asks for; None: not said."""

    space: Space | None
    objective: str | Sequence[str] | None
    trials: int | None
    constraints: Sequence[str]
    sampler: str | None
    batch: int | None
    windows: int | None
    prune: bool
    seed: int | None


def optimize(
    strategy: AnyStrategy | None = None,
    grid: Space | None = None,
    *,
    objective: str | Sequence[str] | None = None,
    trials: int | None = None,
    constraints: str | Sequence[str] = (),
    sampler: str | None = None,
    batch: int | None = None,
    windows: int | None = None,
    prune: bool = False,
    seed: int | None = None,
    metrics: Mapping[str, OwnMetric] | None = None,
    resume: str | Path | None = None,
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
) -> OptimizeResult:
    """Look for the parameters with which a metric is best.

    Parameters
    ----------
    strategy : Strategy, its class, RunConfig, str or Path, optional
        As in `run`; may be left out with ``resume``.
    grid : mapping or sequence of str
        Where each parameter is looked for: ``{"fast": "5:200:5", "slow": "log:50:2000", "exposure": "0.5:2.0"}``: a
        range (with a step), a logarithmic range or a list of values. A name with a dot is a key of the run file.
    objective : str or sequence of str
        One metric or several (``"sharpe,max_drawdown"``), each better in its own direction; ``max:`` or ``min:``
        before a name says another. Default: sharpe.
    trials : int
        Trials in all, those that were done before a ``resume`` included. Default: 100.
    constraints : str or sequence of str
        SQL conditions over metrics and parameters: ``"liquidations == 0"``.
    sampler : {"tpe", "cmaes", "nsga2", "random", "sobol"}
        Default: tpe, for several objectives nsga2.
    batch : int
        Trials that are asked for and evaluated together.
    windows : int
        Parts of the span in which the objective is told one after the other before the whole.
    prune : bool
        Give up sets that fall behind the median in the windows.
    seed : int
        Of the sampler; default: drawn, and written to the manifest.
    metrics : mapping, optional
        Own metrics by name, each a function of a `Result`; with them sets are replayed with every record.
    resume : str or Path, optional
        Name or folder of a study that is gone on with.
    data, config, params, tiers, settings, out, strategies, progress, **options
        As in `run`. With ``out=None`` nothing is written and nothing can be resumed.
    report : bool
        Write the page.

    Returns
    -------
    OptimizeResult
        After an interruption (Ctrl-C) with what is done.

    Raises
    ------
    UsageError
        The space, the objectives, the constraints or the sampler are refused, or another study is resumed.
    StrategyError
        No set has a value of the objectives.

    Examples
    --------
    >>> import backtester
    >>> found = backtester.optimize("trend", {"fast": "5:60:5", "slow": "80:400:20"}, trials=40)  # doctest: +SKIP
    >>> found.best  # doctest: +SKIP
    {'fast': 35, 'slow': 240}
    """
    conditions = [constraints] if isinstance(constraints, str) else list(constraints)
    wanted = _Wanted(grid, objective, trials, conditions, sampler, batch, windows, prune, seed)
    own = own_metrics(metrics)
    root = None if out is None else Path(out)
    folder: Path | None = None
    if resume is not None:
        if config or params or tiers or settings or options:
            raise UsageError("A study that is resumed has its run from its own folder.", "Leave the run's options out.")
        folder = find_folder(root or Path("reports"), str(resume), PLAN_FILE, "optimisation")
        tree, config = read_search(folder / PLAN_FILE, SECTION)
        plan = _same_plan(plan_of(tree, own), wanted, own, folder)
        source: Any = _same_strategy(strategy, str(tree["strategy"]), folder)
    elif strategy is None:
        raise UsageError(
            "No strategy is named.", "Example: optimize('trend', {'fast': '5:60:5', 'slow': '80:400:20'})."
        )
    else:
        plan, source = _new_plan(wanted, own), strategy
    given = {"config": config, "params": params, "tiers": tiers, "settings": settings, "options": options}
    with opened_run(source, data, given, strategies) as run:
        progress("Loading the market data", None)
        search = _Search(run, plan, own, folder=folder, root=root)
        return search.run(progress, report=report)


class _Search:
    """One call: the study with its folder."""

    def __init__(
        self,
        run: OpenRun,
        plan: Plan,
        own: OwnMetrics,
        *,
        folder: Path | None,
        root: Path | None,
    ) -> None:
        self.asked, self.plan, self.own = run, plan, own
        self.folder, self.root = folder, root
        refuse_market_axes(plan.names, "An optimisation")
        self.job = run.job(run.config)
        _refuse(self.job, plan)
        self.plan = plan = replace(plan, dimensions=fitted(plan.dimensions, self.job.strategy))
        panel = self.job.base.panel
        sealed_in = DEFAULT_OUT if root is None else root
        refuse_sealed(sealed_in, panel.venue, symbols_seen(self.job), panel.start, panel.end, what="The optimisation")
        self.windows = window_jobs(self.job, plan.windows, run.job) if plan.windows > 1 else []
        self.config, self.hashes = fixed_config(self.job), job_hashes(self.job)
        self.created = str(timestamp())
        self.seconds = 0.0

    def run(self, progress: Progress, *, report: bool) -> OptimizeResult:
        """Search, write and return what was found."""
        if self.folder is not None:
            self._check_before(self.folder)
        elif self.root is not None:
            self.folder = new_folder(self.root, "optimize", self.job.strategy.name)
        with _locked(self.folder):
            if self.folder is not None:
                write_plan(self.folder, self.plan, self.config)
                write_json(self.folder / MANIFEST, self._manifest("running", 0))
            result = self._searched(progress)
            if self.folder is not None:
                write_result(result, self.folder)
                if report:
                    from backtester.report.optimize_page import write_optimize_page  # noqa: PLC0415 - plotly is slow

                    progress("Writing the report", None)
                    write_optimize_page(result, self.folder / REPORT_FILE)
        if self.folder is not None:
            from backtester.report.shelf_page import refreshed_shelf  # noqa: PLC0415 - only where studies are written

            problem = refreshed_shelf(self.folder.parent)
            result = result if problem is None else replace(result, notices=(*result.notices, problem))
        _refuse_nothing(result)
        return result

    def _searched(self, progress: Progress) -> OptimizeResult:
        """Run the study, as far as it is let."""
        begun, interrupted = time.monotonic(), False
        told: tuple[Notice, ...] = ()
        path = None if self.folder is None else self.folder / STUDY_FILE
        read = {name for one in self.plan.constraints for name in one.names}
        constrained = {name: function for name, function in self.own.functions.items() if name in read}
        with opened_study(path, self.plan.objectives, prune=self.plan.prune) as study:
            search = Optimization(self.job, self.plan, study, self.windows, constrained)
            written = begun

            def note() -> None:
                nonlocal written
                if self.folder is not None and time.monotonic() - written > _WRITE_EVERY:
                    written = time.monotonic()
                    write_json(self.folder / MANIFEST, self._manifest("running", search.frame().height))

            try:
                told = search.run(progress, note)
            except KeyboardInterrupt:
                interrupted = True
                try:  # noqa: SIM105 - the second one would be raised on the way into suppress()
                    await_second()
                except KeyboardInterrupt:
                    pass
            trials = search.frame()
        self.seconds += time.monotonic() - begun
        names = self.plan.names
        told = (*told, *self._own_notices(constrained), *odd_directions(self.plan.objectives), *self._sampler_notices())
        status = "interrupted" if interrupted else "finished"
        result = OptimizeResult(
            run_id="" if self.folder is None else self.folder.name,
            config=self.config,
            strategy_name=self.job.strategy.name,
            plan=self.plan,
            trials=trials,
            importance=importances(trials, self.plan.dimensions, self.plan.objectives) if names else trials,
            notices=(*self.asked.notices, *self.own.notices, *self.job.base.told, *told),
            symbols=self.job.base.panel.traded_symbols,
            span=(self.job.base.panel.start, self.job.base.panel.end),
            synthetic=self.job.base.resolved.venue == SYNTHETIC_VENUE,
            settle=self.job.base.resolved.settle,
            interrupted=interrupted,
            manifest=self._manifest(status, trials.height),
            run_dir=self.folder,
        )
        if not result.best or self.folder is None or self.asked.folders is None:
            return result
        out = self.root or DEFAULT_OUT
        return replace(result, command=run_command(self.folder / BEST_FILE, self.asked.folders, out))

    def _check_before(self, folder: Path) -> None:
        """Refuse a study whose trials cannot be compared with new ones."""
        before = read_json(folder / MANIFEST)
        if not before and not (folder / STUDY_FILE).is_file():
            return  # ended before its first trial
        self.created = before.get("created", self.created)
        self.seconds = float(before.get("seconds", 0.0))
        hashes = before.get("hashes", {})
        if hashes.get("strategy") != self.hashes["strategy"]:
            raise UsageError(
                f"The source of strategy {self.job.strategy.name!r} has changed since the study {folder.name} began.",
                "Its trials cannot be compared with new ones: begin a new study.",
            )
        differing = differences(hashes, self.hashes)
        if differing:
            stored, now = hashes.get("data"), self.hashes["data"]
            keys = sorted({*stored, *now}) if isinstance(stored, dict) else []
            moved = [key for key in keys if stored.get(key) != now.get(key)]
            shown = f" ({', '.join(moved[:3])}{', …' if len(moved) > 3 else ''})" if moved else ""
            verb = "differs" if len(differing) == 1 else "differ"
            raise UsageError(
                f"The study {folder.name} began with other inputs: {' and '.join(differing)}{shown} {verb} now, so its "
                "trials cannot be compared with new ones.",
                "Make it the same again, or begin a new study.",
            )

    def _own_notices(self, constrained: Mapping[str, OwnMetric]) -> tuple[Notice, ...]:
        names = list(dict.fromkeys((*self.plan.own, *constrained)))
        if not names:
            return ()
        text = f"Each set was replayed with every record, since {', '.join(names)} reads a whole result."
        return (Notice("own_metrics", "assumption", text),)

    def _sampler_notices(self) -> tuple[Notice, ...]:
        if self.plan.sampler != "cmaes" or not self.plan.constraints:
            return ()
        text = "CMA-ES knows no constraints: sets that break one take no part in its generations."
        return (Notice("cmaes_constraints", "assumption", text),)

    def _manifest(self, status: str, trials: int) -> dict[str, Any]:
        return {
            "kind": "optimize",
            "status": status,
            "created": self.created,
            "trials": trials,
            "seconds": round(self.seconds, 3),
            "seed": self.plan.seed,
            "hashes": self.hashes,
            "versions": versions(),
        }


def _new_plan(wanted: _Wanted, own: OwnMetrics) -> Plan:
    """Return the plan of a new study."""
    dimensions = parse_dimensions(wanted.space if wanted.space is not None else ())
    objectives = parse_objectives(wanted.objective if wanted.objective is not None else "sharpe", own)
    sampler = wanted.sampler or ("nsga2" if len(objectives) > 1 else "tpe")
    check_sampler(sampler, dimensions, objectives)
    windows = 1 if wanted.windows is None else wanted.windows
    for name, value, least in (("trials", wanted.trials, 1), ("batch", wanted.batch, 1), ("windows", windows, 1)):
        if value is not None and value < least:
            raise UsageError(f"{name} must be at least {least}, not {value}.")
    if wanted.prune and windows < 2:
        raise UsageError("Pruning needs time windows.", "Give --windows 4, or leave out --prune.")
    if windows > 1 and len(objectives) > 1:
        raise UsageError(
            f"Time windows tell one objective, and {len(objectives)} are named.", "Name one, or leave out --windows."
        )
    names = [one.name for one in dimensions]
    return Plan(
        dimensions=dimensions,
        objectives=objectives,
        constraints=parse_constraints(wanted.constraints, known_names(names, own)),
        trials=100 if wanted.trials is None else wanted.trials,
        sampler=sampler,
        batch=wanted.batch or default_batch(sampler, dimensions),
        seed=secrets.randbelow(1 << 31) if wanted.seed is None else wanted.seed,
        windows=windows,
        prune=wanted.prune,
    )


def _same_plan(plan: Plan, wanted: _Wanted, own: OwnMetrics, folder: Path) -> Plan:
    """Return the plan of a study that is resumed, refusing what the call says otherwise; trials may be more."""
    before = plan_tree(plan, "")
    said: dict[str, Any] = {
        "space": None if wanted.space is None else {d.name: d.text for d in parse_dimensions(wanted.space)},
        "objectives": None
        if wanted.objective is None
        else [one.spelled for one in parse_objectives(wanted.objective, own)],
        "constraints": list(wanted.constraints) or None,
        "sampler": wanted.sampler,
        "batch": wanted.batch,
        "windows": wanted.windows,
        "prune": wanted.prune or None,
        "seed": wanted.seed,
    }
    if said["space"] == {}:
        said["space"] = None
    for name, value in said.items():
        if value is not None and value != before[name]:
            raise UsageError(
                f"{folder.name} is another study: {name} is {_said(before[name])} there, not {_said(value)}.",
                "Leave the option out to go on with it, or begin a new study.",
            )
    return plan if wanted.trials is None else replace(plan, trials=max(1, wanted.trials))


def _said(value: Any) -> str:
    """Return a setting as a sentence has it."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={text}" for name, text in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)


def _same_strategy(given: Any, name: str, folder: Path) -> Any:
    """Return what to run in a study that is resumed."""
    if given is None:
        return name
    said = given if isinstance(given, str) else getattr(given, "name", None)
    if said != name:
        raise UsageError(
            f"{folder.name} is a study of the strategy {name!r}, not of {said!r}.", "Leave the strategy out."
        )
    return given


def _refuse(job: Job, plan: Plan) -> None:
    """Refuse parameters that do not exist or that would hide a column of the result."""
    job.check(plan.names)
    refuse_column_names(plan.names, {*COLUMNS, *(f"window_{i + 1}" for i in range(plan.windows)), *plan.own})


def _refuse_nothing(result: OptimizeResult) -> None:
    """Refuse a study that was let to its end in which no trial has a value."""
    trials, names = result.trials, ", ".join(one.metric for one in result.plan.objectives)
    if result.interrupted or trials.is_empty() or (trials["state"] == COMPLETE).any():
        return
    reasons = trials["error"].drop_nulls().value_counts(sort=True)
    raise StrategyError(
        f"None of the {trials.height} trials has a value of {names}. The most frequent reason, "
        f"{reasons['count'][0]} times: {reasons['error'][0]}",
        "Look at the strategy with `backtester run`, or choose another objective."
        + (f" All trials are in {result.run_dir}." if result.run_dir is not None else ""),
    )


@contextmanager
def _locked(folder: Path | None) -> Iterator[None]:
    """Hold a study against a second process."""
    with ExitStack() as stack:
        if folder is not None:
            try:
                stack.enter_context(writer_lock(folder, folder.name, 0.0))
            except StoreError as error:
                problem = f"Another process is at work on the study {folder}."
                raise StoreError(problem, "Wait until it has ended.") from error
        yield
