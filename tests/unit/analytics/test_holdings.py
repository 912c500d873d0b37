"""Exposure by contract, time in the market, turnover; funding by contract and month."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from backtester import analytics
from backtester.analytics.funding_review import funding_by_month, funding_by_symbol, funding_grid
from backtester.analytics.held import held_at_closes
from backtester.analytics.holdings import (
    account_leverage,
    exposure_at,
    exposure_by_symbol,
    market_time,
    monthly_turnover,
)
from tests.unit.analytics.books import A, B, at, result
from tests.unit.report import sample


def _bought(time: int, symbol: str, notional: float) -> tuple[object, ...]:
    return (time, 0, symbol, "long", "buy", 1.0, notional, notional, 0.0, 0.0, 0.0, "taker", "target")


def test_time_and_size_by_hand() -> None:
    run = result(
        {A: [100.0, 110.0, 100.0, 100.0], B: [50.0] * 4},
        equity=[1000.0, 1000.0, 500.0, -1.0],
        positions=[
            (at(0), A, "long", 1.0, 100.0, 0.0, None),
            (at(1), B, "short", -2.0, 50.0, 0.0, None),
            (at(2), B, "flat", 0.0, None, 0.0, None),
        ],
        fills=[_bought(at(0), A, 100.0), _bought(at(1), B, 300.0)],
    )
    held = held_at_closes(run)
    assert market_time(run, held) == {"any": 1.0, "long": 1.0, "short": 0.25}
    rows = {row["symbol"]: row for row in exposure_by_symbol(run, held).to_dicts()}
    assert list(rows) == [B, A]  # most traded first
    assert (rows[A]["long_share"], rows[B]["short_share"]) == (1.0, 0.25)
    assert rows[A]["largest_exposure"] == pytest.approx(0.2)
    assert rows[A]["mean_exposure"] == pytest.approx((0.1 + 0.11 + 0.2) / 3)  # without equity there is no multiple
    assert rows[B]["mean_exposure"] == pytest.approx(0.1)


def test_legs_stand_on_both_sides() -> None:
    run = result(
        {A: [100.0, 100.0]},
        config={"account": {"position_mode": "hedge"}},
        positions=[(at(0), A, "long", 2.0, 100.0, 1.0, None), (at(0), A, "short", -1.0, 100.0, 1.0, None)],
    )
    closes = np.array([at(1), at(2)])
    long, short = exposure_at(held_at_closes(run), closes, np.array([1000.0, 0.0]))[A]
    assert long.tolist() == pytest.approx([0.2, np.nan], nan_ok=True)
    assert short.tolist() == pytest.approx([-0.1, np.nan], nan_ok=True)


def test_turnover_of_contracts_adds_up_to_the_summary() -> None:
    run = analytics.complete(sample.make(3, 24 * 60))
    held = held_at_closes(run)
    assert exposure_by_symbol(run, held)["turnover"].sum() == pytest.approx(run.summary["turnover"])
    assert market_time(run, held)["any"] == run.summary["time_at_risk"]
    gross = run.equity["gross_exposure"].to_numpy()
    found = exposure_at(held, run.equity["close_time"].cast(pl.Int64).to_numpy(), run.equity["equity"].to_numpy())
    assert sum(long - short for long, short in found.values()) == pytest.approx(gross)
    assert account_leverage(run.equity) == pytest.approx(gross)


def test_months_of_turnover() -> None:
    hours = 31 * 24 + 2
    run = result({A: [100.0] * hours}, fills=[_bought(at(0), A, 500.0), _bought(at(hours - 1), A, 250.0)])
    months = monthly_turnover(run)
    assert months["month"].dt.strftime("%Y-%m").to_list() == ["2024-01", "2024-02"]
    assert months["turnover"].to_list() == [0.5, 0.25]


def _settled(day: int, symbol: str, rate: float, quantity: float, paid: float) -> tuple[object, ...]:
    return (at(24 * day), symbol, "long" if quantity > 0 else "short", rate, 100.0, quantity, paid)


def test_funding_by_hand() -> None:
    run = result(
        {A: [100.0], B: [100.0]},
        config={"instruments": {A: {"kind": "linear", "funding_interval_hours": 4.0}, B: {"kind": "linear"}}},
        funding=[
            _settled(0, A, 0.0002, 1.0, -2.0),
            _settled(1, A, 0.0004, 1.0, -4.0),
            _settled(2, A, 0.0001, -1.0, 1.0),
            _settled(0, B, -0.0001, -1.0, -0.5),
            _settled(40, B, -0.0003, 1.0, 3.0),
        ],
    )
    rows = {row["symbol"]: row for row in funding_by_symbol(run).to_dicts()}
    assert list(rows) == [A, B]  # the largest amounts first
    assert (rows[A]["received"], rows[A]["paid"], rows[A]["net"], rows[A]["settlements"]) == (1.0, -6.0, -5.0, 3)
    assert rows[A]["rate_long"] == pytest.approx(0.0003)
    assert rows[A]["annual_long"] == pytest.approx(0.0003 * 6 * 365)
    assert rows[A]["rate_short"] == pytest.approx(0.0001)
    assert rows[B]["annual_long"] == pytest.approx(-0.0003 * 365 / 40)  # no interval is stated: the gap that was met
    months = funding_by_month(run.funding)
    assert months["month"].dt.strftime("%Y-%m").to_list() == ["2024-01", "2024-02"]
    assert months["net"].to_list() == pytest.approx([-5.5, 3.0])
    assert funding_grid(run.funding)["net"].sum() == pytest.approx(run.funding["funding_payment"].sum())


def test_funding_adds_up_to_the_summary() -> None:
    run = analytics.complete(sample.make(3, 24 * 60))
    by_symbol = funding_by_symbol(run)
    assert by_symbol["received"].sum() == pytest.approx(run.summary["funding_received"])
    assert by_symbol["paid"].sum() == pytest.approx(run.summary["funding_paid"])
    assert funding_by_month(run.funding)["net"].sum() == pytest.approx(run.summary["funding"])
