"""The compiled kernel and the reference account agree on random runs, record by record and bar by bar."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.property.strategies import CI, LONG, cases, rich_cases
from tests.reference.account import replay
from tests.reference.adapter import run_kernel
from tests.reference.case import Case
from tests.reference.compare import assert_agree


@settings(CI, max_examples=250)
@given(cases())
def test_agree(case: Case) -> None:
    assert_agree(replay(case), run_kernel(case), case)


@CI
@given(cases(inverse=True))
def test_agree_on_inverse_contracts(case: Case) -> None:
    assert_agree(replay(case), run_kernel(case), case)


@settings(CI, max_examples=300)
@given(rich_cases())
def test_agree_with_orders_legs_spot_and_costs(case: Case) -> None:
    assert_agree(replay(case), run_kernel(case), case)


@CI
@given(rich_cases(inverse=True))
def test_agree_with_orders_on_inverse_contracts(case: Case) -> None:
    assert_agree(replay(case), run_kernel(case), case)


@CI
@given(rich_cases(groups=("venue_events",)))
def test_agree_on_deleveraging_and_clawbacks(case: Case) -> None:
    assert_agree(replay(case), run_kernel(case), case)


@CI
@given(rich_cases(inverse=True, groups=("brackets", "venue_events")))
def test_agree_on_deleveraging_inverse_contracts_with_stops(case: Case) -> None:
    assert_agree(replay(case), run_kernel(case), case)


@CI
@given(rich_cases(groups=("hedge", "transfers", "venue_events")))
def test_agree_on_deleveraging_legs(case: Case) -> None:
    assert_agree(replay(case), run_kernel(case), case)


@pytest.mark.long
@LONG
@given(cases())
def test_agree_in_many_runs(case: Case) -> None:
    assert_agree(replay(case), run_kernel(case), case)


@pytest.mark.long
@LONG
@given(rich_cases())
def test_agree_in_many_rich_runs(case: Case) -> None:
    assert_agree(replay(case), run_kernel(case), case)


@pytest.mark.long
@settings(LONG, max_examples=1_000)
@given(rich_cases(inverse=True))
def test_agree_in_many_rich_runs_of_inverse_contracts(case: Case) -> None:
    assert_agree(replay(case), run_kernel(case), case)
