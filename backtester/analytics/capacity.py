"""How much of the traded volume a run takes, and how far its account could grow."""

from __future__ import annotations

import numpy as np
import polars as pl

from backtester.analytics.value import inverse_symbols
from backtester.domain.enums import FillReason, label
from backtester.engine.result import Result

BOUND = 0.01
"""Share of a bar's volume up to which fills are taken to go unnoticed."""

_NOT_TRADED = [
    label(reason)
    for reason in (
        FillReason.LIQUIDATION,
        FillReason.LIQUIDATION_STEP,
        FillReason.COLLATERAL,
        FillReason.DELISTING,
    )
]


def participation(result: Result) -> pl.DataFrame:
    """Return the share of its bar's volume that each fill of the account takes.

    Parameters
    ----------
    result : Result
        A run.

    Returns
    -------
    polars.DataFrame
        ``time, symbol, participation`` (fraction; above 1 where a fill is larger than the bar's volume), of fills in
        bars with a volume; those of the liquidation engine and of delistings are left out.
    """
    fills = result.fills.filter(~pl.col("reason").is_in(_NOT_TRADED))
    volume = result.bars.select("open_time", "symbol", "volume", "close")
    opened = result.equity.select(pl.int_range(pl.len(), dtype=pl.Int64).alias("bar"), "open_time")
    placed = fills.join(opened, on="bar", maintain_order="left").join(
        volume, on=("open_time", "symbol"), maintain_order="left"
    )
    # Sizes of inverse contracts count quote units, volumes base units.
    inverse = pl.col("symbol").is_in(list(inverse_symbols(result.config)))
    size = pl.when(inverse).then(pl.col("quantity") / pl.col("price")).otherwise(pl.col("quantity"))
    share = size / pl.col("volume")
    return placed.filter(pl.col("volume") > 0).select("time", "symbol", share.alias("participation"))


def capacity(result: Result) -> dict[str, float | None]:
    """Return how large a part of the market a run is.

    Parameters
    ----------
    result : Result
        A run whose sizes grow with its balance.

    Returns
    -------
    dict of str to float or None
        ``median_participation``, ``p95_participation`` and ``max_participation`` (fractions of a bar's volume), and
        ``capacity_balance``: the initial balance at which 95 of 100 fills stay within one percent of their bar's volume
        [settlement currency]. None without fills in bars of known volume.
    """
    shares = participation(result)["participation"].to_numpy()
    if not shares.size:
        return dict.fromkeys(("median_participation", "p95_participation", "max_participation", "capacity_balance"))
    median, high = (float(x) for x in np.quantile(shares, (0.5, 0.95)))
    return {
        "median_participation": median,
        "p95_participation": high,
        "max_participation": float(shares.max()),
        "capacity_balance": result.config.account.balance * BOUND / high,
    }
