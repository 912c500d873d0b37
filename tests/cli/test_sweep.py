"""``backtester sweep`` from end to end on the synthetic market."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from backtester.cli.app import exit_code

SPAN = ["--symbols", "BTC/USDT:USDT", "--start", "2024-11-01", "--end", "2024-11-15"]
SMALL = ["sweep", "trend", "-g", "fast=5:15:5", "-g", "slow=20,40", "-p", "exposure=0.5", *SPAN]

PICKY = """
import time

import polars as pl

from backtester.strategy import Param, Strategy, sma


class Picky(Strategy):
    n: int = Param(5, ge=1)
    bad: int = Param(0)
    other: int = Param(1)

    def check_params(self):
        if self.other == 7:
            raise ValueError("other is seven")

    def indicators(self):
        return {"mean": sma("close", self.n)}

    def target(self):
        if self.n % 2 == self.bad:
            raise RuntimeError(f"no {self.n}")
        time.sleep(0.02)
        return pl.when(pl.col("close") > pl.col("mean")).then(1.0).otherwise(0.0)
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo_store: Path, capsys: pytest.CaptureFixture[str]):
    """Run a command in an empty folder with the demo store: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(demo_store)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = exit_code(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def picky(tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "picky.py").write_text(PICKY)


def folder_of(out: str) -> Path:
    return (
        Path(out.strip().splitlines()[-1].partition(": ")[2]).parent
        if "Report: " in out
        else Path(out.strip().splitlines()[-1].removeprefix("Sweep: "))
    )


def test_a_sweep_prints_the_best_and_writes_its_folder(shell, tmp_path: Path) -> None:
    code, out, err = shell(*SMALL, "--top", "3", "--exact-check", "2")
    assert code == 0, err
    lines = " ".join(out.split())
    assert "trend on BTC/USDT:USDT, 2024-11-01 00:00 UTC to 2024-11-15 00:00 UTC: 6 sets" in lines
    assert "The 3 best of 6 sets by sharpe, higher is better" in lines
    assert "Exact check: 2 sets replayed in full" in lines
    assert "6 of 6 sets" in err
    folder = folder_of(out)
    assert folder.parent == tmp_path / "reports"
    assert {"sets.parquet", "sweep.toml", "manifest.json"} <= {path.name for path in folder.iterdir()}
    assert folder.name in (folder.parent / "index.html").read_text(encoding="utf-8")
    assert not (folder / "parts").exists()
    rows = pl.read_parquet(folder / "sets.parquet")
    assert rows.select("set", "fast", "slow").rows() == [
        (0, 5, 20), (1, 5, 40), (2, 10, 20), (3, 10, 40), (4, 15, 20), (5, 15, 40),
    ]  # fmt: skip
    assert rows["status"].to_list() == ["done"] * 6
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["state"], manifest["done"], manifest["failed"]) == ("finished", 6, 0)
    assert sum(manifest["paths"].values()) == 6
    assert set(manifest["hashes"]) >= {"config", "sets", "strategy", "data"}
    assert len(manifest["exact_check"]["sets"]) == 2
    assert manifest["exact_check"]["largest_difference"] <= 1e-9
    # the command that is printed repeats the best set
    best = rows.sort("sharpe", descending=True).row(0, named=True)
    command = next(line for line in out.splitlines() if line.startswith("The best set again: "))
    words = shlex.split(command.removeprefix("The best set again: "))
    assert words[0] == "backtester"
    code, out, err = shell(*words[1:], "--json", "--no-report")
    assert code == 0, err
    summary = json.loads(out)
    for metric in ("sharpe", "total_return", "funding", "fees", "max_drawdown", "trades"):
        assert summary[metric] == pytest.approx(best[metric], rel=1e-9, abs=1e-9), metric
    # sweeps are no runs
    assert [row["run"] for row in json.loads(shell("reports", "list", "--json")[1])] == [Path(summary["run_dir"]).name]


def test_json_is_alone_on_stdout(shell) -> None:
    code, out, err = shell(*SMALL, "--json", "--sort", "max_drawdown_days", "--where", "slow > 2 * fast")
    assert code == 0, err
    content = json.loads(out)
    assert content["sets"] == content["done"] == 4
    days = [row["max_drawdown_days"] for row in content["best"]]
    assert days == sorted(days)  # less is better
    assert Path(content["run_dir"], "sets.parquet").is_file()
    assert content["notices"][0]["code"] == "synthetic"


def test_the_file_of_a_sweep_repeats_it(shell, tmp_path: Path) -> None:
    first = json.loads(shell(*SMALL, "-g", "account.leverage=1,3", "--sample", "5", "--seed", "4", "--json")[1])
    text = (Path(first["run_dir"]) / "sweep.toml").read_text()
    assert '"account.leverage" = "1,3"' in text
    code, out, err = shell("sweep", "--config", f"{first['run_dir']}/sweep.toml", "--json")
    assert code == 0, err
    again = json.loads(out)
    one, other = (pl.read_parquet(f"{found['run_dir']}/sets.parquet") for found in (first, again))
    assert one.height == 5
    assert one.equals(other)
    code, out, _ = shell(
        "sweep", "--config", f"{first['run_dir']}/sweep.toml", "--json", "-g", "fast=7", "--sample", "2"
    )
    assert {row["fast"] for row in json.loads(out)["best"]} == {7}


def test_the_best_are_replayed_into_folders_of_their_own(shell, tmp_path: Path) -> None:
    code, out, err = shell(*SMALL, "--top", "2", "--replay", "--json")
    assert code == 0, err
    content = json.loads(out)
    assert len(content["replayed"]) == 2
    for row, run in zip(content["best"], content["replayed"], strict=True):
        summary = json.loads((Path(run) / "summary.json").read_text())
        assert summary["sharpe"] == pytest.approx(row["sharpe"], rel=1e-9)
        assert (Path(run) / "report.html").is_file()
        assert f"fast = {row['fast']}" in (Path(run) / "config.toml").read_text()


def test_sets_that_raise_are_rows_and_the_rest_goes_on(shell, picky, tmp_path: Path) -> None:
    code, out, err = shell("sweep", "picky", "-g", "n=1:5:1", "-g", "other=1,7", *SPAN, "--json")
    assert code == 0, err
    content = json.loads(out)
    assert (content["done"], content["failed"]) == (3, 7)
    rows = pl.read_parquet(f"{content['run_dir']}/sets.parquet")
    assert rows.filter(pl.col("status") == "done")["n"].to_list() == [1, 3, 5]
    errors = dict(rows.filter(pl.col("status") == "failed").select("set", "error").rows())
    assert "no 2" in errors[2]
    assert "other is seven" in errors[1]
    assert content["first_error"] == errors[1]
    code, out, err = shell("sweep", "picky", "-g", "n=4:5:1", *SPAN, "--json")  # the first one raises
    assert code == 0, err
    assert (json.loads(out)["done"], json.loads(out)["failed"]) == (1, 1)
    code, out, err = shell("sweep", "picky", "-g", "n=1:5:1", "-g", "other=1,7", *SPAN)
    assert "7 sets failed, and their rows say why" in err


def test_a_sweep_of_which_every_set_fails_is_refused_with_the_first_error(shell, picky, tmp_path: Path) -> None:
    code, out, err = shell("sweep", "picky", "-g", "n=2:6:2", *SPAN)
    assert (code, out) == (1, "")
    assert "All 3 sets failed. The first:" in err
    assert "no 2" in err
    rows = pl.read_parquet(next((tmp_path / "reports").glob("*/sets.parquet")))
    assert rows["status"].to_list() == ["failed"] * 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "The grid is empty"),
        (["-g", "fast"], "is not an axis"),
        (["-g", "fast=5:200"], "5:200:5"),
        (["-g", "fast=200:5:5"], "do not lead from 200 to 5"),
        (["-g", "fats=5"], "Unknown parameter 'fats' of strategy 'trend'.\nDid you mean 'fast'? It has "),
        (["-g", "data.symbols=A,B"], "data.symbols cannot be swept"),
        (["-g", "strategy.name=trend,flip"], "A sweep is of one strategy"),
        (["-g", "strategy.params.fast=5"], "by its bare name: fast"),
        (["-g", "report.enabled=true,false"], "It changes the page alone"),
        (["-g", "fast=1:10:1"], "it must be at least 2"),
        (["-g", "account.leverag=1"], "account.leverage"),
        (["-g", "strategy.compiled=true"], "cannot be swept"),
        (["-g", "fast=5", "-g", "fast=6"], "given twice"),
        (["-g", "fast=5,6", "-p", "fast=7"], "one value by an option and several on an axis"),
        (["-g", "account.leverage=1,2", "--leverage", "3"], "one value by an option and several on an axis"),
        (["-g", "fast=5:20:5", "--where", "fast > 100"], "leaves none of the 4 sets"),
        (["-g", "fast=5:20:5", "--where", "slo > 100"], "Unknown name 'slo'"),
        (["-g", "fast=5:20:5", "--where", "fast >"], "cannot be read"),
        (["-g", "fast=5:20:5", "--sample", "0"], "--sample"),
        (["-g", "fast=5:20:5", "--sample", "3", "--method", "sobl"], "Did you mean 'sobol'"),
        (["-g", "fast=5:20:5", "--method", "sobol"], "Add --sample N"),
        (["-g", "fast=5:20:5", "--sort", "sharp"], "Did you mean 'sharpe'"),
        (["-g", "fast=5:20:5", "--sort", "max_drawdown_start"], "it is no figure"),
        (["-g", "fast=5:20:5", "--memory", "lots"], "--memory 500MB"),
        (["-g", "fast=5:20:5", "--executor", "rey"], "Did you mean 'ray'"),
        (["-g", "fast=5:20:5", "--holdout", "2024-11-10"], "is not a span"),
        (["-g", "fast=5:20:5", "--holdout", "2024-10-01.."], "Nothing is left to search"),
        (["-g", "fast=5:20:5", "--resume", "none"], "Unknown sweep 'none'"),
        (["-g", "fast=5:20:5", "--set", "strategy.signals=x.csv"], "both given"),
    ],
)
def test_wrong_calls_leave_nothing(shell, tmp_path: Path, arguments: list[str], text: str) -> None:
    code, out, err = shell("sweep", "trend", *SPAN, *arguments)
    assert (code, out) == (2, ""), err
    assert text in err
    assert "Traceback" not in err
    assert not list(tmp_path.glob("reports/*"))


def test_a_thousand_million_sets_are_asked_about(shell, tmp_path: Path) -> None:
    axes = ["-g", "fast=2:10001:1", "-g", "slow=3:100002:1"]
    code, out, err = shell("sweep", "trend", *SPAN, *axes)
    assert (code, out) == (2, "")
    assert "The sweep has 1,000,000,000 sets: about" in err
    measured = re.search(r"sets a second, measured on ([\d,]+) of them", err)
    assert measured is not None
    assert int(measured[1].replace(",", "")) > 8
    assert "--yes" in err
    code, _, err = shell("sweep", "trend", *SPAN, *axes, "--where", "slow > fast")
    assert "1,000,000,000 sets before the filter" in err
    assert not (tmp_path / "reports").exists()
    code, out, err = shell("sweep", "trend", *SPAN, *axes, "--where", "slow > fast", "--sample", "3", "--json")
    assert code == 0, err
    assert json.loads(out)["sets"] == 3


def test_a_folder_of_something_else_is_not_gone_on_with(shell, picky, tmp_path: Path) -> None:
    sweep = json.loads(shell("sweep", "picky", "-g", "n=1,3", *SPAN, "--json")[1])["run_dir"]
    run = json.loads(shell("run", "trend", *SPAN, "--json", "--no-report")[1])["run_dir"]
    code, _, err = shell("sweep", "--resume", run)
    assert code == 2
    assert "holds a run, not a sweep" in err
    code, _, err = shell("sweep", "trend", "-g", "fast=5", *SPAN, "--resume", sweep)
    assert code == 2
    assert "is the folder of another sweep: of the strategy 'picky', not of 'trend'" in err
    before = (Path(sweep) / "sets.parquet").read_bytes()
    for change, what in (
        (["-g", "n=1,3,5"], "the axes, the filter or the sample differs"),
        (["-g", "n=1,3", "--leverage", "2"], "the configuration (account.leverage) differs"),
        (
            ["-g", "n=1,3,5", "--balance", "7"],
            "the configuration (account.balance) and the axes, the filter or the sample differ,",
        ),
    ):
        code, out, err = shell("sweep", "picky", *change, *SPAN, "--resume", sweep)
        assert (code, out) == (2, "")
        assert what in err
    source = tmp_path / "strategies" / "picky.py"
    source.write_text(source.read_text() + "\n# changed\n")
    code, _, err = shell("sweep", "--resume", Path(sweep).name[:24])
    assert code == 2
    assert "the strategy's source differs" in err
    assert (Path(sweep) / "sets.parquet").read_bytes() == before
    source.write_text(PICKY)
    code, out, err = shell("sweep", "--resume", sweep, "--json")  # finished: nothing is left to do
    assert code == 0, err
    assert json.loads(out)["done"] == 2


def _begun(tmp_path: Path, demo_store: Path) -> subprocess.Popen[bytes]:
    """Start a sweep of slow sets, two a part, and wait until some parts are on the disk."""
    source = tmp_path / "strategies" / "picky.py"
    source.write_text(PICKY.replace("    n: int", "    warmup = 120\n    n: int"))  # else it is measured for each part
    code = (
        "from backtester.research import sweep\n"
        "sweep._FIRST_PART = sweep._LARGEST_PART = 2\n"
        "from backtester.cli.app import main\n"
        f"main(['sweep', 'picky', '-g', 'n=1:59:2', *{SPAN!r}, '--store', {str(demo_store)!r}, '--quiet'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    give_up = time.monotonic() + 120
    while len(list(tmp_path.glob("reports/*/parts/*.parquet"))) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_what_is_done_survives_an_interruption(
    shell, picky, tmp_path: Path, demo_store: Path, how: signal.Signals
) -> None:
    with _begun(tmp_path, demo_store) as process:
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
    folder = next((tmp_path / "reports").glob("2*"))
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert b"of 30 sets are done and kept in" in err
        assert f"backtester sweep --resume reports/{folder.name}".encode() in err
        kept = pl.read_parquet(folder / "sets.parquet")
        assert json.loads((folder / "manifest.json").read_text())["state"] == "interrupted"
        assert not (folder / "parts").exists()
    else:
        kept = pl.concat([pl.read_parquet(path) for path in sorted(folder.glob("parts/*.parquet"))])
        (folder / "parts" / "0000000000000000199.tmp").write_bytes(b"half")  # what a kill may leave
    assert 3 <= kept.height < 30
    assert kept["set"].to_list() == list(range(kept.height))
    code, out, err = shell("sweep", "--resume", folder.name, "--json")
    assert code == 0, err
    content = json.loads(out)
    assert content["run_dir"] == f"reports/{folder.name}"
    assert content["done"] == 30
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["state"] == "finished"
    whole = pl.read_parquet(folder / "sets.parquet")
    assert whole.head(kept.height).equals(kept)
    at_once = json.loads(shell("sweep", "picky", "-g", "n=1:59:2", *SPAN, "--json", "--out", "other")[1])
    assert whole.equals(pl.read_parquet(f"{at_once['run_dir']}/sets.parquet"))


def test_a_holdout_is_sealed_and_opened_on_the_record(shell, tmp_path: Path) -> None:
    axes = ["sweep", "trend", "-g", "fast=5,10", "--symbols", "BTC/USDT:USDT", "--start", "2024-11-01"]
    code, out, err = shell(*axes, "--end", "2024-12-01", "--holdout", "2024-11-15..", "--json")
    assert code == 0, err
    content = json.loads(out)
    assert "sealed as a holdout: the sweep ends at 2024-11-15 00:00 UTC, before them" in content["notices"][-1]["text"]
    assert 'end = "2024-11-15"' in (Path(content["run_dir"]) / "sweep.toml").read_text()
    assert content["best"][0]["bars"] == 14 * 24
    code, out, err = shell(*axes, "--end", "2024-12-01")
    assert (code, out) == (1, "")
    assert "The sweep from 2024-11-01 00:00 UTC to 2024-12-01 00:00 UTC" in err
    assert "End before the seal: --end 2024-11-15" in err
    code, out, err = shell(*axes, "-g", "data.end=2024-11-10,2024-11-20", "--end", "2024-11-12")
    assert code == 2  # both an option and an axis
    code, out, err = shell(*axes, "-g", "data.end=2024-11-10,2024-11-20")
    assert code == 1
    assert "sealed" in err
    code, _, err = shell(*axes, "--end", "2024-11-14", "--json")
    assert code == 0, err
    # a run over sealed bars
    run = ["run", "trend", "--symbols", "BTC/USDT:USDT", "--start", "2024-11-01", "--end", "2024-12-01", "--json"]
    code, out, err = shell(*run)
    assert (code, out) == (1, "")
    assert "--open-holdout" in err
    for earlier, words in ((0, "the first look"), (1, "opened once before")):
        code, out, err = shell(*run, "--open-holdout")
        assert code == 0, err
        content = json.loads(out)
        notice = next(notice for notice in content["notices"] if notice["code"] == "holdout_opened")
        assert words in notice["text"]
        folder = Path(content["run_dir"])
        assert words in (folder / "report.html").read_text()
        assert len(json.loads((folder / "manifest.json").read_text())["holdout"]["opened_before"]) == earlier
        assert f'run = "{folder.name}"' in (tmp_path / "reports" / "holdout.toml").read_text()
    code, _, err = shell("run", "trend", *SPAN, "--json", "--no-report", "--open-holdout", "--out", "elsewhere")
    assert code == 2
    assert "nothing is sealed in elsewhere" in err
    code, _, err = shell("run", "trend", *SPAN, "--json", "--no-report")  # ends where the seal begins
    assert code == 0, err


LEADER = """
import polars as pl

