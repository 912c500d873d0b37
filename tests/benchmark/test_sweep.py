"""Sweeps with funding, tiers and liquidation on, against their targets; and a cold process.

Parity comes first: rows of the sweep equal sets replayed in full. A sweep that a probe foretells to take longer than a
minute is cut to as many sets as fit, evenly spread, and the time of all is extrapolated and said to be. What is judged
is the wall time less the wait for a core (see `tests.benchmark.test_run`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from backtester.market.store import Store
from tests.benchmark.market import SYMBOL, VENUE, write_year
from tests.benchmark.measured import in_child
from tests.benchmark.sweep_case import HUNDRED, TEN_THOUSAND, Flip, evaluate_within, job_on
from tests.benchmark.test_run import measured, repeated

Show = Callable[[str], None]
MANY_BARS, FEW_BARS, COLD_BARS = 1_000_000, 200_000, 100_000
HUNDRED_SECONDS = 0.35
TEN_THOUSAND_SECONDS = 3.0
TEN_THOUSAND_BYTES = 400e6
SET_NANOSECONDS = 0.8
COLD_SECONDS = 1.2
FLIP_SETS = 16
GRIDS = {
    "hundred": (HUNDRED, "100 sets (fast 50:500:50, slow 600:2400:200)"),
    "ten thousand": (TEN_THOUSAND, "10,000 sets (fast 10:1000:10, slow 1010:2000:10)"),
}


@pytest.fixture(scope="module")
def markets(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Stores of the three lengths."""
    stores = {}
    for bars in (MANY_BARS, FEW_BARS, COLD_BARS):
        stores[bars] = tmp_path_factory.mktemp(f"bars{bars}")
        write_year(Store(stores[bars] / "data"), bars)
    return stores


def swept(store: str, grid: str, threads: int) -> dict[str, Any]:
    """Sweep a grid in this process, compare a few sets with their full replays, and return what it took."""
    sets, _ = GRIDS[grid]
    job = job_on(Path(store), threads=threads)
    done = evaluate_within(job, sets)
    for place in np.linspace(0, done.rows.height - 1, 3).astype(int):
        row = done.rows.row(int(place), named=True)
        summary = job.result({name: row[name] for name in sets.columns}).summary
        for name, value in summary.items():
            if name in row and isinstance(value, int | float):
                assert np.isclose(row[name], value, rtol=1e-9, atol=1e-9), (name, row[name], value)
    return {
        "seconds": done.seconds,
        "wall": done.wall,
        "processor": done.processor,
        "memory": done.usage.memory,
        "note": done.note,
        "path": done.path,
        "fills": float(done.rows["fills"].mean()),
    }


def line(name: str, bars: int, threads: int, took: dict[str, Any]) -> str:
    """Return what a sweep took, as a line."""
    notes = [f"by {took['path']}", f"{took['fills']:,.0f} fills a set"] + ([took["note"]] if took["note"] else [])
    times = f"{took['seconds']:.2f} s (wall {took['wall']:.2f}, processor {took['processor']:.2f})"
    memory = f"{took['memory'] / 1e6:.0f} MB above the start"
    plural = "s" if threads > 1 else ""
    return f"{name} x {bars:,} bars, {threads} thread{plural}: {times}, {memory} ({'; '.join(notes)})"


def verdict(figure: float, target: float, unit: str) -> str:
    """Return measured against target."""
    judged = "met" if figure <= target else f"MISSED, {figure / target:.1f} times the target"
    return f"  {figure:.3g} {unit}, target {target:g}: {judged}"


@pytest.mark.parametrize(
    ("grid", "bars", "most"),
    [("hundred", MANY_BARS, HUNDRED_SECONDS), ("ten thousand", FEW_BARS, TEN_THOUSAND_SECONDS)],
)
def test_sweep(markets: dict[int, Path], show: Show, grid: str, bars: int, most: float) -> None:
    took = {}
    for threads in (1, 2):
        took[threads] = in_child(swept, store=str(markets[bars] / "data"), grid=grid, threads=threads)
        show(("\n" if threads == 1 else "") + line(GRIDS[grid][1], bars, threads, took[threads]))
    show(f"  2 threads against 1: {took[1]['seconds'] / took[2]['seconds']:.2f} times as fast")
    show(verdict(took[2]["seconds"], most, "s"))
    if grid == "ten thousand":
        show(verdict(took[2]["memory"] / 1e6, TEN_THOUSAND_BYTES / 1e6, "MB"))
        assert took[2]["memory"] <= TEN_THOUSAND_BYTES
    assert took[2]["seconds"] <= most


def flipped(store: str) -> dict[str, Any]:
    """Evaluate sets with one trade per 1,000 bars."""
    job = job_on(Path(store), strategy=Flip)
    sets = pl.DataFrame({"every": [1_000] * FLIP_SETS, "first": list(range(FLIP_SETS))})
    done = evaluate_within(job, sets)
    return {"processor": done.processor, "note": done.note, "path": done.path, "fills": done.rows["fills"].mean()}


def test_a_set_with_a_trade_per_thousand_bars(markets: dict[int, Path], show: Show) -> None:
    took = in_child(flipped, store=str(markets[MANY_BARS] / "data"))
    each = took["processor"] * 1e9 / MANY_BARS / FLIP_SETS
    note = f"; {took['note']}" if took["note"] else ""
    show(f"\n{FLIP_SETS} sets x {MANY_BARS:,} bars, {took['fills']:,.0f} fills a set, by {took['path']}{note}")
    show(verdict(each, SET_NANOSECONDS, "ns per bar and set, signals and metrics included"))
    assert each <= SET_NANOSECONDS


PROGRAM = f"""
import backtester
result = backtester.run("trend", data="data", venue="{VENUE}", symbols="{SYMBOL}", timeframe="1m",
                        params={{"fast": 480, "slow": 2880}}, leverage=3, out=None)
assert result.equity.height == {COLD_BARS}
"""


def test_cold_process(markets: dict[int, Path], show: Show) -> None:
    folder = markets[COLD_BARS]
    measured(["-c", PROGRAM], folder)  # compiles
    usage = repeated(["-c", PROGRAM], folder)
    imports = repeated(["-c", "import backtester.api"], folder)
    numba = repeated(["-c", NUMBA], folder)
    show(f"\nstart, import, {COLD_BARS:,} bars, one run, exit; kernel cached: {usage}")
    show(f"  of it the imports {imports.seconds:.2f} s; numba by itself, ready to call {numba.seconds:.2f} s")
    show(verdict(usage.seconds, COLD_SECONDS, "s"))
    assert usage.seconds <= COLD_SECONDS


NUMBA = """
from backtester.numba_start import load_arrays
load_arrays()
from numba.core.registry import cpu_target
cpu_target.target_context.refresh()
cpu_target.typing_context.refresh()
"""
