"""A series on another grid than the trades, carried forward: at each moment what was known of it by then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from backtester.errors import DataError, format_time
from backtester.market.admission import GO_ON, bar_arrays, check_bars
from backtester.market.schema import DatasetKey, timeframe_name
from backtester.market.series import BarSource, bar_source, ceil_to, floor_to, stored_timeframes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from numpy.typing import NDArray

    from backtester.market.parts import PartSource
    from backtester.market.store import Store


@dataclass(frozen=True, eq=False)
class KnownCloses:
    """The close that was known last, at given moments.

    Attributes
    ----------
    value : ndarray of float64
        Close of the last bar that had closed by then; NaN where none had.
    age : ndarray of int64
        Time since that bar closed [ms]; -1 where none had.
    """

    value: NDArray[np.float64]
    age: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CarriedBars:
    """What each bar of a clock knew of a series on another grid.

    Attributes
    ----------
    open, high, low, close : ndarray of float64
        See `CarriedSource.bars`.
    stale_since : ndarray of int64
        0, or where the bar stands on a hole: the open of the bar that is missing [ms].
    """

    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    stale_since: NDArray[np.int64]

    @property
    def prices(self) -> tuple[NDArray[np.float64], ...]:
        """Open, high, low and close."""
        return self.open, self.high, self.low, self.close


@dataclass(frozen=True)
class CarriedSource:
    """Bars on another grid than a clock's, of which each bar of the clock takes what was known by then.

    Attributes
    ----------
    source : BarSource
        The bars as stored.
    step_ms : int
        Length of a bar of the clock [ms].
    first : int
        First open on the clock from which on a bar has always closed before [ms].
    end : int
        End of the clock's last bar at which the last close is not older than one bar [ms].
    """

    source: BarSource
    step_ms: int
    first: int
    end: int

    is_built = False

    @property
    def key(self) -> DatasetKey:
        """The stored dataset."""
        return self.source.key

    @property
    def name(self) -> str:
        """Venue, symbol, series and stored timeframe, as errors name it."""
        return self.source.name

    @property
    def most_age_ms(self) -> int:
        """Age beyond which a close is stale, since the next bar would have closed: one bar [ms]."""
        return self.source.step_ms

    def files(self, store: Store, start: int, end: int) -> list[PartSource]:
        """Return the files that `bars` reads, compared with their checksums."""
        return self.source.files(store, *self._reach(start, end))

    def read(self, store: Store, start: int, end: int) -> pl.DataFrame:
        """Return the bars of which something can be known, and not be stale, in ``[start, end]``."""
        return self.source.read(store, *self._reach(start, end))

    def bars(self, store: Store, time: NDArray[np.int64]) -> CarriedBars:
        """Return what was known in each bar of a clock.

        Parameters
        ----------
        store : Store
            Where the series is stored.
        time : ndarray of int64
            Opens of the clock, ascending [ms].

        Returns
        -------
        CarriedBars
            ``close``: close of the last bar that had closed by the end of the clock's bar. ``open``: the same at its
            open, but where a bar of the series opens at that very moment its open, which is known then. ``high``,
            ``low``: the larger and the smaller of both. A bar is stale where one of them is older than one bar of the
            series; the value is there all the same, and NaN where no bar within reach had closed.

        Raises
        ------
        DataError
            The bars cannot be true: see `check_bars`.
        """
        stored = bar_arrays(self.read(store, int(time[0]), int(time[-1]) + self.step_ms))
        check_bars(self.name, stored, self.source.step_ms)
        before = known_closes(stored.time + self.source.step_ms, stored.close, time)
        after = known_closes(stored.time + self.source.step_ms, stored.close, time + self.step_ms)
        places = np.searchsorted(stored.time, time)
        opens = np.append(stored.time, -1)[places] == time
        open_ = np.where(opens, np.append(stored.open, np.nan)[places], before.value)
        since = np.where(self.is_stale(after), time + self.step_ms - after.age, 0)
        since = np.where(self.is_stale(before) & ~opens, time - before.age, since)
        high, low = np.maximum(open_, after.value), np.minimum(open_, after.value)
        return CarriedBars(open_, high, low, after.value, since)

    def is_stale(self, known: KnownCloses) -> NDArray[np.bool_]:
        """Return where no close is known, or only one so old that the next bar must be missing."""
        return (known.age < 0) | (known.age > self.most_age_ms)

    def _reach(self, start: int, end: int) -> tuple[int, int]:
        step, phase = self.source.step_ms, self.source.first
        return floor_to(start - self.most_age_ms - step, step, phase), ceil_to(end, step, phase)


Source: TypeAlias = BarSource | CarriedSource


def known_closes(closed_at: NDArray[np.int64], close: NDArray[np.float64], moments: NDArray[np.int64]) -> KnownCloses:
    """Return the last close at or before each moment.

    Parameters
    ----------
    closed_at : ndarray of int64
        When each bar closed, ascending [ms].
    close : ndarray of float64
        Their closes.
    moments : ndarray of int64
        When they are asked for [ms].
    """
    last = np.searchsorted(closed_at, moments, side="right")  # 0: none
    value = np.append(np.nan, close)[last]
    age = np.where(last > 0, moments - np.append(0, closed_at)[last], -1)
    return KnownCloses(value, age)


def source_on(store: Store, clock: BarSource, series: str) -> Source | None:
    """Return where a companion series of the clock's symbol comes from.

    Parameters
    ----------
    store : Store
        Where it is stored.
    clock : BarSource
        The traded bars.
    series : str
        The companion: ``"index"``, ``"premium"``.

    Returns
    -------
    BarSource, CarriedSource or None
        On the clock's grid where it is stored or can be built there; else the finest stored timeframe, carried; None
        where nothing is stored.
    """
    key, step = clock.key, clock.step_ms
    found = bar_source(store, key.venue, key.symbol, series, step)
    if found is not None and (found.first - clock.first) % step == 0:
        return found
    stored = stored_timeframes(store, key.venue, key.symbol, series)
    source = bar_source(store, key.venue, key.symbol, series, stored[0]) if stored else None
    if source is None:
        return None
    first = ceil_to(source.first + source.step_ms, step, clock.first)
    return CarriedSource(source, step, first, floor_to(source.end + source.step_ms, step, clock.first))


def check_age(source: CarriedSource, bars: CarriedBars) -> None:
    """Refuse bars that know a stale value only: a bar of the series is missing."""
    stale = bars.stale_since > 0
    if not stale.any():
        return
    count = int(stale.sum())
    length = timeframe_name(source.most_age_ms)
    raise DataError(
        source.name,
        f"{f'{count} bars' if count > 1 else 'a bar'} of the run would use a value more than {length} old, since a bar "
        "is missing",
        int(bars.stale_since[int(np.argmax(stale))]),
        GO_ON,
    )


def age_notes(source: CarriedSource, bars: CarriedBars) -> list[str]:
    """Return the sentence that says where stale values were used, if they were."""
    stale = bars.stale_since > 0
    if not stale.any():
        return []
    count, first = int(stale.sum()), format_time(int(bars.stale_since[int(np.argmax(stale))]))
    return [
        f"{source.key.symbol}: the {source.key.series} misses bars, first at {first}: {count} "
        f"bar{'s' * (count > 1)} of the run used{'' if count > 1 else 's'} a value more than "
        f"{timeframe_name(source.most_age_ms)} old (allow_gaps)."
    ]


def carried_notes(sources: Sequence[Source]) -> list[str]:
    """Return one sentence for each series and timeframe that is carried onto the clock."""
    notes = {
        f"The {s.key.series} is stored at {s.key.timeframe} and not on the grid of the {timeframe_name(s.step_ms)} "
        f"trades: its value at a moment is the close of the last {s.key.series} bar that had closed by then, up to "
        f"{s.key.timeframe} old, or the open of one that opens at that very moment."
        for s in sources
        if isinstance(s, CarriedSource)
    }
    return sorted(notes)
