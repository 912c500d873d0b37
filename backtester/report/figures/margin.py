"""Margin ratio, effective leverage and distance to liquidation."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from backtester.report import numbers, theme
from backtester.report.figures.series import held_rows, line

FARTHEST = 2.0  # a liquidation price farther off than twice the mark says nothing
FARTHEST_RANGES = 100.0
LINE_FROM = 0.2
"""From this largest ratio on, the axis reaches up to the line of liquidation; below, it would hide the course."""

FloatArray = NDArray[np.float64]


def margin_figure(equity: pl.DataFrame, leverage: FloatArray, distance: FloatArray, ranges: FloatArray) -> go.Figure:
    """Return what the venue requires of the balance, how often the balance is at work, how far the mark may move.

    Where positions were held for the smaller part of the run, that part is drawn.

    Parameters
    ----------
    equity : polars.DataFrame
        A run's equity frame.
    leverage : ndarray of float64, shape (bars,)
        Effective leverage at each close of ``equity``, NaN where it is not defined.
    distance, ranges : ndarray of float64, shape (bars,)
        Distance of the nearest position to its liquidation price: as a fraction of the mark, in average true ranges.
    """
    figure = make_subplots(rows=4, cols=1, shared_xaxes=True, vertical_spacing=0.045)
    rows = held_rows(equity)
    times = equity["close_time"][rows]
    ratio = _floats(equity["margin_ratio"][rows])
    ratio = np.where(np.isfinite(ratio), ratio, np.nan)
    traces = [
        _trace(times, ratio, "Margin ratio", theme.LOSS, "%{y:.2%}"),
        _trace(times, leverage[rows], "Effective leverage", theme.ACCENT, "%{y:.2f}" + numbers.TIMES),
    ]
    for values, farthest, name, color, hover in (
        (distance, FARTHEST, "Distance", theme.THIRD, "%{y:.1%}"),
        (ranges, FARTHEST_RANGES, "Distance in ATRs", theme.SECOND, "%{y:.1f} ATR"),
    ):
        traces.append(_trace(times, np.minimum(values[rows], farthest), name, color, hover))
    for row, trace in enumerate(traces, start=1):
        figure.add_trace(trace, row=row, col=1)
    figure.update_layout(**theme.layout(640))
    figure.update_xaxes(**theme.time_axis())
    _write_axes(figure, ratio)
    return figure


def _trace(times: pl.Series, values: FloatArray, name: str, color: str, hover: str) -> go.Scatter:
    """Return a line with its name behind the value."""
    template = f"{hover}<extra>{name}</extra>"
    return line(times, values, name=name, line={"color": color, "width": 1.3}, hovertemplate=template)


def _write_axes(figure: go.Figure, ratio: FloatArray) -> None:
    """Write the value axes; the first has the line at which the venue liquidates."""
    finite = ratio[np.isfinite(ratio)]
    top = float(finite.max()) if finite.size else 0.0
    line_of_liquidation = {
        "type": "line",
        "xref": "x domain",
        "x0": 0,
        "x1": 1,
        "yref": "y",
        "y0": 1.0,
        "y1": 1.0,
        "line": {"color": theme.ALERT, "width": 1.4, "dash": "dash"},
    }
    figure.update_layout(shapes=[line_of_liquidation])
    axes = (
        {"tickformat": ",.2~%", "rangemode": "tozero", "title": {"text": "margin ratio"}},
        {"ticksuffix": numbers.TIMES, "rangemode": "tozero", "title": {"text": "leverage"}},
        {"tickformat": ",.2~%", "rangemode": "tozero", "title": {"text": "distance"}},
        {"rangemode": "tozero", "title": {"text": "in ATRs"}},
    )
    for row, extra in enumerate(axes, start=1):
        figure.update_yaxes(**theme.value_axis(**extra), row=row, col=1)
    if top >= LINE_FROM:
        figure.update_yaxes(range=[0.0, 1.06 * max(1.0, top)], row=1, col=1)


def _floats(values: pl.Series) -> FloatArray:
    """Return a column as floats, null as NaN."""
    return values.cast(pl.Float64).fill_null(math.nan).to_numpy()
