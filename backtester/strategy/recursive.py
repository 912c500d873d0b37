"""Compiled recursions over one symbol's series.

Every function takes float64 arrays and fills another one, ``out``: NaN where there is no value. A missing or infinite
input is skipped: the result is NaN there, and the state stays as it was.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtester.kernel._jit import njit

Array = NDArray[np.float64]


@njit
def _smooth(out: Array, x: Array, length: int, weight: float, from_first: bool) -> None:
    """Write the exponential mean with ``weight``, begun at the first value or at the mean of the first ``length``.

    ``out`` may be ``x`` itself.

    After its beginning the mean is taken in groups of four values, from the state before the group: one value waits
    for the state four values ago instead of the last one. A group that is cut by a missing value or by the series' end
    is computed by the same sums, one by one: no value knows what follows it. A constant series is its own mean, to the
    last digit.
    """
    seen = 0
    state = 0.0
    t = 0
    while t < x.size and seen < length:
        if np.isfinite(x[t]):
            seen += 1
            if seen == 1:
                state = x[t]
            else:
                state += (x[t] - state) * (weight if from_first else 1.0 / seen)
        out[t] = state if seen == length and np.isfinite(x[t]) else np.nan
        t += 1
    keep = 1.0 - weight
    w0 = weight
    w1 = w0 * keep
    w2 = w1 * keep
    w3 = w2 * keep
    place = 0
    a, b, c = 0.0, 0.0, 0.0  # differences from the state, of the values of an unfinished group
    while t < x.size:
        if place == 0 and t + 4 <= x.size and np.isfinite(x[t] + x[t + 1] + x[t + 2] + x[t + 3]):
            a = x[t] - state
            b = x[t + 1] - state
            c = x[t + 2] - state
            d = x[t + 3] - state
            out[t] = state + w0 * a
            out[t + 1] = state + (w0 * b + w1 * a)
            out[t + 2] = state + ((w0 * c + w1 * b) + w2 * a)
            state += (w0 * d + w1 * c) + (w2 * b + w3 * a)
            out[t + 3] = state
            t += 4
            continue
        if not np.isfinite(x[t]):
            out[t] = np.nan
        elif place == 0:
            a = x[t] - state
            out[t] = state + w0 * a
            place = 1
        elif place == 1:
            b = x[t] - state
            out[t] = state + (w0 * b + w1 * a)
            place = 2
        elif place == 2:
            c = x[t] - state
            out[t] = state + ((w0 * c + w1 * b) + w2 * a)
            place = 3
        else:
            d = x[t] - state
            state += (w0 * d + w1 * c) + (w2 * b + w3 * a)
            out[t] = state
            place = 0
        t += 1


@njit
def ema(out: Array, x: Array, length: int) -> None:
    """Write the exponential mean with weight ``2 / (length + 1)``, begun at the first value."""
    _smooth(out, x, length, 2.0 / (length + 1.0), True)


def rsi(out: Array, x: Array, length: int) -> None:
    """Write Wilder's relative strength index, 0 to 100; 50 where nothing moved."""
    _rsi(out, np.empty(x.size), x, length)


@njit
def _rsi(out: Array, losses: Array, x: Array, length: int) -> None:
    last = np.nan
    for t in range(x.size):
        change = x[t] - last
        gain = change if change > 0.0 else 0.0
        is_known = np.isfinite(change)
        out[t] = gain if is_known else np.nan
        losses[t] = gain - change if is_known else np.nan
        last = x[t] if np.isfinite(x[t]) else last
    _smooth(out, out, length, 1.0 / length, False)
    _smooth(losses, losses, length, 1.0 / length, False)
    for t in range(x.size):
        moved = out[t] + losses[t]
        out[t] = 50.0 if moved == 0.0 else 100.0 * out[t] / moved


@njit
def atr(out: Array, high: Array, low: Array, close: Array, length: int) -> None:
    """Write Wilder's average true range; the first true range needs the close before it."""
    last = np.nan
    for t in range(close.size):
        top = last if last > high[t] else high[t]
        bottom = last if last < low[t] else low[t]
        is_whole = np.isfinite(high[t] + low[t] + close[t])
        out[t] = top - bottom if is_whole & np.isfinite(last) else np.nan
        last = close[t] if is_whole else last
    _smooth(out, out, length, 1.0 / length, False)


