"""The command line on one year of 1m bars: time and memory of whole processes.

Other work on the machine makes a process wait for a core. Where the kernel tells how long (``schedstat``), that wait
is shown and left out of the figure that is judged; the least of the repeats counts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from backtester.market.store import Store
from tests.benchmark.market import SYMBOL, VENUE, write_year

ROOT = Path(__file__).resolve().parents[2]
REPEATS = 5
RUN_SECONDS = 5.0
RUN_BYTES = 1.2e9
HELP_SECONDS = 0.35
COMPILE_SECONDS = 30.0
RUN = ("run", "trend", "--venue", VENUE, "--symbols", SYMBOL, "--timeframe", "1m", "--leverage", "3", "--quiet")
OFTEN = ("-p", "fast=24", "-p", "slow=168")  # thousands of trades
SELDOM = ("-p", "fast=480", "-p", "slow=2880")  # hundreds
MONTH = ("--start", "2024-03-01", "--end", "2024-04-01")


@dataclass(frozen=True)
class Usage:
    """What a process took.

    Attributes
    ----------
    wall, waited, processor : float
        Seconds from start to end, of these waiting for a core (main thread), and of all cores.
    memory : int
        Peak resident size [bytes].
    """

    wall: float
    waited: float
    processor: float
    memory: int

    @property
    def seconds(self) -> float:
        """Wall time less the wait for a core."""
        return self.wall - self.waited

    def __str__(self) -> str:
        return (
            f"{self.seconds:5.2f} s (wall {self.wall:.2f}, of it waiting for a core {self.waited:.2f}; "
            f"user and system {self.processor:.2f}), peak {self.memory / 1e9:.2f} GB"
        )


def measured(arguments: Sequence[str], folder: Path, **environment: str) -> Usage:
    """Run Python with arguments in a folder and return what it took."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    kept |= {"PYTHONPATH": str(ROOT), **environment}
    before = time.perf_counter()
    with subprocess.Popen([sys.executable, *arguments], cwd=folder, env=kept, stdout=subprocess.DEVNULL) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and its figures still to be read
        wall = time.perf_counter() - before
        waited = waited_for_core(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{' '.join(arguments)}: exit code {process.returncode}"
    return Usage(wall, waited, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def waited_for_core(pid: int) -> float:
    """Return how long a process's main thread was ready and not running [s]; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) * 1e-9
    except (OSError, IndexError):
        return 0.0


def repeated(arguments: Sequence[str], folder: Path, count: int = REPEATS) -> Usage:
    """Return the quickest of several runs, after one that warms the caches."""
    measured(arguments, folder)
    return min((measured(arguments, folder) for _ in range(count)), key=lambda usage: usage.seconds)


def judged(figure: float, limit: float) -> str:
    return f"at most {limit:g}: {'met' if figure <= limit else 'MISSED'}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose store holds the year."""
    folder = tmp_path_factory.mktemp("year")
    write_year(Store(folder / "data"))
    return folder


@pytest.mark.parametrize("lengths", [SELDOM, OFTEN], ids=["hundreds of trades", "thousands of trades"])
def test_year_of_minutes(folder: Path, show: Callable[[str], None], lengths: tuple[str, ...]) -> None:
    usage = repeated(["-m", "backtester", *RUN, *lengths], folder)
    page = max((folder / "reports").glob("*/report.html"), key=lambda path: path.stat().st_mtime)
    assert page.stat().st_size > 1_000_000
    show(f"\nrun, a year of 1m bars, page included, {' '.join(lengths[1::2])}: {usage}")
    show(f"  {judged(usage.seconds, RUN_SECONDS)} s; {judged(usage.memory / 1e9, RUN_BYTES / 1e9)} GB")
    assert usage.seconds <= RUN_SECONDS
    assert usage.memory <= RUN_BYTES


def test_help(tmp_path: Path, show: Callable[[str], None]) -> None:
    usage = repeated(["-m", "backtester", "--help"], tmp_path, 10)
    bare = repeated(["-c", "pass"], tmp_path, 10)
    imported = repeated(["-c", "import backtester"], tmp_path, 10)
    show(f"\nbacktester --help: {usage}")
    show(f"  {judged(usage.seconds, HELP_SECONDS)} s")
    show(f"import backtester: {imported.seconds - bare.seconds:.3f} s beside {bare.seconds:.3f} s of Python itself")
    assert usage.seconds <= HELP_SECONDS


def test_cold_compile(folder: Path, tmp_path: Path, show: Callable[[str], None]) -> None:
    command = ["-m", "backtester", *RUN, *SELDOM, *MONTH, "--no-report"]
    cold = measured(command, folder, BACKTESTER_CACHE_DIR=str(tmp_path))
    warm = measured(command, folder, BACKTESTER_CACHE_DIR=str(tmp_path))
    compiling = cold.seconds - warm.seconds
    show(f"\nfirst run on an empty cache, a month of 1m bars: {cold}")
    show(f"the same again: {warm}")
    show(f"  compiling {compiling:.1f} s, {judged(compiling, COMPILE_SECONDS)} s")
    assert compiling <= COMPILE_SECONDS
