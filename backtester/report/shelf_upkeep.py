"""Removing runs from a folder of runs: which ones, and how, so that none is left by half."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backtester.engine.folder import ASSUMPTIONS_FILE, PARTIAL_PREFIX, REPORT_FILE, SEARCH_FILES
from backtester.engine.result import FRAMES
from backtester.engine.stage_lock import is_abandoned
from backtester.engine.tags import TAGS_FILE
from backtester.errors import StoreError
from backtester.report.shelf import Row, Shelf

_TEXT_FILES = ("manifest.json", "summary.json", "config.toml", "strategy.py")
_FILES = {*_TEXT_FILES, REPORT_FILE, ASSUMPTIONS_FILE, TAGS_FILE, *(f"{name}.parquet" for name in (*FRAMES, "bars"))}
"""What a run's folder may hold."""


@dataclass(frozen=True)
class Pruning:
    """What is to go.

    Attributes
    ----------
    before : int or None
        Runs made before this time [ms since 1970, UTC].
    keep : int or None
        All but the newest so many whole runs.
    untagged : bool
        Runs without a tag.
    broken : bool
        Folders that cannot be read, and half-written ones that no living process owns.
    searches : bool
        Sweeps, optimisations and walks as well as runs.
    tagged_too : bool
        Tagged runs are not spared.
    """

    before: int | None = None
    keep: int | None = None
    untagged: bool = False
    broken: bool = False
    searches: bool = False
    tagged_too: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing says what is to go."""
        return self.before is None and self.keep is None and not self.untagged and not self.broken


def condemned(shelf: Shelf, wish: Pruning) -> tuple[list[Row], list[Row]]:
    """Return the rows that are to go, and those that are spared for their tags alone.

    Of age, number and tags a run must meet all that are named. What goes on, or may go on, is never among them.
    """
    whole = [*shelf.runs, *(row for row in shelf.searches if wish.searches and row.state == "whole")]
    newest = {row.name for row in shelf.runs[: wish.keep or 0]}
    chosen: list[Row] = []
    if wish.before is not None or wish.keep is not None or wish.untagged:
        chosen = [
            row
            for row in whole
            if _is_older(shelf, row, wish.before)
            and (wish.keep is None or row.name not in newest)
            and (not wish.untagged or not _has_tags(shelf, row))
        ]
    if wish.broken:
        chosen += [row for row in shelf.rows if row.state == "broken" and _is_older(shelf, row, wish.before)]
    spared = [] if wish.tagged_too else [row for row in chosen if _has_tags(shelf, row)]
    return [row for row in chosen if row not in spared], spared


def holds_other_files(folder: Path) -> bool:
    """Return whether a folder that cannot be read as a run holds what no run writes: it is another's, or has notes."""
    if folder.is_symlink() or any((folder / name).is_file() for name in SEARCH_FILES):
        return False  # of a link nothing but the link goes
    names = (name for _, _, files in os.walk(folder) for name in files)
    return any(name not in _FILES and not _is_temporary(name) for name in names)


def _is_temporary(name: str) -> bool:
    """Return whether a file is one of a run that was being written: ``.NAME.ANYTHING``."""
    return any(name.startswith(f".{file}.") for file in _FILES)


def _has_tags(shelf: Shelf, row: Row) -> bool:
    """Return whether a row has tags, or a file of them that cannot be read: without any there is no file."""
    return bool(row.tags) or os.path.lexists(shelf.out / row.name / TAGS_FILE)


def made_at(shelf: Shelf, row: Row) -> int:
    """Return when a row's folder was made [ms since 1970]: as it says, else when the folder was changed last."""
    try:
        moment = datetime.fromisoformat(row.created)
    except ValueError:
        try:
            return round((shelf.out / row.name).stat().st_mtime * 1000)
        except OSError:
            return 0
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def remove(out: Path, names: Sequence[str]) -> list[str]:
    """Remove folders of runs and return the names of those that are gone.

    Each gets the name of a half-written folder first, so that none is ever left looking like a run. A link is removed,
    not what it leads to. A half-written folder that a process has taken up meanwhile stays.

    Raises
    ------
    StoreError
        One cannot be removed; those before it are gone.
    """
    gone: list[str] = []
    for name in names:
        folder = out / name
        if name.startswith(PARTIAL_PREFIX) and not is_abandoned(folder):
            continue
        try:
            if folder.is_symlink():
                folder.unlink()
            else:
                doomed = Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=out))
                folder.rename(doomed / name)
                shutil.rmtree(doomed)
        except FileNotFoundError:
            continue  # another process was faster
        except OSError as error:
            raise StoreError(
                f"{folder} cannot be removed: {error.strerror or error}.",
                f"{len(gone)} folders are gone. May the folder be written?",
            ) from error
        gone.append(name)
    return gone


def _is_older(shelf: Shelf, row: Row, before: int | None) -> bool:
    return before is None or made_at(shelf, row) < before
