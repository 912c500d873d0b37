"""What a strategy can read: one long frame of bars, each row holding only what was known at its bar's close."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from backtester.market.features import Feature, join_features
from backtester.market.forecast import with_funding
from backtester.market.funding_records import FundingRecords
from backtester.market.schema import TIME, timeframe_ms
from backtester.market.series import BarSource, bar_source, check_symbols, stored_timeframes, trade_source
from backtester.market.span import ceil_to, floor_to

if TYPE_CHECKING:
    from backtester.market.store import Store

BAR_COLUMNS = ("open", "high", "low", "close", "volume")
MARKET_COLUMNS = (
    *BAR_COLUMNS,
    "mark_close",
    "index_close",
    "premium",
    "funding_rate",
    "predicted_funding_rate",
    "hours_to_funding",
)
COLUMNS = ("open_time", "symbol", *MARKET_COLUMNS)


def signal_bars(  # noqa: PLR0917 - store, place and range read in one natural order
    store: Store,
    venue: str,
    symbols: Sequence[str],
    timeframe: str,
    start: int | None = None,
    end: int | None = None,
    *,
    warmup_bars: int = 0,
    reference: Sequence[str] = (),
    features: Mapping[str, Feature] | None = None,
    mark: str = "mark",
) -> pl.DataFrame:
    """Return the bars that a strategy reads, long: sorted by symbol in the given order, then by time.

    Every value of a row was known at the bar's close: truncating the stored series there changes no earlier row.

    Parameters
    ----------
    store : Store
        Where the series are stored.
    venue : str
        Name of the store's venue.
    symbols : sequence of str
        Contracts that are traded.
    timeframe : str
        Bar of decisions; built from the finest stored one where it is not stored.
    start, end : int, optional
        Range of the run [ms since 1970, UTC], end excluded; None takes all that is stored.
    warmup_bars : int
        Bars before the start that are included where they are stored.
    reference : sequence of str
        Symbols that are read, never traded: their columns are named ``ref:<symbol>:<column>``, on every row.
    features : mapping of str to FeatureConfig or DataFrame, optional
        Tables of one's own by name, joined as of their ``available_time``.
    mark : {"mark", "trade"}
        ``"trade"`` takes the traded close as mark, as does a symbol without a mark series.

    Returns
    -------
    DataFrame
        ``COLUMNS``, then feature columns, then those of the references. What is not stored is null.

    Notes
    -----
    ``mark_close`` of a bar finer than the mark series is its close times mark over trade at the mark bar's open, as the
    replay values it. ``premium`` is the premium index, else mark over index less 1. ``funding_rate`` is the last
    one settled by the bar's end, ``predicted_funding_rate`` and ``hours_to_funding`` look to the next settlement by the
    interval known then. A row stands wherever a traded bar is stored: holes are not filled.
    """
    check_symbols(store, venue, [*symbols, *reference])
    step = timeframe_ms(timeframe)
    first = None if start is None else start - warmup_bars * step
    frames = [_symbol_bars(store, venue, symbol, step, start=first, end=end, mark=mark) for symbol in symbols]
    out = pl.concat(frames) if frames else pl.DataFrame(schema={"open_time": TIME, "symbol": pl.String})
    if features:
        out = join_features(out, features, step)
    for symbol in dict.fromkeys(reference):
        theirs = _symbol_bars(store, venue, symbol, step, start=first, end=end, mark=mark)
        renamed = theirs.select("open_time", pl.col(MARKET_COLUMNS).name.prefix(f"ref:{symbol}:"))
        out = out.join(renamed, on="open_time", how="left", maintain_order="left")
    return out


def _symbol_bars(
    store: Store, venue: str, symbol: str, step: int, *, start: int | None, end: int | None, mark: str
) -> pl.DataFrame:
    """Return one symbol's rows with all market columns."""
    source = trade_source(store, venue, symbol, step)
    first = source.first if start is None else max(ceil_to(start, step, source.first), source.first)
    last = source.end if end is None else min(floor_to(end, step, source.first), source.end)
    records = FundingRecords(store, venue, symbol)
    coarse_ms = None if mark == "trade" else _coarse_mark(store, venue, symbol, step)
    # Rows before the first tell the open of its mark bar and the premium since the last settlement.
    early = min(first, _settled_before(records, first + step), floor_to(first, coarse_ms or step))
    early = max(source.first, floor_to(early, step, source.first))
    bars = source.read(store, early, last) if last > early else source.read(store, first, first)
    bars = bars.with_columns(pl.lit(symbol).alias("symbol"))
    if mark == "trade" or not stored_timeframes(store, venue, symbol, "mark"):
        bars = bars.with_columns(pl.col("close").alias("mark_close"))
    elif coarse_ms is None:
        bars = _with_close(store, bars, bar_source(store, venue, symbol, "mark", step), "mark_close")
    else:
        bars = _with_coarse_mark(store, bars, bar_source(store, venue, symbol, "mark", coarse_ms))
    bars = _with_close(store, bars, bar_source(store, venue, symbol, "index", step), "index_close")
    bars = _with_premium(store, bars, venue, symbol, step)
    bars = with_funding(bars, records, step)
    return bars.filter(pl.col("open_time") >= pl.lit(first).cast(TIME)).select(COLUMNS)


