"""What a page holds of a run: every bar, the account, the trades; and what it leaves out, said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from backtester import analytics
from backtester.analytics.drawdown import underwater
from backtester.engine.result import Result
from backtester.report import payload as payload_module
from backtester.report.account_columns import RATIO_SCALE
from backtester.report.payload import Payload, run_payload
from backtester.report.sections.price import price_section
from backtester.report.trade_columns import trade_columns
from tests.unit.report import sample
from tests.unit.report.test_packing import decoded

HOUR = sample.HOUR


def on_ticks(run: Result) -> Result:
    """The run with prices as venues have them: traded on 0.1, marks on 0.01."""
    prices = [pl.col(name).round(1) for name in ("open", "high", "low", "close")]
    return replace(run, bars=run.bars.with_columns(*prices, pl.col("mark_close").round(2)))


@pytest.fixture(scope="module")
def result() -> Result:
    return analytics.complete(on_ticks(sample.make(2, 24 * 40)))


def column(payload: Payload, name: str) -> np.ndarray:
    head = payload.head["columns"][name]
    base = column(payload, head["base"]).tolist() if "base" in head else None
    return np.array(decoded(head, payload.streams[name], base))


def bars(payload: Payload, plot: str) -> dict[str, np.ndarray]:
    """Rebuild a contract's bars from how far each price stands from the one before."""
    grid = payload.head["columns"][f"{plot}/close"]
    scale = grid["scale"] / grid["step"]
    whole = {name: np.rint(column(payload, f"{plot}/{name}") * scale) for name in ("open", "high", "low", "close")}
    close = whole["close"]
    opened = whole["open"] + np.concatenate((close[:1], close[:-1]))
    high = whole["high"] + np.maximum(opened, close)
    low = np.minimum(opened, close) - whole["low"]
    found = {"open": opened, "high": high, "low": low, "close": close}
    return {name: values * grid["step"] / grid["scale"] for name, values in found.items()}


def clock(payload: Payload, name: str, about: dict[str, int]) -> np.ndarray:
    times = np.full(about["n"], about["step"], np.int64)
    times[0] = about["start"]
    if about["gaps"]:
        times[column(payload, f"{name}/gap_row").astype(int)] += column(payload, f"{name}/gap_ms").astype(int)
    return np.cumsum(times)


def test_every_bar_comes_back_to_the_last_tick(result: Result) -> None:
    payload = run_payload(result)
    for number, symbol in enumerate(result.symbols):
        own, plot = result.bars.filter(pl.col("symbol") == symbol), f"price-{number}"
        for name, values in bars(payload, plot).items():
            assert values.tolist() == own[name].to_list(), name
        assert column(payload, f"{plot}/mark").tolist() == own["mark_close"].to_list()
        times = clock(payload, plot, payload.head["plots"][plot]["clock"])
        assert times.tolist() == own["open_time"].cast(pl.Int64).to_list()


def test_gaps_are_kept(result: Result) -> None:
    holed = result.bars.filter(~pl.col("open_time").dt.hour().is_in([3, 4]) | (pl.col("open_time").dt.day() > 9))
    payload = run_payload(replace(result, bars=holed))
    own = holed.filter(pl.col("symbol") == result.symbols[0])["open_time"].cast(pl.Int64).to_list()
    about = payload.head["plots"]["price-0"]["clock"]
    assert about["gaps"] > 5
    assert clock(payload, "price-0", about).tolist() == own


def test_holes_of_an_index_are_kept(result: Result) -> None:
    index = pl.when(pl.col("open_time").dt.day() != 5).then(pl.col("close") + 1)
    holed = replace(result, bars=result.bars.with_columns(index.alias("index_close")))
    head = run_payload(holed).head["columns"]["price-0/index"]
    assert head["holes"] == [[96, 24], [840, 24]]
    assert "price-0/index" not in run_payload(result).streams


def test_the_account_comes_back_to_the_cent(result: Result) -> None:
    payload = run_payload(result)
    equity = result.equity["equity"].to_numpy()
    found = column(payload, "account/equity")
    assert np.abs(found - equity).max() <= 0.005
    ratio = column(payload, "account/margin_ratio")
    assert np.abs(ratio - result.equity["margin_ratio"].to_numpy()).max() <= 0.5 / RATIO_SCALE
    times = clock(payload, "account", payload.head["account"]["clock"])
    assert times.tolist() == result.equity["close_time"].cast(pl.Int64).to_list()
    assert "account/drawdown" not in payload.streams


