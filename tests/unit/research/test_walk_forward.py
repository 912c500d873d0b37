"""Walk forward: what is chosen, what is carried over, and that a test sees what a longer run would have seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import backtester
from backtester import Param, Strategy
from backtester.analytics import drawdown, returns
from backtester.errors import DataError, StrategyError, UnknownNameError, UsageError
from backtester.research import holdout
from backtester.research.constraint import parse_constraints
from backtester.research.metrics import parse_objectives
from backtester.research.walk_forward import WalkPlan, chosen

MARKET: dict[str, Any] = {"symbols": ["BTC/USDT:USDT"], "timeframe": "1h"}
SPAN: dict[str, Any] = {**MARKET, "start": "2024-01-01", "end": "2024-03-11"}
GRID = {"fast": [12, 36], "slow": [100, 200]}


class Ruinous(Strategy):
    """Hold a little through January, then borrow all that the account allows, against every hour's move."""

    side: float = Param(1.0)

    def target(self) -> pl.Expr:
        size = pl.when(pl.col("open_time").dt.month() == 1).then(0.1).otherwise(30.0) * self.side
        return pl.when(pl.col("close") > pl.col("open")).then(-size).otherwise(size)


class Idle(Strategy):
    """Never trade, so that no ratio is defined."""

    wait: int = Param(1)

    def target(self) -> pl.Expr:
        return pl.when(pl.col("close") < 0).then(1.0)


class Narrow(Strategy):
    """Follow the last bars, or refuse to where they are too many."""

    warmup = 150
    length: int = Param(24)

    def signals(self, bars: pl.DataFrame) -> pl.DataFrame:
        if self.length > 100:
            raise ValueError("too long")
        up = pl.col("close") > pl.col("close").shift(self.length)
        return bars.select("open_time", "symbol", pl.when(up).then(1.0).otherwise(-1.0).alias("target"))


def walk(store: Path, strategy: Any = "trend", grid: Any = GRID, **changes: Any) -> Any:
    settings = {"train": "30d", "test": "10d", "data": store, "out": None, **SPAN, **changes}
    return backtester.walk_forward(strategy, grid, **settings)


@pytest.fixture(scope="module")
def rolled(demo_store: Path) -> Any:
    return walk(demo_store)


def test_the_best_of_training_is_tested(demo_store: Path, rolled: Any) -> None:
    """Every figure of a window is that of a run of its own, with the balance that was carried over."""
    assert rolled.windows.height == 4
    row = rolled.windows.row(1, named=True)
    runs = {
        (fast, slow): backtester.run(
            "trend", params={"fast": fast, "slow": slow}, data=demo_store, out=None,
            **MARKET, start=f"{row['train_start']:%Y-%m-%d}", end=f"{row['train_end']:%Y-%m-%d}",
        ).summary["sharpe"]
        for fast in GRID["fast"] for slow in GRID["slow"]
    }  # fmt: skip
    best = max(runs, key=lambda key: runs[key])  # type: ignore[arg-type, return-value]
    assert (row["fast"], row["slow"]) == best
    assert row["train_sharpe"] == pytest.approx(runs[best], rel=1e-9)
    tested = backtester.run(
        "trend", params={"fast": best[0], "slow": best[1]}, data=demo_store, out=None, balance=row["balance"],
        **MARKET, start=f"{row['test_start']:%Y-%m-%d}", end=f"{row['test_end']:%Y-%m-%d}",
    )  # fmt: skip
    assert row["test_sharpe"] == pytest.approx(tested.summary["sharpe"], rel=1e-9)
    assert row["final_balance"] == pytest.approx(tested.summary["final_equity"], rel=1e-9)


def test_equity_is_carried_over(rolled: Any) -> None:
    windows, equity = rolled.windows, rolled.equity
    assert windows["balance"].to_list() == [10_000.0, *windows["final_balance"].to_list()[:-1]]
    ends = equity.group_by("window", maintain_order=True).agg(pl.col("equity").last())
    assert ends["equity"].to_list() == windows["final_balance"].to_list()
    assert equity["open_time"].diff().drop_nulls().n_unique() == 1  # no hole between the tests
    assert equity["open_time"][0] == windows["test_start"][0]
    assert equity["close_time"][-1] == windows["test_end"][-1]


def test_the_summary_is_that_of_the_stitched_account(rolled: Any) -> None:
    equity, summary = rolled.equity, rolled.summary
    daily = returns.daily_returns(equity, 10_000.0)["return"].to_numpy()
    assert summary["days"] == 40
    assert summary["sharpe"] == pytest.approx(returns.sharpe(daily), rel=1e-12)
    assert summary["total_return"] == pytest.approx(equity["equity"][-1] / 10_000 - 1, rel=1e-12)
    assert summary["max_drawdown"] == pytest.approx(drawdown.episodes(equity, 10_000.0)["depth"].min(), rel=1e-12)
    assert summary["max_drawdown"] == pytest.approx(equity["drawdown"].min(), rel=1e-12)
    parts = ("price", "slippage", "fees", "funding", "liquidation", "auto_deleverage", "socialized_loss")
    assert sum(summary[part] for part in parts) == pytest.approx(summary["net_profit"], abs=1e-6)
    assert summary["trades"] == rolled.windows["test_trades"].sum()
    assert summary["degradation"] == pytest.approx(summary["test_objective"] - summary["train_objective"])


