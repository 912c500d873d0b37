"""How new rows join the ones that are stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl

from backtester.errors import DataError
from backtester.market.intervals import with_intervals
from backtester.market.schema import FILLED, DatasetKey, SeriesSchema

WHOLE_NAME = "all.parquet"
_MEASURED = frozenset({"interval_hours"})  # follows from the other rows, so a change of it is no change of a row


@dataclass(frozen=True)
class MergeCounts:
    """What became of the rows that were brought.

    Attributes
    ----------
    added, changed, unchanged : int
        New ones, ones that replaced other values, ones that were there already.
    """

    added: int
    changed: int
    unchanged: int


@dataclass(frozen=True)
class WriteReport:
    """What a write did.

    Attributes
    ----------
    key : DatasetKey
        The dataset.
    rows : int
        Rows that were brought.
    added, changed, unchanged : int
        How many of them were new, replaced a row with other values, or were there already.
    total : int
        Rows of the dataset now.
    span : tuple of int or None
        First and last time of the dataset now [ms].
    """

    key: DatasetKey
    rows: int
    added: int
    changed: int
    unchanged: int
    total: int
    span: tuple[int, int] | None

    def plus(self, later: WriteReport) -> WriteReport:
        """Return what this write and a later one did together."""
        return replace(
            later,
            rows=self.rows + later.rows,
            added=self.added + later.added,
            changed=self.changed + later.changed,
            unchanged=self.unchanged + later.unchanged,
        )


def merge(
    key: DatasetKey,
    rows: pl.DataFrame,
    load: Callable[[str], pl.DataFrame | None],
    stored: Iterable[str],
) -> tuple[dict[str, pl.DataFrame], MergeCounts]:
    """Return the parts that change, and the counts.

    Parameters
    ----------
    key : DatasetKey
        The dataset.
    rows : polars.DataFrame
        New rows, as `schema.conform` leaves them.
    load : callable
        Returns the stored part of a name, None where there is none.
    stored : iterable of str
        Names of the stored parts.

    Raises
    ------
    DataError
        There are no rows, or two with the same key.
    """
    schema = key.schema
    if rows.is_empty():
        raise DataError(str(key), "there are no rows to write", hint="Check the file and the filters of the import.")
    _refuse_duplicates(key, rows)
    if schema.name == "instrument":
        return _merge_terms(rows, load(WHOLE_NAME))
    if not schema.by_year:
        old = load(WHOLE_NAME)
        new = rows if schema.time is None or old is None else _replace_tables(old, rows, schema.time)
        counts = _count(rows, old, list(schema.columns))
        return ({} if old is not None and new.equals(old) else {WHOLE_NAME: new}), counts
    return _merge_by_year(schema, rows, load, stored)


def _merge_terms(rows: pl.DataFrame, old: pl.DataFrame | None) -> tuple[dict[str, pl.DataFrame], MergeCounts]:
    """Return the dated terms of a contract with the new ones among them.

    Sources know different figures, so what new terms leave open is taken from those in force. Terms that then equal
    those in force from an earlier date add nothing.
    """
    known = {} if old is None else {row["valid_from"]: row for row in old.iter_rows(named=True)}
    added = changed = 0
    for row in rows.iter_rows(named=True):
        moment = row["valid_from"]
        begun = [m for m in known if m is None or (moment is not None and m <= moment)]
        before = known[max(begun, key=_from_always)] if begun else None
        new = row if before is None else _filled_terms(row, before)
        if moment in known:
            changed += new != known[moment]
        elif before is not None and new == {**before, "valid_from": moment}:
            continue
        else:
            added += 1
        known[moment] = new
    merged = pl.DataFrame([known[m] for m in sorted(known, key=_from_always)], schema=rows.schema)
    counts = MergeCounts(added, changed, rows.height - added - changed)
    return ({} if old is not None and merged.equals(old) else {WHOLE_NAME: merged}), counts


def _from_always(moment: datetime | None) -> float:
    return -math.inf if moment is None else moment.timestamp()


def _filled_terms(new: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return new terms with what they leave open taken from those before.

    A contract that was listed anew is not gone: an end before its beginning is not carried over.
    """
    filled = {column: before[column] if value is None else value for column, value in new.items()}
    filled["valid_from"] = new["valid_from"]
    if new["delisted"] is None and None not in (filled["listed"], filled["delisted"]):
        filled["delisted"] = filled["delisted"] if filled["delisted"] > filled["listed"] else None
    return filled


