"""What can be wrong with stored settlements and margin tiers."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from backtester.errors import format_time
from backtester.market.finding import CUT_HINT, MISSING_HINT, Finding, counted, from_to
from backtester.market.intervals import HOUR_MS, Hole, measure_intervals
from backtester.market.schema import DatasetKey, timeframe_ms
from backtester.market.store import Store


def check_funding(store: Store, key: DatasetKey, frame: pl.DataFrame) -> Iterator[Finding]:
    """Yield settlements that are missing, and what the records say about intervals and marks."""
    times = frame["funding_time"].dt.epoch("ms").to_numpy()
    measured = measure_intervals(times)
    for hole in measured.holes:
        yield _missing_settlements(key, hole)
    hours = frame["interval_hours"].to_list()
    changes = [(k, hours[k - 1], hours[k]) for k in range(1, len(hours)) if hours[k] != hours[k - 1]]
    if changes:
        shown = "; ".join(f"{old:g} h to {new:g} h at {format_time(int(times[k]))}" for k, old, new in changes[:4])
        more = "; …" if len(changes) > 4 else ""
        yield Finding(
            "info",
            "interval_changes",
            key,
            int(times[changes[0][0]]),
            int(times[changes[-1][0]]),
            len(changes),
            f"the funding interval changes {counted(len(changes), 'time')}: {shown}{more}",
        )
    unknown = frame["mark_price"].null_count()
    if unknown:
        yield Finding(
            "info",
            "mark_price_unknown",
            key,
            None,
            None,
            unknown,
            f"{unknown} of {counted(frame.height, 'settlement')} without a mark price of their own",
            "The mark series serves instead.",
        )
    yield from _funding_cover(store, key, times[0], times[-1], hours[-1] or 0.0)


def _missing_settlements(key: DatasetKey, hole: Hole) -> Finding:
    return Finding(
        "error",
        "missing_settlement",
        key,
        hole.after,
        hole.before,
        hole.missing,
        f"{counted(hole.missing, 'settlement')} missing, {from_to(hole.after, hole.before)} "
        f"(both are there; the interval is {hole.interval_ms / HOUR_MS:g} h)",
        MISSING_HINT + 'funding.source = "none" or "constant".',
    )


def _funding_cover(store: Store, key: DatasetKey, first: int, last: int, hours: float) -> Iterator[Finding]:
    """Yield where the records begin later or end earlier than the traded bars, by more than an interval."""
    spans = [
        (span[0], span[1] + timeframe_ms(k.timeframe))
        for k in store.keys(key.venue, key.symbol, "trade")
        if (span := store.span(k)) is not None
    ]
    if not spans:
        return
    start, end = min(s for s, _ in spans), max(e for _, e in spans)
    interval = int(hours * HOUR_MS)
    if first - start >= max(interval, 1):
        text = f"the records begin at {format_time(int(first))}, the trades at {format_time(start)}"
        yield Finding("warning", "funding_starts_late", key, start, int(first), 0, text, CUT_HINT)
    if end - last > max(interval, 1):
        text = f"the records end at {format_time(int(last))}, the trades at {format_time(end)}"
        yield Finding("warning", "funding_ends_early", key, int(last), end, 0, text, CUT_HINT)


def check_tiers(store: Store, key: DatasetKey) -> Iterator[Finding]:
    """Yield brackets that do not join, and bars before the first table."""
    tables = store.tier_tables(key.venue, key.symbol)
    for table in tables:
        for k, stated, expected in table.discontinuities():
            yield Finding(
                "warning",
                "tier_discontinuity",
                key,
                table.valid_from,
                None,
                1,
                f"the maintenance amount of bracket {k + 1} is {stated:g}, continuity asks for {expected:g}",
                "Compare with the venue's own table.",
            )
    first = tables[0].valid_from
    starts = [s[0] for k in store.keys(key.venue, key.symbol, "trade") if (s := store.span(k)) is not None]
    if first is not None and starts and min(starts) < first:
        yield Finding(
            "info",
            "tiers_start_late",
            key,
            min(starts),
            first,
            0,
            f"the oldest table holds from {format_time(first)}, the trades begin at {format_time(min(starts))}",
            "The oldest table is used before its date, and the report says so.",
        )
