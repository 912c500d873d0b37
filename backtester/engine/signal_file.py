"""Decisions that were made elsewhere: a Parquet or CSV file, checked and put on the bars of the run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.engine.decision_columns import (
    DecisionColumn,
    decision_columns,
    refuse_apart,
    refuse_unknown,
    refuse_untradable,
)
from backtester.engine.frames import TIME
from backtester.engine.signal_clock import SignalClock
from backtester.errors import DataError, UnknownNameError, UsageError, format_time
from backtester.strategy.columns import FLAGS

_FORMAT_HINT = (
    "Columns: open_time (the bar at whose close the row was decided) or decision_time, symbol, target, and where "
    "wanted stop_loss, take_profit, limit_price and the like (docs/runs.md)."
)


@dataclass(frozen=True)
class LeftOut:
    """Rows of a file that are not used.

    Attributes
    ----------
    outside : int
        Rows outside the replayed bars.
    unlisted : tuple of tuple of str, int and int
        Symbol, rows before its first bar, rows after its last one; symbols without any are left out.
    """

    outside: int = 0
    unlisted: tuple[tuple[str, int, int], ...] = ()

    def texts(self, clock: SignalClock) -> list[str]:
        """Return what is told of them, a sentence each."""
        found = []
        if self.outside:
            span = f"{format_time(int(clock.open_time[0]))} to {format_time(clock.end)}"
            found.append(f"Not used: {_rows(self.outside)} of the signals outside the run ({span}).")
        first, last = clock.first_bar, clock.last_bar
        for symbol, before, after in self.unlisted:
            place = list(clock.symbols).index(symbol)
            if before and first is not None:
                moment = format_time(int(clock.open_time[int(first[place])]))
                found.append(f"Not used: {_rows(before)} of the signals for {symbol} before its first bar ({moment}).")
            if after and last is not None:
                moment = format_time(int(clock.open_time[int(last[place])]))
                found.append(f"Not used: {_rows(after)} of the signals for {symbol} after its last bar ({moment}).")
        return found


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def read_signals(path: Path, clock: SignalClock) -> tuple[pl.DataFrame, LeftOut]:
    """Read a file of decisions.

    Parameters
    ----------
    path : Path
        ``.parquet`` or ``.csv`` with ``symbol`` (may be left out where one symbol is run), ``target`` or
        ``target_long`` and ``target_short``, any of the other columns of decisions, and either ``open_time``, which
        names the bar at whose close the row was decided, or ``decision_time``, which is mapped to the last bar that
        had closed by then. Times without an offset are UTC, whole numbers ms since 1970.
    clock : SignalClock
        The bars of the run.

    Returns
    -------
    tuple of polars.DataFrame and LeftOut
        ``open_time, symbol`` and the columns of decisions (float64 or boolean), rows that decide something, sorted by
        symbol and time; and which rows are not used.

    Raises
    ------
    UsageError, DataError, UnknownNameError
        Naming the file, the first bad row's time and the way on.
    """
    name = f"signals {path}"
    raw = _read(path, name)
    time = _time_column(raw, name)
    others = [column for column in raw.columns if column not in {time, "symbol"}]
    refuse_unknown(others, name)
    columns = decision_columns(others)
    refuse_apart(columns, name)
    frame = _typed(raw, time, columns, clock, name)
    decides = pl.any_horizontal(pl.col(column.name).is_not_null() for column in columns)
    frame = frame.filter(decides).sort(time, maintain_order=True)
    refuse_untradable(frame, columns, name, time)
    if time == "decision_time":
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
    return found[0]


def _typed(raw: pl.DataFrame, time: str, columns: list[DecisionColumn], clock: SignalClock, name: str) -> pl.DataFrame:
    """Return time, symbol and the decisions with their types."""
    if "symbol" not in raw.columns:
        if len(clock.symbols) != 1:
            raise DataError(name, "there is no column symbol and the run has several symbols", hint=_FORMAT_HINT)
        raw = raw.with_columns(pl.lit(clock.symbols[0]).alias("symbol"))
    for symbol in raw["symbol"].unique(maintain_order=True).to_list():
        if symbol not in clock.symbols:
            raise UnknownNameError("symbol", str(symbol), clock.symbols, f"in {name}")
    times = _as_time(raw[time], name)
    if times.null_count():
        row = int(times.is_null().arg_max() or 0)
        raise DataError(name, f"row {row + 1} has no time that can be read ({raw[time][row]!r})", hint=_FORMAT_HINT)
    decisions = {column.name: _values(raw[column.name], column, name) for column in columns}
    return pl.DataFrame({time: times, "symbol": raw["symbol"], **decisions})


def _values(values: pl.Series, column: DecisionColumn, name: str) -> pl.Series:
    """Return a column of decisions with its type: a number, or yes and no."""
    is_boolean = column.base in FLAGS
    if values.dtype == pl.Null or (is_boolean and values.dtype == pl.Boolean):
        return values.cast(pl.Boolean if is_boolean else pl.Float64)
    if not values.dtype.is_numeric():
        wanted = "true or false" if is_boolean else "numbers"
        raise DataError(name, f"the column {column.name} is of type {values.dtype}, not {wanted}", hint=_FORMAT_HINT)
    if is_boolean and not values.is_in([0, 1]).fill_null(value=True).all():
        raise DataError(name, f"the column {column.name} has other numbers than 0 and 1", hint=_FORMAT_HINT)
    return values.cast(pl.Boolean if is_boolean else pl.Float64)


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


def _by_bar(frame: pl.DataFrame, clock: SignalClock, name: str) -> tuple[pl.DataFrame, LeftOut]:
    """Return rows that name their bar, each of which must exist."""
    times = frame["open_time"].dt.epoch("ms").to_numpy()
    opens = clock.opens()
    first, end = int(opens[0]), int(opens[-1]) + clock.signal_ms
    off = np.flatnonzero((times - first) % clock.signal_ms)
    if off.size:
        raise DataError(
            name,
            f"open_time of {frame['symbol'][int(off[0])]} is no bar's open",
            int(times[off[0]]),
            "Name the bar's open, or call the column decision_time: then the last bar closed by then is taken.",
        )
    inside = (times >= first) & (times < end)
    missing = np.flatnonzero(inside & ~np.isin(times, opens))
    if missing.size:
        raise DataError(name, "there is no bar", int(times[missing[0]]), "The series has a gap there: drop the row.")
    kept = frame.filter(pl.Series(inside))
    twice = kept.filter(pl.struct("open_time", "symbol").is_duplicated())
    if twice.height:
        raise DataError(
            name,
            f"{twice['symbol'][0]} has two rows",
            int(twice["open_time"].dt.epoch("ms")[0]),
            "Keep one row a bar and symbol.",
        )
    return _listed(kept, clock, int((~inside).sum()))


def _by_decision(frame: pl.DataFrame, clock: SignalClock) -> tuple[pl.DataFrame, LeftOut]:
    """Return rows on the last bar that had closed when they were decided; the last decision on a bar counts."""
    times = frame["decision_time"].dt.epoch("ms").to_numpy()
    opens = clock.opens()
    closes = opens + clock.signal_ms
    place = np.searchsorted(closes, times, side="right") - 1
    inside = (place >= 0) & (times < closes[-1] + clock.signal_ms)
    kept = frame.filter(pl.Series(inside)).with_columns(pl.Series("open_time", opens[place[inside]]).cast(TIME))
    kept = kept.unique(("open_time", "symbol"), keep="last", maintain_order=True)
    return _listed(kept, clock, int((~inside).sum()))


def _listed(frame: pl.DataFrame, clock: SignalClock, outside: int) -> tuple[pl.DataFrame, LeftOut]:
    """Return rows by symbol, in the configured order, and time; those on which a symbol has no prices are left out."""
    order = {symbol: place for place, symbol in enumerate(clock.symbols)}
    symbol = frame["symbol"].replace_strict(order, return_dtype=pl.Int64)
    opened, places = frame["open_time"].dt.epoch("ms").to_numpy(), symbol.to_numpy()
    listed = pl.Series(clock.is_replayed(opened, places))
    kept = frame.with_columns(symbol.alias("place")).filter(listed).sort("place", "open_time")
    if "universe" in kept.columns:  # an empty field keeps what the symbol's last row said; at first it may be held
        kept = kept.with_columns(pl.col("universe").forward_fill().over("place").fill_null(value=True))
    others = [name for name in kept.columns if name not in {"open_time", "decision_time", "symbol", "place"}]
    unlisted = _unlisted(clock, opened, places)
    elsewhere = int((~listed).sum()) - sum(before + after for _, before, after in unlisted)
    return kept.select("open_time", "symbol", *others), LeftOut(outside + elsewhere, unlisted)


def _unlisted(
    clock: SignalClock, opened: NDArray[np.int64], places: NDArray[np.int64]
) -> tuple[tuple[str, int, int], ...]:
    """Return of each symbol how many rows stand on replayed bars before its first, or after its last."""
    bar = clock.ends(opened)
    never = np.zeros(bar.size, np.bool_)
    before = never if clock.first_bar is None else (bar >= 0) & (bar < clock.first_bar[places])
    inside = clock.signal_ms // clock.step_ms - 1
    after = never if clock.last_bar is None else (bar >= 0) & (bar - inside > clock.last_bar[places])
    found = []
    for place, symbol in enumerate(clock.symbols):
        early, late = (int((kind & (places == place)).sum()) for kind in (before, after & ~before))
        if early or late:
            found.append((symbol, early, late))
    return tuple(found)
