"""How figures read."""

from __future__ import annotations

import math

import pytest

from backtester.report import numbers

MINUS, SPACE = "\u2212", "\u00a0"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.decimal(-1234.567), f"{MINUS}1,234.57"),
        (numbers.decimal(12.3, signed=True), "+12.30"),
        (numbers.decimal(-0.001, signed=True), "0.00"),
        (numbers.decimal(float("nan")), "\u2013"),
        (numbers.decimal(None), "\u2013"),
        (numbers.decimal(4.8e19, signed=True), "+4.8e+19"),
        (numbers.percent(0.1234), f"+12.34{SPACE}%"),
        (numbers.percent(-0.5, 1), f"{MINUS}50.0{SPACE}%"),
        (numbers.percent(0.5, signed=False), f"50.00{SPACE}%"),
        (numbers.price(65432.1), "65,432.10"),
        (numbers.price(0.000012345678), "0.000012346"),
        (numbers.price(1.5), "1.5000"),
        (numbers.quantity(0.1), "0.1"),
        (numbers.quantity(1234.56789), "1,234.57"),
        (numbers.quantity(5_000_000.4), "5,000,000"),
        (numbers.quantity(0.0), "0"),
        (numbers.moment(1_704_067_200_000), "2024-01-01 00:00"),
        (numbers.duration(90 * 60_000), f"1{SPACE}h 30{SPACE}min"),
        (numbers.duration(26 * 3_600_000), f"1{SPACE}d 2{SPACE}h"),
        (numbers.duration(400 * 86_400_000), f"400{SPACE}d"),
        (numbers.duration(10), f"under 1{SPACE}min"),
        (numbers.timeframe(300_000), "5m"),
    ],
)
def test_texts(written: str, expected: str) -> None:
    assert written == expected


def test_long_names_are_cut() -> None:
    assert numbers.shorten("a" * 80) == "a" * 80
    assert numbers.shorten("a" * 81) == "a" * 79 + "\u2026"


def test_decimals_of_amounts_follow_the_account() -> None:
    assert [numbers.money_digits(b) for b in (10_000.0, 5.0, 0.2)] == [2, 4, 8]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("digits", [0, 2, 8])
def test_long_columns_read_like_single_figures(signed: bool, digits: int) -> None:
    values = [0.0, -0.0, 1.5, -1234567.891, 0.004, -0.004, 3e12, -2e15, None, math.nan, math.inf, 7]
    expected = [numbers.decimal(v, digits, signed=signed, unit=" x") for v in values]
    assert numbers.decimals(values, digits, signed=signed, unit=" x") == expected
