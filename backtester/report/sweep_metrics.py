"""Metrics of parameter sets: their names on the page, how they are written, which end is good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backtester.analytics.directions import is_lower_better
from backtester.report import numbers

Kind = Literal["percent", "share", "ratio", "money", "amount", "count", "hours", "days", "times", "number"]
"""``percent`` signed and ``share`` unsigned, both from fractions; ``money`` signed and ``amount`` unsigned."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes
    ----------
    key : str
        Column of ``sets.parquet``.
    label : str
        Name on the page.
    kind : Kind
        How it is written.
    is_centred : bool
        Zero parts good from bad, so that colours meet there.
    """

    key: str
    label: str
    kind: Kind
    is_centred: bool = False

    @property
    def better(self) -> int:
        """1 where the largest value is the best, -1 where the smallest is."""
        return -1 if is_lower_better(self.key) else 1

    def text(self, value: float | None, money_digits: int = 2) -> str:
        """Return a value as the page shows it; None and NaN are a dash."""
        return _text(self.kind, value, money_digits)

    def format(self, money_digits: int = 2) -> tuple[str, str]:
        """Return the plotly number format and what stands behind the number."""
        return _FORMATS[self.kind][0].replace("#", str(money_digits)), _FORMATS[self.kind][1]


_FORMATS: dict[Kind, tuple[str, str]] = {
    "percent": ("+,.2%", ""),
    "share": (",.2%", ""),
    "ratio": (",.2f", ""),
    "money": ("+,.#f", ""),
    "amount": (",.#f", ""),
    "count": (",.0f", ""),
    "hours": (",.1f", "\u00a0h"),
    "days": (",.1f", "\u00a0d"),
    "times": (",.2f", numbers.TIMES),
    "number": (",.6~g", ""),
}

_DIGITS: dict[Kind, int] = {"count": 0, "hours": 1, "days": 1}

KNOWN = {
    metric.key: metric
    for metric in (
        Metric("sharpe", "Sharpe ratio", "ratio", is_centred=True),
        Metric("total_return", "Total return", "percent", is_centred=True),
        Metric("annual_return", "Annual return", "percent", is_centred=True),
        Metric("max_drawdown", "Largest drawdown", "percent"),
        Metric("calmar", "Calmar ratio", "ratio", is_centred=True),
        Metric("sortino", "Sortino ratio", "ratio", is_centred=True),
        Metric("volatility", "Volatility (annual)", "share"),
        Metric("net_profit", "Net profit", "money", is_centred=True),
        Metric("final_equity", "Final equity", "amount"),
        Metric("liquidations", "Liquidations", "count"),
        Metric("liquidation_steps", "Liquidation steps", "count"),
        Metric("disputed_liquidations", "Disputed liquidations", "count"),
        Metric("worst_margin_ratio", "Worst margin ratio", "share"),
        Metric("closest_liquidation_distance", "Closest to liquidation", "share"),
        Metric("time_at_risk", "Time with a position", "share"),
        Metric("trades", "Trades", "count"),
        Metric("open_trades", "Open trades", "count"),
        Metric("hit_rate", "Hit rate", "share"),
        Metric("profit_factor", "Profit factor", "ratio"),
        Metric("average_trade", "Mean trade", "money", is_centred=True),
        Metric("average_win", "Mean win", "money"),
        Metric("average_loss", "Mean loss", "money"),
        Metric("average_mae", "Mean MAE", "percent"),
        Metric("average_mfe", "Mean MFE", "percent"),
        Metric("average_holding_hours", "Mean holding", "hours"),
        Metric("price", "Price", "money", is_centred=True),
        Metric("funding", "Funding", "money", is_centred=True),
        Metric("funding_received", "Funding received", "money"),
        Metric("funding_paid", "Funding paid", "money"),
        Metric("settlements", "Settlements", "count"),
        Metric("fees", "Trading fees", "money"),
        Metric("slippage", "Slippage", "money"),
        Metric("liquidation", "Liquidation cost", "money"),
        Metric("auto_deleverage", "Auto-deleveraging", "money"),
        Metric("socialized_loss", "Socialised loss", "money"),
        Metric("transfer", "Transfers", "money", is_centred=True),
        Metric("insurance_flow", "To the insurance fund", "money"),
        Metric("best_day", "Best day", "percent"),
        Metric("worst_day", "Worst day", "percent"),
        Metric("positive_days", "Days in profit", "share"),
        Metric("max_drawdown_days", "Largest drawdown lasts", "days"),
        Metric("longest_drawdown_days", "Longest drawdown", "days"),
        Metric("mean_exposure", "Mean gross exposure", "times"),
        Metric("mean_net_exposure", "Mean net exposure", "times", is_centred=True),
        Metric("turnover", "Turnover", "times"),
        Metric("annual_turnover", "Turnover a year", "times"),
        Metric("fills", "Fills", "count"),
        Metric("maker_share", "Filled as maker", "share"),
        Metric("days", "Days", "count"),
        Metric("bars", "Bars", "count"),
        Metric("initial_balance", "Initial balance", "amount"),
    )
}
"""In the order in which the page offers them."""

SHOWN = (
    "sharpe",
    "total_return",
    "max_drawdown",
    "trades",
    "funding",
    "fees",
    "liquidations",
    "worst_margin_ratio",
)
"""Columns of the table before the reader chooses others."""

CORE = (
    *SHOWN,
    "annual_return",
    "calmar",
    "sortino",
    "volatility",
    "net_profit",
    "hit_rate",
    "profit_factor",
    "turnover",
)
"""What the page of a very large sweep carries."""


def metric_of(key: str, *, is_whole: bool) -> Metric:
    """Return a metric by its key; one that is not known stands under its key.

    Parameters
    ----------
    key : str
        Column.
    is_whole : bool
        Its values are whole numbers.
    """
    if key in KNOWN:
        return KNOWN[key]
    if key.startswith("orders"):
        label = "Orders" if key == "orders" else f"Orders {key.removeprefix('orders_').replace('_', ' ')}"
        return Metric(key, label, "count")
    return Metric(key, key, "count" if is_whole else "number")


def _text(kind: Kind, value: float | None, money_digits: int) -> str:
    if kind == "number":
        return numbers.quantity(value)
    if kind in {"percent", "share"}:
        return numbers.percent(value, signed=kind == "percent")
    digits = money_digits if kind in {"money", "amount"} else _DIGITS.get(kind, 2)
    return numbers.decimal(value, digits, signed=kind == "money", unit=_FORMATS[kind][1])
