"""Runs on real exchange data: a year with the crash of 2025-10-10, a late joiner, and a spot index."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import backtester
from backtester import Param, Strategy
from backtester.cli.app import exit_code
from backtester.domain.margin_tiers import table_in_force
from backtester.market.store import DatasetKey, Store

pytestmark = pytest.mark.real_data

BTC = "BTC/USDT:USDT"
RIVER = "RIVER/USDT:USDT"
SYMBOLS = (BTC, "ETH/USDT:USDT", "SOL/USDT:USDT", "ORCA/USDT:USDT", RIVER)
YEAR = {"venue": "binance", "timeframe": "1h", "start": "2024-12-31", "end": "2026-02-19", "out": None}


class Hold(Strategy):
    """Long from the first bar on."""

    exposure: float = Param(1.0, gt=0)

    def target(self) -> pl.Expr:
        return pl.lit(self.exposure)


@pytest.fixture(scope="module")
def store(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with the perpetuals, and those of the premium data under another venue's name."""
    folder = tmp_path_factory.mktemp("real") / "data"
    to = ["--store", str(folder), "--quiet"]
    assert (
        exit_code(["data", "import", str(real_data / "binance"), "--format", "freqtrade", "--venue", "binance", *to])
        == 0
    )
    tiers = str(real_data / "tiers" / "binance_2025-10.json")
    for venue in ("binance", "generic"):
        assert exit_code(["data", "import", tiers, "--format", "ccxt-tiers", "--venue", venue, *to]) == 0
    for symbol in ("BTC", "ETH"):
        source = real_data / "premium" / f"{symbol}USDT"
        for file, series in (("perps", "trade"), ("spot", "index"), ("funding_rates", "funding")):
            named = ["--venue", "generic", "--symbol", f"{symbol}/USDT:USDT", "--series", series]
            assert exit_code(["data", "import", str(source / f"{file}.csv"), "--format", "csv", *named, *to]) == 0
    return folder


@pytest.mark.parametrize("name", ["trend", "breakout", "funding_fade", "cross_momentum", "buy_and_hold", "pairs"])
def test_bundled_strategies_over_the_year(store: Path, name: str) -> None:
    symbols = SYMBOLS[:2] if name == "pairs" else SYMBOLS
    result = backtester.run(name, data=store, symbols=symbols, **YEAR)
    assert max(result.manifest["identities"].values()) < 1e-9
    assert result.equity["equity"].is_finite().all()
    assert result.equity["equity"].min() >= 0
    assert result.fills.height > 0
    texts = " ".join(notice.text for notice in result.notices)
    assert "used before their date" in texts
    if RIVER in symbols:
        assert f"{RIVER} joins at its first bar, 2025-10-17" in texts


def test_every_settlement_of_river_is_counted(store: Path) -> None:
    result = backtester.run(Hold(exposure=0.01), data=store, symbols=[RIVER], **{**YEAR, "start": "2025-10-17T14:00"})
    assert result.liquidations.is_empty()
    entered = result.fills["time"][0]
    settled = Store(store).read(DatasetKey("binance", RIVER, "funding", "event"))["funding_time"]
    expected = settled.filter((settled > entered) & (settled < result.equity["close_time"][-1]))
    assert result.funding["time"].to_list() == expected.to_list()
    gaps = expected.diff().dt.total_hours().drop_nulls()
    assert gaps.n_unique() > 1  # the interval changes


@pytest.mark.parametrize("timeframe", ["1h", "5m"])
def test_a_long_at_20x_dies_on_the_mark_at_the_formulas_price(store: Path, tmp_path: Path, timeframe: str) -> None:
    path = tmp_path / "long.csv"
    path.write_text("decision_time,target\n2025-10-10T12:00Z,1\n")
    settings = {"strategy": {"signals": str(path)}, "funding": {"source": "none"}}
    span = {**YEAR, "timeframe": timeframe, "start": "2025-10-10", "end": "2025-10-12"}
    account = {"margin_mode": "isolated", "leverage": 20}
    result = backtester.run(backtester.RunConfig(), data=store, symbols=[BTC], settings=settings, **{**span, **account})
    (liquidation,) = result.liquidations.iter_rows(named=True)
    entry, quantity = result.fills["price"][0], result.fills["quantity"][0]
    table = table_in_force(Store(store).tier_tables("binance", BTC), result.start)
    tier = table.lookup(quantity * liquidation["trigger_price"])
    rate, deduction = table.tiers[tier].maintenance_margin_rate, table.deductions()[tier]
    expected = (quantity * entry * (1 - 1 / 20) - deduction) / (quantity * (1 - rate))
    assert liquidation["trigger_price"] == pytest.approx(expected, rel=1e-12)
    bar = result.bars.filter(pl.col("open_time") <= liquidation["time"]).tail(1)
    assert bar["mark_low"][0] <= liquidation["trigger_price"] <= bar["mark_high"][0]
    assert liquidation["trigger_price"] > result.bars["low"].min()


def test_premium_reversion_on_spot_as_index(store: Path) -> None:
    result = backtester.run(
        "premium_reversion",
        data=store,
        venue="generic",
        symbols=[BTC, "ETH/USDT:USDT"],
        timeframe="1h",
        out=None,
        settings={"data": {"mark": "trade"}},
    )
    assert max(result.manifest["identities"].values()) < 1e-9
    assert result.fills.height > 0
    assert result.bars["index_close"].null_count() < result.bars.height
    assert "traded prices" in " ".join(notice.text for notice in result.notices)
