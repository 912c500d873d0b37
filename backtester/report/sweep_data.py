"""A sweep as its page takes it: the sets of its folder, their parameters as axes, their metrics."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from backtester.engine.run_file import Tree
from backtester.errors import StoreError
from backtester.report import numbers
from backtester.report.sweep_metrics import CORE, KNOWN, Metric, metric_of
from backtester.research.neighbourhood import Space
from backtester.research.rows import DONE, FACTS

SETS, SPACE, MANIFEST = "sets.parquet", "sweep.toml", "manifest.json"
SECTION = "sweep"
"""Table of ``sweep.toml`` that says what was swept; the others are those of a run file."""

ALL_METRICS = 30_000
"""Sets up to which the page carries every metric."""
_LABEL = 28  # characters of a value on an axis
_FEW = 12  # distinct values up to which a sampled parameter is shown value by value
_MAIN = ("sharpe", "total_return")

Value = bool | int | float | str | None
AxisKind = Literal["number", "flag", "text"]


@dataclass(frozen=True, eq=False)
class Axis:
    """One parameter over the sets that were done.

    Attributes
    ----------
    name : str
        Column.
    kind : AxisKind
        ``number`` has an order, the others have none.
    is_whole : bool
        All values are whole numbers.
    values : list
        Distinct values, sorted; None last.
    labels : list of str
        Their short texts; no two are alike where each is a cell of its own.
    codes : ndarray of int64, shape (sets,)
        Number of each set's value.
    cells : list of str
        Labels of the cells in which figures gather sets: the values, or stretches of them where they were sampled.
    cell_of : list of int
        Cell of each value.
    """

    name: str
    kind: AxisKind
    is_whole: bool
    values: list[Value]
    labels: list[str]
    codes: npt.NDArray[np.int64]
    cells: list[str]
    cell_of: list[int]

    @property
    def title(self) -> str:
        """Name as the page shows it."""
        return numbers.shorten(self.name, 40)

    @property
    def is_ordered(self) -> bool:
        """Whether neighbouring values are alike."""
        return self.kind == "number"

    def span(self) -> str:
        """Return what was tried, in words."""
        count = len(self.values)
        if count <= 3 or not self.is_ordered:
            shown = ", ".join(self.labels[:4])
            return shown if count <= 4 else f"{shown} and {count - 4:,} more"
        return f"{self.labels[0]} to {self.labels[-1]}, {count:,} values"


@dataclass(frozen=True, eq=False)
class Sweep:
    """A sweep.

    Attributes
    ----------
    folder : Path
        Where it lies.
    sets : polars.DataFrame
        One row a set: ``set``, parameters, facts, metrics.
    params : tuple of str
        Names of the parameters that were swept.
    base : dict
        What the sets have in common, sections as in a run file.
    space : dict
        Axes, filter, sample: the table ``sweep`` of ``sweep.toml``.
    manifest : dict
        Content of ``manifest.json``.
    has_file : bool
        The folder holds a ``sweep.toml``.
    """

    folder: Path
    sets: pl.DataFrame
    params: tuple[str, ...]
    base: Tree
    space: Tree
    manifest: Tree
    has_file: bool = False

    @cached_property
    def done(self) -> pl.DataFrame:
        """Sets that were replayed."""
        return self.sets.filter(pl.col("status") == DONE)

    @cached_property
    def failed(self) -> pl.DataFrame:
        """Sets that were refused."""
        return self.sets.filter(pl.col("status") != DONE)

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics that some set has a number for, those that decide first."""
        facts = {"set", *self.params, *FACTS}
        kinds = {name: kind for name, kind in self.done.schema.items() if name not in facts}
        keys = [k for k, kind in kinds.items() if (kind.is_numeric() or kind == pl.Boolean) and self._has_number(k)]
        order = {key: place for place, key in enumerate(KNOWN)}
        keys.sort(key=lambda key: order.get(key, len(order)))
        return tuple(metric_of(key, is_whole=not kinds[key].is_float()) for key in keys)

    @cached_property
    def main(self) -> Metric | None:
        """The metric that the page opens with: that of the manifest, else the Sharpe ratio or the return."""
        by_key = {metric.key: metric for metric in self.metrics}
        wanted = [self.manifest.get("metric"), *_MAIN]
        for key in wanted:
            if isinstance(key, str) and key in by_key:
                return by_key[key]
        return self.metrics[0] if self.metrics else None

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The parameters over the sets that were done."""
        coded = [_coded(self.done[name]) for name in self.params]
        codes = np.stack([c for _, c in coded], axis=1) if coded else np.zeros((self.done.height, 0), np.int64)
        is_grid = Space(codes, [True] * len(coded)).is_grid
        return tuple(_axis(name, *found, is_grid=is_grid) for name, found in zip(self.params, coded, strict=True))

    @cached_property
    def lattice(self) -> Space:
        """Where the sets that were done lie."""
        codes = [axis.codes for axis in self.axes]
        stacked = np.stack(codes, axis=1) if codes else np.zeros((self.done.height, 0), np.int64)
        return Space(stacked, [axis.is_ordered for axis in self.axes])

    @property
    def money_digits(self) -> int:
        """Decimals of amounts."""
        balance = self.done["initial_balance"].max() if "initial_balance" in self.done.columns else None
        return numbers.money_digits(float(balance)) if isinstance(balance, (int, float)) else 2

    def values(self, key: str) -> npt.NDArray[np.float64]:
        """Return a metric of the sets that were done; NaN where it is not defined or not finite."""
        found = self.done[key].cast(pl.Float64).fill_null(math.nan).to_numpy().astype(np.float64, copy=True)
        found[~np.isfinite(found)] = np.nan
        return found

    def fact(self, key: str, *sections: str) -> Any:
        """Return a fact of the manifest, else of a section of the base configuration; None where neither has it."""
        if key in self.manifest:
            return self.manifest[key]
        for section in sections:
            inner = self.base.get(section)
            if isinstance(inner, Mapping) and inner.get(key) is not None:
                return inner[key]
        return None

    def _has_number(self, key: str) -> bool:
        return bool(np.isfinite(self.values(key)).any())


def read_sweep(folder: Path) -> Sweep:
    """Return the sweep of a folder.

    Parameters
    ----------
    folder : Path
        Holds ``sets.parquet``; ``sweep.toml`` and ``manifest.json`` may be missing.

    Raises
    ------
    StoreError
        A file cannot be read, or is none of a sweep.
    """
    path = folder / SETS
    manifest = _read(folder / MANIFEST, json.loads)
    try:
        sets = _sets(path, manifest.get("metric"))
    except (OSError, pl.exceptions.PolarsError) as error:
        problem = "is missing" if not path.exists() else "is not a whole Parquet file"
        raise StoreError(f"{path} {problem}.", "Is this the folder of a sweep, and did the sweep end?") from error
    missing = [name for name in FACTS if name not in sets.columns]
    if missing:
        raise StoreError(f"{path} has no column {missing[0]!r}.", "Is this the folder of a sweep?")
    before = sets.columns[: min(sets.columns.index(name) for name in FACTS)]
    if "set" not in sets.columns:
        sets = sets.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("set"))
    tree = _read(folder / SPACE, tomllib.loads)
    space = tree.pop(SECTION, {})
    params = tuple(name for name in before if name != "set")
    return Sweep(folder, sets, params, tree, space if isinstance(space, dict) else {}, manifest, bool(tree))


def _sets(path: Path, metric: object) -> pl.DataFrame:
    """Return the rows of a sweep; of very many, the metrics that decide and what figures need beside them."""
    scanned = pl.scan_parquet(path, glob=False)
    names = scanned.collect_schema().names()
    if scanned.select(pl.len()).collect().item() <= ALL_METRICS or "path" not in names:
        return scanned.collect()
    last = max(names.index(name) for name in FACTS if name in names)
    wanted = {*CORE, metric, "days", "initial_balance"}
    return scanned.select(*names[: last + 1], *(n for n in names[last + 1 :] if n in wanted)).collect()


def _read(path: Path, parse: Any) -> Tree:
    """Return a file's tables, none where it is missing."""
    try:
        tree = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}.", "Is this the folder of a sweep?") from error
    if not isinstance(tree, dict):
        raise StoreError(f"{path} holds no table.", "Is this the folder of a sweep?")
    return tree


