"""The account's place in the deleveraging queue over time, the funds' worth, and equity with and without events."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from backtester.report import theme
from backtester.report.figures.series import line, milliseconds

LIGHTS = 5
_COLORS = (theme.ACCENT, theme.SECOND, theme.THIRD, theme.LOSS)
_DASHES = ("solid", "dash", "dot", "dashdot")


def light_figure(clearing: pl.DataFrame, events: pl.DataFrame, settle: str) -> go.Figure:
    """Return the light of each contract over time, the deleveragings on it, and the worth of the funds below.

    Parameters
    ----------
    clearing : polars.DataFrame
        As a result has it.
    events : polars.DataFrame
        What `analytics.venue_events.struck_events` returns.
    settle : str
        Settlement currency.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.6, 0.4], vertical_spacing=0.06)
    symbols = clearing["symbol"].unique(maintain_order=True).to_list()
    for k, symbol in enumerate(symbols):
        own = clearing.filter(pl.col("symbol") == symbol)
        figure.add_trace(
            go.Scatter(
                x=milliseconds(own["open_time"]),
                y=own["light"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
                mode="lines",
                name=symbol,
                line={
                    "color": _COLORS[k % len(_COLORS)],
                    "dash": _DASHES[k % len(_DASHES)],
                    "width": 1.6,
                    "shape": "hv",
                },
                hovertemplate="light %{y:.0f} of 5<extra>%{fullData.name}</extra>",
            ),
            row=1,
            col=1,
        )
    closed = events.filter(pl.col("kind") == "auto_deleverage")
    if closed.height:
        figure.add_trace(
            go.Scatter(
                x=milliseconds(closed["time"]),
                y=closed["light"].fill_null(1).to_numpy().astype(np.float64),
                mode="markers",
                name="Deleveraged",
                marker={"symbol": "x", "size": 9, "color": theme.ALERT},
                text=closed["symbol"].to_list(),
                hovertemplate="%{text}<extra>Deleveraged</extra>",
            ),
            row=1,
            col=1,
        )
    worth = clearing.unique("open_time", maintain_order=True)
    figure.add_trace(
        line(
            worth["open_time"],
            worth["fund_worth"].to_numpy(),
            name="Insurance fund",
            line={"color": theme.MUTED, "width": 1.4},
            hovertemplate=f"%{{y:,.0f}} {settle}<extra>Insurance fund</extra>",
        ),
        row=2,
        col=1,
    )
    figure.update_layout(**theme.layout(420))
    figure.update_xaxes(**theme.time_axis())
    ticks = {"tickmode": "array", "tickvals": list(range(1, LIGHTS + 1)), "range": [LIGHTS + 0.4, 0.6]}
    figure.update_yaxes(**theme.value_axis(title={"text": "light"}, **ticks), row=1, col=1)
    figure.update_yaxes(**theme.value_axis(title={"text": f"fund, {settle}"}), row=2, col=1)
    return figure


def spared_figure(equity: pl.DataFrame, unstruck: pl.DataFrame, settle: str) -> go.Figure:
    """Return the run's equity beside that of the same run without the venue's events.

    Parameters
    ----------
    equity, unstruck : polars.DataFrame
        As a result has them.
    settle : str
        Settlement currency.
    """
    figure = go.Figure()
    for values, name, color, dash in (
        (unstruck["equity"], "Without the venue's events", theme.MUTED, "dot"),
        (equity["equity"], "As it went", theme.ACCENT, "solid"),
    ):
        figure.add_trace(
            line(
                equity["close_time"],
                values.to_numpy(),
                name=name,
                line={"color": color, "width": 1.5, "dash": dash},
                hovertemplate=f"%{{y:,.2f}} {settle}<extra>{name}</extra>",
            )
        )
    figure.update_layout(**theme.layout(320))
    figure.update_xaxes(**theme.time_axis())
    figure.update_yaxes(**theme.value_axis(title={"text": settle}))
    return figure
