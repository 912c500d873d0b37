"""Compiled windows over one symbol's series.

Every function takes float64 arrays with NaN where a value is missing and fills another one, ``out``: NaN where there is
no value yet and while a window holds a missing one. The caller makes ``out``, since numpy asks for large pages of
memory and compiled code does not: small ones cost more than a mean.

The series is cut into blocks of the window's length, from its first value on. A window is the tail of one block and
the head of the next, each accumulated afresh: a value therefore depends on its window alone, without the drift of a
running sum, in constant time per bar, and a missing value leaves no trace once the window has passed it. Where the
series begins decides where the blocks do, which can show in the last digit of a sum, never in an extreme.

Sums of squares and products are taken about the first value of the head, which every window that they serve holds:
what cancels is of the size of the window's own spread, however far from zero the values are, and a constant window has
a spread of exactly 0.

Tail and head are accumulated in one pass over a block, from its two ends: each addition waits for the one before it,
and two chains wait together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtester.kernel._jit import njit
from backtester.numba_start import load_arrays

load_arrays()  # before the first call of a compiled function

Array = NDArray[np.float64]


@njit
def _sums(out: Array, x: Array, length: int, divisor: float) -> None:
    """Write the sum of the last ``length`` values, divided."""
    tail = np.zeros(length + 1)  # of the block before: sum from a place to the block's end
    next_tail = np.zeros(length + 1)
    for start in range(0, x.size, length):
        block = x[start : start + length]
        result = out[start : start + length]
        head = 0.0
        rest = 0.0
        for i in range(block.size):
            head += block[i]
            result[i] = head + tail[i + 1]
            j = block.size - 1 - i
            rest += block[j]
            next_tail[j] = rest
        for i in range(block.size):  # a loop of its own, which the processor divides in steps of several
            result[i] /= divisor
        tail, next_tail = next_tail, tail
    out[: length - 1] = np.nan


@njit
def total(out: Array, x: Array, length: int) -> None:
    """Write the sum of the last ``length`` values."""
    _sums(out, x, length, 1.0)


@njit
def mean(out: Array, x: Array, length: int) -> None:
    """Write the mean of the last ``length`` values."""
    _sums(out, x, length, float(length))


@njit
def weighted_mean(out: Array, x: Array, length: int) -> None:
    """Write the mean of the last ``length`` values with weights 1 (the oldest) to ``length`` (this bar)."""
    tail = np.zeros(length + 1)  # of the block before, weights 1, 2, … from each place to the block's end
    next_tail = np.zeros(length + 1)
    divisor = 0.5 * length * (length + 1.0)
    for start in range(0, x.size, length):
        block = x[start : start + length]
        result = out[start : start + length]
        head = 0.0
        weighted = 0.0  # weights 1, 2, … from the block's beginning
        rest = 0.0
        weighted_rest = 0.0
        for i in range(block.size):
            head += block[i]
            weighted += (i + 1.0) * block[i]
            result[i] = tail[i + 1] + (weighted + (length - 1.0 - i) * head)
            j = block.size - 1 - i
            rest += block[j]
            weighted_rest += rest
            next_tail[j] = weighted_rest
        for i in range(block.size):
            result[i] /= divisor
        tail, next_tail = next_tail, tail
    out[: length - 1] = np.nan


@njit
def volume_weighted(out: Array, high: Array, low: Array, close: Array, volume: Array, length: int) -> None:
    """Write the mean typical price of the last ``length`` bars, weighted by volume; NaN where none was traded."""
    tail, next_tail = np.zeros(length + 1), np.zeros(length + 1)
    tail_volume, next_volume = np.zeros(length + 1), np.zeros(length + 1)
    for start in range(0, close.size, length):
        count = min(length, close.size - start)
        traded, volumes, rest, rest_volume = 0.0, 0.0, 0.0, 0.0
        for i in range(count):
            t = start + i
            traded += (high[t] + low[t] + close[t]) / 3.0 * volume[t]
            volumes += volume[t]
            in_window = volumes + tail_volume[i + 1]
            out[t] = (traded + tail[i + 1]) / in_window if in_window > 0.0 else np.nan
            j = count - 1 - i
            t = start + j
            rest += (high[t] + low[t] + close[t]) / 3.0 * volume[t]
            rest_volume += volume[t]
            next_tail[j] = rest
            next_volume[j] = rest_volume
        tail, next_tail = next_tail, tail
        tail_volume, next_volume = next_volume, tail_volume
    out[: length - 1] = np.nan


@njit
def _spread(out: Array, x: Array, length: int, is_score: bool) -> None:
    """Write each window's sample standard deviation, or the last value's distance from the mean in it."""
    tail, next_tail = np.zeros(length + 1), np.zeros(length + 1)
    tail_square, next_square = np.zeros(length + 1), np.zeros(length + 1)
    heads, head_squares = np.empty(length), np.empty(length)
    for start in range(0, x.size, length):
        block = x[start : start + length]
        result = out[start : start + length]
        origin = block[0]
        next_origin = x[start + length] if start + length < x.size else 0.0
        head, head_square, rest, rest_square = 0.0, 0.0, 0.0, 0.0
        for i in range(block.size):
            value = block[i] - origin
            head += value
            head_square += value * value
            heads[i] = head
            head_squares[i] = head_square
            j = block.size - 1 - i
            value = block[j] - next_origin
            rest += value
            rest_square += value * value
            next_tail[j] = rest
            next_square[j] = rest_square
        for i in range(block.size):
            away = (heads[i] + tail[i + 1]) / length
            squares = (head_squares[i] + tail_square[i + 1]) - away * away * length
            deviation = np.sqrt((squares if squares > 0.0 else squares * 0.0) / (length - 1.0))  # NaN stays NaN
            if is_score:
                result[i] = (block[i] - origin - away) / deviation if deviation > 0.0 else np.nan
            else:
                result[i] = deviation
        tail, next_tail = next_tail, tail
        tail_square, next_square = next_square, tail_square
    out[: length - 1] = np.nan


@njit
def std(out: Array, x: Array, length: int) -> None:
    """Write the sample standard deviation (ddof 1) of the last ``length`` values."""
    _spread(out, x, length, False)


@njit
def zscore(out: Array, x: Array, length: int) -> None:
    """Write the distance from the window's mean in its standard deviations; NaN where the window is constant."""
    _spread(out, x, length, True)


