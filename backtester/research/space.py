"""The sets of a sweep: the product of its axes, what a filter leaves of it, and samples of that."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.errors import UnknownNameError, UsageError
from backtester.research.axes import FORMS, Axis

SET = "set"
"""Column with the number of a set, from 0."""

Method = Literal["random", "sobol"]
METHODS: tuple[Method, ...] = ("random", "sobol")
FILTER_EXAMPLE = 'Example: --where "slow > 2 * fast and account.leverage < 5".'

_CHUNK = 1 << 18  # rows of a grid that are held at a time
_RUNS = 8  # runs of neighbours by which all are judged
_CORNERS = 256  # sets by which a large grid is judged, at its corners and as many on its diagonal
_HELD = 1 << 22  # sets that a filter leaves whose places are held
_COUNTABLE = 1 << 25  # sets of a grid that are looked at one by one to draw a sample
_NUMBERED = 1 << 62  # sets that have a number at all
_TRIES = 256  # chunks of draws from a larger grid before a filter is called too strict


@dataclass(frozen=True)
class Sample:
    """How many sets are drawn, how, and from which seed."""

    count: int
    method: Method = "random"
    seed: int = 0


class Space:
    """All sets of a sweep, in a fixed order; nothing is held that is not asked for.

    Parameters
    ----------
    axes : sequence of Axis
        The first varies slowest.
    where : str, optional
        Condition on a set, in SQL, over the names of the axes; dotted names stand as they are.
    sample : Sample, optional
        Draw so many of the sets that pass the condition, all different.

    Raises
    ------
    UsageError
        There is no axis, or the condition is not one, names what is no axis or looks at several sets at once.
    """

    def __init__(self, axes: Sequence[Axis], where: str | None = None, sample: Sample | None = None) -> None:
        if not axes:
            raise UsageError("The grid is empty: no axis is given.", f"Example: -g fast=5:200:5. {FORMS}")
        if sample is not None and sample.count < 1:
            raise UsageError(f"A sample of {sample.count} sets is none.", "Give --sample a number above 0.")
        self.axes = tuple(axes)
        self.where = where
        self.sample = sample
        self._held: list[NDArray[np.int64]] | None = []  # places that the filter leaves, while they are few
        self._condition = None if where is None else _condition(where, self._rows(np.zeros(1, dtype=np.int64)))

    @property
    def names(self) -> list[str]:
        """Names of the axes."""
        return [axis.name for axis in self.axes]

    @property
    def grid_size(self) -> int:
        """Sets of the whole grid, before filter and sample."""
        return math.prod(axis.count for axis in self.axes)

    @cached_property
    def count(self) -> int:
        """Number of sets; a filter is tried on every set of the grid to know it.

        Raises
        ------
        UsageError
            The filter leaves nothing.
        """
        if self.sample is not None:
            return self._drawn.height
        if self._condition is None:
            return self.grid_size
        found = 0
        for left in self._filtered():
            found += left.size
            if self._held is not None:
                self._held.append(left)
            if found > _HELD:
                self._held = None
        if not found:
            raise self._nothing_left(f"none of the {self.grid_size:,} sets")
        return found

    def chunks(self) -> Iterator[pl.DataFrame]:
        """Yield the sets in order: ``set`` (Int64, from 0), then a column an axis; a bounded number at a time."""
        if self.sample is not None:
            yield self._drawn
            return
        done = 0
        if self._condition is not None:
            _ = self.count  # what few sets a filter leaves is held from here on
        for left in self._held or self._filtered():
            yield _numbered(self._rows(left), done)
            done += left.size

    def sets(self) -> pl.DataFrame:
        """Return all sets in one frame."""
        return pl.concat([*self.chunks()])

    def spread(self) -> pl.DataFrame:
        """Return sets by which to judge all of them: all where there are not many, else corners and a diagonal."""
        if self.sample is not None or self.count <= _CHUNK:
            return self.sets()
        corners = itertools.product(*((0, axis.count - 1) for axis in self.axes))
        places = np.array([*itertools.islice(corners, _CORNERS)], dtype=np.int64)
        diagonal = np.stack([np.linspace(0, axis.count - 1, _CORNERS).astype(np.int64) for axis in self.axes], axis=1)
        return _numbered(self._at(np.concatenate([places, diagonal])), 0)

    def some(self, count: int) -> pl.DataFrame:
        """Return about so many sets by which to guess how long all take: runs of neighbours, spread over the grid.

        Neighbours share indicators, as they do in the whole; of a sample, sets are drawn. Those that the filter leaves,
        or, where it leaves none of them, all.
        """
        generator = np.random.default_rng(0)
        size = self.grid_size
        if self.sample is not None:
            drawn = [generator.integers(0, axis.count, count) for axis in self.axes]
            places = np.stack(drawn, axis=1)
        else:
            runs = min(_RUNS, count)
            starts = [size * run // runs for run in range(runs)]
            numbers = dict.fromkeys(start + n for n in range(-(-count // runs)) for start in starts if start + n < size)
            places = np.array([self._placed(number) for number in sorted(numbers)[:count]], dtype=np.int64)
        rows = self._at(places)
        left = rows if self._condition is None else rows.filter(self._passes(rows))
        return _numbered(left if left.height else rows, 0)

    def _placed(self, number: int) -> list[int]:
        """Return the places on the axes of a set of the grid, however many it has."""
        found = []
        for axis in reversed(self.axes):
            number, place = divmod(number, axis.count)
            found.append(place)
        return found[::-1]

    # -- the grid ----------------------------------------------------------------------------------------------------

    def _grid_chunks(self) -> Iterator[NDArray[np.int64]]:
        """Yield the places in the grid, in order."""
        if self.grid_size > _NUMBERED:
            raise UsageError(f"The grid has {self.grid_size:.2e} sets, too many to number.", "Draw some: --sample N.")
        for first in range(0, self.grid_size, _CHUNK):
            yield np.arange(first, min(first + _CHUNK, self.grid_size), dtype=np.int64)

    def _filtered(self) -> Iterator[NDArray[np.int64]]:
        """Yield the places of sets that pass the filter; no empty array."""
        for chunk in self._grid_chunks():
            left = self._places_left(chunk)
            if left.size:
                yield left

    def _rows(self, places: NDArray[np.int64]) -> pl.DataFrame:
        """Return the sets at places of the grid."""
        columns, rest = [], places
        for axis in reversed(self.axes):
            rest, place = np.divmod(rest, axis.count)
            columns.append(axis.values.take(place).alias(axis.name))
        return pl.DataFrame(columns[::-1])

    def _at(self, places: NDArray[np.int64]) -> pl.DataFrame:
        """Return the sets at places on the axes, a column an axis."""
        return pl.DataFrame([axis.values.take(places[:, i]).alias(axis.name) for i, axis in enumerate(self.axes)])

    def _places_left(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        return places if self._condition is None else places[self._passes(self._rows(places))]

    def _passes(self, rows: pl.DataFrame) -> NDArray[np.bool_]:
        """Return which sets pass the condition; an unknown answer is none."""
        assert self._condition is not None
        shown = rows.with_columns(_passes=self._condition)["_passes"]
        return shown.fill_null(value=False).to_numpy()

    def _nothing_left(self, of: str) -> UsageError:
        return UsageError(f"The filter --where {self.where!r} leaves {of}.", f"Loosen it. {FILTER_EXAMPLE}")

    # -- samples -----------------------------------------------------------------------------------------------------

    @cached_property
    def _drawn(self) -> pl.DataFrame:
        """The sets of the sample, numbered."""
        assert self.sample is not None
        if self.grid_size > _COUNTABLE:
            return _numbered(self._drawn_blindly(self.sample), 0)
        found = [*self._filtered()]
        if not found:
            raise self._nothing_left(f"none of the {self.grid_size:,} sets")
        left = np.concatenate(found)
        return _numbered(self._rows(_drawn_places(left, self.axes, self.sample)), 0)

    def _drawn_blindly(self, sample: Sample) -> pl.DataFrame:
        """Return a sample of a grid too large to be looked at: draws that pass and were not drawn before."""
        draws = _draws(self.axes, sample, 10 if self._condition is None else 16)
        found = pl.DataFrame()
        looked = 0
        for _ in range(_TRIES + sample.count // _CHUNK):
            places = next(draws)
            looked += places.shape[0]
            rows = self._at(places)
            if self._condition is not None:
                rows = rows.filter(self._passes(rows))
            found = (
                pl.concat([found, rows]).unique(maintain_order=True)
                if found.width
                else rows.unique(maintain_order=True)
            )
            if found.height >= sample.count:
                return found.head(sample.count)
        if not found.height:
            raise self._nothing_left(f"none of {looked:,} sets drawn from {self.grid_size:,}")
        raise UsageError(
            f"Only {found.height:,} of {looked:,} sets drawn pass the filter --where {self.where!r}, "
            f"and {sample.count:,} are wanted.",
            "Narrow the axes to where the filter passes, or ask for fewer.",
        )


def _numbered(rows: pl.DataFrame, first: int) -> pl.DataFrame:
    return rows.select(pl.int_range(first, first + rows.height, dtype=pl.Int64).alias(SET), pl.all())


def _drawn_places(left: NDArray[np.int64], axes: Sequence[Axis], sample: Sample) -> NDArray[np.int64]:
    """Return places drawn from those that are left; all of them where that is not more than is asked for.

    A random sample is put into the order of the grid, since neighbours share indicators; the points of a Sobol sequence
    keep theirs, so that what is done of them covers the grid evenly at any time.
    """
    if left.size <= sample.count:
        return left
    if sample.method == "random":
        return np.sort(np.random.default_rng(sample.seed).choice(left, sample.count, replace=False))
    sizes = [axis.count for axis in axes]
    allowed = np.zeros(math.prod(sizes), dtype=bool)
    allowed[left] = True
    kept: list[NDArray[np.int64]] = []
    found = 0
    for _, places in zip(range(_TRIES), _draws(axes, sample), strict=False):
        flat = np.ravel_multi_index(tuple(places.T), sizes)
        fresh = pl.Series(flat[allowed[flat]]).unique(maintain_order=True).to_numpy()[: sample.count - found]
        allowed[fresh] = False
        kept.append(fresh.astype(np.int64))
        found += fresh.size
        if found == sample.count:
            break
    else:  # the sequence comes to a cell too rarely: the rest is drawn from what it has not met
        rest = np.flatnonzero(allowed)
        kept.append(np.random.default_rng(sample.seed).choice(rest, sample.count - found, replace=False))
    return np.concatenate(kept)


def _draws(axes: Sequence[Axis], sample: Sample, least: int = 10) -> Iterator[NDArray[np.int64]]:
    """Yield places on the axes, a column an axis, without an end; a power of two at a time, which Sobol points need."""
    rows = 1 << min(18, max(least, (2 * sample.count - 1).bit_length()))
    sizes = np.array([axis.count for axis in axes], dtype=np.int64)
    if sample.method == "random":
        generator = np.random.default_rng(sample.seed)
        while True:
            yield generator.integers(0, sizes, size=(rows, len(axes)))
    from scipy.stats import qmc  # noqa: PLC0415 - takes a while to import

    sequence = qmc.Sobol(d=len(axes), scramble=True, rng=np.random.default_rng(sample.seed))
    while sequence.num_generated + rows <= 1 << 30:
        yield np.minimum((sequence.random(rows) * sizes).astype(np.int64), sizes - 1)


# -- the filter ------------------------------------------------------------------------------------------------------


def _condition(where: str, row: pl.DataFrame) -> pl.Expr:
    """Return a filter as an expression over the columns of a set."""
    names = row.columns
    try:
        condition = pl.sql_expr(_quoted(where, names))
        roots = set(condition.meta.root_names())
    except pl.exceptions.PolarsError as error:
        raise _unreadable(where, error) from None
    if any(name.startswith("_POLARS_TMP") for name in roots):
        raise UsageError(f"The filter --where {where!r} holds a query.", f"It is a condition. {FILTER_EXAMPLE}")
    for name in sorted(roots - set(names)):
        written = next((word for word in _words(where) if word.partition(".")[0] == name), name)
        raise UnknownNameError("name", written, names, f"in the filter --where {where!r}, which knows the axes alone")
    if _looks_around(json.loads(condition.meta.serialize(format="json"))):
        raise UsageError(
            f"The filter --where {where!r} looks at several sets at once.",
            f"It is asked of each set by itself: no MAX, COUNT or OVER. {FILTER_EXAMPLE}",
        )
    try:
        answer = row.with_columns(_passes=condition)["_passes"].dtype
    except pl.exceptions.PolarsError as error:
        raise _unreadable(where, error) from None
    if answer != pl.Boolean:
        raise UsageError(f"The filter --where {where!r} is no condition: it is neither true nor false.", FILTER_EXAMPLE)
    return condition


def _unreadable(where: str, error: pl.exceptions.PolarsError) -> UsageError:
    reason = str(error).partition("\n")[0].rstrip(".")
    return UsageError(f"The filter --where {where!r} cannot be read: {reason}.", FILTER_EXAMPLE)


_TOKEN = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[A-Za-z_](?:[\w]|\.(?=[\w\"]))*|.", re.DOTALL)


def _words(where: str) -> list[str]:
    return [token for token in _TOKEN.findall(where) if token[0].isalpha() or token[0] == "_"]


def _quoted(where: str, names: Sequence[str]) -> str:
    """Return a filter in which the names of axes stand in quotes, so that SQL reads a dot as part of a name.

    Texts in single and names in double quotes are left as they are, and so is what is called like a function.
    """
    known = set(names)
    odd = sorted((name for name in names if not re.fullmatch(r"[\w.]+", name)), key=len, reverse=True)
    for name in odd:  # instruments.BTC/USDT:USDT.leverage, whole or with its symbol in quotes
        head, _, rest = name.partition(".")
        middle, _, tail = rest.rpartition(".")
        for written in (name, f'{head}."{middle}".{tail}'):
            where = re.sub(rf'(?<!["\w]){re.escape(written)}(?!["\w])', f'"{name}"', where)
    tokens = _TOKEN.findall(where)
    quoted = []
    for place, token in enumerate(tokens):
        is_call = "".join(tokens[place + 1 :]).lstrip().startswith("(")
        quoted.append(f'"{token}"' if token in known and not is_call else token)
    return "".join(quoted)


def _looks_around(node: Any) -> bool:
    """Return whether an expression's tree holds an aggregation or a window."""
    if isinstance(node, dict):
        return any(
            key in ("Agg", "Over", "Window") or value == "Len" or _looks_around(value)
            for key, value in node.items()
            if key not in ("String", "Column")
        )
    return isinstance(node, list) and any(map(_looks_around, node))
