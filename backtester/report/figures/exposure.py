"""Exposure over time, altogether and by contract, and turnover."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray

from backtester.report import numbers, theme
from backtester.report.figures.series import held_rows, line, milliseconds
from backtester.report.figures.text import plain

FloatArray = NDArray[np.float64]

SERIES = ("#2f7fc1", "#cf5f14", "#0e8f78", "#9a63c4", "#a87b00", "#d13a5e", "#5b8c2a", "#8d6e63")
"""Colours of contracts; others are grey."""


def exposure_figure(equity: pl.DataFrame) -> go.Figure:
    """Return gross and net exposure at bar closes; of a run that was mostly flat the time with positions.

    Parameters
    ----------
    equity : polars.DataFrame
        A run's equity frame.
    """
    figure, shown = go.Figure(), equity[held_rows(equity)]
    for column, name, color, width in (
        ("gross_exposure", "Gross exposure", theme.ACCENT, 2.4),
        ("net_exposure", "Net exposure", theme.SECOND, 1.1),  # on top, and often the same
    ):
        values = shown[column].cast(pl.Float64).fill_null(np.nan).to_numpy()
        figure.add_trace(
            line(
                shown["close_time"],
                values,
                name=name,
                line={"color": color, "width": width, "shape": "hv"},
                hovertemplate="%{y:.2f}" + numbers.TIMES + "<extra>" + name + "</extra>",
            )
        )
    figure.update_layout(**theme.layout(280))
    figure.update_xaxes(**theme.time_axis())
    figure.update_yaxes(**theme.value_axis(ticksuffix=numbers.TIMES, title={"text": "of equity"}, zeroline=True))
    return figure


def exposure_symbols_figure(
    times: NDArray[np.int64], exposures: Mapping[str, tuple[FloatArray, FloatArray]]
) -> go.Figure:
    """Return the exposure of each contract, longs stacked above zero and shorts below.

    Parameters
    ----------
    times : ndarray of int64, shape (points,)
        Closes [ms since 1970, UTC].
    exposures : mapping of str to tuple of two ndarray of float64, shape (points,)
        Long (>= 0) and short (<= 0) exposure of each contract, the largest first; the key ``others`` is drawn in grey.
    """
    figure = go.Figure()
    for number, (symbol, parts) in enumerate(exposures.items()):
        color = theme.MUTED if symbol == "others" else SERIES[number % len(SERIES)]
        name = plain(numbers.shorten(symbol, 24))
        named = False
        for side, part in zip(("long", "short"), parts, strict=True):
            if not np.nansum(np.abs(part)):
                continue
            figure.add_trace(
                go.Scatter(
                    x=times.astype(np.float64),
                    y=np.nan_to_num(part).astype(np.float32),
                    mode="lines",
                    name=name,
                    legendgroup=str(number),
                    showlegend=not named,
                    stackgroup=side,
                    line={"color": color, "width": 0.6, "shape": "hv"},
                    hovertemplate="%{y:.2f}" + numbers.TIMES + f"<extra>{name}, {side}</extra>",
                )
            )
            named = True
    figure.update_layout(**theme.layout(320))
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(**theme.time_axis())
    figure.update_yaxes(**theme.value_axis(ticksuffix=numbers.TIMES, title={"text": "of equity"}, zeroline=True))
    return figure


def turnover_figure(monthly: pl.DataFrame, settle: str, digits: int) -> go.Figure:
    """Return how often equity was traded in each month.

    Parameters
    ----------
    monthly : polars.DataFrame
        ``month, traded, turnover``.
    settle : str
        Settlement currency.
    digits : int
        Decimals of amounts.
    """
    amounts = [numbers.decimal(v, digits, unit=f" {settle}") for v in monthly["traded"]]
    figure = go.Figure(
        go.Bar(
            x=milliseconds(monthly["month"]),
            xperiod="M1",
            xperiodalignment="middle",
            y=monthly["turnover"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
            marker={"color": theme.ACCENT, "line": {"width": 0}},
            customdata=amounts,
            hovertemplate="%{x|%b %Y}: %{y:.2f}" + numbers.TIMES + " of mean equity, %{customdata}<extra></extra>",
        )
    )
    figure.update_layout(**theme.layout(230))
    figure.update_layout(hovermode="closest", showlegend=False, bargap=0.3, margin={"l": 8, "r": 8, "t": 8, "b": 8})
    every = f"M{max(1, -(-monthly.height // 8))}"
    figure.update_xaxes(**theme.time_axis(dtick=every, tickformat="%b<br>%Y", ticklabelmode="period"))
    figure.update_yaxes(**theme.value_axis(ticksuffix=numbers.TIMES, rangemode="tozero", title={"text": "a month"}))
    return figure
