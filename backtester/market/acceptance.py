"""What an import accepts: bars and settlements are judged before they reach the store.

Rows out of order are sorted and repeated rows that agree are dropped, both said in a note. Everything else that cannot
be true is refused with its first time; ``drop_bad`` is the one way to go on, and leaves a hole that `market.quality`
shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from backtester.errors import DataError, format_time
from backtester.market.intervals import snap_to_minute
from backtester.market.schema import PRICES, TIME, timeframe_name

DROP_HINT = (
    "Correct the file, or leave these rows out with --drop-bad: the hole that they leave is then shown by "
    "`backtester data check`."
)
_DAY_MS = 86_400_000


@dataclass(frozen=True, eq=False)
class Accepted:
    """Rows that may be stored.

    Attributes
    ----------
    frame : polars.DataFrame
        Sorted by time, without repetitions.
    notes : tuple of str
        What was done to them, for the user.
    """

    frame: pl.DataFrame
    notes: tuple[str, ...]


def accept_bars(frame: pl.DataFrame, series: str, bar_ms: int, name: str, *, drop_bad: bool = False) -> Accepted:
    """Judge the bars of one series.

    Parameters
    ----------
    frame : polars.DataFrame
        ``open_time`` as `schema.TIME`, prices and, where known, volume as floats.
    series : str
        ``"trade"``, ``"mark"``, ``"index"`` or ``"premium"`` (whose values may be negative).
    bar_ms : int
        Length of a bar.
    name : str
        What to call the data in an error.
    drop_bad : bool
        Leave impossible bars out instead of refusing the file.

    Raises
    ------
    DataError
        A bar cannot be true, two rows of one time disagree, or the times do not fit the timeframe.
    """
    notes: list[str] = []
    frame = _without_bad(frame, "open_time", impossible_bars(series, frame.columns), name, notes, drop_bad=drop_bad)
    frame = _in_order(frame, "open_time", notes)
    frame = _without_repeats(frame, "open_time", [c for c in frame.columns if c != "open_time"], name, notes)
    _check_grid(frame, bar_ms, name)
    return Accepted(frame, tuple(notes))


def accept_funding(frame: pl.DataFrame, name: str, *, drop_bad: bool = False) -> Accepted:
    """Judge settlements and snap their times to the minute.

    Parameters
    ----------
    frame : polars.DataFrame
        ``funding_time`` as `schema.TIME`, ``funding_rate`` and, where known, ``mark_price`` as floats. A mark price of
        zero means unknown.
    name : str
        What to call the data in an error.
    drop_bad : bool
        Leave impossible settlements out instead of refusing the file.

    Raises
    ------
    DataError
        A rate cannot be true, or two records of one settlement disagree.
    """
    notes: list[str] = []
    if "mark_price" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, dtype=pl.Float64).alias("mark_price"))
    mark = pl.col("mark_price").fill_nan(None)
    frame = frame.with_columns(pl.when(mark != 0).then(mark).alias("mark_price"))
    frame = _without_bad(frame, "funding_time", _IMPOSSIBLE_SETTLEMENTS, name, notes, drop_bad=drop_bad)
    frame = _in_order(frame, "funding_time", notes)
    frame = frame.with_columns(snap_to_minute(pl.col("funding_time")).alias("funding_time"))
    known_first = frame.sort("funding_time", pl.col("mark_price").is_null(), maintain_order=True)
    return Accepted(
        _without_repeats(known_first, "funding_time", ["funding_rate"], name, notes, agree=["mark_price"]), tuple(notes)
    )


def impossible_bars(series: str, columns: Sequence[str]) -> dict[str, pl.Expr]:
    """Return what makes a bar impossible: a reason in words and the expression that finds it.

    Parameters
    ----------
    series : str
        A bar series.
    columns : sequence of str
        Columns that are there; a volume that is not cannot be wrong.
    """
    unknown = pl.any_horizontal(pl.col(p).is_null() | ~pl.col(p).is_finite() for p in PRICES)
    reasons = {"a price is empty, NaN or infinite": unknown}
    if series != "premium":
        reasons["a price is zero or negative"] = pl.any_horizontal(pl.col(p) <= 0 for p in PRICES)
    reasons["the low is above the open or close"] = pl.col("low") > pl.min_horizontal("open", "close")
    reasons["the high is below the open or close"] = pl.col("high") < pl.max_horizontal("open", "close")
    if "volume" in columns:
        reasons["the volume is negative or infinite"] = (pl.col("volume") < 0) | pl.col("volume").is_infinite()
    return reasons


_IMPOSSIBLE_SETTLEMENTS = {
    "the rate is empty, NaN or infinite": pl.col("funding_rate").is_null() | ~pl.col("funding_rate").is_finite(),
    "the rate is 100 % or more (rates are fractions: 0.0001 is 0.01 %)": pl.col("funding_rate").abs() >= 1,
    "the mark price is negative or infinite": (pl.col("mark_price") < 0) | pl.col("mark_price").is_infinite(),
}


def _without_bad(
    frame: pl.DataFrame, time: str, reasons: dict[str, pl.Expr], name: str, notes: list[str], *, drop_bad: bool
) -> pl.DataFrame:
    """Return the rows that can be true; refuse the others, or leave them out."""
    reason = pl.coalesce(pl.when(test).then(pl.lit(text)) for text, test in reasons.items())
    judged = frame.select(pl.col(time), reason.alias("reason"))
    is_bad = judged["reason"].is_not_null()
    count = int(is_bad.sum())
    if not count:
        return frame
    first = judged.filter(is_bad).sort(time).head(1)
    at, why = int(first[time].dt.epoch("ms")[0]), first["reason"][0]
    rows = f"{count} impossible row{'s' * (count > 1)}"
    if not drop_bad:
        hint = DROP_HINT
        if why.startswith("a price is zero or negative"):
            hint = f"A premium index, which may be negative, is imported with --series premium. Else: {DROP_HINT}"
        raise DataError(name, f"{rows}; {why}, first", at, hint)
    notes.append(f"{rows} left out, the first at {format_time(at)}: {why}")
    return frame.filter(~is_bad)


def _in_order(frame: pl.DataFrame, time: str, notes: list[str]) -> pl.DataFrame:
    if frame[time].is_sorted():
        return frame
    notes.append("the rows were not in order of time and have been sorted")
    return frame.sort(time, maintain_order=True)


def _without_repeats(
    frame: pl.DataFrame, time: str, values: list[str], name: str, notes: list[str], *, agree: Sequence[str] = ()
) -> pl.DataFrame:
    """Return one row a time; ``values`` must agree, null included, those in ``agree`` only where both are known."""
    repeated = frame.filter(frame[time].is_duplicated())
    if repeated.is_empty():
        return frame
    differs = [pl.col(c).n_unique() > 1 for c in values] + [pl.col(c).drop_nulls().n_unique() > 1 for c in agree]
    bad = repeated.group_by(time).agg(pl.any_horizontal(differs).alias("differs")).filter("differs").sort(time)
    if not bad.is_empty():
        raise DataError(
            name,
            f"rows of the same time disagree ({bad.height} such time{'s' * (bad.height > 1)}), first",
            int(bad[time].dt.epoch("ms")[0]),
            "Only you can tell which row is right: remove the others from the file and import it again.",
        )
    one = frame.unique(time, keep="first", maintain_order=True)
    count = frame.height - one.height
    notes.append(f"{count} repeated row{'s' * (count > 1)} that agree{'s' * (count == 1)} left out")
    return one


def _check_grid(frame: pl.DataFrame, bar_ms: int, name: str) -> None:
    """Refuse bars that do not stand on the grid of their timeframe."""
    times = frame["open_time"].dt.epoch("ms")
    if times.is_empty():
        return
    anchor = 0 if _DAY_MS % bar_ms == 0 else int(times[0])  # weeks and other long bars start where the file says
    off = times.filter((times - anchor) % bar_ms != 0)
    if off.is_empty():
        return
    steps = times.diff().drop_nulls().mode().sort().to_list()
    usual = timeframe_name(steps[0]) if steps and steps[0] > 0 and steps[0] % 1000 == 0 else ""
    raise DataError(
        name,
        f"{len(off)} bar{'s' * (len(off) > 1)} do not open on the grid of {timeframe_name(bar_ms)}, first",
        int(off[0]),
        f"Most rows are {usual} apart: give the right --timeframe, or correct the file." if usual else "",
    )


def parse_times(column: pl.Series, name: str) -> pl.Series:
    """Return UTC times from ISO text, dates or epoch numbers; the unit of a number is known by its size.

    Parameters
    ----------
    column : polars.Series
        Text, integers, floats, dates or datetimes (without a zone: UTC).
    name : str
        What to call the data in an error.

    Raises
    ------
    DataError
        A value is not a time; its row is named.
    """
    if isinstance(column.dtype, pl.Datetime):
        naive = column.dtype.time_zone is None
        out = column.dt.replace_time_zone("UTC") if naive else column.dt.convert_time_zone("UTC")
        out = out.cast(TIME)
    elif column.dtype == pl.Date:
        out = column.cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    elif column.dtype.is_numeric():
        out = _from_epoch(column.cast(pl.Float64, strict=False) if column.dtype.is_float() else column)
    else:
        out = _from_text(column.cast(pl.String))
    if out.null_count():
        row = int(out.is_null().arg_true()[0])
        raise DataError(
            name,
            f"row {row + 1} has no time: {column[row]!r} in the column {column.name!r}",
            hint="Times are ISO text (2025-01-31 08:00:00, UTC unless it says otherwise) or a count of s, ms, us or ns "
            "since 1970. Another column is chosen with --columns open_time=NAME (funding_time=NAME for funding).",
        )
    return out.alias(column.name)


def _from_epoch(column: pl.Series) -> pl.Series:
    """Return times from counts since 1970: seconds up to the year 5138, then ms, us, ns."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
    size = pl.col("t").abs()
    ms = (
        pl.when(size < 1e11).then(pl.col("t") * 1000)
        .when(size < 1e14).then(pl.col("t"))
        .when(size < 1e17).then(pl.col("t") // 1_000)
        .otherwise(pl.col("t") // 1_000_000)
    )  # fmt: skip
    return pl.DataFrame({"t": column}).select(ms.round().cast(pl.Int64).cast(TIME))["t"]


def _from_text(column: pl.Series) -> pl.Series:
    """Return times from ISO text with or without zone, and from numbers written as text."""
    text = pl.col("t").str.strip_chars()
    plain = text.str.replace(r"^(\d{4}-\d\d-\d\d)T", "${1} ").str.replace(r"\s*(Z|UTC|\+00:?00)$", "")
    full = plain.str.replace(r"^(\d{4}-\d\d-\d\d)$", "$1 00:00").str.replace(r"^(\S+ \d\d:\d\d)([+-]|$)", "$1:00$2")
    zoned = full.str.replace(r"\s*([+-]\d\d):?(\d\d)$", "$1$2")
    frame = pl.DataFrame({"t": column})
    local = full.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ms", strict=False).dt.replace_time_zone("UTC")
    other = zoned.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", time_unit="ms", strict=False)
    out = frame.select(pl.coalesce(local, other.dt.convert_time_zone("UTC")).cast(TIME).alias("t"))["t"]
    if not out.null_count():
        return out
    numbers = frame.select(text.cast(pl.Float64, strict=False).alias("t"))["t"]
    exact = frame.select(text.cast(pl.Int64, strict=False).alias("t"))["t"]
    epoch = _from_epoch(exact).zip_with(exact.is_not_null(), _from_epoch(numbers))
    return out.zip_with(out.is_not_null(), epoch)
