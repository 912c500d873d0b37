"""What the venue did to a run's account, one row each, and what it cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from backtester.analytics.value import inverse_symbols, to_price, to_value
from backtester.domain.enums import FillReason, LedgerKind, label
from backtester.engine.result import Result, SummaryValue

TIME = pl.Datetime("ms", "UTC")
SCHEMA = pl.Schema(
    {
        "time": TIME,
        "kind": pl.String(),
        "symbol": pl.String(),
        "position_side": pl.String(),
        "quantity": pl.Float64(),
        "price": pl.Float64(),
        "mark_price": pl.Float64(),
        "profit_lost": pl.Float64(),
        "light": pl.Int64(),
    }
)


def has_venue_events(result: Result) -> bool:
    """Return whether the venue did something to the account, or its market was cleared to see whether it would."""
    events = result.config.venue_events
    return bool(result.config.clearing is not None or events.deleverage or events.clawback)


def struck_events(result: Result) -> pl.DataFrame:
    """Return what the venue did to the account, in order of time.

    Returns
    -------
    polars.DataFrame
        The columns of `SCHEMA`. ``kind`` is ``"auto_deleverage"`` or ``"socialized_loss"``; of the latter, which
        strikes the whole account, symbol, side, quantity and prices are null. ``profit_lost`` is what the price of a
        deleveraging took against the mark, or what a clawback took [settlement currency; negative: gained]. ``light``
        is the position's place in the queue, 1 first, where a market was cleared.
    """
    fills = result.fills.filter(pl.col("reason") == label(FillReason.AUTO_DELEVERAGE))
    parts = [pl.DataFrame(schema=SCHEMA)]
    inverse = inverse_symbols(result.config)
    for (symbol,), own in fills.partition_by("symbol", as_dict=True, maintain_order=True).items():
        side = np.where((own["position_side"] == "long").to_numpy(), 1.0, -1.0)
        value = to_value(own["price"].to_numpy(), inverse=symbol in inverse)
        mark = value + side * own["slippage_paid"].to_numpy() / own["quantity"].to_numpy()
        parts.append(
            own.select(
                "time",
                pl.lit(label(LedgerKind.AUTO_DELEVERAGE)).alias("kind"),
                "symbol",
                "position_side",
                "quantity",
                "price",
                pl.Series("mark_price", to_price(mark, inverse=symbol in inverse)),
                pl.col("slippage_paid").alias("profit_lost"),
                pl.lit(None, pl.Int64).alias("light"),
            ).cast(SCHEMA)
        )
    paid = result.ledger.filter(pl.col("kind") == label(LedgerKind.SOCIALIZED_LOSS))
    parts.append(
        pl.DataFrame(
            {"time": paid["time"], "kind": paid["kind"], "profit_lost": -paid["amount"]},
            schema={"time": TIME, "kind": pl.String, "profit_lost": pl.Float64},
        )
    )
    events = pl.concat(parts, how="diagonal").sort("time", maintain_order=True)
    return _with_lights(events, result.clearing)


def _with_lights(events: pl.DataFrame, clearing: pl.DataFrame) -> pl.DataFrame:
    """Return the deleveragings with the light of their bar, with which they struck, else the last one known before."""
    if clearing.is_empty() or events.is_empty():
        return events
    known = clearing.drop_nulls("light").select("open_time", "symbol", pl.col("light").alias("seen"))
    before = events.with_row_index().join(known, on="symbol", how="inner").filter(pl.col("open_time") <= pl.col("time"))
    last = before.sort("open_time").group_by("index", maintain_order=True).agg(pl.col("seen").last())
    joined = events.with_row_index().join(last, on="index", how="left", maintain_order="left")
    return joined.with_columns(pl.col("seen").alias("light")).select(SCHEMA.names())


def venue_details(result: Result) -> dict[str, SummaryValue]:
    """Return what the venue took, for the details of a run; empty where nothing of the kind was asked."""
    if not has_venue_events(result):
        return {}
    events = struck_events(result)
    closed = events.filter(pl.col("kind") == label(LedgerKind.AUTO_DELEVERAGE))
    fills = result.fills.filter(pl.col("reason") == label(FillReason.AUTO_DELEVERAGE))
    paid = events.filter(pl.col("kind") == label(LedgerKind.SOCIALIZED_LOSS))
    found: dict[str, SummaryValue] = {
        "deleveragings": closed.height,
        "deleveraged_notional": float(fills["notional"].sum()),
        "profit_realized": float(fills["realized_pnl"].sum()),
        "lost_to_price": float(closed["profit_lost"].sum()),
        "clawbacks": paid.height,
        "clawed_back": float(paid["profit_lost"].sum()),
        "total_lost": float(events["profit_lost"].sum()),
        "final_equity": _last(result.equity),
        "final_equity_without": _last(result.unstruck) if result.unstruck.height else _last(result.equity),
    }
    if result.clearing.height:
        lights = result.clearing["light"].drop_nulls()
        found |= {
            "first_in_queue": float(np.mean((lights == 1).to_numpy())) if len(lights) else None,
            "fund_low": float(result.clearing["fund_worth"].to_numpy().min()),
        }
    stated = result.manifest.get("clearing")
    if isinstance(stated, dict):
        found["rounds"] = int(stated["rounds"])
    return found


def with_venue_details(result: Result) -> Result:
    """Return a run whose details hold what the venue did to its account, where it may have done something."""
    found = venue_details(result)
    return replace(result, details={**result.details, "venue_events": found}) if found else result


def _last(equity: pl.DataFrame) -> float:
    return float(equity["equity"][-1]) if equity.height else 0.0
