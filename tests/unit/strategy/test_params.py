"""Parameters: bounds, types, names, the command line's form."""

from __future__ import annotations

import pytest

from backtester.errors import ConfigError, UnknownNameError, UsageError
from backtester.strategy import Param, Strategy
from backtester.strategy.params import param_infos, parse_assignments


class Rule(Strategy):
    """A rule."""

    fast: int = Param(24, ge=2, le=500, description="Bars of the fast average.")
    exposure: float = Param(1.0, gt=0, lt=10)
    is_long: bool = Param(True)
    side: str = Param("both", choices=("long", "short", "both"))

    def check_params(self) -> None:
        if self.fast == 13:
            raise ValueError("fast = 13 brings bad luck")

    def target(self):
        raise NotImplementedError


def test_defaults_and_values() -> None:
    assert Rule() == Rule(fast=24)
    assert len({Rule(), Rule(fast=24), Rule(fast=25)}) == 2
    assert repr(Rule(fast=3)) == "Rule(fast=3, exposure=1.0, is_long=True, side='both')"


def test_instances_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Rule().fast = 3


def test_text_of_the_command_line_is_converted() -> None:
    rule = Rule(**parse_assignments(["fast=12", "exposure=2.5", "is_long=no", "side = long"]))
    assert rule == Rule(fast=12, exposure=2.5, is_long=False, side="long")


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"fast": 1}, "Parameter 'fast' of strategy 'rule' is 1: it must be at least 2"),
        ({"fast": 501}, "it must be at most 500"),
        ({"exposure": 0}, "is 0: it must be more than 0"),
        ({"exposure": 10}, "it must be less than 10"),
        ({"fast": "abc"}, "is 'abc': it must be a whole number"),
        ({"fast": 2.5}, "is 2.5: it must be a whole number"),
        ({"exposure": "much"}, "it must be a number"),
        ({"exposure": float("nan")}, "finite number"),
        ({"exposure": "inf"}, "finite number"),
        ({"is_long": "perhaps"}, "it must be true or false"),
        ({"side": 3}, "it must be a text"),
        ({"side": "up"}, "it must be one of long, short, both"),
        ({"fast": 13}, "do not fit together: fast = 13 brings bad luck"),
    ],
)
def test_wrong_values_name_the_bound(params, problem) -> None:
    with pytest.raises(ConfigError, match=problem):
        Rule(**params)


def test_wrong_value_shows_what_is_allowed() -> None:
    with pytest.raises(ConfigError) as caught:
        Rule(fast=1)
    assert caught.value.hint == ("fast: a whole number, at least 2, at most 500, default 24. Bars of the fast average.")
    assert caught.value.exit_code == 2


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown parameter 'fats' of strategy 'rule'.\nDid you mean 'fast'"):
        Rule(fats=3)


def test_a_default_out_of_bounds_is_refused() -> None:
    class Wrong(Strategy):
        length: int = Param(1, ge=2)

        def target(self):
            raise NotImplementedError

    with pytest.raises(ConfigError, match="at least 2"):
        Wrong()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["fast"], "'fast' has no value"),
        (["=3"], "has no value"),
        (["fast=3", "fast=4"], "'fast' is given twice: 3 and 4"),
        (["fast=[3"], "not valid JSON"),
    ],
)
def test_wrong_assignments(given, problem) -> None:
    with pytest.raises(UsageError, match=problem):
        parse_assignments(given)


def test_assignments_keep_equal_signs_and_read_json() -> None:
    assert parse_assignments(["a=b=c", "list=[1, 2]"]) == {"a": "b=c", "list": [1, 2]}


def test_infos_describe_every_parameter() -> None:
    infos = {info.name: info for info in param_infos(Rule)}
    assert list(infos) == ["fast", "exposure", "is_long", "side"]
    assert infos["fast"].bounds == {"ge": 2, "le": 500}
    assert infos["side"].choices == ("long", "short", "both")
    assert str(infos["side"]) == "side: a text, one of long, short, both, default both."
