"""The Parquet store: merging, ranges, whole files whatever happens to a write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.errors import DataError, StoreError
from backtester.market import atomic, parts
from backtester.market.quality import check
from backtester.market.schema import TIME, DatasetKey, instrument_frame, tier_frame
from backtester.market.store import Store

HOUR = 3_600_000
NEW_YEAR = 1_735_689_600_000  # 2025-01-01
KEY = DatasetKey("binance", "BTC/USDT:USDT", "trade", "1h")
FUNDING = DatasetKey("binance", "BTC/USDT:USDT", "funding", "event")
TIERS = DatasetKey("binance", "BTC/USDT:USDT", "tiers", "event")


def bars(first: int, count: int, price: float = 100.0, volume: float | None = 1.0) -> pl.DataFrame:
    times = [first + k * HOUR for k in range(count)]
    columns = {"open": price, "high": price + 1, "low": price - 1, "close": price, "volume": volume}
    return pl.DataFrame({"open_time": times}).with_columns(
        pl.col("open_time").cast(TIME), *(pl.lit(v, dtype=pl.Float64).alias(c) for c, v in columns.items())
    )


def settlements(times: list[int], rates: list[float], marks: list[float | None] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {"funding_time": times, "funding_rate": rates, "mark_price": marks or [None] * len(times)},
        schema={"funding_time": pl.Int64, "funding_rate": pl.Float64, "mark_price": pl.Float64},
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data", lock_timeout=0.1)


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert store.keys() == []
    assert store.venues() == []
    assert store.span(KEY) is None
    assert not store.has(KEY)
    with pytest.raises(DataError, match="binance BTC/USDT:USDT trade 1h: there is no such series"):
        store.scan(KEY)


def test_rows_come_back_sorted_one_file_a_year(store: Store) -> None:
    rows = bars(NEW_YEAR - 3 * HOUR, 6)
    report = store.write(KEY, rows.reverse(), source="test")
    assert (report.added, report.changed, report.unchanged, report.total) == (6, 0, 0, 6)
    assert store.read(KEY).equals(rows)
    folder = store.root / "venue=binance" / "symbol=BTC%2FUSDT%3AUSDT" / "series=trade" / "timeframe=1h"
    assert store.folder(KEY) == folder
    assert sorted(p.name for p in folder.glob("*.parquet")) == ["2024.parquet", "2025.parquet"]
    assert store.span(KEY) == (NEW_YEAR - 3 * HOUR, NEW_YEAR + 2 * HOUR)
    assert store.keys() == [KEY]
    assert store.symbols("binance") == ["BTC/USDT:USDT"]


def test_any_parquet_tool_reads_the_parts(store: Store) -> None:
    store.write(KEY, bars(NEW_YEAR, 4), source="test")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.ParquetFile(store.folder(KEY) / "2025.parquet")
    assert table.metadata.row_group(0).column(1).compression == "ZSTD"
    assert table.read().num_rows == 4


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(None, None, 6), (NEW_YEAR, None, 3), (None, NEW_YEAR, 3), (NEW_YEAR - HOUR, NEW_YEAR + HOUR, 2), (0, 1, 0)],
)
def test_a_range_includes_its_start_and_not_its_end(
    store: Store, start: int | None, end: int | None, expected: int
) -> None:
    store.write(KEY, bars(NEW_YEAR - 3 * HOUR, 6), source="test")
    found = store.read(KEY, start, end)
    assert found.height == expected
    assert found.columns == ["open_time", "open", "high", "low", "close", "volume"]
    assert found.schema["open_time"] == TIME


def test_a_range_touches_only_its_files(store: Store) -> None:
    store.write(KEY, bars(NEW_YEAR - 3 * HOUR, 6), source="test")
    (store.folder(KEY) / "2024.parquet").unlink()
    assert store.read(KEY, NEW_YEAR).height == 3
    with pytest.raises(StoreError, match=r"2024\.parquet is missing"):
        store.read(KEY)


def test_new_rows_win_and_keep_what_they_do_not_know(store: Store) -> None:
    store.write(KEY, bars(NEW_YEAR, 4), source="first")
    report = store.write(KEY, bars(NEW_YEAR + 2 * HOUR, 4, price=200.0, volume=None), source="second")
    assert (report.added, report.changed, report.unchanged, report.total) == (2, 2, 0, 6)
    assert store.read(KEY)["close"].to_list() == [100.0, 100.0, 200.0, 200.0, 200.0, 200.0]
    assert store.read(KEY)["volume"].to_list() == [1.0, 1.0, 1.0, 1.0, None, None]


def test_writing_the_same_again_changes_nothing(store: Store) -> None:
    store.write(KEY, bars(NEW_YEAR, 4), source="first")
    before = (store.folder(KEY) / "manifest.json").read_bytes()
    report = store.write(KEY, bars(NEW_YEAR, 4), source="second")
    assert (report.added, report.changed, report.unchanged) == (0, 0, 4)
    assert (store.folder(KEY) / "manifest.json").read_bytes() == before


def test_replace_forgets_what_was_there(store: Store) -> None:
    store.write(KEY, bars(NEW_YEAR - 3 * HOUR, 6), source="first")
    report = store.write(KEY, bars(NEW_YEAR, 2), source="second", replace=True)
    assert report.total == 2
    assert not (store.folder(KEY) / "2024.parquet").exists()
    assert [i.source for i in store.manifest(KEY).imports] == ["second"]


def test_the_fingerprint_follows_the_values_alone(store: Store, tmp_path: Path) -> None:
    store.write(KEY, bars(NEW_YEAR, 4), source="at once")
    other = Store(tmp_path / "other")
    other.write(KEY, bars(NEW_YEAR, 2), source="one half")
    assert other.fingerprint(KEY) != store.fingerprint(KEY)
    other.write(KEY, bars(NEW_YEAR, 4), source="and the other")
    assert other.fingerprint(KEY) == store.fingerprint(KEY)


def test_the_manifest_says_what_lies_there(store: Store) -> None:
    store.write(KEY, bars(NEW_YEAR, 4), source="a file")
    content = json.loads((store.folder(KEY) / "manifest.json").read_text())
    part = content["parts"]["2025.parquet"]
    assert content["dataset"] == "binance BTC/USDT:USDT trade 1h"
    assert (content["rows"], part["rows"], part["first"]) == (4, 4, NEW_YEAR)
    assert content["imports"][0]["source"] == "a file"
    assert len(part["sha256"]) == 64


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_part_is_named_with_the_way_on(store: Store, damage: str) -> None:
    store.write(KEY, bars(NEW_YEAR, 400), source="test")
    part = store.folder(KEY) / "2025.parquet"
    content = bytearray(part.read_bytes())
    if damage == "truncate":
        part.write_bytes(content[:-10])
    elif damage == "flip":
        content[len(content) // 2] ^= 0xFF
        part.write_bytes(content)
    else:
        part.unlink()
    with pytest.raises(StoreError, match=r"2025\.parquet") as caught:
        store.scan(KEY)
    assert "data delete --damaged" in caught.value.hint
    assert len(store.damaged(KEY)) == 1
    with pytest.raises(StoreError):
        store.write(KEY, bars(NEW_YEAR + 400 * HOUR, 1), source="more")
    store.write(KEY, bars(NEW_YEAR, 400), source="again", replace=True)
    assert store.damaged(KEY) == []


def test_parts_without_a_manifest_are_not_overlooked(store: Store) -> None:
    store.write(KEY, bars(NEW_YEAR, 5), source="test")
    (store.folder(KEY) / "manifest.json").unlink()
    assert store.keys() == [KEY]
    for look in (store.read, store.span, lambda key: store.write(key, bars(NEW_YEAR, 5), source="test")):
        with pytest.raises(StoreError, match="files without a manifest"):
            look(KEY)
    assert "without a manifest" in store.damaged(KEY)[0]
    assert [f.code for f in check(store, [KEY]).findings] == ["damaged"]
    store.write(KEY, bars(NEW_YEAR, 5), source="test", replace=True)
    assert store.read(KEY).height == 5


def test_a_damaged_manifest_is_named(store: Store) -> None:
    store.write(KEY, bars(NEW_YEAR, 4), source="test")
    path = store.folder(KEY) / "manifest.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(StoreError, match=r"manifest.*damaged"):
        store.read(KEY)
    assert store.damaged(KEY) != []
    store.write(KEY, bars(NEW_YEAR, 4), source="again", replace=True)
    assert store.read(KEY).height == 4


KILLED = """
import os, sys
from pathlib import Path
from backtester.market import parts, writer as module
from backtester.market.store import Store
sys.path.insert(0, {tests!r})
from test_store import KEY, NEW_YEAR, HOUR, bars
step, count = {step!r}, 0
def kill_at(name, original):
    def wrapped(*args, **kwargs):
        if name == step:
            os._exit(9)
        return original(*args, **kwargs)
    return wrapped
