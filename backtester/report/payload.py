"""What a page holds beside its figures: every bar, the account at every close, every trade; its script zooms into them.

The figures show an overview; on zooming in, the page decodes these columns and draws what they hold. A page holds at
most `MOST_ROWS` bars of all contracts together: of more, neighbours are merged, and the page says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup
from numpy.typing import NDArray

from backtester.engine.result import Result
from backtester.report import numbers
from backtester.report.account_columns import account_columns
from backtester.report.downsample import merged
from backtester.report.packing import (
    Column,
    FloatArray,
    IntArray,
    grid_of,
    pack_beside,
    pack_values,
    pack_whole,
    to_numbers,
)
from backtester.report.trade_columns import trade_columns

MOST_ROWS = 1_250_000
MOST_HOLES = 2_000
"""Runs of missing values that a series may have and still be held."""
MARK_RESOLUTION = 1e-7
"""Marks and indices with finer decimals than a tenth of a millionth of the price are rounded to that."""

_PRICES = ("open", "high", "low", "close")


@dataclass
class Payload:
    """The columns of a page.

    Attributes
    ----------
    head : dict
        What the script must know: the columns, the clocks, the contracts.
    streams : dict of str to str
        Each column's stream as base64.
    """

    head: dict[str, Any] = field(
        default_factory=lambda: {"columns": {}, "plots": {}, "account": None, "money_digits": 2}
    )
    streams: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, column: Column) -> None:
        """Add a column."""
        self.head["columns"][name] = column.head()
        self.streams[name] = Markup(column.text)  # noqa: S704  base64 holds nothing that HTML could read


def run_payload(result: Result) -> Payload:
    """Return what the page of a run holds.

    Parameters
    ----------
    result : Result
        An analysed run.
    """
    payload = Payload()
    digits = payload.head["money_digits"] = numbers.money_digits(result.config.account.balance)
    size = bars_merged(result)
    bars = dict(_by_symbol(result.bars))
    trades, orders = dict(_by_symbol(result.trades)), dict(_by_symbol(result.orders))
    liquidations = dict(_by_symbol(result.liquidations))
    for number, symbol in enumerate(result.symbols):
        own = bars.get(symbol)
        if own is None:
            continue
        plot = f"price-{number}"
        _add_bars(payload, plot, merged(own, size), result.timeframe_ms * size)
        events = (trades.get(symbol), orders.get(symbol), liquidations.get(symbol))
        kinds = payload.head["plots"][plot]["events"] = {}
        for kind, found in trade_columns(*events, digits=digits).items():
            kinds[kind] = {"words": found.words}
            for name, column in found.columns.items():
                payload.add(f"{plot}/{kind}/{name}", column)
    if result.equity.height:
        _add_account(payload, result, size)
    return payload


def bars_merged(result: Result) -> int:
    """Return how many bars stand in each bar that the page holds: 1, or more where there are too many."""
    return max(1, -(-result.bars.height // MOST_ROWS))


def _by_symbol(frame: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield the rows of each symbol, in order."""
    if not frame.width or not frame.height:
        return
    if frame["symbol"].n_unique() == 1:
        yield str(frame["symbol"][0]), frame
    else:
        yield from ((str(key[0]), part) for key, part in frame.partition_by("symbol", as_dict=True).items())


def _add_bars(payload: Payload, plot: str, bars: pl.DataFrame, step: int) -> None:
    """Add a contract's bars: traded prices on one grid, each as its distance to one before."""
    times = bars["open_time"].cast(pl.Int64).to_numpy()
    payload.head["plots"][plot] = {"clock": _add_clock(payload, plot, times, step), "merged": step}
    prices = {name: bars[name].to_numpy() for name in _PRICES}
    grid = grid_of(np.concatenate(list(prices.values())))
    o, h, low, c = (to_numbers(prices[name], grid) for name in _PRICES)
    payload.add(f"{plot}/close", pack_whole(c, grid))
    payload.add(f"{plot}/open", pack_whole(o - np.concatenate((c[:1], c[:-1])), grid, summed=False))
    payload.add(f"{plot}/high", pack_whole(h - np.maximum(o, c), grid, summed=False))
    payload.add(f"{plot}/low", pack_whole(np.minimum(o, c) - low, grid, summed=False))
    if not grid.exact:
        payload.head["plots"][plot]["rounded"] = f"{1 / grid.scale:g}"
    for name in ("mark", "index"):
        if f"{name}_close" in bars.columns:
            _add_beside(payload, f"{plot}/{name}", bars[f"{name}_close"], f"{plot}/close", prices["close"])


def _add_beside(payload: Payload, name: str, values: pl.Series, base: str, base_values: FloatArray) -> None:
    """Add a series that keeps near the traded price; what is missing in it is told as runs of rows."""
    known = values.cast(pl.Float64).fill_nan(None)
    if known.null_count() == len(known):
        return
    holes = _runs(known.is_null().to_numpy())
    if len(holes) > MOST_HOLES:
        return
    full = known.fill_null(strategy="forward").fill_null(strategy="backward").to_numpy()
    payload.add(name, pack_beside(full, base_values, base, resolution=MARK_RESOLUTION))
    if holes:
        payload.head["columns"][name]["holes"] = holes


def _runs(missing: NDArray[np.bool_]) -> list[list[int]]:
    """Return first row and length of each run of missing values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], missing, [False]))))
    return [[int(start), int(end - start)] for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _add_clock(payload: Payload, name: str, times: IntArray, step: int) -> dict[str, Any]:
    """Return a clock: start and step; where bars are missing, columns say before which rows and for how long."""
    jumps = np.diff(times, prepend=times[0] - step) - step
    rows = np.flatnonzero(jumps)
    if len(rows):
        payload.add(f"{name}/gap_row", pack_whole(rows.astype(np.int64)))
        payload.add(f"{name}/gap_ms", pack_values(jumps[rows].astype(np.float64), summed=False))
    return {"start": int(times[0]), "end": int(times[-1]), "step": step, "n": len(times), "gaps": len(rows)}


def _add_account(payload: Payload, result: Result, size: int) -> None:
    """Add the account at every bar close."""
    clock = result.equity["close_time"].cast(pl.Int64).to_numpy()
    kept = np.arange(size - 1, len(clock), size)
    if not len(kept) or kept[-1] != len(clock) - 1:
        kept = np.append(kept, len(clock) - 1)
    account: dict[str, Any] = {
        "clock": _add_clock(payload, "account", clock[kept], result.timeframe_ms * size),
        "initial": result.config.account.balance,
        "series": [],
    }
    for name, column in account_columns(result, kept).items():
        payload.add(f"account/{name}", column)
        account["series"].append(name)
    payload.head["account"] = account
