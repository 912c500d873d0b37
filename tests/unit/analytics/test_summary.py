"""Summaries of whole runs: identities, edges, and nothing that JSON cannot hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from backtester import analytics
from backtester.analytics import attribution, risk
from backtester.engine.result import KEY_FIGURES, Result
from tests.unit.report import sample

RUNS: dict[str, Callable[[], Result]] = {
    "three symbols": lambda: sample.make(3, 24 * 120),
    "liquidated at the market": lambda: sample.make(2, 24 * 100, exposure=9.0, seed=11),
    "liquidated on day one": sample.liquidated,
    "no trade": sample.flat,
    "one trade": sample.one_trade,
    "one day": sample.one_day,
}


@pytest.fixture(scope="module", params=RUNS)
def result(request: pytest.FixtureRequest) -> Result:
    return analytics.complete(RUNS[request.param]())


def test_parts_add_up_to_the_change_of_equity(result: Result) -> None:
    parts = attribution.attribute(result)
    scale = max(result.config.account.balance, float(result.equity["equity"].abs().max()))
    assert sum(parts.values()) == pytest.approx(result.summary["net_profit"], abs=1e-9 * scale)
    by_symbol = attribution.attribute_symbols(result)
    assert by_symbol["total"].sum() == pytest.approx(result.summary["net_profit"], abs=1e-9 * scale)
    assert parts["slippage"] <= 0


def test_round_trips_add_up_to_the_change_of_equity(result: Result) -> None:
    assert result.trades["net_pnl"].sum() == pytest.approx(result.summary["net_profit"], abs=1e-5)
    assert result.trades["fees"].sum() == pytest.approx(result.summary["fees"], abs=1e-6)
    assert result.trades["funding"].sum() == pytest.approx(result.summary["funding"], abs=1e-6)


def test_summary_is_json(result: Result) -> None:
    json.dumps(result.summary, allow_nan=False)
    assert {key for key, _, _ in KEY_FIGURES} <= result.summary.keys()


def test_every_key_is_documented(result: Result, request: pytest.FixtureRequest) -> None:
    text = (request.config.rootpath / "docs" / "metrics.md").read_text(encoding="utf-8")
    identity = {"run_id", "strategy", "venue", "symbols", "timeframe", "detail", "synthetic", "settle", "start", "end"}
    assert [key for key in result.summary if f"`{key}`" not in text and key not in identity] == []


def test_account_gone_on_the_first_day() -> None:
    summary = analytics.complete(sample.liquidated()).summary
    assert summary["total_return"] == -1.0
    assert summary["annual_return"] == -1.0
    assert summary["max_drawdown"] == -1.0
    assert summary["max_drawdown_end"] is None
    assert summary["liquidations"] == 1
    assert summary["turnover"] is None


def test_nothing_traded() -> None:
    summary = analytics.complete(sample.flat()).summary
    assert (summary["trades"], summary["fees"], summary["max_drawdown"]) == (0, 0.0, 0.0)
    assert summary["sharpe"] is summary["hit_rate"] is summary["profit_factor"] is None
    assert summary["time_at_risk"] == 0.0


def test_engine_slippage_counts_where_the_account_bears_it() -> None:
    market = sample.make(2, 24 * 100, exposure=9.0, seed=11)
    assert market.liquidations.height
    engine = market.fills.filter(pl.col("reason") == "liquidation")["slippage_paid"].sum()
    borne = attribution.slippage_by_symbol(market)["engine_slippage"].sum()
    assert borne == pytest.approx(-engine)
    config = market.config
    moved = config.model_copy(update={"liquidation": config.liquidation.model_copy(update={"takeover": "bankruptcy"})})
    at_bankruptcy = replace(market, config=moved)
    assert attribution.slippage_by_symbol(at_bankruptcy)["engine_slippage"].sum() == 0.0


def test_distance_uses_what_was_recorded_before_the_close() -> None:
    opens = np.arange(3) * sample.HOUR
    bars = pl.DataFrame({"open_time": opens, "symbol": ["X"] * 3, "mark_close": [100.0, 120.0, 80.0]}).with_columns(
        pl.col("open_time").cast(sample.TIME)
    )
    changes = pl.DataFrame(
        {
            "time": [sample.HOUR, 2 * sample.HOUR],
            "symbol": ["X", "X"],
            "position_quantity": [1.0, -1.0],
            "liquidation_price": [60.0, 100.0],
        }
    ).with_columns(pl.col("time").cast(sample.TIME))
    found = risk.liquidation_distance(changes, bars, sample.HOUR)
    assert found["distance"].to_list() == pytest.approx([0.5, 0.25])
    assert found["close_time"].cast(pl.Int64).to_list() == [2 * sample.HOUR, 3 * sample.HOUR]


def test_worst_margin_ratio_is_never_infinite() -> None:
    equity = sample.one_trade().equity
    assert risk.worst_margin_ratio(equity.with_columns(margin_ratio=pl.lit(float("inf")))) is None
    assert risk.worst_margin_ratio(equity.clear()) is None


def test_entries_of_the_whole_account_have_no_symbol() -> None:
    run = sample.one_trade()
    rows = [(sample.START, None, "USDT", "insurance_clearance", 5.0, 10_005.0)]
    ledger = pl.concat([sample.frame(sample.LEDGER, rows), run.ledger])
    whole = replace(run, ledger=ledger)
    assert attribution.attribute(whole)["liquidation"] == 5.0
    assert attribution.attribute_symbols(whole).filter(pl.col("symbol").is_null())["total"].to_list() == [5.0]
    assert analytics.complete(whole).trades["liquidation"].to_list() == [0.0]
