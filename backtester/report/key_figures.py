"""Key figures: which metrics stand on the page, under which names, written how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backtester.engine.result import Result
from backtester.report import numbers

SHORT_DAYS = 60
"""Figures of a year say little of a run of fewer days."""
Text = Callable[[Any], str]


@dataclass(frozen=True)
class Tile:
    """One figure: metric key, name, text, what stands below it, and its sign where colour helps (-1, 0, 1)."""

    key: str
    label: str
    text: str
    note: str = ""
    tone: int = 0


def headline(result: Result) -> list[Tile]:
    """Return the six figures that decide."""
    s, digits = result.summary, money_decimals(result)
    start = numbers.decimal(s["initial_balance"], digits)  # type: ignore[arg-type]
    liquidations = int(s["liquidations"] or 0)
    worst = numbers.percent(s["worst_margin_ratio"], signed=False)  # type: ignore[arg-type]

    def amount(value: Any) -> str:
        return numbers.decimal(value, digits, signed=True)

    return [
        _tile(s, "total_return", "Total return", _percent, _year(s), signed=True),
        _tile(s, "net_profit", f"Net profit ({result.settle})", amount, f"from {start}", signed=True),
        _tile(s, "max_drawdown", "Largest drawdown", _percent, _days(s["max_drawdown_days"]), signed=True),
        _tile(s, "sharpe", "Sharpe ratio", _ratio, _ratio_of_days(s)),
        Tile("liquidations", "Liquidations", numbers.count(liquidations), _steps(s), -1 if liquidations else 0),
        Tile("worst_margin_ratio", "Worst margin ratio", worst, _ratio_note(liquidations)),
    ]


def groups(result: Result) -> list[tuple[str, list[Tile]]]:
    """Return all other figures by subject."""
    s, money = result.summary, _money(result)

    def tile(key: str, label: str, write: Text, note: str = "", *, signed: bool = False) -> Tile:
        return _tile(s, key, label, write, note, signed=signed)

    returns = [
        tile("annual_return", "Annual return", _percent, signed=True),
        tile("volatility", "Volatility (annual)", _share),
        tile("sortino", "Sortino ratio", _ratio),
        tile("calmar", "Calmar ratio", _ratio),
        tile("best_day", "Best day", _percent, signed=True),
        tile("worst_day", "Worst day", _percent, signed=True),
        tile("positive_days", "Days in profit", _share),
    ]
    risk = [
        tile("max_drawdown_start", "Drawdown from", _day),
        tile("max_drawdown_trough", "Drawdown low", _day),
        tile("max_drawdown_end", "Recovered", _day),
        tile("longest_drawdown_days", "Longest drawdown", _days),
        tile("closest_liquidation_distance", "Closest to liquidation", _share),
        tile("time_at_risk", "Time with a position", _share),
        tile("liquidation_steps", "Liquidation steps", numbers.count),
    ]
    trades = [
        tile("trades", "Round trips", numbers.count, _open(s)),
        tile("hit_rate", "Hit rate", _share),
        tile("profit_factor", "Profit factor", _ratio),
        tile("average_trade", "Mean result", money, signed=True),
        tile("average_mae", "Mean MAE", _percent),
        tile("average_mfe", "Mean MFE", _percent),
        tile("average_holding_hours", "Mean holding", _hours),
    ]
    costs = [
        tile("funding", "Funding", money, signed=True),
        tile("fees", "Trading fees", money, signed=True),
        tile("slippage", "Slippage", money, signed=True),
        tile("liquidation", "Liquidation", money, signed=True),
        tile("mean_exposure", "Mean gross exposure", _times),
        tile("mean_net_exposure", "Mean net exposure", _signed_times),
        tile("turnover", "Turnover", _times),
        tile("maker_share", "Filled as maker", _share),
    ]
    orders = [
        tile(f"orders_{state}", state.capitalize(), numbers.count)
        for state in ("filled", "clipped", "rejected", "dropped", "superseded", "cancelled", "expired", "pending")
    ]
    waited = tile("orders_waited", "Waited for volume", numbers.count)
    named = {"Returns": returns, "Risk": risk, "Trades": trades, "Costs and exposure": costs}
    return [*named.items(), ("Orders", [*orders, waited])]


def money_plain(result: Result, amount: Any) -> str:
    """Return an amount with its currency, without a plus sign."""
    return numbers.decimal(amount, money_decimals(result), unit=f"\u00a0{result.settle}")


def money_decimals(result: Result) -> int:
    """Return the decimals of amounts on this page."""
    return numbers.money_digits(result.config.account.balance)


def _money(result: Result) -> Text:
    """Return how amounts of this run are written: signed, with the currency."""
    digits, unit = money_decimals(result), f"\u00a0{result.settle}"
    return lambda amount: numbers.decimal(amount, digits, signed=True, unit=unit)


def _tile(s: Mapping[str, Any], key: str, label: str, write: Text, note: str = "", *, signed: bool = False) -> Tile:
    """Return a metric as a tile."""
    value = s[key]
    tone = 0 if not signed or not value else 1 if value > 0 else -1
    return Tile(key, label, write(value), note, tone)


def _percent(value: Any) -> str:
    return numbers.percent(value)


def _share(value: Any) -> str:
    return numbers.percent(value, signed=False)


def _ratio(value: Any) -> str:
    return numbers.decimal(value)


def _times(value: Any) -> str:
    return numbers.decimal(value, unit=numbers.TIMES)


def _signed_times(value: Any) -> str:
    return numbers.decimal(value, signed=True, unit=numbers.TIMES)


def _days(value: Any) -> str:
    return numbers.NONE if value is None else numbers.duration(value * 86_400_000) if value else "none"


def _hours(value: Any) -> str:
    return numbers.NONE if value is None else numbers.duration(value * 3_600_000)


def _day(value: Any) -> str:
    """Return the day of a moment: with the hour, names would break in a narrow column."""
    return numbers.NONE if value is None else str(value)[:10]


def _year(s: Mapping[str, Any]) -> str:
    """Return what a year would bring; of few days how many they are, since a year of them is no figure to decide by."""
    days = int(s["days"] or 0)
    if 0 < days < SHORT_DAYS:
        return f"in {days} day{'s' if days != 1 else ''}"
    return f"{_percent(s['annual_return'])} a year"


def _ratio_of_days(s: Mapping[str, Any]) -> str:
    """Return the Sortino ratio, or how a ratio above zero goes with a loss."""
    if (s["sharpe"] or 0) > 0 > (s["total_return"] or 0):
        return "a mean of days: above zero, yet the run lost"
    return f"Sortino {_ratio(s['sortino'])}"


def _ratio_note(liquidations: int) -> str:
    return (
        "at bar closes; 100\u00a0% was reached inside a bar"
        if liquidations
        else "at bar closes; liquidation at 100\u00a0%"
    )


def _steps(s: Mapping[str, Any]) -> str:
    steps = s["liquidation_steps"]
    if steps:
        return f"and {numbers.count(steps)} partial"
    return "positions taken over" if s["liquidations"] else "no position taken over"


def _open(s: Mapping[str, Any]) -> str:
    held = s["open_trades"]
    return f"and {numbers.count(held)} open" if held else ""
