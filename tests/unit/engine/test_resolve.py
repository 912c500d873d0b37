"""Resolving a configuration: who wins, what is refused, what is told."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from backtester.domain.config import RunConfig
from backtester.domain.enums import ContractKind, MarginMode, TierForm, TierUnit
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.domain.venues import pack_names
from backtester.domain.venues.pack import VenueRules
from backtester.engine.collateral import CollateralRow
from backtester.engine.resolve import ResolvedRun, resolve
from backtester.engine.rule_names import RULE_NAMES
from backtester.engine.run_file import build_config, config_text
from backtester.errors import AccountError, ConfigError, DataError, UnknownNameError

BTC, ETH, COIN = "BTC/USDT:USDT", "ETH/USDT:USDT", "BTC/USD:BTC"


def ms(day: str) -> int:
    return int(dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC).timestamp() * 1000)


def table(symbol: str, *, leverage: float = 50, since: str | None = None, **more: object) -> TierTable:
    tiers = (
        MarginTier(notional_floor=0, notional_cap=1e5, maintenance_margin_rate=0.005, max_leverage=leverage),
        MarginTier(notional_floor=1e5, maintenance_margin_rate=0.01, max_leverage=leverage / 2, **more),
    )
    return TierTable(symbol=symbol, tiers=tiers, valid_from=None if since is None else ms(since))


@dataclass
class Lookup:
    """A store of dicts."""

    contracts: dict[str, Instrument | Sequence[Instrument] | None]
    tables: dict[str, list[TierTable]] = field(default_factory=dict)
    venues: tuple[str, ...] = (*pack_names(), "mine")

    def symbols(self, venue: str) -> list[str]:
        return sorted(self.contracts) if venue in self.venues else []

    def instruments(self, venue: str, symbol: str) -> list[Instrument]:
        found = self.contracts[symbol]
        if found is None:
            return []
        return [found] if isinstance(found, Instrument) else list(found)

    def tier_tables(self, venue: str, symbol: str) -> list[TierTable]:
        return self.tables.get(symbol, [table(symbol)])


WHOLE = {"tick": 0.1, "lot": 0.001, "min_quantity": 0.001, "min_notional": 5.0}


def store(*symbols: str, **more: object) -> Lookup:
    return Lookup({s: Instrument(symbol=s, **{**WHOLE, **more}) for s in symbols or (BTC,)})


def config(venue: str = "generic", **sections: object) -> RunConfig:
    tree = dict(sections)
    tree["data"] = {"venue": venue, "start": "2025-01-01", "end": "2026-01-01", **tree.get("data", {})}
    return build_config(tree)


def codes(run: ResolvedRun) -> list[str]:
    return [notice.code for notice in run.notices]


def test_generic_fills_every_gap():
    run = resolve(config(), store_lookup=store())
    filled = run.config
    assert run.symbols == filled.data.symbols == (BTC,)
    assert (filled.fees.taker, filled.fees.maker) == (0.0005, 0.0002)
    assert (filled.funding.paid_from, filled.funding.price) == ("margin", "mark")
    assert None not in filled.liquidation.model_dump().values()
    assert filled.liquidation.takeover == "bankruptcy"
    assert filled.instruments[BTC].kind == "linear"
    assert filled.instruments[BTC].taker_fee == 0.0005
    assert run.instruments[BTC].taker_fee == 0.0005
    assert (run.settle, run.venue, run.close_fees) == ("USDT", "generic", {BTC: 0.0})
    assert run.notices == ()


def test_resolving_the_resolved_changes_nothing():
    lookup = store(BTC, ETH, taker_fee=0.0004)
    for venue in ("generic", "bybit", "okx", "hyperliquid"):
        once = resolve(config(venue), store_lookup=lookup)
        again = resolve(once.config, store_lookup=lookup)
        assert again == once
        assert config_text(again.config) == config_text(once.config)


@pytest.mark.parametrize(
    ("sections", "stored", "fee"),
    [
        ({}, None, 0.00055),
        ({}, 0.0004, 0.0004),
        ({"fees": {"taker": 0.0003}}, 0.0004, 0.0003),
        ({"fees": {"taker": 0.0003}, "instruments": {BTC: {"taker_fee": 0.0001}}}, 0.0004, 0.0001),
        ({"fees": {"taker": 0.0}}, 0.0004, 0.0),
    ],
)
def test_the_nearest_statement_of_a_fee_wins(sections, stored, fee):
    run = resolve(config("bybit", **sections), store_lookup=store(taker_fee=stored))
    assert run.instruments[BTC].taker_fee == fee
    assert run.close_fees[BTC] == fee  # the venue's test includes the taker fee
    assert run.config.liquidation.close_fee == fee


def test_closing_fees_that_differ_stay_open_in_the_configuration():
    lookup = store(BTC, ETH)
    run = resolve(config("blofin", instruments={ETH: {"taker_fee": 0.0001}}), store_lookup=lookup)
    assert run.close_fees == {BTC: 0.0006, ETH: 0.0001}
    assert run.config.liquidation.close_fee is None
    stated = resolve(config("blofin", liquidation={"close_fee": 0.001}), store_lookup=lookup)
    assert stated.close_fees == {BTC: 0.001, ETH: 0.001}


def test_rules_of_the_start_hold():
    run = resolve(config("bybit"), store_lookup=store())
    assert run.config.liquidation.mmr_basis == "entry"
    assert "rules_change_inside" in codes(run)
    late = resolve(config("bybit", data={"start": "2025-09-02"}), store_lookup=store())
    assert late.config.liquidation.mmr_basis == "mark"
    assert "rules_change_inside" not in codes(late)
    newest = resolve(build_config({"data": {"venue": "bybit"}}), store_lookup=store())
    assert newest.config.liquidation.mmr_basis == "mark"
    stated = resolve(config("bybit", liquidation={"mmr_basis": "mark"}), store_lookup=store())
    assert stated.config.liquidation.mmr_basis == "mark"


def test_rules_that_the_run_file_replaces_are_told():
    own = resolve(config("bybit", liquidation={"takeover": "bankruptcy"}), store_lookup=store())
    assert "rules_replaced" not in codes(own)
    other = resolve(config(liquidation={"fee": 0.02, "step": "tier"}, funding={"price": "index"}), store_lookup=store())
    (text,) = [n.text for n in other.notices if n.code == "rules_replaced"]
    assert "kind of partial liquidation (step), liquidation fee (liquidation_fee), price that values" in text


def test_the_span_given_wins_and_is_written():
    span = {"start": ms("2025-10-01"), "end": ms("2025-10-02") + 1500}
    run = resolve(config("bybit"), store_lookup=store(), **span)
    assert run.config.liquidation.mmr_basis == "mark"
    assert (run.config.data.start, run.config.data.end) == ("2025-10-01T00:00", "2025-10-02T00:00:01.500")


def test_a_pack_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\ntitle = "Mine"\nextends = "generic"\n[[rules]]\n[rules.taker_fee]\nvalue = 0.001\n'
        'evidence = "chosen"\nsource = "my contract"\nas_of = 2026-01-01\n'
    )
    run = resolve(config(str(path)), store_lookup=store())
    assert (run.venue, run.config.fees.taker) == ("mine", 0.001)


def test_inferred_rules_are_told():
    run = resolve(config("blofin"), store_lookup=store())
    text = next(n.text for n in run.notices if n.code == "rules_inferred")
    assert "who keeps what a liquidation leaves (takeover)" in text
    assert "close_fee" not in text


def test_every_rule_has_a_plain_name():
    assert RULE_NAMES.keys() == VenueRules.model_fields.keys()


@pytest.mark.parametrize(
    ("symbol", "venue", "kind", "settle"),
    [
        (BTC, "generic", ContractKind.LINEAR, "USDT"),
        (COIN, "generic", ContractKind.INVERSE, "BTC"),
        ("ETH/USD:BTC", "bitmex", ContractKind.LINEAR, "BTC"),  # quanto
        ("BTC/USDC", "hyperliquid", ContractKind.SPOT, "USDC"),
        ("ETH/BTC", "binance", ContractKind.SPOT, "BTC"),
        ("BTCUSDT", "bybit", ContractKind.LINEAR, "USDT"),
    ],
)
def test_an_undescribed_contract_follows_its_name(symbol, venue, kind, settle):
    run = resolve(config(venue), store_lookup=Lookup({symbol: None}))
    assert (run.instruments[symbol].kind, run.settle) == (kind, settle)
    assert "unknown_instrument" in codes(run)
    assert "unknown_increments" in codes(run)
    hours = None if kind is ContractKind.SPOT else run.rules.funding_interval_hours
    assert run.instruments[symbol].funding_interval_hours == hours


def test_unknown_increments_are_told_once_for_all():
    lookup = Lookup({BTC: Instrument(symbol=BTC, tick=0.1), ETH: Instrument(symbol=ETH, tick=0.1)})
    notices = resolve(config(), store_lookup=lookup).notices
    assert [n.code for n in notices] == ["unknown_increments"]
    told = f"{BTC}, {ETH}: unknown lot size, smallest quantity, smallest notional: none is applied."
    assert notices[0].text.startswith(told)
    stated = {s: {"lot": 0.1, "min_quantity": 0, "min_notional": 0} for s in (BTC, ETH)}
    assert resolve(config(instruments=stated), store_lookup=lookup).notices == ()


def test_currencies_do_not_mix():
    lookup = Lookup({BTC: Instrument(symbol=BTC), COIN: Instrument(symbol=COIN, settle="BTC")})
    with pytest.raises(AccountError, match="settle in 2 currencies") as error:
        resolve(config(), store_lookup=lookup)
    assert COIN in str(error.value)
    assert resolve(config(data={"symbols": [COIN]}), store_lookup=lookup).settle == "BTC"


def test_tiers_of_the_run_file_win():
    tier = {"maintenance_margin_rate": 0.02, "max_leverage": 10}
    lookup = store(BTC, ETH)
    run = resolve(config(tiers={"*": [tier]}), store_lookup=lookup)
    assert [t.tiers[0].maintenance_margin_rate for t in (*run.tiers[BTC], *run.tiers[ETH])] == [0.02, 0.02]
    run = resolve(config(tiers={ETH: [tier]}), store_lookup=lookup)
    assert run.tiers[BTC][0].tiers[0].maintenance_margin_rate == 0.005
    assert run.tiers[ETH][0].source == "run file"
    run = resolve(config(tiers={"*": [tier], ETH: [{**tier, "max_leverage": 7}]}), store_lookup=lookup)
    assert run.tiers[ETH][0].max_leverage == 7


def test_tables_take_the_venues_form_and_unit():
    tiers = {BTC: [{"maintenance_margin_rate": 0.02, "max_leverage": 10}]}
    run = resolve(config("okx", tiers=tiers), store_lookup=store(BTC, ETH))
    for symbol in (BTC, ETH):
        assert (run.tiers[symbol][0].form, run.tiers[symbol][0].unit) == (TierForm.FLAT, TierUnit.CONTRACTS)
    own = TierTable(symbol=BTC, tiers=table(BTC).tiers, form=TierForm.FLAT)
    kept = resolve(config("bybit"), store_lookup=Lookup(store().contracts, {BTC: [own]})).tiers[BTC][0]
    assert (kept.form, kept.unit) == (TierForm.FLAT, TierUnit.NOTIONAL)


def test_no_tier_table_is_refused_with_a_way_on():
    lookup = Lookup(store().contracts, {BTC: []})
    with pytest.raises(DataError, match="generic BTC/USDT:USDT tiers: no margin tier table") as error:
        resolve(config(), store_lookup=lookup)
    assert '[[tiers."*"]]' in error.value.hint


def test_tables_by_date():
    tables = [table(BTC, since="2025-06-01"), table(BTC, since="2024-01-01"), table(BTC, since="2026-06-01")]
    lookup = Lookup(store().contracts, {BTC: tables})
    run = resolve(config(), store_lookup=lookup)
    assert [t.valid_from for t in run.tiers[BTC]] == [ms("2024-01-01"), ms("2025-06-01")]
    assert run.notices == ()
    early = resolve(config(data={"start": "2023-01-01"}), store_lookup=lookup)
    assert [t.valid_from for t in early.tiers[BTC]] == [ms("2024-01-01"), ms("2025-06-01")]
    assert codes(early) == ["tiers_before_date"]
    assert "2024-01-01 00:00 UTC" in early.notices[0].text
    undated = resolve(build_config({"data": {"venue": "generic"}}), store_lookup=lookup)
    assert len(undated.tiers[BTC]) == 3


def test_leverage_above_every_table_is_refused():
    tables = [table(BTC, leverage=20), table(BTC, leverage=40, since="2025-06-01")]
    lookup = Lookup(store().contracts, {BTC: tables})
    with pytest.raises(AccountError, match="leverage 50 exceeds the maximum of 40") as error:
        resolve(config(account={"leverage": 50}), store_lookup=lookup)
    assert "--leverage 40" in error.value.hint
    some = resolve(config(account={"leverage": 30}), store_lookup=lookup)
    assert codes(some) == ["leverage_above_tiers"]
    with pytest.raises(AccountError, match="maximum of 20"):
        resolve(config(account={"leverage": 30}, data={"end": "2025-05-01"}), store_lookup=lookup)


def test_rates_must_leave_a_margin():
    tier = {"maintenance_margin_rate": 0.9995, "max_leverage": 1}
    sections = {"tiers": {"*": [tier]}, "account": {"leverage": 1}}
    assert resolve(config(**sections), store_lookup=store())
    with pytest.raises(AccountError, match="is not below 1"):
        resolve(config("blofin", **sections), store_lookup=store())


def test_broken_continuity_is_told():
    lookup = Lookup(store().contracts, {BTC: [table(BTC, maintenance_amount=400.0)]})
    notices = resolve(config(), store_lookup=lookup).notices
    assert [n.code for n in notices] == ["tiers_discontinuous"]
    assert "expected 500" in notices[0].text
    # a flat table has no deductions: stated ones mean nothing there
    assert "tiers_discontinuous" not in codes(resolve(config("okx"), store_lookup=lookup))


def test_names_that_do_not_exist():
    with pytest.raises(UnknownNameError, match="Unknown venue 'genric'"):
        resolve(config("genric"), store_lookup=store())
    with pytest.raises(UnknownNameError, match="Unknown symbol 'BTC/USDT'") as error:
        resolve(config(data={"symbols": ["BTC/USDT"]}), store_lookup=store())
    assert BTC in error.value.hint
    with pytest.raises(UnknownNameError, match=r"in \[tiers\]"):
        resolve(config(tiers={"BTC": [{"maintenance_margin_rate": 0.1, "max_leverage": 5}]}), store_lookup=store())
    with pytest.raises(ConfigError, match="twice"):
        resolve(config(data={"symbols": [BTC, BTC]}), store_lookup=store())
    with pytest.raises(DataError, match="no bars of this venue"):
        resolve(config(), store_lookup=Lookup({}))


def test_bad_values_name_their_key():
    tier = {"notional_floor": 5, "maintenance_margin_rate": 0.1, "max_leverage": 5}
    with pytest.raises(ConfigError, match=r'tiers."\*": .*must start at 0'):
        resolve(config(tiers={"*": [tier]}), store_lookup=store())
    with pytest.raises(ConfigError, match=r"data\.start 'soon' is not a time"):
        resolve(config(data={"start": "soon"}), store_lookup=store())


def test_strategy_and_report_pass_through():
    sections = {"strategy": {"name": "trend", "params": {"fast": 3}}, "report": {"enabled": False}}
    run = resolve(config(**sections), store_lookup=store())
    assert run.config.strategy.params == {"fast": 3}
    assert not run.config.report.enabled


# ---- spot, settings of one contract, fee tiers

SPOT = "BTC/USDT"


def both() -> Lookup:
    spot = Instrument(symbol=SPOT, kind=ContractKind.SPOT, **WHOLE)
    return Lookup({BTC: Instrument(symbol=BTC, **WHOLE), SPOT: spot})


def named(venue: str = "generic", **sections: object) -> RunConfig:
    return config(venue, data={"symbols": [SPOT, BTC]}, **sections)


def test_spot_pairs_are_traded_where_they_are_named_or_alone():
    assert resolve(config(), store_lookup=both()).symbols == (BTC,)
    assert resolve(config(), store_lookup=Lookup({SPOT: None})).symbols == (SPOT,)


def test_spot_is_paid_in_full():
    run = resolve(named("okx", account={"leverage": 3}), store_lookup=both())
    assert run.rows == run.symbols == (SPOT, BTC)
    assert run.leverages == {BTC: 3.0, SPOT: 1.0}
    assert run.margin_modes == {BTC: MarginMode.CROSS, SPOT: MarginMode.ISOLATED}
    assert run.haircuts == {BTC: None, SPOT: None}
    assert run.holdings == {BTC: 0.0, SPOT: 0.0}
    assert run.close_fees == {BTC: 0.0005, SPOT: 0.0}
    assert run.config.liquidation.close_fee == 0.0005  # that of the contracts
    (tier,) = run.tiers[SPOT][0].tiers
    assert (tier.maintenance_margin_rate, tier.notional_cap, tier.max_leverage) == (0.0, math.inf, 1.0)
    assert run.instruments[SPOT].taker_fee == 0.0015  # the pack's, of spot
    assert run.instruments[SPOT].funding_interval_hours is None
    assert resolve(run.config, store_lookup=both()) == run


@pytest.mark.parametrize(
    ("venue", "sections", "fee", "is_told"),
    [
        ("bybit", {}, 0.00055, True),
        ("binance", {}, 0.001, False),
        ("bybit", {"fees": {"taker": 0.0003}}, 0.0003, False),
        ("bybit", {"instruments": {SPOT: {"taker_fee": 0.002}}}, 0.002, False),
    ],
)
def test_a_spot_fee_that_nobody_states_is_a_contracts_and_told(venue, sections, fee, is_told):
    run = resolve(named(venue, **sections), store_lookup=both())
    assert run.instruments[SPOT].taker_fee == fee
    assert ("spot_fee_assumed" in codes(run)) == is_told


@pytest.mark.parametrize(
    ("symbol", "stated", "said"),
    [
        (SPOT, {"kind": "linear"}, "linear does not go with a spot pair's name"),
        (BTC, {"kind": "spot"}, "spot does not go with a perpetual contract's name"),
        (SPOT, {"leverage": 2.0}, "spot is paid in full"),
        (SPOT, {"margin_mode": "cross"}, "spot has no margin"),
        (SPOT, {"settle": "USDC"}, "is paid in USDT"),
        (BTC, {"haircut": 0.1}, "a contract is no collateral"),
    ],
)
def test_what_spot_cannot_be_is_refused(symbol, stated, said):
    with pytest.raises(ConfigError, match=said):
        resolve(named(instruments={symbol: stated}), store_lookup=both())


def test_spot_has_no_tiers():
    tiers = {SPOT: [{"maintenance_margin_rate": 0.01, "max_leverage": 5.0}]}
    with pytest.raises(ConfigError, match="spot is paid in full and has no margin tiers"):
        resolve(named(tiers=tiers), store_lookup=both())


def test_a_spot_pair_of_another_currency_does_not_mix():
    lookup = Lookup({BTC: Instrument(symbol=BTC, **WHOLE), "BTC/USDC": None})
    with pytest.raises(AccountError, match="BTC/USDC in USDC, BTC/USDT:USDT in USDT"):
        resolve(config(data={"symbols": ["BTC/USDC", BTC]}), store_lookup=lookup)


def test_settings_of_one_contract_win():
    sections = {ETH: {"leverage": 10.0, "margin_mode": "isolated"}, SPOT: {"haircut": 0.2}}
    lookup = both()
    lookup.contracts[ETH] = Instrument(symbol=ETH, **WHOLE)
    symbols = {"symbols": [BTC, SPOT, ETH]}
    asked = config("binance", data=symbols, instruments=sections, account={"leverage": 4})
    run = resolve(asked, store_lookup=lookup)
    assert run.leverages == {BTC: 4.0, SPOT: 1.0, ETH: 10.0}
    assert run.margin_modes[ETH] is MarginMode.ISOLATED
    assert run.haircuts == {BTC: None, SPOT: 0.2, ETH: None}
    filled = run.config.instruments
    assert (filled[ETH].leverage, filled[ETH].margin_mode, filled[BTC].leverage) == (10.0, "isolated", None)
    assert resolve(run.config, store_lookup=lookup) == run


def test_a_contracts_own_leverage_above_its_tiers_is_refused_by_name():
    with pytest.raises(AccountError) as caught:
        resolve(config(instruments={ETH: {"leverage": 60.0}}), store_lookup=store(BTC, ETH))
    assert f"{ETH}: leverage 60 exceeds the maximum of 50" in caught.value.message
    assert f'leverage = 50 or less in [instruments."{ETH}"]' in caught.value.hint


def test_the_tier_of_hedge_legs_is_the_venues_unless_stated():
    def chosen(venue, **sections):
        return resolve(config(venue, **sections), store_lookup=store()).config.liquidation.hedge_tier

    assert (chosen("okx"), chosen("binance")) == ("gross", "leg")
    assert chosen("okx", liquidation={"hedge_tier": "leg"}) == "leg"


@pytest.mark.parametrize(
    ("volumes", "said"),
    [((1e6,), r"begins at a volume of 1e\+06"), ((0.0, 5.0, 5.0), r"tiers\[2\].volume: 5 does not")],
)
def test_fee_tiers_must_begin_at_nothing_and_rise(volumes, said):
    tiers = [{"volume": volume, "taker": 0.0004, "maker": 0.0} for volume in volumes]
    with pytest.raises(ConfigError, match=said):
        resolve(config(fees={"tiers": tiers}), store_lookup=store())


def test_collateral_takes_rows_of_its_own_or_those_of_traded_spot():
    rows = (
        CollateralRow(SPOT, SPOT, "trade", 0.5, 0.1, ("BTC",), is_traded=True),
        CollateralRow("ETH/USDT", ETH, "index", 3.0, 0.2, ("ETH",), is_traded=False),
    )
    run = resolve(named(), store_lookup=both(), collateral=rows)
    assert run.symbols == (SPOT, BTC)
    assert run.rows == (SPOT, BTC, "ETH/USDT")
    assert run.haircuts == {BTC: None, SPOT: 0.1, "ETH/USDT": 0.2}
    assert run.holdings == {BTC: 0.0, SPOT: 0.5, "ETH/USDT": 3.0}
    assert run.instruments["ETH/USDT"].kind is ContractKind.SPOT
    assert "ETH/USDT" not in run.config.instruments
    assert [n.text for n in run.notices if n.code == "collateral_valued"] == [
        f"ETH as collateral: valued by the index of {ETH}, not by a spot pair."
    ]
    with pytest.raises(ConfigError, match=r"0\.3 differs from 0\.1 of collateral\.BTC"):
        resolve(named(instruments={SPOT: {"haircut": 0.3}}), store_lookup=both(), collateral=rows)
