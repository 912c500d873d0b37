"""The manifest of a dataset: which parts it has, what they hold, where they came from, and their checksums."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl

from backtester.errors import StoreError
from backtester.market.atomic import explained

MANIFEST_NAME = "manifest.json"
FORMAT = 1
_PART_NAME = re.compile(r"\d{4}\.parquet|all\.parquet")


@dataclass(frozen=True)
class Part:
    """One Parquet file.

    Attributes
    ----------
    rows : int
        Number of rows.
    first, last : int or None
        First and last time [ms]; None in series without time.
    bytes : int
        Size of the file.
    sha256 : str
        Checksum of the file.
    content_sha256 : str
        Checksum of the values, the same whichever program wrote the file.
    source : str
        Of the newest import that changed it, in words.
    imported_at : str
        UTC, ISO 8601.
    filled : int
        Rows that were computed in place of missing ones.
    """

    rows: int
    first: int | None
    last: int | None
    bytes: int
    sha256: str
    content_sha256: str
    source: str
    imported_at: str
    filled: int = 0


@dataclass(frozen=True)
class Import:
    """One write.

    Attributes
    ----------
    source : str
        Where the rows came from, in words.
    imported_at : str
        UTC, ISO 8601.
    rows : int
        Number of rows that were brought.
    first, last : int or None
        First and last time of these rows [ms]; ``first`` is None for margin tiers that always held.
    """

    source: str
    imported_at: str
    rows: int
    first: int | None
    last: int | None


@dataclass(frozen=True)
class Asked:
    """A span of which one source has given all that it has: what is missing there is missing at the source.

    Attributes
    ----------
    start, end : int
        The span, end excluded [ms].
    source : str
        Name of the source: the ccxt id of an exchange, or an archive.
    """

    start: int
    end: int
    source: str


@dataclass(frozen=True)
class Manifest:
    """What a dataset holds.

    Attributes
    ----------
    parts : dict of str to Part
        By file name.
    imports : tuple of Import
        Oldest first.
    asked : tuple of Asked
        By source and time, without overlap.
    """

    parts: dict[str, Part]
    imports: tuple[Import, ...]
    asked: tuple[Asked, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows of all parts."""
        return sum(p.rows for p in self.parts.values())

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(p.bytes for p in self.parts.values())

    @property
    def filled(self) -> int:
        """Number of rows that were computed in place of missing ones."""
        return sum(p.filled for p in self.parts.values())

    @property
    def span(self) -> tuple[int, int] | None:
        """First and last time [ms], None where no row has one."""
        firsts = [p.first for p in self.parts.values() if p.first is not None]
        lasts = [p.last for p in self.parts.values() if p.last is not None]
        return (min(firsts), max(lasts)) if firsts else None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the content checksums."""
        lines = "\n".join(f"{name} {part.content_sha256}" for name, part in sorted(self.parts.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    def source_at(self, moment: int | None) -> str:
        """Return the source of the newest import that brought rows of a moment; None: rows without one."""
        for entry in reversed(self.imports):
            if moment is None:
                found = entry.first is None
            else:
                found = entry.last is not None and (entry.first or 0) <= moment <= entry.last
            if found:
                return entry.source
        return self.imports[-1].source if self.imports else ""

    def encoded(self, name: str) -> bytes:
        """Return the JSON text of the manifest of the dataset ``name``."""
        content = {
            "format": FORMAT,
            "dataset": name,
            "rows": self.rows,
            "span": self.span,
            "parts": {n: asdict(p) for n, p in sorted(self.parts.items())},
            "imports": [asdict(i) for i in self.imports],
            "asked": [asdict(a) for a in self.asked],
        }
        return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def is_stored(folder: Path) -> bool:
    """Return whether a folder holds a dataset: a manifest, or parts whose manifest is lost."""
    if (folder / MANIFEST_NAME).is_file():
        return True
    try:
        return folder.is_dir() and any(is_part_name(path.name) for path in folder.iterdir())
    except PermissionError:
        return True  # something is there: whoever reads it is told why that cannot be


def is_part_name(name: str) -> bool:
    """Return whether a file's name is one that the store gives: those of another program are left alone."""
    return _PART_NAME.fullmatch(name) is not None


def read_manifest(folder: Path, name: str) -> Manifest | None:
    """Return the manifest of a dataset's folder, None where there is none.

    Raises
    ------
    StoreError
        The file is there and cannot be understood, or it is lost and the parts that it named are still there.
    """
    path = folder / MANIFEST_NAME
    try:
        with explained(path, "read"):
            text = path.read_bytes()
    except StoreError as e:
        if not isinstance(e.__cause__, FileNotFoundError):
            raise
        if is_stored(folder):
            raise StoreError(
                f"{name}: {folder} holds files without a manifest.",
                f"Put its {MANIFEST_NAME} back, or import the whole series again with `backtester data import … "
                "--replace`.",
            ) from e
        return None
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise StoreError(
                f"{name}: {path} is of format {content['format']}, this version reads format {FORMAT}.",
                "Use the version of backtester that wrote it, or delete the folder and import again.",
            )
        parts = {n: Part(**p) for n, p in content["parts"].items()}
        imports = tuple(Import(**i) for i in content["imports"])
        asked = tuple(Asked(**a) for a in content.get("asked", ()))  # older manifests have none
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise StoreError(
            f"{name}: the manifest {path} is damaged.",
            "Remove it with `backtester data delete --venue … --symbols … --series …`, then fetch or import it again.",
        ) from e
    return Manifest(parts, imports, asked)


def with_asked(asked: Iterable[Asked], new: Iterable[Asked]) -> tuple[Asked, ...]:
    """Return all spans, those of one source that overlap or touch joined to one."""
    joined: list[Asked] = []
    for span in sorted((*asked, *new), key=lambda a: (a.source, a.start)):
        if span.end <= span.start:
            continue
        last = joined[-1] if joined else None
        if last is not None and last.source == span.source and span.start <= last.end:
            joined[-1] = replace(last, end=max(last.end, span.end))
        else:
            joined.append(span)
    return tuple(joined)


def content_checksum(frame: pl.DataFrame) -> str:
    """Return the SHA-256 of a frame's column names, dtypes and values.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns of a stored series.
    """
    digest = hashlib.sha256()
    for column in frame.get_columns():
        digest.update(f"{column.name}:{column.dtype}:{len(column)};".encode())
        if column.dtype == pl.String:
            digest.update(json.dumps(column.to_list()).encode())
        else:
            digest.update(column.to_numpy().tobytes())  # a null is NaN or NaT here; stored values are neither
    return digest.hexdigest()


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
