"""Indicators against plain pandas, numpy and polars."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest

from backtester.strategy import (
    Evaluator,
    Indicator,
    Strategy,
    adx,
    atr,
    bollinger_high,
    bollinger_low,
    donchian_high,
    donchian_low,
    ema,
    keltner_high,
    keltner_low,
    lag,
    macd,
    macd_histogram,
    macd_signal,
    ref,
    returns,
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
    supertrend_side,
    vwap,
    wma,
    zscore,
)


def computed(indicator: Indicator, bars: pl.DataFrame) -> np.ndarray:
    class One(Strategy):
        def indicators(self):
            return {"value": indicator}

        def target(self):
            return pl.lit(0.0)

    values = Evaluator(bars).columns(One())["value"]
    assert values.is_finite().fill_null(True).all()
    return values.to_numpy()


def wilder(values: list[float], length: int) -> list[float]:
    """Wilder's mean, written out."""
    out, state, seen = [], 0.0, []
    for value in values:
        if np.isnan(value):
            out.append(np.nan)
            continue
        seen.append(value)
        if len(seen) < length:
            out.append(np.nan)
        elif len(seen) == length:
            state = sum(seen) / length
            out.append(state)
        else:
            state = (state * (length - 1) + value) / length
            out.append(state)
    return out


LENGTHS = [2, 3, 7, 24, 100]


def holes(bars: pl.DataFrame) -> pl.DataFrame:
    """The same bars without some closes: the first three, one, and a run of four."""
    row = pl.int_range(pl.len())
    return bars.with_columns(
        close=pl.when(~(row.is_between(0, 2) | (row == 60) | row.is_between(150, 153))).then("close")
    )


@pytest.fixture(params=["whole", "holes"])
def bars(request, make_bars) -> pl.DataFrame:
    made = make_bars(260)
    return made if request.param == "whole" else holes(made)


def spread(x: pd.Series, length: int) -> pd.Series:
    """Deviation of each window by itself: the running sums of pandas lose digits."""
    return x.rolling(length).apply(lambda window: window.std(ddof=1), raw=True)


