"""What is stored against what should be: the proof, or the refutation, that a series is complete."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.market.intervals import LONGEST_INTERVAL_HOURS, measure_intervals
from backtester.market.schema import FILLED, DatasetKey, timeframe_ms


@dataclass(frozen=True)
class Coverage:
    """Rows that are stored of one dataset and rows that its own span calls for.

    Attributes
    ----------
    key : DatasetKey
        The dataset.
    expected : int
        Bars from the first to the last one, or settlements by the interval in force at each moment.
    present : int
        Those of them that are stored, filled ones included.
    filled : int
        Those that were computed in place of missing ones.
    first, last : int or None
        Time of the first and of the last row [ms]; None where there is none.
    intervals : tuple of (int, float)
        Settlements only: the first settlement of each interval [ms] and the interval [hours].
    """

    key: DatasetKey
    expected: int
    present: int
    filled: int
    first: int | None
    last: int | None
    intervals: tuple[tuple[int, float], ...] = ()

    @property
    def missing(self) -> int:
        """Rows that are not stored."""
        return self.expected - self.present


def bar_coverage(key: DatasetKey, frame: pl.DataFrame) -> Coverage:
    """Return what a dataset of bars holds of its own span."""
    if frame.is_empty():
        return Coverage(key, 0, 0, 0, None, None)
    times = frame["open_time"].dt.epoch("ms").to_numpy()
    first, last = int(times[0]), int(times[-1])
    repeated = int((np.diff(times) == 0).sum())
    filled = int(frame[FILLED].sum()) if FILLED in frame.columns else 0
    expected = (last - first) // timeframe_ms(key.timeframe) + 1
    return Coverage(key, expected, frame.height - repeated, filled, first, last)


def too_rare(hours: NDArray[np.float64]) -> int:
    """Return how many settlements are missing where records are regularly further apart than any venue settles.

    Parameters
    ----------
    hours : numpy.ndarray
        Measured interval of each settlement [hours].
    """
    rare = hours[1:][hours[1:] > LONGEST_INTERVAL_HOURS]  # the first has no distance of its own
    return int(np.ceil(rare / LONGEST_INTERVAL_HOURS - 1).sum())


def funding_coverage(key: DatasetKey, frame: pl.DataFrame) -> Coverage:
    """Return what a dataset of settlements holds by the intervals that its records measure."""
    if frame.is_empty():
        return Coverage(key, 0, 0, 0, None, None)
    times = frame["funding_time"].dt.epoch("ms").to_numpy()
    measured = measure_intervals(times)
    hours = measured.hours
    known = ~np.isnan(hours)
    changes = np.flatnonzero(np.diff(hours, prepend=np.nan) != 0) if known.all() else np.array([], dtype=np.int64)
    intervals = tuple((int(times[k]), float(hours[k])) for k in changes.tolist())
    expected = frame.height + sum(hole.missing for hole in measured.holes) + too_rare(hours)
    return Coverage(key, expected, frame.height, 0, int(times[0]), int(times[-1]), intervals)
