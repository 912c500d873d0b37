"""Lines of long series, thinned so that no extreme is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray

from backtester.report.downsample import extremes

POINTS = 3000


def milliseconds(times: pl.Series) -> NDArray[np.float64]:
    """Return times as ms since 1970, which a date axis takes as UTC."""
    return times.cast(pl.Int64).to_numpy().astype(np.float64)


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
        ``margin_ratio``, ``gross_exposure``, ``net_exposure``. The layout's ``meta`` is ``{"explore": "account"}``
        then.
    **style
        Other properties of the trace.
    """
    kept = extremes(values, points)
    if source:
        style["meta"] = {"source": source}
    return go.Scatter(x=milliseconds(times)[kept], y=values[kept].astype(np.float64), mode="lines", **style)
