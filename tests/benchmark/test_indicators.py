"""Compiled indicators, one by one: nanoseconds per value on 1,000,000 values, one thread, beside polars and TA-Lib.

What is timed is compared first, to 1e-9 of the size of the values (running sums of the others lose digits; the unit
tests compare to 1e-12 where they do not). Times are those of the processor, the least of the repeats: waiting for
other work on the machine is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import talib

from backtester.strategy import (
    Evaluator,
    Indicator,
    adx,
    atr,
    bollinger_high,
    ema,
    keltner_high,
    macd_histogram,
    roc,
    rolling_beta,
    rolling_corr,
    rolling_max,
    rolling_median,
    rolling_min,
    rolling_quantile,
    rolling_std,
    rolling_sum,
    rsi,
    session_vwap,
    sma,
    supertrend,
    vwap,
    wma,
    zscore,
)

VALUES = 1_000_000
REPEATS = 7
LENGTHS = (20, 200, 2_000)
BEGUN = 200_000  # where recursions that begin otherwise have come together
# What a value may cost [ns], with room for a machine that is busy: 2 for a mean, 4 for a deviation or an extreme alone.
MOST = {"sma": 3.5, "ema": 3.0, "rolling_std": 6.0, "rolling_min": 6.0, "rolling_max": 6.0}

Floats = np.ndarray
Other = Callable[[int], object]


def market() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, VALUES)))
    return pl.DataFrame(
        {
            "open_time": pl.Series(60_000 * np.arange(VALUES)).cast(pl.Datetime("ms", "UTC")),
            "symbol": pl.repeat("BTC/USDT:USDT", VALUES, eager=True),
            "open": close,
            "high": close * (1 + np.abs(rng.normal(0, 5e-4, VALUES))),
            "low": close * (1 - np.abs(rng.normal(0, 5e-4, VALUES))),
            "close": close,
            "volume": rng.uniform(1, 10, VALUES),
        }
    )


BARS = market()
CLOSE, HIGH, LOW, VOLUME = (BARS[name] for name in ("close", "high", "low", "volume"))
X, H, L, V = (column.to_numpy() for column in (CLOSE, HIGH, LOW, VOLUME))
TYPICAL = pl.Series((H + L + X) / 3)

ROWS: dict[str, tuple[Callable[[int], Indicator], Other | None, Other | None]] = {
    "sma": (lambda n: sma("close", n), CLOSE.rolling_mean, lambda n: talib.SMA(X, n)),
    "rolling_sum": (lambda n: rolling_sum("close", n), CLOSE.rolling_sum, lambda n: talib.SUM(X, n)),
    "wma": (lambda n: wma("close", n), None, lambda n: talib.WMA(X, n)),
    "ema": (
        lambda n: ema("close", n),
        lambda n: CLOSE.ewm_mean(span=n, adjust=False, min_samples=n),
        lambda n: talib.EMA(X, n),
    ),
    "rolling_std": (lambda n: rolling_std("close", n), CLOSE.rolling_std, None),
    "zscore": (
        lambda n: zscore("close", n),
        lambda n: (CLOSE - CLOSE.rolling_mean(n)) / CLOSE.rolling_std(n),
        None,
    ),
    "rolling_min": (lambda n: rolling_min("close", n), CLOSE.rolling_min, lambda n: talib.MIN(X, n)),
    "rolling_max": (lambda n: rolling_max("close", n), CLOSE.rolling_max, lambda n: talib.MAX(X, n)),
    "rolling_median": (lambda n: rolling_median("close", n), CLOSE.rolling_median, None),
    "rolling_quantile": (
        lambda n: rolling_quantile("close", n, 0.9),
        lambda n: CLOSE.rolling_quantile(0.9, "linear", window_size=n),
        None,
    ),
    "rolling_corr": (
        lambda n: rolling_corr("close", "volume", n),
        lambda n: BARS.select(pl.rolling_corr("close", "volume", window_size=n)).to_series(),
        lambda n: talib.CORREL(X, V, n),
    ),
    "rolling_beta": (
        lambda n: rolling_beta("close", "volume", n),
        lambda n: BARS.select(pl.rolling_cov("close", "volume", window_size=n)).to_series() / VOLUME.rolling_var(n),
        None,
    ),
    "roc": (lambda n: roc("close", n), CLOSE.pct_change, lambda n: talib.ROCP(X, n)),
    "bollinger_high": (
        lambda n: bollinger_high("close", n),
        lambda n: CLOSE.rolling_mean(n) + 2 * CLOSE.rolling_std(n, ddof=0),
        lambda n: talib.BBANDS(X, n)[0],
    ),
    "keltner_high": (keltner_high, None, lambda n: talib.EMA(X, n) + 2 * talib.ATR(H, L, X, n)),
    "macd_histogram": (
        lambda n: macd_histogram("close", n, 2 * n, 9),
        None,
        lambda n: talib.MACD(X, n, 2 * n, 9)[2],
    ),
    "rsi": (lambda n: rsi("close", n), None, lambda n: talib.RSI(X, n)),
    "atr": (atr, None, lambda n: talib.ATR(H, L, X, n)),
    "adx": (adx, None, lambda n: talib.ADX(H, L, X, n)),
    "supertrend": (supertrend, None, None),
    "vwap": (vwap, lambda n: (TYPICAL * VOLUME).rolling_sum(n) / VOLUME.rolling_sum(n), None),
    "session_vwap": (lambda n: session_vwap(), None, None),
}


def nanoseconds(function: Callable[[], object]) -> float:
    least = np.inf
    for _ in range(REPEATS):
        begin = time.process_time_ns()
        function()
        least = min(least, time.process_time_ns() - begin)
    return least / VALUES


def ours(item: Indicator) -> Floats:
    """The indicator and all its parts, anew: into memory that the process has, as when one follows the other."""
    evaluator = Evaluator.__new__(Evaluator)
    evaluator.__dict__.update(TEMPLATE.__dict__, _computed={})
    return evaluator.values(item)


TEMPLATE = Evaluator(BARS)


def check(ours: Floats, other: object) -> None:
    """Compare what both have after the beginning; nothing is timed that disagrees."""
    theirs = other.to_numpy() if isinstance(other, pl.Series) else np.asarray(other)
    kept = slice(BEGUN, None)
    size = np.nanmedian(np.abs(ours[kept])) + 1
    np.testing.assert_allclose(ours[kept], theirs[kept], rtol=1e-9, atol=1e-9 * size)


@pytest.mark.parametrize("length", LENGTHS)
def test_nanoseconds_per_value(length: int, show: Callable[[str], None]) -> None:
    show(f"\nlength {length}, {VALUES:,} values   ns per value")
    show(f"{'indicator':18}{'ours':>8}{'polars':>9}{'TA-Lib':>9}")
    slow = {}
    for name, (make, polars, ta_lib) in ROWS.items():
        item = make(length)
        values = ours(item)
        cells = []
        for other in (polars, ta_lib):
            if other is None:
                cells.append("-")
                continue
            check(values, other(length))
            cells.append(f"{nanoseconds(lambda other=other: other(length)):.1f}")
        own = nanoseconds(lambda item=item: ours(item))
        show(f"{name:18}{own:8.2f}{cells[0]:>9}{cells[1]:>9}")
        if own > MOST.get(name, np.inf):
            slow[name] = own
    assert not slow
