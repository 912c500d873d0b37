"""Price with what the run did, one figure a symbol."""

from __future__ import annotations

import plotly.graph_objects as go
import polars as pl

from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.payload import bars_merged
from backtester.report.section import Plot, Section
from backtester.report.trade_columns import MOST_EVENTS


def price_section(result: Result) -> Section:
    """Return price with what the run did, one figure a symbol: the first whole, the others' points left to the page."""
    plots: list[Plot] = []
    several = len(result.symbols) > 1
    outlines: dict[tuple[object, ...], go.Figure] = {}
    for number, symbol in enumerate(result.symbols):
        frames = tuple(
            frame.filter(pl.col("symbol") == symbol) if several else frame
            for frame in (result.bars, result.trades, result.liquidations, result.orders)
        )
        if not frames[0].height:
            continue
        if plots:
            parts = figures.price.parts_of(*frames)
            if parts not in outlines:
                outlines[parts] = figures.price.price_outline(*frames)
            figure = outlines[parts]
        else:
            figure = figures.price_figure(*frames)
        name = numbers.shorten(symbol)
        label = f"Price of {name} with entries, exits and liquidations."
        plots.append(Plot(f"price-{number}", label, figure, choice=name if several else ""))
    return Section(
        id="price",
        title="Price and trades",
        short="Price",
        lead="Traded price with mark and index beside it: triangles open a trade in its direction (or flip it), rings "
        "and diamonds close it, crosses are liquidations; the background shows when a position was held.",
        template="plots.html.j2",
        plots=tuple(plots),
        context={"empty": "No bar was replayed.", "choice_label": "Symbol", "note": _note(result)},
    )


def _note(result: Result) -> str:
    """Return what the figures leave out."""
    said = []
    shown = figures.price.MARKERS
    busiest = max((int((result.trades["symbol"] == s).sum()) for s in result.symbols), default=0)
    if busiest > shown:
        said.append(
            f"Seen whole, the {shown} largest of {busiest:,} round trips are marked, one in each stretch of time; "
            "zoomed in, all of those in sight, up to 150."
        )
    if busiest > figures.price.SHADED:
        said.append(f"Holdings are shaded where at most {figures.price.SHADED} are in sight.")
    if busiest > MOST_EVENTS:
        said.append(f"The page holds the {MOST_EVENTS:,} largest.")
    size = bars_merged(result)
    if size > 1:
        said.append(
            f"The run has {result.bars.height:,} bars, more than a page holds: zoomed in, {size} bars stand in one "
            f"({numbers.timeframe(size * result.timeframe_ms)})."
        )
    return " ".join(said)
