"""The replay against a hand-written C loop that does the same, on one instrument and 1,000,000 bars.

Both write equity, wallet and requirement of every bar into memory that nothing has touched yet, pay funding, fill
orders and test each bar's path against the margin tiers. The two take turns, so that what else the machine does falls
on both; the ratio is the median over pairs. The replay also writes its journal of events, which the C loop does not.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from backtester.domain.config import AccountConfig, RunConfig
from backtester.domain.enums import MarginMode
from backtester.domain.instrument import Instrument
from backtester.engine.contract_terms import ContractTerms
from backtester.engine.instructions import Instructions, TargetRows
from backtester.engine.prepare import Prepared, prepare
from backtester.engine.replay import replay, run_kernel
from backtester.market.panel import Bars, Panel, Settlements
from tests.benchmark.market import FUNDING_MS, MINUTE_MS, SYMBOL, TIERS, VENUE, tier_table, walk

BARS = 1_000_000
TRADES = (100, 1_000, 10_000)
BALANCE = 100_000.0  # as a position: in the second bracket, and across its lower bound once fees have eaten half
LEVERAGE = 5.0
FEE = 0.00005  # the account survives ten thousand reversals
LOT = 0.001
RATE = 1e-4
PAIRS = 31
MOST_TIMES_C = 2.0
DENSEST_JUDGED = 1_000  # trades: beyond, the journal weighs more than the bars, and the C loop writes none
MOST_NANOSECONDS = 8.0
FRESH_FROM = 1 << 20  # bytes: larger arrays are mapped anew, never taken from memory that was used before
M_MMAP_THRESHOLD = -3

Floats = NDArray[np.float64]
CFunction = Callable[..., int]


@dataclass(frozen=True, eq=False)
class Case:
    """The inputs that both sides read."""

    prices: tuple[Floats, Floats, Floats, Floats]
    decided: NDArray[np.int64]
    target: Floats
    settled: NDArray[np.int64]

    def prepared(self) -> Prepared:
        """Return the replay's inputs with an account that has not traded."""
        open_time = np.arange(BARS, dtype=np.int64) * MINUTE_MS
        bars = Bars(*(price[None] for price in self.prices))
        count = self.settled.size
        none = np.full(count, np.nan)
        records = Settlements(self.settled * MINUTE_MS, np.full(count, RATE), none, np.full(count, 8.0))
        panel = Panel(
            venue=VENUE,
            symbols=(SYMBOL,),
            timeframe_ms=MINUTE_MS,
            open_time=open_time,
            trade=bars,
            volume=None,
            mark=bars,
            mark_open_time=open_time,
            mark_timeframe_ms=MINUTE_MS,
            index=None,
            settlements=(records,),
            mark_is_trade=False,
        )
        terms = ContractTerms(
            Instrument(symbol=SYMBOL, lot=LOT), (tier_table(),), MarginMode.CROSS, LEVERAGE, taker_fee=FEE
        )
        rows = TargetRows(self.decided, np.zeros(self.decided.size, np.int64), self.target)
        return prepare(panel, [terms], RunConfig(account=AccountConfig(balance=BALANCE)), Instructions(rows))


