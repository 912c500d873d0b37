"""Errors: what they say, which exit code they carry, nearest names, times."""

from __future__ import annotations

import pytest

from backtester import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.ConfigError("x"), 2),
        (errors.UnknownNameError("key", "x", []), 2),
        (errors.DataError("s", "p"), 1),
        (errors.StoreError("x"), 1),
        (errors.ExchangeError("x"), 1),
        (errors.AccountError("x"), 1),
        (errors.StrategyError("x"), 1),
        (errors.InternalError("x"), 70),
    ],
)
def test_exit_codes(error, code):
    assert error.exit_code == code
    assert isinstance(error, errors.BacktesterError)


def test_the_hint_stands_below_the_message():
    assert str(errors.AccountError("Wrong.", "Do this.")) == "Wrong.\nDo this."
    assert str(errors.AccountError("Wrong.")) == "Wrong."


def test_a_data_error_names_series_time_and_way_on():
    error = errors.DataError("binance BTC trade 1h", "a gap", 1_760_130_000_000, "Allow it.")
    assert str(error) == "binance BTC trade 1h: a gap at 2025-10-10 21:00 UTC.\nAllow it."
    assert str(errors.DataError("binance BTC trade 1h", "no bars")) == "binance BTC trade 1h: no bars."


def test_unknown_names_suggest_or_list():
    near = errors.UnknownNameError("strategy", "trendd", ["trend", "pairs"], "in ./strategies")
    assert str(near) == "Unknown strategy 'trendd' in ./strategies.\nDid you mean 'trend'?"
    assert errors.UnknownNameError("key", "zzz", ["b", "a"]).hint == "Known: a, b."
    assert errors.UnknownNameError("key", "zzz", map(str, range(20))).hint.endswith(", ….")
    assert errors.UnknownNameError("symbol", "BTC", []).hint == "There is no symbol yet."


def test_nearest_names_ignore_case():
    assert errors.nearest_names("BTC/usdt:usdt", ["BTC/USDT:USDT", "DOGE/USDT:USDT"])[0] == "BTC/USDT:USDT"
    assert errors.nearest_names("qqq", ["trend"]) == []


def test_other_signs_or_a_name_cut_off_mean_one_name_alone():
    known = ["BTC/USDT:USDT", "ETH/USDT:USDT", "BCH/USDT:USDT"]
    for written in ("BTCUSDT", "BTC/USDT", "btc/usdt:usdt", "btc"):
        assert errors.nearest_names(written, known) == ["BTC/USDT:USDT"]
    assert len(errors.nearest_names("BTC", [*known, "BTC/USD:BTC"])) == 2


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01 00:00 UTC"),
        (1_760_130_000_000, "2025-10-10 21:00 UTC"),
        (1_760_130_001_000, "2025-10-10 21:00:01 UTC"),
        (1_760_130_000_007, "2025-10-10 21:00:00.007 UTC"),
        (-1, "1969-12-31 23:59:59.999 UTC"),
    ],
)
def test_times(ms, text):
    assert errors.format_time(ms) == text


def test_what_a_name_belongs_to_is_said_after_it_and_the_nearest_before_the_way_on() -> None:
    error = errors.UnknownNameError(
        "parameter of strategy 'trend'", "fats", ["fast", "slow"], hint="It has fast, slow."
    )
    assert str(error) == "Unknown parameter 'fats' of strategy 'trend'.\nDid you mean 'fast'? It has fast, slow."
    far = errors.UnknownNameError("parameter of strategy 'trend'", "zzz", ["fast", "slow"], hint="It has fast, slow.")
    assert far.hint == "It has fast, slow."
