"""Windows of a walk forward: where one trains and where it is tested."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from backtester.errors import UsageError, format_time
from backtester.market.schema import timeframe_name

_UNITS = {"h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_EXAMPLE = "Write hours, days or weeks: 12h, 30d, 4w."


@dataclass(frozen=True)
class Window:
    """One step: train in one span, test in the next [ms since 1970, UTC; ends excluded]."""

    number: int
    train_start: int
    train_end: int
    test_end: int

    @property
    def test_start(self) -> int:
        """Where the test begins: where the training ends."""
        return self.train_end


def parse_duration(text: str | timedelta, what: str) -> int:
    """Return a length of time in ms.

    Parameters
    ----------
    text : str or timedelta
        ``180d``, ``4w``, ``12h``; a `timedelta` of whole seconds.
    what : str
        What it is for, for the message: ``--train``.

    Raises
    ------
    UsageError
        It is no such text, or 0.
    """
    if isinstance(text, timedelta):
        if text <= timedelta(0) or text.microseconds:
            raise UsageError(f"{what} {text} is no length of time in whole seconds above 0.", _EXAMPLE)
        return text // timedelta(milliseconds=1)
    if not isinstance(text, str):
        raise UsageError(f"{what} {text!r} is no length of time.", _EXAMPLE)
    match = re.fullmatch(r"\s*(\d+)\s*([a-zA-Z]+)\s*", text)
    if match is None or match[2].lower() not in _UNITS:
        is_month = match is not None and match[2].lower().startswith("m")
        hint = f"Months differ in length. {_EXAMPLE}" if is_month else _EXAMPLE
        raise UsageError(f"{what} {text!r} is no length of time.", hint)
    length = int(match[1]) * _UNITS[match[2].lower()]
    if not length:
        raise UsageError(f"{what} {text!r} is empty.", _EXAMPLE)
    return length


def duration_text(length: int) -> str:
    """Return a length of time in ms as it can be given."""
    for unit in ("d", "h"):
        if length % _UNITS[unit] == 0:
            return f"{length // _UNITS[unit]}{unit}"
    return f"{length / _UNITS['h']:g}h"


def cut_windows(span: tuple[int, int], train: int, test: int, bar: int, *, anchored: bool) -> tuple[Window, ...]:
    """Return the windows of a span: tests follow each other without a hole, each right behind its training.

    Parameters
    ----------
    span : tuple of int
        First open and end of the last bar [ms since 1970, UTC].
    train, test : int
        Lengths [ms]; of an anchored walk ``train`` is that of the first window.
    bar : int
        Length of a bar [ms].
    anchored : bool
        Whether every training begins at the start of the span.

    Raises
    ------
    UsageError
        The span is too short for one window, or a length is no whole number of bars.
    """
    for name, length in (("train", train), ("test", test)):
        if length % bar:
            raise UsageError(
                f"--{name} {duration_text(length)} is no whole number of bars of {timeframe_name(bar)}.",
                f"Give a multiple of {timeframe_name(bar)}.",
            )
    start, end = span
    if end - start < train + test:
        raise UsageError(
            f"The span from {format_time(start)} to {format_time(end)} is {duration_text((end - start) // bar * bar)} "
            f"long, and one window needs {duration_text(train + test)} ({duration_text(train)} to train, "
            f"{duration_text(test)} to test).",
            "Take a longer span (--start, --end) or shorter windows (--train, --test).",
        )
    count = (end - start - train) // test
    first = start + train
    return tuple(
        Window(
            number=i + 1,
            train_start=start if anchored else start + i * test,
            train_end=first + i * test,
            test_end=first + (i + 1) * test,
        )
        for i in range(count)
    )
