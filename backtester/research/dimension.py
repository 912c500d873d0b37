"""Where a parameter is looked for: a range of whole or broken numbers, stepped, smooth or logarithmic, or a list."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backtester.errors import UsageError
from backtester.research.axes import is_whole_field
from backtester.research.rows import ParamValue
from backtester.strategy import Strategy

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

_EXAMPLE = "Examples: -g fast=5:200:5, -g exposure=0.5:2.0, -g slow=log:50:2000, -g account.leverage=1,3,5."
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class Dimension:
    """The values that a parameter may take.

    Attributes
    ----------
    name : str
        Parameter of the strategy, or key of the run file (with a dot).
    text : str
        As it was given: ``5:200:5``.
    choices : tuple
        The values of a list; empty for a range.
    low, high : int or float
        Both ends of a range, both included; ``high`` is the last value that the step reaches.
    step : int, float or None
        Distance of two values of a range; None: any value between the ends.
    log : bool
        Whether equal ratios, not equal distances, are equally likely.
    """

    name: str
    text: str
    choices: tuple[ParamValue, ...] = ()
    low: int | float = 0
    high: int | float = 0
    step: int | float | None = None
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the values are whole numbers."""
        return not self.choices and isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def size(self) -> int | None:
        """Number of values; None where there is no end of them."""
        if self.choices:
            return len(self.choices)
        if self.low == self.high:
            return 1
        if self.step is None:
            return int(self.high - self.low) + 1 if self.is_whole else None
        return round((self.high - self.low) / self.step) + 1

    def distribution(self) -> BaseDistribution:
        """Return what Optuna calls it."""
        from optuna import distributions  # noqa: PLC0415 - takes a while to import

        if self.choices:
            return distributions.CategoricalDistribution(self.choices)
        if self.is_whole:
            step = 1 if self.step is None else int(self.step)
            return distributions.IntDistribution(int(self.low), int(self.high), log=self.log, step=step)
        step_size = None if self.step is None else float(self.step)
        return distributions.FloatDistribution(float(self.low), float(self.high), log=self.log, step=step_size)

    def suggest(self, trial: Trial) -> ParamValue:
        """Return the value that a trial of Optuna has for it, drawn where it has none yet."""
        if self.choices:
            chosen = trial.suggest_categorical(self.name, self.choices)
            assert chosen is not None  # no list holds None
            return chosen
        if self.is_whole:
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log, step=step)
        low, high = float(self.low), float(self.high)
        if self.step is None:
            return trial.suggest_float(self.name, low, high, log=self.log)
        return float(f"{trial.suggest_float(self.name, low, high, step=float(self.step)):.12g}")


def parse_dimensions(space: Mapping[str, Any] | Iterable[str]) -> tuple[Dimension, ...]:
    """Return the parameters that are looked for.

    Parameters
    ----------
    space : mapping or iterable of str
        ``{"fast": "5:200:5"}`` (a list of values in place of the text too), or ``["fast=5:200:5"]``.

    Raises
    ------
    UsageError
        Nothing is given, a name twice, or a range or list that cannot be read.
    """
    if isinstance(space, Mapping):
        given = [(str(name), value) for name, value in space.items()]
    else:
        given = [_split(text) for text in space]
    if not given:
        raise UsageError("No parameter to look for is given.", _EXAMPLE)
    found = tuple(_dimension(name, value) for name, value in given)
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{name} is given twice.", "Name each parameter once.")
    return found


def fitted(dimensions: Sequence[Dimension], strategy: type[Strategy]) -> tuple[Dimension, ...]:
    """Return the dimensions as the strategy's parameters take them.

    A range between two whole numbers holds every number between them where the parameter takes broken ones: ``1:3``
    of a float is ``1.0:3.0``. One with a step of its own, a list, and keys of the run file stay as they are.
    """
    return tuple(_broken(one) if _takes_broken(one, strategy) else one for one in dimensions)


