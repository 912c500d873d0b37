"""The tables of a run as CSV, XLSX or Parquet, for other programs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, get_args

import polars as pl
from polars import selectors

from backtester.engine.excel import EXCEL_ROWS, write_workbook
from backtester.engine.result import FRAMES, Result
from backtester.errors import StoreError, UnknownNameError, UsageError

Format = Literal["csv", "xlsx", "parquet"]
TABLES = ("summary", *FRAMES, "bars", "assumptions")
"""Tables that a run may have; ``assumptions`` where they were tried."""

_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%.3fZ"
_FORMULA = r"^[=+\-@\t\r\n]"
"""How a text begins that a spreadsheet would compute."""


def export_tables(
    result: Result,
    to: Path | str,
    format: Format = "csv",  # noqa: A002 - what the option is called
    tables: Sequence[str] | None = None,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write the tables of a run for other programs.

    Parameters
    ----------
    result : Result
        The run.
    to : Path or str
        Folder that gets ``RUN.xlsx``, or a folder ``RUN`` with a file for each table; it is made.
    format : {"csv", "xlsx", "parquet"}
        ``csv``: times as ISO text in UTC. ``xlsx``: one file with a sheet for each table, times in UTC without a zone,
        since Excel knows none. ``parquet``: times with their zone.
    tables : sequence of str, optional
        Some of ``summary, equity, fills, funding, liquidations, ledger, positions, orders, targets, trades, bars,
        assumptions``; all that the run has unless named.
    overwrite : bool
        Replace files that are there.

    Returns
    -------
    list of Path
        What was written, each whole or not at all.

    Raises
    ------
    UsageError
        A table or format does not exist, a file is there, or a table has more rows than a sheet of Excel holds.
    StoreError
        The files cannot be written.

    Notes
    -----
    A text never becomes a formula: XLSX marks texts as such, in CSV an apostrophe stands before one that begins with
    ``= + - @``. What is no number (null, NaN) is an empty cell.
    """
    if format not in get_args(Format):
        raise UnknownNameError("format", str(format), get_args(Format))
    frames = chosen_tables(result, tables)
    folder = Path(to)
    name = result.run_id or "run"
    if format == "xlsx":
        _refuse_long(frames)
        path = folder / f"{name}.xlsx"
        _refuse_present([path], overwrite=overwrite)
        with _whole(path) as temporary:
            write_workbook(temporary, frames, _about(result, frames))
        return [path]
    paths = {table: folder / name / f"{table}.{format}" for table in frames}
    _refuse_present(list(paths.values()), overwrite=overwrite)
    for table, path in paths.items():
        with _whole(path) as temporary:
            if format == "csv":
                as_text(frames[table]).write_csv(temporary, datetime_format=_TIME_FORMAT)
            else:
                frames[table].write_parquet(temporary, compression="zstd")
    return list(paths.values())


def chosen_tables(result: Result, names: Sequence[str] | None = None) -> dict[str, pl.DataFrame]:
    """Return tables of a run by name, all that it has or those that are named.

    Raises
    ------
    UsageError
        One does not exist.
    """
    has = {name for name in TABLES if name != "assumptions" or result.assumptions.height}
    for name in names or ():
        if name not in TABLES:
            raise UnknownNameError("table", name, TABLES)
        if name not in has:
            raise UsageError(f"{result.run_id} has no table {name!r}.", "`backtester run --assume` tries assumptions.")
    wanted = [name for name in TABLES if name in (names or has) and name in has]
    return {name: summary_frame(result) if name == "summary" else getattr(result, name) for name in wanted}


def summary_frame(result: Result) -> pl.DataFrame:
    """Return the metrics as ``metric, value, text``: a number in one column, all else in the other."""
    rows = [
        (key, None, value) if isinstance(value, str) else (key, None if value is None else float(value), None)
        for key, value in result.summary.items()
    ]
    return pl.DataFrame(rows, {"metric": pl.String, "value": pl.Float64, "text": pl.String}, orient="row")


def as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame for CSV: no text in it is a formula, what is no number is null."""
    text = selectors.string() | selectors.categorical() | selectors.enum()
    plain = frame.with_columns(text.cast(pl.String), selectors.float().fill_nan(None))
    guarded = pl.when(selectors.string().str.contains(_FORMULA)).then(pl.lit("'") + selectors.string())
    return plain.with_columns(guarded.otherwise(selectors.string()).name.keep()) if _has_text(plain) else plain


def _has_text(frame: pl.DataFrame) -> bool:
    return pl.String in frame.dtypes


def _about(result: Result, frames: Mapping[str, pl.DataFrame]) -> list[tuple[str, str]]:
    """Return what the first sheet says."""
    return [
        ("Run", result.run_id),
        ("What", result.title),
        ("Times", "UTC; Excel knows no time zones"),
        ("Amounts", f"{result.settle}; costs are negative unless the column's name says otherwise"),
        ("Rates", "fractions, never percent"),
        ("Empty cells", "not defined"),
        *((f"Sheet {name}", f"{frame.height:,} rows") for name, frame in frames.items()),
    ]


def _refuse_long(frames: Mapping[str, pl.DataFrame]) -> None:
    """Refuse tables that a sheet does not hold."""
    long = [name for name, frame in frames.items() if frame.height > EXCEL_ROWS]
    if not long:
        return
    rest = [name for name in frames if name not in long]
    others = f"leave it out with --tables {','.join(rest)}, or " if rest else ""
    raise UsageError(
        f"{long[0]} has {frames[long[0]].height:,} rows, and a sheet of Excel holds {EXCEL_ROWS:,}.",
        f"Take --format parquet or csv for it: {others}write all in the other format.",
    )


def _refuse_present(paths: Sequence[Path], *, overwrite: bool) -> None:
    present = [path for path in paths if path.exists()]
    if present and not overwrite:
        more = f" and {len(present) - 1} more" if len(present) > 1 else ""
        raise UsageError(f"{present[0]}{more} exists.", "Choose another --to, or replace it with --overwrite.")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Give a temporary name; the file gets its own when the block ends well and leaves nothing when it does not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}.", "Free some space or choose another --to."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