from backtester.strategy import Param, Strategy, ref


class Leader(Strategy):
    symbol: str = Param("BTC/USDT:USDT")
    level: float = Param(1.0)

    def target(self):
        return pl.when(ref(self.symbol, "close") > self.level).then(1.0).otherwise(0.0)
"""


def test_a_holdout_is_not_read_through_references(shell, tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "leader.py").write_text(LEADER)
    eth = ["--symbols", "ETH/USDT:USDT", "--start", "2024-11-01", "--end", "2024-11-15"]
    code, _, err = shell("sweep", "trend", "-g", "fast=5", *eth, "--holdout", "2024-11-08..", "--json", "--no-report")
    assert code == 0, err
    read = ["-p", "symbol=ETH/USDT:USDT"]
    for call in (
        ["sweep", "leader", "-g", "level=1,2", *read],
        ["sweep", "leader", "-g", "symbol=BTC/USDT:USDT,ETH/USDT:USDT"],
        ["sweep", "leader", "-g", "level=1,2", "--set", 'data.reference=["ETH/USDT:USDT"]'],
        ["run", "leader", *read],
        ["run", "trend", "--set", 'data.reference=["ETH/USDT:USDT"]'],
    ):
        code, out, err = shell(*call, *SPAN, "--no-report")
        assert (code, out) == (1, ""), call
        assert "sealed as a holdout" in err
    for call in (["sweep", "leader", "-g", "level=1,2"], ["run", "leader"]):
        code, _, err = shell(*call, *SPAN, "--json", "--no-report")
        assert code == 0, err
    code, out, err = shell("run", "leader", *read, *SPAN, "--json", "--no-report", "--open-holdout")
    assert code == 0, err
    assert any(notice["code"] == "holdout_opened" for notice in json.loads(out)["notices"])
    code, out, err = shell("run", "trend", *eth, "--json", "--no-report", "--open-holdout")
    assert "opened once before" in out


def test_figures_that_differ_are_a_bug_that_is_told(shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backtester.research import exact_check

    real = exact_check.metrics_of
    monkeypatch.setattr(exact_check, "metrics_of", lambda result: {**real(result), "funding": 1e6})
    code, out, err = shell(*SMALL, "--exact-check", "1")
    assert (code, out) == (70, "")
    assert "funding is" in err
    assert "1000000.0 replayed in full" in err
    manifest = json.loads(next((tmp_path / "reports").glob("*/manifest.json")).read_text())
    assert "funding is" in manifest["exact_check"]["failed"]
    assert manifest["done"] == 6


def test_progress_in_one_line() -> None:
    from backtester.cli.sweep import parse_memory, progress_text
    from backtester.research.sweep import SweepProgress

    assert progress_text(SweepProgress(1200, 3, 9980, 410.0)) == "1,200 of 9,980 sets, 3 failed, 410 sets/s, 21 s left"
    assert progress_text(SweepProgress(1, 0, 100, 0.5)) == "1 of 100 sets, 0.5 sets/s, 3 min left"
    assert progress_text(SweepProgress(100, 0, 100, 0.5)) == "100 of 100 sets, 0.5 sets/s"
    sizes = {"1GB": 10**9, "500 mb": 5 * 10**8, "1GiB": 1 << 30, "1.5K": 1500, "200": 200}
    assert {text: parse_memory(text) for text in sizes} == sizes
