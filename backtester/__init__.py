"""Backtesting of crypto perpetual contracts, settled as the exchange would.

The names below load when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtester.version import __version__ as __version__

if TYPE_CHECKING:
    from backtester.api import load_result as load_result
    from backtester.api import run as run
    from backtester.api import save as save
    from backtester.clearings import ClearingStudy as ClearingStudy
    from backtester.clearings import clear_market as clear_market
    from backtester.comparing import CompareResult as CompareResult
    from backtester.comparing import compare as compare
    from backtester.domain.config import RunConfig as RunConfig
    from backtester.domain.instrument import Instrument as Instrument
    from backtester.domain.margin_tiers import MarginTier as MarginTier
    from backtester.domain.margin_tiers import TierTable as TierTable
    from backtester.engine.result import Notice as Notice
    from backtester.engine.result import Result as Result
    from backtester.errors import BacktesterError as BacktesterError
    from backtester.market.store import Store as Store
    from backtester.optimizing import OptimizeResult as OptimizeResult
    from backtester.optimizing import optimize as optimize
    from backtester.report.result_figures import ResultFigures as ResultFigures
    from backtester.research.reproduction import Reproduction as Reproduction
    from backtester.research.reproduction import reproduce as reproduce
    from backtester.strategy import Indicator as Indicator
    from backtester.strategy import Param as Param
    from backtester.strategy import Strategy as Strategy
    from backtester.strategy import adx as adx
    from backtester.strategy import at as at
    from backtester.strategy import atr as atr
    from backtester.strategy import bollinger_high as bollinger_high
    from backtester.strategy import bollinger_low as bollinger_low
    from backtester.strategy import donchian_high as donchian_high
    from backtester.strategy import donchian_low as donchian_low
    from backtester.strategy import ema as ema
    from backtester.strategy import keltner_high as keltner_high
    from backtester.strategy import keltner_low as keltner_low
    from backtester.strategy import lag as lag
    from backtester.strategy import macd as macd
    from backtester.strategy import macd_histogram as macd_histogram
    from backtester.strategy import macd_signal as macd_signal
    from backtester.strategy import minus_di as minus_di
    from backtester.strategy import plus_di as plus_di
    from backtester.strategy import ref as ref
    from backtester.strategy import returns as returns
    from backtester.strategy import roc as roc
    from backtester.strategy import rolling_beta as rolling_beta
    from backtester.strategy import rolling_corr as rolling_corr
    from backtester.strategy import rolling_max as rolling_max
    from backtester.strategy import rolling_median as rolling_median
    from backtester.strategy import rolling_min as rolling_min
    from backtester.strategy import rolling_quantile as rolling_quantile
    from backtester.strategy import rolling_std as rolling_std
    from backtester.strategy import rolling_sum as rolling_sum
    from backtester.strategy import rsi as rsi
    from backtester.strategy import session_vwap as session_vwap
    from backtester.strategy import sma as sma
    from backtester.strategy import supertrend as supertrend
    from backtester.strategy import supertrend_side as supertrend_side
    from backtester.strategy import vwap as vwap
    from backtester.strategy import wma as wma
    from backtester.strategy import zscore as zscore
    from backtester.sweep_result import SweepResult as SweepResult
    from backtester.sweeping import sweep as sweep
    from backtester.walking import WalkForwardResult as WalkForwardResult
    from backtester.walking import walk_forward as walk_forward

# Module of each public name.
_HOMES = {
    "BacktesterError": "backtester.errors",
    "ClearingStudy": "backtester.clearings",
    "CompareResult": "backtester.comparing",
    "Indicator": "backtester.strategy",
    "Instrument": "backtester.domain.instrument",
    "MarginTier": "backtester.domain.margin_tiers",
    "Notice": "backtester.engine.result",
    "OptimizeResult": "backtester.optimizing",
    "Param": "backtester.strategy",
    "Reproduction": "backtester.research.reproduction",
    "Result": "backtester.engine.result",
    "ResultFigures": "backtester.report.result_figures",
    "RunConfig": "backtester.domain.config",
    "Store": "backtester.market.store",
    "Strategy": "backtester.strategy",
    "SweepResult": "backtester.sweep_result",
    "TierTable": "backtester.domain.margin_tiers",
    "WalkForwardResult": "backtester.walking",
    "adx": "backtester.strategy",
    "at": "backtester.strategy",
    "atr": "backtester.strategy",
    "bollinger_high": "backtester.strategy",
    "bollinger_low": "backtester.strategy",
    "clear_market": "backtester.clearings",
    "compare": "backtester.comparing",
    "donchian_high": "backtester.strategy",
    "donchian_low": "backtester.strategy",
    "ema": "backtester.strategy",
    "keltner_high": "backtester.strategy",
    "keltner_low": "backtester.strategy",
    "lag": "backtester.strategy",
    "load_result": "backtester.api",
    "macd": "backtester.strategy",
    "macd_histogram": "backtester.strategy",
    "macd_signal": "backtester.strategy",
    "minus_di": "backtester.strategy",
    "optimize": "backtester.optimizing",
    "plus_di": "backtester.strategy",
    "ref": "backtester.strategy",
    "reproduce": "backtester.research.reproduction",
    "returns": "backtester.strategy",
    "roc": "backtester.strategy",
    "rolling_beta": "backtester.strategy",
    "rolling_corr": "backtester.strategy",
    "rolling_max": "backtester.strategy",
    "rolling_median": "backtester.strategy",
    "rolling_min": "backtester.strategy",
    "rolling_quantile": "backtester.strategy",
    "rolling_std": "backtester.strategy",
    "rolling_sum": "backtester.strategy",
    "rsi": "backtester.strategy",
    "run": "backtester.api",
    "save": "backtester.api",
    "session_vwap": "backtester.strategy",
    "sma": "backtester.strategy",
    "supertrend": "backtester.strategy",
    "supertrend_side": "backtester.strategy",
    "sweep": "backtester.sweeping",
    "vwap": "backtester.strategy",
    "walk_forward": "backtester.walking",
    "wma": "backtester.strategy",
    "zscore": "backtester.strategy",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - a list: the names of the table


def __getattr__(name: str) -> object:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - nothing is imported before a name is used

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, "__version__"]
