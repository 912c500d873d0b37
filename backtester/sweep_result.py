"""What a sweep hands back: a row a set, the best of them, and how to repeat one."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from backtester.analytics.directions import DIRECTIONS
from backtester.api import DEFAULT_OUT, save
from backtester.arguments import from_here
from backtester.engine.result import Notice, Result, listed
from backtester.engine.run_file import parse_time
from backtester.errors import UsageError, format_time
from backtester.research.job import Job
from backtester.research.plan import SWEEP_FILE, SweepPlan
from backtester.research.ranking import check_metric, lost_text, ranked
from backtester.research.rows import ParamValue
from backtester.research.space import SET
from backtester.research.sweep import duration_text, rate_text

SHOWN_METRICS = ("sharpe", "total_return", "max_drawdown", "trades", "funding", "liquidations")
"""Metrics that a table of sets shows beside the one by which it is sorted."""
_SHOWN = 10  # sets that a notebook shows


@dataclass(frozen=True, eq=False)
class SweepResult:
    """A finished sweep.

    Attributes
    ----------
    plan : SweepPlan
        Base configuration and axes.
    rows : polars.LazyFrame
        Evaluated sets, see `sets`.
    metric : str
        By which sets are ranked where nothing else is said.
    manifest : dict
        Hashes, versions, seconds, counts of sets by outcome and path, and of ``exact_check`` what it found.
    notices : tuple of Notice
        What was chosen for what was left out, and what was put aside.
    run_dir : Path or None
        The sweep's folder.
    """

    plan: SweepPlan
    job: Job
    rows: pl.LazyFrame
    metric: str
    manifest: dict[str, Any]
    notices: tuple[Notice, ...] = ()
    run_dir: Path | None = None
    out: Path | None = None
    options: Sequence[tuple[str, Path]] = ()
    _open: ExitStack = field(default_factory=ExitStack, repr=False)

    @cached_property
    def sets(self) -> pl.DataFrame:
        """One row a set: ``set``, the axes, ``status``, ``error``, ``path``, then every metric of a run's summary."""
        return self.rows.collect()

    @property
    def axes(self) -> list[str]:
        """Names of what is varied."""
        return list(self.plan.grid)

    @property
    def title(self) -> str:
        """Strategy, symbols, span and size in one line."""
        data = self.plan.config.data
        start, end = (format_time(parse_time(str(time), "data")) for time in (data.start, data.end))
        number = self.manifest["done"] + self.manifest["failed"]
        return f"{self.job.strategy.name} on {listed(data.symbols)}, {start} to {end}: {number:,} sets"

    def top(self, count: int = 10, metric: str | None = None) -> pl.DataFrame:
        """Return the best sets that were done, the best first.

        Parameters
        ----------
        count : int
            How many.
        metric : str, optional
            By what; of volatility, time at risk, liquidations and the like less is better, of all else more.
        """
        chosen = metric or self.metric
        check_metric(self.rows, self.axes, chosen)
        return ranked(self.rows, chosen, count)

    def best(self, metric: str | None = None) -> dict[str, Any]:
        """Return the row of the best set.

        Raises
        ------
        UsageError
            No set was done, or there is no such metric.
        """
        found = self.top(1, metric)
        if found.is_empty():
            raise UsageError("No set of the sweep was done.", "The column `error` of its sets says why.")
        return found.row(0, named=True)

    def values(self, number: int) -> dict[str, ParamValue]:
        """Return parameters and keys of a set."""
        found = self.rows.filter(pl.col(SET) == number).select(self.axes).collect()
        if found.is_empty():
            raise UsageError(f"The sweep has no set {number}.", "The column `set` of its sets numbers them.")
        return found.row(0, named=True)

    def replay(self, number: int, *, write: bool = False) -> Result:
        """Return a set replayed in full, with every record.

        Parameters
        ----------
        number : int
            The set's.
        write : bool
            Write its folder and page beside the sweep's, as a run does.
        """
        result = self.job.result(self.values(number))
        told = (*(notice for notice in self.notices if notice.code != "synthetic"), *result.notices)
        result = replace(result, notices=told)
        if not write:
            return result
        return save(result, self.out or DEFAULT_OUT, folders=self.options)

    def command(self, number: int) -> str | None:
        """Return the command line that repeats a set as a run, None where the sweep was not written."""
        if self.run_dir is None:
            return None
        words = ["backtester", "run", "--config", from_here(self.run_dir / SWEEP_FILE)]
        for name, value in self.values(number).items():
            words += (
                ["--set", f"{_toml_key(name)}={_toml_value(value)}"]
                if "." in name
                else ["-p", f"{name}={_text(value)}"]
            )
        options = [*self.options, *([("--out", self.out)] if self.out not in (None, DEFAULT_OUT) else [])]
        return shlex.join([*words, *(word for name, path in options for word in (name, from_here(Path(str(path)))))])

    def __repr__(self) -> str:
        return f"<SweepResult {self.title}>"

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows."""
        shown = self.top(_SHOWN) if self.manifest["done"] else pl.DataFrame()
        metrics = [name for name in dict.fromkeys((self.metric, *SHOWN_METRICS)) if name in shown.columns]
        names = [SET, *self.axes, *metrics] if shown.width else []
        head = "".join(f"<th>{escape(name)}</th>" for name in names)
        lines = "".join(
            "<tr>" + "".join(f"<td style='text-align:right'>{escape(_cell(value))}</td>" for value in row) + "</tr>"
            for row in shown.select(names).iter_rows()
        )
        told = [f"{n.severity}: {n.text}" for n in self.notices]
        lost = lost_text(self.rows) if self.manifest["done"] else ""
        told += [f"warning: {lost}"] if lost else []
        notes = "".join(f"<li>{escape(text)}</li>" for text in told)
        page = f"<p>{escape(str(self.run_dir))}</p>" if self.run_dir is not None else ""
        order = f"best {self.metric} first, {self.manifest['failed']:,} sets failed"
        return (
            f"<div><p><b>{escape(self.title)}</b>, {escape(order)}</p><ul>{notes}</ul>"
            f"<table><tr>{head}</tr>{lines}</table>{page}</div>"
        )


def metric_order(metric: str) -> str:
    """Return by what sets are sorted, and which end is the better one."""
    way = DIRECTIONS.get(metric, "max")
    return f"{metric}, largest first" if way is None else f"{metric}, {'lower' if way == 'min' else 'higher'} is better"


def counts_text(manifest: Mapping[str, Any]) -> str:
    """Return how many sets took which path, how many failed, and how fast it went."""
    seconds = float(manifest["seconds"])
    number = manifest["done"] + manifest["failed"]
    parts = [f"{path}: {count:,}" for path, count in manifest["paths"].items()]
    parts += [f"failed: {manifest['failed']:,}"] if manifest["failed"] else []
    return f"{', '.join(parts)}; {duration_text(seconds)}, {rate_text(number / max(seconds, 1e-9))} sets a second"


def _text(value: ParamValue) -> str:
    """Return a parameter as ``-p`` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _toml_value(value: ParamValue) -> str:
    """Return a value as ``--set`` takes it: a text in quotes only where it would be read as something else."""
    if not isinstance(value, str):
        return _text(value)
    try:
        tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return value
    return json.dumps(value)


def _toml_key(name: str) -> str:
    """Return a dotted name as ``--set`` takes it."""
    return ".".join(part if re.fullmatch(r"[\w-]+", part) else json.dumps(part) for part in name.split("."))


def _cell(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else "-" if value is None else str(value)
