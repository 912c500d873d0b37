"""Traded bars given as a frame: put into a store for the time of one run, so that every check applies to them too."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from backtester.engine.frames import TIME
from backtester.engine.result import Notice
from backtester.errors import DataError, UsageError
from backtester.market.schema import timeframe_name
from backtester.market.store import DatasetKey, Store

if TYPE_CHECKING:
    import pandas as pd

VENUE = "generic"
DEFAULT_SYMBOL = "ASSET/USDT:USDT"
_PRICES = ("open", "high", "low", "close")
_TIME_NAMES = ("open_time", "time", "timestamp", "date", "datetime")


FrameLike: TypeAlias = "pl.DataFrame | pd.DataFrame"
OpenedStore: TypeAlias = tuple[Store, dict[str, Any], tuple[Notice, ...]]


@contextmanager
def as_store(frame: FrameLike, tree: Mapping[str, Any]) -> Iterator[OpenedStore]:
    """Give a store that holds the frame, the configuration for it, and what was assumed.

    Parameters
    ----------
    frame : polars or pandas frame
        Traded bars: times, ``open, high, low, close``, perhaps ``volume`` and ``symbol``.
    tree : mapping
        The configuration as given; what the frame cannot have (marks, funding) is set.
    """
    bars = _bars(frame)
    data = dict(tree.get("data", {}))
    venue = str(data.setdefault("venue", VENUE))
    if "symbol" not in bars.columns:
        named = list(data.get("symbols") or [DEFAULT_SYMBOL])
        if len(named) != 1:
            raise UsageError("The frame has no column symbol, and several symbols are named.", "Add the column.")
        bars = bars.with_columns(pl.lit(named[0]).alias("symbol"))
    data["mark"] = "trade"
    funding = {"source": "none", **tree.get("funding", {})}
    if funding["source"] == "history":
        raise UsageError("A frame has no funding history.", 'Leave funding out, or use source = "constant" or a store.')
    _refuse_repeated(bars, with_symbols="symbol" in _lower_names(frame))
    _refuse_unordered(bars)
    symbols = bars["symbol"].unique(maintain_order=True).to_list()
    data.setdefault("symbols", symbols)
    with tempfile.TemporaryDirectory(prefix="backtester-") as folder:
        store = Store(Path(folder))
        step = _step(bars)
        for symbol in symbols:
            rows = bars.filter(pl.col("symbol") == symbol).drop("symbol")
            store.write(DatasetKey(venue, symbol, "trade", timeframe_name(step)), rows, source="frame")
        data.setdefault("timeframe", timeframe_name(step))
        notice = Notice("frame", "assumption", "The bars were given as a frame, not read from a store.")
        yield store, {**tree, "data": data, "funding": funding}, (notice,)


def _bars(frame: FrameLike) -> pl.DataFrame:
    """Return the frame with the columns of traded bars and times in ms, UTC."""
    bars = frame if isinstance(frame, pl.DataFrame) else _from_pandas(frame)
    renamed = bars.rename(
        {c: c.lower() for c in bars.columns if c.lower() in (*_PRICES, "volume", "symbol", *_TIME_NAMES)}
    )
    time = next((name for name in _TIME_NAMES if name in renamed.columns), None)
    missing = [name for name in _PRICES if name not in renamed.columns]
    if time is None or missing:
        lacking = ", ".join(([] if time else ["open_time"]) + missing)
        raise DataError("frame", f"there is no column {lacking}", hint=f"It has {', '.join(map(str, bars.columns))}.")
    kept = [name for name in (*_PRICES, "volume") if name in renamed.columns]
    symbol = ["symbol"] if "symbol" in renamed.columns else []
    out = renamed.select(
        _as_time(renamed[time]).alias("open_time"), *(pl.col(name).cast(pl.Float64) for name in kept), *symbol
    )
    return out if "volume" in kept else out.with_columns(pl.lit(None, pl.Float64).alias("volume"))


def _from_pandas(frame: object) -> pl.DataFrame:
    """Return a pandas frame as a polars one; an index of times becomes the column ``open_time``."""
    if not type(frame).__module__.startswith("pandas"):
        raise UsageError(f"data must be a store, a folder or a frame, not {type(frame).__name__}.")
    import pandas as pd  # noqa: PLC0415 - whoever brings such a frame has it

    assert isinstance(frame, pd.DataFrame)
    if isinstance(frame.index, pd.DatetimeIndex):
        frame = frame.rename_axis("open_time").reset_index()
    return pl.from_pandas(frame)


def _as_time(values: pl.Series) -> pl.Series:
    """Return times in ms, UTC; without an offset they are UTC, whole numbers are ms since 1970."""
    if values.dtype.is_integer():
        return values.cast(pl.Int64).cast(TIME)
    if isinstance(values.dtype, pl.Datetime):
        aware = values if values.dtype.time_zone else values.dt.replace_time_zone("UTC")
        return aware.dt.convert_time_zone("UTC").cast(TIME)
    if values.dtype == pl.Date:
        return values.cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    raise DataError("frame", f"open_time is of type {values.dtype}, not a time", hint="Convert it to a datetime, UTC.")


def _lower_names(frame: FrameLike) -> set[str]:
    return {str(name).lower() for name in frame.columns}


def _refuse_repeated(bars: pl.DataFrame, *, with_symbols: bool) -> None:
    """Refuse a frame with two rows of one time and symbol: bars of several markets that were read as one."""
    repeated = bars.filter(pl.struct("symbol", "open_time").is_duplicated())
    if repeated.is_empty():
        return
    first = repeated.sort("open_time")
    of_symbol = f" of {first['symbol'][0]}" if with_symbols else ""
    hint = (
        "Does it mix venues or timeframes? Leave one of the two rows out."
        if with_symbols
        else "Does it mix venues or symbols? Add a column symbol, or leave one of them out."
    )
    raise DataError(
        "the frame", f"the same time{of_symbol} stands in two rows, first", first["open_time"].dt.epoch("ms")[0], hint
    )


def _refuse_unordered(bars: pl.DataFrame) -> None:
    """Refuse bars that go back in time: rows in another order than meant may be rows of something else."""
    back = bars.filter(pl.col("open_time").diff().over("symbol") < pl.duration(milliseconds=0))
    if back.height:
        raise DataError(
            "the frame",
            f"the bars of {back['symbol'][0]} are not in order of time, first",
            int(back["open_time"].dt.epoch("ms")[0]),
            'Sort them: frame.sort("symbol", "open_time").',
        )


def _step(bars: pl.DataFrame) -> int:
    """Return the length of a bar: the smallest distance of two [ms]."""
    times = (
        bars.sort("symbol", "open_time")
        .select(pl.col("open_time").dt.epoch("ms").diff().over("symbol").alias("step"))["step"]
        .drop_nulls()
    )
    steps = times.filter(times > 0)
    if steps.is_empty():
        raise DataError("frame", "there are fewer than two bars", hint="Give the whole history.")
    return int(steps.min())  # type: ignore[arg-type]  # a series of whole numbers
