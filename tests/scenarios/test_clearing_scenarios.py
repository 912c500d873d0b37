"""Every scenario table of a whole market, through the exact reference."""

from __future__ import annotations

import pytest

from tests.reference.clearing import replay
from tests.scenarios import clearing_inverse_tables, clearing_tables
from tests.scenarios.clearing_table import ClearingScenario, check, market_of

SCENARIOS = [*clearing_tables.SCENARIOS, *clearing_inverse_tables.SCENARIOS]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_reference(scenario: ClearingScenario) -> None:
    check(scenario, replay(market_of(scenario)))


def test_names_are_unique() -> None:
    assert len({s.name for s in SCENARIOS}) == len(SCENARIOS)
