"""A sweep's folder: rows are written as they come, so that what is done is never lost, and joined in the end."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.domain.config import RunConfig
from backtester.engine.folder import REPORT_FILE, staged_folder
from backtester.errors import StoreError, UsageError
from backtester.market.atomic import explained, publish, write_durably, writer_lock
from backtester.research.plan import SWEEP_FILE, changed_keys, differences
from backtester.research.rows import DONE, FAILED
from backtester.research.space import SET

FORMAT = 1
SETS_FILE = "sets.parquet"
MANIFEST_FILE = "manifest.json"
PARTS = "parts"
RUNNING, INTERRUPTED, FINISHED = "running", "interrupted", "finished"
_LOCK_SECONDS = 0.2
_AGAIN = "Start the sweep again without --resume."


class SweepFolder:
    """``sweep.toml``, ``manifest.json``, ``sets.parquet`` and ``report.html``; ``parts`` while the sweep goes on.

    Parameters
    ----------
    path : Path
        The folder, which exists; see `create` and `opened`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def report(self) -> Path:
        """Path of the page."""
        return self.path / REPORT_FILE

    @property
    def _sets(self) -> Path:
        return self.path / SETS_FILE

    @property
    def _parts(self) -> Path:
        return self.path / PARTS

    @classmethod
    def create(cls, out: Path, name: str, plan: str, manifest: Mapping[str, Any]) -> SweepFolder:
        """Return the folder of a new sweep.

        Parameters
        ----------
        out : Path
            Folder of all runs; made where it is missing.
        name : str
            Name of the sweep, which must not exist yet.
        plan : str
            Content of ``sweep.toml``.
        manifest : mapping
            First content of ``manifest.json``.
        """
        with staged_folder(out, name) as stage:
            (stage / PARTS).mkdir()
            write_durably(stage / SWEEP_FILE, plan.encode())
            write_durably(stage / MANIFEST_FILE, _json({"format": FORMAT, "kind": "sweep", **manifest}))
        return cls(out / name)

    @classmethod
    def opened(cls, path: Path) -> SweepFolder:
        """Return the folder of a sweep that was begun.

        Raises
        ------
        UsageError, StoreError
            It is none, or another version's, or its manifest is damaged.
        """
        if not path.is_dir():
            raise UsageError(f"There is no folder {path} of a sweep.", "`--resume` takes the name of one, or its path.")
        if not (path / SWEEP_FILE).is_file() or not (path / MANIFEST_FILE).is_file():
            what = "a run" if (path / "summary.json").is_file() else f"no {SWEEP_FILE}"
            raise UsageError(
                f"{path} holds {what}, not a sweep.", "--resume takes the folder that a sweep has written."
            )
        folder = cls(path)
        found = folder.manifest().get("format")
        if found != FORMAT:
            raise StoreError(f"{path}: this version reads sweeps of format {FORMAT}, not {found}.", _AGAIN)
        return folder

    def manifest(self) -> dict[str, Any]:
        """Return the content of ``manifest.json``."""
        path = self.path / MANIFEST_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read: {error}.", f"The folder is damaged. {_AGAIN}") from error
        if not isinstance(content, dict):
            raise StoreError(f"{path} is not a JSON object.", f"The folder is damaged. {_AGAIN}")
        return content

    def refuse_another(self, hashes: Mapping[str, object], config: RunConfig | None = None) -> None:
        """Refuse to go on with a sweep other than the one whose rows the folder holds.

        Parameters
        ----------
        hashes : mapping
            Identity of the sweep that is asked for.
        config : RunConfig, optional
            What its sets have in common, by which to name the keys that differ.

        Raises
        ------
        UsageError
            It says what differs.
        """
        before = self.manifest().get("hashes", {})
        is_other = config is not None and before.get("config") != hashes.get("config")
        keys = changed_keys(self.path / SWEEP_FILE, config) if is_other and config is not None else ()
        differing = differences(before, hashes, keys)
        if differing:
            raise UsageError(
                f"{self.path} is the folder of another sweep: {_listed(differing)} "
                f"{'differs' if len(differing) == 1 else 'differ'}, so its rows do not go with these.",
                f"Make it the same again, or start a sweep of its own without --resume ({self.path / SWEEP_FILE} says "
                "what it was).",
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from going on with the same sweep."""
        with explained(self._parts, "write"):
            self._parts.mkdir(exist_ok=True)
        with writer_lock(self._parts, str(self.path), _LOCK_SECONDS):
            yield

    def write_part(self, rows: pl.DataFrame) -> None:
        """Keep evaluated sets: they are on the disk when this returns."""
        path = self._parts / f"{int(rows[SET][0]):019d}.parquet"
        _write_frame(rows.lazy(), path)

    def rows(self) -> pl.LazyFrame | None:
        """Return the sets that are done, by number; None before the first.

        Counts of orders that a part does not have, since none occurred in it, are 0.
        """
        parts = sorted(self._parts.glob("*.parquet")) if self._parts.is_dir() else []
        files = [*([self._sets] if self._sets.is_file() else []), *parts]
        if not files:
            return None
        try:
            whole = pl.concat([pl.scan_parquet(path, glob=False) for path in files], how="diagonal_relaxed")
            counts = [name for name in whole.collect_schema().names() if name.startswith("orders_")]
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StoreError(f"The rows in {self.path} cannot be read: {error}.", _AGAIN) from error
        filled = [
            pl.when(pl.col("status") == DONE).then(pl.col(name).fill_null(0)).otherwise(pl.col(name)).alias(name)
            for name in counts
        ]
        if len(files) > 1 and files[0] == self._sets:  # what was joined before parts were removed stands there twice
            whole = whole.unique(SET, keep="first")
        return whole.with_columns(filled).sort(SET)

    def missing(self, count: int) -> NDArray[np.bool_] | None:
        """Return which of the sets from 0 to below ``count`` are not done; None where none is."""
        rows = self.rows()
        if rows is None:
            return None
        missing = np.ones(count, dtype=bool)
        missing[rows.select(SET).collect()[SET].to_numpy()] = False
        return missing

    def finish(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Join the parts into ``sets.parquet`` and write the manifest; return its content.

        Parameters
        ----------
        facts : mapping
            What the manifest says beside what it said before; ``counts`` are added.
        """
        rows = self.rows()
        counts: dict[str, Any] = {"done": 0, "failed": 0, "paths": {}}
        if rows is not None:
            _write_frame(rows, self._sets)
            counts = counted(pl.scan_parquet(self._sets, glob=False))
            shutil.rmtree(self._parts, ignore_errors=True)
        return self.note({**facts, **counts})

    def note(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Add facts to the manifest and return it."""
        content = {**self.manifest(), **facts}
        path = self.path / MANIFEST_FILE
        with explained(path, "write"):
            write_durably(path.with_suffix(".tmp"), _json(content))
            publish(path.with_suffix(".tmp"), path)
        return content

    def remove(self) -> None:
        """Remove the folder of a sweep that came to nothing."""
        shutil.rmtree(self.path, ignore_errors=True)


def counted(rows: pl.LazyFrame) -> dict[str, Any]:
    """Return how many sets are done and failed, how many took which path, and the first error."""
    kinds = rows.group_by("status", "path").len().sort("path").collect()
    done = {str(path): number for status, path, number in kinds.iter_rows() if status == DONE}
    failed = int(kinds.filter(pl.col("status") == FAILED)["len"].sum())
    errors = rows.filter(pl.col("status") == FAILED).select("error").head(1).collect()["error"] if failed else ()
    return {
        "done": sum(done.values()),
        "failed": failed,
        "paths": done,
        "first_error": next(iter(errors), None),
    }


def _write_frame(rows: pl.LazyFrame, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    with explained(path, "write"):
        rows.sink_parquet(temporary, compression="zstd", compression_level=1)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        publish(temporary, path)


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
