"""Figures of a cleared market: fund, price, liquidations, who paid, survivors, the queue, rules side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from backtester.analytics.clearing_tables import GROUPS
from backtester.report import numbers, theme
from backtester.report.downsample import thin
from backtester.report.figures.series import line, milliseconds
from backtester.report.figures.text import plain

GROUP_COLORS = (theme.MUTED, theme.SECOND, theme.ACCENT, theme.THIRD, theme.LOSS, theme.ALERT)
SIDES = {"long": (theme.LOSS, "triangle-down"), "short": (theme.ACCENT, "triangle-up")}
MARKERS = 400
"""Liquidations that a price figure marks at most on each side: the largest of each stretch of time."""


def fund_figure(fund: pl.DataFrame, settle: str) -> go.Figure:
    """Return a fund's worth under its peak, with what it pays below: the drawdown.

    Parameters
    ----------
    fund : polars.DataFrame
        ``open_time, worth, peak, drawdown`` of one fund.
    settle : str
        Settlement currency.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.06)
    for name, label, color, dash in (
        ("peak", "Peak within the trigger's hours", theme.MUTED, "dot"),
        ("worth", "Worth", theme.SECOND, "solid"),
    ):
        figure.add_trace(
            line(
                fund["open_time"],
                fund[name].to_numpy().astype(np.float64),
                name=label,
                line={"color": color, "width": 1.6 if name == "worth" else 1.1, "dash": dash},
                hovertemplate=f"%{{y:,.4~f}} {plain(settle)}<extra>{label}</extra>",
            ),
            row=1,
            col=1,
        )
    fallen = -fund["drawdown"].to_numpy().astype(np.float64)
    figure.add_trace(
        line(
            fund["open_time"],
            fallen,
            name="Drawdown",
            fill="tozeroy",
            fillcolor=theme.LOSS_FILL,
            line={"color": theme.LOSS, "width": 1.2},
            hovertemplate="%{y:.2%}<extra>Drawdown</extra>",
        ),
        row=2,
        col=1,
    )
    figure.update_layout(**theme.layout(400))
    figure.update_xaxes(**theme.time_axis())
    figure.update_yaxes(**theme.value_axis(title={"text": plain(settle)}), row=1, col=1)
    below = theme.value_axis(tickformat=",.3~%")
    if not (fallen < 0).any():
        below["range"] = [-0.05, 0.0]  # a line at zero alone would be drawn in the middle
    figure.update_yaxes(**below, row=2, col=1)
    return figure


def price_figure(prices: pl.DataFrame, liquidations: pl.DataFrame, settle: str) -> go.Figure:
    """Return traded price, mark and the mark as the engine's sales moved it, with liquidations.

    Parameters
    ----------
    prices : polars.DataFrame
        ``open_time, trade, mark, moved``: closes of one contract.
    liquidations : polars.DataFrame
        ``open_time, side, mark_price, notional, leverage`` of it.
    settle : str
        Settlement currency, for the sizes.
    """
    figure = go.Figure()
    for name, label, color, dash, width in (
        ("trade", "Trades (close)", theme.MUTED, "dot", 1.0),
        ("mark", "Mark (close)", theme.ACCENT, "solid", 1.5),
        ("moved", "Mark with the engine's impact", theme.THIRD, "dash", 1.1),
    ):
        figure.add_trace(
            line(
                prices["open_time"],
                prices[name].cast(pl.Float64).fill_null(np.nan).to_numpy(),
                name=label,
                line={"color": color, "width": width, "dash": dash},
                hovertemplate=f"%{{y:,.6~g}}<extra>{label}</extra>",
            )
        )
    for side, (color, symbol) in SIDES.items():
        own = liquidations.filter(pl.col("side") == side)
        if own.is_empty():
            continue
        weight = own["notional"].to_numpy().astype(np.float64)
        shown = own[thin(own["open_time"].cast(pl.Int64).to_numpy(), weight, MARKERS)]
        size = shown["notional"].to_numpy().astype(np.float64)
        texts = [
            f"{numbers.quantity(n)} {plain(settle)} at {numbers.quantity(x)}{numbers.TIMES}"
            for n, x in zip(size, shown["leverage"], strict=True)
        ]
        figure.add_trace(
            go.Scatter(
                x=milliseconds(shown["open_time"]),
                y=shown["mark_price"].to_numpy().astype(np.float64),
                mode="markers",
                name=f"{side.capitalize()} liquidated",
                marker={
                    "symbol": symbol,
                    "color": color,
                    "size": 5 + 11 * np.sqrt(size / max(float(size.max()), 1e-300)),
                    "opacity": 0.65,
                    "line": {"width": 0},
                },
                text=texts,
                hovertemplate=f"%{{text}}, mark %{{y:,.6~g}}<extra>{side.capitalize()} liquidated</extra>",
            )
        )
    figure.update_layout(**theme.layout(430))
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(**theme.time_axis())
    figure.update_yaxes(**theme.value_axis(tickformat=",.6~g"))
    return figure


