"""What each contract of a portfolio contributed, day by day, and how these contributions move together."""

from __future__ import annotations

import numpy as np
import polars as pl

from backtester.analytics.clock import DAY_MS, by_symbol, milliseconds
from backtester.analytics.value import FloatArray, IntArray, inverse_symbols, to_value
from backtester.engine.result import Result

REST = "all others"


def daily_contributions(result: Result) -> tuple[tuple[str, ...], FloatArray]:
    """Return the change of equity that each contract brought on each day.

    Returns
    -------
    symbols : tuple of str
        The run's contracts.
    contributions : ndarray of float64, shape (symbols, days)
        Ledger entries of the contract but transfers, and the change of its unrealised profit at the day's last mark
        close [settlement currency]. Days (UTC) from the first close to the last, without holes; the entries of the
        whole account are in none.
    """
    if result.equity.is_empty():
        return result.symbols, np.zeros((len(result.symbols), 0))
    first = (int(milliseconds(result.equity["close_time"])[0]) - 1) // DAY_MS
    count = (result.end - 1) // DAY_MS - first + 1
    ends = (first + 1 + np.arange(count, dtype=np.int64)) * DAY_MS
    inverse = inverse_symbols(result.config)
    number = {symbol: i for i, symbol in enumerate(result.symbols)}
    out = np.zeros((len(result.symbols), count))
    booked = result.ledger.filter((pl.col("kind") != "transfer") & pl.col("symbol").is_in(list(number)))
    if booked.height:
        row = booked["symbol"].replace_strict(number, return_dtype=pl.Int64).to_numpy()
        day = np.clip(np.searchsorted(ends, milliseconds(booked["time"]), side="right"), 0, count - 1)
        np.add.at(out, (row, day), booked["amount"].to_numpy())
    held = ["symbol", "position_side"] if result.config.account.position_mode == "hedge" else ["symbol"]
    bars = by_symbol(result.bars, ("open_time", "mark_close"))
    for key, own in result.positions.partition_by(held, as_dict=True, maintain_order=True).items():
        symbol = str(key[0])
        if symbol in bars and symbol in number:
            open_profit = _unrealized(own, bars[symbol], ends, result.timeframe_ms, inverse=symbol in inverse)
            out[number[symbol]] += np.diff(open_profit, prepend=0.0)
    return result.symbols, out


def correlation(contributions: FloatArray) -> FloatArray:
    """Return the correlation of each pair of rows over the days on which either moved; NaN where a row never moved."""
    moved = contributions[:, np.any(contributions != 0, axis=0)]
    n = len(contributions)
    if moved.shape[1] < 3:
        return np.full((n, n), np.nan)
    centred = moved - moved.mean(axis=1, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=1))
    scale = np.outer(size, size)
    out: FloatArray = np.divide(centred @ centred.T, scale, out=np.full((n, n), np.nan), where=scale > 0)
    out.clip(-1.0, 1.0, out=out)
    return out


def _unrealized(
    positions: pl.DataFrame, bars: pl.DataFrame, ends: IntArray, timeframe_ms: int, *, inverse: bool
) -> FloatArray:
    """Return the unrealised profit of one position at the last mark close of each day."""
    close = milliseconds(bars["open_time"]) + timeframe_ms
    at = np.searchsorted(close, ends, side="right") - 1
    row = np.searchsorted(milliseconds(positions["time"]), close[np.maximum(at, 0)], side="left") - 1
    known = (at >= 0) & (row >= 0)
    row, at = np.maximum(row, 0), np.maximum(at, 0)
    quantity = positions["position_quantity"].cast(pl.Float64).to_numpy()[row]
    entry = positions["entry_price"].cast(pl.Float64).fill_null(np.nan).to_numpy()[row]
    mark = bars["mark_close"].cast(pl.Float64).fill_null(strategy="forward").to_numpy()[at]
    held = known & (quantity != 0) & np.isfinite(entry)
    safe = np.where(held, entry, 1.0)
    profit = quantity * (to_value(mark, inverse=inverse) - to_value(safe, inverse=inverse))
    return np.where(held, profit, 0.0)
