"""Whole runs whose figures are worked out by hand: exits, limits, loops, transfers, holdings, universe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import backtester
from backtester import MarginTier, Param, Strategy
from backtester.domain.enums import OrderKind, TriggerPrice
from backtester.errors import DataError, StrategyError
from backtester.market.store import DatasetKey, Store
from backtester.strategy.loop import (
    SettingField,
    bar_number,
    close_price,
    indicator,
    quantity,
    set_exit,
    submit_limit,
    submit_market,
    submit_order,
)

A, COIN = "BTC/USDT:USDT", "BTC/USDT"
START, QUARTER, HOUR = 1_735_689_600_000, 900_000, 3_600_000  # 2025-01-01
TIERS = (MarginTier(maintenance_margin_rate=0.01, max_leverage=50),)
SETTINGS = {
    "fees": {"taker": 0.001, "maker": 0.0005},
    "funding": {"source": "none"},
    "data": {"mark": "trade"},
    "sizing": {"unit": "quantity"},
}
QUARTERS = 16
STOP, INDEX = int(OrderKind.STOP), int(TriggerPrice.INDEX)
PRICE = [100.0 + k for k in range(QUARTERS)]  # each quarter opens one higher and closes at the next one's open


def at(quarter: int) -> int:
    return START + quarter * QUARTER


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Quarters from 100 to 116; the tenth dips to 95."""
    made = Store(tmp_path / "data")
    low = [*PRICE]
    low[9] = 95.0
    bars = pl.DataFrame(
        {
            "open_time": pl.Series([at(k) for k in range(QUARTERS)]).cast(pl.Datetime("ms", "UTC")),
            "open": PRICE,
            "high": [p + 1 for p in PRICE],
            "low": low,
            "close": [p + 1 for p in PRICE],
            "volume": [50.0] * QUARTERS,
        }
    )
    for symbol in (A, COIN):
        made.write(DatasetKey("generic", symbol, "trade", "15m"), bars, source="test")
    return made


def run(store: Store, strategy: Strategy | None = None, **options: object) -> backtester.Result:
    settings = {**SETTINGS, **options.pop("settings", {})}
    given = {"venue": "generic", "symbols": [A], "timeframe": "15m", "leverage": 10.0, "balance": 1000.0, **options}
    what = backtester.RunConfig() if strategy is None else strategy
    return backtester.run(what, data=store, tiers=TIERS, settings=settings, out=None, **given)


def from_file(store: Store, text: str, **options: object) -> backtester.Result:
    path = store.root / "mine.csv"
    path.write_text(text, encoding="utf-8")
    settings = {"strategy": {"signals": str(path)}, **options.pop("settings", {})}
    return run(store, settings=settings, **options)


def fills(result: backtester.Result) -> list[tuple]:
    shown = result.fills.select(pl.col("time").cast(pl.Int64), "side", "quantity", "price", "liquidity", "reason")
    return list(shown.iter_rows())


def test_a_stop_of_a_file_closes_inside_its_bar(store: Store) -> None:
    result = from_file(store, "open_time,target,stop_loss\n2025-01-01T00:00,2,0.05\n")
    # Bought at 101 in the second quarter; 5 % below is 95.95, which the tenth passes on its way from 109 to 95.
    entry, exit_ = fills(result)
    assert entry == (at(1), "buy", 2.0, 101.0, "taker", "target")
    assert at(9) < exit_[0] < at(10)
    assert exit_[1:] == ("sell", 2.0, pytest.approx(95.95), "taker", "stop_loss")
    (trade,) = result.trades.iter_rows(named=True)
    assert (trade["exit_reason"], trade["pnl"]) == ("stop_loss", pytest.approx(2 * (95.95 - 101)))
    assert trade["fees"] == pytest.approx(-0.001 * 2 * (101 + 95.95))
    stop = result.orders.filter(pl.col("origin") == "stop_loss").row(0, named=True)
    assert (stop["kind"], stop["status"], stop["position_side"], stop["request"]) == ("stop", "filled", "flat", None)
    assert stop["trigger_price"] == pytest.approx(95.95)
    assert np.isnan(stop["limit_price"] or np.nan)


