"""What a dataset lacks within a range, as windows that a source can be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from backtester.market.intervals import HOUR_MS, measure_intervals
from backtester.market.manifest import Manifest, Part
from backtester.market.schema import EVENT, FILLED, timeframe_ms
from backtester.market.series import anchor
from backtester.market.windows import Window, coalesced, missing_runs, subtracted

if TYPE_CHECKING:
    from backtester.market.schema import DatasetKey
    from backtester.market.store import Store


def lacking(store: Store, key: DatasetKey, start: int, end: int, source: str | None = None) -> list[Window]:
    """Return the windows in ``[start, end)`` of which rows are missing.

    Parameters
    ----------
    store : Store
        Where the dataset is or will be.
    key : DatasetKey
        Bars or settlements.
    start, end : int
        Range of the rows' times [ms].
    source : str, optional
        Leave out what this source was asked for already and did not have.

    Returns
    -------
    list of tuple of int
        In order, end excluded [ms]; empty where nothing is missing. Of settlements, whose number is not known before,
        everything before the first record, after the last one and inside holes of the measured interval.

    Raises
    ------
    StoreError
        The dataset is damaged, or another process writes it while pages wait there.
    """
    store.settle(key)
    if not store.has(key):
        step = 1 if key.timeframe == EVENT else timeframe_ms(key.timeframe)
        return _on_grid(start, end, step, anchor(step))
    manifest = store.manifest(key)
    find = _missing_settlements if key.timeframe == EVENT else _missing_bars
    windows = find(store, key, manifest, start, end)
    if source is None:
        return windows
    return subtracted(windows, [(a.start, a.end) for a in manifest.asked if a.source == source])


def _missing_bars(store: Store, key: DatasetKey, manifest: Manifest, start: int, end: int) -> list[Window]:
    step = timeframe_ms(key.timeframe)
    phase = anchor(step)
    whole = [span for part in manifest.parts.values() if (span := _whole_span(part, step)) is not None]
    windows = subtracted(_on_grid(start, end, step, phase), whole)
    out: list[Window] = []
    for first, last in windows:  # only where a part has a hole are its times read
        bars = store.scan(key, first, last)
        if FILLED in key.schema.flags:
            bars = bars.filter(~pl.col(FILLED))
        times = bars.select("open_time").collect()["open_time"].dt.epoch("ms").to_numpy()
        out += missing_runs(times, step, first, last, phase)
    return coalesced(out, 0)


def _on_grid(start: int, end: int, step: int, phase: int) -> list[Window]:
    """Return ``[start, end)`` on the grid of a timeframe, as one window or none."""
    first = phase - (phase - start) // step * step
    last = phase - (phase - end) // step * step
    return [(first, last)] if first < last else []


def _whole_span(part: Part, step: int) -> Window | None:
    """Return the span of a part in which no bar is missing or computed, as far as its figures tell."""
    if part.filled or part.first is None or part.last is None or (part.last - part.first) // step + 1 != part.rows:
        return None
    return part.first, part.last + step


def _missing_settlements(store: Store, key: DatasetKey, manifest: Manifest, start: int, end: int) -> list[Window]:
    if manifest.span is None:
        return [(start, end)] if start < end else []
    first, last = manifest.span
    times = store.scan(key).select("funding_time").collect()["funding_time"].dt.epoch("ms").to_numpy()
    measured = measure_intervals(times)
    windows = [(start, first), (last + 1, end), *((hole.after + 1, hole.before) for hole in measured.holes)]
    clipped = [(max(a, start), min(b, end)) for a, b in windows]
    return sorted((a, b) for a, b in clipped if b - a >= HOUR_MS)  # no interval is shorter
