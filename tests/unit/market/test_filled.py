"""Rows that were computed in place of missing ones: stored with a flag, replaced by real ones, told by every run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl
import pytest

import backtester
from backtester.engine.notices import data_notices
from backtester.market.filled import filled_notes
from backtester.market.panel import load_panel
from backtester.market.schema import DatasetKey
from backtester.market.series import bar_source
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


BTC, HOUR, START = "BTC/USDT:USDT", 3_600_000, 1_735_689_600_000  # 2025-01-01


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A day of trades and marks, of which three marks are filled."""
    store = Store(tmp_path / "data")
    day = marks(list(range(24)), 100.0)
    store.write(DatasetKey("binance", BTC, "trade", "1h"), day.with_columns(volume=1.0), source="test")
    store.write(MARK, marks([h for h in range(24) if h not in (5, 6, 20)], 100.0), source="test")
    store.write(MARK, marks([5, 6, 20], 100.0, filled=True), source="computed")
    return store


def test_a_panel_with_filled_rows_says_so(store: Store) -> None:
    def told(start: int, end: int) -> list[str]:
        panel = load_panel(store, "binance", [BTC], "1h", START + start * HOUR, START + end * HOUR, funding=False)
        return [note for note in panel.notes if "computed" in note]

    (note,) = told(0, 24)
    assert note == (
        "BTC/USDT:USDT: 3 1h bars are computed from index and premium, not published by the venue, first at "
        "2025-01-01 05:00 UTC (the mark series has no row there)."
    )
    (note,) = told(6, 20)
    assert "1 1h bar is computed" in note
    assert "first at 2025-01-01 06:00 UTC" in note
    assert told(7, 20) == []


def test_filled_rows_are_a_warning_of_the_run(store: Store) -> None:
    source = bar_source(store, "binance", BTC, "mark", HOUR)
    assert source is not None
    notes = filled_notes(store, [source], START, START + 24 * HOUR)
    span = (START, START + 24 * HOUR)
    (notice,) = data_notices(notes, span, [span])
    assert (notice.code, notice.severity, notice.text) == ("filled", "warning", notes[0])


def test_a_run_on_filled_marks_warns(store: Store) -> None:
    settings = {
        "funding": {"source": "none"},
        "tiers": {"*": [{"maintenance_margin_rate": 0.004, "max_leverage": 100}]},
    }
    result = backtester.run(
        "buy_and_hold", data=store.root, venue="binance", symbols=[BTC], timeframe="1h", settings=settings, out=None
    )
    warnings = [n.text for n in result.notices if n.severity == "warning"]
    assert any("3 1h bars are computed from index and premium" in text for text in warnings)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_flag_survives_an_import_of_a_stored_part(store: Store, tmp_path: Path, kind: str) -> None:
    from backtester.market.sources.table import read_table

    path = tmp_path / f"marks.{kind}"
    rows = store.read(MARK)
    if kind == "csv":
        rows.write_csv(path)
    else:
        rows.write_parquet(path)
    intake = read_table(path, "binance", MARK.symbol, kind=kind, series="mark", timeframe="1h")
    other = Store(tmp_path / "other")
    other.write(intake.key, intake.frame, source=intake.source)
    assert other.read(MARK).equals(rows)
    assert other.manifest(MARK).filled == 3