def test_a_test_is_warmed_up_on_the_bars_before_it(demo_store: Path) -> None:
    """Its decisions are those of a run over a longer span at the same bars, from the first on."""
    found = walk(demo_store, grid={"fast": [30], "slow": [400]}, train="20d", test="10d", start="2024-02-10")
    row = found.windows.row(0, named=True)
    whole = {"params": {"fast": 30, "slow": 400}, "data": demo_store, "out": None, **MARKET}
    long = backtester.run("trend", **whole, start="2023-12-01", end="2024-03-11")
    short = backtester.run("trend", **whole, start=f"{row['test_start']:%Y-%m-%d}", end=f"{row['test_end']:%Y-%m-%d}")
    inside = pl.col("open_time").is_between(row["test_start"], row["test_end"], closed="left")
    assert short.targets["open_time"][0] == row["test_start"]
    assert short.targets.equals(long.targets.filter(inside))
    assert found.trades["entry_time"][0] == short.fills["time"][0]


def test_anchored_training_begins_at_the_start(demo_store: Path) -> None:
    found = walk(demo_store, grid={"fast": [12, 36]}, anchored=True)
    assert found.windows["train_start"].n_unique() == 1
    assert found.windows["train_days"].to_list() == [30, 40, 50, 60]


def test_a_sampler_looks_anew_in_each_window(demo_store: Path) -> None:
    grid = {"fast": "5:40", "slow": "100:300"}
    found = [
        walk(demo_store, grid=grid, optimizer="tpe", trials=4, batch=4, seed=seed, test="20d") for seed in (1, 1, 2)
    ]
    assert found[0].windows.equals(found[1].windows)
    assert not found[0].windows.equals(found[2].windows)
    assert found[0].windows["sets"].to_list() == [4, 4]
    assert found[0].settings["seed"] == 1


def test_a_wiped_out_account_ends_the_walk(demo_store: Path) -> None:
    found = walk(demo_store, Ruinous, {"side": [1.0]}, leverage=50)
    assert found.windows.height < 4
    assert found.windows["final_balance"][-1] < 100
    assert next(notice.code for notice in found.notices if notice.severity == "warning") == "wiped_out"


def test_windows_in_which_no_set_counts_stay_flat(demo_store: Path) -> None:
    found = walk(demo_store, Idle, {"wait": [1, 2]})
    assert found.windows["wait"].null_count() == 4
    assert found.windows["counted"].sum() == 0
    assert found.equity["equity"].unique().to_list() == [10_000.0]
    assert found.equity.height == 40 * 24
    assert found.summary["total_return"] == 0
    assert "window_without_set" in [notice.code for notice in found.notices]
    assert found.stability.is_empty()


def test_constraints_hold_in_training(demo_store: Path) -> None:
    free = walk(demo_store)
    held = walk(demo_store, constraints="fast > 20")
    assert set(free.windows["fast"].drop_nulls()) != {36}
    assert held.windows["fast"].unique().to_list() == [36]
    assert held.windows["counted"].to_list() == [2] * 4
    assert held.windows["sets"].to_list() == [4] * 4


def test_failed_sets_do_not_count(demo_store: Path) -> None:
    found = walk(demo_store, Narrow, {"length": [24, 150]})
    assert found.windows["sets"].to_list() == [1] * 4
    assert found.windows["length"].unique().to_list() == [24]


def test_own_metrics_choose(demo_store: Path) -> None:
    def calm(result: Any) -> float:
        return -float(result.fills.height)

    found = walk(demo_store, objective="calm", metrics={"calm": calm}, grid={"fast": [4, 96]})
    assert found.windows["fast"].unique().to_list() == [96]
    assert found.windows["test_calm"].to_list() == [-float(n) for n in found.windows["test_fills"]]


def test_ties_take_the_first_set() -> None:
    plan = WalkPlan(("x",), parse_objectives("min:trades")[0], parse_constraints(["x > 1"], ["x"]), (), "grid")
    rows = pl.DataFrame({"x": [1, 2, 3, 4, 5], "trades": [0, 4, 3, 3, None]})
    choice = chosen(rows, plan)
    assert choice.params == {"x": 3}
    assert (choice.sets, choice.counted, choice.ties) == (5, 3, 2)
    assert chosen(rows.filter(pl.col("x") == 5), plan).params == {}
    assert chosen(rows.clear(), plan).params == {}


