"""How near each position came to liquidation, in percent and in average true ranges, and the close calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.analytics import risk
from backtester.analytics.held import HeldAtCloses
from backtester.analytics.value import FloatArray, IntArray

ATR_LENGTH = 14
NEAR = 0.10
"""A distance below this fraction of the mark is a close call."""
NEAR_RANGES = 3.0
"""A distance below so many average true ranges is a close call."""
SEPARATE_MS = 86_400_000
"""Close calls of one holding count apart once it was farther off for this long [ms]."""

TIME = pl.Datetime("ms", "UTC")
DISTANCES = pl.Schema(
    {
        "close_time": TIME,
        "symbol": pl.String(),
        "position_side": pl.String(),
        "position_quantity": pl.Float64(),
        "mark_close": pl.Float64(),
        "liquidation_price": pl.Float64(),
        "distance": pl.Float64(),
        "ranges": pl.Float64(),
    }
)
CLOSE_CALLS = pl.Schema(
    {
        **DISTANCES,
        "from_time": TIME,
        "to_time": TIME,
        "closes": pl.Int64(),
        "end_time": TIME,
        "end_reason": pl.String(),
        "net_pnl": pl.Float64(),
        "day_move": pl.Float64(),
    }
)


def average_true_range(bars: pl.DataFrame, length: int = ATR_LENGTH) -> FloatArray:
    """Return Wilder's average true range of each bar, seeded by a plain mean; NaN for the first ``length`` bars.

    Parameters
    ----------
    bars : polars.DataFrame
        ``high, low, close`` of one contract, in order.
    length : int
        Bars of the mean.
    """
    out = np.full(bars.height, math.nan)
    if bars.height <= length:
        return out
    high, low, close = (bars[name].to_numpy() for name in ("high", "low", "close"))
    ranges = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
    seeded = np.append(ranges[:length].mean(), ranges[length:])
    out[length:] = pl.Series(seeded).ewm_mean(alpha=1.0 / length, adjust=False).to_numpy()
    return out


@dataclass(frozen=True, eq=False)
class Approach:
    """How far one position's mark was from its liquidation price at the closes of its bars.

    Attributes
    ----------
    held : HeldAtCloses
        The position.
    distance : ndarray of float64
        Adverse move of the mark, as a fraction of it, that reaches the liquidation price last recorded; NaN while flat
        or where no price liquidates.
    ranges : ndarray of float64
        The same in average true ranges of the replayed bars; NaN until there is one.
    """

    held: HeldAtCloses
    distance: FloatArray
    ranges: FloatArray


def approaches(held: Sequence[HeldAtCloses]) -> list[Approach]:
    """Return how far each position was from liquidation.

    Parameters
    ----------
    held : sequence of HeldAtCloses
        From `held_at_closes`.
    """
    found = []
    for one in held:
        room = risk.room(one.quantity, one.mark, one.liquidation_price, is_leg=one.is_leg)
        room[one.quantity == 0] = math.nan
        if np.isfinite(room).any():
            typical = average_true_range(one.bars)
            ranges = np.divide(room, typical, out=np.full(len(room), math.nan), where=typical > 0)
            found.append(Approach(one, room / one.mark, ranges))
    return found


def nearest(found: Sequence[Approach], closes: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return the distance of the nearest position at each close of the run, as a fraction and in true ranges.

    Parameters
    ----------
    found : sequence of Approach
        From `approaches`.
    closes : ndarray of int64, shape (bars,)
        Closes of the run [ms since 1970, UTC].

    Returns
    -------
    tuple of two ndarray of float64, shape (bars,)
        NaN where no position is held that a price liquidates.
    """
    distance, ranges = (np.full(len(closes), math.nan) for _ in range(2))
    for one in found:
        at = one.held.places(closes)
        distance[at] = np.fmin(distance[at], one.distance)
        ranges[at] = np.fmin(ranges[at], one.ranges)
    return distance, ranges


