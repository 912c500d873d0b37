"""The clearing of a whole market: time by accounts and bars, memory an account, and other ways to watch the limits.

Every account pays funding, is summed up at each settlement and watched at each point of every bar's path. The time is
the processor's own, the least of the repeats, after one small replay has loaded the kernel.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from backtester.clearing import (
    RETAIL_MIX,
    ClearingMarket,
    ClearingRules,
    FundingSchedule,
    Population,
    flat_table,
    from_open_interest,
)
from backtester.clearing.prepare import Capacity, largest_sizes, make_books, make_journal, make_world
from backtester.domain.instrument import Instrument
from backtester.kernel._jit import njit
from backtester.kernel.clearing import clear_market
from backtester.kernel.clearing_state import CLOSED, LIQUIDATIONS, Books

HOUR = 3_600_000
REPEATS = 3
MOST_SECONDS = 2.5
MOST_BYTES = 200
RULES = ClearingRules()


def walk(bars: int, seed: int = 1, contracts: int = 1, step: float = 0.004) -> ClearingMarket:
    """Return hourly bars of a random walk that settles every 8 hours."""
    rng = np.random.default_rng(seed)
    path = 100 * np.exp(np.cumsum(step * rng.standard_normal((contracts, bars + 1)), axis=1))
    opens, closes = path[:, :-1], path[:, 1:]
    high = np.maximum(opens, closes) * (1 + step * rng.random(opens.shape))
    low = np.minimum(opens, closes) * (1 - step * rng.random(opens.shape))
    times = np.arange(0, bars * HOUR, 8 * HOUR)
    schedule = FundingSchedule(times, 1e-4 * rng.standard_normal(len(times)) + 5e-5, np.full(len(times), np.nan))
    symbols = tuple(f"S{c}/USDT:USDT" for c in range(contracts))
    return ClearingMarket(
        symbols=symbols,
        open_time=np.arange(bars, dtype=np.int64) * HOUR,
        bar_ms=HOUR,
        open=opens,
        high=high,
        low=low,
        close=closes,
        volume=np.full(opens.shape, 1e6),
        mark_open=opens,
        mark_high=high,
        mark_low=low,
        mark_close=closes,
        funding=(schedule,) * contracts,
        instruments=tuple(Instrument(symbol=s) for s in symbols),
        tiers=tuple(flat_table(s, 0.005) for s in symbols),
    )


def people(market: ClearingMarket, accounts: int, several: float = 0.0) -> Population:
    """Return accounts at high leverage, so that most of them end."""
    past = walk(500, seed=5, contracts=len(market.symbols))
    return from_open_interest(market, 1e8, accounts, RETAIL_MIX, seed=1, several_share=several, past=past)


def measured(market: ClearingMarket, population: Population, repeats: int = REPEATS) -> tuple[float, float, int]:
    """Return seconds, bytes an account and liquidations of a replay."""
    world = make_world(market, RULES, largest_sizes(market, population), None)
    best = float("inf")
    for _ in range(repeats):
        books = make_books(market, population, RULES, None)
        journal = make_journal(world, books, Capacity(2 * population.positions, 100_000, 1))
        begin = time.process_time()
        outcome, _ = clear_market(world, books, journal, 0)
        best = min(best, time.process_time() - begin)
        assert outcome == CLOSED
    return best, size_of(books) / population.accounts, int(books.counters[LIQUIDATIONS])


def size_of(books: Books) -> int:
    """Return the bytes of what grows with accounts: the queue of peaks grows with bars."""
    return sum(array.nbytes for name, array in books._asdict().items() if name != "peak_queue")


@pytest.fixture(autouse=True, scope="module")
def _loaded_kernel() -> None:
    small = walk(30)
    measured(small, people(small, 100), 1)


def test_the_stated_size(show: Callable[[str], None]) -> None:
    market = walk(10_000)
    seconds, size, count = measured(market, people(market, 100_000))
    show(f"100,000 accounts, 10,000 bars: {seconds:.2f} s, {size:.0f} bytes an account, {count:,} liquidations")
    assert seconds <= MOST_SECONDS
    assert size <= MOST_BYTES


@pytest.mark.parametrize("accounts", [1_000, 10_000, 100_000, 1_000_000])
def test_growth_with_accounts(accounts: int, show: Callable[[str], None]) -> None:
    market = walk(2_000)
    seconds, size, _ = measured(market, people(market, accounts), 1)
    each = f"{seconds / accounts * 1e6:.2f} us and {size:.0f} bytes each"
    show(f"{accounts:>9,} accounts, 2,000 bars: {seconds:.3f} s, {each}")


@pytest.mark.parametrize("bars", [1_000, 3_000, 10_000, 30_000])
def test_growth_with_bars(bars: int, show: Callable[[str], None]) -> None:
    market = walk(bars)
    seconds, _, _ = measured(market, people(market, 10_000), 1)
    show(f"{bars:>9,} bars, 10,000 accounts: {seconds:.3f} s, {seconds / bars * 1e6:.1f} us a bar")


@pytest.mark.parametrize("several", [0.0, 0.1, 0.5])
def test_accounts_over_three_contracts(several: float, show: Callable[[str], None]) -> None:
    market = walk(2_000, contracts=3)
    seconds, size, _ = measured(market, people(market, 10_000, several), 1)
    show(f"3 contracts, 2,000 bars, {several:.0%} of 10,000 accounts in all: {seconds:.3f} s, {size:.0f} bytes each")


@njit
def plain_scan(low: np.ndarray, high: np.ndarray, path: np.ndarray, shifts: np.ndarray) -> int:
    """Compare every account with every bar's extremes; funding moves all keys at a settlement."""
    count = 0
    for bar in range(path.shape[1]):
        if shifts[bar] != 0.0:
            low += shifts[bar]
            high += shifts[bar]
        for p in range(low.size):
            if low[p] >= path[0, bar] or high[p] <= path[1, bar]:
                count += 1
                low[p] = -np.inf
                high[p] = np.inf
    return count


