"""What stands in a folder of runs: a row for each run and search, the broken and the half-written ones with the reason.

Reading a folder again costs nothing where its files have the sizes and times that they had: the rows are kept in
``.shelf/rows.json`` beside the folders. The file may be deleted; it is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from backtester.engine.folder import PARTIAL_PREFIX
from backtester.engine.stage_lock import is_abandoned
from backtester.engine.tags import read_tags
from backtester.errors import BacktesterError
from backtester.report.shelf_rows import SEARCHES, clearing_row, run_row, search_row

Kind = Literal["run", "sweep", "optimize", "walk-forward", "clearing"]
State = Literal["whole", "unfinished", "broken"]

SHELF_FOLDER = ".shelf"
CACHE_FILE = "rows.json"
_CACHE_FORMAT = 1
_OF_A_RUN = ("manifest.json", "summary.json", "equity.parquet")


@dataclass(frozen=True)
class Row:
    """One folder of the shelf.

    Attributes
    ----------
    name : str
        Name of the folder, which is that of the run.
    kind : {"run", "sweep", "optimize", "walk-forward", "clearing"}
        What made it.
    state : {"whole", "unfinished", "broken"}
        Unfinished is what goes on, or ended before its end.
    reason : str
        Why it is not whole, as a sentence.
    created : str
        When it was made, ISO 8601, UTC; empty where nothing tells.
    strategy, venue, symbols, timeframe, start, end, settle : str
        What was run; symbols separated by commas.
    synthetic : bool
        Whether the market was made up.
    figures : dict
        Metrics by the keys of a summary; None is one that is not defined.
    facts : list of str
        What else a search has to say: sets that are done, the best parameters.
    spark : list of list of float
        At most 60 points of the equity: share of the span that is over, share of the balance at the start.
    has_page : bool
        Whether ``report.html`` is there.
    tags : list of str
        Sorted.
    abandoned : bool
        A half-written folder that no living process writes.
    """

    name: str
    kind: Kind = "run"
    state: State = "whole"
    reason: str = ""
    created: str = ""
    strategy: str = ""
    venue: str = ""
    symbols: str = ""
    timeframe: str = ""
    start: str = ""
    end: str = ""
    settle: str = ""
    synthetic: bool = False
    figures: dict[str, float | None] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    spark: list[list[float]] = field(default_factory=list)
    has_page: bool = False
    tags: list[str] = field(default_factory=list)
    abandoned: bool = False


@dataclass(frozen=True)
class Shelf:
    """Rows of a folder of runs, the newest first, and how to keep them."""

    out: Path
    rows: tuple[Row, ...]
    marks: dict[str, str]

    @property
    def runs(self) -> list[Row]:
        """Whole runs."""
        return [row for row in self.rows if row.kind == "run" and row.state == "whole"]

    @property
    def searches(self) -> list[Row]:
        """Sweeps, optimisations, walks and clearings that can be read."""
        return [row for row in self.rows if row.kind != "run" and row.state != "broken"]

    @property
    def unreadable(self) -> list[Row]:
        """What is broken or half-written."""
        return [row for row in self.rows if row.state == "broken" or (row.kind == "run" and row.state != "whole")]

    def keep(self) -> None:
        """Keep the rows for the next reading; what cannot be written is not kept."""
        content = {
            "format": _CACHE_FORMAT,
            "rows": {row.name: [self.marks[row.name], vars(row)] for row in self.rows if row.name in self.marks},
        }
        folder = self.out / SHELF_FOLDER
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder, delete=False) as file:
                file.write(json.dumps(content, separators=(",", ":")))
            Path(file.name).replace(folder / CACHE_FILE)


def read_shelf(out: Path) -> Shelf:
    """Return what stands in a folder of runs; nothing of it is changed.

    Parameters
    ----------
    out : Path
        Folder of all runs; need not exist.
    """
    kept = _kept(out)
    rows: list[Row] = []
    marks: dict[str, str] = {}
    for folder in _folders(out):
        if folder.name.startswith(PARTIAL_PREFIX):
            rows.append(_half_written(folder))
            continue
        names, mark = _mark(folder)
        kind = _kind(names)
        if kind is None:
            continue
        before = kept.get(folder.name)
        row = before[1] if before is not None and before[0] == mark else None
        rows.append(row or _row(folder, kind, names))
        marks[folder.name] = mark
    rows.sort(key=lambda row: (row.created or _name_time(row.name), row.name), reverse=True)
    return Shelf(out, tuple(rows), marks)


def is_of_the_shelf(folder: Path) -> bool:
    """Return whether a folder is one of a run or of a search, whole or not."""
    return folder.is_dir() and _kind(_mark(folder)[0]) is not None


def _folders(out: Path) -> Iterable[Path]:
    """Return the folders that may be runs; hidden ones are none but for those that are being written."""
    try:
        with os.scandir(out) as found:
            names = [entry.name for entry in found if entry.is_dir()]
    except OSError:
        return []
    shown = (name for name in sorted(names) if not name.startswith(".") or name.startswith(PARTIAL_PREFIX))
    return [out / name for name in shown if _is_text(name)]


def _is_text(name: str) -> bool:
    """Return whether a name can be written at all; those of other encodings, which no run has, cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _mark(folder: Path) -> tuple[set[str], str]:
    """Return the files of a folder, and by what it is known again: a digest of their names, sizes and times."""
    marks = []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if not entry.name.startswith("."):
                    stat = entry.stat()
                    marks.append((entry.name, stat.st_size, stat.st_mtime_ns))
    except OSError:
        return set(), ""
    return {name for name, _, _ in marks}, hashlib.sha256(repr(sorted(marks)).encode()).hexdigest()[:24]


