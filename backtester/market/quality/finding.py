"""What a check finds: severity, place, text and the way on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from backtester.errors import format_time
from backtester.market.schema import DatasetKey

Severity = Literal["error", "warning", "info"]
Code = Literal[
    "after_delisting",
    "before_listing",
    "damaged",
    "duplicate",
    "ends_before_delisting",
    "ends_early",
    "ends_late",
    "filled",
    "gap",
    "impossible_bar",
    "interval_changes",
    "interval_differs",
    "mark_diverges_close",
    "mark_diverges_wick",
    "mark_price_unknown",
    "missing_settlement",
    "missing_volume",
    "no_funding",
    "no_mark",
    "no_tiers",
    "other_price",
    "rate_beyond_bounds",
    "stale",
    "stale_rates",
    "starts_after_listing",
    "starts_late",
    "tier_discontinuity",
    "tiers_start_late",
    "timeframes_disagree",
    "trading_stops",
    "volume_unknown",
    "volumes_disagree",
    "zero_volume",
    "zero_volume_mark_moves",
]
CODES: tuple[str, ...] = get_args(Code)
"""Every kind of finding."""

CUT_HINT = "A run is cut to the span that both cover, and says so."
MISSING_HINT = "Fetch it (--repair) or import it, or choose a span without the hole; a run goes on over it with "
MOST_PLACES = 1000


@dataclass(frozen=True)
class Finding:
    """One thing that a user of the data should know.

    Attributes
    ----------
    severity : {"error", "warning", "info"}
        An error makes a run refuse the data (or should); a warning may change what a run means.
    code : str
        Kind of the finding, one of `CODES`.
    key : DatasetKey
        The dataset.
    start, end : int or None
        First affected time, and the end of it, excluded [ms]; of the worst place where there are several.
    count : int
        Number of bars, settlements or rows.
    text : str
        What was found, one sentence.
    hint : str
        The way on; empty where there is nothing to do.
    places : tuple of (int, int)
        Start and end of every place [ms], in order of time, of the first `MOST_PLACES` where there are more; empty
        where ``start`` and ``end`` say all.
    """

    severity: Severity
    code: Code
    key: DatasetKey
    start: int | None
    end: int | None
    count: int
    text: str
    hint: str = ""
    places: tuple[tuple[int, int], ...] = ()

    @property
    def windows(self) -> tuple[tuple[int, int], ...]:
        """Every known place, start and end [ms]; empty where the whole dataset is meant."""
        if self.places:
            return self.places
        return () if self.start is None or self.end is None else ((self.start, self.end),)


def counted(number: int, noun: str) -> str:
    """Return ``1 bar`` or ``2 bars``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def from_to(first: int, last: int) -> str:
    """Return the span from one time [ms] to another in words."""
    return format_time(first) if first == last else f"{format_time(first)} to {format_time(last)}"


def listed_times(times: Sequence[int], most: int = 4) -> str:
    """Return times [ms] in words, the first ``most`` of them."""
    shown = ", ".join(format_time(t) for t in times[:most])
    return shown + (f" and {len(times) - most:,} more" if len(times) > most else "")


def length(ms: int) -> str:
    """Return a length of time in the unit that a human reads: ``45 s``, ``50 min``, ``3 h``, ``12 d``.

    Examples
    --------
    >>> length(3 * 3_600_000), length(12 * 86_400_000)
    ('3 h', '12 d')
    """
    for unit, name, least in ((86_400_000, "d", 2), (3_600_000, "h", 2), (60_000, "min", 2)):
        if ms >= least * unit:
            return f"{ms // unit:,} {name}"
    return f"{ms // 1000} s"
