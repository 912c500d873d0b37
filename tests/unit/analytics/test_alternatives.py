"""Holding, and trading without funding or costs, against sums by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from backtester import analytics
from backtester.analytics import alternatives
from backtester.domain.config import RunConfig
from backtester.engine.result import Result
from tests.unit.report import sample

HOUR = sample.HOUR


def market(prices: dict[str, list[float | None]], rates: dict[str, dict[int, float]] | None = None) -> Result:
    """A flat run over given closes (opens are the closes before), marks equal to trades."""
    names = tuple(prices)
    count = len(next(iter(prices.values())))
    base = sample.flat(count)
    rows = []
    for name, closes in prices.items():
        for t, close in enumerate(closes):
            if close is not None:
                before = closes[t - 1] if t and closes[t - 1] is not None else close
                rate = (rates or {}).get(name, {}).get(t)
                rows.append((sample.START + t * HOUR, name, before, close, close, rate))
    bars = pl.DataFrame(
        rows,
        schema={"open_time": pl.Int64, "symbol": pl.String, "open": pl.Float64, "close": pl.Float64}
        | {"mark_close": pl.Float64, "funding_rate": pl.Float64},
        orient="row",
    ).with_columns(pl.col("open_time").cast(sample.TIME))
    if rates is None:
        bars = bars.drop("funding_rate")
    config = base.config.model_dump()
    config["data"]["symbols"] = names
    config["instruments"] = {name: {"kind": "inverse" if "USD:" in name else "linear"} for name in names}
    return replace(base, bars=bars, symbols=names, config=RunConfig.model_validate(config))


def test_half_of_the_balance_buys_each_contract_at_its_first_open() -> None:
    run = market({"A/USDT:USDT": [100.0, 110.0, 120.0], "B/USDT:USDT": [None, 50.0, 40.0]}, {"A/USDT:USDT": {}})
    held = alternatives.hold(run)
    # 5,000 buy 50 A at 100; 5,000 buy 100 B at 50 from the second bar on.
    assert held.equity.tolist() == pytest.approx([10_000.0, 10_500.0, 10_000.0 + 50 * 20 - 100 * 10])
    assert (held.funding, held.known) == (0.0, 1.0)


def test_the_holder_pays_funding_on_the_mark_before_it() -> None:
    run = market({"A/USDT:USDT": [100.0, 110.0, 120.0]}, {"A/USDT:USDT": {0: 0.5, 1: 0.001, 2: -0.002}})
    held = alternatives.hold(run)
    first, second = 100 * 100 * 0.001, -100 * 110 * 0.002  # nothing is held yet at the open of the first bar
    assert held.funding == pytest.approx(-first - second)
    assert held.equity.tolist() == pytest.approx([10_000.0, 11_000.0 - first, 12_000.0 - first - second])


def test_price_alone_counts_where_settlements_are_unknown() -> None:
    run = market({"A/USDT:USDT": [100.0, 110.0, 120.0]})
    told = alternatives.buy_and_hold(run)
    assert told["funding"] is None
    assert told["funding_settlements_known"] == 0.0
    assert told["total_return"] == pytest.approx(0.2)
    assert told["max_drawdown"] == 0.0


def test_an_inverse_contract_is_lost_at_half_its_price() -> None:
    run = market({"A/USD:A": [100.0, 80.0, 50.0, 90.0]}, {"A/USD:A": {}})
    # Bought for 10,000 coins at 100: equity = B + B * (1 - 100 / P).
    assert alternatives.hold(run).equity.tolist() == pytest.approx([10_000.0, 10_000 * (2 - 100 / 80), 0.0, 0.0])


def test_paths_without_funding_and_costs_end_at_what_the_ledger_says() -> None:
    run = analytics.complete(sample.make(2, 24 * 40))
    s = run.summary
    assert alternatives.without_funding(run)["final_equity"] == pytest.approx(s["final_equity"] - s["funding"])
    assert alternatives.without_costs(run)["final_equity"] == pytest.approx(
        s["final_equity"] - s["fees"] - s["slippage"]
    )
    assert s["funding"] != 0
    assert s["fees"] < 0 > s["slippage"]


def test_a_cost_counts_from_the_bar_in_which_it_was_booked() -> None:
    run = analytics.complete(sample.one_trade())
    fee = run.fills["fee_paid"][0] + run.fills["slippage_paid"][0]
    entry = run.equity["open_time"].to_list().index(run.fills["time"][0])
    path = alternatives.less(run, alternatives.costs_booked(run)) - run.equity["equity"].to_numpy()
    assert np.allclose(path[:entry], 0.0)
    assert path[entry] == pytest.approx(fee)


def test_the_figures_of_an_equity_are_those_of_the_summary() -> None:
    run = analytics.complete(sample.make(2, 24 * 40))
    told = alternatives.path_figures(run, run.equity["equity"].to_numpy(), run.ledger)
    assert told == pytest.approx({key: run.summary[key] for key in told})


@pytest.mark.parametrize("make", [sample.flat, sample.one_day, sample.liquidated])
def test_edges_have_figures(make) -> None:
    run = analytics.complete(make())
    for count in (alternatives.buy_and_hold, alternatives.without_funding, alternatives.without_costs):
        assert count(run)["final_equity"] is not None
        assert count(replace(run, equity=run.equity.clear())) == {}
