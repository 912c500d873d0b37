"""What a check finds, where, and what it does not hold against the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.market.finding import Finding
from backtester.market.intake import bring_in
from backtester.market.intervals import measure_intervals
from backtester.market.quality import check, select
from backtester.market.schema import TIME, DatasetKey, tier_frame
from backtester.market.sources import freqtrade, table
from backtester.market.store import Store

HOUR = 3_600_000
START = 1_735_689_600_000  # 2025-01-01
BTC = "BTC/USDT:USDT"
COUNT = 48


def key(series: str, timeframe: str = "1h") -> DatasetKey:
    return DatasetKey("binance", BTC, series, "event" if series in ("funding", "tiers") else timeframe)


def bars(count: int = COUNT, step: int = HOUR, first: int = START) -> pl.DataFrame:
    wave = 100 + np.sin(np.arange(count + 1))
    frame = {
        "open_time": first + step * np.arange(count),
        "open": wave[:-1],
        "high": np.maximum(wave[:-1], wave[1:]) + 0.1,
        "low": np.minimum(wave[:-1], wave[1:]) - 0.1,
        "close": wave[1:],
        "volume": np.ones(count),
    }
    return pl.DataFrame(frame).with_columns(pl.col("open_time").cast(TIME))


def funding(hours: list[float], first: int = START) -> pl.DataFrame:
    times = (first + np.array(hours) * HOUR).astype(np.int64)
    return pl.DataFrame({"funding_time": times, "funding_rate": np.full(times.size, 1e-4), "mark_price": 100.0})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store in which nothing is wrong."""
    store = Store(tmp_path / "data")
    store.write(key("trade"), bars(), source="test")
    store.write(key("mark"), bars(), source="test")
    store.write(key("funding"), funding([0, 8, 16, 24, 32, 40]), source="test")
    table = TierTable(symbol=BTC, tiers=(MarginTier(maintenance_margin_rate=0.004, max_leverage=100),))
    store.write(key("tiers"), tier_frame([table]), source="test")
    return store


def found(store: Store, **options: float) -> list[Finding]:
    return check(store, store.keys(), **options)


def only(store: Store, **options: float) -> Finding:
    findings = found(store, **options)
    assert len(findings) == 1, [f.text for f in findings]
    return findings[0]


def rows(store: Store, series: str) -> pl.DataFrame:
    return store.read(key(series)).with_row_index("n")


def put(store: Store, series: str, frame: pl.DataFrame) -> None:
    store.write(key(series), frame, source="test", replace=True)


def test_good_data_has_no_findings(store: Store) -> None:
    assert found(store) == []


@pytest.mark.parametrize(("series", "severity"), [("trade", "error"), ("mark", "error"), ("index", "warning")])
def test_a_gap_is_placed_and_counted(store: Store, series: str, severity: str) -> None:
    put(store, series, bars().filter(~pl.int_range(pl.len()).is_in([10, 11, 12])))
    finding = only(store)
    assert (finding.severity, finding.code, finding.count) == (severity, "gap", 3)
    assert (finding.start, finding.end) == (START + 10 * HOUR, START + 13 * HOUR)
    assert finding.text == "3 bars missing, 2025-01-01 10:00 UTC to 2025-01-01 12:00 UTC"
    assert "data.allow_gaps = true" in finding.hint


def test_impossible_bars_are_errors(store: Store) -> None:
    broken = rows(store, "trade").with_columns(high=pl.when(pl.col("n") == 5).then(50.0).otherwise("high"))
    put(store, "trade", broken)
    finding = next(f for f in found(store) if f.code == "impossible_bar")
    assert (finding.severity, finding.start, finding.count) == ("error", START + 5 * HOUR, 1)
    assert "the high is below the open or close" in finding.text


def test_bars_without_volume_are_told_by_their_runs(store: Store) -> None:
    quiet = rows(store, "trade").with_columns(
        volume=pl.when(pl.col("n").is_in([3, 20, 21, 22])).then(0.0).otherwise("volume")
    )
    put(store, "trade", quiet)
    finding = only(store)
    assert (finding.severity, finding.code, finding.count) == ("warning", "zero_volume", 4)
    assert (finding.start, finding.end) == (START + 20 * HOUR, START + 23 * HOUR)
    assert "4 bars without volume in 2 runs, the longest 3 bars" in finding.text
    put(store, "trade", bars().with_columns(volume=pl.lit(None, dtype=pl.Float64)))
    assert found(store) == []


def test_a_mark_that_stands_still_is_stale(store: Store) -> None:
    still = rows(store, "mark").with_columns(
        pl.when(pl.col("n").is_between(9, 13)).then(100.5).otherwise(p).alias(p)
        for p in ("open", "high", "low", "close")
    )
    put(store, "mark", still)
    finding = only(store)
    assert (finding.severity, finding.code) == ("warning", "stale")
    assert (finding.start, finding.count) == (START + 10 * HOUR, 4)


