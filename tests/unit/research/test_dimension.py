"""Where parameters are looked for."""

from __future__ import annotations

from typing import Any

import optuna
import polars as pl
import pytest

from backtester import Param, Strategy
from backtester.errors import UsageError
from backtester.research.dimension import Dimension, fitted, parse_dimensions, space_size


def one(text: str) -> Dimension:
    return parse_dimensions([text])[0]


@pytest.mark.parametrize(
    ("text", "values", "size"),
    [
        ("a=5:200:5", (5, 200, 5), 40),
        ("a=5:203:5", (5, 200, 5), 40),
        ("a=5:9", (5, 9, 1), 5),
        ("a=0.1:0.3:0.1", (0.1, 0.3, 0.1), 3),
        ("a=0.5:2.0", (0.5, 2.0, None), None),
        ("a=0:1:0.25", (0.0, 1.0, 0.25), 5),
        ("a=log:50:2000", (50, 2000, None), 1951),
        ("a=log:50:2000:40", (50, 2000, None), 1951),
        ("a=log:0.1:10", (0.1, 10.0, None), None),
        ("a=7:7", (7, 7, 1), 1),
    ],
)
def test_ranges(text: str, values: tuple[Any, Any, Any], size: int | None) -> None:
    found = one(text)
    assert (found.low, found.high, found.step) == values
    assert [type(v) for v in (found.low, found.high)] == [type(v) for v in values[:2]]
    assert found.size == size


@pytest.mark.parametrize(
    ("text", "choices"),
    [("a=1,3,5", (1, 3, 5)), ("a=x,y,x", ("x", "y")), ("a=true,false", (True, False)), ("a=1,2.5", (1, 2.5))],
)
def test_lists(text: str, choices: tuple[Any, ...]) -> None:
    assert one(text).choices == choices


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (["a"], "is not NAME=VALUES"),
        (["a="], "is not NAME=VALUES"),
        (["a=9:5"], "ends before it begins"),
        (["a=1:9:0"], "not greater than 0"),
        (["a=1:9:-1"], "not greater than 0"),
        (["a=1:9:1:1"], "no range"),
        (["a=1:x"], "'x' is no number"),
        (["a=1:inf"], "'inf' is no number"),
        (["a=log:0:9"], "no logarithmic range"),
        (["a=1:2", "a=3:4"], "given twice"),
        (["a=1,x"], "not of one kind"),
        ([], "No parameter to look for"),
        ({"a": 3}, "neither a range nor a list"),
        ({"a": []}, "has no values"),
        ({"a": [None]}, "neither a number"),
    ],
)
def test_bad_spaces_are_refused(space: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_dimensions(space)


def test_a_space_is_the_product_of_its_parameters() -> None:
    assert space_size(parse_dimensions({"a": "1:4", "b": [1, 2, 3]})) == 12
    assert space_size(parse_dimensions({"a": "1:4", "b": "0.1:0.2"})) is None


def test_the_text_gives_the_same_again() -> None:
    for given in ({"a": [True, False]}, {"a": [1, 2.5]}, {"a": "log:1:9"}):
        found = parse_dimensions(given)[0]
        assert parse_dimensions({"a": found.text})[0] == found


def test_values_are_inside_and_clean() -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask()
    assert one("a=0.1:0.9:0.1").suggest(trial) in [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert one("b=5:200:5").suggest(trial) in range(5, 201, 5)
    assert one("c=x,y").suggest(trial) in ("x", "y")
    assert 0.1 <= float(one("d=log:0.1:10").suggest(trial)) <= 10


class Taker(Strategy):
    """Takes a whole number and a broken one."""

    count: int = Param(2, ge=1)
    share: float = Param(1.0, gt=0)

    def target(self) -> pl.Expr:
        return pl.lit(self.share)


@pytest.mark.parametrize(
    ("text", "values", "size"),
    [
        ("share=1:3", (1.0, 3.0, None), None),
        ("share=log:1:100", (1.0, 100.0, None), None),
        ("share=1:9:2", (1, 9, 2), 5),
        ("count=1:3", (1, 3, 1), 3),
        ("account.leverage=1:3", (1, 3, 1), 3),
    ],
)
def test_ranges_are_of_the_kind_that_the_parameter_takes(
    text: str, values: tuple[Any, Any, Any], size: int | None
) -> None:
    (found,) = fitted([one(text)], Taker)
    assert (found.low, found.high, found.step) == values
    assert [type(v) for v in (found.low, found.high)] == [type(v) for v in values[:2]]
    assert found.size == size
