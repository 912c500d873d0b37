"""Parts of a sweep on their way: taken one by one, tried again where their worker ended, at last given up."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from backtester.research.rows import failed_row, rows_frame

WAY_ON = "Use fewer workers, or replay it alone with `backtester run`."


@dataclass(frozen=True, eq=False)
class Part:
    """Parameter sets that are evaluated together, and how many workers ended over them."""

    sets: pl.DataFrame
    deaths: int = 0


class PartQueue:
    """Parts that wait: those that are to be tried again first, then new ones, which are asked for only when needed.

    Parameters
    ----------
    parts : iterable of polars.DataFrame
        Parameter sets.
    tries : int
        Workers that may end over a part before it is halved, and over a single set before it is given up.
    """

    def __init__(self, parts: Iterable[pl.DataFrame], tries: int) -> None:
        self._fresh = iter(parts)
        self._again: deque[Part] = deque()
        self._tries = tries

    def take(self) -> Part | None:
        """Return the next part, None where all are taken."""
        if self._again:
            return self._again.popleft()
        for sets in self._fresh:
            if sets.height:
                return Part(sets)
        return None

    def put_back(self, part: Part) -> None:
        """Wait once more for a part over which nothing went wrong."""
        self._again.append(part)

    def lost(self, part: Part, why: str) -> pl.DataFrame | None:
        """Note that a worker ended over a part, which is tried again, in halves where it was tried enough.

        Returns
        -------
        polars.DataFrame or None
            The row of a set that is given up.
        """
        deaths = part.deaths + 1
        if deaths < self._tries:
            self._again.append(Part(part.sets, deaths))
            return None
        if part.sets.height == 1:
            return rows_frame(part.sets, [failed_row(why)])
        half = part.sets.height // 2
        for sets in (part.sets[:half], part.sets[half:]):
            # halves of what has ended several workers are not tried so often again; a set alone has one try to spare
            self._again.append(Part(sets, max(self._tries - (2 if sets.height == 1 else 1), 0)))
        return None
