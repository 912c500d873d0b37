"""How near the account came to liquidation, at bar closes."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from backtester.analytics.exposure import number
from backtester.analytics.value import FloatArray, IntArray

DISTANCE_SCHEMA = pl.Schema(
    {
        "close_time": pl.Datetime("ms", "UTC"),
        "symbol": pl.String(),
        "mark_close": pl.Float64(),
        "liquidation_price": pl.Float64(),
        "distance": pl.Float64(),
    }
)


def worst_margin_ratio(equity: pl.DataFrame) -> float | None:
    """Return the largest requirement over margin balance; None where a position stood on no balance at all."""
    if equity.is_empty():
        return None
    ratio = number(equity["margin_ratio"].fill_nan(math.inf).max())
    return ratio if ratio is not None and math.isfinite(ratio) else None


def time_at_risk(equity: pl.DataFrame) -> float | None:
    """Return the share of bars at whose close a position is held (exposure is null only while one is held)."""
    if equity.is_empty():
        return None
    return number((equity["gross_exposure"].is_null() | (equity["gross_exposure"] != 0)).mean())


def liquidation_distance(
    positions: pl.DataFrame, bars: pl.DataFrame, timeframe_ms: int, *, hedged: bool = False
) -> pl.DataFrame:
    """Return how far the mark stood from the liquidation price at each bar close with a position.

    Parameters
    ----------
    positions : polars.DataFrame
        A run's positions, on change.
    bars : polars.DataFrame
        The replayed bars.
    timeframe_ms : int
        Length of a bar [ms].
    hedged : bool
        ``position_side`` names the leg: each has rows of its own.

    Returns
    -------
    polars.DataFrame
        ``close_time, symbol, mark_close, liquidation_price, distance``: the adverse move of the mark, as a fraction
        of the mark, that reaches the liquidation price last recorded. Bars whose position no price liquidates are
        left out.
    """
    slots = positions.partition_by("symbol", *(["position_side"] if hedged else []), maintain_order=True)
    parts = [part for slot in slots if (part := _slot_distance(slot, bars, timeframe_ms, is_leg=hedged)) is not None]
    return pl.concat(parts) if parts else pl.DataFrame(schema=DISTANCE_SCHEMA)


def room(quantity: FloatArray, mark: FloatArray, level: FloatArray, *, is_leg: bool) -> FloatArray:
    """Return the move of the mark that reaches the liquidation price; below 0 where the mark is beyond a stale one.

    Parameters
    ----------
    quantity, mark, level : ndarray of float64
        Signed sizes, marks, and liquidation prices (NaN: no price liquidates).
    is_leg : bool
        Of a hedge: under cross margin its two legs share one price, which lies on the favourable side of one of them,
        so that the direction is the price's own.

    Returns
    -------
    ndarray of float64
        [price], NaN where there is no liquidation price.
    """
    gap = mark - level
    return np.abs(gap) if is_leg else np.sign(quantity) * gap


def _slot_distance(
    positions: pl.DataFrame, bars: pl.DataFrame, timeframe_ms: int, *, is_leg: bool
) -> pl.DataFrame | None:
    """Return the distances of one position, None where it never held a position that a price liquidates."""
    symbol = positions["symbol"][0]
    own = bars.filter(pl.col("symbol") == symbol).select("open_time", "mark_close")
    if own.is_empty():
        return None
    close = own["open_time"].cast(pl.Int64).to_numpy() + timeframe_ms
    changed = positions["time"].cast(pl.Int64).to_numpy()
    # What changed at the next open is not yet part of this close.
    row: IntArray = np.searchsorted(changed, close, side="left") - 1
    held = positions["position_quantity"].to_numpy()[np.maximum(row, 0)]
    level = positions["liquidation_price"].cast(pl.Float64).fill_null(math.nan).to_numpy()[np.maximum(row, 0)]
    mark = own["mark_close"].to_numpy()
    distance = room(held, mark, level, is_leg=is_leg) / mark
    kept = (row >= 0) & (held != 0) & np.isfinite(distance)
    if not kept.any():
        return None
    return pl.DataFrame(
        {
            "close_time": close[kept],
            "symbol": pl.repeat(symbol, int(kept.sum()), dtype=pl.String, eager=True),
            "mark_close": mark[kept],
            "liquidation_price": level[kept],
            "distance": distance[kept],
        }
    ).cast(DISTANCE_SCHEMA)
