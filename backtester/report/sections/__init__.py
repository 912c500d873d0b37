"""The sections of a run's page, in order: one module each, result in, section out."""

from __future__ import annotations

from collections.abc import Callable

from backtester.engine.result import Result
from backtester.report.provenance import configuration_section
from backtester.report.section import Section
from backtester.report.sections.assumptions import assumptions_section
from backtester.report.sections.attribution import attribution_section
from backtester.report.sections.equity import equity_section
from backtester.report.sections.funding import funding_section
from backtester.report.sections.key_figures import key_section
from backtester.report.sections.liquidations import liquidation_section
from backtester.report.sections.margin import margin_section
from backtester.report.sections.months import months_section
from backtester.report.sections.price import price_section
from backtester.report.sections.trades import trade_section
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
    months_section,
    trade_section,
    assumptions_section,
    configuration_section,
)
"""One function a section, in the order of the page; None where a run has nothing for it."""


def run_sections(result: Result) -> list[Section]:
    """Return the sections of a run's page."""
    return [made for section in SECTIONS if (made := section(result)) is not None]
