"""Random paths of the made-up market, minute by minute: volatility, index, premium, trades, mark.

Point ``m`` of a path is the value ``m`` minutes after the start; a bar of five minutes holds the points ``5 t`` to
``5 t + 5``, both ends included, so the bars of index, mark and premium join without a jump.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtester.market.synthetic import Contract

DAY = 1_440  # minutes
YEAR = 365 * DAY
CRASH_FALL = 75  # minutes from the first fall to the bottom
GROWTH = 0.35  # mean drift a year
MARK_WINDOW = 5  # minutes over which the mark averages the basis


@dataclass(frozen=True, eq=False)
class Factor:
    """What moves all contracts together.

    Attributes
    ----------
    returns : ndarray of float64, shape (minutes,)
        Log returns.
    volatility : ndarray of float64, shape (minutes,)
        Annual volatility in force, the crash's excitement included.
    crash : ndarray of float64, shape (minutes + 1,)
        Depth of the crash as a fraction of its full depth: 0 before, 1 at the bottom, then the part not yet recovered.
    stress : ndarray of float64, shape (minutes + 1,)
        How disordered the market is, 0 to 1: rises with the fall, gone within hours.
    """

    returns: NDArray[np.float64]
    volatility: NDArray[np.float64]
    crash: NDArray[np.float64]
    stress: NDArray[np.float64]


def decayed(shocks: NDArray[np.float64], half_life: float) -> NDArray[np.float64]:
    """Return ``x[t] = a x[t-1] + shocks[t]`` with ``a = 0.5 ** (1 / half_life)``, by doubling the span of the sum."""
    out = shocks.copy()
    span = 1
    while span < len(out) and span < 40 * half_life:  # beyond that the weight is below 1e-12
        out[span:] += 0.5 ** (span / half_life) * out[:-span]
        span *= 2
    return out


def stationary(rng: np.random.Generator, count: int, half_life: float) -> NDArray[np.float64]:
    """Return an autoregressive path of unit variance that starts in its stationary distribution."""
    shocks = rng.standard_normal(count) * np.sqrt(1.0 - 0.25 ** (1.0 / half_life))
    shocks[0] = rng.standard_normal()
    return decayed(shocks, half_life)


def jumps(rng: np.random.Generator, count: int, per_year: float, size: float) -> NDArray[np.float64]:
    """Return rare normal jumps [same unit as ``size``], zero elsewhere."""
    out = np.zeros(count)
    number = int(rng.poisson(per_year * count / YEAR))
    np.add.at(out, rng.integers(0, count, number), rng.standard_normal(number) * size)
    return out


def common_factor(rng: np.random.Generator, minutes: int, crash_at: int | None) -> Factor:
    """Return the common factor; ``crash_at`` is the minute at which the crash begins."""
    fives = -(-minutes // 5)
    calm = 0.45 * np.exp(0.40 * stationary(rng, fives, 3 * DAY / 5) - 0.08)
    trend = GROWTH + 0.8 * _centred(stationary(rng, fives, 20 * DAY / 5))  # drift a year
    crash, stress = _crash(minutes, crash_at)
    volatility = np.repeat(calm, 5)[:minutes] * (1.0 + 3.0 * stress[1:])
    returns = volatility / np.sqrt(YEAR) * rng.standard_normal(minutes)
    returns += np.repeat(trend, 5)[:minutes] / YEAR + jumps(rng, minutes, per_year=20.0, size=0.015)
    return Factor(returns, volatility, crash, stress)


def _centred(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a path less its mean: trends come and go, and no seed dooms a contract."""
    centred: NDArray[np.float64] = path - path.mean()
    return centred


def _crash(minutes: int, crash_at: int | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    time = np.arange(minutes + 1, dtype=np.float64) - (minutes + 1 if crash_at is None else crash_at)
    fall = np.clip(time / CRASH_FALL, 0.0, 1.0) ** 2
    since = np.maximum(time - CRASH_FALL, 0.0)
    crash = fall * (0.55 + 0.45 * 0.5 ** (since / 90.0))
    return crash, fall * 0.5 ** (since / 120.0)


def index_path(rng: np.random.Generator, contract: Contract, factor: Factor) -> NDArray[np.float64]:
    """Return the index at each minute."""
    minutes = len(factor.returns)
    fives = -(-minutes // 5)
    own = contract.own_volatility * np.exp(0.35 * stationary(rng, fives, 2 * DAY / 5) - 0.06)
    own_trend = contract.own_trend * _centred(stationary(rng, fives, 15 * DAY / 5))
    returns = contract.beta * factor.returns + np.repeat(own, 5)[:minutes] / np.sqrt(YEAR) * rng.standard_normal(
        minutes
    )
    returns += np.repeat(own_trend, 5)[:minutes] / YEAR + jumps(rng, minutes, per_year=25.0, size=0.02)
    log = np.concatenate([[0.0], np.cumsum(returns)]) + np.log1p(-contract.crash_depth) * factor.crash
    path: NDArray[np.float64] = contract.first_price * np.exp(log)
    return path


def premium_path(
    rng: np.random.Generator, contract: Contract, factor: Factor, index: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the premium at each minute: reverting to the trend of the last days, broken in the crash."""
    points = len(index)
    logs = np.log(index[::5])
    days = decayed(np.diff(logs, prepend=logs[0]), 2.0 * DAY / 5)  # returns of the last days, fading
    crowd = np.repeat(np.tanh(days / 0.06), 5)[:points]  # a value lasts until the next fifth minute
    slow = stationary(rng, points, 240.0)
    spikes = decayed(jumps(rng, points, per_year=40.0, size=0.003), 40.0)
    noise = rng.standard_normal(points)
    path = 0.0001 + contract.premium_scale * (crowd + 0.55 * slow + 0.12 * noise) + spikes
    path += factor.stress * (contract.crash_premium + 0.0015 * stationary(rng, points, 10.0))
    rounded: NDArray[np.float64] = np.round(path, 8)
    return rounded


def traded_path(
    rng: np.random.Generator, fair: NDArray[np.float64], stress: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the last trade at each minute: fair price and the bounce between bid and ask."""
    bounce = 0.00008 * (1.0 + 6.0 * stress) * rng.standard_normal(len(fair))
    return fair * (1.0 + bounce)


def mark_path(
    index: NDArray[np.float64],
    premium: NDArray[np.float64],
    traded: NDArray[np.float64],
    last_rate: NDArray[np.float64],
    part_left: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the mark: the median of two fair prices and the last trade.

    Parameters
    ----------
    index, premium, traded : ndarray
        At each minute; the basis is ``index * premium``.
    last_rate : ndarray
        Funding rate settled last.
    part_left : ndarray
        Time to the next settlement as a part of the interval.

    Returns
    -------
    ndarray
        ``median(price1, price2, traded)`` with ``price1 = index * (1 + last_rate * part_left)`` and ``price2 = index +
        mean of the basis over the last 5 minutes``.
    """
    basis = index * premium
    total = basis.copy()
    count = np.minimum(np.arange(len(basis)) + 1, MARK_WINDOW)
    for lag in range(1, MARK_WINDOW):
        total[lag:] += basis[:-lag]
    price1 = index * (1.0 + last_rate * part_left)
    price2 = index + total / count
    low, high = np.minimum(price1, price2), np.maximum(price1, price2)
    return np.maximum(low, np.minimum(high, traded))
