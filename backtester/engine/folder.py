"""A run's folder: written whole or not at all, and read back."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from backtester.engine.result import FRAMES, Notice, Result
from backtester.engine.run_file import build_config, config_text, read_tree
from backtester.engine.stage_lock import owned
from backtester.errors import StoreError

FORMAT = 1
PARTIAL_PREFIX = ".partial-"
REPORT_FILE = "report.html"
ASSUMPTIONS_FILE = "assumptions.parquet"
RARE_FRAMES = ("clearing", "unstruck")
"""Frames that a run has where the venue did something to its account."""
CLEARING_FILE = "clearing.toml"
SEARCH_FILES = ("sweep.toml", "optimize.toml", "walk_forward.toml", CLEARING_FILE)
"""Files by which what is no run is known: searches, and the clearing of a market."""


class NameTakenError(StoreError):
    """Another run got the name of a folder first."""


@contextmanager
def staged_folder(out: Path, run_id: str) -> Iterator[Path]:
    """Give a temporary folder that becomes ``out/run_id`` when the block ends well and vanishes when it does not.

    Parameters
    ----------
    out : Path
        Folder of all runs; made where it is missing.
    run_id : str
        Name of the run's folder, which must not exist yet.

    Raises
    ------
    StoreError
        The disk is full or the folder may not be written; a `NameTakenError` where there is such a folder already.
    """
    stage: Path | None = None
    try:
        out.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=out))
        stage.chmod(0o755)
        with owned(stage):
            yield stage
            _publish(stage, out / run_id)
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(
            f"The run's folder {out / run_id} cannot be written: a file is in the place of a folder.",
            "Move the file away or choose another folder with --out.",
        ) from error
    except OSError as error:
        raise StoreError(
            f"The run's folder {out / run_id} cannot be written: {error.strerror or error}.",
            "Free some space or choose another folder with --out; nothing was left behind.",
        ) from error
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)


def _publish(stage: Path, folder: Path) -> None:
    """Give a whole folder its name."""
    try:
        stage.rename(folder)
    except OSError as error:
        if folder.is_dir():
            raise NameTakenError(f"There is a run {folder} already.", "Run it again.") from error
        raise


def free_run_id(out: Path, run_id: str) -> str:
    """Return ``run_id``, with a number behind it where a run of that name exists."""
    name, number = run_id, 1
    while (out / name).exists():
        number += 1
        name = f"{run_id}-{number}"
    return name


def write_files(result: Result, folder: Path) -> None:
    """Write every file of a run but the page.

    Parameters
    ----------
    result : Result
        A run with its summary and trades.
    folder : Path
        An existing folder.
    """
    for name in (*FRAMES, "bars"):
        _write_frame(getattr(result, name), folder / f"{name}.parquet")
    if result.assumptions.height:
        _write_frame(result.assumptions, folder / ASSUMPTIONS_FILE)
    for name in RARE_FRAMES:
        if getattr(result, name).height:
            _write_frame(getattr(result, name), folder / f"{name}.parquet")
    _write_text(folder / "config.toml", config_text(result.config))
    _write_text(folder / "strategy.py", result.strategy_source)
    _write_text(folder / "summary.json", _json(summary_content(result)))
    _write_text(folder / "manifest.json", _json({"format": FORMAT, "run": _identity(result), **result.manifest}))


def summary_content(result: Result) -> dict[str, Any]:
    """Return what ``summary.json`` holds: the metrics, then details, counts and notices.

    The run's name holds a time, so it stands in the manifest alone: equal runs have equal summaries.
    """
    return {
        **{key: _json_number(value) for key, value in result.summary.items() if key != "run_id"},
        "details": {
            subject: {key: _json_number(value) for key, value in values.items()}
            for subject, values in result.details.items()
        },
        "counts": dict(result.counts),
        "notices": [asdict(notice) for notice in result.notices],
    }


def load_result(path: Path | str) -> Result:
    """Read a run back from its folder.

    Parameters
    ----------
    path : Path or str
        The run's folder.

    Returns
    -------
    Result
        As it was written.

    Raises
    ------
    StoreError
        A file is missing or cannot be read.
    """
    folder = Path(path)
    manifest = _read_json(folder / "manifest.json")
    if manifest.get("format") != FORMAT:
        raise StoreError(
            f"{folder}: this version reads runs of format {FORMAT}, not {manifest.get('format')}.", "Run it again."
        )
    summary = _read_json(folder / "summary.json")
    try:
        run = manifest["run"]
        notices = tuple(Notice(**notice) for notice in summary.pop("notices"))
        counts = summary.pop("counts")
        details = summary.pop("details", {})  # runs of earlier versions have none
        frames = {name: _read_frame(folder / f"{name}.parquet") for name in (*FRAMES, "bars")}
        if (folder / ASSUMPTIONS_FILE).is_file():
            frames["assumptions"] = _read_frame(folder / ASSUMPTIONS_FILE)
        for name in RARE_FRAMES:
            if (folder / f"{name}.parquet").is_file():
                frames[name] = _read_frame(folder / f"{name}.parquet")
        return Result(
            run_id=str(run["run_id"]),
            config=build_config(read_tree(folder / "config.toml")),
            symbols=tuple(run["symbols"]),
            timeframe_ms=int(run["timeframe_ms"]),
            settle=str(run["settle"]),
            synthetic=bool(run["synthetic"]),
            counts=counts,
            notices=notices,
            summary={**summary, "run_id": str(run["run_id"])},
            details=details,
            manifest={key: value for key, value in manifest.items() if key not in {"format", "run"}},
            strategy_name=str(run["strategy_name"]),
            strategy_source=(folder / "strategy.py").read_text(encoding="utf-8"),
            run_dir=folder,
            **frames,
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise StoreError(f"{folder}: the run cannot be read ({error}).", "Run it again.") from error


def whole_folder(folder: Path) -> str:
    """Return what is wrong with a run's folder at first sight, as a sentence; empty where every file is there."""
    frames = (f"{name}.parquet" for name in (*FRAMES, "bars"))
    for name in ("manifest.json", "summary.json", "config.toml", "strategy.py", *frames):
        path = folder / name
        if not path.is_file():
            return f"{name} is missing."
        if not path.stat().st_size and name != "strategy.py":
            return f"{name} is empty."
    found = _read_json(folder / "manifest.json").get("format")
    return "" if found == FORMAT else f"It was written in format {found}; this version reads format {FORMAT}."


