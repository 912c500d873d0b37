"""The Parquet files of a dataset: staged under a name that carries their checksum, then given their final names."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from backtester.market.atomic import publish, write_durably
from backtester.market.manifest import Manifest, Part, content_checksum, file_checksum, is_part_name
from backtester.market.schema import FILLED, SeriesSchema, with_flags

PartSource = Path | bytes
"""What a part is read from: its file, or its content in memory."""

_ROW_GROUP = 131_072  # three months of 1m bars: a short span of a year's file is read without the rest


def staged_name(name: str, sha256: str) -> str:
    """Return the name of a part that is written and not yet in its place."""
    return f".{name}.{sha256[:16]}.next"


def stage(folder: Path, name: str, rows: pl.DataFrame, time: str | None, *, source: str, now: str) -> Part:
    """Write one part durably under its staged name.

    Parameters
    ----------
    folder : Path
        Folder of the dataset.
    name : str
        Final file name.
    rows : polars.DataFrame
        Rows in stored form, sorted.
    time : str or None
        The time column.
    source : str
        Where the new rows come from.
    now : str
        Time of the import.
    """
    buffer = io.BytesIO()
    rows.write_parquet(buffer, compression="zstd", statistics=True, row_group_size=_ROW_GROUP)
    content = buffer.getvalue()
    first, last = time_span(rows, time)
    checksum = hashlib.sha256(content).hexdigest()
    filled = int(rows[FILLED].sum()) if FILLED in rows.columns else 0
    part = Part(rows.height, first, last, len(content), checksum, content_checksum(rows), source, now, filled)
    write_durably(folder / staged_name(name, checksum), content)
    return part


def is_compact(path: Path) -> bool:
    """Return whether a part is laid out as `stage` writes it: zstd, and no more row groups than its rows need."""
    from pyarrow import parquet  # noqa: PLC0415 - takes a while to import, and no run needs it

    about = parquet.read_metadata(path)
    groups = range(about.num_row_groups)
    return about.num_row_groups <= max(1, -(-about.num_rows // _ROW_GROUP)) and all(
        about.row_group(g).column(0).compression == "ZSTD" for g in groups
    )


def scan_parts(parts: Sequence[PartSource], schema: SeriesSchema) -> pl.LazyFrame:
    """Return the rows of parts; a column that an earlier version did not know is null in its parts, a flag false."""
    columns = dict(schema.columns)
    sources: Any = list(parts)  # polars takes them mixed, and says that it does not
    frame = pl.scan_parquet(sources, glob=False, hive_partitioning=False, schema=columns, missing_columns="insert")
    return with_flags(frame, schema)


def check_part(path: Path, part: Part) -> None:
    """Compare a file with what its manifest says.

    Raises
    ------
    ValueError
        They differ; the text completes "the file PATH …".
    """
    size = path.stat().st_size
    if size != part.bytes:
        raise ValueError(f"has {size} bytes where its manifest says {part.bytes}: it is truncated or was changed")
    if file_checksum(path) != part.sha256:
        raise ValueError("is damaged: its checksum is not the one of its manifest")


def settle_names(folder: Path, manifest: Manifest) -> None:
    """Give the parts that the manifest names their final names, and remove what it does not name."""
    for name, part in manifest.parts.items():
        staged = folder / staged_name(name, part.sha256)
        if staged.exists():
            publish(staged, folder / name)
    for path in _leftovers(folder, manifest):
        with suppress(OSError):  # a leftover does no harm
            path.unlink()


def _leftovers(folder: Path, manifest: Manifest) -> Iterator[Path]:
    for path in list(folder.iterdir()):
        if path.name.endswith(".next") or (is_part_name(path.name) and path.name not in manifest.parts):
            yield path


def time_span(frame: pl.DataFrame, time: str | None) -> tuple[int | None, int | None]:
    """Return the first and last known time of sorted rows [ms]."""
    if time is None:
        return None, None
    known = frame[time].drop_nulls().dt.epoch("ms")
    return (int(known[0]), int(known[-1])) if len(known) else (None, None)
