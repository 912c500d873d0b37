"""Tables as the page takes them: texts to show, numbers to sort by."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import polars as pl

from backtester.report import numbers

Kind = Literal["text", "number", "percent", "time", "duration"]
"""What a column's raw values are: text, numbers, fractions shown as percent, ms since 1970, seconds."""

Raw = float | int | str | None

Focus = Callable[[dict[str, Any]], tuple[str, int, int] | None]
"""Row to the figure that shows it and the span to show, ``(plot, from_ms, to_ms)``; None where no figure does."""

_SEEN_ROWS = 40
"""Rows whose texts tell whether a column is written in percent."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    key : str
        Name of the column that it is sorted by.
    label : str
        Heading.
    text : callable
        Row (a dict of the frame's columns) to the lines of the cell.
    is_number : bool
        Right-aligned, sorted as a number.
    is_signed : bool
        Coloured by its sign (which the text shows too).
    length : int
        Characters that are shown of a text.
    also : str
        Name of the frame's column that the cell's second line shows: it can be filtered and is in the CSV too.
    bulk : callable, optional
        Frame to the texts of all its rows, the same as of ``text``: for tables of ten thousand rows.
    """

    key: str
    label: str
    text: Callable[[dict[str, Any]], str | tuple[str, str]]
    is_number: bool = True
    is_signed: bool = False
    length: int = 80
    also: str = ""
    bulk: Callable[[pl.DataFrame], Sequence[str | tuple[str, str]]] | None = None


@dataclass(frozen=True)
class Table:
    """A finished table.

    Attributes
    ----------
    name : str
        Identifier within the page.
    caption : str
        What a screen reader says first.
    columns : sequence of Column
        In order.
    rows : list of list
        Texts; a cell with two lines is a list of two.
    keys : list of list
        Raw values of each row, to sort and filter by: numbers, text or None; those of the second lines come last.
    kinds : list of str
        What each raw value is.
    focus : list of str or None
        ``plot:from:to`` of each row that a figure can show; empty where no row asks for it.
    total : int
        Rows that exist; more than are shown where the table was cut.
    page_size : int
        Rows shown at a time; narrow windows show at most 15.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str | tuple[str, str]]] = ()
    keys: Sequence[Sequence[Raw]] = ()
    kinds: Sequence[Kind] = ()
    focus: Sequence[str | None] = ()
    total: int = 0
    page_size: int = 50

    def payload(self) -> dict[str, Any]:
        """Return what the page's script needs."""
        columns = [{"label": c.label, "number": c.is_number, "signed": c.is_signed} for c in self.columns]
        fields = [
            {"key": key, "label": label, "kind": kind}
            for (key, label), kind in zip(_fields(self.columns), self.kinds, strict=True)
        ]
        told = {"columns": columns, "fields": fields, "rows": self.rows, "keys": self.keys, "size": self.page_size}
        return told | ({"focus": self.focus} if any(self.focus) else {})


def build(
    name: str,
    caption: str,
    frame: pl.DataFrame,
    columns: Sequence[Column],
    limit: int = 20_000,
    *,
    page_size: int = 50,
    focus: Focus | Sequence[str | None] | None = None,
) -> Table:
    """Return a table of a frame, its first ``limit`` rows.

    Parameters
    ----------
    name, caption : str
        See `Table`.
    frame : polars.DataFrame
        One row each.
    columns : sequence of Column
        What to show.
    limit : int
        Most rows that the page carries.
    page_size : int
        Rows shown at a time.
    focus : callable, optional
        Row (a dict of the frame's columns) to ``(plot, from_ms, to_ms)``: its first cell gets a button that goes to
        that stretch of the figure of that name; None for rows without one. Of ten thousand rows, their ``plot:from:to``
        at once.
    """
    shown = frame.head(limit)
    is_slow = callable(focus) or any(c.bulk is None for c in columns)
    records = shown.to_dicts() if is_slow else []
    texts = [c.bulk(shown) if c.bulk is not None else [c.text(r) for r in records] for c in columns]
    cut = [[_shown(text, c.length) for text in column] for c, column in zip(columns, texts, strict=True)]
    rows = list(map(list, zip(*cut, strict=True)))
    raw = [_raw(shown[key]) for key, _ in _fields(columns)]
    return Table(
        name=name,
        caption=caption,
        columns=columns,
        rows=rows,
        keys=list(map(list, zip(*raw, strict=True))),
        kinds=_kinds(shown, columns, rows),
        focus=[_place(focus(r)) for r in records] if callable(focus) else (focus or ())[:limit],
        total=frame.height,
        page_size=page_size,
    )


def milliseconds(time: datetime) -> int:
    """Return a time of a row as ms since 1970, as `Focus` names spans."""
    return round(time.timestamp() * 1000)


def _fields(columns: Sequence[Column]) -> list[tuple[str, str]]:
    """Return key and name of every raw value of a row: those of the first lines, then those of the second."""
    first = [(c.key, c.label.partition(", ")[0] if c.also else c.label) for c in columns]
    return first + [(c.also, _second_label(c)) for c in columns if c.also]


def _second_label(column: Column) -> str:
    """Return the name of a cell's second line: what the heading says behind a comma, else the frame's name for it."""
    said = column.label.partition(", ")[2] or column.also.replace("_", " ")
    return said[:1].upper() + said[1:]


def _kinds(
    frame: pl.DataFrame, columns: Sequence[Column], rows: Sequence[Sequence[str | tuple[str, str]]]
) -> list[Kind]:
    """Return what the raw values of each field are."""

    def line(place: int, second: int) -> list[str]:
        texts = [row[place] for row in rows[:_SEEN_ROWS]]
        return [t if isinstance(t, str) else t[second] for t in texts]

    first = [_kind(frame[c.key], line(i, 0)) for i, c in enumerate(columns)]
    return first + [_kind(frame[c.also], line(i, 1)) for i, c in enumerate(columns) if c.also]


def _kind(series: pl.Series, texts: Sequence[str]) -> Kind:
    """Return what raw values are, percent by how they are written."""
    if series.dtype == pl.Datetime:
        return "time"
    if series.dtype == pl.Duration:
        return "duration"
    if not series.dtype.is_numeric():
        return "text"
    return "percent" if any(text.endswith("%") for text in texts) else "number"


def _shown(text: str | tuple[str, str], length: int) -> str | tuple[str, str]:
    """Return a cell's lines, each cut to what a table can show."""
    if isinstance(text, str):
        return text if len(text) <= length else numbers.shorten(text, length)
    return numbers.shorten(text[0], length), numbers.shorten(text[1], length)


def _place(focus: tuple[str, int, int] | None) -> str | None:
    """Return a stretch of a figure as the page's script takes it."""
    return None if focus is None else f"{focus[0]}:{int(focus[1])}:{int(focus[2])}"


def _raw(series: pl.Series) -> list[Raw]:
    """Return the values to sort by: times in ms, durations in seconds, floats without idle digits."""
    if series.dtype == pl.Datetime:
        return series.dt.epoch("ms").to_list()
    if series.dtype == pl.Duration:
        return [None if ms is None else ms / 1000 for ms in series.dt.total_milliseconds().to_list()]
    if series.dtype.is_float():
        return [float(f"{v:.9g}") if v is not None and math.isfinite(v) else None for v in series.to_list()]
    return [_key(value) for value in series.to_list()]


def _key(value: object) -> Raw:
    """Return a value of a column that is neither a time nor a fraction."""
    if isinstance(value, datetime):
        return milliseconds(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, int) else str(value)
