"""Round trips in groups: by side and reason of the exit, by holding time, in streaks. Open trips are in none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

HOURS = (0.25, 1.0, 4.0, 12.0, 24.0, 72.0, 168.0, 720.0)
"""Upper ends of the stretches of holding time [hours]; the last stretch has none."""
HELD: tuple[str, ...] = (
    "< 15 min",
    "15\u201360 min",
    "1\u20134 h",
    "4\u201312 h",
    "12\u201324 h",
    "1\u20133 d",
    "3\u20137 d",
    "7\u201330 d",
    "> 30 d",
)
GROUP_SCHEMA = pl.Schema(
    {
        "position_side": pl.String(),
        "exit_reason": pl.String(),
        "trades": pl.Int64(),
        "hit_rate": pl.Float64(),
        "profit_factor": pl.Float64(),
        "average": pl.Float64(),
        "total": pl.Float64(),
        "held": pl.Duration("ms"),
        "mae": pl.Float64(),
        "mfe": pl.Float64(),
    }
)


@dataclass(frozen=True)
class Streaks:
    """Runs of gains and of losses, by time of exit.

    Attributes
    ----------
    longest_gain, longest_loss : int
        Trips of the longest run of each kind.
    loss_amount : float
        The largest sum that a run of losses took [settlement currency], <= 0.
    expected_loss : float or None
        About how long the longest run of losses is by chance alone at this hit rate; None without both kinds.
    """

    longest_gain: int
    longest_loss: int
    loss_amount: float
    expected_loss: float | None


def closed(trades: pl.DataFrame) -> pl.DataFrame:
    """Return the trips that ended, by time of exit."""
    return trades.filter(pl.col("exit_time").is_not_null()).sort("exit_time", maintain_order=True)


def by_exit(trades: pl.DataFrame) -> pl.DataFrame:
    """Return closed trips by side and reason of the exit, the most frequent first.

    Returns
    -------
    polars.DataFrame
        ``position_side, exit_reason, trades, hit_rate`` (share with a net gain), ``profit_factor`` (null without a
        loss), ``average`` and ``total`` net result, ``held`` (mean), ``mae`` and ``mfe`` (means).
    """
    ended = closed(trades)
    if ended.is_empty():
        return pl.DataFrame(schema=GROUP_SCHEMA)
    net, lost = pl.col("net_pnl"), -pl.col("net_pnl").clip(upper_bound=0.0).sum()
    return (
        ended.group_by("position_side", "exit_reason", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("trades"),
            (net > 0).mean().alias("hit_rate"),
            pl.when(lost > 0).then(net.clip(lower_bound=0.0).sum() / lost).alias("profit_factor"),
            net.mean().alias("average"),
            net.sum().alias("total"),
            (pl.col("exit_time") - pl.col("entry_time")).mean().alias("held"),
            pl.col("mae", "mfe").mean(),
        )
        .cast(GROUP_SCHEMA)
        .sort("trades", "position_side", "exit_reason", descending=[True, False, False])
    )


def by_holding(trades: pl.DataFrame) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Return names of stretches of holding time, and how many closed trips in each gained and lost.

    Stretches before the first and after the last that occurs are left out; none where nothing was closed.
    """
    ended = closed(trades)
    if ended.is_empty():
        return (), np.empty(0, np.int64), np.empty(0, np.int64)
    hours = (ended["exit_time"] - ended["entry_time"]).dt.total_milliseconds().to_numpy() / 3_600_000
    place = np.searchsorted(np.array(HOURS), hours, side="right")
    gain = (ended["net_pnl"] > 0).to_numpy()
    kept = slice(int(place.min()), int(place.max()) + 1)
    gains = np.bincount(place[gain], minlength=len(HELD))
    losses = np.bincount(place[~gain], minlength=len(HELD))
    return HELD[kept], gains[kept], losses[kept]


def streaks(trades: pl.DataFrame) -> Streaks:
    """Return the longest runs of gains and losses among closed trips; a result of zero is a loss."""
    net = closed(trades)["net_pnl"].to_numpy()
    gain = net > 0
    edges = np.flatnonzero(np.diff(gain)) + 1
    starts = np.concatenate(([0], edges)) if len(net) else np.empty(0, np.int64)
    lengths = np.diff(np.append(starts, len(net)))
    is_gain = gain[starts] if len(net) else np.empty(0, bool)
    sums = np.add.reduceat(net, starts) if len(net) else np.empty(0)
    share = float(np.mean(~gain)) if len(net) else 0.0
    expected = None
    if 0 < share < 1:
        expected = (
            max(1.0, float(np.log(len(net) * (1 - share)) / -np.log(share))) if len(net) * (1 - share) > 1 else 1.0
        )
    return Streaks(
        longest_gain=int(lengths[is_gain].max(initial=0)),
        longest_loss=int(lengths[~is_gain].max(initial=0)),
        loss_amount=float(sums[~is_gain].min(initial=0.0)),
        expected_loss=expected,
    )
