"""A job of a strategy from a file, whose sets do what the tests of executors need."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backtester.engine.run_file import build_config
from backtester.market.store import Store
from backtester.research.job import Job
from tests.unit.research.executors.probe import SOURCE

MakeJob = Callable[..., Job]


@pytest.fixture
def probe_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder in which the strategy leaves what it did; workers inherit where it is."""
    folder = tmp_path / "probe"
    folder.mkdir()
    monkeypatch.setenv("PROBE_FOLDER", str(folder))
    monkeypatch.setenv("PROBE_DRIVER", str(os.getpid()))
    return folder


@pytest.fixture
def make_job(demo_store: Path, tmp_path: Path, probe_folder: Path) -> MakeJob:
    """Return a job of the strategy on 25 days of the made-up market."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "probe.py").write_text(SOURCE, encoding="utf-8")

    def make(store: Path | None = None, **sections: dict[str, object]) -> Job:
        span = {"start": "2024-03-01", "end": "2024-03-26"}
        data = {"symbols": ["BTC/USDT:USDT"], "timeframe": "1h", **span, **sections.pop("data", {})}
        config = build_config({"data": data, "strategy": {"name": "probe"}, **sections})
        return Job(config, Store(store or demo_store), folders=[folder])

    return make
