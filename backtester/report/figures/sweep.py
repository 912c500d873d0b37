"""Figures of a sweep: heatmap, parallel coordinates, distribution, a metric against one parameter.

Each holds what the page opens with; the page's script puts other numbers into the same traces when the reader chooses
another metric, other axes or other sets. A trace whose colours depend on the background says so in ``meta``: the scale
of the theme, and the place on it of a line.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from backtester.report import theme
from backtester.report.figures.text import plain
from backtester.report.sweep_cells import Collapse, cell_matrix, colour_range, quartiles, smoothed
from backtester.report.sweep_data import Axis, Sweep
from backtester.report.sweep_metrics import Metric

Floats = npt.NDArray[np.float64]

SHADES = 9
"""Classes of colour of the lines of parallel coordinates."""
BEST_LINES, ALL_LINES = 300, 1500
"""Lines of the best sets, and at most in all."""
BINS = 40
DIMENSIONS = 10
_KEY_METRICS = ("sharpe", "total_return", "max_drawdown", "worst_margin_ratio", "trades", "liquidations")


def heatmap_figure(
    sweep: Sweep,
    x: Axis,
    y: Axis,
    metric: Metric,
    collapse: Collapse = "median",
    *,
    smooth: bool = False,
) -> go.Figure:
    """Return a metric over two parameters, the best cell marked.

    Parameters
    ----------
    sweep : Sweep
        The sets.
    x, y : Axis
        Parameters.
    metric : Metric
        What is coloured.
    collapse : {"best", "median", "worst"}
        Which of the sets stands for those that differ in other parameters alone.
    smooth : bool
        Each cell is the median of its neighbourhood of 3 by 3: plateaus stay, spikes go.
    """
    cells = (_cells(x), _cells(y))
    shape = (len(y.cells), len(x.cells))
    matrix = cell_matrix(cells, shape, sweep.values(metric.key), collapse, metric.better)
    if smooth:
        matrix = smoothed(matrix, along_x=x.is_ordered, along_y=y.is_ordered)
    low, high = colour_range(matrix, is_centred=metric.is_centred)
    number, unit = metric.format(sweep.money_digits)
    scale = scale_of(metric)
    figure = go.Figure(
        go.Heatmap(
            x=[plain(label) for label in x.cells],
            y=[plain(label) for label in y.cells],
            z=[[float(v) if math.isfinite(v) else None for v in row] for row in matrix],
            zmin=low,
            zmax=high,
            colorscale=theme.SCALES["light"][scale],
            meta={"scale": scale},
            xgap=1 if shape[1] <= 60 else 0,
            ygap=1 if shape[0] <= 60 else 0,
            hoverongaps=False,
            hovertemplate=_hover(x, y, metric, number, unit),
            colorbar={"thickness": 12, "outlinewidth": 0, "tickformat": number, "nticks": 6, "ticks": ""},
        )
    )
    figure.add_trace(best_marker(matrix, x, y, metric.better))
    figure.update_layout(**theme.layout(map_height(shape[0])))
    figure.update_layout(hovermode="closest", showlegend=False, margin={"l": 8, "r": 8, "t": 10, "b": 8})
    figure.update_xaxes(**_category(x), nticks=24, side="bottom")
    figure.update_yaxes(**_category(y), nticks=24)
    return figure


def best_marker(matrix: Floats, x: Axis, y: Axis, better: int) -> go.Scatter:
    """Return a frame around the best cell."""
    place: tuple[list[str], list[str]] = ([], [])
    if np.isfinite(matrix).any():
        row, column = np.unravel_index(int(np.nanargmax(matrix * better)), matrix.shape)
        place = ([plain(x.cells[int(column)])], [plain(y.cells[int(row)])])
    return go.Scatter(
        x=place[0],
        y=place[1],
        mode="markers",
        name="Best cell",
        hoverinfo="skip",
        marker={"symbol": "star", "size": 13, "color": "#ffffff", "line": {"color": "#10161d", "width": 1.6}},
    )


def parallel_figure(sweep: Sweep, metric: Metric) -> go.Figure:
    """Return one line a set through its parameters and key figures, coloured by a metric, the best on top.

    Parameters
    ----------
    sweep : Sweep
        The sets.
    metric : Metric
        What is coloured.
    """
    values = sweep.values(metric.key)
    order = line_order(values, metric.better)
    ladders = [_ladder(axis) for axis in dimensions(sweep)]
    ends: list[tuple[str, str]] = [(axis.labels[0], axis.labels[-1]) for axis in dimensions(sweep)]
    titles = [axis.title for axis in dimensions(sweep)]
    for key in shown_metrics(sweep, metric):
        found = sweep.values(key.key)
        low, high = float(np.nanmin(found)), float(np.nanmax(found))
        ladders.append((found - low) / ((high - low) or 1.0))
        ends.append((key.text(low, sweep.money_digits), key.text(high, sweep.money_digits)))
        titles.append(key.label)
    heights = np.stack(ladders, axis=1) if ladders else np.zeros((values.size, 0))
    low, high = colour_range(values, is_centred=metric.is_centred)
    shade = np.clip(np.nan_to_num((values - low) / (high - low)) * SHADES, 0, SHADES - 1).astype(int)
    figure = go.Figure()
    for number in range(SHADES):
        rows = order[shade[order] == number][::-1]
        figure.add_trace(
            _lines(heights[rows], scale_of(metric), _shade(scale_of(metric), number), 1 if order.size > 200 else 1.6)
        )
    figure.add_trace(
        go.Scatter(
            x=list(range(heights.shape[1])),
            y=_numbers(heights[order[0]]) if order.size else [],
            mode="lines+markers",
            line={"color": theme.ALERT, "width": 2.5},
            marker={"size": 6},
            hoverinfo="skip",
            name="Best set",
        )
    )
    figure.update_layout(**theme.layout(430))
    figure.update_layout(
        hovermode=False,
        showlegend=False,
        dragmode=False,
        margin={"l": 34, "r": 34, "t": 30, "b": 30},
        annotations=[_end(place, at, text) for place, pair in enumerate(ends) for at, text in enumerate(pair)],
    )
    figure.update_xaxes(
        tickvals=list(range(len(titles))),
        ticktext=[plain(title) for title in titles],
        range=[-0.3, len(titles) - 0.7],
        side="top",
        showgrid=True,
        zeroline=False,
        fixedrange=True,
        automargin=True,
        ticklabelstandoff=16,
    )
    figure.update_yaxes(visible=False, range=[-0.09, 1.09], fixedrange=True)
    return figure


def dimensions(sweep: Sweep) -> list[Axis]:
    """Return the parameters that are drawn as axes: those with more than one value."""
    return [axis for axis in sweep.axes if len(axis.values) > 1][: DIMENSIONS - 2]


def shown_metrics(sweep: Sweep, metric: Metric) -> list[Metric]:
    """Return the metrics that are drawn as axes: the chosen one, then those that decide and differ between sets."""
    by_key = {m.key: m for m in sweep.metrics}
    keys = list(dict.fromkeys([metric.key, *_KEY_METRICS]))
    differing = [by_key[k] for k in keys if k in by_key and (k == metric.key or _differs(sweep.values(k)))]
    return differing[: max(2, DIMENSIONS - len(dimensions(sweep)))]


def line_order(values: Floats, better: int) -> npt.NDArray[np.int64]:
    """Return the rows that are drawn, best first: the best ones, and every so-manieth of the rest."""
    order = np.argsort(-values * better, kind="stable")
    order = order[np.isfinite(values[order])]
    rest = order[BEST_LINES:]
    room = ALL_LINES - BEST_LINES
    if rest.size > room:
        rest = rest[np.floor(np.arange(room) * rest.size / room).astype(np.int64)]
    return np.concatenate([order[:BEST_LINES], rest]).astype(np.int64)


def distribution_figure(sweep: Sweep, metric: Metric) -> go.Figure:
    """Return how many sets have which value of a metric.

    Parameters
    ----------
    sweep : Sweep
        The sets.
    metric : Metric
        What is counted.
    """
    values = sweep.values(metric.key)
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(values, BINS, (low, high))
    middles = (edges[:-1] + edges[1:]) / 2
    number, unit = metric.format(sweep.money_digits)
    figure = go.Figure(
        go.Bar(
            x=middles,
            y=counts,
            width=[(high - low) / BINS] * BINS,
            marker={"color": [theme.LOSS if metric.is_centred and m < 0 else theme.GAIN for m in middles]},
            hovertemplate=f"around %{{x:{number}}}{unit}: %{{y:,}} sets<extra></extra>",
        )
    )
    figure.update_layout(**theme.layout(270))
    best = float(values.max() if metric.better > 0 else values.min())
    figure.update_layout(
        hovermode="closest",
        showlegend=False,
        bargap=0.06,
        margin={"l": 8, "r": 8, "t": 26, "b": 8},
        shapes=[_rule(float(np.median(values)), theme.MUTED), _rule(best, theme.ALERT)],
        annotations=[_note(float(np.median(values)), "median"), _note(best, "best")],
    )
    figure.update_xaxes(automargin=True, nticks=8, tickformat=number, title={"text": metric.label})
    figure.update_yaxes(**theme.value_axis(title={"text": "sets"}))
    return figure


def against_figure(sweep: Sweep, axis: Axis, metric: Metric) -> go.Figure:
    """Return smallest value, quartiles and largest value of a metric for each value of a parameter.

    Parameters
    ----------
    sweep : Sweep
        The sets.
    axis : Axis
        Parameter.
    metric : Metric
        What is measured.
    """
    values = sweep.values(metric.key)
    low, first, middle, third, high = quartiles(_cells(axis), len(axis.cells), values)
    figure = go.Figure(
        go.Box(
            x=[plain(label) for label in axis.cells],
            lowerfence=_numbers(low),
            q1=_numbers(first),
            median=_numbers(middle),
            q3=_numbers(third),
            upperfence=_numbers(high),
            line={"color": theme.ACCENT, "width": 1.2},
            boxpoints=False,
        )
    )
    number, _ = metric.format(sweep.money_digits)
    figure.update_layout(**theme.layout(260))
    figure.update_layout(hovermode="closest", showlegend=False, margin={"l": 8, "r": 8, "t": 8, "b": 8})
    figure.update_xaxes(**_category(axis), nticks=12)
    figure.update_yaxes(**theme.value_axis(tickformat=number, hoverformat=number, zeroline=metric.is_centred))
    return figure


def scale_of(metric: Metric) -> str:
    """Return the colour scale of a metric."""
    return "diverging" if metric.is_centred else "sequential" if metric.better > 0 else "sequentialminus"


def map_height(rows: int) -> int:
    """Return the height of a heatmap with so many rows [pixels]."""
    return min(620, max(240, 110 + 26 * rows))


def _differs(values: Floats) -> bool:
    return bool(np.nanmax(values) > np.nanmin(values))


def _hover(x: Axis, y: Axis, metric: Metric, number: str, unit: str) -> str:
    names = [plain(axis.title) for axis in (x, y)]
    return (
        f"{names[0]} %{{x}}<br>{names[1]} %{{y}}<br><b>{metric_name(metric)} %{{z:{number}}}{unit}</b><extra></extra>"
    )


def metric_name(metric: Metric) -> str:
    """Return the name of a metric, which may be a stranger's, for plotly."""
    return plain(metric.label[:60])


