"""How daily returns are spread, how they change over time, and at which hours and weekdays they come."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from backtester.analytics.clock import DAY_MS, milliseconds
from backtester.analytics.returns import DAYS_PER_YEAR
from backtester.analytics.value import FloatArray, IntArray
from backtester.engine.result import SummaryValue

LEAST_DAYS = 5
"""Days that a distribution needs to be described."""
HOUR_MS = 3_600_000
TIMING = pl.Schema(
    {
        "key": pl.Int64(),
        "bars": pl.Int64(),
        "mean": pl.Float64(),
        "error": pl.Float64(),
        "total": pl.Float64(),
        "positive": pl.Float64(),
    }
)


def describe(returns: FloatArray) -> dict[str, SummaryValue]:
    """Return the shape of daily returns.

    Parameters
    ----------
    returns : ndarray of float64
        Simple returns of days.

    Returns
    -------
    dict
        ``days, mean, deviation`` (ddof 1), ``skew`` and ``kurtosis`` (of the population; kurtosis in excess of the
        normal's), ``var_95, var_99`` (quantiles at 5 and 1 %, interpolated), ``cvar_95, cvar_99`` (mean of the worst
        days down to that quantile; of days that equal it no more than belong there, so that many days without a
        position do not thin the tail); None where too few days or no deviation define them.
    """
    n = len(returns)
    told: dict[str, SummaryValue] = {"days": n}
    if n < LEAST_DAYS:
        return told | dict.fromkeys(
            ("mean", "deviation", "skew", "kurtosis", "var_95", "var_99", "cvar_95", "cvar_99"), None
        )
    mean = float(np.mean(returns))
    centred = returns - mean
    spread = math.sqrt(float(np.mean(centred**2)))
    told |= {"mean": mean, "deviation": float(np.std(returns, ddof=1))}
    is_spread = spread > 1e-12 * abs(mean) and spread > 0
    told["skew"] = float(np.mean(centred**3)) / spread**3 if is_spread else None
    told["kurtosis"] = float(np.mean(centred**4)) / spread**4 - 3.0 if is_spread else None
    ordered = np.sort(returns)
    for name, level in (("95", 0.05), ("99", 0.01)):
        told[f"var_{name}"] = float(np.quantile(returns, level))
        told[f"cvar_{name}"] = float(np.mean(ordered[: int((n - 1) * level + 1e-9) + 1]))
    return told


def rolling(returns: FloatArray, window: int) -> tuple[FloatArray, FloatArray]:
    """Return annualised volatility and Sharpe ratio of the ``window`` days up to each day, NaN before so many passed.

    Parameters
    ----------
    returns : ndarray of float64, shape (days,)
        Simple returns of days.
    window : int
        Days, at least 2.
    """
    deviation, ratio = np.full(len(returns), np.nan), np.full(len(returns), np.nan)
    if len(returns) >= window:
        views = np.lib.stride_tricks.sliding_window_view(returns, window)
        mean, spread = views.mean(axis=1), views.std(axis=1, ddof=1)
        is_spread = spread > 1e-12 * np.abs(mean)
        deviation[window - 1 :] = spread * math.sqrt(DAYS_PER_YEAR)
        ratio[window - 1 :] = np.divide(
            mean * math.sqrt(DAYS_PER_YEAR), spread, out=np.full(len(mean), np.nan), where=is_spread
        )
    return deviation, ratio


def bar_returns(equity: pl.DataFrame, initial_balance: float) -> FloatArray:
    """Return the simple return of each bar, 0 over bars that begin without equity.

    Parameters
    ----------
    equity : polars.DataFrame
        A run's equity frame, transfers taken out (``returns.time_weighted``).
    initial_balance : float
        Equity before the first bar [settlement currency].
    """
    values = equity["equity"].cast(pl.Float64).to_numpy()
    before = np.concatenate(([initial_balance], values[:-1]))
    alive = before > 0
    out: FloatArray = np.where(alive, values / np.where(alive, before, 1.0) - 1.0, 0.0)
    return out


def by_hour(equity: pl.DataFrame, returns: FloatArray, timeframe_ms: int) -> pl.DataFrame:
    """Return bar returns by the hour (UTC) of the bar's open; empty for bars longer than 12 hours.

    Returns
    -------
    polars.DataFrame
        ``key`` (hour), ``bars``, ``mean`` (of a bar), ``error`` (standard error of the mean; null of one bar),
        ``total`` (sum of returns), ``positive`` (share of bars above 0). A row an hour that occurs.
    """
    if timeframe_ms > 12 * HOUR_MS:
        return pl.DataFrame(schema=TIMING)
    return _timed(milliseconds(equity["open_time"]) // HOUR_MS % 24, returns, 24)


def by_weekday(equity: pl.DataFrame, returns: FloatArray, timeframe_ms: int) -> pl.DataFrame:
    """Return bar returns by weekday (UTC) of the bar's open, 0 is Monday; columns as of `by_hour`.

    Empty for bars longer than a day.
    """
    if timeframe_ms > DAY_MS:
        return pl.DataFrame(schema=TIMING)
    return _timed((milliseconds(equity["open_time"]) // DAY_MS + 3) % 7, returns, 7)  # 1970 began on a Thursday


def _timed(key: IntArray, returns: FloatArray, count: int) -> pl.DataFrame:
    """Return the figures of each key that occurs."""
    bars = np.bincount(key, minlength=count)
    total = np.bincount(key, returns, count)
    squares = np.bincount(key, returns**2, count)
    positive = np.bincount(key, (returns > 0).astype(np.float64), count)
    seen = np.flatnonzero(bars)
    n = bars[seen].astype(np.float64)
    mean = total[seen] / n
    spread = np.sqrt(np.maximum(squares[seen] / n - mean**2, 0.0) * n / np.maximum(n - 1, 1))
    return pl.DataFrame(
        {
            "key": seen,
            "bars": bars[seen],
            "mean": mean,
            "error": pl.Series(spread / np.sqrt(n)).set(pl.Series(n < 2), None),
            "total": total[seen],
            "positive": positive[seen] / n,
        }
    ).cast(TIMING)
