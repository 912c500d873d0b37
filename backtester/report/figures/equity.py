"""Equity and drawdown."""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from backtester.analytics.drawdown import underwater
from backtester.report import theme
from backtester.report.figures.series import line


def equity_figure(equity: pl.DataFrame, grown: pl.DataFrame, initial_balance: float, settle: str) -> go.Figure:
    """Return equity at bar closes above its drawdown.

    Parameters
    ----------
    equity : polars.DataFrame
        A run's equity frame.
    grown : polars.DataFrame
        The same without the effect of transfers, from which the drawdown is taken.
    initial_balance : float
        Equity before the first bar [settlement currency].
    settle : str
        Settlement currency.
    """
    values = equity["equity"].to_numpy()
    below = underwater(grown["equity"].to_numpy(), initial_balance)
    digits = ",.2f" if initial_balance >= 100 else ",.6f"
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.05)
    figure.add_trace(
        line(
            equity["close_time"],
            values,
            name="Equity",
            source="equity",
            line={"color": theme.ACCENT, "width": 1.6},
            hovertemplate=f"%{{y:{digits}}} {settle}<extra>Equity</extra>",
        ),
        row=1,
        col=1,
    )
    figure.add_hline(y=initial_balance, line={"color": theme.MUTED, "width": 1, "dash": "dot"}, row=1, col=1)
    figure.add_trace(
        line(
            equity["close_time"],
            below,
            name="Drawdown",
            source="drawdown",
            fill="tozeroy",
            fillcolor=theme.LOSS_FILL,
            line={"color": theme.LOSS, "width": 1.2},
            hovertemplate="%{y:.2%}<extra>Drawdown</extra>",
        ),
        row=2,
        col=1,
    )
    figure.update_layout(**theme.layout(440))
    figure.update_layout(meta={"explore": "account", "log": "yaxis"}, uirevision="kept")
    figure.update_xaxes(**theme.time_axis())
    figure.update_yaxes(**theme.value_axis(title={"text": settle}), row=1, col=1)
    drawdown_axis = theme.value_axis(tickformat=",.3~%", rangemode="tozero")
    if not (below < 0).any():
        drawdown_axis["range"] = [-0.05, 0.0]  # a line at zero alone would be drawn in the middle
    figure.update_yaxes(**drawdown_axis, row=2, col=1)
    return figure
