"""How daily returns are spread and how steady they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from backtester.analytics import distribution, returns
from backtester.analytics.value import FloatArray
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.part import Part, parts_section
from backtester.report.section import Plot, Section
from backtester.report.table import Column, build, milliseconds

WORST = 10
_DAY = 86_400_000


def returns_section(result: Result) -> Section:
    """Return the distribution of daily returns with its tail, the worst days, and rolling figures."""
    balance = result.config.account.balance
    daily = returns.daily_returns(returns.time_weighted(result.equity, result.ledger, balance), balance)
    changes = daily["return"].to_numpy()
    return parts_section(
        "returns",
        "Spread and steadiness of returns",
        "Distribution",
        "What a day brings, how bad the bad days are, and whether the edge held over time.",
        [_distribution(changes), _worst(daily), _rolling(daily)],
    )


def _distribution(changes: FloatArray) -> Part:
    """Return the histogram with the figures of its shape."""
    told: dict[str, Any] = distribution.describe(changes)
    if told["var_95"] is None or not told["deviation"]:
        return Part(
            "Distribution of days",
            empty=_still(changes)
            or f"A distribution takes {distribution.LEAST_DAYS} days; the run has {len(changes):,}.",
        )
    normal = told["mean"] - 1.645 * told["deviation"]
    heavy = "fatter" if told["cvar_99"] < told["mean"] - 2.665 * told["deviation"] else "no fatter"
    facts = [
        ("", "Mean day", numbers.percent(told["mean"], 3)),
        ("", "Deviation", numbers.percent(told["deviation"], signed=False)),
        ("", "VaR 95\u00a0%", numbers.percent(told["var_95"])),
        ("", "VaR 99\u00a0%", numbers.percent(told["var_99"])),
        ("", "CVaR 95\u00a0%", numbers.percent(told["cvar_95"])),
        ("", "CVaR 99\u00a0%", numbers.percent(told["cvar_99"])),
        ("", "Skew", numbers.decimal(told["skew"], signed=True)),
        ("", "Excess kurtosis", numbers.decimal(told["kurtosis"], signed=True)),
    ]
    note = (
        f"On the worst 5\u00a0% of days the account lost at least {_lost(told['var_95'])} (a normal of the same mean "
        f"and deviation: {_lost(normal)}), on average {_lost(told['cvar_95'])}; the last per cent is {heavy} than a "
        "normal's. VaR is that bound, CVaR the mean beyond it."
    )
    marks = [("VaR 95\u00a0%", told["var_95"]), ("VaR 99\u00a0%", told["var_99"])]
    plot = Plot(
        "distribution",
        f"Histogram of {len(changes)} daily returns beside a normal distribution.",
        figures.distribution_figure(changes, marks),
    )
    return Part("Distribution of days", note, plots=(plot,), facts=facts)


def _still(changes: FloatArray) -> str:
    """Return that equity never moved; empty where it did, or where there is no day."""
    return "Equity never moved." if len(changes) and not np.any(changes) else ""


def _lost(value: float) -> str:
    """Return a loss as a size, or that there was none."""
    if value == 0:
        return "nothing"
    return numbers.percent(-value, signed=False) if value <= 0 else f"nothing (a gain of {numbers.percent(value)})"


def _worst(daily: pl.DataFrame) -> Part:
    """Return the worst days."""
    worst = daily.filter(pl.col("return") < 0).sort("return", maintain_order=True).head(WORST)
    if worst.is_empty():
        return Part("Worst days", empty="No day lost anything.", is_half=True)
    frame = worst.select(
        "return",
        pl.col("day").cast(pl.Datetime("ms")).dt.replace_time_zone("UTC").alias("time"),
        pl.col("day").dt.to_string("%A").alias("weekday"),
    )
    columns = [
        Column("return", "Return", lambda r: numbers.percent(r["return"]), is_signed=True),
        Column("time", "Day", lambda r: r["time"].strftime("%Y-%m-%d")),
        Column("weekday", "Weekday", lambda r: r["weekday"], is_number=False),
    ]
    return Part(
        "Worst days",
        f"The {worst.height} deepest of {daily.height:,}." if worst.height > 1 else "",
        tables=(build("worst-days", "Worst days", frame, columns, focus=_on_equity),),
        is_half=True,
    )


def _on_equity(row: dict[str, Any]) -> tuple[str, int, int]:
    """Return the day and those around it on the figure of equity."""
    start = milliseconds(row["time"])
    return "equity", start - 2 * _DAY, start + 3 * _DAY


def _rolling(daily: pl.DataFrame) -> Part:
    """Return Sharpe ratio and volatility of the days before each day, over one or two windows."""
    changes = daily["return"].to_numpy()
    windows = [days for days in (30, 90) if len(changes) >= 1.5 * days]
    title = "Rolling Sharpe ratio and volatility"
    if not windows or not np.any(changes):
        return Part(
            title,
            empty=_still(changes) or f"Windows of 30 days need 45 days; the run has {len(changes):,}.",
            is_half=True,
        )
    series = [(days, *distribution.rolling(changes, days)) for days in windows]
    ratio = series[-1][2][windows[-1] - 1 :]
    above = float(np.nanmean(ratio > 0)) if np.isfinite(ratio).any() else 0.0
    note = (
        f"Of the {windows[-1]} days up to each day, annualised. The Sharpe ratio was above zero "
        f"{numbers.percent(above, 0, signed=False)} of the time; short windows swing widely by chance."
    )
    plot = Plot(
        "rolling",
        f"Rolling Sharpe ratio and volatility over {windows} days.",
        figures.rolling_figure(daily["day"], series),
    )
    return Part(title, note, plots=(plot,), is_half=True)
