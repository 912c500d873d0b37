"""Rule packs: what is shipped, rules by date, one's own packs, refusals."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

import ccxt
import pytest

from backtester.domain.config import RunConfig
from backtester.domain.enums import TierForm, TierUnit
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.domain.venues import EVIDENCE, VenueRules, load_pack, pack_for, pack_names
from backtester.errors import ConfigError, UnknownNameError

SPOT_FEES = ("spot_taker_fee", "spot_maker_fee")
SHIPPED = [
    "binance",
    "bitget",
    "bitmex",
    "blofin",
    "bybit",
    "gate",
    "generic",
    "hyperliquid",
    "okx",
    "synthetic",
]


def ms(day: str) -> int:
    return int(dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC).timestamp() * 1000)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def own(tmp_path: Path, body: str) -> Path:
    return write(tmp_path, f'name = "mine"\ntitle = "Mine"\nextends = "generic"\n{body}')


FIGURE = 'evidence = "chosen"\nsource = "me"\nas_of = 2026-01-01\n'


def test_the_packs_that_are_shipped():
    assert pack_names() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_every_figure_has_evidence_source_and_date(name):
    pack = load_pack(name)
    assert pack.name == name
    assert pack.about.strip()
    for block in pack.blocks:
        for key, figure in block.figures.items():
            assert figure.evidence in EVIDENCE, key
            assert len(figure.source) > 5, key
            assert dt.date(2015, 1, 1) < figure.as_of, key


@pytest.mark.parametrize("name", SHIPPED)
def test_rules_are_whole_at_every_date(name):
    pack = load_pack(name)
    for time in (-math.inf, 0, ms("2024-01-01"), math.inf):
        assert set(pack.rules_at(time).model_dump()) == set(VenueRules.model_fields)
        stated = list(pack.figures_at(time))
        assert [rule for rule in stated if rule not in SPOT_FEES] == [
            rule for rule in VenueRules.model_fields if rule not in SPOT_FEES
        ]


def test_both_legs_choose_the_tier_where_the_venue_says_so():
    gross = [name for name in pack_names() if load_pack(name).rules_at(math.inf).hedge_tier == "gross"]
    assert gross == ["bitget", "okx"]
    assert load_pack("okx").figures_at(0)["hedge_tier"].evidence == "documented"


def test_spot_fees_are_stated_where_a_source_was_found():
    fees = {name: load_pack(name).rules_at(math.inf) for name in SHIPPED}
    assert (fees["hyperliquid"].spot_taker_fee, fees["hyperliquid"].spot_maker_fee) == (0.0007, 0.0004)
    assert fees["binance"].spot_taker_fee == 0.001
    assert [fees[name].spot_taker_fee for name in ("bybit", "generic", "synthetic")] == [None, None, None]


def test_generic_is_what_the_run_file_documents():
    rules = load_pack("generic").rules_at(0)
    assert (rules.taker_fee, rules.maker_fee, rules.leverage) == (0.0005, 0.0002, RunConfig().account.leverage)
    assert (rules.takeover, rules.step, rules.liquidation_fee, rules.close_fee) == ("bankruptcy", "none", 0.0, 0.0)
    assert (rules.mmr_basis, rules.close_fee_basis, rules.engine_price) == ("mark", "mark", "mark")
    assert (rules.form, rules.unit) == (TierForm.PROGRESSIVE, TierUnit.NOTIONAL)
    assert (rules.funding_paid_from, rules.funding_price, rules.funding_interval_hours) == ("margin", "mark", 8.0)


def test_bybit_moves_maintenance_to_the_mark():
    pack = load_pack("bybit")
    assert pack.rules_at(ms("2025-09-01")).mmr_basis == "entry"
    assert pack.rules_at(ms("2025-09-02") - 1).mmr_basis == "entry"
    assert pack.rules_at(ms("2025-09-02")).mmr_basis == "mark"
    assert pack.changes() == [dt.date(2025, 9, 2)]
    assert pack.changes(ms("2025-09-02"), ms("2026-01-01")) == []
    assert pack.changes(ms("2025-01-01"), ms("2026-01-01")) == [dt.date(2025, 9, 2)]


def test_hyperliquid_fees_by_date():
    pack = load_pack("hyperliquid")
    fees = [pack.rules_at(ms(day)).taker_fee for day in ("2023-06-15", "2024-06-01", "2025-06-01")]
    assert fees == [0.00025, 0.00035, 0.00045]


def test_what_each_venue_does_when_it_liquidates():
    rules = {name: load_pack(name).rules_at(ms("2025-10-10")) for name in SHIPPED}
    assert {n for n, r in rules.items() if r.takeover == "market"} == {"hyperliquid"}
    assert (rules["binance"].step, rules["binance"].step_once) == ("restore", True)
    assert (rules["bybit"].step, rules["bybit"].step_tiers, rules["bybit"].step_once) == ("tier", 0, True)
    okx = rules["okx"]
    assert (okx.step_tiers, okx.step_from_tier, okx.step_above_first) == (2, 3, True)
    assert (rules["bitmex"].step, rules["bitmex"].step_tiers) == ("tier", 1)
    assert rules["hyperliquid"].funding_price == "index"
    assert {n for n, r in rules.items() if r.tier_form == "flat"} == {"okx", "blofin", "bitmex", "bitget"}
    assert {n for n, r in rules.items() if r.tier_unit == "contracts"} == {"okx", "blofin"}
    assert rules["bybit"].funding_paid_from == "wallet_first"
    assert okx.funding_paid_from == "capped"
    gate, bitget = rules["gate"], rules["bitget"]
    assert (gate.step, gate.step_tiers, gate.step_from_tier, gate.step_once) == ("tier", 1, 2, False)
    assert (bitget.step, bitget.step_tiers, bitget.liquidation_fee) == ("tier", 2, 0.0006)
    assert {n for n, r in rules.items() if r.close_fee == "taker"} == {
        "okx",
        "blofin",
        "bitmex",
        "bybit",
        "gate",
        "bitget",
    }


def required(name: str, day: str, value: float, *brackets: tuple[float, float]) -> float:
    """Return the maintenance margin of a position's value, fee to close included, from (floor, rate) pairs."""
    rules = load_pack(name).rules_at(ms(day))
    caps = [*(floor for floor, _ in brackets[1:]), math.inf]
    tiers = tuple(
        MarginTier(notional_floor=floor, notional_cap=cap, maintenance_margin_rate=rate, max_leverage=100)
        for (floor, rate), cap in zip(brackets, caps, strict=True)
    )
    table = TierTable(symbol="BTC/USDT:USDT", tiers=tiers, form=rules.form, unit=rules.unit)
    k = table.lookup(value)
    return value * (tiers[k].maintenance_margin_rate + rules.close_fee_rate(rules.taker_fee)) - table.deductions()[k]


