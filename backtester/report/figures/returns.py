"""Returns: the calendar of days, their distribution, rolling figures, hours, weekdays and regimes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from backtester.report import theme
from backtester.report.figures.series import line

FloatArray = NDArray[np.float64]
MOST_YEARS = 10
_BINS = 48
_Z95 = 1.96
_CELL = 13  # height of a day of the calendar [px]
_MONTHS = ("Jan", "Mar", "May", "Jul", "Sep", "Nov")


def calendar_figure(daily: pl.DataFrame) -> go.Figure:
    """Return the returns of days as a calendar: a band a year, a column a week, Monday on top.

    Parameters
    ----------
    daily : polars.DataFrame
        ``day``, ``return``; of the last `MOST_YEARS` years.
    """
    daily = daily.with_columns(year=pl.col("day").dt.year().cast(pl.Int64))
    years = daily["year"].unique().sort().to_list()[-MOST_YEARS:]
    daily = daily.filter(pl.col("year") >= years[0])
    first = daily.select(
        lead=pl.date(pl.col("year"), 1, 1).dt.weekday().cast(pl.Int64) - 1, day=pl.col("day").dt.ordinal_day()
    )
    place = (first["lead"] + first["day"].cast(pl.Int64) - 1).to_numpy()
    row = (daily["year"].to_numpy() - years[0]) * 8 + place % 7
    grid = np.full((len(years) * 8 - 1, 54), np.nan)
    grid[row, place // 7] = daily["return"].to_numpy()
    dates = np.full(grid.shape, "", dtype=object)
    dates[row, place // 7] = daily["day"].dt.to_string("%a %Y-%m-%d").to_numpy()
    limit = calendar_limit(daily)
    figure = go.Figure(
        go.Heatmap(
            z=[[None if math.isnan(v) else float(f"{v:.5g}") for v in line_] for line_ in grid.tolist()],
            customdata=dates.tolist(),
            zmin=-limit,
            zmax=limit,
            xgap=1.5,
            ygap=1.5,
            hoverongaps=False,
            meta={"scale": "diverging"},
            colorscale=theme.SCALES["light"]["diverging"],
            showscale=False,
            hovertemplate="%{customdata}: %{z:+.2%}<extra></extra>",
        )
    )
    figure.update_layout(**theme.layout(46 + _CELL * len(grid)) | {"hovermode": "closest", "dragmode": False})
    figure.update_layout(margin={"l": 8, "r": 8, "t": 24, "b": 8})
    months = [(m * 30.44 + 15) / 7 for m in range(0, 12, 2)]
    figure.update_xaxes(
        tickvals=months,
        ticktext=_MONTHS,
        tickangle=0,
        side="top",
        showgrid=False,
        zeroline=False,
        fixedrange=True,
        automargin=True,
    )
    figure.update_yaxes(
        tickvals=[8 * i + 3 for i in range(len(years))],
        ticktext=[str(year) for year in years],
        autorange="reversed",
        showgrid=False,
        zeroline=False,
        fixedrange=True,
        automargin=True,
    )
    return figure


def calendar_limit(daily: pl.DataFrame) -> float:
    """Return the size of a day's return that has the full colour of the calendar."""
    return float(np.quantile(np.abs(daily["return"].to_numpy()), 0.98)) or 0.01


def histogram(values: FloatArray, bins: int) -> tuple[NDArray[np.int64], FloatArray]:
    """Return counts and edges of about ``bins`` equal stretches, one of whose edges is zero: none holds both signs."""
    low, high = float(values.min()), float(values.max())
    step = (high - low) / bins or max(abs(high), 1e-9) / bins
    edges: FloatArray = np.arange(math.floor(low / step), math.floor(high / step) + 2, dtype=np.float64) * step
    return np.histogram(values, bins=edges)[0].astype(np.int64), edges


