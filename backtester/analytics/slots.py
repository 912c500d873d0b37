"""Records by what holds a position: a contract, a leg of it in hedge mode, a spot instrument."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from backtester.domain.enums import FillReason, label
from backtester.engine.result import Result

ENTRY_REASON = "transfer"
"""Reason of the line that stands for a quantity held from the start."""

_FILL_COLUMNS = (
    "time",
    "order_id",
    "symbol",
    "position_side",
    "side",
    "quantity",
    "price",
    "fee_paid",
    "realized_pnl",
    "reason",
)
_LIQUIDATION_KINDS = ("liquidation_fee", "insurance_clearance")


@dataclass(frozen=True, eq=False)
class SlotRecords:
    """What changed positions and what they paid, in order of time.

    Attributes
    ----------
    fills : polars.DataFrame
        ``time, order_id, symbol, position_side, side, quantity, price, fee_paid, realized_pnl, reason``; a quantity
        held from the start stands first, as bought at the price at which it entered.
    funding : polars.DataFrame
        ``time, symbol, position_side, funding_payment``.
    liquidation : polars.DataFrame
        ``time, symbol, position_side, amount``: liquidation fees and clearance, signed to the account.
    hedged : bool
        Whether the sides are legs of their own.
    """

    fills: pl.DataFrame
    funding: pl.DataFrame
    liquidation: pl.DataFrame
    hedged: bool

    def of(self, chosen: pl.Expr) -> SlotRecords:
        """Return the chosen rows of every record."""
        return SlotRecords(
            self.fills.filter(chosen), self.funding.filter(chosen), self.liquidation.filter(chosen), self.hedged
        )

    def legs(self) -> list[SlotRecords]:
        """Return the records of each slot of one symbol that was filled: of both legs in hedge mode, else the whole."""
        if not self.hedged:
            return [self] if self.fills.height else []
        parts = [self.of(pl.col("position_side") == side) for side in ("long", "short")]
        return [part for part in parts if part.fills.height]


def _at_own_price() -> pl.Expr:
    """Return what fills realised at their own price: deleveragings are booked at the mark, and lost the difference."""
    by_venue = pl.col("reason") == label(FillReason.AUTO_DELEVERAGE)
    return pl.when(by_venue).then(pl.col("realized_pnl") - pl.col("slippage_paid")).otherwise("realized_pnl")


def slot_records(result: Result) -> SlotRecords:
    """Return the records of a run by what holds its positions.

    Parameters
    ----------
    result : Result
        A replayed run.
    """
    hedged = result.config.account.position_mode == "hedge"
    fills = result.fills.with_columns(_at_own_price()).select(_FILL_COLUMNS)
    entered = held_from_start(result)
    if entered.height:
        # Stable: what enters comes before a fill at the same time.
        fills = pl.concat([entered, fills], how="vertical_relaxed").sort("time", maintain_order=True)
    funding = result.funding.select("time", "symbol", "position_side", "funding_payment")
    return SlotRecords(fills, funding, _liquidation(result, fills, hedged=hedged), hedged)


def held_from_start(result: Result) -> pl.DataFrame:
    """Return the quantities that a run began with, as if they had been bought when they entered, without a fee."""
    transfers = result.ledger.filter((pl.col("kind") == "transfer") & pl.col("symbol").is_not_null())
    first = result.positions.group_by("symbol", maintain_order=True).first()
    return transfers.join(first, on="symbol", suffix="_held").select(
        "time",
        pl.lit(-1, pl.Int64).alias("order_id"),
        "symbol",
        pl.lit("long").alias("position_side"),
        pl.lit("buy").alias("side"),
        pl.col("position_quantity").alias("quantity"),
        pl.col("entry_price").alias("price"),
        pl.lit(0.0).alias("fee_paid"),
        pl.lit(0.0).alias("realized_pnl"),
        pl.lit(ENTRY_REASON).alias("reason"),
    )


def _liquidation(result: Result, fills: pl.DataFrame, *, hedged: bool) -> pl.DataFrame:
    """Return fees and clearance of liquidations; in hedge mode by leg, as the stories of the liquidations tell.

    The ledger knows symbols, not legs. What it holds beyond the stories goes to the leg that was filled last.
    """
    ledger = result.ledger.filter(pl.col("kind").is_in(_LIQUIDATION_KINDS) & pl.col("symbol").is_not_null())
    booked = ledger.select("time", "symbol", "amount")
    if not hedged:
        return booked.with_columns(pl.lit(None, pl.String).alias("position_side"))
    engine = result.fills.filter(pl.col("reason").is_in(["liquidation", "liquidation_step"]))
    # One story a fill of the engine, in the same order: its loss is realised profit, fee and clearance together.
    stories = result.liquidations.select(
        "time",
        "symbol",
        "position_side",
        amount=-pl.col("margin_lost") - pl.Series("realized", engine["realized_pnl"].to_numpy()),
    )
    keys = ["time", "symbol"]
    told = stories.group_by(keys, maintain_order=True).agg(pl.col("amount").sum().alias("told"))
    rest = (
        booked.group_by(keys, maintain_order=True)
        .agg(pl.col("amount").sum())
        .join(told, on=keys, how="left", maintain_order="left")
        .with_columns(amount=pl.col("amount") - pl.col("told").fill_null(0.0))
        .sort("time", maintain_order=True)
        .join_asof(fills.select("time", "symbol", "position_side"), on="time", by="symbol", check_sortedness=False)
    )
    both = pl.concat([stories, rest.select(stories.columns)], how="vertical_relaxed")
    return both.filter(pl.col("amount").abs() > np.finfo(float).tiny).sort("time", maintain_order=True)
