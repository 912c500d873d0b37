"""Lines of long series, thinned so that no extreme is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray

from backtester.report.downsample import extremes

POINTS = 3000
HELD_NOTE = "The view is the time with positions; a double click shows the whole run."
_WHOLE = 0.6
"""From this share of a run with positions on, all of it is shown."""


def milliseconds(times: pl.Series) -> NDArray[np.float64]:
    """Return times as ms since 1970, which a date axis takes as UTC."""
    return times.cast(pl.Int64).to_numpy().astype(np.float64)


def held_range(equity: pl.DataFrame) -> list[float] | None:
    """Return the span of time with a position and a little around it [ms], where it is the smaller part of a run.

    Parameters
    ----------
    equity : polars.DataFrame
        ``close_time, gross_exposure``: null while a position stands on nothing.

    Returns
    -------
    list of float or None
        First and last moment to show; None where the whole run is to be seen.
    """
    held = np.flatnonzero((equity["gross_exposure"].is_null() | (equity["gross_exposure"] != 0)).to_numpy())
    if not held.size:
        return None
    times = milliseconds(equity["close_time"])
    first, last = float(times[held[0]]), float(times[held[-1]])
    if last - first > _WHOLE * (times[-1] - times[0]):
        return None
    around = max(0.05 * (last - first), 10 * float(times[1] - times[0]))
    return [first - around, last + around]


def line(
    times: pl.Series, values: NDArray[np.float64], *, points: int = POINTS, source: str = "", **style: Any
) -> go.Scatter:
    """Return a line through the extremes of a series.

    Parameters
    ----------
    times : polars.Series
        Times of the values.
    values : ndarray of float64
        NaN leaves a hole.
    points : int
        About how many points to draw.
    source : str
        Series of the account in which a page finds every point when it zooms in: ``equity``, ``drawdown``,
        ``margin_ratio``.
    **style
        Other properties of the trace.
    """
    kept = extremes(values, points)
    if source:
        style["meta"] = {"source": source}
    return go.Scatter(x=milliseconds(times.gather(kept)), y=values[kept].astype(np.float64), mode="lines", **style)
