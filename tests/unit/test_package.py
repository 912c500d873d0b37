"""The package's front: names load when used, and importing it loads nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import backtester


def test_every_public_name_exists() -> None:
    assert backtester.__all__ == sorted(backtester.__all__)
    for name in backtester.__all__:
        assert getattr(backtester, name) is not None
    assert set(backtester.__all__) < set(dir(backtester))


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'smaa'"):
        _ = backtester.smaa


def test_importing_loads_nothing() -> None:
    code = "import json, sys, backtester; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(json.loads(done.stdout)) & {"numpy", "numba", "polars", "pydantic", "plotly", "typer"}