def test_after_a_transfer_the_drawdown_is_told_apart(result: Result) -> None:
    row = {"time": result.equity["open_time"][100], "symbol": None, "asset": "USDT", "kind": "transfer", "amount": 5e3}
    entry = pl.DataFrame([row], schema_overrides={"time": sample.TIME}).with_columns(wallet_balance=pl.lit(1.5e4))
    moved = replace(
        result, ledger=pl.concat([result.ledger, entry.select(result.ledger.columns)], how="vertical_relaxed")
    )
    grown = analytics.returns.time_weighted(moved.equity, moved.ledger, 10_000.0)["equity"].to_numpy()
    found = column(run_payload(moved), "account/drawdown")
    assert np.abs(found - underwater(grown, 10_000.0)).max() <= 0.5 / RATIO_SCALE


def test_of_too_many_bars_neighbours_are_merged_and_the_page_says_so(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_module, "MOST_ROWS", 500)
    payload = run_payload(result)
    size = -(-result.bars.height // 500)
    own = result.bars.filter(pl.col("symbol") == result.symbols[0])
    found = bars(payload, "price-0")
    assert payload.head["plots"]["price-0"]["clock"]["n"] == -(-own.height // size)
    assert found["high"].max() == own["high"].max()
    assert found["low"][0] == own["low"][:size].min()
    assert found["close"][-1] == own["close"][-1]
    assert sum(about["n"] for name, about in payload.head["columns"].items() if name.endswith("/close")) <= 500 + 2
    assert column(payload, "account/equity")[-1] == pytest.approx(result.equity["equity"][-1], abs=0.005)
    assert f"{size} bars stand in one ({size}h)" in price_section(result).context["note"]


def test_trades_levels_and_liquidations_are_kept() -> None:
    run = analytics.complete(sample.make(1, 24 * 100, exposure=9.0, seed=11))
    orders = pl.DataFrame(
        {
            "origin": ["stop_loss", "target", "take_profit"],
            "due_time": [0, 0, HOUR],
            "end_time": [HOUR, HOUR, None],
            "trigger_price": [59_000.5, None, 61_000.25],
        }
    ).with_columns(pl.col("due_time", "end_time").cast(sample.TIME))
    lost = sample.liquidated().liquidations
    found = trade_columns(run.trades, orders, lost, digits=2)
    trips = {name: decoded(packed.head(), packed.text) for name, packed in found["trades"].columns.items()}
    ordered = run.trades.sort("entry_time", maintain_order=True)
    assert trips["entry"] == ordered["entry_time"].cast(pl.Int64).to_list()
    assert trips["exit"] == ordered["exit_time"].cast(pl.Int64).fill_null(0).to_list()
    assert trips["entry_price"] == pytest.approx(ordered["entry_price"].to_list(), rel=1e-7)
    assert trips["net"] == pytest.approx(ordered["net_pnl"].to_list(), abs=0.005)
    words = found["trades"].words
    assert [words["side"][int(code)] for code in trips["side"]] == ordered["position_side"].to_list()
    assert [words["reason"][int(code)] for code in trips["reason"]] == ordered["exit_reason"].to_list()
    levels = {name: decoded(packed.head(), packed.text) for name, packed in found["levels"].columns.items()}
    assert levels == {"start": [0, HOUR], "end": [HOUR, 0], "price": [59_000.5, 61_000.25], "kind": [0, 1]}
    assert found["liquidations"].columns["time"].count == lost.height > 0
    assert trade_columns(run.trades.clear(), None, None, digits=2) == {}


def test_a_hundred_thousand_bars_take_few_bytes() -> None:
    count, rng = 100_000, np.random.default_rng(1)
    close = np.round(60_000 * np.exp(np.cumsum(rng.normal(0, 8e-4, count))), 1)
    opened = np.concatenate((close[:1], close[:-1]))
    wick = np.abs(rng.normal(0, 20, (2, count)))
    frame = pl.DataFrame(
        {
            "open_time": sample.START + np.arange(count) * 60_000,
            "symbol": ["A"] * count,
            "open": opened,
            "high": np.round(np.maximum(opened, close) + wick[0], 1),
            "low": np.round(np.minimum(opened, close) - wick[1], 1),
            "close": close,
            "mark_close": np.round(close + 1, 2),
        }
    ).with_columns(pl.col("open_time").cast(sample.TIME))
    run = replace(sample.flat(), symbols=("A",), bars=frame, timeframe_ms=60_000)
    payload = run_payload(run)
    ohlc = sum(len(payload.streams[f"price-0/{name}"]) for name in ("open", "high", "low", "close"))
    assert ohlc * 3 / 4 / count < 5.0
    assert len(payload.streams["price-0/mark"]) * 3 / 4 / count < 1.0