def _category(axis: Axis) -> dict[str, Any]:
    labels = [plain(label) for label in axis.cells]
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": labels,
        "automargin": True,
        "showgrid": False,
        "title": {"text": plain(axis.title)},
    }


def _cells(axis: Axis) -> npt.NDArray[np.int64]:
    """Return the cell of each set."""
    return np.asarray(axis.cell_of, np.int64)[axis.codes]


def _ladder(axis: Axis) -> Floats:
    """Return each set's place on a parameter's axis, 0 to 1: values stand at equal distances."""
    return axis.codes / max(len(axis.values) - 1, 1)


def _lines(heights: Floats, scale: str, at: float, width: float) -> go.Scatter:
    rows, columns = heights.shape
    broken = np.concatenate([heights, np.full((rows, 1), np.nan)], axis=1).ravel()
    return go.Scatter(
        x=[*range(columns), None] * rows,
        y=_numbers(broken),
        mode="lines",
        line={"width": width},
        opacity=0.55,
        hoverinfo="skip",
        meta={"scale": scale, "at": at},
    )


def _shade(scale: str, number: int) -> float:
    """Return the place of a class of lines on a scale, away from where the scale is like the background."""
    at = (number + 0.5) / SHADES
    if scale != "diverging":
        return 0.3 + 0.7 * at
    return 0.72 * at if at < 0.5 else 1 - 0.72 * (1 - at)


def _numbers(values: Floats) -> list[float | None]:
    return [round(float(v), 9) if math.isfinite(v) else None for v in values]


def _end(place: int, at: int, text: str) -> dict[str, Any]:
    return {
        "x": place,
        "y": at,
        "yshift": 11 if at else -11,
        "text": plain(text),
        "showarrow": False,
        "font": {"size": 11},
    }


def _rule(at: float, color: str) -> dict[str, Any]:
    line = {"color": color, "width": 1.6, "dash": "dot"}
    return {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def _note(at: float, text: str) -> dict[str, Any]:
    return {
        "x": at,
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
        "text": text,
        "showarrow": False,
        "font": {"size": 11},
    }
