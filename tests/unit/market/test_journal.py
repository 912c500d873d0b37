"""Pages of a download: durable one by one, invisible until merged, never asked for twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtester.errors import StoreError
from backtester.market import journal as module
from backtester.market.completeness import lacking
from backtester.market.schema import TIME, DatasetKey
from backtester.market.store import Store
from backtester.market.windows import missing_runs, subtracted

HOUR = 3_600_000
NEW_YEAR = 1_735_689_600_000  # 2025-01-01
KEY = DatasetKey("binance", "BTC/USDT:USDT", "trade", "1h")
FUNDING = DatasetKey("binance", "BTC/USDT:USDT", "funding", "event")


def bars(hours: range | list[int], price: float = 100.0) -> pl.DataFrame:
    columns = {"open": price, "high": price + 1, "low": price - 1, "close": price, "volume": 1.0}
    times = pl.Series("open_time", [NEW_YEAR + h * HOUR for h in hours], dtype=pl.Int64).cast(TIME)
    return pl.DataFrame({"open_time": times}).with_columns(pl.lit(v).alias(c) for c, v in columns.items())


def at(hour: int) -> int:
    return NEW_YEAR + hour * HOUR


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data", lock_timeout=0.1)


def test_pages_join_the_year_files_at_the_end(store: Store) -> None:
    with store.journal(KEY, "here") as journal:
        journal.append(bars(range(3)), (at(0), at(3)), source="here, page 1")
        assert not store.has(KEY)  # pages are invisible until they are merged
        journal.append(bars(range(2, 6), price=200.0), (at(3), at(6)))
    assert store.read(KEY)["close"].to_list() == [100.0] * 2 + [200.0] * 4
    assert [(a.start, a.end, a.source) for a in store.manifest(KEY).asked] == [(at(0), at(6), "here")]
    assert journal.report is not None
    assert (journal.report.rows, journal.report.added) == (6, 6)
    assert [p.name for p in store.folder(KEY).iterdir() if p.name.endswith(".page")] == []


def test_pages_join_in_batches_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGES_PER_MERGE", 2)
    with store.journal(KEY, "here") as journal:
        for hour in range(5):
            journal.append(bars([hour]), (at(hour), at(hour + 1)))
        assert store.read(KEY).height == 4
    assert store.read(KEY).height == 5
    assert journal.report is not None
    assert (journal.report.added, journal.report.total) == (5, 5)
    (entry,) = store.manifest(KEY).imports  # one download is one import
    assert (entry.rows, entry.first, entry.last) == (5, at(0), at(4))


def test_an_interrupted_download_keeps_its_pages(store: Store) -> None:
    def interrupted() -> None:
        with store.journal(KEY, "here") as journal:
            journal.append(bars(range(3)), (at(0), at(3)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.read(KEY).height == 3


KILLED = """
import os, sys
from pathlib import Path
from backtester.market import journal as module, writer
from backtester.market.store import Store
sys.path.insert(0, {tests!r})
from test_journal import KEY, bars, at
if {step!r} == "before the pages go":
    Path.unlink = lambda *a, **k: os._exit(9)
if {step!r} == "inside a page":
    module.PAGES_PER_MERGE = 99
with Store(Path({root!r})).journal(KEY, "here") as journal:
    journal.append(bars(range(3)), (at(0), at(3)))
    if {step!r} == "inside a page":
        module.publish = lambda *a: os._exit(9)
    journal.append(bars(range(3, 6)), (at(3), at(6)))
    if {step!r} == "before the merge":
        os._exit(9)
