"""``backtester run`` and ``reports`` from end to end on the synthetic market."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from backtester.cli.app import exit_code

SHORT = ["--symbols", "BTC/USDT:USDT", "--start", "2024-11-01", "--end", "2024-12-01"]


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


def test_a_run_prints_its_summary_and_the_report(shell, tmp_path: Path) -> None:
    code, out, err = shell("run", "trend", *SHORT)
    assert code == 0
    assert "trend on BTC/USDT:USDT, 2024-11-01 00:00 UTC to 2024-12-01 00:00 UTC" in " ".join(out.split())
    assert "Sharpe ratio" in out
    page = Path(out.strip().splitlines()[-1].removeprefix("Report: "))
    assert page.is_file()
    assert page.parent.parent == tmp_path / "reports"
    assert "Warning: The market data is synthetic" in err
    assert "Replaying …" in err


def test_json_is_alone_on_stdout(shell) -> None:
    code, out, err = shell("run", "trend", "--json", *SHORT, "--set", "execution.slippage_bps=3", "-p", "fast=12")
    assert code == 0
    content = json.loads(out)
    assert content["slippage"] < 0
    assert content["strategy"] == "trend"
    assert content["counts"]["takeovers"] == 0
    assert content["notices"][0]["code"] == "synthetic"
    run_dir = Path(content["run_dir"])
    stored = json.loads((run_dir / "summary.json").read_text())
    assert stored == {k: v for k, v in content.items() if k != "run_dir"}
    config = (run_dir / "config.toml").read_text()
    assert "fast = 12" in config
    assert "slippage_bps = 3" in config
    assert "Replaying" in err


def test_what_a_strategy_prints_does_not_spoil_the_json(shell, tmp_path: Path) -> None:
    folder = tmp_path / "strategies"
    folder.mkdir()
    (folder / "talker.py").write_text(
        "import polars as pl\n"
        "from backtester.strategy import Strategy\n"
        "class Talker(Strategy):\n"
        '    """Say what it does."""\n'
        "    warmup = 0\n"
        "    def target(self) -> pl.Expr:\n"
        "        print('deciding')\n"
        "        return pl.lit(1.0)\n"
    )
    code, out, err = shell("run", "talker", "--json", "--no-report", "--strategies", str(folder), *SHORT)
    assert code == 0
    assert json.loads(out)["strategy"] == "talker"
    assert "deciding" in err


def test_quiet_says_where_the_run_is_and_nothing_else(shell) -> None:
    code, out, err = shell("run", "trend", "--quiet", "--no-report", *SHORT)
    assert (code, err) == (0, "")
    assert (Path(out.strip()) / "manifest.json").is_file()


def test_options_override_the_run_file(shell, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        '[data]\nsymbols = ["ETH/USDT:USDT"]\nstart = 2024-11-01\nend = 2024-12-01\n'
        '[account]\nleverage = 2\nmargin_mode = "isolated"\n[strategy]\nname = "trend"\n[strategy.params]\nfast = 10\n'
    )
    code, out, _ = shell("run", "--config", "run.toml", "--leverage", "4", "--json", "--no-report")
    assert code == 0
    folder = Path(json.loads(out)["run_dir"])
    config = (folder / "config.toml").read_text()
    assert "leverage = 4.0" in config
    assert 'margin_mode = "isolated"' in config
    assert "fast = 10" in config
    assert not (folder / "report.html").exists()
    code, out, _ = shell("run", "buy_and_hold", "--config", "run.toml", "--json", "--no-report")
    assert code == 0
    assert json.loads(out)["strategy"] == "buy_and_hold"


def test_parameters_of_the_run_file_go_with_its_strategy(shell, tmp_path: Path) -> None:
    """They are kept where the file names no strategy or the same one, else said to be unused."""

    def run(text: str) -> tuple[str, str]:
        (tmp_path / "p.toml").write_text(text + "[strategy.params]\nfast = 30\n")
        code, out, err = shell("run", "trend", "--config", "p.toml", *SHORT, "--json", "--no-report")
        assert code == 0, err
        return (Path(json.loads(out)["run_dir"]) / "config.toml").read_text(), err

    for text in ("", '[strategy]\nname = "trend"\n'):
        config, err = run(text)
        assert "fast = 30" in config
        assert "not used" not in err
    config, err = run('[strategy]\nname = "other"\n')
    assert "fast = 30" not in config
    assert "the strategy trend is run: strategy.name, strategy.params of the run file not used" in err


def test_signals_from_a_file(shell, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("decision_time,target\n2024-11-02T00:30Z,1\n2024-11-20,0\n")
    code, out, _ = shell("run", "--signals", "mine.csv", *SHORT, "--json", "--no-report")
    assert code == 0
    content = json.loads(out)
    assert content["trades"] == 1
    assert content["strategy"] == "mine"
    fills = pl.read_parquet(Path(content["run_dir"]) / "fills.parquet")
    assert [str(t) for t in fills["time"]] == ["2024-11-02 00:00:00+00:00", "2024-11-20 00:00:00+00:00"]


def test_signals_for_legs_need_legs(shell, tmp_path: Path) -> None:
    (tmp_path / "legs.csv").write_text("open_time,target_long,target_short\n2024-11-02,1,-1\n")
    code, out, err = shell("run", "--signals", "legs.csv", *SHORT)
    assert (code, out) == (2, "")
    assert "legs decides target_long and target_short, but a contract holds one position in one-way mode." in err
    assert "Use --position-mode hedge" in err


def test_finer_bars_are_replayed(shell) -> None:
    code, out, err = shell("run", "trend", "--timeframe", "4h", "--detail", "1h", "--json", "--no-report", *SHORT)
    assert code == 0, err
    content = json.loads(out)
    assert (content["timeframe"], content["detail"], content["bars"]) == ("4h", "1h", 30 * 24)
    assert "Assumption: Decisions are made on bars of 4h; orders, funding and margin are replayed on bars of 1h" in (
        " ".join(f"{n['severity'].capitalize()}: {n['text']}" for n in content["notices"])
    )
    fills = pl.read_parquet(Path(content["run_dir"]) / "fills.parquet")
    assert set(fills["time"].dt.hour().unique()) <= {0, 4, 8, 12, 16, 20}
    assert 'detail = "1h"' in (Path(content["run_dir"]) / "config.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["run"], 2, "Neither a strategy nor a file of signals"),
        (["run", "trnd"], 2, "Did you mean 'trend'"),
        (["run", "trend", "--leverage", "lots"], 2, "--leverage"),
        (["run", "trend", "--symbols", "BTC/USD:USDT"], 2, "Did you mean 'BTC/USDT:USDT'"),
        (["run", "trend", "--timeframe", "7q"], 2, "7q"),
        (["run", "trend", "--start", "2024-12-01", "--end", "2024-11-01"], 2, "range is empty"),
        (["run", "trend", "-p", "fast"], 2, "name=value"),
        (["run", "trend", "-p", "fast=0"], 2, "fast"),
        (["run", "trend", "-p", "fst=3"], 2, "Did you mean 'fast'"),
        (["run", "trend", "--set", "execution.slipage_bps=3"], 2, "Did you mean 'execution.slippage_bps'"),
        (["run", "trend", "--margin-mode", "crossed"], 2, "Did you mean 'cross'"),
        (["run", "trend", "--detail", "7m"], 2, "data.detail = 7m does not divide data.timeframe = 1h"),
        (["run", "trend", "--detail", "soon"], 2, "soon"),
        (
            ["run", "trend", "--timeframe", "4h", "--detail", "1m"],
            1,
            "trade 1m: no bars from which the finer ones come",
        ),
        (["run", "trend", "--position-mode", "hedged"], 2, "Did you mean 'hedge'"),
        (["run", "trend", "--set", "sizing.unit=risk"], 2, "sizing.unit = 'risk' needs a stop, and trend decides none"),
        (
            ["run", "trend", "--set", "execution.fill=close", "--set", "execution.latency_ms=5"],
            2,
            "latency does not go with",
        ),
        (["run", "trend", "--signals", "x.csv"], 2, "both given"),
        (["run", "trend", "--set", "strategy.signals=x.csv"], 2, "both given"),
        (["run", "trend", "--symbols", ","], 2, "--symbols names no contract"),
        (["run", "trend", "--symbols", "BTC/USDT:USDT", "--set", "data.symbols=3"], 2, "data.symbols must be a list"),
        (["run", "trend", "--set", "account.leverage=true"], 2, "account.leverage must be a number"),
        (["run", "--signals", "x.csv"], 2, "There is no file x.csv"),
        (["run", "trend", "--config", "none.toml"], 2, "cannot be read"),
        (["run", "trend", "--leverage", "500"], 1, "exceeds the maximum"),
        (["run", "trend", "--store", "nowhere"], 1, "backtester data demo"),
        (["run", "trend", "--start", "2031-01-01"], 1, "2031-01-01"),
        (["run", "trend", "--assets", "beside"], 2, "report.assets"),
        (["reports", "build", "none"], 2, "Unknown run 'none'"),
        (["reports", "open"], 2, "There is no run in reports"),
    ],
)
def test_wrong_calls_leave_nothing(shell, tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    done, out, err = shell(*arguments)
    assert (done, out) == (code, ""), err
    assert text in err
    assert "Traceback" not in err
    assert not (tmp_path / "reports").exists()


def test_a_broken_strategy_names_its_own_line(shell, tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "mine.py").write_text(
        "import polars as pl\n\nfrom backtester.strategy import Strategy\n\n\nclass Mine(Strategy):\n"
        "    def target(self):\n        return pl.col('clos') * 2\n"
    )
    code, _, err = shell("run", "mine", *SHORT)
    assert code == 1
    assert "mine.py:8" in err
    assert "Did you mean 'close'" in err


def test_no_rights_is_said(shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = shell("run", "trend", *SHORT, "--no-report", "--out", "file/reports")
    assert code == 1
    assert "cannot be written: a file is in the place of a folder" in err
    assert "space" not in err


def test_reports_are_listed_and_rebuilt(shell) -> None:
    first = json.loads(shell("run", "trend", *SHORT, "--json")[1])
    folder = Path(first["run_dir"])
    before = (folder / "report.html").read_text()
    code, out, _ = shell("reports", "list", "--json")
    assert code == 0
    assert [row["run"] for row in json.loads(out)] == [folder.name]
    assert "trend" in shell("reports", "list")[1]
    (folder / "report.html").unlink()
    code, out, err = shell("reports", "build", folder.name[:12])
    assert code == 0, err
    assert out.strip() == f"Report: {(folder / 'report.html').resolve()}"
    assert (folder / "report.html").read_text() == before


def test_a_list_that_cannot_be_written_costs_no_run(shell, tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / ".shelf").write_text("in the way")
    code, out, _ = shell("run", "trend", *SHORT, "--no-report", "--json")
    assert code == 0
    content = json.loads(out)
    assert content["notices"][-1]["code"] == "shelf_not_renewed"
    stored = json.loads((Path(content["run_dir"]) / "summary.json").read_text())
    assert "shelf_not_renewed" not in {notice["code"] for notice in stored["notices"]}
    assert "Warning: The list of runs was not renewed." in shell("run", "trend", *SHORT, "--no-report")[2]


def test_the_library_is_shared_where_asked(shell, tmp_path: Path) -> None:
    first = Path(json.loads(shell("run", "trend", *SHORT, "--assets", "shared", "--json")[1])["run_dir"])
    (library,) = (tmp_path / "reports" / "assets").iterdir()
    page = first / "report.html"
    assert f'src="../assets/{library.name}"' in page.read_text()
    assert page.stat().st_size < 2_000_000
    assert 'assets = "shared"' in (first / "config.toml").read_text()
    assert [row["run"] for row in json.loads(shell("reports", "list", "--json")[1])] == [first.name]
    before = page.read_text()
    assert shell("reports", "build", first.name)[0] == 0
    assert page.read_text() == before
    assert shell("reports", "build", first.name, "--assets", "inline")[0] == 0
    assert "../assets/" not in page.read_text()
    assert page.stat().st_size > 4_000_000
    assert shell("reports", "build", first.name, "--assets", "nearby")[0] == 2


def test_interrupting_leaves_nothing(tmp_path: Path, demo_store: Path) -> None:
    """Ctrl-C while the run goes on: exit code 130, no run's folder."""
    code = (
        "import sys, time\n"
        "from backtester.engine import run\n"
        "def slow(*a, **k):\n    print('now', flush=True)\n    time.sleep(60)\n"
        "run.prepare = slow\n"
        "from backtester.cli.app import main\n"
        f"main(['run', 'trend', '--store', {str(demo_store)!r}, '--quiet'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.decode().strip() == "Interrupted."
    assert list(tmp_path.iterdir()) == []
