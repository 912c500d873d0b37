"""Spans of time as pairs ``(start, end)`` in ms, end excluded: what is missing, less what need not be asked for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Window = tuple[int, int]


def missing_runs(times: NDArray[np.int64], step: int, start: int, end: int, anchor: int = 0) -> list[Window]:
    """Return the runs of bars that open in ``[start, end)`` and are not among ``times``.

    Parameters
    ----------
    times : numpy.ndarray
        Opens that are there, ascending [ms]; some may lie outside.
    step : int
        Length of a bar [ms].
    start, end : int
        Range of the opens [ms].
    anchor : int
        A moment at which a bar opens [ms].

    Returns
    -------
    list of tuple of int
        First missing open and end of the last missing bar of each run.

    Examples
    --------
    >>> missing_runs(np.array([20, 30, 60]), 10, 5, 80)
    [(10, 20), (40, 60), (70, 80)]
    """
    first = anchor - (anchor - start) // step * step
    if first >= end:
        return []
    last = anchor - (anchor - end) // step * step  # the first open at or after the end
    inside = times[np.searchsorted(times, first) : np.searchsorted(times, last)]
    edges = np.concatenate(([first - step], inside, [last]))
    holes = np.flatnonzero(np.diff(edges) > step)
    return [(int(edges[k]) + step, int(edges[k + 1])) for k in holes.tolist()]


def subtracted(windows: Iterable[Window], taken: Iterable[Window]) -> list[Window]:
    """Return what is left of windows outside others.

    Examples
    --------
    >>> subtracted([(0, 100)], [(20, 30), (90, 200)])
    [(0, 20), (30, 90)]
    """
    left = list(windows)
    for a, b in taken:
        left = [
            piece
            for start, end in left
            for piece in ((start, min(end, a)), (max(start, b), end))
            if piece[0] < piece[1]
        ]
    return left


def coalesced(windows: Iterable[Window], distance: int) -> list[Window]:
    """Return windows in order, with those joined that are no further apart than ``distance`` [ms].

    Examples
    --------
    >>> coalesced([(50, 60), (0, 10), (12, 20)], 5)
    [(0, 20), (50, 60)]
    """
    out: list[Window] = []
    for start, end in sorted(windows):
        if out and start - out[-1][1] <= distance:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out
