"""``backtester clearing`` from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from backtester.cli.app import exit_code
from backtester.research.clearing_folder import FRAMES

FEW = ("--accounts", "400")
FILE = """
[market]
venue = "synthetic"
symbols = ["BTC/USDT:USDT"]
timeframe = "1h"
start = 2024-04-10
end = 2024-04-16
[clearing]
open_interest = 1e7
accounts = 300
venue = "bybit"
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = exit_code(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_the_demo_needs_nothing_and_writes_a_folder(shell, tmp_path: Path) -> None:
    code, out, err = shell("clearing", "demo", *FEW, "--rules", "binance,okx", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["conservation_error"] < 1e-9
    assert told["deleveraged_accounts"] > 0
    assert [case["case"] for case in told["cases"]] == ["binance", "okx"]
    folder = tmp_path / told["run_dir"]
    assert {path.name for path in folder.iterdir()} == {
        "clearing.toml", "manifest.json", "report.html", "summary.json", *(f"{name}.parquet" for name in FRAMES),
    }  # fmt: skip
    summary = json.loads((folder / "summary.json").read_text())
    assert {key: told[key] for key in summary if key != "format"} == {k: v for k, v in summary.items() if k != "format"}
    accounts = pl.read_parquet(folder / "accounts.parquet")
    struck = accounts.filter((pl.col("case") == "binance") & pl.col("deleveraged"))
    assert struck.height == told["deleveraged_accounts"]
    assert accounts.height == 800
    # it is no run, and known as what it is
    code, out, _ = shell("reports", "list", "--kind", "clearing", "--json")
    assert [(row["run"], row["kind"], row["state"]) for row in json.loads(out)] == [(told["run"], "clearing", "whole")]
    assert json.loads(shell("reports", "list", "--json")[1]) == []
    assert "Clearing" in (tmp_path / "reports" / "index.html").read_text()


def test_its_file_makes_it_again(shell, tmp_path: Path) -> None:
    first = json.loads(shell("clearing", "demo", *FEW, "--inverse", "--no-report", "--json")[1])
    again = json.loads(shell("clearing", "run", "-c", f"{first['run_dir']}/clearing.toml", "--no-report", "--json")[1])
    different = ("run", "run_dir")
    assert {k: v for k, v in again.items() if k not in different} == {
        k: v for k, v in first.items() if k not in different
    }
    assert [case["case"] for case in first["cases"]] == ["binance, linear", "binance, coin-margined"]
    assert [case["settle"] for case in first["cases"]] == ["USDT", "BTC"]


def test_a_stored_market_is_cleared_by_its_file(shell, tmp_path: Path, demo_store: Path) -> None:
    (tmp_path / "clearing.toml").write_text(FILE)
    code, out, err = shell(
        "clearing", "run", "--config", "clearing.toml", "--store", str(demo_store), "--seed", "3", "--no-report"
    )
    assert code == 0, err
    assert "Liquidated accounts" in out
    assert "bybit" in out
    assert "Folder: " in out
    folder = next((tmp_path / "reports").glob("*-clearing-BTC-bybit"))
    assert json.loads((folder / "summary.json").read_text())["accounts"] == 300


def test_many_rules_stand_below_each_other(shell) -> None:
    code, out, err = shell("clearing", "demo", *FEW, "--rules", "all", "--no-report")
    assert code == 0, err
    lines = [line.split() for line in out.splitlines()]
    names = [line[0] for line in lines if line and line[0] in {"binance", "bitmex", "bybit", "hyperliquid", "okx"}]
    assert names == ["binance", "bitmex", "bybit", "hyperliquid", "okx"]
    assert max(map(len, out.splitlines())) <= 160


def test_quiet_prints_the_page_alone(shell, tmp_path: Path) -> None:
    code, out, err = shell("clearing", "demo", *FEW, "-q")
    assert (code, err) == (0, "")
    assert out.strip().endswith("report.html")
    assert Path(out.strip()).is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run"], 2, "Neither a file nor a venue"),
        (["run", "--venue", "binance"], 2, "clearing says nothing of its accounts"),
        (["run", "--venue", "binance", "--open-interest", "1e6", "--store", "none"], 1, "no market data in none"),
        (["run", "--config", "none.toml"], 2, "cannot be read"),
        (["demo", "--rules", "bynance"], 2, "Did you mean 'binance'?"),
        (["demo", "--set", "shock.fal=0.3"], 2, "Did you mean 'shock.fall'"),
        (["demo", "--set", "clearing.rules.impakt=0.3"], 2, "impact"),
        (["demo", "--accounts", "1"], 2, "--accounts"),
        (["demo", "--rool", "x"], 2, "--rules"),
    ],
)
def test_what_is_wrong_is_said_and_leaves_nothing(
    shell, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    done, out, err = shell("clearing", *arguments)
    assert (done, out) == (code, ""), err
    assert says in err
    assert "Traceback" not in err
    assert not (tmp_path / "reports").exists()


def test_a_page_that_fails_leaves_no_folder(shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("backtester.report.clearing_page.write_clearing_page", fail)
    code, _, err = shell("clearing", "demo", *FEW)
    assert code == 1
    assert "No space left on device" in err
    assert [path for path in (tmp_path / "reports").iterdir() if path.is_dir()] == []
