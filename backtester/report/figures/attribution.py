"""Where the profit came from, as a waterfall."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from backtester.report import numbers, theme


def waterfall_figure(parts: Sequence[tuple[str, float]], settle: str, digits: int = 2) -> go.Figure:
    """Return the parts of the profit, top to bottom, ending in their sum.

    Parameters
    ----------
    parts : sequence of tuple of str and float
        Label and signed amount [settlement currency].
    settle : str
        Settlement currency.
    digits : int
        Decimals of amounts.
    """
    total = sum(amount for _, amount in parts)
    amounts = [*(amount for _, amount in parts), total]
    labels = [*(label for label, _ in parts), "Total"]
    figure = go.Figure(
        go.Waterfall(
            orientation="h",
            y=labels,
            x=amounts,
            measure=["relative"] * len(parts) + ["total"],
            customdata=[numbers.decimal(a, digits, signed=True, unit=f" {settle}") for a in amounts],
            hovertemplate="%{y}: %{customdata}<extra></extra>",
            connector={"line": {"color": theme.MUTED, "width": 1, "dash": "dot"}},
            increasing={"marker": {"color": theme.GAIN}},
            decreasing={"marker": {"color": theme.LOSS}},
            totals={"marker": {"color": theme.GAIN if total > 0 else theme.LOSS if total < 0 else theme.MUTED}},
        )
    )
    figure.update_layout(**theme.layout(110 + 34 * len(labels)))
    figure.update_layout(hovermode="closest", showlegend=False, margin={"l": 8, "r": 8, "t": 8, "b": 8})
    figure.update_xaxes(automargin=True, nticks=6, tickformat="~s", title={"text": settle})
    figure.update_yaxes(automargin=True, autorange="reversed", dtick=1, fixedrange=True)
    return figure
