"""Costs by kind, and that all parts add up to the profit."""

from __future__ import annotations

import polars as pl
import pytest

from backtester import analytics
from backtester.analytics import attribution
from backtester.analytics.costs import cost_events, costs
from backtester.engine.result import Result
from tests.unit.analytics.books import A, B, at, result
from tests.unit.report import sample


def _fill(time: int, side: str, liquidity: str, fee: float, slip: float, reason: str) -> tuple[object, ...]:
    return (time, 0, A, "long", side, 1.0, 100.0, 100.0, fee, 0.0, slip, liquidity, reason)


def book(takeover: str) -> Result:
    """Fees of 3 as taker and -1 as maker, slippage 2, funding -5 and +4, a liquidation fee of 7, engine slippage 6."""
    return result(
        {A: [100.0, 100.0, 100.0]},
        config={"liquidation": {"takeover": takeover}},
        fills=[
            _fill(at(0), "buy", "taker", 3.0, 2.0, "target"),
            _fill(at(1), "sell", "maker", -1.0, 0.0, "take_profit"),
            _fill(at(2), "sell", "taker", 0.0, 6.0, "liquidation"),
        ],
        funding=[
            (at(1), A, "long", 0.0001, 100.0, 1.0, -5.0),
            (at(2), A, "long", -0.0001, 100.0, 1.0, 4.0),
        ],
        ledger=[
            (at(0), A, "USDT", "trading_fee", -3.0, 997.0),
            (at(1), A, "USDT", "trading_fee", 1.0, 998.0),
            (at(1), A, "USDT", "funding", -5.0, 993.0),
            (at(2), A, "USDT", "funding", 4.0, 997.0),
            (at(2), A, "USDT", "realized_pnl", 30.0, 1027.0),
            (at(2), A, "USDT", "liquidation_fee", -7.0, 1020.0),
        ],
    )


def test_kinds_by_hand() -> None:
    found = costs(book("market"))
    expected = {"taker_fees": 3.0, "maker_fees": -1.0, "slippage": 2.0, "funding_paid": 5.0, "liquidation": 13.0}
    assert found.amounts == expected
    assert found.total == 22.0
    assert found.funding_received == 4.0
    assert found.traded == 200.0
    assert found.in_bps(found.amounts["slippage"]) == 100.0
    assert found.gross_profit == 30.0 + 2.0 + 6.0
    assert found.of_profit(19.0) == 0.5


def test_a_takeover_at_bankruptcy_slips_for_the_fund() -> None:
    assert costs(book("bankruptcy")).amounts["liquidation"] == 7.0


@pytest.mark.parametrize("takeover", ["market", "bankruptcy"])
def test_events_add_up_to_the_kinds(takeover: str) -> None:
    run = book(takeover)
    summed = dict(cost_events(run).group_by("kind").agg(pl.col("amount").sum()).iter_rows())
    assert summed == costs(run).amounts


RUNS = {
    "three": lambda: sample.make(3, 24 * 60),
    "market": lambda: sample.make(2, 24 * 60, exposure=9.0, seed=11),
    "bankruptcy": lambda: sample.make(2, 24 * 60, exposure=9.0, seed=11, takeover="bankruptcy"),
    "lost": sample.liquidated,
    "flat": sample.flat,
}


@pytest.mark.parametrize("name", RUNS)
def test_identities(name: str) -> None:
    run = analytics.complete(RUNS[name]())
    found, tolerance = costs(run), 1e-9 * 10_000
    profit = found.gross_profit - found.total + found.funding_received
    assert profit == pytest.approx(run.summary["net_profit"], abs=tolerance)
    summed = dict(cost_events(run).group_by("kind").agg(pl.col("amount").sum()).iter_rows())
    for kind, amount in found.amounts.items():
        assert summed.get(kind, 0.0) == pytest.approx(amount, abs=tolerance)
    parts, by_symbol = attribution.attribute(run), attribution.attribute_symbols(run)
    for part, amount in parts.items():
        assert by_symbol[part].sum() == pytest.approx(amount, abs=tolerance)
    assert by_symbol["total"].sum() == pytest.approx(run.summary["net_profit"], abs=tolerance)


def test_nothing_traded_has_no_shares() -> None:
    found = costs(result({A: [1.0], B: [1.0]}))
    assert (found.total, found.in_bps(1.0), found.of_profit(1.0)) == (0.0, None, None)
