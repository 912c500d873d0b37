"""How a metric reads: its name, and its value in percent, as an amount, a count or a ratio."""

from __future__ import annotations

from typing import Any

from backtester.engine.result import KEY_FIGURES
from backtester.report import numbers

_STYLES: dict[str, str] = {
    **{key: style for key, _, style in KEY_FIGURES},
    **dict.fromkeys(("best_day", "worst_day", "positive_days", "average_mae", "average_mfe", "maker_share"), "percent"),
    **dict.fromkeys(("closest_liquidation_distance", "mean_exposure", "mean_net_exposure"), "percent"),
    **dict.fromkeys(("final_equity", "net_profit", "average_trade", "average_win", "average_loss"), "money"),
    **dict.fromkeys(("initial_balance", "price", "liquidation", "funding_received", "funding_paid"), "money"),
    **dict.fromkeys(("open_trades", "fills", "settlements", "liquidation_steps", "bars", "days", "orders"), "count"),
    **dict.fromkeys(("disputed_liquidations", "takeovers"), "count"),
}


def metric_label(name: str) -> str:
    """Return a metric's name as a reader says it: ``max_drawdown`` is ``Max drawdown``."""
    return numbers.shorten(name.replace("_", " ").capitalize(), 40)


def metric_text(name: str, value: Any) -> str:
    """Return a metric's value as text; a dash where it is not defined."""
    if value is None or isinstance(value, str):
        return numbers.shorten(value) if value else numbers.NONE
    style = "count" if name.startswith("orders_") else _STYLES.get(name, "ratio")
    if style == "percent":
        return numbers.percent(value, signed=False)
    if style == "count":
        return numbers.count(value)
    if style == "money":
        return numbers.decimal(value)
    return numbers.decimal(value, 3)


def axis_format(name: str) -> dict[str, Any]:
    """Return how an axis of a metric writes its ticks."""
    return {"tickformat": ",.3~%"} if _STYLES.get(name) == "percent" else {}


def value_text(value: Any) -> str:
    """Return a parameter's value as text."""
    if value is None:
        return numbers.NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return numbers.quantity(value) if isinstance(value, int | float) else numbers.shorten(str(value))
