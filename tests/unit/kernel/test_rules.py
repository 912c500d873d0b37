"""The kernel's pure rules, against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from backtester.domain.enums import CloseFeeBasis, MarginBasis
from backtester.kernel import fills, funding, margin, value

MARK, ENTRY = int(MarginBasis.MARK), int(MarginBasis.ENTRY)
AT_MARK, AT_BANKRUPTCY = int(CloseFeeBasis.MARK), int(CloseFeeBasis.BANKRUPTCY)


def test_value_of_linear_and_inverse() -> None:
    assert value.price_to_value(250.0, 1.0) == 250.0
    assert value.price_to_value(250.0, -1.0) == -0.004
    assert value.value_to_price(-0.004, -1.0) == 250.0
    assert math.isnan(value.price_to_value(math.nan, -1.0))


def test_slippage_goes_against_the_order_in_price() -> None:
    assert value.slipped(100.0, 1.0, 0.01, 1.0) == pytest.approx(101.0, rel=1e-15)
    assert value.slipped(100.0, -1.0, 0.01, 1.0) == pytest.approx(99.0, rel=1e-15)
    # inverse: a buyer at 100 pays 101, which is -1/101
    assert value.slipped(-1 / 100, 1.0, 0.01, -1.0) == pytest.approx(-1 / 101, rel=1e-15)


def test_unrealized_profit_of_an_inverse_short() -> None:
    # 10,000 USD short from 20,000, mark 16,000: 10,000 / 16,000 - 10,000 / 20,000 = 0.125 coins
    assert value.unrealized_pnl(-10_000.0, -1 / 20_000, -1 / 16_000) == pytest.approx(0.125, abs=1e-15)


def test_average_entry_is_harmonic_for_inverse() -> None:
    # 1,000 USD at 10,000 and 2,000 USD at 20,000: 3,000 / (0.1 + 0.1) = 15,000
    entry = value.average_entry(1_000.0, -1 / 10_000, 2_000.0, -1 / 20_000)
    assert value.value_to_price(entry, -1.0) == pytest.approx(15_000.0, rel=1e-15)
    assert value.average_entry(1.0, 10.0, 3.0, 20.0) == 17.5
    assert value.average_entry(0.0, 0.0, -2.0, 30.0) == 30.0


def test_funding_is_paid_by_longs_when_positive() -> None:
    assert funding.funding_payment(2.0, 50_000.0, 0.0001) == pytest.approx(10.0, rel=1e-15)
    assert funding.funding_payment(-2.0, 50_000.0, 0.0001) == pytest.approx(-10.0, rel=1e-15)
    # inverse: 50,000 USD at a mark of 25,000 are 2 coins; 0.25 % of them
    assert funding.funding_payment(50_000.0, -1 / 25_000, 0.0025) == pytest.approx(0.005, rel=1e-15)


def test_fee_and_rebate() -> None:
    assert fills.trading_fee(-3.0, 100.0, 0.0005) == pytest.approx(0.15, rel=1e-15)
    assert fills.trading_fee(3.0, 100.0, -0.0001) == pytest.approx(-0.03, rel=1e-15)


@pytest.mark.parametrize(
    ("quantity", "num", "den", "lots"),
    [
        (0.3, 1.0, 10.0, 3.0),  # 0.3 // 0.1 is 2 in floats
        (-0.3, 1.0, 10.0, -3.0),
        (0.2999, 1.0, 10.0, 2.0),
        (-0.2999, 1.0, 10.0, -2.0),
        (12.0, 5.0, 1.0, 2.0),
        (0.0, 1.0, 1000.0, 0.0),
    ],
)
def test_whole_lots(quantity: float, num: float, den: float, lots: float) -> None:
    assert fills.whole_lots(quantity, num, den) == lots


def test_grid_arithmetic_leaves_no_residue() -> None:
    assert fills.add_on_grid(0.3, -0.1, 1.0, 10.0) == 0.2
    assert fills.add_on_grid(0.1, 0.2, 1.0, 10.0) == 0.3
    assert fills.floor_to_step(0.19, 1.0, 10.0) == 0.1
    assert fills.floor_to_step(0.19, 0.0, 1.0) == 0.19


def test_largest_below_is_strict() -> None:
    # 50,000 / 100 = 500 lots of 1 would stand on the bound
    assert fills.largest_below(50_000.0, 100.0, 1.0, 1.0) == 499.0
    assert fills.largest_below(50_050.0, 100.0, 1.0, 1.0) == 500.0
    assert fills.largest_below(50.0, 100.0, 1.0, 1.0) == 0.0
    assert 499.0 < fills.largest_below(50_000.0, 100.0, 0.0, 1.0) < 500.0


@pytest.mark.parametrize("unit", [1.234e-5, 1.1e-5, 3.3e-9, 7e-13])
@pytest.mark.parametrize("den", [1.0, 1000.0])
def test_a_cap_of_more_lots_than_numbers_hold_ends(unit: float, den: float) -> None:
    """A cap of 1e12 and a price of 0.00001 are 1e17 lots, of which one less is the same number."""
    found = fills.largest_below(1e12, unit, 1.0, den)
    assert 0.999_999 * 1e12 < found * unit < 1e12
    assert fills.floor_to_step(found, 1.0, den) == pytest.approx(found)
    assert fills.add_on_grid(found, 1.0, 1.0, den) == pytest.approx(found)


def test_bracket_floor_is_included() -> None:
    floors = np.array([0.0, 50_000.0, 250_000.0, 0.0, 10.0])  # two tables
    assert [margin.find_tier(floors, 0, 3, s) for s in (0.0, 49_999.9, 50_000.0, 1e9)] == [0, 0, 1, 2]
    assert [margin.find_tier(floors, 3, 5, s) for s in (9.9, 10.0)] == [0, 1]


def test_requirement_line_of_each_basis() -> None:
    # 2 BTC short, entry 30,000, 10x, rate 1 %, deduction 50, fee to close 0.06 %
    at_mark = margin.requirement_line(-2.0, 30_000.0, 10.0, 0.01, 50.0, 0.0006, MARK, AT_MARK)
    assert at_mark == (-50.0, pytest.approx(2 * 0.0106))
    # entry basis: 2 * 30,000 * 1 % - 50 = 550; bankruptcy price 33,000: 2 * 33,000 * 0.06 % = 39.6
    at_entry = margin.requirement_line(-2.0, 30_000.0, 10.0, 0.01, 50.0, 0.0006, ENTRY, AT_BANKRUPTCY)
    assert at_entry == (pytest.approx(589.6), 0.0)


def test_liquidation_and_bankruptcy_of_an_isolated_long() -> None:
    # 1 BTC at 40,000, 10x: margin 4,000, rate 0.5 %: 36,000 / 0.995
    constant, slope = margin.requirement_line(1.0, 40_000.0, 10.0, 0.005, 0.0, 0.0, MARK, AT_MARK)
    found = margin.liquidation_value(1.0, 40_000.0, 4_000.0, constant, slope, 1.0)
    assert found == pytest.approx(36_000 / 0.995, rel=1e-15)
    assert margin.bankruptcy_value(1.0, 40_000.0, 4_000.0) == 36_000.0
    assert margin.initial_margin(-1.0, 40_000.0, 10.0) == 4_000.0


def test_liquidation_of_an_inverse_short() -> None:
    # 10,000 USD short at 20,000, 5x: margin 0.1 coin, rate 1 %. Balance 0.1 + 10,000/P - 0.5 = 100/P: P = 9,900 / 0.4
    constant, slope = margin.requirement_line(-10_000.0, -1 / 20_000, 5.0, 0.01, 0.0, 0.0, MARK, AT_MARK)
    found = margin.liquidation_value(-10_000.0, -1 / 20_000, 0.1, constant, slope, -1.0)
    assert value.value_to_price(found, -1.0) == pytest.approx(24_750.0, rel=1e-14)
