"""What a reader concludes from a table of assumptions, and how large a part of the market a run is."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from backtester import analytics
from backtester.analytics.assumptions import SHORTEST_CAGR_DAYS, assumption_table, rests_on
from backtester.analytics.capacity import capacity, participation
from backtester.cli import assume_output
from backtester.engine.assume import Tried
from backtester.engine.result import Result
from backtester.report.page import render_page
from tests.unit.report import sample


def table(base: float | None, **others: float | None) -> pl.DataFrame:
    """Total returns alone."""
    rows = [{"assumption": "base", "text": "as configured", "total_return": base, "total_return_difference": 0.0}]
    for name, total in others.items():
        change = None if total is None or base is None else total - base
        rows.append({"assumption": name, "text": name, "total_return": total, "total_return_difference": change})
    return pl.DataFrame(rows, infer_schema_length=None)


@pytest.mark.parametrize(
    ("returns", "text"),
    [
        ((0.20, {"a": 0.24, "b": 0.16, "c": None}), "The total return of +20.00% rests on none of these"),
        ((0.20, {"a": 0.26}), "rests on what these change: a (+26.00%)."),
        ((0.02, {"a": -0.001, "b": 0.029}), "rests on what these change: a (-0.10%)."),
        ((0.0, {"a": 0.009, "b": -0.02}), "rests on what these change: b (-2.00%)."),
        (
            (0.10, {"a": 0.14, "b": -0.30, "c": 0.20, "d": 0.60}),
            "change: d (+60.00%); b (-30.00%); c (+20.00%); less so a.",
        ),
        ((None, {"a": 0.1}), "no total return to compare"),
    ],
)
def test_what_the_result_rests_on(returns: tuple[float | None, dict[str, float]], text: str) -> None:
    base, others = returns
    assert text in rests_on(table(base, **others))


@pytest.fixture(scope="module")
def run() -> Result:
    return analytics.complete(sample.one_trade())


def test_rows_and_differences(run: Result) -> None:
    worse = replace(run, equity=run.equity.with_columns(pl.col("equity") - 100.0), trades=pl.DataFrame(), summary={})
    tried = [Tried("worse", "100 less", worse), Tried("never", "nothing", None, "It cannot be.")]
    found = assumption_table(run, tried)
    assert found["assumption"].to_list() == ["base", "worse", "never"]
    assert found["final_equity_difference"].to_list()[:2] == [0.0, pytest.approx(-100.0)]
    assert found["total_return_difference"][1] == pytest.approx(-100.0 / run.config.account.balance)
    assert found["reason"].to_list() == [None, None, "It cannot be."]
    assert found["final_equity"][2] is None


def test_larger_balances_are_compared_in_parts_and_short_runs_have_no_annual_difference(run: Result) -> None:
    """Ten times the balance that ends at ten times the equity plus 50: a part of it ends 5 higher."""
    balance = run.config.account.balance
    account = run.config.account.model_copy(update={"balance": 10 * balance})
    equity = run.equity.with_columns(pl.col("equity") * 10 + 50.0)
    larger = replace(
        run,
        config=run.config.model_copy(update={"account": account}),
        equity=equity,
        trades=pl.DataFrame(),
        summary={},
    )
    found = assumption_table(run, [Tried("impact_10", "ten times", larger)])
    assert found["final_equity"][1] == pytest.approx(10 * found["final_equity"][0] + 50)
    assert found["final_equity_difference"][1] == pytest.approx(5.0)
    assert float(run.summary["days"]) < SHORTEST_CAGR_DAYS
    assert found["annual_return_difference"].to_list() == [0.0, None]


def test_orders_that_were_cut_more_than_the_runs_are_told(run: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = run.orders.head(1).with_columns(status=pl.lit("clipped"), reason=pl.lit("tier_cap"))
    other = replace(run, orders=pl.concat([run.orders, cut, cut]), trades=pl.DataFrame(), summary={})
    found = assumption_table(run, [Tried("impact_100", "a hundred times", other), Tried("same", "the same", run)])
    note = "2 more orders cut by the largest size of the tiers"
    assert found["note"].to_list() == [None, note, None]
    assert rests_on(found).endswith(f"Not the same trades, so no fair comparison: a hundred times ({note}).")
    page = render_page(replace(run, assumptions=found))
    assert note in page
    figures = {"median_participation": 0.01, "max_participation": 0.02, "capacity_balance": 5e4}
    monkeypatch.setattr(assume_output, "capacity", lambda _: figures)
    told = assume_output.capacity_text(replace(run, assumptions=found))
    assert told.endswith(
        "a balance of 50,000 USDT. Margin tiers, margin or limits cut orders before that: a hundred times."
    )


def test_the_page_shows_them(run: Result) -> None:
    assert 'id="assumptions"' not in render_page(run)
    tried = [Tried("never", "nothing <new>", None, "It cannot be.")]
    page = render_page(replace(run, assumptions=assumption_table(run, tried)))
    assert 'id="assumptions"' in page
    assert "rests on none of these" in page
    assert "It cannot be." in page
    assert "nothing <new>" not in page


def test_participation_counts_what_the_fills_take(run: Result) -> None:
    """Fills of 2 and 1 units in bars of 100 units: 2 % and 1 %; 95 of 100 below 1.95 %."""
    bars = run.equity.select("open_time").with_columns(
        symbol=pl.lit("X"), close=pl.lit(50.0), volume=pl.Series([100.0] * (run.equity.height - 1) + [0.0])
    )
    fills = pl.DataFrame(
        {
            "time": run.equity["open_time"].gather([1, 2, 3, run.equity.height - 1]),
            "bar": [1, 2, 3, run.equity.height - 1],
            "reason": ["target", "own", "liquidation", "order"],  # the fourth is in a bar without volume
            "symbol": ["X"] * 4,
            "quantity": [2.0, 1.0, 5.0, 1.0],
            "price": [50.0] * 4,
        }
    )
    one = replace(run, bars=bars, fills=fills)
    assert participation(one)["participation"].to_list() == [0.02, 0.01]
    figures = capacity(one)
    assert (figures["median_participation"], figures["max_participation"]) == (pytest.approx(0.015), 0.02)
    assert figures["p95_participation"] == pytest.approx(0.0195)
    assert figures["capacity_balance"] == pytest.approx(run.config.account.balance * 0.01 / 0.0195)
    assert set(capacity(replace(one, fills=fills.clear())).values()) == {None}


def test_sizes_of_inverse_contracts_are_put_in_base_units(run: Result) -> None:
    """100 quote units at 50 are 2 base units."""
    from backtester.domain.config import InstrumentConfig

    bars = run.equity.select("open_time").with_columns(symbol=pl.lit("X"), close=pl.lit(50.0), volume=pl.lit(100.0))
    fills = pl.DataFrame({"time": [None], "bar": [0], "reason": ["target"], "symbol": ["X"], "quantity": [100.0]})
    config = run.config.model_copy(update={"instruments": {"X": InstrumentConfig(kind="inverse")}})
    one = replace(run, bars=bars, fills=fills.with_columns(price=pl.lit(50.0)), config=config)
    assert participation(one)["participation"].to_list() == [0.02]
