"""The metrics of runs that were counted instead of recorded: the same figures as `summary`, from their tallies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtester.analytics.returns import DAYS_PER_YEAR, annual_return, calmar, total_return
from backtester.domain.enums import LedgerKind, OrderStatus, RejectReason, label
from backtester.engine.result import SummaryValue
from backtester.errors import format_time

_NOISE = 1e-12
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class TallyTerms:
    """What the figures need to know of the run beside its tally.

    Attributes
    ----------
    balance : float
        Initial balance.
    open_time : array of int64, shape (T + 1,)
        Opens of the bars, the end of the last one included [ms].
    takes_over_at_market : bool
        Takeovers are closed at the market for the account: it bears their slippage.
    """

    balance: float
    open_time: NDArray[np.int64]
    takes_over_at_market: bool


def metrics_of_tally(tally: np.void, terms: TallyTerms) -> dict[str, SummaryValue]:
    """Return the metrics of one run.

    Parameters
    ----------
    tally : record
        Of ``kernel.tally.TALLY``.
    terms : TallyTerms
        The run.

    Returns
    -------
    dict
        Every metric of the summary but what names the run and what its notices say; the same values, to rounding.
    """
    t = dict(zip(tally.dtype.names or (), tally.item(), strict=True))
    total = total_return(terms.balance, t["final_equity"])
    days = t["days"]
    annual = annual_return(total, days)
    values: dict[str, SummaryValue] = {
        "bars": terms.open_time.size - 1,
        **_returns(t, terms, total, annual),
        **_drawdown(t, terms, annual),
        **_exposure(t),
        **_trips(t),
        **_attribution(tally, t, terms),
        **_costs(t),
        **_risk(t, terms),
        **_orders(tally, t),
        "disputed_bars": t["disputed_bars"],
        "coarse_unchecked": t["coarse_unchecked"],
        "bars_waited": t["bars_waited"],
        "takeovers": t["account_takeovers"],
        "transfers_cut": 0,
        "requests_lost": 0,
    }
    return {key: None if isinstance(v, float) and not np.isfinite(v) else v for key, v in values.items()}


def _returns(
    t: dict[str, float], terms: TallyTerms, total: float | None, annual: float | None
) -> dict[str, SummaryValue]:
    days = int(t["days"])
    mean = t["mean_return"]
    deviation = float(np.sqrt(t["square_return"] / (days - 1))) if days > 1 else 0.0
    downside = float(np.sqrt(t["downside"] / days))
    year = float(np.sqrt(DAYS_PER_YEAR))
    return {
        "days": days,
        "initial_balance": terms.balance,
        "final_equity": t["final_equity"],
        "net_profit": t["final_equity"] - terms.balance,
        "total_return": total,
        "annual_return": annual,
        "volatility": deviation * year if days > 1 else None,
        "sharpe": mean / deviation * year if days > 1 and deviation > _NOISE * abs(mean) else None,
        "sortino": mean / downside * year if days > 1 and downside > _NOISE * abs(mean) else None,
        "best_day": t["best_day"],
        "worst_day": t["worst_day"],
        "positive_days": t["positive_days"] / days,
    }


def _drawdown(t: dict[str, float], terms: TallyTerms, annual: float | None) -> dict[str, SummaryValue]:
    has_one = t["max_drawdown"] < 0.0

    def close(bar: float) -> str | None:
        return format_time(int(terms.open_time[int(bar) + 1])) if has_one else None

    return {
        "max_drawdown": t["max_drawdown"],
        "max_drawdown_start": close(t["max_drawdown_start"]),
        "max_drawdown_trough": close(t["max_drawdown_trough"]),
        "max_drawdown_end": close(t["max_drawdown_end"]) if t["max_drawdown_end"] >= 0 else None,
        "max_drawdown_days": t["max_drawdown_ms"] / _DAY_MS,
        "longest_drawdown_days": t["longest_drawdown_ms"] / _DAY_MS,
        "calmar": calmar(annual, t["max_drawdown"]),
    }


def _exposure(t: dict[str, float]) -> dict[str, SummaryValue]:
    turnover = t["notional"] / t["mean_equity"] if t["mean_equity"] > 0 else None
    return {
        "mean_exposure": t["mean_exposure"],
        "mean_net_exposure": t["mean_net_exposure"],
        "turnover": turnover,
        "annual_turnover": None if turnover is None else turnover * DAYS_PER_YEAR / t["days"],
        "fills": int(t["fills"]),
        "maker_share": t["maker_notional"] / t["own_notional"] if t["own_notional"] > 0 else None,
    }


def _trips(t: dict[str, float]) -> dict[str, SummaryValue]:
    trips = int(t["trips"])
    wins, losses = int(t["wins"]), int(t["losses"])

    def mean(amount: float, count: int) -> float | None:
        return amount / count if count else None

    return {
        "trades": trips,
        "open_trades": int(t["trip_quantity"] != 0.0),
        "hit_rate": mean(wins, trips),
        "profit_factor": t["gain"] / t["loss"] if t["loss"] > 0 else None,
        "average_trade": mean(t["net"], trips),
        "average_win": mean(t["gain"], wins),
        "average_loss": mean(-t["loss"], losses),
        "average_mae": mean(t["adverse"], trips),
        "average_mfe": mean(t["favourable"], trips),
        "average_holding_hours": mean(t["held_ms"] / _HOUR_MS, trips),
    }


def _attribution(tally: np.void, t: dict[str, float], terms: TallyTerms) -> dict[str, SummaryValue]:
    booked = {kind: float(tally["ledger"][int(kind)]) for kind in LedgerKind}
    engine = t["step_slippage"] + (t["takeover_slippage"] if terms.takes_over_at_market else 0.0)
    own = t["own_slippage"]
    return {
        "price": booked[LedgerKind.REALIZED_PNL] + t["final_equity"] - t["final_wallet"] + own + engine,
        "slippage": -own + 0.0,
        "fees": booked[LedgerKind.TRADING_FEE],
        "funding": booked[LedgerKind.FUNDING],
        "liquidation": booked[LedgerKind.LIQUIDATION_FEE] + booked[LedgerKind.INSURANCE_CLEARANCE] - engine,
        "auto_deleverage": booked[LedgerKind.AUTO_DELEVERAGE],
        "socialized_loss": booked[LedgerKind.SOCIALIZED_LOSS],
        "transfer": booked[LedgerKind.TRANSFER],
    }


def _costs(t: dict[str, float]) -> dict[str, SummaryValue]:
    return {
        "funding_received": t["funding_received"],
        "funding_paid": t["funding_paid"] + 0.0,
        "settlements": int(t["settlements"]),
        "liquidations": int(t["takeovers"]),
        "liquidation_steps": int(t["steps"]),
        "disputed_liquidations": int(t["disputed"]),
        "insurance_flow": t["insurance_flow"],
    }


def _risk(t: dict[str, float], terms: TallyTerms) -> dict[str, SummaryValue]:
    return {
        "worst_margin_ratio": t["worst_margin_ratio"],
        "time_at_risk": t["held_bars"] / (terms.open_time.size - 1),
        "closest_liquidation_distance": t["nearest"],
    }


def _orders(tally: np.void, t: dict[str, float]) -> dict[str, SummaryValue]:
    ends = tally["order_ends"]
    values: dict[str, SummaryValue] = {"orders": int(t["orders"])}
    values |= {f"orders_{label(status)}": int(ends[int(status)].sum()) for status in OrderStatus}
    values["orders_waited"] = int(t["orders_waited"])
    for status in OrderStatus:
        for reason in RejectReason:
            count = int(ends[int(status), int(reason)])
            if count and reason != RejectReason.NONE:
                values[f"orders_{label(status)}_{label(reason)}"] = count
    return values