@njit
def _directional(out: Array, high: Array, low: Array, close: Array, ranges: Array, length: int, is_up: bool) -> None:
    """Write a directional index: the smoothed movement to one side in average true ranges, times 100."""
    last_high = np.nan
    last_low = np.nan
    for t in range(close.size):
        up = high[t] - last_high
        down = last_low - low[t]
        own, other = (up, down) if is_up else (down, up)
        is_whole = np.isfinite(high[t] + low[t] + close[t])
        move = own if (own > other) & (own > 0.0) else 0.0
        out[t] = move if is_whole & np.isfinite(last_high) else np.nan
        last_high = high[t] if is_whole else last_high
        last_low = low[t] if is_whole else last_low
    _smooth(out, out, length, 1.0 / length, False)
    for t in range(close.size):
        out[t] = 100.0 * out[t] / ranges[t] if ranges[t] != 0.0 else out[t] * 0.0  # missing stays missing


@njit
def plus_di(out: Array, high: Array, low: Array, close: Array, ranges: Array, length: int) -> None:
    """Write Wilder's positive directional index, given the average true range; 0 where nothing moved."""
    _directional(out, high, low, close, ranges, length, True)


@njit
def minus_di(out: Array, high: Array, low: Array, close: Array, ranges: Array, length: int) -> None:
    """Write Wilder's negative directional index, given the average true range; 0 where nothing moved."""
    _directional(out, high, low, close, ranges, length, False)


@njit
def adx(out: Array, plus: Array, minus: Array, length: int) -> None:
    """Write Wilder's mean of the directional index, given both sides of it; 0 counts where neither side moved."""
    for t in range(plus.size):
        both = plus[t] + minus[t]
        out[t] = 100.0 * abs(plus[t] - minus[t]) / both if both != 0.0 else 0.0
    _smooth(out, out, length, 1.0 / length, False)


@njit
def _trend_line(
    out: Array, high: Array, low: Array, close: Array, ranges: Array, multiple: float, is_side: bool
) -> None:
    """Write the line on which a trend ends, or its side; begun below the upper line, as if the trend were down."""
    upper, lower, last = np.inf, -np.inf, 0.0
    is_up = False
    for t in range(close.size):
        if not np.isfinite(high[t] + low[t] + close[t] + ranges[t]):
            out[t] = np.nan
            continue
        middle = (high[t] + low[t]) / 2.0
        above = middle + multiple * ranges[t]
        below = middle - multiple * ranges[t]
        upper = above if (above < upper) | (last > upper) else upper
        lower = below if (below > lower) | (last < lower) else lower
        last = close[t]
        is_up = last >= lower if is_up else last > upper
        line = lower if is_up else upper
        side = 1.0 if is_up else -1.0
        out[t] = side if is_side else line


@njit
def supertrend(out: Array, high: Array, low: Array, close: Array, ranges: Array, multiple: float) -> None:
    """Write the line on which the trend ends, given the average true range."""
    _trend_line(out, high, low, close, ranges, multiple, False)


@njit
def supertrend_side(out: Array, high: Array, low: Array, close: Array, ranges: Array, multiple: float) -> None:
    """Write 1.0 in a rising trend, -1.0 in a falling one."""
    _trend_line(out, high, low, close, ranges, multiple, True)


@njit
def session_vwap(
    out: Array,
    open_time: Array,
    high: Array,
    low: Array,
    close: Array,
    volume: Array,
    session_ms: float,
    anchor_ms: float,
) -> None:
    """Write the mean typical price since the session's beginning, weighted by volume.

    NaN in the first session unless the series begins with it, and before the session's first trade.
    """
    session = -np.inf
    is_whole = False
    traded, volumes = 0.0, 0.0
    for t in range(close.size):
        began = np.floor((open_time[t] - anchor_ms) / session_ms) * session_ms + anchor_ms
        if began != session:
            is_whole = t > 0 or open_time[t] == began
            session = began
            traded, volumes = 0.0, 0.0
        price = (high[t] + low[t] + close[t]) / 3.0
        is_known = np.isfinite(price + volume[t])
        if is_known:
            traded += price * volume[t]
            volumes += volume[t]
        out[t] = traded / volumes if is_known and is_whole and volumes > 0.0 else np.nan
