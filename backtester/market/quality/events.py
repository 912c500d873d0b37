"""What can be wrong with stored settlements and margin tiers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import polars as pl

from backtester.errors import format_time
from backtester.market.intervals import HOUR_MS, LONGEST_INTERVAL_HOURS, USUAL_MS, Hole, measure_intervals
from backtester.market.quality.coverage import too_rare
from backtester.market.quality.finding import MISSING_HINT, MOST_PLACES, Finding, counted, from_to, length
from backtester.market.schema import DatasetKey

if TYPE_CHECKING:
    from backtester.domain.instrument import Instrument
    from backtester.market.quality.symbol_data import SymbolData

_DAY_MS = 86_400_000
_STALE_MS = 60 * _DAY_MS
_STALE_SETTLEMENTS = 90
"""Rates stand at a venue's usual one for weeks (35 days, 171 settlements on the real data), not for months."""
_FROZEN_MS = 7 * _DAY_MS
_LATER_MS = 7 * _DAY_MS
"""Terms that begin so long after the newest record do not speak of its interval."""


def check_funding(data: SymbolData, key: DatasetKey) -> Iterator[Finding]:
    """Yield settlements that are missing or cannot be true, and what the records say about intervals and marks."""
    frame = data.read(key)
    measured = measure_intervals(frame["funding_time"].dt.epoch("ms").to_numpy())
    for hole in measured.holes:
        yield _missing_settlements(key, hole)
    terms = data.store.instruments(key.venue, key.symbol)
    yield from _intervals(key, frame, terms)
    yield from _bounds(key, frame, terms)
    yield from _stale_rates(data, key, frame)
    unknown = frame["mark_price"].null_count()
    if unknown:
        yield Finding(
            "info",
            "mark_price_unknown",
            key,
            None,
            None,
            unknown,
            f"{unknown:,} of {counted(frame.height, 'settlement')} without a mark price of their own",
            "The mark series serves instead.",
        )


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


def _intervals(key: DatasetKey, frame: pl.DataFrame, terms: Sequence[Instrument]) -> Iterator[Finding]:
    """Yield the changes of the interval, and where it is not the contract's own."""
    times = frame["funding_time"].dt.epoch("ms").to_list()
    hours = frame["interval_hours"].to_list()
    changes = [(k, hours[k - 1], hours[k]) for k in range(1, len(hours)) if hours[k] != hours[k - 1]]
    if changes:
        shown = "; ".join(f"{old:g} h to {new:g} h at {format_time(times[k])}" for k, old, new in changes[:4])
        more = f"; and {len(changes) - 4} more" if len(changes) > 4 else ""
        yield Finding(
            "info",
            "interval_changes",
            key,
            times[changes[0][0]],
            times[changes[-1][0]],
            len(changes),
            f"the funding interval changes {counted(len(changes), 'time')}: {shown}{more}",
            places=tuple((times[k], times[k]) for k, _, _ in changes[:MOST_PLACES]),
        )
    yield from _too_rare(key, frame)
    newest = hours[-1] if hours else None
    if newest is None or newest > LONGEST_INTERVAL_HOURS:
        return
    begin = times[changes[-1][0]] if changes else times[0]
    known = next((i for i in reversed(terms) if i.funding_interval_hours is not None), None)
    stated = None if known is None else known.funding_interval_hours
    said = None
    is_later = may_lack = False
    if known is not None and stated is not None and stated != newest:
        ratio = newest / stated
        since = "" if known.valid_from is None else f" from {format_time(known.valid_from)} on"
        is_later = known.valid_from is not None and known.valid_from - times[-1] > _LATER_MS
        said = f"the contract says {stated:g} h{since}"
        may_lack = ratio > 1 and ratio == round(ratio)
        if may_lack:
            said += f": {'every other settlement' if ratio == 2 else f'all but every {ratio:g}th'} may be missing"
    elif stated is None and newest * HOUR_MS not in USUAL_MS:
        said = "which no venue is known for: settlements may be missing at regular distances"
    if said is not None:
        yield Finding(
            "warning" if may_lack or not is_later else "info",
            "interval_differs",
            key,
            begin,
            times[-1],
            sum(1 for t in times if t >= begin),
            f"the newest records settle every {newest:g} h (from {format_time(begin)} to {format_time(times[-1])}), "
            f"{said}",
            "Compare with the venue's own history; where its interval has changed since, import the newer terms.",
        )


def _too_rare(key: DatasetKey, frame: pl.DataFrame) -> Iterator[Finding]:
    """Yield where the records are regularly further apart than any venue settles: every other one may be missing."""
    rare = frame.filter(pl.col("interval_hours") > LONGEST_INTERVAL_HOURS)
    if rare.is_empty():
        return
    times = rare["funding_time"].dt.epoch("ms").to_list()
    hours = rare["interval_hours"].to_numpy()
    before = times[0] - int(hours[0] * HOUR_MS)
    yield Finding(
        "error",
        "missing_settlement",
        key,
        before,
        times[-1],
        too_rare(hours),
        f"{counted(rare.height, 'settlement')} stand {hours[0]:g} h and more after the one before, "
        f"{from_to(times[0], times[-1])}: no venue is known to settle so rarely, so at least "
        f"{too_rare(hours):,} are missing",
        MISSING_HINT + 'funding.source = "none" or "constant".',
    )


