"""Lines of long series, thinned so that no extreme is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray

from backtester.report.downsample import extremes

POINTS = 3000
HELD_NOTE = "Only the time with positions is drawn."
_WHOLE = 0.6
"""From this share of a run with positions on, all of it is shown."""


def milliseconds(times: pl.Series) -> NDArray[np.float64]:
    """Return times as ms since 1970, which a date axis takes as UTC."""
    return times.cast(pl.Int64).to_numpy().astype(np.float64)


def held_rows(equity: pl.DataFrame) -> slice:
    """Return the bars with a position and some around them, where they are the smaller part of a run; else all.

    Parameters
    ----------
    equity : polars.DataFrame
        ``gross_exposure``: null while a position stands on nothing.
    """
    held = np.flatnonzero((equity["gross_exposure"].is_null() | (equity["gross_exposure"] != 0)).to_numpy())
    if not held.size or held[-1] - held[0] > _WHOLE * equity.height:
        return slice(0, equity.height)
    around = max(10, int(held[-1] - held[0]) // 20)
    return slice(max(0, int(held[0]) - around), min(equity.height, int(held[-1]) + around + 1))


def is_cut(equity: pl.DataFrame) -> bool:
    """Return whether `held_rows` are not all of a run."""
    rows = held_rows(equity)
    return bool(rows.stop - rows.start < equity.height)


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
    return go.Scatter(x=milliseconds(times.gather(kept)), y=values[kept].astype(np.float64), mode="lines", **style)
