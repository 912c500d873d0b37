"""The replay against the hardware: plain and segmented C loops that do the same, a C sweep, and the memory itself.

Run as ``python -m tests.benchmark.limit`` (``make bench-limit``): prints the tables, then as its last line ``ratio X``,
ours over the better C loop, one run with records of 1,000,000 bars; the exit code is 1 where X is above the target.

Replay and C write equity, wallet and requirement of every bar into memory that nothing has touched yet, as in a process
that runs once; pay funding; fill orders; and test each bar's path against the margin tiers. They take turns, so that
what else the machine does falls on all; times are those of the process, and a ratio is the median over rounds. The
replay also writes its journal of events, which the C loops do not. That fresh memory costs more than the arithmetic;
a second table therefore repeats the middle case in memory that was used before.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from backtester.domain.config import RunConfig
from backtester.engine.replay import replay, run_kernel
from backtester.engine.segments import Changes, shared_market, tally_sets
from backtester.market.store import Store
from backtester.research.job import Job
from tests.benchmark.c_loops import Floats, Loops, Market, Terms, Whole
from tests.benchmark.limit_case import BALANCE, BARS, CONFIG, FEE, LEVERAGE, LOT, TRADES, Case, make_case, reversals
from tests.benchmark.market import MINUTE_MS, SYMBOL, VENUE, tier_table, write_year
from tests.benchmark.sweep_case import Flip

ROUNDS = 31
JUDGED = 1_000  # trades
DENSEST_JUDGED = 1_000  # beyond, the journal weighs more than the bars, and the C loops write none
MOST_TIMES_C = 1.5
MOST_NANOSECONDS = 8.0
SWEEP_SETS = 16
SWEEP_ROUNDS = 7
JOB_SETS = 4
FRESH_FROM = 1 << 20  # bytes: larger arrays are mapped anew, never taken from memory that was used before
KEPT_UP_TO = 32 << 20  # bytes: the most that the allocator keeps for the next array
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LOOPS = {"C plain": "replay", "C segments": "replay_segments"}

Say = Callable[[str], None]
Action = Callable[[], object]


def use_memory(*, fresh: bool) -> None:
    """Map every large array anew, or keep what was freed for the next one.

    Fresh is what a process starts with, before anything large was freed: what has once been kept is handed out again.
    """
    allocator = ctypes.CDLL(None)
    if not fresh:
        allocator.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
    allocator.mallopt(M_MMAP_THRESHOLD, FRESH_FROM if fresh else KEPT_UP_TO)


def seconds(action: Action) -> float:
    """Return the processor time that something takes; what it returns is freed after the clock stops."""
    before = time.process_time()
    result = action()
    taken = time.process_time() - before
    del result
    return taken


def in_turns(make: Callable[[], Mapping[str, Action]], rounds: int, per: float) -> dict[str, Floats]:
    """Time several actions in turns, the first of each round another.

    Parameters
    ----------
    make : callable
        Returns the actions by name, made anew for each round.
    per : float
        What a time is divided by: bars, or bars and sets.

    Returns
    -------
    dict of str to array, shape (rounds,)
        Times [ns].
    """
    taken: dict[str, list[float]] = {}
    for number in range(rounds):
        actions = list(make().items())
        first = number % len(actions)
        for name, action in actions[first:] + actions[:first]:
            taken.setdefault(name, []).append(seconds(action))
    return {name: np.array(times) * 1e9 / per for name, times in taken.items()}


def cell(times: Floats) -> str:
    """Return median and least of times."""
    return f"{np.median(times):6.2f} ({times.min():5.2f})"


# -- one run with records --------------------------------------------------------------------------------------------


def check_replay(loops: Loops, case: Case) -> None:
    """Compare the columns of the replay with those of both C loops: 1e-9."""
    prepared = case.prepared()
    journal, columns, _ = run_kernel(prepared)
    account = prepared.book.account[0]
    assert account["fills"] >= case.decided.size - 1
    assert account["funding"] == case.settled.size
    assert account["takeovers"] == 0
    assert journal.fills[0]["price"] == case.prices[0][1]
    for name in LOOPS.values():
        theirs = loops.replay(name, case.market(), *case.orders(), case.terms())
        for ours, other in zip((columns.equity, columns.wallet, columns.requirement), theirs, strict=True):
            np.testing.assert_allclose(ours, other, rtol=1e-9, atol=1e-9 * BALANCE)


@dataclass(frozen=True, eq=False)
class Timing:
    """Times of one case by who took them [ns per bar]."""

    times: Mapping[str, Floats]

    def over(self, name: str) -> float:
        """Median over rounds of the replay over a C loop."""
        return float(np.median(self.times["replay"] / self.times[name]))

    @property
    def better(self) -> str:
        """The C loop with the lower median."""
        return min(LOOPS, key=lambda name: float(np.median(self.times[name])))

    @property
    def ratio(self) -> float:
        """The replay over the better C loop."""
        return self.over(self.better)

    def row(self, trades: int) -> str:
        """Return the line of the table."""
        names = ("replay", *LOOPS, "with every column")
        cells = "   ".join(f"{cell(self.times[name]):>15}" for name in names)
        return f"{trades:6d}   {cells}   {self.over('C plain'):5.2f}   {self.over('C segments'):6.2f}"


def time_replay(loops: Loops, case: Case, rounds: int = ROUNDS) -> Timing:
    """Time the replay and the C loops on one case."""
    market, orders, terms = case.market(), case.orders(), case.terms()

    def actions() -> dict[str, Action]:
        each: dict[str, Action] = {"replay": partial(run_kernel, case.prepared())}
        for name, function in LOOPS.items():
            each[name] = partial(loops.replay, function, market, *orders, terms)
        return each | {"with every column": partial(replay, case.prepared())}

    return Timing(in_turns(actions, rounds, BARS))


HEADING = "trades   replay            C plain           C segments        with every column   / plain   / segments"


def show_replays(loops: Loops, say: Say) -> dict[int, Timing]:
    """Check and time the replay against both C loops and print the table."""
    say(f"One run of {BARS:,} bars with records, ns per bar: median (least) of {ROUNDS} rounds")
    say(HEADING)
    timings = {}
    for trades in TRADES:
        case = make_case(trades)
        check_replay(loops, case)
        timings[trades] = time_replay(loops, case)
        say(timings[trades].row(trades))
    return timings


def show_used_memory(loops: Loops, say: Say) -> None:
    """Print the middle case in memory that was used before: what the steps take without the first use of pages."""
    use_memory(fresh=False)
    say(f"\nOne run of {BARS:,} bars with records in memory that was used before (not judged)")
    say(HEADING)
    say(time_replay(loops, make_case(JUDGED)).row(JUDGED))


def show_memory(loops: Loops, say: Say) -> None:
    """Print what reading and writing the same columns takes."""
    market = make_case(JUDGED).market()
    used = [np.ones(BARS) for _ in range(3)]

    def actions() -> dict[str, Action]:
        return {
            "read the five columns": partial(loops.read, market),
            "read three, write three": partial(loops.copy, market, used),
            "the same, never touched": lambda: loops.copy(market, [np.empty(BARS) for _ in range(3)]),
        }

    times = in_turns(actions, ROUNDS, BARS)
    moved = {"read the five columns": 5, "read three, write three": 6, "the same, never touched": 6}
    say("\nMemory alone, ns per bar")
    for name, each in times.items():
        say(f"{name:24} {cell(each)}   {8 * moved[name] / np.median(each):5.1f} GB/s")


# -- sweeps without records ------------------------------------------------------------------------------------------


def check_sweep(loops: Loops, case: Case, orders: Sequence[tuple[Whole, Floats]]) -> None:
    """Compare the C sweep with the plain C loop: final equity, largest drawdown."""
    equity, drawdown, _ = loops.sweep(case.market(), orders, case.terms())
    for k in range(0, len(orders), max(1, len(orders) // 4)):
        closes, _, _ = loops.replay("replay", case.market(), *orders[k], case.terms())
        peak = np.maximum.accumulate(np.maximum(closes, BALANCE))
        np.testing.assert_allclose(equity[k], closes[-1], rtol=1e-9)
        np.testing.assert_allclose(drawdown[k], (1.0 - closes / peak).max(), rtol=0, atol=1e-9)


def kernel_sweep(case: Case, orders: Sequence[tuple[Whole, Floats]]) -> Action:
    """Return our sweep of given orders: blocks of the market built anew each time, as the C sweep builds its own."""
    prepared, panel = case.prepared(), case.panel()
    starts = np.cumsum([0, *(due.size for due, _ in orders)], dtype=np.int64)
    decided = np.concatenate([due - 1 for due, _ in orders])
    changes = Changes(starts, decided, np.concatenate([target for _, target in orders]))

    def action() -> object:
        return tally_sets(prepared, shared_market(prepared, panel, CONFIG, MINUTE_MS), changes)

    return action


def show_sweeps(loops: Loops, say: Say) -> None:
    """Check and time the sweep of given orders, ours and C, and print the table."""
    say(f"\nSweep without records, {SWEEP_SETS} sets of {BARS:,} bars, summaries included, ns per bar and set")
    say("trades   replay_sets       C sweep           ratio")
    for trades in TRADES:
        case = make_case(trades)
        orders = [(decided + 1, target) for decided, target in (reversals(trades, BARS, k) for k in range(SWEEP_SETS))]
        check_sweep(loops, case, orders)
        ours = kernel_sweep(case, orders)
        tallies: Any = ours()
        equity, drawdown, _ = loops.sweep(case.market(), orders, case.terms())
        np.testing.assert_allclose(tallies["final_equity"], equity, rtol=1e-9)
        np.testing.assert_allclose(-tallies["max_drawdown"], drawdown, rtol=0, atol=1e-9)
        actions = {"ours": ours, "C": partial(loops.sweep, case.market(), orders, case.terms())}
        times = in_turns(partial(dict, actions), SWEEP_ROUNDS, BARS * SWEEP_SETS)
        ratio = np.median(times["ours"] / times["C"])
        say(f"{trades:6d}   {cell(times['ours']):>15}   {cell(times['C']):>15}   {ratio:5.2f}")


def stored_market(job: Job) -> Market:
    """Return the columns of a job's market for the C loops."""
    panel = job.base.panel
    records = panel.settlements[0]
    settled = (records.time - panel.open_time[0]) // panel.timeframe_ms
    mark = panel.mark
    return Market(panel.trade.open[0], mark.open[0], mark.low[0], mark.high[0], mark.close[0], settled, records.rate)