def _bounds(key: DatasetKey, frame: pl.DataFrame, terms: Sequence[Instrument]) -> Iterator[Finding]:
    """Yield rates beyond the cap or floor in force; what is older than the oldest terms is only told."""
    time = pl.col("funding_time").dt.epoch("ms")
    for k, known in enumerate(terms):
        start = -math.inf if known.valid_from is None else known.valid_from
        end = (terms[k + 1].valid_from or math.inf) if k + 1 < len(terms) else math.inf
        yield from _beyond(key, frame.filter((time >= start) & (time < end)), known, is_assumed=False)
        if k == 0 and known.valid_from is not None:
            yield from _beyond(key, frame.filter(time < start), known, is_assumed=True)


def _beyond(key: DatasetKey, rows: pl.DataFrame, terms: Instrument, *, is_assumed: bool) -> Iterator[Finding]:
    cap = math.inf if terms.funding_cap is None else terms.funding_cap
    floor = -math.inf if terms.funding_floor is None else terms.funding_floor
    dust = 1e-12
    bad = rows.filter((pl.col("funding_rate") > cap + dust) | (pl.col("funding_rate") < floor - dust))
    if bad.is_empty():
        return
    times = bad["funding_time"].dt.epoch("ms").to_list()
    worst = bad.row(int(bad["funding_rate"].abs().arg_max() or 0), named=True)
    since = "" if terms.valid_from is None else f" that hold from {format_time(terms.valid_from)}"
    yield Finding(
        "info" if is_assumed else "warning",
        "rate_beyond_bounds",
        key,
        times[0],
        times[-1],
        len(times),
        f"{counted(len(times), 'rate')} beyond the bounds of {floor:.4%} to {cap:.4%}{since}, the largest "
        f"{worst['funding_rate']:.4%} at {worst['funding_time']:%Y-%m-%d %H:%M} UTC",
        "Other bounds held then." if is_assumed else "A rate of another unit, or terms of another date.",
        tuple((t, t) for t in times[:MOST_PLACES]),
    )


def _stale_rates(data: SymbolData, key: DatasetKey, frame: pl.DataFrame) -> Iterator[Finding]:
    """Yield rates that stay the same after trading stopped, or for months."""
    time = pl.col("funding_time").dt.epoch("ms")
    runs = (
        frame.group_by(pl.col("funding_rate").rle_id().alias("run"), maintain_order=True)
        .agg(
            time.first().alias("first"),
            time.last().alias("last"),
            pl.len().alias("count"),
            pl.col("funding_rate").first(),
        )
        .drop("run")
        .rows()
    )
    if not runs:
        return
    hint = "A venue goes on publishing the last rate of a contract that is gone: end runs before it."
    stop = _stop_of_trading(data, key)
    start, last, _, rate = runs[-1]
    if stop is not None:
        ended, is_dead = stop
        after = int(frame.select((time > ended).sum()).item())
        least = _DAY_MS if is_dead else _FROZEN_MS
        if after >= 3 and last - ended >= least and start <= ended + _DAY_MS:
            yield Finding(
                "warning",
                "stale_rates",
                key,
                ended,
                last,
                after,
                f"{counted(after, 'settlement')} of the same rate {rate:.6%} go on for {length(last - ended)} after "
                f"the last trade at {format_time(ended)}",
                hint,
            )
            runs = runs[:-1]
    for first, last, count, rate in runs:
        if last - first >= _STALE_MS and count >= _STALE_SETTLEMENTS:
            yield Finding(
                "warning",
                "stale_rates",
                key,
                first,
                last,
                count,
                f"{counted(count, 'settlement')} of the same rate {rate:.6%}, {from_to(first, last)}",
                hint,
            )


def _stop_of_trading(data: SymbolData, key: DatasetKey) -> tuple[int, bool] | None:
    """Return when trading ended as far as is known [ms], and whether it is known to have ended, not just the data."""
    delisted = next(
        (i.delisted for i in reversed(data.store.instruments(key.venue, key.symbol)) if i.delisted is not None), None
    )
    traded, stored = data.last_trade(), data.trade_span()
    if traded is None or stored is None:
        return None if delisted is None else (delisted, True)
    if delisted is not None and delisted <= traded + _DAY_MS:
        return min(delisted, traded), True
    return traded, stored[1] - traded >= _DAY_MS


def check_tiers(data: SymbolData, key: DatasetKey) -> Iterator[Finding]:
    """Yield brackets that do not join, and bars before the first table."""
    tables = data.store.tier_tables(key.venue, key.symbol)
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
    first, trades = tables[0].valid_from, data.trade_span()
    if first is not None and trades is not None and trades[0] < first:
        yield Finding(
            "info",
            "tiers_start_late",
            key,
            trades[0],
            first,
            0,
            f"the oldest table holds from {format_time(first)}, the trades begin at {format_time(trades[0])}",
            "The oldest table is used before its date, and the report says so.",
        )
