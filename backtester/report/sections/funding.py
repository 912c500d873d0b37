"""Funding received and paid."""

from __future__ import annotations

from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.key_figures import money_plain
from backtester.report.section import Plot, Section


def funding_section(result: Result) -> Section:
    """Return funding received and paid."""
    received, paid = (money_plain(result, result.summary[k]) for k in ("funding_received", "funding_paid"))
    plots: tuple[Plot, ...] = ()
    if result.funding.height:
        figure = figures.funding_figure(result.funding, result.settle)
        plots = (Plot("funding", f"Funding received ({received}) and paid ({paid}) over time.", figure),)
    facts = [
        ("funding_received", "Received", received),
        ("funding_paid", "Paid", paid),
        ("settlements", "Settlements with a position", numbers.count(float(result.summary["settlements"] or 0))),
    ]
    return Section(
        id="funding",
        title="Funding",
        short="Funding",
        lead="What longs and shorts exchanged: above zero the account received, below it paid.",
        template="plots.html.j2",
        plots=plots,
        context={"empty": "No position was held at a settlement.", "facts": facts if plots else []},
    )
