"""Books of many contracts in one cross account, with stops and targets on every position, and on_bar loops.

What is timed is the replay alone: signals are made before. Times are those of the process, so that what else the
machine does falls away; a figure is nanoseconds per contract and bar. Peak memory is measured in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numba import cfunc

from backtester.domain.config import RunConfig
from backtester.domain.enums import MarginMode, SettingField
from backtester.domain.instrument import Instrument
from backtester.engine.contract_terms import ContractTerms
from backtester.engine.instructions import Instructions, SettingRows, TargetRows
from backtester.engine.prepare import Prepared, prepare
from backtester.engine.replay import Loop, run_kernel
from backtester.kernel.loop import SIGNATURE, LoopContext, empty_context
from backtester.market.panel import Bars, Panel, Settlements
from tests.benchmark.market import FUNDING_MS, MINUTE_MS, TIERS, VENUE, walk

CONTRACTS = 50
BARS = 200_000
DENSE_BARS = 10_000  # at every bar a decision for every contract: the journal would take gigabytes
LOOP_BARS = 1_000_000
REPEATS = 3
MOST_NANOSECONDS = 30.0  # 0.3 s for ten million contract-bars
MOST_LOOP_NANOSECONDS = 30.0
ROOT = Path(__file__).resolve().parents[2]


def book_panel(contracts: int, bars: int) -> Panel:
    """Return minutes of random walks, marks beside the trades, funding every eight hours."""
    trade = [np.empty((contracts, bars)) for _ in range(4)]
    for i in range(contracts):
        for series, values in zip(trade, walk(bars, seed=i + 1), strict=True):
            series[i] = values
    mark = [series * 1.00005 for series in trade]
    open_time = np.arange(bars, dtype=np.int64) * MINUTE_MS
    settled = np.arange(480, bars, FUNDING_MS // MINUTE_MS, dtype=np.int64) * MINUTE_MS
    none = np.full(settled.size, np.nan)
    records = Settlements(settled, np.full(settled.size, 1e-5), none, np.full(settled.size, 8.0))
    return Panel(
        venue=VENUE,
        symbols=tuple(f"C{i}/USDT:USDT" for i in range(contracts)),
        timeframe_ms=MINUTE_MS,
        open_time=open_time,
        trade=Bars(*trade),
        volume=None,
        mark=Bars(*mark),
        mark_open_time=open_time,
        mark_timeframe_ms=MINUTE_MS,
        index=None,
        settlements=(records,) * contracts,
        mark_is_trade=False,
    )


def told(contracts: int, bars: int, share: float) -> Instructions:
    """Return targets on a share of all contract-bars, and a stop and a take-profit on each position.

    With a share of 0 every contract is bought once and its stop and target are never met.
    """
    dice = np.random.default_rng(5)
    last = bars - 1
    if share >= 1.0:
        bar, symbol = np.repeat(np.arange(last), contracts), np.tile(np.arange(contracts), last)
    elif share == 0.0:
        bar, symbol = np.zeros(contracts, np.int64), np.arange(contracts)
    else:
        places = np.sort(dice.choice(contracts * last, int(contracts * bars * share), replace=False))
        bar, symbol = places // contracts, places % contracts
    turns = np.where((bar + symbol) % 2 == 1, 1.0, -1.0) if share else np.ones(bar.size)
    target = turns * (0.9 + 0.001 * dice.random(bar.size)) / contracts
    exits = ((SettingField.STOP_LOSS, 0.01 if share else 0.9), (SettingField.TAKE_PROFIT, 0.01 if share else 5.0))
    zero = np.zeros(2 * contracts, np.int64)
    settings = SettingRows(
        zero,
        np.tile(np.arange(contracts), 2),
        zero,
        np.repeat([int(field) for field, _ in exits], contracts),
        zero,
        np.repeat([value for _, value in exits], contracts),
    )
    rows = TargetRows(bar.astype(np.int64), symbol.astype(np.int64), target)
    return Instructions(rows, settings=settings)


def prepared_book(panel: Panel, instructions: Instructions) -> Prepared:
    """Return the replay's inputs for a cross account with all contracts of a panel."""
    terms = [
        ContractTerms(Instrument(symbol=s, lot=0.001, tick=0.1), (_tiers(s),), MarginMode.CROSS, 5.0, 0.00005)
        for s in panel.symbols
    ]
    config = RunConfig.model_validate({"account": {"balance": 1e6 * len(panel.symbols)}})
    return prepare(panel, terms, config, instructions)


