"""Long series small enough to stand in a page: differences of whole numbers, byte by byte, deflated, as base64.

A column of whole numbers is stored as differences, their sign moved into the lowest bit, their bytes grouped by place
("planes": all lowest bytes, then all second ones), the planes deflated as one zlib stream. Prices are whole numbers of
their finest decimal, so that the page gets back the very same doubles: ``number * step / scale``.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MOST_DECIMALS = 12
_LARGEST = 2.0**52  # whole numbers beyond this are not exact in a page


@dataclass(frozen=True)
class Grid:
    """The whole numbers behind a series: ``value = number * step / scale``.

    Attributes
    ----------
    scale : int
        Power of ten.
    step : int
        Greatest common divisor of the numbers.
    exact : bool
        Whether every value comes back as it was; else it is rounded to ``step / scale``.
    """

    scale: int
    step: int
    exact: bool


@dataclass(frozen=True)
class Column:
    """A packed column.

    Attributes
    ----------
    count : int
        Rows.
    planes : int
        Bytes of a number.
    summed : bool
        Whether the numbers are differences to the row before.
    grid : Grid
        What a number is worth.
    stream : bytes
        The zlib stream.
    first : int
        Number of the first row where differences follow.
    base : str
        Name of the column beside which the numbers are counted; empty: none.
    """

    count: int
    planes: int
    summed: bool
    grid: Grid
    stream: bytes
    first: int = 0
    base: str = ""

    @property
    def text(self) -> str:
        """The stream as base64."""
        return base64.b64encode(self.stream).decode("ascii")

    def head(self) -> dict[str, Any]:
        """Return what a reader must know beside the stream."""
        grid = self.grid
        head = {"n": self.count, "planes": self.planes, "summed": self.summed, "scale": grid.scale, "step": grid.step}
        return head | ({"first": self.first} if self.first else {}) | ({"base": self.base} if self.base else {})


WHOLE = Grid(1, 1, exact=True)


def pack_whole(numbers: IntArray, grid: Grid = WHOLE, *, summed: bool = True) -> Column:
    """Pack whole numbers.

    Parameters
    ----------
    numbers : ndarray of int64
        Shape (n,); sizes, and differences, below 2**52.
    grid : Grid
        What a number is worth.
    summed : bool
        Store differences to the row before: for series that wander.
    """
    first = int(numbers[0]) if summed and numbers.size else 0
    stored = np.diff(numbers, prepend=first) if summed and numbers.size else numbers
    folded = ((stored << 1) ^ (stored >> 63)).astype("<u8")
    used = int(folded.max()).bit_length() if folded.size else 0
    planes = max(1, -(-used // 8))
    columns = np.ascontiguousarray(folded.view(np.uint8).reshape(-1, 8)[:, :planes].T)
    # Lowest bytes are noise, the others mostly zero: runs and Huffman codes find all there is, at a tenth of the time.
    squeeze = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return Column(len(numbers), planes, summed, grid, squeeze.compress(columns.tobytes()) + squeeze.flush(), first)


def pack_values(values: FloatArray, *, resolution: float = 0.0, summed: bool = True) -> Column:
    """Pack finite numbers, exactly where they stand on a decimal grid that is not much finer than wanted.

    Parameters
    ----------
    values : ndarray of float64
        Shape (n,); finite.
    resolution : float
        Part of the smallest size to which values are rounded where their own decimals are finer than a fifth of that;
        0: never round what stands on a grid.
    summed : bool
        As for `pack_whole`.
    """
    grid = grid_of(values, resolution)
    return pack_whole(to_numbers(values, grid), grid, summed=summed)


def pack_beside(values: FloatArray, base: FloatArray, name: str, *, resolution: float) -> Column:
    """Pack a series that keeps near another one: as its distance from it, where that is smaller than its own moves.

    Parameters
    ----------
    values, base : ndarray of float64
        Shape (n,); finite.
    name : str
        Name of the other column.
    resolution : float
        As for `pack_values`.
    """
    grid = grid_of(values, resolution)
    numbers = to_numbers(values, grid)
    apart = numbers - beside(base, grid)
    if _roughness(apart) >= _roughness(numbers):
        return pack_whole(numbers, grid)
    return replace(pack_whole(apart, grid), base=name)


def beside(base: FloatArray, grid: Grid) -> IntArray:
    """Return a series on the grid of another one; rounded as the page does it, upwards from the half."""
    return np.floor(base * grid.scale / grid.step + 0.5).astype(np.int64)


def _roughness(numbers: IntArray) -> float:
    """Return about how many bits a difference takes."""
    if len(numbers) < 2:
        return 0.0
    moves = np.abs(np.diff(numbers[:200_000]))
    return float(np.log2(moves + 1.0).mean())


def grid_of(values: FloatArray, resolution: float = 0.0) -> Grid:
    """Return the grid on which values are stored; see `pack_values`."""
    if not values.size:
        return WHOLE
    sizes = np.abs(values)
    largest = float(sizes.max())
    positive = sizes[sizes > 0]
    if not positive.size:
        return WHOLE
    wanted = float(positive.min()) * resolution
    own = _decimals(values, largest)
    if own is not None and 10.0**-own >= wanted / 5:
        scale = 10**own
        return Grid(scale, _divisor(np.rint(values * scale).astype(np.int64)), exact=True)
    fine = wanted if wanted > 0 else float(np.median(positive)) * 1e-7
    decimals = min(MOST_DECIMALS, max(0, math.ceil(-math.log10(fine))))
    while decimals > 0 and largest * 10.0**decimals > _LARGEST:
        decimals -= 1
    return Grid(10**decimals, 1, exact=False)


def to_numbers(values: FloatArray, grid: Grid) -> IntArray:
    """Return the whole numbers of values on a grid."""
    return np.rint(values * grid.scale).astype(np.int64) // grid.step


def unpack(column: Mapping[str, Any], stream: bytes, base: FloatArray | None = None) -> FloatArray:
    """Return the values of a packed column, as the page reads them.

    Parameters
    ----------
    column : mapping
        What `Column.head` returned.
    stream : bytes
        The zlib stream.
    base : ndarray of float64, optional
        Values of the column that it names as its base.
    """
    raw = np.frombuffer(zlib.decompress(stream), np.uint8).reshape(column["planes"], column["n"])
    folded = np.zeros(column["n"], np.int64)
    for place, plane in enumerate(raw):
        folded |= plane.astype(np.int64) << (8 * place)
    numbers = (folded >> 1) ^ -(folded & 1)
    if column["summed"]:
        numbers = np.cumsum(numbers) + column.get("first", 0)
    if base is not None:
        numbers = numbers + beside(base, Grid(column["scale"], column["step"], exact=True))
    values: FloatArray = (numbers * int(column["step"])).astype(np.float64) / float(column["scale"])
    return values


def _decimals(values: FloatArray, largest: float) -> int | None:
    """Return the least decimals that hold every value, None where there are too many."""
    sample = values[:: max(1, len(values) // 500)]
    for decimals in range(MOST_DECIMALS + 1):
        scale = 10.0**decimals
        if largest * scale > _LARGEST:
            return None
        if _holds(sample, scale) and _holds(values, scale):
            return decimals
    return None


def _holds(values: FloatArray, scale: float) -> bool:
    return bool((np.rint(values * scale) / scale == values).all())


def _divisor(numbers: IntArray) -> int:
    """Return the greatest common divisor of numbers, at least 1."""
    some = int(np.gcd.reduce(numbers[:: max(1, len(numbers) // 1000)])) if numbers.size else 1
    return 1 if some <= 1 else max(1, int(np.gcd.reduce(numbers)))
