"""One axis of a sweep: the text or the values that were given, and the values that they stand for."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import UnionType
from typing import Any, Protocol, Union, get_args, get_origin

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError, create_model
from pydantic.fields import FieldInfo

from backtester.domain.config import RunConfig
from backtester.engine.run_file import build_config, merge
from backtester.errors import ConfigError, UsageError
from backtester.research.rows import ParamValue
from backtester.strategy import Strategy
from backtester.strategy.params import choices_of, parameter_error

Written = str | tuple[ParamValue, ...]
"""An axis as it was given: the text of an option, or values."""

FORMS = (
    "An axis is NAME=5:200:5 (first:last:step), NAME=log:50:2000:40 or lin:0:1:11 (first:last:count), or a list "
    "NAME=1,3,5; a key of the run file has a dot: account.leverage=1,3,5."
)
_MOST_LISTED = 10_000_000  # values of an axis that are held one by one
_EXACT = 1 << 53  # whole numbers below it are exact as floats
_SPACINGS: Mapping[str, Callable[..., NDArray[np.float64]]] = {"log": np.geomspace, "lin": np.linspace}


class Values(Protocol):
    """The values of an axis, by their place."""

    @property
    def count(self) -> int:
        """How many there are."""

    def take(self, places: NDArray[np.int64]) -> pl.Series:
        """Return the values at some places."""


@dataclass(frozen=True)
class Steps:
    """Values a step apart, which are not held: ``(first + i · step) / scale``."""

    first: int
    step: int
    scale: int
    count: int
    whole: bool = False

    def take(self, places: NDArray[np.int64]) -> pl.Series:
        """Return the values at some places; each is the float nearest to the decimal that was meant."""
        scaled = self.first + self.step * places
        return pl.Series(scaled // self.scale if self.whole else scaled / self.scale)


@dataclass(frozen=True, eq=False)
class Listed:
    """Values held one by one."""

    values: pl.Series

    @property
    def count(self) -> int:
        """How many there are."""
        return self.values.len()

    def take(self, places: NDArray[np.int64]) -> pl.Series:
        """Return the values at some places."""
        return self.values.gather(places)


@dataclass(frozen=True, eq=False)
class Axis:
    """A parameter or key, and the values that it takes.

    Attributes
    ----------
    name : str
        A parameter of the strategy, or with a dot a key of the run file.
    written : str or tuple
        As it was given, to be given again.
    values : Values
        What the strategy or the run file takes for it.
    """

    name: str
    written: Written
    values: Values

    @property
    def count(self) -> int:
        """Number of values."""
        return self.values.count


def parse_axis(text: str) -> tuple[str, str]:
    """Return name and values of an axis as typed: ``fast=5:200:5``.

    Raises
    ------
    UsageError
        Without a name or a value.
    """
    name, equals, values = text.partition("=")
    name = name.strip().replace('"', "")
    if not equals or not re.fullmatch(r"[^\s=]+", name):
        raise UsageError(f"-g {text!r} is not an axis.", FORMS)
    if not values.strip(" ,"):
        raise UsageError(f"-g {text!r}: the grid is empty, {name} has no value.", FORMS)
    return name, values.strip()


def build_axis(name: str, given: str | Sequence[Any] | NDArray[Any], strategy: type[Strategy], base: RunConfig) -> Axis:
    """Return an axis with the values that the strategy or the run file takes.

    Parameters
    ----------
    name : str
        A parameter of the strategy, or with a dot a key of the run file.
    given : str or sequence
        A range, a spacing or a list as typed, or values.
    strategy : type of Strategy
        Whose parameters have types and bounds.
    base : RunConfig
        In which a key of the run file is tried.

    Raises
    ------
    UsageError
        The text is malformed, there is no value, or one is refused by the parameter's or the key's bounds.
    """
    taker = _Key(name, base) if "." in name else _Parameter(name, strategy)
    if isinstance(given, str):
        return Axis(name, given, _read(name, given, taker))
    if isinstance(given, range) and len(given) > 1 and given.step > 0:
        text = f"{given[0]}:{given[-1]}:{given.step}"
        return Axis(name, text, _read(name, text, taker))
    if isinstance(given, Mapping) or not hasattr(given, "__iter__"):
        raise UsageError(f"The axis {name} must be a list of values or a text, not {given!r}.", FORMS)
    plain = [value.item() if isinstance(value, np.generic) else value for value in given]
    if not plain:
        raise UsageError(f"The grid is empty: {name} has no value.", FORMS)
    return Axis(name, tuple(plain), _listed(name, plain, taker))


def refuse_unswept(names: Iterable[str]) -> None:
    """Refuse keys of the run file of which no set can have a value of its own, each with its reason.

    Raises
    ------
    UsageError
        It is a key of the strategy or of the page, or holds more than one value.
    """
    for name in names:
        section, dot, key = name.partition(".")
        if section == "strategy" and key.startswith("params."):
            reason = f"A parameter of the strategy is given by its bare name: {key.removeprefix('params.')}."
        elif section == "strategy" and dot:
            reason = "A sweep is of one strategy as it is; start another one with the other."
        elif section == "report" and dot:
            reason = "It changes the page alone, not what becomes of a set; --no-report leaves the page out."
        elif dot and _is_many(_field_of(name.split("."))):
            reason = "It holds several values itself, and an axis has one number or text for each set."
        else:
            continue
        raise UsageError(f"{name} cannot be swept.", reason)


def _is_many(field: FieldInfo | None) -> bool:
    """Return whether a field of the run file holds a list."""
    kind: Any = None if field is None else field.annotation
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, (tuple, list))


class _Taker(Protocol):
    """What a value is given to."""

    whole: bool

    def convert(self, value: Any) -> ParamValue:
        """Return the value as it is held; a refusal names it."""

    def read(self, text: str) -> Any:
        """Return an entry of a list as typed."""


class _Parameter:
    """A parameter of a strategy; whether several fit together is found when a set is tried."""

    def __init__(self, name: str, strategy: type[Strategy]) -> None:
        self.name, self.strategy = name, strategy
        field = strategy.model_fields[name]
        self.whole = is_whole_field(field)
        self.choices = choices_of(field)
        fields: dict[str, Any] = {name: (field.annotation, field)}  # alone: clashes of several are found in a set
        self.model: type[BaseModel] = create_model(strategy.__name__, __config__=strategy.model_config, **fields)

    def convert(self, value: Any) -> ParamValue:
        try:
            held: ParamValue = getattr(self.model(**{self.name: value}), self.name)
        except ValidationError as error:
            raise parameter_error(self.strategy, error) from None
        if self.choices and held not in self.choices:
            raise ConfigError(
                f"Parameter {self.name!r} of strategy {self.strategy.name!r} is {value!r}: it must be one of "
                f"{', '.join(map(str, self.choices))}."
            )
        return held

    def read(self, text: str) -> Any:
        return text  # the field converts it


class _Key:
    """A key of the run file, tried in the base configuration."""

    def __init__(self, name: str, base: RunConfig) -> None:
        self.name, self.parts = name, name.split(".")
        self.base = base.model_dump(exclude_unset=True)
        field = _field_of(self.parts)
        self.whole = field is not None and is_whole_field(field)

    def convert(self, value: Any) -> ParamValue:
        tree: Any = value
        for part in reversed(self.parts):
            tree = {part: tree}
        held: Any = build_config(merge(self.base, tree))
        for part in self.parts:
            held = held[part] if isinstance(held, Mapping) else getattr(held, part)
        if not isinstance(held, bool | int | float | str):
            raise UsageError(f"{self.name} cannot be swept: it is not a number, a text or a boolean.")
        return held

    def read(self, text: str) -> Any:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text


def _read(name: str, text: str, taker: _Taker) -> Values:
    """Return the values that a text stands for."""
    parts = [part.strip() for part in text.split(":")]
    numbers = [_decimal(part) for part in parts]
    if parts[0] in _SPACINGS:
        return _spaced(name, text, parts[0], numbers[1:], taker)
    if len(parts) == 3 and None not in numbers:
        return _stepped(name, text, numbers, taker)
    if len(parts) > 1 and None not in numbers:
        raise UsageError(f"The axis {name}={text} has {len(parts)} numbers between colons, not 3.", FORMS)
    entries = [entry.strip() for entry in text.split(",")]
    return _listed(name, [taker.read(entry) for entry in entries if entry], taker)


def _stepped(name: str, text: str, numbers: Sequence[Decimal | None], taker: _Taker) -> Values:
    first, last, step = (number for number in numbers if number is not None)
    if step == 0 or (last - first) / step < 0:
        raise UsageError(f"The axis {name}={text} is empty: steps of {step} do not lead from {first} to {last}.", FORMS)
    digits = max(0, *(-int(number.normalize().as_tuple().exponent) for number in (first, step)))
    scale = 10**digits
    count = int((last - first) // step) + 1
    scaled = int(first * scale), int(step * scale)
    if max(abs(scaled[0]), abs(scaled[0] + scaled[1] * count), scale) > _EXACT:
        raise UsageError(f"The axis {name}={text} holds numbers too long to be exact.", FORMS)
    steps = Steps(*scaled, scale, count)
    # Bounds are passed in one direction, so the ends stand for all that lie between.
    tried = [taker.convert(_number(steps, place)) for place in sorted({0, min(1, count - 1), count - 1})]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in tried):
        return _listed(name, [_number(steps, place) for place in range(count)], taker)
    return Steps(*scaled, scale, count, whole=all(isinstance(value, int) for value in tried))


def _number(steps: Steps, place: int) -> int | float:
    """Return one value of a range, whole where it is."""
    scaled = steps.first + steps.step * place
    return scaled // steps.scale if scaled % steps.scale == 0 else scaled / steps.scale


def _spaced(name: str, text: str, kind: str, numbers: Sequence[Decimal | None], taker: _Taker) -> Values:
    if len(numbers) != 3 or None in numbers:
        raise UsageError(f"The axis {name}={text} is not {kind}:FIRST:LAST:COUNT.", FORMS)
    first, last, count = (number for number in numbers if number is not None)
    if count != int(count) or not 1 <= count <= _MOST_LISTED:
        raise UsageError(
            f"The axis {name}={text}: the count is {count}, not a whole number from 1 to {_MOST_LISTED:,}.", FORMS
        )
    if kind == "log" and first * last <= 0:
        raise UsageError(f"The axis {name}={text}: log needs two ends above 0 or two below.", FORMS)
    values = _SPACINGS[kind](float(first), float(last), int(count))
    if taker.whole:
        return _listed(name, np.unique(np.rint(values)).astype(np.int64).tolist(), taker)
    return _listed(name, values.tolist(), taker)


def _listed(name: str, values: Sequence[Any], taker: _Taker) -> Values:
    held = [taker.convert(value) for value in values]
    kinds = {type(value) for value in held}
    if kinds == {int, float}:
        held, kinds = [float(value) for value in held], {float}
    if len(kinds) != 1:
        shown = ", ".join(json.dumps(value, default=str) for value in held[:4])
        raise UsageError(f"The values of the axis {name} are of several kinds: {shown} …", "Give numbers, or texts.")
    return Listed(pl.Series(held).unique(maintain_order=True))


def _decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def is_whole_field(field: FieldInfo) -> bool:
    """Return whether a field holds whole numbers."""
    kinds = get_args(field.annotation) if get_origin(field.annotation) in (Union, UnionType) else (field.annotation,)
    return int in kinds and float not in kinds


def _field_of(parts: Sequence[str]) -> FieldInfo | None:
    """Return the field of the run file that a dotted name leads to, if it leads to one."""
    model: Any = RunConfig
    field: FieldInfo | None = None
    for part in parts:
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return None
        if part in model.model_fields:
            field = model.model_fields[part]
            model = field.annotation
            inner = get_args(model)
            model = inner[-1] if get_origin(model) is dict else model
    return field
