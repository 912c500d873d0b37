"""What a check finds, where, and what it does not hold against the data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.market.intake import bring_in
from backtester.market.intervals import measure_intervals
from backtester.market.quality import check, select
from backtester.market.quality.finding import Finding
from backtester.market.schema import EVENT_SERIES, TIME, DatasetKey, instrument_frame, tier_frame
from backtester.market.sources import freqtrade, table
from backtester.market.store import Store

HOUR = 3_600_000
START = 1_735_689_600_000  # 2025-01-01
BTC = "BTC/USDT:USDT"
COUNT = 48


def key(series: str, timeframe: str = "1h") -> DatasetKey:
    return DatasetKey("binance", BTC, series, "event" if series in EVENT_SERIES else timeframe)


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


def summed(fine: pl.DataFrame) -> pl.DataFrame:
    """Bars of an hour from finer ones."""
    return fine.group_by_dynamic("open_time", every="1h").agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
    )


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
    return list(check(store, store.keys(), **options).findings)


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
    covered = next(c for c in check(store, store.keys()).coverage if c.key == key(series))
    assert (covered.expected, covered.present, covered.missing) == (COUNT, COUNT - 3, 3)
    assert (covered.first, covered.last) == (START, START + (COUNT - 1) * HOUR)


def test_impossible_bars_are_errors(store: Store) -> None:
    broken = rows(store, "trade").with_columns(high=pl.when(pl.col("n") == 5).then(50.0).otherwise("high"))
    put(store, "trade", broken)
    finding = next(f for f in found(store) if f.code == "impossible_bar")
    assert (finding.severity, finding.start, finding.count) == ("error", START + 5 * HOUR, 1)
    assert "the high is below the open or close" in finding.text


def without_volume(store: Store, at: list[int]) -> None:
    quiet = rows(store, "trade").with_columns(volume=pl.when(pl.col("n").is_in(at)).then(0.0).otherwise("volume"))
    put(store, "trade", quiet)


def still(store: Store, series: str, first: int, last: int) -> None:
    flat = (
        pl.when(pl.col("n").is_between(first, last)).then(100.5).otherwise(p).alias(p)
        for p in ("open", "high", "low", "close")
    )
    put(store, series, rows(store, series).with_columns(flat))


def test_bars_without_volume_are_told_by_their_runs(store: Store) -> None:
    without_volume(store, [3, 20, 21, 22])
    finding = only(store)
    assert (finding.severity, finding.code, finding.count) == ("warning", "zero_volume_mark_moves", 4)
    assert (finding.start, finding.end) == (START + 20 * HOUR, START + 23 * HOUR)
    assert finding.places == ((START + 3 * HOUR, START + 4 * HOUR), (START + 20 * HOUR, START + 23 * HOUR))
    assert finding.text.startswith("4 bars in 2 runs without volume in which the mark moved, most by 2.")
    put(store, "trade", bars().with_columns(volume=pl.lit(None, dtype=pl.Float64)))
    assert found(store) == []


def test_bars_without_volume_in_which_nothing_moves_only_inform(store: Store) -> None:
    without_volume(store, [21, 22])
    still(store, "mark", 21, 22)
    finding = only(store)
    assert (finding.severity, finding.code, finding.count) == ("info", "zero_volume", 2)
    assert "2 bars without volume while the mark stood still" in finding.text


def test_bars_without_volume_and_without_a_mark_are_not_judged_by_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    store.write(key("trade"), bars(), source="test")
    for hours, severity in (([5], "info"), ([5, 6], "warning")):
        without_volume(store, hours)
        finding = next(f for f in found(store) if f.code == "zero_volume")
        assert (finding.severity, finding.count) == (severity, len(hours))
        assert "mark" not in finding.text


def test_volume_that_only_a_coarser_bar_has_is_missing(store: Store) -> None:
    fine = bars(4 * COUNT, HOUR // 4)
    coarse = summed(fine)
    for series in ("trade", "mark"):
        put(store, series, coarse)
    lost = pl.int_range(pl.len()).is_in([21, 22])  # 05:15 and 05:30
    quiet = pl.int_range(pl.len()).is_between(40, 43)  # the whole hour from 10:00
    store.write(
        key("trade", "15m"),
        fine.with_columns(volume=pl.when(lost | quiet).then(0.0).otherwise("volume")),
        source="test",
    )
    put(store, "trade", coarse.with_columns(volume=pl.when(pl.int_range(pl.len()) == 10).then(0.0).otherwise("volume")))
    codes = {(f.key.timeframe, f.code): f for f in found(store)}
    missing = codes["15m", "missing_volume"]
    assert (missing.severity, missing.count) == ("warning", 2)
    assert (missing.start, missing.end) == (START + 21 * HOUR // 4, START + 23 * HOUR // 4)
    assert (codes["15m", "zero_volume"].start, codes["15m", "zero_volume"].count) == (START + 10 * HOUR, 4)
    sums = codes["1h", "volumes_disagree"]
    assert (sums.start, sums.count, sums.places) == (START + 5 * HOUR, 1, ((START + 5 * HOUR, START + 6 * HOUR),))
    assert "by up to 50.00%" in sums.text
    assert ("1h", "timeframes_disagree") not in codes


def test_a_volume_that_is_partly_unknown_only_informs(store: Store) -> None:
    put(store, "trade", rows(store, "trade").with_columns(volume=pl.when(pl.col("n") >= 10).then("volume")))
    finding = only(store)
    assert (finding.severity, finding.code, finding.count) == ("info", "volume_unknown", 10)
    assert finding.text.startswith("10 of 48 bars of unknown volume, 2025-01-01 00:00 UTC to 2025-01-01 09:00 UTC")


def test_trading_that_stops_for_good_is_told_with_the_rates_that_go_on(store: Store) -> None:
    without_volume(store, list(range(20, COUNT)))
    put(store, "funding", funding([0, 8, 16, 24, 32, 40, 48]))
    codes = {f.code: f for f in found(store)}
    assert set(codes) == {"trading_stops", "stale_rates"}
    stop, stale = codes["trading_stops"], codes["stale_rates"]
    assert (stop.severity, stop.start, stop.count) == ("warning", START + 20 * HOUR, COUNT - 20)
    assert (stale.severity, stale.start, stale.end, stale.count) == (
        "warning",
        START + 20 * HOUR,
        START + 48 * HOUR,
        4,
    )


def test_rates_after_the_last_bar_are_stale_when_they_stand_still_for_a_week(store: Store) -> None:
    hours = [float(h) for h in range(0, 48 + 8 * 24, 8)]
    frame = funding(hours)
    put(store, "funding", frame)
    codes = {f.code: f for f in found(store)}
    assert set(codes) == {"ends_late", "stale_rates"}
    assert codes["stale_rates"].start == START + COUNT * HOUR
    alive = frame.with_columns(funding_rate=1e-4 + 1e-6 * (pl.int_range(pl.len()) % 5))
    put(store, "funding", alive)
    assert {f.code for f in found(store)} == {"ends_late"}


@pytest.mark.parametrize(("days", "is_stale"), [(35, False), (61, True)])
def test_one_rate_for_weeks_is_usual_and_for_months_is_not(tmp_path: Path, days: int, is_stale: bool) -> None:
    store = Store(tmp_path / "data")
    same = funding([float(h) for h in range(0, 24 * days, 8)])
    other = funding([24.0 * days], START).with_columns(funding_rate=pl.lit(3e-4))
    store.write(key("funding"), pl.concat([same, other]), source="test")
    assert ("stale_rates" in {f.code for f in found(store)}) is is_stale


def test_a_mark_that_stands_still_is_stale(store: Store) -> None:
    still(store, "mark", 9, 13)
    finding = only(store)
    assert (finding.severity, finding.code) == ("warning", "stale")
    assert (finding.start, finding.count) == (START + 10 * HOUR, 4)
    assert "to the end" not in finding.text
    still(store, "mark", 30, COUNT)
    finding = only(store)
    assert finding.count == 4 + COUNT - 31
    assert "to the end of the series" in finding.text


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
    assert finding.places == ((START + 7 * HOUR, START + 9 * HOUR),)


def test_the_mark_of_another_contract_is_an_error(store: Store) -> None:
    put(store, "mark", bars().with_columns(pl.col("open", "high", "low", "close") * 10))
    finding = only(store)
    assert (finding.severity, finding.code) == ("error", "other_price")


def test_timeframes_that_disagree_are_told(store: Store) -> None:
    fine = bars(4 * COUNT, HOUR // 4)
    coarse = summed(fine)
    for series in ("trade", "mark"):
        put(store, series, coarse)
    store.write(key("trade", "15m"), fine, source="test")
    assert found(store) == []
    put(store, "trade", coarse.with_columns(high=pl.col("high") + 1e-3))
    finding = only(store)
    assert (finding.code, finding.count, len(finding.places)) == ("timeframes_disagree", COUNT, COUNT)
    put(store, "trade", coarse.with_columns(volume=pl.col("volume") * (1 + 1e-12)))
    assert found(store) == []  # the dust of a sum


def test_marks_of_an_hour_are_held_against_trades_of_a_quarter_and_the_other_way_round(tmp_path: Path) -> None:
    fine = bars(4 * COUNT, HOUR // 4)
    low = pl.when(pl.int_range(pl.len()) == 9).then(pl.col("low") * 0.9).otherwise("low")
    for n, (trade, mark) in enumerate((("15m", "1h"), ("1h", "15m"))):
        store = Store(tmp_path / str(n))
        far = fine.with_columns(low=low)
        store.write(key("trade", trade), far if trade == "15m" else summed(far), source="test")
        store.write(key("mark", mark), summed(fine) if mark == "1h" else fine, source="test")
        finding = next(f for f in found(store) if f.code.startswith("mark_diverges"))
        assert (finding.code, finding.start, finding.end) == (
            "mark_diverges_wick",
            START + 2 * HOUR,
            START + 3 * HOUR,
        )


def test_missing_companions_are_warnings(store: Store, tmp_path: Path) -> None:
    alone = Store(tmp_path / "alone")
    alone.write(key("trade"), bars(), source="test")
    alone.write(key("trade", "30m"), bars(COUNT, HOUR // 2), source="test")
    codes = [f.code for f in check(alone, alone.keys(timeframe="1h")).findings if f.code.startswith("no_")]
    assert codes == ["no_mark", "no_funding", "no_tiers"]
    spot = Store(tmp_path / "spot")
    spot.write(replace(key("trade"), symbol="BTC/USDT"), bars(), source="test")
    assert check(spot, spot.keys()).findings == ()


def test_series_that_cover_less_than_the_trades_are_told(store: Store) -> None:
    put(store, "mark", bars().slice(2, COUNT - 5))
    put(store, "funding", funding([16, 24]))
    findings = {(f.key.series, f.code): f for f in found(store)}
    assert set(findings) == {(s, c) for s in ("mark", "funding") for c in ("starts_late", "ends_early")}
    assert all(f.severity == "warning" for f in findings.values())
    mark = findings["mark", "ends_early"]
    assert (mark.start, mark.end) == (START + (COUNT - 3) * HOUR, START + COUNT * HOUR)


def test_series_that_go_on_after_the_trades_and_finer_bars_that_are_fewer_only_inform(store: Store) -> None:
    put(store, "mark", bars(COUNT + 5))
    put(store, "index", bars(COUNT - 1))
    store.write(key("trade", "30m"), bars(2 * COUNT - 6, HOUR // 2).slice(2), source="test")
    findings = {(f.key.series, f.code): f for f in found(store) if f.code != "timeframes_disagree"}
    codes = {("mark", "ends_late"), ("index", "ends_early"), ("trade", "starts_late"), ("trade", "ends_early")}
    assert codes <= set(findings)
    assert all(findings[c].severity == "info" for c in codes)
    assert "5 h after the end of the trades" in findings["mark", "ends_late"].text


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


def contract(store: Store, **terms: float) -> None:
    values = {"funding_interval_hours": 8.0, **terms}
    put(store, "instrument", instrument_frame(Instrument(symbol=BTC, **values)))


def test_records_thinned_to_every_other_settlement_are_told_by_the_contract(store: Store) -> None:
    put(store, "funding", funding([0, 16, 32]))
    finding = only(store)
    assert (finding.severity, finding.code, finding.count) == ("error", "missing_settlement", 2)
    assert "no venue is known to settle so rarely" in finding.text
    (covered,) = (c for c in check(store, store.keys()).coverage if c.key.series == "funding")
    assert (covered.expected, covered.present) == (5, 3)
    contract(store, funding_interval_hours=8.0, valid_from=START + 900 * HOUR)
    assert only(store).severity == "error"  # whatever is known of the contract
    put(store, "funding", funding([0, 8, 16, 24, 32, 40]))
    contract(store, funding_interval_hours=4.0)
    finding = only(store)
    assert (finding.severity, finding.code, finding.count) == ("warning", "interval_differs", 6)
    assert "settle every 8 h" in finding.text
    assert "the contract says 4 h: every other settlement may be missing" in finding.text
    contract(store, funding_interval_hours=4.0, valid_from=START + 40 * HOUR)
    assert only(store).severity == "warning"
    contract(store, funding_interval_hours=4.0, valid_from=START + 300 * HOUR)
    finding = only(store)  # terms that are much younger may be right, yet half of the records may be missing too
    assert finding.severity == "warning"
    assert "may be missing" in finding.text
    contract(store, funding_interval_hours=12.0, valid_from=START + 300 * HOUR)
    assert only(store).severity == "info"
    contract(store, funding_interval_hours=8.0)
    assert found(store) == []


def test_what_delete_damaged_left_empty_is_an_error_and_the_rest_is_checked(store: Store) -> None:
    put(store, "funding", funding([0, 8, 16]))
    contract(store, funding_interval_hours=8.0)
    tiers = DatasetKey("binance", "BTC/USDT:USDT", "tiers", "event")
    table = TierTable(symbol=tiers.symbol, tiers=(MarginTier(maintenance_margin_rate=0.01, max_leverage=10),))
    store.write(tiers, tier_frame([table]), source="test")
    emptied = [key for key in store.keys("binance") if key.series in ("funding", "tiers", "instrument")]
    assert len(emptied) == 3
    for key in emptied:
        for path in store.folder(key).glob("*.parquet"):
            path.write_bytes(b"x")
        assert len(store.drop_damaged(key)) == 1
    findings = [f for f in check(store, store.keys()).findings if f.severity == "error"]
    assert [(f.key, f.code) for f in findings] == [(key, "damaged") for key in emptied]
    assert store.tier_tables(tiers.venue, tiers.symbol) == []
    assert store.instrument(tiers.venue, tiers.symbol) is None


def test_settlements_are_counted_by_the_interval_in_force(store: Store) -> None:
    put(store, "funding", funding([0, 8, 24, 28, 32, 36, 40, 44]))
    covered = next(c for c in check(store, store.keys()).coverage if c.key.series == "funding")
    assert (covered.expected, covered.present, covered.missing) == (9, 8, 1)
    assert covered.intervals == ((START, 8.0), (START + 28 * HOUR, 4.0))


def test_rates_beyond_the_bounds_are_told_from_their_date_on(store: Store) -> None:
    rates = [1e-4, 0.004, 1e-4, -0.0031, 0.003, -0.003]
    put(store, "funding", funding([0, 8, 16, 24, 32, 40]).with_columns(funding_rate=pl.Series(rates)))
    assert found(store) == []
    contract(store, funding_cap=0.003, funding_floor=-0.003)
    finding = only(store)
    assert (finding.severity, finding.code, finding.count) == ("warning", "rate_beyond_bounds", 2)
    assert "the largest 0.4000% at 2025-01-01 08:00 UTC" in finding.text
    contract(store, funding_cap=0.003, funding_floor=-0.003, valid_from=START + 16 * HOUR)
    early, late = sorted(found(store), key=lambda f: f.start or 0)
    assert (early.severity, early.start, early.count) == ("info", START + 8 * HOUR, 1)
    assert (late.severity, late.start, late.count) == ("warning", START + 24 * HOUR, 1)


def test_rows_outside_the_life_of_the_contract_are_told(store: Store) -> None:
    contract(store, listed=START + 2 * HOUR, delisted=START + 40 * HOUR)
    codes = {(f.key.series, f.code): f for f in found(store)}
    counts = {place: f.count for place, f in codes.items()}
    assert counts == {
        ("trade", "before_listing"): 2,
        ("trade", "after_delisting"): 8,
        ("mark", "before_listing"): 2,
        ("mark", "after_delisting"): 8,
        ("funding", "before_listing"): 1,
        ("funding", "after_delisting"): 1,
    }
    assert all(f.severity == "warning" for f in codes.values())
    late = codes["trade", "after_delisting"]
    assert (late.start, late.end) == (START + 40 * HOUR, START + COUNT * HOUR)


def test_trades_that_lack_a_part_of_the_life_of_the_contract_are_told(store: Store) -> None:
    contract(store, listed=START - 72 * HOUR, delisted=START + (COUNT + 72) * HOUR)
    codes = {f.code: f for f in found(store)}
    assert set(codes) == {"starts_after_listing", "ends_before_delisting"}
    assert codes["starts_after_listing"].severity == "info"
    assert "3 d after the listing" in codes["starts_after_listing"].text
    assert codes["ends_before_delisting"].severity == "warning"
    contract(store, listed=START - 3 * HOUR, delisted=START + (COUNT + 3) * HOUR)
    assert found(store) == []
    contract(store, delisted=4_102_444_800_000)  # 2100: not yet
    assert found(store) == []


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
    findings = check(store, store.keys()).findings
    assert {f.code for f in findings} == {"interval_changes", "mark_price_unknown"}
    changes = {f.key.symbol: f.count for f in findings if f.code == "interval_changes"}
    assert changes == {"ORCA/USDT:USDT": 7, "RIVER/USDT:USDT": 9, "SOL/USDT:USDT": 3}
    crash = store.read(
        DatasetKey("binance", "SOL/USDT:USDT", "funding", "event"), 1_668_060_000_000, 1_668_787_200_000
    )  # 2022-11-10 06:00 to 2022-11-18 16:00
    assert crash["interval_hours"].unique().to_list() == [2.0]
