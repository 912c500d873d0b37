"""Funding received and paid, the settled rates against the position, the amounts of each month."""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from backtester.report import numbers, theme
from backtester.report.figures.series import line, milliseconds
from backtester.report.figures.text import plain

_DAY_MS = 86_400_000
RATES = 900
"""Settlements that a figure draws at most; of more, each bar is the mean of several in a row."""


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


def funding_rate_figure(funding: pl.DataFrame, unit: str) -> go.Figure:
    """Return the settled rates that one contract's position met, above the position.

    Parameters
    ----------
    funding : polars.DataFrame
        Settlements of the contract, in order of time, both legs in hedge mode.
    unit : str
        What the position counts, for its axis.
    """
    settled = funding.group_by("time", maintain_order=True).agg(
        pl.col("funding_rate").first(),
        pl.col("position_quantity").sum(),
        pl.col("funding_payment").sum(),
    )
    bars = _thinned(settled)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.55, 0.45], vertical_spacing=0.06)
    for name, color, chosen in (
        ("Rate, received", theme.GAIN, bars["funding_payment"] >= 0),
        ("Rate, paid", theme.LOSS, bars["funding_payment"] < 0),
    ):
        shown = bars.filter(chosen)
        figure.add_trace(
            go.Bar(
                x=milliseconds(shown["time"]),
                y=shown["funding_rate"].to_numpy(),
                width=[_width(bars)] * shown.height,
                name=name,
                marker={"color": color, "line": {"width": 0}},
                hovertemplate="%{y:+.4%}<extra>" + name + "</extra>",
            ),
            row=1,
            col=1,
        )
    figure.add_trace(
        go.Bar(
            x=milliseconds(bars["time"]),
            y=bars["position_quantity"].to_numpy(),
            width=[_width(bars)] * bars.height,
            name="Position",
            marker={"color": theme.THIRD, "line": {"width": 0}},
            hovertemplate="%{y:+,.6~g}<extra>Position</extra>",
        ),
        row=2,
        col=1,
    )
    figure.update_layout(**theme.layout(380))
    figure.update_layout(barmode="relative")
    figure.update_xaxes(**theme.time_axis())
    figure.update_yaxes(**theme.value_axis(tickformat=".3~%", title={"text": "rate"}), row=1, col=1)
    figure.update_yaxes(**theme.value_axis(title={"text": unit}), row=2, col=1)
    return figure


def funding_grid_figure(grid: pl.DataFrame, symbols: list[str], settle: str, digits: int) -> go.Figure:
    """Return the net funding of each contract and month as a heatmap.

    Parameters
    ----------
    grid : polars.DataFrame
        ``month, symbol, net``.
    symbols : list of str
        Rows, top to bottom; amounts of other contracts go into the last row, ``others``, where there are any.
    settle : str
        Settlement currency.
    digits : int
        Decimals of amounts.
    """
    named = grid.with_columns(pl.when(pl.col("symbol").is_in(symbols)).then("symbol").otherwise(pl.lit("others")))
    known = set(named["symbol"])
    rows = [s for s in (*symbols, *(["others"] if "others" not in symbols else [])) if s in known]
    month = pl.col("month").dt.date()
    months = grid.select(pl.date_range(month.min(), month.max(), "1mo")).to_series()
    sums = {
        (symbol, month.strftime("%Y-%m")): net
        for symbol, month, net in named.group_by("symbol", "month").agg(pl.col("net").sum()).iter_rows()
    }
    columns = [month.strftime("%Y-%m") for month in months]
    values = [[sums.get((row, column)) for column in columns] for row in rows]
    largest = max((abs(v) for line_ in values for v in line_ if v is not None), default=0.0) or 1.0
    figure = go.Figure(
        go.Heatmap(
            x=columns,
            y=[plain(numbers.shorten(row, 24)) for row in rows],
            z=values,
            zmin=-largest,
            zmax=largest,
            xgap=2,
            ygap=2,
            hoverongaps=False,
            customdata=[
                ["" if v is None else numbers.decimal(v, digits, signed=True, unit=f" {settle}") for v in line_]
                for line_ in values
            ],
            hovertemplate="%{y}, %{x}: %{customdata}<extra></extra>",
            meta={"scale": "diverging"},
            colorbar={"title": {"text": settle}, "thickness": 10, "outlinewidth": 0, "tickformat": "~s"},
        )
    )
    figure.update_layout(**theme.layout(110 + 26 * len(rows)))
    figure.update_layout(hovermode="closest", margin={"l": 8, "r": 8, "t": 8, "b": 8})
    figure.update_xaxes(type="category", automargin=True, nticks=12, showgrid=False)
    figure.update_yaxes(
        type="category", automargin=True, autorange="reversed", showgrid=False, fixedrange=True, dtick=1
    )
    return figure


def _thinned(settled: pl.DataFrame) -> pl.DataFrame:
    """Return means of several settlements each, where there are more than `RATES`."""
    if settled.height <= RATES:
        return settled
    group = pl.int_range(pl.len()) // -(-settled.height // RATES)
    return settled.group_by(group.alias("group"), maintain_order=True).agg(
        pl.col("time").first(), pl.col("funding_rate", "position_quantity").mean(), pl.col("funding_payment").sum()
    )


def _width(bars: pl.DataFrame) -> float:
    """Return the width of a bar [ms]: most of the usual distance between two."""
    gaps = bars["time"].cast(pl.Int64).diff().drop_nulls().median()
    return 0.85 * float(gaps) if isinstance(gaps, (int, float)) and gaps > 0 else 0.3 * _DAY_MS


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