def test_files_are_written(demo_store: Path, tmp_path: Path) -> None:
    found = walk(demo_store, grid={"fast": [12, 36]}, test="20d", out=tmp_path)
    assert found.run_dir == tmp_path / found.run_id
    assert found.run_id in (tmp_path / "index.html").read_text(encoding="utf-8")
    names = {path.name for path in found.run_dir.iterdir()}
    assert names == {
        "walk_forward.toml", "windows.parquet", "equity.parquet", "trades.parquet", "manifest.json", "report.html",
    }  # fmt: skip
    assert pl.read_parquet(found.run_dir / "windows.parquet").equals(found.windows)
    assert pl.read_parquet(found.run_dir / "equity.parquet").equals(found.equity)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"train": "90d"}, UsageError, "one window needs 100d"),
        ({"train": "3 months"}, UsageError, "no length of time"),
        ({"objective": "sharpee"}, UnknownNameError, "sharpe"),
        ({"objective": "sharpe,calmar"}, UsageError, "one objective"),
        ({"optimizer": "tpee"}, UnknownNameError, "tpe"),
        ({"optimizer": "tpe", "where": "fast > 3"}, UsageError, "--where"),
        ({"trials": 5}, UsageError, "--trials"),
        ({"grid": {"fasst": [1]}}, UnknownNameError, "fast"),
        ({"grid": {}}, UsageError, "grid is empty"),
        ({"grid": ["fast=1,2", "fast=3"]}, UsageError, "given twice"),
        ({"constraints": "max_dradown > 0"}, UnknownNameError, "max_drawdown"),
        ({"settings": {"collateral": {"BTC": {"quantity": 1.0}}}}, UsageError, "collateral"),
    ],
)
def test_bad_input_is_refused(demo_store: Path, changes: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        walk(demo_store, **changes)


def test_a_walk_that_raises_leaves_no_empty_folder(demo_store: Path, tmp_path: Path) -> None:
    def broken(result: Any) -> float:
        raise KeyError("gone")

    found = walk(demo_store, grid={"fast": [12]}, metrics={"broken": broken}, objective="broken", out=tmp_path)
    assert found.windows["counted"].sum() == 0  # the metric's fault is that of each set, told in its row
    with pytest.raises((StrategyError, UsageError)):
        walk(demo_store, "nowhere", out=tmp_path)
    assert [path.name for path in tmp_path.glob("2*")] == [found.run_id]


def test_sealed_bars_are_refused(demo_store: Path, tmp_path: Path) -> None:
    span = holdout.parse_holdout("2024-03-01..")
    holdout.seal(tmp_path, "synthetic", ["BTC/USDT:USDT"], span)
    with pytest.raises(DataError, match="sealed as a holdout"):
        walk(demo_store, out=tmp_path)
    with pytest.raises(DataError, match="sealed as a holdout"):
        backtester.optimize("trend", {"fast": "5:40"}, data=demo_store, out=tmp_path, **SPAN)
    assert walk(demo_store, grid={"fast": [12]}, test="20d", end="2024-03-01", out=tmp_path).windows.height == 1


def test_an_interruption_keeps_the_windows_that_are_done(demo_store: Path, tmp_path: Path) -> None:
    def stop(phase: str, done: float | None) -> None:
        if phase.startswith("Window 3"):
            raise KeyboardInterrupt

    found = walk(demo_store, grid={"fast": [12, 36]}, out=tmp_path, progress=stop)
    assert found.interrupted
    assert found.windows.height == 2
    assert found.run_dir is not None
    assert pl.read_parquet(found.run_dir / "windows.parquet").height == 2


@pytest.mark.parametrize("optimizer", ["grid", "random"])
@pytest.mark.parametrize("name", ["data.start", "data.end", "data.timeframe", "data.detail", "data.venue"])
def test_a_window_keeps_its_span(name: str, optimizer: str, demo_store: Path) -> None:
    with pytest.raises(UsageError, match=f"A walk forward cannot vary {name}: .* one span") as refused:
        walk(demo_store, grid={**GRID, name: ["2024-01-01", "2024-03-11"]}, optimizer=optimizer)
    assert "--start and --end" in refused.value.hint


def test_a_test_keeps_the_balance_that_was_carried_over(demo_store: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot vary account\.balance"):
        walk(demo_store, grid={**GRID, "account.balance": [1_000, 10_000]})


def test_a_set_that_lost_the_account_is_not_chosen() -> None:
    plan = WalkPlan(("x",), parse_objectives("sharpe")[0], (), (), "grid")
    rows = pl.DataFrame({"x": [1, 2], "sharpe": [3.0, 1.0], "total_return": [-1.0, 0.1], "final_equity": [0.0, 11.0]})
    assert chosen(rows, plan).params == {"x": 2}
    assert chosen(rows, plan).counted == 1
    assert chosen(rows[:1], plan).params == {}
    assert chosen(rows.drop("total_return"), plan).params == {"x": 2}
