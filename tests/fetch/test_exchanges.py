"""Every exchange that a rule pack names, and one that none names: its pages, its units, the reach of its history."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from backtester.market.fetch import FetchResult
from backtester.market.retry import RetryPolicy
from backtester.market.schema import DatasetKey
from backtester.market.store import Store
from tests.exchange import okx
from tests.exchange.contract import Contract, utc
from tests.exchange.faults import Fault, FaultKind, FaultPlan, Rule
from tests.exchange.market import Market
from tests.exchange.server import ExchangeServer
from tests.fetch.truth import BTC, DAY, HOUR, NOW, START, Fetch, settled, stored, truth

LAST_HOUR = NOW // HOUR * HOUR
CHANGING = ((0, 8), (utc("2024-02-01"), 4), (utc("2024-03-01T05:00"), 1), (utc("2024-03-10T05:00"), 4))
COIN = Contract(
    "BTC",
    listed=utc("2023-06-01"),
    tick="0.1",
    lot="0.0001",
    first_price=40_000.0,
    intervals=CHANGING,
    contract_size="0.001",
)


@dataclass(frozen=True)
class Case:
    """One exchange.

    Attributes
    ----------
    venue : str
        Name of the loopback exchange and of the store's venue.
    contract : Contract
        What is fetched.
    series : tuple of str
        What the exchange has.
    terms : tuple
        Contract size, tick and lot as the store should know them.
    fresh : frozenset of str
        Ends of the paths that a fetch of what is complete may ask for.
    """

    venue: str
    contract: Contract
    series: tuple[str, ...]
    terms: tuple[float, float, float]
    fresh: frozenset[str]


CASES = [
    Case(
        "okx",
        replace(COIN, contract_size="0.01"),
        ("trade", "mark", "index"),
        (0.01, 0.1, 0.01),
        frozenset({"/api/v5/public/instruments", "/api/v5/public/time"}),
    ),
    Case(
        "blofin",
        COIN,
        ("trade", "mark", "index"),
        (0.001, 0.1, 0.1),
        frozenset({"/api/v1/market/instruments"}),
    ),
    Case(
        "hyperliquid",
        replace(COIN, quote="USDC", lot="0.00001", tick="1", intervals=((0, 1),)),
        ("trade",),
        (1.0, 1.0, 0.00001),
        frozenset({"/info"}),
    ),
    Case(
        "gate",
        replace(COIN, contract_size="0.0001"),
        ("trade", "mark", "index"),
        (0.0001, 0.1, 1.0),
        frozenset({"/spot/time", "/spot/currencies", "/contracts"}),
    ),
    Case(
        "bitget",
        COIN,
        ("trade", "mark", "index"),
        (1.0, 0.1, 0.0001),
        frozenset({"/public/time", "/coins", "/contracts"}),
    ),
    Case(
        "binance",
        Contract(
            "BTC",
            "USD",
            listed=utc("2023-06-01"),
            tick="0.1",
            lot="0.00000001",
            first_price=40_000.0,
            contract_size="100",
            is_inverse=True,
        ),
        ("trade", "mark", "index", "premium"),
        (100.0, 0.1, 1.0),
        frozenset({"/exchangeInfo", "/time"}),
    ),
    Case(
        "krakenfutures",
        replace(COIN, quote="USD", tick="1", intervals=((0, 1),)),
        ("trade", "mark", "index"),
        (1.0, 1.0, 0.0001),
        frozenset({"/instruments"}),
    ),
]


@pytest.fixture(params=CASES, ids=lambda case: case.venue)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def market_of(case: Case, *others: Contract) -> Market:
    return Market.generated(seed=11, contracts=(case.contract, *others))


def case_of(venue: str) -> Case:
    return next(case for case in CASES if case.venue == venue)


def assert_bars(store: Store, market: Market, case: Case, series: str, timeframe: str, start: int, end: int) -> None:
    symbol = case.contract.symbol
    expected = truth(market, symbol, series, timeframe, start, end)
    assert expected.height > 0
    assert stored(store, case.venue, symbol, series, timeframe).equals(expected), (series, timeframe)


def assert_settled(store: Store, market: Market, case: Case, start: int, end: int) -> None:
    funding = store.read(DatasetKey(case.venue, case.contract.symbol, "funding", "event"))
    expected = settled(market, case.contract.symbol, start, end)
    assert expected.height > 100
    assert funding["funding_time"].dt.epoch("ms").to_list() == expected["funding_time"].to_list()
    assert funding["funding_rate"].to_list() == expected["funding_rate"].to_list()


def notes_of(result: FetchResult, word: str) -> list[str]:
    return [note for note in result.notes if word in note]


def test_the_store_holds_what_the_exchange_has_and_asks_for_it_once(store: Store, bring: Fetch, case: Case) -> None:
    market = market_of(case)
    end = LAST_HOUR - HOUR  # an hour later settlements of an interval that became shorter might have come
    wanted = {"symbols": (case.contract.symbol,), "series": (*case.series, "funding"), "end": end}
    with ExchangeServer(market, case.venue, now=NOW) as server:
        result = bring(server, **wanted)
        assert result.failures == []
        assert result.notes == []
        server.forget()
        again = bring(server, **wanted)
        later = {seen.path for seen in server.requests()}
    for series in case.series:
        assert_bars(store, market, case, series, "1h", START, end)
    assert_settled(store, market, case, START, end)
    assert again.plan.tasks == ()
    assert again.plan.complete == len(case.series) + 1
    assert {path for path in later if not path.endswith(tuple(case.fresh))} == set()


def test_the_open_bar_comes_when_it_has_finished(store: Store, bring: Fetch, case: Case) -> None:
    market = market_of(case)
    moment = [NOW]
    wanted = {"symbols": (case.contract.symbol,), "series": case.series, "timeframes": ("5m",)}
    start = NOW // HOUR * HOUR - 6 * HOUR
    with ExchangeServer(market, case.venue, now=lambda: moment[0]) as server:
        bring(server, start=start, **wanted)
        for series in case.series:
            assert_bars(store, market, case, series, "5m", start, NOW // 300_000 * 300_000)
        moment[0] += 2 * HOUR
        bring(server, start=start, **wanted)
    for series in case.series:
        assert_bars(store, market, case, series, "5m", start, NOW // 300_000 * 300_000 + 2 * HOUR)


def test_contracts_have_their_size_and_lot(store: Store, bring: Fetch, case: Case) -> None:
    with ExchangeServer(market_of(case), case.venue, now=NOW) as server:
        bring(server, symbols=(case.contract.symbol,), series=("instrument",))
    terms = store.instrument(case.venue, case.contract.symbol)
    assert terms is not None
    assert (terms.contract_size, terms.tick, terms.lot) == case.terms
    assert terms.settle == case.contract.settle
    if case.venue != "hyperliquid":  # it does not tell
        assert terms.listed == case.contract.listed
    if case.venue in ("gate", "bitget"):
        assert terms.funding_interval_hours == 4


@pytest.mark.parametrize("venue", ["okx", "blofin", "gate", "bitget"])
def test_tiers_that_are_public(store: Store, bring: Fetch, venue: str) -> None:
    case = case_of(venue)
    with ExchangeServer(market_of(case), venue, now=NOW) as server:
        result = bring(server, symbols=(BTC,), series=("tiers",))
    assert result.failures == []
    (table,) = store.tier_tables(venue, BTC)
    brackets = case.contract.brackets
    floors = [0, *(b.cap for b in brackets[:-1])]
    gap = 1 if venue == "okx" else 0  # tiers of whole contracts begin one above the last
    assert [t.notional_floor for t in table.tiers] == [f + gap if f else 0 for f in floors]
    assert [t.notional_cap for t in table.tiers] == [*(f + gap for f in floors[1:]), brackets[-1].cap]
    assert [t.maintenance_margin_rate for t in table.tiers] == [float(b.maintenance_rate) for b in brackets]
    assert [t.max_leverage for t in table.tiers] == [b.leverage for b in brackets]
    stated = [t.maintenance_amount for t in table.tiers]
    assert stated == ([0, 50, 1300] if venue == "gate" else [None] * 3)


@pytest.mark.parametrize("venue", ["okx", "blofin", "hyperliquid", "gate", "bitget", "binance"])
def test_the_largest_contracts_are_found(store: Store, bring: Fetch, venue: str) -> None:
    # more contracts of a cheap coin change hands, but the money is in the other one
    case = case_of(venue)
    cheap = replace(case.contract, base="AAA", tick="0.00001", first_price=0.01)
    market = Market.generated(seed=11, contracts=(cheap, case.contract))
    with ExchangeServer(market, venue, now=NOW) as server:
        result = bring(server, symbols=(cheap.symbol, case.contract.symbol), top=1, series=("trade",), start=NOW - DAY)
    assert {r.key.symbol for r in result.reports} == {case.contract.symbol}


def test_okx_keeps_three_months_of_settlements_and_that_is_said(store: Store, bring: Fetch) -> None:
    case = case_of("okx")
    market = market_of(case)
    wanted = {"symbols": (BTC,), "series": ("funding",), "start": utc("2023-09-01"), "end": LAST_HOUR - HOUR}
    with ExchangeServer(market, "okx", now=NOW) as server:
        result = bring(server, **wanted)
        (note,) = result.notes
        again = bring(server, **wanted)
    assert "okx keeps settlements of the last 95 days: funding begins at 2023-12-16 10:00 UTC" in note
    assert_settled(store, market, case, NOW - 92 * DAY, LAST_HOUR - HOUR)
    assert again.notes == [note]
    assert again.plan.tasks == ()


def test_settlements_of_three_months_do_not_shorten_the_bars(store: Store, bring: Fetch) -> None:
    market = market_of(case_of("okx"))
    since = utc("2023-06-01")
    with ExchangeServer(market, "okx", now=NOW) as server:
        bring(server, symbols=(BTC,), series=("funding", "trade", "mark"), start=since)
    for series in ("trade", "mark"):
        assert stored(store, "okx", BTC, series, "1h").equals(
            truth(market, BTC, series, "1h", since, NOW // HOUR * HOUR)
        )


def test_hyperliquid_keeps_5000_bars_of_each_timeframe_and_that_is_said_once(store: Store, bring: Fetch) -> None:
    case = case_of("hyperliquid")
    market = market_of(case, replace(case.contract, base="ETH"))
    with ExchangeServer(market, "hyperliquid", now=NOW) as server:
        result = bring(server, symbols=("*",), series=("trade",), timeframes=("15m", "1h"))
        asked = [s for s in server.requests() if s.query.get("interval") == "15m"]
    quarter = HOUR // 4
    end = NOW // quarter * quarter
    (note,) = result.notes
    assert "hyperliquid keeps the newest 5,000 bars of a timeframe: trade 15m begins at 2024-01-28 08:15 UTC" in note
    assert_bars(store, market, case, "trade", "15m", end - 4999 * quarter, end)  # the open bar is one of the 5,000
    assert_bars(store, market, case, "trade", "1h", START, LAST_HOUR)
    assert min(int(seen.query["startTime"]) for seen in asked) == end - 5000 * quarter


def test_an_update_that_comes_too_late_says_what_is_lost(store: Store, bring: Fetch) -> None:
    case = case_of("hyperliquid")
    moment = [NOW]
    with ExchangeServer(market_of(case), "hyperliquid", now=lambda: moment[0]) as server:
        wanted = {"symbols": (case.contract.symbol,), "series": ("trade",), "start": None, "update": True}
        bring(server, symbols=(case.contract.symbol,), series=("trade",), timeframes=("5m",), start=NOW - 2 * DAY)
        moment[0] += 10 * DAY
        assert bring(server, **wanted).notes == []
        moment[0] += 20 * DAY  # 5,000 bars are 17 days
        (note,) = bring(server, **wanted).notes
    assert "trade 5m begins at 2024-04-02 01:40 UTC; what is older has to come from files" in note


def test_a_range_that_is_kept_is_no_news(store: Store, bring: Fetch) -> None:
    case = case_of("okx")
    with ExchangeServer(market_of(case), "okx", now=NOW) as server:
        assert bring(server, symbols=(BTC,), series=("funding",), start=NOW - 80 * DAY).notes == []


def test_a_listing_that_lies_before_a_page_cut_short_is_found(
    store: Store, bring: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    # weeks are looked through for the first one, and a page is the newest part of what was asked for
    monkeypatch.setitem(okx._RECENT, "candles", ("trade", 10))
    case = case_of("okx")
    listed, end = utc("2017-03-01"), utc("2017-09-01")
    market = Market.generated(seed=11, contracts=(replace(case.contract, listed=listed),))
    with ExchangeServer(market, "okx", now=end + 5_000) as server:
        bring(server, symbols=(BTC,), series=("trade",), timeframes=("4h",), start=None)
    assert_bars(store, market, case, "trade", "4h", listed, end)


def test_okx_is_asked_by_its_own_clock(store: Store, bring: Fetch) -> None:
    # by the local clock everything of 2024 is history; the exchange's newest bars come from `candles`
    case = case_of("okx")
    with ExchangeServer(market_of(case), "okx", now=NOW) as server:
        bring(server, symbols=(BTC,), series=("trade",))
        recent = [s for s in server.requests() if s.path.endswith("/market/candles") and s.query["bar"] == "1H"]
        history = [s for s in server.requests() if s.path.endswith("-candles") and s.query["bar"] == "1H"]
    border = LAST_HOUR - 1439 * HOUR
    assert recent
    assert min(int(s.query["before"]) for s in recent) >= border - HOUR
    assert history
    assert max(int(s.query["before"]) for s in history) < border + HOUR


def test_coin_margined_days_come_in_spans_of_less_than_200_days(store: Store, bring: Fetch) -> None:
    case = case_of("binance")
    market = Market.generated(seed=11, contracts=(replace(case.contract, listed=utc("2023-01-01")),))
    with ExchangeServer(market, "binance", now=NOW) as server:
        bring(server, symbols=("BTC/USD:BTC",), series=("trade", "mark"), timeframes=("1d",), start=utc("2023-01-01"))
        pages = [s for s in server.requests() if s.path == "/dapi/v1/klines" and s.query["interval"] == "1d"]
        assert all(s.status == 200 for s in server.requests())
    assert len(pages) == 3
    for series in ("trade", "mark"):
        assert_bars(store, market, case, series, "1d", utc("2023-01-01"), NOW // DAY * DAY)


def test_bitget_days_come_in_spans_of_90_days(store: Store, bring: Fetch) -> None:
    case = case_of("bitget")
    market = market_of(case)
    with ExchangeServer(market, "bitget", now=NOW) as server:
        bring(server, symbols=(BTC,), series=("mark",), timeframes=("1d",), start=utc("2023-06-01"))
        spans = [
            int(s.query["endTime"]) - int(s.query["startTime"])
            for s in server.requests()
            if "granularity" in s.query and s.query["granularity"] == "1Dutc"
        ]
    assert_bars(store, market, case, "mark", "1d", utc("2023-06-01"), NOW // DAY * DAY)
    assert len(spans) == 4
    assert max(spans) <= 90 * DAY


def test_gate_weeks_begin_on_monday(store: Store, bring: Fetch) -> None:
    case = case_of("gate")
    market = market_of(case)
    with ExchangeServer(market, "gate", now=NOW) as server:
        result = bring(server, symbols=(BTC,), series=("trade",), timeframes=("1w",), start=utc("2024-01-01"))
    assert result.notes == []
    assert_bars(store, market, case, "trade", "1w", utc("2024-01-01"), utc("2024-03-18"))


def test_volumes_of_inverse_contracts_at_gate_are_unknown(store: Store, bring: Fetch) -> None:
    case = replace(case_of("gate"), contract=replace(COIN, quote="USD", is_inverse=True))
    market = market_of(case)
    with ExchangeServer(market, "gate", now=NOW) as server:
        bring(server, symbols=("BTC/USD:BTC",), series=("trade", "instrument"), start=START)
    rows = stored(store, "gate", "BTC/USD:BTC", "trade", "1h")
    assert rows.drop("volume").equals(truth(market, "BTC/USD:BTC", "trade", "1h", START, LAST_HOUR).drop("volume"))
    assert rows["volume"].null_count() == rows.height
    terms = store.instrument("gate", "BTC/USD:BTC")
    assert terms is not None
    assert (terms.contract_size, terms.settle) == (1.0, "BTC")


PAGES = [("*candle*", "*"), ("*fund*", "*"), ("*lines", "*"), ("*/charts/*", "*"), ("/info", "*startTime*")]
KINDS = [FaultKind.SHORT, FaultKind.EMPTY, FaultKind.TRUNCATED, FaultKind.CUT, FaultKind.SHUFFLED, FaultKind.DUPLICATE]
QUICK = RetryPolicy(attempts=20, first_delay=0.001, cap=0.01)


def test_faults_on_the_way_change_nothing_in_the_store(store: Store, bring: Fetch, case: Case) -> None:
    market = market_of(case)
    faults = [Fault(kind) for kind in KINDS] + [Fault.rate_limited(0), Fault.failing(500)]
    # The first two pages fail for certain: chance alone spares a venue of few pages.
    certain = [Rule(f, *page, numbers=(1,)) for page in PAGES for f in (Fault(FaultKind.CUT), Fault.failing(500))]
    chance = [Rule(f, path, query, share=0.1, attempts=2) for path, query in PAGES for f in faults]
    plan = FaultPlan(*certain, *chance, seed=7)
    series = (*case.series[:2], "funding")
    with ExchangeServer(market, case.venue, now=NOW, faults=plan) as server:
        result = bring(server, policy=QUICK, symbols=(case.contract.symbol,), series=series)
        assert len([seen for seen in server.requests() if seen.fault is not None]) >= 2
    assert result.failures == []
    for name in case.series[:2]:
        assert_bars(store, market, case, name, "1h", START, LAST_HOUR)
    assert_settled(store, market, case, START, NOW)


ONCE = [
    (
        "okx",
        Rule(Fault(FaultKind.EMPTY), "*/history-candles", "*bar=1H*", numbers=(2,)),
    ),  # the rest of a page cut short
    ("okx", Rule(Fault(FaultKind.EMPTY), "*candles", "*bar=1W*", numbers=(1,))),  # the search for the listing
    ("bitget", Rule(Fault(FaultKind.SHORT), "*/history-fund-rate", attempts=1)),  # what it lacks no other page has
    ("bitget", Rule(Fault(FaultKind.EMPTY), "*/history-fund-rate", attempts=2)),
]


@pytest.mark.parametrize(("venue", "rule"), ONCE)
def test_a_page_that_fails_silently_is_not_believed(store: Store, bring: Fetch, venue: str, rule: Rule) -> None:
    case = case_of(venue)
    market = market_of(case)
    with ExchangeServer(market, venue, now=NOW, faults=FaultPlan(rule)) as server:
        result = bring(server, policy=QUICK, symbols=(BTC,), series=("trade", "funding"))
        assert [seen for seen in server.requests() if seen.fault is not None]
    assert result.failures == []
    assert_bars(store, market, case, "trade", "1h", START, LAST_HOUR)
    assert_settled(store, market, case, START, NOW)


@pytest.mark.parametrize(
    ("venue", "lacking"),
    [("hyperliquid", ("mark", "index", "tiers")), ("blofin", ("premium",)), ("okx", ("premium",))],
)
def test_what_one_lacks_is_said(store: Store, bring: Fetch, venue: str, lacking: tuple[str, ...]) -> None:
    case = case_of(venue)
    with ExchangeServer(market_of(case), venue, now=NOW) as server:
        result = bring(server, symbols=(case.contract.symbol,), series=("funding", *lacking), start=NOW - 5 * DAY)
    assert sorted(result.notes) == [
        f"{venue} has no {series} series in ccxt: it is left out" for series in sorted(lacking)
    ]
    assert result.failures == []


def test_a_limit_lower_than_believed_costs_requests_and_no_rows(store: Store, bring: Fetch) -> None:
    # ccxt states 2,000 bars a page, the exchange gives 1,000
    case = case_of("krakenfutures")
    market = market_of(case)
    with ExchangeServer(market, "krakenfutures", now=NOW) as server:
        result = bring(server, symbols=(case.contract.symbol,), series=("trade",))
        asked = [s for s in server.requests() if "/api/charts/v1/trade/" in s.path]
    assert result.plan.requests == 1
    assert [(int(s.query["to"]) - int(s.query["from"])) // 3600 + 1 for s in asked] == [1690, 690]
    assert_bars(store, market, case, "trade", "1h", START, LAST_HOUR)
