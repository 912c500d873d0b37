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
BALANCE = 10_000.0  # what equity swings about
STAKES = (0.01, 6.0)  # sizes of positions, in BALANCE at the first price: from a crumb to a martingale's last step
BOTH = 0.25  # of positions that have the other leg too
SWING, PULL = 0.12, 0.03  # of equity, a bar: it wanders between a third and three times of what it was
ENDS = 0.3  # of bars by which all orders asked for before are over
_FIGURES = ("value", "quantity", "limit", "trigger", "distance", "fraction")
_COUNTS = ("reduce_only", "post_only", "good_for", "group", "side")
DIGITS = 9  # a sum may round differently on another length of data


def drawn_script(bars: LoopBars, seed: int, *, with_legs: bool = False) -> Script:
    """Return an account that opens, turns and closes positions at random, whatever the function asks for.

    Parameters
    ----------
    bars : LoopBars
        The whole history.
    seed : int
        Seed of the random numbers.
    with_legs : bool
        Whether both legs of a contract may be held at once, as in hedge mode.
    """
    rng = np.random.default_rng(seed)
    close = bars.series["close"].T
    changes = rng.random(close.shape) < CHANGES
    changes[0] = True
    first = np.array([_first_known(column) for column in close.T])
    side = np.where(rng.random(close.shape) < FLAT, 0.0, rng.choice([-1.0, 1.0], close.shape))
    drawn = side * _stakes(rng, close.shape) / first
    other = np.where(
        rng.random(close.shape) < (BOTH if with_legs else 0.0), -side * _stakes(rng, close.shape) / first, 0.0
    )
    since = np.maximum.accumulate(np.where(changes, np.arange(close.shape[0])[:, None], 0), axis=0)
    quantity = np.take_along_axis(drawn, since, axis=0)
    opposite = np.take_along_axis(other, since, axis=0)
    entry = np.take_along_axis(close * (1 + rng.normal(0, 0.01, close.shape)), since, axis=0)
    equity = BALANCE * np.exp(_wandering(rng, close.shape[0]))
    return Script(
        np.ascontiguousarray(np.where(np.isnan(entry), 0.0, quantity)),
        np.ascontiguousarray(entry),
        np.ascontiguousarray(np.where(np.isnan(entry), 0.0, opposite)),
        equity,
        equity * (1 + rng.normal(0, 0.05, close.shape[0])),
        equity * rng.random(close.shape[0]),
        rng.binomial(np.ones(close.shape[0], np.int64), ENDS),
    )


def _stakes(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return sizes of positions at the first price, each order of magnitude as likely [settlement currency]."""
    return BALANCE * np.exp(rng.uniform(np.log(STAKES[0]), np.log(STAKES[1]), shape))


def _wandering(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return a walk that is drawn back to zero."""
    steps, level = rng.normal(0, SWING, count), 0.0
    found = np.empty(count)
    for bar in range(count):
        level += steps[bar] - PULL * level
        found[bar] = level
    return found


def first_bars(script: Script, count: int) -> Script:
    """Return what the account shows at the first bars."""
    return Script(
        script.quantity[:count],
        script.entry_price[:count],
        script.opposite[:count],
        script.equity[:count],
        script.wallet[:count],
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