def _tiers(symbol: str):
    from backtester.domain.margin_tiers import TierTable

    return TierTable(symbol=symbol, tiers=TIERS)


def seconds(make: Callable[[], tuple[Prepared, Loop | None]]) -> float:
    """Return the least process time of a few replays."""
    best = np.inf
    for _ in range(REPEATS):
        prepared, loop = make()
        begun = time.process_time()
        run_kernel(prepared, None, loop)
        best = min(best, time.process_time() - begun)
    return float(best)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 1.0])
def test_a_book_with_brackets(share: float, show: Callable[[str], None]) -> None:
    bars = DENSE_BARS if share == 1.0 else BARS
    panel, instructions = book_panel(CONTRACTS, bars), told(CONTRACTS, bars, share)
    spent = seconds(lambda: (prepared_book(panel, instructions), None))
    each = spent / CONTRACTS / bars * 1e9
    show(f"\n{CONTRACTS} contracts, cross, stop and target, {share:.1%} of bars trading: {each:.1f} ns a contract-bar")
    if share <= 0.001:
        assert each <= MOST_NANOSECONDS


def test_a_loop_that_does_nothing(show: Callable[[str], None]) -> None:
    panel = book_panel(1, LOOP_BARS)
    targets = told(1, LOOP_BARS, 0.001)
    calls = np.arange(LOOP_BARS, dtype=np.int64)
    called = Instructions(targets.targets, settings=targets.settings, calls=calls)

    def nothing(ctx: LoopContext) -> None:
        pass

    function = cfunc(SIGNATURE, nopython=True, error_model="numpy", _nrt=False)(nothing)
    prices = [getattr(panel.trade, name) for name in ("open", "high", "low", "close")]
    unknown = np.full_like(prices[0], np.nan)
    bars = np.stack([*prices, unknown, prices[-1], unknown])
    context = empty_context()._replace(bars=bars, legs=np.zeros((1, 3, 2)))
    bare = seconds(lambda: (prepared_book(panel, targets), None)) / LOOP_BARS * 1e9
    with_loop = seconds(lambda: (prepared_book(panel, called), Loop(context, function))) / LOOP_BARS * 1e9
    show(f"\n1 contract: {bare:.1f} ns a bar, with a loop that does nothing {with_loop:.1f} ns")
    assert with_loop - bare <= MOST_LOOP_NANOSECONDS


def test_peak_memory_of_a_book(show: Callable[[str], None]) -> None:
    script = "from tests.benchmark.test_portfolio import peak_over_input; print(peak_over_input())"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=env)
    ratio = float(done.stdout)
    show(f"\n{CONTRACTS} contracts, {BARS:,} bars: peak of the replay at {ratio:.2f} times its inputs")
    assert ratio <= 1.3


def peak_over_input() -> float:
    """Return how far a replay grows the process, over its inputs' size, these included; run in a process of its own."""
    run_kernel(prepared_book(book_panel(2, 100), told(2, 100, 0.0)))  # everything is imported and compiled
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = memory("VmRSS")
    panel, instructions = book_panel(CONTRACTS, BARS), told(CONTRACTS, BARS, 0.001)
    run_kernel(prepared_book(panel, instructions))
    return (memory("VmHWM") - before) / (8 * CONTRACTS * BARS * 8)


def memory(figure: str) -> int:
    """Return a figure of the process's memory [bytes]."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{figure}:")) * 1024
