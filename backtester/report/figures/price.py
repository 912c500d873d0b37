"""Price with what the run did: positions held, entries, exits, stops, targets, liquidations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from backtester.report import numbers, theme
from backtester.report.downsample import extremes, thin
from backtester.report.figures.series import milliseconds
from backtester.report.trade_columns import price_levels

CANDLES = 240
"""Bars that are drawn as candles; of more, a band from lowest to highest and a line through the closes."""
POINTS = 1_500
MARKERS = 250
LEVELS = 300
CROWD = 150
"""More markers than this are small and let the line show through."""
SHADED = 400
"""More holdings than this would shade everything; they are when fewer are in sight."""

STOPS = ("stop_loss", "trailing_stop", "drawdown_stop")
TARGETS = ("take_profit",)
NOT_MARKED = ("liquidation", "flip", "open")
"""Exits without a mark of their own: a liquidation is a cross, a flip the entry that follows."""

_PRICES = ("open", "high", "low", "close")
_PRICE = "y2"  # above the shading, which has an axis of its own


def price_figure(
    bars: pl.DataFrame,
    trades: pl.DataFrame,
    liquidations: pl.DataFrame,
    orders: pl.DataFrame | None = None,
    *,
    points: int = POINTS,
) -> go.Figure:
    """Return one symbol's traded price with mark and index beside it and what the run did.

    Parameters
    ----------
    bars : polars.DataFrame
        Replayed bars of the symbol, at least one.
    trades : polars.DataFrame
        Its round trips; of very many, the largest of each stretch of time are drawn.
    liquidations : polars.DataFrame
        Its liquidations.
    orders : polars.DataFrame, optional
        Its orders: levels of attached stops and take-profits are drawn where there are few enough to tell apart.
    points : int
        About how many points a line has.

    Notes
    -----
    ``meta`` names each trace's part (``slot``), so that a page can exchange its points for those of a shorter span.
    """
    figure = go.Figure()
    for trace in (*_shades(bars, trades), *_beside(bars, points), *_price_traces(bars, points)):
        figure.add_trace(trace)
    if orders is not None:
        _add_levels(figure, price_levels(orders), bars)
    net = trades["net_pnl"].abs().to_numpy()
    kept = trades[thin(trades["entry_time"].cast(pl.Int64).to_numpy(), net, MARKERS)]
    for side in ("long", "short"):
        _add_entries(figure, kept.filter(pl.col("position_side") == side), trades, bars, side)
    _add_exits(figure, kept, trades, bars)
    _add_liquidations(figure, liquidations, bars)
    _soften_crowd(figure)
    figure.update_layout(**theme.layout(480))
    figure.update_layout(
        hovermode="closest", meta={"explore": "price"}, uirevision="kept", legend={"traceorder": "normal"}
    )
    figure.update_xaxes(**theme.time_axis(rangeslider={"visible": False}, range=_span(bars)))
    figure.update_layout(
        yaxis={"range": [0, 1], "visible": False, "fixedrange": True},
        yaxis2=theme.value_axis(overlaying="y", tickmode="auto", showgrid=True),
    )
    return figure


def parts_of(
    bars: pl.DataFrame, trades: pl.DataFrame, liquidations: pl.DataFrame, orders: pl.DataFrame
) -> tuple[object, ...]:
    """Return what decides which traces a symbol's figure has; the arguments are those of `price_figure`."""
    kinds = trades.select("position_side", "exit_reason", pl.col("exit_time").is_null()).unique().sort(pl.all())
    levels = price_levels(orders)
    beside = tuple(bars[name].is_null().all() for name in ("mark_close", "index_close") if name in bars.columns)
    held = tuple(sorted(levels["kind"].unique())) if levels.width else ()
    return (*kinds.iter_rows(), "|", *held, "|", liquidations.is_empty(), *beside)


