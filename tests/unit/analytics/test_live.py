"""A run beside live trades: pairs and differences worked by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from backtester.analytics.live import LiveComparison, compare_live
from backtester.domain.config import InstrumentConfig
from backtester.engine.fill_file import read_fills
from backtester.engine.funding_file import FundingTable, read_funding
from backtester.engine.result import Result
from tests.unit.report import sample

T = sample.START + sample.HOUR
A, B = "AAA/USDT:USDT", "BBB/USDT:USDT"
TIME = pl.Datetime("ms", "UTC")
SECOND = 1000


def simulated(*fills: tuple, **over) -> Result:
    """A run with the fills (time, order, symbol, side, quantity, price, fee)."""
    names = ("time", "order_id", "symbol", "side", "quantity", "price", "fee_paid")
    frame = pl.DataFrame([dict(zip(names, row, strict=True)) for row in fills])
    frame = frame.with_columns(pl.col("time").cast(TIME), reason=pl.lit("target"))
    return replace(sample.one_trade(), symbols=(A, B), fills=frame, **over)


def compare(folder: Path, run: Result, *rows: str, funding: FundingTable | None = None, **over) -> LiveComparison:
    path = folder / "live.csv"
    head = "time,symbol,side,quantity,price,fee,fee_currency,order_id\n"
    path.write_text(head + "".join(row + "\n" for row in rows), encoding="utf-8")
    return compare_live(run, read_fills(path), funding, **over)


def test_slippage_and_fees(tmp_path: Path) -> None:
    """Bought 2 at 100.1 instead of 100: 10 bp, 0.2; sold 2 at 109.89 instead of 110: 10 bp, 0.22; fees 0.1 each."""
    run = simulated((T, 0, A, "buy", 2.0, 100.0, 0.1), (T + sample.HOUR, 1, A, "sell", 2.0, 110.0, 0.11))
    found = compare(
        tmp_path,
        run,
        f"{T + 30 * SECOND},AAAUSDT,buy,1.5,100.0,0.075,USDT,x",
        f"{T + 31 * SECOND},AAAUSDT,buy,0.5,100.4,0.045,USDT,x",
        f"{T + sample.HOUR - 2 * SECOND},AAAUSDT,sell,2,109.89,0.1,BNB,y",
    )
    first, second = found.matched.to_dicts()
    assert (first["quantity_live"], first["price_live"], first["delay"]) == (2.0, pytest.approx(100.1), 30.0)
    assert (first["order_id_simulated"], first["order_id_live"]) == ("0", "x")
    assert first["slippage_bps"] == pytest.approx(10.0)
    assert first["slippage_cost"] == pytest.approx(0.2)
    assert first["fee_difference"] == pytest.approx(0.02)
    assert second["delay"] == -2.0
    assert second["slippage_bps"] == pytest.approx(10.0)
    assert second["slippage_cost"] == pytest.approx(0.22)
    assert second["fee_live"] is None  # in another currency
    assert second["fee_difference"] is None
    totals = found.totals
    assert (totals["matched"], totals["only_simulated"], totals["only_live"]) == (2, 0, 0)
    assert totals["slippage_bps"] == pytest.approx(10.0)
    assert totals["slippage_cost"] == pytest.approx(0.42)
    assert totals["fee_difference"] == pytest.approx(0.02)
    assert totals["funding_difference"] is None
    assert totals["cost"] == pytest.approx(0.44)


def test_costs_are_those_of_the_live_quantity(tmp_path: Path) -> None:
    """1 of 2 units: a fee of 0.1 for 2 is 0.05 for 1; 1 worse on one unit is 1."""
    found = compare(tmp_path, simulated((T, 0, A, "buy", 2.0, 100.0, 0.1)), f"{T},AAAUSDT,buy,1,101,0.06,USDT,")
    assert found.matched["slippage_cost"].to_list() == [pytest.approx(1.0)]
    assert found.matched["fee_difference"].to_list() == [pytest.approx(0.01)]


def test_better_prices_are_negative(tmp_path: Path) -> None:
    found = compare(tmp_path, simulated((T, 0, A, "sell", 1.0, 100.0, 0.0)), f"{T},AAAUSDT,sell,1,101,,,")
    assert found.matched["slippage_bps"].to_list() == [pytest.approx(-100.0)]
    assert found.totals["slippage_cost"] == pytest.approx(-1.0)
    assert found.totals["fee_difference"] is None


def test_which_orders_are_the_same(tmp_path: Path) -> None:
    """Within 60 s: the nearest in time and size; never another side or contract, or more than twice the size."""
    run = simulated(
        (T, 0, A, "buy", 1.0, 100.0, 0.0),
        (T + 20 * SECOND, 1, A, "buy", 1.0, 100.0, 0.0),
        (T + 40 * SECOND, 2, B, "buy", 1.0, 100.0, 0.0),
        (T + 40 * SECOND, 3, A, "sell", 5.0, 100.0, 0.0),
        (T + 50 * SECOND, -1, A, "sell", 1.0, 100.0, 0.0),
    )
    found = compare(
        tmp_path,
        run,
        f"{T + 18 * SECOND},AAAUSDT,buy,1,100,,,near the second",
        f"{T + 19 * SECOND},AAAUSDT,buy,1.2,100,,,left for the first",
        f"{T + 45 * SECOND},AAAUSDT,sell,2.4,100,,,too small for the fourth and too large for the fifth",
        f"{T + 101 * SECOND},BBBUSDT,buy,1,100,,,61 s late",
        within_ms=60 * SECOND,
    )
    assert found.matched.select("order_id_simulated", "order_id_live").rows() == [
        ("0", "left for the first"),
        ("1", "near the second"),
    ]
    assert found.only_simulated["order_id"].to_list() == ["2", "3", "target"]
    assert found.only_live["order_id"].to_list() == [
        "too small for the fourth and too large for the fifth",
        "61 s late",
    ]
    assert (found.totals["only_simulated"], found.totals["only_live"]) == (3, 2)
    late = compare(tmp_path, run, f"{T + 101 * SECOND},BBBUSDT,buy,1,100,,,a", within_ms=61 * SECOND)
    assert late.matched["order_id_simulated"].to_list() == ["2"]


def test_nothing_is_missing_before_and_after_the_live_trades(tmp_path: Path) -> None:
    run = simulated(*((T + k * sample.HOUR, k, A, "buy", 1.0, 100.0, 0.0) for k in range(4)))
    found = compare(
        tmp_path, run, f"{T + sample.HOUR},AAAUSDT,buy,1,100,,,a", f"{T + 2 * sample.HOUR},AAAUSDT,buy,9,100,,,b"
    )
    assert found.only_simulated["order_id"].to_list() == ["2"]
    assert [notice.text for notice in found.notices] == [
        "Not compared: 2 simulated orders before or after the live trades."
    ]
    outside = compare(tmp_path, run, f"{sample.START - 1},AAAUSDT,buy,1,100,,,a")
    assert outside.totals["matched"] == outside.totals["only_simulated"] == 0
    assert outside.totals["slippage_bps"] is None
    assert outside.totals["cost"] is None
    assert [notice.code for notice in outside.notices] == ["fills_outside"]


def test_inverse_contracts_cost_in_the_coin(tmp_path: Path) -> None:
    """100 quote units bought at 50 instead of 40: 100/40 - 100/50 = 0.5 coins; the average is harmonic."""
    run = simulated((T, 0, A, "buy", 100.0, 40.0, 0.0))
    config = run.config.model_copy(update={"instruments": {A: InstrumentConfig(kind="inverse", contract_size=10.0)}})
    path = tmp_path / "live.csv"
    path.write_text(
        f"time,symbol,side,contracts,price,order_id\n{T},{A},buy,4,40,a\n{T},{A},buy,6,60,a\n", encoding="utf-8"
    )
    (row,) = compare_live(replace(run, config=config), read_fills(path)).matched.to_dicts()
    assert row["quantity_live"] == 100.0
    assert row["price_live"] == pytest.approx(50.0)  # 100 / (40/40 + 60/60)
    assert row["slippage_cost"] == pytest.approx(0.5)
    assert row["slippage_bps"] == pytest.approx(2500.0)


def test_funding_by_settlement(tmp_path: Path) -> None:
    """Simulated -2, +1, -3, -4 at four settlements; live -2.5 at the second, nothing at the third, -1 at the fourth."""
    run = simulated((T, 0, A, "buy", 1.0, 100.0, 0.0))
    hours = [T + k * sample.HOUR for k in range(4)]
    payments = pl.DataFrame({"time": hours, "symbol": [A] * 4, "funding_payment": [-2.0, 1.0, -3.0, -4.0]})
    run = replace(run, funding=payments.with_columns(pl.col("time").cast(TIME)))
    path = tmp_path / "funding.csv"
    path.write_text(
        "time,symbol,funding_payment\n"
        f"{hours[1] + 7},{A},-2.5\n{hours[3]},{A},-1\n{sample.START - sample.HOUR},{A},-50\n"
    )
    found = compare(tmp_path, run, f"{T},AAAUSDT,buy,1,100,,,a", funding=read_funding(path, run.symbols))
    assert found.funding.select("funding_simulated", "funding_live", "funding_difference").rows() == [
        (1.0, -2.5, 3.5),
        (-3.0, None, -3.0),
        (-4.0, -1.0, -3.0),
    ]
    assert found.totals["funding_difference"] == pytest.approx(-2.5)
    assert found.totals["cost"] == pytest.approx(-2.5)
