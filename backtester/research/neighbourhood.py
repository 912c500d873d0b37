"""Neighbours of parameter sets: whether a result is one of a plateau, or a spike that they do not share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_OFFSETS = 243  # five parameters with all diagonals; beyond that one parameter is moved at a time
_GRID_FILL = 0.2  # share of all combinations from which on sets are taken for a grid
_NEAREST = 8  # neighbours of a set that lies on no grid
_ROWS = 20_000  # sets whose neighbours are looked at together, which bounds the memory


@dataclass(frozen=True, eq=False)
class Lookup:
    """Sets by one number each: ``codes + 1`` times ``weights``; sorted in ``ranked``, their rows in ``order``."""

    weights: Ints
    ranked: Ints
    order: Ints


@dataclass(frozen=True, eq=False)
class Space:
    """Where parameter sets lie.

    Attributes
    ----------
    codes : ndarray of int64, shape (sets, parameters)
        Number of each value among the sorted distinct ones of its parameter.
    ordered : sequence of bool
        Parameters whose values have an order; sets that differ in another one are no neighbours.
    """

    codes: Ints
    ordered: Sequence[bool]

    @property
    def sizes(self) -> Ints:
        """Distinct values of each parameter."""
        if not self.codes.size:
            return np.zeros(self.codes.shape[1], np.int64)
        return np.asarray([np.unique(column).size for column in self.codes.T], np.int64)

    @property
    def is_grid(self) -> bool:
        """Whether the sets are a grid, or the part of one that a filter left."""
        return bool(self.codes.shape[0] >= _GRID_FILL * math.prod(int(size) for size in self.sizes))

    @cached_property
    def lookup(self) -> Lookup | None:
        """How sets are found by their codes; None without parameters, or where no number is large enough."""
        codes, sizes = self.codes, self.codes.max(axis=0, initial=0) + 3
        if not sizes.size or math.prod(int(size) for size in sizes) >= 2**62:
            return None
        weights = np.concatenate([np.cumprod(sizes[::-1])[::-1][1:], [1]]).astype(np.int64)
        keys = (codes + 1) @ weights
        order = np.argsort(keys, kind="stable")
        return Lookup(weights, keys[order], order)


def neighbours(space: Space, place: int) -> Ints:
    """Return the rows of the neighbours of a set, without itself.

    Parameters
    ----------
    space : Space
        The sets.
    place : int
        Row of the set.

    Returns
    -------
    ndarray of int64
        On a grid the sets at most one value away in every ordered parameter; elsewhere the eight nearest by the sum of
        squared distances of values, as shares of the number of values. Sets that differ in an unordered parameter are
        none.
    """
    codes = space.codes
    if space.is_grid:
        return _table(space, np.asarray([place]))[0]
    loose = [not o for o in space.ordered]
    same = (codes[:, loose] == codes[place, loose]).all(axis=1)
    scale = np.maximum(space.sizes - 1, 1)
    distance = (((codes - codes[place]) / scale) ** 2).sum(axis=1)
    distance[~same] = np.inf
    distance[place] = np.inf
    nearest = np.argsort(distance, kind="stable")[:_NEAREST]
    return np.asarray(nearest[np.isfinite(distance[nearest])], np.int64)


def neighbourhood_medians(space: Space, values: Floats) -> Floats | None:
    """Return the median of each set and its neighbours on the grid.

    Parameters
    ----------
    space : Space
        The sets.
    values : ndarray of float64, shape (sets,)
        A metric; NaN is left out.

    Returns
    -------
    ndarray of float64, shape (sets,), or None
        NaN for a set without a value, and for those with fewer than half as many neighbours as another has: at a corner
        the median of few is high by chance. None where the sets are no grid.
    """
    if not space.is_grid:
        return None
    medians = np.full(values.size, np.nan)
    counts = np.zeros(values.size, np.int64)
    padded = np.append(values, np.nan)
    for start in range(0, values.size, _ROWS):
        rows = np.arange(start, min(start + _ROWS, values.size))
        around = _rows_at(space, rows, with_itself=True)
        found = padded[around]
        counts[rows] = np.isfinite(found).sum(axis=1)
        some = counts[rows] > 0
        medians[rows[some]] = np.nanmedian(found[some], axis=1)
    if counts.size:
        medians[(counts - 1 < (counts.max() - 1) / 2) | ~np.isfinite(values)] = np.nan
    return medians


def _table(space: Space, rows: Ints) -> list[Ints]:
    """Return the neighbours of some sets on the grid."""
    missing = space.codes.shape[0]
    return [row[row < missing] for row in _rows_at(space, rows, with_itself=False)]


def _rows_at(space: Space, rows: Ints, *, with_itself: bool) -> Ints:
    """Return the row of the set at each offset from some sets, the number of sets where there is none."""
    lookup = space.lookup
    columns = []
    for offset in _offsets(space.ordered) if lookup is not None else ():
        if not with_itself and not any(offset):
            continue
        assert lookup is not None
        wanted = (space.codes[rows] + 1 + np.asarray(offset, np.int64)) @ lookup.weights
        at = np.minimum(np.searchsorted(lookup.ranked, wanted), lookup.ranked.size - 1)
        columns.append(np.where(lookup.ranked[at] == wanted, lookup.order[at], space.codes.shape[0]))
    return np.stack(columns, axis=1) if columns else np.zeros((rows.size, 0), np.int64)


def _offsets(ordered: Sequence[bool]) -> list[tuple[int, ...]]:
    """Return the steps to neighbours, none first."""
    free = sum(ordered)
    if 3**free <= _OFFSETS:
        return list(product(*((0, -1, 1) if o else (0,) for o in ordered)))
    steps = [tuple(0 for _ in ordered)]
    for place, is_ordered in enumerate(ordered):
        if is_ordered:
            steps += [tuple(step if i == place else 0 for i in range(len(ordered))) for step in (-1, 1)]
    return steps