def price_outline(
    bars: pl.DataFrame, trades: pl.DataFrame, liquidations: pl.DataFrame, orders: pl.DataFrame
) -> go.Figure:
    """Return a symbol's figure without a point: a page that holds its bars draws them when it is chosen.

    Parameters
    ----------
    bars, trades, liquidations, orders : polars.DataFrame
        As for `price_figure`; symbols for which `parts_of` is the same have the same outline.
    """
    known = [pl.col(name).drop_nulls().first() for name in ("mark_close", "index_close") if name in bars.columns]
    each = trades.group_by("position_side", "exit_reason", pl.col("exit_time").is_null().alias("open")).first()
    levels = orders.group_by("origin").agg(pl.all().drop_nulls().first()) if "origin" in orders.columns else orders
    figure = price_figure(
        bars.head(1).with_columns(*known),
        each.select(trades.columns),
        liquidations.head(1),
        levels.select(orders.columns),
    )
    spec = figure.to_plotly_json()
    for trace in spec["data"]:
        for name in ("x", "y", "text", *_PRICES):
            trace.pop(name, None)
    spec["layout"]["xaxis"].pop("range", None)
    spec["layout"]["meta"]["lean"] = True
    return go.Figure(spec)


def _span(bars: pl.DataFrame) -> list[int]:
    """Return half a bar before the first bar, and one after the last."""
    times = bars["open_time"].cast(pl.Int64)
    step = int(times[1] - times[0]) if bars.height > 1 else 3_600_000
    return [int(times[0]) - step // 2, int(times[-1]) + step]


def _price_traces(bars: pl.DataFrame, points: int) -> list[go.Scatter | go.Candlestick]:
    """Return band, closes and candles: few bars have candles, many have band and line."""
    x, few = milliseconds(bars["open_time"]), bars.height <= CANDLES
    rows = np.arange(0, bars.height, max(1, -(-2 * bars.height // points))) if bars.height else np.arange(0)
    shown = {} if few else {"x": x[rows]}
    low, high = (
        {} if few else {"y": merge.reduceat(bars[name].to_numpy(), rows)}
        for merge, name in ((np.minimum, "low"), (np.maximum, "high"))
    )
    edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    kept = extremes(bars["close"].to_numpy(), points)
    closes = {} if few else {"x": x[kept], "y": bars["close"].to_numpy()[kept]}
    candles = {name: bars[name].to_numpy() for name in ("open", "high", "low", "close")} if few else {}
    return [
        go.Scatter(**shown, **low, **edge, legendgroup="traded", yaxis=_PRICE, meta={"slot": "low"}),
        go.Scatter(
            **shown, **high, **edge, legendgroup="traded", yaxis=_PRICE, fill="tonexty", fillcolor=theme.ACCENT_FILL,
            meta={"slot": "high"},
        ),
        go.Scatter(
            **closes, mode="lines", name="Traded", legendgroup="traded", yaxis=_PRICE,
            line={"color": theme.ACCENT, "width": 1.2}, showlegend=True,
            hovertemplate="%{x|%Y-%m-%d %H:%M} UTC<br>%{y:,.8~g}<extra>Traded</extra>", meta={"slot": "close"},
        ),
        go.Candlestick(
            **({"x": x} if few else {}), **candles, name="Traded", legendgroup="traded", showlegend=few,
            yaxis=_PRICE, increasing={"line": {"color": theme.GAIN, "width": 1}, "fillcolor": theme.GAIN},
            decreasing={"line": {"color": theme.LOSS, "width": 1}, "fillcolor": theme.LOSS},
            opacity=0.85, meta={"slot": "candles"},
        ),
    ]  # fmt: skip


def _beside(bars: pl.DataFrame, points: int) -> list[go.Scatter]:
    """Return the lines of mark and index closes, where they are known; they lie below the traded price."""
    found, x = [], milliseconds(bars["open_time"])
    for name, column, color, dash in (
        ("Mark", "mark_close", theme.THIRD, "dot"),
        ("Index", "index_close", theme.MUTED, "dash"),
    ):
        if column not in bars.columns or bars[column].is_null().all():
            continue
        values = bars[column].cast(pl.Float64).fill_null(np.nan).to_numpy()
        kept = extremes(values, points)
        found.append(
            go.Scatter(
                x=x[kept], y=values[kept], mode="lines", name=name, yaxis=_PRICE,
                line={"color": color, "width": 1, "dash": dash},
                hovertemplate="%{x|%Y-%m-%d %H:%M} UTC<br>%{y:,.8~g}<extra>" + name + "</extra>",
                meta={"slot": name.lower()},
            )
        )  # fmt: skip
    return found


def _shades(bars: pl.DataFrame, trades: pl.DataFrame) -> list[go.Scatter]:
    """Return the background of the times at which a position was held, one trace a direction."""
    found = []
    last = int(bars["open_time"].cast(pl.Int64)[-1])
    for side, color in (("long", theme.GAIN_SHADE), ("short", theme.LOSS_SHADE)):
        own = trades.filter(pl.col("position_side") == side)
        if own.is_empty():
            continue
        starts = own["entry_time"].cast(pl.Int64).to_list()
        ends = own["exit_time"].cast(pl.Int64).fill_null(last).to_list()
        x, y = _rectangles(list(zip(starts, ends, strict=True)) if trades.height <= SHADED else [])
        found.append(
            go.Scatter(
                x=x, y=y, mode="lines", fill="toself", fillcolor=color, line={"width": 0}, hoverinfo="skip",
                name=f"{side.capitalize()} held", meta={"slot": f"held-{side}"},
            )
        )  # fmt: skip
    return found


def _rectangles(spans: Sequence[tuple[int, int]]) -> tuple[list[float | None], list[float | None]]:
    """Return the outlines of spans over the whole height, parted by holes."""
    x: list[float | None] = []
    for start, end in spans:
        x += [start, start, end, end, None]
    return x, [0, 1, 1, 0, None] * len(spans)


def _add_levels(figure: go.Figure, levels: pl.DataFrame, bars: pl.DataFrame) -> None:
    """Add where stops and take-profits rested; nothing but the place of the trace where there are too many."""
    if levels.is_empty():
        return
    last = bars["open_time"][-1]
    for kind, name, color in ((0, "Stop level", theme.LOSS), (1, "Target level", theme.GAIN)):
        own = levels.filter(pl.col("kind") == kind)
        if own.is_empty():
            continue
        x: list[float | None] = []
        y: list[float | None] = []
        if own.height <= LEVELS:
            drawn = own.select(pl.col("start", "end").fill_null(last).cast(pl.Int64), "price")
            for start, end, price in drawn.iter_rows():
                x += [start, end, None]
                y += [price, price, None]
        figure.add_trace(
            go.Scatter(
                x=x, y=y, mode="lines", name=name, yaxis=_PRICE, line={"color": color, "width": 1, "dash": "dash"},
                hovertemplate="%{y:,.8~g}<extra>" + name + "</extra>", meta={"slot": f"level-{kind}"},
            )
        )  # fmt: skip


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


def _add_entries(figure: go.Figure, kept: pl.DataFrame, trades: pl.DataFrame, bars: pl.DataFrame, side: str) -> None:
    """Add a triangle where each trip began, pointing the way it bets."""
    if not (trades["position_side"] == side).any():
        return
    text = [
        f"{numbers.moment(t)} UTC<br>entered {side} {numbers.quantity(q)} at {numbers.price(p)}"
        for t, q, p in kept.select("entry_time", "quantity", "entry_price").iter_rows()
    ]
    marker = {
        "symbol": "triangle-up" if side == "long" else "triangle-down",
        "size": 9,
        "color": theme.SECOND if side == "long" else theme.LOSS,
        "line": {"width": 1, "color": "rgba(255,255,255,0.8)"},
    }
    slot = f"entry-{side}"
    times = at_bar_open(kept, "entry_time", bars)["entry_time"]
    _add_marks(figure, times, kept["entry_price"], text, name=f"Entry {side}", marker=marker, slot=slot)


def _add_exits(figure: go.Figure, kept: pl.DataFrame, trades: pl.DataFrame, bars: pl.DataFrame) -> None:
    """Add where each trip ended: rings, of stops and take-profits diamonds."""
    reason = pl.col("exit_reason")
    plain = ~reason.is_in([*STOPS, *TARGETS, *NOT_MARKED])
    kinds = (
        ("exit", "Exit", plain, "circle-open", theme.MUTED),
        ("exit-stop", "Stop", reason.is_in(STOPS), "diamond-open", theme.LOSS),
        ("exit-target", "Take-profit", reason.is_in(TARGETS), "diamond-open", theme.GAIN),
    )
    for slot, name, which, symbol, color in kinds:
        chosen = which & pl.col("exit_time").is_not_null()
        if trades.filter(chosen).is_empty():
            continue
        own = kept.filter(chosen)
        text = [
            f"{numbers.moment(t)} UTC<br>left at {numbers.price(p)} ({numbers.shorten(str(why), 40).replace('_', ' ')})"
            f"<br>net {numbers.decimal(net, signed=True)}"
            for t, p, net, why in own.select("exit_time", "exit_price", "net_pnl", "exit_reason").iter_rows()
        ]
        marker: dict[str, object] = {"symbol": symbol, "size": 8, "color": color, "line": {"width": 2}}
        times = at_bar_open(own, "exit_time", bars)["exit_time"]
        _add_marks(figure, times, own["exit_price"], text, name=name, marker=marker, slot=slot)


def _add_liquidations(figure: go.Figure, liquidations: pl.DataFrame, bars: pl.DataFrame) -> None:
    """Add a cross at the trigger of each liquidation; of very many, the largest of each stretch of time."""
    if liquidations.is_empty():
        return
    sizes = liquidations["quantity"].cast(pl.Float64).to_numpy()
    liquidations = liquidations[thin(liquidations["time"].cast(pl.Int64).to_numpy(), sizes, MARKERS)]
    columns = ("time", "position_side", "quantity", "trigger_price")
    text = [
        f"{numbers.moment(t)} UTC<br>liquidated {side} {numbers.quantity(q)}<br>mark {numbers.price(p)}"
        for t, side, q, p in liquidations.select(columns).iter_rows()
    ]
    cross = {"symbol": "x", "size": 12, "color": theme.ALERT, "line": {"width": 1, "color": "rgba(255,255,255,0.9)"}}
    times, prices = at_bar_open(liquidations, "time", bars)["time"], liquidations["trigger_price"]
    _add_marks(figure, times, prices, text, name="Liquidation", marker=cross, slot="liquidation")


def _add_marks(
    figure: go.Figure,
    times: pl.Series,
    prices: pl.Series,
    text: list[str],
    *,
    name: str,
    marker: Mapping[str, object],
    slot: str,
) -> None:
    """Add markers with a text each."""
    x, y = milliseconds(times), prices.cast(pl.Float64).to_numpy().astype(np.float64)
    figure.add_trace(
        go.Scatter(
            x=x, y=y, mode="markers", name=name, text=text, hoverinfo="text", marker=marker, yaxis=_PRICE,
            meta={"slot": slot},
        )
    )  # fmt: skip


def _soften_crowd(figure: go.Figure) -> None:
    """Make many markers small and translucent, so that they do not hide the price."""
    marks = [trace for trace in figure.data if trace.type == "scatter" and trace.mode == "markers"]
    if sum(len(trace.x) for trace in marks) <= CROWD:
        return
    for trace in marks:
        trace.marker.update(
            size=0.65 * trace.marker.size, opacity=0.6, line_width=1 if trace.marker.symbol.endswith("open") else 0
        )