def grouped_figure(rows: pl.DataFrame, settle: str, stretch: str, width_ms: int, span: tuple[int, int]) -> go.Figure:
    """Return notional over time, stacked by group of leverage.

    Parameters
    ----------
    rows : polars.DataFrame
        ``open_time, group, notional``.
    settle, stretch : str
        Settlement currency, and the length of each bar in words.
    width_ms : int
        Length of each bar [ms].
    span : (int, int)
        First open and last close of the replay [ms since 1970, UTC].
    """
    figure = go.Figure()
    for color, name, own in _groups(rows):
        figure.add_trace(
            go.Bar(
                x=milliseconds(own["open_time"]) + width_ms / 2,
                y=own["notional"].to_numpy().astype(np.float64),
                width=np.full(own.height, width_ms * 0.92),
                name=name,
                marker={"color": color, "line": {"width": 0}},
                hovertemplate=f"%{{y:,.4~s}} {plain(settle)}<extra>{name}</extra>",
            )
        )
    figure.update_layout(**theme.layout(320))
    figure.update_layout(barmode="stack", bargap=0.05)
    figure.update_xaxes(**theme.time_axis(range=list(span)))
    figure.update_yaxes(**theme.value_axis(title={"text": f"{plain(settle)} in {stretch}"}))
    return figure


def level_figure(rows: pl.DataFrame, settle: str) -> go.Figure:
    """Return the liquidated notional at each step of the mark, stacked by group of leverage.

    Parameters
    ----------
    rows : polars.DataFrame
        ``price, group, notional``.
    settle : str
        Settlement currency.
    """
    figure = go.Figure()
    prices = np.unique(rows["price"].to_numpy())
    step = float(np.diff(prices).min()) if len(prices) > 1 else max(abs(float(prices[0])) * 0.01, 1e-9)
    for color, name, own in _groups(rows):
        figure.add_trace(
            go.Bar(
                y=own["price"].to_numpy().astype(np.float64),
                x=own["notional"].to_numpy().astype(np.float64),
                width=np.full(own.height, step * 0.92),
                orientation="h",
                name=name,
                marker={"color": color, "line": {"width": 0}},
                hovertemplate=f"mark %{{y:,.6~g}}: %{{x:,.4~s}} {plain(settle)}<extra>{name}</extra>",
            )
        )
    figure.update_layout(**theme.layout(400))
    figure.update_layout(barmode="stack", bargap=0.05, hovermode="closest")
    figure.update_xaxes(automargin=True, nticks=5, title={"text": plain(settle)})
    figure.update_yaxes(**theme.value_axis(tickformat=",.6~g", title={"text": "mark"}))
    return figure


def paid_figure(parts: Sequence[tuple[str, float]], settle: str) -> go.Figure:
    """Return a waterfall: the loss beyond the margins, taken down by each payer to nothing.

    Parameters
    ----------
    parts : sequence of (str, float)
        The loss, then who paid how much of it.
    settle : str
        Settlement currency.
    """
    left, bases = parts[0][1], [0.0]
    for _, amount in parts[1:]:
        left -= amount
        bases.append(max(left, 0.0))
    figure = go.Figure(
        go.Bar(
            x=[name for name, _ in parts],
            y=[amount for _, amount in parts],
            base=bases,
            text=[numbers.quantity(float(f"{amount:.4g}")) for _, amount in parts],
            textposition="outside",
            cliponaxis=False,
            marker={"color": [theme.LOSS, *(theme.ACCENT for _ in parts[1:])]},
            hovertemplate=f"%{{x}}: %{{text}} {plain(settle)}<extra></extra>",
        )
    )
    figure.update_layout(**theme.layout(320))
    figure.update_layout(showlegend=False, hovermode="closest")
    figure.update_xaxes(automargin=True)
    top = 1.12 * parts[0][1]  # room for the text on the first bar
    figure.update_yaxes(**theme.value_axis(title={"text": plain(settle)}, range=[0, top]))
    return figure


