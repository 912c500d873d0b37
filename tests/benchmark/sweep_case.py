"""Sweeps: two strategies, their grids, a job on a stored market, and how sets are timed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from backtester import Param, Strategy, sma
from backtester.domain.config import RunConfig
from backtester.engine.decisions import decide, instructions_for
from backtester.engine.prepare import Prepared, prepare
from backtester.engine.run import contract_terms
from backtester.market.store import Store
from backtester.research.job import Job
from backtester.strategy import Indicator
from tests.benchmark.market import SYMBOL, VENUE
from tests.benchmark.measured import Usage, used_by

PROBE = 2  # sets from which the time of all is foretold
MOST_SECONDS = 60.0  # beyond, fewer sets are run and the time of all is extrapolated
BALANCE = 100_000.0
EXPOSURE = 0.5


class Cross(Strategy):
    """One exposure while the fast average of closes lies above the slow one, another while it does not."""

    fast: int = Param(50, ge=2)
    slow: int = Param(600, ge=3)
    up: float = Param(EXPOSURE)
    down: float = Param(-EXPOSURE)

    def indicators(self) -> dict[str, Indicator | pl.Expr]:
        """Return the two averages of the close."""
        return {"fast": sma("close", self.fast), "slow": sma("close", self.slow)}

    def target(self) -> pl.Expr:
        """Return the side of the fast average."""
        return pl.when(pl.col("fast") > pl.col("slow")).then(self.up).otherwise(self.down)


class Flip(Strategy):
    """Short and long in turn: the orders of the C sweep, as a strategy. Not for trading: it knows nothing."""

    every: int = Param(1_000, ge=1)
    first: int = Param(0, ge=0)
    warmup = 0

    def indicators(self) -> dict[str, pl.Expr]:
        """Return the number of each bar."""
        return {"number": pl.int_range(pl.len())}

    def target(self) -> pl.Expr:
        """Return the side, from the first bar on."""
        number = pl.col("number") - self.first
        side = pl.when((number // self.every) % 2 == 1).then(1.0).otherwise(-1.0)
        return pl.when(number >= 0).then(side)


def grid(fast: range, slow: range) -> pl.DataFrame:
    """Return every pair of lengths."""
    pairs = [(f, s) for f in fast for s in slow]
    return pl.DataFrame(pairs, schema={"fast": pl.Int64, "slow": pl.Int64}, orient="row")


HUNDRED = grid(range(50, 501, 50), range(600, 2401, 200))
TEN_THOUSAND = grid(range(10, 1001, 10), range(1010, 2001, 10))


def job_on(folder: Path, *, strategy: type[Strategy] = Cross, threads: int = 1, **sections: dict[str, Any]) -> Job:
    """Return a job on the market of a store; sections of the run file are changed by keywords."""
    tree: dict[str, Any] = {
        "data": {"venue": VENUE, "symbols": (SYMBOL,), "timeframe": "1m"},
        "account": {"balance": BALANCE, "leverage": 5.0},
    }
    for name, values in sections.items():
        tree[name] = {**tree.get(name, {}), **values}
    return Job(RunConfig.model_validate(tree), Store(folder), strategy=strategy, threads=threads)


def prepared_set(job: Job, strategy: Strategy) -> Prepared:
    """Return the replay's inputs of one set, its signals made."""
    loaded = job.base
    resolved, panel = loaded.resolved, loaded.panel
    decisions = decide(strategy, resolved, job.store, panel)
    told = instructions_for(decisions, resolved.config, job.store, panel)
    return prepare(panel, contract_terms(resolved, panel), resolved.config, told)


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Sets that were evaluated, and what all of them take.

    Attributes
    ----------
    rows : DataFrame
        Of the sets that were evaluated.
    usage : Usage
        Of these.
    asked : int
        Number of sets that the time of all stands for.
    """

    rows: pl.DataFrame
    usage: Usage
    asked: int

    @property
    def factor(self) -> float:
        """Sets that were asked for over sets that were evaluated."""
        return self.asked / self.rows.height

    @property
    def seconds(self) -> float:
        """Wall seconds of all sets less the wait for a core, extrapolated where not all were evaluated."""
        return self.usage.seconds * self.factor

    @property
    def wall(self) -> float:
        """Wall seconds of all sets, likewise."""
        return self.usage.wall * self.factor

    @property
    def processor(self) -> float:
        """Processor seconds of all sets, likewise."""
        return self.usage.processor * self.factor

    @property
    def note(self) -> str:
        """How the figures came about; empty where every set was evaluated."""
        return "" if self.factor == 1 else f"extrapolated from {self.rows.height:,} of {self.asked:,} sets"

    @property
    def path(self) -> str:
        """How the sets were replayed."""
        return ", ".join(str(path) for path in self.rows["path"].unique().sort())


def evaluate_within(job: Job, sets: pl.DataFrame, most: float = MOST_SECONDS) -> Evaluated:
    """Evaluate all sets, or as many, evenly spread, as fit into a time that a probe foretells.

    Parameters
    ----------
    most : float
        Wall seconds.
    """
    job.evaluate(sets[:1])  # compiles, or loads what is compiled
    _, probe = used_by(lambda: job.evaluate(sets[:PROBE]))
    each = probe.wall / min(PROBE, sets.height)
    count = min(sets.height, max(PROBE, int(most / each)))
    chosen = sets if count == sets.height else sets[:: -(-sets.height // count)]
    rows, usage = used_by(lambda: job.evaluate(chosen))
    failed = rows.filter(pl.col("status") != "done")
    assert failed.is_empty(), failed["error"][0]
    return Evaluated(rows, usage, sets.height)
