"""Run from Python: the twin of the command ``backtester run``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from backtester.analytics import complete
from backtester.analytics.assumptions import assumption_table
from backtester.domain.config import RunConfig
from backtester.domain.margin_tiers import MarginTier
from backtester.engine.assume import try_assumptions
from backtester.engine.folder import REPORT_FILE, free_run_id, load_result, staged_folder, write_files
from backtester.engine.loose_frame import FrameLike, OpenedStore, as_store
from backtester.engine.result import Result
from backtester.engine.run import Progress, execute_kept, silent
from backtester.engine.run_file import Tree, build_config, merge, read_tree
from backtester.errors import UnknownNameError, UsageError
from backtester.market.store import Store
from backtester.strategy import Strategy

__all__ = ["load_result", "run", "save"]

DEFAULT_STORE = Path("data")
DEFAULT_OUT = Path("reports")

# Arguments that stand for a key of the run file.
_SHORT_NAMES = {
    "venue": "data",
    "symbols": "data",
    "timeframe": "data",
    "detail": "data",
    "start": "data",
    "end": "data",
    "balance": "account",
    "leverage": "account",
    "margin_mode": "account",
    "position_mode": "account",
}


def run(
    strategy: Strategy | RunConfig | str | Path,
    *,
    data: Store | Path | str | FrameLike = "data",
    config: RunConfig | None = None,
    params: Mapping[str, Any] | None = None,
    tiers: Sequence[MarginTier] | Mapping[str, Sequence[MarginTier]] | None = None,
    settings: Mapping[str, Any] | None = None,
    out: Path | str | None = "reports",
    strategies: Sequence[Path | str] = (),
    progress: Progress = silent,
    assume: bool = False,
    **options: Any,
) -> Result:
    """Run a strategy over market data, settled as the exchange would.

    Parameters
    ----------
    strategy : Strategy, RunConfig, str or Path
        An instance; a whole configuration; the name of a strategy; or the path of a run file (``.toml``).
    data : Store, Path, str or frame
        The store or its folder, or traded bars as a polars or pandas frame: ``open_time`` (or an index of times),
        ``open, high, low, close``, and where known ``volume`` and ``symbol``. A frame has no mark, no funding and no
        margin tiers: marks are the trades, funding is left out, and ``tiers`` must be given.
    config : RunConfig, optional
        What the arguments below do not say.
    params : mapping, optional
        Parameters of a strategy that is given by name.
    tiers : sequence of MarginTier, or mapping of symbol to such, optional
        Margin tiers in place of the stored ones; a sequence serves every symbol.
    settings : mapping, optional
        Any other key of the run file, by section: ``{"execution": {"slippage_bps": 2}}``.
    out : Path, str or None
        Folder of the runs; None writes nothing.
    strategies : sequence of Path or str
        Folders of strategies, beside ``./strategies``.
    progress : callable
        Called with each phase and, where known, the fraction done.
    assume : bool
        Replay the run under other assumptions too: ``result.assumptions`` has a row for each.
    **options
        ``venue, symbols, timeframe, detail, start, end, balance, leverage, margin_mode, position_mode``.

    Returns
    -------
    Result
        Its frames are polars frames; a notebook shows its key figures.

    Examples
    --------
    >>> import backtester
    >>> result = backtester.run("trend", start="2025-01-01", leverage=3)  # doctest: +SKIP
    >>> result.summary["sharpe"]  # doctest: +SKIP
    0.71
    """
    if isinstance(config, Mapping):
        raise UsageError(
            "config is a RunConfig; sections in a dictionary are given as settings.",
            'Example: run("trend", settings={"execution": {"slippage_bps": 2}}).',
        )
    tree, instance = _tree(strategy, config)
    for change in (_options(options, tiers), dict(settings or {}), _params(params, instance)):
        tree = merge(tree, change)
    folders = [Path(folder) for folder in strategies]
    with _opened(data, tree) as (store, whole_tree, notices):
        result, replayed = execute_kept(
            build_config(whole_tree),
            store,
            strategy=instance,
            folders=folders,
            extra_notices=notices,
            progress=progress,
        )
    kept = replayed if assume else None  # else the replay's arrays are let go before the analysis
    del replayed
    progress("Analysing", None)
    result = complete(result)
    if kept is not None:
        table = assumption_table(result, try_assumptions(kept, result, progress))
        result = replace(result, assumptions=table)
    if out is None:
        return result
    return save(result, out, progress, folders=_folders(data, strategies))


def save(
    result: Result,
    out: Path | str,
    progress: Progress = silent,
    *,
    folders: Sequence[tuple[str, Path]] = (),
) -> Result:
    """Write a run's folder and its page.

    Parameters
    ----------
    result : Result
        A run with its summary.
    out : Path or str
        Folder of all runs.
    progress : callable
        Called with each phase.
    folders : sequence of tuple of str and Path
        Options of the command that repeats the run: where its data and strategies lie.

    Returns
    -------
    Result
        With ``run_dir``.
    """
    folder = Path(out)
    run_id = free_run_id(folder, result.run_id)
    named = replace(
        result,
        run_id=run_id,
        summary={**result.summary, "run_id": run_id},
        manifest={**result.manifest, "command": _command(folder, run_id, folders)},
    )
    with staged_folder(folder, named.run_id) as stage:
        progress("Writing the run's folder", None)
        write_files(named, stage)
        if named.config.report.enabled:
            from backtester.report.page import write_page  # noqa: PLC0415 - plotly takes a while to import

            progress("Writing the report", None)
            write_page(named, stage / REPORT_FILE)
    return replace(named, run_dir=folder / named.run_id)


def _folders(data: Store | Path | str | FrameLike, strategies: Sequence[Path | str]) -> list[tuple[str, Path]]:
    """Return the folders of a run that are not the defaults, each with its option; a frame has none."""
    root = data.root if isinstance(data, Store) else Path(data) if isinstance(data, str | Path) else DEFAULT_STORE
    store = [] if root == DEFAULT_STORE else [("--store", root)]
    return [*store, *(("--strategies", Path(folder)) for folder in strategies)]


def _command(out: Path, run_id: str, folders: Sequence[tuple[str, Path]]) -> str:
    """Return the command line that repeats a run, to be called where it was called."""
    options = [("--config", out / run_id / "config.toml"), *folders]
    if out != DEFAULT_OUT:
        options.append(("--out", out))
    return shlex.join(["backtester", "run", *(part for name, path in options for part in (name, _from_here(path)))])


def _from_here(path: Path) -> str:
    """Return a path relative to the current folder where it lies below it, else absolute."""
    here, whole = Path.cwd(), Path(os.path.abspath(path))  # noqa: PTH100 - links are kept as they were written
    return (whole.relative_to(here) if whole.is_relative_to(here) else whole).as_posix()


def _opened(data: Store | Path | str | FrameLike, tree: Tree) -> AbstractContextManager[OpenedStore]:
    """Return the store of a run, its configuration and what was assumed, for the time of the run."""
    if isinstance(data, Store | str | Path):
        return nullcontext((data if isinstance(data, Store) else _settled(Path(data)), tree, ()))
    return as_store(data, tree)


def _tree(strategy: Strategy | RunConfig | str | Path, config: RunConfig | None) -> tuple[Tree, Strategy | None]:
    """Return the configuration as it was given, and the strategy where an instance was given."""
    base = config.model_dump(exclude_unset=True) if config is not None else {}
    if isinstance(strategy, RunConfig):
        return merge(base, strategy.model_dump(exclude_unset=True)), None
    if isinstance(strategy, Strategy):
        return base, strategy
    if not isinstance(strategy, str | Path):
        raise UsageError(
            f"run() takes a strategy, its name, a configuration or a run file, not {type(strategy).__name__}.",
            "A strategy is given as an instance: run(Trend(fast=12)).",
        )
    if str(strategy).endswith(".toml"):
        return merge(base, read_tree(Path(strategy))), None
    return merge(base, {"strategy": {"name": str(strategy)}}), None


def _options(
    options: Mapping[str, Any], tiers: Sequence[MarginTier] | Mapping[str, Sequence[MarginTier]] | None
) -> Tree:
    """Return keyword arguments as a tree of the run file."""
    tree: Tree = {}
    for name, value in options.items():
        if name in RunConfig.model_fields:
            raise UnknownNameError(
                "argument", name, (), hint=f"Sections of the run file are given as settings={{{name!r}: {{…}}}}."
            )
        if name not in _SHORT_NAMES:
            raise UnknownNameError("argument", name, [*_SHORT_NAMES, "settings", "params", "tiers", "data", "out"])
        if value is not None:
            given = (value,) if name == "symbols" and isinstance(value, str) else value
            tree = merge(tree, {_SHORT_NAMES[name]: {name: given}})
    if tiers is not None:
        by_symbol = tiers if isinstance(tiers, Mapping) else {"*": tiers}
        tree["tiers"] = {symbol: [tier.model_dump() for tier in table] for symbol, table in by_symbol.items()}
    return tree


def _params(params: Mapping[str, Any] | None, strategy: Strategy | None) -> Tree:
    """Return parameters as a tree of the run file."""
    if params and strategy is not None:
        raise UsageError("params go with a strategy's name.", "Set them on the instance: run(Trend(fast=12)).")
    return {"strategy": {"params": dict(params)}} if params else {}


def _settled(folder: Path) -> Store:
    """Return a store of which what interrupted downloads left is in."""
    store = Store(folder)
    store.recover()
    return store
