"""The argument that names a stored run, and the folder that it means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

NEWEST = "newest"
"""What may stand in place of a name."""

RunArgument = Annotated[
    str | None, typer.Argument(metavar="RUN", help="Name of a run, the beginning of one, or its folder; the newest.")
]
NamedRunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Name of a run, the beginning of one, its folder, or newest.")
]


def run_folder(run: str | None, out: Path) -> Path:
    """Return the folder of a run by name, by the beginning of its name, or by path; the newest without either.

    Parameters
    ----------
    run : str or None
        As typed; ``newest`` means the newest too.
    out : Path
        Folder of all runs.

    Raises
    ------
    UsageError
        There is no such run, or several begin so.
    """
    from backtester.engine.folder import run_folders
    from backtester.errors import UsageError

    folders: Sequence[Path] = run_folders(out)
    if run in {None, NEWEST}:
        if not folders:
            raise UsageError(f"There is no run in {out}.", "Make one with `backtester run STRATEGY`.")
        return folders[-1]
    assert run is not None
    if (Path(run) / "manifest.json").is_file():
        return Path(run)
    return _named(run, folders, out)


def any_folder(run: str, out: Path) -> Path:
    """Return the folder of a run or a search, whole or not, by name, its beginning, or path."""
    from backtester.report.shelf import is_of_the_shelf, read_shelf

    if run == NEWEST:
        return run_folder(run, out)
    if is_of_the_shelf(Path(run)):
        return Path(run)
    return _named(run, [out / row.name for row in read_shelf(out).rows], out)


def _named(run: str, folders: Sequence[Path], out: Path) -> Path:
    from backtester.errors import UnknownNameError, UsageError

    found = [folder for folder in folders if folder.name == run] or [f for f in folders if f.name.startswith(run)]
    if len(found) > 1:
        raise UsageError(f"{len(found)} runs begin with {run!r}.", f"Among them: {found[0].name}, {found[1].name}.")
    if not found:
        raise UnknownNameError("run", run, [folder.name for folder in folders], f"in {out}")
    return found[0]
