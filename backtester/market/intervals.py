"""Funding settlements: snap their times, measure the interval in force, find the ones that are missing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
LONGEST_INTERVAL_HOURS = 8.0
USUAL_MS = frozenset(h * HOUR_MS for h in (1, 2, 4, 8))


@dataclass(frozen=True)
class Hole:
    """A distance between two settlements that is longer than the interval in force.

    Attributes
    ----------
    after, before : int
        The settlements on either side [ms].
    interval_ms : int
        Interval in force, the longer of the one before and the one after.
    """

    after: int
    before: int
    interval_ms: int

    @property
    def missing(self) -> int:
        """Number of settlements that are missing, at least."""
        return -(-(self.before - self.after) // self.interval_ms) - 1


@dataclass(frozen=True, eq=False)
class Intervals:
    """The interval of each settlement.

    Attributes
    ----------
    hours : numpy.ndarray
        One per settlement [hours].
    holes : tuple of Hole
        Where settlements are missing.
    """

    hours: NDArray[np.float64]
    holes: tuple[Hole, ...]


def snap_to_minute(time: pl.Expr) -> pl.Expr:
    """Return settlement times at the nearest minute: exchanges stamp them some milliseconds late or early."""
    return ((time.dt.epoch("ms") + MINUTE_MS // 2) // MINUTE_MS * MINUTE_MS).cast(pl.Datetime("ms", "UTC"))


def measure_intervals(times: NDArray[np.int64]) -> Intervals:
    """Measure the interval of each settlement as the distance to the one before.

    Intervals change: a contract at 8 h goes to 4 h or 1 h and back, and the first distance after a change may be
    shorter than the new interval, because settlements keep to the clock (06:00, 08:00, 12:00 from 1 h to 4 h). So a
    distance is a hole only when it is longer than the distances on both of its sides, or when it is no interval at all
    (neither 1, 2, 4, 8 h nor the commonest distance of the series) and longer than what follows. The settlement after a
    hole gets the interval in force, not the distance. The first settlement takes the interval of the second.

    Parameters
    ----------
    times : numpy.ndarray
        Settlement times, ascending, without duplicates [ms].

    Returns
    -------
    Intervals
        With NaN hours when there are fewer than two settlements.

    Examples
    --------
    >>> h = 3_600_000
    >>> measured = measure_intervals(np.array([0, 8, 24, 32, 36, 40]) * h)
    >>> measured.hours.tolist(), [hole.missing for hole in measured.holes]
    ([8.0, 8.0, 8.0, 8.0, 4.0, 4.0], [1])
    """
    if times.size < 2:
        return Intervals(np.full(times.size, np.nan), ())
    distances: list[int] = np.diff(times).tolist()
    usual = USUAL_MS | {Counter(distances).most_common(1)[0][0]}
    following = _next_interval(distances, usual)
    intervals: list[int] = []
    holes: list[Hole] = []
    for k, distance in enumerate(distances):
        before, after = (intervals[-1] if intervals else None), following[k]
        interval = _interval_in_force(distance, before, after, usual)
        if interval < distance:
            holes.append(Hole(int(times[k]), int(times[k + 1]), interval))
        intervals.append(interval)
    hours = np.array([intervals[0], *intervals], dtype=np.float64) / HOUR_MS
    return Intervals(hours, tuple(holes))


def _next_interval(distances: list[int], usual: frozenset[int]) -> list[int | None]:
    """Return, for each distance, the nearest later one that is a usual interval."""
    out: list[int | None] = []
    later: int | None = None
    for distance in reversed(distances):
        out.append(later)
        if distance in usual:
            later = distance
    return out[::-1]


def _interval_in_force(distance: int, before: int | None, after: int | None, usual: frozenset[int]) -> int:
    """Return the interval of a settlement that follows its predecessor at ``distance``; less than that: a hole."""
    sides = [s for s in (before, after) if s is not None]
    if not sides:
        return distance
    if distance in usual:
        is_peak = len(sides) == 2 and distance > max(sides)
        return max(sides) if is_peak else distance
    if distance > max(sides):
        return max(sides)
    return min(s for s in sides if s >= distance)  # a change that met the clock half way


def with_intervals(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a funding frame, sorted by time, with ``interval_hours`` measured from its records."""
    times = frame["funding_time"].dt.epoch("ms").to_numpy()
    hours = pl.Series("interval_hours", measure_intervals(times).hours).fill_nan(None)
    return frame.with_columns(hours)
