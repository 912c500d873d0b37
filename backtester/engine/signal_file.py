"""Targets that were made elsewhere: a Parquet or CSV file, checked and put on the bars of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.engine.frames import TIME
from backtester.errors import DataError, UnknownNameError, UsageError, format_time

_FORMAT_HINT = "Columns: open_time (the bar at whose close the row was decided) or decision_time, symbol, target."


@dataclass(frozen=True, eq=False)
class Clock:
    """The bars of a run.

    Attributes
    ----------
    symbols : sequence of str
        Contracts in the configured order.
    open_time : ndarray of int64
        Opens of the bars [ms since 1970, UTC].
    timeframe_ms : int
        Length of a bar [ms].
    """

    symbols: Sequence[str]
    open_time: NDArray[np.int64]
    timeframe_ms: int


def read_signals(path: Path, clock: Clock) -> tuple[pl.DataFrame, int]:
    """Read a file of targets.

    Parameters
    ----------
    path : Path
        ``.parquet`` or ``.csv`` with ``symbol`` (may be left out where one symbol is run), ``target`` and either
        ``open_time``, which names the bar at whose close the row was decided, or ``decision_time``, which is mapped
        to the last bar that had closed by then. Times without an offset are UTC, whole numbers ms since 1970.
    clock : Clock
        The bars of the run.

    Returns
    -------
    tuple of polars.DataFrame and int
        ``open_time, symbol, target`` without nulls, sorted by symbol and time; and how many rows lay outside the run.

    Raises
    ------
    UsageError, DataError, UnknownNameError
        Naming the file, the first bad row's time and the way on.
    """
    name = f"signals {path}"
    raw = _read(path, name)
    column = _time_column(raw, name)
    frame = _columns(raw, column, clock, name).drop_nulls("target").sort(column, maintain_order=True)
    _refuse_untradable(frame, column, name)
    if column == "decision_time":
        return _by_decision(frame, clock)
    return _by_bar(frame, clock, name)


def _read(path: Path, name: str) -> pl.DataFrame:
    """Read the file, whatever its columns are."""
    suffix = path.suffix.lower()
    if suffix not in {".parquet", ".csv"}:
        raise UsageError(f"{path} is neither a .parquet nor a .csv file.", _FORMAT_HINT)
    if not path.is_file():
        raise UsageError(f"There is no file {path}.", _FORMAT_HINT)
    try:
        return pl.read_parquet(path) if suffix == ".parquet" else pl.read_csv(path, infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError) as error:
        first_line = str(error).partition("\n")[0]
        raise DataError(
            name, f"the file cannot be read ({first_line})", hint="It is damaged: write it again."
        ) from error


def _time_column(raw: pl.DataFrame, name: str) -> str:
    """Return which of the two columns of times the file has."""
    found = [column for column in ("open_time", "decision_time") if column in raw.columns]
    if len(found) != 1:
        problem = (
            "both open_time and decision_time are there" if found else "there is no open_time and no decision_time"
        )
        raise DataError(name, problem, hint=_FORMAT_HINT)
    if "target" not in raw.columns:
        raise DataError(name, "there is no column target", hint=_FORMAT_HINT)
    for extra in raw.columns:
        if extra not in {found[0], "symbol", "target"}:
            raise DataError(name, f"the column {extra!r} means nothing here", hint=f"Leave it out. {_FORMAT_HINT}")
    return found[0]


def _columns(raw: pl.DataFrame, column: str, clock: Clock, name: str) -> pl.DataFrame:
    """Return time, symbol and target with their types."""
    if "symbol" not in raw.columns:
        if len(clock.symbols) != 1:
            raise DataError(name, "there is no column symbol and the run has several symbols", hint=_FORMAT_HINT)
        raw = raw.with_columns(pl.lit(clock.symbols[0]).alias("symbol"))
    for symbol in raw["symbol"].unique(maintain_order=True).to_list():
        if symbol not in clock.symbols:
            raise UnknownNameError("symbol", str(symbol), clock.symbols, f"in {name}")
    if not (raw["target"].dtype.is_numeric() or raw["target"].dtype == pl.Null):
        raise DataError(name, f"the targets are of type {raw['target'].dtype}, not numbers", hint=_FORMAT_HINT)
    times = _as_time(raw[column], name)
    if times.null_count():
        row = int(times.is_null().arg_max() or 0)
        raise DataError(name, f"row {row + 1} has no time that can be read ({raw[column][row]!r})", hint=_FORMAT_HINT)
    return pl.DataFrame({column: times, "symbol": raw["symbol"], "target": raw["target"].cast(pl.Float64)})


def _as_time(values: pl.Series, name: str) -> pl.Series:
    """Return times in ms, UTC, null where one cannot be read."""
    if values.dtype == pl.String:
        return pl.Series([_iso_ms(text) for text in values], dtype=pl.Int64).cast(TIME)
    if values.dtype.is_integer():
        return values.cast(pl.Int64).cast(TIME)
    if isinstance(values.dtype, pl.Datetime):
        aware_values = values if values.dtype.time_zone else values.dt.replace_time_zone("UTC")
        return aware_values.dt.convert_time_zone("UTC").cast(TIME)
    if values.dtype == pl.Date:
        return values.cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    raise DataError(name, f"the times are of type {values.dtype}", hint=_FORMAT_HINT)


def _iso_ms(text: str | None) -> int | None:
    """Return an ISO time in ms since 1970, None where it is not one."""
    try:
        moment = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _refuse_untradable(frame: pl.DataFrame, column: str, name: str) -> None:
    """Refuse targets that are no finite number."""
    bad = frame.filter(~pl.col("target").is_finite())
    if bad.height:
        what = "NaN" if bad["target"].is_nan()[0] else "infinite"
        raise DataError(
            name,
            f"the target of {bad['symbol'][0]} is {what}",
            _ms(bad[column], 0),
            "Leave it empty (null) where nothing is decided.",
        )


def _by_bar(frame: pl.DataFrame, clock: Clock, name: str) -> tuple[pl.DataFrame, int]:
    """Return rows that name their bar, each of which must exist."""
    times = frame["open_time"].dt.epoch("ms").to_numpy()
    first, end = int(clock.open_time[0]), int(clock.open_time[-1]) + clock.timeframe_ms
    off = np.flatnonzero((times - first) % clock.timeframe_ms)
    if off.size:
        raise DataError(
            name,
            f"open_time of {frame['symbol'][int(off[0])]} is no bar's open",
            int(times[off[0]]),
            "Name the bar's open, or call the column decision_time: then the last bar closed by then is taken.",
        )
    inside = (times >= first) & (times < end)
    missing = np.flatnonzero(inside & ~np.isin(times, clock.open_time))
    if missing.size:
        raise DataError(name, "there is no bar", int(times[missing[0]]), "The series has a gap there: drop the row.")
    kept = frame.filter(pl.Series(inside))
    twice = kept.filter(pl.struct("open_time", "symbol").is_duplicated())
    if twice.height:
        raise DataError(
            name, f"{twice['symbol'][0]} has two rows", _ms(twice["open_time"], 0), "Keep one row a bar and symbol."
        )
    return _ordered(kept, clock), int((~inside).sum())


def _by_decision(frame: pl.DataFrame, clock: Clock) -> tuple[pl.DataFrame, int]:
    """Return rows on the last bar that had closed when they were decided; the last decision on a bar counts."""
    times = frame["decision_time"].dt.epoch("ms").to_numpy()
    closes = clock.open_time + clock.timeframe_ms
    place = np.searchsorted(closes, times, side="right") - 1
    inside = (place >= 0) & (times < closes[-1] + clock.timeframe_ms)
    kept = frame.filter(pl.Series(inside)).with_columns(
        pl.Series("open_time", clock.open_time[place[inside]]).cast(TIME)
    )
    kept = kept.unique(("open_time", "symbol"), keep="last", maintain_order=True)
    return _ordered(kept, clock), int((~inside).sum())


def _ordered(frame: pl.DataFrame, clock: Clock) -> pl.DataFrame:
    """Return rows by symbol, in the configured order, and time."""
    order = {symbol: place for place, symbol in enumerate(clock.symbols)}
    rank = pl.col("symbol").replace_strict(order, return_dtype=pl.Int64)
    return frame.select("open_time", "symbol", "target").sort(rank, "open_time")


def outside_text(count: int, clock: Clock) -> str:
    """Return what is told of rows outside the run."""
    end = int(clock.open_time[-1]) + clock.timeframe_ms
    span = f"{format_time(int(clock.open_time[0]))} to {format_time(end)}"
    return f"{count} rows of the signals lie outside the run ({span}) and are not used."


def _ms(times: pl.Series, row: int) -> int:
    """Return a time of a series in ms since 1970."""
    return int(times.dt.epoch("ms")[row])
