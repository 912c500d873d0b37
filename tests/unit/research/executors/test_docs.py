"""docs/clusters.md: its code runs, and it names every executor."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from backtester.research.executors import EXECUTORS

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "clusters.md").read_text(encoding="utf-8")


def test_the_python_runs(demo_store: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(code, namespace)
    rows = namespace["main"](demo_store)
    assert rows["set"].to_list() == list(range(6))
    assert rows["status"].unique().to_list() == ["done"]


def test_every_executor_is_named() -> None:
    for name in EXECUTORS:
        assert f"\n| `{name}` |" in PAGE
