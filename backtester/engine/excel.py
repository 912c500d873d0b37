"""Frames as sheets of one XLSX file, written row by row so that long ones take little memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

EXCEL_ROWS = 1_048_575
"""Rows of a sheet beside its heading."""
LONGEST_TEXT = 32_767
"""Characters of a cell."""

_EPOCH = 25_569.0  # days from Excel's first to 1970
_DAY_MS = 86_400_000
_SAFE = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False, "constant_memory": True}
_WIDTH, _TIME_WIDTH = 16, 24

Write = Callable[[int, int, Any], object]


def write_workbook(path: Path, frames: Mapping[str, pl.DataFrame], about: Sequence[tuple[str, str]]) -> None:
    """Write a file with a sheet for each frame, behind one that says what they are.

    Parameters
    ----------
    path : Path
        The file.
    frames : mapping of str to polars.DataFrame
        Sheets by name; times lose their zone, texts stay texts, what is null or not finite is empty, and a text longer
        than a cell can hold is cut and ends with an ellipsis.
    about : sequence of tuple of str
        Lines of the first sheet.
    """
    from xlsxwriter import Workbook  # noqa: PLC0415 - only where it is asked for
    from xlsxwriter.exceptions import FileCreateError  # noqa: PLC0415

    try:
        with Workbook(str(path), _SAFE) as book:
            _write_book(book, frames, about)
    except FileCreateError as error:
        raise OSError(str(error)) from error


def _write_book(book: Any, frames: Mapping[str, pl.DataFrame], about: Sequence[tuple[str, str]]) -> None:
    """Write all sheets."""
    bold = book.add_format({"bold": True})
    moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000"})
    first = book.add_worksheet("about")
    first.set_column(0, 0, 20, bold)
    first.set_column(1, 1, 90)
    for row, (name, text) in enumerate(about):
        first.write_string(row, 0, _cut(name))
        first.write_string(row, 1, _cut(text))
    for name, frame in frames.items():
        _write_sheet(book.add_worksheet(name), frame, bold, moment)


def _write_sheet(sheet: Any, frame: pl.DataFrame, bold: Any, moment: Any) -> None:
    """Write one frame; constant memory asks for one row after the other."""
    plain = frame.with_columns(
        (pl.col(pl.Datetime).dt.timestamp("ms") / _DAY_MS + _EPOCH),
        pl.col(pl.Duration).dt.total_milliseconds() / _DAY_MS,
    )
    writers: list[Write] = []
    for place, kind in enumerate(frame.dtypes):
        is_time = isinstance(kind, pl.Datetime)
        sheet.set_column(place, place, _TIME_WIDTH if is_time else _WIDTH)
        if is_time:
            writers.append(lambda row, column, value: sheet.write_number(row, column, value, moment))
        elif kind == pl.Boolean:
            writers.append(sheet.write_boolean)
        elif kind.is_numeric() or isinstance(kind, pl.Duration):
            writers.append(sheet.write_number)
        else:
            writers.append(lambda row, column, value: sheet.write_string(row, column, _cut(str(value))))
    sheet.freeze_panes(1, 0)
    for column, name in enumerate(frame.columns):
        sheet.write_string(0, column, _cut(name), bold)
    for number, values in enumerate(plain.iter_rows(), 1):
        for column, value in enumerate(values):
            if value is not None and not (isinstance(value, float) and not math.isfinite(value)):
                writers[column](number, column, value)
    if frame.width and frame.height:
        sheet.autofilter(0, 0, frame.height, frame.width - 1)


def _cut(text: str) -> str:
    """Return a text that a cell holds."""
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "\u2026"
