"""Figures: one function each, frames in, a plotly figure out."""

from backtester.report.figures.alternatives import alternatives_figure
from backtester.report.figures.attribution import waterfall_figure
from backtester.report.figures.equity import equity_figure
from backtester.report.figures.funding import funding_figure
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
    "distribution_figure",
    "equity_figure",
    "excursion_figure",
    "fan_figure",
    "funding_figure",
    "holding_figure",
    "margin_figure",
    "means_figure",
    "price_figure",
    "result_figure",
    "rolling_figure",
    "waterfall_figure",
]
