"""Contracts: steps, names, refusals."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from backtester.domain.enums import ContractKind
from backtester.domain.instrument import Instrument


def test_defaults_are_a_plain_linear_contract():
    instrument = Instrument(symbol="BTC/USDT:USDT")
    assert (instrument.kind, instrument.contract_size, instrument.settle) == (ContractKind.LINEAR, 1.0, "USDT")
    assert (instrument.tick, instrument.lot, instrument.min_quantity, instrument.min_notional) == (None,) * 4
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
        {"kind": 7},
        {"leverage": 3},
    ],
)
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        Instrument(symbol="BTC/USDT:USDT", **wrong)
