"""Figures of a walk forward: the stitched account, training against test, the chosen values."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from backtester.report import theme
from backtester.report.figures.series import line, milliseconds
from backtester.report.metric_text import axis_format, metric_label, metric_text, value_text

_BORDERS = 80
"""Borders of windows that a figure draws at most; of more every second, third … one."""


def walk_equity_figure(equity: pl.DataFrame, initial_balance: float, settle: str) -> go.Figure:
    """Return the stitched equity above its drawdown, with a line where each test begins.

    Parameters
    ----------
    equity : polars.DataFrame
        ``window, open_time, close_time, equity, drawdown``.
    initial_balance : float
        Equity before the first test [settlement currency].
    settle : str
        Settlement currency.
    """
    digits = ",.2f" if initial_balance >= 100 else ",.6f"
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.05)
    figure.add_trace(
        line(
            equity["close_time"],
            equity["equity"].cast(pl.Float64).to_numpy(),
            name="Equity out of sample",
            line={"color": theme.ACCENT, "width": 1.6},
            hovertemplate=f"%{{y:{digits}}} {settle}<extra>Equity</extra>",
        ),
        row=1,
        col=1,
    )
    figure.add_hline(y=initial_balance, line={"color": theme.MUTED, "width": 1, "dash": "dot"}, row=1, col=1)
    below = equity["drawdown"].cast(pl.Float64).to_numpy()
    figure.add_trace(
        line(
            equity["close_time"],
            below,
            name="Drawdown",
            fill="tozeroy",
            fillcolor=theme.LOSS_FILL,
            line={"color": theme.LOSS, "width": 1.2},
            hovertemplate="%{y:.2%}<extra>Drawdown</extra>",
        ),
        row=2,
        col=1,
    )
    starts = milliseconds(equity.group_by("window", maintain_order=True).agg(pl.col("open_time").first())["open_time"])
    stride = -(-len(starts) // _BORDERS)
    shapes = [
        {
            "type": "line", "xref": "x", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1,
            "line": {"color": theme.MUTED, "width": 0.7, "dash": "dot"}, "layer": "below",
        }
        for at in starts[::stride]
    ]  # fmt: skip
    figure.update_layout(**theme.layout(440))
    figure.update_layout(shapes=[*figure.layout.shapes, *shapes])
    figure.update_xaxes(**theme.time_axis())
    figure.update_yaxes(**theme.value_axis(title={"text": settle}), row=1, col=1)
    axis = theme.value_axis(tickformat=",.3~%", rangemode="tozero")
    if not (below < 0).any():
        axis["range"] = [-0.05, 0.0]  # a line at zero alone would be drawn in the middle
    figure.update_yaxes(**axis, row=2, col=1)
    return figure


def against_figure(windows: pl.DataFrame, metric: str) -> go.Figure:
    """Return a metric of the chosen set in training and in test, window by window.

    Parameters
    ----------
    windows : polars.DataFrame
        ``window, train_<metric>, test_<metric>``.
    metric : str
        The metric.
    """
    figure = go.Figure()
    for kind, name, colour in (("train", "In sample", theme.MUTED), ("test", "Out of sample", theme.ACCENT)):
        values = windows[f"{kind}_{metric}"]
        figure.add_trace(
            go.Bar(
                x=windows["window"].to_list(),
                y=values.to_list(),
                name=name,
                marker={"color": colour},
                customdata=[metric_text(metric, value) for value in values],
                hovertemplate="window %{x}: %{customdata}",
            )
        )
    figure.update_layout(**theme.layout(320))
    figure.update_layout(barmode="group", hovermode="closest")
    figure.update_xaxes(**_window_axis(windows.height))
    figure.update_yaxes(**theme.value_axis(title={"text": metric_label(metric)}, **axis_format(metric)))
    return figure


def choice_figure(windows: pl.DataFrame, parameter: str, label: str) -> go.Figure:
    """Return the value of a parameter that each window chose; windows without a set leave a hole.

    Parameters
    ----------
    windows : polars.DataFrame
        ``window`` and the parameter.
    parameter : str
        Its column.
    label : str
        Its name, for the axis.
    """
    values = windows[parameter]
    numeric = values.dtype.is_numeric()
    figure = go.Figure(
        go.Scatter(
            x=windows["window"].to_list(),
            y=values.to_list() if numeric else [None if value is None else value_text(value) for value in values],
            mode="lines+markers",
            line={"color": theme.ACCENT, "width": 1.4, "shape": "hv"},
            marker={"color": theme.ACCENT, "size": 7},
            connectgaps=False,
            hovertemplate="window %{x}: %{y}<extra></extra>",
        )
    )
    figure.update_layout(**theme.layout(260))
    figure.update_layout(hovermode="closest", showlegend=False)
    figure.update_xaxes(**_window_axis(windows.height))
    kind: dict[str, Any] = {} if numeric else {"type": "category"}
    figure.update_yaxes(**theme.value_axis(title={"text": label}, **kind))
    return figure


def _window_axis(count: int) -> dict[str, Any]:
    """Return an axis of whole window numbers."""
    return {"automargin": True, "tick0": 1, "dtick": max(1, -(-count // 12)), "title": {"text": "Window"}}
