"""What a run refuses about bars: order, duplicates, impossible prices, holes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from backtester.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_BARS = 65_536  # bars that are judged at a time: what is computed of them stays in the processor's cache
GO_ON = "Fetch or import what is missing, choose another span, or go on over the hole with data.allow_gaps = true."
REPAIR = "Import the series again from a sound source, or choose a span without this bar."


@dataclass(frozen=True, eq=False)
class BarArrays:
    """Bars of one series and symbol as arrays.

    Attributes
    ----------
    time : ndarray of int64
        Opens [ms], ascending.
    open, high, low, close : ndarray of float64
        Prices.
    volume : ndarray of float64 or None
        Traded volume, NaN where unknown; None without the column.
    """

    time: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64] | None

    def rows(self, wanted: slice) -> BarArrays:
        """Return some of the bars, without a copy."""
        volume = None if self.volume is None else self.volume[wanted]
        prices = (self.open[wanted], self.high[wanted], self.low[wanted], self.close[wanted])
        return BarArrays(self.time[wanted], *prices, volume)


def bar_arrays(frame: pl.DataFrame) -> BarArrays:
    """Return the columns of a frame of bars as arrays; nulls become NaN."""

    def column(name: str) -> NDArray[np.float64]:
        return frame[name].cast(pl.Float64).to_numpy()

    has_volume = "volume" in frame.columns and frame["volume"].null_count() < frame.height
    return BarArrays(
        time=frame["open_time"].cast(pl.Int64).to_numpy(),
        open=column("open"),
        high=column("high"),
        low=column("low"),
        close=column("close"),
        volume=column("volume") if has_volume else None,
    )


def check_bars(name: str, bars: BarArrays, step_ms: int) -> None:
    """Refuse bars that no market can have made.

    Parameters
    ----------
    name : str
        The series, as the error names it.
    bars : BarArrays
        Bars inside the replayed range.
    step_ms : int
        Length of a bar [ms].

    Raises
    ------
    DataError
        Out of order, duplicated, off the grid, not finite, not positive, or with extremes that do not hold
        open and close.
    """
    check_times(name, bars.time, step_ms, int(bars.time[0]) if len(bars.time) else 0)
    blocks = [bars.rows(slice(begin, begin + BLOCK_BARS)) for begin in range(0, len(bars.time), BLOCK_BARS)]
    for block in blocks:
        check_prices(name, block)
    for block in blocks:
        if block.volume is not None:
            check_volume(name, block.time, block.volume)


def check_prices(name: str, bars: BarArrays) -> None:
    """Refuse prices that no market can have made; see `check_bars`.

    Parameters
    ----------
    name : str
        The series, as the error names it.
    bars : BarArrays
        A block of bars: the temporaries are as long.
    """
    sound = (bars.low > 0) & (bars.high < np.inf)
    sound &= (bars.low <= bars.open) & (bars.low <= bars.close)
    sound &= (bars.high >= bars.open) & (bars.high >= bars.close)
    if not sound.all():
        _refuse_bar(name, bars, int(np.argmin(sound)))


def check_volume(name: str, time: NDArray[np.int64], volume: NDArray[np.float64]) -> None:
    """Refuse volumes that are negative or infinite; NaN is unknown."""
    wrong = (volume < 0) | np.isinf(volume)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(name, f"the volume is {volume[at]:g}", int(time[at]), REPAIR)


def check_times(name: str, time: NDArray[np.int64], step_ms: int, phase: int) -> None:
    """Refuse opens that are out of order, doubled or off the grid; holes are let through.

    Parameters
    ----------
    name : str
        The series, as the error names it.
    time : ndarray of int64
        Opens [ms].
    step_ms : int
        Length of a bar [ms].
    phase : int
        Any open of the grid [ms].
    """
    if len(time) and (time[0] - phase) % step_ms != 0:
        raise DataError(name, "a bar does not open on the grid of its timeframe", int(time[0]), REPAIR)
    steps = np.diff(time)
    if (steps == step_ms).all():
        return
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0))
        problem = "a bar is there twice" if steps[at] == 0 else "the bars are out of order"
        raise DataError(
            name, problem, int(time[at + 1]), "Import the series again: importing sorts and merges by time."
        )
    if (steps % step_ms != 0).any():
        at = int(np.argmax(steps % step_ms != 0))
        raise DataError(name, "a bar does not open on the grid of its timeframe", int(time[at + 1]), REPAIR)


def _refuse_bar(name: str, bars: BarArrays, at: int) -> None:
    prices = {"open": bars.open[at], "high": bars.high[at], "low": bars.low[at], "close": bars.close[at]}
    time = int(bars.time[at])
    for column, price in prices.items():
        if not np.isfinite(price):
            raise DataError(name, f"the {column} is missing or not a number", time, REPAIR)
    for column, price in prices.items():
        if price <= 0:
            raise DataError(name, f"the {column} is {price:g}, prices must be positive", time, REPAIR)
    shown = ", ".join(f"{column} {price:.10g}" for column, price in prices.items())
    raise DataError(name, f"an impossible bar ({shown})", time, REPAIR)


def check_gaps(name: str, time: NDArray[np.int64], clock: NDArray[np.int64]) -> None:
    """Refuse a hole: ``time`` must be the very ``clock``.

    Parameters
    ----------
    name : str
        The series, as the error names it.
    time : ndarray of int64
        Opens of its bars, checked [ms].
    clock : ndarray of int64
        Opens that the replay needs [ms].
    """
    if len(time) == len(clock) and np.array_equal(time, clock):
        return
    missing = np.setdiff1d(clock, time)
    count = f"{len(missing)} bars are" if len(missing) > 1 else "a bar is"
    raise DataError(
        name,
        f"{count} missing inside the replayed range, the first",
        int(missing[0]),
        GO_ON,
    )
