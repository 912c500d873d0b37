"""The plugin surface: what a strategy imports."""

from backtester.strategy.base import Strategy
from backtester.strategy.columns import Exit, Rung
from backtester.strategy.evaluate import Evaluator, evaluate
from backtester.strategy.indicators import (
    Indicator,
    at,
    atr,
    donchian_high,
    donchian_low,
    ema,
    lag,
    ref,
    returns,
    roc,
    rolling_beta,
    rolling_corr,
    rolling_max,
    rolling_min,
    rolling_std,
    rsi,
    sma,
    zscore,
)
from backtester.strategy.params import Param

__all__ = [
    "Evaluator",
    "Exit",
    "Indicator",
    "Param",
    "Rung",
    "Strategy",
    "at",
    "atr",
    "donchian_high",
    "donchian_low",
    "ema",
    "evaluate",
    "lag",
    "ref",
    "returns",
    "roc",
    "rolling_beta",
    "rolling_corr",
    "rolling_max",
    "rolling_min",
    "rolling_std",
    "rsi",
    "sma",
    "zscore",
]
