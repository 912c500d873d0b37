"""Whole runs on the synthetic market: what they record, refuse, and write."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import backtester
from backtester import MarginTier, Param, Strategy
from backtester.engine import folder as run_folder
from backtester.engine.folder import load_result, run_folders, staged_folder
from backtester.engine.result import FRAMES, Notice
from backtester.engine.run import with_timeframe
from backtester.engine.run_file import build_config
from backtester.errors import DataError, InternalError, StoreError, StrategyError, UnknownNameError, UsageError
from backtester.market.schema import TIME
from backtester.market.store import DatasetKey, Store

BTC = "BTC/USDT:USDT"
ETH = "ETH/USDT:USDT"
SPAN = {"start": "2024-03-01", "end": "2024-04-01", "timeframe": "1h"}
TIERS = (MarginTier(maintenance_margin_rate=0.005, max_leverage=50),)


class Flip(Strategy):
    """Long for a day, short for a day."""

    exposure: float = Param(1.0, gt=0)

    def target(self) -> pl.Expr:
        return pl.when(pl.col("open_time").dt.day() % 2 == 0).then(self.exposure).otherwise(-self.exposure)


@pytest.fixture(scope="module")
def done(demo_store: Path, tmp_path_factory: pytest.TempPathFactory) -> backtester.Result:
    out = tmp_path_factory.mktemp("reports")
    return backtester.run(Flip(), data=demo_store, symbols=[BTC, ETH], out=out, leverage=3, **SPAN)


def test_records_and_summary_agree(done: backtester.Result) -> None:
    assert done.symbols == (BTC, ETH)
    assert done.timeframe_ms == 3_600_000
    assert done.equity.height == 31 * 24
    assert done.settle == "USDT"
    assert done.summary["final_equity"] == done.equity["equity"][-1]
    assert done.summary["funding"] == pytest.approx(done.funding["funding_payment"].sum())
    assert done.funding.height == 2 * 31 * 3 - 2  # nothing is held at the first settlement
    assert set(done.fills["reason"].unique()) == {"target"}
    assert done.ledger["asset"].unique().to_list() == ["USDT"]
    assert done.orders["status"].is_in(["filled", "clipped", "pending"]).all()
    parts = ("price", "slippage", "fees", "funding", "liquidation")
    assert sum(float(done.summary[part]) for part in parts) == pytest.approx(float(done.summary["net_profit"]))


def test_synthetic_data_is_said_first(done: backtester.Result) -> None:
    assert done.synthetic
    assert done.notices[0].code == "synthetic"
    assert [n.severity for n in done.notices] == sorted((n.severity for n in done.notices), reverse=True)


def test_the_manifest_says_what_the_run_was_made_of(done: backtester.Result) -> None:
    hashes = done.manifest["hashes"]
    assert isinstance(hashes, dict)
    assert hashes["strategy"] == hashlib.sha256(done.strategy_source.encode()).hexdigest()
    assert f"synthetic {BTC} trade 1h" in hashes["data"]
    assert max(done.manifest["identities"].values()) < 1e-9
    assert done.manifest["versions"]["backtester"] == backtester.__version__
    assert set(done.manifest["seconds"]) == {"load", "decide", "replay", "check", "records"}


def test_every_file_is_written_and_read_back(done: backtester.Result) -> None:
    folder = done.run_dir
    assert folder is not None
    assert {f.name for f in folder.iterdir()} == {
        "report.html",
        "summary.json",
        "config.toml",
        "manifest.json",
        "strategy.py",
        "bars.parquet",
        *(f"{name}.parquet" for name in FRAMES),
    }
    again = load_result(folder)
    for name in (*FRAMES, "bars"):
        assert getattr(again, name).equals(getattr(done, name)), name
    assert again.config == done.config
    assert again.notices == done.notices
    assert again.counts == done.counts
    assert again.summary == done.summary
    assert again.run_id == done.run_id == folder.name
    assert "class Flip" in again.strategy_source
    assert run_folders(folder.parent) == [folder]
    json.loads((folder / "summary.json").read_text(), parse_constant=pytest.fail)


def test_columns_of_the_files(done: backtester.Result) -> None:
    named = {
        "equity": "open_time close_time equity wallet_balance margin_balance maintenance_margin margin_ratio "
        "gross_exposure net_exposure drawdown",
        "fills": "time order_id symbol position_side side quantity price notional fee_paid realized_pnl slippage_paid "
        "liquidity reason",
        "funding": "time symbol position_side funding_rate mark_price position_quantity funding_payment",
        "liquidations": "time symbol position_side quantity trigger_price bankruptcy_price execution_price margin_lost "
        "liquidation_fee insurance_flow kind disputed",
        "ledger": "time symbol asset kind amount wallet_balance",
        "positions": "time symbol position_side position_quantity entry_price margin liquidation_price",
        "trades": "symbol position_side entry_time exit_time entry_price exit_price quantity pnl fees funding mae mfe "
        "exit_reason",
        "orders": "order_id symbol decision_time due_time end_time target wanted_quantity filled_quantity status "
        "reason bars_waited",
        "targets": "open_time symbol target",
    }
    for frame, columns in named.items():
        assert set(columns.split()) <= set(getattr(done, frame).columns), frame


def test_same_input_same_bytes(done: backtester.Result, demo_store: Path, tmp_path: Path) -> None:
    again = backtester.run(Flip(), data=demo_store, symbols=[BTC, ETH], out=tmp_path, leverage=3, **SPAN)
    assert done.run_dir is not None
    assert again.run_dir is not None
    for file in sorted(done.run_dir.iterdir()):
        if file.name not in {"manifest.json", "report.html"}:
            assert (again.run_dir / file.name).read_bytes() == file.read_bytes(), file.name
    assert again.run_id.rpartition("-")[2] == done.run_id.rpartition("-")[2]
    stamps = [
        text.replace(str(r.run_dir.parent), "").replace(r.run_id, "")
        for r in (done, again)
        for text in [(r.run_dir / "report.html").read_text()]
    ]
    first, second = (text.splitlines() for text in stamps)
    assert len(first) == len(second)


def test_the_resolved_file_repeats_the_run(done: backtester.Result, demo_store: Path, tmp_path: Path) -> None:
    assert done.run_dir is not None
    (tmp_path / "strategies").mkdir()
    text = done.strategy_source.replace("from backtester import MarginTier", "from backtester import MarginTier")
    (tmp_path / "strategies" / "flip.py").write_text(text, encoding="utf-8")
    again = backtester.run(
        done.run_dir / "config.toml", data=demo_store, out=None, strategies=[tmp_path / "strategies"]
    )
    assert again.equity.equals(done.equity)
    assert again.run_dir is None


def test_a_notebook_shows_it(done: backtester.Result) -> None:
    page = done._repr_html_()
    assert "Sharpe ratio" in page
    assert "synthetic" in page
    assert "total return" in repr(done)
    wild = dataclasses.replace(done, strategy_name="<script>", notices=(Notice("x", "warning", "<b>"),))
    assert "<script>" not in wild._repr_html_()
    assert "&lt;b&gt;" in wild._repr_html_()


def test_symbols_and_timeframe_are_chosen_and_said(demo_store: Path) -> None:
    result = backtester.run("buy_and_hold", data=demo_store, out=None, start="2024-12-01")
    assert result.config.data.timeframe == "1h"
    assert len(result.symbols) == 3
    told = {n.code: n.text for n in result.notices}
    assert {"symbols_chosen", "timeframe_chosen"} <= set(told)
    assert told["venue_chosen"] == "No venue was named: synthetic, the only one stored."


def test_the_only_venue_is_chosen_and_others_are_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    bars = frame().with_columns(pl.col("open_time").cast(pl.Datetime("ms")).dt.replace_time_zone("UTC"))
    store.write(DatasetKey("binance", BTC, "trade", "1h"), bars, source="test")
    config, told = with_timeframe(backtester.RunConfig(), store)
    assert config.data.venue == "binance"
    assert told[0].text == "No venue was named: binance, the only one stored."
    with pytest.raises(DataError, match="The store holds: binance; use --venue binance"):
        with_timeframe(build_config({"data": {"venue": "synthetic"}}), store)
    store.write(DatasetKey("okx", BTC, "trade", "1h"), bars, source="test")
    with pytest.raises(UsageError, match="The store holds: binance, okx"):
        with_timeframe(backtester.RunConfig(), store)
    store.write(DatasetKey("synthetic", BTC, "trade", "1h"), bars, source="test")
    assert "the store also holds binance, okx" in with_timeframe(backtester.RunConfig(), store)[1][0].text


def test_signals_from_a_file(done: backtester.Result, demo_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "my signals: 1.parquet"
    done.targets.write_parquet(path)
    settings = {"strategy": {"signals": str(path)}}
    config = {"data": demo_store, "out": None, "symbols": [BTC, ETH], "leverage": 3, **SPAN}
    result = backtester.run(backtester.RunConfig(), settings=settings, **config)
    assert result.equity.equals(done.equity)
    assert result.strategy_name == "my signals: 1"
    assert "-my-signals-1-" in result.run_id
    assert "my signals: 1.parquet" in result.strategy_source


def test_files_are_hashed_by_content_and_named_from_anywhere(
    demo_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        Path("s.csv").write_text("open_time,target\n2024-03-02,1\n")
        settings = {"strategy": {"signals": "s.csv"}, "report": {"enabled": False}}
        run = backtester.run(
            backtester.RunConfig(), settings=settings, data=demo_store, out="reports", symbols=[BTC], **SPAN
        )
        runs.append(run)
        assert run.config.strategy.signals == str(tmp_path / name / "s.csv")
        assert (
            run.manifest["command"] == f"backtester run --config reports/{run.run_id}/config.toml --store {demo_store}"
        )
        monkeypatch.chdir(tmp_path)
        again = backtester.run(tmp_path / name / "reports" / run.run_id / "config.toml", data=demo_store, out=None)
        assert again.manifest["hashes"] == run.manifest["hashes"]
    assert runs[0].manifest["hashes"] == runs[1].manifest["hashes"]


def test_the_identity_holds_what_the_run_reads_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    bars = frame().with_columns(pl.col("open_time").dt.replace_time_zone("UTC").cast(TIME))
    store.write(DatasetKey("generic", BTC, "trade", "1h"), bars, source="test")
    options = {"venue": "generic", "tiers": TIERS, "out": None, "timeframe": "1h"}
    settings = {"data": {"mark": "trade"}, "funding": {"source": "none"}}
    first = backtester.run(Flip(), data=store, settings=settings, **options)
    store.write(DatasetKey("generic", BTC, "trade", "5m"), bars, source="test")
    second = backtester.run(Flip(), data=store, settings=settings, **options)
    assert first.manifest["hashes"] == second.manifest["hashes"]


def test_own_features_are_read_and_hashed(demo_store: Path, tmp_path: Path) -> None:
    class Mood(Strategy):
        def target(self) -> pl.Expr:
            return pl.col("mood")

    times = [datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 10, tzinfo=UTC)]
    path = tmp_path / "mood.csv"
    pl.DataFrame({"available_time": times, "mood": [1.0, -1.0]}).write_csv(path)
    settings = {"data": {"features": {"mood": {"path": str(path)}}}}
    result = backtester.run(Mood(), data=demo_store, out=None, symbols=[BTC], settings=settings, **SPAN)
    assert result.fills["side"].to_list() == ["buy", "sell", "sell"]  # a turn closes, then opens
    assert str(result.fills["time"][1]) == "2024-03-10 00:00:00+00:00"
    hashes = result.manifest["hashes"]
    assert isinstance(hashes, dict)
    assert hashes["feature mood"] == hashlib.sha256(path.read_bytes()).hexdigest()


def frame(bars: int = 400) -> pl.DataFrame:
    close = 100 + np.cumsum(np.sin(np.arange(bars)))
    open_ = np.concatenate(([100.0], close[:-1]))
    times = pl.datetime_range(
        pl.datetime(2025, 1, 1), pl.datetime(2025, 1, 1) + pl.duration(hours=bars - 1), "1h", eager=True
    )
    high, low = np.maximum(open_, close) + 1, np.minimum(open_, close) - 1
    return pl.DataFrame({"open_time": times, "open": open_, "high": high, "low": low, "close": close, "volume": 1.0})


def test_what_ends_or_spares_a_run_is_told() -> None:
    """Trading that a takeover ended, and extremes that are not tested."""
    struck = pl.int_range(pl.len()) == 200
    bars = frame().with_columns(
        pl.when(struck).then(60.0).otherwise("low").alias("low"),
        pl.when(struck).then(200.0).otherwise("high").alias("high"),
    )
    settings = {"liquidation": {"then": "stop"}}
    result = backtester.run(Flip(exposure=5), data=bars, tiers=TIERS, leverage=10, settings=settings, out=None)
    (text,) = [n.text for n in result.notices if n.code == "stopped"]
    left = result.equity.filter(pl.col("open_time") > result.liquidations["time"][0]).height
    assert f"nothing is traded in the remaining {left} bars" in text
    assert "kept" not in text
    assert result.equity["gross_exposure"].tail(left).fill_null(0).abs().max() == 0
    settings = {"execution": {"intrabar": "close"}}
    spared = backtester.run(Flip(exposure=5), data=bars, tiers=TIERS, leverage=10, settings=settings, out=None)
    assert "extremes_untested" in {n.code for n in spared.notices}
    assert "stopped" not in {n.code for n in spared.notices}


def test_bars_of_a_frame_are_in_order() -> None:
    bars = frame()
    swapped = pl.concat([bars[:5], bars[6:7], bars[5:6], bars[7:]])
    with pytest.raises(DataError, match=r'not in order of time, first at 2025-01-01 05:00 UTC.\n.*sort\("symbol"'):
        backtester.run(Flip(), data=swapped, tiers=TIERS, out=None)


def test_a_frame_is_enough() -> None:
    result = backtester.run(Flip(), data=frame(), tiers=TIERS, out=None)
    assert result.equity.height == 400
    assert not result.synthetic
    assert result.funding.is_empty()
    codes = {n.code for n in result.notices}
    assert {"frame", "funding_assumed"} <= codes
    assert any("traded prices" in n.text for n in result.notices)


def test_a_pandas_frame_gives_the_same() -> None:
    pandas = frame().to_pandas().set_index("open_time").rename(columns=str.capitalize)
    mine, theirs = (backtester.run(Flip(), data=data, tiers=TIERS, out=None) for data in (frame(), pandas))
    assert mine.equity.equals(theirs.equity)


def test_a_frame_needs_tiers_and_prices() -> None:
    with pytest.raises(DataError, match="no margin tier table"):
        backtester.run(Flip(), data=frame(), out=None)
    with pytest.raises(DataError, match="no column high, low"):
        backtester.run(Flip(), data=frame().drop("high", "low"), tiers=TIERS, out=None)
    with pytest.raises(DataError, match=r"the frame: .* two rows, first at 2025-01-01 00:00 UTC.\nDoes it mix venues"):
        backtester.run(Flip(), data=pl.concat([frame(), frame()]), tiers=TIERS, out=None)
    with pytest.raises(UsageError, match="not list"):
        backtester.run(Flip(), data=[1, 2], tiers=TIERS, out=None)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"symbols": ["BTC/USD:USDT"]}, UnknownNameError, "Did you mean 'BTC/USDT:USDT'"),
        ({"venue": "binanse"}, UnknownNameError, "Did you mean 'binance'"),
        ({"levrage": 3}, UnknownNameError, "Did you mean 'leverage'"),
        ({"leverage": 1000}, backtester.BacktesterError, "exceeds the maximum"),
        ({"start": "2024-05-01", "end": "2024-05-01"}, UsageError, "range is empty"),
        ({"start": "2030-01-01"}, backtester.BacktesterError, "2030-01-01"),
        ({"settings": {"funding": {"sorce": "none"}}}, UnknownNameError, "funding.source"),
    ],
)
def test_wrong_calls(demo_store: Path, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        backtester.run(Flip(), data=demo_store, out=None, **options)


def test_wrong_strategies(demo_store: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'trend'"):
        backtester.run("trnd", data=demo_store, out=None)
    with pytest.raises(UnknownNameError, match="Did you mean 'fast'"):
        backtester.run("trend", data=demo_store, params={"fastt": 3}, out=None)
    with pytest.raises(UsageError, match="an instance"):
        backtester.run(Flip, data=demo_store, out=None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="params go with"):
        backtester.run(Flip(), data=demo_store, params={"exposure": 2}, out=None)
    with pytest.raises(UsageError, match="Neither a strategy nor"):
        backtester.run(backtester.RunConfig(), data=demo_store, out=None)


def test_a_strategy_that_raises_leaves_nothing(demo_store: Path, tmp_path: Path) -> None:
    class Broken(Strategy):
        def target(self) -> pl.Expr:
            return pl.lit(1.0) / {}["nothing"]

    with pytest.raises(StrategyError, match="nothing"):
        backtester.run(Broken(), data=demo_store, out=tmp_path / "reports", **SPAN)
    assert not (tmp_path / "reports").exists()


def test_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="backtester data demo"):
        backtester.run("trend", data=tmp_path / "none", out=None)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with staged_folder(tmp_path, "run") as stage:
            (stage / "some").write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="No space left on device"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with staged_folder(tmp_path, "run") as stage:
            (stage / "some").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []


def test_runs_of_one_second_get_names_of_their_own(done: backtester.Result, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert run_folder.free_run_id(tmp_path, "run") == "run-2"
    (tmp_path / "run-2").mkdir()
    assert run_folder.free_run_id(tmp_path, "run") == "run-3"


def test_damaged_runs_are_named(done: backtester.Result, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"manifest\.json is missing"):
        load_result(tmp_path)
    assert done.run_dir is not None
    for name in ("manifest.json", "summary.json", "config.toml", "strategy.py"):
        (tmp_path / name).write_bytes((done.run_dir / name).read_bytes())
    (tmp_path / "equity.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"equity\.parquet cannot be read"):
        load_result(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="format 1, not 99"):
        load_result(tmp_path)


def test_a_bug_in_the_books_is_found(demo_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backtester.engine import run as engine

    true_replay = engine.replay_prepared

    def wrong(*args: object) -> object:
        records = true_replay(*args)
        records.wallet[100:] += 1.0
        return records

    monkeypatch.setattr(engine, "replay_prepared", wrong)
    with pytest.raises(InternalError, match="identity"):
        backtester.run(Flip(), data=demo_store, symbols=[BTC], out=None, **SPAN)


def test_sections_in_dictionaries_are_shown_the_way() -> None:
    with pytest.raises(UsageError, match="given as settings"):
        backtester.run("trend", config={"execution": {"slippage_bps": 2}})  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="given as settings=\\{'execution'"):
        backtester.run("trend", execution={"slippage_bps": 2})
