"""Round trips: excursions, holding times, results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import polars as pl

from backtester.report import theme
from backtester.report.downsample import thin
from backtester.report.figures.returns import histogram

POINTS = 1200
_BINS = 48


def excursion_figure(trades: pl.DataFrame) -> go.Figure:
    """Return the worst against the best price of each trip while it was held, gains and losses apart.

    Parameters
    ----------
    trades : polars.DataFrame
        Closed round trips; of many, the largest results of each stretch of time are drawn.
    """
    kept = thin(trades["entry_time"].cast(pl.Int64).to_numpy(), trades["net_pnl"].abs().to_numpy(), POINTS)
    shown = trades[kept]
    figure = go.Figure()
    for name, colour, symbol, part in (
        ("Gain", theme.GAIN, "circle", shown.filter(pl.col("net_pnl") > 0)),
        ("Loss", theme.LOSS, "x", shown.filter(pl.col("net_pnl") <= 0)),
    ):
        entry = part["entry_time"].dt.to_string("%Y-%m-%d %H:%M")
        told = np.array(
            [entry.to_list(), part["position_side"].to_list(), part["net_pnl"].round(2).to_list()], object
        ).T
        figure.add_trace(
            go.Scatter(
                x=part["mae"].to_numpy(),
                y=part["mfe"].to_numpy(),
                mode="markers",
                name=name,
                marker={"color": colour, "symbol": symbol, "size": 6, "opacity": 0.65},
                customdata=told,
                hovertemplate="%{customdata[1]} from %{customdata[0]}: MAE %{x:.2%}, MFE %{y:.2%}, "
                "net %{customdata[2]:+,.2f}<extra>" + name + "</extra>",
            )
        )
    figure.update_layout(**theme.layout(340) | {"hovermode": "closest"})
    figure.update_xaxes(tickformat=",.3~%", automargin=True, nticks=7, title={"text": "Worst price while held (MAE)"})
    figure.update_yaxes(**theme.value_axis(tickformat=",.3~%", title={"text": "Best price (MFE)"}))
    return figure


def holding_figure(labels: Sequence[str], gains: Sequence[int], losses: Sequence[int]) -> go.Figure:
    """Return how many trips were held for how long, gains and losses apart.

    Parameters
    ----------
    labels : sequence of str
        Stretches of time.
    gains, losses : sequence of int
        Trips in each.
    """
    figure = go.Figure()
    for name, counts, colour in (("Gain", gains, theme.GAIN), ("Loss", losses, theme.LOSS)):
        figure.add_trace(
            go.Bar(
                x=list(labels),
                y=list(counts),
                name=name,
                marker={"color": colour, "opacity": 0.8},
                hovertemplate="%{x}: %{y:,}<extra>" + name + "</extra>",
            )
        )
    figure.update_layout(**theme.layout(300) | {"barmode": "stack", "hovermode": "closest", "bargap": 0.2})
    figure.update_layout(legend={"traceorder": "normal"})
    figure.update_xaxes(automargin=True, type="category")
    figure.update_yaxes(**theme.value_axis(title={"text": "Trips"}))
    return figure


def result_figure(net: np.ndarray, settle: str, digits: int) -> go.Figure:
    """Return how often which result of a trip came; the outermost per cent on each side stands in the last bars.

    Parameters
    ----------
    net : ndarray of float64
        Net results of closed trips [settlement currency].
    settle : str
        Settlement currency.
    digits : int
        Decimals of amounts.
    """
    low, high = np.quantile(net, [0.01, 0.99]) if len(net) >= 200 else (net.min(), net.max())
    counts, edges = histogram(np.clip(net, low, high), min(_BINS, max(6, len(net) // 4)))
    middle = (edges[:-1] + edges[1:]) / 2
    form = f"+,.{digits}f"
    figure = go.Figure(
        go.Bar(
            x=middle,
            y=counts,
            width=float(edges[1] - edges[0]),
            marker={"color": [theme.GAIN if m > 0 else theme.LOSS for m in middle], "opacity": 0.8},
            customdata=np.column_stack((edges[:-1], edges[1:])),
            hovertemplate=f"%{{y:,}} trips from %{{customdata[0]:{form}}} to %{{customdata[1]:{form}}}<extra></extra>",
        )
    )
    figure.update_layout(**theme.layout(300) | {"hovermode": "closest", "showlegend": False, "bargap": 0})
    figure.update_xaxes(automargin=True, nticks=7, tickformat=",.4~s", title={"text": f"Net result ({settle})"})
    figure.update_yaxes(**theme.value_axis(title={"text": "Trips"}))
    return figure
