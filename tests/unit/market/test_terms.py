"""Contract terms by date: the store, and the files that bring them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ccxt
import polars as pl
import pytest

from backtester.domain.enums import ContractKind
from backtester.domain.instrument import Instrument
from backtester.errors import BacktesterError, DataError, UnknownNameError, UsageError
from backtester.market.intake import Intake, Refusal, bring_in
from backtester.market.manifest import Import, Manifest
from backtester.market.parts import stage
from backtester.market.schema import SERIES, DatasetKey, instrument_frame
from backtester.market.sources.binance_info import read_info
from backtester.market.sources.ccxt_json import market_instrument, read_markets, read_tiers, tier_table
from backtester.market.store import Store

BTC = "BTC/USDT:USDT"
KEY = DatasetKey("binance", BTC, "instrument", "event")


def ms(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)


def terms(since: str | None = None, **more: Any) -> Instrument:
    return Instrument(symbol=BTC, valid_from=None if since is None else ms(since), **more)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def write(store: Store, *dated: Instrument) -> tuple[int, int, int]:
    report = store.write(KEY, instrument_frame(*dated), source="test")
    return report.added, report.changed, report.unchanged


# ---- the store


def test_terms_are_kept_by_date(store: Store) -> None:
    assert store.instruments("binance", BTC) == []
    assert store.instrument("binance", BTC) is None
    old = terms("2024-01-01", lot=0.1, listed=5, delisted=7, funding_cap=0.02, funding_floor=-0.02)
    new = terms("2025-01-01", lot=0.01, listed=5, delisted=7, funding_cap=0.03, funding_floor=-0.03)
    assert write(store, new, old) == (2, 0, 0)
    assert store.instruments("binance", BTC) == [old, new]
    moments = ("2023-01-01", "2024-06-01", "2025-01-01")
    assert [store.instrument("binance", BTC, ms(day)) for day in moments] == [old, old, new]
    assert store.instrument("binance", BTC) == new
    assert store.span(KEY) == (ms("2024-01-01"), ms("2025-01-01"))


def test_terms_that_change_nothing_are_left_out(store: Store) -> None:
    assert write(store, terms("2024-01-01", lot=0.1)) == (1, 0, 0)
    fingerprint = store.fingerprint(KEY)
    assert write(store, terms("2024-01-01", lot=0.1)) == (0, 0, 1)
    assert write(store, terms("2024-05-01", lot=0.1)) == (0, 0, 1)
    assert store.fingerprint(KEY) == fingerprint
    # within one write, too: the third day brings the second one's figures
    dated = [terms(day, lot=lot) for day, lot in (("2025-01-01", 0.2), ("2025-02-01", 0.2), ("2025-03-01", 0.1))]
    assert write(store, *dated) == (2, 0, 1)
    assert [t.lot for t in store.instruments("binance", BTC)] == [0.1, 0.2, 0.1]


def test_terms_of_the_same_date_are_replaced(store: Store) -> None:
    write(store, terms(lot=0.1))
    assert write(store, terms(lot=0.2)) == (0, 1, 0)
    assert store.instruments("binance", BTC) == [terms(lot=0.2)]
    with pytest.raises(DataError, match="the same time stands in two rows"):
        write(store, terms("2024-01-01", lot=1), terms("2024-01-01", lot=2))


def test_what_new_terms_do_not_know_is_taken_from_those_in_force(store: Store) -> None:
    write(store, terms("2024-01-01", lot=0.1, taker_fee=0.0004), terms("2026-01-01", lot=0.3, tick=0.5))
    write(store, terms("2025-01-01", funding_interval_hours=4, funding_cap=0.03))
    old, between, new = store.instruments("binance", BTC)
    assert (between.lot, between.taker_fee, between.tick) == (0.1, 0.0004, None)  # never from later terms
    assert (between.funding_interval_hours, between.funding_cap) == (4, 0.03)
    assert (old.funding_cap, new.funding_cap, new.taker_fee) == (None, None, 0.0004)
    # nothing is in force before the oldest
    write(store, terms("2023-01-01", tick=1.0))
    assert store.instruments("binance", BTC)[0] == terms("2023-01-01", tick=1.0)


def test_a_contract_that_is_listed_again_is_not_gone(store: Store) -> None:
    write(store, terms("2023-01-01", listed=ms("2020-01-01"), delisted=ms("2022-01-01")))
    write(store, terms("2024-01-01", tick=1.0))
    write(store, terms("2025-01-01", listed=ms("2024-06-01")))
    assert [t.delisted for t in store.instruments("binance", BTC)] == [ms("2022-01-01"), ms("2022-01-01"), None]


def test_files_of_an_earlier_version_are_read_and_extended(store: Store) -> None:
    recent = ("funding_cap", "funding_floor", "listed", "delisted", "valid_from")
    old = terms(lot=0.1, funding_interval_hours=8.0)
    folder = store.folder(KEY)
    folder.mkdir(parents=True)
    part = stage(folder, "all.parquet", instrument_frame(old).drop(recent), None, source="old", now="2026-01-01")
    manifest = Manifest({"all.parquet": part}, (Import("old", "2026-01-01", 1, None, None),))
    (folder / "manifest.json").write_bytes(manifest.encoded(str(KEY)))
    assert store.instruments("binance", BTC) == [old]
    assert "valid_from" not in pl.read_parquet(folder / "all.parquet").columns
    assert store.read(KEY).columns == list(SERIES["instrument"].columns)
    assert store.span(KEY) is None
    assert write(store, old) == (0, 0, 1)
    assert write(store, terms("2025-01-01", lot=0.2)) == (1, 0, 0)
    assert store.instruments("binance", BTC) == [old, terms("2025-01-01", lot=0.2, funding_interval_hours=8.0)]
    assert store.damaged(KEY) == []


def test_stored_terms_that_contradict_themselves_are_named(store: Store) -> None:
    frame = instrument_frame(terms(listed=5, delisted=7)).with_columns(pl.col("listed").dt.offset_by("1h"))
    store.write(KEY, frame, source="test")
    with pytest.raises(DataError, match="delisted 7 must come after listed 3600005"):
        store.instruments("binance", BTC)


# ---- markets of ccxt


def market(symbol: str = BTC, **more: Any) -> dict[str, Any]:
    """Return a market as ccxt unifies it; figures are made up."""
    base, _, rest = symbol.partition("/")
    quote, _, settle = rest.partition(":")
    return {
        "symbol": symbol,
        "base": base,
        "quote": quote,
        "settle": settle or None,
        "type": "swap",
        "swap": True,
        "linear": settle == quote,
        "inverse": settle == base,
        "contractSize": 0.01,
        "taker": 0.0006,
        "maker": 0.0001,
        "precision": {"amount": 0.1, "price": 0.5},
        "limits": {"amount": {"min": 0.2, "max": None}, "cost": {"min": 7.0}},
        "created": 1_600_000_000_000,
        "expiry": None,
        "info": {},
    } | more


def test_a_market_becomes_terms() -> None:
    found = market_instrument(market(), 123)
    assert found == Instrument(
        symbol=BTC,
        contract_size=0.01,
        tick=0.5,
        lot=0.1,
        min_quantity=0.2,
        min_notional=7.0,
        taker_fee=0.0006,
        maker_fee=0.0001,
        listed=1_600_000_000_000,
        valid_from=123,
    )
    # lots and minimums are counted in contracts: 0.1 contract of 0.01 BTC
    assert found.quantity_step == pytest.approx(0.001)


def test_an_inverse_market_counts_quote_units() -> None:
    found = market_instrument(market("BTC/USD:BTC", contractSize=100, precision={"amount": "1", "price": "0.1"}))
    assert found is not None
    assert (found.kind, found.settle, found.contract_size, found.lot) == (ContractKind.INVERSE, "BTC", 100, 1)
    assert (found.quantity_step, found.min_notional) == (100, None)


OKX = {"instType": "SWAP", "state": "live", "tickSz": "0.5", "lotSz": "2", "minSz": "3", "baseCcy": "", "quoteCcy": ""}
BLOFIN = {"instType": "SWAP", "state": "live", "instId": "BTC-USDT", "contractType": "linear", "tickSize": "0.5"}
GATE = {"name": "BTC_USDT", "type": "direct", "quanto_multiplier": "0.03", "order_size_min": 3, "mark_price": "100"}


@pytest.mark.parametrize(
    ("parsed", "size", "lot", "smallest"),
    [
        (
            lambda: ccxt.okx().parse_market(
                OKX
                | {
                    "instId": "BTC-USDT-SWAP",
                    "uly": "BTC-USDT",
                    "settleCcy": "USDT",
                    "ctVal": "0.03",
                    "ctType": "linear",
                }
            ),
            0.03,
            2,
            3,
        ),
        (
            lambda: ccxt.okx().parse_market(
                OKX
                | {"instId": "BTC-USD-SWAP", "uly": "BTC-USD", "settleCcy": "BTC", "ctVal": "50", "ctType": "inverse"}
            ),
            50,
            2,
            3,
        ),
        (
            lambda: ccxt.blofin().parse_market(
                BLOFIN
                | {"baseCurrency": "BTC", "quoteCurrency": "USDT", "settleCurrency": "USDT"}
                | {"contractValue": "0.003", "lotSize": "0.2", "minSize": "0.4", "expireTime": "4752700383085"}
            ),
            0.003,
            0.2,
            0.4,
        ),
        (lambda: ccxt.gate().parse_contract_market(GATE | {"order_price_round": "0.5"}, "usdt"), 0.03, 1, 3),
    ],
    ids=["okx", "okx inverse", "blofin", "gate"],
)
def test_amounts_of_ccxts_own_markets_are_contracts(
    parsed: Callable[[], dict[str, Any]], size: float, lot: float, smallest: float
) -> None:
    found = market_instrument(parsed())
    assert found is not None
    assert (found.contract_size, found.lot, found.min_quantity, found.tick) == (size, lot, smallest, 0.5)
    assert found.kind is (ContractKind.INVERSE if found.settle == "BTC" else ContractKind.LINEAR)
    assert found.delisted is None


@pytest.mark.parametrize(
    "other",
    [
        {"type": "margin", "swap": False, "symbol": "BTC/USDT"},
        {"type": "future", "swap": False, "symbol": "BTC/USDT:USDT-261225"},
        {"type": "swap", "symbol": "BTC/USDT:USDT-261225"},
        {"linear": False, "inverse": False, "symbol": "ETH/USD:BTC"},
        {"symbol": None},
    ],
)
def test_what_is_no_perpetual_of_a_known_kind_is_none(other: dict[str, Any]) -> None:
    assert market_instrument(market() | other) is None


def test_what_a_market_does_not_say_is_unknown() -> None:
    bare = {k: v for k, v in market().items() if k in ("symbol", "type", "contractSize")}
    assert market_instrument(bare) == Instrument(symbol=BTC, contract_size=0.01)
    never = market_instrument(market(expiry=4_752_700_383_085))  # the year 2120
    assert never is not None
    assert never.delisted is None
    ends = market_instrument(market(expiry=1_700_000_000_000))
    assert ends is not None
    assert ends.delisted == 1_700_000_000_000


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"contractSize": None}, "contractSize is missing"),
        ({"contractSize": 0}, "contract_size 0.0 is out of bounds"),
        ({"contractSize": True}, "True is no number"),
        ({"precision": {"price": -0.1}}, "tick -0.1 is out of bounds"),
        ({"precision": {"amount": "much"}}, "could not convert"),
        ({"precision": [1]}, "precision is no table"),
        ({"limits": {"amount": {"min": "nan"}}}, "'nan' is no finite number"),
        ({"taker": 5}, "taker_fee 5.0 is out of bounds"),
        ({"created": 9e17}, "listed 900000000000000000 is out of bounds"),
        ({"expiry": 5}, "delisted 5 must come after listed"),
    ],
)
def test_impossible_markets_are_refused(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        market_instrument(market(**wrong), source="x.json")


def test_a_spot_market_counts_base_units_and_its_quote_currency() -> None:
    found = market_instrument(market("BTC/USDC", type="spot", swap=False, contractSize=None, linear=None))
    assert found is not None
    assert (found.kind, found.settle, found.contract_size) == (ContractKind.SPOT, "USDC", 1.0)


def test_spot_pairs_come_in_by_name(tmp_path: Path, store: Store) -> None:
    spot = market("BTC/USDT", type="spot", swap=False)
    file = put(tmp_path / "x_2024-03.json", {BTC: market(), "BTC/USDT": spot})
    intakes, notes = read_markets(file, "binance", ["BTC/USDT"])
    assert notes == ()
    list(bring_in(store, intakes))
    assert store.symbols("binance", "instrument") == ["BTC/USDT"]
    assert store.instruments("binance", "BTC/USDT")[0].kind is ContractKind.SPOT


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_markets_come_by_symbol_or_in_a_list(tmp_path: Path, store: Store) -> None:
    dated = tmp_path / "markets"
    spot = market("BTC/USDT", type="spot", swap=False)
    put(dated / "x_2024-03.json", {BTC: market(), "BTC/USDT": spot})
    put(dated / "x_2025-03-05.json", [market(precision={"amount": 0.2}), market("ETH/USDC:USDC")])
    intakes, notes = read_markets(dated, "binance")
    assert notes == ("x_2024-03.json: 1 spot pairs are left out, they come in by name (--symbol BTC/USDT)",)
    list(bring_in(store, intakes))
    old, new = store.instruments("binance", BTC)
    assert (old.valid_from, new.valid_from) == (ms("2024-03-01"), ms("2025-03-05"))
    assert (old.lot, new.lot, new.tick) == (0.1, 0.2, 0.5)
    assert store.symbols("binance", "instrument") == [BTC, "ETH/USDC:USDC"]
    assert [i.key.symbol for i in read_markets(dated, "binance", [BTC])[0] if isinstance(i, Intake)] == [BTC]


def test_an_impossible_market_does_not_keep_the_others_out(tmp_path: Path, store: Store) -> None:
    path = put(tmp_path / "m_2024-03-01.json", [market(contractSize=-1), market("ETH/USDT:USDT")])
    intakes, _ = read_markets(path, "binance")
    refused = [i for i in intakes if isinstance(i, Refusal)]
    assert [(r.name, "contract_size -1.0 is out of bounds" in str(r.error)) for r in refused] == [
        (f"{BTC} (m_2024-03-01.json)", True)
    ]
    assert "m_2024-03-01.json" in str(refused[0].error)
    list(bring_in(store, intakes))
    assert store.symbols("binance", "instrument") == ["ETH/USDT:USDT"]


@pytest.mark.parametrize(
    ("name", "text", "error", "match"),
    [
        ("m.json", json.dumps([market()]), UsageError, "holds no date"),
        ("m_2024-13.json", json.dumps([market()]), UsageError, "is not a date"),
        ("m_2024-01.json", '{"BTC', DataError, "not a whole JSON file"),
        ("m_2024-01.json", "[" * 100_000, DataError, "not a whole JSON file"),
        ("m_2024-01.json", "{}", DataError, "not ccxt's form of markets"),
        ("m_2024-01.json", "7", DataError, "not ccxt's form of markets"),
        ("m_2024-01.json", json.dumps({BTC: [{"maxNotional": 1}]}), DataError, "not ccxt's form of markets"),
    ],
)
def test_files_that_are_no_markets(
    tmp_path: Path, name: str, text: str, error: type[BacktesterError], match: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(error, match=match):
        read_markets(path, "binance")


def test_unknown_symbols_and_equal_dates_of_markets(tmp_path: Path) -> None:
    put(tmp_path / "a_2024-01.json", [market()])
    put(tmp_path / "b_2024-01-01.json", [market()])
    with pytest.raises(UnknownNameError, match="Unknown symbol 'BTC/USDC:USDC'"):
        read_markets(tmp_path, "binance", ["BTC/USDC:USDC"])
    (refusal,) = read_markets(tmp_path, "binance")[0]
    assert isinstance(refusal, Refusal)
    assert "hold from the same moment (2024-01-01 00:00 UTC)" in str(refusal.error)


# ---- tiers of ccxt


def bracket(floor: float, cap: float | None, rate: float, **info: Any) -> dict[str, Any]:
    return {"minNotional": floor, "maxNotional": cap, "maintenanceMarginRate": rate, "maxLeverage": 50, "info": info}


@pytest.mark.parametrize("name", ["cum", "mmDeduction", "deduction"])
def test_a_deduction_is_taken_from_the_exchanges_own_bracket(name: str) -> None:
    table = tier_table(BTC, [bracket(100, None, 0.02, **{name: "1.5"}), bracket(0, 100, 0.01)], 7, "test")
    assert (table.valid_from, table.source) == (7, "test")
    assert table.deductions() == (0.0, 1.5)


def test_brackets_of_whole_contracts_join() -> None:
    table = tier_table(BTC, [bracket(0, 500, 0.01), bracket(501, 900, 0.02), bracket(900, 1000, 0.03)], None, "test")
    assert [(t.notional_floor, t.notional_cap) for t in table.tiers] == [(0, 501), (501, 900), (900, 1000)]
    with pytest.raises(DataError, match=r"ends at 500\.0 and the next starts at 502\.0"):
        tier_table(BTC, [bracket(0, 500, 0.01), bracket(502, 900, 0.02)], None, "test")
    with pytest.raises(DataError, match=r"ends at 500\.0 and the next starts at 499\.0"):
        tier_table(BTC, [bracket(0, 500, 0.01), bracket(499, 900, 0.02)], None, "test")
    with pytest.raises(DataError, match="no number"):
        tier_table(BTC, [bracket(0, 500, 0.01, cum="much")], None, "test")
    with pytest.raises(DataError, match="BTC/USDT:USDT tiers"):
        tier_table(BTC, [], None, "test")


# ---- Binance's own answers


def contract(name: str = "BTCUSDT", **more: Any) -> dict[str, Any]:
    base = name.removesuffix("USDT")
    return {
        "symbol": name,
        "contractType": "PERPETUAL",
        "baseAsset": base,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "onboardDate": 1_600_000_000_000,
        "deliveryDate": 4_133_404_800_000,
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.10", "minPrice": "1"},
            {"filterType": "MARKET_LOT_SIZE", "stepSize": "1", "minQty": "5"},
            {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.002"},
            {"filterType": "MIN_NOTIONAL", "notional": "50"},
        ],
    } | more


def rule(name: str = "BTCUSDT", hours: int = 4, cap: str = "0.02") -> dict[str, Any]:
    return {
        "symbol": name,
        "fundingIntervalHours": hours,
        "adjustedFundingRateCap": cap,
        "adjustedFundingRateFloor": f"-{cap}",
    }


def info(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"serverTime": ms("2026-07-04") + 17, "symbols": list(rows), **more}


def test_contracts_and_funding_rules_are_joined(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "api"
    gone = contract("OMGUSDT", deliveryDate=ms("2025-01-31"))
    put(folder / "exchangeInfo.json", info(contract(), gone, contract("TSLAUSDT", contractType="TRADIFI_PERPETUAL")))
    put(folder / "fundingInfo.json", [rule()])
    put(folder / "other.json", [1])
    intakes, notes = read_info(folder, "binance")
    assert notes == (
        "neither exchangeInfo nor fundingInfo, left out: other.json",
        "exchangeInfo.json: 1 of 3 contracts are no perpetuals of coins",
    )
    list(bring_in(store, intakes))
    assert store.symbols("binance", "instrument") == [BTC, "OMG/USDT:USDT"]
    assert store.instruments("binance", BTC) == [
        Instrument(
            symbol=BTC,
            tick=0.1,
            lot=0.001,
            min_quantity=0.002,
            min_notional=50,
            funding_interval_hours=4,
            funding_cap=0.02,
            funding_floor=-0.02,
            listed=1_600_000_000_000,
            valid_from=ms("2026-07-04"),
        )
    ]
    omg = store.instrument("binance", "OMG/USDT:USDT")
    assert omg is not None
    assert (omg.delisted, omg.funding_interval_hours, omg.funding_cap) == (ms("2025-01-31"), None, None)
    assert "exchangeInfo.json, fundingInfo.json" in store.manifest(KEY).imports[0].source


def test_funding_rules_of_another_day_extend_the_contract(tmp_path: Path, store: Store) -> None:
    put(
        tmp_path / "exchangeInfo_2026-01-01.json",
        info(contract(), contract("TSLAUSDT", contractType="TRADIFI_PERPETUAL")),
    )
    put(tmp_path / "fundingInfo_2026-03-01.json", [rule(), rule("TSLAUSDT"), rule("BTCUSD_PERP")])
    intakes, notes = read_info(tmp_path, "binance")
    assert notes[-1].startswith("fundingInfo_2026-03-01.json: 1 contracts are left out")
    list(bring_in(store, intakes))
    first, second = store.instruments("binance", BTC)
    assert (first.valid_from, first.funding_cap) == (ms("2026-01-01"), None)
    assert second == first.model_copy(
        update={
            "valid_from": ms("2026-03-01"),
            "funding_interval_hours": 4,
            "funding_cap": 0.02,
            "funding_floor": -0.02,
        }
    )
    assert store.symbols("binance", "instrument") == [BTC]


def test_funding_rules_alone_take_the_rest_from_the_store(tmp_path: Path, store: Store) -> None:
    write(store, terms("2024-01-01", lot=0.001, tick=0.1))
    path = put(tmp_path / "f" / "fundingInfo.json", [rule(), rule("ETHUSDT", 1)])
    with pytest.raises(UsageError, match="holds no date"):
        read_info(path, "binance")
    intakes, _ = read_info(path, "binance", valid_from="2024-06-01")
    list(bring_in(store, intakes))
    newest = store.instrument("binance", BTC)
    assert newest is not None
    assert (newest.lot, newest.tick, newest.funding_interval_hours) == (0.001, 0.1, 4)
    ether = store.instrument("binance", "ETH/USDT:USDT")
    assert ether is not None
    assert (ether.lot, ether.contract_size, ether.funding_interval_hours) == (None, 1.0, 1)


def test_a_coin_margined_contract_needs_its_size(tmp_path: Path) -> None:
    coin = contract("BTCUSD_PERP", baseAsset="BTC", quoteAsset="USD", marginAsset="BTC", contractSize=100)
    path = put(tmp_path / "exchangeInfo.json", info(coin))
    (intake,), _ = read_info(path, "binance")
    assert isinstance(intake, Intake)
    row = intake.frame.row(0, named=True)
    assert (intake.key.symbol, row["kind"], row["contract_size"], row["min_notional"]) == (
        "BTC/USD:BTC",
        "inverse",
        100,
        None,
    )
    del coin["contractSize"]
    (refusal,), _ = read_info(put(path, info(coin)), "binance")
    assert isinstance(refusal, Refusal)
    assert "contractSize is missing" in str(refusal.error)


@pytest.mark.parametrize(
    ("name", "content", "error", "match"),
    [
        ("x.json", {"symbols": [contract()]}, UsageError, "holds no date"),
        ("x.json", [rule()], UsageError, "Say from when these funding rules hold"),
        ("x_2024-01.json", {"symbols": []}, DataError, "neither exchangeInfo"),
        ("x_2024-01.json", [market()], DataError, "neither exchangeInfo"),
        ("x_2024-01.json", "text", DataError, "neither exchangeInfo"),
        (
            "x_2024-01.json",
            info({"symbol": "BTCUSDT", "contractType": "PERPETUAL"}),
            DataError,
            "marginAsset is missing",
        ),
    ],
)
def test_files_that_are_no_answers(
    tmp_path: Path, name: str, content: Any, error: type[BacktesterError], match: str
) -> None:
    with pytest.raises(error, match=match):
        read_info(put(tmp_path / name, content), "binance")


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"filters": [{"filterType": "PRICE_FILTER", "tickSize": "0"}]}, "tick 0.0 is out of bounds"),
        ({"filters": [{"filterType": "LOT_SIZE", "stepSize": "x"}]}, "could not convert"),
        ({"filters": 7}, "not iterable"),
        ({"onboardDate": "soon"}, "could not convert"),
        ({"deliveryDate": 5}, "delisted 5 must come after listed"),
    ],
)
def test_impossible_contracts_are_refused_alone(tmp_path: Path, wrong: dict[str, Any], match: str) -> None:
    path = put(tmp_path / "exchangeInfo.json", info(contract(**wrong), contract("ETHUSDT")))
    refusal, intake = sorted(read_info(path, "binance")[0], key=lambda i: isinstance(i, Intake))
    assert isinstance(refusal, Refusal)
    assert match in str(refusal.error)
    assert isinstance(intake, Intake)


def test_impossible_funding_rules_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "exchangeInfo.json", info(contract()))
    put(tmp_path / "fundingInfo.json", [rule(hours=0, cap="2")])
    (refusal,), _ = read_info(tmp_path, "binance")
    assert isinstance(refusal, Refusal)
    assert "funding_interval_hours 0.0 is out of bounds" in str(refusal.error)


# ---- the real files


@pytest.mark.real_data
def test_the_real_answers_agree_with_ccxt(real_data: Path, tmp_path: Path) -> None:
    intakes, _ = read_info(real_data / "api", "binance")
    ours = {i.key.symbol: i.frame.row(0, named=True) for i in intakes if isinstance(i, Intake)}
    answer = json.loads((real_data / "api" / "binanceusdm_exchangeInfo.json").read_bytes())
    perpetual = [row for row in answer["symbols"] if row["contractType"] == "PERPETUAL"]
    assert len(intakes) == len(ours) == len(perpetual)
    markets = ccxt.binanceusdm().parse_markets(answer["symbols"])
    put(tmp_path / "markets_2026-07-04.json", {m["symbol"]: m for m in markets})
    theirs = {
        i.key.symbol: i.frame.row(0, named=True)
        for i in read_markets(tmp_path / "markets_2026-07-04.json", "binance")[0]
        if isinstance(i, Intake)
    }
    assert set(ours) < set(theirs)
    shared = ("kind", "contract_size", "tick", "lot", "min_quantity", "min_notional", "settle", "listed")
    for symbol, row in ours.items():
        assert {f: row[f] for f in shared} == {f: theirs[symbol][f] for f in shared}, symbol
    assert {(row["taker_fee"], row["maker_fee"]) for row in theirs.values()} == {(0.0005, 0.0002)}
    # perpetuals that trade carry a date of 2100, those that are settled a real one
    settled = {row["symbol"] for row in perpetual if row["status"] == "SETTLING"}
    assert sum(row["delisted"] is not None for row in ours.values()) == len(settled) > 100
    assert ours["SOL/USDT:USDT"]["delisted"] is None
    rules = json.loads((real_data / "api" / "binanceusdm_fundingInfo.json").read_bytes())
    named = {row["symbol"] for row in rules} & {row["symbol"] for row in perpetual}
    assert sum(row["funding_cap"] is not None for row in ours.values()) == len(named)
    assert (ours[BTC]["funding_interval_hours"], ours[BTC]["funding_cap"], ours[BTC]["funding_floor"]) == (
        8,
        0.003,
        -0.003,
    )


@pytest.mark.real_data
def test_all_four_real_tier_files_come_in(real_data: Path, tmp_path: Path) -> None:
    intakes, _ = read_tiers(real_data / "tiers", "binance")
    store = Store(tmp_path / "data")
    some = [i for i in intakes if i.key.symbol in (BTC, "ETH/USDT:USDT", "RIVER/USDT:USDT", "1000LUNC/BUSD:BUSD")]
    list(bring_in(store, some))
    dates = [ms(day) for day in ("2022-11-25", "2024-10-24", "2025-10-01", "2026-09-01")]
    assert [t.valid_from for t in store.tier_tables("binance", BTC)] == dates
    assert [t.valid_from for t in store.tier_tables("binance", "RIVER/USDT:USDT")] == dates[2:]
    assert [t.valid_from for t in store.tier_tables("binance", "1000LUNC/BUSD:BUSD")] == dates[:1]
    assert len(intakes) > 500
    assert all(i.notes == () for i in intakes if i.key.symbol in (BTC, "ETH/USDT:USDT"))
