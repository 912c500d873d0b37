"""Sets gathered in cells: what heatmaps, medians and distributions show."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Collapse = Literal["best", "median", "worst"]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

QUARTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def cell_matrix(cells: tuple[Ints, Ints], shape: tuple[int, int], values: Floats, how: Collapse, better: int) -> Floats:
    """Return one figure for each cell.

    Parameters
    ----------
    cells : tuple of ndarray of int64, each of shape (sets,)
        Column and row of each set.
    shape : tuple of int
        Rows, columns.
    values : ndarray of float64, shape (sets,)
        Metric; NaN is left out.
    how : {"best", "median", "worst"}
        Which figure stands for the sets of a cell.
    better : {1, -1}
        Whether the best is the largest or the smallest.

    Returns
    -------
    ndarray of float64, shape ``shape``
        NaN where no set has a value.
    """
    keep = np.isfinite(values)
    cell, found = cells[1][keep] * shape[1] + cells[0][keep], values[keep]
    order = np.lexsort((found, cell))
    cell, found = cell[order], found[order]
    names, starts, counts = np.unique(cell, return_index=True, return_counts=True)
    matrix = np.full(shape[0] * shape[1], np.nan)
    if how == "median":
        matrix[names] = (found[starts + (counts - 1) // 2] + found[starts + counts // 2]) / 2
    else:
        takes_last = (how == "best") == (better > 0)
        matrix[names] = found[starts + counts - 1] if takes_last else found[starts]
    return matrix.reshape(shape)


def smoothed(matrix: Floats, *, along_x: bool, along_y: bool) -> Floats:
    """Return the median of each cell with a value and the neighbours that have one.

    Parameters
    ----------
    matrix : ndarray of float64
        Cells; NaN is empty.
    along_x, along_y : bool
        Whether the columns and the rows have an order; where not, there are no neighbours on that side.
    """
    padded = np.pad(matrix, 1, constant_values=np.nan)
    rows, columns = matrix.shape
    windows = [
        padded[1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns]
        for dy in ((-1, 0, 1) if along_y else (0,))
        for dx in ((-1, 0, 1) if along_x else (0,))
    ]
    out = np.full(matrix.shape, np.nan)
    some = np.isfinite(matrix)
    if some.any():
        out[some] = np.nanmedian(np.stack(windows)[:, some], axis=0)
    return out


def quartiles(cells: Ints, count: int, values: Floats) -> Floats:
    """Return smallest value, quartiles and largest value of each cell.

    Parameters
    ----------
    cells : ndarray of int64, shape (sets,)
        Cell of each set.
    count : int
        Cells.
    values : ndarray of float64, shape (sets,)
        Metric; NaN is left out.

    Returns
    -------
    ndarray of float64, shape (5, count)
        Interpolated linearly; NaN where no set has a value.
    """
    out = np.full((len(QUARTILES), count), np.nan)
    for cell in range(count):
        found = values[(cells == cell) & np.isfinite(values)]
        if found.size:
            out[:, cell] = np.quantile(found, QUARTILES)
    return out


def colour_range(values: Floats, *, is_centred: bool) -> tuple[float, float]:
    """Return the values at which colours saturate: without the outermost hundredths, so that one spike hides nothing.

    Parameters
    ----------
    values : ndarray of float64
        What is shown; NaN is left out.
    is_centred : bool
        The range is as far below zero as above.
    """
    found = values[np.isfinite(values)]
    if not found.size:
        return (-1.0, 1.0) if is_centred else (0.0, 1.0)
    if is_centred:
        reach = float(np.quantile(np.abs(found), 0.98)) or float(np.abs(found).max()) or 1.0
        return -reach, reach
    low, high = (float(q) for q in np.quantile(found, (0.01, 0.99)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)
