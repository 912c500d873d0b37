"""What a strategy can read: one long frame of bars, each row holding only what was known at its bar's close."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from backtester.market.carry import CarriedSource, KnownCloses, Source, known_closes, source_on
from backtester.market.features import Feature, join_features
from backtester.market.forecast import with_funding
from backtester.market.funding_records import FundingRecords
from backtester.market.schema import TIME, timeframe_ms
from backtester.market.series import (
    BarSource,
    bar_source,
    ceil_to,
    check_symbols,
    delisting,
    floor_to,
    stored_timeframes,
    trade_source,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    replay values it. ``index_close`` of an index on another grid (coarser, or shifted) is the close of its last bar
    that had closed by the bar's close, null once that is more than one index bar old; so is ``premium``, the premium
    index, else mark over index less 1 at the closes that both share. ``funding_rate`` is the last
    one settled by the bar's end, ``predicted_funding_rate`` and ``hours_to_funding`` look to the next settlement by the
    interval known then. A row stands wherever a traded bar is stored, up to a delisting: holes are not filled.
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
    gone = delisting(store, venue, symbol)
    if gone is not None and gone > source.first:  # later bars are of no market
        last = min(last, ceil_to(gone, step, source.first))
    records = FundingRecords(store, venue, symbol)
    coarse_ms = None if mark == "trade" else _coarse_mark(store, venue, symbol, step)
    index = source_on(store, source, "index")
    # Rows before the first tell the premium since the last settlement, on which an index bar must have closed if it is
    # carried, and the open of the mark bar.
    early = min(first, _settled_before(records, first + step))
    early -= index.most_age_ms if isinstance(index, CarriedSource) else 0
    early = max(source.first, floor_to(floor_to(early, coarse_ms or step), step, source.first))
    bars = source.read(store, early, last) if last > early else source.read(store, first, first)
    bars = bars.with_columns(pl.lit(symbol).alias("symbol"))
    if mark == "trade" or not stored_timeframes(store, venue, symbol, "mark"):
        bars = bars.with_columns(pl.col("close").alias("mark_close"))
    elif coarse_ms is None:
        bars = _with_close(store, bars, bar_source(store, venue, symbol, "mark", step), "mark_close")
    else:
        bars = _with_coarse_mark(store, bars, bar_source(store, venue, symbol, "mark", coarse_ms))
    bars = _with_close(store, bars, index, "index_close")
    bars = _with_premium(store, bars, source, index)
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


def _with_close(store: Store, bars: pl.DataFrame, source: Source | None, name: str) -> pl.DataFrame:
    """Add the closes of another series: of the bars on the same grid, or the last that had closed by each bar's close.

    Null where there is none, and where a carried one is older than a bar of its series.
    """
    if source is None or bars.is_empty():
        return bars.with_columns(pl.lit(None, dtype=pl.Float64).alias(name))
    if isinstance(source, CarriedSource):
        close_time = bars["open_time"].dt.epoch("ms").to_numpy() + source.step_ms
        return bars.with_columns(_while_fresh(_known(store, source, close_time), source, name))
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


def _with_premium(store: Store, bars: pl.DataFrame, clock: BarSource, index: Source | None) -> pl.DataFrame:
    """Add the premium: its own series, else mark over index less 1.

    Of an index on another grid only the closes that fall on a bar's close are compared with the mark, each carried
    until the next: a mark of now over an index of then would be the market's move, not a premium.
    """
    source = source_on(store, clock, "premium")
    if source is not None:
        return _with_close(store, bars, source, "premium")
    ratio = (pl.col("mark_close") / pl.col("index_close") - 1.0).alias("premium")
    if not isinstance(index, CarriedSource) or bars.is_empty():
        return bars.with_columns(ratio)
    close_time = bars["open_time"].dt.epoch("ms").to_numpy() + clock.step_ms
    is_fresh = _known(store, index, close_time).age == 0
    samples = bars.select(ratio).to_series().cast(pl.Float64).fill_null(float("nan")).to_numpy()[is_fresh]
    known = known_closes(close_time[is_fresh], samples, close_time)
    return bars.with_columns(_while_fresh(known, index, "premium"))


def _known(store: Store, source: CarriedSource, moments: NDArray[np.int64]) -> KnownCloses:
    """Return the closes of a series on another grid as they were known at given moments [ms]."""
    stored = source.read(store, int(moments[0]), int(moments[-1]))
    closed_at = stored["open_time"].dt.epoch("ms").to_numpy() + source.source.step_ms
    return known_closes(closed_at, stored["close"].to_numpy(), moments)


def _while_fresh(known: KnownCloses, source: CarriedSource, name: str) -> pl.Series:
    """Return known values as a column, null where they are stale."""
    values = np.where(source.is_stale(known), np.nan, known.value)
    return pl.Series(name, values).fill_nan(None)


def _during(store: Store, source: BarSource, bars: pl.DataFrame, margin: int) -> pl.DataFrame:
    """Return another series over the span of ``bars``, from ``margin`` ms earlier on."""
    times = bars["open_time"].dt.epoch("ms")
    start = floor_to(int(times[0]) - margin, source.step_ms, source.first)
    end = ceil_to(int(times[-1]) + 1, source.step_ms, source.first)
    return source.read(store, start, end)
