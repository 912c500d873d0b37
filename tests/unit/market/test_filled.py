"""Rows that were computed in place of missing ones: stored with a flag, replaced by real ones, told by every run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl

from backtester.market.schema import DatasetKey
from backtester.market.store import Store

MARK = DatasetKey("binance", "BTC/USDT:USDT", "mark", "1h")


def marks(hours: list[int], price: float, *, filled: bool | None = None) -> pl.DataFrame:
    times = [1_735_689_600_000 + h * 3_600_000 for h in hours]
    frame = pl.DataFrame({"open_time": times}).with_columns(
        pl.lit(price).alias(c) for c in ("open", "high", "low", "close")
    )
    return frame if filled is None else frame.with_columns(filled=pl.lit(filled))


def test_a_filled_row_stands_in_until_the_real_one_comes(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    store.write(MARK, marks([0, 1], 1.0), source="test")
    report = store.write(MARK, marks([1, 2, 3], 2.0, filled=True), source="computed")
    assert (report.added, report.changed, report.unchanged) == (2, 0, 1)
    assert store.read(MARK)["close"].to_list() == [1.0, 1.0, 2.0, 2.0]
    assert store.read(MARK)["filled"].to_list() == [False, False, True, True]
    assert store.manifest(MARK).filled == 2
    store.write(MARK, marks([2], 3.0, filled=True), source="computed anew")
    assert store.read(MARK)["close"].to_list() == [1.0, 1.0, 3.0, 2.0]
    store.write(MARK, marks([2, 3], 4.0), source="test")
    assert store.read(MARK)["close"].to_list() == [1.0, 1.0, 4.0, 4.0]
    assert store.manifest(MARK).filled == 0


def test_parts_of_before_the_flag_are_read_and_extended(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    store.write(MARK, marks([0, 1], 1.0), source="test")
    folder = store.folder(MARK)
    part = folder / "2025.parquet"
    pl.read_parquet(part).drop("filled").write_parquet(part)
    content = json.loads((folder / "manifest.json").read_text())
    entry = content["parts"]["2025.parquet"]
    del entry["filled"]
    entry |= {"bytes": part.stat().st_size, "sha256": hashlib.sha256(part.read_bytes()).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(content))
    old = Store(store.root)
    assert old.read(MARK)["filled"].to_list() == [False, False]
    assert old.manifest(MARK).filled == 0
    before = part.read_bytes()
    assert old.write(MARK, marks([0, 1], 1.0), source="test").unchanged == 2
    assert part.read_bytes() == before
    old.write(MARK, marks([2], 2.0, filled=True), source="computed")
    assert Store(store.root).read(MARK)["filled"].to_list() == [False, False, True]
