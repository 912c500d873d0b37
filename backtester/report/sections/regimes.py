"""When the run earned: by hour, weekday and regime of the market."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from backtester.analytics import distribution, regimes, returns
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.part import Part, parts_section
from backtester.report.section import Plot, Section
from backtester.report.table import Column, build

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_KINDS = {"trend": "Trend", "volatility": "Volatility", "funding": "Funding"}
_LEAST_BARS = 20  # of an hour or weekday: the 95 % interval of a mean of fewer is too narrow
_FEW = 5  # days of a regime below which nothing is said of it
_NAMES = {
    "up": "rising",
    "flat": "no trend",
    "down": "falling",
    "low": "calm",
    "middle": "middle",
    "high": "stormy",
    "longs paid": "longs paid",
    "shorts paid": "shorts paid",
    "none": "nothing settled",
}


def regimes_section(result: Result) -> Section:
    """Return mean returns by hour and weekday of bars, and by regime of days."""
    balance = result.config.account.balance
    grown = returns.time_weighted(result.equity, result.ledger, balance)
    change = distribution.bar_returns(grown, balance)
    hours = distribution.by_hour(grown, change, result.timeframe_ms)
    days = distribution.by_weekday(grown, change, result.timeframe_ms)
    daily = returns.daily_returns(grown, balance)
    moved = bool(np.any(change))
    return parts_section(
        "regimes",
        "When it earned",
        "Regimes",
        "Mean returns by hour, weekday and kind of market; a whisker is the 95\u00a0% interval of the mean, and a bar "
        "whose whisker crosses zero may be chance.",
        [
            _timed("hours", "By hour of the day (UTC)", hours, [f"{h:02d}" for h in hours["key"]], moved),
            _timed("weekdays", "By weekday (UTC)", days, [_WEEKDAYS[d] for d in days["key"]], moved),
            _regimes(result, daily),
        ],
    )


def _timed(name: str, title: str, frame: pl.DataFrame, labels: list[str], moved: bool) -> Part:
    """Return the figure of hours or weekdays."""
    if not moved:
        return Part(title, empty="Equity never moved.", is_half=True)
    if frame.height < 2 or frame["bars"].min() < _LEAST_BARS:  # type: ignore[operator]
        return Part(
            title, empty=f"Bars are too long, or too few: it takes {_LEAST_BARS} of each to tell.", is_half=True
        )
    mean, error = frame["mean"].to_numpy(), frame["error"].fill_null(np.nan).to_numpy()
    plot = Plot(
        name,
        f"{title}: mean return of a bar with 95 % intervals.",
        figures.means_figure(labels, mean, error, frame["bars"].to_list(), "bars"),
    )
    return Part(
        title, _chance(mean, error, frame["bars"].to_numpy(), "mean return of a bar"), plots=(plot,), is_half=True
    )


def _chance(mean: np.ndarray, error: np.ndarray, counts: np.ndarray, what: str) -> str:
    """Return how many means differ from zero, and how many would by chance."""
    clear = int(np.sum(np.isfinite(error) & (error > 0) & (np.abs(mean) > 1.96 * error)))
    expected = numbers.decimal(0.05 * len(mean), 1)
    least, most = numbers.count(float(counts.min())), numbers.count(float(counts.max()))
    held = f"{least} bars each" if least == most else f"{least} to {most} bars each"
    return (
        f"The {what}, of {held}. {clear} of {len(mean)} differ{'s' if clear == 1 else ''} from zero at 95\u00a0%; "
        f"by chance alone about {expected} would."
    )


def _regimes(result: Result, daily: pl.DataFrame) -> Part:
    """Return figure and table of regimes."""
    title = "By regime of the market"
    found = regimes.by_regime(result, daily)
    if found.is_empty():
        return Part(title, empty=f"Regimes need {regimes.LEAST_DAYS} days; the run has {daily.height:,}.")
    note = (
        f"An index of the run's contracts, equally weighted. Trend: its move over the {regimes.WINDOW} days before, "
        "rising or falling where larger than one standard deviation of such moves. Volatility: of the same days, in "
        "thirds of the run. Funding: by the sign of the day's rates."
    )
    known = found.filter(~pl.col("regime").is_in([regimes.UNKNOWN, "none"]) & (pl.col("days") > 0))
    plot = Plot(
        "regime-means",
        "Mean return of a day by trend, volatility and funding of the market, with 95 % intervals.",
        figures.means_figure(
            [_name(row) for row in known.to_dicts()],
            known["mean"].to_numpy(),
            known["error"].fill_null(np.nan).to_numpy(),
            known["days"].to_list(),
            "days",
        ),
    )
    columns = [
        Column("kind", "Market", lambda r: (_KINDS[r["kind"]], _name(r)), is_number=False, also="regime"),
        Column("days", "Days", lambda r: numbers.count(r["days"])),
        Column("mean", "Mean day", lambda r: numbers.percent(r["mean"], 3), is_signed=True),
        Column("error", "Standard error", lambda r: numbers.percent(r["error"], 3, signed=False)),
        Column("sharpe", "Sharpe", lambda r: numbers.decimal(r["sharpe"])),
        Column("positive", "Days in profit", lambda r: numbers.percent(r["positive"], 1, signed=False)),
        Column("total", "Compounded", lambda r: numbers.percent(r["total"]), is_signed=True),
    ]
    return Part(title, note + " " + _most(known), plots=(plot,), tables=(build("regimes", "Regimes", found, columns),))


def _name(row: dict[str, Any]) -> str:
    """Return a regime as a reader says it."""
    regime = str(row["regime"])
    return _NAMES.get(regime, regime)


def _most(known: pl.DataFrame) -> str:
    """Return where most of the profit or loss came from, of the three trends."""
    trends = known.filter((pl.col("kind") == "trend") & (pl.col("days") >= _FEW))
    best = trends.sort("total", descending=True, maintain_order=True).to_dicts()
    if len(best) < 2 or best[0]["total"] == best[-1]["total"]:
        return ""
    first, last = best[0], best[-1]
    return (
        f"By trend most came from {_market(first)} ({numbers.percent(first['total'])} over "
        f"{numbers.count(first['days'])} days) and least from {_market(last)} ({numbers.percent(last['total'])} over "
        f"{numbers.count(last['days'])})."
    )


def _market(row: dict[str, Any]) -> str:
    """Return a trend as the name of a market."""
    return {"up": "rising markets", "down": "falling markets"}.get(row["regime"], "markets without a trend")
