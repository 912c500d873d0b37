"""Rows of sets with metrics of one's own beside those of the summary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from backtester.domain.config import RunConfig
from backtester.engine.run_file import Tree, build_config, merge
from backtester.errors import BacktesterError, UsageError
from backtester.research.holdout import iso
from backtester.research.job import Job, Tell
from backtester.research.metrics import METRICS, OwnMetric, own_value
from backtester.research.rows import FACTS, POLARS, REPLAY, ParamValue, done_row, failed_row, metrics_of, rows_frame


def evaluated(job: Job, sets: pl.DataFrame, own: Mapping[str, OwnMetric], tell: Tell | None = None) -> pl.DataFrame:
    """Return what becomes of each set, own metrics included.

    Parameters
    ----------
    job : Job
        The market and the strategy.
    sets : polars.DataFrame
        One row a set.
    own : mapping
        Metrics of one's own by name. They read a whole `Result`, so with any of them each set is replayed with every
        record.
    tell : callable, optional
        Called with the rows of sets as they are done.

    Returns
    -------
    polars.DataFrame
        As `Job.evaluate`, with a column for each own metric; a set whose own metric raises is a failed row.
    """
    if not own:
        return job.evaluate(sets, tell)
    rows = []
    for values in sets.iter_rows(named=True):
        try:
            result = job.result(values)
            found = {name: own_value(name, function, result) for name, function in own.items()}
            rows.append(done_row({**metrics_of(result), **found}, REPLAY, POLARS))
        except BacktesterError as error:
            rows.append(failed_row(str(error)))
        if tell is not None:
            tell(rows_frame(sets[len(rows) - 1 : len(rows)], rows[-1:]))
    return rows_frame(sets, rows)


def is_lost(row: Mapping[str, Any]) -> bool:
    """Return whether a set's metrics say that it lost the whole account, so that its ratios mean nothing."""
    total, final = row.get("total_return"), row.get("final_equity")
    if isinstance(total, int | float):
        return total <= -1
    return isinstance(final, int | float) and final <= 0


_TEXTS = frozenset({"max_drawdown_start", "max_drawdown_trough", "max_drawdown_end"})  # columns that are no numbers


def refuse_column_names(names: list[str], extra: set[str]) -> None:
    """Refuse parameters whose values would stand under the name of another column of the result."""
    for name in names:
        if name in METRICS or name in FACTS or name in _TEXTS or name in extra or name.startswith("orders_"):
            raise UsageError(
                f"The parameter {name!r} has the name of a column of the result.", "Rename it in the strategy."
            )


def refuse_market_axes(names: Iterable[str], what: str) -> None:
    """Refuse parameters that would give each set a market or a span of its own.

    Parameters
    ----------
    names : iterable of str
        Parameters of the search.
    what : str
        The search, as a sentence begins with it: ``An optimisation``.

    Raises
    ------
    UsageError
        One of them is a key of ``[data]``.
    """
    found = next((name for name in names if name.replace('"', "").strip().startswith("data.")), None)
    if found is not None:
        raise UsageError(
            f"{what} cannot vary {found}: its sets are compared on one market and one span (else a set could be tried "
            "on bars that are kept for its test, or on sealed ones).",
            "State the span with --start and --end, the market with --venue, --symbols and --timeframe; `backtester "
            "sweep` takes such axes.",
        )


def spanned(config: RunConfig, start: int, end: int) -> RunConfig:
    """Return a configuration for another span [ms since 1970, UTC; end excluded]."""
    span = {"start": iso(start), "end": iso(end)}
    return config.model_copy(update={"data": config.data.model_copy(update=span)})


def with_values(config: RunConfig, values: Mapping[str, ParamValue]) -> RunConfig:
    """Return a configuration with the values of a set: bare names are parameters, dotted ones keys of the run file."""
    tree: Tree = config.model_dump(exclude_unset=True)
    for name, value in values.items():
        change: Any = value
        for part in reversed(name.split(".") if "." in name else ["strategy", "params", name]):
            change = {part: change}
        tree = merge(tree, change)
    return build_config(tree)
