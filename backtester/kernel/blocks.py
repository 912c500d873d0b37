"""Extremes of a contract's series over blocks of bars: what lets a replay pass many bars at a glance.

A block says how far marks and trades reached inside it; a position that even those extremes cannot harm needs no look
at the bars. Blocks of one level stand side by side, levels behind each other, each eight times as long as the one
before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtester.kernel._jit import constant, entry, inlined

# columns of a block; all prices in value space
PATH_LOW = constant(0)  # lowest mark on the paths that liquidation sees
PATH_HIGH = constant(1)
CLOSE_LOW = constant(2)  # lowest mark close
CLOSE_HIGH = constant(3)
TRADE_LOW = constant(4)
TRADE_HIGH = constant(5)
FALL = constant(6)  # largest way down from a mark close to a later one of the block, at least 0
RISE = constant(7)
WIDTH = 8
LEVELS = constant(4)
SHIFT = constant(3)  # a block of level k has 8^(k+1) bars
SINGLE = constant(-1)  # the level of a bar
TOP = constant(3)


@inlined
def level_shift(level: int) -> int:
    """Return the binary logarithm of the bars of a block; 0 for a bar."""
    return SHIFT * (level + 1)


def block_count(bars: int) -> int:
    """Return how many whole blocks of all levels a series has."""
    return sum(bars >> (3 * (level + 1)) for level in range(int(LEVELS)))


@entry
def level_start(bars: int, level: int) -> int:
    """Return the row of the first block of a level."""
    first = 0
    for k in range(level):
        first += bars >> level_shift(k)
    return first


@entry
def fill_blocks(
    path_low: NDArray[np.float64],
    path_high: NDArray[np.float64],
    mark_close: NDArray[np.float64],
    trade_low: NDArray[np.float64],
    trade_high: NDArray[np.float64],
    blocks: NDArray[np.float64],
) -> None:
    """Fill the blocks of one contract.

    Parameters
    ----------
    path_low, path_high, mark_close, trade_low, trade_high : array, shape (T,)
        In value space; not NaN.
    blocks : array, shape (block_count(T), WIDTH)
        Filled.
    """
    bars = mark_close.size
    for k in range(bars >> SHIFT):
        row = blocks[k]
        first = k << SHIFT
        row[PATH_LOW] = path_low[first]
        row[PATH_HIGH] = path_high[first]
        row[CLOSE_LOW] = mark_close[first]
        row[CLOSE_HIGH] = mark_close[first]
        row[TRADE_LOW] = trade_low[first]
        row[TRADE_HIGH] = trade_high[first]
        row[FALL] = 0.0
        row[RISE] = 0.0
        for t in range(first + 1, first + (1 << SHIFT)):
            close = mark_close[t]
            row[PATH_LOW] = min(row[PATH_LOW], path_low[t])
            row[PATH_HIGH] = max(row[PATH_HIGH], path_high[t])
            row[FALL] = max(row[FALL], row[CLOSE_HIGH] - close)
            row[RISE] = max(row[RISE], close - row[CLOSE_LOW])
            row[CLOSE_LOW] = min(row[CLOSE_LOW], close)
            row[CLOSE_HIGH] = max(row[CLOSE_HIGH], close)
            row[TRADE_LOW] = min(row[TRADE_LOW], trade_low[t])
            row[TRADE_HIGH] = max(row[TRADE_HIGH], trade_high[t])
    for level in range(1, LEVELS):
        below = level_start(bars, level - 1)
        start = level_start(bars, level)
        for k in range(bars >> level_shift(level)):
            join_blocks(blocks, below + (k << SHIFT), start + k)


@entry
def join_blocks(blocks: NDArray[np.float64], first: int, into: int) -> None:
    """Fill a block from the eight that it consists of."""
    row = blocks[into]
    for column in range(WIDTH):
        row[column] = blocks[first, column]
    for k in range(first + 1, first + (1 << SHIFT)):
        part = blocks[k]
        row[PATH_LOW] = min(row[PATH_LOW], part[PATH_LOW])
        row[PATH_HIGH] = max(row[PATH_HIGH], part[PATH_HIGH])
        row[FALL] = max(row[FALL], part[FALL], row[CLOSE_HIGH] - part[CLOSE_LOW])
        row[RISE] = max(row[RISE], part[RISE], part[CLOSE_HIGH] - row[CLOSE_LOW])
        row[CLOSE_LOW] = min(row[CLOSE_LOW], part[CLOSE_LOW])
        row[CLOSE_HIGH] = max(row[CLOSE_HIGH], part[CLOSE_HIGH])
        row[TRADE_LOW] = min(row[TRADE_LOW], part[TRADE_LOW])
        row[TRADE_HIGH] = max(row[TRADE_HIGH], part[TRADE_HIGH])
