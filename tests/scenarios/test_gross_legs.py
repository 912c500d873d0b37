"""Legs that choose their bracket together do not go with deductions."""

from __future__ import annotations

import pytest

from backtester.errors import ConfigError
from tests.reference.adapter import prepared_case
from tests.scenarios.table import Scenario, brackets, case_of

BARS = """
    open  high  low  close  target_long
    100   100   100  100    1
    100   100   100  100    .
"""
PROGRESSIVE = (brackets((0, 0.01), (2000, 0.05)),)


def gross(**terms: object) -> Scenario:
    return Scenario("gross", BARS, terms=terms, rules={"position_mode": "hedge", "hedge_tier": "gross"})


def test_a_progressive_table_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"hedge_tier = 'gross' does not go with the progressive tier table of C0"):
        prepared_case(case_of(gross(tables=PROGRESSIVE)))


@pytest.mark.parametrize("tables", [(brackets((0, 0.01)),), (brackets((0, 0.01), (2000, 0.05), form="flat"),)])
def test_tables_without_deductions_are_taken(tables: object) -> None:
    assert prepared_case(case_of(gross(tables=tables))).setup.rules[0]["hedge_gross"] == 1
