"""Run files: strict keys, bounds, settings on the command line, TOML there and back."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from backtester.domain.config import RunConfig
from backtester.engine.run_file import (
    build_config,
    config_text,
    merge,
    parse_setting,
    parse_time,
    read_tree,
)
from backtester.errors import ConfigError, UnknownNameError, UsageError


@pytest.mark.parametrize(
    ("tree", "nearest"),
    [
        ({"dta": {}}, "'data'"),
        ({"data": {"venu": "x"}}, "'data.venue'"),
        ({"slippage_bps": 2}, "'execution.slippage_bps'"),
        ({"execution": {"slipage_bps": 1}}, "'execution.slippage_bps'"),
        ({"instruments": {"BTC/USDT:USDT": {"lots": 1}}}, "'instruments.BTC/USDT:USDT.lot'"),
        (
            {"tiers": {"*": [{"notional_flor": 0, "maintenance_margin_rate": 0.1, "max_leverage": 3}]}},
            "'tiers.*.0.notional_floor'",
        ),
    ],
)
def test_unknown_keys_name_the_nearest(tree: dict, nearest: str) -> None:
    with pytest.raises(UnknownNameError, match=nearest.replace("*", r"\*")):
        build_config(tree)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"account": {"leverage": -1}}, "account.leverage must be greater than 0, not -1"),
        ({"account": {"leverage": True}}, "account.leverage must be a number, not True"),
        ({"account": {"balance": "5"}}, "account.balance must be a number, not '5'"),
        ({"data": {"allow_gaps": "yes"}}, "data.allow_gaps must be true or false, not 'yes'"),
        ({"data": {"symbols": 3}}, "data.symbols must be a list, not 3"),
        ({"data": {"venue": 3}}, "data.venue must be a text, not 3"),
        ({"execution": {"band": float("inf")}}, "execution.band must be a finite number"),
        ({"instruments": {"A": {"taker_fee": float("nan")}}}, "instruments.A.taker_fee must be"),
        ({"instruments": {"A": {"maker_fee": -3}}}, "instruments.A.maker_fee must be greater than -1"),
        ({"instruments": {"A": {"taker_fee": 5}}}, "instruments.A.taker_fee must be less than 1"),
        ({"instruments": {"A": {"lot": float("inf")}}}, "instruments.A.lot must be a finite number"),
        ({"instruments": {"A": {"min_notional": float("inf")}}}, "instruments.A.min_notional must be a finite"),
        ({"instruments": {"A": {"funding_interval_hours": 1e-5}}}, "instruments.A.funding_interval_hours must be at"),
        ({"tiers": {"A": [{"max_leverage": 5}]}}, r"maintenance_margin_rate must be given"),
        (
            {"tiers": {"A": [{"max_leverage": 5, "maintenance_margin_rate": True}]}},
            r"tiers\.A\.0\.maintenance_margin_rate must be a number",
        ),
        (
            {
                "tiers": {
                    "A": [{"max_leverage": 5, "maintenance_margin_rate": 0.1, "notional_floor": 5, "notional_cap": 4}]
                }
            },
            r"tiers\.A\.0 is refused \(notional_cap 4",
        ),
        ({"account": {"balance": float("inf")}}, "account.balance"),
        ({"execution": {"latency_bars": 1.5}}, "execution.latency_bars"),
        ({"data": {"mark": "trad"}}, "Did you mean 'trade'"),
        ({"data": 5}, "data must be a table of keys, not 5"),
    ],
)
def test_values_out_of_bounds_name_their_key(tree: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config(tree)


def test_numbers_of_numpy_are_numbers() -> None:
    account = build_config({"account": {"leverage": np.int64(3), "balance": np.float32(50)}}).account
    assert (account.leverage, account.balance) == (3.0, 50.0)


def test_settings_reach_any_key() -> None:
    assert parse_setting("execution.slippage_bps=2") == {"execution": {"slippage_bps": 2}}
    assert parse_setting("data.venue=binance") == {"data": {"venue": "binance"}}
    assert parse_setting('instruments."BTC/USDT:USDT".lot = 0.001') == {
        "instruments": {"BTC/USDT:USDT": {"lot": 0.001}}
    }
    assert parse_setting("data.symbols=['A', 'B']") == {"data": {"symbols": ["A", "B"]}}
    assert parse_setting('strategy.params.name=quote " inside') == {"strategy": {"params": {"name": 'quote " inside'}}}


@pytest.mark.parametrize("text", ["fast", "=3", "a b=3", "a..b=1"])
def test_settings_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_setting(text)


def test_merge_goes_deep_and_lets_the_second_win() -> None:
    assert merge({"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": 3}, "c": 4}) == {"a": {"x": 1, "y": 3}, "b": 1, "c": 4}


def test_a_configuration_survives_its_file(tmp_path: Path) -> None:
    tree = {
        "data": {"symbols": ["BTC/USDT:USDT"], "start": "2025-01-01"},
        "tiers": {"*": [{"maintenance_margin_rate": 0.01, "max_leverage": 50}]},
        "instruments": {"BTC/USDT:USDT": {"lot": 0.001}},
        "strategy": {"name": "trend", "params": {"fast": 24}},
    }
    config = build_config(tree)
    file = tmp_path / "run.toml"
    file.write_text(config_text(config), encoding="utf-8")
    assert build_config(read_tree(file)) == config
    assert build_config(tomllib.loads(config_text(RunConfig()))) == RunConfig()


def test_dates_of_toml_are_times(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[data]\nstart = 2025-01-31\nend = 2025-02-01T08:00:00Z\n", encoding="utf-8")
    data = build_config(read_tree(file)).data
    assert data.start == "2025-01-31"
    assert parse_time(data.end or "", "data.end") == 1_738_396_800_000


def test_times_are_utc_unless_they_say_otherwise() -> None:
    assert parse_time("2025-01-31", "start") == 1_738_281_600_000
    assert parse_time("2025-01-31T01:00+01:00", "start") == 1_738_281_600_000
    with pytest.raises(ConfigError, match=r"data\.start 'yesterday' is not a time"):
        parse_time("yesterday", "data.start")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml cannot be read"):
        read_tree(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[data\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_tree(broken)
