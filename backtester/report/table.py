"""Tables as the page takes them: texts to show, numbers to sort by."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from backtester.report import numbers


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
    """

    key: str
    label: str
    text: Callable[[dict[str, Any]], str | tuple[str, str]]
    is_number: bool = True
    is_signed: bool = False
    length: int = 80


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
        Sort keys of each row: numbers, text or None.
    total : int
        Rows that exist; more than are shown where the table was cut.
    page_size : int
        Rows shown at a time; narrow windows show at most 15.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: list[list[str | tuple[str, str]]] = field(default_factory=list)
    keys: list[list[float | int | str | None]] = field(default_factory=list)
    total: int = 0
    page_size: int = 50

    def payload(self) -> dict[str, Any]:
        """Return what the page's script needs."""
        columns = [{"label": c.label, "number": c.is_number, "signed": c.is_signed, "key": c.key} for c in self.columns]
        return {"columns": columns, "rows": self.rows, "keys": self.keys, "size": self.page_size}


def build(
    name: str,
    caption: str,
    frame: pl.DataFrame,
    columns: Sequence[Column],
    limit: int = 20_000,
    *,
    page_size: int = 50,
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
    """
    records = frame.head(limit).to_dicts()
    return Table(
        name=name,
        caption=caption,
        columns=columns,
        rows=[[_shown(c.text(r), c.length) for c in columns] for r in records],
        keys=[[_key(r[c.key]) for c in columns] for r in records],
        total=frame.height,
        page_size=page_size,
    )


def _shown(text: str | tuple[str, str], length: int) -> str | tuple[str, str]:
    """Return a cell's lines, each cut to what a table can show."""
    if isinstance(text, str):
        return numbers.shorten(text, length)
    return numbers.shorten(text[0], length), numbers.shorten(text[1], length)


def _key(value: object) -> float | int | str | None:
    """Return a value to sort by: times in ms, floats without idle digits."""
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, int) else str(value)
