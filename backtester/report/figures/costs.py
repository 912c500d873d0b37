"""What the run cost, over time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
import polars as pl

from backtester.report import theme
from backtester.report.figures.series import line

_COLORS = (theme.ACCENT, theme.SECOND, theme.THIRD, theme.LOSS, theme.ALERT, theme.MUTED)


def cost_figure(events: pl.DataFrame, labels: Mapping[str, str], settle: str, span: tuple[int, int]) -> go.Figure:
    """Return the running total of each kind of cost.

    Parameters
    ----------
    events : polars.DataFrame
        ``time, kind, amount``, in order of time; amounts are positive where the account paid.
    labels : mapping of str to str
        Kinds that are drawn, in order, with their names.
    settle : str
        Settlement currency.
    span : tuple of int
        First and last moment of the run [ms since 1970, UTC]; the lines end soon after the last cost.
    """
    figure = go.Figure()
    last = int(events["time"].cast(pl.Int64)[-1])
    edges = pl.Series([span[0], max(last, min(span[1], last + (last - span[0]) // 50))]).cast(pl.Datetime("ms", "UTC"))
    for (kind, label), color in zip(labels.items(), _COLORS, strict=False):
        own = events.filter(pl.col("kind") == kind)
        if own.is_empty():
            continue
        summed = own.group_by("time", maintain_order=True).agg(pl.col("amount").sum())
        totals = summed["amount"].cum_sum()
        figure.add_trace(
            line(
                pl.concat([edges[:1], summed["time"], edges[1:]]),
                np.concatenate([[0.0], totals.to_numpy(), totals.tail(1).to_numpy()]),
                points=1200,
                name=label,
                line={"color": color, "width": 1.5, "shape": "hv"},
                hovertemplate=f"%{{y:,.4~f}} {settle}<extra>{label}</extra>",
            )
        )
    figure.update_layout(**theme.layout(320))
    figure.update_xaxes(**theme.time_axis())
    figure.update_yaxes(**theme.value_axis(title={"text": settle}, rangemode="tozero"))
    return figure
