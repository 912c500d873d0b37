"""Rows of parameter sets: the figures of runs, whichever way the sets went, and whatever other sets stand beside."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from backtester import api
from backtester.engine.run_file import build_config
from backtester.errors import UnknownNameError, UsageError
from backtester.market.store import Store
from backtester.research.job import Job
from backtester.research.rows import metrics_of
from backtester.strategy import Param, Strategy, ema, sma

SYMBOL = "BTC/USDT:USDT"
SPAN = {"symbols": [SYMBOL], "timeframe": "1h", "start": "2024-03-01", "end": "2024-04-15"}


class Guarded(Strategy):
    """A cross with a stop, which polars evaluates."""

    fast: int = Param(5, ge=2)
    stop: float = Param(0.02, ge=0)

    def indicators(self):
        return {"fast": ema("close", self.fast), "slow": sma("close", 40)}

    def target(self):
        return pl.when(pl.col("fast") > pl.col("slow")).then(1.0).otherwise(-1.0)

    def stop_loss(self):
        return self.stop


class Rolled(Strategy):
    """Expressions of polars' own, of which nothing states how far they look back."""

    n: int = Param(20, ge=2)

    def indicators(self):
        return {"mean": pl.col("close").rolling_mean(self.n)}

    def target(self):
        return pl.when(pl.col("close") > pl.col("mean")).then(1.0).otherwise(0.0)


class Faulty(Strategy):
    """Raises for one parameter, leaves the program for another."""

    n: int = Param(5, ge=2)

    def indicators(self):
        return {"mean": sma("close", self.n)}

    def target(self):
        if self.n == 7:
            raise ValueError("seven is not liked")
        if self.n == 9:
            raise SystemExit(3)
        return pl.when(pl.col("close") > pl.col("mean")).then(1.0).otherwise(0.0)


def job(store: Path, name: str = "trend", cls: type[Strategy] | None = None, **sections: Any) -> Job:
    config = build_config({"data": SPAN, "strategy": {"name": name}, **sections})
    return Job(config, Store(store), strategy=cls, threads=2)


def crosses(**more: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({"fast": [5, 6, 12, 24, 6], "slow": [30, 60, 60, 200, 200], **more}).with_row_index("set")


def assert_same(row: dict[str, Any], whole: dict[str, Any]) -> None:
    for key, value in whole.items():
        if isinstance(value, float) and isinstance(row[key], float):
            assert math.isclose(row[key], value, rel_tol=1e-9, abs_tol=1e-9), key
        else:
            assert row[key] == value, key


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {
            "account": {"leverage": 20, "margin_mode": "isolated"},
            "strategy": {"name": "trend", "params": {"exposure": 18.0}},
        },
        {"execution": {"rebalance": "band", "latency_bars": 1, "slippage_bps": 3}},
        {"execution": {"fill": "close"}},
    ],
)
def test_rows_hold_the_figures_of_runs(demo_store: Path, sections: dict[str, Any]) -> None:
    ours = job(demo_store, **sections)
    sets = crosses()
    rows = ours.evaluate(sets)
    assert rows["path"].unique().to_list() == ["segments"]
    for row, values in zip(rows.iter_rows(named=True), sets.iter_rows(named=True), strict=True):
        assert_same(row, metrics_of(ours.result(values)))


def test_a_row_is_what_the_command_run_gives(demo_store: Path) -> None:
    rows = job(demo_store).evaluate(crosses())
    for row in rows.iter_rows(named=True):
        params = {"fast": row["fast"], "slow": row["slow"]}
        assert_same(row, metrics_of(api.run("trend", data=demo_store, params=params, out=None, **SPAN)))


def test_targets_are_compiled_where_they_can_be(demo_store: Path) -> None:
    assert job(demo_store).evaluate(crosses())["targets"].unique().to_list() == ["compiled"]
    sets = pl.DataFrame({"fast": [5, 9], "stop": [0.01, 0.03]})
    rows = job(demo_store, "guarded", Guarded).evaluate(sets)
    assert rows["targets"].to_list() == ["polars"] * 2
    assert rows["path"].to_list() == ["segments"] * 2
    loops = job(demo_store, "grid").evaluate(pl.DataFrame({"set": [0]}))
    assert (loops["path"][0], loops["targets"][0]) == ("replay", "on_bar")


def test_a_row_does_not_depend_on_the_other_sets(demo_store: Path) -> None:
    whole = job(demo_store).evaluate(crosses())
    alone = pl.concat([job(demo_store).evaluate(crosses()[k : k + 1]) for k in range(5)], how="diagonal_relaxed")
    assert_frame_equal(whole, alone.select(whole.columns), check_exact=True)


def test_a_warm_up_that_nothing_states_is_measured_for_each_set(demo_store: Path) -> None:
    sets = pl.DataFrame({"n": list(range(10, 300, 29))})
    ours = job(demo_store, "rolled", Rolled)
    for row, values in zip(ours.evaluate(sets).iter_rows(named=True), sets.iter_rows(named=True), strict=True):
        assert_same(row, metrics_of(api.run(Rolled(**values), data=demo_store, out=None, **SPAN)))


def test_sets_that_raise_are_rows_and_the_others_go_on(demo_store: Path) -> None:
    rows = job(demo_store, "faulty", Faulty).evaluate(pl.DataFrame({"n": [7, 8, 9, 1]}))
    assert rows["status"].to_list() == ["failed", "done", "failed", "failed"]
    assert "seven is not liked" in rows["error"][0]
    assert "target" in rows["error"][2]
    assert "at least 2" in rows["error"][3]
    assert rows["sharpe"][1] is not None
    assert rows["sharpe"][0] is None


def test_settings_that_the_account_refuses_are_rows_too(demo_store: Path) -> None:
    rows = job(demo_store).evaluate(pl.DataFrame({"fast": [5, 5], "account.leverage": [2.0, 100_000.0]}))
    assert rows["status"].to_list() == ["done", "failed"]
    assert "leverage" in rows["error"][1]


def test_little_memory_changes_no_figure(demo_store: Path) -> None:
    sets = pl.DataFrame({"fast": [f for f in range(4, 12) for _ in range(8)], "slow": list(range(30, 46, 2)) * 8})
    config = build_config({"data": SPAN, "strategy": {"name": "trend"}})
    little = Job(config, Store(demo_store), memory=1, threads=2).evaluate(sets)
    assert_frame_equal(little, job(demo_store).evaluate(sets), check_exact=True)


def test_names_are_refused(demo_store: Path) -> None:
    with pytest.raises(UnknownNameError, match="fats"):
        job(demo_store).evaluate(pl.DataFrame({"fats": [1]}))
    with pytest.raises(UsageError, match="cannot be swept"):
        job(demo_store).evaluate(pl.DataFrame({"strategy.name": ["trend"]}))
