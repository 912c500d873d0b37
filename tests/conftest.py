"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real market data; the test is skipped where there is none."""
    folder = Path(os.environ.get("BACKTESTER_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real market data in {folder} (set BACKTESTER_REAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def demo_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a store that holds the synthetic market, made once a session and process: read it, do not write."""
    from backtester.market.store import Store
    from backtester.market.synthetic import write_demo

    folder = tmp_path_factory.mktemp("demo") / "data"
    write_demo(Store(folder))
    return folder