def test_trades_far_from_the_mark_are_told(store: Store) -> None:
    jump = pl.col("n").is_in([7, 8])
    put(store, "mark", rows(store, "mark").with_columns(close=pl.when(jump).then(pl.col("low")).otherwise("close")))
    assert only(store, divergence=0.001).code == "mark_diverges_close"
    wick = rows(store, "trade").with_columns(low=pl.when(jump).then(pl.col("low") * 0.9).otherwise("low"))
    put(store, "trade", wick)
    finding = only(store)
    assert (finding.code, finding.count, finding.severity) == ("mark_diverges_wick", 2, "warning")
    assert (finding.start, finding.end) == (START + 7 * HOUR, START + 9 * HOUR)
    assert "the worst 10.0%" in finding.text


def test_the_mark_of_another_contract_is_an_error(store: Store) -> None:
    put(store, "mark", bars().with_columns(pl.col("open", "high", "low", "close") * 10))
    finding = only(store)
    assert (finding.severity, finding.code) == ("error", "other_price")


def test_timeframes_that_disagree_are_told(store: Store) -> None:
    fine = bars(4 * COUNT, HOUR // 4)
    coarse = fine.group_by_dynamic("open_time", every="1h").agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
    )
    for series in ("trade", "mark"):
        put(store, series, coarse)
    store.write(key("trade", "15m"), fine, source="test")
    assert found(store) == []
    put(store, "trade", coarse.with_columns(high=pl.col("high") + 1e-3))
    finding = only(store)
    assert (finding.code, finding.count) == ("timeframes_disagree", COUNT)


