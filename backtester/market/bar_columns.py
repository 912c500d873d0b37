"""Columns of stored bars, read one by one in blocks: little more memory than what the reader keeps of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from backtester.market.schema import TIME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from backtester.market.parts import PartSource

# Four row groups of a stored part (see `backtester.market.parts`), which are unpacked in parallel: fewer take longer,
# more take memory that the process keeps.
BLOCK_ROWS = 524_288


class BarColumns:
    """Bars of one series, column by column.

    Parameters
    ----------
    frames : sequence of LazyFrame
        Consecutive pieces, each sorted by ``open_time``.
    start, end : int, optional
        Bars are taken that open in ``[start, end)`` [ms]; None where the pieces hold none outside.
    """

    def __init__(self, frames: Sequence[pl.LazyFrame], start: int | None = None, end: int | None = None) -> None:
        self._pieces = [(frame, *_rows(frame, start, end)) for frame in frames]

    def __len__(self) -> int:
        return sum(count for _, _, count in self._pieces)

    def floats(self, column: str) -> Iterator[NDArray[np.float64]]:
        """Return blocks of a column of numbers, in order; nulls are NaN."""
        for chunk in self._chunks(column):
            yield chunk.to_numpy()

    def times(self) -> Iterator[NDArray[np.int64]]:
        """Return blocks of the opens [ms], in order."""
        for chunk in self._chunks("open_time"):
            yield chunk.cast(TIME).to_physical().to_numpy()

    def _chunks(self, column: str) -> Iterator[pl.Series]:
        for frame, first, count in self._pieces:
            wanted = frame.select(column)
            for begin in range(first, first + count, BLOCK_ROWS):
                rows = min(BLOCK_ROWS, first + count - begin)
                # a chunk becomes an array without a copy, several have to be joined first
                yield from wanted.slice(begin, rows).collect().to_series().get_chunks()


def scanned(part: PartSource) -> pl.LazyFrame:
    """Return a stored part, of which a column is unpacked at a time: all at once take several times the memory."""
    return pl.scan_parquet(part, glob=False, hive_partitioning=False, parallel="none", low_memory=True)


def _rows(frame: pl.LazyFrame, start: int | None, end: int | None) -> tuple[int, int]:
    """Return the first row of a sorted frame that opens in a range, and how many do."""
    opens = pl.col("open_time")
    before = pl.lit(0) if start is None else (opens < pl.lit(start).cast(TIME)).sum()
    until = pl.len() if end is None else (opens < pl.lit(end).cast(TIME)).sum()
    first, last = frame.select(before.alias("first"), until.alias("last")).collect().row(0)
    return first, max(last - first, 0)