"""


@pytest.mark.parametrize(("step", "hours"), [("inside a page", 3), ("before the merge", 6), ("before the pages go", 6)])
def test_a_killed_download_loses_the_page_in_flight_at_most(store: Store, step: str, hours: int) -> None:
    code = KILLED.format(tests=str(Path(__file__).parent), step=step, root=str(store.root))
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 9
    assert lacking(store, KEY, at(0), at(6), "here") == ([(at(hours), at(6))] if hours < 6 else [])
    assert store.read(KEY).height == hours
    assert not [p for p in store.folder(KEY).iterdir() if p.name.endswith(".next") or p.name.endswith(".page")]
    assert store.damaged(KEY) == []


def test_two_downloads_of_one_dataset_are_told(store: Store) -> None:
    with store.journal(KEY, "here") as journal:
        journal.append(bars(range(2)))
        with pytest.raises(StoreError, match="another process is writing"), store.journal(KEY, "there"):
            pass


def test_an_error_of_the_download_is_no_error_of_the_store(store: Store) -> None:
    with pytest.raises(ConnectionResetError), store.journal(KEY, "here"):
        raise ConnectionResetError(104, "Connection reset by peer")


def test_what_is_lacking_are_the_holes_and_both_ends(store: Store) -> None:
    assert lacking(store, KEY, at(0), at(9)) == [(at(0), at(9))]
    store.write(KEY, bars([2, 3, 6]), source="test")
    assert lacking(store, KEY, at(0), at(9)) == [(at(0), at(2)), (at(4), at(6)), (at(7), at(9))]
    assert lacking(store, KEY, at(2), at(4)) == []
    assert lacking(store, KEY, at(0) + 1, at(2) + 1) == [(at(1), at(2))]  # on the grid


def test_what_a_source_does_not_have_is_not_asked_again(store: Store) -> None:
    with store.journal(KEY, "here") as journal:
        journal.append(bars([2, 3, 6]), (at(0), at(7)))
    assert lacking(store, KEY, at(0), at(9), "here") == [(at(7), at(9))]
    assert lacking(store, KEY, at(0), at(9), "there") == [(at(0), at(2)), (at(4), at(6)), (at(7), at(9))]
    with store.journal(KEY, "here") as journal:
        journal.append(bars([]), (at(7), at(8)))  # an empty page says that there is nothing
    assert lacking(store, KEY, at(0), at(9), "here") == [(at(8), at(9))]


def test_lacking_settlements_are_both_ends_and_holes(store: Store) -> None:
    hours = [0, 8, 16, 32, 40]
    frame = pl.DataFrame({"funding_time": [at(h) for h in hours], "funding_rate": [1e-4] * 5})
    store.write(FUNDING, frame, source="test")
    assert lacking(store, FUNDING, at(-8), at(50)) == [
        (at(-8), at(0)),
        (at(16) + 1, at(32)),
        (at(40) + 1, at(50)),
    ]


def test_a_dropped_part_is_lacking_again(store: Store) -> None:
    with store.journal(KEY, "here") as journal:
        journal.append(bars(range(-3, 3)), (at(-3), at(3)))
    (store.folder(KEY) / "2025.parquet").write_bytes(b"broken")
    assert store.drop_damaged(KEY) == ["2025.parquet"]
    assert store.damaged(KEY) == []
    assert lacking(store, KEY, at(-3), at(3), "here") == [(at(0), at(3))]


def test_deleting_leaves_no_empty_folder(store: Store) -> None:
    store.write(KEY, bars(range(3)), source="test")
    other = DatasetKey("binance", "ETH/USDT:USDT", "trade", "1h")
    store.write(other, bars(range(3)), source="test")
    store.delete(KEY)
    assert store.keys() == [other]
    assert not store.folder(KEY).parent.parent.exists()
    store.delete(other)
    assert not store.root.exists()


def test_compacting_rewrites_what_another_program_wrote_and_keeps_the_values(store: Store) -> None:
    store.write(KEY, bars(range(3)), source="test")
    before = store.fingerprint(KEY)
    assert store.compact(KEY) == 0
    path = store.folder(KEY) / "2025.parquet"
    store.read(KEY).write_parquet(path, compression="snappy", row_group_size=1)
    from backtester.market.manifest import read_manifest
    from backtester.market.parts import file_checksum

    manifest = read_manifest(store.folder(KEY), "test")
    assert manifest is not None
    text = (store.folder(KEY) / "manifest.json").read_text()
    part = manifest.parts["2025.parquet"]
    text = text.replace(part.sha256, file_checksum(path)).replace(
        f'"bytes": {part.bytes}', f'"bytes": {path.stat().st_size}'
    )
    (store.folder(KEY) / "manifest.json").write_text(text)
    assert store.compact(KEY) == 1
    assert store.fingerprint(KEY) == before
    assert store.damaged(KEY) == []


def test_runs_and_subtraction() -> None:
    assert missing_runs(np.array([], dtype=np.int64), 10, 0, 30) == [(0, 30)]
    assert missing_runs(np.array([0, 10, 20]), 10, 0, 30) == []
    assert missing_runs(np.array([0]), 10, 5, 10) == []
    assert subtracted([(0, 10), (20, 30)], [(5, 25)]) == [(0, 5), (25, 30)]


def test_a_page_that_cannot_be_read_costs_its_own_rows_alone(store: Store) -> None:
    with store.journal(KEY, "here") as journal:
        journal.append(bars(range(3)), (at(0), at(3)))
    folder = store.folder(KEY)
    with store.journal(KEY, "here") as journal:
        journal.append(bars(range(3, 6)), (at(3), at(6)))
        journal.append(bars(range(6, 9)), (at(6), at(9)))
        pages = sorted(folder.glob(".*.page"))
        pages[0].write_bytes(b"broken")
    assert store.read(KEY).height == 6
    assert lacking(store, KEY, at(0), at(9), "here") == [(at(3), at(6))]
    (folder / ".00000000.page").write_bytes(b"")
    store.recover()
    assert list(folder.glob(".*.page")) == []
    assert store.read(KEY).height == 6


def test_compacting_names_a_damaged_part(store: Store) -> None:
    store.write(KEY, bars(range(3)), source="test")
    (store.folder(KEY) / "2025.parquet").write_bytes(b"")
    with pytest.raises(StoreError, match=r"2025\.parquet has 0 bytes"):
        store.compact(KEY)


def test_a_part_that_may_not_be_read_is_not_dropped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from backtester.market import store as module

    def refused(path: Path, part: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    store.write(KEY, bars(range(3)), source="test")
    monkeypatch.setattr(module, "check_part", refused)
    with pytest.raises(StoreError, match="No permission to read"):
        store.drop_damaged(KEY)
    monkeypatch.undo()
    assert Store(store.root).read(KEY).height == 3
