"""The metrics of runs that were counted instead of recorded: the figures of `summary`, many runs at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.analytics.returns import DAYS_PER_YEAR
from backtester.domain.enums import LedgerKind, OrderStatus, RejectReason, label
from backtester.errors import format_time

_NOISE = 1e-12  # as in ``returns``
_DAY_MS = 86_400_000
_MINUTE_MS = 60_000
_HOUR_MS = 3_600_000
_MOST_EXPONENT = 700  # as in ``returns``

Floats = NDArray[np.float64]
Columns = dict[str, Any]


@dataclass(frozen=True, eq=False)
class TallyTerms:
    """What the figures need to know of the runs beside their tallies.

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

    @property
    def bars(self) -> int:
        """Number of bars."""
        return self.open_time.size - 1


def tally_metrics(tallies: NDArray[np.void], terms: TallyTerms) -> pl.DataFrame:
    """Return the metrics of runs, one row each.

    Parameters
    ----------
    tallies : structured array, shape (S,)
        Of ``kernel.tally.TALLY``.
    terms : TallyTerms
        What the runs share.

    Returns
    -------
    polars.DataFrame
        Every metric of the summary but what names the run and what its notices say: the same values, to rounding;
        null where one is not defined. Counts of orders by reason stand there where one of the runs has any.
    """
    count = tallies.size
    annual = _annual(tallies, terms)
    columns: Columns = {
        "days": tallies["days"],
        **_returns(tallies, terms, annual),
        **_drawdown(tallies, terms, annual),
        **_exposure(tallies),
        **_trips(tallies),
        **_attribution(tallies, terms),
        **_costs(tallies),
        **_risk(tallies, terms),
        **_orders(tallies),
        "disputed_bars": tallies["disputed_bars"],
        "coarse_unchecked": tallies["coarse_unchecked"],
        "bars_waited": tallies["bars_waited"],
        "takeovers": tallies["account_takeovers"],
        "transfers_cut": np.zeros(count, np.int64),
        "requests_lost": np.zeros(count, np.int64),
    }
    bars = pl.Series("bars", np.full(count, terms.bars))
    return pl.DataFrame([bars, *(_series(name, values) for name, values in columns.items())])


def _series(name: str, values: Any) -> pl.Series:
    """Return a column in which what is not finite is null."""
    series = values.alias(name) if isinstance(values, pl.Series) else pl.Series(name, np.ascontiguousarray(values))
    if not series.dtype.is_float():
        return series
    return pl.select(pl.when(series.is_finite()).then(series).alias(name)).to_series()


def _ratio(above: Any, below: Any) -> Floats:
    """Return a quotient, NaN where what it is divided by is not above zero."""
    good = np.asarray(below) > 0
    quotient: Floats = np.where(good, above / np.where(good, below, 1.0), np.nan)
    return quotient


def _annual(t: NDArray[np.void], terms: TallyTerms) -> Floats:
    """Return the geometric return per 365 days; -1 once nothing is left."""
    total = t["final_equity"] / terms.balance - 1.0
    alive = total > -1.0
    exponent = np.log1p(np.where(alive, total, 0.0)) * DAYS_PER_YEAR / t["days"]
    grown = np.where(exponent < _MOST_EXPONENT, np.expm1(np.minimum(exponent, _MOST_EXPONENT)), np.nan)
    annual: Floats = np.where(alive, grown, -1.0)
    return annual


def _returns(t: NDArray[np.void], terms: TallyTerms, annual: Floats) -> Columns:
    days, mean = t["days"], t["mean_return"]
    many = days > 1
    deviation = np.where(many, np.sqrt(t["square_return"] / np.maximum(days - 1, 1)), np.nan)
    downside = np.sqrt(t["downside"] / days)
    year = np.sqrt(DAYS_PER_YEAR)
    noise = _NOISE * np.abs(mean)
    return {
        "initial_balance": np.full(t.size, terms.balance),
        "final_equity": t["final_equity"],
        "net_profit": t["final_equity"] - terms.balance,
        "total_return": t["final_equity"] / terms.balance - 1.0,
        "annual_return": annual,
        "volatility": deviation * year,
        "sharpe": _ratio(mean, np.where(deviation > noise, deviation, 0.0)) * year,
        "sortino": np.where(many, _ratio(mean, np.where(downside > noise, downside, 0.0)) * year, np.nan),
        "best_day": t["best_day"],
        "worst_day": t["worst_day"],
        "positive_days": t["positive_days"] / days,
    }