def test_decisions_on_hours_stop_inside_a_quarter(store: Store) -> None:
    text = "open_time,target,stop_loss\n2025-01-01T00:00,2,0.05\n"
    result = from_file(store, text, timeframe="1h", detail="15m")
    # Decided at 01:00, bought at 104: the stop at 98.8 is passed in the tenth quarter, 02:15 to 02:30.
    entry, exit_ = fills(result)
    assert entry[0] == at(4)
    assert at(9) < exit_[0] < at(10)
    assert (exit_[3], exit_[5]) == (pytest.approx(98.8), "stop_loss")
    assert result.equity.height == QUARTERS


def test_limits_of_a_file_rest_as_makers(store: Store) -> None:
    text = (
        "open_time,target,limit_price,limit_share,limit_price_2,limit_share_2\n"
        "2025-01-01T00:00,4,100,0.25,97,0.5\n2025-01-01T02:30,0,,,,\n"
    )
    result = from_file(store, text)
    # New at 101, below it 100 and 97: both are passed in the tenth quarter. The last rung takes the rest, 3.
    first, second, exit_ = fills(result)
    assert first[1:] == ("buy", 1.0, 100.0, "maker", "target")
    assert second[1:] == ("buy", 3.0, 97.0, "maker", "target")
    assert exit_ == (at(11), "sell", 4.0, 111.0, "taker", "target")
    bought, sold = 100 + 3 * 97, 4 * 111
    assert result.summary["maker_share"] == pytest.approx(bought / (bought + sold))
    assert result.summary["fees"] == pytest.approx(-(0.0005 * bought + 0.001 * sold))
    assert result.orders.filter(pl.col("kind") == "limit")["limit_price"].to_list() == [100.0, 97.0]


def test_transfers_are_no_profit(store: Store) -> None:
    transfers = [{"time": "2025-01-01T00:50", "amount": 500.0}, {"time": "2025-01-01T02:00", "amount": -200.0}]
    result = from_file(store, "open_time,target\n2025-01-01T00:00,2\n", settings={"transfers": transfers})
    moved = result.ledger.filter(pl.col("kind") == "transfer")
    assert moved["time"].cast(pl.Int64).to_list() == [at(4), at(8)]
    assert moved["amount"].to_list() == [500.0, -200.0]
    assert moved["symbol"].to_list() == [None, None]
    # 2 from 101 to 116, less the fee of 0.1 % of 202.
    assert result.summary["net_profit"] == pytest.approx(30 - 0.202)
    assert result.summary["final_equity"] == pytest.approx(1300 + 30 - 0.202)
    assert result.summary["transfer"] == 300.0


def test_what_is_held_from_the_start(store: Store) -> None:
    settings = {"collateral": {"BTC": {"quantity": 0.5, "haircut": 0.2}}}
    result = from_file(store, "open_time,target\n2025-01-01T00:00,2\n", settings=settings)
    entered = result.ledger.filter(pl.col("kind") == "transfer").row(0, named=True)
    assert (entered["symbol"], entered["amount"]) == (COIN, 50.0)
    held = result.trades.filter(pl.col("symbol") == COIN).row(0, named=True)
    assert (held["entry_price"], held["quantity"], held["pnl"]) == (100.0, 0.5, 0.5 * 16)
    assert held["exit_reason"] == "open"
    assert result.summary["net_profit"] == pytest.approx(0.5 * 16 + 2 * 15 - 0.202)
    assert max(result.manifest["identities"].values()) < 1e-9


def test_targets_of_a_file_are_scaled_to_a_volatility(store: Store) -> None:
    text = "open_time,target\n2025-01-01T00:00,1\n2025-01-01T01:00,0.5\n"
    sizing = {"sizing": {"unit": "volatility", "vol_target": 0.02, "vol_window": 3}}
    result = from_file(store, text, settings=sizing)
    # Three returns are known from the fourth close on: 102/101, 103/102 … up to 105/104 at the close of 01:00.
    returns = np.array([103 / 102, 104 / 103, 105 / 104]) - 1
    factor = 0.02 / (returns.std(ddof=1) * np.sqrt(365 * 96))
    assert factor < 10
    assert result.targets["target"].to_list() == [pytest.approx(0.5 * factor)]
    assert [row[0] for row in fills(result)] == [at(5)]


