"""Progress of a search: a moving line on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_SECONDS = 5.0


@contextmanager
def search_progress(*, quiet: bool) -> Iterator[Callable[[str, float | None], None]]:
    """Give what shows on stderr how far a search is; the last of many lines is always shown."""
    from backtester.cli.output import say
    from backtester.cli.run import _progress, say_if_cold

    if quiet or sys.stderr.isatty():
        with _progress(quiet=quiet) as show:
            yield show
        return
    say_if_cold()
    shown, held = 0.0, ""

    def tell(phase: str, done: float | None) -> None:
        nonlocal shown, held
        now = time.monotonic()
        if done is None or done >= 1.0 or now - shown > EVERY_SECONDS:
            if held and done is None:
                say(held)
            say(phase if done is not None else f"{phase} …")
            shown, held = (now if done is not None else shown), ""
        else:
            held = phase

    try:
        yield tell
    finally:
        if held:
            say(held)
