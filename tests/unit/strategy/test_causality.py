"""The causality check: what it must catch, and what it must leave alone."""

from __future__ import annotations

import time

import numpy as np
import polars as pl
import pytest

from backtester.errors import StrategyError
from backtester.strategy import Param, Strategy, ema, rsi, sma
from backtester.strategy.causality import check, differing, measured_warmup

SYMBOLS = ("A/USDT:USDT", "B/USDT:USDT")
close = pl.col("close")
above = (close > pl.col("x")).cast(pl.Float64)


def made(x: pl.Expr | None = None, signals=None, target: pl.Expr = above, **more) -> Strategy:
    """Strategy that is long above an indicator ``x``, or decides by ``signals``."""
    body = {"indicators": lambda self: {"x": x}, "target": lambda self: target} if signals is None else {}
    if signals is not None:
        body = {"signals": signals}
    return type("Made", (Strategy,), body | more)()


def with_target(bars: pl.DataFrame, later: pl.DataFrame, **how) -> pl.DataFrame:
    keys = bars.select("open_time", "symbol")
    return keys.join(later, on=["open_time", "symbol"], how="left", maintain_order="left")


def joined_ahead(self, bars):
    later = bars.select("symbol", pl.col("open_time").dt.offset_by("-3h"), target=pl.col("close").log())
    return with_target(bars, later)


def next_midnight(self, bars):
    frames = []
    for (symbol,), frame in bars.group_by("symbol", maintain_order=True):
        days = frame.filter(pl.col("open_time").dt.hour() == 0).select("open_time", target=pl.col("close").log())
        keys = frame.select("open_time", symbol=pl.lit(symbol))
        frames.append(keys.join_asof(days, on="open_time", strategy="forward"))
    return pl.concat(frames)


def trained_on_everything(self, bars):
    frames = []
    for _, frame in bars.group_by("symbol", maintain_order=True):
        x, y = np.arange(frame.height), frame["close"].to_numpy()
        slope, level = np.polyfit(x, y, 1)
        frames.append(frame.select("open_time", "symbol", target=pl.Series(np.sign(y - level - slope * x))))
    return pl.concat(frames)


LOOKAHEAD = {
    "shift": (made(close.shift(-1)), "x", "1 bar ahead"),
    "shift in target": (made(pl.lit(0.0), target=(close.shift(-2) > close).cast(pl.Float64)), "target", "2 bars ahead"),
    "centred mean": (made(close.rolling_mean(9, center=True)), "x", "4 bars ahead"),
    "z-score": (made((close - close.mean()) / close.std()), "x", "statistic of the whole sample"),
    "scaled by maximum": (made(close / close.max()), "x", "reads the future"),
    "backward fill": (made(close.rolling_mean(30).backward_fill()), "x", "reads the future"),
    "rank": (made(close.rank()), "x", "statistic of the whole sample"),
    "reverse": (made(close.reverse()), "x", "statistic of the whole sample"),
    "interpolate": (made(pl.when(pl.int_range(pl.len()) % 24 == 0).then(close).interpolate()), "x", "ahead"),
    "quantile": (
        made(pl.lit(0.0), target=(close > close.quantile(0.9)).cast(pl.Float64)),
        "target",
        "reads the future",
    ),
    "join": (made(signals=joined_ahead), "target", "3 bars ahead"),
    "join as of": (made(signals=next_midnight), "target", "23 bars ahead"),
    "fit": (made(signals=trained_on_everything), "target", "reads the future"),
}


@pytest.mark.parametrize("name", LOOKAHEAD)
def test_reading_the_future_is_caught(name, make_bars) -> None:
    strategy, column, words = LOOKAHEAD[name]
    report = check(strategy, make_bars(700, SYMBOLS))
    assert not report.is_causal
    finding = report.findings[0]
    assert (finding.kind, finding.severity, finding.column) == ("lookahead", "error", column)
    assert words in finding.text
    assert finding.text.startswith(f"{column!r} of {finding.symbol} at 2025-")
    assert finding.symbol in SYMBOLS


def test_backward_fill_over_one_hole_is_caught(make_bars) -> None:
    hole = pl.int_range(pl.len()).is_between(301, 303)
    bars = make_bars(3000).with_columns(index_close=pl.when(~hole).then("index_close"))
    report = check(made(pl.col("index_close").backward_fill()), bars)
    assert report.findings[0].column == "x"
    assert "2025-01-13 13:00" in report.findings[0].text


def test_the_bar_and_the_cut_are_named(make_bars) -> None:
    finding = check(made(close.shift(-1)), make_bars(100)).findings[0]
    assert finding.text.startswith("'x' of BTC/USDT:USDT at 2025-01-05 02:00 UTC is ")
    assert "with the bars from 2025-01-05 03:00 UTC on, null without them: it reads the future" in finding.text


