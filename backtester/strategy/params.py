"""Parameters of a strategy: their bounds, their form on the command line, and what is said when one is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field, JsonValue, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from backtester.errors import ConfigError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from backtester.strategy.base import Strategy

_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_BOUND_OF_ERROR = {
    "greater_than_equal": "ge",
    "greater_than": "gt",
    "less_than_equal": "le",
    "less_than": "lt",
}
_TYPE_NAMES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}


def Param(  # noqa: N802 - stands where a type's name would, like pydantic's Field
    default: Any,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Sequence[Any] | None = None,
    description: str = "",
) -> Any:
    """Declare a parameter of a strategy, with its default and its bounds.

    Parameters
    ----------
    default : int, float, bool or str
        Value when nothing is given; it is checked against the bounds too.
    ge, gt, le, lt : float, optional
        Bounds: at least, more than, at most, less than.
    choices : sequence, optional
        The only values allowed.
    description : str
        One sentence with the unit, shown by ``backtester strategy list`` and beside errors.

    Returns
    -------
    Any
        A field of the parameter model.

    Examples
    --------
    >>> import polars as pl
    >>> from backtester.strategy import Param, Strategy
    >>> class Hold(Strategy):
    ...     exposure: float = Param(1.0, gt=0, le=3, description="Fraction of equity held.")
    ...     def target(self):
    ...         return pl.lit(self.exposure)
    >>> Hold(exposure=2).exposure
    2.0
    """
    declared = (("ge", ge), ("gt", gt), ("le", le), ("lt", lt))
    bounds: dict[str, JsonValue] = {key: value for key, value in declared if value is not None}
    extra: dict[str, JsonValue] = {"bounds": bounds}
    if choices:
        extra["choices"] = list(choices)
    return Field(default, description=description or None, json_schema_extra=extra, ge=ge, gt=gt, le=le, lt=lt)


@dataclass(frozen=True)
class ParamInfo:
    """A parameter as it is shown to a user.

    Attributes
    ----------
    name, type : str
        Name, and the type as written.
    default : object
        Value when nothing is given; None without a default.
    bounds : dict of str to float
        ``ge``, ``gt``, ``le``, ``lt`` where declared.
    choices : tuple
        The only values allowed; empty: any.
    description : str
        One sentence.
    """

    name: str
    type: str
    default: object
    bounds: dict[str, float]
    choices: tuple[Any, ...]
    description: str

    def __str__(self) -> str:
        parts = [_TYPE_NAMES.get(self.type, self.type)]
        parts += [f"{_BOUNDS[key]} {value:g}" for key, value in self.bounds.items()]
        if self.choices:
            parts.append("one of " + ", ".join(map(str, self.choices)))
        text = f"{self.name}: {', '.join(parts)}, default {self.default}."
        return f"{text} {self.description}".rstrip()


def param_infos(strategy: type[Strategy]) -> tuple[ParamInfo, ...]:
    """Return the parameters of a strategy in the order of their declaration."""
    return tuple(_param_info(name, info) for name, info in strategy.model_fields.items())


def _param_info(name: str, info: FieldInfo) -> ParamInfo:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    bounds = extra.get("bounds")
    choices = extra.get("choices")
    return ParamInfo(
        name=name,
        type=getattr(info.annotation, "__name__", str(info.annotation)),
        default=None if info.default is PydanticUndefined else info.default,
        bounds=dict(bounds) if isinstance(bounds, dict) else {},  # type: ignore[arg-type]  # numbers, by Param
        choices=tuple(choices) if isinstance(choices, list) else (),
        description=info.description or "",
    )


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Return the parameters of ``-p name=value`` options.

    Parameters
    ----------
    assignments : iterable of str
        As typed: ``"fast=24"``. Values stay text (the strategy converts them); ``[…]`` and ``{…}`` are read as JSON.

    Returns
    -------
    dict of str to object
        In the order given.

    Raises
    ------
    UsageError
        Without ``=``, or when one name is given twice.
    """
    params: dict[str, Any] = {}
    for assignment in assignments:
        name, separator, value = (part.strip() for part in assignment.partition("="))
        if not separator or not name:
            raise UsageError(
                f"Parameter {assignment!r} has no value.", "Write it as name=value, for instance -p fast=24."
            )
        if name in params:
            raise UsageError(f"Parameter {name!r} is given twice: {params[name]} and {value}.", "Give it once.")
        params[name] = _parsed_json(name, value) if value[:1] in ("[", "{") else value
    return params


def _parsed_json(name: str, value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"Parameter {name!r} has a value that is not valid JSON: {value}",
            f"{error.msg} at character {error.pos + 1}.",
        ) from None


def choices_of(info: FieldInfo) -> list[Any]:
    """Return the values that a field allows; empty: any."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    choices = extra.get("choices")
    return choices if isinstance(choices, list) else []


def parameter_error(strategy: type[Strategy], error: ValidationError) -> UsageError:
    """Return what to tell the user about the first wrong parameter.

    Parameters
    ----------
    strategy : type of Strategy
        The strategy whose parameters were given.
    error : ValidationError
        As raised by the parameter model.

    Returns
    -------
    UsageError
        An unknown name with the nearest, or the value with the bound or type it misses.
    """
    detail = error.errors(include_url=False)[0]
    where = f"of strategy {strategy.name!r}"
    name = str(detail["loc"][0]) if detail["loc"] else str(detail.get("ctx", {}).get("name", ""))
    if detail["type"] == "extra_forbidden":
        return UnknownNameError("parameter", name, strategy.model_fields, where)
    if name not in strategy.model_fields:
        return ConfigError(f"The parameters {where} do not fit together: {_plain(detail['msg'])}.")
    info = _param_info(name, strategy.model_fields[name])
    return ConfigError(f"Parameter {name!r} {where} is {detail['input']!r}: {_problem(detail, info)}.", str(info))


def _problem(detail: ErrorDetails, info: ParamInfo) -> str:
    context: Mapping[str, Any] = detail.get("ctx", {})
    bound = _BOUND_OF_ERROR.get(detail["type"])
    if bound:
        return f"it must be {_BOUNDS[bound]} {context[bound]:g}"
    if detail["type"].startswith(("int", "float", "bool", "string")):
        return f"it must be {_TYPE_NAMES.get(info.type, info.type)}"
    return _plain(detail["msg"])


def _plain(message: str) -> str:
    text = message.removeprefix("Value error, ").removeprefix("Assertion failed, ").rstrip(".")
    return text[:1].lower() + text[1:]