def test_bitget_and_gate_move_to_slices():
    # Bitget's own two examples: 330,000 USDT of BTC, before and after its change
    bitget = ((0.0, 0.004), (200_000.0, 0.005))
    assert required("bitget", "2025-11-09", 330_000, *bitget) == pytest.approx(1848)
    assert required("bitget", "2025-11-10", 330_000, *bitget) == pytest.approx(1648)
    # Gate names the margin alone: 4,900 USDT on 1.2 million, and its maintenance margin adds the taker fee of 0.05 %
    gate = ((0.0, 0.004), (1_000_000.0, 0.0045))
    assert required("gate", "2025-07-29", 1_200_000, *gate) == pytest.approx(4900 + 600)
    assert required("gate", "2025-07-28", 1_200_000, *gate) == pytest.approx(1_200_000 * 0.0045 + 600)


def test_packs_name_their_exchanges():
    named = {name: load_pack(name).exchanges for name in SHIPPED}
    assert named["binance"] == ("binanceusdm", "binancecoinm")
    assert named["bitmex"] == named["generic"] == named["synthetic"] == ()
    assert "ccxt" in load_pack("bitmex").about
    alone = ("bybit", "okx", "blofin", "hyperliquid", "gate", "bitget")
    assert {name: named[name] for name in alone} == {name: (name,) for name in alone}
    assert {e for names in named.values() for e in names} <= set(ccxt.exchanges)


def test_a_venue_without_a_pack_takes_generic_rules():
    pack, is_own = pack_for("krakenfutures")
    assert (pack.name, pack.title, pack.exchanges, is_own) == (
        "krakenfutures",
        "krakenfutures",
        ("krakenfutures",),
        False,
    )
    assert pack.rules_at(0) == load_pack("generic").rules_at(0)
    assert load_pack("generic").name == "generic"
    assert pack_for("bybit") == (load_pack("bybit"), True)


def test_an_own_pack_names_exchanges_or_keeps_those_of_its_base(tmp_path):
    path = write(tmp_path, 'name = "mine"\ntitle = "Mine"\nextends = "binance"\n')
    assert pack_for(str(path)) == (load_pack(path), True)
    assert load_pack(path).exchanges == ("binanceusdm", "binancecoinm")
    write(tmp_path, 'name = "mine"\ntitle = "Mine"\nextends = "binance"\nexchanges = ["krakenfutures"]\n')
    assert load_pack(path).exchanges == ("krakenfutures",)


def test_closing_fee_of_the_test_follows_the_taker_fee():
    assert load_pack("blofin").rules_at(0).close_fee_rate(0.0006) == 0.0006
    assert load_pack("blofin").rules_at(0).close_fee_rate(-0.0001) == 0.0
    assert load_pack("binance").rules_at(0).close_fee_rate(0.0005) == 0.0


@pytest.mark.parametrize(
    ("price", "side", "shown"),
    [(5739.08352, 1, 5739.5), (919.0532, 1, 919.5), (919.5, 1, 919.5), (919.5, -1, 919.5), (919.9, -1, 919.5)],
)
def test_bybit_rounds_against_the_trader(price, side, shown):
    instrument = Instrument(symbol="X/USD:X", tick=0.5)
    assert load_pack("bybit").rules_at(0).displayed_price(price, instrument, side) == shown


