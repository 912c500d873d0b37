"""Constraints: what they may say, and how far a set breaks them."""

from __future__ import annotations

import polars as pl
import pytest

from backtester.errors import UnknownNameError, UsageError
from backtester.research.constraint import parse_constraints, violations

KNOWN = ("max_drawdown", "liquidations", "trades", "fast", "account.leverage")
ROWS = pl.DataFrame(
    {"max_drawdown": [-0.1, -0.4, None], "liquidations": [0, 3, 0], "fast": [1, 2, 3], "account.leverage": [1, 5, 9]}
)


def broken(text: str) -> list[float]:
    return violations(parse_constraints([text], KNOWN), ROWS)[text].to_list()


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("max_drawdown > -0.3", [0.0, pytest.approx(0.1), 1.0]),
        ("-0.3 < max_drawdown", [0.0, pytest.approx(0.1), 1.0]),
        ("liquidations == 0", [0.0, 3.0, 0.0]),
        ("liquidations = 0", [0.0, 3.0, 0.0]),
        ("liquidations <> 0", [1.0, 0.0, 1.0]),
        ("2 * fast < 4", [0.0, 1.0, 2.0]),
        ("liquidations = 0 AND max_drawdown > -0.3", [0.0, 1.0, 1.0]),
        ("max_drawdown IS NOT NULL", [0.0, 0.0, 1.0]),
        ('"account.leverage" < 6', [0.0, 0.0, 1.0]),
        ("orders_rejected = 0", [0.0, 0.0, 0.0]),
        ("trades > 0", [1.0, 1.0, 1.0]),
    ],
)
def test_how_far_a_set_breaks_a_condition(text: str, amounts: list[float]) -> None:
    assert broken(text) == amounts


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("max_drawdwn > -0.3", UnknownNameError, "Did you mean 'max_drawdown'"),
        ("max_drawdown", UsageError, "neither true nor false"),
        ("max_drawdown >", UsageError, "is no condition"),
        ("1 = 1", UsageError, "names neither"),
        ("read_csv('x') = 1", UsageError, "is no condition"),
        ("max_drawdown > MIN(max_drawdown)", UsageError, "several sets at once"),
        ("", UsageError, "is no condition"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, error: type[UsageError], words: str) -> None:
    with pytest.raises(error, match=words):
        parse_constraints([text], KNOWN)


def test_no_conditions_are_no_columns() -> None:
    assert violations((), ROWS).width == 0
