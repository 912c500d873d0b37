"""Figures: one function each, frames in, a plotly figure out."""

from backtester.report.figures.attribution import waterfall_figure
from backtester.report.figures.equity import equity_figure
from backtester.report.figures.funding import funding_figure
from backtester.report.figures.margin import margin_figure
from backtester.report.figures.price import price_figure

__all__ = ["equity_figure", "funding_figure", "margin_figure", "price_figure", "waterfall_figure"]
