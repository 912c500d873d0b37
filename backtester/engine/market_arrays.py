"""The panel's series as the kernel reads them: in value space, marks on the trades' clock."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtester.kernel import state
from backtester.market.panel import Bars, Panel

Columns = list[NDArray[np.float64]]  # open, high, low, close


def market_arrays(panel: Panel, signs: NDArray[np.float64], *, with_index: bool) -> state.Market:
    """Return the panel's series in value space; marks coarser than the trades are refined.

    Parameters
    ----------
    panel : Panel
        Series on one clock.
    signs : array, shape (N,)
        +1 for prices that are values, -1 for inverse contracts.
    with_index : bool
        Whether an order may watch the index.
    """
    symbols = len(signs)
    trade = _in_value_space(_columns(panel.trade), signs)
    mark = _in_value_space(_columns(panel.mark), signs)
    path = mark
    coarse = [np.empty((symbols, 0)) for _ in range(4)]
    coarse_bar = coarse_ends = np.empty(0, np.int64)
    coarse_up = np.empty((symbols, 0), np.int64)
    if panel.mark_timeframe_ms != panel.timeframe_ms:
        coarse = mark
        coarse_bar, coarse_ends, coarse_up = _coarse_places(panel)
        fine, clamped = _refined(panel, coarse_bar)
        mark = _in_value_space(fine, signs)
        path = _in_value_space(clamped, signs)
    index = [np.empty((symbols, 0)) for _ in range(4)]
    if with_index and panel.index is not None:
        index = _in_value_space(_columns(panel.index), signs)
    return state.Market(
        open_time=np.append(panel.open_time, panel.end).astype(np.int64),
        trade_open=trade[0],
        trade_high=trade[1],
        trade_low=trade[2],
        trade_close=trade[3],
        volume=np.empty((symbols, 0)) if panel.volume is None else _plain(panel.volume),
        mark_open=mark[0],
        mark_close=mark[3],
        path_open=path[0],
        path_high=path[1],
        path_low=path[2],
        path_close=path[3],
        coarse_bar=coarse_bar,
        coarse_ends=coarse_ends,
        coarse_open=coarse[0],
        coarse_high=coarse[1],
        coarse_low=coarse[2],
        coarse_close=coarse[3],
        coarse_up=coarse_up,
        index_open=index[0],
        index_high=index[1],
        index_low=index[2],
        index_close=index[3],
    )


def _values(prices: NDArray[np.float64], signs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return prices in value space; linear ones are passed on, not copied."""
    if (signs > 0).all():
        return _plain(prices)
    out = np.array(prices, np.float64, order="C")
    for i in np.flatnonzero(signs < 0):
        out[i] = -1.0 / out[i]
    return out


def _plain(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an array of the one type that the kernel is compiled for: float64, C order, writeable."""
    return np.require(values, np.float64, ["C", "W", "A"])


def _coarse_places(panel: Panel) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return in which mark bar each bar lies, which bars complete one, and which way the trades of each went."""
    ends = np.append(panel.open_time[1:], panel.end)
    place = np.searchsorted(panel.mark_open_time, panel.open_time, side="right") - 1
    completes = ends == panel.mark_open_time[place] + panel.mark_timeframe_ms
    first, last = _first_and_last(panel)
    up = panel.trade.close[:, last] >= panel.trade.open[:, first]
    return place.astype(np.int64), completes.astype(np.int64), np.ascontiguousarray(up, np.int64)


def _first_and_last(panel: Panel) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the last bar of each mark bar."""
    bars = panel.open_time.size
    first = np.searchsorted(panel.open_time, panel.mark_open_time, side="left")
    last = np.maximum(np.append(first[1:], bars) - 1, 0)
    return np.minimum(first, bars - 1), last


def _refined(panel: Panel, place: NDArray[np.int64]) -> tuple[Columns, Columns]:
    """Return marks on the trades' clock (trades times mark over trade at the mark bar's open), free and clamped."""
    first, _ = _first_and_last(panel)
    ratio = (panel.mark.open / panel.trade.open[:, first])[:, place]
    low, high = panel.mark.low[:, place], panel.mark.high[:, place]
    fine = [series * ratio for series in _columns(panel.trade)]
    return fine, [np.clip(series, low, high) for series in fine]


def _columns(bars: Bars) -> Columns:
    return [bars.open, bars.high, bars.low, bars.close]


def _in_value_space(columns: Columns, signs: NDArray[np.float64]) -> Columns:
    return [_values(series, signs) for series in columns]
