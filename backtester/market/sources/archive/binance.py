"""Binance's public archive of futures: monthly and daily ZIPs of klines, and of settled funding rates by month.

::

    data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip          .zip.CHECKSUM beside each
    data/futures/cm/daily/indexPriceKlines/BTCUSD/1h/BTCUSD-1h-2024-01-31.zip
    data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-01.zip

Files of earlier years have no header row; stamps are ms, and us in some newer ones.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import polars as pl

from backtester.errors import UsageError
from backtester.market.schema import EVENT, DatasetKey
from backtester.market.sources.archive.layout import (
    ArchiveFile,
    LeftOut,
    Period,
    RawRows,
    bar_frame,
    epoch_times,
    numbers,
    parse_period,
    read_columns,
)

_FOLDERS = {
    "klines": "trade",
    "markPriceKlines": "mark",
    "indexPriceKlines": "index",
    "premiumIndexKlines": "premium",
    "fundingRate": "funding",
}
_FOLDER_OF = {series: folder for folder, series in _FOLDERS.items()}
_BAR_SERIES = ("trade", "mark", "index", "premium")
_NAME = re.compile(
    r"(?P<market>[^\s/-]+)-(?P<kind>\d+(?:s|m|h|d|w|mo|M)|fundingRate)-(?P<label>\d{4}-\d\d(?:-\d\d)?)\.(?:zip|csv)"
)
_LINEAR = re.compile(r"(?P<base>.+?)(?P<quote>USDT|USDC|BUSD|USD1|BTC)")
_INVERSE = re.compile(r"(?P<base>.+?)USD(?:_PERP)?")
_OTHER_MARKET = re.compile(r"(?:^|/)(?P<market>spot|option)/(?:monthly|daily)/")
_BASE_VOLUME = 7  # of coin-margined klines, whose column 5 counts contracts


class BinanceArchive:
    """The layout of data.binance.vision.

    Parameters
    ----------
    unstated_series : str, optional
        What bars are that lie in no folder of the exchange: names of klines and of mark prices are the same.
    """

    name = "binance-archive"
    source = "binance archive"
    monthly: tuple[str, ...] = (*_BAR_SERIES, "funding")
    daily: tuple[str, ...] = _BAR_SERIES
    checksum_suffix = ".CHECKSUM"
    examples = "BTCUSDT-1m-2024-01.zip in klines/, markPriceKlines/, …; BTCUSDT-fundingRate-2024-01.zip"

    def __init__(self, unstated_series: str | None = None) -> None:
        self.unstated_series = unstated_series

    def named(self, path: PurePosixPath, venue: str) -> ArchiveFile | LeftOut | None:
        """Return what a path says, None where it is no file of this layout."""
        match = _NAME.fullmatch(path.name)
        period = parse_period(match["label"]) if match else None
        if match is None or period is None:
            return None
        market, kind = match["market"], match["kind"]
        symbol = unified_symbol(market)
        series = "funding" if kind == "fundingRate" else self._bar_series(path)
        if reason := _reason_to_leave_out(path, market, kind, symbol):
            return LeftOut(str(path), reason)
        if symbol is None or series is None:
            return LeftOut(str(path), "files in no folder that says what they hold (klines, …; give one --series)")
        timeframe = EVENT if series == "funding" else kind
        return ArchiveFile(str(path), DatasetKey(venue, symbol, series, timeframe), period)

    def _bar_series(self, path: PurePosixPath) -> str | None:
        """Return the series of the folder nearest to a file of bars."""
        stated = [_FOLDERS[part] for part in path.parts[:-1] if part in _FOLDERS]
        series = stated[-1] if stated else self.unstated_series
        return series if series in _BAR_SERIES else None

    def offset_ms(self, series: str) -> int:  # noqa: ARG002 - one clock for all
        """Return how far the midnight at which the files of a series begin lies before that of UTC."""
        return 0  # UTC, whatever the series

    def path(self, key: DatasetKey, period: Period) -> str:
        """Return where a file is published, below the address of the archive."""
        base, quote, settle = re.split("[/:]", key.symbol)
        folder = _FOLDER_OF[key.series]
        if quote == settle:
            margin, market = "um", f"{base}{quote}"
        elif quote == "USD" and settle == base:
            margin, market = "cm", f"{base}USD" + ("" if key.series == "index" else "_PERP")
        else:
            raise UsageError(f"Binance has no perpetual contract {key.symbol}.")
        rhythm = "monthly" if period.is_month else "daily"
        where = f"data/futures/{margin}/{rhythm}/{folder}/{market}"
        if key.series == "funding":
            return f"{where}/{market}-fundingRate-{period.label}.zip"
        return f"{where}/{key.timeframe}/{market}-{key.timeframe}-{period.label}.zip"

    def rows(self, csv: bytes, file: ArchiveFile) -> RawRows:
        """Return what a CSV of this layout holds."""
        name = str(file)
        if file.key.series == "funding":
            text = read_columns(csv, {"funding_time": 0, "funding_rate": 2}, name)
            times = epoch_times(text, "funding_time", name)
            return RawRows(pl.DataFrame([times, *numbers(text, ["funding_rate"])]))
        columns: dict[str, int] = {"open_time": 0, "open": 1, "high": 2, "low": 3, "close": 4}
        if file.key.series == "trade":
            is_inverse = "/USD:" in file.key.symbol
            columns["volume"] = _BASE_VOLUME if is_inverse else 5
        return RawRows(bar_frame(read_columns(csv, columns, name), name))


def _reason_to_leave_out(path: PurePosixPath, market: str, kind: str, symbol: str | None) -> str | None:
    if other := _OTHER_MARKET.search(str(path)):
        return f"files of the {other['market']} market"
    if re.search(r"_\d{6}$", market):
        return "dated contracts"
    if kind.endswith(("mo", "M")):
        return "bars of a month, which have no fixed length"
    return None if symbol is not None else "contracts that are no perpetuals"


def unified_symbol(market: str) -> str | None:
    """Return the unified name of a perpetual, None for what is none.

    Examples
    --------
    >>> [unified_symbol(m) for m in ("BTCUSDT", "1000PEPEUSDT", "BTCUSDC", "BTCUSD_PERP", "BTCUSD", "BTCUSDT_240628")]
    ['BTC/USDT:USDT', '1000PEPE/USDT:USDT', 'BTC/USDC:USDC', 'BTC/USD:BTC', 'BTC/USD:BTC', None]
    """
    if match := _INVERSE.fullmatch(market):
        return f"{match['base']}/USD:{match['base']}"
    if "_" not in market and (match := _LINEAR.fullmatch(market)):
        return f"{match['base']}/{match['quote']}:{match['quote']}"
    return None
