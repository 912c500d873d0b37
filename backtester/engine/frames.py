"""Records of the replay as frames with the columns of a run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.domain.enums import (
    FillReason,
    LedgerKind,
    LiquidationKind,
    Liquidity,
    OrderKind,
    OrderStatus,
    PositionSide,
    RejectReason,
    Side,
    label,
)

TIME = pl.Datetime("ms", "UTC")

FILL_COLUMNS = (
    "time", "order_id", "symbol", "position_side", "side", "quantity", "price", "notional", "fee_paid", "realized_pnl",
    "slippage_paid", "liquidity", "reason", "bar",
)  # fmt: skip
FUNDING_COLUMNS = (
    "time", "symbol", "position_side", "funding_rate", "mark_price", "position_quantity", "funding_payment", "bar",
)  # fmt: skip
LIQUIDATION_COLUMNS = (
    "time", "symbol", "position_side", "quantity", "trigger_price", "bankruptcy_price", "execution_price",
    "margin_lost", "liquidation_fee", "insurance_flow", "kind", "disputed", "entry_price", "margin_balance",
    "requirement", "tier", "bar",
)  # fmt: skip
LEDGER_COLUMNS = ("time", "symbol", "asset", "kind", "amount", "wallet_balance", "bar")
POSITION_COLUMNS = (
    "time", "symbol", "position_side", "position_quantity", "entry_price", "margin", "liquidation_price", "bar",
)  # fmt: skip
ORDER_COLUMNS = (
    "order_id", "symbol", "position_side", "kind", "origin", "request", "decision_time", "due_time", "end_time",
    "target", "wanted_quantity", "filled_quantity", "limit_price", "trigger_price", "status", "reason", "bars_waited",
)  # fmt: skip

# Columns of the records that hold codes.
_FILL_CODES: dict[str, type[IntEnum]] = {
    "position_side": PositionSide,
    "side": Side,
    "liquidity": Liquidity,
    "reason": FillReason,
}
_LIQUIDATION_CODES: dict[str, type[IntEnum]] = {"position_side": PositionSide, "kind": LiquidationKind}
_ORDER_CODES: dict[str, type[IntEnum]] = {
    "position_side": PositionSide,
    "kind": OrderKind,
    "origin": FillReason,
    "status": OrderStatus,
    "reason": RejectReason,
}

Records = NDArray[Any]


def fills_frame(records: Records, symbols: Sequence[str]) -> pl.DataFrame:
    """Return fills, one row each; the liquidation engine's have the order number -1."""
    return _frame(records, symbols, _FILL_CODES).select(FILL_COLUMNS)


def funding_frame(records: Records, symbols: Sequence[str]) -> pl.DataFrame:
    """Return settlements of held positions; ``funding_payment`` is positive when received."""
    return _frame(records, symbols, {}).with_columns(_side("position_quantity")).select(FUNDING_COLUMNS)


def liquidations_frame(records: Records, symbols: Sequence[str]) -> pl.DataFrame:
    """Return what the liquidation engine did, one row a closed quantity."""
    return (
        _frame(records, symbols, _LIQUIDATION_CODES)
        .with_columns(pl.col("disputed").cast(pl.Boolean))
        .select(LIQUIDATION_COLUMNS)
    )


def ledger_frame(records: Records, symbols: Sequence[str], asset: str) -> pl.DataFrame:
    """Return every change of the wallet balance; entries of the whole account have no symbol."""
    return (
        _frame(records, symbols, {"kind": LedgerKind}).with_columns(pl.lit(asset).alias("asset")).select(LEDGER_COLUMNS)
    )


def positions_frame(records: Records, symbols: Sequence[str], *, hedged: bool = False) -> pl.DataFrame:
    """Return positions after each change.

    ``position_side`` is what is held, ``"flat"`` for nothing; in hedge mode the leg, flat or not (spot is long).
    """
    frame = _frame(records, symbols, {"position_side": PositionSide})
    leg = pl.col("position_side").replace(label(PositionSide.FLAT), label(PositionSide.LONG))
    return frame.with_columns(leg if hedged else _side("position_quantity")).select(POSITION_COLUMNS)


def orders_frame(records: Records, symbols: Sequence[str]) -> pl.DataFrame:
    """Return the life of each order.

    ``end_time`` is null while it waits, ``request`` where no ``on_bar`` function asked for it; ``position_side`` is the
    leg in hedge mode, else ``"flat"``.
    """
    frame = _frame(records, symbols, _ORDER_CODES)
    asked = pl.when(pl.col("request") >= 0).then(pl.col("request")).alias("request")
    return frame.with_columns(asked).select(ORDER_COLUMNS)


def times(values: NDArray[np.int64]) -> pl.Series:
    """Return ms since 1970 as a series of times; negative ones, which stand for none, as null."""
    series = pl.Series(values, dtype=pl.Int64)
    return series.set(series < 0, None).cast(TIME)


def _frame(records: Records, symbols: Sequence[str], codes: dict[str, type[IntEnum]]) -> pl.DataFrame:
    """Return a structured array as a frame: codes and symbols as text, times as times, NaN as null."""
    columns: dict[str, pl.Series] = {}
    for name in records.dtype.names or ():
        values = np.ascontiguousarray(records[name])
        if name == "symbol":
            columns[name] = _text(values, dict(enumerate(symbols)))
        elif name in codes:
            columns[name] = _text(values, {int(member): label(member) for member in codes[name]})
        elif name == "time" or name.endswith("_time"):
            columns[name] = times(values)
        elif values.dtype.kind == "f":
            columns[name] = pl.Series(values).fill_nan(None)
        else:
            columns[name] = pl.Series(values)
    return pl.DataFrame(columns)


def _text(codes: NDArray[np.int64], labels: dict[int, str]) -> pl.Series:
    """Return codes as their labels, null where there is none."""
    return pl.Series(codes, dtype=pl.Int64).replace_strict(labels, default=None, return_dtype=pl.String)


def _side(quantity: str) -> pl.Expr:
    """Return the side of signed quantities as text."""
    held = pl.col(quantity)
    return (
        pl.when(held > 0).then(pl.lit("long")).when(held < 0).then(pl.lit("short")).otherwise(pl.lit("flat"))
    ).alias("position_side")
