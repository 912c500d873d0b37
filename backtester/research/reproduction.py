"""A stored run made again from its own folder, and what differs."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from backtester.analytics import complete
from backtester.analytics.assumptions import assumption_table
from backtester.analytics.details import with_details
from backtester.engine.assume import try_assumptions
from backtester.engine.folder import load_result
from backtester.engine.manifest import sha256
from backtester.engine.result import FRAMES, Result
from backtester.engine.run import Progress, Striker, execute_kept, silent
from backtester.errors import StrategyError, UsageError
from backtester.market.store import Store
from backtester.strategy import Strategy, registry

_DEFAULT_STORE = Path("data")
_COMPARED = (*FRAMES, "bars", "assumptions")
_COPY = "strategy.py"
_OF_NOTICES = ("warnings", "assumptions", "data_warnings")


@dataclass(frozen=True)
class FrameDifference:
    """How a table differs.

    Attributes
    ----------
    table : str
        Its name.
    what : str
        In words: other columns, another number of rows, or how many rows differ.
    row : int or None
        The first row that differs, from 0; None where columns or types do.
    column : str or None
        The first column that differs in it.
    stored, now : object
        What stands there.
    rows : int
        Rows that differ, those that only one of the two has among them.
    """

    table: str
    what: str
    row: int | None = None
    column: str | None = None
    stored: Any = None
    now: Any = None
    rows: int = 0


@dataclass(frozen=True, eq=False)
class Reproduction:
    """What came of running a stored run again.

    Attributes
    ----------
    stored, again : Result
        The run of the folder, and the one that was made from it.
    frames : tuple of FrameDifference
        Tables that differ.
    metrics : dict of str to tuple
        Metrics that differ: stored, now.
    notices : dict of str to list of str
        Warnings that only one of the two has: ``stored``, ``now``. What was chosen when the run was made is chosen no
        more, so assumptions are not compared.
    causes : tuple of str
        What else is not as it was, in words: data, configuration, versions. The results may be equal for all that.
    """

    stored: Result
    again: Result
    frames: tuple[FrameDifference, ...]
    metrics: dict[str, tuple[Any, Any]]
    notices: dict[str, list[str]] = field(default_factory=dict)
    causes: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether every table and every metric is the same to the last bit."""
        return not self.frames and not self.metrics


def reproduce(folder: Path | str, store: Store | Path | str | None = None, progress: Progress = silent) -> Reproduction:
    """Run a stored run again, with its configuration and its copy of the strategy, and compare.

    Parameters
    ----------
    folder : Path or str
        The run's folder.
    store : Store, Path or str, optional
        Market data; by default where the run says that they lay, else ``./data``.
    progress : callable
        Called with each phase.

    Returns
    -------
    Reproduction
        What differs.

    Raises
    ------
    BacktesterError
        The folder cannot be read, the copy cannot be imported, or the data refuse the run.
    """
    path = Path(folder)
    stored = load_result(path)
    opened = store if isinstance(store, Store) else Store(Path(store) if store is not None else recorded_store(stored))
    if not opened.root.is_dir():
        raise UsageError(f"There is no store {opened.root}.", "Name the folder of the market data with --store.")
    strategy = strategy_of_copy(path, stored)
    striker: Striker | None = None
    if stored.config.clearing is not None:
        from backtester.clearing.own_run import striker_of  # noqa: PLC0415 - few runs clear a market

        striker = striker_of(stored.config.clearing, opened)
    made, replayed = execute_kept(stored.config, opened, strategy=strategy, progress=progress, striker=striker)
    again = complete(made)
    again = with_details(again) if stored.details else again
    if stored.assumptions.height:
        again = replace(again, assumptions=assumption_table(again, try_assumptions(replayed, again, progress)))
    told = {which: _only(one, other) for which, one, other in (("stored", stored, again), ("now", again, stored))}
    return Reproduction(
        stored=stored,
        again=again,
        frames=tuple(_frame_differences(stored, again)),
        metrics=_metric_differences(stored, again),
        notices={which: texts for which, texts in told.items() if texts},
        causes=tuple(_causes(path, stored, again)),
    )


def recorded_store(stored: Result) -> Path:
    """Return where the market data of a run lay, as its command says."""
    command = stored.manifest.get("command")
    words = shlex.split(command) if isinstance(command, str) else []
    return Path(words[words.index("--store") + 1]) if "--store" in words[:-1] else _DEFAULT_STORE


def strategy_of_copy(folder: Path, stored: Result) -> Strategy | None:
    """Return the strategy of a run's folder with its parameters; None where signals or trades were run.

    Raises
    ------
    StrategyError
        The copy cannot be imported or does not define the strategy.
    """
    config = stored.config.strategy
    if config.name is None:
        return None
    try:
        found = registry.load_file(folder / _COPY)
    except StrategyError as error:
        raise StrategyError(
            f"The copy of the strategy cannot be run. {error.message}",
            f"{error.hint}\nA copy holds one file: what it imports from beside it, or from a notebook, is not in "
            f"{folder / _COPY}. Run it from its own folder: backtester run --config {folder / 'config.toml'}".lstrip(),
        ) from error
    for strategy in found:
        if strategy.name == config.name:
            return strategy(**config.params)
    names = ", ".join(strategy.name for strategy in found)
    raise StrategyError(f"{folder / _COPY} does not define {config.name!r}.", f"It defines {names}.")