@pytest.fixture(scope="module")
def limit(tmp_path_factory: pytest.TempPathFactory) -> CFunction:
    """The C loop, built here."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc: the C loop cannot be built")
    library = tmp_path_factory.mktemp("limit") / "limit.so"
    source = Path(__file__).with_name("limit.c")
    options = ["-O3", "-march=native", "-std=c11", "-Wall", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, "-o", str(library), str(source), "-lm"], check=True)
    function = ctypes.CDLL(str(library)).replay
    function.restype = ctypes.c_long
    return function


@pytest.fixture(autouse=True)
def fresh_memory() -> None:
    """Map every large array anew, as in a process that runs once: else the allocator hands out warm pages again."""
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, FRESH_FROM)


def make_case(trades: int) -> Case:
    """Return a year and more of minutes in which the account turns over ``trades`` times, long and short in turn."""
    prices = walk(BARS)
    decided = np.arange(0, BARS, BARS // trades, dtype=np.int64)
    target = np.where(np.arange(decided.size) % 2 == 1, 1.0, -1.0)
    return Case(prices, decided, target, np.arange(480, BARS, FUNDING_MS // MINUTE_MS, dtype=np.int64))


def run_c(function: CFunction, case: Case) -> tuple[Floats, Floats, Floats]:
    """Run the C loop over a case and return its columns."""

    def pointer(values: NDArray[np.generic]) -> ctypes.c_void_p:
        return values.ctypes.data_as(ctypes.c_void_p)

    open_, high, low, close = case.prices
    due = case.decided + 1
    rates = np.full(case.settled.size, RATE)
    rows = [(t.notional_floor, t.notional_cap, t.maintenance_margin_rate, t.max_leverage) for t in TIERS]
    tiers = np.array([(f, c, r, d, m) for (f, c, r, m), d in zip(rows, tier_table().deductions(), strict=True)])
    equity, wallet, requirement = np.empty(BARS), np.empty(BARS), np.empty(BARS)
    done = function(
        *(ctypes.c_long(BARS), pointer(open_), pointer(open_), pointer(low), pointer(high), pointer(close)),
        *(ctypes.c_long(due.size), pointer(due), pointer(case.target)),
        *(ctypes.c_long(case.settled.size), pointer(case.settled), pointer(rates)),
        *(pointer(tiers), ctypes.c_int(len(tiers)), ctypes.c_double(1.0 / LOT), ctypes.c_double(LEVERAGE)),
        *(ctypes.c_double(FEE), ctypes.c_double(BALANCE)),
        *(pointer(equity), pointer(wallet), pointer(requirement)),
    )
    assert done == BARS, f"the C loop stopped at bar {done}: the case reaches a liquidation"
    return equity, wallet, requirement


def seconds(action: Callable[[], object]) -> float:
    """Return the processor time that something takes; what it returns is freed after the clock stops."""
    before = time.process_time()
    result = action()
    taken = time.process_time() - before
    del result
    return taken


@pytest.mark.parametrize("trades", TRADES)
def test_same_columns(limit: CFunction, trades: int) -> None:
    case = make_case(trades)
    prepared = case.prepared()
    journal, columns, _ = run_kernel(prepared)
    account = prepared.book.account[0]
    assert account["fills"] >= trades - 1
    assert account["funding"] == case.settled.size
    assert account["takeovers"] == 0
    assert journal.fills[0]["price"] == case.prices[0][1]
    for ours, theirs in zip((columns.equity, columns.wallet, columns.requirement), run_c(limit, case), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * BALANCE)


@dataclass(frozen=True, eq=False)
class Timing:
    """Times of the pairs [ns per bar]: the replay, the C loop, and the replay with every column completed."""

    ours: Floats
    theirs: Floats
    whole: Floats

    @property
    def ratio(self) -> float:
        """Median over pairs of replay over C."""
        return float(np.median(self.ours / self.theirs))

    def row(self, trades: int) -> str:
        """Return the line of the table."""
        cells = [f"{np.median(t):6.2f} ({t.min():5.2f})" for t in (self.ours, self.theirs, self.whole)]
        return f"{trades:6d}   {cells[0]:>15}   {cells[1]:>15}   {self.ratio:5.2f}   {cells[2]:>15}"


def time_case(function: CFunction, case: Case) -> Timing:
    """Time the replay and the C loop in turns, the first of each pair alternating."""
    rows = []
    for pair in range(PAIRS):
        prepared, again = case.prepared(), case.prepared()
        actions: list[Callable[[], object]] = [
            partial(run_kernel, prepared),
            partial(run_c, function, case),
            partial(replay, again),
        ]
        order = (0, 1, 2) if pair % 2 else (1, 0, 2)
        taken = [0.0, 0.0, 0.0]
        for place in order:
            taken[place] = seconds(actions[place])
        rows.append(taken)
    return Timing(*(np.array(rows).T * 1e9 / BARS))


def test_replay_within_twice_c(limit: CFunction, show: Callable[[str], None]) -> None:
    run_kernel(make_case(100).prepared())  # compiles, or loads what is compiled
    show("Replay of 1,000,000 bars, ns per bar: median (least)")
    show("trades   replay            C                 ratio   with every column")
    timings = {}
    for trades in TRADES:
        timings[trades] = time_case(limit, make_case(trades))
        show(timings[trades].row(trades))
    for name, figure in (("medians", np.median), ("least times", np.min)):
        slowest = max(float(figure(t.ours)) for trades, t in timings.items() if trades <= DENSEST_JUDGED)
        verdict = "met" if slowest <= MOST_NANOSECONDS else "missed"
        show(f"at most {MOST_NANOSECONDS:.0f} ns per bar by {name}: {verdict} ({slowest:.2f})")
    worst = max(timing.ratio for trades, timing in timings.items() if trades <= DENSEST_JUDGED)
    show(f"at most {MOST_TIMES_C:.0f} times C, up to {DENSEST_JUDGED:,} trades: {worst:.2f}")
    assert worst <= MOST_TIMES_C
