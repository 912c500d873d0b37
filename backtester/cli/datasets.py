"""How commands write datasets: names, spans, sizes, what a write did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from backtester.cli.output import print_table
from backtester.market.quality.finding import counted
from backtester.market.schema import EVENT, DatasetKey

if TYPE_CHECKING:
    from backtester.market.merge import WriteReport

_T = TypeVar("_T")
MANY = 40
"""Datasets from which on a table is a summary."""


def key_json(key: DatasetKey) -> dict[str, str]:
    """Return the name of a dataset."""
    return {"venue": key.venue, "symbol": key.symbol, "series": key.series, "timeframe": key.timeframe}


def span_json(span: tuple[int, int] | None) -> dict[str, str | None]:
    """Return first and last time as ISO text."""
    return {"first": iso(span[0] if span else None), "last": iso(span[1] if span else None)}


def report_json(report: WriteReport) -> dict[str, Any]:
    """Return what a write did."""
    return {
        **key_json(report.key),
        "brought": report.rows,
        "added": report.added,
        "changed": report.changed,
        "unchanged": report.unchanged,
        "rows": report.total,
        **span_json(report.span),
    }


def name_cells(key: DatasetKey) -> tuple[str, str]:
    """Return symbol and series with bar, as the tables of one venue show them."""
    return key.symbol, key.series if key.timeframe == EVENT else f"{key.series} {key.timeframe}"


def by_venue(items: Iterable[_T], key: Callable[[_T], DatasetKey]) -> list[tuple[str, list[_T]]]:
    """Return the items of each venue, venues sorted, the order within kept."""
    groups: dict[str, list[_T]] = {}
    for item in items:
        groups.setdefault(key(item).venue, []).append(item)
    return sorted(groups.items())


def print_write_table(reports: Sequence[WriteReport]) -> None:
    """Print what became of datasets: one by one, or by kind where there are many."""
    if not reports:
        return
    if len(reports) > MANY:
        kinds = Counter((r.key.venue, r.key.series, r.key.timeframe) for r in reports)
        summary = [
            (venue, counted(count, "symbol"), f"{series} {timeframe}".removesuffix(f" {EVENT}"))
            for (venue, series, timeframe), count in sorted(kinds.items())
        ]
        print_table(("venue", "symbols", "series"), summary)
        return
    for venue, items in by_venue(reports, lambda r: r.key):
        rows = [(*name_cells(r.key), f"{r.added:,}", f"{r.changed:,}", *days(r.span)) for r in items]
        print_table(("symbol", "series", "new", "changed", "from", "to"), rows, venue, right=(2, 3))


def days(span: tuple[int, int] | None) -> tuple[str, str]:
    """Return the days of a span's ends."""
    return ("", "") if span is None else (minute(span[0])[:10], minute(span[1])[:10])


def minute(ms: int) -> str:
    """Return a time [ms] to the minute."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def iso(ms: int | None) -> str | None:
    """Return a time [ms] as ISO text, None for None."""
    if ms is None:
        return None
    text = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds" if ms % 1000 else "seconds")
    return text.replace("+00:00", "Z")


def size_text(count: float) -> str:
    """Return a number of bytes in a reader's unit."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def duration_text(seconds: float) -> str:
    """Return a duration in a reader's unit: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
