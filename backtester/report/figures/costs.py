"""What the run cost, over time."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import polars as pl

from backtester.report import theme
from backtester.report.figures.series import line

_COLORS = (theme.ACCENT, theme.SECOND, theme.THIRD, theme.LOSS, theme.ALERT, theme.MUTED)


def cost_figure(events: pl.DataFrame, labels: Mapping[str, str], settle: str) -> go.Figure:
    """Return the running total of each kind of cost.

    Parameters
    ----------
    events : polars.DataFrame
        ``time, kind, amount``, in order of time; amounts are positive where the account paid.
    labels : mapping of str to str
        Kinds that are drawn, in order, with their names.
    settle : str
        Settlement currency.
    """
    figure = go.Figure()
    last = events["time"].max()
    for (kind, label), color in zip(labels.items(), _COLORS, strict=False):
        own = events.filter(pl.col("kind") == kind)
        if own.is_empty():
            continue
        summed = own.group_by("time", maintain_order=True).agg(pl.col("amount").sum())
        # To the last cost of any kind, so that every line ends at the same moment.
        times = summed["time"].append(pl.Series([last], dtype=summed.schema["time"]))
        totals = summed["amount"].cum_sum()
        figure.add_trace(
            line(
                times,
                totals.append(totals.tail(1)).to_numpy(),
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
