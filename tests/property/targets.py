"""Drawn targets: expressions of the kinds that are calculated compiled, over columns with gaps."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import polars as pl
from hypothesis import strategies as st

from backtester.strategy import Indicator, Strategy

COLUMNS = ("open", "high", "low", "close")
NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 0.1, 1 / 3, 7.0, 1e-300, 1e200, 60000.0)
WHOLE = (0, 1, -1, 2, 3, -7, 100, 60000)
SIZES = (pl.Int8, pl.Int32, pl.Int64)


def bars_of(seed: int, count: int) -> pl.DataFrame:
    """Return bars of one symbol with nulls, ties and long runs of equal values."""
    dice = np.random.default_rng(seed)
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    times = pl.datetime_range(
        start, start + dt.timedelta(hours=count - 1), "1h", time_unit="ms", time_zone="UTC", eager=True
    )
    columns = {"open_time": times, "symbol": pl.Series(["A/USDT:USDT"] * count)}
    for name in COLUMNS:
        runs = dice.integers(0, max(1, count // int(dice.integers(1, 20))), count)
        values = dice.choice([*NUMBERS[:11], *dice.normal(size=8)], runs.size)[np.sort(runs)]
        column = pl.Series(name, values.tolist(), pl.Float64)
        gaps = dice.random(count) < dice.choice([0.0, 0.1, 0.9])
        columns[name] = column.set(pl.Series(gaps), None)
    columns["volume"] = pl.Series("volume", np.abs(dice.normal(size=count)))
    return pl.DataFrame(columns)


@st.composite
def numbers(draw: st.DrawFn, depth: int, names: tuple[str, ...] = COLUMNS) -> pl.Expr:
    """Return an expression that gives numbers."""
    kind = draw(st.integers(0, 17 if depth > 0 else 2))
    if kind == 0:
        return pl.lit(draw(st.sampled_from(NUMBERS)))
    if kind <= 2:
        return pl.col(draw(st.sampled_from(names)))
    a = draw(numbers(depth - 1, names))
    if kind <= 6:
        b = draw(numbers(depth - 1, names))
        return (a + b, a - b, a * b, a / b)[kind - 3]
    if kind <= 9:
        return (-a, a.abs(), a.sign())[kind - 7]
    if kind == 10:
        return a.fill_null(draw(numbers(depth - 1, names)))
    if kind == 11:
        low, high = (draw(st.sampled_from([None, *NUMBERS, *WHOLE])) for _ in range(2))
        return a if low is high is None else a.clip(low, high)
    if kind == 12:
        function = draw(st.sampled_from([pl.min_horizontal, pl.max_horizontal, pl.coalesce]))
        return function(a, *(draw(numbers(depth - 1, names)) for _ in range(draw(st.integers(1, 2)))))
    if kind == 13:
        return draw(truths(depth - 1, names)).cast(pl.Float64)
    if kind == 14:
        return draw(wholes(depth - 1, names)) * a
    return draw(choices(depth, a, names))


@st.composite
def choices(draw: st.DrawFn, depth: int, a: pl.Expr, names: tuple[str, ...]) -> pl.Expr:
    """Return a chain of when and then."""
    chain = pl.when(draw(truths(depth - 1, names))).then(a)
    for _ in range(draw(st.integers(0, 2))):
        branch = draw(st.one_of(numbers(depth - 1, names), st.just(pl.lit(None)), wholes(0, names)))
        chain = chain.when(draw(truths(depth - 1, names))).then(branch)
    return chain if draw(st.booleans()) else chain.otherwise(draw(numbers(depth - 1, names)))


@st.composite
def wholes(draw: st.DrawFn, depth: int, names: tuple[str, ...] = COLUMNS) -> pl.Expr:
    """Return an expression that polars calculates in whole numbers."""
    kind = draw(st.integers(0, 6 if depth > 0 else 1))
    if kind == 0:
        return pl.lit(draw(st.sampled_from(WHOLE)))
    if kind == 1:
        return pl.lit(draw(st.sampled_from(WHOLE[:6])), dtype=draw(st.sampled_from([None, pl.Int64, pl.Int32])))
    if kind == 2:
        return draw(truths(depth - 1, names)).cast(draw(st.sampled_from(SIZES)))
    a = draw(wholes(depth - 1, names))
    if kind == 3:
        return draw(st.sampled_from([-a, a.abs(), a.sign()]))
    b = draw(wholes(depth - 1, names))
    if kind == 4:
        return draw(st.sampled_from([a + b, a - b, a * b]))
    return pl.when(draw(truths(depth - 1, names))).then(a).otherwise(b)


@st.composite
def truths(draw: st.DrawFn, depth: int, names: tuple[str, ...] = COLUMNS) -> pl.Expr:
    """Return an expression that gives true or false."""
    kind = draw(st.integers(0, 13 if depth > 0 else 4))
    if kind <= 5:
        a, b = draw(numbers(depth - 1, names)), draw(st.one_of(numbers(depth - 1, names), wholes(depth - 1, names)))
        return draw(st.sampled_from([a > b, a >= b, a < b, a <= b, a == b, a != b]))
    if kind <= 7:
        a, b = draw(truths(depth - 1, names)), draw(truths(depth - 1, names))
        return draw(st.sampled_from([a & b, a | b, a ^ b, ~a, a == b, a != b, a.fill_null(b)]))
    if kind == 8:
        a = draw(numbers(depth - 1, names))
        return draw(st.sampled_from([a.is_null(), a.is_not_null(), a.is_nan(), a.is_not_nan(), a.is_finite()]))
    if kind == 9:
        a = draw(truths(depth - 1, names))
        return draw(st.sampled_from([a.is_null(), a.is_not_null(), a.fill_null(value=False), pl.lit(value=True)]))
    if kind == 10:
        low, high = draw(numbers(0, names)), draw(numbers(0, names))
        closed = draw(st.sampled_from(["both", "left", "right", "none"]))
        return draw(numbers(depth - 1, names)).is_between(low, high, closed)
    if kind == 11:
        function = draw(st.sampled_from([pl.all_horizontal, pl.any_horizontal]))
        return function(*(draw(truths(depth - 1, names)) for _ in range(draw(st.integers(1, 3)))))
    if kind == 12:
        return draw(numbers(depth - 1, names)).cast(pl.Boolean)
    a, b = draw(truths(depth - 1, names)), draw(truths(depth - 1, names))
    return pl.when(draw(truths(depth - 1, names))).then(a).otherwise(b)


def strategy_of(target: pl.Expr, indicators: dict[str, Indicator | pl.Expr] | None = None) -> Strategy:
    """Return a strategy that decides by an expression."""
    declared = indicators or {}

    class Drawn(Strategy):
        def indicators(self) -> dict[str, Indicator | pl.Expr]:
            return declared

        def target(self) -> pl.Expr:
            return target

    return Drawn()


def is_finite(number: float | None) -> bool:
    """Return whether a target can be traded or is none."""
    return number is None or math.isfinite(number)
