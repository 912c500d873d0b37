"""JSON files of contract terms: what a file holds, and from when."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backtester.errors import UsageError
from backtester.market.intake import existing, unreadable

ALWAYS = "always"
_DATE = re.compile(r"(?<!\d)(\d{4})-(\d{2})(?:-(\d{2}))?(?!\d)")


def json_files(path: Path, what: str) -> list[Path]:
    """Return a file, or the JSON files of a folder, sorted.

    Parameters
    ----------
    path : Path
        A file or a folder.
    what : str
        What is looked for, in words: ``"ccxt's tiers"``.

    Raises
    ------
    UsageError
        There is nothing, or no JSON file in the folder.
    """
    files = [path] if existing(path).is_file() else sorted(path.glob("*.json"))
    if not files:
        raise UsageError(f"There is no JSON file in {path}.", f"Give a file, or a folder of files, of {what}.")
    return files


def load_json(file: Path) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    DataError
        It is no whole JSON file.
    """
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as e:
        raise unreadable(file, "JSON", e) from e


def valid_moment(file: Path, valid_from: str | None, what: str) -> int | None:
    """Return the first moment at which a file's figures hold [ms since 1970, UTC], None for always.

    Parameters
    ----------
    file : Path
        The file, whose name may hold the date; a month alone is its first day.
    valid_from : str or None
        What the user said: a date, ``"always"``, or None.
    what : str
        What holds, in words: ``"these brackets"``.

    Raises
    ------
    UsageError
        There is no date, or it is none.
    """
    if valid_from == ALWAYS:
        return None
    text = file.stem if valid_from is None else valid_from
    matches = list(_DATE.finditer(text))
    whole = valid_from is None or (len(matches) == 1 and matches[0][0] == valid_from)
    if not matches or not whole:
        wrong = f"{valid_from!r} is not a date." if valid_from is not None else f"The name of {file} holds no date."
        raise UsageError(wrong, f"Say from when {what} hold: --valid-from 2025-10-01, or --valid-from always.")
    year, month, day = matches[-1].groups()
    try:
        return int(datetime(int(year), int(month), int(day or 1), tzinfo=UTC).timestamp() * 1000)
    except ValueError as e:
        raise UsageError(f"{matches[-1][0]} is not a date ({e}).", "Write --valid-from YYYY-MM-DD.") from e


def has_date(file: Path) -> bool:
    """Return whether the name of a file holds a date."""
    return _DATE.search(file.stem) is not None
