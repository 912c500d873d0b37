"""What was held at each bar close: one series a contract, or a leg of it in hedge mode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from backtester.analytics.value import FloatArray, IntArray, inverse_symbols, to_value
from backtester.engine.result import Result


@dataclass(frozen=True, eq=False)
class HeldAtCloses:
    """A position at the bar closes of its contract; all arrays have one value a bar.

    Attributes
    ----------
    symbol : str
        Contract.
    bars : polars.DataFrame
        Its replayed bars.
    close_time : ndarray of int64
        Close of each bar [ms since 1970, UTC].
    quantity : ndarray of float64
        Signed size; 0 while flat.
    entry_price, liquidation_price : ndarray of float64
        As last recorded; NaN while flat or where no price liquidates.
    margin : ndarray of float64
        Margin as last recorded [settlement currency].
    mark : ndarray of float64
        Mark at the close.
    is_inverse : bool
        Whether sizes count quote units.
    is_isolated : bool
        Whether the position's own margin backs it alone.
    is_leg : bool
        Whether it is one of the two legs of a hedge.
    """

    symbol: str
    bars: pl.DataFrame
    close_time: IntArray
    quantity: FloatArray
    entry_price: FloatArray
    liquidation_price: FloatArray
    margin: FloatArray
    mark: FloatArray
    is_inverse: bool
    is_isolated: bool
    is_leg: bool = False

    @cached_property
    def notional(self) -> FloatArray:
        """Signed notional at the mark [settlement currency]."""
        return self.quantity * np.abs(to_value(self.mark, inverse=self.is_inverse))

    @cached_property
    def leverage(self) -> FloatArray:
        """Notional over the position's own balance; NaN while flat, infinite where nothing is left of it."""
        value = to_value(self.mark, inverse=self.is_inverse)
        entry = to_value(self.entry_price, inverse=self.is_inverse)
        balance = self.margin + self.quantity * (value - entry)
        size = np.abs(self.notional)
        out = np.divide(size, balance, out=np.full(len(size), math.inf), where=balance > 0)
        return np.where(self.quantity == 0, math.nan, out)

    def places(self, closes: IntArray) -> IntArray | slice:
        """Return where the closes of this contract stand among those of the run, for indexing.

        Parameters
        ----------
        closes : ndarray of int64
            Close of each bar of the run [ms since 1970, UTC]: this contract's are among them.
        """
        if len(closes) == len(self.close_time):
            return slice(None)
        return np.searchsorted(closes, self.close_time)


def held_at_closes(result: Result) -> list[HeldAtCloses]:
    """Return what was held at bar closes, in order of first appearance.

    Parameters
    ----------
    result : Result
        A replayed run.

    Returns
    -------
    list of HeldAtCloses
        One for each contract that was ever held, one for each leg of it in hedge mode.
    """
    if result.positions.is_empty() or result.bars.is_empty():
        return []
    hedged = result.config.account.position_mode == "hedge"
    columns = (
        "open_time",
        "symbol",
        "open",
        "high",
        "low",
        "close",
        "mark_open",
        "mark_high",
        "mark_low",
        "mark_close",
    )
    bars = _by_symbol(result.bars.select(columns), result.symbols)
    inverse = inverse_symbols(result.config)
    slots = result.positions.partition_by("symbol", *(["position_side"] if hedged else []), maintain_order=True)
    return [
        _slot(
            slot,
            bars[symbol],
            result.timeframe_ms,
            inverse=symbol in inverse,
            isolated=is_isolated(result, symbol),
            is_leg=hedged,
        )
        for slot in slots
        if (symbol := slot["symbol"][0]) in bars and (slot["position_quantity"] != 0).any()
    ]


def is_isolated(result: Result, symbol: str) -> bool:
    """Return whether a contract's positions are backed by their own margin alone."""
    stated = result.config.instruments.get(symbol)
    return ((stated.margin_mode if stated is not None else None) or result.config.account.margin_mode) == "isolated"


def _by_symbol(bars: pl.DataFrame, symbols: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Return the bars of each contract."""
    if len(symbols) == 1:
        return {symbols[0]: bars}
    return {str(key[0]): own for key, own in bars.partition_by("symbol", as_dict=True, maintain_order=True).items()}


def _slot(
    positions: pl.DataFrame, bars: pl.DataFrame, timeframe_ms: int, *, inverse: bool, isolated: bool, is_leg: bool
) -> HeldAtCloses:
    close = bars["open_time"].cast(pl.Int64).to_numpy() + timeframe_ms
    changed = positions["time"].cast(pl.Int64).to_numpy()
    # What changed at the next open is not yet part of this close.
    row: IntArray = np.searchsorted(changed, close, side="left") - 1
    known = row >= 0
    at = np.maximum(row, 0)

    def column(name: str, missing: float) -> FloatArray:
        values = positions[name].cast(pl.Float64).fill_null(math.nan).to_numpy()[at]
        return np.where(known, values, missing)

    return HeldAtCloses(
        symbol=str(positions["symbol"][0]),
        bars=bars,
        close_time=close,
        quantity=column("position_quantity", 0.0),
        entry_price=column("entry_price", math.nan),
        liquidation_price=column("liquidation_price", math.nan),
        margin=column("margin", 0.0),
        mark=bars["mark_close"].to_numpy(),
        is_inverse=inverse,
        is_isolated=isolated,
        is_leg=is_leg,
    )