@njit
def sorted_again(low: np.ndarray, path: np.ndarray, shifts: np.ndarray) -> int:
    """Sort the keys of one side at each settlement and walk down a pointer between them."""
    keys = np.sort(low)
    last = keys.size - 1
    count = 0
    for bar in range(path.shape[1]):
        if shifts[bar] != 0.0:
            keys[: last + 1] += shifts[bar]
            keys[: last + 1] = np.sort(keys[: last + 1])
        while last >= 0 and keys[last] >= path[0, bar]:
            last -= 1
            count += 1
    return count


def test_other_ways_to_watch(show: Callable[[str], None]) -> None:
    """A plain scan and a sort at each settlement, without any of the accounting, beside the heaps with all of it."""
    market = walk(10_000)
    population = people(market, 100_000)
    longs = population.quantity > 0
    room = 1.0 / population.leverage[population.account] - 0.005
    low = np.where(longs, population.entry_price * (1 - room), -np.inf)
    high = np.where(longs, np.inf, population.entry_price * (1 + room))
    path = np.array([market.mark_low[0], market.mark_high[0]])
    shifts = np.zeros(10_000)
    shifts[::8] = market.funding[0].rate * 100
    plain_scan(low[:10].copy(), high[:10].copy(), path[:, :10].copy(), shifts)
    sorted_again(low[:10].copy(), path[:, :10].copy(), shifts)
    for name, run in (
        ("plain scan", lambda: plain_scan(low.copy(), high.copy(), path, shifts)),
        ("sort at each settlement, one side", lambda: sorted_again(low.copy(), path, shifts)),
    ):
        begin = time.process_time()
        run()
        show(f"{name}: {time.process_time() - begin:.2f} s without accounting")
