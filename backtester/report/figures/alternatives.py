"""The run beside what else the account could have done."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray

from backtester.report import theme
from backtester.report.figures.series import line

POINTS = 1200


def alternatives_figure(
    close_time: pl.Series, paths: Sequence[tuple[str, NDArray[np.float64]]], initial_balance: float
) -> go.Figure:
    """Return the growth of several equities from one start.

    Parameters
    ----------
    close_time : polars.Series
        Close of each bar.
    paths : sequence of tuple of str and ndarray
        Name and equity at bar closes [settlement currency] of each, the run first.
    initial_balance : float
        Equity before the first bar [settlement currency].
    """
    styles: tuple[dict[str, object], ...] = (
        {"color": theme.ACCENT, "width": 1.8},
        {"color": theme.MUTED, "width": 1.4},
        {"color": theme.SECOND, "width": 1.2, "dash": "dash"},
        {"color": theme.THIRD, "width": 1.2, "dash": "dot"},
    )
    figure = go.Figure()
    for (name, equity), style in zip(paths, styles, strict=False):
        figure.add_trace(
            line(
                close_time,
                equity / initial_balance - 1.0,
                points=POINTS,
                name=name,
                line=style,
                hovertemplate="%{y:+.2%}<extra>" + name + "</extra>",
            )
        )
    figure.add_hline(y=0, line={"color": theme.MUTED, "width": 1, "dash": "dot"})
    figure.update_layout(**theme.layout(320))
    figure.update_xaxes(**theme.time_axis())
    figure.update_yaxes(**theme.value_axis(tickformat=",.3~%"))
    return figure
