"""Every scenario table, through the reference account and through the kernel."""

from __future__ import annotations

import pytest

from tests.reference.account import replay
from tests.reference.adapter import run_kernel
from tests.scenarios import (
    bracket_tables,
    close_tables,
    cost_tables,
    ending_tables,
    funding_tables,
    hedge_tables,
    joint_tables,
    limit_tables,
    liquidation_tables,
    order_tables,
    portfolio_tables,
    request_tables,
    spot_tables,
    step_tables,
    time_tables,
    trailing_tables,
    trigger_tables,
    venue_tables,
)
from tests.scenarios.table import Scenario, case_of, check

SCENARIOS = [
    *funding_tables.SCENARIOS,
    *order_tables.SCENARIOS,
    *liquidation_tables.SCENARIOS,
    *joint_tables.SCENARIOS,
    *step_tables.SCENARIOS,
    *bracket_tables.SCENARIOS,
    *limit_tables.SCENARIOS,
    *trigger_tables.SCENARIOS,
    *trailing_tables.SCENARIOS,
    *request_tables.SCENARIOS,
    *portfolio_tables.SCENARIOS,
    *hedge_tables.SCENARIOS,
    *spot_tables.SCENARIOS,
    *cost_tables.SCENARIOS,
    *time_tables.SCENARIOS,
    *ending_tables.SCENARIOS,
    *close_tables.SCENARIOS,
    *venue_tables.SCENARIOS,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_reference(scenario: Scenario) -> None:
    case = case_of(scenario)
    check(scenario, case, replay(case))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_kernel(scenario: Scenario) -> None:
    case = case_of(scenario)
    check(scenario, case, run_kernel(case))


def test_names_are_unique() -> None:
    assert len({s.name for s in SCENARIOS}) == len(SCENARIOS) >= 150
