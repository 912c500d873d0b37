"""The stored settlements of one symbol: what a run needs of them, and what it must refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from backtester.errors import DataError
from backtester.market.intervals import HOUR_MS, Hole, measure_intervals
from backtester.market.schema import EVENT, DatasetKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtester.market.store import Store

DEFAULT_INTERVAL_HOURS = 8.0
WAY_ON = (
    "Fetch or import the settlements, choose another span, or go on without them: "
    'funding.source = "none", or "constant" with a rate.'
)


class FundingRecords:
    """All stored settlements of one symbol, ascending.

    Parameters
    ----------
    store : Store
        Where they are stored.
    venue, symbol : str
        Whose they are.

    Attributes
    ----------
    name : str
        The series, as errors name it.
    time : ndarray of int64
        Settlement times [ms].
    rate, mark_price, interval_hours : ndarray of float64
        Rates, the records' own mark prices (NaN unknown), measured intervals.
    default_interval_ms : int
        Interval of the newest stored instrument, 8 hours where none is known; serves where the records do not tell.
    """

    def __init__(self, store: Store, venue: str, symbol: str) -> None:
        key = DatasetKey(venue, symbol, "funding", EVENT)
        self.name = str(key)
        instrument = store.instrument(venue, symbol)
        stated = None if instrument is None else instrument.funding_interval_hours
        hours = DEFAULT_INTERVAL_HOURS if stated is None else stated
        self.default_interval_ms = int(hours * HOUR_MS)
        self._holes: tuple[Hole, ...] = ()
        if not store.has(key):
            self.time = np.empty(0, dtype=np.int64)
            self.rate = self.mark_price = self.interval_hours = np.empty(0)
            return
        frame = store.read(key)
        self.time = frame["funding_time"].dt.epoch("ms").to_numpy()
        self._check_order()
        self.rate = _floats(frame["funding_rate"])
        self.mark_price = _floats(frame["mark_price"])
        measured = measure_intervals(self.time)
        self.interval_hours = np.where(np.isnan(measured.hours), hours, measured.hours)
        self._holes = measured.holes

    @property
    def cover(self) -> tuple[int, int] | None:
        """Span ``[start, end)`` before and after which a settlement would be missing [ms]; None without records."""
        if not len(self.time):
            return None
        first, last = self._end_intervals()
        return int(self.time[0]) - first + 1, int(self.time[-1]) + last

    def rows(self, start: int, end: int) -> slice:
        """Return which records lie in ``[start, end)``, refusing what a run must refuse there.

        Raises
        ------
        DataError
            A settlement that the interval in force calls for is missing, or a rate is no number.
        """
        missing = self.first_missing(start, end)
        if missing is not None:
            problem = "a settlement is missing" if len(self.time) else "there are no funding records, the first is due"
            raise DataError(self.name, problem, missing, WAY_ON)
        begin, stop = np.searchsorted(self.time, [start, end], side="left").tolist()
        wrong = ~np.isfinite(self.rate[begin:stop])
        if wrong.any():
            at = int(self.time[begin + int(np.argmax(wrong))])
            raise DataError(self.name, "the rate is missing or not a number", at, WAY_ON)
        return slice(begin, stop)

    def first_missing(self, start: int, end: int) -> int | None:
        """Return the first settlement in ``[start, end)`` that the interval in force calls for and no record holds."""
        if not len(self.time):
            due = _next_multiple(start, 0, self.default_interval_ms)
            return due if due < end else None
        first_interval, last_interval = self._end_intervals()
        first, last = int(self.time[0]), int(self.time[-1])
        ahead = first - (first - start) // first_interval * first_interval  # the earliest due at or after the start
        spans = [(ahead, first)] if start < first else []
        spans += [
            (_next_multiple(max(start, hole.after + 1), hole.after, hole.interval_ms), hole.before)
            for hole in self._holes
        ]
        spans.append((_next_multiple(max(start, last + 1), last, last_interval), end))
        return next((due for due, stop in spans if start <= due < min(stop, end)), None)

    def _end_intervals(self) -> tuple[int, int]:
        return int(self.interval_hours[0] * HOUR_MS), int(self.interval_hours[-1] * HOUR_MS)

    def _check_order(self) -> None:
        wrong = np.diff(self.time) <= 0
        if wrong.any():
            at = int(self.time[int(np.argmax(wrong)) + 1])
            raise DataError(self.name, "settlements are out of order or doubled", at, "Import the series again.")


def _next_multiple(time: int, anchor: int, step: int) -> int:
    """Return the first of ``anchor + k * step`` at or after ``time``."""
    return anchor - (anchor - time) // step * step


def _floats(column: pl.Series) -> NDArray[np.float64]:
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
