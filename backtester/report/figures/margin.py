"""Exposure, margin ratio and distance to liquidation."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from backtester.report import numbers, theme
from backtester.report.figures.series import line

FARTHEST = 2.0  # a liquidation price farther off than twice the mark says nothing


def margin_figure(equity: pl.DataFrame, distance: pl.DataFrame) -> go.Figure:
    """Return what is at stake, what the venue requires of it, and how far the mark may still move.

    Parameters
    ----------
    equity : polars.DataFrame
        A run's equity frame.
    distance : polars.DataFrame
        What ``analytics.risk.liquidation_distance`` returns; the nearest position of each bar is drawn.
    """
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, row_heights=[0.36, 0.32, 0.32], vertical_spacing=0.06)
    times = equity["close_time"]
    for column, name, color in (
        ("gross_exposure", "Gross exposure", theme.ACCENT),
        ("net_exposure", "Net exposure", theme.SECOND),
    ):
        figure.add_trace(
            line(
                times,
                _floats(equity[column]),
                name=name,
                line={"color": color, "width": 1.3, "shape": "hv"},
                hovertemplate="%{y:.2f}" + numbers.TIMES + "<extra>" + name + "</extra>",
            ),
            row=1,
            col=1,
        )
    ratio = _floats(equity["margin_ratio"])
    figure.add_trace(
        line(
            times,
            np.where(np.isfinite(ratio), ratio, np.nan),
            name="Margin ratio",
            line={"color": theme.LOSS, "width": 1.3},
            hovertemplate="%{y:.2%}<extra>Margin ratio</extra>",
        ),
        row=2,
        col=1,
    )
    _add_distance(figure, times, distance)
    figure.update_layout(**theme.layout(560))
    figure.update_xaxes(**theme.time_axis())
    figure.update_yaxes(**theme.value_axis(ticksuffix=numbers.TIMES, title={"text": "of equity"}), row=1, col=1)
    for row, title in ((2, "margin ratio"), (3, "distance")):
        axis = theme.value_axis(tickformat=",.2~%", rangemode="tozero", title={"text": title})
        figure.update_yaxes(**axis, row=row, col=1)
    return figure


def _add_distance(figure: go.Figure, times: pl.Series, distance: pl.DataFrame) -> None:
    """Add the distance of the nearest position; bars without one leave a hole. It is cut off at `FARTHEST`."""
    nearest = pl.DataFrame({"close_time": times}).join(
        distance.group_by("close_time").agg(pl.col("distance").min()),
        on="close_time",
        how="left",
        maintain_order="left",
    )
    figure.add_trace(
        line(
            times,
            np.minimum(_floats(nearest["distance"]), FARTHEST),
            name="Distance to liquidation",
            line={"color": theme.THIRD, "width": 1.3},
            hovertemplate="%{y:.1%}<extra>Distance to liquidation</extra>",
        ),
        row=3,
        col=1,
    )


def _floats(values: pl.Series) -> NDArray[np.float64]:
    """Return a column as floats, null as NaN."""
    return values.cast(pl.Float64).fill_null(math.nan).to_numpy()
