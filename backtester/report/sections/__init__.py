"""The sections of a run's page, in order: one module each, result in, section out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from backtester.engine.result import Result
from backtester.report.added_sections import added_sections
from backtester.report.provenance import configuration_section
from backtester.report.section import Section
from backtester.report.sections.assumptions import assumptions_section
from backtester.report.sections.attribution import attribution_section
from backtester.report.sections.costs import costs_section
from backtester.report.sections.equity import equity_section
from backtester.report.sections.exposure import exposure_section
from backtester.report.sections.funding import funding_section
from backtester.report.sections.key_figures import key_section
from backtester.report.sections.liquidations import liquidation_section
from backtester.report.sections.margin import margin_section
from backtester.report.sections.months import months_section
from backtester.report.sections.portfolio import portfolio_section
from backtester.report.sections.price import price_section
from backtester.report.sections.regimes import regimes_section
from backtester.report.sections.returns import returns_section
from backtester.report.sections.trades import trade_section
from backtester.report.sections.uncertainty import uncertainty_section
from backtester.report.sections.venue_events import venue_event_section

SECTIONS: tuple[Callable[[Result], Section | None], ...] = (
    key_section,
    equity_section,
    price_section,
    margin_section,
    liquidation_section,
    venue_event_section,
    attribution_section,
    funding_section,
    costs_section,
    exposure_section,
    months_section,
    returns_section,
    regimes_section,
    trade_section,
    portfolio_section,
    uncertainty_section,
    assumptions_section,
    configuration_section,
)
"""One function a section, in the order of the page; None where a run has nothing for it."""


def run_sections(result: Result) -> list[Section]:
    """Return the sections of a run's page; those of other packages follow ours."""
    return list(each_section(result))


def each_section(result: Result) -> Iterator[Section]:
    """Yield the sections of a run's page, each made when it is asked for."""
    taken: set[str] = set()
    for section in SECTIONS:
        made = section(result)
        if made is not None:
            taken.add(made.id)
            yield made
    yield from added_sections(result, taken)
