"""What the account had in the market: by contract, over time, and how much it traded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from backtester.analytics.exposure import number
from backtester.analytics.held import HeldAtCloses
from backtester.analytics.returns import daily_closes
from backtester.analytics.value import FloatArray, IntArray
from backtester.engine.result import Result

BY_SYMBOL = pl.Schema(
    {
        "symbol": pl.String(),
        "long_share": pl.Float64(),
        "short_share": pl.Float64(),
        "mean_exposure": pl.Float64(),
        "largest_exposure": pl.Float64(),
        "traded": pl.Float64(),
        "turnover": pl.Float64(),
    }
)


def exposure_by_symbol(result: Result, held: Sequence[HeldAtCloses]) -> pl.DataFrame:
    """Return how long and how large each contract was held, and how much of it was traded.

    Parameters
    ----------
    result : Result
        A replayed run.
    held : sequence of HeldAtCloses
        From `held_at_closes`.

    Returns
    -------
    polars.DataFrame
        The columns of `BY_SYMBOL`, most traded first: shares of the run's bars at whose close it was long or short;
        mean and largest gross exposure at closes at which it was held (notional over equity; null where equity was
        never positive); traded notional [settlement currency], the engine's fills included, and the same over the mean
        equity at daily closes: the latter add up to the turnover of the summary.
    """
    closes = result.equity["close_time"].cast(pl.Int64).to_numpy()
    equity = result.equity["equity"].cast(pl.Float64).to_numpy()
    mean_equity = number(daily_closes(result.equity)["equity"].mean()) or 0.0
    traded = dict(result.fills.group_by("symbol", maintain_order=True).agg(pl.col("notional").sum()).iter_rows())
    rows = []
    for symbol in dict.fromkeys([*traded, *(one.symbol for one in held)]):
        own = [one for one in held if one.symbol == symbol]
        gross = sum((np.abs(one.notional) for one in own), start=np.zeros(1))
        value = equity[own[0].places(closes)] if own else np.zeros(1)
        counted = (gross > 0) & (value > 0)
        share = np.divide(gross, value, out=np.zeros(len(value)), where=counted)[counted]
        total = float(traded.get(symbol, 0.0))
        rows.append(
            {
                "symbol": symbol,
                "long_share": _share(own, 1.0, len(closes)),
                "short_share": _share(own, -1.0, len(closes)),
                "mean_exposure": float(share.mean()) if share.size else None,
                "largest_exposure": float(share.max()) if share.size else None,
                "traded": total,
                "turnover": total / mean_equity if mean_equity > 0 else None,
            }
        )
    return pl.DataFrame(rows, schema=BY_SYMBOL).sort("traded", descending=True, maintain_order=True)


def _share(own: Sequence[HeldAtCloses], sign: float, bars: int) -> float:
    """Return the share of all bars at whose close a contract was held on one side."""
    return sum(int((one.quantity * sign > 0).sum()) for one in own) / bars if bars else 0.0


def market_time(result: Result, held: Sequence[HeldAtCloses]) -> dict[str, float]:
    """Return the shares of bars at whose close anything was held, was long, was short: ``any, long, short``."""
    closes = result.equity["close_time"].cast(pl.Int64).to_numpy()
    sides = {"long": np.zeros(len(closes), bool), "short": np.zeros(len(closes), bool)}
    for one in held:
        at = one.places(closes)
        sides["long"][at] |= one.quantity > 0
        sides["short"][at] |= one.quantity < 0
    found = {"any": sides["long"] | sides["short"], **sides}
    return {name: float(flags.mean()) if len(flags) else 0.0 for name, flags in found.items()}


def exposure_at(
    held: Sequence[HeldAtCloses], closes: IntArray, equity: FloatArray
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return each contract's exposure at the given closes, long and short.

    Parameters
    ----------
    held : sequence of HeldAtCloses
        From `held_at_closes`.
    closes : ndarray of int64, shape (points,)
        Closes of bars of the run [ms since 1970, UTC].
    equity : ndarray of float64, shape (points,)
        Equity there.

    Returns
    -------
    dict of str to tuple of two ndarray of float64, shape (points,)
        Signed notional over equity by contract: what was long (>= 0) and what was short (<= 0), which are legs of their
        own in hedge mode; NaN where equity is not positive.
    """
    found: dict[str, tuple[FloatArray, FloatArray]] = {}
    for one in held:
        at = np.searchsorted(one.close_time, closes)
        within = (at < len(one.close_time)) & (one.close_time[np.minimum(at, len(one.close_time) - 1)] == closes)
        here = np.where(within, one.notional[np.minimum(at, len(one.close_time) - 1)], 0.0)
        share = np.divide(here, equity, out=np.full(len(closes), np.nan), where=equity > 0)
        before = found.get(one.symbol, (np.zeros(len(closes)), np.zeros(len(closes))))
        found[one.symbol] = (before[0] + np.maximum(share, 0.0), before[1] + np.minimum(share, 0.0))
    return found


def monthly_turnover(result: Result) -> pl.DataFrame:
    """Return ``month, traded, equity, turnover``: notional traded in each month of the run, mean equity, their ratio.

    The mean is over daily closes; the engine's fills are included; ``turnover`` is null where the mean is not positive.
    """
    month = pl.col("day").cast(pl.Datetime("ms", "UTC")).dt.truncate("1mo").alias("month")
    base = daily_closes(result.equity).group_by(month, maintain_order=True).agg(pl.col("equity").mean())
    traded = result.fills.group_by(pl.col("time").dt.truncate("1mo").alias("month"), maintain_order=True).agg(
        pl.col("notional").sum().alias("traded")
    )
    joined = base.join(traded, on="month", how="left", maintain_order="left").with_columns(
        pl.col("traded").fill_null(0.0)
    )
    ratio = pl.when(pl.col("equity") > 0).then(pl.col("traded") / pl.col("equity"))
    return joined.select("month", "traded", "equity", ratio.alias("turnover"))


def account_leverage(equity: pl.DataFrame) -> FloatArray:
    """Return notional over margin balance of the whole account at each close; NaN where nothing is left of it."""
    gross, value, balance = (
        equity[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        for name in ("gross_exposure", "equity", "margin_balance")
    )
    out: FloatArray = np.divide(gross * value, balance, out=np.full(len(gross), np.nan), where=balance > 0)
    return out


def largest(values: FloatArray) -> float | None:
    """Return the largest value; None where there is none."""
    return number(pl.Series(values).drop_nans().max()) if len(values) else None
