"""A stored run made again: equal, or what differs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

import backtester
from backtester.errors import StoreError, StrategyError, UsageError
from backtester.research.reproduction import frame_difference, reproduce

SPAN = {"symbols": ["BTC/USDT:USDT"], "timeframe": "1h", "start": "2024-11-01", "end": "2024-11-20"}


@pytest.fixture(scope="module")
def done(demo_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    settings = {"report": {"enabled": False}}
    result = backtester.run("trend", data=demo_store, out=out, settings=settings, params={"fast": 10}, **SPAN)
    assert result.run_dir is not None
    return result.run_dir


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / done.name))


def test_an_untouched_run_is_equal(done: Path, demo_store: Path) -> None:
    before = {path.name: path.read_bytes() for path in done.iterdir()}
    found = reproduce(done, demo_store)
    assert found.is_equal
    assert (found.frames, found.metrics, found.notices, found.causes) == ((), {}, {}, ())
    assert {path.name: path.read_bytes() for path in done.iterdir()} == before


def test_the_store_of_the_run_is_the_default(done: Path) -> None:
    assert reproduce(done).is_equal


def test_a_run_in_a_cleared_market_is_cleared_again(demo_store: Path, tmp_path: Path) -> None:
    clearing = {"open_interest": 1e8, "accounts": 200, "rules": {"fund_start": 0.0, "volume_share": 0.0}}
    settings = {"report": {"enabled": False}, "clearing": clearing}
    made = backtester.run("trend", data=demo_store, out=tmp_path, settings=settings, **SPAN)
    assert made.run_dir is not None
    found = reproduce(made.run_dir, demo_store)
    assert found.frames == ()
    assert found.again.manifest["clearing"] == made.manifest["clearing"]


def test_the_copy_of_the_strategy_is_run(copy: Path, demo_store: Path) -> None:
    path = copy / "strategy.py"
    text = path.read_text(encoding="utf-8")
    assert "self.exposure" in text
    path.write_text(text.replace("self.exposure", "0.5 * self.exposure"), encoding="utf-8")
    found = reproduce(copy, demo_store)
    assert not found.is_equal
    assert "strategy.py was changed since the run was made" in found.causes
    assert {"fills", "equity"} <= {one.table for one in found.frames}
    assert "total_return" in found.metrics


def test_a_changed_table_and_metric_are_named(copy: Path, demo_store: Path) -> None:
    fills = pl.read_parquet(copy / "fills.parquet")
    price = fills["price"].to_list()
    price[2] += 0.5
    fills.with_columns(pl.Series("price", price)).write_parquet(copy / "fills.parquet")
    summary = json.loads((copy / "summary.json").read_text())
    stored = summary["sharpe"]
    (copy / "summary.json").write_text(json.dumps({**summary, "sharpe": stored + 1}))
    found = reproduce(copy, demo_store)
    (one,) = found.frames
    assert (one.table, one.row, one.column, one.rows) == ("fills", 2, "price", 1)
    assert one.stored == one.now + 0.5
    assert found.metrics == {"sharpe": (stored + 1, stored)}
    assert found.causes == ()


def test_other_hashes_and_versions_are_told_and_change_nothing(copy: Path, demo_store: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (key,) = [key for key in manifest["hashes"]["data"] if " trade " in key][:1]
    manifest["hashes"]["data"][key] = "0" * 64
    manifest["hashes"]["data"]["synthetic gone"] = "1"
    manifest["versions"]["polars"] = "0.1"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    found = reproduce(copy, demo_store)
    assert found.is_equal
    assert any(cause.startswith(f"data {key}: another hash (000000000000 was stored") for cause in found.causes)
    assert "data synthetic gone: not read any more" in found.causes
    assert any(cause.startswith("version of polars: 0.1 then") for cause in found.causes)


def test_assumptions_are_made_again(demo_store: Path, tmp_path: Path) -> None:
    settings = {"report": {"enabled": False}}
    span = {**SPAN, "end": "2024-11-08"}
    result = backtester.run("trend", data=demo_store, out=tmp_path, settings=settings, assume=True, **span)
    assert result.run_dir is not None
    assert reproduce(result.run_dir, demo_store).is_equal


def test_what_cannot_be_run_is_refused(copy: Path, demo_store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no store"):
        reproduce(copy, tmp_path / "nowhere")
    (copy / "strategy.py").write_text("from beside_it import Missing\n")
    with pytest.raises(StrategyError, match=r"(?s)copy of the strategy cannot be run.*is not in"):
        reproduce(copy, demo_store)
    source = "from backtester.strategy import Strategy\nclass Other(Strategy):\n    def target(self): return None\n"
    (copy / "strategy.py").write_text(source)
    with pytest.raises(StrategyError, match="does not define 'trend'"):
        reproduce(copy, demo_store)
    (copy / "fills.parquet").unlink()
    with pytest.raises(StoreError):
        reproduce(copy, demo_store)


@pytest.mark.parametrize(
    ("stored", "now", "words", "row"),
    [
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, "2 rows were stored, 3 are there now; the first 2 are the same", 2),
        ({"a": [1, 2]}, {"a": [0, 2, 3]}, "2 rows were stored, 3 are there now", 0),
        ({"a": [1, 2]}, {"b": [1, 2]}, "now without a and with b", None),
        ({"a": [1, 2]}, {"a": [1.0, 2.0]}, "other types: a (Float64 was Int64)", None),
        ({"a": [1], "b": [2]}, {"b": [2], "a": [1]}, "columns in another order", None),
        ({"a": [1, 2, 3]}, {"a": [1, None, None]}, "2 of 3 rows differ", 1),
    ],
)
def test_differences_are_told(stored: dict, now: dict, words: str, row: int | None) -> None:
    found = frame_difference("x", pl.DataFrame(stored), pl.DataFrame(now))
    assert found is not None
    assert (found.what, found.row) == (words, row)


def test_nothing_and_nan_are_the_same_as_themselves() -> None:
    frame = pl.DataFrame({"a": [None, float("nan"), 1.0]})
    assert frame_difference("x", frame, frame.clone()) is None
    assert frame_difference("x", pl.DataFrame(), pl.DataFrame()) is None
    assert frame_difference("x", frame.clear(), frame.clear()) is None
