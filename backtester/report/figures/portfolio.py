"""Portfolios: what each contract brought, and how the contracts move together."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from backtester.report import theme


def contribution_figure(names: Sequence[str], amounts: Sequence[float], settle: str, digits: int) -> go.Figure:
    """Return what each contract brought, the first on top.

    Parameters
    ----------
    names : sequence of str
        Contracts.
    amounts : sequence of float
        Their part of the profit [settlement currency].
    settle : str
        Settlement currency.
    digits : int
        Decimals of amounts.
    """
    place = list(range(len(names)))
    shown = [escape(name) for name in names]
    figure = go.Figure(
        go.Bar(
            x=list(amounts),
            y=place,
            orientation="h",
            marker={"color": [theme.GAIN if a > 0 else theme.LOSS for a in amounts], "opacity": 0.85},
            customdata=shown,
            hovertemplate=f"%{{customdata}}: %{{x:+,.{digits}f}} {settle}<extra></extra>",
        )
    )
    figure.update_layout(
        **theme.layout(60 + 24 * len(names)) | {"hovermode": "closest", "showlegend": False, "bargap": 0.25}
    )
    figure.update_layout(margin={"l": 8, "r": 8, "t": 8, "b": 8})
    figure.update_xaxes(automargin=True, nticks=6, tickformat=",.4~s")
    figure.update_yaxes(tickvals=place, ticktext=shown, autorange="reversed", automargin=True, fixedrange=True)
    return figure


def correlation_figure(names: Sequence[str], matrix: NDArray[np.float64]) -> go.Figure:
    """Return correlations of daily contributions.

    Parameters
    ----------
    names : sequence of str
        Contracts.
    matrix : ndarray of float64, shape (names, names)
        Correlations; NaN where one is not defined.
    """
    place, shown = list(range(len(names))), [escape(name) for name in names]
    cells = [[None if np.isnan(v) else round(float(v), 3) for v in row] for row in matrix]
    few = len(names) <= 12
    figure = go.Figure(
        go.Heatmap(
            z=cells,
            x=place,
            y=place,
            zmin=-1,
            zmax=1,
            xgap=1,
            ygap=1,
            hoverongaps=False,
            customdata=[[f"{a} and {b}" for a in shown] for b in shown],
            texttemplate="%{z:.2f}" if few else None,
            textfont={"size": 11},
            meta={"scale": "diverging"},
            colorscale=theme.SCALES["light"]["diverging"],
            colorbar={"thickness": 10, "outlinewidth": 0, "nticks": 5, "tickformat": "+.1f"},
            hovertemplate="%{customdata}: %{z:.2f}<extra></extra>",
        )
    )
    figure.update_layout(**theme.layout(110 + 24 * len(names)) | {"hovermode": "closest", "dragmode": False})
    figure.update_layout(margin={"l": 8, "r": 8, "t": 8, "b": 8})
    figure.update_xaxes(tickvals=place, ticktext=shown, tickangle=-45, automargin=True, fixedrange=True, showgrid=False)
    figure.update_yaxes(
        tickvals=place, ticktext=shown, autorange="reversed", automargin=True, fixedrange=True, showgrid=False
    )
    return figure
