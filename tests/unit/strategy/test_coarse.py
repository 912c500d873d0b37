"""``at``: indicators of a coarser timeframe see bars that have closed, and no others."""

from __future__ import annotations

import importlib
import re

import numpy as np
import polars as pl
import pytest

from backtester.errors import StrategyError
from backtester.strategy import Evaluator, Strategy, at, ema, evaluate, lag, ref, rolling_max, sma
from backtester.strategy.causality import check, measured_warmup
from backtester.strategy.coarse import bar_length, coarse_bars, parse_timeframe, timeframe_text

HOUR = 3_600_000
SYMBOLS = ("A/USDT:USDT", "B/USDT:USDT")


def made(item) -> Strategy:
    body = {"indicators": lambda self: {"x": item}, "target": lambda self: pl.when(pl.col("x") > 0).then(1.0)}
    return type("Made", (Strategy,), body)()


def values(item, bars) -> list:
    return Evaluator(bars).columns(made(item))["x"].to_list()


def counted(make_bars, count=12, first_hour=0, symbols=SYMBOLS[:1]) -> pl.DataFrame:
    """Hourly bars whose close is the hour since midnight (24 more for each further symbol)."""
    bars = make_bars(count + first_hour, symbols)
    hours = pl.int_range(pl.len()).over("symbol") + 24 * (pl.col("symbol") != symbols[0])
    bars = bars.with_columns(close=hours.cast(pl.Float64), high=hours + 0.5, low=hours - 0.5, volume=hours + 1.0)
    return bars.filter(hours % 24 >= first_hour)


def test_a_bar_sees_the_last_coarser_bar_that_closed_by_its_close(make_bars) -> None:
    # the bar of 03:00 closes at 04:00, as the first one of four hours does, whose close is 3
    assert values(at("4h", "close"), counted(make_bars)) == [None] * 3 + [3.0] * 4 + [7.0] * 4 + [11.0]


def test_indicators_inside_count_coarser_bars(make_bars) -> None:
    # closes at 3, 7, 11: means of two are 5 and 9
    assert values(at("4h", sma("close", 2)), counted(make_bars)) == [None] * 7 + [5.0] * 4 + [9.0]


def test_it_can_be_the_input_of_another_indicator(make_bars) -> None:
    # hours 2 to 6 are null, 3, 3, 3, 3; the mean of two needs both
    assert values(sma(at("4h", "close"), 2), counted(make_bars, 9)) == [None] * 4 + [3.0] * 3 + [5.0, 7.0]
    assert values(lag(at("2h", rolling_max("high", 1)), 1), counted(make_bars, 5)) == [None, None, 1.5, 1.5, 3.5]


def test_timeframes_nest(make_bars) -> None:
    # half days close at 11 and 23; as bars of two hours see them, and those as bars of one hour
    nested = at("2h", at("12h", "close"))
    assert values(nested, counted(make_bars, 26)) == [None] * 11 + [11.0] * 12 + [23.0] * 3


def test_each_symbol_stands_alone(make_bars) -> None:
    seen = values(at("4h", "close"), counted(make_bars, 5, symbols=SYMBOLS))
    assert seen == [None] * 3 + [3.0, 3.0] + [None] * 3 + [27.0, 27.0]


def test_a_first_bar_that_is_cut_is_left_out(make_bars) -> None:
    # from 02:00 on: the bar of 00:00 to 04:00 is not whole
    assert values(at("4h", "close"), counted(make_bars, 8, first_hour=2)) == [None] * 5 + [7.0] * 3


def test_a_hole_does_not_delay_what_has_closed(make_bars) -> None:
    bars = counted(make_bars).filter(~pl.col("close").is_in([3.0, 4.0]))
    # the bars of 03:00 and 04:00 are missing: that of 05:00 sees the one of 00:00 to 04:00, which ended with 02:00
    assert values(at("4h", "close"), bars) == [None] * 3 + [2.0] * 2 + [7.0] * 4 + [11.0]


def test_coarser_bars_are_summed_up_by_column(make_bars) -> None:
    bars = counted(make_bars, 8).with_columns(
        pl.col("low").alias("ref:X/USDT:USDT:low"), premium=pl.col("close"), volume=pl.Series([1.0] * 4 + [None] * 4)
    )
    columns = ["open", "high", "low", "close", "volume", "premium", "ref:X/USDT:USDT:low"]
    coarse = coarse_bars(bars, columns, 4 * HOUR)
    assert coarse["open"].to_list() == [bars["open"][0], bars["open"][4]]
    assert coarse["high"].to_list() == [3.5, 7.5]
    assert coarse["low"].to_list() == [-0.5, 3.5]
    assert coarse["close"].to_list() == coarse["premium"].to_list() == [3.0, 7.0]
    assert coarse["volume"].to_list() == [4.0, None]
    assert coarse["ref:X/USDT:USDT:low"].to_list() == [-0.5, 3.5]
    assert coarse["open_time"].to_list() == [bars["open_time"][0], bars["open_time"][4]]


