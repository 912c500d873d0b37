"""``backtester.optimize``: what is given in Python, what is written, and what is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import backtester
from backtester import Param, Strategy
from backtester.errors import StoreError, UnknownNameError, UsageError
from backtester.market.atomic import writer_lock
from backtester.research.optimize import window_jobs
from backtester.research.search_folder import find_folder

SPAN: dict[str, Any] = {"symbols": ["BTC/USDT:USDT"], "timeframe": "1h", "start": "2024-01-01", "end": "2024-01-21"}
GRID = {"fast": "5:60:5", "slow": "80:400:20"}


class Drift(Strategy):
    """Follow the last bars."""

    length: int = Param(24, ge=1)
    exposure: float = Param(1.0)

    def target(self) -> pl.Expr:
        return pl.when(pl.col("close") > pl.col("close").shift(self.length)).then(self.exposure).otherwise(0.0)


def search(store: Path, strategy: Any = "trend", grid: Any = None, **changes: Any) -> Any:
    given = {"trials": 4, "batch": 4, "seed": 1, "data": store, "out": None, **SPAN, **changes}
    return backtester.optimize(strategy, GRID if grid is None else grid, **given)


def test_the_best_set_is_that_of_a_run(demo_store: Path) -> None:
    found = search(demo_store)
    assert found.run_dir is None
    run = backtester.run("trend", params=found.best, data=demo_store, out=None, **SPAN)
    assert found.ranking["sharpe"][0] == pytest.approx(run.summary["sharpe"], rel=1e-9)
    assert found.ranking["sharpe"][0] == found.trials["sharpe"].max()
    assert "best" in repr(found)
    assert "fast" in found._repr_html_()


@pytest.mark.parametrize("given", [Drift, Drift(exposure=0.5)])
def test_a_class_or_an_instance_is_searched(given: Any, demo_store: Path, tmp_path: Path) -> None:
    found = search(demo_store, given, {"length": [6, 12, 24, 48]}, out=tmp_path, report=False)
    exposure = 0.5 if isinstance(given, Drift) else 1.0
    best = Drift(length=found.best["length"], exposure=exposure)
    run = backtester.run(best, data=demo_store, out=None, **SPAN)
    assert found.ranking["sharpe"][0] == pytest.approx(run.summary["sharpe"], rel=1e-9)
    assert found.command == ""  # no command finds a class of this file
    again = backtester.optimize(given, resume=found.run_id, trials=6, data=demo_store, out=tmp_path, report=False)
    assert again.trials["sharpe"][:4].to_list() == found.trials["sharpe"].to_list()


def test_bars_in_a_frame_are_searched(demo_store: Path) -> None:
    bars = backtester.run("trend", data=demo_store, out=None, **SPAN).bars
    frame = bars.select("open_time", "open", "high", "low", "close", "volume")
    tiers = [backtester.MarginTier(notional_floor=0, maintenance_margin_rate=0.01, max_leverage=20)]
    found = backtester.optimize(Drift, {"length": [6, 12]}, data=frame, tiers=tiers, trials=2, seed=1, out=None)
    assert found.trials.height == 2
    assert found.notices


def test_own_metrics_and_constraints_over_them(demo_store: Path) -> None:
    def fills(result: backtester.Result) -> float:
        return float(result.fills.height)

    found = search(demo_store, objective="min:busy", metrics={"busy": fills}, constraints="busy > 2", trials=8)
    assert (found.ranking["busy"] > 2).all()
    assert found.ranking["busy"].to_list() == found.ranking["fills"].cast(pl.Float64).to_list()
    assert found.ranking["busy"].is_sorted()
    assert [n.text for n in found.notices if n.code == "own_metrics"] == [
        "Each set was replayed with every record, since busy reads a whole result."
    ]
    read = search(demo_store, metrics={"busy": fills}, constraints=["busy > 2"])
    assert "busy" in read.trials.columns
    plain = search(demo_store, metrics={"busy": fills})
    assert "busy" not in plain.trials.columns  # what nothing asks for is not computed


def test_a_metric_that_raises_is_a_failed_trial(demo_store: Path) -> None:
    def broken(result: backtester.Result) -> float:
        return 1 / 0 if result.fills.height > 6 else float(result.fills.height)

    found = search(demo_store, objective="broken", metrics={"broken": broken}, trials=8)
    failed = found.trials.filter(pl.col("state") == "failed")
    assert failed.height
    assert failed["error"][0].startswith("The metric 'broken' raised ZeroDivisionError")


def test_the_worse_direction_is_told(demo_store: Path) -> None:
    found = search(demo_store, objective="-max_drawdown", trials=2)
    assert "objective_direction" in [notice.code for notice in found.notices]
    assert found.ranking["max_drawdown"].is_sorted()


def test_windows_cover_the_span(demo_store: Path) -> None:
    found = search(demo_store, windows=3, trials=2)
    assert {"window_1", "window_2", "window_3"} <= set(found.trials.columns)
    parts: list[tuple[str, str]] = []

    from backtester.engine.run_file import build_config
    from backtester.market.store import Store
    from backtester.research.job import Job

    config = build_config({"data": SPAN, "strategy": {"name": "trend"}})
    job = Job(config, Store(demo_store))
    window_jobs(job, 3, lambda one: parts.append((str(one.data.start), str(one.data.end))))  # type: ignore[arg-type, return-value]
    assert parts == [("2024-01-01", "2024-01-07"), ("2024-01-07", "2024-01-14"), ("2024-01-14", "2024-01-21")]


def test_the_seed_is_drawn_and_kept(demo_store: Path, tmp_path: Path) -> None:
    found = search(demo_store, seed=None, out=tmp_path, report=False)
    manifest = json.loads((found.run_dir / "manifest.json").read_text())
    assert manifest["seed"] == found.plan.seed
    assert manifest["kind"] == "optimize"
    again = search(demo_store, seed=found.plan.seed)
    assert again.trials.equals(found.trials)


def test_two_at_once_are_refused(demo_store: Path, tmp_path: Path) -> None:
    found = search(demo_store, out=tmp_path, report=False)
    with writer_lock(found.run_dir, "study", 0.0), pytest.raises(StoreError, match="Another process is at work"):
        backtester.optimize(resume=found.run_id, trials=9, data=demo_store, out=tmp_path)


def test_a_damaged_study_is_told(demo_store: Path, tmp_path: Path) -> None:
    found = search(demo_store, out=tmp_path, report=False)
    for path in found.run_dir.glob("study.db*"):
        path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=r"study\.db cannot be read or written"):
        backtester.optimize(resume=found.run_id, trials=9, data=demo_store, out=tmp_path)
    (found.run_dir / "optimize.toml").write_text("[optimize]\nformat = 99\n")
    with pytest.raises(StoreError, match="reads format 1, not 99"):
        backtester.optimize(resume=found.run_id, data=demo_store, out=tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"strategy": None}, UsageError, "No strategy is named"),
        ({"objective": "sharpee"}, UnknownNameError, "sharpe"),
        ({"grid": {}}, UsageError, "No parameter to look for"),
        ({"trials": 0}, UsageError, "trials must be at least 1"),
        ({"batch": 0}, UsageError, "batch must be at least 1"),
        ({"sampler": "annealing"}, UnknownNameError, "sampler"),
        ({"metrics": {"sharpe": len}}, UsageError, "has the name of a metric"),
        ({"resume": "x", "leverage": 3}, UsageError, "from its own folder"),
        ({"windws": 3}, UnknownNameError, "argument"),
    ],
)
def test_bad_input_is_refused(changes: dict[str, Any], error: type[Exception], words: str, demo_store: Path) -> None:
    strategy, grid = changes.pop("strategy", "trend"), changes.pop("grid", GRID)
    with pytest.raises(error, match=words):
        search(demo_store, strategy, grid, **changes)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("data.start", ["2024-01-01", "2024-01-05"]),
        ("data.end", ["2024-01-18", "2024-01-21"]),
        ("data.timeframe", ["1h", "4h"]),
        ("data.symbols", ["BTC/USDT:USDT", "ETH/USDT:USDT"]),
    ],
)
def test_sets_of_different_spans_are_not_compared(name: str, values: list[str], demo_store: Path) -> None:
    with pytest.raises(UsageError, match=f"An optimisation cannot vary {name}: .* one span") as refused:
        search(demo_store, grid={**GRID, name: values})
    assert "--start and --end" in refused.value.hint


def test_a_study_on_other_data_is_not_gone_on_with(demo_store: Path, tmp_path: Path) -> None:
    """Trials of two markets are not ranked together."""
    found = search(demo_store, out=tmp_path, report=False)
    path = found.run_dir / "manifest.json"
    manifest = json.loads(path.read_text())
    key = next(iter(manifest["hashes"]["data"]))
    manifest["hashes"]["data"][key] = "of before"
    path.write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=r"the market data \(.*\) differs now") as refused:
        backtester.optimize(resume=found.run_id, trials=6, data=demo_store, out=tmp_path, report=False)
    assert key in refused.value.message
    assert pl.read_parquet(found.run_dir / "trials.parquet").height == 4


def test_a_study_is_found_by_the_beginning_of_its_name(tmp_path: Path) -> None:
    for name in ("20250101-optimize-a", "20250102-optimize-b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "optimize.toml").touch()
    found = find_folder(tmp_path, "20250102", "optimize.toml", "optimisation")
    assert found.name == "20250102-optimize-b"
    with pytest.raises(UsageError, match="2 folders of an optimisation begin with '2025'"):
        find_folder(tmp_path, "2025", "optimize.toml", "optimisation")
