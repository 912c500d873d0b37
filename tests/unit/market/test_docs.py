"""docs/data.md: its code runs, its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from backtester.cli.app import exit_code
from backtester.market.quality.finding import CODES
from backtester.market.schema import SERIES, DatasetKey
from backtester.market.store import Store

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def small_store(folder: Path) -> None:
    times = [1_735_689_600_000 + k * 3_600_000 for k in range(48)]
    frame = pl.DataFrame({"open_time": times}).with_columns(
        pl.lit(float(v)).alias(c) for c, v in {"open": 1, "high": 2, "low": 0.5, "close": 1, "volume": 1}.items()
    )
    store = Store(folder / "data")
    store.write(DatasetKey("synthetic", "BTC/USDT:USDT", "trade", "1h"), frame, source="test")


def test_the_python_runs(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    small_store(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    namespace: dict[str, object] = {}
    exec(code, namespace)
    assert capsys.readouterr().out.startswith("synthetic BTC/USDT:USDT trade 1h (1735689600000, ")
    assert isinstance(namespace["bars"], pl.DataFrame)


def test_the_commands_without_files_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_store(tmp_path)
    commands = re.findall(r"^backtester data (?:list|check|verify).*$", PAGE, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        assert exit_code(command.split()[1:]) == 0


def test_the_tables_are_complete() -> None:
    for code in CODES:
        assert f"`{code}`" in PAGE
    for name, schema in SERIES.items():
        assert f"| `{name}` |" in PAGE
        if name in ("trade", "mark", "funding", "tiers", "instrument"):
            assert ", ".join(schema.columns) in PAGE
