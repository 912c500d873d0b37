"""What many runs are compared by: one row a parameter set, the metrics of its summary in columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from backtester.engine.result import Result, SummaryValue

ParamValue = bool | int | float | str

DONE = "done"
FAILED = "failed"
SEGMENTS = "segments"
REPLAY = "replay"
COMPILED = "compiled"
POLARS = "polars"
LOOP = "on_bar"
FACTS = {"status": pl.String, "error": pl.String, "path": pl.String, "targets": pl.String}
"""Columns behind the set: ``done`` or ``failed``, why it failed, how it was replayed (``segments``, ``replay``), what
evaluated its targets (``compiled``, ``polars``, ``on_bar``)."""

# Of a summary: what names the run rather than measures it, and what its notices say.
LEFT_OUT = frozenset(
    {
        "schema_version",
        "run_id",
        "strategy",
        "venue",
        "symbols",
        "timeframe",
        "detail",
        "synthetic",
        "settle",
        "start",
        "end",
        "warnings",
        "assumptions",
        "data_warnings",
    }
)


def metrics_of(result: Result) -> dict[str, SummaryValue]:
    """Return the metrics of a completed run that a row holds."""
    return {key: value for key, value in result.summary.items() if key not in LEFT_OUT}


def done_row(metrics: Mapping[str, SummaryValue], path: str, targets: str) -> dict[str, Any]:
    """Return the facts and metrics of a set that was replayed."""
    return {"status": DONE, "error": None, "path": path, "targets": targets, **metrics}


def failed_row(error: str) -> dict[str, Any]:
    """Return the facts of a set whose strategy or account was refused."""
    return {"status": FAILED, "error": error, "path": None, "targets": None}


def rows_frame(sets: pl.DataFrame, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return sets with what became of each, as ``facts_frame`` has it, beside them."""
    return pl.concat([sets, facts_frame(rows)], how="horizontal")


def facts_frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return what became of sets as a frame.

    Parameters
    ----------
    rows : sequence of mapping
        ``FACTS`` and metrics of each. Metrics that some lack are null there; counts of orders (``orders_…``), which
        stand in a summary only where they are not zero, are 0.
    """
    names = list(dict.fromkeys(name for row in rows for name in row if name not in FACTS))
    facts = [pl.Series(name, [row[name] for row in rows], kind) for name, kind in FACTS.items()]
    return pl.DataFrame([*facts, *(_metric(name, rows) for name in names)])


def _metric(name: str, rows: Sequence[Mapping[str, Any]]) -> pl.Series:
    missing = 0 if name.startswith("orders_") else None
    values = [row.get(name, None if row["status"] == FAILED else missing) for row in rows]
    if any(isinstance(value, str) for value in values):
        return pl.Series(name, values, pl.String)
    whole = all(value is None or isinstance(value, int) for value in values)
    return pl.Series(name, values, pl.Int64 if whole and any(v is not None for v in values) else pl.Float64)


def joined(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return rows of several parts as one frame, in their order; counts of orders that a part lacks are 0.

    The same rows in other parts give the same frame.
    """
    parts = [_without_empty_types(frame) for frame in frames if frame.height]
    if not parts:
        return pl.DataFrame()
    whole = pl.concat(parts, how="diagonal_relaxed").with_columns(pl.col(pl.Null).cast(pl.Float64))
    whole = whole.with_columns(pl.col(name).cast(kind) for name, kind in FACTS.items())
    counts = [name for name in whole.columns if name.startswith("orders_")]
    return whole.with_columns(
        pl.when(pl.col("status") == DONE).then(pl.col(name).fill_null(0)).otherwise(pl.col(name)).alias(name)
        for name in counts
    )


def _without_empty_types(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows of which a column without any value takes the type that it has elsewhere."""
    empty = [column.name for column in frame.get_columns() if column.null_count() == frame.height]
    return frame.with_columns(pl.lit(None).alias(name) for name in empty)
