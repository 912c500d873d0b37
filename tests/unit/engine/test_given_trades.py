"""Runs of executed trades: what funding, fees and margin they meant, worked by hand."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import backtester
from backtester import MarginTier
from backtester.engine.result import Result
from backtester.engine.run_file import build_config, merge
from backtester.market.schema import TIME
from backtester.market.store import DatasetKey, Store

SYMBOL = "ASSET/USDT:USDT"
HOUR = 3_600_000
START = 1_704_067_200_000  # 2024-01-01 00:00 UTC
PRICES = [100.0] * 9 + [110.0] * 3


def run(folder: Path, *rows: str, lows: dict[int, float] | None = None, assume: bool = False, **over: dict) -> Result:
    """Settle trades on twelve bars, at 100 and from 09:00 on at 110, where some marks fall lower."""
    store = Store(folder / "data")
    times = pl.Series([START + bar * HOUR for bar in range(len(PRICES))], dtype=pl.Int64).cast(TIME)
    trade = pl.DataFrame({"open_time": times, "open": PRICES, "high": PRICES, "low": PRICES, "close": PRICES})
    bars = trade.with_columns(pl.lit(None, pl.Float64).alias("volume"))
    low = [(lows or {}).get(bar, price) for bar, price in enumerate(PRICES)]
    store.write(DatasetKey("generic", SYMBOL, "trade", "1h"), bars, source="test")
    store.write(DatasetKey("generic", SYMBOL, "mark", "1h"), trade.with_columns(pl.Series("low", low)), source="test")
    path = folder / "mine.csv"
    path.write_text("time,symbol,side,quantity,price,fee\n" + "".join(row + "\n" for row in rows), encoding="utf-8")
    tree = {
        "account": {"balance": 1000.0, "leverage": 5.0},
        "fees": {"taker": 0.001, "maker": 0.0},
        "funding": {"source": "none"},
        "data": {"venue": "generic"},
        "strategy": {"fills": str(path)},
    }
    tiers = [MarginTier(maintenance_margin_rate=0.005, max_leverage=50.0)]
    return backtester.run(build_config(merge(tree, over)), data=store, tiers=tiers, out=None, assume=assume)


def test_what_the_trades_meant(tmp_path: Path) -> None:
    """Bought 10 at 100, fee 0.5; 08:00 takes 0.1 % of 1,000; 4 sold at 109 for the rate, 0.1 % of 436; 6 are held."""
    result = run(
        tmp_path,
        "2024-01-01 00:30,ASSETUSDT,buy,10,100,0.5",
        "2024-01-01 10:15,ASSETUSDT,sell,4,109,",
        funding={"source": "constant", "rate": 0.001},
    )
    assert result.symbols == (SYMBOL,)
    assert result.fills.select("side", "quantity", "price", "fee_paid", "reason").rows() == [
        ("buy", 10.0, 100.0, 0.5, "own"),
        ("sell", 4.0, 109.0, pytest.approx(0.436), "own"),
    ]
    assert [t.strftime("%H:%M") for t in result.fills["time"]] == ["00:30", "10:15"]
    assert result.funding["funding_payment"].to_list() == [-1.0]
    assert result.summary["final_equity"] == pytest.approx(1000 - 0.5 - 1 - 0.436 + 4 * 9 + 6 * 10)
    assert (result.strategy_name, result.targets.height) == ("mine", 0)
    assert result.config.strategy.fills == str(tmp_path / "mine.csv")


def test_the_account_may_be_liquidated(tmp_path: Path) -> None:
    """40 at 100 with 1,000: the mark falls to 60 at 05:00, where 1,600 are lost."""
    result = run(tmp_path, "2024-01-01 00:30,ASSETUSDT,buy,40,100,0", lows={5: 60.0})
    assert result.summary["liquidations"] == 1
    assert result.summary["final_equity"] == 0.0


def test_other_assumptions(tmp_path: Path) -> None:
    """On the last price there is no liquidation: 40 units gain 10 each."""
    row = "2024-01-01 00:30,ASSETUSDT,buy,40,100,7"
    result = run(tmp_path, row, lows={5: 60.0}, assume=True)
    rows = {r["assumption"]: r for r in result.assumptions.to_dicts()}
    assert rows["mark_trade"]["final_equity"] == pytest.approx(1000 - 7 + 400)
    assert rows["no_fees"]["liquidations"] == 1
    for name in ("latency", "fill_close", "double_slippage", "impact_100"):
        assert rows[name]["reason"] == "The given trades keep their time, price and size."
