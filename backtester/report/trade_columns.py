"""What a run did in one contract, packed: round trips, resting stops and targets, liquidations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from backtester.report.downsample import thin
from backtester.report.packing import Column, Grid, pack_values, pack_whole

MOST_EVENTS = 60_000
"""Rows of each kind that a page holds of one contract: of more, the largest of each stretch of time."""
_RESOLUTION = 1e-8
_LEVELS = {"stop_loss": 0, "trailing_stop": 0, "take_profit": 1}


@dataclass(frozen=True)
class Events:
    """Packed columns, and the words that their codes stand for."""

    columns: dict[str, Column]
    words: dict[str, list[str]] = field(default_factory=dict)


def trade_columns(
    trades: pl.DataFrame | None, orders: pl.DataFrame | None, liquidations: pl.DataFrame | None, *, digits: int
) -> dict[str, Events]:
    """Return ``trades``, ``levels`` and ``liquidations`` of a contract, each where there are any.

    Parameters
    ----------
    trades, orders, liquidations : polars.DataFrame or None
        Its rows.
    digits : int
        Decimals of amounts.
    """
    found = {}
    if trades is not None and trades.height:
        found["trades"] = _trips(_kept(trades, "entry_time", "net_pnl"), digits)
    levels = price_levels(orders) if orders is not None else None
    if levels is not None and levels.height:
        found["levels"] = _levels(_kept(levels, "start", "price"))
    if liquidations is not None and liquidations.height:
        found["liquidations"] = _liquidations(_kept(liquidations, "time", "quantity"))
    return found


def price_levels(orders: pl.DataFrame) -> pl.DataFrame:
    """Return ``start, end, price, kind`` of attached stops (0) and take-profits (1); ``end`` is null while one waits.

    Parameters
    ----------
    orders : polars.DataFrame
        Orders of a contract.
    """
    if not {"origin", "trigger_price"} <= set(orders.columns):
        return pl.DataFrame()
    return orders.filter(pl.col("origin").is_in(list(_LEVELS)) & pl.col("trigger_price").is_not_null()).select(
        pl.col("due_time").alias("start"),
        pl.col("end_time").alias("end"),
        pl.col("trigger_price").alias("price"),
        pl.col("origin").replace_strict(_LEVELS, return_dtype=pl.Int64).alias("kind"),
    )


def _kept(rows: pl.DataFrame, time: str, weight: str) -> pl.DataFrame:
    """Return rows in order of time; of very many, the heaviest."""
    ordered = rows.sort(time, maintain_order=True)
    if ordered.height <= MOST_EVENTS:
        return ordered
    sizes = ordered[weight].cast(pl.Float64).fill_null(0.0).abs().to_numpy()
    return ordered[thin(ordered[time].cast(pl.Int64).to_numpy(), sizes, MOST_EVENTS)]


def _trips(trades: pl.DataFrame, digits: int) -> Events:
    sides, reasons = ["long", "short"], sorted(str(reason) for reason in trades["exit_reason"].drop_nulls().unique())
    scale = 10**digits
    net = np.rint(trades["net_pnl"].cast(pl.Float64).fill_null(0.0).fill_nan(0.0).to_numpy() * scale)
    columns = {
        "entry": _times(trades["entry_time"]),
        "exit": _times(trades["exit_time"]),
        "side": _codes(trades["position_side"], sides),
        "reason": _codes(trades["exit_reason"], reasons),
        "quantity": _values(trades["quantity"]),
        "entry_price": _values(trades["entry_price"]),
        "exit_price": _values(trades["exit_price"]),
        "net": pack_whole(net.astype(np.int64), Grid(scale, 1, exact=False), summed=False),
    }
    return Events(columns, {"side": sides, "reason": reasons})


def _levels(levels: pl.DataFrame) -> Events:
    columns = {
        "start": _times(levels["start"]),
        "end": _times(levels["end"]),
        "price": _values(levels["price"]),
        "kind": pack_whole(levels["kind"].to_numpy(), summed=False),
    }
    return Events(columns)


def _liquidations(rows: pl.DataFrame) -> Events:
    sides, kinds = ["long", "short"], sorted(str(kind) for kind in rows["kind"].unique())
    columns = {
        "time": _times(rows["time"]),
        "side": _codes(rows["position_side"], sides),
        "kind": _codes(rows["kind"], kinds),
        "quantity": _values(rows["quantity"]),
        "price": _values(rows["trigger_price"]),
    }
    return Events(columns, {"side": sides, "kind": kinds})


def _times(times: pl.Series) -> Column:
    """Return moments packed; one that never came as 0."""
    return pack_whole(times.cast(pl.Int64).fill_null(0).to_numpy())


def _values(values: pl.Series) -> Column:
    """Return prices or sizes packed, to eight digits at least; missing ones as 0."""
    known = values.cast(pl.Float64).fill_null(0.0).fill_nan(0.0).to_numpy()
    return pack_values(known, resolution=_RESOLUTION, summed=False)


def _codes(texts: pl.Series, words: Sequence[str]) -> Column:
    """Return texts packed as their places in a list."""
    places: Mapping[str, int] = {word: place for place, word in enumerate(words)}
    return pack_whole(texts.replace_strict(places, default=len(words), return_dtype=pl.Int64).to_numpy(), summed=False)
