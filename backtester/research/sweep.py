"""Every set of a sweep evaluated, part by part, at a pace that shows progress and within the memory there is."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import polars as pl

from backtester.errors import BacktesterError, UsageError
from backtester.research.executors import Executor
from backtester.research.job import Job
from backtester.research.rows import FAILED
from backtester.research.space import SET, Space

MOST_UNASKED = 1_000_000
"""Sets from which on a sweep asks before it starts."""

_FIRST_PART = 64  # sets
_LARGEST_PART = 20_000
_PACE = 0.5  # seconds between two parts
_REMEMBERED = 8  # parts by which the rate is told
_WARMING = 2  # sets before the rate is guessed
_TRIED = 8  # sets by which the rate is guessed before a large sweep, at least and at most
_MOST_TRIED = 4096
_LOOKED_THROUGH = 1 << 27  # sets of a grid that are put to a filter without being asked


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is.

    Attributes
    ----------
    done, failed, total : int
        Sets that are evaluated, those of them that failed, and all.
    rate : float
        Sets a second, over the last parts; 0 while it is unknown.
    """

    done: int
    failed: int
    total: int
    rate: float = 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time left [s], None while it is unknown."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None


TellSweep = Callable[[SweepProgress], None]


def evaluated(
    job: Job, executor: Executor, sets: Iterable[pl.DataFrame], most_at_first: int | None = None
) -> Iterator[pl.DataFrame]:
    """Yield the rows of all sets, a part at a time, in any order.

    Parts grow or shrink until one is done about every half second. A part that does not fit into the memory is halved
    and tried again, and no later one is larger.

    Parameters
    ----------
    job : Job
        What becomes of a set.
    executor : Executor
        Where parts are evaluated.
    sets : iterable of polars.DataFrame
        Sets in order, with their numbers, any number at a time.
    most_at_first : int, optional
        Sets of the first parts, where they are to be shared among several workers.

    Raises
    ------
    BacktesterError
        A single set does not fit into the memory.
    """
    queue = _Queue(iter(sets), min(_FIRST_PART, most_at_first or _FIRST_PART))
    with executor:
        while True:
            try:
                for rows in executor.rows(job, queue):
                    queue.take_back(rows)
                    yield rows
            except MemoryError as error:
                queue.halve(error)
            else:
                return


