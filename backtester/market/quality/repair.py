"""Repairing what a check has found: missing windows fetched again, missing marks computed and flagged.

Nothing is repaired silently: each window that is touched, or cannot be, is one `Repair`, computed rows carry the flag
``filled``, and a run that uses them warns of it (`market.filled`).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import polars as pl

from backtester.errors import BacktesterError
from backtester.market.intervals import HOUR_MS
from backtester.market.quality.finding import Finding, counted, from_to
from backtester.market.schema import BAR_SERIES, EVENT, FILLED, PRICES, TIME, DatasetKey, timeframe_ms
from backtester.market.store import Store

Outcome = Literal["fetched", "filled", "left"]
Refetch = Callable[[DatasetKey, list[tuple[int, int]]], int]

_USUAL_STORE = Path("data")
SOURCE = "computed: index x (1 + premium)"
_WINDOWS = ("gap", "missing_settlement", "missing_volume", "starts_late", "ends_early")
_MINUTE_MS = 60_000


@dataclass(frozen=True)
class Repair:
    """What became of the missing windows of one dataset.

    Attributes
    ----------
    outcome : {"fetched", "filled", "left"}
        Rows were fetched, or computed, or nothing could be done.
    key : DatasetKey
        The dataset.
    windows : tuple of (int, int)
        The windows, start and end [ms].
    rows : int
        Rows that came in; those that are still missing where nothing was done, 0 where that is not known.
    text : str
        What was done, or why nothing was.
    hint : str
        The way on; empty where there is none.
    """

    outcome: Outcome
    key: DatasetKey
    windows: tuple[tuple[int, int], ...]
    rows: int
    text: str
    hint: str = ""


def repair(store: Store, findings: Iterable[Finding], refetch: Refetch | None) -> list[Repair]:
    """Repair the windows of the findings that name missing rows.

    These are holes, missing settlements, bars whose volume is lost, and the ends of companions that cover less than
    the trades. Mark bars that no fetch brings are computed where index and premium are stored (`fill_marks`).

    Parameters
    ----------
    store : Store
        Where the datasets are.
    findings : iterable of Finding
        Of `market.quality.check.check`.
    refetch : callable or None
        Fetches windows of a dataset, ``[start, end)`` in ms, into the store, and returns the number of rows that came
        in; None: there is no source, and the command that fetches is named instead.

    Returns
    -------
    list of Repair
        Those of one dataset stand together.
    """
    done: list[Repair] = []
    found = _windows(findings)
    # marks come last: index and premium bars that are fetched first serve to compute them
    for key in sorted(found, key=lambda k: (k.series == "mark", k)):
        windows = found[key]
        if refetch is not None:
            done.append(_fetched(key, windows, refetch))
        if key.series == "mark":
            # a fetch may have brought a part of them: a filled row never replaces one that is there
            filled = fill_marks(store, key, windows)
            done += [filled] if filled is not None else []
            windows = _still_missing(store, key, windows)
        if refetch is None and windows:
            text = f"{counted(len(windows), 'window')} to fetch, the first {from_to(*windows[0])}"
            done.append(Repair("left", key, tuple(windows), 0, text, "; ".join(_commands(store, key, windows))))
    return done


def fill_marks(store: Store, key: DatasetKey, windows: Sequence[tuple[int, int]]) -> Repair | None:
    """Compute the mark bars that are missing in windows from index and premium bars of the same length.

    Open and close are ``index * (1 + premium)`` at the same moment. The extremes of the two series need not fall on the
    same moment, so that the product of two highs or two lows may be further out than the mark ever was: such a bar
    liquidates rather too early than too late. They are taken as they are, and widened where that is needed to hold open
    and close.

    Parameters
    ----------
    store : Store
        Where the datasets are.
    key : DatasetKey
        Of mark bars.
    windows : sequence of (int, int)
        Start and end [ms].

    Returns
    -------
    Repair or None
        None where no mark bar is missing there.
    """
    missing = _missing_bars(store, key, windows)
    if missing.is_empty():
        return None
    parts = [DatasetKey(key.venue, key.symbol, series, key.timeframe) for series in ("index", "premium")]
    absent = [str(part) for part in parts if not store.has(part)]
    if absent:
        text = f"{counted(missing.height, 'bar')} cannot be computed: {' and '.join(absent)} not stored"
        return Repair("left", key, tuple(windows), missing.height, text, "Import them, or fetch the mark itself.")
    try:
        index, premium = (store.read(part) for part in parts)
    except BacktesterError as e:
        return Repair("left", key, tuple(windows), missing.height, e.message, e.hint)
    rows = _computed(missing, index, premium)
    if rows.is_empty():
        text = f"{counted(missing.height, 'bar')} cannot be computed: index and premium lack these times too"
        return Repair("left", key, tuple(windows), missing.height, text, "Fetch the mark from another source.")
    store.write(key, rows, source=SOURCE)
    times = rows["open_time"].dt.epoch("ms")
    text = (
        f"{counted(rows.height, 'bar')} computed from index x (1 + premium), {from_to(int(times[0]), int(times[-1]))}"
    )
    if rows.height < missing.height:
        text += f"; for {missing.height - rows.height:,} more index or premium is missing"
    return Repair("filled", key, tuple(windows), rows.height, text, "Runs that use them warn of it.")


def _computed(missing: pl.DataFrame, index: pl.DataFrame, premium: pl.DataFrame) -> pl.DataFrame:
    """Return the mark bars of the missing times that both series have, flagged."""
    both = missing.join(index, on="open_time").join(premium, on="open_time", suffix="_premium").sort("open_time")
    raw = both.select("open_time", *(pl.col(p) * (1 + pl.col(f"{p}_premium")) for p in PRICES))
    rows = raw.with_columns(
        high=pl.max_horizontal(PRICES), low=pl.min_horizontal(PRICES), **{FILLED: pl.lit(value=True)}
    )
    return rows.filter(pl.all_horizontal(pl.col(p).is_finite() & (pl.col(p) > 0) for p in PRICES))


def _windows(findings: Iterable[Finding]) -> dict[DatasetKey, list[tuple[int, int]]]:
    """Return the windows in which rows are missing, by dataset, sorted and joined where they meet."""
    found: dict[DatasetKey, list[tuple[int, int]]] = {}
    for finding in findings:
        if finding.code in _WINDOWS:
            found.setdefault(finding.key, []).extend(finding.windows)
    return {key: _joined(windows) for key, windows in found.items()}


def _joined(windows: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in sorted(windows):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _fetched(key: DatasetKey, windows: list[tuple[int, int]], refetch: Refetch) -> Repair:
    try:
        rows = refetch(key, windows)
    except BacktesterError as e:
        return Repair("left", key, tuple(windows), 0, f"the fetch failed: {e.message.rstrip('.')}", e.hint)
    where = f"{counted(len(windows), 'window')}, the first {from_to(*windows[0])}"
    if not rows:
        return Repair("left", key, tuple(windows), 0, f"the venue has nothing for {where}", "Try another source.")
    return Repair("fetched", key, tuple(windows), rows, f"{counted(rows, 'row')} fetched for {where}")


def _missing_bars(store: Store, key: DatasetKey, windows: Sequence[tuple[int, int]]) -> pl.DataFrame:
    """Return the open times in windows of which no bar is stored."""
    step = timeframe_ms(key.timeframe)
    span = store.span(key)
    if span is None or not windows:
        return pl.DataFrame(schema={"open_time": TIME})
    grids = [
        pl.select(open_time=pl.int_range(span[0] - (span[0] - start) // step * step, end, step, dtype=pl.Int64))
        for start, end in windows
    ]
    times = pl.concat(grids).with_columns(pl.col("open_time").cast(TIME))
    return times.join(store.scan(key).select("open_time").collect(), on="open_time", how="anti")


def _still_missing(store: Store, key: DatasetKey, windows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the windows of the bars that are not stored yet."""
    step = timeframe_ms(key.timeframe)
    times = _missing_bars(store, key, windows)["open_time"].sort().dt.epoch("ms").to_list()
    return _joined((t, t + step) for t in times)


def _commands(store: Store, key: DatasetKey, windows: list[tuple[int, int]]) -> list[str]:
    """Return what fetches windows; those that are many are fetched as one span."""
    spans = windows if len(windows) <= 3 else [(windows[0][0], windows[-1][1])]
    bars = f" --timeframes {key.timeframe}" if key.timeframe != EVENT else ""
    # the records on both sides of a hole are there; an end is excluded
    reach = 0 if key.series in BAR_SERIES else HOUR_MS
    where = "" if store.root == _USUAL_STORE else f" --store {shlex.quote(str(store.root))}"
    return [
        f"backtester data fetch --venue {key.venue} --symbols {key.symbol} --series {key.series}{bars} "
        f"--start {_stamp(start)} --end {_stamp(end + reach)}{where}"
        for start, end in spans
    ]


def _stamp(ms: int) -> str:
    """Return a time as `--start` and `--end` take it, to the minute, without a space."""
    return datetime.fromtimestamp(ms // _MINUTE_MS * 60, UTC).strftime("%Y-%m-%dT%H:%M")
