"""Indicators against TA-Lib and talipp, and against exact arithmetic where running sums would lose the digits.

How a recursion begins is a convention, and each test says which one is met. Everything agrees to 1e-12 of the size of
the values, on a random walk, on steps of constant prices, on a small noise at a huge price, and with bars missing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from talipp import indicators as talipp
from talipp.indicators.SuperTrend import Trend as TalippTrend
from talipp.ohlcv import OHLCV

from backtester.strategy import (
    Evaluator,
    Indicator,
    Strategy,
    adx,
    at,
    atr,
    bollinger_high,
    bollinger_low,
    donchian_high,
    donchian_low,
    ema,
    keltner_high,
    keltner_low,
    macd,
    macd_histogram,
    macd_signal,
    minus_di,
    plus_di,
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
    supertrend_side,
    vwap,
    wma,
    zscore,
)
from backtester.strategy.causality import check

HOUR = 3_600_000
MONDAY = 1_735_516_800_000  # 2024-12-30 00:00 UTC
LENGTHS = [2, 3, 14, 50]
SETTLED = 1_200  # bars after which a recursion of 14 bars has forgotten how it began
Floats = np.ndarray
OHLC = ("open", "high", "low", "close", "volume")


def market(kind: str, count: int = 700, seed: int = 3) -> pl.DataFrame:
    """Hourly bars of one symbol."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, 0.01, count)
    if kind == "steps":
        moves *= np.repeat(rng.random(count // 20 + 1) < 0.4, 20)[:count]
    close = 100 * np.exp(np.cumsum(moves))
    width = np.where(moves == 0, 0.0, np.abs(rng.normal(0, 0.004, count)))
    if kind == "far":
        close, width = 1e9 + rng.normal(0, 1, count), np.full(count, 1e-10)
    frame = pl.DataFrame(
        {
            "open_time": pl.Series(MONDAY + HOUR * np.arange(count)).cast(pl.Datetime("ms", "UTC")),
            "symbol": ["BTC/USDT:USDT"] * count,
            "open": np.concatenate(([close[0]], close[:-1])),
            "high": close * (1 + width),
            "low": close * (1 - width),
            "close": close,
            "volume": rng.uniform(1, 10, count),
        }
    )
    if kind == "gaps":
        is_missing = (rng.random(count) < 0.02) | (np.arange(count) < 2)
        frame = frame.with_columns(pl.when(~pl.Series(is_missing)).then(pl.col(name)).alias(name) for name in OHLC)
    return frame


@pytest.fixture(params=["walk", "steps", "far", "gaps"], scope="module")
def bars(request) -> pl.DataFrame:
    return market(request.param)


def values(item: Indicator, bars: pl.DataFrame) -> Floats:
    return Evaluator(bars).values(item)


def column(bars: pl.DataFrame, name: str) -> Floats:
    return bars[name].fill_null(np.nan).to_numpy()


def agree(ours: Floats, theirs: Floats, scale: float | None = None) -> None:
    """Null at the same bars, and within 1e-12 of the larger of the value and a typical size."""
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    assert not np.isnan(ours).all()
    typical = np.nanmedian(np.abs(theirs)) if scale is None else scale
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12 * typical)


def windows(x: Floats, length: int) -> np.ndarray:
    """All full windows, in extended precision."""
    return np.lib.stride_tricks.sliding_window_view(x, length).astype(np.longdouble)


def of_windows(x: Floats, length: int, function: Callable[[np.ndarray], np.ndarray]) -> Floats:
    return np.concatenate((np.full(length - 1, np.nan), function(windows(x, length)).astype(float)))


def on_whole_bars(bars: pl.DataFrame, names: tuple[str, ...], function: Callable[..., Floats]) -> Floats:
    """A library's result on the bars that are there, each at its own bar."""
    arrays = [column(bars, name) for name in names]
    known = ~np.isnan(np.sum(arrays, axis=0))
    out = np.full(bars.height, np.nan)
    out[known] = function(*(array[known] for array in arrays))
    return out


def extended_std(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=1, keepdims=True)
    return np.sqrt((centred**2).sum(axis=1) / (x.shape[1] - 1))


WINDOWS: dict[str, tuple[Callable[[str, int], Indicator], Callable[[np.ndarray], np.ndarray]]] = {
    "sma": (sma, lambda w: w.mean(axis=1)),
    "wma": (wma, lambda w: (w * np.arange(1, w.shape[1] + 1)).sum(axis=1) / (w.shape[1] * (w.shape[1] + 1) // 2)),
    "rolling_sum": (rolling_sum, lambda w: w.sum(axis=1)),
    "rolling_std": (rolling_std, extended_std),
    "rolling_min": (rolling_min, lambda w: w.min(axis=1)),
    "rolling_max": (rolling_max, lambda w: w.max(axis=1)),
    "rolling_median": (rolling_median, lambda w: np.median(w, axis=1)),
    "rolling_quantile": (
        lambda name, length: rolling_quantile(name, length, 0.3),
        lambda w: np.quantile(w, 0.3, axis=1),
    ),
}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", WINDOWS)
def test_windows_equal_extended_precision(name, length, bars) -> None:
    make, expected = WINDOWS[name]
    close = column(bars, "close")
    scale = np.nanstd(close) if name == "rolling_std" else None
    agree(values(make("close", length), bars), of_windows(close, length, expected), scale)


@pytest.mark.parametrize("length", LENGTHS)
def test_zscore_equals_extended_precision(length, bars) -> None:
    def score(w: np.ndarray) -> np.ndarray:
        w = w - w[:, -1:]  # exact, where the mean of what is far from 0 would have lost the digits
        deviation = extended_std(w)
        is_constant = (w == w[:, :1]).all(axis=1)
        return np.where(is_constant, np.nan, (w[:, -1] - w.mean(axis=1)) / np.where(is_constant, 1, deviation))

    agree(values(zscore("close", length), bars), of_windows(column(bars, "close"), length, score))


TALIB_WINDOWS = {
    "sma": (sma, talib.SMA),
    "wma": (wma, talib.WMA),
    "rolling_sum": (rolling_sum, talib.SUM),
    "rolling_min": (rolling_min, talib.MIN),
    "rolling_max": (rolling_max, talib.MAX),
}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", TALIB_WINDOWS)
def test_windows_equal_talib(name, length) -> None:
    bars = market("walk")
    make, theirs = TALIB_WINDOWS[name]
    agree(values(make("close", length), bars), theirs(column(bars, "close"), length))


@pytest.mark.parametrize("length", LENGTHS)
def test_wma_equals_talipp(length) -> None:
    bars = market("walk", 200)
    theirs = talipp.WMA(length, bars["close"].to_list())
    agree(values(wma("close", length), bars), np.array(list(theirs), dtype=float))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("length", [1, *LENGTHS])
def test_quantiles_equal_polars(length, share, bars) -> None:
    """With linear interpolation; TA-Lib and talipp have no quantile."""
    expr = pl.col("close").rolling_quantile(share, "linear", window_size=length)
    agree(values(rolling_quantile("close", length, share), bars), column(bars.select(x=expr), "x"))


@pytest.mark.parametrize("length", LENGTHS)
def test_bollinger_equals_talib(length) -> None:
    """With the deviation of the population (ddof 0). TA-Lib takes squares about 0: its digits, not ours, are lost."""
    bars = market("walk")
    high, middle, low = talib.BBANDS(column(bars, "close"), length, 2.5, 1.5)
    agree(values(bollinger_high("close", length, 2.5), bars), high)
    agree(values(bollinger_low("close", length, 1.5), bars), low)
    agree(values(sma("close", length), bars), middle)


@pytest.mark.parametrize("length", LENGTHS)
def test_bollinger_equals_extended_precision(length, bars) -> None:
    def band(w: np.ndarray) -> np.ndarray:
        return w.mean(axis=1) - 2.0 * np.sqrt(((w - w.mean(axis=1, keepdims=True)) ** 2).mean(axis=1))

    agree(values(bollinger_low("close", length), bars), of_windows(column(bars, "close"), length, band))


@pytest.mark.parametrize("length", LENGTHS)
def test_donchian_equals_talipp(length) -> None:
    bars = market("walk", 200)
    theirs = list(talipp.DonchianChannels(length, candles(bars)))
    agree(values(donchian_high(length), bars), np.array([x.ub if x else np.nan for x in theirs]))
    agree(values(donchian_low(length), bars), np.array([x.lb if x else np.nan for x in theirs]))


@pytest.mark.parametrize("length", LENGTHS)
def test_correlation_and_beta(length, bars) -> None:
    """Correlation against TA-Lib on values near 0, and both against extended precision.

    The beta of TA-Lib is that of returns with a window of its own; ours is the slope of whatever it is given.
    """
    rng = np.random.default_rng(1)
    both = bars.with_columns(volume=pl.col("close") * 0.5 + rng.normal(0, 0.1, bars.height))
    y, x = windows(column(both, "close"), length), windows(column(both, "volume"), length)
    y, x = y - y.mean(axis=1, keepdims=True), x - x.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        slope = (x * y).sum(axis=1) / (x * x).sum(axis=1)
        constant = (y == y[:, :1]).all(axis=1)
        pearson = (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1)) / np.sqrt((y * y).sum(axis=1))
    nothing = np.full(length - 1, np.nan)
    agree(values(rolling_beta("close", "volume", length), both), np.concatenate((nothing, slope.astype(float))), 1.0)
    pearson = np.where(constant, np.nan, pearson.astype(float))
    agree(values(rolling_corr("close", "volume", length), both), np.concatenate((nothing, pearson)), 1.0)
    noise = pl.DataFrame(rng.normal(size=(300, 2)), schema=["close", "volume"])
    noise = market("walk", 300).with_columns(noise)
    theirs = talib.CORREL(column(noise, "close"), column(noise, "volume"), length)
    agree(values(rolling_corr("close", "volume", length), noise), theirs, 1e2 if length == 2 else 1.0)


def talib_ema(x: Floats, length: int) -> Floats:
    """TA-Lib's exponential mean begun at the first value: it begins at a plain one, here of copies of the first."""
    means = talib.EMA(np.concatenate((np.full(length - 1, x[0]), x)), length)[length - 1 :]
    return np.where(np.arange(x.size) < length - 1, np.nan, means)


@pytest.mark.parametrize("length", LENGTHS)
def test_ema_and_macd_equal_talib(length, bars) -> None:
    """Begun at the first value, the signal at the first value of the macd."""
    slow = 2 * length

    def line(x: Floats) -> Floats:
        return talib_ema(x, length) - talib_ema(x, slow)

    def signal(x: Floats) -> Floats:
        first = slow - 1
        return np.concatenate((np.full(first, np.nan), talib_ema(line(x)[first:], 5)))

    size = np.nanmedian(column(bars, "close"))
    close = ("close",)
    agree(values(ema("close", length), bars), on_whole_bars(bars, close, lambda x: talib_ema(x, length)))
    agree(values(macd("close", length, slow), bars), on_whole_bars(bars, close, line), size)
    agree(values(macd_signal("close", length, slow, 5), bars), on_whole_bars(bars, close, signal), size)
    rest = on_whole_bars(bars, close, lambda x: line(x) - signal(x))
    agree(values(macd_histogram("close", length, slow, 5), bars), rest, size)


@pytest.mark.parametrize("length", LENGTHS)
def test_ema_equals_polars(length, bars) -> None:
    """Begun at the first value, missing ones skipped."""
    expr = pl.col("close").ewm_mean(span=length, adjust=False, min_samples=length, ignore_nulls=True)
    theirs = column(bars.select(pl.when(pl.col("close").is_not_null()).then(expr).alias("x")), "x")
    agree(values(ema("close", length), bars), theirs)


def test_macd_equals_talib_when_both_have_settled() -> None:
    """TA-Lib begins each mean at a plain one."""
    bars = market("walk", SETTLED + 100)
    for make, theirs in zip((macd, macd_signal, macd_histogram), talib.MACD(column(bars, "close")), strict=True):
        agree(values(make("close"), bars)[SETTLED:], theirs[SETTLED:], 100.0)


@pytest.mark.parametrize("length", LENGTHS)
def test_rsi_equals_talib(length, bars) -> None:
    """Seeded by plain means of the first changes, as TA-Lib does. It calls a series that never moved 0, we 50."""
    theirs = on_whole_bars(bars, ("close",), lambda x: talib.RSI(x, length))
    ours = values(rsi("close", length), bars)
    still = ours == 50
    agree(np.where(still, 0.0, ours), np.where(still, 0.0, theirs), 100.0)


@pytest.mark.parametrize("length", LENGTHS)
def test_atr_and_keltner_equal_talib(length, bars) -> None:
    """Seeded by the plain mean of the first true ranges, each with a close before it; ``ema`` at the first value."""
    bars = bars.filter(pl.col("close").is_not_null())
    high, low, close = (column(bars, name) for name in ("high", "low", "close"))
    ranges = talib.ATR(high, low, close, length)
    price = np.median(close)
    agree(values(atr(length), bars), ranges, price)
    middle = talib_ema(close, length)
    agree(values(keltner_high(length, 1.5), bars), middle + 1.5 * ranges)
    agree(values(keltner_low(length, 2.5, atr_length=length), bars), middle - 2.5 * ranges)
    other = talib.ATR(high, low, close, 2 * length)
    agree(values(keltner_high(length, 2, 2 * length), bars), middle + 2 * other)


def test_keltner_equals_talipp_when_both_have_settled() -> None:
    """It seeds the exponential mean by a plain one and counts the first bar's range."""
    bars = market("walk", SETTLED + 100)
    theirs = list(talipp.KeltnerChannels(14, 10, 2.0, 1.5, candles(bars)))[SETTLED:]
    agree(values(keltner_high(14, 2.0, 10), bars)[SETTLED:], np.array([x.ub for x in theirs]))
    agree(values(keltner_low(14, 1.5, 10), bars)[SETTLED:], np.array([x.lb for x in theirs]))


@pytest.mark.parametrize("kind", ["walk", "steps", "far", "gaps"])
def test_directional_indices_equal_talib_when_both_have_settled(kind) -> None:
    """TA-Lib seeds its sums by the first ``length - 1`` bars, we by the mean of the first ``length``."""
    bars = market(kind, SETTLED + 300).filter(pl.col("close").is_not_null())
    arrays = [column(bars, name) for name in ("high", "low", "close")]
    for make, theirs in ((plus_di, talib.PLUS_DI), (minus_di, talib.MINUS_DI), (adx, talib.ADX)):
        ours = values(make(14), bars)
        assert np.isnan(ours).sum() == (27 if make is adx else 14)
        agree(ours[SETTLED:], theirs(*arrays, 14)[SETTLED:], 100.0)


def test_directional_movement_is_seeded_by_a_plain_mean_as_talipp_does() -> None:
    bars = market("walk", 200)
    theirs = talipp.ADX(14, 14, candles(bars))
    moved = values(plus_di(14), bars) * values(atr(14), bars) / 100
    agree(moved, np.concatenate((np.full(14, np.nan), theirs.spdm)))
    moved = values(minus_di(14), bars) * values(atr(14), bars) / 100
    agree(moved, np.concatenate((np.full(14, np.nan), theirs.smdm)))


def test_adx_smooths_its_parts_from_their_plain_mean() -> None:
    bars = market("gaps")
    plus, minus = values(plus_di(7), bars), values(minus_di(7), bars)
    parts = 100 * np.abs(plus - minus) / (plus + minus)
    known = np.flatnonzero(~np.isnan(parts))
    expected, state = np.full(bars.height, np.nan), 0.0
    for place, row in enumerate(known):
        state = parts[known[:7]].mean() if place == 6 else (state * 6 + parts[row]) / 7
        expected[row] = state if place >= 6 else np.nan
    agree(values(adx(7), bars), expected)


def test_directional_indices_of_a_market_that_never_moved() -> None:
    bars = market("walk", 60).with_columns(pl.lit(5.0).alias(name) for name in OHLC)
    for item in (plus_di(7), minus_di(7), adx(7)):
        ours = values(item, bars)
        assert (ours[~np.isnan(ours)] == 0).all()
        assert not np.isnan(ours[-1])


@pytest.mark.parametrize("multiple", [0.5, 2.0, 3.0])
def test_supertrend_equals_talipp_when_both_have_settled(multiple) -> None:
    """It counts the first bar's range and begins at 0; after that, and a few changes of side, the lines are the same.

    Without ``gaps``: talipp takes no missing bars.
    """
    bars = market("walk", SETTLED + 800)
    theirs = list(talipp.SuperTrend(14, multiple, candles(bars)))[SETTLED:]
    line, side = values(supertrend(14, multiple), bars), values(supertrend_side(14, multiple), bars)
    agree(line[SETTLED:], np.array([x.value for x in theirs]))
    up = np.array([x.trend is TalippTrend.UP for x in theirs])
    np.testing.assert_array_equal(side[SETTLED:], np.where(up, 1.0, -1.0))
    assert np.abs(np.diff(side[14:])).sum() / 2 > 2


def test_supertrend_equals_its_definition(bars) -> None:
    """Begun with the trend down, as TradingView does; bars that are missing change nothing."""
    ranges = values(atr(10), bars)
    high, low, close = (column(bars, name) for name in ("high", "low", "close"))
    line, side = np.full(bars.height, np.nan), np.full(bars.height, np.nan)
    state = None
    for t in np.flatnonzero(~np.isnan(ranges)):
        above, below = ((high[t] + low[t]) / 2 + sign * 2.0 * ranges[t] for sign in (1, -1))
        if state is not None:
            upper, lower, was_up, last = state
            above = above if above < upper or last > upper else upper
            below = below if below > lower or last < lower else lower
        is_up = close[t] > above if state is None or not was_up else close[t] >= below
        line[t], side[t] = (below, 1.0) if is_up else (above, -1.0)
        state = (above, below, is_up, close[t])
    agree(values(supertrend(10, 2.0), bars), line)
    agree(values(supertrend_side(10, 2.0), bars), side)


def candles(bars: pl.DataFrame) -> list[OHLCV]:
    return [OHLCV(*row) for row in bars.select(OHLC).iter_rows()]


@pytest.mark.parametrize("length", LENGTHS)
def test_vwap_of_a_window(length, bars) -> None:
    price = (column(bars, "high") + column(bars, "low") + column(bars, "close")) / 3
    volume = column(bars, "volume")
    traded = of_windows(price * volume, length, lambda w: w.sum(axis=1))
    expected = traded / of_windows(volume, length, lambda w: w.sum(axis=1))
    agree(values(vwap(length), bars), expected)
    idle = bars.with_columns(volume=pl.when(pl.int_range(pl.len()) < 100).then(0.0).otherwise("volume"))
    assert np.isnan(values(vwap(length), idle)[:100]).all()


def test_session_vwap_equals_talipp_on_each_day() -> None:
    """Its sums never begin anew, ours at each session's beginning; the first session is cut and has none."""
    bars = market("walk", 24 * 9).slice(5)
    ours = values(session_vwap(), bars)
    assert np.isnan(ours[:19]).all()
    days = bars.with_row_index().group_by_dynamic("open_time", every="1d").agg("index")["index"].to_list()
    for rows in days[1:]:
        agree(ours[rows], np.array(list(talipp.VWAP(candles(bars[rows])))))
    weeks = values(session_vwap("1w"), market("walk", 24 * 9))
    assert not np.isnan(weeks).any(), "they begin on Mondays"
    agree(weeks[24 * 7 :], values(session_vwap("1w"), market("walk", 24 * 9).slice(24 * 7)))


def test_session_vwap_skips_missing_bars_and_waits_for_a_trade() -> None:
    bars = market("gaps", 24 * 4).with_columns(
        volume=pl.when(pl.int_range(pl.len()).is_between(24, 27)).then(0.0).otherwise("volume")
    )
    ours, known = values(session_vwap(), bars), ~np.isnan(column(bars, "close"))
    assert np.isnan(ours[24:28]).all()
    price = (column(bars, "high") + column(bars, "low") + column(bars, "close")) / 3
    volume = column(bars, "volume")
    rows = np.flatnonzero(known)
    rows = rows[(rows >= 48) & (rows < 72)]
    expected = np.full(24, np.nan)
    expected[rows - 48] = np.cumsum(price[rows] * volume[rows]) / np.cumsum(volume[rows])
    agree(ours[48:72], expected)


EVERY: dict[str, Indicator] = {
    f"{place} {item.function}": item
    for place, item in enumerate(
        (
            *(
                make("close", 7)
                for make in (sma, ema, wma, rolling_sum, rolling_std, rolling_min, rolling_max, zscore, rsi)
            ),
            rolling_median("close", 7),
            rolling_quantile("close", 20, 0.9),
            rolling_corr("close", "volume", 7),
            rolling_beta("close", "volume", 7),
            *(make(7) for make in (atr, plus_di, minus_di, adx, donchian_high, donchian_low, vwap, keltner_high)),
            bollinger_low("close", 7),
            macd("close", 5, 9),
            macd_signal("close", 5, 9, 4),
            macd_histogram("close", 5, 9, 4),
            keltner_low(7, 1.0, 4),
            supertrend(7, 2.0),
            supertrend_side(7, 2.0),
            session_vwap("4h"),
            at("4h", session_vwap("1d")),
            at("2h", wma(ema("close", 3), 4)),
        )
    )
}


@pytest.mark.parametrize("name", EVERY)
def test_no_value_knows_what_follows_it_to_the_last_bit(name) -> None:
    whole = market("gaps", 120)
    seen = values(EVERY[name], whole)
    for count in range(3, 120):
        np.testing.assert_array_equal(values(EVERY[name], whole.head(count)), seen[:count])


@pytest.mark.parametrize("name", EVERY)
def test_nothing_leaks_from_symbol_to_symbol(name) -> None:
    first, second = market("walk", 90, seed=1), market("gaps", 70, seed=2)
    both = pl.concat([first, second.with_columns(symbol=pl.lit("ETH/USDT:USDT"))])
    alone = np.concatenate([values(EVERY[name], first), values(EVERY[name], second)])
    np.testing.assert_array_equal(values(EVERY[name], both), alone)


@pytest.mark.parametrize("name", EVERY)
def test_lookback_is_enough(name) -> None:
    """Bars before it do not matter: exactly for windows, up to the last digits where their blocks begin elsewhere."""
    item = EVERY[name]
    whole = market("walk", 900, seed=8)
    back = item.lookback_at(HOUR)
    assert back < 500
    whole_values = values(item, whole)
    for row in (600, 647, 899):
        part = values(item, whole.slice(row - back, back + 1))
        assert part[-1] == pytest.approx(whole_values[row], rel=1e-7, abs=1e-7)


WINDOWED = [item for item in EVERY.values() if item.function.startswith(("rolling", "sma", "wma", "zscore", "vwap"))]


@pytest.mark.parametrize("item", WINDOWED, ids=lambda item: item.function)
def test_lookback_of_a_window_is_not_more_than_enough(item) -> None:
    whole = market("walk", 60, seed=8)
    back = item.lookback
    assert back == {"rolling_quantile": item.length - 1}.get(item.function, 6)
    assert np.isnan(values(item, whole.slice(10, back))).all()
    assert not np.isnan(values(item, whole.slice(10, back + 1))[-1])


prices = st.one_of(
    st.floats(-1e6, 1e6).map(lambda x: round(x, 3)), st.sampled_from([0.0, 1.0, 1e9, 1e9 + 1, float("nan")])
)


@settings(max_examples=200, deadline=None)
@given(st.lists(prices, min_size=1, max_size=40), st.integers(1, 12), st.floats(0, 1))
def test_any_series(series, length, share) -> None:
    """Whatever the values: windows of any length equal numpy on each window by itself."""
    x = np.array(series)
    items = {
        "max": (rolling_max("close", length), lambda w: w.max()),
        "min": (rolling_min("close", length), lambda w: w.min()),
        "sum": (rolling_sum("close", length), lambda w: w.sum()),
        "quantile": (rolling_quantile("close", length, share), lambda w: np.quantile(w, share)),
    }
    if length > 1:
        items["std"] = (rolling_std("close", length), lambda w: w.std(ddof=1))
    for name, (item, function) in items.items():
        ours = item.compute(x)
        for t in range(x.size):
            window = x[max(t - length + 1, 0) : t + 1]
            if window.size < length or np.isnan(window).any():
                assert np.isnan(ours[t]), name
            else:
                scale = np.abs(window).max() if name == "sum" else np.ptp(window)
                assert abs(ours[t] - function(window)) <= 1e-12 * scale + 1e-15 * np.abs(window).max(), name


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(st.floats(1, 100), st.sampled_from([float("nan"), float("inf")])), min_size=1, max_size=40),
    st.integers(1, 8),
)
def test_ema_of_any_series(series, length) -> None:
    """Missing and infinite values are skipped, wherever they stand in the groups that it is computed in."""
    with np.errstate(invalid="ignore"):  # uncompiled, numpy warns of inf - inf
        ours = ema("close", length).compute(np.array(series))
    state, seen = 0.0, 0
    for t, value in enumerate(series):
        if not np.isfinite(value):
            assert np.isnan(ours[t])
            continue
        seen += 1
        state = value if seen == 1 else state + 2 / (length + 1) * (value - state)
        assert np.isnan(ours[t]) if seen < length else ours[t] == pytest.approx(state, rel=1e-12)


def test_a_constant_series_is_its_own_exponential_mean() -> None:
    x = np.full(50, 0.1)
    for length in range(1, 20):
        assert (ema("close", length).compute(x)[length - 1 :] == 0.1).all()


class Everything(Strategy):
    """Reads all of them."""

    def indicators(self) -> dict[str, Indicator]:
        return {f"x{place}": item for place, item in enumerate(EVERY.values())}

    def target(self) -> pl.Expr:
        return pl.when(pl.col("x0") > pl.col("close")).then(1.0).otherwise(0.0)


def test_the_measured_warm_up_is_what_they_look_back() -> None:
    report = check(Everything(), market("walk", 700))
    assert report.is_causal
    back = max(item.lookback_at(HOUR) for item in EVERY.values())
    assert 48 < report.warmup <= back
