"""The account at every bar close, packed: to the last digit that the page shows."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from backtester.analytics.drawdown import underwater
from backtester.analytics.returns import time_weighted
from backtester.engine.result import Result
from backtester.report import numbers
from backtester.report.packing import Column, FloatArray, Grid, IntArray, pack_whole

RATIO_SCALE = 100_000
"""Ratios are kept to a thousandth of a percent."""
EXPOSURE_SCALE = 1_000
"""Exposures are kept to a thousandth of the equity."""
_LARGEST_RATIO = 1e6


def account_columns(result: Result, rows: IntArray) -> dict[str, Column]:
    """Return equity, margin ratio and exposures; also the drawdown where it is not the equity's own.

    Parameters
    ----------
    result : Result
        A run.
    rows : ndarray of int64
        Rows of its equity frame to keep.
    """
    balance = result.config.account.balance
    values = result.equity["equity"].cast(pl.Float64).to_numpy()
    scale = 10 ** numbers.money_digits(balance)
    found = {"equity": pack_whole(np.rint(values[rows] * scale).astype(np.int64), Grid(scale, 1, exact=False))}
    for name, digits in (
        ("margin_ratio", RATIO_SCALE),
        ("gross_exposure", EXPOSURE_SCALE),
        ("net_exposure", EXPOSURE_SCALE),
    ):
        series = result.equity[name].cast(pl.Float64).fill_null(math.nan).to_numpy()
        found[name] = _ratios(series[rows], digits)
    grown = time_weighted(result.equity, result.ledger, balance)
    if grown is not result.equity or len(rows) < len(values):
        found["drawdown"] = _ratios(underwater(grown["equity"].cast(pl.Float64).to_numpy(), balance)[rows])
    return found


def _ratios(values: FloatArray, scale: int = RATIO_SCALE) -> Column:
    """Return fractions packed; one that is not defined as the number below all others."""
    known = np.isfinite(values)
    whole = np.rint(np.clip(np.where(known, values, 0.0), -_LARGEST_RATIO, _LARGEST_RATIO) * scale)
    missing = -int(_LARGEST_RATIO * scale) - 1
    return pack_whole(np.where(known, whole, missing).astype(np.int64), Grid(scale, 1, exact=False))