def _takes_broken(one: Dimension, strategy: type[Strategy]) -> bool:
    """Return whether a range of whole numbers, without a step that was given, is of a parameter that takes floats."""
    field = strategy.model_fields.get(one.name)
    has_step = not one.log and one.text.count(":") > 1
    return field is not None and one.is_whole and not has_step and not is_whole_field(field)


def _broken(one: Dimension) -> Dimension:
    return replace(one, low=float(one.low), high=float(one.high), step=None)


def space_size(dimensions: Sequence[Dimension]) -> int | None:
    """Return the number of sets that there are, None where there is no end of them."""
    sizes = [one.size for one in dimensions]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise UsageError(f"{text!r} is not NAME=VALUES.", _EXAMPLE)
    return name.strip(), value.strip()


def _dimension(name: str, value: Any) -> Dimension:
    if not isinstance(value, str):
        if not isinstance(value, Iterable):
            raise UsageError(f"{name}: {value!r} is neither a range nor a list.", _EXAMPLE)
        return _list(name, [one.item() if hasattr(one, "item") else one for one in value])
    text = value.strip()
    parts = [part.strip() for part in text.split(":")]
    if len(parts) == 1:
        return _list(name, [_value(part.strip()) for part in text.split(",") if part.strip()], text)
    if log := parts[0] == "log":
        parts = parts[1:]
    if len(parts) not in {2, 3}:
        raise UsageError(f"{name}={text} is no range.", _EXAMPLE)
    numbers = [_number(name, text, part) for part in parts]
    if log:
        return _log_range(name, text, numbers)
    return _range(name, text, numbers)


def _list(name: str, values: Sequence[Any], text: str = "") -> Dimension:
    if not values:
        raise UsageError(f"{name} has no values.", _EXAMPLE)
    for value in values:
        if not isinstance(value, bool | int | float | str):
            raise UsageError(f"{name}: {value!r} is neither a number, a text, true nor false.", _EXAMPLE)
    if len({_kind(value) for value in values}) > 1:
        raise UsageError(f"{name}: {', '.join(map(repr, values[:4]))} are not of one kind.", _EXAMPLE)
    if {type(value) for value in values} == {int, float}:
        values = [float(value) for value in values]  # one kind of number, as a column has it
    kept = tuple(dict.fromkeys(values))
    return Dimension(name, text or ",".join(_written(value) for value in kept), choices=kept)


def _range(name: str, text: str, numbers: Sequence[int | float]) -> Dimension:
    low, high = numbers[0], numbers[1]
    step = numbers[2] if len(numbers) == 3 else None
    if high < low:
        raise UsageError(f"{name}={text} is empty: it ends before it begins.", f"Write {name}={high:g}:{low:g}.")
    if step is not None and step <= 0:
        raise UsageError(f"{name}={text}: the step {step:g} is not greater than 0.", _EXAMPLE)
    if not all(isinstance(number, int) for number in numbers):
        low, high = float(low), float(high)
    if step is not None:
        steps = math.floor((high - low) / step + 1e-9)
        high = low + steps * step
        if isinstance(high, float):
            high = float(f"{high:.12g}")  # 0.1 + 2 * 0.1 reads 0.3
    elif isinstance(low, int):
        step = 1
    return Dimension(name, text, low=low, high=high, step=step)


def _log_range(name: str, text: str, numbers: Sequence[int | float]) -> Dimension:
    """Return a logarithmic range; the number of values, which a grid has, does not matter here."""
    low, high = numbers[0], numbers[1]
    if low <= 0 or high < low:
        raise UsageError(f"{name}={text} is no logarithmic range.", "Both ends are > 0, the smaller one first.")
    if not (isinstance(low, int) and isinstance(high, int)):
        low, high = float(low), float(high)
    return Dimension(name, text, low=low, high=high, log=True)


def _number(name: str, text: str, part: str) -> int | float:
    value = _value(part)
    if isinstance(value, bool | str) or not math.isfinite(value):
        raise UsageError(f"{name}={text}: {part!r} is no number.", _EXAMPLE)
    return value


def _value(text: str) -> ParamValue:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _kind(value: ParamValue) -> str:
    return type(value).__name__ if isinstance(value, bool | str) else "number"


def _written(value: ParamValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
