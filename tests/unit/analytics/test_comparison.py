"""Runs beside each other: what is the same is not counted, what differs is right to the last digit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from backtester import analytics
from backtester.analytics import comparison, returns
from backtester.analytics.comparison import Comparison, correlation, letters
from backtester.analytics.directions import DIRECTIONS, direction, is_lower_better
from backtester.engine.result import Result
from backtester.errors import UsageError
from tests.unit.report import sample

HOUR = 3_600_000


def run(name: str, result: Result, **params: Any) -> Result:
    """Return an analysed run of a name, with parameters."""
    strategy = result.config.strategy.model_copy(update={"params": {"fast": 24, **params}})
    config = result.config.model_copy(update={"strategy": strategy})
    return analytics.complete(replace(result, run_id=name, config=config, strategy_source="a = 1\n"))


def cut(result: Result, first: int, last: int) -> Result:
    """Return a run whose equity is there from bar ``first`` to ``last`` alone."""
    return replace(result, equity=result.equity[first:last])


@pytest.fixture(scope="module")
def pair() -> tuple[Result, Result]:
    return run("one", sample.make(1, 24 * 60)), run("two", sample.make(1, 24 * 60, exposure=1.2), fast=48)


@pytest.fixture(scope="module")
def found(pair: tuple[Result, Result]) -> Comparison:
    return Comparison.of(pair)


def row(frame: pl.DataFrame, metric: str) -> dict[str, Any]:
    return frame.row(by_predicate=pl.col("metric") == metric, named=True)


def test_metrics_are_those_of_the_summaries(found: Comparison, pair: tuple[Result, Result]) -> None:
    for key in ("sharpe", "total_return", "max_drawdown", "fees", "trades", "orders_filled"):
        expected = [one.summary[key] for one in pair]
        assert [row(found.metrics, key)[name] for name in ("one", "two")] == expected
        assert row(found.differences, key)["two"] == pytest.approx(float(expected[1]) - float(expected[0]))  # type: ignore[arg-type]
    assert found.common_metrics.is_empty()
    assert found.common_equity.is_empty()
    assert found.is_one_span


def test_the_best_is_by_the_direction_of_the_metric(found: Comparison) -> None:
    for metric in ("sharpe", "max_drawdown", "volatility", "worst_margin_ratio"):
        values = row(found.metrics, metric)
        smaller = "one" if values["one"] < values["two"] else "two"
        larger = "two" if smaller == "one" else "one"
        assert values["best"] == [smaller if is_lower_better(metric) else larger]
    assert row(found.metrics, "trades")["best"] == []  # better neither large nor small
    assert row(found.metrics, "liquidations")["best"] == []  # both have none


@pytest.mark.parametrize(
    ("values", "better", "best"),
    [
        ({"a": 1.0, "b": 2.0, "c": 2.0}, "max", ["b", "c"]),
        ({"a": 1.0, "b": 2.0, "c": None}, "min", ["a"]),
        ({"a": 1.0, "b": 1.0}, "max", []),
        ({"a": 1.0, "b": None}, "max", []),
        ({"a": 1.0, "b": 2.0}, None, []),
    ],
)
def test_the_best_of_a_row(values: dict[str, float | None], better: str | None, best: list[str]) -> None:
    assert comparison._best(values, better) == best


def test_attribution_adds_up(found: Comparison, pair: tuple[Result, Result]) -> None:
    for one in pair:
        parts = found.attribution[one.run_id]
        assert math.fsum(parts[:-1]) == pytest.approx(parts[-1])
        assert parts[-1] == pytest.approx(float(one.summary["final_equity"]) - 10_000.0)  # type: ignore[arg-type]


def test_returns_correlation_and_months(found: Comparison, pair: tuple[Result, Result]) -> None:
    values = [returns.daily_returns(one.equity, 10_000.0)["return"].to_numpy() for one in pair]
    assert found.correlation["two"][0] == pytest.approx(float(np.corrcoef(*values)[0, 1]))
    assert found.correlation["one"][0] == pytest.approx(1.0)
    january = found.months.row(0, named=True)
    assert january["one"] == pytest.approx(float(np.prod(values[0][:31] + 1) - 1))
    assert (found.months.height, str(january["month"])) == (2, "2024-01-01")


def test_only_settings_that_differ_are_listed(found: Comparison) -> None:
    assert found.settings.rows() == [("strategy.params.fast", "24", "48")]
    assert found.equal_settings > 50
    assert list(found.labels.values()) == ["A trend fast=24", "B trend fast=48"]


def test_a_common_span_is_counted_as_if_it_began_there(pair: tuple[Result, Result]) -> None:
    later = run("later", cut(sample.make(1, 24 * 60, exposure=1.2), 24 * 20, 24 * 50))
    found = Comparison.of((pair[0], later))
    assert found.common_span == (sample.START + 24 * 20 * HOUR, sample.START + 24 * 50 * HOUR)
    equity = pair[0].equity["equity"].to_numpy()
    base, within = equity[24 * 20 - 1], equity[24 * 20 : 24 * 50]
    values = row(found.common_metrics, "total_return")
    assert values["one"] == pytest.approx(within[-1] / base - 1)
    peak = np.maximum(np.maximum.accumulate(within), base)
    assert row(found.common_metrics, "max_drawdown")["one"] == pytest.approx((within / peak - 1).min())
    fees = pair[0].fills.filter(pl.col("time").cast(pl.Int64).is_between(*found.common_span, closed="left"))["fee_paid"]
    assert row(found.common_metrics, "fees")["one"] == pytest.approx(-fees.sum())
    rebased = found.common_equity.filter(pl.col("run") == "one")
    assert rebased["growth"].to_numpy() == pytest.approx(within / base)
    assert "spans_differ" in {notice.code for notice in found.notices}


def test_runs_without_a_shared_bar(pair: tuple[Result, Result]) -> None:
    early, late = (run(name, cut(sample.make(1, 24 * 20), *at)) for name, at in (("a", (0, 100)), ("b", (240, 400))))
    found = Comparison.of((early, late))
    assert found.common_span is None
    assert found.correlation["a"][1] is None
    assert "no_common_span" in {notice.code for notice in found.notices}


def test_equal_runs_are_said_to_be_equal(pair: tuple[Result, Result]) -> None:
    found = Comparison.of((pair[0], replace(pair[0], run_id="again"), pair[1]))
    text = next(notice.text for notice in found.notices if notice.code == "equal_runs")
    assert text.startswith("A trend fast=24 and B trend fast=24 are equal")
    assert "their settings are equal too" in text
    assert row(found.differences, "sharpe")["again"] == 0.0


def test_a_run_without_a_trade_is_best_in_nothing(pair: tuple[Result, Result]) -> None:
    found = Comparison.of((pair[0], run("idle", sample.flat(24 * 60)), pair[1]))
    assert all("idle" not in best for best in found.metrics["best"])
    assert found.correlation["idle"].to_list() == [None, None, None]
    assert "no_trades" in {notice.code for notice in found.notices}


def test_amounts_of_two_currencies_are_not_compared(pair: tuple[Result, Result]) -> None:
    found = Comparison.of((pair[0], replace(pair[1], settle="BTC")))
    assert row(found.metrics, "net_profit")["best"] == []
    assert row(found.metrics, "sharpe")["best"] != []
    assert "currencies_differ" in {notice.code for notice in found.notices}


def test_one_name_twice_gets_a_number(pair: tuple[Result, Result]) -> None:
    assert Comparison.of((pair[0], replace(pair[1], run_id="one"))).names == ["one", "one (2)"]


def test_long_runs_keep_their_extremes(pair: tuple[Result, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "KEPT_BARS", 100)
    found = Comparison.of(pair)
    own = found.equity.filter(pl.col("run") == "one")
    assert own.height < 200
    equity = pair[0].equity["equity"].to_numpy()
    assert (own["growth"].max(), own["growth"][-1]) == (equity.max() / 10_000, equity[-1] / 10_000)
    assert own["drawdown"].min() == pytest.approx(float(pair[0].summary["max_drawdown"]))  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 1, 51])
def test_too_few_and_too_many_runs(pair: tuple[Result, Result], count: int) -> None:
    with pytest.raises(UsageError):
        Comparison.of([pair[0]] * count)


def test_a_correlation_that_is_not_defined() -> None:
    nan = math.nan
    assert math.isnan(correlation(np.array([1.0, 2.0]), np.array([1.0, 2.0])))
    assert math.isnan(correlation(np.array([1.0, 2.0, nan, 3.0]), np.array([0.0, 0.0, 1.0, 0.0])))
    assert correlation(np.array([1.0, 2.0, nan, 4.0]), np.array([2.0, 4.0, 9.0, 8.0])) == pytest.approx(1.0)


def test_letters() -> None:
    assert [letters(n) for n in (0, 25, 26, 49)] == ["A", "Z", "AA", "AX"]


def test_one_table_of_directions() -> None:
    assert direction("sharpe") == "max"
    assert direction("nothing") is None
    assert is_lower_better("liquidations")
    assert not is_lower_better("mean_exposure")
    assert set(DIRECTIONS.values()) == {"max", "min", None}
