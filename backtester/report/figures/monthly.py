"""Returns of calendar months as bars."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import polars as pl

from backtester.report import theme

_FEW = 6  # months below which bars would be as broad as walls


def monthly_figure(monthly: pl.DataFrame) -> go.Figure:
    """Return a bar for each calendar month.

    Parameters
    ----------
    monthly : polars.DataFrame
        What ``analytics.returns.monthly_returns`` returns.
    """
    values = monthly["return"].to_numpy()
    months = [f"{year:04d}-{month:02d}" for year, month in monthly.select("year", "month").iter_rows()]
    figure = go.Figure(
        go.Bar(
            x=months,
            y=values,
            marker={"color": np.where(values < 0, theme.LOSS, theme.GAIN), "line": {"width": 0}},
            hovertemplate="%{x}<br>%{y:+,.2%}<extra></extra>",
            showlegend=False,
        )
    )
    figure.update_layout(**theme.layout(320))
    figure.update_layout(bargap=0.25 if len(months) >= _FEW else 0.65, hovermode="closest")
    figure.update_xaxes(type="category", automargin=True, nticks=12)
    figure.update_yaxes(**theme.value_axis(tickformat="+,.2~%", zeroline=True))
    return figure
