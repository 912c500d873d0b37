"""The stationary bootstrap: what else could have happened, drawn from days that did, in blocks.

Politis and Romano (1994): a sample is made of blocks that begin anywhere, have geometric lengths and wrap around. The
mean length is that of Politis and White (2004) as corrected by Patton, Politis and White (2009). Both are written out
here since the page of every run needs them and the library that the tests compare them with takes seconds to import.
"""

from __future__ import annotations

import math

import numpy as np

from backtester.analytics.value import FloatArray, IntArray


def draws(rng: np.random.Generator, days: int, length: int, samples: int, block: float) -> IntArray:
    """Return which day stands at each place of each sample.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where chance comes from.
    days : int
        Days to draw from, > 0.
    length : int
        Days of a sample, > 0.
    samples : int
        How many to draw.
    block : float
        Mean length of a block [days], >= 1.

    Returns
    -------
    ndarray of int32, shape (samples, length)
        Each row is made of runs of following days; the first day follows the last.
    """
    begins = rng.random((samples, length), dtype=np.float32) < 1.0 / block
    begins[:, 0] = True
    place = np.arange(length, dtype=np.int32)
    start = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    first = rng.integers(0, days, (samples, length), dtype=np.int32)
    # A block goes on from where it began: its first day less its place, which the wrap keeps inside the days.
    shift = np.take_along_axis(first - place, start, axis=1)
    out: IntArray = (shift + place) % np.int32(days)
    return out


def block_length(values: FloatArray) -> float:
    """Return the mean length of blocks that keeps the dependence of a series, at least 1.

    Parameters
    ----------
    values : ndarray of float64
        A series; one that does not move needs no blocks.

    Notes
    -----
    Autocovariances count up to twice the first of several following lags whose autocorrelations are all insignificant,
    under a window that is flat to its half and falls to zero from there.
    """
    n = len(values)
    centred = values - values.mean() if n else values
    if n < 10 or float(centred @ centred) <= 1e-20 * n:
        return 1.0
    ahead = max(5, int(math.log10(n)))
    most = math.ceil(math.sqrt(n)) + ahead
    covariance = np.array([centred[k:] @ centred[: n - k] for k in range(most + 1)]) / n
    small = np.abs(covariance[1:] / covariance[0]) < 2.0 * math.sqrt(math.log10(n) / n)
    runs = np.convolve(small, np.ones(ahead, dtype=np.int64), "valid") == ahead
    lags = min(most, 2 * (int(np.argmax(runs)) + 1)) if runs.any() else most
    k = np.arange(1, lags + 1)
    window = np.minimum(1.0, 2.0 * (1.0 - k / lags))
    spectrum = covariance[0] + 2.0 * float(window @ covariance[1 : lags + 1])
    bias = 2.0 * float((window * k) @ covariance[1 : lags + 1])
    if spectrum == 0:
        return 1.0
    best = (n * (bias / spectrum) ** 2) ** (1.0 / 3.0)
    return float(min(max(1.0, best), math.ceil(min(3.0 * math.sqrt(n), n / 3.0))))
