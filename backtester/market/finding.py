"""What a check finds: severity, place, text and the way on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backtester.errors import format_time
from backtester.market.schema import DatasetKey

Severity = Literal["error", "warning", "info"]
CUT_HINT = "A run is cut to the span that both cover, and says so."
MISSING_HINT = "Import what is missing, or choose a span without the hole; a run goes on over it with "


@dataclass(frozen=True)
class Finding:
    """One thing that a user of the data should know.

    Attributes
    ----------
    severity : {"error", "warning", "info"}
        An error makes a run refuse the data (or should); a warning may change what a run means.
    code : str
        Kind of the finding, in snake case.
    key : DatasetKey
        The dataset.
    start, end : int or None
        First affected time, and the end of it, excluded [ms].
    count : int
        Number of bars, settlements or rows.
    text : str
        What was found, one sentence.
    hint : str
        The way on; empty where there is nothing to do.
    """

    severity: Severity
    code: str
    key: DatasetKey
    start: int | None
    end: int | None
    count: int
    text: str
    hint: str = ""


def counted(number: int, noun: str) -> str:
    """Return ``1 bar`` or ``2 bars``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def from_to(first: int, last: int) -> str:
    """Return the span from one time [ms] to another in words."""
    return format_time(first) if first == last else f"{format_time(first)} to {format_time(last)}"
