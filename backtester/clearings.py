"""The clearing of a whole market from Python: the twin of the command ``backtester clearing``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backtester.clearing.file import ClearingFile, build_clearing, clearing_tree
from backtester.clearing.study import ClearingStudy, clear_study
from backtester.engine.folder import REPORT_FILE, free_run_id, staged_folder
from backtester.engine.manifest import timestamp
from backtester.engine.run import Progress, silent
from backtester.engine.run_file import Tree, merge
from backtester.errors import UnknownNameError
from backtester.market.store import Store
from backtester.research.clearing_folder import write_study

__all__ = ["DEMO", "ClearingStudy", "clear_market", "clearing_file"]

DEMO: dict[str, Any] = {"shock": {}, "clearing": {"open_interest": 1e9, "accounts": 10_000}}
"""The clearing that `clear_market` does where nothing is given: it needs no data."""
_PLACES = {
    **dict.fromkeys(("venue", "symbols", "timeframe", "start", "end"), "market"),
    **dict.fromkeys(("accounts", "open_interest", "seed"), "clearing"),
}


def clear_market(
    config: ClearingFile | Path | str | None = None,
    *,
    rules: str | Sequence[str] | None = None,
    contracts: str | None = None,
    settings: Mapping[str, Any] | None = None,
    data: Store | Path | str = "data",
    out: Path | str | None = "reports",
    report: bool = True,
    progress: Progress = silent,
    **options: Any,
) -> ClearingStudy:
    """Replay a population of accounts through a market, by the clearing rules of one venue or several.

    Parameters
    ----------
    config : ClearingFile, Path or str, optional
        What to clear, or its file; None: a made-up crash, unless options name a market.
    rules : str or sequence of str, optional
        Rule packs: the first is the study's own, the others are compared with it; ``"all"``: every venue whose
        clearing is known.
    contracts : {"linear", "inverse", "both"}, optional
        Whether the same prices are cleared on coin-margined contracts, too or instead.
    settings : mapping, optional
        Sections of the file, for everything without an argument: ``{"clearing": {"rules": {"fund_start": 1e6}}}``.
    data : Store, Path or str
        Store, or its folder.
    out : Path, str or None
        Folder of all reports; None writes nothing.
    report : bool
        Whether the page is written.
    progress : callable
        Called with what is being done, and how much of it is done.
    **options
        ``venue, symbols, timeframe, start, end, accounts, open_interest, seed``.

    Returns
    -------
    ClearingStudy
        ``summary``, and in ``cases`` a result for each set of rules.

    Raises
    ------
    ConfigError, UnknownNameError, UsageError
        Something that was given cannot be used.
    DataError, AccountError, StoreError
        The market cannot be loaded or cleared, or the folder cannot be written.

    Examples
    --------
    >>> import backtester
    >>> study = backtester.clear_market(rules=["binance", "okx"], accounts=1_000, out=None)
    >>> [case.name for case in study.cases]
    ['binance', 'okx']
    >>> study.summary["conservation_error"] < 1e-9
    True
    """
    file = clearing_file(config, rules=rules, contracts=contracts, settings=settings, options=options)
    store: Store | None = None
    if file.market is not None:
        store = data if isinstance(data, Store) else Store(Path(data))
    study = clear_study(file, store, progress)
    return study if out is None else _written(study, Path(out), progress, report=report)


def clearing_file(
    config: ClearingFile | Path | str | None,
    *,
    rules: str | Sequence[str] | None = None,
    contracts: str | None = None,
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> ClearingFile:
    """Return what the arguments of `clear_market` stand for.

    Raises
    ------
    ConfigError, UnknownNameError, UsageError
        Something that was given cannot be used.
    """
    given: Tree = {}
    for name, value in (options or {}).items():
        if name not in _PLACES:
            raise UnknownNameError("argument", name, [*_PLACES, "rules", "contracts", "settings", "data", "out"])
        if value is not None:
            whole = [value] if name == "symbols" and isinstance(value, str) else value
            given = merge(given, {_PLACES[name]: {name: whole}})
    if config is None:
        tree: Tree = {"clearing": {}} if "market" in given else DEMO
    elif isinstance(config, ClearingFile):
        tree = config.model_dump(exclude_unset=True)
    else:
        tree = clearing_tree(Path(config))
    packs = [rules] if isinstance(rules, str) else list(rules or ())
    if packs:
        given = merge(given, {"clearing": {"venue": packs[0], "compare": packs[1:]}})
    if contracts is not None:
        given["contracts"] = contracts
    return build_clearing(merge(merge(tree, settings or {}), given))


def _written(study: ClearingStudy, out: Path, progress: Progress, *, report: bool) -> ClearingStudy:
    """Return a study with its folder, which appears whole or not at all."""
    from backtester.report.shelf_page import refreshed_shelf  # noqa: PLC0415 - only where folders are written

    first = study.cases[0]
    symbol = first.market.symbols[0].partition("/")[0] if len(first.market.symbols) == 1 else "market"
    run_id = free_run_id(out, f"{timestamp():%Y%m%d-%H%M%S}-clearing-{symbol}-{first.result.rules.name}")
    named = replace(study, run_id=run_id)
    with staged_folder(out, run_id) as folder:
        write_study(named, folder)
        if report:
            from backtester.report.clearing_page import write_clearing_page  # noqa: PLC0415 - plotly

            progress("Writing the report", None)
            write_clearing_page(named, folder / REPORT_FILE)
    problem = refreshed_shelf(out)
    notices = named.notices if problem is None else (*named.notices, problem)
    return replace(named, notices=notices, run_dir=out / run_id)
