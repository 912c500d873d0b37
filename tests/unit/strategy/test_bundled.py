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
from backtester.strategy.dry_run import Script, dry_run, loop_bars_of, request_frame, requests_of

LOOPS = ("grid", "market_maker", "martingale")
NAMES = (
    "bracket",
    "breakout",
    "buy_and_hold",
    "cross_momentum",
    "funding_carry",
    "funding_fade",
    "grid",
    "market_maker",
    "martingale",
    "pairs",
    "premium_reversion",
    "trend",
)
SYMBOLS = ("A/USDT:USDT", "B/USDT:USDT", "C/USDT:USDT", "D/USDT:USDT")
PAIRS = ("A/USDT", "A/USDT:USDT", "B/USDT:USDT", "C/USDT", "C/USDT:USDT")
SHORT = {
    "bracket": {"fast": 5, "slow": 20, "length": 10, "trail": 0.1},
    "funding_carry": {"window": 24, "horizon": 720.0, "cost": 0.002},
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
            assert set(modules) <= {"backtester.strategy", "polars", "numba", "numpy"}


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(LOOPS)))
def test_they_decide_and_read_the_past_alone(name, make_bars) -> None:
    bars = spot_and_contracts(make_bars, 400) if name == "funding_carry" else make_bars(400, SYMBOLS)
    strategy = made(name)
    targets = evaluate(strategy, bars)["target"]
    assert targets.drop_nulls().len() > 0
    assert targets.drop_nulls().abs().max() <= 1.0
    report = check(strategy, bars, cuts=40)
    assert not [finding for finding in report.findings if finding.severity == "error"]
    if name == "funding_carry":  # in or out is kept until the rate crosses a level, however long ago it entered
        assert {finding.kind for finding in report.findings} <= {"start"}
    else:
        assert report.findings == ()
        assert strategy.warmup_bars(bars) >= report.warmup


@pytest.mark.parametrize("name", LOOPS)
def test_loops_ask_and_read_the_past_alone(name, make_bars) -> None:
    bars = make_bars(300, SYMBOLS)
    strategy = made(name)
    asked = requests_of(strategy, bars)
    assert asked.height > 0
    assert asked.equals(requests_of(strategy, bars, is_compiled=False))
    report = check(strategy, bars, cuts=40)
    assert report.findings == ()
    assert report.warmup == 0


def spot_and_contracts(make_bars, count) -> pl.DataFrame:
    """Bars of two pairs with both legs and of one contract without spot."""
    bars = make_bars(count, PAIRS)
    is_spot = ~pl.col("symbol").str.contains(":", literal=True)
    no_contract = ("funding_rate", "predicted_funding_rate", "hours_to_funding", "premium", "index_close", "mark_close")
    return bars.with_columns(pl.when(~is_spot).then(pl.col(no_contract)))


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
        ("grid", {"levels": 50, "spacing": 0.02}),
        ("funding_carry", {"cost": 0.001, "leave": 0.002}),
    ],
)
def test_parameters_that_make_no_sense_are_refused(name, params) -> None:
    with pytest.raises(ConfigError):
        made(name, **params)


def closes(make_bars, *values) -> pl.DataFrame:
    return make_bars(len(values), SYMBOLS[:1]).with_columns(close=pl.Series(values, dtype=pl.Float64))


def limits(asked: pl.DataFrame, hour: int) -> dict[float, float]:
    """Quantities of the limit orders that were asked for at the close of a bar, by their price."""
    rows = asked.filter((pl.col("open_time").dt.hour() == hour) & (pl.col("kind") == "limit"))
    return {round(price, 9): round(size, 9) for price, size in zip(rows["limit"], rows["quantity"], strict=True)}


def test_grid_places_every_level_and_again_after_a_fill(make_bars) -> None:
    # first price 100, equity 10,000, a tenth of it a unit: 10 base units
    bars = closes(make_bars, 100, 99, 98, 98)
    held = {SYMBOLS[0]: [0.0, 0.0, 20.0, 20.0]}
    asked = requests_of(made("grid", levels=2, spacing=0.01, stake=0.1), bars, held=held)
    assert limits(asked, 0) == {98.0: 10.0, 99.0: 10.0, 101.0: -10.0, 102.0: -10.0}
    assert limits(asked, 1) == {}, "the position is the same"
    assert limits(asked, 2) == {99.0: -10.0, 100.0: -10.0, 101.0: -10.0, 102.0: -10.0}, "two units: level -2 is empty"
    assert asked.filter(pl.col("ask") == "cancel_all").height == 2
    assert limits(asked, 3) == {}


def test_grid_sells_above_and_buys_back_a_level_lower(make_bars) -> None:
    asked = requests_of(made("grid", levels=2), closes(make_bars, 100, 101), held={SYMBOLS[0]: [0.0, -10.0]})
    assert limits(asked, 1) == {98.0: 10.0, 99.0: 10.0, 100.0: 10.0, 102.0: -10.0}


def test_market_maker_leans_against_its_inventory(make_bars) -> None:
    # equity 10,000: a quote is 0.1 of it = 1,000, the limit 0.5 = 5,000, at a price of 100: 10 and 50 units
    strategy = made("market_maker", half_spread=0.01, skew=1.0)
    held = {SYMBOLS[0]: [0.0, 25.0, 45.0, 50.0, -60.0]}
    asked = requests_of(strategy, closes(make_bars, *[100.0] * 5), held=held)
    assert limits(asked, 0) == {99.0: 10.0, 101.0: -10.0}
    # half the limit: the middle moves by half of a half spread, to 99.5
    assert limits(asked, 1) == {98.505: 10.0, 100.495: -10.0}
    # 45 of 50: room for 5, the middle at 100 * (1 - 0.01 * 0.9) = 99.1
    assert limits(asked, 2) == {98.109: 5.0, 100.091: -10.0}
    # full: no bid, the middle at 99
    assert limits(asked, 3) == {99.99: -10.0}
    # beyond the limit on the short side: the middle at 101, no offer
    assert limits(asked, 4) == {99.99: 10.0}
    assert asked["post_only"].unique().to_list() == asked["good_for"].unique().to_list() == [1]