def test_missing_companions_are_warnings(store: Store, tmp_path: Path) -> None:
    alone = Store(tmp_path / "alone")
    alone.write(key("trade"), bars(), source="test")
    alone.write(key("trade", "30m"), bars(COUNT, HOUR // 2), source="test")
    codes = [f.code for f in check(alone, alone.keys(timeframe="1h")) if f.code.startswith("no_")]
    assert codes == ["no_mark", "no_funding", "no_tiers"]


def test_series_that_cover_less_than_the_trades_are_told(store: Store) -> None:
    put(store, "mark", bars().slice(2, COUNT - 5))
    put(store, "funding", funding([16, 24]))
    codes = {f.code: f for f in found(store)}
    assert set(codes) == {"mark_starts_late", "mark_ends_early", "funding_starts_late", "funding_ends_early"}
    assert all(f.severity == "warning" for f in codes.values())
    assert codes["mark_ends_early"].start == START + (COUNT - 3) * HOUR


def test_a_damaged_file_is_a_finding_and_the_rest_is_checked(store: Store) -> None:
    part = store.folder(key("mark")) / "2025.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    put(store, "funding", funding([0, 8, 24, 32, 40]))
    codes = {f.code for f in found(Store(store.root))}
    assert {"damaged", "missing_settlement"} <= codes


def test_a_missing_settlement_is_an_error_with_its_place(store: Store) -> None:
    put(store, "funding", funding([0, 8, 24, 32, 40]))
    finding = only(store)
    assert (finding.severity, finding.code, finding.count) == ("error", "missing_settlement", 1)
    assert (finding.start, finding.end) == (START + 8 * HOUR, START + 24 * HOUR)
    assert "the interval is 8 h" in finding.text
    assert 'funding.source = "none"' in finding.hint


def test_interval_changes_inform_and_are_no_holes(store: Store) -> None:
    put(store, "funding", funding([0, 8, 16, 20, 24, 25, 26, 27, 28, 32, 36, 40, 44]))
    finding = only(store)
    assert (finding.severity, finding.code, finding.count) == ("info", "interval_changes", 3)
    assert "8 h to 4 h at 2025-01-01 20:00 UTC" in finding.text


@pytest.mark.parametrize(
    ("times", "hours", "missing"),
    [
        ([0, 8, 16], [8, 8, 8], []),
        ([0, 8, 24, 32], [8, 8, 8, 8], [1]),
        ([0, 8, 32, 40], [8, 8, 8, 8], [2]),
        ([0, 8, 16, 20, 24], [8, 8, 8, 4, 4], []),  # 8 h to 4 h
        ([0, 4, 8, 16, 24], [4, 4, 4, 8, 8], []),  # and back
        ([4, 5, 6, 8, 12, 16], [1, 1, 1, 2, 4, 4], []),  # 1 h to 4 h meets the clock half way
        ([3, 4, 5, 8, 12, 16], [1, 1, 1, 4, 4, 4], []),  # three hours, an interval of none
        ([0, 1, 2, 4, 5, 6], [1, 1, 1, 1, 1, 1], [1]),  # two hours among single ones
        ([0, 4, 8, 20, 24], [4, 4, 4, 4, 4], [2]),
        ([0, 8, 16, 28, 32, 36], [8, 8, 8, 8, 4, 4], [1]),  # a hole at a change
        ([0, 16, 24, 32], [8, 8, 8, 8], [1]),  # at the very start
        ([0, 8, 16, 32], [8, 8, 8, 8], [1]),  # at the very end
        ([0, 24, 48, 72], [24, 24, 24, 24], []),  # a venue of its own habits
        ([0, 0.5, 1.0, 1.5], [0.5] * 4, []),
        ([0, 8], [8, 8], []),
    ],
)
def test_intervals_are_measured_through_changes_and_holes(
    times: list[float], hours: list[float], missing: list[int]
) -> None:
    measured = measure_intervals((np.array(times) * HOUR).astype(np.int64))
    assert measured.hours.tolist() == hours
    assert [h.missing for h in measured.holes] == missing


def test_too_few_settlements_have_no_interval() -> None:
    assert measure_intervals(np.array([], dtype=np.int64)).hours.size == 0
    assert np.isnan(measure_intervals(np.array([START])).hours).all()


def test_tiers_that_do_not_join_or_come_late(store: Store) -> None:
    tiers = (
        MarginTier(notional_cap=50_000, maintenance_margin_rate=0.004, max_leverage=100, maintenance_amount=0.0),
        MarginTier(notional_floor=50_000, maintenance_margin_rate=0.005, max_leverage=50, maintenance_amount=60.0),
    )
    table = TierTable(symbol=BTC, tiers=tiers, valid_from=START + HOUR)
    put(store, "tiers", tier_frame([table]))
    late, discontinuity = sorted(found(store), key=lambda f: f.severity)
    assert (late.severity, late.code) == ("info", "tiers_start_late")
    assert (discontinuity.severity, discontinuity.code) == ("warning", "tier_discontinuity")


def test_errors_come_first_and_filters_keep_events(store: Store) -> None:
    put(store, "trade", bars().with_columns(volume=pl.lit(0.0)))
    put(store, "funding", funding([0, 8, 24, 32, 40]))
    assert [f.severity for f in found(store)] == ["error", "warning"]
    assert [k.series for k in select(store, timeframe="1h", series=["trade", "funding"])] == ["funding", "trade"]
    assert select(store, symbols=["ETH/USDT:USDT"]) == []


@pytest.mark.real_data
def test_real_changes_of_interval_are_no_missing_settlements(real_data: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    files = freqtrade.find_files(real_data / "binance", ["ORCA/USDT:USDT", "RIVER/USDT:USDT"], series=["funding"])
    list(bring_in(store, freqtrade.read_files(files, "binance")))
    sol = real_data / "funding" / "SOLUSDT_funding_rate_20200101_20251130.csv"
    list(bring_in(store, [table.read_table(sol, "binance", "SOL/USDT:USDT", kind="csv")]))
    findings = check(store, store.keys())
    assert {f.code for f in findings} == {"interval_changes", "mark_price_unknown"}
    changes = {f.key.symbol: f.count for f in findings if f.code == "interval_changes"}
    assert changes == {"ORCA/USDT:USDT": 7, "RIVER/USDT:USDT": 9, "SOL/USDT:USDT": 3}
    crash = store.read(
        DatasetKey("binance", "SOL/USDT:USDT", "funding", "event"), 1_668_060_000_000, 1_668_787_200_000
    )  # 2022-11-10 06:00 to 2022-11-18 16:00
    assert crash["interval_hours"].unique().to_list() == [2.0]


@pytest.mark.real_data
def test_real_bars_are_whole(real_data: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    files = freqtrade.find_files(real_data / "binance", ["ORCA/USDT:USDT", "RIVER/USDT:USDT", "SOL/USDT:USDT"])
    list(bring_in(store, freqtrade.read_files(files, "binance")))
    findings = check(store, store.keys())
    assert [f.text for f in findings if f.severity == "error"] == []
    by_code = {(f.key.symbol[:4], f.code): f for f in findings}
    outage = by_code["SOL/", "zero_volume"]
    assert (outage.start, outage.count) == (1_756_448_400_000, 5)  # 2025-08-29 06:20
    disagreeing = by_code["ORCA", "timeframes_disagree"]
    assert (disagreeing.start, disagreeing.count) == (1_736_866_800_000, 1)  # 2025-01-14 15:00
    assert ("SOL/", "timeframes_disagree") not in by_code
    assert by_code["RIVE", "mark_ends_early"].key.timeframe == "1h"