def _coded(column: pl.Series) -> tuple[list[Value], npt.NDArray[np.int64]]:
    """Return the distinct values, sorted with null last, and the number of each row's."""
    distinct = column.unique().sort(nulls_last=True)
    places = pl.DataFrame({"value": distinct, "place": np.arange(distinct.len())})
    joined = pl.DataFrame({"value": column}).join(
        places, on="value", how="left", nulls_equal=True, maintain_order="left"
    )
    return distinct.to_list(), joined["place"].to_numpy().astype(np.int64)


def _axis(name: str, values: list[Value], codes: npt.NDArray[np.int64], *, is_grid: bool) -> Axis:
    present = [v for v in values if v is not None]
    kind: AxisKind = "number"
    if any(isinstance(v, bool) for v in present):
        kind = "flag"
    elif any(isinstance(v, str) for v in present) or not present:
        kind = "text"
    is_whole = kind == "number" and all(isinstance(v, int) for v in present)
    if kind == "number" and not is_grid and len(values) > _FEW:
        labels = [_label(v) for v in values]
        cells, cell_of = _stretches(values, codes.size, is_whole=is_whole)
    else:
        labels = cells = _labels(values)
        cell_of = list(range(len(values)))
    return Axis(name, kind, is_whole, values, labels, codes, cells, cell_of)


