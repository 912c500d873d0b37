"""``backtester.sweep`` on the synthetic market."""

from __future__ import annotations

import re
import time
from pathlib import Path

import polars as pl
import pytest

import backtester
from backtester.errors import UsageError
from backtester.research.job import Job, Tell
from backtester.research.sweep import SweepProgress
from backtester.strategy import Param, Strategy, sma

SPAN = {"symbols": ["BTC/USDT:USDT"], "start": "2024-11-01", "end": "2024-11-15"}


class Above(Strategy):
    """Long above the average; no file holds it."""

    length: int = Param(20, ge=2)
    exposure: float = Param(1.0, gt=0)

    def indicators(self):
        return {"mean": sma("close", self.length)}

    def target(self):
        return pl.when(pl.col("close") > pl.col("mean")).then(self.exposure).otherwise(0.0)


def test_a_sweep_of_an_instance_is_the_runs_of_its_sets(demo_store: Path) -> None:
    told: list[SweepProgress] = []
    found = backtester.sweep(
        Above(exposure=0.5),
        grid={"length": range(10, 40, 10), "account.leverage": [1, 3]},
        where="length < 30",
        data=demo_store,
        out=None,
        exact_check=2,
        progress=told.append,
        **SPAN,
    )
    assert found.sets.select("set", "length", "account.leverage").rows() == [
        (0, 10, 1.0),
        (1, 10, 3.0),
        (2, 20, 1.0),
        (3, 20, 3.0),
    ]
    assert told[-1].done == told[-1].total == 4
    assert found.run_dir is None
    assert found.command(0) is None
    best = found.best()
    assert best["sharpe"] == found.sets["sharpe"].max()
    assert found.best("volatility")["volatility"] == found.sets["volatility"].min()
    assert found.top(2)["set"].to_list()[0] == best["set"]
    alone = backtester.run(Above(exposure=0.5, length=20), data=demo_store, out=None, leverage=3, **SPAN)
    replayed = found.replay(3)
    for metric in ("sharpe", "final_equity", "funding", "trades", "worst_margin_ratio"):
        assert found.sets[metric][3] == pytest.approx(alone.summary[metric], rel=1e-9)
        assert replayed.summary[metric] == pytest.approx(alone.summary[metric], rel=1e-9)
    shown = found._repr_html_()
    assert "sharpe" in shown
    assert "account.leverage" in shown
    with pytest.raises(UsageError, match="no set 99"):
        found.replay(99)
    with pytest.raises(UsageError, match="sharpe"):
        found.best("sharp")


def test_a_sweep_is_written_and_replayed_and_gone_on_with(
    demo_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = {"grid": {"fast": [5, 10], "slow": (30,)}, "data": demo_store, "out": "runs", **SPAN}
    found = backtester.sweep("trend", **asked)
    assert found.run_dir is not None
    assert (found.run_dir / "sets.parquet").is_file()
    assert "--out runs" in str(found.command(1))
    written = found.replay(1, write=True)
    assert written.run_dir is not None
    assert written.run_dir.parent == Path("runs")
    assert backtester.load_result(written.run_dir).summary["sharpe"] == found.sets["sharpe"][1]
    again = backtester.sweep("trend", resume=found.run_dir, **asked)
    assert again.sets.equals(found.sets)
    assert again.run_dir == found.run_dir


def test_a_frame_can_be_swept_and_replayed_afterwards(demo_store: Path) -> None:
    part = "venue=synthetic/symbol=BTC%2FUSDT%3AUSDT/series=trade/timeframe=1h/2024.parquet"
    bars = pl.read_parquet(demo_store / part).head(400)
    tiers = [backtester.MarginTier(maintenance_margin_rate=0.005, max_leverage=50)]
    found = backtester.sweep(Above(), grid={"length": [5, 50]}, data=bars, tiers=tiers, out=None)
    assert found.manifest["done"] == 2
    assert found.replay(1).summary["final_equity"] == pytest.approx(found.sets["final_equity"][1], rel=1e-12)
    assert any(notice.code == "frame" for notice in found.notices)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"grid": {}}, "The grid is empty"),
        ({"grid": {"length": []}}, "length has no value"),
        ({"grid": {"length": 5}}, "a sequence of values or a text, not 5"),
        ({"grid": {"lenght": [5]}}, "'lenght'"),
        ({"grid": {"length": [5, "x"]}}, "a whole number"),
        ({"grid": {"length": [5]}, "executor": "rey"}, "'ray'"),
        ({"grid": {"length": [5]}, "sample": 0}, "sample of 0"),
        ({"grid": {"length": [5]}, "workers": -1}, "must not be negative"),
        ({"grid": {"length": [5]}, "params": {"length": 3}}, "instance"),
        ({"grid": {"length": [5]}, "levrage": 3}, "leverage"),
    ],
)
def test_wrong_calls(demo_store: Path, arguments: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        backtester.sweep(Above(), data=demo_store, out=None, **{**SPAN, **arguments})  # type: ignore[arg-type]
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ["days", "sharpe", "set", "status", "path", "orders_here", "max_drawdown_end"])
def test_a_parameter_named_like_a_column_is_refused_before_anything_is_written(
    demo_store: Path, tmp_path: Path, name: str
) -> None:
    body = {"__annotations__": {name: int}, name: Param(5), "target": lambda self: pl.lit(1.0)}
    named = type("Named", (Strategy,), body)
    with pytest.raises(UsageError, match=f"'{name}' has the name of a column of the result"):
        backtester.sweep(named(), grid={name: [5, 10]}, data=demo_store, out=tmp_path / "runs", **SPAN)
    assert not (tmp_path / "runs").exists()


def test_what_is_compiled_is_no_part_of_the_rate(demo_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = Job.evaluate, []

    def slow_at_first(job: Job, sets: pl.DataFrame, tell: Tell | None = None) -> pl.DataFrame:
        seen.append(sets.height)
        if len(seen) == 1:
            time.sleep(3)
        return real(job, sets, tell)

    monkeypatch.setattr(Job, "evaluate", slow_at_first)
    told: list[SweepProgress] = []
    grid = {"length": range(5, 45)}
    found = backtester.sweep(Above(), grid=grid, data=demo_store, out=None, progress=told.append, **SPAN)
    assert seen[0] == 1
    assert sum(seen[1:]) == 40
    assert found.manifest["seconds"] < 3
    assert told[0].rate > 40 / 3


def test_the_time_of_a_large_sweep_is_measured_on_many(demo_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def costly_to_begin(job: Job, sets: pl.DataFrame, tell: Tell | None = None) -> pl.DataFrame:
        time.sleep(0.05 + sets.height / 4000)
        return sets

    monkeypatch.setattr(Job, "evaluate", costly_to_begin)
    with pytest.raises(UsageError) as caught:
        backtester.sweep(
            Above(), grid={"length": range(2, 2000), "exposure": "0.001:1:0.001"}, data=demo_store, out=None, **SPAN
        )
    rate = re.search(r"at ([\d,]+) sets a second, measured on ([\d,]+) of them", str(caught.value))
    assert rate is not None
    assert 2000 < int(rate[1].replace(",", "")) <= 4000
    assert int(rate[2].replace(",", "")) == 2048