def test_what_is_delisted_is_settled_at_its_last_mark(store: Store) -> None:
    gone = "GONE/USDT:USDT"
    bars = store.read(DatasetKey("generic", A, "trade", "15m"))[:8]
    store.write(DatasetKey("generic", gone, "trade", "15m"), bars, source="test")
    options = {"symbols": [A, gone], "start": "2025-01-01", "end": "2025-01-01T04:00"}
    settings = {"data": {"mark": "trade", "allow_gaps": True}}
    text = f"open_time,symbol,target\n2025-01-01T00:00,{gone},2\n2025-01-01T03:00,{gone},5\n"
    result = from_file(store, text, settings=settings, **options)
    # Bought at 101; the eighth quarter is the last and closes at 108: settled there without a fee.
    entry, exit_ = fills(result)
    assert entry[:4] == (at(1), "buy", 2.0, 101.0)
    assert at(7) < exit_[0] <= at(8)
    assert (exit_[1], exit_[3], exit_[5]) == ("sell", 108.0, "delisting")
    assert result.trades["exit_reason"].to_list() == ["delisting"]
    assert result.summary["net_profit"] == pytest.approx(2 * 7 - 0.202)
    told = {n.code: n.text for n in result.notices}
    assert told["delisted"].startswith(f"Positions were settled at the mark when their contracts were delisted: {gone}")
    assert told["signals_outside"].startswith(f"Not used: 1 row of the signals for {gone} after its last bar")


class Always(Strategy):
    """Two coins, whenever they may be held."""

    def target(self) -> pl.Expr:
        return pl.lit(2.0)


def test_what_leaves_the_universe_of_the_run_is_closed(store: Store) -> None:
    path = store.root / "members.csv"
    path.write_text(
        f"time,symbol,member\n2025-01-01,{A},true\n2025-01-01T01:00,{A},false\n2025-01-01T02:00,{A},true\n",
        encoding="utf-8",
    )
    result = run(store, Always(), settings={"universe": {"file": str(path)}})
    # Out at the close of 01:00, sold at the open of 01:00; in again at the close of 02:00.
    assert [(time, side, price) for time, side, _, price, _, _ in fills(result)] == [
        (at(1), "buy", 101.0),
        (at(4), "sell", 104.0),
        (at(8), "buy", 108.0),
    ]


class Upside(Strategy):
    """A short leg with the sign of a long one."""

    def target_long(self) -> float:
        return 1.0

    def target_short(self) -> float:
        return 0.5


def test_a_short_leg_of_the_wrong_sign_is_refused(store: Store) -> None:
    with pytest.raises(DataError, match=r"strategy upside: target_short of .* must be at most 0 .*, got 0\.5 at 2025"):
        run(store, Upside(), position_mode="hedge")


class Pulse(Strategy):
    """Buys when flat, then offers what is held above the close."""

    size: float = Param(2.0, gt=0)

    def indicators(self) -> dict[str, pl.Expr]:
        return {"age": pl.int_range(pl.len()).cast(pl.Float64)}

    @staticmethod
    def on_bar(ctx, params) -> None:
        if indicator(ctx, 0, 0, 0) == 2.0:
            submit_market(ctx, 0, params.size)
        elif indicator(ctx, 0, 0, 0) == 3.0:
            submit_limit(ctx, 0, -quantity(ctx, 0), close_price(ctx, 0, 0) + 2.5)


class Careless(Strategy):
    """Reads beyond what there is."""

    @staticmethod
    def on_bar(ctx, params) -> None:
        if close_price(ctx, 0, 0) > 104.5:
            ctx.state[99, 99] = 1.0


@pytest.mark.parametrize("compiled", [True, False])
def test_a_loop_is_called_at_each_close(store: Store, compiled: bool) -> None:
    result = run(store, Pulse(), settings={"strategy": {"compiled": compiled}})
    # Asked at the close of the third quarter; the close of the fourth, 104, puts the offer at 106.5, reached in the
    # seventh quarter (106 to 107).
    entry, exit_ = fills(result)
    assert entry == (at(3), "buy", 2.0, 103.0, "taker", "order")
    assert at(6) < exit_[0] < at(7)
    assert exit_[1:] == ("sell", 2.0, 106.5, "maker", "order")
    assert result.trades["exit_reason"].to_list() == ["order"]
    assert result.orders["request"].to_list() == [0, 1]
    assert result.orders["target"].null_count() == 2
    assert result.targets.is_empty()


