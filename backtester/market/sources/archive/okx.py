"""OKX's public files: bars of one minute and settled funding rates, by month and by day.

::

    candlesticks/monthly/202401/BTC-USDT-SWAP-candlesticks-2024-01.zip
    candlesticks/daily/20240131/BTC-USDT-SWAP-candlesticks-2024-01-31.zip
    swaprates/monthly/202401/BTC-USDT-SWAP-fundingrates-2024-01.zip

Months and days begin at midnight of UTC+8, which is 16:00 UTC of the day before.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import polars as pl

from backtester.errors import DataError, UsageError
from backtester.market.schema import EVENT, PRICES, DatasetKey, timeframe_name
from backtester.market.sources.archive.layout import (
    HOUR_MS,
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

_CLOCK_AHEAD_MS = 8 * HOUR_MS
_NAME = re.compile(
    r"(?P<market>[^\s/]+?)-(?P<kind>candlesticks|fundingrates)-(?P<label>\d{4}-\d\d(?:-\d\d)?)\.(?:zip|csv)"
)
_SWAP = re.compile(r"(?P<base>[^-]+)-(?P<quote>[^-]+)-SWAP")
_BAR_COLUMNS = {
    "instrument": ("instrument_name", "instid", "instrument"),
    "open_time": ("open_time", "ts", "timestamp"),
    **{p: (p,) for p in PRICES},
    "volume": ("vol_ccy", "volccy"),  # base units; `vol` counts contracts
    "confirm": ("confirm",),
}
_FUNDING_COLUMNS = {
    "instrument": ("instrument_name", "instid", "instrument"),
    "funding_time": ("funding_time",),
    "funding_rate": ("funding_rate", "real_funding_rate", "realized_rate"),
}


class OkxArchive:
    """The layout of okx.com/historical-data."""

    name = "okx-archive"
    source = "okx archive"
    monthly: tuple[str, ...] = ("trade", "funding")
    daily: tuple[str, ...] = ("trade", "funding")
    checksum_suffix = ""
    examples = "BTC-USDT-SWAP-candlesticks-2024-01.zip, BTC-USDT-SWAP-fundingrates-2024-01-31.zip"

    def named(self, path: PurePosixPath, venue: str) -> ArchiveFile | LeftOut | None:
        """Return what a path says, None where it is no file of this layout."""
        match = _NAME.fullmatch(path.name)
        period = parse_period(match["label"], _CLOCK_AHEAD_MS) if match else None
        if match is None or period is None:
            return None
        symbol = unified_symbol(match["market"])
        if symbol is None:
            return LeftOut(str(path), "spot pairs, dated contracts and files of all contracts")
        if match["kind"] == "fundingrates":
            return ArchiveFile(str(path), DatasetKey(venue, symbol, "funding", EVENT), period)
        # the name says nothing of the bars; what is published has one minute
        stated = next((p for p in reversed(path.parts[:-1]) if re.fullmatch(r"[1-9]\d*[smhdw]", p)), "1m")
        return ArchiveFile(str(path), DatasetKey(venue, symbol, "trade", stated), period)

    def offset_ms(self, series: str) -> int:  # noqa: ARG002 - one clock for all
        """Return how far the midnight at which the files of a series begin lies before that of UTC."""
        return _CLOCK_AHEAD_MS

    def path(self, key: DatasetKey, period: Period) -> str:
        """Return where a file is published, below the address of the archive."""
        base, quote, settle = re.split("[/:]", key.symbol)
        if settle != (base if quote == "USD" else quote):
            raise UsageError(f"OKX has no perpetual contract {key.symbol}.")
        if key.timeframe not in ("1m", EVENT):
            raise UsageError(
                "OKX publishes bars of one minute.", "Give --timeframe 1m; longer bars are built from them."
            )
        folder, kind = ("swaprates", "fundingrates") if key.series == "funding" else ("candlesticks", "candlesticks")
        rhythm = "monthly" if period.is_month else "daily"
        compact = period.label.replace("-", "")
        return f"{folder}/{rhythm}/{compact}/{base}-{quote}-SWAP-{kind}-{period.label}.zip"

    def rows(self, csv: bytes, file: ArchiveFile) -> RawRows:
        """Return what a CSV of this layout holds."""
        name = str(file)
        if file.key.series == "funding":
            text = _of_the_contract(read_columns(csv, _FUNDING_COLUMNS, name), file)
            times = epoch_times(text, "funding_time", name)
            return RawRows(pl.DataFrame([times, *numbers(text, ["funding_rate"])]))
        text = _of_the_contract(read_columns(csv, _BAR_COLUMNS, name), file)
        notes: list[str] = []
        frame = bar_frame(text, name).with_columns(text["confirm"].str.strip_chars())
        frame = _without_open_bars(frame.sort("open_time", maintain_order=True), notes)
        unknown = frame["volume"].null_count()
        if unknown:
            notes.append(f"{unknown} bar{'s' * (unknown > 1)} without a volume in base units, stored as unknown")
        _check_timeframe(frame["open_time"], file)
        return RawRows(frame, tuple(notes))


def unified_symbol(market: str) -> str | None:
    """Return the unified name of a perpetual, None for what is none.

    Examples
    --------
    >>> [unified_symbol(m) for m in ("BTC-USDT-SWAP", "BTC-USD-SWAP", "BTC-USDT", "BTC-USD-240628")]
    ['BTC/USDT:USDT', 'BTC/USD:BTC', None, None]
    """
    match = _SWAP.fullmatch(market)
    if match is None:
        return None
    base, quote = match["base"], match["quote"]
    return f"{base}/{quote}:{base if quote == 'USD' else quote}"


def _of_the_contract(text: pl.DataFrame, file: ArchiveFile) -> pl.DataFrame:
    """Return the rows without the contract's name; refuse those of another."""
    others = [n for n in text["instrument"].unique().to_list() if unified_symbol(str(n).strip()) != file.key.symbol]
    if others:
        raise DataError(
            str(file), f"it holds rows of {others[0]}", hint="The file was renamed, or holds several: fetch it again."
        )
    return text.drop("instrument")


def _without_open_bars(frame: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """Return the bars that were closed when the file was made.

    The flag says so (0: open) in newer files; older ones hold 0 in every row of spans long past, where it means
    nothing. An open bar is the newest, so a 0 before a 1 is of the older kind as well.
    """
    is_confirmed = frame["confirm"] != "0"
    if not is_confirmed.any():
        return frame.drop("confirm")
    last = int(is_confirmed.arg_true()[-1])
    left_out = frame.height - last - 1
    if left_out:
        notes.append(
            f"{left_out} bar{'s' * (left_out > 1)} left out that {'were' if left_out > 1 else 'was'} still open"
        )
    return frame.head(last + 1).drop("confirm")


def _check_timeframe(times: pl.Series, file: ArchiveFile) -> None:
    steps = times.dt.epoch("ms").diff().drop_nulls()
    commonest = steps.filter(steps > 0).mode().sort()
    if commonest.is_empty() or int(commonest[0]) % 1000:
        return
    found = timeframe_name(int(commonest[0]))
    if found != file.key.timeframe:
        raise DataError(
            str(file),
            f"its bars are {found} apart, not {file.key.timeframe}",
            hint=f"Put the files of {found} into a folder of the name {found}.",
        )
