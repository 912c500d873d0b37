"""Random series for runs."""

from __future__ import annotations

import math
import random

from tests.reference.case import Ohlc


def path_of(dice: random.Random, bars: int, start: float, volatility: float) -> Ohlc:
    """Return a random walk of bars with gaps now and then."""
    rows, price = [], start
    for _ in range(bars):
        gap = dice.gauss(0.0, volatility) if dice.random() < 0.15 else dice.gauss(0.0, 0.05 * volatility)
        first = price * math.exp(gap)
        last = first * math.exp(dice.gauss(0.0, volatility))
        high = max(first, last) * math.exp(abs(dice.gauss(0.0, 0.6 * volatility)))
        low = min(first, last) * math.exp(-abs(dice.gauss(0.0, 0.6 * volatility)))
        rows.append((first, high, low, last))
        price = last
    return bars_from(rows)


def bars_from(rows: list[tuple[float, float, float, float]]) -> Ohlc:
    """Turn rows of open, high, low, close into a series; high and low are widened to hold the others."""
    held = [(o, max(o, h, c), min(o, low, c), c) for o, h, low, c in rows]
    columns = zip(*held, strict=True)
    return Ohlc(*(tuple(column) for column in columns))


def near(dice: random.Random, bars: Ohlc, noise: float) -> Ohlc:
    """Return a series that follows another one at some distance, like a mark or an index."""
    rows = []
    for o, h, low, c in zip(bars.open, bars.high, bars.low, bars.close, strict=True):
        moved = [p * math.exp(dice.gauss(0.0, noise)) for p in (o, h, low, c)]
        rows.append((moved[0], moved[1], moved[2], moved[3]))
    return bars_from(rows)


def scaled(bars: Ohlc, factor: float) -> Ohlc:
    """Return the series at another level."""
    return Ohlc(*(tuple(p * factor for p in column) for column in (bars.open, bars.high, bars.low, bars.close)))


def merged(bars: Ohlc, size: int, dice: random.Random, noise: float) -> Ohlc:
    """Return bars of ``size`` bars each, moved a little."""
    rows = []
    for k in range(0, len(bars.open), size):
        part = slice(k, k + size)
        rows.append((bars.open[part][0], max(bars.high[part]), min(bars.low[part]), bars.close[part][-1]))
    return near(dice, bars_from(rows), noise)


def without_head(bars: Ohlc, late: int) -> Ohlc:
    """Blank the first bars of a contract that is listed later."""
    blank = (math.nan,) * late
    return Ohlc(*(blank + column[late:] for column in (bars.open, bars.high, bars.low, bars.close)))


def round_to(number: float, digits: int = 3) -> float:
    """Return a number with few significant digits, as venues state their lots."""
    return float(f"{number:.{digits}g}")
