"""Repairs: windows fetched again, missing marks computed and flagged, everything told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtester.errors import DataError
from backtester.market.quality import check
from backtester.market.quality.repair import Repair, fill_marks, repair
from backtester.market.schema import EVENT_SERIES, TIME, DatasetKey
from backtester.market.store import Store

HOUR = 3_600_000
START = 1_735_689_600_000  # 2025-01-01
BTC = "BTC/USDT:USDT"
COUNT = 24


def key(series: str) -> DatasetKey:
    return DatasetKey("binance", BTC, series, "event" if series in EVENT_SERIES else "1h")


def bars(level: float, swing: float) -> pl.DataFrame:
    wave = level + swing * np.sin(np.arange(COUNT + 1))
    frame = {
        "open_time": START + HOUR * np.arange(COUNT),
        "open": wave[:-1],
        "high": np.maximum(wave[:-1], wave[1:]),
        "low": np.minimum(wave[:-1], wave[1:]),
        "close": wave[1:],
    }
    return pl.DataFrame(frame).with_columns(pl.col("open_time").cast(TIME))


def funding(hours: list[int]) -> pl.DataFrame:
    return pl.DataFrame({"funding_time": [START + h * HOUR for h in hours], "funding_rate": 1e-4})


INDEX = bars(100.0, 1.0)
PREMIUM = bars(0.0, 0.01).with_columns(pl.col("high") + 0.001)  # extremes of their own
HOLE = [5, 6, 7, 15]


def drop(frame: pl.DataFrame, hours: list[int]) -> pl.DataFrame:
    return frame.filter(~pl.int_range(pl.len()).is_in(hours))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Trades that are whole; marks with two holes; index and premium; a settlement that is missing."""
    store = Store(tmp_path / "data")
    store.write(key("trade"), INDEX.with_columns(volume=1.0), source="test")
    store.write(key("mark"), drop(INDEX, HOLE), source="test")
    store.write(key("index"), INDEX, source="test")
    store.write(key("premium"), PREMIUM, source="test")
    store.write(key("funding"), funding([0, 8, 24, 32]), source="test")
    return store


def codes(store: Store) -> set[str]:
    return {f.code for f in check(store, store.keys()).findings}


def by_series(repairs: list[Repair], outcome: str) -> dict[str, Repair]:
    return {r.key.series: r for r in repairs if r.outcome == outcome}


def test_missing_marks_are_computed_from_index_and_premium(store: Store) -> None:
    before = store.read(key("mark"))
    repairs = repair(store, check(store, store.keys()).findings, None)
    filled = by_series(repairs, "filled")["mark"]
    assert (filled.rows, filled.windows) == (
        4,
        ((START + 5 * HOUR, START + 8 * HOUR), (START + 15 * HOUR, START + 16 * HOUR)),
    )
    assert "4 bars computed from index x (1 + premium)" in filled.text
    after = store.read(key("mark"))
    assert after.filter(~pl.col("filled")).equals(before)
    new = after.filter("filled")
    assert new["open_time"].to_list() == INDEX["open_time"].gather(HOLE).to_list()
    for row, k in zip(new.iter_rows(named=True), HOLE, strict=True):
        product = {p: INDEX[p][k] * (1 + PREMIUM[p][k]) for p in ("open", "high", "low", "close")}
        assert row["open"] == pytest.approx(product["open"], rel=1e-15)
        assert row["close"] == pytest.approx(product["close"], rel=1e-15)
        assert row["high"] == pytest.approx(max(product.values()), rel=1e-15)
        assert row["low"] == pytest.approx(min(product.values()), rel=1e-15)
    left = check(store, store.keys()).findings
    assert {"gap", "duplicate", "impossible_bar"}.isdisjoint(f.code for f in left)
    (told,) = [f for f in left if f.code == "filled"]
    assert (told.severity, told.count, told.start) == ("info", 4, START + 5 * HOUR)


def test_extremes_are_widened_to_hold_open_and_close(store: Store) -> None:
    # the products of the lows and of the highs lie inside those of open and close
    turn = {"open": 0.02, "high": 0.02, "low": -0.02, "close": -0.02}
    premium = PREMIUM.with_columns(pl.lit(v).alias(c) for c, v in turn.items())
    index = INDEX.with_columns(open=100.0, high=101.0, low=100.0, close=101.0)
    store.write(key("premium"), premium, source="test")
    store.write(key("index"), index, source="test")
    fill_marks(store, key("mark"), [(START + 5 * HOUR, START + 6 * HOUR)])
    row = store.read(key("mark")).filter("filled").row(0, named=True)
    assert row["open"] == pytest.approx(102.0)
    assert row["close"] == pytest.approx(101 * 0.98)
    assert row["low"] == pytest.approx(98.0)
    assert row["high"] == pytest.approx(101 * 1.02)


