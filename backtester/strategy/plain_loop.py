"""A plain ``on_bar`` function as Python calls it: its numbers divide as compiled ones do, a request has its line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from backtester.kernel.loop import REQUESTED, LoopContext
from backtester.strategy.fault import own_files, place_text
from backtester.strategy.sound_requests import first_fault

if TYPE_CHECKING:
    from backtester.strategy.base import Strategy

_SHOWN = ("bars", "indicators", "account", "legs", "params", "state")


class PlainNumbers(np.ndarray[Any, np.dtype[np.float64]]):
    """An array whose numbers are Python's: numpy's own divide by zero without raising, compiled code raises."""

    def __getitem__(self, place: Any) -> Any:
        """Return a number as a float, a part of the array as such an array."""
        found = super().__getitem__(place)
        return float(found) if isinstance(found, np.floating) else found


def plain_numbers(ctx: LoopContext) -> LoopContext:
    """Return a context over the same memory whose arrays give Python's numbers."""
    arrays: dict[str, Any] = {name: getattr(ctx, name).view(PlainNumbers) for name in _SHOWN}
    return ctx._replace(**arrays)


def line_of_fault(strategy: type[Strategy], ctx: LoopContext, call: Callable[[], None]) -> str:
    """Call ``on_bar`` once more and return the place of the line that makes the first request that no order can be.

    Parameters
    ----------
    strategy : type of Strategy
        Whose own lines are looked at.
    ctx : LoopContext
        As it was before the call.
    call : callable
        Calls the function.

    Returns
    -------
    str
        As ``place_text`` gives it; empty where the second call asks for nothing wrong, as a random one may.
    """
    files, first = own_files(strategy), int(ctx.clock[REQUESTED])
    last: dict[FrameType, int] = {}  # line that each frame is at
    found: list[str] = []

    def trace(frame: FrameType, _event: str, _value: object) -> Any:
        if found or frame.f_code.co_filename not in files:
            return None
        if frame in last and ctx.clock[REQUESTED] > first and first_fault(ctx, first)[1]:
            found.append(place_text(frame.f_code.co_filename, last[frame]))
            return None
        last[frame] = frame.f_lineno
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return found[0] if found else ""
