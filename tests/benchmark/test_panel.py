"""The panel of a year of 1m bars: trade, mark, index and funding of one and of ten symbols, time and memory.

Each load is timed in a process of its own, on files that the system's cache holds, after the load of one day. The
memory is the peak of the resident size above that before the load. Other work on the machine makes a process wait for
a core; that wait is shown and left out of the figure that is judged, the least of the repeats (see
`tests.benchmark.test_run`). Of the memory the largest counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
import pytest

from backtester.market.schema import EVENT, PRICES, TIME, DatasetKey
from backtester.market.store import Store
from tests.benchmark.market import FUNDING_MS, MINUTE_MS, SOURCE, START, VENUE, YEAR, walk

ROOT = Path(__file__).resolve().parents[2]
REPEATS = 5
SYMBOLS = tuple(f"S{k}/USDT:USDT" for k in range(10))
MOST_SECONDS = {1: 0.25, 10: 2.5}
MOST_TIMES_THE_ARRAYS = 1.3
TICKS_PER_UNIT = {"trade": 10, "mark": 100, "index": 1_000_000}
CHILD = """
import gc, json, sys, time
from pathlib import Path

from backtester.market.panel import load_panel
from backtester.market.store import Store
from tests.benchmark.test_panel import VENUE, array_bytes

def resident(line):
    status = Path("/proc/self/status").read_text()
    return int(status.partition(line)[2].split()[0]) * 1024

def waited():
    return int(Path("/proc/self/schedstat").read_text().split()[1]) * 1e-9

day, year, *symbols = sys.argv[1:]
load_panel(Store(Path(day)), VENUE, symbols[:1], "1m", index=True)
gc.collect()
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
memory, waits, processor, begin = resident("VmRSS:"), waited(), time.process_time(), time.perf_counter()
panel = load_panel(Store(Path(year)), VENUE, symbols, "1m", index=True)
wall, processor, waits = time.perf_counter() - begin, time.process_time() - processor, waited() - waits
peak = resident("VmHWM:")  # the peak of getrusage is that of the parent process too
assert panel.index.close.shape == (len(symbols), 525_600)
print(json.dumps([wall, waits, processor, peak - memory, array_bytes(panel)]))
"""


@dataclass(frozen=True)
class Load:
    """What a load took.

    Attributes
    ----------
    wall, waited, processor : float
        Seconds, of these waiting for a core (main thread), and of all cores.
    memory, arrays : int
        Growth of the resident size to its peak, and size of the arrays that were returned [bytes].
    """

    wall: float
    waited: float
    processor: float
    memory: int
    arrays: int

    @property
    def seconds(self) -> float:
        """Wall time less the wait for a core."""
        return self.wall - self.waited

    @property
    def ratio(self) -> float:
        """Memory over arrays."""
        return self.memory / self.arrays


def array_bytes(panel: object) -> int:
    """Return the size of all arrays that a panel holds, each counted once."""
    found: dict[int, int] = {}

    def visit(value: object) -> None:
        if isinstance(value, np.ndarray):
            found[id(value)] = value.nbytes
        elif isinstance(value, tuple):
            for item in value:
                visit(item)
        elif hasattr(value, "__dataclass_fields__"):
            for name in value.__dataclass_fields__:
                visit(getattr(value, name))

    visit(panel)
    return sum(found.values())


def write_symbol(store: Store, symbol: str, bars: int, seed: int) -> None:
    """Write trade, mark, index and funding of one symbol, mark and index a little beside the trades."""
    times = pl.Series("open_time", START + np.arange(bars, dtype=np.int64) * MINUTE_MS).cast(TIME)
    rng = np.random.default_rng(seed)
    prices = walk(bars, seed)
    for k, (series, per_unit) in enumerate(TICKS_PER_UNIT.items()):
        beside = 1.0 + 1e-4 * k * np.sin(np.arange(bars) / 700.0)
        columns = {n: np.round(p * beside * per_unit) / per_unit for n, p in zip(PRICES, prices, strict=True)}
        frame = pl.DataFrame([times]).with_columns(pl.Series(n, values) for n, values in columns.items())
        if series == "trade":
            frame = frame.with_columns(pl.Series("volume", rng.integers(1, 500_000, bars) * 0.001).round(3))
        store.write(DatasetKey(VENUE, symbol, series, "1m"), frame, source=SOURCE, replace=True)
    settled = np.arange(START, START + bars * MINUTE_MS, FUNDING_MS, dtype=np.int64)
    rates = np.round(1e-4 + 2e-4 * rng.standard_normal(settled.size), 8)
    funding = pl.DataFrame({"funding_time": pl.Series(settled).cast(TIME), "funding_rate": rates})
    store.write(DatasetKey(VENUE, symbol, "funding", EVENT), funding, source=SOURCE, replace=True)


def load(folder: Path, count: int) -> Load:
    """Load a year of ``count`` symbols in a fresh process."""
    arguments = [sys.executable, "-c", CHILD, str(folder / "day"), str(folder / "year"), *SYMBOLS[:count]]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Load(*json.loads(done.stdout))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a day of the first symbol, and one of a year of all."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("no /proc/self/clear_refs: the peak of the memory cannot be measured")
    folder = tmp_path_factory.mktemp("panel")
    write_symbol(Store(folder / "day"), SYMBOLS[0], 1_440, 1)
    for k, symbol in enumerate(SYMBOLS):
        write_symbol(Store(folder / "year"), symbol, YEAR, k + 1)
    return folder


@pytest.mark.parametrize("count", MOST_SECONDS)
def test_year_of_minutes(folder: Path, show: Callable[[str], None], count: int) -> None:
    load(folder, count)  # warms the file cache
    loads = [load(folder, count) for _ in range(REPEATS)]
    seconds, ratio = min(one.seconds for one in loads), max(one.ratio for one in loads)
    bars = count * YEAR
    show(f"\npanel of {count} symbol{'s' * (count > 1)}, a year of 1m trade, mark, index and funding ({bars:,} bars)")
    show("seconds   wall   waited   all cores   ns per bar   peak MB   arrays MB   peak / arrays")
    for one in loads:
        times = f"{one.seconds:7.3f} {one.wall:6.3f} {one.waited:8.3f} {one.processor:11.3f}"
        memory = f"{one.memory / 1e6:9.1f} {one.arrays / 1e6:11.1f} {one.ratio:15.2f}"
        show(f"{times} {one.seconds * 1e9 / bars:12.0f} {memory}")
    typical = median(one.seconds for one in loads), median(one.ratio for one in loads)
    show(f"median {typical[0]:.3f} s, {typical[1]:.2f} times the arrays")
    for name, figure, limit in (("s", seconds, MOST_SECONDS[count]), ("times", ratio, MOST_TIMES_THE_ARRAYS)):
        verdict = "met" if figure <= limit else "MISSED"
        show(f"  at most {limit:g} {name}: {verdict} ({figure:.3f})")
    assert seconds <= MOST_SECONDS[count]
    assert ratio <= MOST_TIMES_THE_ARRAYS