def test_rounding_needs_a_tick_and_a_price():
    rules = load_pack("bybit").rules_at(0)
    assert rules.displayed_price(5739.08352, Instrument(symbol="X/USD:X"), 1) == 5739.08352
    assert rules.displayed_price(None, Instrument(symbol="X/USD:X", tick=0.5), 1) is None
    nearest = load_pack("binance").rules_at(0)
    assert nearest.displayed_price(1153.2649, Instrument(symbol="X/USDT:USDT", tick=0.01), 1) == 1153.26
    # 80,891 ticks of 0.05 are 4044.55, not 4044.5500000000002
    assert rules.displayed_price(4044.51, Instrument(symbol="X/USDT:USDT", tick=0.05), 1) == 4044.55


def test_binance_cuts_margins_to_eight_decimals():
    rules = load_pack("binance").rules_at(0)
    assert rules.displayed_margin(0.123456789) == 0.12345678
    assert rules.displayed_margin(0.1) == 0.1
    assert load_pack("generic").rules_at(0).displayed_margin(0.123456789) == 0.123456789


def test_unknown_pack_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="Unknown venue 'bybitt'") as error:
        load_pack("bybitt")
    assert "'bybit'" in error.value.hint


def test_own_pack_states_only_what_differs(tmp_path):
    path = write(
        tmp_path,
        'name = "mine"\ntitle = "Mine"\nextends = "bybit"\n[[rules]]\n[rules.taker_fee]\nvalue = 0.0003\n'
        + FIGURE
        + "[[rules]]\nvalid_from = 2026-02-01\n[rules.taker_fee]\nvalue = 0.0004\n"
        + FIGURE,
    )
    pack = load_pack(path)
    assert pack.name == "mine"
    assert pack.rules_at(0).taker_fee == 0.0003
    assert pack.rules_at(ms("2026-02-01")).taker_fee == 0.0004
    # what it does not state follows the base through time
    assert pack.rules_at(ms("2025-09-01")).mmr_basis == "entry"
    assert pack.rules_at(ms("2026-02-01")).mmr_basis == "mark"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("[[rules]]\n[rules.taker_fee]\nvalue = 2.0\n" + FIGURE, r"rules\[0\].taker_fee.value: .*less than 1"),
        ('[[rules]]\n[rules.taker_fee]\nvalue = "5 bps"\n' + FIGURE, r"rules\[0\].taker_fee.value"),
        ("[[rules]]\n[rules.taker_fee]\nvalue = 0.1\n", r"rules\[0\].taker_fee.evidence: Field required"),
        ("[[rules]]\n[rules.taker_fe]\nvalue = 0.1\n" + FIGURE, r"Unknown key 'rules\[0\].taker_fe'"),
        ("[[rules]]\n[rules.taker_fee]\nvalue = 0.1\nurl = 'x'\n" + FIGURE, r"rules\[0\].taker_fee.url"),
        ('[[rules]]\n[rules.step]\nvalue = "tiers"\n' + FIGURE, r"rules\[0\].step.value"),
        ("[[rules]]\n[rules.close_fee]\nvalue = 1.5\n" + FIGURE, "close_fee: 1.5"),
        ("[rules]\ntaker_fee = 1\n", r"\[\[rules\]\]"),
        ("venue = 1\n", "Unknown key 'venue'"),
        ('exchanges = "bybit"\n', "exchanges: must be a list of ccxt's exchange names"),
        ("exchanges = [7]\n", r"exchanges: .*got \[7\]"),
        ('exchanges = ["by bit"]\n', "exchanges: must be a list"),
        ('exchanges = ["okx", "okx"]\n', "exchanges: names one twice"),
        ("[[rules]]\nvalid_from = 'today'\n", r"rules\[0\].valid_from"),
        ("[[rules]]\nvalid_from = 2024-01-01\n[[rules]]\n", r"rules\[1\].valid_from"),
        ("[[rules]\n", "not valid TOML"),
    ],
)
def test_errors_name_file_and_key(tmp_path, body, said):
    with pytest.raises(ConfigError, match=said) as error:
        load_pack(own(tmp_path, body))
    assert "mine.toml" in str(error.value)


def test_a_pack_of_its_own_must_be_whole(tmp_path):
    with pytest.raises(ConfigError, match=r"rules\[0\].settle: missing"):
        load_pack(write(tmp_path, 'name = "mine"\ntitle = "Mine"\n[[rules]]\n'))
    with pytest.raises(ConfigError, match="name"):
        load_pack(write(tmp_path, 'title = "Mine"\nextends = "generic"\n'))
    with pytest.raises(UnknownNameError, match="extends"):
        load_pack(write(tmp_path, 'name = "mine"\ntitle = "Mine"\nextends = "genric"\n'))
    with pytest.raises(ConfigError, match="no such venue file"):
        load_pack(tmp_path / "absent.toml")