def survival_figure(tables: Mapping[str, pl.DataFrame]) -> go.Figure:
    """Return the share of accounts that survived, by leverage.

    Parameters
    ----------
    tables : mapping of str to polars.DataFrame
        By name of the series: ``band, share, accounts, survivors``.
    """
    figure = go.Figure()
    colors = (theme.LOSS, theme.ACCENT, theme.THIRD, theme.SECOND)
    for color, (name, own) in zip(colors, tables.items(), strict=False):
        counts = zip(own["survivors"], own["accounts"], strict=True)
        figure.add_trace(
            go.Bar(
                x=own["band"].cast(pl.String).to_list(),
                y=own["share"].to_list(),
                name=plain(name),
                marker={"color": color},
                text=[f"{numbers.count(s)} of {numbers.count(a)}" for s, a in counts],
                textposition="none",
                hovertemplate="%{x}: %{y:.1%}, %{text}<extra>%{fullData.name}</extra>",
            )
        )
    order = next(iter(tables.values()))["band"].dtype
    names = order.categories.to_list() if isinstance(order, pl.Enum) else None
    figure.update_layout(**theme.layout(320))
    figure.update_layout(barmode="group", hovermode="closest")
    figure.update_xaxes(automargin=True, type="category", categoryorder="array", categoryarray=names)
    figure.update_yaxes(**theme.value_axis(tickformat=".0%", range=[0, 1.02]))
    return figure


def light_figure(queues: Mapping[str, pl.DataFrame]) -> go.Figure:
    """Return who stands in each light of the queue: shares of its quantity by leverage, a panel for each moment.

    Parameters
    ----------
    queues : mapping of str to polars.DataFrame
        By title: ``light, group, quantity``.
    """
    figure = make_subplots(
        rows=len(queues), cols=1, shared_xaxes=True, vertical_spacing=0.16, subplot_titles=list(queues)
    )
    seen: set[str] = set()
    for row, frame in enumerate(queues.values(), start=1):
        size = frame.with_columns(pl.col("quantity").abs())
        whole = size.group_by("light").agg(pl.col("quantity").sum().alias("all"))
        shares = (
            size.group_by("light", "group")
            .agg(pl.col("quantity").sum(), pl.len().alias("accounts"))
            .join(whole, on="light")
            .with_columns((pl.col("quantity") / pl.col("all")).alias("notional"))
            .sort("light")
        )
        for color, name, own in _groups(shares):
            figure.add_trace(
                go.Bar(
                    x=[str(light) for light in own["light"]],
                    y=own["notional"].to_list(),
                    name=name,
                    legendgroup=name,
                    showlegend=name not in seen,
                    marker={"color": color, "line": {"width": 0}},
                    text=[f"{numbers.count(n)} account{'' if n == 1 else 's'}" for n in own["accounts"]],
                    textposition="none",
                    hovertemplate="light %{x}: %{y:.1%}, %{text}<extra>%{fullData.name}</extra>",
                ),
                row=row,
                col=1,
            )
            seen.add(name)
    figure.update_layout(**theme.layout(210 * len(queues) + 60))
    figure.update_layout(barmode="stack", hovermode="closest", margin={"l": 8, "r": 8, "t": 76, "b": 8})
    figure.update_layout(legend={"y": 1.09 if len(queues) > 1 else 1.16})
    figure.update_annotations(font={"size": 12}, xanchor="left", x=0)
    figure.update_xaxes(automargin=True, type="category", categoryorder="array", categoryarray=list("12345"))
    figure.update_yaxes(**theme.value_axis(tickformat=".0%", range=[0, 1], nticks=4))
    return figure


