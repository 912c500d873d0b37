"""Every metric, by subject, and the run beside what else the account could have done."""

from __future__ import annotations

from typing import Any

import polars as pl

from backtester.analytics import alternatives, returns
from backtester.analytics.details import with_details
from backtester.engine.result import Result, SummaryValue
from backtester.report import figures, numbers
from backtester.report.key_figures import SHORT_DAYS, groups, money_decimals
from backtester.report.section import Plot, Section

NAMES = {
    "": "This run",
    "buy_and_hold": "Buy and hold",
    "without_funding": "Without funding",
    "without_costs": "Without costs",
}
_ROWS = (
    ("total_return", "Total return"),
    ("annual_return", "Annual return"),
    ("volatility", "Volatility (annual)"),
    ("sharpe", "Sharpe ratio"),
    ("max_drawdown", "Largest drawdown"),
    ("final_equity", "Final equity"),
)


def key_section(result: Result) -> Section:
    """Return every metric, by subject, under the run's comparison with its alternatives."""
    told = with_details(result).details
    against = _against(result, told)
    return Section(
        id="figures",
        title="Key figures",
        short="Key figures",
        lead="Returns are of calendar days (UTC), years have 365 days; trades run from flat to flat, after all costs.",
        template="figures.html.j2",
        plots=_plots(result) if against["rows"] else (),
        context={"groups": groups(result), "against": against},
        styles=("alternatives.css",),
    )


def _against(result: Result, told: dict[str, dict[str, SummaryValue]]) -> dict[str, Any]:
    """Return names, rows and note of the comparison; no rows where there was no bar."""
    known = [subject for subject in NAMES if not subject or told.get(subject)]
    if len(known) < 2:
        return {"rows": []}
    digits = money_decimals(result)
    is_short = int(result.summary["days"] or 0) < SHORT_DAYS
    values = {subject: told[subject] if subject else result.summary for subject in known}
    rows = [
        (label, [(f"{subject}.{key}".lstrip("."), _text(key, values[subject][key], digits)) for subject in known])
        for key, label in _ROWS
        if key != "annual_return" or not is_short  # a year of a few days is no figure to compare by
    ]
    return {"names": [NAMES[subject] for subject in known], "rows": rows, "note": _note(result, told)}


def _note(result: Result, told: dict[str, dict[str, SummaryValue]]) -> str:
    """Return how the alternatives are to be read."""
    held = told.get("buy_and_hold", {})
    many = len(result.symbols) > 1
    whose = "its contracts in equal parts" if many else "its contract"
    if held.get("funding") is not None:
        paid = f"with its funding ({_amount(result, held['funding'])})"
    elif result.config.funding.source == "none":
        paid = "by price alone, as the run has no funding"
    else:
        paid = "by price alone, as not every settlement is known"
    return (
        f"Buy and hold buys {whose} at the first open without leverage or fees and keeps {'them' if many else 'it'}, "
        f"{paid}. The last two are this run's equity less what was booked for funding, or for trading fees and "
        "slippage: the same fills, not a new run, so the money saved is not traded with."
    )


def _amount(result: Result, value: SummaryValue) -> str:
    """Return a signed amount with its currency."""
    assert isinstance(value, float)
    return numbers.decimal(value, money_decimals(result), signed=True, unit=f"\u00a0{result.settle}")


def _text(key: str, value: Any, digits: int) -> str:
    """Return a figure of the comparison as the rest of the page writes it."""
    if key == "sharpe":
        return numbers.decimal(value)
    if key == "final_equity":
        return numbers.decimal(value, digits)
    return numbers.percent(value, signed=key != "volatility")


def _plots(result: Result) -> tuple[Plot, ...]:
    """Return the figure of the paths."""
    balance = result.config.account.balance
    paths = [("This run", result.equity["equity"].cast(pl.Float64).to_numpy())]
    if not result.bars.is_empty():
        paths.append((NAMES["buy_and_hold"], alternatives.hold(result).equity))
    for subject, booked in (
        ("without_funding", alternatives.funding_booked),
        ("without_costs", alternatives.costs_booked),
    ):
        paths.append((NAMES[subject], alternatives.less(result, booked(result))))
    if (result.ledger["kind"] == "transfer").any():
        frame = result.equity.select("open_time", "close_time")
        paths = [
            (
                name,
                equity
                if name == NAMES["buy_and_hold"]
                else returns.time_weighted(frame.with_columns(pl.Series("equity", equity)), result.ledger, balance)[
                    "equity"
                ].to_numpy(),
            )
            for name, equity in paths
        ]
    label = "Growth of equity of this run, of holding its contracts, and of this run without funding and without costs."
    return (Plot("alternatives", label, figures.alternatives_figure(result.equity["close_time"], paths, balance)),)
