"""How time and memory grow: with bars, sets, symbols and the share of bars that trade.

Run as ``python -m tests.benchmark.growth`` (``make bench-growth``). Every point is measured in a process of its own:
processor seconds, wall seconds less the wait for a core, and the growth of the resident size to its peak, above imports
and compiled code. The slope is that of a line through the points on logarithmic scales: 1 grows in proportion. It is
fitted over the points that take more than a hundredth of a second (a megabyte), where fixed costs do not count.

The sizes are chosen by environment variables, comma-separated: ``GROWTH_BARS``, ``GROWTH_SETS``, ``GROWTH_SYMBOLS``,
``GROWTH_TRADES`` (percent of bars). A series whose next point would take longer than ``GROWTH_SECONDS`` (120), by the
slope so far, ends there and says so.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from backtester.engine.replay import run_kernel
from backtester.market.store import Store
from tests.benchmark.limit_case import Case, reversals
from tests.benchmark.market import FUNDING_MS, MINUTE_MS, walk, write_year
from tests.benchmark.measured import in_child, used_by
from tests.benchmark.sweep_case import job_on
from tests.benchmark.test_portfolio import book_panel, prepared_book, told

MOST_SECONDS = float(os.environ.get("GROWTH_SECONDS", "120"))
LEAST_SECONDS = 0.01
TRADE_EVERY = 1_000  # bars, where the number of bars grows
SET_BARS = 20_000
SYMBOL_BARS = 10_000
TRADE_BARS = 200_000


def sizes(name: str, usual: Sequence[float]) -> list[float]:
    """Return the sizes of a series: of the environment, or the usual ones."""
    given = os.environ.get(name)
    return [float(part) for part in given.split(",")] if given else list(usual)


# -- points, each in a process of its own ----------------------------------------------------------------------------


def usage(action: Callable[[], Any], note: str = "") -> dict[str, Any]:
    """Return what an action took, as JSON can say it."""
    _, took = used_by(action)
    return {"processor": took.processor, "wall": took.seconds, "memory": took.memory, "note": note}


def account(bars: int, trades: int) -> Case:
    """Return one account that turns over evenly, exposed little enough to survive a turn at every bar."""
    decided, target = reversals(trades, bars)
    return Case(walk(bars), decided, target * 0.01, np.arange(480, bars, FUNDING_MS // MINUTE_MS, dtype=np.int64))


def over_bars(size: float) -> dict[str, Any]:
    """Replay one account with a trade per thousand bars; the inputs are there before."""
    bars = int(size)
    run_kernel(account(2_000, 2).prepared())
    prepared = account(bars, max(1, bars // TRADE_EVERY)).prepared()
    return usage(lambda: run_kernel(prepared))


def over_trades(size: float) -> dict[str, Any]:
    """Replay one account that trades at so many percent of the bars; the inputs are there before."""
    run_kernel(account(2_000, 2).prepared())
    trades = int(TRADE_BARS * size / 100)
    case = account(TRADE_BARS, max(trades, 1))
    if trades == 0:
        case = Case(case.prices, case.decided[:0], case.target[:0], case.settled)
    prepared = case.prepared()
    return usage(lambda: run_kernel(prepared))


def over_symbols(size: float) -> dict[str, Any]:
    """Replay a cross account of so many contracts, 0.1 % of contract-bars trading; the inputs are there before."""
    run_kernel(prepared_book(book_panel(2, 100), told(2, 100, 0.0)))
    contracts = int(size)
    prepared = prepared_book(book_panel(contracts, SYMBOL_BARS), told(contracts, SYMBOL_BARS, 0.001))
    return usage(lambda: run_kernel(prepared))


def over_sets(size: float, store: str) -> dict[str, Any]:
    """Evaluate so many sets of the moving-average cross, signals and metrics included."""
    job = job_on(Path(store))
    job.evaluate(pl.DataFrame({"fast": [10], "slow": [1_010]}))
    count = int(size)
    side = int(np.ceil(np.sqrt(count)))
    pairs = [(10 + 10 * (k % side), 1_010 + 10 * (k // side)) for k in range(count)]
    sets = pl.DataFrame(pairs, schema=["fast", "slow"], orient="row")
    rows: list[pl.DataFrame] = []
    took = usage(lambda: rows.append(job.evaluate(sets)))
    return {**took, "note": f"by {', '.join(rows[0]['path'].unique().sort())}"}


# -- series ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Series:
    """One thing that grows.

    Attributes
    ----------
    title, unit : str
        What is done, and what is counted.
    variable : str
        Environment variable of its sizes.
    usual : tuple of float
        Sizes where it is not set.
    point : callable
        Returns what a size took.
    """

    title: str
    unit: str
    variable: str
    usual: tuple[float, ...]
    point: Callable[[float], dict[str, Any]]


def slope(sizes_done: Sequence[float], figures: Sequence[float]) -> float:
    """Return the slope on logarithmic scales; NaN with fewer than two points."""
    if len(sizes_done) < 2:
        return float("nan")
    return float(np.polyfit(np.log(sizes_done), np.log(figures), 1)[0])


def foretold(done: Sequence[tuple[float, dict[str, Any]]], size: float) -> float:
    """Return the processor seconds that a size is likely to take; 0 where too little is known."""
    if not done or done[-1][0] <= 0:
        return 0.0
    last, took = done[-1]
    return float(took["processor"] * size / last)


def show(series: Series, say: Callable[[str], None]) -> None:
    """Measure a series and print its table."""
    say(f"\n{series.title}\n{series.unit:>10}   processor s      wall s   peak MB   each")
    done: list[tuple[float, dict[str, Any]]] = []
    for size in sizes(series.variable, series.usual):
        likely = foretold(done, size)
        if likely > MOST_SECONDS:
            say(f"{size:10,g}   left out: it would take about {likely:,.0f} s (GROWTH_SECONDS allows more)")
            break
        took = series.point(size)
        done.append((size, took))
        each = f"{took['processor'] / size * 1e6:10.4g} us" if size > 0 else ""
        note = f"   {took['note']}" if took["note"] else ""
        memory = took["memory"] / 1e6
        say(f"{size:10,g}   {took['processor']:11.4f}   {took['wall']:9.4f}   {memory:7.1f}   {each}{note}")
    timed = [(size, took) for size, took in done if size > 0 and took["processor"] >= LEAST_SECONDS]
    held = [(size, took) for size, took in done if size > 0 and took["memory"] >= 1e6]
    in_time = slope([size for size, _ in timed], [took["processor"] for _, took in timed])
    in_memory = slope([size for size, _ in held], [took["memory"] for _, took in held])
    say(f"slope: time {in_time:.2f}, memory {in_memory:.2f}")


def all_series(store: str) -> list[Series]:
    """Return what is measured."""

    def point(function: Callable[..., Any], **more: Any) -> Callable[[float], dict[str, Any]]:
        return lambda size: in_child(function, size=size, **more)

    replayed = "records included, replay alone"
    return [
        Series(
            f"Bars: one account, a trade per {TRADE_EVERY:,} bars, {replayed}",
            "bars",
            "GROWTH_BARS",
            (1e4, 1e5, 1e6, 1e7),
            point(over_bars),
        ),
        Series(
            f"Sets: moving-average crosses on {SET_BARS:,} bars, signals and metrics included",
            "sets",
            "GROWTH_SETS",
            (1, 10, 100, 1_000, 10_000),
            point(over_sets, store=store),
        ),
        Series(
            f"Symbols: a cross account with stops and targets, {SYMBOL_BARS:,} bars, 0.1 % of them trading, {replayed}",
            "symbols",
            "GROWTH_SYMBOLS",
            (1, 5, 20, 100, 500),
            point(over_symbols),
        ),
        Series(
            f"Trades: one account, {TRADE_BARS:,} bars, {replayed}",
            "% of bars",
            "GROWTH_TRADES",
            (0, 0.01, 0.1, 1, 10, 100),
            point(over_trades),
        ),
    ]


def main() -> int:
    """Print every table."""

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "data"
        write_year(Store(store), SET_BARS)
        for series in all_series(str(store)):
            show(series, say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
