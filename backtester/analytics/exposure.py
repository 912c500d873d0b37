"""Exposure and turnover, at daily closes."""

from __future__ import annotations

import polars as pl

from backtester.analytics.returns import DAYS_PER_YEAR

ENGINE_REASONS = ("liquidation", "liquidation_step", "collateral", "delisting")
"""Reasons of fills that no order asked for."""


def mean_exposure(closes: pl.DataFrame, column: str = "gross_exposure") -> float | None:
    """Return the mean exposure over days at whose close it is defined.

    Parameters
    ----------
    closes : polars.DataFrame
        What ``returns.daily_closes`` returns.
    column : {"gross_exposure", "net_exposure"}
        Notional of all positions over equity, or its signed sum [fraction of equity].
    """
    return number(closes[column].drop_nans().mean()) if column in closes.columns else None


def turnover(fills: pl.DataFrame, closes: pl.DataFrame) -> float | None:
    """Return all traded notional, the engine's fills included, over the mean equity at daily closes."""
    equity = number(closes["equity"].mean())
    if equity is None or equity <= 0:
        return None
    return float(fills["notional"].sum()) / equity if fills.height else 0.0


def maker_share(fills: pl.DataFrame) -> float | None:
    """Return the share of the notional traded by orders that paid the maker fee; None where no order was filled."""
    own = fills.filter(~pl.col("reason").is_in(ENGINE_REASONS))
    total = float(own["notional"].sum())
    return float(own.filter(pl.col("liquidity") == "maker")["notional"].sum()) / total if total > 0 else None


def annual_turnover(total: float | None, days: int) -> float | None:
    """Return turnover per 365 days."""
    return total * DAYS_PER_YEAR / days if total is not None and days else None


def number(value: object) -> float | None:
    """Return an aggregate of polars as a float, or None where there was nothing to aggregate."""
    return float(value) if isinstance(value, (int, float)) else None