class Honest(Strategy):
    length: int = Param(10, ge=2)

    def indicators(self):
        return {"mean": sma("close", self.length), "rank": close.rolling_mean(5), "slow": ema("close", 8)}

    def target(self):
        return pl.when(close > pl.col("mean")).then(pl.col("rank").rank().over("open_time")).otherwise(-1.0)


def test_honest_strategies_pass_with_their_warmup(make_bars) -> None:
    report = check(Honest(), make_bars(600, SYMBOLS))
    assert report.is_causal
    assert report.findings == ()
    assert report.bars == 600
    assert report.cuts >= 300
    assert report.warmup_column == "slow"
    assert 30 < report.warmup < ema("close", 8).lookback


def test_every_bar_cuts_everywhere(make_bars) -> None:
    assert check(Honest(), make_bars(120), every_bar=True).cuts == 119


def test_the_last_bars_are_all_cut(make_bars) -> None:
    step = pl.col("open_time").dt.epoch("ms")
    last = step == step.max() - 150 * 3_600_000  # one bar alone knows its place from the end
    report = check(made(pl.lit(0.0), target=last.cast(pl.Float64)), make_bars(3000), cuts=1)
    assert not report.is_causal


def test_a_cumulative_sum_is_no_lookahead_but_is_told(make_bars) -> None:
    report = check(made(close.cum_sum() / close.cum_count()), make_bars(400))
    assert report.is_causal
    (finding,) = report.findings
    assert (finding.kind, finding.severity, finding.column) == ("start", "warning", "x")
    assert "depends on where the history starts" in finding.text


def test_a_warmup_stated_too_small_is_told(make_bars) -> None:
    report = check(made(close.rolling_mean(50), warmup=20), make_bars(400))
    assert report.is_causal
    assert "needs 49 bars of warm-up, but the class states warmup = 20" in report.findings[0].text
    assert check(made(close.rolling_mean(50), warmup=60), make_bars(400)).findings == ()


def test_random_numbers_are_told_apart_from_lookahead(make_bars) -> None:
    def signals(self, bars):
        return bars.select("open_time", "symbol", target=pl.Series(np.random.default_rng().random(bars.height)))

    (finding,) = check(made(signals=signals), make_bars(100)).findings
    assert finding.kind == "random"
    assert "give its random numbers a seed" in finding.text


def test_failing_on_short_histories_is_a_warning(make_bars) -> None:
    def signals(self, bars):
        if bars.height < 30:
            raise ValueError("too short to train")
        return bars.select("open_time", "symbol", target=pl.lit(1.0))

    report = check(made(signals=signals), make_bars(200))
    assert report.is_causal
    assert "too short to train" in report.findings[0].text


def test_a_late_listing_is_no_lookahead(make_bars) -> None:
    bars = make_bars(500, SYMBOLS).filter((pl.col("symbol") == SYMBOLS[0]) | (pl.int_range(pl.len()) > 800))
    assert check(Honest(), bars).findings == ()


def test_too_few_bars_are_refused(make_bars) -> None:
    with pytest.raises(StrategyError, match="5 bars are too few"):
        check(Honest(), make_bars(5))


@pytest.mark.parametrize(
    ("strategy", "low", "high"),
    [
        (made(sma("close", 30)), 29, 29),
        (made(close.rolling_mean(30)), 29, 29),
        (made(rsi("close", 5)), 50, 120),
        (made(pl.lit(0.0), target=close.rolling_mean(12).shift(3)), 14, 14),
        (made(close.cum_sum()), 400, 400),
        (made(pl.lit(0.0), target=pl.lit(1.0)), 0, 0),
    ],
)
def test_measured_warmup(strategy, low, high, make_bars) -> None:
    assert low <= strategy.warmup_bars(make_bars(400)) <= high


def test_warmup_of_a_short_history_is_what_indicators_look_back(make_bars) -> None:
    assert measured_warmup(Honest(length=500), make_bars(10)) == 499
    assert measured_warmup(Honest(length=500), make_bars(300)) == 499


def test_differing_forgives_rounding_alone() -> None:
    first = pl.Series([1.0, 1.0, None, 2.0, None, 1e-15, 5.0])
    second = pl.Series([1.0, 1.0 + 1e-12, None, None, 2.0, 0.0, 5.00001])
    assert differing(first, second, 1e-9).tolist() == [False, False, False, True, True, False, True]
    assert differing(pl.Series(["a", None]), pl.Series(["a", "b"]), 1e-9).tolist() == [False, True]
    assert differing(pl.Series([None, None]), pl.Series([None, 1.0]), 1e-9).tolist() == [False, True]


def test_it_is_reasonably_fast(make_bars) -> None:
    bars = make_bars(2000, SYMBOLS)
    check(Honest(), bars.head(100))
    began = time.process_time()
    check(Honest(), bars)
    assert time.process_time() - began < 20
