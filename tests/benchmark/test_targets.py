"""Targets of many sets, compiled against polars: first equal, then timed on columns that are there already.

Seconds are those of the thread that calculates, so that other work on the machine falls out of the figure as far as
it only takes the core; what it takes of the caches stays in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from backtester.strategy import Indicator, Param, Strategy, registry, sma
from backtester.strategy.target_plan import TargetBatch, plan_targets, target_batches
from backtester.strategy.target_tiles import ChangePoints, change_points_of_sets

BARS = 200_000
SETS_BY_POLARS = 40
REPEATS = 3
MOST_SECONDS = 1.6  # of one core, for 10,000 sets
MOST_NS_A_STEP = 1.0
MOST_MICROSECONDS_A_PLAN = 60.0

Show = Callable[[str], None]
Floats = NDArray[np.float64]


class Band(Strategy):
    """Trade in the direction of two averages where they are apart, the more the farther."""

    fast: int = Param(10, ge=2)
    slow: int = Param(100, ge=3)
    least: float = Param(0.001, gt=0)

    def indicators(self) -> dict[str, Indicator | pl.Expr]:
        return {"fast": sma("close", self.fast), "slow": sma("close", self.slow)}

    def target(self) -> pl.Expr:
        apart = pl.col("fast") / pl.col("slow") - 1
        return pl.when(apart.abs() > self.least).then(apart.sign()).when(apart.abs() < self.least / 2).then(0.0)


@dataclass(frozen=True, eq=False)
class Case:
    """Sets of one strategy and the columns that they read."""

    sets: list[Strategy]
    batch: TargetBatch
    columns: Floats
    firsts: NDArray[np.int64]
    frame: pl.DataFrame

    def points(self, part: slice = slice(None)) -> ChangePoints:
        """Return the change points of some of the sets."""
        batch = self.batch
        return change_points_of_sets(
            batch.steps, batch.literals[part], batch.places[part], self.columns, self.firsts[part], 0
        )

    def by_polars(self, s: int) -> Floats:
        """Return the target of a set from its columns, NaN for null."""
        strategy, places = self.sets[s], self.batch.places[s]
        names = strategy.indicators()
        renamed = {name: f"c{place}" for name, place in zip(names, places, strict=True)}
        frame = self.frame.select(pl.col(column).alias(name) for name, column in renamed.items())
        target = frame.select(target=strategy.target())["target"].fill_null(np.nan).to_numpy().copy()
        target[: self.firsts[s]] = np.nan
        return target


def case_of(strategy: type[Strategy], fast: range, slow: range, **more) -> Case:
    dice = np.random.default_rng(7)
    close = 100 * np.exp(np.cumsum(dice.normal(0, 0.001, BARS)))
    sets = [strategy(fast=a, slow=b, **more) for a in fast for b in slow]
    (batch,) = target_batches(plan_targets(sets))
    columns = np.array([column.compute(close) for column in batch.columns])
    begins = np.isnan(columns).argmin(axis=1)
    frame = pl.DataFrame({f"c{k}": pl.Series(row).fill_nan(None) for k, row in enumerate(columns)})
    return Case(sets, batch, columns, begins[batch.places].max(axis=1), frame)


def changes(values: Floats) -> tuple[NDArray[np.int64], Floats]:
    known = np.flatnonzero(~np.isnan(values))
    kept = np.ones(known.size, np.bool_)
    kept[1:] = values[known][1:] != values[known][:-1]
    return known[kept], values[known[kept]]


def measured(work: Callable[[], object], clock: Callable[[], float] = time.thread_time) -> float:
    """Return the least seconds of a few repeats."""
    seconds = []
    for _ in range(REPEATS):
        begin = clock()
        work()
        seconds.append(clock() - begin)
    return min(seconds)


def check_parity(case: Case) -> ChangePoints:
    found = case.points()
    for s in np.linspace(0, len(case.sets) - 1, SETS_BY_POLARS).astype(int):
        bar, target = changes(case.by_polars(int(s)))
        own = slice(found.offsets[s], found.offsets[s + 1])
        np.testing.assert_array_equal(found.bar[own], bar)
        np.testing.assert_array_equal(found.target[own], target)
    return found


@pytest.mark.parametrize(
    ("name", "strategy", "fast", "slow"),
    [
        ("one comparison", registry.find("trend"), range(5, 205, 2), range(210, 2410, 22)),
        ("general", Band, range(5, 205, 20), range(210, 2410, 22)),
    ],
)
def test_targets_against_polars(name, strategy, fast, slow, show: Show) -> None:
    case = case_of(strategy, fast, slow)
    found = check_parity(case)
    sets = len(case.sets)
    seconds = measured(case.points)
    polars = 0.0
    for s in range(SETS_BY_POLARS):
        begin = time.process_time()
        case.by_polars(s * sets // SETS_BY_POLARS)
        polars += time.process_time() - begin
    each, theirs = seconds / sets / BARS * 1e9, polars / SETS_BY_POLARS / BARS * 1e9
    steps = len(case.batch.ops)
    show(
        f"\n{name}: {sets} sets x {BARS} bars, {len(case.batch.columns)} columns, {found.bar.size / sets:.0f} changes "
        f"a set: {seconds:.2f} core-seconds, {each:.3f} ns per bar and set ({each / steps:.3f} a step); "
        f"polars {theirs:.2f} ns ({theirs / each:.0f} times)"
    )
    if sets == 10_000:
        assert seconds <= MOST_SECONDS
    assert each / steps <= MOST_NS_A_STEP


def test_two_threads_share_the_sets(show: Show) -> None:
    case = case_of(registry.find("trend"), range(5, 205, 2), range(210, 2410, 22))
    sets, parts = len(case.sets), 8
    slices = [slice(k * sets // parts, (k + 1) * sets // parts) for k in range(parts)]
    whole = case.points()
    took = {}
    for threads in (1, 2):
        with ThreadPoolExecutor(threads) as pool:
            took[threads] = measured(lambda pool=pool: list(pool.map(case.points, slices)), time.perf_counter)
            found = list(pool.map(case.points, slices))
        np.testing.assert_array_equal(np.concatenate([part.bar for part in found]), whole.bar)
    show(f"\nthreads: 1 {took[1]:.2f} s, 2 {took[2]:.2f} s, {took[1] / took[2]:.2f} times (wall)")


def test_plans(show: Show) -> None:
    for name, params in (("trend", ("fast", "slow")), ("funding_fade", ("window", "entry"))):
        values = [(24 + k % 100, 200 + k // 100) for k in range(10_000)]
        sets = [registry.find(name)(**dict(zip(params, pair, strict=True))) for pair in values]
        took = measured(lambda sets=sets: plan_targets(sets)) / len(sets) * 1e6
        plans = plan_targets(sets)
        batched = measured(lambda plans=plans: target_batches(plans)) / len(sets) * 1e6
        show(f"\nplans of {name}: {took:.1f} us a set, {batched:.1f} us more for its batch")
        assert took <= MOST_MICROSECONDS_A_PLAN
