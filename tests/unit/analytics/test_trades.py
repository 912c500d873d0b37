"""Round trips of hand-worked fills."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from backtester.analytics.trades import round_trips, statistics
from backtester.domain.config import InstrumentConfig
from backtester.engine.result import Result
from tests.unit.report import sample

HOUR = sample.HOUR
BTC = "BTC/USDT:USDT"


def run(fills: list[tuple], *, funding: list[tuple] = (), ledger: list[tuple] = (), inverse: bool = False) -> Result:
    """A result of six hourly bars at 100 to 105 whose fills are given as (time, side, quantity, price, pnl, reason).

    Fills of one time are of one order.
    """
    base = sample.flat(6)
    price = pl.int_range(100, 106, eager=True).cast(pl.Float64)
    bars = base.bars.with_columns(
        open=price, high=price + 3.0, low=price - 2.0, close=price + 1.0, mark_close=price + 1.0
    )
    rows = []
    for time, side, quantity, at, pnl, reason in fills:
        sized = (quantity, at, quantity * at, 0.1 * quantity, pnl, 0.0)
        rows.append((sample.START + time, time, BTC, "long", side, *sized, "taker", reason))
    kind = "inverse" if inverse else "linear"
    config = base.config.model_copy(update={"instruments": {BTC: InstrumentConfig(kind=kind)}})
    return replace(
        base,
        config=config,
        bars=bars,
        fills=sample.frame(sample.FILLS, rows),
        funding=sample.frame(sample.FUNDING, list(funding)),
        ledger=sample.frame(sample.LEDGER, list(ledger)),
    )


def paid(time: int, amount: float) -> tuple:
    return (sample.START + time, BTC, "long", 0.0001, 100.0, 1.0, amount)


def test_partial_reductions_belong_to_the_trip() -> None:
    fills = [
        (HOUR, "buy", 2.0, 101.0, 0.0, "target"),
        (2 * HOUR, "buy", 2.0, 103.0, 0.0, "target"),
        (3 * HOUR, "sell", 1.0, 104.0, 2.0, "target"),
        (4 * HOUR, "sell", 3.0, 100.0, -6.0, "target"),
    ]
    trade = round_trips(run(fills, funding=[paid(HOUR, 9.0), paid(2 * HOUR, -0.5), paid(4 * HOUR, -0.25)])).row(
        0, named=True
    )
    assert trade["entry_price"] == 102.0
    assert trade["exit_price"] == 101.0
    assert trade["quantity"] == 4.0
    assert trade["pnl"] == -4.0
    assert trade["fees"] == pytest.approx(-0.8)
    assert trade["funding"] == -0.75  # the settlement at the entry's own time came before it
    assert trade["net_pnl"] == pytest.approx(-5.55)
    assert trade["exit_reason"] == "target"
    # Bars 1 to 3: lows 99, 100, 101 and highs 104, 105, 106; bar 4 begins with the exit.
    assert trade["mae"] == pytest.approx(99 / 102 - 1)
    assert trade["mfe"] == pytest.approx(106 / 102 - 1)


@pytest.mark.parametrize("split", [True, False])
def test_flip_ends_one_trip_and_starts_another(split: bool) -> None:
    turn = [(3 * HOUR, "sell", 1.0, 103.0, 2.0, "target"), (3 * HOUR, "sell", 2.0, 103.0, 0.0, "target")]
    if not split:
        turn = [(3 * HOUR, "sell", 3.0, 103.0, 2.0, "target")]
    trades = round_trips(run([(HOUR, "buy", 1.0, 101.0, 0.0, "target"), *turn]))
    assert trades["position_side"].to_list() == ["long", "short"]
    assert trades["exit_reason"].to_list() == ["flip", "open"]
    assert trades["exit_time"].null_count() == 1
    assert trades["quantity"].to_list() == [1.0, 2.0]
    assert trades["fees"].to_list() == pytest.approx([-0.2, -0.2])
    assert trades["pnl"].to_list() == pytest.approx([2.0, 2 * (103 - 106)])  # marked at the last close
    assert trades["mae"][1] == pytest.approx(-(108 / 103 - 1))


def test_liquidation_inside_a_bar_counts_that_bar() -> None:
    end = 3 * HOUR - 1
    fills = [(HOUR, "buy", 1.0, 101.0, 0.0, "target"), (end, "sell", 1.0, 90.0, -11.0, "liquidation")]
    ledger = [(sample.START + end, BTC, "USDT", "liquidation_fee", -0.5, 0.0)]
    trade = round_trips(run(fills, ledger=ledger)).row(0, named=True)
    assert trade["exit_reason"] == "liquidation"
    assert trade["liquidation"] == -0.5
    assert trade["mfe"] == pytest.approx(105 / 101 - 1)  # bar 2 is part of it


def test_inverse_entry_is_harmonic() -> None:
    fills = [
        (HOUR, "buy", 100.0, 100.0, 0.0, "target"),
        (2 * HOUR, "buy", 100.0, 300.0, 0.0, "target"),
        (4 * HOUR, "sell", 200.0, 150.0, 0.0, "target"),
    ]
    trade = round_trips(run(fills, inverse=True)).row(0, named=True)
    assert trade["entry_price"] == pytest.approx(150.0)
    assert trade["exit_price"] == pytest.approx(150.0)


def test_rounding_does_not_keep_a_trip_open() -> None:
    fills = []
    for n in range(5):
        fills += [(n * HOUR, "buy", q, 100.0, 0.0, "target") for q in (0.1, 0.2)]
        fills.append((n * HOUR + 1, "sell", 0.3, 100.0, 0.0, "target"))
    assert round_trips(run(fills)).height == 5


def test_statistics() -> None:
    trades = pl.DataFrame(
        {
            "entry_time": [0, 0, 0, 0],
            "exit_time": [HOUR, 3 * HOUR, HOUR, None],
            "net_pnl": [10.0, -4.0, 0.0, 100.0],
            "mae": [-0.1, -0.2, -0.3, -0.9],
            "mfe": [0.1, 0.2, 0.3, 0.9],
        }
    ).with_columns(pl.col("entry_time", "exit_time").cast(sample.TIME))
    found = statistics(trades)
    assert (found["trades"], found["open_trades"]) == (3, 1)
    assert found["hit_rate"] == pytest.approx(1 / 3)
    assert found["profit_factor"] == 2.5
    assert found["average_mae"] == pytest.approx(-0.2)
    assert found["average_holding_hours"] == pytest.approx(5 / 3)


def test_no_fills() -> None:
    trades = round_trips(sample.flat())
    assert trades.is_empty()
    assert "net_pnl" in trades.columns
    assert statistics(trades)["hit_rate"] is None


def test_two_orders_at_one_time_are_no_flip() -> None:
    result = run([(HOUR, "buy", 1.0, 101.0, 0.0, "order"), (3 * HOUR, "sell", 1.0, 103.0, 2.0, "order")])
    again = run([(3 * HOUR, "sell", 2.0, 103.0, 0.0, "order")]).fills.with_columns(order_id=pl.lit(9, pl.Int64))
    trades = round_trips(replace(result, fills=pl.concat([result.fills, again])))
    assert trades["exit_reason"].to_list() == ["order", "open"]
