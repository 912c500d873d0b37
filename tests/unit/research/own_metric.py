"""Metrics as a package of one's own would have them."""

from __future__ import annotations

import numpy as np

from backtester import Result

NUMBER = 3


def ulcer(result: Result) -> float:
    """Root mean square of the drawdown."""
    return float(np.sqrt(np.mean(result.equity["drawdown"].to_numpy() ** 2)))
