"""Bars and settlements as an exchange holds them: whole numbers of the last decimal, so text and float are exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
_MONDAY_MS = 4 * DAY_MS  # 1970-01-05: weeks begin on Monday
_TIME = pl.Datetime("ms", "UTC")

Ints = NDArray[np.int64]
Row = list[str]
Time = TypeVar("Time", int, Ints)


def open_of(time: Time, timeframe_ms: int) -> Time:
    """Return the open [ms] of the bar that holds a moment, or those of an array; weeks begin on Monday."""
    offset = _MONDAY_MS if timeframe_ms == 7 * DAY_MS else 0
    return (time - offset) // timeframe_ms * timeframe_ms + offset


def decimal_text(value: int, decimals: int) -> str:
    """Return a whole number of the last decimal as an exchange writes it: ``(-5, 3)`` is ``-0.005``."""
    if decimals == 0:
        return str(value)
    whole, rest = divmod(abs(value), 10**decimals)
    return f"{'-' if value < 0 else ''}{whole}.{rest:0{decimals}d}"


@dataclass(frozen=True, eq=False)
class Bars:
    """Bars of one symbol, series and timeframe, oldest first.

    Attributes
    ----------
    open_time : numpy.ndarray
        Shape ``(n,)`` [ms].
    prices : numpy.ndarray
        Shape ``(n, 4)``: open, high, low, close in units of the last decimal.
    volume : numpy.ndarray
        Shape ``(n,)`` in units of the last decimal; zeros for a series that has none.
    price_decimals, volume_decimals : int
        Number of decimals.
    """

    open_time: Ints
    prices: Ints
    volume: Ints
    price_decimals: int
    volume_decimals: int

    def __len__(self) -> int:
        return len(self.open_time)

    def at(self, where: slice | NDArray[np.bool_]) -> Bars:
        """Return the chosen bars."""
        return Bars(
            self.open_time[where], self.prices[where], self.volume[where], self.price_decimals, self.volume_decimals
        )

    def rows(self) -> list[tuple[int, Row]]:
        """Return each bar as its open [ms] and the texts of open, high, low, close and volume."""
        stamped = zip(self.open_time.tolist(), self.prices.tolist(), self.volume.tolist(), strict=True)
        return [
            (
                time,
                [*(decimal_text(p, self.price_decimals) for p in prices), decimal_text(volume, self.volume_decimals)],
            )
            for time, prices, volume in stamped
        ]

    def frame(self) -> pl.DataFrame:
        """Return ``open_time, open, high, low, close, volume`` as floats: what a client reads from the texts."""
        names = ("open", "high", "low", "close")
        columns = {name: self.prices[:, i] / 10**self.price_decimals for i, name in enumerate(names)}
        return pl.DataFrame(
            {"open_time": self.open_time, **columns, "volume": self.volume / 10**self.volume_decimals}
        ).with_columns(pl.col("open_time").cast(_TIME))


@dataclass(frozen=True, eq=False)
class Settlements:
    """Funding settlements of one symbol, oldest first.

    Attributes
    ----------
    time : numpy.ndarray
        Shape ``(n,)``, on the minute [ms].
    rate : numpy.ndarray
        Shape ``(n,)`` [1e-8].
    mark : numpy.ndarray
        Shape ``(n,)`` [1e-8 of the quote currency]; zero where unknown.
    """

    time: Ints
    rate: Ints
    mark: Ints

    def __len__(self) -> int:
        return len(self.time)

    def at(self, where: slice | NDArray[np.bool_]) -> Settlements:
        """Return the chosen settlements."""
        return Settlements(self.time[where], self.rate[where], self.mark[where])

    def frame(self) -> pl.DataFrame:
        """Return ``funding_time, funding_rate, mark_price``; the mark is null where unknown."""
        return pl.DataFrame(
            {"funding_time": self.time, "funding_rate": self.rate / 1e8, "mark_price": self.mark / 1e8}
        ).with_columns(pl.col("funding_time").cast(_TIME), pl.col("mark_price").replace(0.0, None))
