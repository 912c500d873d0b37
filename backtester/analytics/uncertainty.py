"""How much of a result is luck: intervals of its figures over samples of its own days."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from backtester.analytics import returns
from backtester.analytics.bootstrap import block_length, draws
from backtester.analytics.returns import DAYS_PER_YEAR
from backtester.analytics.value import FloatArray, IntArray
from backtester.engine.result import Result, SummaryValue

LEAST_DAYS = 60
"""Days that a run must have: fewer hold too few blocks."""
SAMPLES = 2_000
"""Samples of a run."""
_MOST_CELLS = 1_400_000  # days of all samples together: of longer runs fewer samples are drawn
LEAST_SAMPLES = 1_000
SEED = 20_240_229
RUIN = 0.5
"""Share of the starting equity below which an account counts as ruined."""
LEVELS = {"low": 0.05, "median": 0.5, "high": 0.95}
PATH_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
PATH_POINTS = 80
_LEAST_GROWTH = 1e-12  # what is left of a day that lost everything


@dataclass(frozen=True, eq=False)
class Sampled:
    """Figures of every sample.

    Attributes
    ----------
    annual_return, sharpe, max_drawdown : ndarray of float64, shape (samples,)
        Of samples as long as the run; drawdowns at daily closes.
    total_return : ndarray of float64, shape (samples,)
        Of the same samples.
    is_ruined : ndarray of bool, shape (samples,)
        Of samples of a year: whether equity fell below `RUIN` of its start at a daily close.
    day : ndarray of int64, shape (points,)
        Days from the start at which paths are told.
    paths : ndarray of float64, shape (levels, points)
        Quantiles `PATH_LEVELS` of equity over its start at these days.
    block : float
        Mean length of a block [days].
    """

    annual_return: FloatArray
    sharpe: FloatArray
    max_drawdown: FloatArray
    total_return: FloatArray
    is_ruined: FloatArray
    day: IntArray
    paths: FloatArray
    block: float


def daily_changes(result: Result) -> FloatArray:
    """Return the daily returns of a run, transfers taken out."""
    balance = result.config.account.balance
    grown = returns.time_weighted(result.equity, result.ledger, balance)
    return returns.daily_returns(grown, balance)["return"].to_numpy()


def sample(changes: FloatArray) -> Sampled | None:
    """Return what samples of a run's days would have made; None where there are too few or nothing moved.

    Parameters
    ----------
    changes : ndarray of float64
        Daily returns of the run.

    Notes
    -----
    Blocks are as long as the returns or their squares need, whichever is longer: the squares keep calm and stormy weeks
    together. The same returns give the same samples.
    """
    if len(changes) < LEAST_DAYS or not np.any(changes):
        return None
    return _drawn(np.asarray(changes, dtype=np.float64).tobytes())


@lru_cache(maxsize=2)  # the page of a run draws what its details have counted
def _drawn(content: bytes) -> Sampled:
    """Return the samples of the daily returns that these bytes hold."""
    changes = np.frombuffer(content)
    n = len(changes)
    block = max(block_length(changes), block_length(changes**2))
    samples = max(LEAST_SAMPLES, min(SAMPLES, _MOST_CELLS // n))
    rng = np.random.default_rng(SEED)
    logs = np.log(np.maximum(1.0 + changes, _LEAST_GROWTH))
    drawn = draws(rng, n, n, samples, block)
    path = np.cumsum(logs[drawn], axis=1)
    mean, square = changes[drawn].mean(axis=1), (changes**2)[drawn].mean(axis=1)
    spread = np.sqrt(np.maximum(square - mean**2, 0.0) * n / (n - 1))
    peak = np.maximum(np.maximum.accumulate(path, axis=1), 0.0)
    day = np.unique(np.linspace(0, n - 1, min(n, PATH_POINTS)).round().astype(np.int64))
    year = np.cumsum(logs[draws(rng, n, DAYS_PER_YEAR, samples, block)], axis=1)
    with np.errstate(over="ignore"):
        annual = np.expm1(path[:, -1] * DAYS_PER_YEAR / n)
    return Sampled(
        annual_return=annual,
        sharpe=np.divide(mean, spread, out=np.zeros(samples), where=spread > 1e-12 * np.abs(mean)) * DAYS_PER_YEAR**0.5,
        max_drawdown=np.expm1((path - peak).min(axis=1)),
        total_return=np.expm1(path[:, -1]),
        is_ruined=year.min(axis=1) < math.log(RUIN),
        day=day + 1,
        paths=np.exp(np.quantile(path[:, day], PATH_LEVELS, axis=0)),
        block=block,
    )


def uncertainty(result: Result) -> dict[str, SummaryValue]:
    """Return intervals and chances of a run's figures.

    Returns
    -------
    dict
        ``days``, ``samples`` (0 where no sample could be drawn, and then nothing else), ``block_days``, and of
        ``annual_return, sharpe, max_drawdown`` the quantiles ``…_low`` (5 %), ``…_median``, ``…_high`` (95 %);
        ``loss_probability`` (samples as long as the run that end below their start), ``ruin_probability`` (samples of a
        year that fall below ``ruin_level`` of their start).
    """
    changes = daily_changes(result)
    sampled = sample(changes)
    told: dict[str, SummaryValue] = {"days": len(changes), "samples": 0}
    if sampled is None:
        return told
    told |= {"samples": len(sampled.sharpe), "block_days": sampled.block}
    for name in ("annual_return", "sharpe", "max_drawdown"):
        values = np.quantile(getattr(sampled, name), list(LEVELS.values()))
        told |= {
            f"{name}_{level}": float(value) if math.isfinite(value) else None
            for level, value in zip(LEVELS, values, strict=True)
        }
    told["loss_probability"] = float(np.mean(sampled.total_return < 0))
    told["ruin_probability"] = float(np.mean(sampled.is_ruined))
    told["ruin_level"] = RUIN
    return told
