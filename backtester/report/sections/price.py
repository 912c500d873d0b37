"""Price with entries, exits and liquidations."""

from __future__ import annotations

import polars as pl

from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.section import Plot, Section


def price_section(result: Result) -> Section:
    """Return price with entries, exits and liquidations, one figure a symbol."""
    plots = []
    for number, symbol in enumerate(result.symbols):
        own = pl.col("symbol") == symbol
        bars = result.bars.filter(own)
        if bars.height:
            figure = figures.price_figure(bars, result.trades.filter(own), result.liquidations.filter(own))
            name = numbers.shorten(symbol)
            label = f"Price of {name} with entries, exits and liquidations."
            plots.append(Plot(f"price-{number}", label, figure, choice=name if len(result.symbols) > 1 else ""))
    shown = figures.price.MARKERS
    busiest = max((result.trades["symbol"] == s).sum() for s in result.symbols) if result.symbols else 0
    note = f"Of {busiest:,} round trips, the largest of each stretch of time are marked." if busiest > shown else ""
    return Section(
        id="price",
        title="Price and trades",
        short="Price",
        lead="Traded price with the mark beside it: triangles open a trade in its direction (or flip it), "
        "rings close it, crosses are liquidations.",
        template="plots.html.j2",
        plots=tuple(plots),
        context={"empty": "No bar was replayed.", "choice_label": "Symbol", "note": note},
    )