def test_martingale_doubles_below_its_last_purchase(make_bars) -> None:
    # equity 10,000, a tenth at 100: 10 units; then 20 at 97 (more than 2 % below), nothing at 96, 40 at 95
    bars = closes(make_bars, 100, 99, 97, 96, 95)
    held = {SYMBOLS[0]: [0.0, 10.0, 10.0, 30.0, 30.0]}
    asked = requests_of(made("martingale", step=0.02), bars, held=held)
    first = asked.row(0, named=True)
    assert (first["ask"], first["setting"], first["value"]) == ("set", "take_profit", 0.01)
    bought = asked.filter(pl.col("ask") == "submit")
    assert bought["kind"].unique().to_list() == ["market"]
    assert bought["open_time"].dt.hour().to_list() == [0], "while a purchase is on its way nothing is added"

    over = Script(
        quantity=np.array([[0.0], [10.0], [10.0], [30.0], [30.0], [0.0]]),
        entry_price=np.full((6, 1), 100.0),
        opposite=np.zeros((6, 1)),
        equity=np.full(6, 10_000.0),
        wallet=np.full(6, 10_000.0),
        available=np.full(6, 10_000.0),
        is_over=np.ones(6, np.int64),
    )
    loop_bars = loop_bars_of(made("martingale", step=0.02), closes(make_bars, 100, 99, 97, 96, 95, 100))
    asked = request_frame(dry_run(made("martingale", step=0.02), loop_bars, over), loop_bars).filter(
        pl.col("ask") == "submit"
    )
    assert asked["open_time"].dt.hour().to_list() == [0, 2, 4, 5]
    assert asked["quantity"].to_list() == [10.0, 20.0, 40.0, 10.0], "flat again: a first purchase"


def test_martingale_stops_without_equity(make_bars) -> None:
    asked = requests_of(made("martingale", step=0.02), closes(make_bars, 100, 90), equity=0.0)
    assert asked["ask"].to_list() == ["set"]


def test_bracket_sets_its_levels_where_the_side_changes(make_bars) -> None:
    # averages of 2 and 3 bars; every bar spans 4 around its close and closes move by 1 or 2: true ranges are 4
    prices = [100.0, 101.0, 102.0, 103.0, 101.0, 99.0, 98.0]
    bars = closes(make_bars, *prices).with_columns(high=pl.col("close") + 2, low=pl.col("close") - 2)
    strategy = made("bracket", fast=2, slow=3, length=2, stop=3.0, reward=2.0, trail=0.05, exposure=0.5)
    decided = evaluate(strategy, bars)
    # 101.5 against 101, 102.5 against 102, 102 against 102, 100 against 101, 98.5 against 99.33
    assert decided["target"].to_list() == [None, None, 0.5, 0.5, -0.5, -0.5, -0.5]
    at_102, at_101 = 12 / 102, 12 / 101
    wanted = [None, None, at_102, None, at_101, None, None]
    for name, times in (("stop_loss", 1), ("take_profit", 2), ("take_profit_2", 4)):
        got = decided[name].to_list()
        assert [value is None for value in got] == [value is None for value in wanted], name
        assert [value for value in got if value] == pytest.approx([times * value for value in wanted if value])
    assert decided["take_profit_share"].unique().to_list() == [0.5]
    assert decided["take_profit_share_2"].unique().to_list() == [1.0]
    assert decided["trailing_stop"].unique().to_list() == [0.05]
    assert "trailing_stop" not in evaluate(made("bracket", trail=0.0), bars).columns


def test_carry_holds_equal_and_opposite_legs_while_it_is_worth_it(make_bars) -> None:
    # mean of two rates, eight hours between settlements: a horizon of 16 hours has 2; a half of the distance is kept
    rates = pl.Series([0.001, 0.001, 0.003, 0.003, 0.0, -0.001])
    is_spot = ~pl.col("symbol").str.contains(":", literal=True)
    bars = make_bars(6, PAIRS).with_columns(
        predicted_funding_rate=pl.when(~is_spot).then(pl.concat([rates] * 5)),
        funding_rate=pl.when(~is_spot).then(pl.concat([rates] * 5)),
        hours_to_funding=pl.when(~is_spot).then(8.0),
    )
    strategy = made("funding_carry", window=2, horizon=16.0, persistence=0.5, cost=0.0031, exposure=0.4)
    # expected = 2 * mean + (rate - mean) * (1 - 0.25) / 0.5:
    #   0.002; 0.004 + 0.001 * 1.5 = 0.0055; 0.006; 0.003 - 0.00225 = 0.00075 (kept); -0.001 - 0.00075 (left)
    legs = evaluate(strategy, bars).partition_by("symbol", as_dict=True)
    spot = [None, None, 0.2, 0.2, 0.2, 0.0]  # two pairs share 0.4
    for symbol in ("A/USDT", "C/USDT"):
        assert legs[symbol,]["target"].to_list() == spot
        contract = legs[symbol + ":USDT",]["target"].to_list()
        assert contract == [None if value is None else -value for value in spot]
    assert legs["B/USDT:USDT",]["target"].to_list() == [None] * 6, "it has no spot leg"
