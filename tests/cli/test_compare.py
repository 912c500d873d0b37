"""``backtester compare RUN --live FILE`` from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from backtester.cli.app import exit_code
from backtester.engine.result import figure_text, signed_text

RUN = ["run", "trend", "--symbols", "BTC/USDT:USDT", "--start", "2024-11-01", "--end", "2024-12-01", "--no-report"]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo_store: Path, capsys: pytest.CaptureFixture[str]):
    """Run a command in an empty folder with the demo store and one run: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(demo_store)
    assert exit_code([*RUN, "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert Path(printed.strip()).is_relative_to(tmp_path / "reports")  # where the run is, and nothing else

    def call(*arguments: str) -> tuple[int, str, str]:
        code = exit_code(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def run(shell, tmp_path: Path) -> Path:
    return next((tmp_path / "reports").glob("2*"))


def test_live_trades_that_came_a_minute_later_and_a_basis_point_worse(shell, run: Path, tmp_path: Path) -> None:
    fills = pl.read_parquet(run / "fills.parquet")
    sign = pl.when(pl.col("side") == "buy").then(1).otherwise(-1)
    worse = fills.with_columns(
        pl.col("time") + pl.duration(minutes=1), pl.col("price") * (1 + 1e-4 * sign), pl.col("fee_paid") + 0.01
    )
    worse.write_parquet(tmp_path / "live.parquet")
    funding = pl.read_parquet(run / "funding.parquet").with_columns(pl.col("funding_payment") - 0.5)
    funding.write_parquet(tmp_path / "funding.parquet")
    arguments = ("compare", run.name, "--live", "live.parquet", "--live-funding", "funding.parquet")
    code, out, err = shell(*arguments, "--json")
    assert code == 0, err
    content = json.loads(out)
    orders = fills["order_id"].n_unique()
    totals = content["totals"]
    assert (totals["matched"], totals["only_simulated"], totals["only_live"]) == (orders, 0, 0)
    assert totals["slippage_bps"] == pytest.approx(1.0)
    assert totals["slippage_cost"] == pytest.approx(1e-4 * float(fills["notional"].sum()))
    assert totals["fee_difference"] == pytest.approx(0.01 * fills.height)
    assert totals["funding_difference"] == pytest.approx(0.5 * funding.height)
    assert {row["delay"] for row in content["matched"]} == {60.0}
    assert len(content["funding"]) == funding.height
    code, out, err = shell(*arguments, "--rows", "3")
    assert code == 0, err
    for text in (f"the 3 costliest of {orders}", "positive differences are worse", "Slippage, mean (bps)", "+1.00"):
        assert text in out
    assert f"the 3 largest differences of {funding.height}" in out
    code, out, err = shell(*arguments, "--within", "30s")
    assert (code, "Simulated only" in out, "Live only" in out) == (0, True, True)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 2, "--live FILE"),
        (["--live", "none.csv"], 2, "There is no file none.csv"),
        (["--live", "none.csv", "--within", "soon"], 2, "soon"),
        (["other", "--live", "none.csv"], 2, "2 runs are given"),
    ],
)
def test_wrong_calls(shell, run: Path, arguments: list[str], code: int, text: str) -> None:
    done, out, err = shell("compare", run.name, *arguments)
    assert (done, out) == (code, "")
    assert text in err


def test_the_newest_run_without_any_pair_is_no_comparison(shell, run: Path, tmp_path: Path) -> None:
    (tmp_path / "live.csv").write_text("time,symbol,side,quantity,price\n2024-11-02 00:30,BTCUSDT,buy,77777,1\n")
    code, out, err = shell("compare", "--live", "live.csv")
    assert (code, out) == (2, "")
    assert f"No order of live.csv is one of the newest run, {run.name}" in err
    assert shell("compare", run.name, "--live", "live.csv")[0] == 0


@pytest.mark.parametrize(("value", "text"), [(-0.001, "0.00"), (0.0, "0.00"), (-0.01, "-0.01"), (1234.5, "+1,234.50")])
def test_a_zero_has_no_sign(value: float, text: str) -> None:
    assert signed_text(value, 2) == text
    assert figure_text(value, "money", "USDT") == f"{text.lstrip('+')} USDT"


def test_foreign_contracts_are_told_with_those_of_the_run(shell, run: Path, tmp_path: Path) -> None:
    (tmp_path / "live.csv").write_text("time,symbol,side,quantity,price\n2024-11-02 00:30,ETHUSDT,buy,1,1\n")
    code, _, err = shell("compare", run.name, "--live", "live.csv")
    assert code == 2
    assert "The file has ETHUSDT; here are BTC/USDT:USDT." in err
    assert "Did you mean" not in err


def test_a_run_that_is_not_there(shell) -> None:
    code, _, err = shell("compare", "nothing", "--live", "x.csv")
    assert code == 2
    assert "Unknown run 'nothing'" in err
