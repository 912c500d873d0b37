"""What else could have happened: bands of equity over samples of the run's days."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from backtester.report import theme

_BAND, _INNER = "rgba(47, 127, 193, 0.16)", "rgba(47, 127, 193, 0.30)"


def fan_figure(day: NDArray[np.int64], paths: NDArray[np.float64], run: NDArray[np.float64]) -> go.Figure:
    """Return quantiles of equity over samples beside the run's own.

    Parameters
    ----------
    day : ndarray of int64, shape (points,)
        Days from the start.
    paths : ndarray of float64, shape (5, points)
        Quantiles at 5, 25, 50, 75 and 95 %, as multiples of the start.
    run : ndarray of float64, shape (points,)
        The run's own.
    """
    low, lower, middle, upper, high = np.maximum(np.concatenate((np.ones((5, 1)), paths), axis=1), 1e-9)
    x = np.concatenate(([0], day))
    figure = go.Figure()

    def band(bottom: NDArray[np.float64], top: NDArray[np.float64], name: str, colour: str) -> None:
        style = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        figure.add_trace(go.Scatter(x=x, y=bottom, showlegend=False, **style))
        figure.add_trace(go.Scatter(x=x, y=top, name=name, fill="tonexty", fillcolor=colour, **style))

    band(low, high, "90 % of samples", _BAND)
    band(lower, upper, "half of them", _INNER)
    for name, values, colour, dash in (
        ("Median", middle, theme.MUTED, "dash"),
        ("This run", np.concatenate(([1.0], np.maximum(run, 1e-9))), theme.ACCENT, "solid"),
    ):
        figure.add_trace(
            go.Scatter(
                x=x,
                y=values,
                name=name,
                mode="lines",
                line={"color": colour, "width": 1.7, "dash": dash},
                customdata=values - 1.0,
                hovertemplate="%{customdata:+.1%}<extra>" + name + "</extra>",
            )
        )
    figure.update_layout(**theme.layout(340))
    figure.update_xaxes(automargin=True, nticks=8, title={"text": "Days from the start"}, hoverformat=",d")
    shown = [v for v in (float(low.min()), float(high.max())) if v > 0]
    figure.update_yaxes(
        **theme.value_axis(title={"text": "Equity over its start"}, type="log", tickformat=",.3~r", nticks=7),
        range=[np.log10(max(min(shown), 1e-4)) - 0.05, np.log10(max(shown)) + 0.05],
    )
    return figure
