"""Bybit's public files of bars: klines for MetaTrader by month, index and premium of the early years by day.

::

    kline_for_metatrader4/BTCUSDT/2024/BTCUSDT_1_2024-01-01_2024-01-31.csv.gz      minutes of a bar in the name
    spot_index/BTCUSD/BTCUSD2020-01-01_index_price.csv.gz
    premium_index/BTCUSD/BTCUSD2020-01-01_premium_index.csv.gz

The klines have no header, and their clock is three hours ahead of UTC the whole year: a month begins at 21:00 UTC of
the day before, and bars of 4 h and more stand on no grid of UTC.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import PurePosixPath

import polars as pl

from backtester.errors import DataError, UsageError
from backtester.market.schema import PRICES, TIME, DatasetKey, timeframe_ms, timeframe_name
from backtester.market.sources.archive.layout import (
    DAY_MS,
    HOUR_MS,
    ArchiveFile,
    LeftOut,
    Period,
    RawRows,
    bar_frame,
    numbers,
    parse_period,
    read_columns,
    volumes,
)

_CLOCK_AHEAD_MS = 3 * HOUR_MS
_KLINES = re.compile(
    r"(?P<market>[A-Z0-9]+)_(?P<minutes>\d+)_(?P<first>\d{4}-\d\d-\d\d)_(?P<last>\d{4}-\d\d-\d\d)\.csv(?:\.gz)?"
)
_INDEX = re.compile(
    r"(?P<market>[A-Z0-9]+?)(?P<label>\d{4}-\d\d-\d\d)_(?P<kind>index_price|premium_index)\.csv(?:\.gz)?"
)
_KINDS = {"index_price": "index", "premium_index": "premium"}
_INDEX_COLUMNS = {
    "open_time": ("start_at", "open_time", "timestamp"),
    **{p: (p,) for p in ("open", "high", "low", "close")},
}
_DATED = re.compile(r"(?:USD[FGHJKMNQUVXZ]\d{2}|-\d{2}[A-Z]{3}\d{2})$")


class BybitArchive:
    """The layout of public.bybit.com."""

    name = "bybit-archive"
    source = "bybit archive"
    monthly: tuple[str, ...] = ("trade",)
    daily: tuple[str, ...] = ("index", "premium")
    checksum_suffix = ""
    examples = "BTCUSDT_1_2024-01-01_2024-01-31.csv.gz, BTCUSD2020-01-01_premium_index.csv.gz"

    def named(self, path: PurePosixPath, venue: str) -> ArchiveFile | LeftOut | None:
        """Return what a path says, None where it is no file of this layout."""
        if match := _KLINES.fullmatch(path.name):
            if int(match["minutes"]) == 0:
                return None
            period = _span(match["first"], match["last"])
            found, timeframe = "trade", timeframe_name(int(match["minutes"]) * 60_000)
        elif match := _INDEX.fullmatch(path.name):
            period = parse_period(match["label"])
            found, timeframe = _KINDS[match["kind"]], "1m"
        else:
            return None
        if period is None:
            return None
        symbol = unified_symbol(match["market"])
        if symbol is None:
            return LeftOut(str(path), "dated contracts")
        return ArchiveFile(str(path), DatasetKey(venue, symbol, found, timeframe), period)

    def offset_ms(self, series: str) -> int:
        """Return how far the midnight at which the files of a series begin lies before that of UTC."""
        return _CLOCK_AHEAD_MS if series == "trade" else 0

    def path(self, key: DatasetKey, period: Period) -> str:
        """Return where a file is published, below the address of the archive."""
        market = _market(key.symbol)
        if key.series != "trade":
            folder, kind = ("spot_index", "index_price") if key.series == "index" else ("premium_index",) * 2
            return f"{folder}/{market}/{market}{period.label}_{kind}.csv.gz"
        minutes, year = timeframe_ms(key.timeframe) // 60_000, period.label[:4]
        last = (date.fromisoformat(f"{period.label}-01") + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        return f"kline_for_metatrader4/{market}/{year}/{market}_{minutes}_{period.label}-01_{last.isoformat()}.csv.gz"

    def rows(self, csv: bytes, file: ArchiveFile) -> RawRows:
        """Return what a CSV of this layout holds."""
        name = str(file)
        if file.key.series != "trade":
            return RawRows(bar_frame(read_columns(csv, _INDEX_COLUMNS, name), name))
        if DAY_MS % timeframe_ms(file.key.timeframe) or _CLOCK_AHEAD_MS % timeframe_ms(file.key.timeframe):
            raise DataError(
                name,
                f"bars of {file.key.timeframe} on a clock three hours ahead of UTC stand on no grid of UTC",
                hint="Import the files of 1 h or less; longer bars are built from them.",
            )
        places = {"open_time": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5}
        text = read_columns(csv, places, name)
        stamps = text["open_time"].str.strip_chars().str.replace_all(".", "-", literal=True)
        local = stamps.str.to_datetime("%Y-%m-%d %H:%M", time_unit="ms", strict=False)
        if local.null_count():
            row = int(local.is_null().arg_true()[0])
            raise DataError(name, f"row {row + 1} has no time of the form 2024.01.31 08:00: {text['open_time'][row]!r}")
        times = (local.dt.replace_time_zone("UTC") - timedelta(milliseconds=_CLOCK_AHEAD_MS)).cast(TIME)
        frame = pl.DataFrame([times.alias("open_time"), *numbers(text, PRICES), volumes(text["volume"], name)])
        if "/USD:" in file.key.symbol:
            unknown = pl.lit(None, dtype=pl.Float64).alias("volume")
            return RawRows(frame.with_columns(unknown), ("the volume counts USD and is stored as unknown",))
        return RawRows(frame)


def unified_symbol(market: str) -> str | None:
    """Return the unified name of a perpetual, None for a dated contract.

    Examples
    --------
    >>> [unified_symbol(m) for m in ("BTCUSDT", "BTCUSD", "BTCPERP", "BTCUSDZ22")]
    ['BTC/USDT:USDT', 'BTC/USD:BTC', 'BTC/USDC:USDC', None]
    """
    if _DATED.search(market):
        return None
    for ending, quote in (("USDT", "USDT"), ("PERP", "USDC"), ("USDC", "USDC"), ("USD", "USD")):
        base = market.removesuffix(ending)
        if base and base != market:
            return f"{base}/{quote}:{base if quote == 'USD' else quote}"
    return None


def _market(symbol: str) -> str:
    base, quote, settle = re.split("[/:]", symbol)
    if settle == quote == "USDC":
        return f"{base}PERP"
    if settle == (base if quote == "USD" else quote):
        return f"{base}{quote}"
    raise UsageError(f"Bybit has no perpetual contract {symbol}.")


def _span(first: str, last: str) -> Period | None:
    """Return the span between the days of a name, both included, on the clock of the klines."""
    start, end = parse_period(first, _CLOCK_AHEAD_MS), parse_period(last, _CLOCK_AHEAD_MS)
    if start is None or end is None or start.start >= end.end:
        return None
    month = parse_period(first[:7], _CLOCK_AHEAD_MS)
    if month is not None and (month.start, month.end) == (start.start, end.end):
        return month
    return Period(start.start, end.end, f"{first}_{last}")
