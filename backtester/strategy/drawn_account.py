"""Accounts drawn at random, on which an ``on_bar`` function is tried, and its requests as a column beside the bars."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.strategy.columns import KEYS
from backtester.strategy.dry_run import LoopBars, Script, request_frame

REQUESTS = "requests"
CHANGES = 0.15  # of bars at which a position is another
FLAT = 0.4  # of positions
STAKE = 1_000.0  # size of a usual position, in units of the first price
ENDS = 0.3  # of bars by which all orders asked for before are over
_FIGURES = ("value", "quantity", "limit", "trigger", "distance", "fraction")
_COUNTS = ("reduce_only", "post_only", "good_for", "group", "side")
DIGITS = 9  # a sum may round differently on another length of data


def drawn_script(bars: LoopBars, seed: int) -> Script:
    """Return an account that opens, turns and closes positions at random, whatever the function asks for.

    Parameters
    ----------
    bars : LoopBars
        The whole history.
    seed : int
        Seed of the random numbers.
    """
    rng = np.random.default_rng(seed)
    close = bars.series["close"].T
    changes = rng.random(close.shape) < CHANGES
    changes[0] = True
    first = np.array([_first_known(column) for column in close.T])
    drawn = np.where(rng.random(close.shape) < FLAT, 0.0, rng.normal(0, STAKE / first, close.shape))
    since = np.maximum.accumulate(np.where(changes, np.arange(close.shape[0])[:, None], 0), axis=0)
    quantity = np.take_along_axis(drawn, since, axis=0)
    entry = np.take_along_axis(close * (1 + rng.normal(0, 0.01, close.shape)), since, axis=0)
    equity = 10_000 * np.exp(np.cumsum(rng.normal(0, 0.01, close.shape[0])))
    return Script(
        np.ascontiguousarray(np.where(np.isnan(entry), 0.0, quantity)),
        np.ascontiguousarray(entry),
        equity,
        equity * rng.random(close.shape[0]),
        rng.binomial(np.ones(close.shape[0], np.int64), ENDS),
    )


def first_bars(script: Script, count: int) -> Script:
    """Return what the account shows at the first bars."""
    return Script(
        script.quantity[:count],
        script.entry_price[:count],
        script.equity[:count],
        script.available[:count],
        script.is_over[:count],
    )


def request_column(requests: NDArray[np.void], loop_bars: LoopBars, bars: pl.DataFrame) -> pl.Series:
    """Return, beside each bar, what was asked for its symbol at its close, as text; null where nothing was.

    What is asked for every symbol, or about an earlier order, stands beside each of the bars of that time.
    """
    frame = request_frame(requests, loop_bars).select(*KEYS, text=_text())
    own = frame.drop_nulls("symbol").group_by(KEYS, maintain_order=True).agg(pl.col("text").str.join("; "))
    common = frame.filter(pl.col("symbol").is_null()).group_by("open_time").agg(all=pl.col("text").str.join("; "))
    beside = bars.select(KEYS).with_columns(pl.col("open_time").cast(pl.Datetime("ms", "UTC")))
    beside = beside.join(own, on=KEYS, how="left", maintain_order="left")
    beside = beside.join(common, on="open_time", how="left", maintain_order="left")
    text = pl.concat_str("text", "all", separator="; ", ignore_nulls=True)
    return beside.select(pl.when(text != "").then(text).alias(REQUESTS)).to_series()


def _text() -> pl.Expr:
    """Return a request in words: what it asks, then each figure that it has."""
    figures = [(name, pl.col(name).round_sig_figs(DIGITS)) for name in _FIGURES]
    figures += [(name, pl.col(name)) for name in _COUNTS]
    parts = [pl.col("ask"), pl.col("kind"), pl.col("setting")]
    parts += [pl.when(figure != 0).then(pl.format(f"{name} {{}}", figure)) for name, figure in figures]
    ago = pl.col("number") - pl.col("request")  # numbers count from the start of the history, distances do not
    parts.append(pl.when(ago.is_not_null()).then(pl.format("of {} requests ago", ago)))
    return pl.concat_str(parts, separator=" ", ignore_nulls=True)


def _first_known(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known[0]) if known.size else 1.0
