"""Compiled windows and recursions over one symbol's series.

Every function takes float64 arrays with NaN where a value is missing and returns a new one, NaN where there is no
value yet. Windows are summed in two parts, the tail of one block and the head of the next, each accumulated afresh:
a value therefore depends on its window alone, without the drift of a running sum, in constant time per bar, and a
missing value leaves no trace once the window has passed it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtester.kernel._jit import njit
from backtester.numba_start import load_arrays

load_arrays()  # before the first call of a compiled function

Array = NDArray[np.float64]


@njit
def mean(x: Array, length: int) -> Array:
    """Return the mean of the last ``length`` values."""
    out = np.full(x.size, np.nan)
    tail = np.zeros(length + 1)
    head = 0.0
    place = 0
    for t in range(x.size):
        if place == length:
            tail[length] = 0.0
            for j in range(length - 1, 0, -1):
                tail[j] = tail[j + 1] + x[t - length + j]
            head = 0.0
            place = 0
        head += x[t]
        place += 1
        if t >= length - 1:
            out[t] = (tail[place] + head) / length if place < length else head / length
    return out


@njit
def _moments(x: Array, length: int) -> tuple[Array, Array]:
    """Return mean and sum of squared deviations of each window, merged from two halves (Chan, Golub, LeVeque 1983)."""
    means = np.full(x.size, np.nan)
    squares = np.full(x.size, np.nan)
    tail_mean = np.zeros(length + 1)
    tail_square = np.zeros(length + 1)
    head_mean = 0.0
    head_square = 0.0
    place = 0
    for t in range(x.size):
        if place == length:
            tail_mean[length] = 0.0
            tail_square[length] = 0.0
            for j in range(length - 1, 0, -1):
                step = x[t - length + j] - tail_mean[j + 1]
                tail_mean[j] = tail_mean[j + 1] + step / (length - j)
                tail_square[j] = tail_square[j + 1] + step * (x[t - length + j] - tail_mean[j])
            head_mean = 0.0
            head_square = 0.0
            place = 0
        place += 1
        step = x[t] - head_mean
        head_mean += step / place
        head_square += step * (x[t] - head_mean)
        if t >= length - 1:
            if place < length:
                rest = length - place
                gap = head_mean - tail_mean[place]
                means[t] = tail_mean[place] + gap * place / length
                squares[t] = tail_square[place] + head_square + gap * gap * rest * place / length
            else:
                means[t] = head_mean
                squares[t] = head_square
    return means, squares


@njit
def std(x: Array, length: int) -> Array:
    """Return the sample standard deviation (ddof 1) of the last ``length`` values."""
    _, squares = _moments(x, length)
    return np.sqrt(squares / (length - 1))


@njit
def zscore(x: Array, length: int) -> Array:
    """Return the distance from the window's mean in its standard deviations; NaN where the window is constant."""
    means, squares = _moments(x, length)
    out = np.full(x.size, np.nan)
    for t in range(x.size):
        if squares[t] > 0.0:
            out[t] = (x[t] - means[t]) / np.sqrt(squares[t] / (length - 1))
    return out


@njit
def _larger(a: float, b: float) -> float:
    return a if (a > b or np.isnan(a)) else b


@njit
def maximum(x: Array, length: int) -> Array:
    """Return the largest of the last ``length`` values; NaN while one of them is missing."""
    out = np.full(x.size, np.nan)
    tail = np.full(length + 1, -np.inf)
    head = -np.inf
    place = 0
    for t in range(x.size):
        if place == length:
            tail[length] = -np.inf
            for j in range(length - 1, 0, -1):
                tail[j] = _larger(tail[j + 1], x[t - length + j])
            head = -np.inf
            place = 0
        head = _larger(head, x[t])
        place += 1
        if t >= length - 1:
            out[t] = _larger(tail[place], head) if place < length else head
    return out


@njit
def minimum(x: Array, length: int) -> Array:
    """Return the smallest of the last ``length`` values; NaN while one of them is missing."""
    return -maximum(-x, length)


@njit
def _smoothed(x: Array, length: int, weight: float, from_first: bool) -> Array:
    """Return the exponential mean with ``weight``, begun at the first value or at the mean of the first ``length``."""
    out = np.full(x.size, np.nan)
    seen = 0
    state = 0.0
    for t in range(x.size):
        if np.isnan(x[t]):
            continue
        seen += 1
        if from_first:
            state = x[t] if seen == 1 else state + weight * (x[t] - state)
        elif seen <= length:
            state += (x[t] - state) / seen
        else:
            state += weight * (x[t] - state)
        if seen >= length:
            out[t] = state
    return out


@njit
def ema(x: Array, length: int) -> Array:
    """Return the exponential mean with weight ``2 / (length + 1)``, begun at the first value."""
    return _smoothed(x, length, 2.0 / (length + 1.0), True)


