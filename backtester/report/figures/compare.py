"""Figures of a comparison: runs on one clock, their returns against each other, their causes of profit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from backtester.report import numbers, theme
from backtester.report.figures.series import line

_COLOURS = (theme.ACCENT, theme.LOSS, theme.SECOND, theme.THIRD, theme.ALERT, theme.MUTED)
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_POINTS = 40_000
"""Points of all lines of a figure together."""
_MARKED_DAYS = 3_000


def line_style(place: int) -> dict[str, Any]:
    """Return colour and dash of the run at a place: 36 differ."""
    colour = _COLOURS[place % len(_COLOURS)]
    return {"color": colour, "dash": _DASHES[place // len(_COLOURS) % len(_DASHES)], "width": 1.7}


def overlay_figure(
    curves: pl.DataFrame,
    labels: Mapping[str, str],
    column: str,
    *,
    is_log: bool = False,
    common: tuple[datetime, datetime] | None = None,
) -> go.Figure:
    """Return one line a run over time.

    Parameters
    ----------
    curves : polars.DataFrame
        ``run, time`` and the column.
    labels : mapping
        Name of each run to what the legend says, in the order of the colours.
    column : {"growth", "drawdown"}
        What is drawn.
    is_log : bool
        On a log scale, where what is not above zero is left out.
    common : tuple of datetime, optional
        Span that all runs share, to be shaded.
    """
    figure = go.Figure()
    points = max(300, min(2_500, _POINTS // max(1, len(labels))))
    is_fall = column == "drawdown"
    template = "%{y:.2%}" if is_fall else "%{y:,.4f}"
    for place, (run, label) in enumerate(labels.items()):
        own = curves.filter(pl.col("run") == run)
        values = own[column].to_numpy().astype(np.float64)
        if is_log:
            values = np.where(values > 0, values, np.nan)
        trace = line(
            own["time"],
            values,
            points=points,
            name=label,
            line=line_style(place),
            hovertemplate=f"{template}<extra>{_plain(label)}</extra>",
        )
        figure.add_trace(trace)
    if common is not None:
        figure.add_vrect(x0=common[0], x1=common[1], fillcolor=theme.MUTED, opacity=0.12, line_width=0, layer="below")
    figure.update_layout(**theme.layout(300 if is_fall else 420))
    if len(labels) > 8:
        figure.update_layout(hovermode="closest", showlegend=len(labels) <= 20)
    figure.update_xaxes(**theme.time_axis())
    if is_fall:
        figure.update_yaxes(**theme.value_axis(tickformat=",.3~%", rangemode="tozero"))
    else:
        figure.add_hline(y=1, line={"color": theme.MUTED, "width": 1, "dash": "dot"})
        figure.update_yaxes(**theme.value_axis(title={"text": "Growth of 1"}, type="log" if is_log else "linear"))
    return figure


def correlation_figure(correlation: pl.DataFrame, labels: Mapping[str, str]) -> go.Figure:
    """Return the correlations of daily returns as a map with their numbers.

    Parameters
    ----------
    correlation : polars.DataFrame
        ``run``, then a column a run.
    labels : mapping
        Name of each run to what stands on the axes.
    """
    names = [labels[run] for run in correlation["run"]]
    values = correlation.drop("run").to_numpy().astype(np.float64)
    many = len(names) > 12
    texts = [[numbers.decimal(value, 1 if many else 2, signed=True) for value in row] for row in values.tolist()]
    figure = go.Figure(
        go.Heatmap(
            x=names,
            y=names,
            z=[[None if np.isnan(value) else value for value in row] for row in values.tolist()],
            text=texts,
            texttemplate="%{text}",
            zmin=-1,
            zmax=1,
            xgap=2,
            ygap=2,
            colorscale=[[at, colour] for at, colour in theme.SCALES["light"]["diverging"]],
            meta={"scale": "diverging"},
            showscale=False,
            hovertemplate="%{y} and %{x}: %{text}<extra></extra>",
        )
    )
    figure.update_layout(**theme.layout(min(900, 150 + 40 * len(names) if not many else 200 + 22 * len(names))))
    figure.update_layout(hovermode="closest", margin={"l": 8, "r": 8, "t": 8, "b": 8})
    figure.update_xaxes(automargin=True, type="category", showgrid=False, fixedrange=True, dtick=1)
    figure.update_yaxes(
        automargin=True, type="category", autorange="reversed", showgrid=False, fixedrange=True, dtick=1
    )
    return figure


def scatter_figure(daily: pl.DataFrame, labels: Mapping[str, str]) -> go.Figure:
    """Return the daily returns of two runs against each other.

    Parameters
    ----------
    daily : polars.DataFrame
        ``day`` and the columns of the two runs.
    labels : mapping
        Names of the two runs to what stands on the axes.
    """
    (first, first_label), (second, second_label) = labels.items()
    both = daily.drop_nulls([first, second])
    if both.height > _MARKED_DAYS:
        both = both.gather_every(-(-both.height // _MARKED_DAYS))
    figure = go.Figure(
        go.Scatter(
            x=both[first].to_list(),
            y=both[second].to_list(),
            customdata=both["day"].cast(pl.String).to_list(),
            mode="markers",
            marker={"color": theme.ACCENT, "size": 5, "opacity": 0.55},
            hovertemplate="%{customdata}: %{x:.2%} and %{y:.2%}<extra></extra>",
            showlegend=False,
        )
    )
    for line_of in (figure.add_hline, figure.add_vline):
        line_of(
            **{"y" if line_of == figure.add_hline else "x": 0}, line={"color": theme.MUTED, "width": 1, "dash": "dot"}
        )
    figure.update_layout(**theme.layout(380))
    figure.update_layout(hovermode="closest", margin={"l": 8, "r": 8, "t": 8, "b": 8})
    figure.update_xaxes(automargin=True, nticks=8, tickformat=",.2~%", title={"text": first_label})
    figure.update_yaxes(automargin=True, nticks=6, tickformat=",.2~%", title={"text": second_label})
    return figure


def parts_figure(
    parts: Sequence[str], shares: Mapping[str, Sequence[float]], texts: Mapping[str, Sequence[str]]
) -> go.Figure:
    """Return causes of profit as groups of bars, a bar a run.

    Parameters
    ----------
    parts : sequence of str
        Names of the causes.
    shares : mapping
        Label of each run to its amounts as fractions of its initial balance.
    texts : mapping
        The same as the cursor says them.
    """
    figure = go.Figure()
    for place, (label, values) in enumerate(shares.items()):
        figure.add_trace(
            go.Bar(
                x=list(parts),
                y=list(values),
                name=label,
                marker={"color": line_style(place)["color"], "pattern": {"shape": _pattern(place)}},
                customdata=list(texts[label]),
                hovertemplate=f"%{{x}}: %{{customdata}}<extra>{_plain(label)}</extra>",
            )
        )
    figure.update_layout(**theme.layout(380))
    figure.update_layout(barmode="group", hovermode="closest", bargap=0.25, showlegend=len(shares) <= 20)
    figure.update_xaxes(automargin=True, type="category", showgrid=False)
    figure.update_yaxes(**theme.value_axis(tickformat=",.3~%", title={"text": "Of the initial balance"}))
    return figure


def months_figure(months: pl.DataFrame, labels: Mapping[str, str]) -> go.Figure:
    """Return the returns of calendar months as a map: a row a run, a column a month.

    Parameters
    ----------
    months : polars.DataFrame
        ``month`` and a column a run.
    labels : mapping
        Name of each run to what stands beside its row.
    """
    values = [months[run].to_list() for run in labels]
    size = max((abs(v) for row in values for v in row if v is not None), default=0.0) or 1.0
    times = months["month"].cast(pl.String).str.slice(0, 7).to_list()
    texts = [[numbers.percent(value, 1) for value in row] for row in values]
    shown = {"texttemplate": "%{text}"} if len(times) <= 12 else {}
    figure = go.Figure(
        go.Heatmap(
            x=times,
            y=list(labels.values()),
            z=values,
            text=texts,
            zmin=-size,
            zmax=size,
            xgap=1,
            ygap=2,
            colorscale=[[at, colour] for at, colour in theme.SCALES["light"]["diverging"]],
            meta={"scale": "diverging"},
            showscale=False,
            hovertemplate="%{y}, %{x}: %{text}<extra></extra>",
            **shown,
        )
    )
    figure.update_layout(**theme.layout(min(900, 90 + (30 if len(labels) <= 12 else 18) * len(labels))))
    figure.update_layout(hovermode="closest", margin={"l": 8, "r": 8, "t": 8, "b": 8})
    figure.update_xaxes(automargin=True, type="category", showgrid=False, nticks=12)
    figure.update_yaxes(
        automargin=True, type="category", autorange="reversed", showgrid=False, dtick=1, fixedrange=True
    )
    return figure


def spread_figure(values: Mapping[str, Sequence[float]], tickformat: str) -> go.Figure:
    """Return the distribution of a metric over the sets of sweeps: a box a sweep.

    Parameters
    ----------
    values : mapping
        Label of each sweep to the values of its sets.
    tickformat : str
        How the axis writes them.
    """
    figure = go.Figure()
    for place, (label, found) in enumerate(values.items()):
        figure.add_trace(
            go.Box(
                x=list(found),
                name=label,
                orientation="h",
                boxpoints="outliers" if len(found) > 200 else "all",
                marker={"color": line_style(place)["color"], "size": 4},
                jitter=0.4,
                pointpos=0,
            )
        )
    figure.update_layout(**theme.layout(120 + 70 * len(values)))
    figure.update_layout(hovermode="closest", showlegend=False, margin={"l": 8, "r": 8, "t": 8, "b": 8})
    figure.update_xaxes(automargin=True, nticks=7, tickformat=tickformat)
    figure.update_yaxes(automargin=True, type="category", autorange="reversed", dtick=1, fixedrange=True)
    return figure


def _pattern(place: int) -> str:
    return ("", "/", "x", ".", "\\", "+")[place // len(_COLOURS) % len(_DASHES)]


def _plain(label: str) -> str:
    """Return a label in which a hover template finds no place to fill in."""
    return label.replace("%{", "%&#123;")
