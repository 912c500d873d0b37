"""The clearing of a whole market: insurance fund, deleveraging and shared losses over a population of accounts."""

from __future__ import annotations

from backtester.clearing.account_runs import from_runs
from backtester.clearing.account_table import from_table
from backtester.clearing.file import ClearingFile, clearing_text, read_clearing
from backtester.clearing.guest import Guest
from backtester.clearing.market import ClearingMarket, FundingSchedule, flat_table, load_market, market_from_panel
from backtester.clearing.open_interest import ONCHAIN_MIX, RETAIL_MIX, from_open_interest
from backtester.clearing.population import Population
from backtester.clearing.result import ClearingResult
from backtester.clearing.rules import ClearingRules, clearing_rules
from backtester.clearing.simulate import simulate

__all__ = [
    "ONCHAIN_MIX",
    "RETAIL_MIX",
    "ClearingFile",
    "ClearingMarket",
    "ClearingResult",
    "ClearingRules",
    "FundingSchedule",
    "Guest",
    "Population",
    "clearing_rules",
    "clearing_text",
    "flat_table",
    "from_open_interest",
    "from_runs",
    "from_table",
    "load_market",
    "market_from_panel",
    "read_clearing",
    "simulate",
]
