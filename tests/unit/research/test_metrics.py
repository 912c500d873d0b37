"""Objectives: names, directions, own metrics."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import polars as pl
import pytest

from backtester import analytics
from backtester.errors import StrategyError, UnknownNameError, UsageError
from backtester.research import metrics
from backtester.research.metrics import (
    METRICS,
    OwnMetrics,
    known_metric,
    odd_directions,
    own_metrics,
    own_value,
    parse_objectives,
)
from backtester.research.ranking import is_lower_better
from backtester.research.rows import metrics_of
from backtester.sweep_result import metric_order
from tests.unit.report import sample


def spelled(texts: Any, own: OwnMetrics | None = None) -> list[str]:
    return [one.spelled for one in parse_objectives(texts, own)]


def test_a_metric_has_its_own_direction() -> None:
    assert spelled("sharpe, volatility,max_drawdown") == ["max:sharpe", "min:volatility", "max:max_drawdown"]


def test_a_direction_can_be_said() -> None:
    assert spelled(["max:volatility", "min:trades", "-turnover"]) == ["max:volatility", "min:trades", "min:turnover"]


def test_the_worse_direction_is_told() -> None:
    told = odd_directions(parse_objectives("-max_drawdown,sharpe,min:trades"))
    assert [notice.code for notice in told] == ["objective_direction"]
    assert "max:max_drawdown looks for its best" in told[0].text


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("sharp", UnknownNameError, "Did you mean 'sharpe'"),
        ("max:sharpee", UnknownNameError, "sharpe"),
        ("trades", UsageError, "max:trades or min:trades"),
        ("sharpe,-sharpe", UsageError, "named twice"),
        (" , ", UsageError, "No objective is named"),
    ],
)
def test_bad_objectives_are_refused(text: str, error: type[UsageError], words: str) -> None:
    with pytest.raises(error, match=words):
        parse_objectives(text)


def test_every_number_of_a_summary_is_known() -> None:
    run = analytics.complete(sample.make(2, 24 * 60, exposure=9.0, seed=11))
    numbers = [key for key, value in metrics_of(run).items() if not isinstance(value, str)]
    dates = {key for key in numbers if key.startswith("max_drawdown_") and key != "max_drawdown_days"}
    unknown = {key for key in numbers if not known_metric(key)} - dates
    counts = set(run.counts)  # made up in the sample
    assert unknown - counts == set()


def test_every_documented_direction_is_sound() -> None:
    assert set(METRICS.values()) == {"max", "min", None}


def test_sweeps_rank_by_the_directions_of_objectives() -> None:
    assert {name for name in METRICS if is_lower_better(name)} == {k for k, way in METRICS.items() if way == "min"}
    assert metric_order("volatility") == "volatility, lower is better"
    assert metric_order("sharpe") == "sharpe, higher is better"
    assert metric_order("mean_exposure") == "mean_exposure, largest first"
    assert metric_order("of_my_own") == "of_my_own, higher is better"


def test_own_metrics_come_by_name_and_win_larger() -> None:
    own = own_metrics({"tail": lambda result: 1.0})
    assert spelled("tail,min:sharpe", own) == ["max:tail", "min:sharpe"]


@pytest.mark.parametrize("given", [{"sharpe": lambda r: 1.0}, {"orders_lost": lambda r: 1.0}, {"tail": 3}])
def test_own_metrics_of_other_names_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="metric"):
        own_metrics(given)


def test_a_broken_entry_point_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("ulcer", "tests.unit.research.own_metric:ulcer", metrics.GROUP),
        EntryPoint("lost", "tests.unit.research.own_metric:nowhere", metrics.GROUP),
        EntryPoint("number", "tests.unit.research.own_metric:NUMBER", metrics.GROUP),
        EntryPoint("sharpe", "tests.unit.research.own_metric:ulcer", metrics.GROUP),
    ]
    monkeypatch.setattr(metrics, "entry_points", lambda group: points)
    found = own_metrics()
    assert list(found.functions) == ["ulcer"]
    assert [text.split(" ")[2] for text in found.broken] == ["'lost'", "'number'", "'sharpe'"]
    assert [notice.severity for notice in found.notices] == ["warning"] * 3


def test_own_values_are_numbers_or_nothing() -> None:
    run = sample.make(1, 24 * 5)
    assert own_value("n", lambda r: r.equity.height, run) == 120.0
    assert own_value("n", lambda r: None, run) is None
    assert own_value("n", lambda r: float("nan"), run) is None
    with pytest.raises(StrategyError, match=r"metric 'n' raised ZeroDivisionError"):
        own_value("n", lambda r: 1 / 0, run)
    with pytest.raises(StrategyError, match=r"metric 'n' raised TypeError"):
        own_value("n", lambda r: pl.DataFrame(), run)  # type: ignore[arg-type, return-value]
