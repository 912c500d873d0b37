"""What a page says beyond the metrics, by subject: counted when a run is saved, written to ``summary.json``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from backtester.analytics import alternatives
from backtester.analytics.uncertainty import uncertainty
from backtester.analytics.venue_events import venue_details
from backtester.engine.result import Result, SummaryValue

Values = dict[str, SummaryValue]

SUBJECTS: dict[str, Callable[[Result], Values]] = {
    "buy_and_hold": alternatives.buy_and_hold,
    "without_funding": alternatives.without_funding,
    "without_costs": alternatives.without_costs,
    "uncertainty": uncertainty,
    "venue_events": venue_details,
}
"""One function a subject: an analysed run in, plain numbers and texts out; empty where it has nothing to say."""


def details(result: Result) -> dict[str, Values]:
    """Return the details of an analysed run.

    Parameters
    ----------
    result : Result
        A run whose ``summary`` and ``trades`` are filled in.

    Returns
    -------
    dict of dict
        The subjects of `SUBJECTS` that have something to say; docs/metrics.md defines their keys. A number that is not
        defined is None.
    """
    return {subject: values for subject, count in SUBJECTS.items() if (values := count(result))}


def with_details(result: Result) -> Result:
    """Return a run with its details: itself where they are known already."""
    return result if result.details else replace(result, details=details(result))
