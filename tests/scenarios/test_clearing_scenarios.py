"""Every scenario table of a whole market, through the exact reference and through the product."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.reference.clearing import replay, replay_state
from tests.reference.clearing_adapter import replay_product
from tests.reference.clearing_compare import assert_agree
from tests.scenarios import clearing_cascade_tables, clearing_inverse_tables, clearing_tables
from tests.scenarios.clearing_table import ClearingScenario, check, market_of

TABLES = (clearing_tables, clearing_inverse_tables, clearing_cascade_tables)
SCENARIOS = [scenario for module in TABLES for scenario in module.SCENARIOS]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_reference(scenario: ClearingScenario) -> None:
    check(scenario, replay(market_of(scenario)))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_product(scenario: ClearingScenario) -> None:
    """What the table says holds in the reference, and the product has the same figures and events."""
    market = market_of(scenario)
    state = replay_state(market)
    check(scenario, state.out)
    assert_agree(state, replay_product(market))


def test_names_are_unique() -> None:
    assert all(a < b for a, b in pairwise(sorted(s.name for s in SCENARIOS)))
