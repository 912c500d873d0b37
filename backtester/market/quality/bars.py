"""What can be wrong with stored bars, as figures: gaps, repetitions, impossible and still bars, prices far apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from backtester.market.acceptance import impossible_bars
from backtester.market.schema import PRICES, TIME
from backtester.market.series import anchor

WICK_FACTOR = 1.5
_STILL_MS = 3_600_000
_STILL_BARS = 3
_SAME = 1e-9
"""Relative difference of equal figures. On the real data, sums of twelve volumes differ from the hour's by at most
6e-16 or by more than 2 %, and prices not at all or by more than 0.001 %."""


@dataclass(frozen=True)
class Run:
    """Consecutive bars.

    Attributes
    ----------
    start, end : int
        Open of the first and end of the last [ms].
    count : int
        Number of bars.
    size : float
        Largest deviation in it, 0 where none is measured.
    at : int
        Open of the bar with that deviation [ms].
    """

    start: int
    end: int
    count: int
    size: float = 0.0
    at: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """Start and end [ms]."""
        return self.start, self.end


@dataclass(frozen=True)
class Divergence:
    """Traded against mark prices.

    Attributes
    ----------
    compared : int
        Bars that both series have.
    median : float
        Median distance of the closes [fraction of the mark].
    closes, wicks : tuple of Run
        Where closes, and where only highs or lows, are too far apart.
    """

    compared: int
    median: float
    closes: tuple[Run, ...]
    wicks: tuple[Run, ...]


@dataclass(frozen=True, eq=False)
class Sums:
    """Coarse bars against the fine bars that fill them.

    Attributes
    ----------
    prices, volumes : DataFrame
        ``open_time`` of the coarse bars that differ, ``size``, the largest relative difference, and ``lacks``, whether
        the fine volumes add up to less.
    """

    prices: pl.DataFrame
    volumes: pl.DataFrame


def gaps(frame: pl.DataFrame, step: int) -> list[Run]:
    """Return the runs of missing bars."""
    time = pl.col("open_time").dt.epoch("ms")
    found = frame.select(time.shift().alias("before"), time.alias("after")).filter(
        pl.col("after") - pl.col("before") > step
    )
    return [Run(before + step, after, (after - before) // step - 1) for before, after in found.iter_rows()]


def repeats(frame: pl.DataFrame) -> list[tuple[int, int]]:
    """Return the times that several rows have, with the number of rows."""
    if not (frame["open_time"].diff().dt.total_milliseconds() == 0).any():  # rows are sorted
        return []
    found = frame.group_by("open_time").len().filter(pl.col("len") > 1).sort("open_time")
    return found.select(pl.col("open_time").dt.epoch("ms"), "len").rows()


def impossible(frame: pl.DataFrame, series: str) -> list[tuple[str, int, int]]:
    """Return each reason for which bars cannot be true, the first such time and the number of bars."""
    tests = impossible_bars(series, frame.columns)
    counts = frame.select(test.sum().alias(reason) for reason, test in tests.items()).row(0, named=True)
    time = pl.col("open_time").dt.epoch("ms")
    return [
        (reason, int(frame.filter(tests[reason]).select(time.first()).item()), count)
        for reason, count in counts.items()
        if count
    ]


def zero_volume_runs(frame: pl.DataFrame, step: int) -> list[Run]:
    """Return the runs of bars in which nothing was traded; none where the volume is unknown."""
    return _runs(frame, pl.col("volume") == 0, step)


def unknown_volume_runs(frame: pl.DataFrame, step: int) -> list[Run]:
    """Return the runs of bars whose volume is unknown."""
    return _runs(frame, pl.col("volume").is_null(), step)


def with_movement(runs: list[Run], prices: pl.DataFrame) -> list[Run]:
    """Return the runs with the range of other bars of the same grid in them as their size [fraction].

    Parameters
    ----------
    runs : list of Run
        In order of time, without overlap.
    prices : DataFrame
        Bars; a run of which none is there has NaN for its size.
    """
    if not runs:
        return []
    spans = pl.DataFrame({"run": range(len(runs)), "start": [r.start for r in runs], "end": [r.end for r in runs]})
    inside = (
        prices.select(pl.col("open_time").dt.epoch("ms").alias("time"), "high", "low")
        .join_asof(spans.sort("start"), left_on="time", right_on="start", strategy="backward", check_sortedness=False)
        .filter(pl.col("time") < pl.col("end"))
        .group_by("run")
        .agg((pl.col("high").max() / pl.col("low").min() - 1).alias("size"))
    )
    sizes = dict(inside.iter_rows())
    return [Run(r.start, r.end, r.count, sizes.get(k, math.nan), r.start) for k, r in enumerate(runs)]


def still_runs(frame: pl.DataFrame, step: int) -> list[Run]:
    """Return the runs of bars that do not move at all, an hour and three bars long at least."""
    still = (pl.col("high") == pl.col("low")) & (pl.col("close") == pl.col("close").shift())
    return [r for r in _runs(frame, still, step) if r.count >= _STILL_BARS and r.count * step >= _STILL_MS]


def unequal_sums(coarse: pl.DataFrame, step: int, fine: pl.DataFrame, fine_step: int) -> Sums:
    """Compare coarse bars with the fine ones that fill them; those that are not filled wholly are left out."""
    time = pl.col("open_time").dt.epoch("ms")
    values = [pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(), pl.len()]
    has_volume = "volume" in coarse.columns
    if has_volume:
        known = pl.col("volume").null_count() == 0
        values.append(pl.when(known).then(pl.col("volume").sum()).alias("volume"))
    bucket = (time - anchor(step)).floordiv(step) * step + anchor(step)
    groups = fine.group_by(bucket.alias("open_time"), maintain_order=True).agg(values)
    whole = groups.filter(pl.col("len") == step // fine_step).with_columns(pl.col("open_time").cast(TIME))
    both = coarse.join(whole, on="open_time", suffix="_fine", maintain_order="left")

    def difference(column: str) -> pl.Expr:
        mine, other = pl.col(column), pl.col(f"{column}_fine")
        larger = pl.max_horizontal(mine.abs(), other.abs())
        return pl.when(larger > 0).then((mine - other).abs() / larger).otherwise(0.0)

    def differing(size: pl.Expr, lacks: pl.Expr) -> pl.DataFrame:
        judged = both.select("open_time", size.alias("size"), lacks.alias("lacks"))
        return judged.filter(pl.col("size") > _SAME)

    prices = differing(pl.max_horizontal(difference(p) for p in PRICES), pl.lit(value=False))
    if not has_volume:
        return Sums(prices, prices.clear())
    return Sums(prices, differing(difference("volume"), pl.col("volume_fine") < pl.col("volume")))


def divergence(trades: pl.DataFrame, marks: pl.DataFrame, step: int, limit: float) -> Divergence:
    """Compare traded and mark bars of one grid.

    Parameters
    ----------
    trades, marks : polars.DataFrame
        Stored bars.
    step : int
        Length of a bar [ms].
    limit : float
        Distance of closes that counts [fraction of the mark]; of highs and lows `WICK_FACTOR` times that.
    """
    both = trades.join(marks, on="open_time", suffix="_mark", maintain_order="left")
    distance = {p: (pl.col(p) / pl.col(f"{p}_mark") - 1).abs() for p in ("high", "low", "close")}
    both = both.select(
        "open_time",
        distance["close"].alias("close"),
        pl.max_horizontal(distance["high"], distance["low"]).alias("wick"),
    )
    if both.is_empty():
        return Divergence(0, 0.0, (), ())
    far_close = pl.col("close") > limit
    return Divergence(
        both.height,
        float(both.select(pl.col("close").median()).item()),
        tuple(_runs(both, far_close, step, "close")),
        tuple(_runs(both, (pl.col("wick") > limit * WICK_FACTOR) & ~far_close, step, "wick")),
    )


def _runs(frame: pl.DataFrame, test: pl.Expr, step: int, size: str | None = None) -> list[Run]:
    """Return the runs of rows, consecutive in time, that pass a test."""
    time = pl.col("open_time").dt.epoch("ms")
    deviation = pl.col(size) if size is not None else pl.lit(0.0)
    passed = frame.lazy().with_columns(passed=test.fill_null(value=False)).filter("passed")
    passed = passed.select(time.alias("time"), deviation.alias("size"))
    passed = passed.with_columns(run=(pl.col("time").diff().fill_null(0) > step).cum_sum())
    grouped = passed.group_by("run", maintain_order=True).agg(
        pl.col("time").first().alias("start"),
        pl.col("time").last().alias("last"),
        pl.len().alias("count"),
        pl.col("size").max().alias("worst"),
        pl.col("time").get(pl.col("size").arg_max()).alias("at"),
    )
    rows = grouped.collect().iter_rows(named=True)
    return [Run(r["start"], r["last"] + step, r["count"], r["worst"], r["at"]) for r in rows]