def test_weeks_open_on_mondays(make_bars) -> None:
    bars = make_bars(24 * 14)  # from Wednesday 2025-01-01
    coarse = coarse_bars(bars, ["close"], parse_timeframe("1w"))
    assert coarse["open_time"].dt.to_string("%Y-%m-%d %H").to_list() == ["2025-01-06 00", "2025-01-13 00"]


def test_expressions_and_references_are_read_on_coarser_bars(make_bars) -> None:
    bars = counted(make_bars, 9, symbols=SYMBOLS)
    spread = at("4h", pl.col("high") - pl.col("low"))
    assert values(spread, bars)[3:9] == [4.0] * 6, "from the low of the first hour to the high of the last"
    other = at("4h", ema(ref(SYMBOLS[0], "close"), 1))
    assert values(other, bars)[9:] == [None] * 3 + [3.0] * 4 + [7.0] * 2


def test_the_same_timeframe_changes_nothing(make_bars) -> None:
    bars = make_bars(40)
    assert values(at("1h", ema("close", 5)), bars) == values(ema("close", 5), bars)


def test_it_is_computed_once_and_compared_by_value(make_bars, monkeypatch) -> None:
    module = importlib.import_module("backtester.strategy.evaluate")
    assert at("4h", sma("close", 3)) == at("240m", sma(pl.col("close"), 3))
    assert hash(at("4h", "close")) == hash(at("4h", "close"))
    assert at("4h", "close") != at("8h", "close")
    calls = []
    plain = module.coarse_bars
    monkeypatch.setattr(module, "coarse_bars", lambda *given: calls.append(given[2]) or plain(*given))
    evaluator = Evaluator(make_bars(60))
    for length in (2, 3):
        evaluator.decisions(made(sma(at("4h", ema("close", 5)), length)))
    assert calls == [4 * HOUR]


@pytest.mark.parametrize("timeframe", ["90m", "30m", "1h30m", "4", "", "1M", "0h"])
def test_timeframes_that_do_not_fit_are_refused(timeframe, make_bars) -> None:
    class Wrong(Strategy):
        def indicators(self):
            return {"x": at(timeframe, "close")}

        def target(self):
            return pl.col("x")

    with pytest.raises(StrategyError) as caught:
        evaluate(Wrong(), make_bars(30))
    assert re.search(r"is no multiple of the bars' length, 1h|is not a timeframe", caught.value.message)


def test_causality_passes_with_holes_and_late_listings(make_bars) -> None:
    bars = make_bars(400, SYMBOLS)
    place = pl.int_range(pl.len())
    bars = bars.filter(~place.is_between(101, 106) & ((pl.col("symbol") == SYMBOLS[0]) | (place > 530)))
    report = check(made(at("4h", sma("close", 5))), bars, every_bar=True)
    assert report.findings == ()


def test_causality_catches_a_bar_that_has_not_closed(make_bars) -> None:
    first = pl.col("open_time").dt.truncate("4h")
    report = check(made(at("1h", "close")), make_bars(100))
    assert report.is_causal
    open_bar = type("Made", (Strategy,), {"target": lambda self: pl.col("close").last().over("symbol", first)})()
    report = check(open_bar, make_bars(100))
    assert not report.is_causal
    assert "3 bars ahead" in report.findings[0].text


@pytest.mark.parametrize(
    ("item", "bars"),
    [
        (at("4h", "close"), 6),  # of a bar that began seven hours before the last that sees it
        (at("4h", sma("close", 5)), 4 * 4 + 6),
        (sma(at("4h", "close"), 3), 2 + 6),
        (at("8h", at("1d", "close")), 8 * 4 + 14),  # four bars of eight hours, and those of at itself
    ],
)
def test_warmup_counts_bars_of_the_run(item, bars, make_bars) -> None:
    assert item.lookback_at(HOUR) == bars
    assert measured_warmup(made(item), make_bars(10)) == bars
    report = check(made(item), make_bars(300))
    assert report.findings == ()
    assert report.warmup <= bars
    assert made(item).warmup_bars(make_bars(300)) == bars


def test_the_lookback_depends_on_the_bars_length() -> None:
    with pytest.raises(ValueError, match="depends on their length"):
        _ = at("4h", "close").lookback
    assert sma("close", 5).lookback_at(HOUR) == sma("close", 5).lookback == 4


def test_lengths_and_names(make_bars) -> None:
    assert [timeframe_text(parse_timeframe(text)) for text in ("30s", "90m", "4h", "24h", "1w")] == [
        "30s",
        "90m",
        "4h",
        "1d",
        "1w",
    ]
    assert timeframe_text(1_500) == "1500 ms"
    assert bar_length(make_bars(3, SYMBOLS)) == HOUR
    assert bar_length(make_bars(1, SYMBOLS)) is None
    assert values(at("4h", "close"), make_bars(1)) == [None]
    assert np.isnan(Evaluator(make_bars(1))._indicator(at("4h", "close"), make_bars(1))).all()
