"""Figures of an optimisation: history, importance, slices and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from backtester.report import numbers, theme
from backtester.report.metric_text import axis_format, metric_label, metric_text, value_text

_POINTS = 5_000
"""Points that a figure draws at most."""


def history_figure(trials: pl.DataFrame, metric: str, direction: str) -> go.Figure:
    """Return the value of each trial and the best so far.

    Parameters
    ----------
    trials : polars.DataFrame
        ``trial, feasible, text`` (what the cursor shows) and the metric; complete trials alone.
    metric : str
        The objective.
    direction : {"max", "min"}
        Where its better values lie.
    """
    figure = go.Figure()
    for feasible, name, colour in ((True, "Trial", theme.MUTED), (False, "Breaks a constraint", theme.LOSS)):
        shown = _thinned(trials.filter(pl.col("feasible") == feasible))
        if shown.height:
            figure.add_trace(_points(shown["trial"], shown[metric], shown["text"], name, colour))
    kept = trials.filter(pl.col("feasible"))
    if kept.height:
        values = kept[metric].cast(pl.Float64)
        best = values.cum_max() if direction == "max" else values.cum_min()
        is_step = (best != best.shift(1)).fill_null(value=True) | (pl.Series(range(len(best))) == len(best) - 1)
        figure.add_trace(
            go.Scatter(
                x=kept["trial"].filter(is_step).to_list(),
                y=best.filter(is_step).to_list(),
                mode="lines",
                name="Best so far",
                line={"color": theme.ACCENT, "width": 2, "shape": "hv"},
                hoverinfo="skip",
            )
        )
    figure.update_layout(**theme.layout(340))
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(automargin=True, nticks=8, title={"text": "Trial"})
    figure.update_yaxes(**theme.value_axis(title={"text": metric_label(metric)}, **axis_format(metric)))
    return figure


def importance_figure(importance: pl.DataFrame) -> go.Figure:
    """Return the shares of ``parameter`` in ``importance``, one group of bars for each ``objective``."""
    figure = go.Figure()
    colours = (theme.ACCENT, theme.SECOND, theme.THIRD, theme.LOSS)
    names = importance["parameter"].unique(maintain_order=True).to_list()
    objectives = importance["objective"].unique(maintain_order=True).to_list()
    for place, objective in enumerate(objectives):
        part = importance.filter(pl.col("objective") == objective)
        figure.add_trace(
            go.Bar(
                orientation="h",
                y=[_plain(name, 24) for name in part["parameter"]],
                x=part["importance"].to_list(),
                name=metric_label(objective),
                marker={"color": colours[place % len(colours)]},
                hovertemplate="%{y}: %{x:.1%}<extra></extra>",
            )
        )
    figure.update_layout(**theme.layout(90 + 26 * len(names) * len(objectives)))
    figure.update_layout(hovermode="closest", showlegend=len(objectives) > 1, barmode="group")
    figure.update_xaxes(automargin=True, nticks=6, tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(automargin=True, autorange="reversed", dtick=1, fixedrange=True)
    return figure


def slice_figure(trials: pl.DataFrame, parameter: str, metric: str, *, log: bool, listed: bool) -> go.Figure:
    """Return a metric over the values of one parameter.

    Parameters
    ----------
    trials : polars.DataFrame
        ``feasible, text``, the parameter and the metric; complete trials alone.
    parameter, metric : str
        What is drawn over what.
    log : bool
        Whether the parameter's axis is logarithmic.
    listed : bool
        Whether its values are those of a list, which have no distances.
    """
    figure = go.Figure()
    for feasible, name, colour in ((True, "Trial", theme.ACCENT), (False, "Breaks a constraint", theme.LOSS)):
        shown = _thinned(trials.filter(pl.col("feasible") == feasible))
        if shown.height:
            places = [value_text(v) for v in shown[parameter]] if listed else shown[parameter]
            figure.add_trace(_points(places, shown[metric], shown["text"], name, colour))
    figure.update_layout(**theme.layout(340))
    figure.update_layout(hovermode="closest")
    kind: dict[str, Any] = {"type": "category"} if listed else {"type": "log"} if log else {}
    figure.update_xaxes(automargin=True, nticks=8, title={"text": _plain(parameter)}, **kind)
    figure.update_yaxes(**theme.value_axis(title={"text": metric_label(metric)}, **axis_format(metric)))
    return figure


def front_figure(trials: pl.DataFrame, front: pl.DataFrame, x: str, y: str) -> go.Figure:
    """Return two objectives of all trials, and the Pareto front among them.

    Parameters
    ----------
    trials, front : polars.DataFrame
        ``text`` and the objectives, of complete trials and of those on the front.
    x, y : str
        The objectives.
    """
    figure = go.Figure()
    rest = _thinned(trials)
    figure.add_trace(_points(rest[x], rest[y], rest["text"], "Trial", theme.MUTED))
    ordered = front.sort(x)
    figure.add_trace(_points(ordered[x], ordered[y], ordered["text"], "Pareto front", theme.ACCENT, size=9))
    figure.update_layout(**theme.layout(400))
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(automargin=True, nticks=8, title={"text": metric_label(x)}, **axis_format(x))
    figure.update_yaxes(**theme.value_axis(title={"text": metric_label(y)}, **axis_format(y)))
    return figure


def hover_text(row: dict[str, Any], parameters: Sequence[str], metrics: Sequence[str]) -> str:
    """Return what the cursor shows of a trial, one line each; a page's script takes it as text."""
    lines = [f"trial {row['trial']}"]
    lines += [f"{_plain(name)} = {_plain(value_text(row[name]))}" for name in parameters]
    lines += [f"{_plain(name)} {metric_text(name, row[name])}" for name in metrics]
    return "<br>".join(lines)


def _plain(text: str, length: int = 40) -> str:
    """Return a text without what plotly would read as markup."""
    return numbers.shorten(text, length).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _points(x: Any, y: pl.Series, text: pl.Series, name: str, colour: str, *, size: int = 6) -> go.Scatter:
    return go.Scatter(
        x=list(x),
        y=y.cast(pl.Float64).to_list(),
        mode="markers",
        name=name,
        text=text.to_list(),
        hovertemplate="%{text}<extra></extra>",
        marker={"color": colour, "size": size, "opacity": 0.75},
    )


def _thinned(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows evenly spread over a longer frame."""
    if frame.height <= _POINTS:
        return frame
    return frame[np.unique(np.linspace(0, frame.height - 1, _POINTS).astype(np.int64))]
