"""Quantiles of moving windows, in a time that hardly depends on the window's length.

The series is cut into blocks of the window's length, each sorted once. A window is the tail of one block and the head
of the next; a linked list for each runs through the values that it holds, in order. The tail loses its oldest value
bar by bar. The head's list is emptied from its newest value to its oldest, and since values come back in the opposite
order, each finds its neighbours where it left them (J. Suomela, Median filtering is equivalent to sorting, 2014).
A pointer in each list marks where the values above the quantile begin, and moves one step per bar at most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtester.kernel._jit import njit

Array = NDArray[np.float64]
Links = NDArray[np.int32]


def quantile(out: Array, x: Array, length: int, share: float) -> None:
    """Write the quantile of the last ``length`` values, between two of them by linear interpolation.

    Parameters
    ----------
    out : ndarray of float64
        Filled: NaN before the window is full and while it holds a missing value.
    x : ndarray of float64
        NaN where missing.
    length : int
        Values of the window.
    share : float
        From 0 (the smallest) to 1 (the largest).
    """
    count = -(-x.size // length)
    padded = np.full(count * length, np.nan)
    padded[: x.size] = x
    blocks = padded.reshape(count, length)
    _quantile(out, x, blocks, np.argsort(blocks, axis=1), share)


@njit
def _quantile(out: Array, x: Array, blocks: Array, order: NDArray[np.int64], share: float) -> None:
    """Write the quantiles, given each block's places in the order of their values."""
    length = blocks.shape[1]
    out[:] = np.nan
    if x.size < length:
        return
    height = share * (length - 1)
    below = int(np.floor(height))  # so many values of the window are below the pointers
    fraction = height - below
    tail_values, head_values = np.empty(length + 1), np.empty(length + 1)
    tail, head = np.empty((3, length + 1), np.int32), np.empty((3, length + 1), np.int32)
    _link(blocks[0], order[0], head_values, head)
    head_mark, head_below = order[0, below], below
    known = 0  # values since the last missing one
    for t in range(length):
        known = 0 if np.isnan(x[t]) else known + 1
    if known >= length:
        lower, upper = head_values[head_mark], head_values[head[1, head_mark]]
        out[length - 1] = lower + (upper - lower) * fraction if fraction > 0.0 else lower
    for block in range(1, blocks.shape[0]):
        tail_values, head_values = head_values, tail_values
        tail, head = head, tail
        tail_mark, tail_below = head_mark, head_below
        _link(blocks[block], order[block], head_values, head)
        before, after, rank = tail[0], tail[1], tail[2]
        new_before, new_after, new_rank = head[0], head[1], head[2]
        for i in range(length - 1, -1, -1):
            new_after[new_before[i]] = new_after[i]
            new_before[new_after[i]] = new_before[i]
        head_mark, head_below = np.int64(length), 0
        for i in range(min(length, x.size - block * length)):
            after[before[i]] = after[i]
            before[after[i]] = before[i]
            if rank[i] >= rank[tail_mark]:
                if i == tail_mark:
                    tail_mark = np.int64(after[i])
                if tail_below > 0:
                    tail_mark = np.int64(before[tail_mark])
            if tail_below > 0:
                tail_below -= 1
            new_after[new_before[i]] = i
            new_before[new_after[i]] = i
            if new_rank[i] < new_rank[head_mark]:
                head_mark = np.int64(new_before[head_mark])
            lower, upper = tail_values[tail_mark], head_values[head_mark]
            if tail_below + head_below < below:
                if _is_first(lower, upper, tail_mark, length):
                    tail_mark = np.int64(after[tail_mark])
                    tail_below += 1
                    lower = tail_values[tail_mark]
                else:
                    head_mark = np.int64(new_after[head_mark])
                    head_below += 1
                    upper = head_values[head_mark]
            t = block * length + i
            known = 0 if np.isnan(x[t]) else known + 1
            if known < length:
                continue
            if _is_first(lower, upper, tail_mark, length):
                upper = min(upper, tail_values[after[tail_mark]])
            else:
                lower, upper = upper, min(lower, head_values[new_after[head_mark]])
            out[t] = lower + (upper - lower) * fraction if fraction > 0.0 else lower


@njit
def _link(block: Array, order: NDArray[np.int64], values: Array, links: Links) -> None:
    """Write a block's list: values, places before and after, ranks; the place after the last one ends it."""
    length = block.size
    before, after, rank = links[0], links[1], links[2]
    last = length
    for i in range(length):
        place = order[i]
        values[i] = np.inf if np.isnan(block[i]) else block[i]  # in the lists, a missing value is the largest
        rank[place] = i
        after[last] = place
        before[place] = last
        last = place
    after[last] = length
    before[length] = last
    values[length] = np.inf
    rank[length] = length


@njit
def _is_first(tail_value: float, head_value: float, tail_mark: int, end: int) -> bool:
    """Return whether the tail's value is the smaller one; its list's end never is."""
    return (tail_value <= head_value) & (tail_mark != end)