def _merge_by_year(
    schema: SeriesSchema,
    rows: pl.DataFrame,
    load: Callable[[str], pl.DataFrame | None],
    stored: Iterable[str],
) -> tuple[dict[str, pl.DataFrame], MergeCounts]:
    brought = _by_year(rows, str(schema.time))
    names = set(brought)
    if schema.name == "funding":
        names |= set(stored)  # intervals are measured over the whole series
    old = {name: load(name) for name in sorted(names)}
    counts = MergeCounts(0, 0, 0)
    merged: dict[str, pl.DataFrame] = {}
    for name, before in old.items():
        merged[name], joined = _join(brought.get(name), before, schema)
        counts = _plus(counts, joined)
    if schema.name == "funding":
        merged = _by_year(with_intervals(pl.concat(merged.values())), str(schema.time))
    changed = {n: f for n, f in merged.items() if not _same(f, old.get(n))}
    return changed, counts


def _join(new: pl.DataFrame | None, old: pl.DataFrame | None, schema: SeriesSchema) -> tuple[pl.DataFrame, MergeCounts]:
    """Return the rows of one part, of which at least one kind is there, and the counts."""
    if new is None:
        return (pl.DataFrame(schema=dict(schema.columns)) if old is None else old), MergeCounts(0, 0, 0)
    columns = [c for c in schema.columns if c not in _MEASURED]
    if old is None:
        return new, MergeCounts(new.height, 0, 0)
    time = str(schema.time)
    count = new.height
    new = _without_stand_ins(_keep_known(new, old, schema), old, schema)
    rest = old.join(new.select(time), on=time, how="anti")
    counts = _count(new, old, columns)
    return pl.concat([rest, new]).sort(time), replace(counts, unchanged=counts.unchanged + count - new.height)


def _by_year(frame: pl.DataFrame, time: str) -> dict[str, pl.DataFrame]:
    """Return the rows of each year by part name, in order of time."""
    years = frame[time].dt.year()
    return {f"{year}.parquet": frame.filter(years == year) for year in years.unique().sort().to_numpy().tolist()}


def _keep_known(new: pl.DataFrame, old: pl.DataFrame, schema: SeriesSchema) -> pl.DataFrame:
    """Return the new rows, with what they do not know taken from the old rows of the same time."""
    unknown = [c for c in schema.columns if c in schema.nullable and new[c].null_count()]
    if not unknown:
        return new
    time = str(schema.time)
    joined = new.join(old.select(time, *unknown), on=time, how="left", suffix="__old", maintain_order="left")
    filled = joined.with_columns(pl.coalesce(c, f"{c}__old").alias(c) for c in unknown)
    return filled.select(new.columns)


def _without_stand_ins(new: pl.DataFrame, old: pl.DataFrame, schema: SeriesSchema) -> pl.DataFrame:
    """Return the new rows without those that were computed for a time of which the venue's own row is stored."""
    if not (schema.flags and new[FILLED].any()):
        return new
    real = old.filter(~pl.col(FILLED)).select(str(schema.time))
    return pl.concat([new.filter(~pl.col(FILLED)), new.filter(FILLED).join(real, on=schema.time, how="anti")])


def _replace_tables(old: pl.DataFrame, new: pl.DataFrame, time: str) -> pl.DataFrame:
    """Return the dated tables with the new ones in place of those of the same date (null is a date too)."""
    kept = old.join(new.select(time).unique(), on=time, how="anti", nulls_equal=True)
    return pl.concat([kept, new]).sort(time, "tier", nulls_last=False)


def _count(rows: pl.DataFrame, old: pl.DataFrame | None, columns: list[str]) -> MergeCounts:
    if old is None:
        return MergeCounts(rows.height, 0, 0)
    keys = [c for c in ("open_time", "funding_time", "valid_from", "tier", "symbol") if c in columns]
    unchanged = rows.select(columns).join(old.select(columns), on=columns, how="semi", nulls_equal=True).height
    known = rows.select(keys).join(old.select(keys), on=keys, how="semi", nulls_equal=True).height
    return MergeCounts(rows.height - known, known - unchanged, unchanged)


def _plus(a: MergeCounts, b: MergeCounts) -> MergeCounts:
    return MergeCounts(a.added + b.added, a.changed + b.changed, a.unchanged + b.unchanged)


def _same(new: pl.DataFrame, old: pl.DataFrame | None) -> bool:
    return old is not None and new.equals(old)


def _refuse_duplicates(key: DatasetKey, rows: pl.DataFrame) -> None:
    keys = [c for c in (key.schema.time, "tier") if c is not None and c in rows.columns]
    if not keys:
        if rows.height > 1:
            raise DataError(str(key), f"there are {rows.height} rows where one is wanted")
        return
    repeated = rows.filter(rows.select(pl.struct(keys).is_duplicated()).to_series())
    if repeated.is_empty():
        return
    moment = repeated[keys[0]].dt.epoch("ms")[0]
    raise DataError(
        str(key),
        "the same time stands in two rows, first",
        moment,
        "Leave one of them out: `backtester data import` drops repeated rows that agree.",
    )
