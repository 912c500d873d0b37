"""Figures: one function each, frames in, a plotly figure out."""

from backtester.report.figures.alternatives import alternatives_figure
from backtester.report.figures.attribution import waterfall_figure
from backtester.report.figures.costs import cost_figure
from backtester.report.figures.equity import equity_figure
from backtester.report.figures.exposure import exposure_figure, exposure_symbols_figure, turnover_figure
from backtester.report.figures.funding import funding_figure, funding_grid_figure, funding_rate_figure
from backtester.report.figures.liquidation import liquidation_figure
from backtester.report.figures.margin import margin_figure
from backtester.report.figures.portfolio import contribution_figure, correlation_figure
from backtester.report.figures.price import price_figure
from backtester.report.figures.returns import calendar_figure, distribution_figure, means_figure, rolling_figure
from backtester.report.figures.trades import excursion_figure, holding_figure, result_figure
from backtester.report.figures.uncertainty import fan_figure

__all__ = [
    "alternatives_figure",
    "calendar_figure",
    "contribution_figure",
    "correlation_figure",
    "cost_figure",
    "distribution_figure",
    "equity_figure",
    "excursion_figure",
    "exposure_figure",
    "exposure_symbols_figure",
    "fan_figure",
    "funding_figure",
    "funding_grid_figure",
    "funding_rate_figure",
    "holding_figure",
    "liquidation_figure",
    "margin_figure",
    "means_figure",
    "price_figure",
    "result_figure",
    "rolling_figure",
    "turnover_figure",
    "waterfall_figure",
]