def _only(one: Result, other: Result) -> list[str]:
    """Return warnings that the other result does not have."""
    return [notice.text for notice in one.notices if notice.severity != "assumption" and notice not in other.notices]


def _metric_differences(stored: Result, again: Result) -> dict[str, tuple[Any, Any]]:
    """Return the metrics that differ, those of the details by their dotted names."""
    before, now = _metrics(stored), _metrics(again)
    return {
        key: (before.get(key), now.get(key))
        for key in dict.fromkeys((*before, *now))
        if key not in before or key not in now or not _same(before[key], now[key])
    }


def _metrics(result: Result) -> dict[str, Any]:
    left_out = {"run_id", *_OF_NOTICES, *result.counts}
    values = {key: value for key, value in result.summary.items() if key not in left_out}
    values |= {f"counts.{key}": value for key, value in result.counts.items()}
    return values | {f"details.{name}.{key}": v for name, inner in result.details.items() for key, v in inner.items()}


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are one, as they come back from a file: what is not finite is None there."""
    plain = [None if isinstance(v, float) and not math.isfinite(v) else v for v in (one, other)]
    return bool(plain[0] == plain[1])


def _frame_differences(stored: Result, again: Result) -> Iterator[FrameDifference]:
    for name in _COMPARED:
        found = frame_difference(name, getattr(stored, name), getattr(again, name))
        if found is not None:
            yield found


def frame_difference(table: str, stored: pl.DataFrame, now: pl.DataFrame) -> FrameDifference | None:
    """Return how a table differs from another, None where they are the same to the last bit.

    Parameters
    ----------
    table : str
        Its name.
    stored, now : polars.DataFrame
        The tables; null is the same as null and NaN as NaN.
    """
    if stored.schema != now.schema:
        if not stored.width and not now.width:
            return None
        return FrameDifference(table, _schema_words(stored, now))
    height = min(stored.height, now.height)
    one, other = stored.head(height), now.head(height)
    differs = pl.DataFrame([(one[name].ne_missing(other[name])).alias(name) for name in stored.columns])
    rows = differs.select(pl.any_horizontal(pl.all()).alias("any"))["any"] if height and differs.width else pl.Series()
    count = int(rows.sum() or 0) + abs(stored.height - now.height)
    if not count:
        return None
    words = f"{count:,} of {max(stored.height, now.height):,} rows differ"
    if stored.height != now.height:
        words = f"{stored.height:,} rows were stored, {now.height:,} are there now"
    first = rows.arg_max() if len(rows) and rows.any() else None
    if first is None:
        return FrameDifference(table, f"{words}; the first {height:,} are the same", row=height, rows=count)
    column = next(name for name in differs.columns if differs[name][first])
    return FrameDifference(table, words, int(first), column, stored[column][first], now[column][first], count)


def _schema_words(stored: pl.DataFrame, now: pl.DataFrame) -> str:
    gone = [name for name in stored.columns if name not in now.columns]
    new = [name for name in now.columns if name not in stored.columns]
    if gone or new:
        parts = [f"{word} {', '.join(names)}" for word, names in (("without", gone), ("with", new)) if names]
        return f"now {' and '.join(parts)}"
    kinds = [f"{name} ({kind} was {stored.schema[name]})" for name, kind in now.schema.items()
             if stored.schema[name] != kind]  # fmt: skip
    return f"other types: {', '.join(kinds)}" if kinds else "columns in another order"


def _causes(folder: Path, stored: Result, again: Result) -> Iterator[str]:
    """Yield what is not as it was when the run was made."""
    before, now = _mapping(stored.manifest.get("hashes")), _mapping(again.manifest.get("hashes"))
    copy = (folder / _COPY).read_text(encoding="utf-8")
    if before.get("strategy") not in {None, sha256(copy)}:
        yield f"{_COPY} was changed since the run was made"
    if before.get("config") != now.get("config"):
        yield "the resolved configuration has another hash: config.toml was changed, or what it takes from the store"
    for key in sorted({*before, *now} - {"all", "config", "strategy", "data"}):
        if before.get(key) != now.get(key):
            yield f"the {key} file has another content"
    data, data_now = _mapping(before.get("data")), _mapping(now.get("data"))
    for key in dict.fromkeys((*data, *data_now)):
        if key not in data_now:
            yield f"data {key}: not read any more"
        elif key not in data:
            yield f"data {key}: was not read"
        elif data[key] != data_now[key]:
            yield f"data {key}: another hash ({_short(data[key])} was stored, {_short(data_now[key])} now)"
    versions, versions_now = _mapping(stored.manifest.get("versions")), _mapping(again.manifest.get("versions"))
    for name in dict.fromkeys((*versions, *versions_now)):
        if versions.get(name) != versions_now.get(name):
            yield f"version of {name}: {versions.get(name) or 'none'} then, {versions_now.get(name) or 'none'} now"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _short(value: object) -> str:
    return str(value)[:12]