module.publish = kill_at("before manifest", module.publish)
module.sync_folder = kill_at("after manifest", module.sync_folder)
parts.publish = kill_at("before rename", parts.publish)
Store(Path({root!r})).write(KEY, bars(NEW_YEAR - 3 * HOUR, 6, price=200.0), source="killed")
"""


@pytest.mark.parametrize(
    ("step", "price"), [("before manifest", 100.0), ("after manifest", 200.0), ("before rename", 200.0)]
)
def test_a_killed_write_leaves_the_dataset_whole(store: Store, step: str, price: float) -> None:
    store.write(KEY, bars(NEW_YEAR - 3 * HOUR, 6), source="first")
    code = KILLED.format(tests=str(Path(__file__).parent), step=step, root=str(store.root))
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 9
    again = Store(store.root)
    assert again.read(KEY)["close"].unique().to_list() == [price]
    assert again.damaged(KEY) == []
    again.write(KEY, bars(NEW_YEAR, 1, price=300.0), source="next")
    assert [p.name for p in again.folder(KEY).iterdir() if p.name.endswith(".next")] == []
    assert again.read(KEY)["close"].to_list() == [price] * 3 + [300.0] + [price] * 2


def test_a_full_disk_leaves_the_old_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(KEY, bars(NEW_YEAR - 3 * HOUR, 6), source="first")
    original, written = atomic.write_durably, []

    def full(path: Path, content: bytes) -> None:
        if written:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        original(path, content)

    monkeypatch.setattr(parts, "write_durably", full)
    with pytest.raises(StoreError, match="The disk is full") as caught:
        store.write(KEY, bars(NEW_YEAR - 3 * HOUR, 6, price=200.0), source="second")
    assert "nothing was left half-written" in caught.value.hint
    assert store.read(KEY)["close"].unique().to_list() == [100.0]
    assert list(store.folder(KEY).glob(".*.next")) == []


@pytest.mark.skipif(not Path("/dev/full").exists() or os.name != "posix", reason="needs /dev/full")
def test_the_system_s_own_refusal_is_explained() -> None:
    path = Path("/dev/full")
    with (
        pytest.raises(StoreError, match="The disk is full: cannot write /dev/full"),
        atomic.explained(path, "write"),
        path.open("wb", buffering=0) as file,
    ):
        file.write(b"x")


def test_missing_rights_are_explained() -> None:
    with (
        pytest.raises(StoreError, match="No permission to write /store"),
        atomic.explained(Path("/store"), "write"),
    ):
        raise PermissionError(13, "Permission denied", "/store")


def test_a_file_in_place_of_the_store_is_explained(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StoreError, match="a file is in the place of a folder"):
        Store(tmp_path / "data").write(KEY, bars(NEW_YEAR, 1), source="test")
    assert Store(tmp_path / "data").keys() == []


def test_a_second_writer_is_told_of_the_lock(store: Store) -> None:
    store.write(KEY, bars(NEW_YEAR, 1), source="test")
    with (
        atomic.writer_lock(store.folder(KEY), "a test", 0.0),
        pytest.raises(StoreError, match=r"another process is writing this dataset \(lock file .*\.lock\)"),
    ):
        store.write(KEY, bars(NEW_YEAR, 2), source="test")
    assert store.write(KEY, bars(NEW_YEAR, 2), source="test").total == 2


def test_repeated_and_unknown_values_are_refused(store: Store) -> None:
    twice = pl.concat([bars(NEW_YEAR, 2), bars(NEW_YEAR + HOUR, 1)])
    with pytest.raises(DataError, match="the same time stands in two rows, first at 2025-01-01 01:00"):
        store.write(KEY, twice, source="test")
    holed = bars(NEW_YEAR, 3).with_columns(close=pl.Series([1.0, float("nan"), None]))
    with pytest.raises(DataError, match="close is empty or NaN in 2 rows, first at 2025-01-01 01:00"):
        store.write(KEY, holed, source="test")
    with pytest.raises(DataError, match="the column close is missing"):
        store.write(KEY, bars(NEW_YEAR, 1).drop("close"), source="test")
    with pytest.raises(DataError, match="no rows"):
        store.write(KEY, bars(NEW_YEAR, 1).clear(), source="test")
    assert not store.has(KEY)


def test_funding_measures_its_interval_again_after_a_merge(store: Store) -> None:
    first = [NEW_YEAR + k * 8 * HOUR for k in range(-3, 3)]
    store.write(FUNDING, settlements(first, [1e-4] * 6), source="test")
    assert store.read(FUNDING)["interval_hours"].to_list() == [8.0] * 6
    between = [NEW_YEAR + k * 8 * HOUR + 4 * HOUR for k in range(-3, 2)]
    report = store.write(FUNDING, settlements(between, [1e-4] * 5), source="test")
    assert (report.added, report.changed) == (5, 0)
    assert store.read(FUNDING)["interval_hours"].to_list() == [4.0] * 11


def test_a_known_mark_price_survives_an_import_without(store: Store) -> None:
    store.write(FUNDING, settlements([NEW_YEAR], [1e-4], [99.0]), source="with")
    store.write(FUNDING, settlements([NEW_YEAR, NEW_YEAR + 8 * HOUR], [2e-4, 3e-4]), source="without")
    assert store.read(FUNDING)["mark_price"].to_list() == [99.0, None]
    assert store.read(FUNDING)["funding_rate"].to_list() == [2e-4, 3e-4]


def table(rate: float, valid_from: int | None) -> TierTable:
    tiers = (
        MarginTier(notional_cap=50_000, maintenance_margin_rate=rate, max_leverage=125, maintenance_amount=0.0),
        MarginTier(notional_floor=50_000, maintenance_margin_rate=2 * rate, max_leverage=50),
    )
    return TierTable(symbol="BTC/USDT:USDT", tiers=tiers, valid_from=valid_from)


def test_tier_tables_are_merged_by_date(store: Store) -> None:
    assert store.tier_tables("binance", "BTC/USDT:USDT") == []
    store.write(TIERS, tier_frame([table(0.004, NEW_YEAR), table(0.005, None)]), source="two")
    store.write(TIERS, tier_frame([table(0.006, NEW_YEAR)]), source="correction")
    always, dated = store.tier_tables("binance", "BTC/USDT:USDT")
    assert always == table(0.005, None).model_copy(update={"source": "two"})
    assert dated == table(0.006, NEW_YEAR).model_copy(update={"source": "correction"})
    assert store.symbols("binance") == []
    assert store.symbols("binance", series=None) == ["BTC/USDT:USDT"]


def test_an_instrument_comes_back_and_is_replaced(store: Store) -> None:
    key = DatasetKey("binance", "BTC/USDT:USDT", "instrument", "event")
    assert store.instrument("binance", "BTC/USDT:USDT") is None
    for lot in (0.1, 0.001):
        contract = Instrument(symbol="BTC/USDT:USDT", tick=0.1, lot=lot, min_notional=5.0)
        store.write(key, instrument_frame(contract), source="test")
        assert store.instrument("binance", "BTC/USDT:USDT") == contract


def test_a_stored_contract_out_of_bounds_is_named(store: Store) -> None:
    key = DatasetKey("binance", "BTC/USDT:USDT", "instrument", "event")
    frame = instrument_frame(Instrument(symbol=key.symbol)).with_columns(pl.lit(5.0).alias("taker_fee"))
    store.write(key, frame, source="test")
    with pytest.raises(DataError, match=r"taker_fee 5\.0 is out of bounds"):
        store.instrument(key.venue, key.symbol)


def test_keys_narrow_by_each_part(store: Store) -> None:
    for symbol in ("ETH/USDT:USDT", "BTC/USDT:USDT", "币安人生/USDT:USDT"):
        store.write(DatasetKey("binance", symbol, "trade", "1h"), bars(NEW_YEAR, 1), source="test")
    store.write(FUNDING, settlements([NEW_YEAR], [1e-4]), source="test")
    assert [k.symbol for k in store.keys(series="trade")] == ["BTC/USDT:USDT", "ETH/USDT:USDT", "币安人生/USDT:USDT"]
    assert store.keys(symbol="BTC/USDT:USDT", series="funding") == [FUNDING]
    assert store.keys(venue="okx") == []
    assert store.venues() == ["binance"]


def test_files_of_another_program_are_left_alone(store: Store) -> None:
    store.write(KEY, bars(NEW_YEAR, 3), source="test")
    folder = store.folder(KEY)
    for path in (folder / "backup.parquet", folder / "notes.txt", store.root / "README"):
        path.write_bytes(b"theirs")
    for name in ("series=trade/timeframe=hourly", "series=mine/timeframe=1h"):
        other = folder.parent.parent / name
        other.mkdir(parents=True)
        (other / "2025.parquet").write_bytes(b"theirs")
    assert store.keys() == [KEY]
    store.write(KEY, bars(NEW_YEAR + 3 * HOUR, 1), source="more")
    assert store.read(KEY).height == 4
    assert [p.name for p in store.strangers(KEY)] == ["backup.parquet", "notes.txt"]
    assert store.damaged(KEY) == []
    store.delete(KEY)
    assert store.keys() == []
    assert sorted(p.name for p in folder.iterdir()) == ["backup.parquet", "notes.txt"]
