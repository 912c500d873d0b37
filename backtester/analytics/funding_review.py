"""Funding by contract and by month: received, paid, the rates that were met long and short."""

from __future__ import annotations

import numpy as np
import polars as pl

from backtester.engine.result import Result

_YEAR_HOURS = 365 * 24
_HOUR_MS = 3_600_000


def funding_by_symbol(result: Result) -> pl.DataFrame:
    """Return what each contract received and paid, and its mean settled rate while long and while short.

    Parameters
    ----------
    result : Result
        A replayed run.

    Returns
    -------
    polars.DataFrame
        ``symbol, settlements, received, paid, net`` [settlement currency; ``paid`` <= 0], ``rate_long, rate_short``
        (means over settlements with such a position; null where there was none) and ``annual_long, annual_short``, the
        same per 365 days at the contract's interval (simple). Largest amount first.
    """
    payment, rate = pl.col("funding_payment"), pl.col("funding_rate")
    held = pl.col("position_quantity")
    frame = result.funding.group_by("symbol", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("settlements"),
        payment.filter(payment > 0).sum().alias("received"),
        payment.filter(payment < 0).sum().alias("paid"),
        payment.sum().alias("net"),
        rate.filter(held > 0).mean().alias("rate_long"),
        rate.filter(held < 0).mean().alias("rate_short"),
    )
    hours = [_interval_hours(result, symbol) for symbol in frame["symbol"]]
    per_year = pl.Series([_YEAR_HOURS / h for h in hours], dtype=pl.Float64)
    return (
        frame.with_columns(
            annual_long=pl.col("rate_long") * per_year,
            annual_short=pl.col("rate_short") * per_year,
            size=pl.col("received") - pl.col("paid"),
        )
        .sort("size", descending=True, maintain_order=True)
        .drop("size")
    )


def funding_by_month(funding: pl.DataFrame) -> pl.DataFrame:
    """Return ``month, settlements, received, paid, net`` of each calendar month (UTC) with a settlement."""
    payment = pl.col("funding_payment")
    return (
        funding.group_by(pl.col("time").dt.truncate("1mo").alias("month"), maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("settlements"),
            payment.filter(payment > 0).sum().alias("received"),
            payment.filter(payment < 0).sum().alias("paid"),
            payment.sum().alias("net"),
        )
        .sort("month")
    )


def funding_grid(funding: pl.DataFrame) -> pl.DataFrame:
    """Return ``month, symbol, net`` of each month and contract with a settlement."""
    return (
        funding.group_by(pl.col("time").dt.truncate("1mo").alias("month"), "symbol", maintain_order=True)
        .agg(pl.col("funding_payment").sum().alias("net"))
        .sort("month", maintain_order=True)
    )


def _interval_hours(result: Result, symbol: str) -> float:
    """Return the hours between settlements: the contract's, else the usual gap between those met."""
    stated = result.config.instruments.get(symbol)
    if stated is not None and stated.funding_interval_hours:
        return float(stated.funding_interval_hours)
    times = result.funding.filter(pl.col("symbol") == symbol)["time"].cast(pl.Int64).unique().sort().to_numpy()
    gaps = np.diff(times)
    return float(np.median(gaps)) / _HOUR_MS if gaps.size else 8.0