def distribution_figure(returns: FloatArray, marks: Sequence[tuple[str, float]]) -> go.Figure:
    """Return how often which daily return came, beside the normal of the same mean and deviation.

    Parameters
    ----------
    returns : ndarray of float64
        Daily returns, not all equal.
    marks : sequence of tuple of str and float
        Name and place of each line to draw across.
    """
    counts, edges = histogram(returns, _BINS)
    middle = (edges[:-1] + edges[1:]) / 2
    figure = go.Figure(
        go.Bar(
            x=middle,
            y=counts,
            width=float(edges[1] - edges[0]),
            name="Days",
            showlegend=False,
            marker={
                "color": [theme.GAIN if m > 0 else theme.LOSS for m in middle],
                "opacity": 0.75,
                "line": {"width": 0},
            },
            customdata=np.column_stack((edges[:-1], edges[1:])),
            hovertemplate="%{y:,} days from %{customdata[0]:+.2%} to %{customdata[1]:+.2%}<extra></extra>",
        )
    )
    mean, spread = float(returns.mean()), float(returns.std(ddof=1))
    x = np.linspace(edges[0], edges[-1], 160)
    bell = np.exp(-0.5 * ((x - mean) / spread) ** 2) / (spread * math.sqrt(2 * math.pi))
    scaled = bell * len(returns) * float(edges[1] - edges[0])
    figure.add_trace(
        go.Scatter(
            x=x, y=scaled, name="Normal", mode="lines", line={"color": theme.MUTED, "width": 1.5}, hoverinfo="skip"
        )
    )
    top = float(max(counts.max(), scaled.max()))
    for (name, at), (colour, dash) in zip(
        marks, ((theme.ALERT, "dash"), (theme.ALERT, "dot"), (theme.THIRD, "dash")), strict=False
    ):
        figure.add_trace(
            go.Scatter(
                x=[at, at],
                y=[0, top],
                name=name,
                mode="lines",
                line={"color": colour, "width": 1.5, "dash": dash},
                hovertemplate=name + ": %{x:+.2%}<extra></extra>",
            )
        )
    figure.update_layout(**theme.layout(330) | {"hovermode": "closest", "bargap": 0})
    figure.update_xaxes(tickformat=",.3~%", automargin=True, nticks=9, title={"text": "Return of a day"})
    figure.update_yaxes(**theme.value_axis(title={"text": "Days"}))
    return figure


def rolling_figure(day: pl.Series, windows: Sequence[tuple[int, FloatArray, FloatArray]]) -> go.Figure:
    """Return Sharpe ratio and volatility of the days up to each day.

    Parameters
    ----------
    day : polars.Series
        Dates.
    windows : sequence of tuple
        Length [days], annualised volatility and Sharpe ratio of each window; NaN before it is full.
    """
    times = day.cast(pl.Datetime("ms"))
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.55, 0.45], vertical_spacing=0.06)
    for (days, deviation, ratio), colour in zip(windows, (theme.ACCENT, theme.THIRD), strict=False):
        for row, values, form, what in ((1, ratio, ".2f", "Sharpe"), (2, deviation, ".1%", "volatility")):
            figure.add_trace(
                line(
                    times,
                    values,
                    points=1500,
                    name=f"{days} days",
                    legendgroup=str(days),
                    showlegend=row == 1,
                    line={"color": colour, "width": 1.5},
                    hovertemplate=f"%{{y:{form}}}<extra>{what}, {days} days</extra>",
                ),
                row=row,
                col=1,
            )
    figure.add_hline(y=0, line={"color": theme.MUTED, "width": 1, "dash": "dot"}, row=1, col=1)
    figure.update_layout(**theme.layout(360))
    figure.update_xaxes(**theme.time_axis(hoverformat="%Y-%m-%d"))
    figure.update_yaxes(**theme.value_axis(title={"text": "Sharpe ratio"}), row=1, col=1)
    figure.update_yaxes(
        **theme.value_axis(title={"text": "Volatility"}, tickformat=",.3~%", rangemode="tozero"), row=2, col=1
    )
    return figure


def means_figure(
    labels: Sequence[str], mean: FloatArray, error: FloatArray, counts: Sequence[int], unit: str
) -> go.Figure:
    """Return mean returns as bars whose whiskers are 95 % intervals.

    Parameters
    ----------
    labels : sequence of str
        What each bar is.
    mean, error : ndarray of float64
        Mean return and its standard error; NaN where it is not defined.
    counts : sequence of int
        Of how many returns.
    unit : str
        What was counted, ``"bars"``.
    """
    place = np.arange(len(labels))
    figure = go.Figure(
        go.Bar(
            x=place,
            y=mean,
            marker={"color": [theme.GAIN if m > 0 else theme.LOSS for m in mean], "opacity": 0.8},
            error_y={
                "type": "data",
                "array": np.where(np.isfinite(error), _Z95 * error, 0.0),
                "color": theme.MUTED,
                "thickness": 1.2,
                "width": 2,
            },
            customdata=[[label, count] for label, count in zip(labels, counts, strict=True)],
            hovertemplate="%{customdata[0]}: %{y:+.4~%} over %{customdata[1]:,} " + unit + "<extra></extra>",
        )
    )
    figure.update_layout(**theme.layout(260) | {"hovermode": "closest", "showlegend": False, "bargap": 0.25})
    figure.update_layout(margin={"l": 8, "r": 8, "t": 10, "b": 8})
    step = 3 if len(labels) > 12 else 1
    figure.update_xaxes(tickvals=place[::step], ticktext=list(labels)[::step], automargin=True)
    figure.update_yaxes(**theme.value_axis(tickformat=",.4~%"))
    return figure
