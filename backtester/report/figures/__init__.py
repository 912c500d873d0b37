"""Figures: one function each, frames in, a plotly figure out."""

from backtester.report.figures.attribution import waterfall_figure
from backtester.report.figures.costs import cost_figure
from backtester.report.figures.equity import equity_figure
from backtester.report.figures.exposure import exposure_figure, exposure_symbols_figure, turnover_figure
from backtester.report.figures.funding import funding_figure, funding_grid_figure, funding_rate_figure
from backtester.report.figures.liquidation import liquidation_figure
from backtester.report.figures.margin import margin_figure
from backtester.report.figures.price import price_figure

__all__ = [
    "cost_figure",
    "equity_figure",
    "exposure_figure",
    "exposure_symbols_figure",
    "funding_figure",
    "funding_grid_figure",
    "funding_rate_figure",
    "liquidation_figure",
    "margin_figure",
    "price_figure",
    "turnover_figure",
    "waterfall_figure",
]
