"""Ctrl-C while polars computes."""

from __future__ import annotations

import time


def await_second() -> None:
    """Wait for the second ``KeyboardInterrupt`` that one Ctrl-C may bring: polars raises one, and Python its own.

    Call it inside a ``try`` that lets it pass, before what must not be cut off.
    """
    for _ in range(3):
        time.sleep(0.01)