def inventory_figure(bars: pl.DataFrame, unit: str) -> go.Figure:
    """Return what the engine holds of a contract, and how far its sales have moved the price.

    Parameters
    ----------
    bars : polars.DataFrame
        ``open_time, inventory, price_shift`` of one contract.
    unit : str
        In which sizes are counted.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.55, 0.45], vertical_spacing=0.08)
    for row, name, label, color, form in (
        (1, "inventory", "Inventory", theme.THIRD, f"%{{y:,.6~g}} {plain(unit)}"),
        (2, "price_shift", "Impact on the price", theme.LOSS, "%{y:.2%}"),
    ):
        figure.add_trace(
            line(
                bars["open_time"],
                bars[name].cast(pl.Float64).fill_null(0.0).to_numpy(),
                name=label,
                fill="tozeroy",
                fillcolor=theme.THIRD_FILL if row == 1 else theme.LOSS_FILL,
                line={"color": color, "width": 1.2},
                hovertemplate=f"{form}<extra>{label}</extra>",
            ),
            row=row,
            col=1,
        )
    figure.update_layout(**theme.layout(360))
    figure.update_xaxes(**theme.time_axis())
    figure.update_yaxes(**theme.value_axis(title={"text": plain(unit)}), row=1, col=1)
    figure.update_yaxes(**theme.value_axis(tickformat=",.3~%"), row=2, col=1)
    return figure


def fates_figure(shares: pl.DataFrame) -> go.Figure:
    """Return which part of the open interest was liquidated and deleveraged under each set of rules.

    Parameters
    ----------
    shares : polars.DataFrame
        ``case, liquidated, deleveraged`` [fractions].
    """
    figure = go.Figure()
    names = [plain(numbers.shorten(name, 24)) for name in shares["case"]]
    for key, label, color in (
        ("liquidated", "Liquidated", theme.LOSS),
        ("deleveraged", "Deleveraged", theme.THIRD),
    ):
        figure.add_trace(
            go.Bar(
                y=names,
                x=shares[key].to_list(),
                orientation="h",
                name=label,
                marker={"color": color},
                hovertemplate=f"%{{y}}: %{{x:.1%}}<extra>{label}</extra>",
            )
        )
    figure.update_layout(**theme.layout(90 + 44 * len(names)))
    figure.update_layout(barmode="group", hovermode="closest")
    figure.update_xaxes(automargin=True, tickformat=".0%", rangemode="tozero", nticks=6)
    figure.update_yaxes(automargin=True, autorange="reversed", type="category")
    return figure


def multiples_figure(funds: Mapping[str, pl.DataFrame]) -> go.Figure:
    """Return the worth of the funds under each set of rules, as a multiple of the start, in small panels of one scale.

    Parameters
    ----------
    funds : mapping of str to polars.DataFrame
        By case: ``open_time, worth, deleveraging``, summed over its funds.
    """
    columns = 2 if len(funds) > 1 else 1
    rows = -(-len(funds) // columns)
    titles = [plain(numbers.shorten(name, 24)) for name in funds]
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_xaxes=True,
        shared_yaxes="all",
        subplot_titles=titles,
        horizontal_spacing=0.05,
        vertical_spacing=min(0.12, 0.4 / rows),
    )
    for place, own in enumerate(funds.values()):
        where: dict[str, Any] = {"row": place // columns + 1, "col": place % columns + 1}
        worth = own["worth"].to_numpy().astype(np.float64)
        struck = own["deleveraging"].to_numpy()
        figure.add_trace(
            line(
                own["open_time"],
                worth,
                points=600,
                line={"color": theme.SECOND, "width": 1.4},
                hovertemplate="%{y:.2f} times the start<extra></extra>",
                showlegend=False,
            ),
            **where,
        )
        if struck.any():
            rows_struck = np.flatnonzero(struck)
            rows_struck = rows_struck[:: -(-len(rows_struck) // 100)]
            figure.add_trace(
                go.Scatter(
                    x=milliseconds(own["open_time"].gather(rows_struck)),
                    y=worth[rows_struck],
                    mode="markers",
                    name="Deleveraging due",
                    showlegend=False,
                    marker={"color": theme.ALERT, "size": 5, "symbol": "x"},
                    hovertemplate="%{y:.2f} times the start<extra>Deleveraging due</extra>",
                ),
                **where,
            )
    figure.update_layout(**theme.layout(170 * rows + 40))
    figure.update_layout(hovermode="closest")
    figure.update_annotations(font={"size": 12})
    figure.update_xaxes(**theme.time_axis(nticks=4))
    figure.update_yaxes(**theme.value_axis(nticks=4))
    return figure


def _groups(rows: pl.DataFrame) -> list[tuple[str, str, pl.DataFrame]]:
    """Return colour, name and rows of each group of leverage that occurs, the lowest first."""
    found = []
    for color, (_, name) in zip(GROUP_COLORS, GROUPS, strict=True):
        own = rows.filter(pl.col("group").cast(pl.String) == name)
        if own.height:
            found.append((color, name, own))
    return found
