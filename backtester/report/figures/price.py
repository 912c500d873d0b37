"""Price with entries, exits and liquidations."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import polars as pl

from backtester.report import numbers, theme
from backtester.report.downsample import ohlc, thin
from backtester.report.figures.series import milliseconds

CANDLES = 500
MARKERS = 400
CROWD = 150
"""More markers than this are small and let the line show through."""


def price_figure(bars: pl.DataFrame, trades: pl.DataFrame, liquidations: pl.DataFrame) -> go.Figure:
    """Return one symbol's traded price with the mark beside it and what the run did.

    Parameters
    ----------
    bars : polars.DataFrame
        Replayed bars of the symbol.
    trades : polars.DataFrame
        Its round trips; of very many, the largest of each stretch of time are drawn.
    liquidations : polars.DataFrame
        Its liquidations.
    """
    candles = ohlc(bars, CANDLES)
    liquidations = at_bar_open(liquidations, "time", bars)
    trades = at_bar_open(trades, "exit_time", bars)
    figure = go.Figure()
    for trace in _mark_lines(bars):
        figure.add_trace(trace)
    figure.add_trace(
        go.Candlestick(
            x=milliseconds(candles["open_time"]),
            **{name: candles[name].to_numpy() for name in ("open", "high", "low", "close")},
            name="Traded",
            increasing={"line": {"color": theme.GAIN, "width": 1}, "fillcolor": theme.GAIN},
            decreasing={"line": {"color": theme.MUTED, "width": 1}, "fillcolor": theme.MUTED},
            opacity=0.75,
            hoverinfo="skip" if bars.height > CANDLES else None,
        )
    )
    net = trades["net_pnl"].abs().to_numpy()
    kept = trades[thin(trades["entry_time"].cast(pl.Int64).to_numpy(), net, MARKERS)]
    _add_entries(figure, kept.filter(pl.col("position_side") == "long"), "long")
    _add_entries(figure, kept.filter(pl.col("position_side") == "short"), "short")
    _add_exits(
        figure, kept.filter(pl.col("exit_time").is_not_null() & ~pl.col("exit_reason").is_in(["liquidation", "flip"]))
    )
    _add_liquidations(figure, liquidations)
    _soften_crowd(figure)
    figure.update_layout(**theme.layout(460))
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(**theme.time_axis(rangeslider={"visible": False}))
    figure.update_yaxes(**theme.value_axis())
    return figure


def at_bar_open(rows: pl.DataFrame, column: str, bars: pl.DataFrame) -> pl.DataFrame:
    """Return rows with a time moved to the open of the bar that holds it, where its candle is drawn.

    What happens on a bar's path carries the bar's last millisecond, which would stand over the next candle.
    """
    opens = bars["open_time"].cast(pl.Int64).to_numpy()
    times = rows[column].cast(pl.Int64).fill_null(opens[0] if opens.size else 0).to_numpy()
    if not opens.size or not times.size:
        return rows
    moved = opens[np.maximum(np.searchsorted(opens, times, side="right") - 1, 0)]
    at_open = pl.Series(column, moved).cast(rows.schema[column])
    return rows.with_columns(pl.when(pl.col(column).is_not_null()).then(at_open).alias(column))


def _mark_lines(bars: pl.DataFrame) -> list[go.Scatter]:
    """Return the mark below everything else: a band from lowest to highest, and a line through the closes."""
    mark = ohlc(bars.select("open_time", **{k: pl.col(f"mark_{k}") for k in ("open", "high", "low", "close")}), CANDLES)
    x = milliseconds(mark["open_time"])
    edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": "mark"}
    dotted = {"color": theme.THIRD, "width": 1, "dash": "dot"}
    return [
        go.Scatter(x=x, y=mark["low"].to_numpy(), **edge),
        go.Scatter(x=x, y=mark["high"].to_numpy(), fill="tonexty", fillcolor=theme.THIRD_FILL, **edge),
        go.Scatter(
            x=x,
            y=mark["close"].to_numpy(),
            mode="lines",
            name="Mark",
            legendgroup="mark",
            line=dotted,
            hovertemplate="%{y:,.6~g}<extra>Mark</extra>",
        ),
    ]


def _add_entries(figure: go.Figure, trades: pl.DataFrame, side: str) -> None:
    """Add a triangle where each trip began, pointing the way it bets."""
    text = [
        f"{numbers.moment(t)} UTC<br>entered {side} {numbers.quantity(q)} at {numbers.price(p)}"
        for t, q, p in trades.select("entry_time", "quantity", "entry_price").iter_rows()
    ]
    _add_marks(
        figure,
        trades["entry_time"],
        trades["entry_price"],
        text,
        name=f"Entry {side}",
        marker={
            "symbol": "triangle-up" if side == "long" else "triangle-down",
            "size": 9,
            "color": theme.SECOND if side == "long" else theme.LOSS,
            "line": {"width": 1, "color": "rgba(255,255,255,0.8)"},
        },
    )


def _add_exits(figure: go.Figure, trades: pl.DataFrame) -> None:
    """Add a ring where each trip ended; a flip shows as the entry that follows, a liquidation as a cross."""
    columns = ("exit_time", "exit_price", "net_pnl", "exit_reason")
    text = [
        f"{numbers.moment(t)} UTC<br>left at {numbers.price(p)} ({reason})<br>net {numbers.decimal(net, signed=True)}"
        for t, p, net, reason in trades.select(columns).iter_rows()
    ]
    ring = {"symbol": "circle-open", "size": 8, "color": theme.MUTED, "line": {"width": 2}}
    _add_marks(figure, trades["exit_time"], trades["exit_price"], text, name="Exit", marker=ring)


def _add_liquidations(figure: go.Figure, liquidations: pl.DataFrame) -> None:
    """Add a cross at the trigger of each liquidation."""
    columns = ("time", "position_side", "quantity", "trigger_price")
    text = [
        f"{numbers.moment(t)} UTC<br>liquidated {side} {numbers.quantity(q)}<br>mark {numbers.price(p)}"
        for t, side, q, p in liquidations.select(columns).iter_rows()
    ]
    cross = {"symbol": "x", "size": 12, "color": theme.ALERT, "line": {"width": 1, "color": "rgba(255,255,255,0.9)"}}
    _add_marks(figure, liquidations["time"], liquidations["trigger_price"], text, name="Liquidation", marker=cross)


def _add_marks(
    figure: go.Figure, times: pl.Series, prices: pl.Series, text: list[str], *, name: str, marker: dict[str, object]
) -> None:
    """Add markers with a text each; nothing where there are none."""
    if len(times):
        x, y = milliseconds(times), prices.cast(pl.Float64).to_numpy().astype(np.float64)
        figure.add_trace(go.Scatter(x=x, y=y, mode="markers", name=name, text=text, hoverinfo="text", marker=marker))


def _soften_crowd(figure: go.Figure) -> None:
    """Make many markers small and translucent, so that they do not hide the price."""
    marks = [trace for trace in figure.data if trace.type == "scatter" and trace.mode == "markers"]
    if sum(len(trace.x) for trace in marks) <= CROWD:
        return
    for trace in marks:
        trace.marker.update(size=0.65 * trace.marker.size, opacity=0.6, line_width=1 if trace.name == "Exit" else 0)
