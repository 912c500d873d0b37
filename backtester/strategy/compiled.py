"""An ``on_bar`` function as the replay takes it: compiled, or plain with the same result."""

from __future__ import annotations

import inspect
import re
from collections import namedtuple
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from backtester.errors import BacktesterError, StrategyError, nearest_names
from backtester.kernel._jit import OPTIONS, config
from backtester.kernel.loop import BAR, LOST, REQUESTED, SIGNATURE, LoopContext
from backtester.strategy.base import Strategy
from backtester.strategy.fault import blaming, method_place, own_files, place_text, strategy_fault
from backtester.strategy.plain_loop import line_of_fault, plain_numbers
from backtester.strategy.sound_requests import fault_text, first_fault, moment, way_on

# A division by zero raises, as in Python: infinite figures would go on into orders unseen. An index is checked.
USER_OPTIONS: dict[str, Any] = OPTIONS | {"error_model": "python", "boundscheck": True}
_CONTEXT = str(SIGNATURE.args[0])  # numba spells out every array of it, over many lines
_PLACES = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)|(?P<other>\S+\.py) \((?P<at>\d+)\)')
_AT_A_PATH = re.compile(r"(\. Raised from|, defined at) .*")
_WRAPPER = """
def call(ctx):
    if ctx.clock[LOST] < 0:
        return
    first = ctx.clock[REQUESTED]
    is_sound = True
    try:
        on_bar(ctx, Params({values}))
    except Exception:
        is_sound = False
    if not is_sound or first_fault(ctx, first)[1] > 0:
        ctx.clock[LOST] = -1 - ctx.clock[BAR]
        ctx.clock[REQUESTED] = first
"""


def loop_params(strategy: Strategy) -> NDArray[np.float64]:
    """Return the parameters of a strategy as ``ctx.params`` holds them: in the order of declaration, false 0, true 1.

    Raises
    ------
    StrategyError
        When one is no number.
    """
    values = []
    for name in type(strategy).model_fields:
        value = getattr(strategy, name)
        if not isinstance(value, bool | int | float):
            raise StrategyError(
                f"Parameter {name!r} of strategy {strategy.name!r} is {value!r}: on_bar() takes numbers alone.",
                "Make it a number: a choice as 0, 1, 2.",
            )
        values.append(float(value))
    return np.array(values, np.float64)


def loop_state(strategy: Strategy, symbols: int) -> NDArray[np.float64]:
    """Return what ``ctx.state`` holds before the first bar, as an array of its own.

    Raises
    ------
    StrategyError
        With the strategy's own line when ``state`` raises or returns something else than two dimensions of numbers.
    """
    with blaming(type(strategy), "state"):
        declared: object = strategy.state(symbols)
        if not isinstance(declared, np.ndarray) or declared.ndim != 2 or declared.dtype.kind not in "fiub":
            what = f"{declared.ndim} of {declared.dtype}" if isinstance(declared, np.ndarray) else repr(declared)
            raise TypeError(f"state() must return an array of numbers with two dimensions, got {what}")
        return np.array(declared, np.float64, order="C")


def compiled_on_bar(strategy: Strategy) -> Any:
    """Return a strategy's ``on_bar`` as the replay calls it.

    Parameters
    ----------
    strategy : Strategy
        With ``on_bar``; the parameters come from ``ctx.params`` (see ``loop_params``), so that one function serves
        every instance of the class.

    Returns
    -------
    numba.core.ccallback.CFunc
        Of the signature ``kernel.loop.SIGNATURE``. Once the function has raised, or asked for what no order can be
        (a size that is not a number, a contract that is not there), it is not called again, the requests of that bar
        are taken back, and ``failed_bar`` tells the bar. Where compilation is switched off, what ``python_on_bar``
        returns.

    Raises
    ------
    StrategyError
        With the strategy's own line when it cannot be compiled.
    """
    if config.DISABLE_JIT:
        return python_on_bar(strategy)
    return _compiled(type(strategy))


def python_on_bar(strategy: Strategy) -> Callable[[LoopContext], None]:
    """Return a strategy's ``on_bar`` as a plain function of the context: slow, with the same result.

    What it raises, or asks for and no order can be, comes as a ``StrategyError`` with the strategy's own line.
    """
    cls = type(strategy)
    function, params = source_function(cls), _params_type(cls)

    def call(ctx: LoopContext) -> None:
        first, state = int(ctx.clock[REQUESTED]), ctx.state.copy()
        shown = plain_numbers(ctx)
        _call_plain(cls, lambda: function(shown, params(*ctx.params.tolist())), ctx)
        number, fault = first_fault(ctx, first)
        if not fault:
            return
        told = f"on_bar() of strategy {strategy.name!r} {fault_text(ctx, number, fault)}."
        hint = way_on(ctx, number, fault)
        ctx.state[:], ctx.clock[REQUESTED] = state, first
        place = line_of_fault(cls, ctx, lambda: function(shown, params(*ctx.params.tolist())))
        raise StrategyError(told, f"{hint}\n{place or method_place(cls, 'on_bar')}")

    return call


