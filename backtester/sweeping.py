"""Sweep from Python: the twin of the command ``backtester sweep``."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from backtester.arguments import call_tree, folder_options, opened_store
from backtester.domain.config import RunConfig
from backtester.domain.margin_tiers import MarginTier
from backtester.engine.folder import free_run_id
from backtester.engine.loose_frame import FrameLike
from backtester.engine.manifest import timestamp, versions
from backtester.engine.result import Notice
from backtester.engine.run_file import build_config, merge
from backtester.errors import BacktesterError, InternalError
from backtester.market.store import Store
from backtester.research.exact_check import exact_check as check_exactly
from backtester.research.job import MEMORY
from backtester.research.plan import SweepPlan, identity, sample_of
from backtester.research.ranking import DEFAULT_METRIC, check_metric
from backtester.research.rows import DONE, joined
from backtester.research.space import SET, Space
from backtester.research.sweep import Meter, SweepProgress, TellSweep, evaluated, share
from backtester.research.sweep_folder import FINISHED, INTERRUPTED, RUNNING, SweepFolder, counted
from backtester.research.sweep_request import Prepared, SweepRequest, prepared
from backtester.strategy import Strategy
from backtester.sweep_result import SweepResult


def no_progress(progress: SweepProgress) -> None:
    """Show no progress."""


class SweepInterrupted(KeyboardInterrupt):
    """A sweep was interrupted; what was done is in its folder.

    Attributes
    ----------
    folder : Path or None
        Of the sweep; None where nothing was done.
    done, total : int
        Sets.
    """

    def __init__(self, folder: Path | None, done: int, total: int) -> None:
        super().__init__()
        self.folder, self.done, self.total = folder, done, total


def sweep(
    strategy: Strategy | RunConfig | str | Path,
    *,
    grid: Mapping[str, str | Sequence[Any]],
    where: str | None = None,
    sample: int | None = None,
    method: str | None = None,
    seed: int = 0,
    data: Store | Path | str | FrameLike = "data",
    config: RunConfig | None = None,
    params: Mapping[str, Any] | None = None,
    tiers: Sequence[MarginTier] | Mapping[str, Sequence[MarginTier]] | None = None,
    settings: Mapping[str, Any] | None = None,
    out: Path | str | None = "reports",
    strategies: Sequence[Path | str] = (),
    holdout: str | None = None,
    resume: Path | str | None = None,
    memory: int = MEMORY,
    workers: int | None = None,
    executor: str = "local",
    address: str | None = None,
    exact_check: int = 0,
    metric: str = DEFAULT_METRIC,
    yes: bool = False,
    progress: TellSweep = no_progress,
    **options: Any,
) -> SweepResult:
    """Evaluate many sets of parameters and settings on one market.

    Parameters
    ----------
    strategy, data, config, params, tiers, settings, strategies
        As in ``backtester.run``; ``params`` and ``settings`` are what all sets have in common.
    grid : mapping
        Values of each parameter (bare name) and key of the run file (dotted): any sequence, or a text as on the command
        line (``"5:200:5"``, both ends included; ``"log:50:2000:40"``; ``"lin:0:1:11"``).
    where : str, optional
        Condition on a set, in SQL: ``"slow > 2 * fast and account.leverage < 5"``.
    sample : int, optional
        Draw so many of the sets, all different.
    method : {"random", "sobol"}, optional
        How they are drawn; random where nothing is said.
    seed : int
        Of the sample, and of the sets that ``exact_check`` chooses.
    out : Path, str or None
        Folder of the runs; None writes nothing.
    holdout : str, optional
        ``"2025-07-01.."`` seals these bars: this sweep ends before them, later ones are refused.
    resume : Path or str, optional
        Folder of an interrupted sweep to go on with.
    memory : int
        Bytes that indicators may take at a time.
    workers : int, optional
        Threads or processes; None: one a core.
    executor : {"local", "processes", "ray"}
        Where sets are evaluated.
    address : str, optional
        Of the Ray cluster.
    exact_check : int
        Replay so many random sets in full and compare every metric to 1e-9.
    metric : str
        By which sets are ranked.
    yes : bool
        Start a sweep of more than a million sets.
    progress : callable
        Called with a ``SweepProgress`` after each part.
    **options
        ``venue, symbols, timeframe, detail, start, end, balance, leverage, margin_mode, position_mode``.

    Returns
    -------
    SweepResult
        ``sets`` is a polars frame with a row a set.

    Raises
    ------
    BacktesterError
        The call, the data or the account are refused, or every set failed.
    SweepInterrupted
        By Ctrl-C; what was done stays in the folder.

    Examples
    --------
    >>> import backtester
    >>> grid = {"fast": range(5, 200, 5), "slow": "log:50:2000:40", "account.leverage": [1, 3]}
    >>> found = backtester.sweep("trend", grid=grid, where="slow > 2 * fast")  # doctest: +SKIP
    >>> found.best("calmar")["fast"]  # doctest: +SKIP
    35
    """
    tree, instance = call_tree(strategy, config=config, params=params, tiers=tiers, settings=settings, options=options)
    if instance is not None:
        set_params = instance.model_dump(exclude_unset=True)
        tree = merge(tree, {"strategy": {"name": instance.name, "params": set_params}})
    opened = ExitStack()
    try:
        store, whole, notices = opened.enter_context(opened_store(data, tree))
        request = SweepRequest(
            config=build_config(whole),
            grid=grid,
            store=store,
            strategy=None if instance is None else type(instance),
            where=where,
            sample=sample_of(sample, method, seed),
            seed=seed,
            holdout=holdout,
            out=None if out is None else Path(out),
            resume=None if resume is None else Path(resume),
            folders=[Path(folder) for folder in strategies],
            options=folder_options(data, strategies),
            memory=memory,
            workers=workers or 0,
            executor=executor,
            address=address,
            exact=exact_check,
            metric=metric,
            asked=yes,
            notices=notices,
        )
        return replace(make_sweep(request, progress), _open=opened)
    except BaseException:
        opened.close()
        raise


def make_sweep(request: SweepRequest, tell: TellSweep = no_progress) -> SweepResult:
    """Make a sweep, or go on with one.

    Raises
    ------
    BacktesterError
        The request, the data or the account are refused, or every set failed.
    SweepInterrupted
        What was done stays in the folder.
    """
    began = time.perf_counter()
    ready = prepared(request)
    job, plan, space = ready.job, ready.plan, ready.space
    job.prepare(space.spread())  # all parts, and those of a later --resume, begin at the same bar
    began += _warmed(request, ready)
    if request.out is None and request.resume is None:
        return _kept_in_memory(request, ready, tell)
    folder, is_new = _folder(request, plan, identity(plan, job), space)
    before = float(folder.manifest().get("seconds", 0.0))

    def finish(state: str) -> dict[str, Any]:
        return folder.finish({"state": state, "seconds": round(before + time.perf_counter() - began, 3)})

    with folder.locked():
        rest, done, failed = _rest(folder, space)
        meter = Meter(space.count, done + failed, failed, tell)
        try:
            for part in evaluated(job, ready.executor, rest, share(space.count, request.processes)):
                _check_metric_once(part, plan, request.metric)
                folder.write_part(part)
                meter.count(part)
        except KeyboardInterrupt:
            with _uninterrupted():
                manifest = finish(INTERRUPTED)
            number = manifest["done"] + manifest["failed"]
            if not number and is_new:
                folder.remove()
                raise SweepInterrupted(None, 0, space.count) from None
            _write_page(folder, plan)
            _renewed_shelf(folder)
            raise SweepInterrupted(folder.path, number, space.count) from None
        except BaseException:
            _leave(folder, finish, is_new=is_new)
            raise
        with _uninterrupted():
            manifest = finish(FINISHED)
    rows = folder.rows()
    assert rows is not None
    result = SweepResult(
        plan, job, rows, request.metric, manifest, ready.notices, folder.path, folder.path.parent, request.options
    )
    _refuse_total_failure(manifest, folder.path)
    check_metric(rows, result.axes, request.metric)
    if request.exact:
        result = _checked(result, request, folder)
    _write_page(folder, plan)
    problem = _renewed_shelf(folder)
    return result if problem is None else replace(result, notices=(*result.notices, problem))


def _warmed(request: SweepRequest, ready: Prepared) -> float:
    """Evaluate a set, so that compiling and loading are no part of the rate; return the seconds that it took.

    Workers of other executors compile for themselves: a set may end one of them, and must not end this process.
    """
    if request.executor != "local":
        return 0.0
    before = time.perf_counter()
    with suppress(MemoryError):  # met again, and told, when the parts are evaluated
        ready.job.evaluate(ready.space.spread().head(1))
    return time.perf_counter() - before


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold off Ctrl-C while what was done is written.

    One press may arrive twice: polars stops a query by itself, and Python hears of the same press afterwards.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:  # the same press
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _checked(result: SweepResult, request: SweepRequest, folder: SweepFolder) -> SweepResult:
    """Replay sets in full and keep what came of it, also where they differ."""
    try:
        found = check_exactly(result.job, result.rows, result.axes, request.exact, request.seed)
    except InternalError as error:
        folder.note({"exact_check": {"failed": error.message}})
        _write_page(folder, result.plan)
        raise
    except KeyboardInterrupt:
        _write_page(folder, result.plan)
        number = result.manifest["done"] + result.manifest["failed"]
        raise SweepInterrupted(folder.path, number, number) from None
    return replace(result, manifest=folder.note({"exact_check": found}))


# -- the folder ------------------------------------------------------------------------------------------------------


def _folder(
    request: SweepRequest, plan: SweepPlan, hashes: Mapping[str, object], space: Space
) -> tuple[SweepFolder, bool]:
    """Return the folder of a sweep, and whether it is new."""
    if request.resume is not None:
        folder = SweepFolder.opened(request.resume)
        folder.refuse_another(hashes, plan.config)
        folder.note({"state": RUNNING})
        return folder, False
    assert request.out is not None
    moment = timestamp()
    name = re.sub(r"[^\w.-]+", "-", plan.config.strategy.name or "sweep")[:60]
    digest = str(hashes["all"])[:8]
    sweep_id = free_run_id(request.out, f"{moment:%Y%m%d-%H%M%S}-sweep-{name}-{digest}")
    manifest = {
        "sweep": sweep_id,
        "state": RUNNING,
        "created": moment.isoformat(),
        "hashes": hashes,
        "versions": versions(),
        "seed": request.seed,
        "sets": space.count,
        "grid": space.grid_size,
        "executor": request.executor,
        "workers": request.worker_count,
        "memory": request.memory,
        "metric": request.metric,
        "folders": {option: str(path.resolve()) for option, path in request.options if option == "--store"}
        | {"--strategies": [str(path.resolve()) for option, path in request.options if option == "--strategies"]},
        "seconds": 0.0,
        "done": 0,
        "failed": 0,
        "paths": {},
        "exact_check": None,
    }
    return SweepFolder.create(request.out, sweep_id, plan.text(), manifest), True


def _rest(folder: SweepFolder, space: Space) -> tuple[Iterable[pl.DataFrame], int, int]:
    """Return the sets that are not done yet, and how many are done and failed."""
    rows = folder.rows()
    missing = folder.missing(space.count)
    if rows is None or missing is None:
        return space.chunks(), 0, 0
    counts = counted(rows)
    left = (chunk.filter(pl.Series(missing[chunk[SET].to_numpy()])) for chunk in space.chunks())
    return (chunk for chunk in left if chunk.height), counts["done"], counts["failed"]


def _check_metric_once(rows: pl.DataFrame, plan: SweepPlan, metric: str) -> None:
    """Refuse a ranking by what is no metric as soon as the first sets are done, not after the last."""
    if (rows["status"] == DONE).any() and not metric.startswith("orders_"):
        check_metric(rows, plan.grid, metric)


def _leave(folder: SweepFolder, finish: Any, *, is_new: bool) -> None:
    """Make the folder of a sweep that cannot go on whole, or remove it where nothing was done."""
    if folder.rows() is None and is_new:
        folder.remove()
        return
    with suppress(BacktesterError):  # what went wrong before is told; the parts stay
        finish(INTERRUPTED)


def _refuse_total_failure(manifest: Mapping[str, Any], folder: Path | None) -> None:
    if manifest["done"] or not manifest["failed"]:
        return
    where = f"Their rows are in {folder}." if folder is not None else ""
    raise BacktesterError(f"All {manifest['failed']:,} sets failed. The first: {manifest['first_error']}", where)


def _write_page(folder: SweepFolder, plan: SweepPlan) -> None:
    """Write the sweep's page from its folder."""
    if not plan.config.report.enabled or not (folder.path / "sets.parquet").is_file():
        return
    from backtester.report.sweep_page import write_sweep_page  # noqa: PLC0415 - plotly takes a while to import

    write_sweep_page(folder.path, folder.report)


