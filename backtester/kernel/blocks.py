"""Extremes of a contract's series over blocks of bars: what lets a replay pass many bars at a glance.

A block says how far marks and trades reached inside it; a position that even those extremes cannot harm needs no look
at the bars. Blocks of one level stand side by side, levels behind each other, each eight times as long as the one
before; the first level are the bars themselves, so that what is read of a bar lies together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtester.kernel._jit import constant, entry, inlined

# Columns of a block, all in value space. Largest values stand there negated: one minimum over rows joins blocks.
PATH_LOW = constant(0)  # lowest mark on the paths that liquidation sees
PATH_HIGH = constant(1)  # negated
CLOSE_LOW = constant(2)  # lowest mark close
CLOSE_HIGH = constant(3)  # negated
TRADE_LOW = constant(4)
TRADE_HIGH = constant(5)  # negated
FALL = constant(6)  # negated: largest way down from a mark close to a later one of the block, at least 0
RISE = constant(7)  # negated
WIDTH = 8
SHIFT = constant(3)  # a block of level k has 8^k bars
LEVELS = constant(5)
SINGLE = constant(0)  # the level of the bars
TOP = constant(4)


@inlined
def level_shift(level: int) -> int:
    """Return the binary logarithm of the bars of a block."""
    return SHIFT * level


def block_count(bars: int) -> int:
    """Return how many whole blocks of all levels a series has."""
    return sum(bars >> (int(SHIFT) * level) for level in range(int(LEVELS)))


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
    for t in range(bars):
        blocks[t, PATH_LOW] = path_low[t]
        blocks[t, PATH_HIGH] = -path_high[t]
        blocks[t, CLOSE_LOW] = mark_close[t]
        blocks[t, CLOSE_HIGH] = -mark_close[t]
        blocks[t, TRADE_LOW] = trade_low[t]
        blocks[t, TRADE_HIGH] = -trade_high[t]
        blocks[t, FALL] = 0.0
        blocks[t, RISE] = 0.0
    for level in range(1, LEVELS):
        below = level_start(bars, level - 1)
        start = level_start(bars, level)
        for k in range(bars >> level_shift(level)):
            join_blocks(blocks, below + (k << SHIFT), start + k)


@entry
def join_blocks(blocks: NDArray[np.float64], first: int, into: int) -> None:
    """Fill a block from the eight that it consists of."""
    for column in range(WIDTH):
        blocks[into, column] = blocks[first, column]
    for k in range(first + 1, first + (1 << SHIFT)):
        fall = blocks[into, CLOSE_HIGH] + blocks[k, CLOSE_LOW]  # from the highest close so far to the lowest of this
        rise = blocks[k, CLOSE_HIGH] + blocks[into, CLOSE_LOW]
        for column in range(WIDTH):
            if blocks[k, column] < blocks[into, column]:
                blocks[into, column] = blocks[k, column]
        blocks[into, FALL] = min(blocks[into, FALL], fall)
        blocks[into, RISE] = min(blocks[into, RISE], rise)


@inlined
def join_row(blocks: NDArray[np.float64], row: int, out: NDArray[np.float64]) -> None:
    """Take a block into the extremes of a range of bars."""
    for column in range(WIDTH):
        value = blocks[row, column]
        out[column] = value if value < out[column] else out[column]


@inlined
def join_range(
    blocks: NDArray[np.float64], starts: NDArray[np.int64], start: int, stop: int, out: NDArray[np.float64]
) -> None:
    """Find the extremes over bars ``[start, stop)``, of which there is one; ``FALL`` and ``RISE`` mean nothing there.

    Parameters
    ----------
    blocks : array
        From ``fill_blocks``.
    starts : array, shape (LEVELS,)
        First row of each level.
    out : array, shape (WIDTH,)
        Written.
    """
    for column in range(WIDTH):
        out[column] = np.inf
    t = start
    level = SINGLE
    while level < TOP:  # up: to a border of the next level, as long as a whole block of it follows
        shift = level_shift(level)
        mask = (1 << SHIFT) - 1
        while ((t >> shift) & mask) != 0 and t + (1 << shift) <= stop:
            join_row(blocks, starts[level] + (t >> shift), out)
            t += 1 << shift
        if t + (1 << level_shift(level + 1)) > stop:
            break
        level += 1
    while level >= SINGLE:  # down again
        shift = level_shift(level)
        while t + (1 << shift) <= stop:
            join_row(blocks, starts[level] + (t >> shift), out)
            t += 1 << shift
        level -= 1
