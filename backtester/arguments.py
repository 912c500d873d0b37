"""What the arguments of a call from Python stand for: a configuration, a store, options of the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

from backtester.domain.config import RunConfig
from backtester.domain.margin_tiers import MarginTier
from backtester.engine.loose_frame import FrameLike, OpenedStore, as_store
from backtester.engine.run_file import Tree, merge, read_tree
from backtester.errors import UnknownNameError, UsageError
from backtester.market.store import Store
from backtester.strategy import Strategy

EventRows: TypeAlias = "Path | str | pl.DataFrame | Sequence[Mapping[str, Any]]"

DEFAULT_STORE = Path("data")
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


def opened_store(data: Store | Path | str | FrameLike, tree: Tree) -> AbstractContextManager[OpenedStore]:
    """Return the store of a run, its configuration and what was assumed, for the time of the run."""
    if isinstance(data, Store | str | Path):
        return nullcontext((data if isinstance(data, Store) else _settled(Path(data)), tree, ()))
    return as_store(data, tree)


def call_tree(
    strategy: Strategy | RunConfig | str | Path,
    *,
    config: RunConfig | None,
    params: Mapping[str, Any] | None,
    tiers: Sequence[MarginTier] | Mapping[str, Sequence[MarginTier]] | None,
    settings: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> tuple[Tree, Strategy | None]:
    """Return the configuration of a call, not yet checked, and the strategy where an instance was given.

    The arguments are those of ``backtester.run``; what stands further behind wins.
    """
    tree, instance = strategy_tree(strategy, config)
    for change in (option_tree(options, tiers), dict(settings or {}), params_tree(params, instance)):
        tree = merge(tree, change)
    return tree, instance


def strategy_tree(
    strategy: Strategy | RunConfig | str | Path, config: RunConfig | None
) -> tuple[Tree, Strategy | None]:
    """Return the configuration as it was given, and the strategy where an instance was given."""
    if isinstance(config, Mapping):
        raise UsageError(
            "config is a RunConfig; sections in a dictionary are given as settings.",
            'Example: run("trend", settings={"execution": {"slippage_bps": 2}}).',
        )
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


def option_tree(
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


def event_tree(deleverage: EventRows | None, clawbacks: EventRows | None) -> Tree:
    """Return what the venue does, as files, frames or rows, as a tree of the run file."""
    tree: Tree = {}
    for name, given in (("deleverage", deleverage), ("clawback", clawbacks)):
        if given is None:
            continue
        if isinstance(given, str | Path):
            tree |= {name: [], f"{name}_file": str(given)}
        else:
            rows = given.iter_rows(named=True) if isinstance(given, pl.DataFrame) else given
            tree |= {name: [{key: v for key, v in row.items() if v is not None} for row in rows]}
    return {"venue_events": tree} if tree else {}


def params_tree(params: Mapping[str, Any] | None, strategy: Strategy | None) -> Tree:
    """Return parameters as a tree of the run file."""
    if params and strategy is not None:
        raise UsageError("params go with a strategy's name.", "Set them on the instance: run(Trend(fast=12)).")
    return {"strategy": {"params": dict(params)}} if params else {}


def _settled(folder: Path) -> Store:
    """Return a store of which what interrupted downloads left is in."""
    store = Store(folder)
    store.recover()
    return store


def folder_options(data: Store | Path | str | FrameLike, strategies: Sequence[Path | str]) -> list[tuple[str, Path]]:
    """Return the folders of a run that are not the defaults, each with its option; a frame has none."""
    root = data.root if isinstance(data, Store) else Path(data) if isinstance(data, str | Path) else DEFAULT_STORE
    store = [] if root == DEFAULT_STORE else [("--store", root)]
    return [*store, *(("--strategies", Path(folder)) for folder in strategies)]


def from_here(path: Path) -> str:
    """Return a path relative to the current folder where it lies below it, else absolute."""
    here, whole = Path.cwd(), Path(os.path.abspath(path))  # noqa: PTH100 - links are kept as they were written
    return (whole.relative_to(here) if whole.is_relative_to(here) else whole).as_posix()
