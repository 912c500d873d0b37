"""From an exchange into the store: what is missing is planned, estimated, then downloaded page by page."""

from backtester.market.fetch.download import fetch
from backtester.market.fetch.refetch import Refetcher
from backtester.market.fetch.request import FetchRequest
from backtester.market.fetch.venues import Route
from backtester.market.fetch.watch import FetchResult, Watch

__all__ = ["FetchRequest", "FetchResult", "Refetcher", "Route", "Watch", "fetch"]
