"""Run from Python: the twin of the command ``backtester run``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backtester.analytics import complete
from backtester.analytics.assumptions import assumption_table
from backtester.analytics.details import with_details
from backtester.arguments import EventRows, call_tree, event_tree, folder_options, from_here, opened_store
from backtester.domain.config import ClearingConfig, RunConfig
from backtester.domain.margin_tiers import MarginTier
from backtester.engine.assume import try_assumptions
from backtester.engine.decisions import find_strategy, references_of
from backtester.engine.folder import (
    REPORT_FILE,
    NameTakenError,
    free_run_id,
    load_result,
    staged_folder,
    write_files,
)
from backtester.engine.loose_frame import FrameLike
from backtester.engine.result import Result
from backtester.engine.run import Progress, Striker, execute_kept, load_run, silent
from backtester.engine.run_file import build_config, merge
from backtester.errors import UsageError
from backtester.market.store import Store
from backtester.research import holdout
from backtester.strategy import Strategy

__all__ = ["load_result", "run", "save"]

DEFAULT_OUT = Path("reports")
_NAMES = 20  # names that a run tries where others take them first


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
    open_holdout: bool = False,
    deleverage: EventRows | None = None,
    clawbacks: EventRows | None = None,
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
    open_holdout : bool
        Look at bars that are sealed in ``out`` (in ``./reports`` without one): the opening is recorded there, and the
        report says so. Else such a run is refused.
    deleverage, clawbacks : Path, str, frame or sequence of mappings, optional
        What the venue does to the account: rows with ``time, symbol, fraction`` and perhaps ``price, side``, and with
        ``time`` and ``rate`` or ``amount``; or a file of them (docs/clearing.md).
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
    tree, instance = call_tree(strategy, config=config, params=params, tiers=tiers, settings=settings, options=options)
    tree = merge(tree, event_tree(deleverage, clawbacks))
    folders = [Path(folder) for folder in strategies]
    runs = DEFAULT_OUT if out is None else Path(out)
    with opened_store(data, tree) as (store, whole_tree, notices):
        whole = build_config(whole_tree)
        sealed, seen = _sealed_bars(whole, store, runs, instance, folders, opens=open_holdout)
        earlier = holdout.earlier_openings(runs, sealed)
        result, replayed = execute_kept(
            whole,
            store,
            strategy=instance,
            folders=folders,
            extra_notices=(*notices, *((holdout.opening_notice(sealed, earlier),) if sealed else ())),
            progress=progress,
            striker=None if whole.clearing is None else _cleared_with(whole.clearing, store),
        )
    kept = replayed if assume else None  # else the replay's arrays are let go before the analysis
    del replayed
    progress("Analysing", None)
    result = complete(result)
    if kept is not None:
        table = assumption_table(result, try_assumptions(kept, result, progress))
        result = replace(result, assumptions=table)
    if sealed:
        result = _opening_recorded(result, runs, sealed, earlier, seen)
    if out is None:
        return result
    return save(result, out, progress, folders=folder_options(data, strategies))


def _cleared_with(config: ClearingConfig, store: Store) -> Striker:
    """Return what replays a run in the market that its venue clears."""
    from backtester.clearing.own_run import striker_of  # noqa: PLC0415 - few runs clear a market

    return striker_of(config, store)


def _sealed_bars(
    config: RunConfig, store: Store, runs: Path, strategy: Strategy | None, folders: Sequence[Path], *, opens: bool
) -> tuple[tuple[holdout.Seal, ...], tuple[str, ...]]:
    """Return the seals that a run opens, and the contracts that it trades or reads.

    A run that may not open the seals that it reaches into is refused.
    """
    if not (runs / holdout.HOLDOUT_FILE).is_file():
        if opens:
            raise UsageError(
                f"There is no holdout to open: nothing is sealed in {runs}.",
                "--holdout of a sweep seals bars; --out names the folder of the runs.",
            )
        return (), ()
    loaded = load_run(config, store)
    panel = loaded.panel
    read = loaded.resolved.config.data.reference
    if strategy is None and config.strategy.signals is None and config.strategy.fills is None:
        strategy, _ = find_strategy(config, folders)
    if strategy is not None:
        read = references_of(loaded.resolved.config, strategy)
    seen = tuple(dict.fromkeys((*panel.traded_symbols, *read)))
    span = (panel.venue, seen, panel.start, panel.end)
    if not opens:
        way = "Or open the seal on the record with --open-holdout; what follows is no longer out of sample."
        holdout.refuse_sealed(runs, *span, what="The run", hint=way)
    return holdout.sealed_within(runs, *span), seen


def _opening_recorded(
    result: Result,
    runs: Path,
    sealed: Sequence[holdout.Seal],
    earlier: Sequence[holdout.Opening],
    seen: tuple[str, ...],
) -> Result:
    """Return a run whose opening of sealed bars stands beside the seal and in its manifest."""
    hashes = result.manifest["hashes"]
    assert isinstance(hashes, Mapping)
    named = free_run_id(runs, result.run_id)
    opening = holdout.Opening(
        time=str(result.manifest["created"]),
        run_id=named,
        strategy=result.strategy_name,
        config=str(hashes["config"]),
        venue=sealed[0].venue,
        symbols=seen,
        span=holdout.Span(result.start, result.end),
    )
    holdout.record_opening(runs, opening)
    told = {"sealed": [str(found) for found in sealed], "opened_before": [before.run_id for before in earlier]}
    return replace(result, run_id=named, manifest={**result.manifest, "holdout": told})


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
    for left in reversed(range(_NAMES)):
        try:
            named = _written(result, folder, progress, folders)
            break
        except NameTakenError:  # the same run, begun in the same second, was faster
            if not left:
                raise
    from backtester.report.shelf_page import refreshed_shelf  # noqa: PLC0415 - only where runs are written

    problem = refreshed_shelf(folder)
    notices = named.notices if problem is None else (*named.notices, problem)
    return replace(named, notices=notices, run_dir=folder / named.run_id)


def _written(result: Result, folder: Path, progress: Progress, folders: Sequence[tuple[str, Path]]) -> Result:
    """Write a run under a free name and return it with that name.

    Raises
    ------
    NameTakenError
        Another process took the name meanwhile.
    """
    run_id = free_run_id(folder, result.run_id)
    named = replace(
        with_details(result),
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
    return named


def _command(out: Path, run_id: str, folders: Sequence[tuple[str, Path]]) -> str:
    """Return the command line that repeats a run, to be called where it was called."""
    options = [("--config", out / run_id / "config.toml"), *folders]
    if out != DEFAULT_OUT:
        options.append(("--out", out))
    return shlex.join(["backtester", "run", *(part for name, path in options for part in (name, from_here(path)))])
