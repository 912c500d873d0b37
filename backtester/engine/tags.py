"""Tags of a run: words beside its files, none of which they change."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from backtester.errors import StoreError, UsageError

TAGS_FILE = "tags.json"
LONGEST = 40
"""Characters of a tag."""
_MOST = 32
_TAG = re.compile(r"[^\s,]+")


def read_tags(folder: Path) -> tuple[str, ...]:
    """Return the tags of a run's folder, sorted; none where there is no file or it holds something else."""
    try:
        content = json.loads((folder / TAGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    found = content.get("tags") if isinstance(content, dict) else None
    return tuple(sorted({t for t in found if isinstance(t, str)})) if isinstance(found, list) else ()


def change_tags(folder: Path, add: Iterable[str] = (), remove: Iterable[str] = ()) -> tuple[str, ...]:
    """Add and remove tags of a run and return those that it has then.

    Parameters
    ----------
    folder : Path
        The run's folder; no other file of it is touched.
    add, remove : iterable of str
        Words of at most 40 characters, without blanks and commas; each may hold several, separated by commas.

    Raises
    ------
    UsageError
        A word is no tag, a tag to be removed is not there, or there would be too many.
    StoreError
        The file cannot be written.
    """
    before = read_tags(folder)
    added, removed = _words(add), _words(remove)
    absent = [word for word in removed if word not in before]
    if absent:
        has = f"It has {', '.join(before)}." if before else "It has none."
        raise UsageError(f"{folder.name} has no tag {absent[0]!r}.", has)
    tags = tuple(sorted((set(before) | set(added)) - set(removed)))
    if len(tags) > _MOST:
        raise UsageError(f"{folder.name} would have {len(tags)} tags; at most {_MOST} are kept.", "Remove some first.")
    if tags != before:
        _write(folder / TAGS_FILE, tags)
    return tags


def _words(given: Iterable[str]) -> list[str]:
    """Return words that may be tags."""
    words = [part.strip() for text in given for part in text.split(",") if part.strip()]
    for word in words:
        if len(word) > LONGEST or not _TAG.fullmatch(word) or not word.isprintable() or word.startswith("-"):
            raise UsageError(
                f"{word[:LONGEST]!r} is no tag.",
                f"A tag is a word of at most {LONGEST} characters without blanks, not beginning with a dash.",
            )
    return words


def _write(path: Path, tags: tuple[str, ...]) -> None:
    """Write the file whole or not at all; without a tag there is none."""
    temporary = ""
    try:
        if not tags:
            path.unlink(missing_ok=True)
            return
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(json.dumps({"tags": list(tags)}, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise StoreError(
            f"The tags cannot be written to {path}: {error.strerror or error}.", "May the run's folder be written?"
        ) from error
