"""``backtester run --assume`` from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from backtester.cli.app import exit_code
from backtester.engine.folder import load_result

RUN = ["run", "trend", "--symbols", "BTC/USDT:USDT", "--start", "2024-11-01", "--end", "2024-12-01", "--assume"]


def test_the_table_is_printed_and_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code([*RUN, "--store", str(demo_store)]) == 0
    said = capsys.readouterr()
    assert "Trying other assumptions …" in said.err
    for text in ("no funding", "every decision one bar later", "Not tried: inside a bar the stop comes first"):
        assert text in said.out
    assert "The total return of -23.17%" in said.out
    assert "Capacity: fills take" in said.out
    (folder,) = (tmp_path / "reports").glob("2*")  # one run, not one for each assumption
    stored = pl.read_parquet(folder / "assumptions.parquet")
    assert load_result(folder).assumptions.equals(stored)
    assert 'id="assumptions"' in (folder / "report.html").read_text()


def test_json_holds_figures_and_differences(
    tmp_path: Path, demo_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--store", str(demo_store), "--out", str(tmp_path), "--json", "--no-report"]
    assert exit_code([*RUN, *out]) == 0
    content = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in content["assumptions"]}
    assert rows["base"]["metrics"]["total_return"] == content["total_return"]
    assert set(rows["base"]["difference"].values()) == {0.0}
    funding = rows["no_funding"]
    assert funding["difference"]["final_equity"] == pytest.approx(
        funding["metrics"]["final_equity"] - content["final_equity"]
    )
    assert funding["difference"]["final_equity"] != 0.0
    assert rows["stop_first"]["metrics"]["sharpe"] is None
    assert rows["stop_first"]["reason"] == "The run assumes this itself."
