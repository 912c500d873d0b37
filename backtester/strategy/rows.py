"""Where each symbol's rows stand in a frame of bars."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from backtester.errors import DataError
from backtester.strategy.columns import KEYS


class Rows(NamedTuple):
    """Where a symbol's rows stand: ``bars[start:stop]``."""

    symbol: str
    start: int
    stop: int


def symbol_rows(bars: pl.DataFrame) -> tuple[Rows, ...]:
    """Return where each symbol's rows stand.

    Raises
    ------
    DataError
        When ``open_time`` or ``symbol`` is missing, a symbol's rows are apart, or times do not rise.
    """
    for name in KEYS:
        if name not in bars.columns:
            raise DataError("bars", f"there is no column {name!r}", hint=f"Columns: {', '.join(bars.columns)}.")
    runs = bars.select(pl.col("symbol").rle()).unnest("symbol")
    names = runs["value"].to_list()
    if len(set(names)) != len(names):
        raise DataError("bars", "the rows of one symbol do not stand together", hint="Sort them by symbol, open_time.")
    stops = np.cumsum(runs["len"].to_numpy())
    rows = tuple(
        Rows(name, int(stop - length), int(stop)) for name, length, stop in zip(names, runs["len"], stops, strict=True)
    )
    times = bars["open_time"].dt.epoch("ms").to_numpy()
    rises = times[1:] > times[:-1]
    rises[stops[:-1] - 1] = True  # where the next symbol begins
    if not rises.all():
        row = int(rises.argmin()) + 1
        hint = "Sort the bars and drop duplicates."
        raise DataError(f"bars of {bars['symbol'][row]}", "open_time does not rise", int(times[row]), hint)
    return rows


def epoch_ms(bars: pl.DataFrame, row: int) -> int:
    """Return the ``open_time`` of a row in ms since 1970."""
    return int(bars["open_time"].slice(row, 1).dt.epoch("ms").item())
