"""Whether stored data can be trusted: what is there of what should be, what is wrong with it, and repairs."""

from backtester.market.quality.check import DIVERGENCE, Check, check, select
from backtester.market.quality.finding import Finding
from backtester.market.quality.repair import Repair, repair

__all__ = ["DIVERGENCE", "Check", "Finding", "Repair", "check", "repair", "select"]
