"""Every metric of a run by its key. docs/metrics.md defines each."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl

from backtester.analytics import attribution, drawdown, exposure, returns, risk, trades
from backtester.domain.enums import OrderStatus, RejectReason, label
from backtester.engine.result import Result, SummaryValue
from backtester.errors import format_time

SCHEMA_VERSION = 1


def complete(result: Result) -> Result:
    """Return the result with its round trips and its summary filled in.

    Parameters
    ----------
    result : Result
        A replayed run.

    Returns
    -------
    Result
        A copy; every value of its ``summary`` is finite, text or None.
    """
    with_trades = replace(result, trades=trades.round_trips(result))
    return replace(with_trades, summary=summarize(with_trades))


def summarize(result: Result) -> dict[str, SummaryValue]:
    """Return the metrics of a run whose round trips are known."""
    values: dict[str, SummaryValue] = {
        **_identity(result),
        **_returns(result),
        **_drawdown(result),
        **_exposure(result),
        **trades.statistics(result.trades),
        **attribution.attribute(result),
        **_costs(result),
        **_risk(result),
        **_orders(result.orders),
        **result.counts,
        **_notices(result),
    }
    return {key: _plain(value) for key, value in values.items()}


def _identity(result: Result) -> dict[str, SummaryValue]:
    """Return what was run."""
    first = result.equity.is_empty()
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": result.run_id,
        "strategy": result.strategy_name,
        "venue": result.config.data.venue,
        "symbols": ", ".join(result.symbols),
        "timeframe": result.config.data.timeframe,
        "detail": result.config.data.detail,
        "synthetic": int(result.synthetic),
        "settle": result.settle,
        "start": None if first else format_time(result.start),
        "end": None if first else format_time(result.end),
        "bars": result.equity.height,
    }


def _returns(result: Result) -> dict[str, SummaryValue]:
    """Return the metrics of daily returns."""
    balance = result.config.account.balance
    grown = returns.time_weighted(result.equity, result.ledger, balance)
    changes = returns.daily_returns(grown, balance)["return"].to_numpy()
    final = float(result.equity["equity"][-1]) if result.equity.height else balance
    total = returns.total_return(balance, float(grown["equity"][-1]) if grown.height else balance)
    moved = float(result.ledger.filter(pl.col("kind") == "transfer")["amount"].sum())
    return {
        "days": len(changes),
        "initial_balance": balance,
        "final_equity": final,
        "net_profit": final - balance - moved,
        "total_return": total,
        "annual_return": returns.annual_return(total, len(changes)),
        "volatility": returns.volatility(changes),
        "sharpe": returns.sharpe(changes),
        "sortino": returns.sortino(changes),
        "best_day": float(changes.max()) if len(changes) else None,
        "worst_day": float(changes.min()) if len(changes) else None,
        "positive_days": float(np.mean(changes > 0)) if len(changes) else None,
    }


def _drawdown(result: Result) -> dict[str, SummaryValue]:
    """Return depth, dates and length of the deepest drawdown, and Calmar's ratio over it."""
    balance = result.config.account.balance
    grown = returns.time_weighted(result.equity, result.ledger, balance)
    found = drawdown.episodes(grown, balance)
    deepest = found.sort("depth", maintain_order=True).head(1)
    row = deepest.to_dicts()[0] if deepest.height else {}
    depth = float(row["depth"]) if row else 0.0
    days = returns.daily_closes(result.equity).height
    final = float(grown["equity"][-1]) if grown.height else balance
    annual = returns.annual_return(returns.total_return(balance, final), days)
    longest = exposure.number(found["length"].dt.total_milliseconds().max())
    return {
        "max_drawdown": depth,
        "max_drawdown_start": _text(row.get("peak_time")),
        "max_drawdown_trough": _text(row.get("trough_time")),
        "max_drawdown_end": _text(row.get("recovery_time")),
        "max_drawdown_days": row["length"].total_seconds() / 86_400 if row else 0.0,
        "longest_drawdown_days": longest / 86_400_000 if longest is not None else 0.0,
        "calmar": returns.calmar(annual, depth),
    }


def _exposure(result: Result) -> dict[str, SummaryValue]:
    """Return exposure and turnover."""
    closes = returns.daily_closes(result.equity)
    total = exposure.turnover(result.fills, closes)
    return {
        "mean_exposure": exposure.mean_exposure(closes, "gross_exposure"),
        "mean_net_exposure": exposure.mean_exposure(closes, "net_exposure"),
        "turnover": total,
        "annual_turnover": exposure.annual_turnover(total, closes.height),
        "fills": result.fills.height,
        "maker_share": exposure.maker_share(result.fills),
    }


def _costs(result: Result) -> dict[str, SummaryValue]:
    """Return funding by direction and what the engine took."""
    payment = result.funding["funding_payment"].to_numpy()
    kinds = result.liquidations["kind"]
    return {
        "funding_received": float(payment[payment > 0].sum()),
        "funding_paid": float(payment[payment < 0].sum()) + 0.0,
        "settlements": result.funding.height,
        "liquidations": int((kinds == "takeover").sum()),
        "liquidation_steps": int((kinds == "step").sum()),
        "disputed_liquidations": int(result.liquidations["disputed"].cast(pl.Int64).sum()),
        "insurance_flow": float(result.liquidations["insurance_flow"].sum()),
    }


def _risk(result: Result) -> dict[str, SummaryValue]:
    """Return how near the account came to liquidation."""
    hedged = result.config.account.position_mode == "hedge"
    distance = risk.liquidation_distance(result.positions, result.bars, result.timeframe_ms, hedged=hedged)
    return {
        "worst_margin_ratio": risk.worst_margin_ratio(result.equity),
        "time_at_risk": risk.time_at_risk(result.equity),
        "closest_liquidation_distance": exposure.number(distance["distance"].min()),
    }


def _orders(orders: pl.DataFrame) -> dict[str, SummaryValue]:
    """Return how many orders ended in which way, and why; each order has one status and one reason."""
    status = orders["status"]
    counts: dict[str, SummaryValue] = {"orders": orders.height}
    counts |= {f"orders_{label(s)}": int((status == label(s)).sum()) for s in OrderStatus}
    counts["orders_waited"] = int((orders["bars_waited"] > 0).sum())
    reasons = orders.filter(pl.col("reason") != label(RejectReason.NONE)).group_by("status", "reason").len()
    for state, reason, number in reasons.sort("status", "reason").iter_rows():
        counts[f"orders_{state}_{reason}"] = number
    return counts


def _notices(result: Result) -> dict[str, SummaryValue]:
    """Return how much the reader must be told, and the warnings themselves."""
    warned = [n.text for n in result.notices if n.severity != "assumption"]
    return {
        "warnings": len(warned),
        "assumptions": len(result.notices) - len(warned),
        "data_warnings": "\n".join(warned) or None,
    }


def _text(time: object) -> str | None:
    """Return a time of a frame as text, None where there is none."""
    return format_time(round(time.timestamp() * 1000)) if hasattr(time, "timestamp") else None


def _plain(value: SummaryValue) -> SummaryValue:
    """Return None for what JSON cannot hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
