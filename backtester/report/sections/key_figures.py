"""Every metric, by subject."""

from __future__ import annotations

from backtester.engine.result import Result
from backtester.report.key_figures import groups
from backtester.report.section import Section


def key_section(result: Result) -> Section:
    """Return every metric, by subject."""
    return Section(
        id="figures",
        title="Key figures",
        short="Key figures",
        lead="Returns are of calendar days (UTC), years have 365 days; trades run from flat to flat, after all costs.",
        template="figures.html.j2",
        context={"groups": groups(result)},
    )