def run_folders(out: Path) -> list[Path]:
    """Return the folders of finished runs, the newest last; those of sweeps and other searches are none."""
    if not out.is_dir():
        return []
    found = [f for f in out.iterdir() if _holds_run(f) and not f.name.startswith(PARTIAL_PREFIX)]
    return sorted(found, key=lambda f: f.name)


def _holds_run(folder: Path) -> bool:
    """Return whether a folder is a run's, whole or not: what searches write says so by a file of their own."""
    return (folder / "manifest.json").is_file() and not any((folder / name).is_file() for name in SEARCH_FILES)


def _identity(result: Result) -> dict[str, Any]:
    """Return what names a run, for reading it back."""
    return {
        "run_id": result.run_id,
        "strategy_name": result.strategy_name,
        "symbols": list(result.symbols),
        "timeframe_ms": result.timeframe_ms,
        "settle": result.settle,
        "synthetic": result.synthetic,
    }


def _write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame and force it to the disk."""
    frame.write_parquet(path, compression="zstd", compression_level=1)
    _sync(path)


def _read_frame(path: Path) -> pl.DataFrame:
    """Read a frame of a run."""
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StoreError(f"{path} cannot be read: {error}.", "The run's folder is damaged: run it again.") from error


def _write_text(path: Path, text: str) -> None:
    """Write a text and force it to the disk."""
    path.write_text(text, encoding="utf-8", newline="\n")
    _sync(path)


def _sync(path: Path) -> None:
    """Force a file's content to the disk, so that a full one is noticed before the folder gets its name."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def _read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a run."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(
            f"{path.parent} holds no run: {path.name} is missing.", "See `backtester reports list`."
        ) from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}.", "The run's folder is damaged: run it again.") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path} is not a JSON object.", "The run's folder is damaged: run it again.")
    return content


def _json(content: Mapping[str, Any]) -> str:
    """Return JSON with a line end."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _json_number(value: Any) -> Any:
    """Return a value as JSON can hold it: numbers that are not finite become null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