def test_what_no_series_can_tell_is_left_with_its_reason(store: Store) -> None:
    store.write(key("premium"), drop(PREMIUM, [6, 15]), source="test", replace=True)
    repairs = repair(store, check(store, store.keys(series="mark")).findings, None)
    filled, left = by_series(repairs, "filled")["mark"], by_series(repairs, "left")["mark"]
    assert filled.rows == 2
    assert filled.text.endswith("for 2 more index or premium is missing")
    assert left.windows == ((START + 6 * HOUR, START + 7 * HOUR), (START + 15 * HOUR, START + 16 * HOUR))
    again = fill_marks(store, key("mark"), left.windows)
    assert again is not None
    assert (again.outcome, again.rows) == ("left", 2)
    assert "index and premium lack these times too" in again.text


def test_without_an_index_the_reason_and_the_command_are_told(store: Store, tmp_path: Path) -> None:
    alone = Store(tmp_path / "alone")
    for series in ("trade", "mark", "funding"):
        alone.write(key(series), store.read(key(series)), source="test")
    repairs = repair(alone, check(alone, alone.keys()).findings, None)
    texts = [r.text for r in repairs if r.key.series == "mark"]
    assert texts[0].startswith("4 bars cannot be computed: binance BTC/USDT:USDT index 1h and binance")
    hints = by_series(repairs, "left")
    assert hints["mark"].hint == (
        "backtester data fetch --venue binance --symbols BTC/USDT:USDT --series mark --timeframes 1h "
        f"--start 2025-01-01T05:00 --end 2025-01-01T08:00 --store {alone.root}; "
        "backtester data fetch --venue binance --symbols BTC/USDT:USDT --series mark --timeframes 1h "
        f"--start 2025-01-01T15:00 --end 2025-01-01T16:00 --store {alone.root}"
    )
    assert hints["funding"].hint == (
        "backtester data fetch --venue binance --symbols BTC/USDT:USDT --series funding "
        f"--start 2025-01-01T08:00 --end 2025-01-02T01:00 --store {alone.root}"
    )
    assert not [r for r in repairs if r.outcome != "left"]


def test_windows_are_fetched_and_only_the_rest_is_computed(store: Store) -> None:
    asked: dict[str, list[tuple[int, int]]] = {}

    def refetch(wanted: DatasetKey, windows: list[tuple[int, int]]) -> int:
        asked[wanted.series] = windows
        if wanted.series == "funding":
            return store.write(wanted, funding([8, 16, 24]), source="exchange").added
        return store.write(wanted, INDEX.filter(pl.int_range(pl.len()).is_in([5, 6])), source="exchange").added

    repairs = repair(store, check(store, store.keys()).findings, refetch)
    assert asked == {
        "funding": [(START + 8 * HOUR, START + 24 * HOUR)],
        "mark": [(START + 5 * HOUR, START + 8 * HOUR), (START + 15 * HOUR, START + 16 * HOUR)],
    }
    fetched = by_series(repairs, "fetched")
    assert (fetched["funding"].rows, fetched["mark"].rows) == (1, 2)
    assert by_series(repairs, "filled")["mark"].rows == 2
    mark = store.read(key("mark"))
    assert mark.filter("filled")["open_time"].to_list() == INDEX["open_time"].gather([7, 15]).to_list()
    assert not {"gap", "missing_settlement"} & codes(store)


def test_a_fetch_that_fails_or_brings_nothing_is_told_and_the_marks_are_computed(store: Store) -> None:
    def refetch(wanted: DatasetKey, windows: list[tuple[int, int]]) -> int:
        if wanted.series == "funding":
            raise DataError(str(wanted), "the exchange does not answer", hint="Try again later.")
        return 0

    repairs = repair(store, check(store, store.keys()).findings, refetch)
    left = by_series(repairs, "left")
    assert "the exchange does not answer" in left["funding"].text
    assert left["funding"].hint == "Try again later."
    assert left["mark"].text.startswith("the venue has nothing for 2 windows")
    assert by_series(repairs, "filled")["mark"].rows == 4


def test_index_and_premium_are_fetched_before_marks_are_computed(store: Store) -> None:
    store.write(key("premium"), drop(PREMIUM, [6]), source="test", replace=True)

    def refetch(wanted: DatasetKey, windows: list[tuple[int, int]]) -> int:
        return store.write(wanted, PREMIUM, source="exchange").added if wanted.series == "premium" else 0

    repairs = repair(store, check(store, store.keys()).findings, refetch)
    assert by_series(repairs, "filled")["mark"].rows == 4


def test_marks_that_begin_late_or_end_early_are_computed_too(store: Store) -> None:
    store.write(key("mark"), INDEX.slice(3, COUNT - 5), source="test", replace=True)
    repair(store, check(store, store.keys()).findings, None)
    assert store.read(key("mark"))["filled"].to_list() == [True] * 3 + [False] * (COUNT - 5) + [True] * 2
    assert not {"starts_late", "ends_early"} & {f.code for f in check(store, store.keys(series="mark")).findings}


def test_nothing_to_repair_changes_nothing(store: Store) -> None:
    store.write(key("mark"), INDEX, source="test")
    store.write(key("funding"), funding([16]), source="test")
    stored = store.keys()
    before = {k: store.fingerprint(k) for k in stored}
    assert repair(store, check(store, store.keys()).findings, None) == []
    assert {k: store.fingerprint(k) for k in stored} == before