def _labels(values: list[Value]) -> list[str]:
    """Return short texts of values; those that read alike get more digits, or a number behind them."""
    texts: list[str] = []
    for digits in (6, 9, 12, 17):
        texts = [_label(v, digits) for v in values]
        if len(set(texts)) == len(texts):
            return texts
    seen: dict[str, int] = {}
    for place, text in enumerate(texts):
        seen[text] = seen.get(text, 0) + 1
        if seen[text] > 1:
            texts[place] = f"{text} ({seen[text]})"
    return texts


def _label(value: Value, digits: int = 6) -> str:
    if value is None:
        return numbers.NONE
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return numbers.shorten(value, _LABEL) or "(empty)"
    if digits > 6:
        return f"{value:.{digits}g}"
    return numbers.quantity(value) if value == 0 or abs(value) >= 1e-6 else f"{value:.3g}"


def _stretches(values: list[Value], count: int, *, is_whole: bool) -> tuple[list[str], list[int]]:
    """Return stretches of equal width, on a log scale where the values are spread so, and the stretch of each value."""
    found = [float(v) for v in values if isinstance(v, (int, float))]
    low, high = min(found), max(found)
    wanted = min(20, max(4, round(math.sqrt(count) / 2)))
    middle = found[len(found) // 2]
    is_log = low > 0 and high / low >= 4 and abs(_place(low, middle, high, log=True)) < abs(_place(low, middle, high))
    ends = np.geomspace(low, high, wanted + 1) if is_log else np.linspace(low, high, wanted + 1)
    if is_whole:
        ends = np.unique(np.round(ends))
    inner = ends[1:-1]
    cell_of = [int(np.searchsorted(inner, v, side="right")) if isinstance(v, (int, float)) else -1 for v in values]
    last = len(ends) - 2
    labels = []
    for place, (start, end) in enumerate(pairwise(ends)):
        to = end - 1 if is_whole and place < last else end
        labels.append(_rounded(start) if to == start else f"{_rounded(start)}\u2013{_rounded(to)}")
    if -1 in cell_of:
        labels.append(numbers.NONE)
        cell_of = [len(labels) - 1 if c < 0 else c for c in cell_of]
    return labels, cell_of


def _place(low: float, middle: float, high: float, *, log: bool = False) -> float:
    """Return how far the middle value lies from the middle of its range, as a share of the range."""
    if log:
        low, middle, high = (math.log(v) for v in (low, middle, high))
    return (middle - low) / (high - low) - 0.5


def _rounded(value: float) -> str:
    return numbers.quantity(float(f"{value:.3g}") if abs(value) < 1000 else round(value))
