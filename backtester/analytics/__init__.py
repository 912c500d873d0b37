"""Numbers from a result: returns, drawdowns, round trips, attribution, risk."""

from backtester.analytics.attribution import attribute
from backtester.analytics.summary import complete, summarize
from backtester.analytics.trades import round_trips

__all__ = ["attribute", "complete", "round_trips", "summarize"]
