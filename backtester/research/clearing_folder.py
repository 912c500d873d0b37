"""The folder of a clearing: frames of all cases, summary, manifest and the file that makes it again."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from backtester.clearing.file import clearing_text
from backtester.clearing.study import Case, ClearingStudy
from backtester.engine.folder import CLEARING_FILE
from backtester.engine.manifest import sha256, timestamp, versions
from backtester.research.search_folder import MANIFEST, write_frame, write_json, write_whole

FRAMES = ("fund", "liquidations", "deleveragings", "clawbacks", "accounts", "bars")
"""Frames of a clearing's folder, each with the case in its first column."""


def write_study(study: ClearingStudy, folder: Path) -> None:
    """Write every file of a clearing but its page.

    Parameters
    ----------
    study : ClearingStudy
        With its name.
    folder : Path
        An existing folder.

    Raises
    ------
    StoreError
        The disk is full or the folder may not be written.
    """
    for name in FRAMES:
        write_frame(folder / f"{name}.parquet", pl.concat([_named(case, name) for case in study.cases]))
    text = clearing_text(study.file)
    write_whole(folder / CLEARING_FILE, text.encode())
    write_json(folder / "summary.json", study.summary)
    manifest = {
        "kind": "clearing",
        "run": {"run_id": study.run_id},
        "created": str(timestamp()),
        "seconds": study.seconds,
        "hashes": {"clearing.toml": sha256(text)},
        "rules": {case.name: case.result.rules.model_dump(mode="json") for case in study.cases},
        "versions": versions(),
        "notices": [{"code": n.code, "severity": n.severity, "text": n.text} for n in study.notices],
    }
    write_json(folder / MANIFEST, manifest)


def _named(case: Case, name: str) -> pl.DataFrame:
    frame: pl.DataFrame = getattr(case.result, name)
    return frame.select(pl.lit(case.name).alias("case"), pl.all())
