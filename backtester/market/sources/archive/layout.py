"""What the layouts of published archives have in common: the span that a name states, CSV with or without a header."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import PurePosixPath
from typing import Protocol

import polars as pl

from backtester.errors import DataError
from backtester.market.acceptance import parse_times
from backtester.market.schema import PRICES, DatasetKey

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_NUMBER = re.compile(r'[\s"]*-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?[\s"]*')
_PERIOD = re.compile(r"(\d{4})-(\d{2})(?:-(\d{2}))?")


@dataclass(frozen=True, order=True)
class Period:
    """The month or the day of one file.

    Attributes
    ----------
    start, end : int
        UTC, end excluded [ms].
    label : str
        As it stands in file names: ``"2024-01"`` or ``"2024-01-31"``.
    """

    start: int
    end: int
    label: str

    @property
    def is_month(self) -> bool:
        """Whether it is a month."""
        return len(self.label) == len("2024-01")


@dataclass(frozen=True)
class ArchiveFile:
    """A published file and what its name says.

    Attributes
    ----------
    name : str
        Its path, or what stands behind the address of the archive, with slashes.
    key : DatasetKey
        What it holds.
    period : Period
        The span that it covers.
    """

    name: str
    key: DatasetKey
    period: Period

    def __str__(self) -> str:
        return f"{self.key} ({PurePosixPath(self.name).name})"


@dataclass(frozen=True)
class LeftOut:
    """A file of the layout that is not imported.

    Attributes
    ----------
    name : str
        Its path.
    reason : str
        What it holds, in the plural: ``"dated contracts"``.
    """

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class RawRows:
    """What a CSV holds, not judged yet.

    Attributes
    ----------
    frame : polars.DataFrame
        The time column and the numbers of the series.
    notes : tuple of str
        What was left out or is unknown, for the user.
    """

    frame: pl.DataFrame
    notes: tuple[str, ...] = ()


class Layout(Protocol):
    """How one exchange names and writes its files.

    Attributes
    ----------
    name : str
        Of the format, as ``--format`` takes it.
    source : str
        For the manifest, in words.
    monthly, daily : tuple of str
        Series that are published by month and by day.
    checksum_suffix : str
        What the name of a file's checksum has more; empty where there are none.
    examples : str
        Names, for a hint.
    """

    name: str
    source: str
    monthly: tuple[str, ...]
    daily: tuple[str, ...]
    checksum_suffix: str
    examples: str

    def named(self, path: PurePosixPath, venue: str) -> ArchiveFile | LeftOut | None:
        """Return what a path says, None where it is no file of this layout.

        Parameters
        ----------
        path : PurePosixPath
            With its folders, which count as far as they are the exchange's.
        venue : str
            Name of the venue's rule pack.
        """

    def offset_ms(self, series: str) -> int:
        """Return how far the midnight at which the files of a series begin lies before that of UTC."""

    def path(self, key: DatasetKey, period: Period) -> str:
        """Return where a file is published, below the address of the archive."""

    def rows(self, csv: bytes, file: ArchiveFile) -> RawRows:
        """Return what a CSV of this layout holds."""


def parse_period(text: str, offset_ms: int = 0) -> Period | None:
    """Return the month or day of a label, None where it is neither.

    Examples
    --------
    >>> parse_period("2024-02").end - parse_period("2024-02").start == 29 * DAY_MS
    True
    """
    match = _PERIOD.fullmatch(text)
    if match is None:
        return None
    try:
        first = date(int(match[1]), int(match[2]), int(match[3] or 1))
        after = first + timedelta(days=1) if match[3] else _next_month(first)
    except (ValueError, OverflowError):
        return None
    return Period(_midnight(first) - offset_ms, _midnight(after) - offset_ms, text)


def months(start: int, end: int, offset_ms: int = 0) -> Iterator[Period]:
    """Yield the months that hold part of a range [ms]."""
    first = datetime.fromtimestamp((start + offset_ms) // 1000, UTC).date().replace(day=1)
    while _midnight(first) - offset_ms < end:
        after = _next_month(first)
        yield Period(_midnight(first) - offset_ms, _midnight(after) - offset_ms, f"{first:%Y-%m}")
        first = after


def days(start: int, end: int, offset_ms: int = 0) -> Iterator[Period]:
    """Yield the days that hold part of a range [ms]."""
    first = (start + offset_ms) // DAY_MS * DAY_MS - offset_ms
    while first < end:
        label = datetime.fromtimestamp((first + offset_ms) // 1000, UTC).date().isoformat()
        yield Period(first, first + DAY_MS, label)
        first += DAY_MS


def _next_month(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def read_columns(csv: bytes, columns: Mapping[str, int | Sequence[str]], name: str) -> pl.DataFrame:
    """Return columns of a CSV as text.

    Parameters
    ----------
    csv : bytes
        With a header, or without.
    columns : mapping of str to int or sequence of str
        Our names to the place of the column (then the header, if there is one, is not looked at) or to the names that
        it may have in the header (then there has to be one).
    name : str
        What to call the file in an error.

    Raises
    ------
    DataError
        It is no table, has no rows, or lacks a column.
    """
    first = csv[: csv.find(b"\n") if b"\n" in csv else len(csv)].decode("utf-8-sig", "replace").strip()
    has_header = bool(first) and not any(_NUMBER.fullmatch(cell) for cell in first.split(","))
    try:
        table = pl.read_csv(io.BytesIO(csv), has_header=has_header, infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as e:
        reason = str(e).splitlines()[0].rstrip(".")
        raise DataError(name, f"this is no CSV of one table ({reason})", hint="Fetch it again.") from e
    spelled = {c.strip().strip('"\ufeff').lower(): c for c in table.columns} if has_header else {}
    chosen = {}
    for ours, where in columns.items():
        if isinstance(where, int):
            found = table.columns[where] if where < table.width else None
        else:
            found = next((spelled[w] for w in where if w in spelled), None)
        if found is None:
            have = ", ".join(table.columns) if has_header else f"no header and {table.width} columns"
            raise DataError(
                name,
                f"there is no column {ours} (the file has {have})",
                hint="Another layout is imported with --format csv.",
            )
        chosen[ours] = pl.col(found).alias(ours)
    if table.is_empty():
        raise DataError(name, "the file has no rows", hint="Fetch it again.")
    return table.select(**chosen)


def numbers(frame: pl.DataFrame, columns: Sequence[str]) -> list[pl.Series]:
    """Return columns of text as floats; what is no number becomes null, which the judging of the rows refuses."""
    return [frame[c].str.strip_chars().cast(pl.Float64, strict=False) for c in columns]


def epoch_times(frame: pl.DataFrame, column: str, name: str) -> pl.Series:
    """Return a column of counts since 1970, whose unit shows in their size, as times."""
    text = frame[column].str.strip_chars()
    exact = text.cast(pl.Int64, strict=False)
    return parse_times(text if exact.null_count() else exact, name).alias(column)


def bar_frame(text: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return bars, and their volume where it is there, from columns of text."""
    frame = pl.DataFrame([epoch_times(text, "open_time", name), *numbers(text, PRICES)])
    return frame.with_columns(volumes(text["volume"], name)) if "volume" in text.columns else frame


def volumes(column: pl.Series, name: str) -> pl.Series:
    """Return a column of text as volumes; empty, ``None`` and ``NaN`` are unknown.

    Raises
    ------
    DataError
        A value is neither a number nor unknown.
    """
    text = column.str.strip_chars()
    known = text.filter(~text.str.to_lowercase().is_in(["", "none", "null", "nan"]))
    wrong = known.filter(known.cast(pl.Float64, strict=False).is_null())
    if len(wrong):
        raise DataError(name, f"{len(wrong)} volumes are no numbers, the first {wrong[0]!r}", hint="Fetch it again.")
    return text.cast(pl.Float64, strict=False).fill_nan(None).alias("volume")
