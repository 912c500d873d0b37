"""Bars of a coarser timeframe, made of the bars that are given, and what of them is known at a bar's close."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

_UNIT_MS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000}
_WEEK_MS = _UNIT_MS["w"]
_MONDAY_MS = 4 * _UNIT_MS["d"]  # 1970-01-05: weekly bars open on Mondays


def parse_timeframe(timeframe: str) -> int:
    """Return the length of a bar in ms: ``"4h"`` is 14,400,000.

    Raises
    ------
    ValueError
        When it is not a count and one of s, m, h, d, w.
    """
    match = re.fullmatch(r"([1-9]\d*)([smhdw])", timeframe.strip())
    if match is None:
        raise ValueError(f"{timeframe!r} is not a timeframe: write a count and one of s, m, h, d, w, such as 4h")
    return int(match[1]) * _UNIT_MS[match[2]]


def timeframe_text(length_ms: int) -> str:
    """Return the name of a bar's length, in the largest unit that divides it."""
    unit = next((unit for unit, size in _UNIT_MS.items() if length_ms % size == 0), None)
    return f"{length_ms // _UNIT_MS[unit]}{unit}" if unit else f"{length_ms} ms"


def session_anchor(length_ms: int) -> int:
    """Return a time at which bars of a length open [ms since 1970]: a Monday's midnight for weeks, else 0."""
    return _MONDAY_MS if length_ms % _WEEK_MS == 0 else 0


def bar_length(bars: pl.DataFrame) -> int | None:
    """Return the length of the bars [ms], which is the least distance of two of a symbol; None when there are none."""
    times = bars["open_time"].dt.epoch("ms").to_numpy()
    same = bars["symbol"].rle_id().to_numpy()
    steps = np.diff(times)[np.diff(same) == 0]
    return int(steps.min()) if steps.size else None


def coarse_bars(bars: pl.DataFrame, columns: Iterable[str], length_ms: int) -> pl.DataFrame:
    """Return bars of a coarser timeframe.

    Parameters
    ----------
    bars : polars.DataFrame
        Sorted by symbol, then ``open_time``.
    columns : iterable of str
        Columns that are carried over.
    length_ms : int
        Length of the coarser bars; they open at multiples of it since 1970 (whole weeks: on Mondays), UTC.

    Returns
    -------
    polars.DataFrame
        ``open_time, symbol`` and the columns: open first, high the largest, low the smallest, volume the sum, all
        others the last of the bars inside. A symbol's first one is left out unless the bars begin with it.
    """
    opened = pl.col("open_time").dt.epoch("ms")
    anchor = session_anchor(length_ms)
    start = (opened - anchor) // length_ms * length_ms + anchor
    grouped = (
        bars.with_columns(start.alias("__start"))
        .group_by("symbol", "__start", maintain_order=True)
        .agg(pl.col("open_time").first().alias("__first"), *(_aggregated(name) for name in columns))
    )
    is_first = pl.col("symbol").ne_missing(pl.col("symbol").shift(1))
    is_cut = is_first & (pl.col("__first").dt.epoch("ms") != pl.col("__start"))
    return grouped.filter(~is_cut).select(
        pl.col("__start").cast(bars.schema["open_time"]).alias("open_time"), "symbol", *columns
    )


def _aggregated(name: str) -> pl.Expr:
    column = pl.col(name)
    match name.rpartition(":")[2]:  # a reference's column is summed up as that column is
        case "open":
            return column.first()
        case "high":
            return column.max()
        case "low":
            return column.min()
        case "volume":
            return pl.when(column.count() > 0).then(column.sum())
    return column.last()


def known_at_close(
    values: NDArray[np.float64], coarse_open: NDArray[np.int64], length_ms: int, close_time: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the value of the last coarser bar that has closed by each bar's close, NaN before the first.

    Parameters
    ----------
    values : ndarray of float64
        One per coarser bar of one symbol.
    coarse_open : ndarray of int64
        Their opens [ms since 1970], rising.
    length_ms : int
        Their length.
    close_time : ndarray of int64
        Closes of the bars that look at them.
    """
    place = np.searchsorted(coarse_open + length_ms, close_time, side="right") - 1
    known = np.full(close_time.size, np.nan)
    seen = place >= 0
    known[seen] = values[place[seen]]
    return known