@njit
def _larger(a: float, b: float) -> float:
    """Return the larger one, NaN when one of them is; without branches."""
    return a if (a > b) | (a != a) else b


@njit
def _extreme(out: Array, x: Array, length: int, sign: float) -> None:
    """Write the largest (``sign`` 1) or smallest (-1) of the last ``length`` values."""
    tail = np.full(length + 1, -np.inf)
    next_tail = np.full(length + 1, -np.inf)
    heads = np.empty(length)
    for start in range(0, x.size, length):
        block = x[start : start + length]
        result = out[start : start + length]
        head = -np.inf
        rest = -np.inf
        for i in range(block.size):
            head = _larger(sign * block[i], head)
            heads[i] = head
            j = block.size - 1 - i
            rest = _larger(sign * block[j], rest)
            next_tail[j] = rest
        for i in range(block.size):
            result[i] = sign * _larger(heads[i], tail[i + 1])
        tail, next_tail = next_tail, tail
    out[: length - 1] = np.nan


@njit
def maximum(out: Array, x: Array, length: int) -> None:
    """Write the largest of the last ``length`` values; NaN while one of them is missing."""
    _extreme(out, x, length, 1.0)


@njit
def minimum(out: Array, x: Array, length: int) -> None:
    """Write the smallest of the last ``length`` values; NaN while one of them is missing."""
    _extreme(out, x, length, -1.0)


@njit
def lag(out: Array, x: Array, length: int) -> None:
    """Write the value ``length`` bars before."""
    out[:length] = np.nan
    out[length:] = x[: max(x.size - length, 0)]


@njit
def roc(out: Array, x: Array, length: int) -> None:
    """Write the relative change over ``length`` bars."""
    out[:length] = np.nan
    for t in range(length, x.size):
        out[t] = x[t] / x[t - length] - 1.0 if x[t - length] != 0.0 else np.nan


@njit
def _joint(out: Array, y: Array, x: Array, length: int, is_slope: bool) -> None:
    """Write each window's slope of y on x, or the correlation of the two."""
    tails = np.zeros((2, 5, length + 1))  # of this block's windows and of the next one's: sums of x, y, xx, yy, xy
    heads = np.empty((5, length))
    share = 1.0 / length
    for start in range(0, x.size, length):
        xs, ys = x[start : start + length], y[start : start + length]
        result = out[start : start + length]
        after = min(start + length, x.size - 1)
        this = (start // length) % 2
        _accumulate(ys, xs, ys[0], xs[0], heads, y[after], x[after], tails[1 - this])
        for i in range(xs.size):
            sum_x = heads[0, i] + tails[this, 0, i + 1]
            sum_y = heads[1, i] + tails[this, 1, i + 1]
            xx = (heads[2, i] + tails[this, 2, i + 1]) - sum_x * sum_x * share
            yy = (heads[3, i] + tails[this, 3, i + 1]) - sum_y * sum_y * share
            xy = (heads[4, i] + tails[this, 4, i + 1]) - sum_x * sum_y * share
            if is_slope:
                result[i] = xy / xx if xx > 0.0 else np.nan
            else:
                value = xy / (np.sqrt(xx) * np.sqrt(yy)) if (xx > 0.0) & (yy > 0.0) else np.nan
                value = 1.0 if value > 1.0 else value
                result[i] = -1.0 if value < -1.0 else value
    out[: length - 1] = np.nan


@njit
def _accumulate(ys: Array, xs: Array, y0: float, x0: float, heads: Array, y1: float, x1: float, tail: Array) -> None:
    """Write a block's sums up to each place about one origin, and from each place about the next one."""
    a, b, c, d, e = 0.0, 0.0, 0.0, 0.0, 0.0
    f, g, h, k, m = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(xs.size):
        u, v = xs[i] - x0, ys[i] - y0
        a += u
        b += v
        c += u * u
        d += v * v
        e += u * v
        heads[0, i], heads[1, i], heads[2, i], heads[3, i], heads[4, i] = a, b, c, d, e
        j = xs.size - 1 - i
        u, v = xs[j] - x1, ys[j] - y1
        f += u
        g += v
        h += u * u
        k += v * v
        m += u * v
        tail[0, j], tail[1, j], tail[2, j], tail[3, j], tail[4, j] = f, g, h, k, m


@njit
def correlation(out: Array, x: Array, y: Array, length: int) -> None:
    """Write Pearson's correlation of the last ``length`` pairs, within [-1, 1]; NaN where one of them is constant."""
    _joint(out, y, x, length, False)


@njit
def beta(out: Array, y: Array, x: Array, length: int) -> None:
    """Write the slope of y on x over the last ``length`` pairs; NaN where x is constant."""
    _joint(out, y, x, length, True)


@njit
def band(out: Array, middle: Array, spread: Array, factor: float) -> None:
    """Write a line beside another one."""
    for t in range(middle.size):
        out[t] = middle[t] + factor * spread[t]


@njit
def drop_infinite(values: Array) -> None:
    """Replace infinite values by NaN."""
    for t in range(values.size):
        values[t] = values[t] if np.isfinite(values[t]) else np.nan