def _settled_before(records: FundingRecords, time: int) -> int:
    """Return the last settlement before ``time`` [ms], or ``time`` itself where there is none."""
    place = int(np.searchsorted(records.time, time, side="left")) - 1
    return int(records.time[place]) if place >= 0 else time


def _coarse_mark(store: Store, venue: str, symbol: str, step: int) -> int | None:
    """Return the bar of a mark series that exists at multiples of ``step`` only [ms]."""
    stored = stored_timeframes(store, venue, symbol, "mark")
    if any(step % ms == 0 for ms in stored):
        return None
    return next((ms for ms in stored if ms % step == 0), None)


def _with_close(store: Store, bars: pl.DataFrame, source: BarSource | None, name: str) -> pl.DataFrame:
    """Add the closes of another series on the same grid; null where it has no bar."""
    if source is None or bars.is_empty():
        return bars.with_columns(pl.lit(None, dtype=pl.Float64).alias(name))
    other = _during(store, source, bars, source.step_ms).select("open_time", pl.col("close").alias(name))
    return bars.join(other, on="open_time", how="left", maintain_order="left")


def _with_coarse_mark(store: Store, bars: pl.DataFrame, source: BarSource | None) -> pl.DataFrame:
    """Add the mark by the replay's rule: close times mark over trade at the open of the mark bar."""
    if source is None or bars.is_empty():
        return bars.with_columns(pl.lit(None, dtype=pl.Float64).alias("mark_close"))
    step, phase = source.step_ms, source.first
    opens = ((pl.col("open_time").dt.epoch("ms") - phase).floordiv(step) * step + phase).cast(TIME)
    marks = _during(store, source, bars, step).select(
        pl.col("open_time").alias("__opened"), pl.col("open").alias("__mark")
    )
    trades = bars.select(pl.col("open_time").alias("__opened"), pl.col("open").alias("__trade"))
    return (
        bars.with_columns(opens.alias("__opened"))
        .join(marks, on="__opened", how="left", maintain_order="left")
        .join(trades, on="__opened", how="left", maintain_order="left")
        .with_columns((pl.col("close") * pl.col("__mark") / pl.col("__trade")).alias("mark_close"))
        .drop("__opened", "__mark", "__trade")
    )


def _with_premium(store: Store, bars: pl.DataFrame, venue: str, symbol: str, step: int) -> pl.DataFrame:
    """Add the premium: its series, the last closed bar of a coarser one, or mark over index less 1."""
    stored = stored_timeframes(store, venue, symbol, "premium")
    if not stored:
        return bars.with_columns((pl.col("mark_close") / pl.col("index_close") - 1.0).alias("premium"))
    source = bar_source(store, venue, symbol, "premium", step)
    if source is not None or bars.is_empty():
        return _with_close(store, bars, source, "premium")
    coarse = bar_source(store, venue, symbol, "premium", stored[0])
    assert coarse is not None
    known = _during(store, coarse, bars, coarse.step_ms).select(
        (pl.col("open_time") + pl.duration(milliseconds=coarse.step_ms)).alias("__close"),
        pl.col("close").alias("premium"),
    )
    return (
        bars.with_columns((pl.col("open_time") + pl.duration(milliseconds=step)).alias("__close"))
        .join_asof(known, on="__close", strategy="backward", tolerance=f"{coarse.step_ms}ms", check_sortedness=False)
        .drop("__close")
    )


def _during(store: Store, source: BarSource, bars: pl.DataFrame, margin: int) -> pl.DataFrame:
    """Return another series over the span of ``bars``, from ``margin`` ms earlier on."""
    times = bars["open_time"].dt.epoch("ms")
    start = floor_to(int(times[0]) - margin, source.step_ms, source.first)
    end = ceil_to(int(times[-1]) + 1, source.step_ms, source.first)
    return source.read(store, start, end)
