"""Our side of the comparison: the same bars, without funding and liquidation, in the mode that a peer can do."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from backtester.domain.instrument import Instrument
from backtester.engine.replay import run_kernel
from backtester.market.schema import EVENT, TIME, DatasetKey, instrument_frame
from backtester.market.store import Store
from backtester.research.job import Job
from tests.benchmark.market import MINUTE_MS, SOURCE, START, SYMBOL, VENUE
from tests.benchmark.measured import used_by
from tests.benchmark.sweep_case import HUNDRED, Cross, Evaluated, evaluate_within, job_on, prepared_set

REPEATS = 5


@dataclass(frozen=True)
class Mode:
    """What our run is set to, so that it does what a peer does.

    Attributes
    ----------
    up, down : float
        Targets of the two sides.
    sections : mapping
        Sections of the run file.
    lot : float or None
        Smallest quantity.
    """

    up: float
    down: float
    sections: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    lot: float | None = None


def write_market(folder: Path, prices: Mapping[str, np.ndarray], lot: float | None) -> None:
    """Store traded bars and the contract, nothing else."""
    bars = prices["close"].size
    times = pl.Series(START + np.arange(bars, dtype=np.int64) * MINUTE_MS).cast(TIME)
    trade = pl.DataFrame({"open_time": times, **prices}).with_columns(volume=pl.lit(1.0))
    store = Store(folder)
    store.write(DatasetKey(VENUE, SYMBOL, "trade", "1m"), trade, source=SOURCE, replace=True)
    contract = instrument_frame(Instrument(symbol=SYMBOL, lot=lot))
    store.write(DatasetKey(VENUE, SYMBOL, "instrument", EVENT), contract, source=SOURCE, replace=True)


class Ours:
    """Our times by mode, each measured once.

    Parameters
    ----------
    folder : Path
        Where the markets are stored.
    prices : mapping of str to array, shape (T,)
        Open, high, low and close.
    fee : float
        Fraction of notional.
    threads : int
        For sweeps.
    """

    def __init__(self, folder: Path, prices: Mapping[str, np.ndarray], fee: float, threads: int) -> None:
        self.folder = folder
        self.prices = prices
        self.fee = fee
        self.threads = threads
        self.single = cache(self._single)
        self.sweep = cache(self._sweep)

    def job(self, name: str, mode: Mode, bar: int) -> Job:
        """Return the job of a mode; the last bars are left out where a peer's equity is read before the end."""
        folder = self.folder / f"{name}{bar}"
        kept = {key: values[: values.size + 1 + bar] for key, values in self.prices.items()}
        write_market(folder, kept, mode.lot)
        tiers = {"*": [{"notional_floor": 0.0, "maintenance_margin_rate": 0.0, "max_leverage": 125.0}]}
        alone = {"data": {"mark": "trade"}, "fees": {"taker": self.fee, "maker": self.fee}}
        plain: dict[str, dict[str, Any]] = {**alone, "funding": {"source": "none"}, "tiers": tiers}
        return job_on(folder, threads=self.threads, **{**plain, **mode.sections})

    def _single(
        self, name: str, bar: int, fast: int, slow: int
    ) -> tuple[float, tuple[float, float], tuple[float, float]]:
        """Return final equity, and wall and processor seconds with signals and metrics, and of the replay alone."""
        mode = MODES[name]
        job = self.job(name, mode, bar)
        sets = pl.DataFrame({"fast": [fast], "slow": [slow], "up": [mode.up], "down": [mode.down]})
        rows = job.evaluate(sets)
        assert rows["status"][0] == "done", rows["error"][0]
        whole = [used_by(lambda: job.evaluate(sets))[1] for _ in range(REPEATS)]
        strategy = Cross(fast=fast, slow=slow, up=mode.up, down=mode.down)
        alone = []
        for _ in range(REPEATS):
            prepared = prepared_set(job, strategy)
            alone.append(used_by(lambda prepared=prepared: run_kernel(prepared))[1])  # type: ignore[misc]
        times = [
            (statistics.median(u.wall for u in part), statistics.median(u.processor for u in part))
            for part in (whole, alone)
        ]
        return float(rows["final_equity"][0]), times[0], times[1]

    def _sweep(self, name: str, bar: int) -> Evaluated:
        """Return the hundred sets of a mode."""
        mode = MODES[name]
        sets = HUNDRED.with_columns(up=pl.lit(mode.up), down=pl.lit(mode.down))
        return evaluate_within(self.job(name, mode, bar), sets, MOST_SWEEP_SECONDS)


MOST_SWEEP_SECONDS = 30.0
SPOT_LIKE = {"account": {"leverage": 1.0}}
MODES = {
    "half": Mode(0.5, -0.5),
    "all or flat": Mode(1.0, 0.0, SPOT_LIKE),
    "half or flat": Mode(0.5 / 1.0005, 0.0, lot=1e-8),
    "quantity": Mode(0.5, -0.5, {"execution": {"fill": "close"}, "sizing": {"unit": "quantity"}}),
}
