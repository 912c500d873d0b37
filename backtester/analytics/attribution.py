"""Where the profit came from: parts that add up to the change of equity.

All amounts are signed to the account. ``price`` is the profit of price moves at reference prices; what the fills lost
against those is ``slippage`` for own fills and part of ``liquidation`` for the engine's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from backtester.analytics.value import inverse_symbols, to_value
from backtester.engine.result import Result

PARTS = ("price", "slippage", "fees", "funding", "liquidation", "auto_deleverage", "socialized_loss", "transfer")

_LEDGER_PART = {
    "realized_pnl": "price",
    "trading_fee": "fees",
    "funding": "funding",
    "liquidation_fee": "liquidation",
    "insurance_clearance": "liquidation",
    "auto_deleverage": "auto_deleverage",
    "socialized_loss": "socialized_loss",
    "transfer": "transfer",
}
_ENGINE = ("liquidation", "liquidation_step", "collateral", "auto_deleverage")
_BORNE = ("liquidation_step", "collateral")


def attribute(result: Result) -> dict[str, float]:
    """Return each part of ``E_T - E_0`` [settlement currency], by the names of `PARTS`.

    Notes
    -----
    ``price = realised + change of unrealised - slippage - engine slippage``. The engine's slippage counts where the
    account bears it: steps, sales of collateral, and takeovers at the market. A takeover at bankruptcy is booked at the
    mark, so its slippage is the fund's. What a deleveraging lost against the mark is ``auto_deleverage``.
    """
    parts = dict.fromkeys(PARTS, 0.0)
    for (kind,), entries in _groups(result.ledger, "kind"):
        parts[_LEDGER_PART[kind]] += _sum(entries["amount"])
    if not result.equity.is_empty():
        parts["price"] += float(result.equity["equity"][-1]) - float(result.equity["wallet_balance"][-1])
    slippage = slippage_by_symbol(result)
    own, engine = float(slippage["slippage"].sum()), float(slippage["engine_slippage"].sum())
    parts["price"] -= own + engine
    parts["slippage"] += own
    parts["liquidation"] += engine
    return {name: amount + 0.0 for name, amount in parts.items()}


def attribute_symbols(result: Result) -> pl.DataFrame:
    """Return the parts of each symbol; entries of the whole account stand under a null symbol.

    Returns
    -------
    polars.DataFrame
        ``symbol``, the columns of `PARTS`, ``total``. The columns add up to `attribute`, as far as marking the last
        position to the last mark close reproduces the recorded equity.
    """
    rows = {symbol: dict.fromkeys(PARTS, 0.0) for symbol in (*result.symbols, None)}
    for (symbol, kind), entries in _groups(result.ledger, "symbol", "kind"):
        rows[symbol][_LEDGER_PART[kind]] += _sum(entries["amount"])
    for symbol, amount in last_unrealized(result).items():
        rows[symbol]["price"] += amount
    for symbol, own, engine in slippage_by_symbol(result).iter_rows():
        rows[symbol]["price"] -= own + engine
        rows[symbol]["slippage"] += own
        rows[symbol]["liquidation"] += engine
    if not any(rows[None].values()):
        del rows[None]
    schema = pl.Schema({"symbol": pl.String(), **dict.fromkeys(PARTS, pl.Float64())})
    frame = pl.DataFrame([{"symbol": symbol} | parts for symbol, parts in rows.items()], schema=schema)
    return frame.with_columns(pl.sum_horizontal(*PARTS).alias("total"))


def slippage_by_symbol(result: Result) -> pl.DataFrame:
    """Return ``symbol, slippage, engine_slippage``, both <= 0, of the fills whose slippage the account bears."""
    borne = _ENGINE if result.config.liquidation.takeover == "market" else _BORNE
    rows = []
    for (symbol,), fills in _groups(result.fills.select("symbol", "reason", "slippage_paid"), "symbol"):
        own = fills.filter(~pl.col("reason").is_in(_ENGINE))["slippage_paid"]
        engine = fills.filter(pl.col("reason").is_in(borne))["slippage_paid"]
        rows.append((symbol, -_sum(own), -_sum(engine)))
    schema = {"symbol": pl.String, "slippage": pl.Float64, "engine_slippage": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _groups(frame: pl.DataFrame, *by: str) -> list[tuple[tuple[Any, ...], pl.DataFrame]]:
    """Return the rows of each key in order of first appearance: sums over them are the same on every machine."""
    return list(frame.partition_by(*by, as_dict=True, maintain_order=True).items()) if frame.height else []


def _sum(amounts: pl.Series) -> float:
    """Return a pairwise sum, which does not depend on how polars spreads its work."""
    return float(np.sum(amounts.to_numpy())) if len(amounts) else 0.0


def last_unrealized(result: Result) -> dict[str, float]:
    """Return the unrealised profit of each symbol held at the end, at the last mark close; of both legs together."""
    inverse = inverse_symbols(result.config)
    slot = ("symbol", "position_side") if result.config.account.position_mode == "hedge" else ("symbol",)
    held = (
        result.positions.group_by(*slot, maintain_order=True)
        .agg(pl.col("position_quantity", "entry_price").last())
        .filter(pl.col("position_quantity") != 0)
        .join(result.bars.group_by("symbol").agg(pl.col("mark_close").last()), on="symbol")
    )
    out: dict[str, float] = {}
    for symbol, quantity, entry, mark in held.select(
        "symbol", "position_quantity", "entry_price", "mark_close"
    ).iter_rows():
        entry_value, mark_value = to_value(np.array([entry, mark]), inverse=symbol in inverse)
        out[symbol] = out.get(symbol, 0.0) + float(quantity * (mark_value - entry_value))
    return out
