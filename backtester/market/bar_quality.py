"""What can be wrong with stored bars, as figures: gaps, repetitions, impossible and still bars, prices far apart."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from backtester.market.acceptance import impossible_bars
from backtester.market.schema import PRICES, TIME

WICK_FACTOR = 2.5
_STILL_MS = 3_600_000
_STILL_BARS = 3
_SAME = 1e-9


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


def gaps(frame: pl.DataFrame, step: int) -> list[Run]:
    """Return the runs of missing bars."""
    time = pl.col("open_time").dt.epoch("ms")
    found = frame.select(time.shift().alias("before"), time.alias("after")).filter(
        pl.col("after") - pl.col("before") > step
    )
    return [Run(before + step, after, (after - before) // step - 1) for before, after in found.iter_rows()]


def repeats(frame: pl.DataFrame) -> list[tuple[int, int]]:
    """Return the times that several rows have, with the number of rows."""
    found = frame.group_by("open_time").len().filter(pl.col("len") > 1).sort("open_time")
    return found.select(pl.col("open_time").dt.epoch("ms"), "len").rows()


def impossible(frame: pl.DataFrame, series: str) -> list[tuple[str, int, int]]:
    """Return each reason for which bars cannot be true, the first such time and the number of bars."""
    found = []
    for reason, test in impossible_bars(series, frame.columns).items():
        bad = frame.filter(test)
        if not bad.is_empty():
            found.append((reason, int(bad["open_time"].dt.epoch("ms")[0]), bad.height))
    return found


def zero_volume_runs(frame: pl.DataFrame, step: int) -> list[Run]:
    """Return the runs of bars in which nothing was traded; none where the volume is unknown."""
    return _runs(frame, pl.col("volume") == 0, step)


def still_runs(frame: pl.DataFrame, step: int) -> list[Run]:
    """Return the runs of bars that do not move at all, an hour and three bars long at least."""
    still = (pl.col("high") == pl.col("low")) & (pl.col("close") == pl.col("close").shift())
    return [r for r in _runs(frame, still, step) if r.count >= _STILL_BARS and r.count * step >= _STILL_MS]


def unequal_sums(coarse: pl.DataFrame, step: int, fine: pl.DataFrame, fine_step: int) -> list[int]:
    """Return the coarse bars whose prices differ from those of the fine bars that fill them [ms]."""
    groups = fine.group_by(pl.col("open_time").dt.epoch("ms") // step * step, maintain_order=True).agg(
        pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(), pl.len()
    )
    whole = groups.filter(pl.col("len") == step // fine_step).with_columns(pl.col("open_time").cast(TIME))
    both = coarse.join(whole, on="open_time", suffix="_fine", maintain_order="left")
    differs = pl.any_horizontal((pl.col(p) - pl.col(f"{p}_fine")).abs() > _SAME * pl.col(p) for p in PRICES)
    return both.filter(differs)["open_time"].dt.epoch("ms").to_list()


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
    passed = frame.select(time.alias("time"), deviation.alias("size"), test.fill_null(value=False).alias("passed"))
    passed = passed.filter("passed").with_columns(run=(pl.col("time").diff().fill_null(0) > step).cum_sum())
    grouped = passed.group_by("run", maintain_order=True).agg(
        pl.col("time").first().alias("start"),
        pl.col("time").last().alias("last"),
        pl.len().alias("count"),
        pl.col("size").max().alias("worst"),
        pl.col("time").get(pl.col("size").arg_max()).alias("at"),
    )
    return [Run(r["start"], r["last"] + step, r["count"], r["worst"], r["at"]) for r in grouped.iter_rows(named=True)]
