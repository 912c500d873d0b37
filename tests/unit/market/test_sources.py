"""Files of other programs: what is understood, what is repaired and said, what is refused and how."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backtester.errors import BacktesterError, DataError, UnknownNameError, UsageError
from backtester.market.acceptance import accept_bars, accept_funding, parse_times
from backtester.market.intake import Imported, Intake, Refusal, bring_in, check_contract, check_symbol, check_venue
from backtester.market.schema import TIME, DatasetKey
from backtester.market.sources import ccxt_json, freqtrade, table
from backtester.market.store import Store

HOUR = 3_600_000
START = 1_735_689_600_000  # 2025-01-01
BTC = "BTC/USDT:USDT"


def bars(count: int = 3, **columns: list[float | None]) -> pl.DataFrame:
    values: dict[str, Any] = {
        "open": [100.0] * count,
        "high": [102.0] * count,
        "low": [99.0] * count,
        "close": [101.0] * count,
    }
    frame = pl.DataFrame({"open_time": [START + k * HOUR for k in range(count)], **values, **columns})
    return frame.with_columns(pl.col("open_time").cast(TIME))


def accept(frame: pl.DataFrame, series: str = "trade", **options: Any) -> Any:
    return accept_bars(frame, series, HOUR, "test", **options)


# ---- bars


def test_good_bars_pass_unchanged() -> None:
    accepted = accept(bars())
    assert accepted.frame.equals(bars())
    assert accepted.notes == ()


def test_unsorted_and_repeated_bars_are_repaired_and_said() -> None:
    accepted = accept(pl.concat([bars().reverse(), bars(1)]))
    assert accepted.frame.equals(bars())
    assert accepted.notes == (
        "the rows were not in order of time and have been sorted",
        "1 repeated row that agrees left out",
    )


def test_repeated_bars_that_disagree_are_refused() -> None:
    other = bars(2).tail(1).with_columns(close=pl.lit(101.5))
    with pytest.raises(
        DataError, match=r"rows of the same time disagree \(1 such time\), first at 2025-01-01 01:00 UTC"
    ):
        accept(pl.concat([bars(), other]))


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("close", None, "empty, NaN or infinite"),
        ("close", float("nan"), "empty, NaN or infinite"),
        ("high", float("inf"), "empty, NaN or infinite"),
        ("low", 0.0, "zero or negative"),
        ("low", -1.0, "zero or negative"),
        ("low", 100.5, "the low is above"),
        ("high", 100.5, "the high is below"),
        ("volume", -1.0, "the volume is negative"),
    ],
)
def test_impossible_bars_are_refused_or_left_out(column: str, value: float | None, reason: str) -> None:
    frame = bars(volume=[1.0, 1.0, 1.0]).with_columns(
        pl.when(pl.int_range(pl.len()) == 1).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)
    )
    with pytest.raises(DataError, match=reason) as caught:
        accept(frame)
    assert caught.value.at == START + HOUR
    assert "--drop-bad" in caught.value.hint
    accepted = accept(frame, drop_bad=True)
    assert accepted.frame.height == 2
    assert accepted.notes[0].startswith("1 impossible row left out, the first at 2025-01-01 01:00 UTC")


def test_a_premium_may_be_negative_and_must_be_a_bar() -> None:
    negative = bars().with_columns(pl.col("open", "high", "low", "close") - 101)
    assert accept(negative, "premium").notes == ()
    with pytest.raises(DataError, match="zero or negative") as caught:
        accept(negative)
    assert "--series premium" in caught.value.hint
    with pytest.raises(DataError, match="the high is below"):
        accept(negative.with_columns(high=pl.lit(-5.0)), "premium")


def test_an_unknown_volume_is_no_fault() -> None:
    assert accept(bars(volume=[None, None, None])).frame["volume"].null_count() == 3


def test_bars_off_their_grid_are_refused_with_their_distance() -> None:
    with pytest.raises(DataError, match="2 bars do not open on the grid of 4h, first at 2025-01-01 01:00") as caught:
        accept_bars(bars(), "trade", 4 * HOUR, "test")
    assert "Most rows are 1h apart" in caught.value.hint
    half = bars().with_columns(pl.col("open_time").dt.offset_by("30m"))
    with pytest.raises(DataError, match="3 bars do not open on the grid of 1h"):
        accept(half)


def test_weeks_start_where_the_file_says() -> None:
    week = 7 * 24 * HOUR
    frame = bars().with_columns(pl.Series("open_time", [START + k * week for k in range(3)]).cast(TIME))
    assert accept_bars(frame, "trade", week, "test").frame.height == 3


# ---- settlements


def settlements(times: list[int], rates: list[float | None], marks: list[float | None] | None = None) -> pl.DataFrame:
    frame = pl.DataFrame({"funding_time": times, "funding_rate": rates}).with_columns(
        pl.col("funding_time").cast(TIME), pl.col("funding_rate").cast(pl.Float64)
    )
    return frame if marks is None else frame.with_columns(pl.Series("mark_price", marks, dtype=pl.Float64))


def test_settlements_snap_to_the_minute() -> None:
    accepted = accept_funding(settlements([START + 13, START + 8 * HOUR - 47], [1e-4, 2e-4]), "test")
    assert accepted.frame["funding_time"].dt.epoch("ms").to_list() == [START, START + 8 * HOUR]
    assert accepted.frame["mark_price"].to_list() == [None, None]
    assert accepted.notes == ()


def test_records_of_one_settlement_are_joined_when_they_agree() -> None:
    frame = settlements([START, START + 5, START + 8 * HOUR], [1e-4, 1e-4, 2e-4], [None, 99.0, 0.0])
    accepted = accept_funding(frame, "test")
    assert accepted.frame["mark_price"].to_list() == [99.0, None]
    assert accepted.notes == ("1 repeated row that agrees left out",)
    with pytest.raises(DataError, match="rows of the same time disagree"):
        accept_funding(settlements([START, START + 5], [1e-4, 2e-4]), "test")
    with pytest.raises(DataError, match="rows of the same time disagree"):
        accept_funding(settlements([START, START + 5], [1e-4, 1e-4], [99.0, 98.0]), "test")


@pytest.mark.parametrize(
    ("rate", "reason"), [(None, "the rate is empty"), (float("nan"), "the rate is empty"), (1.5, "rates are fractions")]
)
def test_impossible_rates_are_refused_or_left_out(rate: float | None, reason: str) -> None:
    frame = settlements([START, START + 8 * HOUR], [1e-4, rate])
    with pytest.raises(DataError, match=reason):
        accept_funding(frame, "test")
    assert accept_funding(frame, "test", drop_bad=True).frame.height == 1


# ---- times


@pytest.mark.parametrize(
    "values",
    [
        ["2025-01-01 00:00:00"],
        ["2025-01-01T00:00:00Z"],
        ["2025-01-01T00:00:00.000+00:00"],
        ["2025-01-01 00:00:00 UTC"],
        ["2025-01-01 01:00:00+0100"],
        ["2025-01-01T01:00+01:00"],
        ["2025-01-01 00:00"],
        ["2025-01-01"],
        ["1735689600"],
        ["1735689600000"],
        ["1735689600.0"],
        [1_735_689_600],
        [1_735_689_600_000],
        [1_735_689_600_000_000],
        [1_735_689_600_000_000_000],
        [1_735_689_600.0],
        [datetime(2025, 1, 1)],
        [datetime(2025, 1, 1, tzinfo=UTC)],
        [datetime(2025, 1, 1).date()],
    ],
)
def test_times_in_any_usual_form(values: list[Any]) -> None:
    out = parse_times(pl.Series("t", values), "test")
    assert out.dtype == TIME
    assert out.dt.epoch("ms").to_list() == [START]


def test_milliseconds_and_mixed_units_are_kept() -> None:
    assert parse_times(pl.Series("t", ["2025-01-01 00:00:00.013"]), "test").dt.epoch("ms")[0] == START + 13
    mixed = pl.Series("t", [START, (START + HOUR) * 1000])
    assert parse_times(mixed, "test").dt.epoch("ms").to_list() == [START, START + HOUR]


@pytest.mark.parametrize("bad", ["yesterday", "", "01/02/2025", None])
def test_what_is_no_time_names_its_row(bad: str | None) -> None:
    with pytest.raises(DataError, match="row 2 has no time") as caught:
        parse_times(pl.Series("stamp", ["2025-01-01", bad]), "test")
    assert "--columns open_time=NAME" in caught.value.hint


# ---- freqtrade


def freqtrade_frame(count: int = 3, price: float = 100.0) -> pl.DataFrame:
    times = pl.Series("date", [START + k * HOUR for k in range(count)]).cast(TIME).dt.cast_time_unit("ns")
    columns = {"open": price, "high": price + 2, "low": price - 1, "close": price + 1, "volume": 5.0}
    return pl.DataFrame([times]).with_columns(pl.lit(v).alias(c) for c, v in columns.items())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    root.mkdir()
    freqtrade_frame().write_ipc(root / "BTC_USDT_USDT-1h-futures.feather")
    freqtrade_frame().write_ipc(root / "BTC_USDT_USDT-1h-mark.feather")
    rates = freqtrade_frame().with_columns(pl.lit(1e-4).alias("open"), pl.lit(0.0).alias("high"))
    rates.write_ipc(root / "BTC_USDT_USDT-1h-funding_rate.feather")
    freqtrade_frame().write_parquet(root / "ETH_USDT_USDT-1h-futures.parquet")
    rows = [[START + k * HOUR, 1.0, 2.0, 0.5, 1.5, 7.0] for k in range(3)]
    (root / "XRP_USDT_USDT-1h-futures.json").write_text(json.dumps(rows))
    (root / "SOL_USDT_USDT-5m-index.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    freqtrade_frame().write_ipc(root / "BTC_USDT-1h.feather")  # spot
    (root / "notes.txt").write_text("not data")
    return root


def read_all(files: list[freqtrade.NamedFile], **options: Any) -> list[Intake | Refusal]:
    return list(freqtrade.read_files(files, "binance", **options))


def test_a_folder_of_freqtrade_is_read_by_its_names(folder: Path) -> None:
    intakes = read_all(freqtrade.find_files(folder))
    keys = [i.key for i in intakes if isinstance(i, Intake)]
    assert keys == [
        DatasetKey("binance", "BTC/USDT", "trade", "1h"),
        DatasetKey("binance", BTC, "funding", "event"),
        DatasetKey("binance", BTC, "trade", "1h"),
        DatasetKey("binance", BTC, "mark", "1h"),
        DatasetKey("binance", "ETH/USDT:USDT", "trade", "1h"),
        DatasetKey("binance", "SOL/USDT:USDT", "index", "5m"),
        DatasetKey("binance", "XRP/USDT:USDT", "trade", "1h"),
    ]
    funding, trade = intakes[1], intakes[2]
    assert isinstance(funding, Intake)
    assert isinstance(trade, Intake)
    assert funding.frame["funding_rate"].to_list() == [1e-4] * 3
    assert trade.frame["close"].to_list() == [101.0] * 3
    assert trade.source == "freqtrade BTC_USDT_USDT-1h-futures.feather"


def test_filters_narrow_and_a_single_file_works(folder: Path) -> None:
    found = freqtrade.find_files(folder, symbols=[BTC], timeframes=["60m"])
    assert [(f.series, f.timeframe) for f in found] == [("funding", "event"), ("trade", "1h"), ("mark", "1h")]
    assert [f.series for f in freqtrade.find_files(folder, series=["index"])] == ["index"]
    assert len(freqtrade.find_files(folder / "BTC_USDT_USDT-1h-mark.feather")) == 1
    assert [f.series for f in freqtrade.find_files(folder, symbols=["BTC/USDT"])] == ["trade"]
    with pytest.raises(UnknownNameError, match="Unknown symbol 'BTC/USDC'"):
        freqtrade.find_files(folder, symbols=["BTC/USDC"])
    with pytest.raises(UsageError, match="passes the filters"):
        freqtrade.find_files(folder, timeframes=["4h"], series=["mark"])


def test_folders_without_freqtrade_files_say_what_is_wanted(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not hold") as caught:
        freqtrade.find_files(tmp_path)
    assert str(folder) in caught.value.hint
    with pytest.raises(UsageError, match="nothing at"):
        freqtrade.find_files(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1000PEPE_USDT_USDT-5m-mark.feather", ("1000PEPE/USDT:USDT", "mark", "5m")),
        ("BTC_USD_BTC-1h-futures.parquet", ("BTC/USD:BTC", "trade", "1h")),
        ("BTC_USDT_USDT-8h-funding_rate.feather", (BTC, "funding", "event")),
        ("BTC_USDT_USDT-1h-premiumIndex.feather", (BTC, "premium", "1h")),
        ("BTC_USDT_USDT-241227-1h-futures.feather", None),
        ("BTC_USDT_USDT-1M-futures.feather", None),
        ("BTC_USDT-1h.feather", ("BTC/USDT", "trade", "1h")),
        ("my_bars-1h.parquet", None),
        ("BTC_USDT_USDT-1h.feather", None),
        ("BTC_USDT_USDT-1h-futures.csv", None),
    ],
)
def test_names_of_freqtrade(name: str, expected: tuple[str, str, str] | None) -> None:
    found = freqtrade.named_file(Path(name))
    assert (None if found is None else (found.symbol, found.series, found.timeframe)) == expected


@pytest.mark.parametrize("ending", ["feather", "parquet", "json", "json.gz"])
def test_a_truncated_file_is_refused_and_keeps_no_other_out(folder: Path, ending: str, tmp_path: Path) -> None:
    source = next(p for p in folder.iterdir() if p.name.endswith(ending))
    bad = folder / f"BAD_USDT_USDT-1h-futures.{ending}"
    bad.write_bytes(source.read_bytes()[:-20])
    store = Store(tmp_path / "data")
    done = list(bring_in(store, freqtrade.read_files(freqtrade.find_files(folder), "binance")))
    refused = [d for d in done if isinstance(d, Refusal)]
    assert [r.name for r in refused] == [bad.name]
    assert "not a whole" in refused[0].error.message
    assert len([d for d in done if isinstance(d, Imported)]) == 7
    assert store.keys(symbol="BAD/USDT:USDT") == []


def test_a_file_of_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "BTC_USDT_USDT-1h-futures.feather"
    freqtrade_frame().rename({"date": "time"}).write_ipc(path)
    (refusal,) = read_all(freqtrade.find_files(path))
    assert isinstance(refusal, Refusal)
    assert "the column date that freqtrade writes is missing" in refusal.error.message


# ---- tables


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


OHLC = "Timestamp,Open,High,Low,Close\n2025-01-01 00:00:00,100,102,99,101\n2025-01-01 01:00:00,101,102,99,100\n"


def read_csv(path: Path, **options: Any) -> Intake:
    return table.read_table(path, "binance", BTC, kind="csv", **options)


def test_common_names_are_found_and_the_timeframe_measured(tmp_path: Path) -> None:
    intake = read_csv(write(tmp_path / "perps.csv", OHLC))
    assert intake.key == DatasetKey("binance", BTC, "trade", "1h")
    assert intake.frame["open"].to_list() == [100.0, 101.0]
    assert intake.notes == (
        "taken as trade (say otherwise with --series)",
        "bars of 1h, by their distance",
        "no volume: it is stored as unknown",
    )


@pytest.mark.parametrize(
    "text",
    [
        "symbol,fundingRate,markPrice,fundingDateTime\nBTCUSDT,0.0001,,2025-01-01 00:00:00.004\n"
        "BTCUSDT,0.0002,99.5,2025-01-01 08:00:00.000\n",
        "Timestamp;Rate;markPrice\n1735689600000;0.0001;\n1735718400000;0.0002;99.5\n",
        "calc_time,funding_interval_hours,last_funding_rate,mark_price\n1735689600004,8,0.0001,0\n1735718400000,8,0.0002,99.5\n",
    ],
)
def test_funding_tables_of_several_makes(tmp_path: Path, text: str) -> None:
    intake = read_csv(write(tmp_path / "funding.csv", text))
    assert intake.key.series == "funding"
    assert intake.frame["funding_time"].dt.epoch("ms").to_list() == [START, START + 8 * HOUR]
    assert intake.frame["funding_rate"].to_list() == [1e-4, 2e-4]
    assert intake.frame["mark_price"].to_list() == [None, 99.5]


def test_a_column_map_names_any_column(tmp_path: Path) -> None:
    text = OHLC.replace("Timestamp", "Zeit").replace("Close", "Schluss")
    path = write(tmp_path / "bars.csv", text)
    with pytest.raises(DataError, match=r"no column for open_time, close \(the file has Zeit") as caught:
        read_csv(path)
    assert "--columns open_time=NAME --columns close=NAME" in caught.value.hint
    intake = read_csv(path, series="index", columns={"open_time": "Zeit", "close": "Schluss"})
    assert intake.frame["close"].to_list() == [101.0, 100.0]
    with pytest.raises(UnknownNameError, match=r"Unknown column 'Schlus' in bars\.csv"):
        read_csv(path, columns={"close": "Schlus"})
    with pytest.raises(UnknownNameError, match="Unknown column 'clos' of a series"):
        read_csv(path, columns={"clos": "Schluss"})


def test_parquet_tables_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "mark.parquet"
    bars().rename({"open_time": "Open time", "open": "o", "high": "h", "low": "l", "close": "c"}).write_parquet(path)
    intake = table.read_table(path, "binance", BTC, kind="parquet", series="mark")
    assert intake.key == DatasetKey("binance", BTC, "mark", "1h")
    assert intake.frame.equals(bars())


def test_a_cell_that_is_no_number_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "bars.csv", OHLC.replace("101,102", "101,1o2"))
    with pytest.raises(DataError, match="row 2 has no number in the column 'High': '1o2'"):
        read_csv(path)


def test_the_symbol_s_rows_are_taken_from_a_file_of_several(tmp_path: Path) -> None:
    text = "symbol,time,funding_rate\nBTCUSDT,1735689600000,0.0001\nETHUSDT,1735689600000,0.0002\n"
    intake = read_csv(write(tmp_path / "funding.csv", text))
    assert intake.frame["funding_rate"].to_list() == [1e-4]
    with pytest.raises(DataError, match=r"holds 2 symbols \(BTCUSDT, ETHUSDT\)"):
        table.read_table(tmp_path / "funding.csv", "binance", "SOL/USDT:USDT", kind="csv")


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("", DataError, "not a whole csv file"),
        ("Timestamp,Open,High,Low,Close\n", DataError, "columns and no rows"),
        ("Timestamp,Open\n1,2,3\n", DataError, "not a whole csv file"),
        ("Timestamp,Open,High,Low,Close\n2025-01-01,1,2,0.5,1\n", DataError, "timeframe cannot be told"),
    ],
)
def test_files_that_hold_nothing_usable(tmp_path: Path, text: str, error: type[BacktesterError], match: str) -> None:
    with pytest.raises(error, match=match):
        read_csv(write(tmp_path / "bars.csv", text))


def test_a_folder_and_a_wrong_series_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        read_csv(tmp_path)
    with pytest.raises(UnknownNameError, match="Unknown series 'tiers' of a table"):
        read_csv(write(tmp_path / "bars.csv", OHLC), series="tiers")


# ---- tiers


def bracket(floor: float, cap: float | None, rate: float, cum: str | None = "0.0") -> dict[str, Any]:
    info = {} if cum is None else {"cum": cum}
    return {"minNotional": floor, "maxNotional": cap, "maintenanceMarginRate": rate, "maxLeverage": 50.0, "info": info}


def tiers_file(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(content))
    return path


LADDER = [bracket(0, 50_000, 0.004), bracket(50_000, None, 0.005, "50.0")]


def test_tiers_of_several_dates_become_one_series(tmp_path: Path) -> None:
    spot_spelling = {"BTC/USDT": LADDER, "ADA/BUSD": LADDER, "BTCUSDT_221230": LADDER, "BTC/USDT:USDT-221230": LADDER}
    tiers_file(tmp_path, "binance_2022-11-25.json", spot_spelling)
    tiers_file(tmp_path, "binance_2025-10.json", {BTC: [bracket(0, 1e6, 0.003)], "BTC/USD:BTC": LADDER})
    intakes, notes = ccxt_json.read_tiers(tmp_path, "binance")
    assert [i.key.symbol for i in intakes] == ["ADA/BUSD:BUSD", "BTC/USD:BTC", BTC]
    assert notes == ("binance_2022-11-25.json: 2 of 4 entries are no perpetuals and are left out",)
    store = Store(tmp_path / "data")
    list(bring_in(store, intakes))
    old, new = store.tier_tables("binance", BTC)
    assert old.valid_from == int(datetime(2022, 11, 25, tzinfo=UTC).timestamp()) * 1000
    assert new.valid_from == int(datetime(2025, 10, 1, tzinfo=UTC).timestamp()) * 1000
    assert old.tiers[1].notional_cap == float("inf")
    assert old.deductions() == (0.0, 50.0)
    assert "binance_2025-10.json" in new.source


def test_the_date_can_be_given(tmp_path: Path) -> None:
    path = tiers_file(tmp_path, "tiers.json", {BTC: LADDER})
    with pytest.raises(UsageError, match="holds no date") as caught:
        ccxt_json.read_tiers(path, "binance")
    assert "--valid-from" in caught.value.hint
    (intake,), _ = ccxt_json.read_tiers(path, "binance", valid_from="2025-10-01")
    assert intake.frame["valid_from"].dt.year().to_list() == [2025, 2025]
    (intake,), _ = ccxt_json.read_tiers(path, "binance", valid_from="always")
    assert intake.frame["valid_from"].null_count() == 2
    for bad in ("soon", "2025-13-01", "since 2025-10-01"):
        with pytest.raises(UsageError, match="is not a date"):
            ccxt_json.read_tiers(path, "binance", valid_from=bad)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([1, 2], "not ccxt's form"),
        ({}, "not ccxt's form"),
        ({BTC: []}, "not ccxt's form"),
        ({BTC: [{"minNotional": 0}]}, "a bracket has no 'maxNotional'"),
        ({BTC: [bracket(10, 20, 0.01)]}, "must start at 0"),
        ({BTC: [bracket(0, 10, 0.01), bracket(20, 30, 0.02)]}, "ends at 10.0 and the next starts at 20.0"),
        ({BTC: [bracket(0, 10, 0.01, "much")]}, "no number"),
    ],
)
def test_files_that_are_no_tiers_are_refused(tmp_path: Path, content: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        ccxt_json.read_tiers(tiers_file(tmp_path, "x_2025-10-01.json", content), "binance")


def test_unknown_symbols_broken_json_and_equal_dates(tmp_path: Path) -> None:
    path = tiers_file(tmp_path, "x_2025-10-01.json", {BTC: LADDER})
    with pytest.raises(UnknownNameError, match="Unknown symbol 'BTC/USDC:USDC'"):
        ccxt_json.read_tiers(path, "binance", ["BTC/USDC:USDC"])
    tiers_file(tmp_path, "y_2025-10.json", {BTC: LADDER})
    with pytest.raises(DataError, match=r"x_2025-10-01\.json and y_2025-10\.json hold from the same moment"):
        ccxt_json.read_tiers(tmp_path, "binance")
    path.write_text('{"BTC')
    with pytest.raises(DataError, match="not a whole JSON file"):
        ccxt_json.read_tiers(path, "binance")


def test_a_stated_amount_that_breaks_continuity_is_said(tmp_path: Path) -> None:
    ladder = [bracket(0, 50_000, 0.004), bracket(50_000, None, 0.005, "60.0")]
    (intake,), _ = ccxt_json.read_tiers(tiers_file(tmp_path, "x_2025-10.json", {BTC: ladder}), "binance")
    assert "bracket 2 is 60, continuity asks for 50" in intake.notes[0]


def test_a_table_of_a_spot_pair_holds_trades_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("open_time,open,high,low,close\n2025-01-01,1,2,0.5,1\n2025-01-01 01:00,1,2,0.5,1\n")
    assert table.read_table(path, "binance", "BTC/USDT", kind="csv").key == DatasetKey(
        "binance", "BTC/USDT", "trade", "1h"
    )
    with pytest.raises(UsageError, match="has traded bars alone, no mark series"):
        table.read_table(path, "binance", "BTC/USDT", kind="csv", series="mark")


# ---- names


def test_names_of_venues_and_symbols(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert check_venue("binance", store) == "binance"
    assert check_symbol(BTC) == BTC
    for wrong in ("Binance", "binanc"):
        with pytest.raises(UnknownNameError, match=r"Did you mean 'binance'\? For another venue use --venue generic"):
            check_venue(wrong, store)
    with pytest.raises(UnknownNameError, match="use --venue generic"):
        check_venue("kraken", store)
    folder = store.folder(DatasetKey("kraken", BTC, "trade", "1h"))
    folder.mkdir(parents=True)
    (folder / "2025.parquet").touch()
    assert check_venue("kraken", store) == "kraken"  # what was fetched under an id of ccxt can be added to


def test_a_rule_pack_of_ones_own_names_the_venue(tmp_path: Path) -> None:
    pack = tmp_path / "mine.toml"
    pack.write_text('extends = "generic"\nname = "mine"\ntitle = "Mine"\nabout = "."\n')
    assert check_venue(str(pack), Store(tmp_path)) == "mine"


def test_spellings_of_a_symbol() -> None:
    for wrong in ("BTCUSDT", "BTC-USDT"):
        with pytest.raises(UsageError, match="not the unified name") as caught:
            check_symbol(wrong)
        assert f"Did you mean '{BTC}'" in caught.value.hint
    assert check_symbol("BTC/USDT") == "BTC/USDT"  # a spot pair
    with pytest.raises(UsageError, match="not the unified name"):
        check_contract("BTC/USDT")


# ---- real files


@pytest.mark.real_data
def test_every_real_freqtrade_file_is_accepted(real_data: Path) -> None:
    intakes = read_all(freqtrade.find_files(real_data / "binance"))
    assert [i.name for i in intakes if isinstance(i, Refusal)] == []
    assert len(intakes) == 28
    assert all(i.notes == () for i in intakes if isinstance(i, Intake))
    river = next(
        i for i in intakes if isinstance(i, Intake) and i.key.symbol[:5] == "RIVER" and i.key.series == "trade"
    )
    assert river.frame["open_time"][0] == datetime(2025, 10, 17, 14, tzinfo=UTC)


@pytest.mark.real_data
def test_real_tables_are_understood(real_data: Path) -> None:
    found = {}
    for path in sorted((real_data / "premium" / "BTCUSDT").glob("*.csv")):
        series = {"spot": "index", "premium_index": "premium"}.get(path.stem)
        found[path.stem] = read_csv(path, series=series).key
    assert {k: (v.series, v.timeframe) for k, v in found.items()} == {
        "funding_rates": ("funding", "event"),
        "perps": ("trade", "1h"),
        "premium_index": ("premium", "1h"),
        "spot": ("index", "1h"),
    }
    sol = table.read_table(
        real_data / "funding" / "SOLUSDT_funding_rate_20200101_20251130.csv", "binance", "SOL/USDT:USDT", kind="csv"
    )
    assert sol.frame.height == 5787
    assert sol.frame.filter(pl.col("funding_rate") == -0.02).height == 7
    assert (sol.frame["funding_time"].dt.epoch("ms") % HOUR == 0).all()


@pytest.mark.real_data
def test_real_tiers_join_by_date(real_data: Path, tmp_path: Path) -> None:
    intakes, _ = ccxt_json.read_tiers(real_data / "tiers", "binance", [BTC, "RIVER/USDT:USDT"])
    store = Store(tmp_path / "data")
    list(bring_in(store, intakes))
    tables = store.tier_tables("binance", BTC)
    assert [t.tiers[0].notional_cap for t in tables] == [50_000, 50_000, 300_000, 300_000]
    assert all(t.discontinuities() == [] for t in tables)
    assert len(store.tier_tables("binance", "RIVER/USDT:USDT")) == 2
