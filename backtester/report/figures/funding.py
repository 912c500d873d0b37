"""Funding received and paid."""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from backtester.report import theme
from backtester.report.figures.series import line, milliseconds

_DAY_MS = 86_400_000


def funding_figure(funding: pl.DataFrame, settle: str) -> go.Figure:
    """Return funding received and paid by day, week or month, above its running total.

    Parameters
    ----------
    funding : polars.DataFrame
        A run's settlements, in order of time.
    settle : str
        Settlement currency.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.5, 0.5], vertical_spacing=0.07)
    periods = _by_period(funding)
    for column, color in (("Received", theme.GAIN), ("Paid", theme.LOSS)):
        figure.add_trace(
            go.Bar(
                x=milliseconds(periods["time"]),
                y=periods[column].to_numpy(),
                name=column,
                marker={"color": color, "line": {"width": 0}},
                hovertemplate=f"%{{y:+,.4~f}} {settle}<extra>{column}</extra>",
            ),
            row=1,
            col=1,
        )
    figure.add_trace(
        line(
            funding["time"],
            funding["funding_payment"].cum_sum().to_numpy(),
            name="Running total",
            line={"color": theme.ACCENT, "width": 1.4, "shape": "hv"},
            hovertemplate=f"%{{y:+,.4~f}} {settle}<extra>Running total</extra>",
        ),
        row=2,
        col=1,
    )
    figure.update_layout(**theme.layout(380))
    figure.update_layout(barmode="relative", bargap=0.25)
    figure.update_xaxes(**theme.time_axis())
    figure.update_yaxes(**theme.value_axis(title={"text": settle}))
    return figure


def _by_period(funding: pl.DataFrame) -> pl.DataFrame:
    """Return ``time, Received, Paid`` summed over days, weeks or months, whichever gives a readable number of bars."""
    times = funding["time"].cast(pl.Int64)
    days = (int(times[-1]) - int(times[0])) / _DAY_MS
    every = "1d" if days <= 70 else "1w" if days <= 420 else "1mo"
    amount = pl.col("funding_payment")
    return (
        funding.group_by(pl.col("time").dt.truncate(every), maintain_order=True)
        .agg(amount.filter(amount > 0).sum().alias("Received"), amount.filter(amount < 0).sum().alias("Paid"))
        .sort("time")
    )
