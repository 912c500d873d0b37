"""Studies of a few accounts whose numbers a reader can work out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from backtester.clearing import clearing_rules, simulate
from backtester.clearing.file import build_clearing
from backtester.clearing.population import Population
from backtester.clearing.study import Case, ClearingStudy
from backtester.engine.result import Notice
from tests.unit.clearing.scene import Holding, market, population

LONG = Holding(0, 1.0, 100.0, 10.0, isolated=True)
SHORT = Holding(1, -0.6, 100.0, 60.0, leverage=4.0)
SLOW_SHORT = Holding(2, -0.4, 95.0, 400.0, leverage=1.0)
FILE = {"shock": {}, "clearing": {"open_interest": 100.0}}


def case(*bars: tuple[float, float], name: str = "binance", holdings: tuple[Holding, ...] = (), **rules: Any) -> Case:
    """Return a clearing of a long of leverage 10 against two shorts, by default through a gap to 80."""
    series = market(list(bars) or [(100.0, 100.0), (100.0, 100.0), (80.0, 80.0), (80.0, 80.0)])
    accounts = population(series, *(holdings or (LONG, SHORT, SLOW_SHORT)))
    return cleared(series, accounts, name, **{"fund_start": 4.0, "impact": 0.0, **rules})


def cleared(series: Any, accounts: Population, name: str, **rules: Any) -> Case:
    return Case(name, series, accounts, simulate(series, accounts, clearing_rules(name, **rules)))


def study(*cases: Case, **changes: Any) -> ClearingStudy:
    """Return a study of cases."""
    one = ClearingStudy(
        file=build_clearing(FILE),
        cases=cases or (case(),),
        venue="made up",
        synthetic=True,
        notices=(Notice("clearing_model", "assumption", "Four bars."),),
        run_id="20250101-000000-clearing-A-binance",
    )
    return replace(one, **changes)