@njit
def rsi(x: Array, length: int) -> Array:
    """Return Wilder's relative strength index, 0 to 100; 50 where nothing moved."""
    gains = np.full(x.size, np.nan)
    losses = np.full(x.size, np.nan)
    last = np.nan
    for t in range(x.size):
        if np.isnan(x[t]):
            continue
        if not np.isnan(last):
            gains[t] = max(x[t] - last, 0.0)
            losses[t] = max(last - x[t], 0.0)
        last = x[t]
    up = _smoothed(gains, length, 1.0 / length, False)
    down = _smoothed(losses, length, 1.0 / length, False)
    out = np.full(x.size, np.nan)
    for t in range(x.size):
        moved = up[t] + down[t]
        if not np.isnan(moved):
            out[t] = 100.0 * up[t] / moved if moved > 0.0 else 50.0
    return out


@njit
def atr(high: Array, low: Array, close: Array, length: int) -> Array:
    """Return Wilder's average true range; the first true range needs the close before it."""
    ranges = np.full(close.size, np.nan)
    last = np.nan
    for t in range(close.size):
        if np.isnan(high[t]) or np.isnan(low[t]) or np.isnan(close[t]):
            continue
        if not np.isnan(last):
            ranges[t] = max(high[t], last) - min(low[t], last)
        last = close[t]
    return _smoothed(ranges, length, 1.0 / length, False)


@njit
def lag(x: Array, length: int) -> Array:
    """Return the value ``length`` bars before."""
    out = np.full(x.size, np.nan)
    out[length:] = x[: max(x.size - length, 0)]
    return out


@njit
def roc(x: Array, length: int) -> Array:
    """Return the relative change over ``length`` bars."""
    out = np.full(x.size, np.nan)
    for t in range(length, x.size):
        if x[t - length] != 0.0:
            out[t] = x[t] / x[t - length] - 1.0
    return out


@njit
def _joint_moments(x: Array, y: Array, length: int) -> tuple[Array, Array, Array]:
    """Return the sums of squares of x, of y and of their products about the window's means (see ``_moments``)."""
    out = np.full((3, x.size), np.nan)
    tail = np.zeros((5, length + 1))  # mean of x, mean of y, then the three sums
    head = np.zeros(5)
    place = 0
    for t in range(x.size):
        if place == length:
            tail[:, length] = 0.0
            for j in range(length - 1, 0, -1):
                _add_pair(tail[:, j + 1], tail[:, j], x[t - length + j], y[t - length + j], length - j)
            head[:] = 0.0
            place = 0
        place += 1
        _add_pair(head, head, x[t], y[t], place)
        if t >= length - 1:
            if place < length:
                share = (length - place) * place / length
                gap_x = head[0] - tail[0, place]
                gap_y = head[1] - tail[1, place]
                out[0, t] = tail[2, place] + head[2] + gap_x * gap_x * share
                out[1, t] = tail[3, place] + head[3] + gap_y * gap_y * share
                out[2, t] = tail[4, place] + head[4] + gap_x * gap_y * share
            else:
                out[:, t] = head[2:]
    return out[0], out[1], out[2]


@njit
def _add_pair(before: Array, after: Array, x: float, y: float, count: int) -> None:
    """Add one pair to means and sums (Welford); ``before`` and ``after`` may be the same record."""
    step_x = x - before[0]
    step_y = y - before[1]
    mean_x = before[0] + step_x / count
    mean_y = before[1] + step_y / count
    after[2] = before[2] + step_x * (x - mean_x)
    after[3] = before[3] + step_y * (y - mean_y)
    after[4] = before[4] + step_x * (y - mean_y)
    after[0] = mean_x
    after[1] = mean_y


@njit
def correlation(x: Array, y: Array, length: int) -> Array:
    """Return Pearson's correlation of the last ``length`` pairs, within [-1, 1]; NaN where one of them is constant."""
    squares_x, squares_y, products = _joint_moments(x, y, length)
    out = np.full(x.size, np.nan)
    for t in range(x.size):
        if squares_x[t] > 0.0 and squares_y[t] > 0.0:
            value = products[t] / np.sqrt(squares_x[t]) / np.sqrt(squares_y[t])
            out[t] = min(max(value, -1.0), 1.0)
    return out


@njit
def beta(y: Array, x: Array, length: int) -> Array:
    """Return the slope of y on x over the last ``length`` pairs; NaN where x is constant."""
    squares_x, _, products = _joint_moments(x, y, length)
    out = np.full(x.size, np.nan)
    for t in range(x.size):
        if squares_x[t] > 0.0:
            out[t] = products[t] / squares_x[t]
    return out
