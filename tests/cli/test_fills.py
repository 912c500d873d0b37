"""``backtester run --fills`` from end to end, and what is refused before anything is replayed."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from backtester.cli.app import exit_code

FILE = "time,symbol,side,quantity,price\n2024-11-02 08:30,BTCUSDT,buy,1,{price}\n"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo_store: Path, capsys: pytest.CaptureFixture[str]):
    """Run a command in an empty folder with the demo store: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(demo_store)
    (tmp_path / "bad.csv").write_text(FILE.format(price="free"))
    (tmp_path / "run.toml").write_text('[strategy]\nfills = "mine.csv"\n')

    def call(*arguments: str) -> tuple[int, str, str]:
        code = exit_code(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["trend", "--fills", "x.csv"], 2, "A strategy and --fills are both given"),
        (["--signals", "s.csv", "--fills", "x.csv"], 2, "--signals and --fills are both given"),
        (["trend", "--set", "strategy.fills=x.csv"], 2, "A strategy and a file of trades are both given"),
        (["--fills", "x.csv", "-p", "fast=3"], 2, "--param goes with a strategy, not with --fills"),
        (["--fills", "x.csv"], 2, "There is no file x.csv"),
        (["--fills", "bad.csv"], 1, "row 1, column 'price': 'free' is no number"),
        (["--config", "run.toml"], 2, "There is no file mine.csv"),
    ],
)
def test_wrong_calls_leave_nothing(shell, tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    done, out, err = shell("run", *arguments)
    assert (done, out) == (code, ""), err
    assert text in err
    assert not (tmp_path / "reports").exists()


def test_a_strategy_replaces_the_trades_of_the_run_file(shell) -> None:
    short = ("--symbols", "BTC/USDT:USDT", "--start", "2024-11-01", "--end", "2024-11-05", "--no-report")
    code, _, err = shell("run", "trend", "--config", "run.toml", *short)
    assert code == 0, err
    assert "the strategy trend is run: strategy.fills of the run file not used" in err


def test_the_trades_are_settled(shell, tmp_path: Path) -> None:
    """0.1 is bought at the open of a bar and sold at that of another for stated fees; the run file repeats it."""
    bars = pl.read_parquet(
        tmp_path / "data/venue=synthetic/symbol=BTC%2FUSDT%3AUSDT/series=trade/timeframe=1h/2024.parquet"
    )
    times = ("2024-11-02 08:00", "2024-11-03 20:00")
    first, last = (
        float(bars.filter(pl.col("open_time").dt.strftime("%Y-%m-%d %H:%M") == time)["open"][0]) for time in times
    )
    (tmp_path / "two.csv").write_text(
        "time,symbol,side,quantity,price,fee\n"
        f"{times[0]}:30,BTCUSDT,buy,0.1,{first},1.5\n{times[1]}:30,BTCUSDT,sell,0.1,{last},2.5\n"
    )
    short = ("--start", "2024-11-01", "--end", "2024-11-05", "--no-report", "--json")
    code, out, err = shell("run", "--fills", "two.csv", *short)
    assert code == 0, err
    content = json.loads(out)
    assert (content["strategy"], content["symbols"], content["trades"]) == ("two", "BTC/USDT:USDT", 1)
    assert content["fees"] == pytest.approx(-4.0)
    assert content["settlements"] == 4  # 16:00, then 00:00, 08:00 and 16:00
    expected = 0.1 * (last - first) - 4.0 + content["funding"]
    assert content["net_profit"] == pytest.approx(expected)
    assert "No symbols were named: those of the trades" in " ".join(note["text"] for note in content["notices"])
    again = shell("run", "--config", str(Path(content["run_dir"]) / "config.toml"), "--no-report", "--json")
    assert json.loads(again[1])["net_profit"] == content["net_profit"]
