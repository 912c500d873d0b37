"""Every scenario table, through the reference account and through the kernel."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest

from tests.reference.account import replay
from tests.reference.case import Case, Outcome
from tests.scenarios import funding_tables, liquidation_tables, order_tables, step_tables
from tests.scenarios.table import Scenario, case_of, check

SCENARIOS = [
    *funding_tables.SCENARIOS,
    *order_tables.SCENARIOS,
    *liquidation_tables.SCENARIOS,
    *step_tables.SCENARIOS,
]


def kernel() -> Callable[[Case], Outcome]:
    """Return the compiled replay; skip where its adapter is not there."""
    if importlib.util.find_spec("tests.reference.adapter") is None:
        pytest.skip("the kernel's adapter is not there yet")
    from tests.reference.adapter import run_kernel

    return run_kernel


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_reference(scenario: Scenario) -> None:
    case = case_of(scenario)
    check(scenario, case, replay(case))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_kernel(scenario: Scenario) -> None:
    case = case_of(scenario)
    check(scenario, case, kernel()(case))


def test_names_are_unique() -> None:
    assert len({s.name for s in SCENARIOS}) == len(SCENARIOS) >= 25
