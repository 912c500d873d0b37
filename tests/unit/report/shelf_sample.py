"""Folders of runs, made without a replay: whole ones, searches, broken and half-written ones."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from backtester import analytics
from backtester.engine.folder import REPORT_FILE, write_files
from backtester.engine.result import Result
from tests.unit.report import sample


@cache
def run() -> Result:
    """A run with trades."""
    return analytics.complete(sample.make(2, 24 * 20))


def add_run(out: Path, name: str, *, page: bool = True, summary: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Write a run's folder; ``summary`` and other fields in place of the sample's."""
    made = replace(run(), **changes)
    made = replace(
        made,
        run_id=name,
        summary={**made.summary, **(summary or {}), "run_id": name},
        manifest={**made.manifest, "created": f"2026-01-01T00:00:{len(list(out.glob('*'))):02d}+00:00"},
    )
    folder = out / name
    folder.mkdir(parents=True)
    write_files(made, folder)
    if page:
        (folder / REPORT_FILE).write_text("<!doctype html><title>a run</title>", encoding="utf-8")
    return folder


def leave_half(out: Path, name: str = ".partial-left") -> Path:
    """Make a half-written folder that nobody has touched for a minute."""
    folder = out / name
    folder.mkdir(parents=True)
    before = time.time() - 60
    os.utime(folder, (before, before))
    return folder


def copy_run(source: Path, name: str, **summary: Any) -> Path:
    """Copy a run's folder beside it under another name and with other figures; cheaper than writing one."""
    folder = source.parent / name
    shutil.copytree(source, folder)
    if summary:
        path = folder / "summary.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **summary}), encoding="utf-8")
    return folder


def add_sweep(out: Path, name: str, state: str = "finished") -> Path:
    """Write the folder of a sweep of three sets, of which the second is the best that kept its account."""
    folder = out / name
    folder.mkdir(parents=True)
    (folder / "sweep.toml").write_text(
        '[data]\nvenue = "synthetic"\nsymbols = ["BTC/USDT:USDT"]\ntimeframe = "1h"\nstart = "2024-11-01T00:00Z"\n'
        '[strategy]\nname = "trend"\n[sweep.grid]\nfast = "6,12,24"\n'
    )
    manifest = {"format": 1, "kind": "sweep", "created": "2026-01-02T00:00:00+00:00", "state": state, "done": 3}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    pl.DataFrame(
        {
            "set": [0, 1, 2],
            "fast": [6, 12, 24],
            "status": ["done"] * 3,
            "error": [None] * 3,
            "path": ["segments"] * 3,
            "targets": ["compiled"] * 3,
            "sharpe": [0.5, 1.25, 9.0],
            "total_return": [0.1, 0.2, -1.0],
            "max_drawdown": [-0.3, -0.2, -1.0],
            "trades": [5, 4, 1],
            "liquidations": [0, 0, 1],
        }
    ).write_parquet(folder / "sets.parquet")
    return folder


def add_study(out: Path, name: str) -> Path:
    """Write the folder of an optimisation of three trials, of which the second is the best that counts."""
    folder = out / name
    folder.mkdir(parents=True)
    (folder / "optimize.toml").write_text(
        '[data]\nsymbols = ["ETH/USDT:USDT"]\n[strategy]\nname = "trend"\n'
        '[optimize]\nformat = 1\nobjectives = ["min:volatility"]\n[optimize.space]\nfast = "5:60:5"\n'
    )
    (folder / "manifest.json").write_text(json.dumps({"status": "interrupted", "trials": 3, "created": "2026-01-03"}))
    pl.DataFrame(
        {
            "trial": [0, 1, 2],
            "state": ["complete", "complete", "failed"],
            "feasible": [False, True, True],
            "fast": [5, 10, 15],
            "volatility": [0.1, 0.4, None],
            "sharpe": [3.0, 2.0, None],
            "total_return": [0.3, 0.2, None],
        }
    ).write_parquet(folder / "trials.parquet")
    return folder
