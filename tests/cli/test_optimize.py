"""``backtester optimize``: tables, JSON, files, refusals, and going on after a kill."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backtester.cli.app import exit_code

SPAN = ["--symbols", "BTC/USDT:USDT", "--timeframe", "1h", "--start", "2024-01-01", "--end", "2024-01-21"]
GRID = ["-g", "fast=5:60:5", "-g", "slow=80:400:20"]
COMMAND = [sys.executable, "-c", "from backtester.cli.app import main; main()"]


def call(store: Path, out: Path, *arguments: str) -> int:
    return exit_code(["optimize", *arguments, "--store", str(store), "--out", str(out)])


def trials_of(out: Path) -> pl.DataFrame:
    (path,) = out.glob("*/trials.parquet")
    return pl.read_parquet(path)


def test_json_is_alone_on_stdout(demo_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["trend", *GRID, "--trials", "6", "--batch", "3", "--seed", "1", *SPAN, "--json", "--no-report"]
    assert call(demo_store, tmp_path, *arguments, "--constraint", "liquidations == 0") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["trials"] == 6
    assert found["states"] == {"complete": 6}
    assert found["objectives"] == ["max:sharpe"]
    assert found["constraints"] == ["liquidations == 0"]
    values = [entry["values"]["sharpe"] for entry in found["best"]]
    assert values == sorted(values, reverse=True)
    assert set(found["best"][0]["params"]) == {"fast", "slow"}
    assert "Trial 6 of 6: best sharpe" in captured.err
    assert found["command"].startswith("backtester run --config ")


def test_the_command_repeats_the_best_set(demo_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["trend", *GRID, "--trials", "5", "--batch", "5", "--seed", "1", *SPAN, "--json", "--no-report"]
    assert call(demo_store, tmp_path, *arguments, "-g", "account.leverage=2,4") == 0
    found = json.loads(capsys.readouterr().out)
    command = found["command"].split()
    assert exit_code([*command[1:], "--json", "--no-report"]) == 0
    run = json.loads(capsys.readouterr().out)
    for key, value in found["best"][0]["metrics"].items():
        if isinstance(value, int | float):
            assert run[key] == pytest.approx(value, rel=1e-9), key


def test_the_table_and_the_files(demo_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["trend", *GRID, "--trials", "8", "--batch", "8", "--seed", "1", *SPAN]
    assert call(demo_store, tmp_path, *arguments, "--objective", "sharpe,max_drawdown") == 0
    printed = capsys.readouterr().out
    assert "Pareto front" in printed
    assert "Best set in full: backtester run" in printed
    (folder,) = tmp_path.glob("2*")
    names = {path.name for path in folder.iterdir()} - {".lock"}
    assert names == {"study.db", "trials.parquet", "optimize.toml", "best.toml", "manifest.json", "report.html"}
    assert folder.name in (tmp_path / "index.html").read_text(encoding="utf-8")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["status"], manifest["trials"], manifest["seed"]) == ("finished", 8, 1)
    frame = pl.read_parquet(folder / "trials.parquet")
    assert frame.height == 8
    assert {"trial", "state", "feasible", "fast", "slow", "sharpe", "max_drawdown"} <= set(frame.columns)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*GRID, "--objective", "sharp"], "Did you mean 'sharpe'"),
        ([*GRID, "--objective", "trades"], "max:trades or min:trades"),
        ([*GRID, "--constraint", "max_drawdwn > -1"], "Did you mean 'max_drawdown'"),
        ([*GRID, "--sampler", "cmaes", "--objective", "sharpe,calmar"], "looks for one objective"),
        ([*GRID, "--sampler", "grid"], "Unknown sampler"),
        ([*GRID, "--prune"], "needs time windows"),
        ([*GRID, "--windows", "2", "--objective", "sharpe,calmar"], "Time windows tell one objective"),
        (["-g", "fasst=5:60"], "Unknown parameter 'fasst' of strategy 'trend'"),
        (["-g", "fast=60:5"], "ends before it begins"),
        (["-g", "acount.leverage=1,2"], "account"),
        ([], "No parameter to look for"),
    ],
)
def test_bad_input_is_refused(
    arguments: list[str], words: str, demo_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = call(demo_store, tmp_path, "trend", *arguments, *SPAN, "--trials", "2", "--batch", "2", "--no-report")
    printed = capsys.readouterr()
    assert code == 2, printed.err
    assert words in printed.err
    assert "Traceback" not in printed.err


def test_more_windows_than_bars_leave_no_folder(
    demo_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    span = ["--symbols", "BTC/USDT:USDT", "--timeframe", "1h", "--start", "2024-01-01", "--end", "2024-01-02"]
    assert call(demo_store, tmp_path, "trend", *GRID, *span, "--windows", "40") == 2
    assert "fewer bars than 40 windows" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_objective_that_no_set_has_is_told(
    demo_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own").mkdir()
    text = "import polars as pl\nfrom backtester.strategy import Param, Strategy\n\n\nclass Idle(Strategy):\n"
    text += '    """Never trade."""\n\n    wait: int = Param(1)\n\n'
    text += '    def target(self):\n        return pl.when(pl.col("close") < 0).then(1.0)\n'
    (tmp_path / "own" / "idle.py").write_text(text)
    arguments = ["idle", "-g", "wait=1:3", "--trials", "3", "--strategies", str(tmp_path / "own"), *SPAN, "--no-report"]
    assert call(demo_store, tmp_path / "out", *arguments) == 1
    told = capsys.readouterr().err
    assert "None of the 3 trials has a value of sharpe" in told
    assert "sharpe is not defined for this set" in told
    assert trials_of(tmp_path / "out")["state"].to_list() == ["undefined"] * 3


def test_another_study_is_not_resumed(demo_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = ["trend", *GRID, "--trials", "2", "--batch", "2", "--seed", "1", *SPAN, "--no-report", "--quiet"]
    assert call(demo_store, tmp_path, *first) == 0
    name = next(tmp_path.glob("2*")).name
    refused = {
        "objectives is max:sharpe there, not max:calmar": ["--objective", "calmar"],
        "space is fast=5:60:5, slow=80:400:20 there, not fast=5:50": ["-g", "fast=5:50"],
        "sampler is tpe there, not random": ["--sampler", "random"],
        "seed is 1 there, not 2": ["--seed", "2"],
        "constraints is": ["--constraint", "sharpe > 0"],
        "has its run from its own folder": ["--leverage", "3"],
    }
    for words, arguments in refused.items():
        assert call(demo_store, tmp_path, "--resume", name, *arguments) == 2
        assert words in capsys.readouterr().err
    assert call(demo_store, tmp_path, "hold", "--resume", name) == 2
    assert "is a study of the strategy 'trend', not of 'hold'" in capsys.readouterr().err
    assert call(demo_store, tmp_path, "--resume", "nowhere") == 2
    assert f"There are {name}" in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    assert call(demo_store, tmp_path, "--resume", "run") == 2
    assert "is no optimisation" in capsys.readouterr().err
    assert call(demo_store, tmp_path, "--resume", name, "--trials", "4", *GRID, "--quiet", "--no-report") == 0
    assert trials_of(tmp_path).height == 4


def test_a_changed_strategy_is_not_resumed(
    demo_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(__file__).resolve().parents[2] / "strategies" / "trend.py"
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.py").write_text(source.read_text().replace("class Trend", "class Mine"))
    arguments = ["--strategies", str(own), "--no-report", "--quiet"]
    first = ["mine", *GRID, "--trials", "2", "--batch", "2", *SPAN, *arguments]
    assert call(demo_store, tmp_path / "out", *first) == 0
    name = next((tmp_path / "out").glob("2*")).name
    (own / "mine.py").write_text((own / "mine.py").read_text() + "\n# changed\n")
    assert call(demo_store, tmp_path / "out", "--resume", name, "--trials", "4", *arguments) == 2
    assert "The source of strategy 'mine' has changed" in capsys.readouterr().err


# -- ends from outside -----------------------------------------------------------------------------------------------


def started(store: Path, out: Path, *, trials: int = 24) -> subprocess.Popen[str]:
    """Return a running optimisation whose second batch has begun."""
    arguments = ["optimize", "trend", *GRID, *SPAN, "--trials", str(trials), "--batch", "4", "--seed", "9"]
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--store", str(store), "--out", str(out), "--no-report"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    give_up = time.monotonic() + 240
    while time.monotonic() < give_up and process.poll() is None:
        for path in out.glob("*/study.db"):
            if told(path) >= 4:
                return process
        time.sleep(0.05)
    pytest.fail(f"the optimisation did not begin: {process.communicate()}")


def told(study: Path) -> int:
    """Return how many trials of a study are done, as its file has it."""
    try:
        connection = sqlite3.connect(study, timeout=5)
        steps = [json.loads(row[0]) for row in connection.execute("SELECT step FROM steps")]
        connection.close()
    except sqlite3.Error:
        return 0
    return sum(step.get("state") in (1, 2, 3) and "values" in step for step in steps)


def sets_and_values(frame: pl.DataFrame) -> list[Any]:
    return frame.select("trial", "fast", "slow", "sharpe").rows()


def test_a_killed_study_goes_on(demo_store: Path, tmp_path: Path) -> None:
    """Killed amid a batch and resumed it holds, trial by trial, what it would have held without."""
    process = started(demo_store, tmp_path / "killed")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    (folder,) = (tmp_path / "killed").glob("2*")
    done = told(folder / "study.db")
    assert 4 <= done < 24
    assert json.loads((folder / "manifest.json").read_text())["status"] == "running"
    assert call(demo_store, tmp_path / "killed", "--resume", folder.name, "--no-report", "--quiet") == 0
    first = ["trend", *GRID, *SPAN, "--trials", "24", "--batch", "4", "--seed", "9", "--no-report", "--quiet"]
    assert call(demo_store, tmp_path / "whole", *first) == 0
    found, expected = trials_of(tmp_path / "killed"), trials_of(tmp_path / "whole")
    assert found.height == 24
    assert sets_and_values(found) == sets_and_values(expected)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_keeps_what_is_done(demo_store: Path, tmp_path: Path) -> None:
    process = started(demo_store, tmp_path, trials=500)
    process.send_signal(signal.SIGINT)
    printed, told_on_stderr = process.communicate(timeout=120)
    assert process.returncode == 130, told_on_stderr
    assert "Go on: backtester optimize --resume" in printed
    assert "Traceback" not in told_on_stderr
    frame = trials_of(tmp_path)
    assert 4 <= frame.height < 500
    (path,) = tmp_path.glob("*/manifest.json")
    assert json.loads(path.read_text())["status"] == "interrupted"