def _renewed_shelf(folder: SweepFolder) -> Notice | None:
    """Write the list of runs again; return what to tell where that fails."""
    from backtester.report.shelf_page import refreshed_shelf  # noqa: PLC0415 - only where sweeps are written

    return refreshed_shelf(folder.path.parent)


def _kept_in_memory(request: SweepRequest, ready: Prepared, tell: TellSweep) -> SweepResult:
    """Make a sweep that is not written."""
    job, plan, space = ready.job, ready.plan, ready.space
    began = time.perf_counter()
    meter = Meter(space.count, 0, 0, tell)
    parts = []
    for rows in evaluated(job, ready.executor, space.chunks(), share(space.count, request.processes)):
        _check_metric_once(rows, plan, request.metric)
        parts.append(rows)
        meter.count(rows)
    rows = joined(parts).sort(SET)
    manifest = {"sets": space.count, "hashes": identity(plan, job), "versions": versions(), **counted(rows.lazy())}
    _refuse_total_failure(manifest, None)
    check_metric(rows, plan.grid, request.metric)
    if request.exact:
        manifest["exact_check"] = check_exactly(job, rows.lazy(), list(plan.grid), request.exact, request.seed)
    manifest["seconds"] = round(time.perf_counter() - began, 3)
    return SweepResult(plan, job, rows.lazy(), request.metric, manifest, ready.notices, options=request.options)