def flip_job(folder: Path, bars: int, threads: int = 1) -> Job:
    """Return a job on a stored market of so many bars."""
    store = Store(folder)
    write_year(store, bars)
    config = RunConfig.model_validate(
        {
            "data": {"venue": VENUE, "symbols": (SYMBOL,), "timeframe": "1m"},
            "account": {"balance": BALANCE, "leverage": LEVERAGE},
            "fees": {"taker": FEE},
        }
    )
    return Job(config, store, strategy=Flip, threads=threads)


def show_our_sweep(loops: Loops, say: Say, folder: Path) -> None:
    """Check and time the whole way of a sweep, from parameters to metrics, beside the C sweep of the same orders."""
    trades = JUDGED
    job = flip_job(folder, BARS)
    market = stored_market(job)
    terms = Terms(tier_table(), LOT, LEVERAGE, FEE, BALANCE)
    sets = pl.DataFrame({"every": [BARS // trades] * JOB_SETS, "first": list(range(JOB_SETS))})
    orders = [(decided + 1, target) for decided, target in (reversals(trades, BARS, k) for k in range(JOB_SETS))]
    equity, drawdown, _ = loops.sweep(market, orders, terms)
    say(f"\nOur sweep of the same orders, {JOB_SETS} sets of {BARS:,} bars, {trades:,} trades, signals included")
    rows = job.evaluate(sets)
    assert rows["status"].to_list() == ["done"] * JOB_SETS, rows["error"].to_list()
    np.testing.assert_allclose(rows["final_equity"], equity, rtol=1e-9)
    np.testing.assert_allclose(np.abs(rows["max_drawdown"]), drawdown, rtol=0, atol=1e-9)
    path = ", ".join(rows["path"].unique())
    taken = seconds(lambda: job.evaluate(sets)) * 1e9 / BARS / JOB_SETS
    theirs = seconds(lambda: loops.sweep(market, orders, terms)) * 1e9 / BARS / JOB_SETS
    say(
        f"Job.evaluate ({path}): {taken:.2f} ns per bar and set; C on the same {theirs:.2f}; {taken / theirs:.0f} times"
    )


# -- the whole -------------------------------------------------------------------------------------------------------


def build(folder: Path) -> Loops:
    """Build the loops and compile, or load, the replay."""
    loops = Loops(folder)
    run_kernel(make_case(100).prepared())
    return loops


def judge(timings: Mapping[int, Timing], say: Say) -> bool:
    """Print what was asked for and whether it was met; the last line is the ratio."""
    within = [timing for trades, timing in timings.items() if trades <= DENSEST_JUDGED]
    slowest = max(float(np.median(timing.times["replay"])) for timing in within)
    verdict = "met" if slowest <= MOST_NANOSECONDS else "missed"
    say(f"\nat most {MOST_NANOSECONDS:.0f} ns per bar up to {DENSEST_JUDGED:,} trades: {verdict} ({slowest:.2f})")
    timing = timings[JUDGED]
    is_met = timing.ratio <= MOST_TIMES_C
    say(
        f"at most {MOST_TIMES_C} times {timing.better}, one run with records, {BARS:,} bars, {JUDGED:,} trades: "
        f"{'met' if is_met else 'missed'}"
    )
    say(f"ratio {timing.ratio:.2f}")
    return is_met


def main() -> int:
    """Print every table; return the exit code."""

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    use_memory(fresh=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            loops = build(Path(folder))
        except FileNotFoundError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        timings = show_replays(loops, say)
        show_memory(loops, say)
        show_sweeps(loops, say)
        show_our_sweep(loops, say, Path(folder) / "data")
        show_used_memory(loops, say)
    return 0 if judge(timings, say) else 1


if __name__ == "__main__":
    sys.exit(main())
