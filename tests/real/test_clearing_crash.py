"""Populations cleared through the crash of 2025-10-10 on the exchange's own prices."""

from __future__ import annotations

from pathlib import Path

import pytest

from backtester.market.store import Store
from tests.real import clearing_crash
from tests.real.clearing_crash import END, START, VENUES, WEEK_BEFORE, cleared, figures, loaded

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def store(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return clearing_crash.store_of(real_data, tmp_path_factory.mktemp("crash") / "data", ("BTC", "DOGE"))


@pytest.mark.parametrize("venue", VENUES)
def test_money_is_conserved_through_the_crash(store: Store, venue: str) -> None:
    names = ("BTC", "DOGE")
    market, past = loaded(store, names, START, END), loaded(store, names, WEEK_BEFORE, START)
    row = figures(cleared(market, past, venue, "onchain", 2_000))
    assert row["conservation_error"] < 1e-9
    assert row["liquidated_accounts"] > 50  # DOGE lost more than half for a moment
    assert row["liquidated_notional"] > 0


def test_doge_is_deleveraged_and_bitcoin_is_not(store: Store) -> None:
    """With a thin fund the engine's deficits reach the winners where the price fell through the margins."""
    deleveraged = {}
    for name in ("BTC", "DOGE"):
        market, past = loaded(store, (name,), START, END), loaded(store, (name,), WEEK_BEFORE, START)
        row = figures(cleared(market, past, "binance", "onchain", 2_000, fund_start=0.0))
        deleveraged[name] = row["deleveraged_notional"] / row["liquidated_notional"]
    assert deleveraged["DOGE"] > deleveraged["BTC"]
