"""Names, timeframes, columns."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from backtester.domain.enums import ContractKind
from backtester.domain.instrument import Instrument
from backtester.errors import DataError, UnknownNameError, UsageError
from backtester.market.schema import (
    SERIES,
    TIME,
    DatasetKey,
    conform,
    instrument_frame,
    timeframe_ms,
    timeframe_name,
)


@pytest.mark.parametrize(
    ("name", "ms"), [("1s", 1_000), ("1m", 60_000), ("5m", 300_000), ("1h", 3_600_000), ("4h", 14_400_000)]
)
def test_timeframes_go_both_ways(name: str, ms: int) -> None:
    assert timeframe_ms(name) == ms
    assert timeframe_name(ms) == name


def test_a_timeframe_is_named_in_its_largest_unit() -> None:
    assert timeframe_name(timeframe_ms("60m")) == "1h"
    assert timeframe_name(timeframe_ms("24h")) == "1d"
    assert timeframe_name(timeframe_ms("7d")) == "1w"
    assert DatasetKey("binance", "BTC/USDT:USDT", "trade", "60m").timeframe == "1h"


@pytest.mark.parametrize("name", ["", "h", "0h", "1M", "1 hour", "-1h", "1.5h"])
def test_what_is_no_timeframe_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not a timeframe"):
        timeframe_ms(name)


def test_a_unit_in_capitals_is_answered_with_the_timeframe() -> None:
    with pytest.raises(UsageError, match="Did you mean '1h'"):
        timeframe_ms("1H")
    with pytest.raises(UsageError, match="Months have no fixed length"):
        timeframe_ms("1M")


def test_keys_are_checked() -> None:
    with pytest.raises(UnknownNameError, match="Unknown series 'trades'"):
        DatasetKey("binance", "BTC/USDT:USDT", "trades", "1h")
    with pytest.raises(UsageError, match="'trade' has a timeframe"):
        DatasetKey("binance", "BTC/USDT:USDT", "trade", "event")
    with pytest.raises(UsageError, match="'funding' has no timeframe"):
        DatasetKey("binance", "BTC/USDT:USDT", "funding", "8h")
    assert str(DatasetKey("binance", "BTC/USDT:USDT", "funding", "event")) == "binance BTC/USDT:USDT funding"


def test_the_instrument_series_has_the_fields_of_an_instrument() -> None:
    assert list(SERIES["instrument"].columns) == list(Instrument.model_fields)


def test_an_inverse_instrument_is_stored_as_text() -> None:
    row = instrument_frame(Instrument(symbol="BTC/USD:BTC", kind=ContractKind.INVERSE, settle="BTC"))
    assert row["kind"].to_list() == ["inverse"]
    assert row["lot"].to_list() == [None]


def test_times_of_any_kind_become_utc_milliseconds() -> None:
    prices = {c: [1.0] for c in ("open", "high", "low", "close")}
    for value in (
        pl.Series([1_735_689_600_000]),
        pl.Series([datetime(2025, 1, 1)]),
        pl.Series([datetime(2025, 1, 1)]).cast(pl.Datetime("ns")),
        pl.Series([datetime(2025, 1, 1, 1)]).dt.replace_time_zone("Europe/Berlin"),
    ):
        out = conform(pl.DataFrame({"open_time": value, **prices}), "mark", "test")
        assert out.schema["open_time"] == TIME
        assert out["open_time"].dt.epoch("ms").to_list() == [1_735_689_600_000]


def test_other_columns_are_left_out_and_wrong_kinds_refused() -> None:
    frame = pl.DataFrame({"open_time": [0], "open": [1], "high": ["2"], "low": [0.5], "close": [1.5], "trades": [7]})
    assert conform(frame, "trade", "test").columns == ["open_time", "open", "high", "low", "close", "volume"]
    with pytest.raises(DataError, match="of the wrong kind"):
        conform(frame.with_columns(high=pl.lit("two")), "trade", "test")
