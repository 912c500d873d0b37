"""``backtester walk-forward``: tables, JSON, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtester.cli.app import exit_code

SPAN = ["--symbols", "BTC/USDT:USDT", "--timeframe", "1h", "--start", "2024-01-01", "--end", "2024-03-01"]
GRID = ["-g", "fast=12,36"]
LENGTHS = ["--train", "30d", "--test", "2w"]


def call(store: Path, out: Path, *arguments: str) -> int:
    return exit_code(["walk-forward", *arguments, "--store", str(store), "--out", str(out)])


def test_json_is_alone_on_stdout(demo_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(demo_store, tmp_path, "trend", *GRID, *LENGTHS, *SPAN, "--json", "--no-report") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert [row["window"] for row in found["windows"]] == [1, 2]
    assert found["windows"][0]["test_start"] == "2024-01-31T00:00:00Z"
    assert set(found["windows"][0]["params"]) == {"fast"}
    assert found["summary"]["days"] == 28
    assert found["settings"]["train"] == "30d"
    assert found["settings"]["test"] == "14d"
    assert "Window 2 of 2 done" in captured.err


def test_the_tables(demo_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(demo_store, tmp_path, "trend", *GRID, *LENGTHS, *SPAN, "--anchored") == 0
    captured = capsys.readouterr()
    assert "trend: 2 of 2 windows, best sharpe" in captured.out
    assert "Out of sample, stitched" in captured.out
    assert "report.html" in captured.out
    assert "begins flat with the equity at which the one before ended" in captured.err
    assert "shorter than a test (14d) and was left out" in captured.err


def test_a_test_longer_than_training_is_told(
    demo_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lengths = ["--train", "10d", "--test", "30d", "--no-report"]
    assert call(demo_store, tmp_path, "trend", *GRID, *lengths, *SPAN) == 0
    assert "Warning: The tests (30d) are longer than the first training (10d)." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*GRID], "one window needs 210d"),
        ([*GRID, "--train", "6M"], "Months differ in length"),
        ([*GRID, *LENGTHS, "--objective", "sharpe,calmar"], "one objective"),
        ([*GRID, *LENGTHS, "--optimizer", "tpe2"], "Did you mean 'tpe'"),
        ([*GRID, *LENGTHS, "--where", "fasst > 3"], "fasst"),
        ([*LENGTHS], "No parameter to choose"),
    ],
)
def test_bad_input_is_refused(
    arguments: list[str], words: str, demo_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(demo_store, tmp_path, "trend", *arguments, *SPAN) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
    assert not list(tmp_path.glob("*"))
