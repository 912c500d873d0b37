"""What stored bars show by themselves, against bars of another length, and against the mark."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import polars as pl

from backtester.errors import format_time
from backtester.market.quality import bars as bar_quality
from backtester.market.quality.bars import Run
from backtester.market.quality.finding import (
    MISSING_HINT,
    MOST_PLACES,
    Code,
    Finding,
    Severity,
    counted,
    from_to,
    listed_times,
)
from backtester.market.schema import FILLED, DatasetKey, timeframe_ms

if TYPE_CHECKING:
    from backtester.market.quality.symbol_data import SymbolData

MOVED = 0.001
"""Range of the mark from which on it moved while nothing was traded [fraction]."""
_DAY_MS = 86_400_000
_ABSURD = 0.5  # between traded and mark closes; in the crash of October 2025 closes kept within 10 %
_USUAL_DISTANCE = 0.005  # of half of the closes; large contracts keep within 0.1 %, small ones within 0.2 %


def check_bars(data: SymbolData, key: DatasetKey, divergence: float) -> Iterator[Finding]:
    """Yield what is wrong with one dataset of bars.

    Parameters
    ----------
    data : SymbolData
        What is stored of the symbol.
    key : DatasetKey
        The dataset.
    divergence : float
        Distance of the traded from the mark close that is reported [fraction of the mark].
    """
    frame, step = data.read(key), timeframe_ms(key.timeframe)
    yield from _whole(key, frame, step)
    if key.series == "trade":
        yield from _volumes(data, key, frame, step)
    if key.series in ("mark", "index"):
        yield from _still(key, frame, step)
        yield from _against_trades(data, key, step, divergence)
    if key.series == "mark":
        yield from _filled(key, frame, step)
    yield from _against_finer(data, key, step)


def _whole(key: DatasetKey, frame: pl.DataFrame, step: int) -> Iterator[Finding]:
    """Yield holes, repeated and impossible bars."""
    needed = key.series in ("trade", "mark")
    for run in bar_quality.gaps(frame, step):
        yield Finding(
            "error" if needed else "warning",
            "gap",
            key,
            run.start,
            run.end,
            run.count,
            f"{counted(run.count, 'bar')} missing, {from_to(run.start, run.end - step)}",
            MISSING_HINT + "data.allow_gaps = true.",
        )
    for time, count in bar_quality.repeats(frame):
        yield Finding(
            "error",
            "duplicate",
            key,
            time,
            time + step,
            count,
            f"{count} rows for the bar {format_time(time)}",
            "The file was changed by another program: import the series again with --replace.",
        )
    for reason, time, count in bar_quality.impossible(frame, key.series):
        yield Finding(
            "error",
            "impossible_bar",
            key,
            time,
            time + step,
            count,
            f"{counted(count, 'bar')} cannot be true: {reason}; the first is {format_time(time)}",
            "Import a correct file over it; --drop-bad leaves such rows out.",
        )


def _volumes(data: SymbolData, key: DatasetKey, frame: pl.DataFrame, step: int) -> Iterator[Finding]:
    """Yield bars without volume, told apart by what the mark and the coarser bars say of them."""
    yield from _unknown_volumes(key, frame, step)
    runs = bar_quality.zero_volume_runs(frame, step)
    if not runs:
        return
    last = runs[-1]
    if last.end == int(frame["open_time"].dt.epoch("ms")[-1]) + step and last.end - last.start >= _DAY_MS:
        runs = runs[:-1]
        yield Finding(
            "warning",
            "trading_stops",
            key,
            last.start,
            last.end,
            last.count,
            f"nothing was traded from {format_time(last.start)} to the end, {counted(last.count, 'bar')}",
            "Delisted or halted: let a run end before it.",
        )
    lacking = _lacking_volume(data, key)
    lost = [r for r in runs if _meets(r, lacking)]
    if lost:
        yield _aggregate(
            "warning",
            "missing_volume",
            key,
            runs=lost,
            text=f"{_runs_text(lost)} without volume where the coarser bars count more than they add up to: trades "
            f"are missing, {_runs_list(lost, step)}",
            hint="Fetch these bars again (--repair), or trade the coarser ones: nothing fills in a bar without volume.",
        )
    yield from _quiet(data, key, step, [r for r in runs if not _meets(r, lacking)])


def _unknown_volumes(key: DatasetKey, frame: pl.DataFrame, step: int) -> Iterator[Finding]:
    unknown = bar_quality.unknown_volume_runs(frame, step)
    if unknown and (total := sum(r.count for r in unknown)) < frame.height:
        yield _aggregate(
            "info",
            "volume_unknown",
            key,
            runs=unknown,
            text=f"{total:,} of {counted(frame.height, 'bar')} of unknown volume, {_runs_list(unknown, step)}",
            hint="Orders fill in them as if there were enough; a source with volumes may be imported over them.",
        )


def _lacking_volume(data: SymbolData, key: DatasetKey) -> list[tuple[int, int]]:
    """Return the coarser bars that count more volume than the bars of this dataset add up to, start and end [ms].

    Sorted, without overlap.
    """
    step = timeframe_ms(key.timeframe)
    found: list[tuple[int, int]] = []
    for coarse in data.of("trade"):
        length = timeframe_ms(coarse.timeframe)
        if length > step and length % step == 0 and (sums := data.sums(coarse, key)) is not None:
            times = sums.volumes.filter("lacks")["open_time"].dt.epoch("ms").to_list()
            found += [(t, t + length) for t in times]
    joined: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _meets(run: Run, places: Sequence[tuple[int, int]]) -> bool:
    """Return whether a run overlaps one of the places, which are sorted."""
    at = bisect_left(places, run.end, key=lambda place: place[0])
    return at > 0 and places[at - 1][1] > run.start


def _quiet(data: SymbolData, key: DatasetKey, step: int, runs: list[Run]) -> Iterator[Finding]:
    """Yield runs in which nothing was traded, those in which the mark moved apart from the others."""
    if not runs:
        return
    marks = data.bars("mark", step)
    judged = runs if marks is None else bar_quality.with_movement(runs, marks)
    moved = [r for r in judged if r.size > MOVED]
    if moved:
        worst = max(moved, key=lambda r: r.size)
        yield _aggregate(
            "warning",
            "zero_volume_mark_moves",
            key,
            runs=moved,
            text=f"{_runs_text(moved)} without volume in which the mark moved, most by {worst.size:.1%} in "
            f"{counted(worst.count, 'bar')} from {format_time(worst.start)}",
            hint="An outage, or trades that the source lacks: nothing fills in these bars, and liquidation goes on.",
            worst=worst,
        )
    quiet = [r for r in judged if not r.size > MOVED]  # NaN, where no mark is stored, is not more
    if quiet:
        longest = max(quiet, key=lambda r: r.count)
        is_still = marks is not None and all(r.size <= MOVED for r in quiet)
        yield _aggregate(
            "info" if is_still or longest.count == 1 else "warning",
            "zero_volume",
            key,
            runs=quiet,
            text=f"{_runs_text(quiet)} without volume{' while the mark stood still' * is_still}, the longest "
            f"{counted(longest.count, 'bar')} from {format_time(longest.start)}",
            hint="Nothing fills in these bars: orders wait, funding and liquidation go on.",
            worst=longest,
        )


def _still(key: DatasetKey, frame: pl.DataFrame, step: int) -> Iterator[Finding]:
    """Yield where a mark or an index stands still."""
    runs = bar_quality.still_runs(frame, step)
    if runs:
        longest = max(runs, key=lambda r: r.count)
        to_the_end = int(frame["open_time"].dt.epoch("ms")[-1]) + step == longest.end
        yield _aggregate(
            "warning",
            "stale",
            key,
            runs=runs,
            text=f"the price stands still for {_runs_text(runs)}, the longest {counted(longest.count, 'bar')}, "
            f"{from_to(longest.start, longest.end - step)}{', to the end of the series' * to_the_end}",
            hint="Compare with another source: margin is judged on the mark.",
            worst=longest,
        )


def _filled(key: DatasetKey, frame: pl.DataFrame, step: int) -> Iterator[Finding]:
    times = frame["open_time"].filter(frame[FILLED]).dt.epoch("ms").to_list()
    if times:
        yield Finding(
            "info",
            "filled",
            key,
            times[0],
            times[-1] + step,
            len(times),
            f"{counted(len(times), 'bar')} computed from index and premium in place of missing ones, "
            f"{from_to(times[0], times[-1])}",
            "A run that uses them warns of it; real bars that are fetched or imported replace them.",
        )


def _against_finer(data: SymbolData, key: DatasetKey, step: int) -> Iterator[Finding]:
    """Yield bars that the finest stored bars do not add up to, in price and in volume."""
    finer = [k for k in data.of(key.series) if timeframe_ms(k.timeframe) < step]
    if not finer or step % timeframe_ms(finer[0].timeframe):
        return
    sums = data.sums(key, finer[0])
    if sums is None:
        return
    cases: tuple[tuple[Code, str, pl.DataFrame], ...] = (
        ("timeframes_disagree", "price", sums.prices),
        ("volumes_disagree", "volume", sums.volumes),
    )
    for code, what, found in cases:
        if found.is_empty():
            continue
        times = found["open_time"].dt.epoch("ms").to_list()
        largest = float(found.select(pl.col("size").max()).item())
        yield Finding(
            "warning",
            code,
            key,
            times[0],
            times[-1] + step,
            len(times),
            f"{counted(len(times), 'bar')} of {key.timeframe} {'differs' if len(times) == 1 else 'differ'} in {what} "
            f"from what the bars of {finer[0].timeframe} add up to, by up to {largest:.2%}: "
            f"{listed_times(times)}",
            "Results depend on the timeframe there; another source may have the right bars.",
            tuple((t, t + step) for t in times[:MOST_PLACES]),
        )


def _against_trades(data: SymbolData, key: DatasetKey, step: int, limit: float) -> Iterator[Finding]:
    """Yield bars where traded and mark price are far apart, and marks or indices of another contract."""
    common, marks = _common_grid(data, key, step)
    trades = data.bars("trade", common)
    if trades is None or marks is None:
        return
    far = bar_quality.divergence(trades, marks, common, limit)
    if far.compared and far.median > limit:
        yield Finding(
            "error" if key.series == "mark" else "warning",
            "other_price",
            key,
            None,
            None,
            far.compared,
            f"this is not the {key.series} of this contract: half of its closes are more than {limit:.1%} from the "
            f"trades, the middle one {far.median:.1%}",
            "Check the unit and the symbol of both files.",
        )
        return
    if key.series != "mark":
        return
    if far.median > _USUAL_DISTANCE:
        yield Finding(
            "warning",
            "other_price",
            key,
            None,
            None,
            far.compared,
            f"half of its closes are more than {far.median:.2%} from the trades, where a mark keeps within "
            f"{_USUAL_DISTANCE:.1%}",
            "It may be shifted in time, scaled, or of another contract: compare it with another source.",
        )
    cases: tuple[tuple[Code, str, tuple[Run, ...], float], ...] = (
        ("mark_diverges_close", "close", far.closes, limit),
        ("mark_diverges_wick", "wick", far.wicks, limit * bar_quality.WICK_FACTOR),
    )
    for code, name, runs, least in cases:
        if not runs:
            continue
        worst = max(runs, key=lambda r: r.size)
        total = sum(r.count for r in runs)
        is_absurd = name == "close" and worst.size > _ABSURD
        yield _aggregate(
            "error" if is_absurd else "warning",
            code,
            key,
            runs=runs,
            text=f"{counted(total, 'bar')} whose traded {name}s are more than {least:.1%} from the mark, the worst "
            f"{worst.size:.1%} at {format_time(worst.at)}",
            hint="Closes so far apart are another unit, another contract or a broken bar: import a sound series."
            if is_absurd
            else "Usual in a crash; else compare with another source. Liquidations are judged on the mark.",
            worst=worst,
        )


def _common_grid(data: SymbolData, key: DatasetKey, step: int) -> tuple[int, pl.DataFrame | None]:
    """Return the finest length of bars that both the trades and this dataset can be had in, and its bars."""
    trades = [timeframe_ms(k.timeframe) for k in data.of("trade")]
    if any(step % t == 0 for t in trades):
        return step, data.read(key)
    coarser = [t for t in trades if t % step == 0]
    return (coarser[0], data.bars(key.series, coarser[0])) if coarser else (step, None)


def _aggregate(
    severity: Severity,
    code: Code,
    key: DatasetKey,
    *,
    runs: Sequence[Run],
    text: str,
    hint: str,
    worst: Run | None = None,
) -> Finding:
    """Return one finding of several runs; its start and end are those of the worst, else of the longest."""
    worst = max(runs, key=lambda r: r.count) if worst is None else worst
    total = sum(r.count for r in runs)
    return Finding(severity, code, key, *worst.place, total, text, hint, tuple(r.place for r in runs[:MOST_PLACES]))


def _runs_text(runs: Iterable[Run]) -> str:
    several = list(runs)
    total = counted(sum(r.count for r in several), "bar")
    return total if len(several) == 1 else f"{total} in {counted(len(several), 'run')}"


def _runs_list(runs: Sequence[Run], step: int, most: int = 3) -> str:
    """Return the spans of the first runs in words."""
    shown = ", ".join(from_to(r.start, r.end - step) for r in runs[:most])
    return shown + (f" and {len(runs) - most:,} more" if len(runs) > most else "")
