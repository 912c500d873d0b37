"""``backtester reports export`` and ``backtester reports reproduce``: a run's tables elsewhere, a run made again."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backtester.cli.options import DEFAULT_OUT, JsonOption, OutOption, QuietOption, split_list
from backtester.cli.run_argument import NamedRunArgument, RunArgument, run_folder

if TYPE_CHECKING:
    from backtester.research.reproduction import FrameDifference, Reproduction

_SHOWN = 12
_MANY_CELLS = 1_000_000


class FileFormat(StrEnum):
    """What is written."""

    CSV = "csv"
    XLSX = "xlsx"
    PARQUET = "parquet"


def export_run(
    run: RunArgument = None,
    *,
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="Folder that gets the files; default: here.")
    ] = Path(),
    file_format: Annotated[
        FileFormat, typer.Option("--format", help="csv and parquet: a folder with a file a table; xlsx: one file.")
    ] = FileFormat.CSV,
    tables: Annotated[
        list[str] | None, typer.Option("--tables", metavar="A,B", help="Some tables: fills,trades; default: all.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    out: OutOption = DEFAULT_OUT,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write every table of a run as CSV, XLSX or Parquet; times are UTC."""
    from backtester.cli.output import print_json, say
    from backtester.engine.export import chosen_tables, export_tables
    from backtester.engine.folder import load_result
    from backtester.errors import UsageError

    names = split_list(tables)
    if tables and not names:
        raise UsageError("--tables names no table.", "Leave it out to write all of them.")
    result = load_result(run_folder(run, out))
    cells = sum(frame.height * frame.width for frame in chosen_tables(result, names or None).values())
    if file_format is FileFormat.XLSX and cells > _MANY_CELLS and not quiet:
        say(f"Writing {cells:,} cells; Excel's format takes a while (Parquet does not) …")
    written = export_tables(result, to, file_format.value, names or None, overwrite=overwrite)
    if as_json:
        print_json({"run": result.run_id, "format": file_format, "files": [str(path.resolve()) for path in written]})
        return
    if quiet:
        return
    if file_format is FileFormat.XLSX:
        say("Times are UTC, without a zone, since Excel knows none.")
        typer.echo(f"Written: {written[0].resolve()}")
    else:
        count = f"{len(written)} table{'' if len(written) == 1 else 's'}"
        typer.echo(f"Written: {count} in {written[0].parent.resolve()}")


def reproduce_run(
    run: NamedRunArgument,
    *,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store", metavar="DIR", help="Folder of the market data; default: the one of the run, else data."
        ),
    ] = None,
    out: OutOption = DEFAULT_OUT,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a stored run again from its configuration and its copy of the strategy, and say what differs.

    Nothing is written. Exit code 0: every table and every metric is the same to the last bit; 1: something differs.
    """
    from backtester.cli.output import print_json
    from backtester.cli.run import _progress
    from backtester.research.reproduction import reproduce

    with _progress(quiet=quiet) as progress:
        found = reproduce(run_folder(run, out), store, progress)
    if as_json:
        print_json(_json(found))
    elif not quiet:
        _print(found)
    if not found.is_equal:
        raise typer.Exit(1)


def _json(found: Reproduction) -> dict[str, Any]:
    """Return what differs as JSON has it."""
    return {
        "run": found.stored.run_id,
        "equal": found.is_equal,
        "tables": [
            {
                "table": one.table,
                "what": one.what,
                "first_row": one.row,
                "column": one.column,
                "stored": one.stored,
                "now": one.now,
                "rows": one.rows,
            }
            for one in found.frames
        ],
        "metrics": {key: {"stored": before, "now": now} for key, (before, now) in found.metrics.items()},
        "warnings": found.notices,
        "causes": list(found.causes),
    }


def _print(found: Reproduction) -> None:
    """Print what differs, and what else is not as it was."""
    from backtester.cli.output import print_table

    name = found.stored.run_id
    if found.is_equal:
        typer.echo(f"{name} is reproduced: every table and every metric is the same to the last bit.")
    else:
        counts = f"{_counted(len(found.frames), 'table')} and {_counted(len(found.metrics), 'metric')}"
        typer.echo(f"{name} is not reproduced: {counts} differ.")
    if found.frames:
        print_table(("table", "difference", "first at"), [_frame_cells(one) for one in found.frames], whole=(0,))
    if found.metrics:
        cells = [[key, _text(before), _text(now)] for key, (before, now) in list(found.metrics.items())[:_SHOWN]]
        more = len(found.metrics) - len(cells)
        title = f"Metrics, the first {_SHOWN} of {len(found.metrics)}" if more else "Metrics"
        print_table(("metric", "stored", "now"), cells, title, right=(1, 2))
    if found.causes:
        typer.echo("Not as it was:")
        for cause in found.causes:
            typer.echo(f"  {cause}")
    for which, texts in found.notices.items():
        for text in texts:
            typer.echo(f"Warning only {'in the stored run' if which == 'stored' else 'now'}: {text}")
    if not found.is_equal and not found.causes:
        typer.echo("Data, configuration, strategy and versions have the hashes that they had.")


def _frame_cells(one: FrameDifference) -> list[str]:
    place = "" if one.row is None else f"row {one.row:,}"
    if one.column is not None:
        place = f"{place}, {one.column}: {_text(one.stored)} was stored, now {_text(one.now)}"
    return [one.table, one.what, place]


def _text(value: Any) -> str:
    return "-" if value is None else f"{value!r}" if isinstance(value, float) else str(value)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
