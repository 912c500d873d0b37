"""Files of exchange archives: what names and rows mean, what is unsafe, and what the store gets."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from concurrent.futures import CancelledError
from pathlib import Path, PurePosixPath
from random import Random

import polars as pl
import pytest

from backtester.errors import DataError, UnknownNameError, UsageError
from backtester.market.completeness import lacking
from backtester.market.intake import Imported, Intake, Refusal
from backtester.market.retry import RetryPolicy
from backtester.market.schema import DatasetKey
from backtester.market.sources.archive import bring as archives
from backtester.market.sources.archive.bring import ArchiveImport, layout_named
from backtester.market.sources.archive.download import Downloader, UnreachableError
from backtester.market.sources.archive.layout import ArchiveFile, LeftOut, days, months, parse_period, volumes
from backtester.market.sources.archive.origin import ArchiveFolder, Fetched, PublishedArchive, Selection
from backtester.market.sources.archive.reading import Reading, read_archive_file
from backtester.market.sources.archive.unpacking import Limits, unpack, verify_checksum
from backtester.market.sources.guess import guess_format
from backtester.market.store import Store
from tests import archive_files as made
from tests.archive_files import DAY, HOUR, MINUTE, Fault, ms, prices, published, put, put_binance, zipped

NOW = ms("2025-06-15T12:00")
BTC = "BTC/USDT:USDT"
QUICK = RetryPolicy(attempts=4, first_delay=0.001, cap=0.01, patience=2.0)


def key(series: str = "trade", timeframe: str = "1h", symbol: str = BTC, venue: str = "binance") -> DatasetKey:
    return DatasetKey(venue, symbol, series, "event" if series == "funding" else timeframe)


def named(name: str, layout: str = "binance-archive", series: str | None = None) -> ArchiveFile:
    found = layout_named(layout, series).named(PurePosixPath(name), "binance")
    assert isinstance(found, ArchiveFile), found
    return found


def read(
    content: bytes,
    name: str,
    layout: str = "binance-archive",
    *,
    checksum: bytes | None = None,
    now: int = NOW,
    selection: Selection | None = None,
    drop_bad: bool = False,
) -> Intake:
    reading = Reading(selection or Selection(), now, drop_bad=drop_bad)
    return read_archive_file(Fetched(content, checksum), named(name, layout), layout_named(layout), reading)


def times(frame: pl.DataFrame) -> list[int]:
    return frame.to_series(0).dt.epoch("ms").to_list()


KLINES = "klines/BTCUSDT/1h/BTCUSDT-1h-2024-02.zip"
FEBRUARY = made.span("2024-02")


# ---- names


@pytest.mark.parametrize(
    ("name", "symbol", "series", "timeframe", "label"),
    [
        ("data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip", BTC, "trade", "1m", "2024-01"),
        ("futures/um/daily/markPriceKlines/BTCUSDC/1h/BTCUSDC-1h-2024-01-31.zip", "BTC/USDC:USDC", "mark", "1h", ""),
        ("um/indexPriceKlines/1000PEPEUSDT-1d-2024-01.zip", "1000PEPE/USDT:USDT", "index", "1d", "2024-01"),
        ("premiumIndexKlines/BTCUSD_PERP/1h/BTCUSD_PERP-1h-2024-01.csv", "BTC/USD:BTC", "premium", "1h", "2024-01"),
        ("cm/monthly/indexPriceKlines/BTCUSD/1h/BTCUSD-1h-2024-01.zip", "BTC/USD:BTC", "index", "1h", "2024-01"),
        ("anywhere/ETHUSDT-fundingRate-2024-01.zip", "ETH/USDT:USDT", "funding", "event", "2024-01"),
        ("klines/ETHBTC/1h/ETHBTC-1h-2024-01.zip", "ETH/BTC:BTC", "trade", "1h", "2024-01"),
    ],
)
def test_names_of_binance(name: str, symbol: str, series: str, timeframe: str, label: str) -> None:
    file = named(name)
    assert file.key == DatasetKey("binance", symbol, series, timeframe)
    assert file.period == parse_period(label or "2024-01-31")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("klines/BTCUSDT_240628/1h/BTCUSDT_240628-1h-2024-01.zip", "dated contracts"),
        ("klines/BTCUSD_240628/1h/BTCUSD_240628-1h-2024-01.zip", "dated contracts"),
        ("data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip", "files of the spot market"),
        ("klines/BTCUSDT/1mo/BTCUSDT-1mo-2024-01.zip", "no fixed length"),
        ("somewhere/BTCUSDT-1h-2024-01.zip", "in no folder that says what they hold"),
    ],
)
def test_what_is_left_out_of_binance_is_said(name: str, reason: str) -> None:
    found = layout_named("binance-archive").named(PurePosixPath(name), "binance")
    assert isinstance(found, LeftOut)
    assert reason in found.reason


def test_a_flat_folder_needs_the_series_and_takes_no_other() -> None:
    assert named("BTCUSDT-1h-2024-01.zip", series="mark").key.series == "mark"
    assert named("klines/BTCUSDT-1h-2024-01.zip", series="mark").key.series == "trade"
    assert isinstance(layout_named("binance-archive", "funding").named(PurePosixPath("A-1h-2024-01.zip"), "x"), LeftOut)


@pytest.mark.parametrize("name", ["BTCUSDT-1h-2024-13.zip", "BTCUSDT-1h.zip", "x.zip", "BTCUSDT-trades-2024-01.zip"])
def test_other_names_are_none_of_binance(name: str) -> None:
    assert layout_named("binance-archive").named(PurePosixPath(f"klines/{name}"), "binance") is None


@pytest.mark.parametrize(
    ("layout", "series", "timeframe", "symbol", "label"),
    [
        ("binance-archive", "trade", "1m", BTC, "2024-02"),
        ("binance-archive", "index", "1h", "BTC/USD:BTC", "2024-02-29"),
        ("binance-archive", "mark", "1h", "BTC/USD:BTC", "2024-12"),
        ("binance-archive", "funding", "event", "1000PEPE/USDT:USDT", "2024-02"),
        ("bybit-archive", "trade", "15m", BTC, "2024-02"),
        ("bybit-archive", "trade", "1h", "BTC/USDC:USDC", "2024-12"),
        ("bybit-archive", "premium", "1m", "BTC/USD:BTC", "2020-01-31"),
        ("bybit-archive", "index", "1m", "BTC/USD:BTC", "2020-01-31"),
        ("okx-archive", "trade", "1m", "BTC/USD:BTC", "2024-02"),
        ("okx-archive", "trade", "1m", BTC, "2024-02-29"),
        ("okx-archive", "funding", "event", BTC, "2024-02"),
    ],
)
def test_a_published_name_means_what_it_was_made_from(
    layout: str, series: str, timeframe: str, symbol: str, label: str
) -> None:
    there = layout_named(layout)
    wanted = DatasetKey("v", symbol, series, timeframe)
    period = parse_period(label, there.offset_ms(series))
    assert period is not None
    found = there.named(PurePosixPath(there.path(wanted, period)), "v")
    assert isinstance(found, ArchiveFile)
    assert (found.key, found.period) == (wanted, period)


def test_paths_are_those_that_the_exchanges_publish() -> None:
    def path(layout: str, name: DatasetKey, label: str) -> str:
        there = layout_named(layout)
        period = parse_period(label, there.offset_ms(name.series))
        assert period is not None
        return there.path(name, period)

    assert path("binance-archive", key("premium", "1m"), "2024-02") == (
        "data/futures/um/monthly/premiumIndexKlines/BTCUSDT/1m/BTCUSDT-1m-2024-02.zip"
    )
    assert path("bybit-archive", key("trade", "5m"), "2024-02") == (
        "kline_for_metatrader4/BTCUSDT/2024/BTCUSDT_5_2024-02-01_2024-02-29.csv.gz"
    )
    assert path("okx-archive", key("trade", "1m"), "2024-02-29") == (
        "candlesticks/daily/20240229/BTC-USDT-SWAP-candlesticks-2024-02-29.zip"
    )
    for layout in archives.LAYOUT_NAMES:
        with pytest.raises(UsageError, match="has no perpetual contract BTC/EUR:USDT"):
            path(layout, key("trade", "1m", symbol="BTC/EUR:USDT"), "2024-02")
    with pytest.raises(UsageError, match="OKX publishes bars of one minute"):
        path("okx-archive", key("trade", "1h"), "2024-02")


def test_periods_are_whole_months_and_days() -> None:
    found = [p.label for p in months(ms("2023-11-30"), ms("2024-02-01T00:01"))]
    assert found == ["2023-11", "2023-12", "2024-01", "2024-02"]
    assert [p.label for p in days(ms("2024-02-28T23:00"), ms("2024-03-01"))] == ["2024-02-28", "2024-02-29"]
    ahead = next(days(ms("2024-02-28T17:00"), ms("2024-02-28T18:00"), 8 * HOUR))
    assert (ahead.label, ahead.start) == ("2024-02-29", ms("2024-02-28T16:00"))
    assert [parse_period(t) for t in ("2024-13", "2024-02-30", "0000-01", "9999-12", "24-01")] == [None] * 5


# ---- rows


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("unit", [1, 1000])
def test_klines_with_and_without_header_in_ms_and_us(*, header: bool, unit: int) -> None:
    text = made.kline_csv(*FEBRUARY, HOUR, header=header, unit=unit)
    intake = read(zipped("BTCUSDT-1h-2024-02.csv", text), KLINES)
    assert intake.window == FEBRUARY
    assert times(intake.frame) == list(range(*FEBRUARY, HOUR))
    assert intake.frame.columns == ["open_time", "open", "high", "low", "close", "volume"]
    assert intake.frame.row(5)[1:] == (*prices(FEBRUARY[0] + 5 * HOUR), 12.5)
    assert intake.notes == ()


def test_volume_of_coin_margined_klines_is_in_base_units() -> None:
    text = made.kline_csv(*FEBRUARY, HOUR)
    intake = read(zipped("x.csv", text), "klines/BTCUSD_PERP/1h/BTCUSD_PERP-1h-2024-02.zip")
    assert intake.key.symbol == "BTC/USD:BTC"
    assert set(intake.frame["volume"].to_list()) == {0.125}  # not the 12.5 contracts


def test_mark_bars_have_no_volume_and_a_premium_may_be_negative() -> None:
    text = made.kline_csv(*FEBRUARY, HOUR)
    assert "volume" not in read(zipped("x.csv", text), KLINES.replace("klines", "markPriceKlines")).frame.columns
    line = f"{FEBRUARY[0]},-0.0004,-0.0001,-0.0005,-0.0002,0,{FEBRUARY[0] + HOUR - 1},0,12,0,0,0\n"
    assert read(zipped("x.csv", line), KLINES.replace("klines", "premiumIndexKlines")).frame["low"][0] == -0.0005
    with pytest.raises(DataError, match="a price is zero or negative"):
        read(zipped("x.csv", line), KLINES)


@pytest.mark.parametrize("header", [False, True])
def test_settlements_are_snapped_and_have_no_mark_price(*, header: bool) -> None:
    text = made.funding_csv(*FEBRUARY, header=header)
    intake = read(zipped("x.csv", text), "fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-02.zip")
    assert intake.key == key("funding")
    assert times(intake.frame) == list(range(*FEBRUARY, 8 * HOUR))
    assert intake.frame["mark_price"].null_count() == intake.frame.height
    assert intake.frame["funding_rate"][1] == pytest.approx(1e-4 * ((FEBRUARY[0] + 8 * HOUR) // HOUR % 5 - 2))


def test_a_plain_csv_and_a_gzip_are_read_like_a_zip() -> None:
    text = made.kline_csv(*FEBRUARY, HOUR).encode()
    inside = read(zipped("x.csv", text), KLINES).frame
    assert read(text, KLINES.replace(".zip", ".csv")).frame.equals(inside)
    assert read(gzip.compress(text), KLINES.replace(".zip", ".csv")).frame.equals(inside)


def test_bars_that_are_not_over_are_left_out_and_not_called_missing() -> None:
    day = "klines/BTCUSDT/1h/BTCUSDT-1h-2025-06-15.zip"
    start, end = made.span("2025-06-15")
    intake = read(zipped("x.csv", made.kline_csv(start, end, HOUR)), day, now=start + 5 * HOUR + 30 * MINUTE)
    assert times(intake.frame) == [start + k * HOUR for k in range(5)]
    assert intake.window == (start, start + 5 * HOUR)
    assert intake.notes == (
        "1 bar left out that was still open",
        "18 rows left out, outside the span that the name states",
    )


def test_rows_outside_the_stated_span_are_left_out_and_another_month_is_refused() -> None:
    start, end = FEBRUARY
    text = made.kline_csv(start - HOUR, end + 2 * HOUR, HOUR)
    intake = read(zipped("x.csv", text), KLINES)
    assert (times(intake.frame)[0], times(intake.frame)[-1]) == (start, end - HOUR)
    assert intake.notes == ("3 rows left out, outside the span that the name states",)
    with pytest.raises(DataError, match=r"none of its rows lies in 2024-02.*2024-03-01 00:00"):
        read(zipped("x.csv", made.kline_csv(end, end + DAY, HOUR)), KLINES)


def test_a_bar_longer_than_what_is_left_of_the_month_is_not_stored() -> None:
    monday = ms("2024-01-29")
    week = 7 * DAY
    text = made.kline_csv(ms("2024-02-05"), ms("2024-03-01"), week)
    intake = read(zipped("x.csv", text), "klines/BTCUSDT/1w/BTCUSDT-1w-2024-02.zip")
    assert times(intake.frame) == [monday + k * week for k in (1, 2, 3)]
    assert intake.window == (FEBRUARY[0], ms("2024-02-26"))


def test_start_and_end_cut_rows_and_window() -> None:
    start = FEBRUARY[0]
    chosen = Selection(start=start + DAY, end=start + 2 * DAY)
    intake = read(zipped("x.csv", made.kline_csv(*FEBRUARY, HOUR)), KLINES, selection=chosen)
    assert times(intake.frame) == list(range(start + DAY, start + 2 * DAY, HOUR))
    assert intake.window == (start + DAY, start + 2 * DAY)
    settled = read(
        zipped("x.csv", made.funding_csv(*FEBRUARY)), "fundingRate/BTCUSDT-fundingRate-2024-02.zip", selection=chosen
    )
    assert times(settled.frame) == [start + DAY + k * 8 * HOUR for k in range(3)]


def test_a_settlement_stamped_early_belongs_to_the_next_month_and_is_kept() -> None:
    start, end = FEBRUARY
    text = f"{start + 2},8,0.0001\n{end - 3},8,0.0002\n"
    intake = read(zipped("x.csv", text), "fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-02.zip")
    assert times(intake.frame) == [start, end]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no CSV of one table"),
        (made.KLINE_HEADER + "\n", "no rows"),
        ("1,2\n", "there is no column high"),
        ("now,1,2,3,4,5,6,7\n", "row 1 has no time"),
        (f"{FEBRUARY[0]},1,x,1,1,1,{FEBRUARY[0] + HOUR - 1},1,1,1,1,0\n", "a price is empty"),
        (f"{FEBRUARY[0]},100,101,99,100,1,2,3\n{FEBRUARY[0] + HOUR},100\n", "a price is empty"),
        (f"{FEBRUARY[0]},1,2,1\n1,2,3,4,5,6,7,8,9\n", "no CSV of one table"),
        (f"{FEBRUARY[0] + MINUTE},100,101,99,100,1,2,3\n", "do not open on the grid of 1h"),
    ],
)
def test_rows_that_cannot_be_true_are_refused_and_named(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read(zipped("x.csv", text), KLINES)
    assert "BTCUSDT-1h-2024-02.zip" in str(caught.value)


def test_drop_bad_leaves_impossible_bars_out_and_the_window_says_that_they_are_missing() -> None:
    bad = f"{FEBRUARY[0] + HOUR},100,99,101,100,1,{FEBRUARY[0] + 2 * HOUR - 1},1,1,1,1,0\n"
    text = made.kline_csv(*FEBRUARY, HOUR, drop=frozenset({FEBRUARY[0] + HOUR})) + bad
    with pytest.raises(DataError, match="1 impossible row"):
        read(zipped("x.csv", text), KLINES)
    intake = read(zipped("x.csv", text), KLINES, drop_bad=True)
    assert FEBRUARY[0] + HOUR not in times(intake.frame)
    assert intake.notes[0].startswith("1 impossible row left out")


# ---- Bybit and OKX


def test_bybit_klines_are_three_hours_ahead() -> None:
    name = "kline_for_metatrader4/BTCUSDT/2024/BTCUSDT_60_2024-02-01_2024-02-29.csv.gz"
    start, end = FEBRUARY[0] - 3 * HOUR, FEBRUARY[1] - 3 * HOUR
    text = made.bybit_csv(start, end, HOUR)
    assert text.startswith("2024.02.01 00:00,")
    intake = read(gzip.compress(text.encode()), name, "bybit-archive")
    assert intake.key == DatasetKey("binance", BTC, "trade", "1h")
    assert times(intake.frame) == list(range(start, end, HOUR))
    assert intake.window == (start, end)
    assert intake.frame.row(0)[1:] == (*prices(start), 42.5)


def test_bybit_volume_of_an_inverse_contract_is_unknown_and_long_bars_are_refused() -> None:
    start = FEBRUARY[0] - 3 * HOUR
    content = gzip.compress(made.bybit_csv(start, start + DAY, HOUR).encode())
    intake = read(content, "BTCUSD_60_2024-02-01_2024-02-01.csv.gz", "bybit-archive")
    assert intake.frame["volume"].null_count() == 24
    assert intake.notes == ("the volume counts USD and is stored as unknown",)
    assert intake.window == (start, start + DAY)
    with pytest.raises(DataError, match="bars of 4h on a clock three hours ahead of UTC stand on no grid of UTC"):
        read(content, "BTCUSDT_240_2024-02-01_2024-02-29.csv.gz", "bybit-archive")
    with pytest.raises(DataError, match=r"row 1 has no time of the form 2024.01.31 08:00"):
        read(b"1706745600000,1,2,0.5,1,1\n", "BTCUSDT_60_2024-02-01_2024-02-29.csv.gz", "bybit-archive")


def test_bybit_premium_and_index_have_a_header_and_seconds() -> None:
    start = ms("2020-01-31")
    rows = [f"{(start + k * MINUTE) // 1000},BTCUSD,1,-0.001,0.002,-0.003,0.001" for k in range(-180, 60)]
    text = "start_at,symbol,period,open,high,low,close\n" + "\n".join(rows) + "\n"
    intake = read(gzip.compress(text.encode()), "BTCUSD2020-01-31_premium_index.csv.gz", "bybit-archive")
    assert intake.key == DatasetKey("binance", "BTC/USD:BTC", "premium", "1m")
    assert intake.frame.row(0)[1:] == (-0.001, 0.002, -0.003, 0.001)
    assert named("BTCUSD2020-01-31_index_price.csv.gz", "bybit-archive").key.series == "index"


@pytest.mark.parametrize("market", ["BTCUSDZ22", "BTCUSDTM23"])
def test_dated_contracts_of_bybit_are_left_out(market: str) -> None:
    found = layout_named("bybit-archive").named(PurePosixPath(f"{market}_1_2022-12-01_2022-12-31.csv.gz"), "bybit")
    assert found is None or isinstance(found, LeftOut)


OKX_DAY = "BTC-USDT-SWAP-candlesticks-2024-02-29.zip"
OKX_START = ms("2024-02-28T16:00")


def test_okx_days_begin_at_16_utc_and_volume_is_in_base_units() -> None:
    intake = read(zipped("x.csv", made.okx_csv(OKX_START, OKX_START + DAY)), OKX_DAY, "okx-archive")
    assert intake.key == DatasetKey("binance", BTC, "trade", "1m")
    assert intake.window == (OKX_START, OKX_START + DAY)
    assert times(intake.frame) == list(range(OKX_START, OKX_START + DAY, MINUTE))
    assert intake.frame.row(0)[1:] == (*prices(OKX_START), 9.0)  # not the 900 contracts
    assert intake.notes == ()


def test_okx_open_bars_are_not_stored_and_flags_of_older_files_mean_nothing() -> None:
    text = made.okx_csv(OKX_START, OKX_START + DAY, last="0")
    intake = read(zipped("x.csv", text), OKX_DAY, "okx-archive")
    assert intake.frame.height == 24 * 60 - 1
    assert intake.notes == ("1 bar left out that was still open",)
    shuffled = "\n".join([made.OKX_HEADER, *sorted(text.splitlines()[1:], reverse=True)])
    assert read(zipped("x.csv", shuffled), OKX_DAY, "okx-archive").frame.equals(intake.frame)
    older = made.okx_csv(OKX_START, OKX_START + DAY, confirm="0")
    assert read(zipped("x.csv", older), OKX_DAY, "okx-archive").frame.height == 24 * 60
    first, *rows = text.splitlines()
    switched = "\n".join([first, *(r[:-1] + "0" for r in rows[:700]), *rows[700:]])
    assert read(zipped("x.csv", switched), OKX_DAY, "okx-archive").frame.height == 24 * 60 - 1


def test_okx_rows_of_another_contract_or_timeframe_are_refused_and_an_unknown_volume_is_null() -> None:
    other = made.okx_csv(OKX_START, OKX_START + HOUR, "ETH-USDT-SWAP")
    with pytest.raises(DataError, match="it holds rows of ETH-USDT-SWAP"):
        read(zipped("x.csv", other), OKX_DAY, "okx-archive")
    first, *rows = made.okx_csv(OKX_START, OKX_START + DAY).splitlines()
    coarse = "\n".join([first, *rows[::5]])
    with pytest.raises(DataError, match="its bars are 5m apart, not 1m"):
        read(zipped("x.csv", coarse), OKX_DAY, "okx-archive")
    assert read(zipped("x.csv", coarse), f"5m/{OKX_DAY}", "okx-archive").key.timeframe == "5m"
    old = made.okx_csv(OKX_START, OKX_START + HOUR).replace(",9.0,905.5,", ",None,None,")
    intake = read(zipped("x.csv", old), OKX_DAY, "okx-archive")
    assert intake.frame["volume"].null_count() == 60
    assert "60 bars without a volume in base units, stored as unknown" in intake.notes


def test_okx_settlements() -> None:
    start, end = (t - 8 * HOUR for t in FEBRUARY)
    lines = [f"BTC-USDT-SWAP,0.0001,{t}" for t in range(start, end, 8 * HOUR)]
    text = "instrument_name,funding_rate,funding_time\n" + "\n".join(lines)
    intake = read(zipped("x.csv", text), "BTC-USDT-SWAP-fundingrates-2024-02.zip", "okx-archive")
    assert times(intake.frame) == list(range(start, end, 8 * HOUR))
    assert isinstance(
        layout_named("okx-archive").named(PurePosixPath("BTC-USDT-candlesticks-2024-02.zip"), "v"), LeftOut
    )


# ---- checksums and safety

SMALL = made.kline_csv(FEBRUARY[0], FEBRUARY[0] + DAY, HOUR).encode()


def members(*entries: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def lying(declared: int) -> bytes:
    """Return a ZIP whose member inflates to more than it declares, in both of its headers."""
    real = b"0,1,2,3,4,5\n" * 400_000
    content = bytearray(zipped("x.csv", real))
    for at, offset in ((content.find(b"PK\x03\x04"), 22), (content.find(b"PK\x01\x02"), 24)):
        struct.pack_into("<I", content, at + offset, declared)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped("x.csv", SMALL)[:-40], "not a whole ZIP file"),
        (zipped("x.csv", SMALL)[:200], "not a whole ZIP file"),
        (b"PK\x03\x04" + bytes(200), "not a whole ZIP file"),
        (b"", "no CSV of one table"),
        (members(("../../etc/cron.csv", SMALL)), "climbs out of its folder"),
        (members(("..\\..\\x.csv", SMALL)), "climbs out of its folder"),
        (members(("/etc/x.csv", SMALL)), "climbs out of its folder"),
        (members(("C:\\x.csv", SMALL)), "climbs out of its folder"),
        (members(("good.csv", SMALL), ("../bad.csv", SMALL)), "climbs out of its folder"),
        (members(("a.csv", SMALL), ("b.csv", SMALL)), "there are 2 files inside instead of one CSV"),
        (members(), "there are 0 files inside instead of one CSV"),
        (members(("folder/", b"")), "there is a folder inside"),
        (members(("folder/x.csv", SMALL)), "there is a folder inside"),
        (members(("x.exe", SMALL)), r"what is inside is no CSV \('x.exe'\)"),
        (members(("x.zip", zipped("x.csv", SMALL))), "another archive inside"),
        (members(("x.csv", zipped("x.csv", SMALL))), "another archive inside"),
        (members(("x.csv", gzip.compress(SMALL))), "another archive inside"),
        (members(("x.csv", b"MZ\x90\0\x03\0\0\0")), "this is no CSV"),
        (b"%PDF\0binary", "not a whole ZIP file"),
        (gzip.compress(SMALL)[:-20], "not a whole gzip file"),
        (gzip.compress(SMALL)[:-8] + b"\0" * 8, "not a whole gzip file"),
        (lying(1000), "not a whole ZIP file"),
    ],
)
def test_what_is_unsafe_or_damaged_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read(content, KLINES)
    assert "BTCUSDT-1h-2024-02.zip" in str(caught.value)
    assert caught.value.hint


def test_an_encrypted_member_is_refused() -> None:
    content = bytearray(zipped("x.csv", SMALL))
    for at, offset in ((content.find(b"PK\x03\x04"), 6), (content.find(b"PK\x01\x02"), 8)):
        content[at + offset] |= 1
    with pytest.raises(DataError, match="it is encrypted"):
        unpack(bytes(content), "x.zip")


def test_a_bomb_is_refused_by_its_word_by_its_bytes_and_by_its_ratio() -> None:
    tight = Limits(inflated=1 << 20, always=1 << 16)
    noise = Random(1).randbytes(1 << 20).hex().encode()  # of ratio 2
    with pytest.raises(DataError, match=r"2,097,152 bytes by its own word.*1,048,576 at most"):
        unpack(zipped("x.csv", noise), "x.zip", tight)
    with pytest.raises(DataError, match="it inflates to more, which no table of bars does"):
        unpack(gzip.compress(noise), "x.csv.gz", tight)
    zeros = b"0" * (1 << 24)
    for content in (zipped("x.csv", zeros), gzip.compress(zeros)):
        assert len(content) < 20_000
        with pytest.raises(DataError, match=r"no table of bars does \(8,388,608 at most\)"):
            unpack(content, "x.zip")


def test_a_member_of_four_gigabytes_is_refused_without_inflating_it(tmp_path: Path) -> None:
    content = bytearray(zipped("x.csv", b"0" * 1000))
    struct.pack_into("<I", content, content.find(b"PK\x01\x02") + 24, 0xFFFFFFFE)
    with pytest.raises(DataError, match=r"4,294,967,294 bytes by its own word"):
        unpack(bytes(content), "x.zip")


def test_inflating_stops_at_the_limit() -> None:
    """A gzip declares no size that could be believed: no more than the limit and a chunk is ever held."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(b"0" * (1 << 20)) for _ in range(300)]
    content = b"".join(parts) + packer.flush()
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(DataError, match="inflates to more"):
        unpack(content, "x.csv.gz", Limits(inflated=1 << 22))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_real_months_stay_far_below_the_limits() -> None:
    still = "".join(
        f"{FEBRUARY[0] + k * MINUTE},1,1,1,1,0,{FEBRUARY[0] + k * MINUTE + 59999},0,0,0,0,0\n" for k in range(44640)
    )
    assert len(unpack(zipped("x.csv", still), "x.zip")) == len(still)