def _call_plain(cls: type[Strategy], call: Callable[[], None], ctx: LoopContext) -> None:
    """Call a plain ``on_bar``; what it raises names its line and the bar."""
    try:
        call()
    except BacktesterError:
        raise
    except Exception as error:
        raise strategy_fault(cls, "on_bar", error, moment(ctx)) from error


def failed_bar(ctx: LoopContext) -> int | None:
    """Return the number of the signal bar at whose close a compiled ``on_bar`` failed; None where it did not.

    Parameters
    ----------
    ctx : LoopContext
        After the replay.
    """
    mark = int(ctx.clock[LOST])
    return -1 - mark if mark < 0 else None


def source_function(strategy: type[Strategy]) -> Callable[..., None]:
    """Return the plain function behind ``on_bar``, which may have been compiled by its author."""
    function: Callable[..., None] = getattr(strategy.on_bar, "py_func", strategy.on_bar)
    return function


def _params_type(strategy: type[Strategy]) -> Callable[..., Any]:
    names = list(strategy.model_fields)
    made: Callable[..., Any] = namedtuple("Params", names)  # type: ignore[misc]  # mypy wants the names written out
    return made


@cache
def _compiled(strategy: type[Strategy]) -> Any:
    params = _params_type(strategy)
    inner = numba.njit(**USER_OPTIONS)(source_function(strategy))
    values = ", ".join(f"ctx.params[{place}]" for place in range(len(strategy.model_fields)))
    names: dict[str, Any] = {"on_bar": inner, "Params": params, "first_fault": first_fault}
    names |= {"BAR": BAR, "LOST": LOST, "REQUESTED": REQUESTED}
    exec(_WRAPPER.format(values=values), names)  # noqa: S102 - compiled code takes a fixed number of arguments
    try:
        return numba.cfunc(SIGNATURE)(names["call"])
    except Exception as error:
        raise _compile_fault(strategy, error) from error


def _compile_fault(strategy: type[Strategy], error: Exception) -> StrategyError:
    """Return what to tell when numba refuses an ``on_bar``: its first sentence, the way on, the strategy's own line."""
    lines = [line.strip() for line in str(error).replace(_CONTEXT, "LoopContext").splitlines()]
    told = [line for line in lines if line and not line.startswith("Failed in nopython mode")]
    text = _AT_A_PATH.sub("", told[0]) if told else type(error).__name__
    hint = _way_on(strategy, text)
    message = f"on_bar() of strategy {strategy.name!r} cannot be compiled: {text.rstrip('.')}."
    return StrategyError(message, f"{hint}\n{_place(strategy, str(error), text)}")


def _way_on(strategy: type[Strategy], text: str) -> str:
    name = next(iter(re.findall(r"'([A-Za-z_]\w*)'", text)), "")
    if text.startswith("Untyped global name"):
        return f"Write @loop.compiled above def {name}, or make it a number." if name else "Compile it first."
    if "Params(" in text:
        known = list(strategy.model_fields)
        near = nearest_names(name, known)
        return f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Parameters: {', '.join(known) or 'none'}."
    return "It may use numbers, tuples, arrays, loops, and the functions of backtester.strategy.loop."


def _place(strategy: type[Strategy], told: str, text: str) -> str:
    """Return the first place that numba names in the strategy's own files, else a line that has the quoted name."""
    files = {Path(file).resolve(): file for file in own_files(strategy)}
    for match in _PLACES.finditer(told):
        path = Path(match["file"] or match["other"]).resolve()
        if path in files:
            return place_text(files[path], int(match["line"] or match["at"]))
    return _source_place(source_function(strategy), re.findall(r"'([A-Za-z_]\w*)'", text))


def _source_place(function: Callable[..., None], names: list[str]) -> str:
    try:
        lines, first = inspect.getsourcelines(function)
        file = inspect.getfile(function)
    except (OSError, TypeError):
        return place_text("", 0)
    for name in names:
        for offset, line in enumerate(lines):
            if re.search(rf"\b{name}\b", line):
                return place_text(file, first + offset)
    return place_text(file, first)
