"""The bars around a liquidation."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray

from backtester.report import numbers, theme
from backtester.report.figures.series import milliseconds

FAR = 2.0
"""An entry farther off than so many heights of the bars shown is not drawn: it would press them flat."""


def liquidation_figure(
    bars: pl.DataFrame, levels: NDArray[np.float64], time: int, trigger: float, entry: float
) -> go.Figure:
    """Return the mark before and after a liquidation, with the liquidation price, the entry and the trigger.

    Parameters
    ----------
    bars : polars.DataFrame
        ``open_time, mark_open, mark_high, mark_low, mark_close`` of the contract around the moment.
    levels : ndarray of float64, shape (bars,)
        Liquidation price last recorded at each close, NaN where there was none.
    time : int
        Open of the bar that holds the trigger [ms since 1970, UTC].
    trigger, entry : float
        Mark at the trigger; mean entry price.
    """
    x = milliseconds(bars["open_time"])
    figure = go.Figure()
    figure.add_trace(
        go.Candlestick(
            x=x,
            **{name: bars[f"mark_{name}"].to_numpy() for name in ("open", "high", "low", "close")},
            name="Mark",
            increasing={"line": {"color": theme.GAIN, "width": 1}, "fillcolor": theme.GAIN},
            decreasing={"line": {"color": theme.MUTED, "width": 1}, "fillcolor": theme.MUTED},
        )
    )
    lines = [("Liquidation price", levels, theme.ALERT, "dash")]
    low, high = float(bars["mark_low"].to_numpy().min()), float(bars["mark_high"].to_numpy().max())
    if low - FAR * (high - low) <= entry <= high + FAR * (high - low):
        lines.append(("Entry", np.full(len(x), entry), theme.SECOND, "dot"))
    for name, values, color, dash in lines:
        figure.add_trace(
            go.Scatter(
                x=x,
                y=values,
                mode="lines",
                name=name,
                line={"color": color, "width": 1.5, "dash": dash, "shape": "hv" if dash == "dash" else "linear"},
                hovertemplate="%{y:,.6~g}<extra>" + name + "</extra>",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=[float(time)],
            y=[trigger],
            mode="markers",
            name="Trigger",
            marker={"symbol": "x", "size": 12, "color": theme.ALERT},
            hovertemplate=f"{numbers.price(trigger)}<extra>Trigger</extra>",
        )
    )
    figure.update_layout(**theme.layout(280))
    figure.update_xaxes(**theme.time_axis(rangeslider={"visible": False}, nticks=6))
    figure.update_yaxes(**theme.value_axis())
    return figure
