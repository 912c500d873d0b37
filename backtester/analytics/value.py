"""Value space for frames: linear contracts keep their price, inverse ones count in ``-1/p``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtester.domain.config import RunConfig

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def inverse_symbols(config: RunConfig) -> frozenset[str]:
    """Return the symbols of a resolved configuration that settle in the coin."""
    return frozenset(symbol for symbol, contract in config.instruments.items() if contract.kind == "inverse")


def to_value(price: FloatArray, *, inverse: bool) -> FloatArray:
    """Map prices into value space."""
    return -1.0 / price if inverse else price


def to_price(value: FloatArray, *, inverse: bool) -> FloatArray:
    """Map values back to prices; the two maps are each other's inverse."""
    return -1.0 / value if inverse else value
