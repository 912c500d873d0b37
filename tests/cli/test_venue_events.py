"""``backtester run --deleverage`` and ``--clawback`` from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import backtester
from backtester.cli.app import exit_code

SHORT = ("trend", "--symbols", "BTC/USDT:USDT", "--start", "2024-11-01", "--end", "2024-11-15", "--no-report")
ADL = "time,symbol,fraction,price\n2024-11-05 08:00,BTCUSDT,0.5,\n2024-11-06 08:30,BTCUSDT,1,{price}\n"


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


def python_options(folder: Path) -> dict[str, object]:
    """Return what the short run of the command line is from Python."""
    span = {"symbols": "BTC/USDT:USDT", "start": "2024-11-01", "end": "2024-11-15"}
    return {"data": folder / "data", "out": None, **span}


def figures(content: dict[str, object]) -> dict[str, object]:
    """Return what equal runs agree in: one that states everything assumes less."""
    return {key: value for key, value in content.items() if key not in {"run_dir", "notices", "assumptions"}}


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--deleverage", "x.csv"], 2, "There is no file x.csv"),
        (["--deleverage", "bad.csv"], 1, "row 2, column 'price': 'free' is no number"),
        (["--clawback", "bad.csv"], 1, "row 1 has neither rate nor amount"),
        (["--set", "venue_events.deleverage=3"], 2, "venue_events.deleverage must be a list"),
    ],
)
def test_wrong_files_leave_nothing(shell, tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    (tmp_path / "bad.csv").write_text(ADL.format(price="free"))
    done, out, err = shell("run", *SHORT, *arguments)
    assert (done, out) == (code, ""), err
    assert text in err
    assert not (tmp_path / "reports").exists()


def test_a_run_is_deleveraged_and_repeats_without_the_file(shell, tmp_path: Path) -> None:
    """What the price takes stands in fills, ledger, trades and the split of profit; the run file holds the rows."""
    bars = backtester.run("trend", **python_options(tmp_path)).bars
    mark = bars.filter(pl.col("open_time") == pl.datetime(2024, 11, 6, 8, time_zone="UTC"))["mark_close"][0]
    (tmp_path / "adl.csv").write_text(ADL.format(price=mark * 1.01))
    (tmp_path / "shared.csv").write_text("time,amount\n2024-11-14,1\n")
    code, out, err = shell("run", *SHORT, "--deleverage", "adl.csv", "--clawback", "shared.csv", "--json")
    assert code == 0, err
    content = json.loads(out)
    folder = Path(content["run_dir"])
    fills = pl.read_parquet(folder / "fills.parquet").filter(pl.col("reason") == "auto_deleverage")
    assert fills["time"].dt.strftime("%m-%d %H:%M").to_list() == ["11-05 08:00", "11-06 08:59"]
    assert fills["fee_paid"].to_list() == [0.0, 0.0]
    assert fills["price"][1] == pytest.approx(mark * 1.01)
    sign = 1 if fills["side"][1] == "buy" else -1
    lost = sign * fills["quantity"][1] * mark * 0.01
    assert fills["slippage_paid"].to_list() == [0.0, pytest.approx(lost)]
    assert content["auto_deleverage"] == pytest.approx(-lost)
    ledger = pl.read_parquet(folder / "ledger.parquet")
    assert ledger.filter(pl.col("kind") == "auto_deleverage")["amount"].to_list() == [pytest.approx(-lost)]
    trades = pl.read_parquet(folder / "trades.parquet").filter(pl.col("exit_time").is_not_null())
    ended = trades.filter(pl.col("exit_reason") == "auto_deleverage")
    assert ended.height == 1
    closed = ledger.filter(pl.col("kind").is_in(["realized_pnl", "auto_deleverage"]))["amount"].sum()
    assert trades["pnl"].sum() == pytest.approx(closed)
    assert "auto_deleveraged" in {notice["code"] for notice in content["notices"]}
    (tmp_path / "adl.csv").unlink()
    (tmp_path / "shared.csv").unlink()
    code, out, err = shell("run", "--config", str(folder / "config.toml"), "--no-report", "--json")
    assert code == 0, err
    again = json.loads(out)
    assert figures(again) == figures(content)


def test_from_python_rows_and_frames_are_the_same(shell, tmp_path: Path) -> None:
    options = python_options(tmp_path)
    rows = [{"time": "2024-11-05T08:00", "symbol": "BTC", "fraction": 0.5, "price": None}]
    frame = pl.DataFrame(rows).with_columns(pl.col("time").str.to_datetime("%Y-%m-%dT%H:%M", time_zone="UTC"))
    first = backtester.run("trend", deleverage=rows, **options)
    second = backtester.run("trend", deleverage=frame, **options)
    assert first.fills.equals(second.fills)
    assert first.fills.filter(pl.col("reason") == "auto_deleverage").height == 1
    without = backtester.run("trend", **options)
    assert without.equity["equity"][-1] != first.equity["equity"][-1]


CLEARING = (
    "open_interest = 50_000_000\naccounts = 200\npast_days = 0\n[leverage_mix]\n10 = 1.0\n[rules]\nfund_start = 0\n"
)


def test_a_market_is_cleared_with_the_run(shell, tmp_path: Path) -> None:
    (tmp_path / "market.toml").write_text(CLEARING)
    code, out, err = shell("run", *SHORT, "--clearing", "market.toml", "--json")
    assert code == 0, err
    content = json.loads(out)
    folder = Path(content["run_dir"])
    assert "market_cleared" in {notice["code"] for notice in content["notices"]}
    assert content["details"]["venue_events"]["rounds"] >= 1
    lights = pl.read_parquet(folder / "clearing.parquet")
    assert lights.columns == ["open_time", "symbol", "light", "fund_worth"]
    assert set(lights["light"].drop_nulls()) <= {1, 2, 3, 4, 5}
    (tmp_path / "market.toml").unlink()
    code, out, err = shell("run", "--config", str(folder / "config.toml"), "--no-report", "--json")
    assert code == 0, err
    again = json.loads(out)
    assert figures(again) == figures(content)
    assert backtester.load_result(folder).clearing.equals(lights)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("acounts = 5\n", 2, "clearing.accounts"),
        ("accounts = 200\n", 2, "clearing needs an open_interest or a file of accounts"),
        ("[clearing]\nopen_interest = 1e6\n[clearing.rules]\nfound = 1\n", 2, "'found'"),
        ("open_interest = 1e6\naccounts = [\n", 2, "is not valid TOML"),
    ],
)
def test_a_wrong_market_leaves_nothing(shell, tmp_path: Path, text: str, code: int, said: str) -> None:
    (tmp_path / "market.toml").write_text(text)
    done, out, err = shell("run", *SHORT, "--clearing", "market.toml")
    assert (done, out) == (code, ""), err
    assert said in err
    assert not (tmp_path / "reports").exists()


def test_a_search_clears_no_market(shell, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[strategy]\nname = "trend"\n[clearing]\nopen_interest = 1e6\n')
    code, _, err = shell("sweep", "--config", "run.toml", *SHORT[1:-1], "-g", "fast=10:20:10", "--no-report")
    assert code == 2
    assert "The section clearing belongs to a single run" in err
