"""Evaluation: targets from bars, and every way in which a strategy can be wrong."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtester.errors import DataError, StrategyError
from backtester.strategy import Evaluator, Param, Strategy, evaluate, lag, ref, roc, sma, zscore

HERE = Path(__file__).name
SYMBOLS = ("A/USDT:USDT", "B/USDT:USDT", "C/USDT:USDT")


class Trend(Strategy):
    fast: int = Param(3, ge=2)
    slow: int = Param(8, ge=3)

    def indicators(self):
        return {"fast": sma("close", self.fast), "slow": sma("close", self.slow)}

    def target(self):
        return pl.when(pl.col("fast") > pl.col("slow")).then(1.0).otherwise(-1.0)


def strategy_of(target=None, indicators=None, signals=None, **more) -> Strategy:
    """Strategy made of functions."""
    body = {"target": target, "indicators": indicators, "signals": signals, **more}
    return type("Made", (Strategy,), {key: value for key, value in body.items() if value is not None})()


def failure(strategy: Strategy, bars: pl.DataFrame) -> StrategyError:
    with pytest.raises(StrategyError) as caught:
        evaluate(strategy, bars)
    return caught.value


def test_targets_stand_beside_the_bars(make_bars) -> None:
    bars = make_bars(60, SYMBOLS)
    targets = evaluate(Trend(), bars)
    assert targets.columns == ["open_time", "symbol", "target"]
    assert targets.schema["target"] == pl.Float64
    assert targets.select("open_time", "symbol").equals(bars.select("open_time", "symbol"))
    for symbol in SYMBOLS:
        close = bars.filter(pl.col("symbol") == symbol)["close"]
        wanted = [1.0 if up else -1.0 for up in (close.rolling_mean(3) > close.rolling_mean(8))[7:]]
        assert targets.filter(pl.col("symbol") == symbol)["target"].to_list() == [None] * 7 + wanted


def test_nothing_is_decided_before_every_indicator_is_there(make_bars) -> None:
    bars = make_bars(60, SYMBOLS[:2]).filter((pl.col("symbol") == SYMBOLS[0]) | (pl.int_range(pl.len()) > 115))
    targets = evaluate(Trend(), bars)
    late = targets.filter(pl.col("symbol") == SYMBOLS[1])["target"]
    assert late.len() == 4
    assert late.null_count() == 4, "a symbol listed three bars ago has no slow average"


def test_each_distinct_indicator_is_computed_once(make_bars, monkeypatch) -> None:
    from backtester.strategy import rolling

    calls = []
    plain = rolling.mean
    monkeypatch.setattr(rolling, "mean", lambda out, x, length: calls.append(length) or plain(out, x, length))
    evaluator = Evaluator(make_bars(60, SYMBOLS[:2]))
    for fast in (3, 4, 5):
        evaluator.decisions(Trend(fast=fast, slow=8))
    assert sorted(calls) == [3, 3, 4, 4, 5, 5, 8, 8], "once per symbol"


def test_target_looks_across_symbols(make_bars) -> None:
    bars = make_bars(40, SYMBOLS)
    strategy = strategy_of(
        lambda self: pl.col("change").rank().over("open_time") - 2, lambda self: {"change": roc("close", 5)}
    )
    targets = evaluate(strategy, bars)["target"].to_numpy().reshape(3, 40)
    change = bars["close"].to_numpy().reshape(3, 40)
    change = change[:, 5:] / change[:, :-5]
    np.testing.assert_array_equal(targets[:, 5:], change.argsort(axis=0).argsort(axis=0) - 1)


def test_history_in_target_stays_within_the_symbol(make_bars) -> None:
    bars = make_bars(20, SYMBOLS)
    targets = evaluate(strategy_of(lambda self: pl.col("close").shift(1) * 0 + 1), bars)["target"]
    assert [targets[row] for row in (0, 20, 40)] == [None] * 3


def test_history_beside_over_is_refused_unless_it_names_the_symbol(make_bars) -> None:
    bars = make_bars(20, SYMBOLS)
    rank = pl.col("close").rank().over("open_time")
    error = failure(strategy_of(lambda self: rank + pl.col("close").shift(1)), bars)
    assert 'add .over("symbol")' in error.message
    evaluate(strategy_of(lambda self: rank + pl.col("close").shift(1).over("symbol")), bars)
    evaluate(strategy_of(lambda self: rank + pl.col("close").shift(1)), make_bars(20))


def test_references_among_the_bars_are_found_there(make_bars) -> None:
    bars = make_bars(30, SYMBOLS)
    strategy = strategy_of(lambda self: pl.col("ratio"), lambda self: {"ratio": sma(ref(SYMBOLS[1], "close"), 1)})
    targets = evaluate(strategy, bars)["target"].to_numpy().reshape(3, 30)
    other = bars.filter(pl.col("symbol") == SYMBOLS[1])["close"].to_numpy()
    np.testing.assert_allclose(targets, np.tile(other, (3, 1)), rtol=1e-15)


def test_stored_reference_columns_are_read(make_bars) -> None:
    bars = make_bars(30).with_columns(pl.lit(0.5).alias("ref:X/USDT:USDT:funding_rate"))
    assert evaluate(strategy_of(lambda self: ref("X/USDT:USDT", "funding_rate")), bars)[
        "target"
    ].unique().to_list() == [0.5]


def test_unknown_reference_says_what_is_there(make_bars) -> None:
    error = failure(strategy_of(lambda self: ref("X/USDT:USDT", "close")), make_bars(30, SYMBOLS))
    assert "reads 'close' of X/USDT:USDT, which is not among the data" in error.message
    assert SYMBOLS[2] in error.hint


@pytest.mark.parametrize("value", [1, 0, -2.5, None])
def test_literals_serve_every_bar(value, make_bars) -> None:
    targets = evaluate(strategy_of(lambda self: pl.lit(value)), make_bars(5, SYMBOLS))
    assert targets["target"].to_list() == [value] * 15
    assert targets.schema["target"] == pl.Float64


def test_empty_bars_give_empty_targets(make_bars) -> None:
    assert evaluate(Trend(), make_bars(5).clear()).is_empty()


def test_signals_see_bars_and_indicators(make_bars) -> None:
    bars = make_bars(30, SYMBOLS)

    def signals(self, bars):
        return bars.select("open_time", "symbol", target=pl.col("before"))

    targets = evaluate(strategy_of(None, lambda self: {"before": lag("close")}, signals), bars)["target"]
    assert targets.to_list() == bars.select(pl.col("close").shift(1).over("symbol"))["close"].to_list()


@pytest.mark.parametrize(
    ("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinite"), (float("-inf"), "infinite")]
)
def test_targets_that_are_no_numbers_name_symbol_and_first_time(value, word, make_bars) -> None:
    bars = make_bars(48, SYMBOLS)
    is_bad = (pl.col("symbol") == SYMBOLS[1]) & (pl.col("open_time").dt.hour() == 21)
    error = failure(strategy_of(lambda self: pl.when(is_bad).then(value).otherwise(0.0)), bars)
    assert word in error.message
    assert f"for {SYMBOLS[1]} at 2025-01-01 21:00 UTC (2 such bars)" in error.message
    assert HERE in error.hint


def test_a_strategy_that_raises_is_told_its_own_line(make_bars) -> None:
    def target(self):
        return 1 / 0  # the line to be named

    error = failure(strategy_of(target), make_bars(9))
    assert "Strategy 'made' raised ZeroDivisionError in target(): division by zero" in error.message
    assert re.search(r"test_evaluate.py:\d+: return 1 / 0  # the line to be named", error.hint)


class Deep(Strategy):
    def indicators(self):
        return {"a": self._build()}

    def _build(self):
        return sma("close", 0)

    def target(self):
        return pl.col("a")


def test_the_deepest_own_line_is_named(make_bars) -> None:
    error = failure(Deep(), make_bars(9))
    assert "raised ValueError in indicators(): sma: length must be at least 1, got 0" in error.message
    assert 'return sma("close", 0)' in error.hint


class Misspelt(Strategy):
    def target(self):
        average = pl.col("close").mean()
        return average - pl.col("clsoe")


def test_unknown_columns_name_the_nearest_and_the_line(make_bars) -> None:
    error = failure(Misspelt(), make_bars(9))
    assert "reads 'clsoe', which is neither a column of the bars nor one of its indicators" in error.message
    assert "Did you mean 'close'" in error.hint
    assert 'return average - pl.col("clsoe")' in error.hint


@pytest.mark.parametrize("name", ["premium", "index_close", "volume"])
def test_series_that_are_not_there_are_named(name, make_bars) -> None:
    bars = make_bars(30).drop(name)
    error = failure(strategy_of(lambda self: pl.col("a"), lambda self: {"a": zscore(name, 5)}), bars)
    assert f"reads {name!r}, which these data do not have" in error.message
    assert "Import" in error.hint


def test_series_without_values_are_named_with_the_symbol(make_bars) -> None:
    bars = make_bars(30, SYMBOLS).with_columns(premium=pl.when(pl.col("symbol") != SYMBOLS[1]).then("premium"))
    strategy = strategy_of(lambda self: pl.when(pl.col("premium") > 0).then(1.0).otherwise(-1.0))
    assert f"reads 'premium', which has no value for {SYMBOLS[1]}" in failure(strategy, bars).message


def test_either_series_to_spot_is_enough(make_bars) -> None:
    strategy = strategy_of(lambda self: pl.coalesce("premium", pl.col("mark_close") / pl.col("index_close") - 1))
    bars = make_bars(30)
    whole = evaluate(strategy, bars)["target"]
    np.testing.assert_allclose(evaluate(strategy, bars.drop("premium"))["target"], whole, atol=1e-15)
    assert evaluate(strategy, bars.drop("index_close"))["target"].equals(whole)
    failure(strategy, bars.drop("index_close", "premium"))


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (lambda self: pl.col("close").head(3), "does not give one value for each of the 12 bars"),
        (lambda self: pl.col("close") > 1, "must be a number .* got Boolean: add .cast"),
        (lambda self: pl.col("symbol"), "must be a number .* got String"),
        (lambda self: None, "must return a polars expression, got NoneType"),
        (lambda self: sma("close", 3), "returned an indicator: name it in indicators"),
        (lambda self: pl.col("close") + pl.col("symbol"), "InvalidOperationError|ComputeError"),
    ],
)
def test_targets_of_a_wrong_kind(target, problem, make_bars) -> None:
    error = failure(strategy_of(target), make_bars(12, SYMBOLS))
    assert re.search(problem, error.message)
    assert HERE in error.hint


@pytest.mark.parametrize(
    ("indicators", "problem"),
    [
        (lambda self: [sma("close", 3)], "must return a dict of names, got list"),
        (lambda self: {"a": 3}, "to indicators or expressions, got 'a': int"),
        (lambda self: {"close": sma("close", 3)}, "names an indicator 'close', which is a column's name already"),
        (lambda self: {"target": sma("close", 3)}, "names an indicator 'target'"),
        (lambda self: {"limit_share_2": sma("close", 3)}, "names an indicator 'limit_share_2'"),
        (lambda self: {"a": pl.col("close").rank().over("open_time")}, r"\.over\(\) belongs into target"),
        (lambda self: {"a": pl.col("close").head(2)}, "does not give one value for each"),
        (lambda self: {"a": sma("symbol", 3)}, "raised .*Error in indicators"),
        (lambda self: {"a": sma("close", 3), "b": pl.col("a") * 2}, "reads 'a'"),
    ],
)
def test_indicators_of_a_wrong_kind(indicators, problem, make_bars) -> None:
    error = failure(strategy_of(lambda self: pl.lit(1.0), indicators), make_bars(12, SYMBOLS))
    assert re.search(problem, error.message)
    assert HERE in error.hint


def shuffled(bars):
    return bars.select("open_time", "symbol", target=pl.lit(1.0)).reverse()


@pytest.mark.parametrize(
    ("signals", "problem"),
    [
        (lambda self, bars: None, "must return a polars DataFrame, got NoneType"),
        (lambda self, bars: bars, "without the column 'target'"),
        (lambda self, bars: bars.with_columns(target=1.0).head(5), "with 5 rows for 36 bars: give one per bar"),
        (lambda self, bars: shuffled(bars), "in another order: row 0 should be the bar"),
        (lambda self, bars: bars.with_columns(target=1.0, target_long=1.0), "without the column 'target_short'"),
        (
            lambda self, bars: bars.with_columns(target=1.0, target_long=1.0, target_short=0.0),
            "with both 'target' and 'target_long'",
        ),
        (lambda self, bars: bars.with_columns(target=1.0, stop_loss=1.5), "wants a stop_loss of 1.5 for A/USDT"),
        (lambda self, bars: bars.with_columns(target=1.0, active=1.0), "active must be true or false, got Float64"),
        (
            lambda self, bars: bars.with_columns(target=1.0, open_time=1),
            "'open_time' of type Int32 instead of Datetime",
        ),
        (lambda self, bars: bars.with_columns(target=pl.lit("up")), "must be a number"),
        (lambda self, bars: bars.with_columns(target=pl.lit(float("nan"))), "NaN"),
        (lambda self, bars: bars["nothing"], "raised ColumnNotFoundError in signals"),
    ],
)
def test_signals_of_a_wrong_kind(signals, problem, make_bars) -> None:
    error = failure(strategy_of(signals=signals), make_bars(12, SYMBOLS))
    assert re.search(problem, error.message)
    assert HERE in error.hint


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda bars: bars.drop("symbol"), "there is no column 'symbol'"),
        (lambda bars: bars.sort("open_time"), "rows of one symbol do not stand together"),
        (lambda bars: bars.reverse(), "open_time does not rise"),
        (lambda bars: pl.concat([bars.head(3), bars.slice(2)]), "open_time does not rise at 2025-01-01 02:00 UTC"),
    ],
)
def test_bars_out_of_order_are_refused(spoil, problem, make_bars) -> None:
    with pytest.raises(DataError, match=problem):
        evaluate(Trend(), spoil(make_bars(20, SYMBOLS)))


def test_same_input_gives_the_same_bytes(make_bars) -> None:
    bars = make_bars(200, SYMBOLS)
    assert evaluate(Trend(), bars).equals(evaluate(Trend(), bars))
    assert isinstance(bars["open_time"][0], datetime)


def test_values_of_an_indicator_are_an_array_of_all_bars(make_bars) -> None:
    bars = make_bars(40, SYMBOLS[:2])
    evaluator = Evaluator(bars)
    for item in (sma("close", 5), roc(ref(SYMBOLS[0], "close"), 3), sma(pl.col("close") - pl.col("open"), 4)):
        seen = evaluator.columns(strategy_of(lambda self: pl.lit(0.0), lambda self, item=item: {"x": item}))["x"]
        values = evaluator.values(item)
        assert values is evaluator.values(item)
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values, Evaluator(bars).values(item))
        np.testing.assert_array_equal(values, seen.fill_null(np.nan).to_numpy())


def test_values_of_what_is_not_there(make_bars) -> None:
    evaluator = Evaluator(make_bars(40).drop("index_close"))
    with pytest.raises(StrategyError, match="reads 'clsoe', which is not among the data"):
        evaluator.values(sma("clsoe", 5))
    assert np.isnan(evaluator.values(sma("index_close", 5))).all()