def test_a_loop_over_finer_bars_is_called_at_the_decisions_closes(store: Store) -> None:
    result = run(store, Pulse(), timeframe="30m", detail="15m")
    # The third half hour ends with the sixth quarter, at 106; the fourth closes at 108.
    entry, exit_ = fills(result)
    assert entry[:4] == (at(6), "buy", 2.0, 106.0)
    assert exit_[3] == 110.5


def test_a_loop_that_raises_names_its_line(store: Store) -> None:
    with pytest.raises(StrategyError, match=r"test_run_features\.py:\d+"):
        run(store, Careless())


class Bold(Strategy):
    """Asks for a leverage at the fourth close."""

    leverage_set: float = Param(50.0)

    @staticmethod
    def on_bar(ctx, params) -> None:
        if close_price(ctx, 0, 0) == 104.0:
            set_exit(ctx, 0, SettingField.LEVERAGE, params.leverage_set)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_loop_may_set_a_leverage_within_the_tiers(store: Store, compiled: bool) -> None:
    settings = {"strategy": {"compiled": compiled}}
    assert run(store, Bold(), settings=settings).fills.is_empty()
    with pytest.raises(StrategyError, match="sets LEVERAGE to 51 at the close at 2025-01-01 01:00 UTC") as caught:
        run(store, Bold(leverage_set=51.0), settings=settings)
    assert "The contract's margin tiers allow 50 at most." in caught.value.hint
    assert "set_exit(ctx, 0, SettingField.LEVERAGE, params.leverage_set)" in caught.value.hint


def test_settings_without_effect_on_a_loop_are_told(store: Store) -> None:
    told = {notice.code: notice.text for notice in run(store, Pulse()).notices}  # sized by quantity
    assert told["settings_idle"].startswith("sizing.unit = quantity: without effect")


def test_a_profit_target_out_of_reach_is_told(store: Store) -> None:
    result = from_file(store, "open_time,target,take_profit\n2025-01-01T00:00,-2,1.5\n")
    told = [notice.text for notice in result.notices if notice.code == "take_profit_far"]
    assert told == ["take_profit is 1.5 for a short, which never gains 150 %: it is never reached."]


def test_legs_stand_beside_each_other(store: Store) -> None:
    text = "open_time,target_long,target_short\n2025-01-01T00:00,2,-1\n2025-01-01T00:30,0,\n"
    result = from_file(store, text, position_mode="hedge")
    # Both open at 101; the long leg is sold at 103, the short one is held to the end, 116.
    assert [(time, side, size, price) for time, side, size, price, _, _ in fills(result)] == [
        (at(1), "buy", 2.0, 101.0),
        (at(1), "sell", 1.0, 101.0),
        (at(3), "sell", 2.0, 103.0),
    ]
    assert result.fills["position_side"].to_list() == ["long", "short", "long"]
    legs = result.positions.select("position_side", "position_quantity")
    assert list(legs.iter_rows()) == [("long", 2.0), ("short", -1.0), ("long", 0.0)]
    long, short = result.trades.sort("position_side").iter_rows(named=True)
    assert (long["pnl"], long["exit_reason"]) == (4.0, "target")
    assert (short["pnl"], short["exit_reason"]) == (-15.0, "open")
    assert result.orders["position_side"].to_list() == ["long", "short", "long"]
    assert result.summary["net_profit"] == pytest.approx(4 - 15 - 0.001 * (202 + 101 + 206))
    assert max(result.manifest["identities"].values()) < 1e-9


class IndexStop(Strategy):
    """Buys where the index, two below the trades, comes to 104."""

    reads = ("index_close",)

    @staticmethod
    def on_bar(ctx, params):
        if bar_number(ctx) == 0:
            submit_order(ctx, 0, STOP, 1.0, trigger=104.0, watches=INDEX)


def test_a_loop_that_reads_the_index_may_watch_it(store: Store) -> None:
    """Quarter k opens at 100 + k and its index two below: at 104 where the trades come to 106, in quarter 5."""
    trades = store.read(DatasetKey("generic", A, "trade", "15m"))
    index = trades.drop("volume").with_columns(pl.col("open", "high", "low", "close") - 2.0)
    store.write(DatasetKey("generic", A, "index", "15m"), index, source="test")
    (fill,) = run(store, IndexStop()).fills.iter_rows(named=True)
    assert (fill["price"], fill["reason"], fill["bar"]) == (106.0, "order", 5)
