"""What a run must say about rows that were computed in place of missing ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtester.errors import format_time
from backtester.market.schema import FILLED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backtester.market.series import BarSource
    from backtester.market.store import Store

_WARNING = "computed from index and premium, not published by the venue"


def filled_notes(store: Store, sources: Iterable[BarSource], start: int, end: int) -> list[str]:
    """Return one sentence for each series of which filled rows lie in a range.

    Parameters
    ----------
    store : Store
        Where they are stored.
    sources : iterable of BarSource
        The series that a run reads.
    start, end : int
        Range [ms], end excluded.

    Notes
    -----
    The manifest counts the filled rows of each part, so that a series without any costs no reading.
    """
    notes = []
    for source in sources:
        if FILLED not in source.key.schema.flags or not store.manifest(source.key).filled:
            continue
        times = store.scan(source.key, start, end).filter(FILLED).select("open_time").collect()["open_time"]
        if times.is_empty():
            continue
        several = "s are" if len(times) > 1 else " is"
        notes.append(
            f"{source.key.symbol}: {len(times):,} {source.key.timeframe} bar{several} {_WARNING}, "
            f"first at {format_time(int(times.dt.epoch('ms')[0]))} (the {source.key.series} series has no row there)."
        )
    return notes


def is_filled_note(note: str) -> bool:
    """Return whether a note of the panel is one of `filled_notes`, which is a warning to the reader of a run."""
    return _WARNING in note
