"""Round trips, unrealised profit and distances of legs, and of quantities held from the start; hand-worked."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from backtester.analytics import attribution, risk, summarize
from backtester.analytics.exposure import maker_share
from backtester.analytics.slots import slot_records
from backtester.analytics.trades import round_trips
from backtester.domain.config import AccountConfig, InstrumentConfig
from backtester.engine.result import Result
from tests.unit.report import sample

HOUR, START = sample.HOUR, sample.START
BTC = "BTC/USDT:USDT"
COIN = "BTC/USDT"


def run(*, symbol: str = BTC, mode: str = "hedge", **rows: list[tuple]) -> Result:
    """Six hourly bars that open at 100 to 105 and close 1 higher, marks as closes, and the rows given by frame."""
    base = sample.flat(6)
    price = pl.int_range(100, 106, eager=True).cast(pl.Float64)
    bars = base.bars.with_columns(
        pl.lit(symbol).alias("symbol"),
        open=price,
        high=price + 3.0,
        low=price - 2.0,
        close=price + 1.0,
        mark_close=price + 1.0,
    )
    config = base.config.model_copy(
        update={"instruments": {symbol: InstrumentConfig(kind="linear")}, "account": AccountConfig(position_mode=mode)}
    )
    columns = {
        "fills": sample.FILLS,
        "funding": sample.FUNDING,
        "ledger": sample.LEDGER,
        "positions": sample.POSITIONS,
        "liquidations": sample.LIQUIDATIONS,
    }
    frames = {name: sample.frame(names, rows.get(name, [])) for name, names in columns.items()}
    return replace(base, config=config, symbols=(symbol,), bars=bars, **frames)


def fill(hour: float, leg: str, side: str, quantity: float, price: float, pnl: float = 0.0, **other: object) -> tuple:
    time, symbol = START + round(hour * HOUR), other.get("symbol", BTC)
    figures = (quantity, price, quantity * price, 0.0, pnl, other.get("slippage", 0.0))
    return (time, 0, symbol, leg, side, *figures, other.get("liquidity", "taker"), other.get("reason", "target"))


BOTH = [
    fill(0, "long", "buy", 2.0, 100.0),
    fill(1, "short", "sell", 3.0, 101.0),
    fill(2, "long", "sell", 2.0, 102.0, 4.0, reason="take_profit"),
    fill(4, "short", "buy", 1.0, 104.0, -3.0, reason="stop_loss"),
]


def test_each_leg_has_trips_of_its_own() -> None:
    paid = [
        (START + HOUR, BTC, "long", 0.01, 100.0, 2.0, -2.0),
        (START + 2 * HOUR, BTC, "long", 0.01, 100.0, 2.0, -2.5),
        (START + 2 * HOUR, BTC, "short", 0.01, 100.0, -3.0, 3.0),
    ]
    long, short = round_trips(run(fills=BOTH, funding=paid)).iter_rows(named=True)
    assert (long["position_side"], long["quantity"], long["pnl"]) == ("long", 2.0, 4.0)
    assert (long["exit_reason"], long["exit_price"], long["funding"]) == ("take_profit", 102.0, -4.5)
    assert (short["position_side"], short["exit_reason"], short["exit_time"]) == ("short", "open", None)
    assert short["pnl"] == -3.0 + 2.0 * (101.0 - 106.0)
    assert short["funding"] == 3.0
    assert short["mae"] == pytest.approx(-(108 / 101 - 1))  # the last bar's high, while 2 are still held
    one_way = round_trips(run(fills=BOTH, mode="one_way"))
    assert one_way["exit_reason"].to_list() == ["flip", "open"]  # 2 bought, then 3 sold


def test_what_a_liquidation_cost_goes_to_its_leg() -> None:
    """Both legs taken over at once: the long lost 1 of fee and 5 of clearance, the short 2 of clearance, 0.5 beside."""
    fills = [
        *BOTH[:2],
        fill(3.5, "long", "sell", 2.0, 90.0, -20.0, reason="liquidation"),
        fill(3.5, "short", "buy", 3.0, 90.0, 33.0, reason="liquidation"),
    ]
    time = START + round(3.5 * HOUR)
    story = (1.0, 100.0, 90.0, None, 90.0, 0.0, 0.0, 0)
    stories = [
        (time, BTC, "long", "takeover", *story, 26.0, 1.0, 0.0, False),
        (time, BTC, "short", "takeover", *story, -31.0, 0.0, 0.0, False),
    ]
    ledger = [
        (time, BTC, "USDT", "liquidation_fee", -1.0, 0.0),
        (time, BTC, "USDT", "insurance_clearance", -5.0, 0.0),
        (time, BTC, "USDT", "insurance_clearance", -2.0, 0.0),
        (time, BTC, "USDT", "insurance_clearance", 0.5, 0.0),
    ]
    long, short = round_trips(run(fills=fills, liquidations=stories, ledger=ledger)).iter_rows(named=True)
    assert (long["liquidation"], long["net_pnl"]) == (-6.0, -26.0)
    assert (short["liquidation"], short["net_pnl"]) == (-1.5, 31.5)
    assert long["exit_reason"] == short["exit_reason"] == "liquidation"


def test_unrealised_profit_of_both_legs_adds_up() -> None:
    positions = [
        (START, BTC, "long", 2.0, 100.0, 0.0, 50.0),
        (START, BTC, "short", -3.0, 101.0, 0.0, 150.0),
        (START + 2 * HOUR, BTC, "long", 1.0, 100.0, 0.0, 53.0),
    ]
    result = run(positions=positions)
    assert attribution.last_unrealized(result) == {BTC: 1.0 * (106 - 100) - 3.0 * (106 - 101)}
    distance = risk.liquidation_distance(result.positions, result.bars, HOUR, hedged=True)
    last = distance.filter(pl.col("close_time") == pl.col("close_time").max())
    assert last["distance"].to_list() == pytest.approx([(106 - 53) / 106, (150 - 106) / 106])


HELD = {
    "ledger": [(START, COIN, "USDT", "transfer", 200.0, 10_200.0), (START + HOUR, None, "USDT", "transfer", 50.0, 0.0)],
    "positions": [
        (START, COIN, "long", 2.0, 100.0, 200.0, None),
        (START + round(2.5 * HOUR), COIN, "flat", 0.0, None, 0.0, None),
    ],
    "fills": [fill(2.5, "long", "sell", 2.0, 91.8, -16.4, symbol=COIN, reason="collateral", slippage=20.4)],
}


def test_a_holding_from_the_start_is_a_trip() -> None:
    (trip,) = round_trips(run(symbol=COIN, mode="one_way", **HELD)).iter_rows(named=True)
    assert (trip["position_side"], trip["entry_price"], trip["quantity"]) == ("long", 100.0, 2.0)
    assert (trip["exit_reason"], trip["exit_price"], trip["pnl"], trip["fees"]) == ("collateral", 91.8, -16.4, 0.0)
    still = {**HELD, "fills": [], "positions": HELD["positions"][:1]}
    (trip,) = round_trips(run(symbol=COIN, mode="one_way", **still)).iter_rows(named=True)
    assert (trip["exit_reason"], trip["pnl"]) == ("open", 2.0 * (106 - 100))
    assert slot_records(run(symbol=COIN, mode="one_way", **still)).fills["reason"].to_list() == ["transfer"]


def test_a_sale_of_collateral_costs_what_the_engine_takes() -> None:
    parts = attribution.attribute(run(symbol=COIN, mode="one_way", **HELD))
    assert parts["liquidation"] == -20.4
    assert parts["slippage"] == 0.0
    assert parts["transfer"] == 250.0


def test_net_profit_leaves_transfers_out() -> None:
    result = run(symbol=COIN, mode="one_way", **HELD)
    summary = summarize(replace(result, trades=round_trips(result)))
    assert summary["final_equity"] == 10_000.0
    assert summary["net_profit"] == -250.0


def test_maker_share_is_of_orders_alone() -> None:
    fills = [
        fill(0, "long", "buy", 3.0, 100.0, liquidity="maker", reason="target"),
        fill(1, "long", "sell", 1.0, 100.0, reason="stop_loss"),
        fill(2, "long", "sell", 2.0, 100.0, reason="liquidation"),
    ]
    assert maker_share(run(fills=fills).fills) == 0.75
    assert maker_share(run(fills=fills[2:]).fills) is None


def test_orders_are_counted_by_reason() -> None:
    base = run()
    names = "order_id symbol status reason bars_waited"
    ended = [("filled", "none"), ("cancelled", "oco"), ("cancelled", "oco"), ("rejected", "post_only")]
    rows = [(n, BTC, status, reason, 0) for n, (status, reason) in enumerate(ended)]
    summary = summarize(replace(base, trades=round_trips(base), orders=sample.frame(names, rows)))
    assert {key: summary[key] for key in summary if key.startswith("orders_cancelled")} == {
        "orders_cancelled": 2,
        "orders_cancelled_oco": 2,
    }
    assert summary["orders_rejected_post_only"] == 1
    assert "orders_filled_none" not in summary
