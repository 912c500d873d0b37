"""Executed trades on the bars of a panel, and what is said of those that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import backtester
from backtester.domain.enums import ContractKind
from backtester.domain.instrument import Instrument
from backtester.engine.own_fills import AccountTerms, read_own_fills, symbols_of
from backtester.engine.run import with_timeframe
from backtester.engine.run_file import build_config
from backtester.errors import DataError, UnknownNameError, UsageError
from backtester.market.panel import Bars, Panel, Settlements
from backtester.market.store import Store

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
HOUR = 3_600_000
START = 1_704_067_200_000  # 2024-01-01 00:00 UTC
HEAD = "time,symbol,side,quantity,price,fee,fee_currency,liquidity,position_side\n"


def panel() -> Panel:
    """Four bars of an hour; BTC trades from 99 to 101, ETH from 9 to 11 and from the second bar on."""
    low, high = np.array([[99.0] * 4, [np.nan, 9.0, 9.0, 9.0]]), np.array([[101.0] * 4, [np.nan, 11.0, 11.0, 11.0]])
    bars = Bars(low, high, low, high)
    clock = START + HOUR * np.arange(4)
    none = np.empty(0)
    settlements = Settlements(np.empty(0, np.int64), none, none, none)
    return Panel(
        venue="generic", symbols=(BTC, ETH), timeframe_ms=HOUR, open_time=clock, trade=bars, volume=None, mark=bars,
        mark_open_time=clock, mark_timeframe_ms=HOUR, index=None, settlements=(settlements,) * 2, mark_is_trade=True,
    )  # fmt: skip


def terms(*, hedge: bool = False, kind: ContractKind = ContractKind.LINEAR) -> AccountTerms:
    contracts = {BTC: Instrument(symbol=BTC, kind=kind), ETH: Instrument(symbol=ETH, contract_size=0.1)}
    return AccountTerms(contracts, "USDT", hedge)


def read(folder: Path, *rows: str, **over):
    path = folder / "my trades.csv"
    path.write_text(HEAD + "".join(row + "\n" for row in rows), encoding="utf-8")
    return read_own_fills(path, panel(), terms(**over))


def codes(decisions) -> list[str]:
    return [notice.code for notice in decisions.notices]


def test_trades_on_bars(tmp_path: Path) -> None:
    decisions, fills = read(
        tmp_path,
        f"{START + 2 * HOUR},ETHUSDT,sell,30,10,,,maker,",
        f"{START + 5},BTCUSDT,buy,2,100,0.1,USDT,taker,",
        f"{START + HOUR},BTCUSDT,sell,1,100.5,0.01,BNB,,",
    )
    assert fills.time.tolist() == [START + 5, START + HOUR, START + 2 * HOUR]
    assert fills.symbol.tolist() == [0, 0, 1]
    assert fills.side.tolist() == [0, 0, 0]
    assert fills.quantity.tolist() == [2.0, -1.0, -30.0]
    assert fills.price.tolist() == [100.0, 100.5, 10.0]
    np.testing.assert_array_equal(fills.fee, [0.1, np.nan, np.nan])
    assert fills.is_maker.tolist() == [0, 0, 1]
    assert codes(decisions) == ["fills_fee_currency"]
    assert decisions.notices[0].text == ("Fees in BNB, not USDT, of 1 trade: the contract's rate is charged instead.")
    assert (decisions.name, decisions.targets.height, decisions.bars) == ("my trades", 0, None)
    assert "my trades.csv" in decisions.source


def test_what_is_outside_is_told(tmp_path: Path) -> None:
    decisions, fills = read(
        tmp_path,
        f"{START - 1},BTCUSDT,buy,2,100,,,,",
        f"{START},ETHUSDT,buy,1,10,,,,",  # ETH has no bar yet
        f"{START},BTCUSDT,buy,2,101.9,,,,",  # 0.9 % above the high
        f"{START},BTCUSDT,buy,2,102.1,,,,",  # 1.1 % above the high
        f"{START + 4 * HOUR},BTCUSDT,sell,2,100,,,,",
        f"{START},DOGEUSDT,sell,2,100,,,,",
    )
    assert fills.price.tolist() == [101.9, 102.1]
    told = ["fills_unknown", "fills_outside", "fills_without_bar", "fills_before_missed", "fills_off_market"]
    assert codes(decisions) == told
    assert "first row 2 in ETH/USDT:USDT at 2024-01-01 00:00 UTC" in decisions.notices[2].text
    assert decisions.notices[4].text.startswith("1 of 2 trades lie more than 1 % outside the bar")
    assert "first row 4: BTC/USDT:USDT at 102.1" in decisions.notices[4].text
    with pytest.raises(UsageError, match="no trade inside the run"):
        read(tmp_path, f"{START - 1},BTCUSDT,buy,2,100,,,,")


def test_legs(tmp_path: Path) -> None:
    rows = (
        f"{START},BTCUSDT,buy,2,100,,,,long",
        f"{START + 1},BTCUSDT,sell,3,100,,,,short",
        f"{START + 2},BTCUSDT,sell,2,100,,,,long",
    )
    _, fills = read(tmp_path, *rows, hedge=True)
    assert fills.side.tolist() == [1, -1, 1]
    decisions, fills = read(tmp_path, *rows)
    assert fills.side.tolist() == [0, 0, 0]
    assert codes(decisions) == ["fills_legs_netted"]
    one_at_a_time = (rows[0], f"{START + 1},BTCUSDT,sell,2,100,,,,long", f"{START + 2},BTCUSDT,sell,2,100,,,,short")
    assert codes(read(tmp_path, *one_at_a_time)[0]) == []
    with pytest.raises(DataError, match="row 2 has no position_side"):
        read(tmp_path, rows[0], f"{START + 1},BTCUSDT,sell,3,100,,,,", hedge=True)
    with pytest.raises(
        DataError, match="row 2 closes 1 more of the long leg of BTC/USDT:USDT than the file has opened"
    ):
        read(tmp_path, rows[0], f"{START + 1},BTCUSDT,sell,3,100,,,,long", hedge=True)
    with pytest.raises(DataError, match="row 1 closes 1 more of the short leg"):
        read(tmp_path, f"{START + 1},BTCUSDT,buy,1,100,,,,short", hedge=True)


def test_spot_cannot_be_oversold(tmp_path: Path) -> None:
    sold = f"{START + 1},BTCUSDT,sell,3,100,,,,"
    assert read(tmp_path, sold)[1].quantity.tolist() == [-3.0]
    with pytest.raises(DataError, match="row 1 closes 3 more of the holding"):
        read(tmp_path, sold, kind=ContractKind.SPOT)


def test_the_symbols_of_a_run_are_those_of_its_trades(tmp_path: Path, demo_store: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"time,symbol,side,quantity,price\n{START},ETHUSDT,buy,1,100\n", encoding="utf-8")
    config = build_config({"strategy": {"fills": str(path)}})
    found, told = with_timeframe(config, Store(demo_store))
    assert found.data.symbols == (ETH,)
    assert "those of the trades (ETH/USDT:USDT)" in " ".join(notice.text for notice in told)
    assert symbols_of(path, [BTC, ETH]) == (ETH,)
    with pytest.raises(UnknownNameError):
        symbols_of(path, [BTC])


def test_nothing_else_trades_beside_trades(tmp_path: Path, demo_store: Path) -> None:
    for beside in ({"name": "trend"}, {"signals": "x.csv"}):
        config = build_config({"strategy": {"fills": "f.csv", **beside}})
        with pytest.raises(UsageError, match="beside a strategy or signals"):
            backtester.run(config, data=demo_store, out=None)


def test_a_position_whose_opening_was_left_out_is_warned_of(tmp_path: Path) -> None:
    """Two units bought before the run; the sale of one inside would leave a short position that nobody had."""
    before, inside = START - HOUR, START + 2 * HOUR
    decisions, _ = read(tmp_path, f"{before},BTCUSDT,buy,2,100,,,,", f"{inside},BTCUSDT,sell,1,100,,,,")
    assert codes(decisions) == ["fills_outside", "fills_before_missed"]
    assert decisions.notices[1].text.startswith(f"{BTC}: 1 trade left out before the last one that is used come to +2,")
    flat = (f"{before},BTCUSDT,buy,2,100,,,,", f"{before + 1},BTCUSDT,sell,2,100,,,,")
    decisions, _ = read(tmp_path, *flat, f"{inside},BTCUSDT,sell,1,100,,,,")
    assert codes(decisions) == ["fills_outside"]
    decisions, _ = read(tmp_path, f"{inside},BTCUSDT,buy,1,100,,,,", f"{START + 9 * HOUR},BTCUSDT,sell,1,100,,,,")
    assert codes(decisions) == ["fills_outside"]  # what comes after the run changes nothing in it
    decisions, _ = read(tmp_path, f"{START + 1},ETHUSDT,buy,3,10,,,,", f"{inside},ETHUSDT,sell,3,10,,,,")
    assert codes(decisions) == ["fills_without_bar", "fills_before_missed"]
