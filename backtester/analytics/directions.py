"""Which values of a metric are the better ones: the one table that objectives, rankings and comparisons read."""

from __future__ import annotations

from typing import Literal

Direction = Literal["max", "min"]

DIRECTIONS: dict[str, Direction | None] = {
    **dict.fromkeys(("final_equity", "net_profit", "total_return", "annual_return"), "max"),
    **dict.fromkeys(("sharpe", "sortino", "calmar", "best_day", "worst_day", "positive_days"), "max"),
    **dict.fromkeys(("volatility", "max_drawdown_days", "longest_drawdown_days"), "min"),
    **dict.fromkeys(("max_drawdown", "hit_rate", "profit_factor", "average_trade", "average_win"), "max"),
    **dict.fromkeys(("average_loss", "average_mae", "average_mfe"), "max"),  # signed: losses and costs are negative
    **dict.fromkeys(("price", "slippage", "fees", "funding", "liquidation", "funding_received", "funding_paid"), "max"),
    **dict.fromkeys(("auto_deleverage", "socialized_loss", "closest_liquidation_distance"), "max"),
    **dict.fromkeys(("liquidations", "liquidation_steps", "disputed_liquidations", "takeovers"), "min"),
    **dict.fromkeys(("worst_margin_ratio", "time_at_risk", "turnover", "annual_turnover"), "min"),
    # What went otherwise than it was meant to: less of it is better.
    **dict.fromkeys(("disputed_bars", "coarse_unchecked", "bars_waited", "transfers_cut", "requests_lost"), "min"),
    **dict.fromkeys(("orders_clipped", "orders_rejected", "orders_dropped"), "min"),
    **dict.fromkeys(("mean_exposure", "mean_net_exposure", "fills", "maker_share", "trades", "open_trades")),
    **dict.fromkeys(("average_holding_hours", "settlements", "insurance_flow", "transfer", "bars", "days")),
    **dict.fromkeys(("initial_balance", "orders")),
}
"""Numeric metrics of a summary and which of their values are better; None: neither by itself."""


def direction(metric: str) -> Direction | None:
    """Return which values of a metric are the better ones.

    Parameters
    ----------
    metric : str
        Key of the summary.

    Returns
    -------
    {"max", "min"} or None
        None for a metric that is better neither large nor small, and for one that the table does not know.
    """
    return DIRECTIONS.get(metric)


def is_lower_better(metric: str) -> bool:
    """Return whether the smaller of two values of a metric is the better one."""
    return direction(metric) == "min"