def _kind(names: set[str]) -> Kind | None:
    """Return what made a folder with such files; None where it is no run and no search."""
    for file, kind in SEARCHES.items():
        if file in names:
            return kind  # type: ignore[return-value]  # the table's values are the kinds
    return "run" if names & set(_OF_A_RUN) else None


def _row(folder: Path, kind: Kind, names: set[str]) -> Row:
    """Return a folder's row; what cannot be read is told and ends nothing."""
    common: dict[str, Any] = {
        "name": folder.name,
        "kind": kind,
        "has_page": "report.html" in names,
        "tags": list(read_tags(folder)),
    }
    try:
        return Row(**common, **_content(folder, kind))
    except BacktesterError as error:
        return Row(**common, state="broken", reason=error.message)
    except Exception as error:  # noqa: BLE001 - one damaged folder, however damaged, hides no other
        return Row(**common, state="broken", reason=f"It cannot be read: {error}")


def _content(folder: Path, kind: Kind) -> dict[str, Any]:
    """Return what the shelf shows of a whole folder."""
    if kind == "run":
        return run_row(folder)
    return clearing_row(folder) if kind == "clearing" else search_row(folder, kind)


def _half_written(folder: Path) -> Row:
    """Return the row of a folder that is being written, or was left so."""
    if is_abandoned(folder):
        reason = "Its process ended before it was whole; `backtester reports prune --broken` removes it."
        return Row(folder.name, state="broken", reason=reason, abandoned=True)
    return Row(folder.name, state="unfinished", reason="It was being written when this list was made.")


def _name_time(name: str) -> str:
    """Return the time in a run's name as ISO 8601; empty where it has none."""
    day, _, rest = name.partition("-")
    clock = rest[:6]
    if len(day) == 8 and len(clock) == 6 and (day + clock).isdigit():
        return f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}+00:00"
    return ""


def _kept(out: Path) -> dict[str, tuple[str, Row]]:
    """Return the rows that were kept, with what their folders were known by; none where they cannot be used."""
    try:
        content = json.loads((out / SHELF_FOLDER / CACHE_FILE).read_text(encoding="utf-8"))
        if content["format"] != _CACHE_FORMAT:
            return {}
        return {name: (mark, _kept_row(name, row)) for name, (mark, row) in content["rows"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _kept_row(name: str, kept: dict[str, Any]) -> Row:
    """Return a row that was kept under the name of its folder, which alone says what a removal strikes.

    Raises
    ------
    TypeError
        It is not as rows are.
    """
    known = {one.name for one in fields(Row)} - {"name"}
    row = Row(name, **{key: value for key, value in kept.items() if key in known})
    blank = Row("")
    points = row.spark if isinstance(row.spark, list) else [None]
    if not (
        all(type(getattr(row, key)) is type(getattr(blank, key)) for key in known)
        and row.kind in get_args(Kind)
        and all(value is None or isinstance(value, int | float) for value in row.figures.values())
        and all(isinstance(text, str) for text in (*row.facts, *row.tags))
        and all(isinstance(p, list) and len(p) == 2 and all(isinstance(v, int | float) for v in p) for p in points)
    ):
        raise TypeError(name)
    return row
