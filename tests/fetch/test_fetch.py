"""A fetch through real ccxt: the store holds what the exchange has, to the last digit, and asks for nothing twice."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from backtester.errors import (
    DataError,
    ExchangeError,
    KeyRequiredError,
    StoreError,
    UnknownNameError,
    UsageError,
)
from backtester.market.fetch import FetchRequest, Route, fetch
from backtester.market.fetch.pages import split
from backtester.market.retry import RetryPolicy
from backtester.market.schema import DatasetKey
from backtester.market.store import Store
from tests.exchange import binance
from tests.exchange.contract import Contract, utc
from tests.exchange.faults import Fault, FaultKind, FaultPlan, Rule
from tests.exchange.market import Hole, Market, demo_contracts
from tests.exchange.server import ExchangeServer, Seen
from tests.fetch.truth import BTC, DAY, ETH, HOUR, LUNA, NOW, SOL, START, Fetch, settled, stored, truth

MARKET = Market.generated(seed=3)
LAST_HOUR = NOW // HOUR * HOUR  # end of the last finished bar
BARS = ("trade", "mark", "index", "premium")


def asked(server: ExchangeServer, ending: str) -> list[Seen]:
    return [seen for seen in server.requests() if seen.path.lower().endswith(ending.lower())]


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_the_store_holds_what_the_exchange_has(store: Store, bring: Fetch, venue: str) -> None:
    with ExchangeServer(MARKET, venue, now=NOW) as server:
        result = bring(server, symbols=(BTC, ETH), series=(*BARS, "funding"), timeframes=("1h", "15m"))
    assert result.failures == []
    for symbol in (BTC, ETH):
        for series in BARS:
            for timeframe, step in (("1h", HOUR), ("15m", HOUR // 4)):
                expected = truth(MARKET, symbol, series, timeframe, START, NOW // step * step)
                assert stored(store, venue, symbol, series, timeframe).equals(expected), (symbol, series, timeframe)
        funding = store.read(DatasetKey(venue, symbol, "funding", "event"))
        expected = settled(MARKET, symbol, START, NOW)
        assert funding["funding_time"].dt.epoch("ms").to_list() == expected["funding_time"].to_list()
        assert funding["funding_rate"].to_list() == expected["funding_rate"].to_list()
    assert set(store.read(DatasetKey(venue, ETH, "funding", "event"))["interval_hours"].to_list()) >= ETH_INTERVALS


ETH_INTERVALS = {8.0, 4.0, 1.0}


def test_the_mark_price_of_settlements_comes_along(store: Store, bring: Fetch) -> None:
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        bring(server, series=("funding",))
    found = MARKET.settlements(MARKET.contracts[0], START, NOW)
    expected = [m / 1e8 if m else None for m in found.mark.tolist()]
    assert store.read(DatasetKey("binance", BTC, "funding", "event"))["mark_price"].to_list() == expected


def test_what_is_complete_is_neither_asked_for_nor_rewritten(store: Store, bring: Fetch) -> None:
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        bring(server, series=BARS)
        before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in store.root.rglob("*.parquet")}
        first = len(server.requests())
        result = bring(server, series=BARS)
        later = server.requests()[first:]
    assert {seen.path for seen in later} == {"/fapi/v1/exchangeInfo", "/fapi/v1/time"}
    assert result.plan.complete == 4
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in store.root.rglob("*.parquet")} == before


def test_missing_windows_are_filled_inside_before_and_after(store: Store, bring: Fetch) -> None:
    key = DatasetKey("binance", BTC, "trade", "1h")
    whole = truth(MARKET, BTC, "trade", "1h", START, LAST_HOUR)
    hours = pl.int_range(pl.len())
    some = whole.filter(hours.is_between(100, 199) | hours.is_between(230, 1200))
    store.write(key, some, source="test")
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        bring(server, series=("trade",))
        windows = [(int(s.query["startTime"]), int(s.query["endTime"])) for s in asked(server, "/klines")]
    assert store.read(key).equals(whole)
    assert windows == [
        (START, START + 230 * HOUR - 1),  # the start and the hole behind it share a page
        (START + 1201 * HOUR, LAST_HOUR - 1),
    ]


def test_the_open_bar_is_never_stored_and_a_later_fetch_brings_it_finished(store: Store, bring: Fetch) -> None:
    moment = [NOW]
    with ExchangeServer(MARKET, "binance", now=lambda: moment[0]) as server:
        bring(server, series=("trade", "mark"))
        assert store.span(DatasetKey("binance", BTC, "trade", "1h")) == (START, LAST_HOUR - HOUR)
        moment[0] += 2 * HOUR
        bring(server, series=("trade", "mark"))
    for series in ("trade", "mark"):
        expected = truth(MARKET, BTC, series, "1h", START, LAST_HOUR + 2 * HOUR)
        assert stored(store, "binance", BTC, series, "1h").equals(expected)


def test_a_wrong_local_clock_stores_no_open_bar(store: Store, bring: Fetch) -> None:
    # the server lives in 2024, the local clock does not: what counts is the exchange's time
    with ExchangeServer(MARKET, "binance", now=utc("2024-02-01T12:30")) as server:
        bring(server, series=("trade",))
    assert store.span(DatasetKey("binance", BTC, "trade", "1h")) == (START, utc("2024-02-01T11:00"))


def test_the_listing_is_found_instead_of_asked_for_page_by_page(store: Store, bring: Fetch) -> None:
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        bring(server, symbols=(SOL,), series=("trade", "mark"), timeframes=("5m",), start=None)
        requests = len(asked(server, "klines"))
    listed = utc("2024-01-17T10:30")
    assert store.span(DatasetKey("binance", SOL, "trade", "5m")) == (listed, NOW // 300_000 * 300_000 - 300_000)
    assert requests < 120  # seven years of 5m would be 700 pages


def test_a_hole_of_the_exchange_is_asked_for_twice_and_then_remembered(store: Store, bring: Fetch) -> None:
    hole = Hole("BTCUSDT", "mark", utc("2024-02-02"), utc("2024-02-03"))
    with ExchangeServer(MARKET.with_holes(hole), "binance", now=NOW) as server:
        bring(server, series=("mark",))
        first = len(server.requests())
        assert len([s for s in asked(server, "markPriceKlines") if int(s.query["startTime"]) == hole.start]) == 1
        bring(server, series=("mark",))
        assert not [s for s in server.requests()[first:] if s.path.endswith("markPriceKlines")]
        result = bring(server, series=("mark",), again=True)
        assert result.plan.rows == 24
    assert store.read(DatasetKey("binance", BTC, "mark", "1h")).height == (LAST_HOUR - START) // HOUR - 24
    with ExchangeServer(MARKET, "binance", now=NOW) as server:  # the exchange has repaired it
        bring(server, series=("mark",), again=True)
    assert stored(store, "binance", BTC, "mark", "1h").equals(truth(MARKET, BTC, "mark", "1h", START, LAST_HOUR))


def test_a_missing_settlement_is_asked_for_too(store: Store, bring: Fetch) -> None:
    at = utc("2024-02-02T08:00")
    with ExchangeServer(MARKET.with_holes(Hole("BTCUSDT", "funding", at, at + 1)), "binance", now=NOW) as server:
        bring(server, series=("funding",))
    assert store.read(DatasetKey("binance", BTC, "funding", "event")).height == 70 * 3 + 1
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        (task,) = bring(server, series=("funding",)).plan.tasks
        assert task.windows[0][0] == utc("2024-03-20T08:00") + 1  # the hole is known, later ones may have come
        bring(server, series=("funding",), again=True)
    assert store.read(DatasetKey("binance", BTC, "funding", "event")).height == 70 * 3 + 2


def test_an_update_extends_everything_that_is_stored(store: Store, bring: Fetch) -> None:
    moment = [NOW]
    with ExchangeServer(MARKET, "binance", now=lambda: moment[0]) as server:
        bring(server, symbols=(BTC, ETH), series=("trade", "funding"))
        bring(server, symbols=(SOL,), series=("mark",), timeframes=("15m",), start=utc("2024-03-01"))
        moment[0] += 3 * DAY
        result = bring(server, symbols=(), update=True, start=None)
    assert result.failures == []
    end = (NOW + 3 * DAY) // HOUR * HOUR
    for symbol in (BTC, ETH):
        assert stored(store, "binance", symbol, "trade", "1h").equals(truth(MARKET, symbol, "trade", "1h", START, end))
        assert store.read(DatasetKey("binance", symbol, "funding", "event"))["funding_rate"].to_list() == (
            settled(MARKET, symbol, START, NOW + 3 * DAY)["funding_rate"].to_list()
        )
    span = store.span(DatasetKey("binance", SOL, "mark", "15m"))
    assert span == (utc("2024-03-01"), (NOW + 3 * DAY) // (HOUR // 4) * (HOUR // 4) - HOUR // 4)
    assert {k.series for k in store.keys(symbol=SOL)} == {"mark"}
    with ExchangeServer(MARKET, "binance", now=NOW + 4 * DAY) as server:
        result = bring(server, symbols=("[BE]*",), update=True, start=None, series=("trade",))
    assert {r.key.symbol for r in result.reports} == {BTC, ETH}
    with pytest.raises(UsageError, match="exclude each other"):
        FetchRequest("binance", update=True, top=3)


def test_a_delisted_contract_ends_an_update_with_a_note(store: Store, bring: Fetch) -> None:
    store.write(
        DatasetKey("binance", LUNA, "trade", "1h"), truth(MARKET, LUNA, "trade", "1h", START, NOW), source="test"
    )
    kept = tuple(c for c in demo_contracts() if c.base != "LUNA")
    with ExchangeServer(Market.generated(seed=3, contracts=kept), "binance", now=NOW) as server:
        result = bring(server, symbols=(), update=True, start=None)
    assert result.notes == [f"no longer traded, so nothing extends them: {LUNA}"]
    with (
        pytest.raises(DataError, match="holds nothing of this venue"),
        ExchangeServer(MARKET, "bybit", now=NOW) as server,
    ):
        bring(server, symbols=(), update=True)


def test_patterns_and_the_largest_contracts(store: Store, bring: Fetch) -> None:
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        result = bring(server, symbols=("[BE]*/USDT:USDT",), series=("trade",))
        assert {r.key.symbol for r in result.reports} == {BTC, ETH}
        result = bring(server, symbols=(), top=2, series=("mark",))
    assert len({r.key.symbol for r in result.reports}) == 2
    assert any("survivorship bias" in note for note in result.notes)


def test_contracts_and_tiers_are_stored_with_their_date(store: Store, bring: Fetch) -> None:
    with ExchangeServer(MARKET, "bybit", now=NOW) as server:
        bring(server, symbols=(BTC, ETH), series=("tiers", "instrument"))
        again = bring(server, symbols=(BTC, ETH), series=("tiers", "instrument"))
    assert all(r.added == 0 for r in again.reports)
    contract = MARKET.contract(BTC)
    assert contract is not None
    (table,) = store.tier_tables("bybit", BTC)
    assert table.valid_from == utc("2024-03-20")
    assert [t.maintenance_margin_rate for t in table.tiers] == [float(b.maintenance_rate) for b in contract.brackets]
    terms = store.instrument("bybit", BTC)
    assert terms is not None
    assert (terms.tick, terms.lot, terms.valid_from) == (0.1, 0.001, utc("2024-03-20"))
    assert terms.listed == contract.listed
    assert terms.funding_interval_hours == 8
    eth = store.instrument("bybit", ETH)
    assert eth is not None
    assert eth.funding_interval_hours == 4


def test_binance_tells_intervals_apart_and_wants_a_key_for_tiers(
    store: Store, bring: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BINANCEUSDM_APIKEY", "BINANCEUSDM_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        result = bring(server, symbols=(ETH,), start=utc("2024-03-19"))
        assert result.failures == []  # tiers came with the default
        assert any("BINANCEUSDM_APIKEY" in note and "--format ccxt-tiers" in note for note in result.notes)
        result = bring(server, symbols=(BTC, ETH), series=("tiers",))
        ((key, error),) = result.failures
        assert isinstance(error, KeyRequiredError)
        assert key.series == "tiers"
        monkeypatch.setenv("BINANCEUSDM_APIKEY", binance.API_KEY)
        monkeypatch.setenv("BINANCEUSDM_SECRET", "s")
        result = bring(server, symbols=(BTC, ETH), series=("tiers",))
        assert {r.key.symbol for r in result.reports} == {BTC, ETH}
    eth = store.instrument("binance", ETH)
    assert eth is not None
    assert eth.funding_interval_hours == 4


def test_what_an_exchange_lacks_is_said_before_the_download(store: Store, bring: Fetch) -> None:
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        with pytest.raises(UsageError, match=r"nothing to fetch: binanceusdm has no bars of 7m \(it has "):
            bring(server, series=("trade",), timeframes=("7m",))
        result = bring(server, series=("trade",), timeframes=("7m", "1h"))
    assert [n for n in result.notes if "no bars of 7m" in n]
    assert {k.timeframe for k in store.keys("binance")} == {"1h"}


def test_a_plan_alone_stores_nothing(store: Store) -> None:
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        request = FetchRequest("binance", (BTC,), series=("trade", "mark"), start=START)
        result = fetch(store, request, route=Route(server.url, 0), dry_run=True)
    assert result.plan.rows == 2 * (LAST_HOUR - START) // HOUR
    assert result.plan.requests == 8
    assert not store.root.exists()


def test_names_that_do_not_exist(store: Store, bring: Fetch) -> None:
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        with pytest.raises(UnknownNameError, match="Unknown symbol 'BTCUSDT' of binanceusdm") as caught:
            bring(server, symbols=("BTCUSDT",))
        assert "BTC/USDT:USDT" in caught.value.hint
        with pytest.raises(UnknownNameError, match="Unknown pattern"):
            bring(server, symbols=("XRP*",))
    with pytest.raises(UnknownNameError, match="Unknown venue 'binence'"):
        fetch(store, FetchRequest("binence", (BTC,)))
    with pytest.raises(UsageError, match="ccxt serves no exchange for the venue 'bitmex'"):
        fetch(store, FetchRequest("bitmex", (BTC,)))
    with pytest.raises(UnknownNameError, match="Unknown series 'trades'"):
        FetchRequest("binance", (BTC,), series=("trades",))
    with pytest.raises(UsageError, match="range is empty"):
        FetchRequest("binance", (BTC,), start=2, end=1)
    with pytest.raises(UsageError, match="which contracts"):
        FetchRequest("binance")
    assert not store.root.exists()


def test_no_network_leaves_the_store_alone(store: Store) -> None:
    route = Route("http://127.0.0.1:9", 0, 2_000, RetryPolicy(attempts=2, first_delay=0.01))
    with pytest.raises(ExchangeError, match=r"binanceusdm \(127\.0\.0\.1:9\) cannot be reached"):
        fetch(store, FetchRequest("binance", (BTC,)), route=route)
    assert not store.root.exists()


def test_a_dataset_that_another_process_writes_is_named_and_the_others_come_in(store: Store, bring: Fetch) -> None:
    with (
        ExchangeServer(MARKET, "binance", now=NOW) as server,
        store.journal(DatasetKey("binance", BTC, "trade", "1h"), "me"),
    ):
        result = bring(server, series=("trade", "mark"))
    ((key, error),) = result.failures
    assert key.series == "trade"
    assert isinstance(error, StoreError)
    assert "another process is writing" in error.message
    assert store.has(DatasetKey("binance", BTC, "mark", "1h"))


def test_a_full_disk_is_said_and_nothing_is_torn(store: Store, bring: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    from backtester.market import journal

    original, written = journal.write_durably, []

    def full(path: Path, content: bytes) -> None:
        if len(written) >= 3:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        original(path, content)

    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        monkeypatch.setattr(journal, "write_durably", full)
        result = bring(server, series=("trade", "mark"))
        monkeypatch.undo()
        assert {key.series for key, _ in result.failures} == {"trade", "mark"}
        assert all("The disk is full" in error.message for _, error in result.failures)
        assert sum(store.manifest(key).rows for key in store.keys("binance")) > 0  # the pages before came in
        assert bring(server, series=("trade", "mark")).failures == []
    for series in ("trade", "mark"):
        assert stored(store, "binance", BTC, series, "1h").equals(truth(MARKET, BTC, series, "1h", START, LAST_HOUR))


def test_a_folder_without_rights_is_named(store: Store, bring: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        monkeypatch.setattr(Path, "mkdir", refused)
        result = bring(server, series=("trade",))
    ((_, error),) = result.failures
    assert "No permission to write" in error.message
    assert "--store DIR" in error.hint


def test_a_damaged_part_is_named_and_can_be_brought_again(store: Store, bring: Fetch) -> None:
    key = DatasetKey("binance", BTC, "trade", "1h")
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        bring(server, series=("trade",), start=utc("2023-12-01"))
        (store.folder(key) / "2023.parquet").write_bytes(b"damaged")
        fresh = Store(store.root)
        result = fetch(
            fresh,
            FetchRequest("binance", (BTC,), series=("trade",), start=utc("2023-11-01")),
            route=Route(server.url, 0),
        )
        ((_, error),) = result.failures
        assert "2023.parquet" in error.message
        assert "--damaged" in error.hint
        store.drop_damaged(key)
        assert bring(server, series=("trade",), start=utc("2023-12-01")).failures == []
    assert store.read(key).equals(truth(MARKET, BTC, "trade", "1h", utc("2023-12-01"), LAST_HOUR))
    assert store.damaged(key) == []


def test_an_update_names_a_damaged_part_and_later_fetches_no_more_than_was_there(store: Store, bring: Fetch) -> None:
    key = DatasetKey("binance", BTC, "trade", "1h")
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        bring(server, series=("trade",))
        (store.folder(key) / "2024.parquet").write_bytes(b"damaged")
        ((_, error),) = bring(server, symbols=(), update=True, start=None).failures
        assert "2024.parquet" in error.message
        store.drop_damaged(key)
        assert bring(server, symbols=(), update=True, start=None).failures == []
    assert store.read(key).equals(truth(MARKET, BTC, "trade", "1h", START, LAST_HOUR))


def test_what_came_in_before_a_failure_is_counted(store: Store, bring: Fetch) -> None:
    faults = FaultPlan(Rule(Fault.failing(503), path="*/klines", query=f"*startTime={START + 2 * 499 * HOUR}*"))
    with ExchangeServer(MARKET, "binance", now=NOW, faults=faults) as server:
        result = bring(server, series=("trade",), policy=RetryPolicy(attempts=2, first_delay=0.01))
    assert len(result.failures) == 1
    assert [report.added for report in result.reports] == [2 * 499]


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_a_start_off_the_grid_begins_with_the_next_bar(store: Store, bring: Fetch, venue: str) -> None:
    start = utc("2024-03-10T05:30")
    with ExchangeServer(MARKET, venue, now=NOW) as server:
        result = bring(server, series=("trade", "mark"), timeframes=("1h", "4h", "1w"), start=start)
    assert result.failures == []
    assert store.read(DatasetKey(venue, BTC, "trade", "1h")).equals(truth(MARKET, BTC, "trade", "1h", start, LAST_HOUR))
    assert store.span(DatasetKey(venue, BTC, "trade", "4h")) == (utc("2024-03-10T08:00"), utc("2024-03-20T04:00"))
    assert store.span(DatasetKey(venue, BTC, "trade", "1w")) == (utc("2024-03-11"), utc("2024-03-11"))


def test_without_long_bars_every_page_is_asked_for(store: Store, bring: Fetch) -> None:
    faults = FaultPlan(*(Rule(Fault(FaultKind.EMPTY), query=f"*interval={t}*") for t in ("1w", "1d")))
    with ExchangeServer(MARKET, "binance", now=NOW, faults=faults) as server:
        bring(server, series=("trade",), start=utc("2023-09-01"))
    assert store.read(DatasetKey("binance", BTC, "trade", "1h")).equals(
        truth(MARKET, BTC, "trade", "1h", utc("2023-09-01"), LAST_HOUR)
    )


def test_what_the_exchange_has_nothing_of_is_not_called_complete(store: Store, bring: Fetch) -> None:
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        result = bring(server, symbols=(SOL,), series=("trade",), start=utc("2023-06-01"), end=utc("2023-12-01"))
        assert result.nothing == [DatasetKey("binance", SOL, "trade", "1h")]
        assert any("has nothing of binance SOL/USDT:USDT trade 1h" in note for note in result.notes)
        ((_, error),) = bring(server, series=("trade",), start=NOW + DAY).failures
    assert "the start lies after what binanceusdm can have yet" in error.message


def test_a_damaged_manifest_stops_its_own_dataset_alone(store: Store, bring: Fetch) -> None:
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        bring(server, series=("trade", "mark"), start=utc("2024-03-01"))
        (store.folder(DatasetKey("binance", BTC, "trade", "1h")) / "manifest.json").write_text("{")
        result = bring(server, series=("trade", "mark", "index"), start=utc("2024-02-20"))
    ((key, error),) = result.failures
    assert key.series == "trade"
    assert "backtester data delete" in error.hint
    assert {report.key.series for report in result.reports} == {"mark", "index"}


def test_impossible_bars_are_left_out_and_said(store: Store, bring: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    from backtester.market.sources.ccxt_client import Client

    original = Client.bars

    async def spoiled(self: Client, *args: object, **kwargs: object) -> pl.DataFrame:
        frame = await original(self, *args, **kwargs)  # type: ignore[arg-type]
        first = pl.col("open_time") == pl.lit(START + 5 * HOUR).cast(frame.schema["open_time"])
        return frame.with_columns(high=pl.when(first).then(0.5).otherwise("high"))

    monkeypatch.setattr(Client, "bars", spoiled)
    with ExchangeServer(MARKET, "binance", now=NOW) as server:
        result = bring(server, series=("trade",))
    assert any("1 impossible row left out, the first at 2024-01-10 05:00 UTC" in note for note in result.notes)
    assert store.read(DatasetKey("binance", BTC, "trade", "1h")).height == (LAST_HOUR - START) // HOUR - 1


def test_pages_are_cut_on_the_grid() -> None:
    assert split(((0, 30),), 10) == [(0, 10), (10, 20), (20, 30)]
    assert split(((0, 1), (9, 10), (40, 41)), 20) == [(0, 10), (40, 41)]


def test_real_data_comes_through_ccxt_unchanged(store: Store, bring: Fetch, real_data: Path) -> None:
    market = Market.from_real(real_data)
    end = utc("2025-03-01")
    with ExchangeServer(market, "binance", now=end + 5_000) as server:
        result = bring(
            server,
            symbols=(BTC, "ORCA/USDT:USDT"),
            series=("trade", "mark", "funding", "instrument"),
            start=utc("2024-12-31"),
        )
    assert result.failures == []
    for symbol in (BTC, "ORCA/USDT:USDT"):
        for series in ("trade", "mark"):
            expected = truth(market, symbol, series, "1h", utc("2024-12-31"), end)
            assert stored(store, "binance", symbol, series, "1h").equals(expected)
        assert store.read(DatasetKey("binance", symbol, "funding", "event"))["funding_rate"].to_list() == (
            settled(market, symbol, utc("2024-12-31"), end + 1)["funding_rate"].to_list()
        )
    assert isinstance(market.contract(BTC), Contract)
