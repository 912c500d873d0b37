"""Returns by the calendar: months in a table, days as a calendar."""

from __future__ import annotations

import polars as pl

from backtester.analytics import returns
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.section import Plot, Section

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def months_section(result: Result) -> Section:
    """Return monthly returns, a row a year, above the calendar of days."""
    balance = result.config.account.balance
    daily = returns.daily_returns(returns.time_weighted(result.equity, result.ledger, balance), balance)
    monthly = returns.monthly_returns(daily)
    yearly = daily.group_by(pl.col("day").dt.year().cast(pl.Int64).alias("year"), maintain_order=True).agg(
        ((pl.col("return") + 1).product() - 1).alias("return")
    )
    cells = {(y, m): r for y, m, r in monthly.select("year", "month", "return").iter_rows()}
    scale = max((abs(r) for r in cells.values()), default=0.0) or 1.0
    years = [
        {
            "year": year,
            "cells": [_month_cell(cells.get((year, m)), scale) for m in range(1, 13)],
            "total": _month_cell(total, scale),
        }
        for year, total in yearly.iter_rows()
    ]
    cut = len(years) > figures.returns.MOST_YEARS
    return Section(
        id="months",
        title="Returns by the calendar",
        short="Calendar",
        lead="Compounded returns of calendar months and returns of days (UTC); the first and the last may be partial.",
        template="months.html.j2",
        plots=(_calendar(daily),) if daily.height else (),
        context={
            "years": years,
            "months": MONTHS,
            "empty": "No day was completed.",
            "note": _note(daily, cut) if daily.height else "",
        },
    )


def _note(daily: pl.DataFrame, cut: bool) -> str:
    """Return how the calendar is to be read."""
    limit = numbers.percent(figures.returns.calendar_limit(daily), 1, signed=False)
    years = f" of the last {figures.returns.MOST_YEARS} years" if cut else ""
    return f"A column a week{years}, Monday on top; blue gained, orange lost, in full colour from {limit} on."


def _calendar(daily: pl.DataFrame) -> Plot:
    """Return the calendar of days."""
    best, worst = daily["return"].max(), daily["return"].min()
    label = f"Calendar of daily returns, the best {numbers.percent(best)}, the worst {numbers.percent(worst)}."  # type: ignore[arg-type]
    return Plot("calendar", label, figures.calendar_figure(daily))


def _month_cell(value: float | None, scale: float) -> dict[str, object]:
    """Return text, direction and strength (percent of the strongest month) of one cell."""
    if value is None:
        return {"text": "", "tone": "none", "strength": 0}
    strength = min(100, round(100 * abs(value) / scale))
    tone = "gain" if value > 0 else "loss" if value < 0 else "none"
    digits = 1 if abs(value) < 10 else 0
    return {"text": numbers.percent(value, digits), "tone": tone, "strength": strength}
