"""Funding as it could be known at a bar's close: the rate settled last, the one to come, the time until then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
import polars as pl

from backtester.market.intervals import HOUR_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backtester.market.funding_records import FundingRecords

INTEREST = 0.0001  # per 8 hours
CLAMP = 0.0005
BASE_HOURS = 8.0
DAY_HOURS = 24


@overload
def clamped_rate(premium: float, hours: float, limit: float | None = ...) -> float: ...
@overload
def clamped_rate(
    premium: NDArray[np.float64], hours: float | NDArray[np.float64], limit: float | None = ...
) -> NDArray[np.float64]: ...
def clamped_rate(
    premium: float | NDArray[np.float64], hours: float | NDArray[np.float64], limit: float | None = None
) -> float | NDArray[np.float64]:
    """Return the funding rate of an interval by the published formula.

    Parameters
    ----------
    premium : float or ndarray
        Mean premium over the interval [fraction of the index].
    hours : float or ndarray
        Length of the interval.
    limit : float, optional
        Cap, and floor with the other sign [fraction per settlement].

    Returns
    -------
    float or ndarray
        ``[P + clamp(interest - P, ±0.05 %)] / (8 / N)``, positive: longs pay. Source: accounting specification,
        section 9.
    """
    rate = (premium + np.clip(INTEREST - premium, -CLAMP, CLAMP)) / (BASE_HOURS / hours)
    return rate if limit is None else np.clip(rate, -limit, limit)


@dataclass(frozen=True, eq=False)
class FundingClock:
    """Where each bar's close stands among the settlements known by then.

    Attributes
    ----------
    settled : ndarray of int64
        The last record at or before the close; -1: none yet.
    opened : ndarray of int64
        The last record before the close, by which premium samples are grouped.
    hours : ndarray of float64
        Interval known at the close; NaN before the first record.
    hours_left : ndarray of float64
        Hours from the close to the next settlement by that interval.
    """

    settled: NDArray[np.int64]
    opened: NDArray[np.int64]
    hours: NDArray[np.float64]
    hours_left: NDArray[np.float64]


def funding_clock(records: FundingRecords, close_time: NDArray[np.int64]) -> FundingClock:
    """Place bar closes [ms] among the settlements, using no record after them."""
    settled = np.searchsorted(records.time, close_time, side="right") - 1
    opened = np.searchsorted(records.time, close_time, side="left") - 1
    if not len(records.time):
        unknown = np.full(len(close_time), np.nan)
        return FundingClock(settled, opened, unknown, unknown)
    known = known_intervals(records.time, records.default_interval_ms)
    interval = known[settled]
    since = close_time - records.time[settled]
    left = (interval - since % interval) / HOUR_MS  # an interval that turned out longer rolls on
    none_yet = settled < 0
    hours = np.where(none_yet, np.nan, interval / HOUR_MS)
    return FundingClock(settled, opened, hours, np.where(none_yet, np.nan, left))


def known_intervals(time: NDArray[np.int64], first_ms: int) -> NDArray[np.int64]:
    """Return the interval that each record lets one know [ms]: the distance to the one before.

    A distance that is no whole number of hours dividing the day (a hole, or a change that met the clock half way)
    tells nothing, so the interval known before stays. The measured intervals of the store cannot serve here: they look
    at later records to tell holes from changes.
    """
    distances = np.diff(time)
    hours = distances // HOUR_MS
    tells = (distances % HOUR_MS == 0) & (hours > 0) & (DAY_HOURS % np.maximum(hours, 1) == 0)
    places = np.concatenate([[0], np.where(tells, np.arange(1, len(time)), 0)])
    values = np.concatenate([[first_ms], distances])
    known: NDArray[np.int64] = values[np.maximum.accumulate(places)]
    return known


def with_funding(bars: pl.DataFrame, records: FundingRecords, step_ms: int) -> pl.DataFrame:
    """Add ``funding_rate``, ``predicted_funding_rate`` and ``hours_to_funding`` to one symbol's bars.

    Parameters
    ----------
    bars : DataFrame
        With ``open_time`` and ``premium``, sorted.
    records : FundingRecords
        The symbol's settlements.
    step_ms : int
        Length of a bar [ms].

    Notes
    -----
    The premium so far is the plain mean of the closes since the last settlement; at the settlement itself, that of the
    bar. Caps are not applied: they are the venue's, and change.
    """
    clock = funding_clock(records, bars["open_time"].dt.epoch("ms").to_numpy() + step_ms)
    has_settled = clock.settled >= 0
    rate = np.where(has_settled, records.rate[clock.settled], np.nan) if len(records.time) else clock.hours
    group = pl.lit(pl.Series(clock.opened))
    premium = pl.col("premium").fill_nan(None)
    known = premium.is_not_null().cast(pl.Int64)
    so_far = (premium.fill_null(0.0).cum_sum().over(group)) / known.cum_sum().over(group)
    begins = pl.lit(pl.Series(clock.settled != clock.opened))
    mean = bars.select(pl.when(begins).then(premium).otherwise(so_far).alias("mean"))["mean"]
    predicted = clamped_rate(mean.cast(pl.Float64).fill_null(float("nan")).to_numpy(), clock.hours)
    added = {"funding_rate": rate, "predicted_funding_rate": predicted, "hours_to_funding": clock.hours_left}
    return bars.with_columns(pl.Series(name, values).fill_nan(None) for name, values in added.items())
