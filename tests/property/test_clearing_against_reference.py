"""The product's clearing and the exact reference agree on random small markets: accounts, funds and every event."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.property.clearing_markets import markets
from tests.property.strategies import CI, LONG
from tests.reference.clearing import replay_state
from tests.reference.clearing_adapter import replay_product
from tests.reference.clearing_case import Market
from tests.reference.clearing_compare import assert_agree


def agree(market: Market) -> None:
    assert_agree(replay_state(market), replay_product(market))


@settings(CI, max_examples=60)
@given(markets(accounts=8, bars=8))
def test_agree(market: Market) -> None:
    agree(market)


@settings(CI, max_examples=30)
@given(markets(inverse=True, accounts=8, bars=8))
def test_agree_on_inverse_contracts(market: Market) -> None:
    agree(market)


@pytest.mark.long
@settings(LONG, max_examples=10_000)
@given(markets(accounts=20, bars=12))
def test_agree_in_many_markets(market: Market) -> None:
    agree(market)
