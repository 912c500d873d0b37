"""Several series on one clock: trade, mark, index and settlements as contiguous arrays.

The panel is what the replay reads. Everything that a run must refuse about its data is refused here, by name, with
the first bad time and the way on; what was cut or assumed stands in ``Panel.notes``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Bars:
    """Open, high, low and close of every symbol on one grid.

    Attributes
    ----------
    open, high, low, close : ndarray of float64, shape (symbols, bars)
        Prices, C-contiguous; NaN where the symbol has no bar (not listed yet, or inside a permitted gap).
    """

    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Settlements:
    """Funding settlements of one symbol, ascending.

    Attributes
    ----------
    time : ndarray of int64
        Settlement times [ms since 1970, UTC], snapped to the minute.
    rate : ndarray of float64
        Funding rates [fraction of notional].
    mark_price : ndarray of float64
        The records' own mark prices; NaN where unknown.
    interval_hours : ndarray of float64
        Hours that each settlement covers, as measured from the records.
    """

    time: NDArray[np.int64]
    rate: NDArray[np.float64]
    mark_price: NDArray[np.float64]
    interval_hours: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Panel:
    """All series of a run on one clock.

    Attributes
    ----------
    venue : str
        Name of the store's venue.
    symbols : tuple of str
        In the configured order: the first axis of every array.
    timeframe_ms : int
        Length of a trade bar [ms].
    open_time : ndarray of int64, shape (bars,)
        Opens of the trade bars; the last one ends at ``end``.
    trade : Bars
        Traded prices.
    volume : ndarray of float64, shape (symbols, bars), or None
        Traded volume [base units]; None where no symbol's series has any.
    mark : Bars
        Mark prices on ``mark_open_time``.
    mark_open_time : ndarray of int64
        Equal grids: the very array ``open_time``; else the opens of the coarser bars that cover the range.
    mark_timeframe_ms : int
        Length of a mark bar [ms].
    index : Bars or None
        Index prices on the trade grid.
    settlements : tuple of Settlements
        One per symbol, within ``[open_time[0], end)``.
    mark_is_trade : bool
        The traded prices serve as mark.
    notes : tuple of str
        What was cut, assumed or built, one sentence each.
    """

    venue: str
    symbols: tuple[str, ...]
    timeframe_ms: int
    open_time: NDArray[np.int64]
    trade: Bars
    volume: NDArray[np.float64] | None
    mark: Bars
    mark_open_time: NDArray[np.int64]
    mark_timeframe_ms: int
    index: Bars | None
    settlements: tuple[Settlements, ...]
    mark_is_trade: bool
    notes: tuple[str, ...] = ()

    @property
    def start(self) -> int:
        """Open of the first bar [ms since 1970, UTC]."""
        return int(self.open_time[0])

    @property
    def end(self) -> int:
        """End of the last bar [ms since 1970, UTC], excluded."""
        return int(self.open_time[-1]) + self.timeframe_ms
