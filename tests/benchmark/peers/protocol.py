"""What every driver of a peer does alike; imported in the peer's own environment, so numpy is all it may need."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Request:
    """What is asked of a driver: bars, sets of lengths and the account."""

    open: Any
    high: Any
    low: Any
    close: Any
    fast: list[int]
    slow: list[int]
    fee: float
    cash: float
    repeats: int
    threads: int

    @property
    def is_single(self) -> bool:
        """Whether one set is asked for: then the simulation alone is timed too."""
        return len(self.fast) == 1


@dataclass(frozen=True)
class Answer:
    """What a driver prints.

    Attributes
    ----------
    name : str
        Peer and engine.
    equity : list of float
        Final equity of the sets that were run, in their order.
    bar : int
        The bar at whose close that equity is read, from the end (-1 is the last).
    whole : tuple of float
        Median wall and processor seconds of the whole: averages, signals, simulation, final equity.
    simulation : tuple of float or None
        The same of the simulation alone, from signals that are there.
    convention : str
        How it differs from a long or short position of a fraction of equity, filled at the next open.
    """

    name: str
    equity: list[float]
    whole: tuple[float, float]
    simulation: tuple[float, float] | None
    convention: str
    bar: int = -1


def request() -> Request:
    """Return what the command line asks for: a file of bars and a file of the rest."""
    bars, told = sys.argv[1:3]
    with np.load(bars) as arrays:
        prices = {name: arrays[name] for name in ("open", "high", "low", "close")}
    return Request(**prices, **json.loads(Path(told).read_text()))


def answer(rows: list[Answer], version: str) -> None:
    """Print the rows as the last line of standard output."""
    sys.stdout.write(json.dumps({"version": version, "rows": [vars(row) for row in rows]}) + "\n")


def timed(action: Callable[[], Any], repeats: int) -> tuple[Any, tuple[float, float]]:
    """Return the last result of an action, and its median wall and processor time; call it once before to warm up."""
    walls, processor = [], []
    result = None
    for _ in range(repeats):
        result = None
        begin, begun = time.perf_counter(), time.process_time()
        result = action()
        walls.append(time.perf_counter() - begin)
        processor.append(time.process_time() - begun)
    return result, (statistics.median(walls), statistics.median(processor))


def changes(fast: Any, slow: Any, first: int) -> tuple[Any, Any]:
    """Return the bars at whose close the fast average has come to lie above the slow one, and below or on it.

    Parameters
    ----------
    fast, slow : arrays, shape (T,)
        Averages.
    first : int
        First bar on which both are known; its side counts as a change.
    """
    above = fast > slow
    up, down = np.zeros(above.size, bool), np.zeros(above.size, bool)
    up[first:] = above[first:]
    down[first:] = ~above[first:]
    up[first + 1 :] &= ~above[first:-1]
    down[first + 1 :] &= above[first:-1]
    return up, down
