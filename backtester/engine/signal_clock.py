"""The bars on which decisions are made, and the replayed bars inside each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtester.errors import DataError
from backtester.market.panel import Panel
from backtester.market.schema import timeframe_name
from backtester.market.series import ceil_to

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SignalClock:
    """Signal bars over the bars of a replay.

    Attributes
    ----------
    symbols : sequence of str
        The symbols that are traded, in the order of the run.
    open_time : ndarray of int64
        Opens of the replayed bars [ms since 1970, UTC], rising; holes that no symbol has bars for are left out.
    step_ms : int
        Length of a replayed bar [ms].
    signal_ms : int
        Length of a signal bar [ms], a multiple of ``step_ms``.
    phase : int
        Any moment at which a signal bar opens [ms].
    first_bar, last_bar : ndarray of int64, or None
        First and last replayed bar in which each symbol has prices; None: all have them everywhere.
    """

    symbols: Sequence[str]
    open_time: Ints
    step_ms: int
    signal_ms: int
    phase: int = 0
    first_bar: Ints | None = None
    last_bar: Ints | None = None

    @property
    def end(self) -> int:
        """End of the last replayed bar [ms]."""
        return int(self.open_time[-1]) + self.step_ms

    def opens(self) -> Ints:
        """Return the opens of the signal bars that the replay covers whole and of which a bar is replayed [ms]."""
        if self.signal_ms == self.step_ms:
            return self.open_time
        first = ceil_to(int(self.open_time[0]), self.signal_ms, self.phase)
        every = np.arange(first, self.end - self.signal_ms + 1, self.signal_ms, dtype=np.int64)
        return every[self.ends(every) >= 0]

    def is_replayed(self, opened: Ints, symbol: Ints) -> NDArray[np.bool_]:
        """Return which signal bars hold a replayed bar in which their symbol has prices.

        Parameters
        ----------
        opened : ndarray of int64
            Opens of signal bars [ms].
        symbol : ndarray of int64
            Place of the symbol of each.
        """
        return self._is_replayed(self.ends(opened), opened, symbol)

    def _is_replayed(self, bar: Ints, opened: Ints, symbol: Ints) -> NDArray[np.bool_]:
        """Return what ``is_replayed`` does, knowing the last bar inside each signal bar."""
        good = (bar >= 0) & (opened + self.signal_ms <= self.end)
        if self.first_bar is not None:
            good &= bar >= self.first_bar[symbol]
        if self.last_bar is not None:
            good &= bar - (self.signal_ms // self.step_ms - 1) <= self.last_bar[symbol]
        return np.asarray(good)

    def last_bars(self, opened: Ints, symbol: Ints) -> Ints:
        """Return the last replayed bar inside each signal bar, at whose close a decision of a symbol stands.

        Parameters
        ----------
        opened, symbol
            As in ``is_replayed``.

        Raises
        ------
        DataError
            Of a signal bar no bar is replayed, or the symbol has no prices in it; the first is named.
        """
        bar = self.ends(opened)
        bad = ~self._is_replayed(bar, opened, symbol)
        if bad.any():
            row = int(np.flatnonzero(bad)[np.argmin(opened[bad])])
            signal, step = timeframe_name(self.signal_ms), timeframe_name(self.step_ms)
            raise DataError(
                f"{self.symbols[int(symbol[row])]} trade {step}",
                f"a decision stands on a bar of {signal} in which no bar of {step} is replayed,",
                int(opened[row]),
                "Bring in the finer bars, start later, or leave data.detail out.",
            )
        return bar

    def ends(self, opened: Ints) -> Ints:
        """Return the last replayed bar inside each signal bar, whichever symbols have prices in it; -1: none."""
        place = np.searchsorted(self.open_time, opened + self.signal_ms, side="left") - 1
        inside = (place >= 0) & (self.open_time[np.maximum(place, 0)] >= opened)
        return np.where(inside, place, -1).astype(np.int64)


def clock_of(panel: Panel, signal_ms: int, phase: int) -> SignalClock:
    """Return the clock of a panel whose decisions are made on bars of ``signal_ms`` that open at ``phase``."""
    known = ~np.isnan(panel.trade.close)
    first = known.argmax(axis=1).astype(np.int64)
    last = (known.shape[1] - 1 - known[:, ::-1].argmax(axis=1)).astype(np.int64)
    return SignalClock(panel.traded_symbols, panel.open_time, panel.timeframe_ms, signal_ms, phase, first, last)
