"""Contracts: steps, names, refusals."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from backtester.domain.enums import ContractKind
from backtester.domain.instrument import Instrument, instrument_in_force


def test_defaults_are_a_plain_linear_contract():
    instrument = Instrument(symbol="BTC/USDT:USDT")
    assert (instrument.kind, instrument.contract_size, instrument.settle) == (ContractKind.LINEAR, 1.0, "USDT")
    assert (instrument.tick, instrument.lot, instrument.min_quantity, instrument.min_notional) == (None,) * 4
    assert (instrument.funding_interval_hours, instrument.funding_cap, instrument.funding_floor) == (None,) * 3
    assert (instrument.listed, instrument.delisted, instrument.valid_from) == (None,) * 3
    assert (instrument.base, instrument.quantity_step) == ("BTC", 0.0)


def test_quantity_step_is_lots_of_contracts():
    assert Instrument(symbol="ETH/USDT:USDT", contract_size=0.1, lot=0.1).quantity_step == pytest.approx(0.01)
    assert Instrument(symbol="BTC/USD:BTC", contract_size=100, lot=1).quantity_step == 100


def test_it_is_frozen_and_compares_by_value():
    instrument = Instrument(symbol="BTC/USDT:USDT", lot=0.001)
    with pytest.raises(ValidationError):
        instrument.lot = 0.01
    assert instrument == Instrument(symbol="BTC/USDT:USDT", lot=0.001)


@pytest.mark.parametrize(
    "wrong",
    [
        {"contract_size": 0},
        {"tick": 0},
        {"lot": -0.1},
        {"min_quantity": -1},
        {"funding_interval_hours": 0},
        {"funding_cap": 1.5},
        {"funding_cap": -0.01, "funding_floor": 0.01},
        {"listed": 2, "delisted": 1},
        {"valid_from": -1},
        {"listed": 10**15},
        {"kind": 7},
        {"leverage": 3},
    ],
)
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        Instrument(symbol="BTC/USDT:USDT", **wrong)


def test_terms_in_force():
    old, new = (
        Instrument(symbol="BTC/USDT:USDT", lot=lot, valid_from=since) for lot, since in ((0.1, 100), (0.01, 200))
    )
    always = Instrument(symbol="BTC/USDT:USDT", lot=1)
    assert [instrument_in_force([new, old], time) for time in (0, 100, 199, 200, float("inf"))] == [
        old,
        old,
        old,
        new,
        new,
    ]
    assert instrument_in_force([new, always], 199) is always
    assert instrument_in_force([always], 0) is always