def test_a_file_larger_than_any_archive_is_refused() -> None:
    with pytest.raises(DataError, match="the file has 101 bytes, more than 100"):
        unpack(b"0" * 101, "x.csv", Limits(packed=100))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0" * 64 + "  x.zip\n", "the checksum is wrong"),
        ("", "holds no SHA-256"),
        ("<html>not found</html>", "holds no SHA-256"),
        ("{right}  other.zip", "its checksum file is that of other.zip"),
    ],
)
def test_wrong_checksums_are_refused(text: str, words: str) -> None:
    right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc", from FIPS 180-2
    with pytest.raises(DataError, match=words):
        verify_checksum(b"abc", text.format(right=right).encode(), "folder/x.zip")
    for good in (f"{right}  x.zip\n", f"{right.upper()} *x.zip", right):
        verify_checksum(b"abc", good.encode(), "folder/x.zip")


# ---- from a folder


def bring_in(
    store: Store,
    root: Path,
    layout: str = "binance-archive",
    *,
    now: int = NOW,
    replace: bool = False,
    **wanted: object,
) -> tuple[list[Imported], list[Refusal], list[str]]:
    selection = Selection(**wanted)  # type: ignore[arg-type]
    there = layout_named(layout)
    work = ArchiveImport(
        store, ArchiveFolder(root, there, "binance", selection), there, Reading(selection, now), replace=replace
    )
    items = list(work.run())
    return [i for i in items if isinstance(i, Imported)], [i for i in items if isinstance(i, Refusal)], work.notes


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_folder_of_several_symbols_and_series_comes_in(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "in"
    for label in ("2024-01", "2024-02"):
        for kind in ("klines", "markPriceKlines", "indexPriceKlines", "premiumIndexKlines", "fundingRate"):
            put_binance(root, "BTCUSDT", kind, label)
        put_binance(root, "ETHUSDT", "klines", label, checksum=None)
    put_binance(root, "BTCUSD_PERP", "klines", "2024-01", margin="cm")
    put_binance(root, "BTCUSDT_240628", "klines", "2024-01")
    put_binance(root, "BTCUSDT", "klines", "2024-03-01")
    (root / "notes.txt").write_text("mine")
    done, refused, notes = bring_in(store, root)
    assert refused == []
    assert [d.intake.key for d in done] == store.keys()
    assert len(done) == 7
    assert notes == [
        "left out: 1 dated contracts",
        "left out: 1 files of another name",
        "2 files had no checksum beside them: their content is unproven",
    ]
    january, march = made.span("2024-01")[0], made.span("2024-03")[0]
    stored = store.read(key())
    assert times(stored) == list(range(january, march + DAY, HOUR))
    assert stored.row(7)[1:] == (*prices(january + 7 * HOUR), 12.5)
    assert store.manifest(key()).source_at(january) == "binance archive"
    assert store.read(key("funding"))["interval_hours"].unique().to_list() == [8.0]
    report = next(d.report for d in done if d.intake.key == key())
    assert (report.added, report.changed, report.total) == (stored.height, 0, stored.height)


def test_a_second_import_reads_no_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "in"
    gap = frozenset({ms("2024-02-10T05:00")})
    put_binance(root, "BTCUSDT", "klines", "2024-01")
    put_binance(root, "BTCUSDT", "klines", "2024-02", text=made.kline_csv(*FEBRUARY, HOUR, drop=gap))
    put_binance(root, "BTCUSDT", "fundingRate", "2024-01")
    bring_in(store, root)
    before = {k: store.fingerprint(k) for k in store.keys()}  # noqa: SIM118 - a store is no mapping
    monkeypatch.setattr(ArchiveFolder, "read", lambda self, file: pytest.fail(f"{file} is read again"))
    done, refused, notes = bring_in(store, root)
    assert (done, refused) == ([], [])
    assert notes == ["3 files hold nothing that is not stored, and were not read"]
    assert {k: store.fingerprint(k) for k in store.keys()} == before  # noqa: SIM118 - a store is no mapping
    hole = (ms("2024-02-10T05:00"), ms("2024-02-10T06:00"))
    assert lacking(store, key(), *FEBRUARY) == [hole]  # missing, and known to be
    assert lacking(store, key(), *FEBRUARY, source="binance archive") == []


def test_days_fill_what_their_month_lacks_or_is_refused_for(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "in"
    start, end = FEBRUARY
    put_binance(root, "BTCUSDT", "klines", "2024-02", text=made.kline_csv(start, end - 3 * DAY, HOUR))
    for day in ("2024-02-05", "2024-02-27", "2024-02-28", "2024-02-29"):
        put_binance(root, "BTCUSDT", "klines", day)
    put_binance(root, "BTCUSDT", "markPriceKlines", "2024-02", checksum="wrong")
    put_binance(root, "BTCUSDT", "markPriceKlines", "2024-02-05")
    done, refused, _ = bring_in(store, root)
    assert times(store.read(key())) == list(range(start, end, HOUR))
    assert [d.report.rows for d in done] == [24, (end - start) // HOUR]  # the fifth, whole already, was not read
    assert times(store.read(key("mark"))) == list(range(ms("2024-02-05"), ms("2024-02-06"), HOUR))
    (refusal,) = refused
    assert refusal.name.endswith("markPriceKlines/BTCUSDT/1h/BTCUSDT-1h-2024-02.zip")


def test_refused_files_are_named_and_the_others_come_in(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "in"
    put_binance(root, "BTCUSDT", "klines", "2024-01")
    put_binance(root, "BTCUSDT", "klines", "2024-02", checksum="wrong")
    bad = put_binance(root, "BTCUSDT", "klines", "2024-03", checksum=None)
    bad.write_bytes(bad.read_bytes()[:100])
    climbing = put_binance(root, "ETHUSDT", "klines", "2024-01", checksum=None)
    climbing.write_bytes(members(("../../x.csv", SMALL)))
    done, refused, _ = bring_in(store, root)
    assert [d.intake.key for d in done] == [key()]
    assert [(Path(r.name).name, str(r.error.message).rpartition(": ")[2][:20]) for r in refused] == [
        ("BTCUSDT-1h-2024-02.zip", "the checksum is wron"),
        ("BTCUSDT-1h-2024-03.zip", "this is not a whole "),
        ("ETHUSDT-1h-2024-01.zip", "its member '../../x."),
    ]
    assert times(store.read(key())) == list(range(*made.span("2024-01"), HOUR))
    assert not store.has(key(symbol="ETH/USDT:USDT"))
    assert list(tmp_path.rglob("x.csv")) == []


def test_a_refused_file_is_read_again_once_it_is_right(store: Store, tmp_path: Path) -> None:
    put_binance(tmp_path / "in", "BTCUSDT", "klines", "2024-02", checksum="wrong")
    assert bring_in(store, tmp_path / "in")[0] == []
    assert store.keys() == []
    put_binance(tmp_path / "in", "BTCUSDT", "klines", "2024-02")
    assert bring_in(store, tmp_path / "in")[0][0].report.added == 29 * 24


def test_filters_choose_files_and_rows(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "in"
    for label in ("2024-01", "2024-02", "2024-03"):
        put_binance(root, "BTCUSDT", "klines", label)
        put_binance(root, "ETHUSDT", "markPriceKlines", label)
    middle = {"start": ms("2024-02-10"), "end": ms("2024-02-12")}
    bring_in(store, root, symbols=(BTC,), series=("trade",), timeframes=("60m",), **middle)
    assert store.keys() == [key()]
    assert times(store.read(key())) == list(range(middle["start"], middle["end"], HOUR))
    for wanted, words in (
        ({"series": ("index",)}, "No file in .* passes the filters"),
        ({"timeframes": ("5m",)}, "No file in .* passes the filters"),
        ({"end": ms("2023-01-01")}, "No file in .* passes the filters"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            bring_in(store, root, **wanted)
        assert "mark 1h, trade 1h; 2024-01 to 2024-03" in caught.value.hint
    with pytest.raises(UnknownNameError, match="Unknown symbol 'BTC/USDC:USDC'"):
        bring_in(store, root, symbols=("BTC/USDC:USDC",))
    with pytest.raises(UnknownNameError, match="Unknown series 'klines'"):
        bring_in(store, root, series=("klines",))
    with pytest.raises(UsageError, match="--start does not lie before --end"):
        bring_in(store, root, start=5, end=5)


def test_a_folder_without_such_files_says_what_it_looks_for(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is nothing at"):
        bring_in(store, tmp_path / "nothing")
    (tmp_path / "x.zip").write_bytes(b"")
    with pytest.raises(UsageError, match=r"does not hold, a file of binance-archive") as caught:
        bring_in(store, tmp_path)
    assert "Left out: 1 files of another name" in caught.value.hint


def test_replace_forgets_what_was_stored(store: Store, tmp_path: Path) -> None:
    put_binance(tmp_path / "in", "BTCUSDT", "klines", "2024-01")
    put_binance(tmp_path / "other", "BTCUSDT", "klines", "2024-03")
    bring_in(store, tmp_path / "in")
    (done,), _, _ = bring_in(store, tmp_path / "other", replace=True)
    assert store.span(key()) == (ms("2024-03-01"), ms("2024-04-01") - HOUR)
    assert done.report.added == 31 * 24
    put_binance(tmp_path / "bad", "BTCUSDT", "klines", "2024-05", checksum="wrong")
    assert bring_in(store, tmp_path / "bad", replace=True)[0] == []
    assert store.has(key())  # nothing came in its place


def test_a_stopped_import_ends_after_the_file_in_hand_and_keeps_what_is_in(store: Store, tmp_path: Path) -> None:
    for label in ("2024-01", "2024-02", "2024-03", "2024-04"):
        put_binance(tmp_path / "in", "BTCUSDT", "klines", label)
    there = layout_named("binance-archive")
    origin = ArchiveFolder(tmp_path / "in", there, "binance", Selection())

    def stop_after_two(done: int, total: int, name: str) -> None:
        assert total == 4
        if done == 2:
            work.stop()

    work = ArchiveImport(store, origin, there, Reading(Selection(), NOW), progress=stop_after_two)
    with pytest.raises(CancelledError):
        list(work.run())
    assert times(store.read(key())) == list(range(ms("2024-01-01"), ms("2024-03-01"), HOUR))


def test_many_days_come_in_order_and_in_one_import(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "in"
    for period in days(ms("2024-01-01"), ms("2024-04-01")):
        put_binance(root, "BTCUSDT", "klines", period.label)
    bring_in(store, root)
    assert times(store.read(key())) == list(range(ms("2024-01-01"), ms("2024-04-01"), HOUR))
    assert [i.rows for i in store.manifest(key()).imports] == [91 * 24]
    asked = store.manifest(key()).asked
    assert [(a.start, a.end) for a in asked] == [(ms("2024-01-01"), ms("2024-04-01"))]


def test_bybit_and_okx_folders_come_in(store: Store, tmp_path: Path) -> None:
    for label, last in (("2024-01", 31), ("2024-02", 29)):
        start, end = (t - 3 * HOUR for t in made.span(label))
        name = f"BTCUSDT/2024/BTCUSDT_60_{label}-01_{label}-{last}.csv.gz"
        put(tmp_path / "bybit", name, made.bybit_csv(start, end, HOUR))
    bring_in(store, tmp_path / "bybit", "bybit-archive")
    first = ms("2023-12-31T21:00")
    assert times(store.read(key())) == list(range(first, ms("2024-02-29T21:00"), HOUR))
    for day in ("2024-02-28", "2024-02-29"):
        start = ms(day) - 8 * HOUR
        put(tmp_path / "okx", f"BTC-USDT-SWAP-candlesticks-{day}.zip", made.okx_csv(start, start + DAY), checksum=None)
    _, _, notes = bring_in(store, tmp_path / "okx", "okx-archive")
    assert times(store.read(key(timeframe="1m"))) == list(range(ms("2024-02-27T16:00"), ms("2024-02-29T16:00"), MINUTE))
    assert notes == []  # neither exchange publishes checksums


# ---- from an address


def fetch(
    store: Store,
    address: str,
    layout: str = "binance-archive",
    *,
    now: int = NOW,
    policy: RetryPolicy = QUICK,
    **wanted: object,
) -> tuple[list[Imported], list[Refusal], list[str]]:
    wanted = {"symbols": (BTC,), "series": ("trade",), "timeframes": ("1h",), "start": ms("2025-01-01"), **wanted}
    selection = Selection(**wanted)  # type: ignore[arg-type]
    there = layout_named(layout)
    with Downloader(policy, seed=1, timeout=5.0) as client:
        origin = PublishedArchive(address, there, "binance", selection, client, now)
        work = ArchiveImport(store, origin, there, Reading(selection, now))
        items = list(work.run())
    return [i for i in items if isinstance(i, Imported)], [i for i in items if isinstance(i, Refusal)], work.notes


@pytest.fixture
def vision(tmp_path: Path) -> Path:
    """An archive with the months from March to May 2025 and the days of June up to the 13th."""
    root = tmp_path / "vision"
    for label in ("2025-03", "2025-04", "2025-05"):
        put_binance(root, "BTCUSDT", "klines", label)
        put_binance(root, "BTCUSDT", "fundingRate", label)
    for day in range(1, 14):
        put_binance(root, "BTCUSDT", "klines", f"2025-06-{day:02d}")
    return root


@pytest.mark.parametrize("lists", [False, True])
def test_an_address_gives_months_and_the_days_of_the_current_one(store: Store, vision: Path, *, lists: bool) -> None:
    with published(vision, lists=lists, page=7) as server:
        done, refused, notes = fetch(store, server.address, series=("trade", "funding"))
    assert refused == []
    assert [d.intake.key.series for d in done] == ["funding", "trade"]
    assert times(store.read(key())) == list(range(ms("2025-03-01"), ms("2025-06-14"), HOUR))
    assert times(store.read(key("funding"))) == list(range(ms("2025-03-01"), ms("2025-06-01"), 8 * HOUR))
    assert notes == [
        "binance BTC/USDT:USDT funding: not published: 2025-01, 2025-02",
        "binance BTC/USDT:USDT trade 1h: not published: 2025-01, 2025-02, 2025-06-14",
    ]
    if lists:
        assert server.asked("2025-01.zip") == 0
    else:
        # February was tried by its days, January was not: the history begins after it
        assert server.asked("2025-02-17.zip") == 1
        assert server.asked("2025-01-17.zip") == 0
    assert server.asked("2025-06-15.zip") == 0  # not over yet
    assert server.asked("2025-04.zip.CHECKSUM") == 2


def test_a_listing_that_breaks_off_hides_nothing(store: Store, vision: Path) -> None:
    with published(vision, lists=True, page=3) as server:
        server.faults["?data/futures/um/monthly/klines/BTCUSDT/1h/"] = Fault(403, 1, skip=1)
        fetch(store, server.address, start=ms("2025-03-01"), end=ms("2025-06-01"))
        assert server.requests["?data/futures/um/monthly/klines/BTCUSDT/1h/"] == 2
        assert server.asked(".zip") == 3
    assert times(store.read(key())) == list(range(ms("2025-03-01"), ms("2025-06-01"), HOUR))


def test_a_second_run_asks_for_nothing_that_it_has(store: Store, vision: Path) -> None:
    with published(vision) as server:
        fetch(store, server.address, start=ms("2025-03-10"), end=ms("2025-06-13"))
        before = store.fingerprint(key())
        server.requests.clear()
        assert fetch(store, server.address, start=ms("2025-03-10"), end=ms("2025-06-13"))[0] == []
        assert server.requests == {}
        fetch(store, server.address, start=ms("2025-03-01"), end=ms("2025-06-14"))
        assert {path.rpartition("/")[2] for path in server.requests if path.endswith(".zip")} == {
            "BTCUSDT-1h-2025-03.zip",
            "BTCUSDT-1h-2025-06-13.zip",
        }
    assert store.fingerprint(key()) != before
    assert times(store.read(key())) == list(range(ms("2025-03-01"), ms("2025-06-14"), HOUR))


def test_a_month_between_others_comes_by_its_days(store: Store, vision: Path) -> None:
    for name in ("BTCUSDT-1h-2025-04.zip", "BTCUSDT-1h-2025-04.zip.CHECKSUM"):
        next(vision.rglob(name)).unlink()
    for day in (3, 4):
        put_binance(vision, "BTCUSDT", "klines", f"2025-04-{day:02d}")
    with published(vision) as server:
        _, _, notes = fetch(store, server.address, start=ms("2025-03-01"), end=ms("2025-06-01"))
    april = [t for t in times(store.read(key())) if ms("2025-04-01") <= t < ms("2025-05-01")]
    assert april == list(range(ms("2025-04-03"), ms("2025-04-05"), HOUR))
    assert "not published: 2025-04-01, 2025-04-02, 2025-04-05" in notes[0]
    assert notes[0].endswith("… 2025-04-30 (28 files)")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(500, 2),
        Fault(503, 1, retry_after="0"),
        Fault(429, 1, retry_after="1"),
        Fault(200, 2, cut=True),
    ],
)
def test_faults_are_outlasted(store: Store, vision: Path, fault: Fault) -> None:
    import time

    name = "data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2025-04.zip"
    times_wrong, begun = fault.times, time.monotonic()
    with published(vision) as server:
        server.faults[name] = fault
        _, refused, _ = fetch(store, server.address, start=ms("2025-04-01"), end=ms("2025-05-01"))
        assert server.requests[name] == times_wrong + 1
    assert refused == []
    assert store.read(key()).height == 30 * 24
    if fault.status == 429:
        assert time.monotonic() - begun >= 1.0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(500, 99), "the server answers with status 500; given up after 4 attempts"),
        (Fault(429, 99, retry_after="60"), "status 429, and asks to wait 60 s; given up after 1 attempt"),
        (Fault(403, 99), r"the server refuses it \(status 403\)"),
        (Fault(200, 99, cut=True), "the connection was cut in the middle of the file; given up"),
    ],
)
def test_a_file_that_keeps_failing_is_refused_and_the_others_come_in(
    store: Store, vision: Path, fault: Fault, words: str
) -> None:
    name = "data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2025-04.zip"
    put_binance(vision, "BTCUSDT", "klines", "2025-04-03")
    with published(vision) as server:
        server.faults[name] = fault
        _, (refusal,), _ = fetch(store, server.address, start=ms("2025-03-01"), end=ms("2025-06-01"))
    with pytest.raises(DataError, match=words):
        raise refusal.error
    assert refusal.name == name
    stored = times(store.read(key()))
    assert stored == [
        *range(ms("2025-03-01"), ms("2025-04-01"), HOUR),
        *range(ms("2025-04-03"), ms("2025-04-04"), HOUR),
        *range(ms("2025-05-01"), ms("2025-06-01"), HOUR),
    ]
    assert lacking(store, key(), *made.span("2025-04"), "binance archive")  # to be asked for again


def test_checksums_of_an_address_are_verified(store: Store, vision: Path) -> None:
    put_binance(vision, "BTCUSDT", "klines", "2025-04", checksum="wrong")
    put_binance(vision, "BTCUSDT", "klines", "2025-05").with_name("BTCUSDT-1h-2025-05.zip.CHECKSUM").unlink()
    with published(vision) as server:
        _, (refusal,), notes = fetch(store, server.address, start=ms("2025-03-01"), end=ms("2025-06-01"))
    assert "the checksum is wrong" in str(refusal.error)
    assert notes == ["1 file had no checksum beside them: their content is unproven"]


def test_a_server_that_is_not_there_is_one_error_and_the_store_is_untouched(store: Store, vision: Path) -> None:
    with published(vision) as server:
        address = server.address
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:\d+: no connection .* after 4 attempts") as caught:
        fetch(store, address)
    assert "run the command again" in caught.value.hint
    assert not store.root.exists()


def test_nothing_published_at_all_is_an_error(store: Store, vision: Path) -> None:
    with published(vision) as server, pytest.raises(DataError, match=r"none of the \d+ files asked for is published"):
        fetch(store, server.address, symbols=("NOPE/USDT:USDT",), start=ms("2025-04-01"))
    assert not store.root.exists()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"symbols": ()}, "An archive is not searched for symbols"),
        ({"timeframes": ()}, "trade come in bars"),
        ({"start": None}, "An archive needs a first time"),
        ({"start": NOW + 1}, "--start lies in the future"),
        ({"series": ("tiers",)}, "Unknown series 'tiers' of binance-archive"),
        ({"symbols": ("BTC/EUR:EUR0",)}, "Binance has no perpetual contract"),
    ],
)
def test_an_address_needs_to_know_what_is_wanted(store: Store, wanted: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        fetch(store, "http://127.0.0.1:9", **wanted)


def test_a_file_larger_than_any_archive_is_not_downloaded(vision: Path) -> None:
    with published(vision) as server, Downloader(QUICK) as client:
        name = next(vision.rglob("*-2025-04.zip")).relative_to(vision).as_posix()
        with pytest.raises(DataError, match="the file is larger than 100 bytes"):
            client.get(f"{server.address}/{name}", 100)
        assert server.requests[name] == 1
        assert client.get(f"{server.address}/nothing.zip", 100) is None


def test_bybit_and_okx_addresses(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "www"
    start, end = (t - 3 * HOUR for t in made.span("2025-04"))
    put(
        root,
        "kline_for_metatrader4/BTCUSDT/2025/BTCUSDT_60_2025-04-01_2025-04-30.csv.gz",
        made.bybit_csv(start, end, HOUR),
    )
    day = ms("2025-06-12") - 8 * HOUR
    name = "candlesticks/daily/20250612/BTC-USDT-SWAP-candlesticks-2025-06-12.zip"
    put(root, name, made.okx_csv(day, day + DAY), checksum=None)
    with published(root) as server:
        fetch(store, server.address, "bybit-archive", start=start, end=end)
        fetch(store, server.address, "okx-archive", start=day, end=day + DAY, timeframes=("1m",))
        assert server.asked(".CHECKSUM") == 0
    assert times(store.read(key())) == list(range(start, end, HOUR))
    assert times(store.read(key(timeframe="1m"))) == list(range(day, day + DAY, MINUTE))


# ---- formats told from names


def test_a_format_is_told_from_names(tmp_path: Path, vision: Path) -> None:
    assert guess_format(str(vision), "binance") == "binance-archive"
    assert guess_format(str(next(vision.rglob("*.zip"))), "binance") == "binance-archive"
    assert guess_format("https://data.binance.vision", "binance") == "binance-archive"
    (tmp_path / "a").mkdir()
    for name, found in (
        ("BTC_USDT_USDT-1h-futures.feather", "freqtrade"),
        ("BTCUSDT_60_2024-02-01_2024-02-29.csv.gz", "bybit-archive"),
        ("BTC-USDT-SWAP-candlesticks-2024-02.zip", "okx-archive"),
        ("mine.csv", "csv"),
        ("mine.CSV.gz", "csv"),
        ("mine.parquet", "parquet"),
    ):
        path = tmp_path / "a" / name
        path.write_bytes(b"")
        assert guess_format(str(path), "binance") == found
    with pytest.raises(UsageError, match="holds files of bybit-archive and freqtrade and okx-archive"):
        guess_format(str(tmp_path / "a"), "binance")
    (tmp_path / "b.txt").write_text("")
    for path, venue in ((str(tmp_path / "b.txt"), "binance"), ("https://somewhere.org", "blofin")):
        with pytest.raises(UsageError, match="cannot be told from its names"):
            guess_format(path, venue)


@pytest.mark.parametrize(("text", "known"), [("12.5", 12.5), ("", None), ("None", None), ("NaN", None), (" 3 ", 3.0)])
def test_a_volume_is_a_number_or_unknown(text: str, known: float | None) -> None:
    assert volumes(pl.Series([text]), "a file").to_list() == [known]


def test_a_volume_that_is_no_number_refuses_its_file() -> None:
    with pytest.raises(DataError, match="a file: 2 volumes are no numbers, the first 'abc'"):
        volumes(pl.Series(["1", "abc", "x"]), "a file")
