"""In which markets a run earned: days by trend, volatility and funding of the contracts that it traded.

The market of a day is an index of the run's contracts, each weighted equally: the mean of their daily changes of the
last traded close. What a day is called is known when it begins, but for the terciles of volatility, which are cut over
the whole span, and the sign of funding, which is that of the day's settlements.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from backtester.analytics.clock import DAY_MS, by_symbol
from backtester.analytics.returns import DAYS_PER_YEAR
from backtester.analytics.value import FloatArray, IntArray
from backtester.engine.result import Result

WINDOW = 20
"""Days of the index that tell trend and volatility of the day after them."""
LEAST_DAYS = 2 * WINDOW
TREND = ("up", "flat", "down")
VOLATILITY = ("low", "middle", "high")
FUNDING = ("longs paid", "shorts paid", "none")
UNKNOWN = "not known yet"
SCHEMA = pl.Schema(
    {
        "kind": pl.String(),
        "regime": pl.String(),
        "days": pl.Int64(),
        "total": pl.Float64(),
        "mean": pl.Float64(),
        "error": pl.Float64(),
        "sharpe": pl.Float64(),
        "positive": pl.Float64(),
    }
)


def by_regime(result: Result, daily: pl.DataFrame) -> pl.DataFrame:
    """Return daily returns by regime of their day.

    Parameters
    ----------
    result : Result
        The run whose bars and settlements tell the regimes.
    daily : polars.DataFrame
        Its ``returns.daily_returns``.

    Returns
    -------
    polars.DataFrame
        ``kind`` (``trend``, ``volatility``, ``funding``), ``regime``, ``days``, ``total`` (returns compounded),
        ``mean`` (of a day), ``error`` (its standard error), ``sharpe`` (annualised), ``positive`` (share of days above
        0); the last four are null where too few days define them. Every regime of a kind has a row, and
        ``not known yet`` where days of it exist. Empty where there are fewer than `LEAST_DAYS` days.
    """
    days = daily["day"].cast(pl.Int32).cast(pl.Int64).to_numpy()
    if len(days) < LEAST_DAYS or result.bars.is_empty():
        return pl.DataFrame(schema=SCHEMA)
    changes = market_changes(result.bars, days)
    returned = daily["return"].to_numpy()
    rows = []
    for kind, labels, names in (
        ("trend", trend(changes), TREND),
        ("volatility", volatility(changes), VOLATILITY),
        ("funding", funding_sign(result, days), FUNDING),
    ):
        for number, name in enumerate((*names, UNKNOWN)):
            chosen = returned[labels == (number if name != UNKNOWN else -1)]
            if len(chosen) or name != UNKNOWN:
                rows.append((kind, name, *_figures(chosen)))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def market_changes(bars: pl.DataFrame, days: IntArray) -> FloatArray:
    """Return the index's change on each day: the mean over contracts, NaN on a day that no contract has a close before.

    Parameters
    ----------
    bars : polars.DataFrame
        A run's bars.
    days : ndarray of int64, shape (days,)
        Days since 1970 (UTC), rising without holes.
    """
    total, count = np.zeros(len(days)), np.zeros(len(days))
    for own in by_symbol(bars, ("open_time", "open", "close")).values():
        day = own["open_time"].cast(pl.Int64).to_numpy() // DAY_MS
        last = np.append(np.flatnonzero(np.diff(day)), len(day) - 1)
        closes = np.full(len(days) + 1, np.nan)
        inside = (day[last] >= days[0]) & (day[last] <= days[-1])
        closes[day[last][inside] - days[0] + 1] = own["close"].to_numpy()[last][inside]
        closes[0] = own["open"][0] if day[0] == days[0] else np.nan
        change = closes[1:] / closes[:-1] - 1.0
        known = np.isfinite(change)
        total[known] += change[known]
        count += known
    out: FloatArray = np.divide(total, count, out=np.full(len(days), np.nan), where=count > 0)
    return out


def trend(changes: FloatArray) -> IntArray:
    """Return the trend that each day begins in: 0 up, 1 flat, 2 down, -1 not known yet.

    Up or down is where the sum of the index's changes over the `WINDOW` days before is larger than one standard
    deviation of such a sum, ``√WINDOW`` times that of its days.
    """
    mean, spread, known = _before(changes)
    moved = mean * WINDOW / np.where(spread > 0, spread * np.sqrt(WINDOW), np.inf)
    return np.where(~known, -1, np.where(moved > 1.0, 0, np.where(moved < -1.0, 2, 1)))


def volatility(changes: FloatArray) -> IntArray:
    """Return the tercile of the index's volatility over the `WINDOW` days before: 0 low to 2 high, -1 not known yet."""
    _, spread, known = _before(changes)
    if not known.any():
        return np.full(len(changes), -1)
    low, high = np.quantile(spread[known], [1 / 3, 2 / 3])
    return np.where(~known, -1, np.where(spread <= low, 0, np.where(spread <= high, 1, 2)))


def funding_sign(result: Result, days: IntArray) -> IntArray:
    """Return who paid funding on each day: 0 longs, 1 shorts (by the sum of all contracts' rates), 2 none settled.

    Bars that carry rates know every settlement; else those count at which the run held a position.
    """
    if "funding_rate" in result.bars.columns:
        settled = result.bars.filter(pl.col("funding_rate").is_not_null()).select("open_time", "funding_rate")
        time = settled["open_time"]
    else:
        settled = result.funding.unique(["time", "symbol"], keep="first", maintain_order=True)
        time = settled["time"]
    place = time.cast(pl.Int64).to_numpy() // DAY_MS - days[0]
    inside = (place >= 0) & (place < len(days))
    sums = np.bincount(place[inside], settled["funding_rate"].to_numpy()[inside], minlength=len(days))
    return np.where(sums > 0, 0, np.where(sums < 0, 1, 2))


def _before(changes: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return mean and deviation of the `WINDOW` days before each day, and where all of them are known."""
    mean, spread = np.full(len(changes), np.nan), np.full(len(changes), np.nan)
    if len(changes) > WINDOW:
        views = np.lib.stride_tricks.sliding_window_view(changes[:-1], WINDOW)
        mean[WINDOW:], spread[WINDOW:] = views.mean(axis=1), views.std(axis=1, ddof=1)
    known = np.isfinite(mean)
    return np.where(known, mean, 0.0), np.where(known, spread, 0.0), known


def _figures(returns: FloatArray) -> tuple[int, float | None, float | None, float | None, float | None, float | None]:
    """Return the figures of the days of one regime."""
    n = len(returns)
    if not n:
        return 0, None, None, None, None, None
    total, mean, positive = float(np.prod(1.0 + returns)) - 1.0, float(np.mean(returns)), float(np.mean(returns > 0))
    spread = float(np.std(returns, ddof=1)) if n > 1 else 0.0
    if spread <= 1e-12 * abs(mean) or n < 2:
        return n, total, mean, None, None, positive
    return n, total, mean, spread / n**0.5, mean / spread * DAYS_PER_YEAR**0.5, positive