class _Queue:
    """Sets that wait, handed out in parts; executors may take them from several threads."""

    def __init__(self, chunks: Iterator[pl.DataFrame], first: int) -> None:
        self._chunks = chunks
        self._waiting: deque[pl.DataFrame] = deque()
        self._under_way: dict[int, pl.DataFrame] = {}
        self._size = first
        self._largest = _LARGEST_PART
        self._times: deque[tuple[float, int]] = deque([(time.perf_counter(), 0)], maxlen=_REMEMBERED)
        self._lock = threading.Lock()

    def __iter__(self) -> _Queue:
        return self

    def __next__(self) -> pl.DataFrame:
        with self._lock:
            if not self._waiting:
                self._waiting.append(next(self._chunks))
            first = self._waiting.popleft()
            part = first.head(self._size)
            if first.height > part.height:
                self._waiting.appendleft(first.slice(part.height))
            self._under_way[int(part[SET][0])] = part
            return part

    def take_back(self, rows: pl.DataFrame) -> None:
        """Note that a part, or some of its sets, are done, and set the pace of the next parts."""
        with self._lock:
            first = max(number for number in self._under_way if number <= int(rows[SET].min()))  # type: ignore[arg-type]  # never empty
            part = self._under_way.pop(first)
            if rows.height < part.height:
                left = part.filter(~pl.col(SET).is_in(rows[SET].implode()))
                self._under_way[int(left[SET][0])] = left
            self._times.append((time.perf_counter(), rows.height))
            seconds = self._times[-1][0] - self._times[0][0]
            rate = sum(number for _, number in list(self._times)[1:]) / max(seconds, 1e-6)
            wanted = min(max(int(rate * _PACE), self._size // 4), 4 * self._size, self._largest)
            self._size = max(1, wanted)

    def halve(self, error: MemoryError) -> None:
        """Put back what is not done, to be tried again in halves."""
        with self._lock:
            lost = [self._under_way[first] for first in sorted(self._under_way)]
            largest = max((part.height for part in lost), default=1)
            if largest == 1:
                raise BacktesterError(
                    "The memory does not suffice for a single set.",
                    "Give --memory less than it has, take fewer --workers, or a shorter span.",
                ) from error
            self._waiting.extendleft(reversed(lost))
            self._under_way.clear()
            self._size = self._largest = largest // 2


class Meter:
    """Counts rows and tells how far the sweep is.

    Parameters
    ----------
    total : int
        Sets of the sweep.
    done, failed : int
        Those that were evaluated before.
    tell : callable
        Called after each part.
    """

    def __init__(self, total: int, done: int, failed: int, tell: TellSweep) -> None:
        self._total, self._done, self._failed = total, done, failed
        self._tell = tell
        self._times: deque[tuple[float, int]] = deque([(time.perf_counter(), done)], maxlen=_REMEMBERED)

    def count(self, rows: pl.DataFrame) -> None:
        """Add rows of a part."""
        self._done += rows.height
        self._failed += int((rows["status"] == FAILED).sum())
        self._times.append((time.perf_counter(), self._done))
        (before, had), (now, has) = self._times[0], self._times[-1]
        self._tell(SweepProgress(self._done, self._failed, self._total, (has - had) / max(now - before, 1e-6)))


def refuse_unasked(space: Space, job: Job, most: int = MOST_UNASKED) -> None:
    """Refuse a sweep that is too large to be started without having been asked for.

    Parameters
    ----------
    space : Space
        The sets.
    job : Job
        With which a few are tried, to tell how long all take.
    most : int
        Sets up to which nothing is asked.

    Raises
    ------
    UsageError
        It tells the number of sets and the time that they take.
    """
    if space.sample is not None and space.sample.count <= most:
        return
    counted = space.sample is not None or space.where is None or space.grid_size <= _LOOKED_THROUGH
    number = space.sample.count if space.sample is not None else space.count if counted else space.grid_size
    if counted and number <= most:
        return
    before = "" if counted else " before the filter"
    rate, tried = guessed_rate(space, job)
    raise UsageError(
        f"The sweep has {number:,} sets{before}: about {duration_text(number / rate)} at {rate_text(rate)} sets "
        f"a second, measured on {tried:,} of them.",
        "Start it with --yes, take fewer values, filter with --where, or draw some with --sample N.",
    )


def guessed_rate(space: Space, job: Job) -> tuple[float, int]:
    """Return how many sets a second are evaluated here, and by how many that was measured.

    More and more are evaluated until some time was spent, since a few take as long as many do.
    """
    job.prepare(space.some(_MOST_TRIED))
    job.evaluate(space.some(_WARMING))  # what is compiled or loaded once is no part of the rate
    tried = _TRIED
    while True:
        few = space.some(tried)
        before = time.perf_counter()
        job.evaluate(few)
        spent = time.perf_counter() - before
        if spent >= _PACE or tried >= _MOST_TRIED or few.height >= space.grid_size:
            return few.height / max(spent, 1e-6), few.height
        tried = min(_MOST_TRIED, 4 * tried)


def share(total: int, workers: int) -> int:
    """Return the sets of a first part with which a small sweep keeps several workers busy."""
    return max(1, -(-total // (4 * workers))) if workers > 1 else total


def rate_text(rate: float) -> str:
    """Return a number of sets a second: whole, or with two digits where it is small."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def duration_text(seconds: float) -> str:
    """Return a time as people say it: ``45 s``, ``12 min``, ``3.5 hours``, ``9.6 days``, ``2.1 years``."""
    for unit, length, digits in (("years", 31_536_000, 1), ("days", 86_400, 1), ("hours", 3_600, 1), ("min", 60, 0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.{digits}f} {unit}"
    return f"{seconds:,.0f} s" if seconds >= 1 else "1 s"
