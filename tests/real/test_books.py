"""Books of real contracts: every bundled strategy, and five majors in one cross account through a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

import backtester
from backtester import Result
from backtester.cli.app import exit_code

pytestmark = pytest.mark.real_data

MAJORS = tuple(f"{name}/USDT:USDT" for name in ("BTC", "ETH", "SOL", "XRP", "DOGE"))
BEFORE_CRASH, AFTER_CRASH = "2025-10-01", "2025-10-20"
START, END = "2024-12-31", "2026-02-19"
# funding_carry needs spot beside the contracts, funding_fade and premium_reversion an index or a premium
ON_CONTRACTS = ("bracket", "breakout", "buy_and_hold", "cross_momentum", "grid", "market_maker", "martingale", "trend")


@pytest.fixture(scope="module")
def store(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The majors at 1h and 5m with their marks at 1h, funding and tiers."""
    folder = tmp_path_factory.mktemp("books") / "data"
    common = ["--venue", "binance", "--store", str(folder), "--quiet"]
    files, tiers = str(real_data / "binance"), str(real_data / "tiers" / "binance_2025-10.json")
    names = ["--symbols", ",".join(MAJORS)]
    assert exit_code(["data", "import", files, "--format", "freqtrade", *names, *common]) == 0
    assert exit_code(["data", "import", tiers, "--format", "ccxt-tiers", *names, *common]) == 0
    return folder


def run(store: Path, name: str, **settings: object) -> Result:
    return backtester.run(name, data=store, venue="binance", out=None, **settings)


@pytest.mark.parametrize("name", ON_CONTRACTS)
def test_every_strategy_runs_on_hours(store: Path, name: str) -> None:
    result = run(store, name, symbols=MAJORS, timeframe="1h", start=START, end=END)
    assert result.fills.height > 0
    assert result.funding.height > 0  # the books were checked bar by bar, or the run would have failed


@pytest.mark.parametrize("name", ON_CONTRACTS)
def test_every_strategy_runs_on_five_minutes_with_hourly_marks(store: Path, name: str) -> None:
    span = {"start": BEFORE_CRASH, "end": AFTER_CRASH}
    result = run(store, name, symbols=MAJORS[:1], timeframe="5m", **span)
    assert result.manifest["mark_resolution"] == "1h"
    assert result.equity.height == 19 * 288


@pytest.mark.parametrize(("leverage", "survives"), [(3.0, True), (20.0, False)])
def test_five_majors_through_the_crash(store: Path, leverage: float, survives: bool) -> None:
    """Each held at a fifth of the leverage from the first of October on, in one cross account."""
    result = run(
        store,
        "buy_and_hold",
        symbols=MAJORS,
        timeframe="1h",
        start=BEFORE_CRASH,
        end=AFTER_CRASH,
        params={"exposure": 0.9 * leverage / len(MAJORS)},
        leverage=leverage,
    )
    assert (result.liquidations.height == 0) is survives
    if not survives:
        assert result.equity["equity"][-1] >= 0.0
