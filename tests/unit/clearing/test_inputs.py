"""Rules, populations and markets: what they hold, and what they refuse."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtester.clearing import (
    ONCHAIN_MIX,
    RETAIL_MIX,
    ClearingRules,
    Guest,
    Population,
    clearing_rules,
    from_open_interest,
    from_runs,
    from_table,
    simulate,
)
from backtester.clearing import simulate as package_simulate
from backtester.clearing.market import fine_mark
from backtester.domain.venues import load_pack, pack_names
from backtester.errors import AccountError, ConfigError, DataError, InternalError, UnknownNameError, UsageError
from backtester.market.panel import Bars
from tests.unit.clearing.scene import HOUR, MINUTE, A, B, Holding, market, population
from tests.unit.report.sample import one_trade

JULY_2024 = 1_719_792_000_000


@pytest.mark.parametrize("venue", pack_names())
def test_every_pack_has_clearing_rules_with_sources(venue: str) -> None:
    pack = load_pack(venue)
    rules = clearing_rules(venue)
    assert rules.name == venue
    assert rules.waterfall[:2] == ("market", "fund")
    for figure in pack.clearing_figures_at(math.inf).values():
        assert figure.source
        assert figure.evidence


def test_packs_say_what_venues_do() -> None:
    blofin = clearing_rules("blofin")
    assert (blofin.fund, blofin.booking, blofin.booking_hour) == ("contract", "daily", 8.0)
    assert (blofin.deleverage_price, blofin.drawdown, blofin.drawdown_hours) == ("mark", 0.3, 8.0)
    assert blofin.close_fee == 0.0006
    assert clearing_rules("hyperliquid").deleverage_price == "previous_mark"
    assert clearing_rules("binance").ranking == "binance"
    assert clearing_rules("bitmex").deleverage_price == "bankruptcy"
    assert clearing_rules("bybit").bankruptcy_band == 0.05


def test_rules_hold_from_their_date_on() -> None:
    assert clearing_rules("bybit", JULY_2024).drawdown == 0.3
    sources = {venue: clearing_rules(venue).funding_paid_from for venue in ("binance", "bybit", "okx")}
    assert sources == {"binance": "margin", "bybit": "wallet_first", "okx": "capped"}
    assert (clearing_rules("bybit", JULY_2024).mmr_basis, clearing_rules("bybit").mmr_basis) == ("entry", "mark")
    assert clearing_rules("bybit").drawdown == 0.0


def test_rules_refuse_what_they_do_not_know() -> None:
    with pytest.raises(UnknownNameError, match="impcat"):
        ClearingRules().with_changes(impcat=0.1)
    with pytest.raises(ConfigError, match=r"clearing\.drawdown"):
        ClearingRules().with_changes(drawdown=1.5)
    with pytest.raises(ConfigError, match="the market comes first"):
        ClearingRules().with_changes(waterfall=["fund", "market"])
    with pytest.raises(ConfigError, match="needs a trigger"):
        ClearingRules().with_changes(exhausted=False)


def test_a_pack_of_ones_own_states_what_differs(tmp_path: Path) -> None:
    text = 'name = "own"\ntitle = "Own"\nextends = "okx"\n[[clearing]]\n[clearing.drawdown]\n'
    path = tmp_path / "own.toml"
    path.write_text(text + 'value = 0.4\nevidence = "chosen"\nsource = "me"\nas_of = 2026-01-01\n')
    rules = clearing_rules(path)
    assert (rules.drawdown, rules.deleverage_price) == (0.4, "mark")
    path.write_text(text + 'value = 4.0\nevidence = "chosen"\nsource = "me"\nas_of = 2026-01-01\n')
    with pytest.raises(ConfigError, match=r"clearing\.drawdown"):
        clearing_rules(path)
    path.write_text(text.replace("drawdown", "drawdwon") + 'value = 0.4\nevidence = "chosen"\nsource = "me"\n')
    with pytest.raises(ConfigError, match="drawdwon"):
        clearing_rules(path)


def people(**changes: object) -> Population:
    values: dict[str, object] = {
        "symbols": (A,),
        "wallet": np.array([10.0, 20.0]),
        "isolated": np.array([False, True]),
        "leverage": np.array([5.0, 5.0]),
        "account": np.array([0, 1]),
        "contract": np.array([0, 0]),
        "quantity": np.array([1.0, -1.0]),
        "entry_price": np.array([50.0, 50.0]),
        "margin": np.array([0.0, 10.0]),
    }
    return Population(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"quantity": np.array([1.0, -2.0])}, "sum to -1, not to zero"),
        ({"wallet": np.array([10.0, -1.0])}, "Account 1 has a wallet of -1"),
        ({"leverage": np.array([math.nan, 1.0])}, "Account 0 has a leverage of nan"),
        ({"entry_price": np.array([50.0, 0.0])}, "entry_price = 0"),
        ({"margin": np.array([0.0, 30.0])}, "margins of 30 and a wallet of 20"),
        ({"account": np.array([1, 1]), "margin": np.array([0.0, 0.0])}, "two positions in A/USDT:USDT"),
    ],
)
def test_a_population_is_checked_where_it_enters(changes: dict[str, object], text: str) -> None:
    with pytest.raises(AccountError, match=text):
        people(**changes)


def test_the_outside_market_completes_a_population() -> None:
    assert people(quantity=np.array([1.0, -2.0]), outside=np.array([1.0])).positions == 2


def test_an_unknown_contract_is_named() -> None:
    with pytest.raises(UnknownNameError, match="X/USDT:USDT"):
        simulate(market([(50.0, 50.0)]), people(symbols=("X/USDT:USDT",)), ClearingRules())


def test_books_that_do_not_close_are_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    import backtester.clearing.simulate  # noqa: F401

    module = __import__("sys").modules["backtester.clearing.simulate"]
    monkeypatch.setattr(module, "clear_market", lambda world, books, journal, every: (1, 1))
    m = market([(50.0, 50.0), (50.0, 50.0)])
    with pytest.raises(InternalError, match=r"beyond 1e-9, after bar 1 at 1970-01-01 00:01 UTC") as caught:
        package_simulate(m, population(m, Holding(0, 1.0, 50.0, 9.0), Holding(1, -1.0, 50.0, 9.0)), ClearingRules())
    assert caught.value.exit_code == 70


def test_accounts_drawn_from_open_interest() -> None:
    m = market([(100.0, 100.0)], [(10.0, 10.0)])
    pop = from_open_interest(m, {A: 1000.0, B: 5000.0}, 4000, seed=3)
    for c, size in enumerate((1000.0, 5000.0)):
        held = pop.quantity[pop.contract == c]
        assert held[held > 0].sum() == pytest.approx(size)
        assert held.sum() == pytest.approx(0.0, abs=1e-9 * size)
    notional = np.abs(pop.quantity) * pop.entry_price
    leverage = pop.leverage[pop.account]
    for step, share in ONCHAIN_MIX.items():
        assert notional[leverage == step].sum() / notional.sum() == pytest.approx(share, abs=0.08)
    assert pop.isolated.mean() == pytest.approx(0.5, abs=0.03)
    again = from_open_interest(m, {A: 1000.0, B: 5000.0}, 4000, seed=3)
    assert np.array_equal(pop.quantity, again.quantity)
    assert sum(ONCHAIN_MIX.values()) == pytest.approx(1.0)
    assert sum(RETAIL_MIX.values()) == pytest.approx(1.0)


def test_entries_spread_over_past_prices_and_nobody_is_dead_at_the_start() -> None:
    closes = np.linspace(60.0, 100.0, 200)
    past = market([(o, c) for o, c in itertools.pairwise(closes)], bar_ms=HOUR, start=0)
    m = market([(100.0, 100.0)], bar_ms=HOUR, start=199 * HOUR)
    pop = from_open_interest(m, 1e6, 1000, {3.0: 0.5, 20.0: 0.5}, seed=1, past=past, holding_hours=48.0)
    longs = pop.quantity > 0
    assert pop.entry_price[longs].min() < 75.0
    assert len(np.unique(pop.entry_price)) > 50
    assert pop.entry_price[~longs & (pop.leverage[pop.account] == 20.0)].min() > 100 / 1.05
    assert simulate(m, pop, ClearingRules()).summary["liquidations"] == 0


def test_accounts_that_hold_all_contracts_are_cross() -> None:
    m = market([(100.0, 100.0)], [(10.0, 10.0)])
    pop = from_open_interest(m, 1e6, 100, several_share=0.5, seed=1)
    several = np.bincount(pop.account, minlength=pop.accounts) == 2
    assert 30 < several.sum() < 70
    assert not pop.isolated[several].any()


def test_the_model_refuses_what_makes_no_market() -> None:
    m = market([(100.0, 100.0)])
    with pytest.raises(UsageError, match="too few"):
        from_open_interest(m, 1e6, 1)
    with pytest.raises(UnknownNameError, match="B/USDT"):
        from_open_interest(m, {B: 1.0}, 10)
    with pytest.raises(UsageError, match="isolated_share = 2"):
        from_open_interest(m, 1e6, 10, isolated_share=2.0)
    with pytest.raises(UsageError, match="positive leverages"):
        from_open_interest(m, 1e6, 10, {0.0: 1.0})


TABLE = {
    "account": ["ann", "bob", "cy"],
    "symbol": [A, A, A],
    "quantity": [2.0, -1.5, -0.5],
    "entry_price": [100.0, 90.0, 95.0],
    "wallet": [50.0, 60.0, 70.0],
    "mode": ["isolated", "cross", "cross"],
    "leverage": [10.0, 5.0, 2.0],
}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_accounts_of_a_table(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"accounts.{ending}"
    frame = pl.DataFrame(TABLE)
    frame.write_csv(path) if ending == "csv" else frame.write_parquet(path)
    pop = from_table(path)
    assert pop.labels == ("ann", "bob", "cy")
    assert pop.margin.tolist() == [20.0, 0.0, 0.0]
    assert pop.wallet.tolist() == [50.0, 60.0, 70.0]
    assert pop.isolated.tolist() == [True, False, False]


def test_a_table_that_says_too_little_or_two_things(tmp_path: Path) -> None:
    path = tmp_path / "accounts.csv"
    frame = pl.DataFrame(TABLE)
    frame.drop("wallet").write_csv(path)
    with pytest.raises(DataError, match="no column 'wallet'"):
        from_table(path)
    frame.with_columns(account=pl.Series(["ann", "ann", "cy"])).write_csv(path)
    with pytest.raises(AccountError, match="row 2: account ann has another wallet"):
        from_table(path)
    frame.write_csv(path)
    with pytest.raises(UnknownNameError, match="A/USDT:USDT"):
        from_table(path, [B])
    frame.with_columns(quantity=pl.Series(["2", "x", "-0.5"])).write_csv(path)
    with pytest.raises(DataError, match="row 2: quantity = 'x' is no number"):
        from_table(path)
    frame.rename({"leverage": "levrage"}).write_csv(path)
    with pytest.raises(UnknownNameError, match=r"levrage.*in accounts\.csv"):
        from_table(path)
    with pytest.raises(UsageError, match="no such file"):
        from_table(tmp_path / "none.csv")


def test_runs_as_accounts() -> None:
    result = one_trade()
    moment = int(result.positions["time"].cast(pl.Int64)[0])
    pop = from_runs([result, result], moment)
    assert pop.accounts == 2
    assert pop.outside.tolist() == pytest.approx(
        [-pop.quantity[pop.contract == c].sum() for c in range(len(pop.symbols))]
    )
    with pytest.raises(UsageError, match="No run"):
        from_runs([])


def test_a_market_is_checked_too() -> None:
    with pytest.raises(DataError, match="A/USDT:USDT trade: a price is missing"):
        market([(100.0, math.nan)])
    with pytest.raises(UnknownNameError, match="symbol"):
        market([(100.0, 100.0)]).place("Z")


def test_a_market_turned_into_inverse_contracts() -> None:
    m = market([(100.0, 50.0)], volume=3.0)
    turned = m.as_inverse()
    assert turned.symbols == ("A/USDT:A",)
    assert turned.volume.tolist() == [[150.0]]
    assert turned.values(turned.close).tolist() == [[-0.02]]


def test_a_guest_says_what_it_lacks() -> None:
    path = pl.DataFrame({"time": [0], "symbol": ["Z"], "quantity_change": [1.0], "price": [1.0], "cash_change": [0.0]})
    m = market([(100.0, 100.0)])
    pop = population(m, Holding(0, 1.0, 100.0, 50.0), Holding(1, -1.0, 100.0, 50.0))
    with pytest.raises(UnknownNameError, match="'Z'"):
        simulate(m, pop, ClearingRules(), guest=Guest(1.0, path))
    with pytest.raises(UsageError, match="price that is not positive"):
        simulate(m, pop, ClearingRules(), guest=Guest(1.0, path.with_columns(symbol=pl.lit(A), price=pl.lit(-1.0))))
    with pytest.raises(UsageError, match="no column 'price'"):
        Guest(1.0, path.drop("price"))


def test_settlements_a_moment_late_belong_to_their_minute() -> None:
    m = market([(100.0, 100.0)] * 3, funding=[(MINUTE + 7, 0.01)])
    pop = population(m, Holding(0, 1.0, 100.0, 50.0), Holding(1, -1.0, 100.0, 50.0))
    assert simulate(m, pop, ClearingRules()).accounts["equity"].to_list() == pytest.approx([49.0, 51.0])


def test_a_coarse_mark_follows_the_trades_within_its_range() -> None:
    trade = Bars(*(np.array([[100.0, 90.0, 95.0, 95.0]]) for _ in range(4)))
    mark = Bars(*(np.array([[value, 96.0]]) for value in (101.0, 102.0, 95.0, 96.0)))
    fine = fine_mark(trade, mark, 2)
    assert fine.close[0].tolist() == pytest.approx([101.0, 95.0, 96.0, 96.0])  # 90.9 lies below the mark bar's low
