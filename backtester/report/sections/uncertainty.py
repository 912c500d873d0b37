"""How much of the result may be luck."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from backtester.analytics import returns
from backtester.analytics.details import with_details
from backtester.analytics.uncertainty import LEAST_DAYS, daily_changes, sample
from backtester.analytics.value import FloatArray
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.part import Part, parts_section
from backtester.report.section import Plot, Section
from backtester.report.table import Column, build


def uncertainty_section(result: Result) -> Section:
    """Return intervals of return, Sharpe ratio and drawdown, and the chances of loss and ruin."""
    told: dict[str, Any] = with_details(result).details.get("uncertainty", {})
    return parts_section(
        "uncertainty",
        "Uncertainty",
        "Uncertainty",
        "What this strategy could have made of days like these: the run is one draw among many.",
        _parts(result, told) if told.get("samples") else [_none(told)],
    )


def _none(told: dict[str, Any]) -> Part:
    """Return why nothing can be said."""
    days = int(told.get("days") or 0)
    if days >= LEAST_DAYS:
        return Part("", empty="Equity never moved, so there is nothing to be uncertain about.")
    return Part(
        "",
        empty=f"Too few days: the run has {numbers.count(days)}, and an interval needs at least {LEAST_DAYS}. "
        "Whatever the other sections show may be chance.",
    )


def _parts(result: Result, told: dict[str, Any]) -> list[Part]:
    """Return the intervals, the paths and what they assume."""
    changes = daily_changes(result)
    sampled = sample(changes)
    assert sampled is not None
    own = {
        "annual_return": result.summary.get("annual_return"),
        "sharpe": returns.sharpe(changes),
        "max_drawdown": _daily_drawdown(changes),
    }
    names = {"annual_return": "Annual return", "sharpe": "Sharpe ratio", "max_drawdown": "Largest drawdown"}
    frame = pl.DataFrame(
        [
            {
                "figure": name,
                "key": key,
                "own": own[key],
                **{level: told[f"{key}_{level}"] for level in ("low", "median", "high")},
            }
            for key, name in names.items()
        ],
        schema={"figure": pl.String, "key": pl.String} | dict.fromkeys(("own", "low", "median", "high"), pl.Float64),
    )

    def column(key: str, label: str) -> Column:
        def text(row: dict[str, Any]) -> str:
            return numbers.decimal(row[key]) if row["key"] == "sharpe" else numbers.percent(row[key])

        return Column(key, label, text)

    columns = [
        Column("figure", "Figure", lambda r: r["figure"], is_number=False),
        column("own", "This run"),
        column("low", "5\u00a0%"),
        column("median", "Median"),
        column("high", "95\u00a0%"),
    ]
    level = numbers.percent(told["ruin_level"], 0, signed=False)
    facts = [
        ("uncertainty.loss_probability", "Chance of a loss", _chance(told["loss_probability"])),
        ("uncertainty.ruin_probability", "Chance of ruin in a year", _chance(told["ruin_probability"])),
        ("uncertainty.samples", "Samples", numbers.count(told["samples"])),
        ("uncertainty.block_days", "Mean block", f"{numbers.decimal(told['block_days'], 1)}\u00a0days"),
    ]
    low, high = told["sharpe_low"], told["sharpe_high"]
    gained = (result.summary.get("total_return") or 0) > 0  # type: ignore[operator]
    verdict = (
        f"The interval of the Sharpe ratio includes zero: this {'result may be' if gained else 'loss may be bad'} luck."
        if low <= 0 <= high
        else f"The interval of the Sharpe ratio lies {'above' if low > 0 else 'below'} zero."
    )
    note = (
        f"{verdict} Nine of ten samples lie between the two outer columns. A loss is a sample as long as the run that "
        f"ends below its start; ruin is equity below {level} of its start at any daily close of a year of such days."
    )
    plot = Plot(
        "fan",
        "Bands of equity over samples of the run's days, with the run's own.",
        figures.fan_figure(sampled.day, sampled.paths, _growth(changes)[sampled.day - 1]),
    )
    assumed = (
        "Stationary bootstrap: each sample joins blocks of following days of this run, "
        f"{numbers.decimal(told['block_days'], 1)} on average (the length that keeps the dependence of its "
        f"{numbers.count(told['days'])} daily returns and of their squares). It assumes that days to come "
        "are like these days and that nothing was chosen by looking at them: it knows no market that the run did not "
        "see, no worse moment for a liquidation, and not how many variants were tried before this one. Drawdowns are "
        "at daily closes."
    )
    return [
        Part("Intervals", note, tables=(build("intervals", "Intervals", frame, columns),), facts=facts, is_half=True),
        Part("Paths", assumed, plots=(plot,), is_half=True),
    ]


def _chance(share: float) -> str:
    """Return a share of samples; one that no sample or every sample shows is written as a bound."""
    if share == 0:
        return "under 0.1\u00a0%"
    return "over 99.9\u00a0%" if share == 1 else numbers.percent(share, 1, signed=False)


def _growth(changes: FloatArray) -> FloatArray:
    """Return equity at daily closes as a multiple of its start."""
    return np.cumprod(1.0 + changes, dtype=np.float64)


def _daily_drawdown(changes: FloatArray) -> float:
    """Return the largest drawdown at daily closes."""
    path: FloatArray = _growth(changes)
    return float((path / np.maximum(np.maximum.accumulate(path), 1.0)).min() - 1.0)
