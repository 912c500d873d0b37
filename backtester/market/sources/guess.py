"""The format of what is to be imported, told from its names."""

from __future__ import annotations

from itertools import islice
from pathlib import Path, PurePosixPath

from backtester.errors import UsageError
from backtester.market.intake import existing
from backtester.market.sources.archive.bring import LAYOUT_NAMES, layout_named
from backtester.market.sources.freqtrade import named_file

_LOOKED_AT = 20_000
_TABLES = {".csv": "csv", ".csv.gz": "csv", ".csv.zip": "csv", ".parquet": "parquet"}


def is_address(path: str) -> bool:
    """Return whether a path is one of the web."""
    return path.startswith(("http://", "https://"))


def guess_format(path: str, venue: str) -> str:
    """Return the one format that fits.

    Parameters
    ----------
    path : str
        A file, a folder or an address.
    venue : str
        Whose data it is.

    Raises
    ------
    UsageError
        None fits, or several do.
    """
    fitting = {f"{venue}-archive"} & {*LAYOUT_NAMES} if is_address(path) else _of_files(existing(Path(path)), venue)
    if len(fitting) == 1:
        return fitting.pop()
    several = " and ".join(sorted(fitting))
    raise UsageError(
        f"{path} holds files of {several}." if fitting else f"What {path} holds cannot be told from its names.",
        "Say it with --format.",
    )


def _of_files(path: Path, venue: str) -> set[str]:
    files = [path] if path.is_file() else [f for f in islice(path.rglob("*"), _LOOKED_AT) if f.is_file()]
    layouts = [layout_named(name) for name in LAYOUT_NAMES]
    fitting: set[str] = set()
    for file in files:
        if named_file(file) is not None:
            fitting.add("freqtrade")
        place = PurePosixPath(file.resolve().as_posix())
        fitting.update(layout.name for layout in layouts if layout.named(place, venue) is not None)
    if fitting or path.is_dir():
        return fitting
    return {kind for ending, kind in _TABLES.items() if path.name.lower().endswith(ending)}