WINDOWS = {
    "sma": (sma, lambda x, n: x.rolling(n).mean()),
    "rolling_std": (rolling_std, spread),
    "rolling_min": (rolling_min, lambda x, n: x.rolling(n).min()),
    "rolling_max": (rolling_max, lambda x, n: x.rolling(n).max()),
    "zscore": (zscore, lambda x, n: (x - x.rolling(n).mean()) / spread(x, n)),
    "lag": (lag, lambda x, n: x.shift(n)),
    "roc": (roc, lambda x, n: x / x.shift(n) - 1),
}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", WINDOWS)
def test_windows_equal_pandas(name, length, bars) -> None:
    make, expected = WINDOWS[name]
    x = bars["close"].to_pandas()
    np.testing.assert_allclose(computed(make("close", length), bars), expected(x, length), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("length", [1, *LENGTHS])
def test_windows_equal_polars_to_1e_12(length, make_bars) -> None:
    bars = make_bars(500)
    close = pl.col("close")
    pairs = {
        "mean": (sma("close", length), close.rolling_mean(length)),
        "max": (rolling_max("close", length), close.rolling_max(length)),
        "min": (rolling_min("close", length), close.rolling_min(length)),
        "ema": (ema("close", length), close.ewm_mean(span=length, adjust=False, min_samples=length)),
    }
    if length > 1:
        pairs["std"] = (rolling_std("close", length), close.rolling_std(length))
    for indicator, expr in pairs.values():
        twin = bars.select(expr.alias("twin"))["twin"].to_numpy()
        np.testing.assert_allclose(computed(indicator, bars), twin, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("length", LENGTHS)
def test_ema_skips_missing_values(length, bars) -> None:
    x = bars["close"].to_pandas()
    expected = x.dropna().ewm(span=length, adjust=False, min_periods=length).mean().reindex(x.index)
    np.testing.assert_allclose(computed(ema("close", length), bars), expected, rtol=1e-12)


@pytest.mark.parametrize("length", LENGTHS)
def test_rsi_equals_its_definition(length, bars) -> None:
    x = bars["close"].to_pandas()
    change = x.dropna().diff().reindex(x.index)
    up = np.array(wilder(change.clip(lower=0).tolist(), length))
    down = np.array(wilder((-change).clip(lower=0).tolist(), length))
    np.testing.assert_allclose(computed(rsi("close", length), bars), 100 * up / (up + down), rtol=1e-10)


@pytest.mark.parametrize("length", LENGTHS)
def test_atr_equals_its_definition(length, make_bars) -> None:
    bars = make_bars(260)
    frame = bars.select("high", "low", "close").to_pandas()
    before = frame["close"].shift(1)
    ranges = pd.concat([frame.high - frame.low, (frame.high - before).abs(), (frame.low - before).abs()], axis=1)
    true_range = ranges.max(axis=1).where(before.notna()).tolist()
    np.testing.assert_allclose(computed(atr(length), bars), wilder(true_range, length), rtol=1e-10)


def test_channels_and_returns(make_bars) -> None:
    bars = make_bars(100)
    np.testing.assert_array_equal(computed(donchian_high(10), bars), bars["high"].to_pandas().rolling(10).max())
    np.testing.assert_array_equal(computed(donchian_low(10), bars), bars["low"].to_pandas().rolling(10).min())
    np.testing.assert_allclose(computed(returns(), bars), bars["close"].to_pandas().pct_change(), rtol=1e-12)


@pytest.mark.parametrize("length", LENGTHS[1:])
def test_two_inputs_equal_pandas(length, bars) -> None:
    x, y = bars["close"].to_pandas(), bars["volume"].to_pandas()
    y = y.where(x.notna())
    corr = computed(rolling_corr("close", "volume", length), bars)
    beta = computed(rolling_beta("close", "volume", length), bars)
    np.testing.assert_allclose(corr, x.rolling(length).corr(y), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(beta, x.rolling(length).cov(y) / y.rolling(length).var(), rtol=1e-8, atol=1e-10)


def test_constant_windows_have_no_zscore_correlation_or_beta(make_bars) -> None:
    bars = make_bars(40).with_columns(close=pl.lit(0.1), volume=pl.lit(3.3))
    assert np.isnan(computed(zscore("close", 7), bars)).all()
    assert np.isnan(computed(rolling_corr("close", "volume", 7), bars)).all()
    assert np.isnan(computed(rolling_beta("close", "volume", 7), bars)).all()
    assert (computed(rolling_std("close", 7), bars)[6:] == 0).all()
    assert (computed(rsi("close", 7), bars)[7:] == 50).all()


def test_windows_do_not_drift_after_huge_values(make_bars) -> None:
    bars = make_bars(400).with_columns(close=pl.when(pl.int_range(pl.len()) < 20).then(1e15).otherwise("close"))
    x = bars["close"].to_numpy()
    exact = np.array([x[t - 9 : t + 1].mean() for t in range(30, 400)])
    np.testing.assert_allclose(computed(sma("close", 10), bars)[30:], exact, rtol=1e-14)
    spread = np.array([x[t - 9 : t + 1].std(ddof=1) for t in range(30, 400)])
    np.testing.assert_allclose(computed(rolling_std("close", 10), bars)[30:], spread, rtol=1e-12)


def test_division_by_zero_is_null(make_bars) -> None:
    bars = make_bars(10).with_columns(close=pl.Series([0.0, 1, 2, 0, 4, 5, 6, 7, 8, 9]))
    assert np.isnan(computed(roc("close", 1), bars)[[0, 1, 4]]).all()


def test_window_longer_than_the_history_is_all_null(make_bars) -> None:
    bars = make_bars(10)
    for indicator in (sma("close", 11), rolling_std("close", 50), ema("close", 11), rsi("close", 10), lag("close", 10)):
        assert np.isnan(computed(indicator, bars)).all()
    for make in (sma, rolling_std, rolling_max, rolling_median, ema, rsi, lag, roc):
        assert np.isnan(computed(make("close", 10**12), bars)).all(), "no memory is taken for a window of that length"


def test_symbols_do_not_mix(make_bars) -> None:
    both = make_bars(50, ("A", "B"))
    for indicator in (sma("close", 7), ema("close", 7), lag("close"), zscore(pl.col("close").log(), 7)):
        joined = computed(indicator, both)
        alone = [computed(indicator, both.filter(pl.col("symbol") == symbol)) for symbol in ("A", "B")]
        np.testing.assert_array_equal(joined, np.concatenate(alone))


def test_inputs_may_be_expressions_and_indicators(make_bars) -> None:
    bars = make_bars(80)
    x = bars["close"].to_pandas()
    np.testing.assert_allclose(computed(sma(pl.col("close") * 2, 5), bars), (x * 2).rolling(5).mean(), rtol=1e-12)
    nested = computed(sma(roc("close", 3), 5), bars)
    np.testing.assert_allclose(nested, (x / x.shift(3) - 1).rolling(5).mean(), rtol=1e-9, atol=1e-14)


def test_equal_by_value() -> None:
    assert sma("close", 24) == sma("close", 24) == sma(pl.col("close"), 24)
    assert len({sma("close", 24), sma("close", 24), sma("close", 25), ema("close", 24), sma("open", 24)}) == 4
    assert sma(pl.col("close") * 2, 5) == sma(pl.col("close") * 2, 5)
    assert sma(pl.col("close") * 2, 5) != sma(pl.col("close") * 3, 5)
    assert hash(sma(roc("close", 2), 5)) == hash(sma(roc("close", 2), 5))
    assert sma("close", 5) != "sma"


def test_parameters_count_in_comparisons() -> None:
    several = [
        *(rolling_quantile("close", 20, share) for share in (0.1, 0.5, 0.9)),
        *(make("close", 20, width) for make in (bollinger_high, bollinger_low) for width in (1.5, 2.0)),
        *(make(20, multiple, bars) for make in (keltner_high, keltner_low) for multiple in (1, 2) for bars in (10, 20)),
        *(macd("close", fast, slow) for fast in (5, 6) for slow in (20, 21)),
        *(macd_signal("close", 5, 20, signal) for signal in (4, 5)),
        *(macd_histogram("close", 5, 20, signal) for signal in (4, 5)),
        *(make(10, multiple) for make in (supertrend, supertrend_side) for multiple in (2, 3)),
        *(session_vwap(timeframe) for timeframe in ("1d", "4h", "1w")),
    ]
    assert len(set(several)) == len(several)
    assert rolling_quantile("close", 20, 0.5) == rolling_median("close", 20)
    assert hash(rolling_quantile("close", 20, 0)) == hash(rolling_quantile("close", 20, 0.0))
    assert bollinger_high("close", 20, 2) == bollinger_high(pl.col("close"), 20, 2.0)
    assert session_vwap("24h") == session_vwap("1d")
    assert keltner_high(20) == keltner_high(20, 2, 20)
    assert pickle.loads(pickle.dumps(keltner_high(20))) == keltner_high(20)


def test_shown_as_it_is_built() -> None:
    assert repr(sma("close", 5)) == "Indicator(function='sma', inputs=('close',), length=5, timeframe_ms=0)"
    shown = "Indicator(function='rolling_quantile', inputs=('close',), length=5, timeframe_ms=0, options=(0.5,))"
    assert repr(rolling_median("close", 5)) == shown


def test_shared_parts_are_computed_once(make_bars, monkeypatch) -> None:
    from backtester.strategy import recursive, rolling

    calls = []
    for module, name in ((rolling, "mean"), (rolling, "std"), (recursive, "ema"), (recursive, "atr")):
        plain = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, name=name, plain=plain: calls.append(name) or plain(*given))
    evaluator = Evaluator(make_bars(60))
    for width in (1.0, 1.5, 2.0):
        evaluator.values(bollinger_high("close", 20, width))
        evaluator.values(bollinger_low("close", 20, width))
    assert calls == ["mean", "std"]
    for multiple in (1.0, 2.0):
        evaluator.values(keltner_high(20, multiple))
        evaluator.values(supertrend(20, multiple))
    assert calls == ["mean", "std", "ema", "atr"]
    for fast in (5, 10):
        for slow in (15, 20):
            evaluator.values(macd("close", fast, slow))
    assert calls[4:] == ["ema"] * 3, "the mean of 20 bars is there"


def test_session_lookback_depends_on_the_bars_length() -> None:
    assert session_vwap().lookback_at(3_600_000) == 23
    assert session_vwap("90m").lookback_at(3_600_000) == 1
    with pytest.raises(ValueError, match=r"session_vwap\(\) looks back a number of bars that depends on their length"):
        _ = session_vwap().lookback


def test_columns_and_lookback() -> None:
    nested = rolling_beta(roc("close", 3), pl.col("volume") / pl.col("open"), 10)
    assert nested.columns == {"close", "volume", "open"}
    assert nested.lookback == 12
    assert sma("close", 24).lookback == bollinger_high("close", 24).lookback == vwap(24).lookback == 23
    assert macd("close", 12, 26).lookback == ema("close", 26).lookback
    assert supertrend(10).lookback == keltner_high(3, 2, 10).lookback == atr(10).lookback
    assert adx(14).lookback == 2 * atr(14).lookback
    assert vwap(5).columns == {"high", "low", "close", "volume"}
    assert keltner_high(5).columns == supertrend(5).columns == adx(5).columns == {"high", "low", "close"}
    assert 100 < ema("close", 20).lookback < 300
    assert ema("close", 1).lookback == 1
    assert sma(ref("BTC/USDT:USDT", "close"), 3).columns == {"ref:BTC/USDT:USDT:close"}


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: sma("close", 0), "sma: length must be at least 1, got 0"),
        (lambda: rolling_std("close", 1), "at least 2"),
        (lambda: sma("close", 2.5), "whole number of bars, got 2.5"),
        (lambda: sma("close", True), "whole number"),
        (lambda: sma(3, 5), "input is a column's name, a polars expression or an indicator, got int"),
        (lambda: rolling_quantile("close", 5, 1.5), "rolling_quantile: quantile must be from 0 to 1, got 1.5"),
        (lambda: rolling_quantile("close", 5, float("nan")), "must be from 0 to 1, got nan"),
        (lambda: rolling_quantile("close", 0.5, 5), "must be from 0 to 1, got 5"),
        (lambda: bollinger_high("close", 20, -1), "bollinger_high: width must be at least 0, got -1"),
        (lambda: bollinger_low("close", 1), "bollinger_low: length must be at least 2, got 1"),
        (lambda: keltner_low(20, "2"), "keltner_low: multiple must be a number, got '2'"),
        (lambda: keltner_high(20, 2.0, 0), "keltner_high: length must be at least 1, got 0"),
        (lambda: supertrend(10, True), "supertrend: multiple must be a number, got True"),
        (lambda: supertrend_side(0), "supertrend_side: length must be at least 1"),
        (lambda: macd("close", 12, 0), "macd: length must be at least 1, got 0"),
        (lambda: macd_signal("close", 12, 26, 2.5), "macd_signal: length must be a whole number of bars, got 2.5"),
        (lambda: session_vwap("1h30m"), "'1h30m' is not a timeframe"),
    ],
)
def test_wrong_arguments_are_named(make, problem) -> None:
    with pytest.raises((TypeError, ValueError), match=problem):
        make()


def test_expression_methods_on_an_indicator_show_the_way() -> None:
    with pytest.raises(AttributeError, match=r"pl.col\(name\).shift in target\(\)"):
        sma("close", 5).shift(1)


@pytest.mark.parametrize(
    "item",
    [
        sma("close", 6),
        wma("close", 33),
        rolling_sum("close", 17),
        rolling_std("close", 50),
        zscore("close", 70),
        rolling_corr("close", "volume", 40),
        rolling_beta("close", "volume", 41),
        vwap(30),
    ],
    ids=str,
)
def test_not_even_the_last_digit_depends_on_where_the_bars_begin(item: Indicator) -> None:
    rng = np.random.default_rng(3)
    close = np.round(100 + np.cumsum(rng.normal(0, 0.1, 800)), 2)
    bars = pl.DataFrame(
        {
            "open_time": pl.Series(np.arange(800) * 3_600_000).cast(pl.Datetime("ms", "UTC")),
            "symbol": ["A"] * 800,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": rng.random(800),
        }
    )
    whole = Evaluator(bars).values(item)
    for start in (1, 7, 59, 199):
        later = Evaluator(bars[start:]).values(item)
        np.testing.assert_array_equal(later[100:], whole[start + 100 :])
