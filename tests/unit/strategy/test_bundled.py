"""The bundled strategies: what they say of themselves, and what they decide."""

from __future__ import annotations

import ast
import inspect

import numpy as np
import polars as pl
import pytest

from backtester.errors import ConfigError, StrategyError
from backtester.strategy import evaluate, registry
from backtester.strategy.causality import check

NAMES = ("breakout", "buy_and_hold", "cross_momentum", "funding_fade", "pairs", "premium_reversion", "trend")
SYMBOLS = ("A/USDT:USDT", "B/USDT:USDT", "C/USDT:USDT", "D/USDT:USDT")
SHORT = {
    "breakout": {"entry": 20, "exit": 10},
    "cross_momentum": {"lookback": 24},
    "funding_fade": {"window": 48},
    "pairs": {"window": 40},
    "premium_reversion": {"window": 24, "entry": 1.5},
    "trend": {"fast": 5, "slow": 20},
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def made(name: str, **params):
    return registry.find(name)(**(SHORT.get(name, {}) | params))


def test_all_are_there() -> None:
    assert tuple(sorted(entry.name for entry in registry.listing() if entry.origin == "bundled")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_docstring_states_hypothesis_source_and_limits(name) -> None:
    lines = (inspect.getdoc(registry.find(name)) or "").split("\n")
    for heading in ("Hypothesis", "Source", "Limits"):
        place = lines.index(heading)
        assert set(lines[place + 1]) == {"-"}
        assert lines[place + 2].strip()


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_described(name) -> None:
    for info in registry.find(name).model_fields.values():
        assert info.description


def test_plugins_import_the_surface_alone() -> None:
    for path in registry.bundled_folder().glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert set(modules) <= {"backtester.strategy", "polars", "numba"}


@pytest.mark.parametrize("name", NAMES)
def test_they_decide_and_read_the_past_alone(name, make_bars) -> None:
    bars = make_bars(400, SYMBOLS)
    strategy = made(name)
    targets = evaluate(strategy, bars)["target"]
    assert targets.drop_nulls().len() > 0
    assert targets.drop_nulls().abs().max() <= 1.0
    report = check(strategy, bars, cuts=40)
    assert report.findings == ()
    assert strategy.warmup_bars(bars) >= report.warmup


def test_breakout_enters_and_leaves(make_bars) -> None:
    prices = [100.0] * 12 + [101, 105, 106, 107, 103, 102, 101, 100, 99, 90, 80, 85, 95, 99, 98]
    bars = make_bars(len(prices)).with_columns(close=pl.Series(prices, dtype=pl.Float64))
    bars = bars.with_columns(high=pl.col("close"), low=pl.col("close"))
    targets = evaluate(made("breakout", entry=10, exit=3), bars)["target"].to_list()
    assert targets[:12] == [None] * 12
    assert targets[12:16] == [1.0] * 4, "each close is a new high"
    assert targets[16:18] == [0.0, 0.0], "below the lows of three bars"
    assert targets[21] == -1.0
    assert targets[24] == 0.0


def test_cross_momentum_is_balanced(make_bars) -> None:
    bars = make_bars(200, SYMBOLS)
    targets = evaluate(made("cross_momentum", top=2, exposure=0.8), bars)
    sums = targets.drop_nulls().group_by("open_time").agg(pl.col("target").sum(), gross=pl.col("target").abs().sum())
    assert sums.height == 8
    np.testing.assert_allclose(sums["target"], 0.0, atol=1e-15)
    np.testing.assert_allclose(sums["gross"], 0.8)
    assert targets.drop_nulls()["open_time"].dt.hour().unique().to_list() == [0]


def test_cross_momentum_takes_at_most_half_of_the_symbols(make_bars) -> None:
    three = evaluate(made("cross_momentum", top=5), make_bars(100, SYMBOLS[:3])).drop_nulls()
    assert sorted(three["target"].unique()) == [-0.5, 0.0, 0.5]
    alone = evaluate(made("cross_momentum"), make_bars(100))["target"].drop_nulls()
    assert alone.unique().to_list() == [0.0]


def test_funding_fade_stands_where_funding_is_received(make_bars) -> None:
    bars = make_bars(400)
    targets = evaluate(made("funding_fade"), bars).with_columns(bars["funding_rate"]).drop_nulls("target")
    held = targets.filter(pl.col("target") != 0)
    assert held.height > 0
    assert (held["target"].sign() == -held["funding_rate"].sign()).all()


def test_premium_reversion_works_from_index_or_premium(make_bars) -> None:
    bars = make_bars(300)
    both = evaluate(made("premium_reversion"), bars)
    assert evaluate(made("premium_reversion"), bars.drop("premium")).equals(both)
    assert evaluate(made("premium_reversion"), bars.drop("index_close")).equals(both)
    with pytest.raises(StrategyError, match="which these data do not have"):
        evaluate(made("premium_reversion"), bars.drop("index_close", "premium"))


def test_pairs_trade_two_symbols_at_once(make_bars) -> None:
    bars = make_bars(400, SYMBOLS)
    targets = evaluate(made("pairs", first=SYMBOLS[2], exposure=0.6), bars).drop_nulls()
    assert set(targets["symbol"].unique()) == {SYMBOLS[2], SYMBOLS[0]}
    by_time = targets.group_by("open_time").agg(pl.len(), gross=pl.col("target").abs().sum())
    assert by_time["len"].unique().to_list() == [2]
    gross = by_time["gross"].to_numpy()
    assert np.all((np.abs(gross - 0.6) < 1e-12) | (gross == 0))


def test_pairs_need_two_symbols(make_bars) -> None:
    with pytest.raises(StrategyError, match="a pair needs two symbols, the run has 1"):
        evaluate(made("pairs"), make_bars(100))
    with pytest.raises(StrategyError, match="X/USDT:USDT is not among the symbols of the run"):
        evaluate(made("pairs", second="X/USDT:USDT"), make_bars(100, SYMBOLS))


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("breakout", {"entry": 5, "exit": 6}),
        ("funding_fade", {"entry": 1, "exit": 1}),
        ("premium_reversion", {"entry": 1, "exit": 2}),
        ("pairs", {"first": "X", "second": "X"}),
        ("trend", {"exposure": 0}),
    ],
)
def test_parameters_that_make_no_sense_are_refused(name, params) -> None:
    with pytest.raises(ConfigError):
        made(name, **params)