def _drawdown(t: NDArray[np.void], terms: TallyTerms, annual: Floats) -> Columns:
    has_one = t["max_drawdown"] < 0.0
    return {
        "max_drawdown": t["max_drawdown"],
        "max_drawdown_start": _closes(t["max_drawdown_start"], has_one, terms),
        "max_drawdown_trough": _closes(t["max_drawdown_trough"], has_one, terms),
        "max_drawdown_end": _closes(t["max_drawdown_end"], has_one & (t["max_drawdown_end"] >= 0), terms),
        "max_drawdown_days": t["max_drawdown_ms"] / _DAY_MS,
        "longest_drawdown_days": t["longest_drawdown_ms"] / _DAY_MS,
        "calmar": _ratio(annual, np.abs(t["max_drawdown"])),
    }


def _closes(bar: NDArray[np.int64], known: NDArray[np.bool_], terms: TallyTerms) -> pl.Series:
    """Return the closes of bars as the summary writes times; of bar -1, the first open."""
    times = terms.open_time[bar + 1]
    if (times % _MINUTE_MS).any():
        return pl.Series(
            [format_time(int(t)) if k else None for t, k in zip(times, known, strict=True)], dtype=pl.String
        )
    texts = pl.Series(times).cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%d %H:%M UTC")  # as format_time writes them
    return texts.set(pl.Series(~known), None)


def _exposure(t: NDArray[np.void]) -> Columns:
    turnover = _ratio(t["notional"], t["mean_equity"])
    return {
        "mean_exposure": t["mean_exposure"],
        "mean_net_exposure": t["mean_net_exposure"],
        "turnover": turnover,
        "annual_turnover": turnover * DAYS_PER_YEAR / t["days"],
        "fills": t["fills"],
        "maker_share": _ratio(t["maker_notional"], t["own_notional"]),
    }


def _trips(t: NDArray[np.void]) -> Columns:
    trips, wins, losses = t["trips"], t["wins"], t["losses"]
    return {
        "trades": trips,
        "open_trades": (t["trip_quantity"] != 0.0).astype(np.int64),
        "hit_rate": _ratio(wins, trips),
        "profit_factor": _ratio(t["gain"], t["loss"]),
        "average_trade": _ratio(t["net"], trips),
        "average_win": _ratio(t["gain"], wins),
        "average_loss": _ratio(-t["loss"], losses),
        "average_mae": _ratio(t["adverse"], trips),
        "average_mfe": _ratio(t["favourable"], trips),
        "average_holding_hours": _ratio(t["held_ms"] / _HOUR_MS, trips),
    }


def _attribution(t: NDArray[np.void], terms: TallyTerms) -> Columns:
    booked = {kind: t["ledger"][:, int(kind)] for kind in LedgerKind}
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


def _costs(t: NDArray[np.void]) -> Columns:
    return {
        "funding_received": t["funding_received"],
        "funding_paid": t["funding_paid"] + 0.0,
        "settlements": t["settlements"],
        "liquidations": t["takeovers"],
        "liquidation_steps": t["steps"],
        "disputed_liquidations": t["disputed"],
        "insurance_flow": t["insurance_flow"],
    }


def _risk(t: NDArray[np.void], terms: TallyTerms) -> Columns:
    return {
        "worst_margin_ratio": t["worst_margin_ratio"],
        "time_at_risk": t["held_bars"] / terms.bars,
        "closest_liquidation_distance": t["nearest"],
    }


def _orders(t: NDArray[np.void]) -> Columns:
    ends = t["order_ends"]
    columns: Columns = {"orders": t["orders"]}
    columns |= {f"orders_{label(status)}": ends[:, int(status)].sum(axis=1) for status in OrderStatus}
    columns["orders_waited"] = t["orders_waited"]
    for status in OrderStatus:
        for reason in RejectReason:
            counts = ends[:, int(status), int(reason)]
            if reason != RejectReason.NONE and counts.any():
                columns[f"orders_{label(status)}_{label(reason)}"] = counts
    return columns
