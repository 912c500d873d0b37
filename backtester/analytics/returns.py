"""Returns of calendar days (UTC) and what follows from them. Years have 365 days, the risk-free rate is 0.

A day's equity is the equity at its last bar close; a bar that closes at midnight belongs to the day that ends. A day
without a bar close keeps the equity before it. Ratios that are not defined are None. Where money came in or went out,
`time_weighted` gives the equity that its returns alone would have made of the initial balance.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from backtester.analytics.value import FloatArray

DAYS_PER_YEAR = 365
_NOISE = 1e-12  # a deviation below this share of the mean is rounding


def time_weighted(equity: pl.DataFrame, ledger: pl.DataFrame, initial_balance: float) -> pl.DataFrame:
    """Return the equity frame with the effect of deposits and withdrawals taken out.

    A bar's return is ``E_t / (E_{t-1} + transfers of t) - 1``: transfers count at the open of their bar.

    Parameters
    ----------
    equity : polars.DataFrame
        A run's equity frame, in order.
    ledger : polars.DataFrame
        A run's ledger: its entries of the kind ``transfer`` are taken.
    initial_balance : float
        Equity before the first bar [settlement currency].

    Returns
    -------
    polars.DataFrame
        The very same frame where nothing was transferred; else with an ``equity`` that begins at the initial balance
        and compounds the bars' returns. It stands still once nothing is left, and over bars that begin with nothing.
    """
    moved = ledger.filter(pl.col("kind") == "transfer") if "kind" in ledger.columns else ledger
    if moved.is_empty() or equity.is_empty():
        return equity
    opens = equity["open_time"].cast(pl.Int64).to_numpy()
    bar = np.searchsorted(opens, moved["time"].cast(pl.Int64).to_numpy(), side="right") - 1
    flows = np.zeros(len(opens))
    np.add.at(flows, np.maximum(bar, 0), moved["amount"].cast(pl.Float64).to_numpy())
    values = equity["equity"].cast(pl.Float64).to_numpy()
    base = np.concatenate(([initial_balance], values[:-1])) + flows
    growth = np.where(base > 0, values / np.where(base > 0, base, 1.0), 1.0)
    lost = np.flatnonzero(growth <= 0)
    if len(lost):
        growth[lost[0] + 1 :] = 1.0
    return equity.with_columns(pl.Series("equity", initial_balance * np.cumprod(growth)))


def daily_closes(equity: pl.DataFrame) -> pl.DataFrame:
    """Return equity and exposure at the last bar close of each calendar day.

    Parameters
    ----------
    equity : polars.DataFrame
        A run's equity frame, in order.

    Returns
    -------
    polars.DataFrame
        ``day`` (Date, without holes), ``equity`` and, where the frame has them, ``gross_exposure``, ``net_exposure``.
    """
    kept = [c for c in ("equity", "gross_exposure", "net_exposure") if c in equity.columns]
    if equity.is_empty():
        return pl.DataFrame(schema={"day": pl.Date} | dict.fromkeys(kept, pl.Float64))
    day = (equity["close_time"].cast(pl.Int64).to_numpy() - 1) // 86_400_000
    last = np.append(np.flatnonzero(np.diff(day)), len(day) - 1)
    row_of_day = last[np.searchsorted(day[last], np.arange(day[0], day[-1] + 1), side="right") - 1]
    days = pl.Series("day", np.arange(day[0], day[-1] + 1, dtype=np.int32)).cast(pl.Date)
    return equity.select(pl.col(kept).cast(pl.Float64))[row_of_day].insert_column(0, days)


def daily_returns(equity: pl.DataFrame, initial_balance: float | None = None) -> pl.DataFrame:
    """Return the simple return of each calendar day.

    Parameters
    ----------
    equity : polars.DataFrame
        A run's equity frame, in order.
    initial_balance : float, optional
        Equity before the first bar [settlement currency]; None: the first close.

    Returns
    -------
    polars.DataFrame
        ``day``, ``equity``, ``return`` (fraction; 0 on days that start without equity).
    """
    closes = daily_closes(equity).select("day", "equity")
    values = closes["equity"].to_numpy()
    if not len(values):
        return closes.with_columns(pl.lit(None, pl.Float64).alias("return"))
    start = float(equity["equity"][0]) if initial_balance is None else initial_balance
    before = np.concatenate(([start], values[:-1]))
    alive = before > 0
    change = np.where(alive, values / np.where(alive, before, 1.0) - 1.0, 0.0)
    return closes.with_columns(pl.Series("return", change))


def monthly_returns(daily: pl.DataFrame) -> pl.DataFrame:
    """Return the compounded return of each calendar month.

    Parameters
    ----------
    daily : polars.DataFrame
        What `daily_returns` returns.

    Returns
    -------
    polars.DataFrame
        ``year``, ``month``, ``return``, ``days`` (calendar days counted).
    """
    return (
        daily.group_by(
            pl.col("day").dt.year().cast(pl.Int64).alias("year"),
            pl.col("day").dt.month().cast(pl.Int64).alias("month"),
            maintain_order=True,
        )
        .agg(((pl.col("return") + 1.0).product() - 1.0).alias("return"), pl.len().cast(pl.Int64).alias("days"))
        .sort("year", "month")
    )


def total_return(initial_balance: float, final_equity: float) -> float | None:
    """Return the change of equity as a fraction of the initial balance."""
    return final_equity / initial_balance - 1.0 if initial_balance > 0 else None


def annual_return(total: float | None, days: int) -> float | None:
    """Return the geometric return per 365 days; -1 once nothing is left."""
    if total is None or days < 1:
        return None
    if total <= -1.0:
        return -1.0
    exponent = math.log1p(total) * DAYS_PER_YEAR / days
    return math.expm1(exponent) if exponent < 700 else None


def volatility(returns: FloatArray) -> float | None:
    """Return the annualised standard deviation (ddof 1) of daily returns."""
    if len(returns) < 2:
        return None
    return float(np.std(returns, ddof=1)) * math.sqrt(DAYS_PER_YEAR)


def sharpe(returns: FloatArray) -> float | None:
    """Return mean over standard deviation (ddof 1) of daily returns, annualised."""
    if len(returns) < 2:
        return None
    mean, deviation = float(np.mean(returns)), float(np.std(returns, ddof=1))
    if deviation <= _NOISE * abs(mean):
        return None
    return mean / deviation * math.sqrt(DAYS_PER_YEAR)


def sortino(returns: FloatArray) -> float | None:
    """Return mean over downside deviation (root mean square of the negative part, all days), annualised."""
    if len(returns) < 2:
        return None
    mean = float(np.mean(returns))
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    if downside <= _NOISE * abs(mean):
        return None
    return mean / downside * math.sqrt(DAYS_PER_YEAR)


def calmar(annual: float | None, max_drawdown: float | None) -> float | None:
    """Return annual return over the size of the largest drawdown."""
    if annual is None or not max_drawdown:
        return None
    return annual / abs(max_drawdown)