def _frame(one: Approach, chosen: NDArray[np.bool_]) -> pl.DataFrame:
    """Return chosen closes of a position as rows."""
    held = one.held
    quantity = held.quantity[chosen]
    rows = pl.DataFrame(
        {
            "close_time": pl.Series(held.close_time[chosen], dtype=pl.Int64).cast(TIME),
            "symbol": pl.repeat(held.symbol, len(quantity), dtype=pl.String, eager=True),
            "position_quantity": quantity,
            "mark_close": held.mark[chosen],
            "liquidation_price": held.liquidation_price[chosen],
            "distance": one.distance[chosen],
            "ranges": one.ranges[chosen],
        }
    )
    side = pl.when(pl.col("position_quantity") > 0).then(pl.lit("long")).otherwise(pl.lit("short"))
    return rows.with_columns(side.alias("position_side")).select(DISTANCES.names())


def close_calls(found: Sequence[Approach], trades: pl.DataFrame) -> pl.DataFrame:
    """Return the moments at which a position was nearly liquidated, the nearest first.

    A holding has one close call, and another each time it comes near after a day farther off.

    Parameters
    ----------
    found : sequence of Approach
        From `approaches`.
    trades : polars.DataFrame
        Round trips, which are the holdings and tell how each ended.

    Returns
    -------
    polars.DataFrame
        The columns of `CLOSE_CALLS`: position, mark and distances (see `Approach`) at the close nearest, then first
        and last close below a threshold, the number of such closes, when and why the holding ended (null and ``open``
        where it did not), its net result, and ``day_move``: the mark's move over the next day (or to the last bar) as
        a fraction, signed to the position.
    """
    # NaN is never near.
    parts = [_frame(one, (one.distance < NEAR) | (one.ranges < NEAR_RANGES)) for one in found]
    near = pl.concat(parts) if parts else pl.DataFrame(schema=DISTANCES)
    if near.is_empty():
        return pl.DataFrame(schema=CLOSE_CALLS)
    trips = trades.select(
        "symbol",
        "position_side",
        pl.col("entry_time").alias("held_from"),
        pl.col("exit_time").alias("end_time"),
        pl.col("exit_reason").alias("end_reason"),
        "net_pnl",
    ).sort("held_from", maintain_order=True)
    slot = ["symbol", "position_side"]
    placed = (
        # What is entered at the next open is not held at this close.
        near.with_columns(before=pl.col("close_time") - pl.duration(milliseconds=1))
        .sort("before", maintain_order=True)
        .join_asof(trips, left_on="before", right_on="held_from", by=slot, check_sortedness=False)
        .sort(*slot, "before", maintain_order=True)
    )
    holding = [*slot, "held_from"]
    apart = pl.col("close_time").diff().dt.total_milliseconds().over(holding) >= SEPARATE_MS
    episodes = placed.with_columns(episode=apart.fill_null(value=False).cast(pl.Int64).cum_sum().over(holding))
    calls = episodes.group_by(*holding, "episode", maintain_order=True).agg(
        pl.all().exclude(*holding, "episode").sort_by("distance", maintain_order=True).first(),
        pl.col("close_time").min().alias("from_time"),
        pl.col("close_time").max().alias("to_time"),
        pl.len().cast(pl.Int64).alias("closes"),
    )
    calls = calls.with_columns(pl.Series("day_move", _day_moves(calls, found)))
    return calls.select(CLOSE_CALLS.names()).cast(CLOSE_CALLS).sort("distance", maintain_order=True)


def _day_moves(calls: pl.DataFrame, found: Sequence[Approach]) -> list[float]:
    """Return how the mark moved in the day after each call, signed to the position."""
    series = {one.held.symbol: one.held for one in found}
    moves = []
    for symbol, side, time, mark in calls.select("symbol", "position_side", "close_time", "mark_close").iter_rows():
        one = series[symbol]
        later = int(np.searchsorted(one.close_time, time.timestamp() * 1000 + SEPARATE_MS, side="right")) - 1
        move = float(one.mark[later]) / mark - 1.0
        moves.append(move if side == "long" else -move)
    return moves
