"""Accounts of a run made again from the exchange's files, in polars alone: nothing here reads the store or the engine.

A fill or settlement at a bar's open belongs to that bar, and a settlement finds what was held before the fills of its
moment. So whatever is asked "at" a time counts the events strictly before it.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl

TIME = pl.Datetime("ms", "UTC")
BALANCE = 10_000.0


def stamp(text: str) -> dt.datetime:
    """Return a UTC time."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def raw(folder: Path, symbol: str, kind: str, timeframe: str = "1h") -> pl.DataFrame:
    """Return one of freqtrade's files as it is: ``futures``, ``mark`` or ``funding_rate`` (the rate is in ``open``)."""
    name = f"{symbol.replace('/', '_').replace(':', '_')}-{timeframe}-{kind}.feather"
    frame = pl.read_ipc(folder / "binance" / name)
    return frame.with_columns(time=pl.col("date").cast(TIME)).drop("date")


def records(folder: Path, symbol: str) -> pl.DataFrame:
    """Return the settlements of a symbol: ``time, rate, mark_price``, valued at the mark's open."""
    mark = raw(folder, symbol, "mark").select("time", mark_price="open")
    return raw(folder, symbol, "funding_rate").select("time", rate="open").join(mark, on="time", how="left")


def position(fills: pl.DataFrame, symbol: str, times: pl.Series) -> pl.DataFrame:
    """Return ``time, quantity, cash``: the signed position and what its fills paid in and out before each time."""
    signed = pl.when(pl.col("side") == "buy").then(pl.col("quantity")).otherwise(-pl.col("quantity"))
    steps = (
        fills.filter(pl.col("symbol") == symbol)
        .select(
            "time",
            quantity=signed.cum_sum(),
            cash=(-signed * pl.col("price") - pl.col("fee_paid")).cum_sum(),
        )
        .group_by("time", maintain_order=True)
        .last()
    )
    asked = times.to_frame("time").with_columns(pl.col("time").cast(TIME))
    joined = asked.join_asof(steps, on="time", strategy="backward", allow_exact_matches=False).fill_null(0.0)
    # what sums of fractions leave of a closed position
    dust = 1e-9 * (steps["quantity"].abs().max() or 0.0)
    return joined.with_columns(quantity=pl.when(pl.col("quantity").abs() > dust).then("quantity").otherwise(0.0))


def payments(settlements: pl.DataFrame, fills: pl.DataFrame, symbol: str, end: dt.datetime) -> pl.DataFrame:
    """Return ``time, rate, mark_price, quantity, payment`` of every record before the end that found a position."""
    held = position(fills, symbol, settlements["time"])
    paid = settlements.join(held.select("time", "quantity"), on="time")
    return paid.filter((pl.col("quantity") != 0) & (pl.col("time") < end)).with_columns(
        payment=-pl.col("quantity") * pl.col("mark_price") * pl.col("rate")
    )


def equity(
    marks: dict[str, pl.DataFrame], settled: dict[str, pl.DataFrame], fills: pl.DataFrame, closes: pl.Series
) -> pl.Series:
    """Return the equity at each bar's close: balance, cash of the fills, payments, and the position at the mark."""
    total = pl.Series("equity", [BALANCE] * len(closes))
    for symbol, mark in marks.items():
        held = position(fills, symbol, closes).join_asof(mark, on="time", strategy="backward")
        paid = settled[symbol].select("time", paid=pl.col("payment").cum_sum())
        held = held.join_asof(paid, on="time", strategy="backward", allow_exact_matches=False)
        total = total + held.select(
            pl.col("cash") + pl.col("quantity") * pl.col("close").fill_null(0.0) + pl.col("paid").fill_null(0.0)
        ).to_series().fill_null(0.0)
    return total


@dataclass(frozen=True)
class Bracket:
    """One margin tier of the file."""

    floor: float
    rate: float
    deduction: float


def bracket(folder: Path, symbol: str, notional: float) -> Bracket:
    """Return the bracket of October 2025 that a notional lies in; ``cum`` is the exchange's own deduction."""
    tiers = json.loads((folder / "tiers" / "binance_2025-10.json").read_text())[symbol]
    tier = max((t for t in tiers if t["minNotional"] <= notional), key=lambda t: float(t["minNotional"]))
    return Bracket(float(tier["minNotional"]), float(tier["maintenanceMarginRate"]), float(tier["info"]["cum"]))


def requirement(folder: Path, symbol: str, notional: float) -> float:
    """Return the maintenance margin of a notional."""
    found = bracket(folder, symbol, notional)
    return notional * found.rate - found.deduction


@dataclass(frozen=True)
class IsolatedLong:
    """A long of one contract opened at a traded open, and what the files say becomes of it.

    Attributes
    ----------
    quantity, entry : float
        What was bought.
    margin : float
        Initial margin less the funding of 2025-10-10 16:00.
    liquidation_price, bankruptcy_price : float
        By the venue's formula.
    """

    quantity: float
    entry: float
    margin: float
    liquidation_price: float
    bankruptcy_price: float


def isolated_long(folder: Path, symbol: str, opened: dt.datetime, leverage: float, target: float) -> IsolatedLong:
    """Open at the traded open, pay the one settlement of 2025-10-10 16:00, and solve for the liquidation price."""
    trades = raw(folder, symbol, "futures")
    entry = trades.filter(pl.col("time") == opened)["open"].item()
    quantity = target * BALANCE / entry
    (settlement,) = (
        records(folder, symbol)
        .filter(pl.col("time").is_between(opened, stamp("2025-10-10T23:00"), closed="right"))
        .to_dicts()
    )
    margin = quantity * entry / leverage - quantity * settlement["mark_price"] * settlement["rate"]
    tier = bracket(folder, symbol, quantity * entry)
    price = (quantity * entry - margin - tier.deduction) / (quantity * (1 - tier.rate))
    assert bracket(folder, symbol, quantity * price) == tier
    return IsolatedLong(quantity, entry, margin, price, entry - margin / quantity)
