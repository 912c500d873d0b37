"""Folders of searches over many runs: files that are whole or absent, written while the search goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import tomli_w

from backtester.domain.config import RunConfig
from backtester.engine.folder import free_run_id
from backtester.engine.manifest import timestamp
from backtester.engine.run_file import build_config, read_tree, read_whole_tree
from backtester.errors import StoreError, UsageError

FORMAT = 1
MANIFEST = "manifest.json"


def new_folder(out: Path, kind: str, strategy: str) -> Path:
    """Return a new folder for a search, ``20250131-080000-optimize-trend``."""
    name = f"{timestamp():%Y%m%d-%H%M%S}-{kind}-{strategy[:60]}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = out / free_run_id(out, name)
        folder.mkdir()
    except OSError as error:
        raise _refused(out / name, error) from error
    return folder


def find_folder(out: Path, run: str, file: str, what: str) -> Path:
    """Return the folder of a search by its name or path.

    Parameters
    ----------
    out : Path
        Folder of all runs.
    run : str
        Name, its beginning, or path of the folder.
    file : str
        File that tells the search that is meant from others: ``optimize.toml``.
    what : str
        What such a search is called.
    """
    folder = Path(run) if Path(run).is_dir() else out / run
    if not folder.is_dir():
        begun = sorted(path.parent for path in out.glob(f"*/{file}") if path.parent.name.startswith(run))
        if len(begun) == 1:
            return begun[0]
        if begun:
            shown = ", ".join(one.name for one in begun[-5:])
            raise UsageError(f"{len(begun)} folders of an {what} begin with {run!r}.", f"Name one: {shown}.")
        names = [path.parent.name for path in sorted(out.glob(f"*/{file}"))]
        raise UsageError(f"There is no folder {folder}.", f"There are {', '.join(names[-5:])}." if names else "")
    if not (folder / file).is_file():
        raise UsageError(f"{folder} is no {what}: {file} is missing in it.", "Name the folder of one.")
    return folder


def read_search(path: Path, section: str) -> tuple[dict[str, Any], RunConfig]:
    """Return what the file of a search holds: its own section, and what its runs have in common.

    Parameters
    ----------
    path : Path
        The file.
    section : str
        Name of its own section.
    """
    own = read_whole_tree(path).get(section)
    found = own.get("format") if isinstance(own, dict) else None
    if not isinstance(own, dict) or found != FORMAT:
        raise StoreError(f"{path}: this version reads format {FORMAT}, not {found}.", "Search again.")
    return own, build_config(read_tree(path))


def write_search(path: Path, config: RunConfig, section: str, tree: Mapping[str, Any]) -> None:
    """Write the file of a search: a run file with a section of its own; None is left out."""
    content = {**config.model_dump(exclude_unset=True), section: {"format": FORMAT, **tree}}
    write_whole(path, tomli_w.dumps(_without_none(content)).encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    write_whole(path, (json.dumps({"format": FORMAT, **content}, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; nothing where there is none or it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_frame(path: Path, frame: pl.DataFrame) -> None:
    """Write a Parquet file."""
    buffer = BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=1)
    write_whole(path, buffer.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name, force it to the disk, and give it its name.

    Raises
    ------
    StoreError
        The disk is full or the folder may not be written; what stood there before is untouched.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _refused(path, error) from error


def _without_none(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in tree.items()
        if value is not None
    }


def _refused(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path} cannot be written: {error.strerror or error}.",
        "Free some space or choose another folder with --out.",
    )
