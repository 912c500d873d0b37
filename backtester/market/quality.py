"""Whether stored data can be trusted: findings, each with a severity, a place and a way on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import polars as pl

from backtester.errors import StoreError, format_time
from backtester.market import bar_quality
from backtester.market.event_quality import check_funding, check_tiers
from backtester.market.finding import CUT_HINT, MISSING_HINT, Finding, counted, from_to
from backtester.market.schema import BAR_SERIES, EVENT, DatasetKey, timeframe_ms
from backtester.market.store import Store

DIVERGENCE = 0.02
_RANK = {"error": 0, "warning": 1, "info": 2}


def check(
    store: Store,
    keys: Sequence[DatasetKey],
    *,
    divergence: float = DIVERGENCE,
    progress: Callable[[DatasetKey], None] | None = None,
) -> list[Finding]:
    """Return what is wrong with datasets, each alone and each against its companions; the worst first.

    Parameters
    ----------
    store : Store
        Where they are.
    keys : sequence of DatasetKey
        Which ones; companions of the same symbol are read where needed.
    divergence : float
        Distance of the traded from the mark close that is reported [fraction of the mark]; wicks are reported at
        two and a half times that.
    progress : callable, optional
        Told each dataset before it is read.
    """
    findings: list[Finding] = []
    for key in keys:
        if progress is not None:
            progress(key)
        try:
            findings += _check_one(store, key, divergence)
        except StoreError as e:
            findings.append(Finding("error", "damaged", key, None, None, 1, e.message, e.hint))
    return sorted(findings, key=lambda f: (_RANK[f.severity], f.key, f.start or 0))


def _check_one(store: Store, key: DatasetKey, divergence: float) -> Iterator[Finding]:
    if key.series in BAR_SERIES:
        frame = store.read(key)
        yield from _bars(key, frame)
        if key.series == "trade":
            yield from _companions(store, key)
            yield from _against_finer(store, key, frame)
        if key.series == "mark":
            yield from _against_trades(store, key, frame, divergence)
    elif key.series == "funding":
        yield from check_funding(store, key, store.read(key))
    elif key.series == "tiers":
        yield from check_tiers(store, key)


def _bars(key: DatasetKey, frame: pl.DataFrame) -> Iterator[Finding]:
    """Yield what a series of bars shows by itself."""
    step = timeframe_ms(key.timeframe)
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
    yield from _still_bars(key, frame, step)


def _still_bars(key: DatasetKey, frame: pl.DataFrame, step: int) -> Iterator[Finding]:
    """Yield bars in which nothing was traded, and marks that stood still."""
    if key.series == "trade":
        runs = bar_quality.zero_volume_runs(frame, step)
        if runs:
            longest = max(runs, key=lambda r: r.count)
            total = sum(r.count for r in runs)
            yield Finding(
                "warning" if longest.count > 1 else "info",
                "zero_volume",
                key,
                longest.start,
                longest.end,
                total,
                f"{counted(total, 'bar')} without volume in {counted(len(runs), 'run')}, the longest "
                f"{counted(longest.count, 'bar')} from {format_time(longest.start)}",
                "Nothing fills in these bars: orders wait, funding and liquidation go on.",
            )
    elif key.series in ("mark", "index"):
        for run in bar_quality.still_runs(frame, step):
            yield Finding(
                "warning",
                "stale",
                key,
                run.start,
                run.end,
                run.count,
                f"the price stands still for {counted(run.count, 'bar')}, {from_to(run.start, run.end - step)}",
                "Compare with another source: margin is judged on this price.",
            )


def _companions(store: Store, key: DatasetKey) -> Iterator[Finding]:
    """Yield what a run over traded bars would miss; asked once a symbol, for its coarsest timeframe."""
    others = store.keys(key.venue, key.symbol)
    trades = [k for k in others if k.series == "trade"]
    if key != max(trades, key=lambda k: timeframe_ms(k.timeframe)):
        return
    have = {k.series for k in others}
    wanted = (
        (
            "mark",
            "no mark series: margin would be judged on traded prices",
            'Import it, or run with data.mark = "trade".',
        ),
        ("funding", "no funding records", 'Import them, or run with funding.source = "none".'),
        (
            "tiers",
            "no margin tiers: every run of it is refused until they are imported or stated",
            "Import them (--format ccxt-tiers), or state [[tiers.SYMBOL]] in the run file.",
        ),
    )
    for series, text, hint in wanted:
        if series not in have:
            yield Finding("warning", f"no_{series}", key, None, None, 0, text, hint)
    span = store.span(key)
    if span is None:
        return
    end = span[1] + timeframe_ms(key.timeframe)
    for other in others:
        if other.series == "mark":
            yield from _cover(store, key, span[0], end, other)


def _cover(store: Store, key: DatasetKey, start: int, end: int, other: DatasetKey) -> Iterator[Finding]:
    """Yield where the mark begins later or ends earlier than the trades."""
    span = store.span(other)
    if span is None:
        return
    covered = (span[0], span[1] + timeframe_ms(other.timeframe))
    name = f"the {other.series} {other.timeframe}"
    if covered[0] > start:
        text = f"{name} begins at {format_time(covered[0])}, the trades at {format_time(start)}"
        yield Finding("warning", "mark_starts_late", key, start, covered[0], 0, text, CUT_HINT)
    if covered[1] < end:
        text = f"{name} ends at {format_time(covered[1])}, the trades at {format_time(end)}"
        yield Finding("warning", "mark_ends_early", key, covered[1], end, 0, text, CUT_HINT)


def _against_finer(store: Store, key: DatasetKey, coarse: pl.DataFrame) -> Iterator[Finding]:
    """Yield coarse bars that the finest stored bars do not add up to."""
    step = timeframe_ms(key.timeframe)
    finer = [k for k in store.keys(key.venue, key.symbol, "trade") if timeframe_ms(k.timeframe) < step]
    if not finer:
        return
    finest = min(finer, key=lambda k: timeframe_ms(k.timeframe))
    fine_step = timeframe_ms(finest.timeframe)
    if step % fine_step:
        return
    times = bar_quality.unequal_sums(coarse, step, store.read(finest), fine_step)
    if times:
        yield Finding(
            "warning",
            "timeframes_disagree",
            key,
            times[0],
            times[-1] + step,
            len(times),
            f"{counted(len(times), 'bar')} of {key.timeframe} {'differs' if len(times) == 1 else 'differ'} from what "
            f"the bars of {finest.timeframe} add up to, the first {format_time(times[0])}",
            "Results depend on the timeframe there; another source may have the right bars.",
        )


def _against_trades(store: Store, key: DatasetKey, marks: pl.DataFrame, divergence: float) -> Iterator[Finding]:
    """Yield bars where traded and mark price are far apart."""
    trade = DatasetKey(key.venue, key.symbol, "trade", key.timeframe)
    if not store.has(trade):
        return
    step = timeframe_ms(key.timeframe)
    far = bar_quality.divergence(store.read(trade), marks, step, divergence)
    if far.compared and far.median > divergence:
        yield Finding(
            "error",
            "other_price",
            key,
            None,
            None,
            far.compared,
            f"this is not the mark of this contract: half of its closes are more than {far.median:.1%} from the trades",
            "Check the unit and the symbol of both files.",
        )
        return
    for text, runs in (("close", far.closes), ("wick", far.wicks)):
        if not runs:
            continue
        worst = max(runs, key=lambda r: r.size)
        total = sum(r.count for r in runs)
        limit = divergence if text == "close" else divergence * bar_quality.WICK_FACTOR
        yield Finding(
            "warning",
            f"mark_diverges_{text}",
            key,
            worst.start,
            worst.end,
            total,
            f"{counted(total, 'bar')} whose traded {text}s are more than {limit:.1%} from the mark, the worst "
            f"{worst.size:.1%} at {format_time(worst.at)}",
            "Usual in a crash; else compare with another source. Liquidations are judged on the mark.",
        )


def select(
    store: Store,
    venue: str | None = None,
    symbols: Sequence[str] = (),
    series: Sequence[str] = (),
    timeframe: str | None = None,
) -> list[DatasetKey]:
    """Return the datasets that pass the filters; a timeframe does not keep funding and tiers out."""
    return [
        k
        for k in store.keys(venue)
        if (not symbols or k.symbol in symbols)
        and (not series or k.series in series)
        and (timeframe is None or k.timeframe in (timeframe, EVENT))
    ]
