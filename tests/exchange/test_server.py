"""Real ccxt clients against the loopback exchange: what they get is what the market holds, to the last digit."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ccxt.async_support as ccxt
import numpy as np
import polars as pl
import pytest

from tests.exchange import binance
from tests.exchange.answer import TIMEFRAMES_MS
from tests.exchange.bars import HOUR_MS, MINUTE_MS
from tests.exchange.contract import Contract, utc
from tests.exchange.faults import Fault, FaultKind, FaultPlan, Rule
from tests.exchange.market import Hole, Market, demo_contracts
from tests.exchange.server import ExchangeServer, skewed_clock

NOW = utc("2024-03-20T00:10")
VENUES = ("binance", "bybit")
BTC = "BTC/USDT:USDT"
PRICES = {"trade": None, "mark": "mark", "index": "index", "premium": "premiumIndex"}
MARKET = Market.generated(3)
ROOT = Path(__file__).resolve().parents[2]
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy this machine uses


class Binance(ccxt.binanceusdm):
    """Without the pause on closing."""

    timeout_on_exit = 0


class Bybit(ccxt.bybit):
    """Without the pause on closing."""

    timeout_on_exit = 0


Call = Callable[[Any], Awaitable[Any]]
CLIENTS = {"binance": Binance, "bybit": Bybit}


def point(client: Any, url: str) -> Any:
    """Let a ccxt client talk to another host; paths such as ``/fapi/v1`` stay."""
    client.urls["api"] = {name: url + urlsplit(address).path for name, address in client.urls["api"].items()}
    return client


def ask(server: ExchangeServer, call: Call, client_class: type | None = None, **options: Any) -> Any:
    """Return what a call to a fresh client of the server's venue returns."""

    async def run() -> Any:
        made = (client_class or CLIENTS[server.venue])({"enableRateLimit": False, "timeout": 5_000, **options})
        client = point(made, server.url)
        try:
            return await call(client)
        finally:
            await client.close()

    return asyncio.run(run())


@pytest.fixture(params=VENUES)
def server(request: pytest.FixtureRequest) -> Any:
    with ExchangeServer(MARKET, request.param, now=NOW) as running:
        yield running


@pytest.fixture
def on_binance() -> Any:
    with ExchangeServer(MARKET, "binance", now=NOW) as running:
        yield running


@pytest.fixture
def on_bybit() -> Any:
    with ExchangeServer(MARKET, "bybit", now=NOW) as running:
        yield running


def contract(name: str) -> Contract:
    found = MARKET.contract(name)
    assert found is not None
    return found


def unified(market: Market, who: Contract, series: str, timeframe: str, first: int, last: int) -> list[list[float]]:
    """Return bars as ccxt returns them, without the volume."""
    frame = market.bars(who, series, TIMEFRAMES_MS[timeframe], first, last).frame()
    return [list(row) for row in frame.with_columns(pl.col("open_time").dt.epoch("ms")).drop("volume").iter_rows()]


def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Return status and body of a plain request: what the exchange says to anyone."""
    try:
        with _DIRECT.open(urllib.request.Request(url, headers=headers or {}), timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


# what is listed


def test_listing_binance(on_binance: ExchangeServer) -> None:
    markets = ask(on_binance, lambda client: client.load_markets())
    assert list(markets) == [c.symbol for c in demo_contracts()]
    bitcoin, doge, luna = markets[BTC], markets["DOGE/USDT:USDT"], markets["LUNA/USDT:USDT"]
    assert bitcoin["precision"]["price"] == 0.1
    assert bitcoin["precision"]["amount"] == 0.001
    assert bitcoin["limits"]["cost"]["min"] == 100
    assert bitcoin["created"] == utc("2021-06-01")
    assert (bitcoin["swap"], bitcoin["linear"], bitcoin["settle"], bitcoin["active"]) == (True, True, "USDT", True)
    assert (doge["precision"]["price"], doge["precision"]["amount"]) == (0.00001, 1)
    assert (luna["active"], luna["info"]["deliveryDate"]) == (False, utc("2024-01-20T13:45"))
    assert [seen.path for seen in on_binance.requests()] == ["/fapi/v1/exchangeInfo"]


def test_listing_bybit(on_bybit: ExchangeServer) -> None:
    markets = ask(on_bybit, lambda client: client.load_markets())
    assert set(markets) == {c.symbol for c in demo_contracts() if c.base != "LUNA"}
    assert (markets[BTC]["precision"]["amount"], markets[BTC]["precision"]["price"]) == (0.001, 0.1)
    assert markets[BTC]["limits"]["cost"]["min"] == 100
    assert markets["ETH/USDT:USDT"]["info"]["fundingInterval"] == 240
    assert markets["SOL/USDT:USDT"]["created"] == utc("2024-01-17T10:30")
    assert len(on_bybit.requests()) == 11
    on_bybit.forget()
    ask(on_bybit, lambda client: client.load_markets(), options={"fetchMarkets": {"types": ["linear"]}})
    assert len(on_bybit.requests()) == 2


def test_nothing_is_listed_before_its_time(server: ExchangeServer) -> None:
    server.now = utc("2024-01-17T10:29")
    assert "SOL/USDT:USDT" not in ask(server, lambda client: client.load_markets())
    server.now = utc("2024-01-17T10:30")
    assert "SOL/USDT:USDT" in ask(server, lambda client: client.load_markets())


def test_closed_contracts_and_cursor_bybit(on_bybit: ExchangeServer) -> None:
    base = f"{on_bybit.url}/v5/market/instruments-info?category=linear"
    closed = get(f"{base}&status=Closed")[1]["result"]["list"]
    assert [row["symbol"] for row in closed] == ["LUNAUSDT"]
    assert closed[0]["deliveryTime"] == str(utc("2024-01-20T13:45"))
    names, cursor, pages = [], "", 0
    while pages == 0 or cursor:
        result = get(f"{base}&limit=3&cursor={cursor}")[1]["result"]
        names += [row["symbol"] for row in result["list"]]
        cursor, pages = result["nextPageCursor"], pages + 1
    assert names == ["BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT"]
    assert pages == 2


def test_clock(server: ExchangeServer) -> None:
    assert ask(server, lambda client: client.fetch_time()) == NOW
    server.now = lambda: NOW + 90_000
    assert ask(server, lambda client: client.fetch_time()) == NOW + 90_000
    server.now = skewed_clock(-3_600_000)
    here = skewed_clock(0)()
    assert abs(here - 3_600_000 - ask(server, lambda client: client.fetch_time())) < 60_000


# bars


@pytest.mark.parametrize("series", list(PRICES))
@pytest.mark.parametrize(("name", "timeframe"), [("BTCUSDT", "1h"), ("DOGEUSDT", "5m"), ("SOLUSDT", "1d")])
def test_bars_are_the_markets(server: ExchangeServer, series: str, name: str, timeframe: str) -> None:
    first, last = utc("2024-01-15"), utc("2024-01-15") + 60 * TIMEFRAMES_MS[timeframe]
    params = {"until": last} | ({"price": PRICES[series]} if PRICES[series] else {})
    who = contract(name)
    rows = ask(server, lambda client: client.fetch_ohlcv(who.symbol, timeframe, first, 200, params))
    assert [row[:5] for row in rows] == unified(MARKET, who, series, timeframe, first, last)
    assert len(rows) > 55
    volumes = [row[5] for row in rows]
    if series == "trade":
        frame = MARKET.bars(who, series, TIMEFRAMES_MS[timeframe], first, last).frame()
        assert volumes == frame["volume"].to_list()
    else:
        assert set(volumes) == ({0.0} if server.venue == "binance" else {None})


@pytest.mark.parametrize("series", list(PRICES))
@pytest.mark.parametrize("name", ["SOLUSDT", "LUNAUSDT", "BTCUSDT"])
def test_minutes_add_up(name: str, series: str) -> None:
    who = contract(name)
    first, last = utc("2024-01-15"), utc("2024-01-22") - 1
    minutes = MARKET.bars(who, series, MINUTE_MS, first, last).frame()
    for timeframe in ("15m", "4h", "1d", "1w"):
        summed = (
            minutes.group_by_dynamic("open_time", every=timeframe)
            .agg(pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last())
            .sort("open_time")
        )
        coarse = MARKET.bars(who, series, TIMEFRAMES_MS[timeframe], first, last).frame()
        assert coarse.drop("volume").equals(summed)
    for low_or_high, sign in (("low", 1), ("high", -1)):
        inside = np.minimum(sign * minutes["open"].to_numpy(), sign * minutes["close"].to_numpy())
        assert np.all(sign * minutes[low_or_high].to_numpy() <= inside)


def test_any_part_is_the_same_part() -> None:
    whole = MARKET.bars(contract("BTCUSDT"), "trade", HOUR_MS, utc("2024-01-01"), utc("2024-02-01")).frame()
    part = MARKET.bars(contract("BTCUSDT"), "trade", HOUR_MS, utc("2024-01-10"), utc("2024-01-11")).frame()
    assert part.height == 25
    assert whole.join(part, on=part.columns, how="inner").equals(part)
    other = Market.generated(4).bars(contract("BTCUSDT"), "trade", HOUR_MS, utc("2024-01-10"), utc("2024-01-11"))
    assert not other.frame().equals(part)


def test_ends_are_included_binance(on_binance: ExchangeServer) -> None:
    first = utc("2024-03-01")
    until = {"until": first + 3 * HOUR_MS}
    rows = ask(on_binance, lambda client: client.fetch_ohlcv(BTC, "1h", first, 500, until))
    assert [row[0] for row in rows] == [first + i * HOUR_MS for i in range(4)]
    late = ask(on_binance, lambda client: client.fetch_ohlcv(BTC, "1h", first + 1, 500, until))
    assert [row[0] for row in late] == [first + i * HOUR_MS for i in range(1, 4)]


def test_pages_binance(on_binance: ExchangeServer) -> None:
    base = f"{on_binance.url}/fapi/v1/klines?symbol=BTCUSDT&interval=1m"
    first = utc("2024-03-01")
    ahead = get(f"{base}&startTime={first}&endTime={first + 5000 * MINUTE_MS}&limit=1500")[1]
    assert [row[0] for row in ahead] == [first + i * MINUTE_MS for i in range(1500)]
    assert ahead[0][6] == first + MINUTE_MS - 1
    newest = get(base)[1]
    assert len(newest) == 500
    assert newest[-1][0] == NOW
    back = get(f"{base}&endTime={first}&limit=3")[1]
    assert [row[0] for row in back] == [first - 2 * MINUTE_MS, first - MINUTE_MS, first]
    status, body = get(f"{base}&limit=1501")
    assert (status, body["code"]) == (400, -1130)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("klines?symbol=NOPEUSDT&interval=1h", -1121),
        ("klines?symbol=BTCUSDT&interval=7m", -1120),
        ("klines?interval=1h", -1102),
        ("indexPriceKlines?symbol=BTCUSDT&interval=1h", -1102),
        ("klines?symbol=BTCUSDT&interval=1h&startTime=2&endTime=1", -1023),
        ("fundingRate?symbol=BTCUSDT&limit=1001", "000002"),
    ],
)
def test_refusals_binance(on_binance: ExchangeServer, query: str, code: int | str) -> None:
    status, body = get(f"{on_binance.url}/fapi/v1/{query}")
    assert (status, body["code"]) == (400, code)


def test_pages_bybit(on_bybit: ExchangeServer) -> None:
    base = f"{on_bybit.url}/v5/market/kline?category=linear&symbol=BTCUSDT&interval=60"
    first, last = utc("2024-01-01"), utc("2024-03-01")
    rows = get(f"{base}&start={first}&end={last}&limit=1000")[1]["result"]["list"]
    assert [int(row[0]) for row in rows] == [last - i * HOUR_MS for i in range(1000)]
    assert all(isinstance(cell, str) for cell in rows[0])
    assert len(rows[0]) == 7
    assert len(get(f"{base}&start={first}&end={last}")[1]["result"]["list"]) == 200
    assert len(get(f"{base}&start={first}&end={last}&limit=5000")[1]["result"]["list"]) == 1000
    alone = get(f"{base}&start={first + 1}&limit=2")[1]["result"]["list"]
    assert [int(row[0]) for row in alone] == [first + HOUR_MS, first]
    early = get(f"{base}&start=9999&limit=1")[1]["result"]["list"]
    assert [int(row[0]) for row in early] == [utc("2021-06-01")]
    mark = get(base.replace("/kline?", "/mark-price-kline?"))[1]["result"]["list"]
    assert len(mark[0]) == 5


def test_ccxt_walks_backward_on_bybit(on_bybit: ExchangeServer) -> None:
    first, last = utc("2024-01-01"), utc("2024-01-31T23:00")

    async def walk(client: Any) -> list[list[float]]:
        rows: list[list[float]] = []
        until = last
        while until >= first:
            page = await client.fetch_ohlcv(BTC, "1h", first, 200, {"until": until})
            rows = page + rows
            until = page[0][0] - 1
        return rows

    rows = ask(on_bybit, walk)
    assert [row[:5] for row in rows] == unified(MARKET, contract(BTC), "trade", "1h", first, last)
    assert len(on_bybit.requests("/kline")) == 4


@pytest.mark.parametrize(("query", "code"), [("symbol=NOPE&interval=60", 10001), ("symbol=BTCUSDT&interval=7", 10001)])
def test_refusals_bybit(on_bybit: ExchangeServer, query: str, code: int) -> None:
    status, body = get(f"{on_bybit.url}/v5/market/kline?category=linear&{query}")
    assert (status, body["retCode"]) == (200, code)


@pytest.mark.parametrize("timeframe", ["1m", "1h", "1d"])
def test_bars_begin_with_the_listing(server: ExchangeServer, timeframe: str) -> None:
    sol = contract("SOLUSDT")
    rows = ask(server, lambda client: client.fetch_ohlcv(sol.symbol, timeframe, utc("2024-01-01"), 5))
    step = TIMEFRAMES_MS[timeframe]
    assert [row[0] for row in rows] == [sol.listed // step * step + i * step for i in range(5)]


@pytest.mark.parametrize("timeframe", ["1m", "1h"])
def test_bars_end_with_the_delisting(on_binance: ExchangeServer, timeframe: str) -> None:
    luna = contract("LUNAUSDT")
    rows = ask(on_binance, lambda client: client.fetch_ohlcv(luna.symbol, timeframe, utc("2024-01-20T12:00"), 1000))
    step = TIMEFRAMES_MS[timeframe]
    assert luna.delisted is not None
    assert rows[-1][0] == (luna.delisted - 1) // step * step


def test_open_bar_changes(server: ExchangeServer) -> None:
    async def twice(client: Any) -> list[list[list[float]]]:
        return [await client.fetch_ohlcv(BTC, "1h", NOW - 3 * HOUR_MS, 10) for _ in range(2)]

    before, after = ask(server, twice)
    assert [row[0] for row in before] == [row[0] for row in after]
    assert before[-1][0] == NOW // HOUR_MS * HOUR_MS
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]
    final = unified(MARKET, contract(BTC), "trade", "1h", int(before[-1][0]), int(before[-1][0]))[0]
    assert final not in (before[-1][:5], after[-1][:5])
    server.now = NOW + HOUR_MS
    closed = ask(server, lambda client: client.fetch_ohlcv(BTC, "1h", before[-1][0], 1))
    assert closed[0][:5] == final


def test_holes(server: ExchangeServer) -> None:
    start = utc("2024-03-05")
    server.market = MARKET.with_holes(
        Hole("BTCUSDT", "trade", start, start + 5 * HOUR_MS),
        Hole("BTCUSDT", "funding", start, start + HOUR_MS),
    )
    rows = ask(server, lambda client: client.fetch_ohlcv(BTC, "1h", start - 2 * HOUR_MS, 4))
    assert [(row[0] - start) // HOUR_MS for row in rows] == [-2, -1, 5, 6]
    mark = ask(server, lambda client: client.fetch_ohlcv(BTC, "1h", start - 2 * HOUR_MS, 4, {"price": "mark"}))
    assert [(row[0] - start) // HOUR_MS for row in mark] == [-2, -1, 0, 1]
    paid = ask(server, lambda client: client.fetch_funding_rate_history(BTC, start - 8 * HOUR_MS, 10))
    assert [round((row["timestamp"] - start) / HOUR_MS) for row in paid][:2] == [-8, 8]


# funding


def settled(name: str, first: int, last: int) -> tuple[list[int], list[float]]:
    found = MARKET.settlements(contract(name), first, last)
    return found.time.tolist(), found.frame()["funding_rate"].to_list()


def test_interval_changes() -> None:
    hours = np.diff(settled("ETHUSDT", utc("2024-01-30"), utc("2024-03-12"))[0]) // HOUR_MS
    changes = [int(hours[0])] + [int(b) for a, b in itertools.pairwise(hours) if a != b]
    assert changes == [8, 4, 2, 1, 3, 4]  # 04:00 to 06:00 and 05:00 to 08:00: a change keeps to the clock


def test_funding_binance(on_binance: ExchangeServer) -> None:
    first, last = utc("2024-02-28"), utc("2024-03-02")
    times, rates = settled("ETHUSDT", first, last + HOUR_MS)
    until = {"until": last + HOUR_MS}
    rows = ask(on_binance, lambda client: client.fetch_funding_rate_history("ETH/USDT:USDT", first, 1000, until))
    late = np.array([row["timestamp"] for row in rows]) - np.array(times)
    assert [row["fundingRate"] for row in rows] == rates
    assert set(late.tolist()) <= set(range(18))
    assert len(set(late.tolist())) > 5
    marks = MARKET.settlements(contract("ETHUSDT"), first, last + HOUR_MS).frame()["mark_price"].to_list()
    assert [float(row["info"]["markPrice"]) for row in rows] == marks


def test_funding_pages_binance(on_binance: ExchangeServer) -> None:
    base = f"{on_binance.url}/fapi/v1/fundingRate?symbol=BTCUSDT"
    newest = get(base)[1]
    assert len(newest) == 100
    assert newest[-1]["fundingTime"] // 1000 == utc("2024-03-20") // 1000
    page = get(f"{base}&startTime={utc('2021-01-01')}&limit=1000")[1]
    assert len(page) == 1000
    assert page[0]["fundingTime"] // 1000 == utc("2021-06-01T08:00") // 1000
    assert page[0]["markPrice"] == ""
    stamp = page[500]["fundingTime"]
    assert get(f"{base}&startTime={stamp}&endTime={stamp}")[1] == [page[500]]
    again = get(f"{base}&startTime={stamp + 1}&limit=1")[1]
    assert again == [page[501]]


def test_funding_bybit(on_bybit: ExchangeServer) -> None:
    first, last = utc("2024-02-28"), utc("2024-03-02")
    times, rates = settled("ETHUSDT", first, last)
    rows = ask(on_bybit, lambda client: client.fetch_funding_rate_history("ETH/USDT:USDT", first, 200, {"until": last}))
    assert ([row["timestamp"] for row in rows], [row["fundingRate"] for row in rows]) == (times, rates)
    base = f"{on_bybit.url}/v5/market/funding/history?category=linear&symbol=BTCUSDT"
    assert get(f"{base}&startTime={first}")[1]["retCode"] == 10001
    page = get(f"{base}&startTime={utc('2023-01-01')}&endTime={last}")[1]["result"]["list"]
    assert len(page) == 200
    assert int(page[0]["fundingRateTimestamp"]) == last
    assert int(page[-1]["fundingRateTimestamp"]) == last - 199 * 8 * HOUR_MS


def test_ccxt_loses_settlements_without_until_on_bybit(on_bybit: ExchangeServer) -> None:
    """The window is measured with today's interval (4 h), the settlements stood 1 h apart: its beginning is lost."""
    first = utc("2024-03-02")
    rows = ask(on_bybit, lambda client: client.fetch_funding_rate_history("ETH/USDT:USDT", first, 10))
    assert rows[0]["timestamp"] == first + 31 * HOUR_MS


def test_funding_intervals(on_binance: ExchangeServer) -> None:
    intervals = ask(on_binance, lambda client: client.fetch_funding_intervals())
    assert {name: row["interval"] for name, row in intervals.items()} == {
        "ETH/USDT:USDT": "4h",
        "DOGE/USDT:USDT": "4h",
    }


# volume and margin


def test_tickers(server: ExchangeServer) -> None:
    tickers = ask(server, lambda client: client.fetch_tickers())
    assert set(tickers) == {c.symbol for c in demo_contracts() if c.base != "LUNA"}
    last = NOW // HOUR_MS * HOUR_MS - 1
    day = MARKET.bars(contract(BTC), "trade", HOUR_MS, last - 24 * HOUR_MS + 1, last).frame()
    assert tickers[BTC]["quoteVolume"] == pytest.approx((day["volume"] * day["close"]).sum(), rel=1e-6)
    assert tickers[BTC]["last"] == day["close"][-1]
    assert tickers[BTC]["high"] == day["high"].max()


def key(text: str) -> dict[str, Any]:
    """Return the configuration of a client with a key; it would fetch currencies from another host before anything."""
    return {"apiKey": text, "secret": "x", "options": {"fetchCurrencies": False}}


def test_brackets_want_a_key(on_binance: ExchangeServer) -> None:
    with pytest.raises(ccxt.AuthenticationError):
        ask(on_binance, lambda client: client.fetch_leverage_tiers())
    assert on_binance.requests("leverageBracket") == []  # ccxt did not even ask
    url = f"{on_binance.url}/fapi/v1/leverageBracket"
    status, body = get(url)
    assert (status, body["code"]) == (401, -2014)
    status, body = get(url, {"X-MBX-APIKEY": "another"})
    assert (status, body["code"]) == (401, -2015)
    with pytest.raises(ccxt.AuthenticationError, match="-2015"):
        ask(on_binance, lambda client: client.fetch_leverage_tiers(), **key("another"))


@pytest.mark.parametrize("venue", VENUES)
def test_tiers(venue: str) -> None:
    many = (*demo_contracts(), *(Contract(f"COIN{i}") for i in range(40)))
    keys = key(binance.API_KEY) if venue == "binance" else {}
    with ExchangeServer(Market.generated(0, many), venue, now=NOW) as server:
        tiers = ask(server, lambda client: client.fetch_leverage_tiers(), **keys)
        pages = [seen for seen in server.requests() if seen.path.endswith(("leverageBracket", "risk-limit"))]
        assert len(pages) == (1 if venue == "binance" else 3)
    assert set(tiers) == {c.symbol for c in many if c.base != "LUNA"}
    rows = [(t["minNotional"], t["maxNotional"], t["maintenanceMarginRate"], t["maxLeverage"]) for t in tiers[BTC]]
    assert rows == [(0, 50_000, 0.004, 125), (50_000, 250_000, 0.005, 100), (250_000, 3_000_000, 0.01, 50)]
    amounts = [float(t["info"]["cum" if venue == "binance" else "mmDeduction"] or 0) for t in tiers[BTC]]
    assert amounts == [0, 50, 1300]


def test_tiers_of_one_market(on_bybit: ExchangeServer) -> None:
    tiers = ask(on_bybit, lambda client: client.fetch_market_leverage_tiers(BTC))
    assert [tier["maxLeverage"] for tier in tiers] == [125, 100, 50]


# faults: what ccxt makes of them

HTML, STATUS = FaultKind.HTML, FaultKind.STATUS
FATES = [
    (Fault.rate_limited(), ccxt.DDoSProtection, ccxt.RateLimitExceeded),
    (Fault.rate_limited(status=418), ccxt.DDoSProtection, ccxt.RateLimitExceeded),
    (Fault(HTML, 429), ccxt.DDoSProtection, ccxt.RateLimitExceeded),
    (Fault.failing(500), ccxt.OperationFailed, ccxt.ExchangeError),
    (Fault.failing(503), ccxt.OperationFailed, ccxt.ExchangeError),
    (Fault(HTML, 500), ccxt.ExchangeNotAvailable, ccxt.ExchangeNotAvailable),
    (Fault(HTML, 502), ccxt.ExchangeNotAvailable, ccxt.ExchangeNotAvailable),
    (Fault(HTML, 503), ccxt.ExchangeNotAvailable, ccxt.ExchangeNotAvailable),
    (Fault(HTML, 504), ccxt.RequestTimeout, ccxt.RequestTimeout),
    (Fault(HTML, 403), ccxt.ExchangeNotAvailable, ccxt.RateLimitExceeded),
    (Fault(FaultKind.CUT), ccxt.ExchangeError, ccxt.ExchangeError),
    (Fault(FaultKind.REFUSE), ccxt.ExchangeNotAvailable, ccxt.ExchangeNotAvailable),
    (Fault(FaultKind.HANG), ccxt.RequestTimeout, ccxt.RequestTimeout),
]
PAGES = {"binance": "*/klines", "bybit": "*/kline"}


@pytest.mark.parametrize(("fault", "at_binance", "at_bybit"), FATES, ids=lambda v: getattr(v, "kind", None))
def test_exceptions(server: ExchangeServer, fault: Fault, at_binance: type, at_bybit: type) -> None:
    server.faults = FaultPlan(Rule(fault, path=PAGES[server.venue]))
    with pytest.raises(ccxt.BaseError) as caught:
        ask(server, lambda client: client.fetch_ohlcv(BTC, "1h", utc("2024-03-01"), 10), timeout=300)
    error: BaseException = caught.value
    assert type(error) is (at_binance if server.venue == "binance" else at_bybit)
    if fault.kind is FaultKind.CUT:
        assert type(error.__cause__).__name__ == "ClientPayloadError"


@pytest.mark.parametrize("fault", [Fault(FaultKind.TRUNCATED), Fault(HTML, 200)], ids=lambda fault: fault.kind)
def test_ccxt_takes_a_bad_body_for_an_empty_page(server: ExchangeServer, fault: Fault) -> None:
    server.faults = FaultPlan(Rule(fault, path=PAGES[server.venue]))
    assert ask(server, lambda client: client.fetch_ohlcv(BTC, "1h", utc("2024-03-01"), 10)) == []
    server.faults = FaultPlan(Rule(fault))
    assert ask(server, lambda client: client.load_markets()) == {}


class Watchful:
    """Reads status, headers and body of each answer where no other call can come between."""

    def handle_errors(
        self,
        code: int,
        reason: str,
        url: str,
        method: str,
        headers: dict[str, str],
        body: str,
        response: Any,
        *rest: Any,
    ) -> None:
        if code in (418, 429):
            raise ccxt.RateLimitExceeded(headers["Retry-After"])
        if code == 200 and response is None:
            raise ccxt.BadResponse(f"{url}: not JSON")
        super().handle_errors(code, reason, url, method, headers, body, response, *rest)  # type: ignore[misc]


WATCHFUL = {
    "binance": type("WatchfulBinance", (Watchful, Binance), {}),
    "bybit": type("WatchfulBybit", (Watchful, Bybit), {}),
}


def test_retry_after_belongs_to_its_answer(server: ExchangeServer) -> None:
    names = ["BTC", "ETH", "SOL", "DOGE"]
    waits = dict(zip(names, (3, 7, 11, 13), strict=True))
    rules = [Rule(Fault.rate_limited(waits[name]), PAGES[server.venue], f"*symbol={name}USDT*") for name in names]
    server.faults = FaultPlan(*rules)

    async def together(client: Any) -> list[Any]:
        await client.load_markets()
        calls = [client.fetch_ohlcv(f"{name}/USDT:USDT", "1h", NOW - HOUR_MS, 1) for name in names * 5]
        return await asyncio.gather(*calls, return_exceptions=True)

    errors = ask(server, together, WATCHFUL[server.venue])
    assert [int(str(error)) for error in errors] == [waits[name] for name in names * 5]


@pytest.mark.parametrize("fault", [Fault(FaultKind.TRUNCATED), Fault(HTML, 200)], ids=lambda fault: fault.kind)
def test_a_subclass_sees_a_bad_body(server: ExchangeServer, fault: Fault) -> None:
    server.faults = FaultPlan(Rule(fault))
    with pytest.raises(ccxt.BadResponse):
        ask(server, lambda client: client.load_markets(), WATCHFUL[server.venue])


@pytest.mark.parametrize(
    ("kind", "offsets"),
    [
        (FaultKind.EMPTY, []),
        (FaultKind.DUPLICATE, None),
        (FaultKind.SHUFFLED, [0, 1, 2, 3, 4, 5]),
        (FaultKind.SLOW, [0, 1, 2, 3, 4, 5]),
        (FaultKind.SHORT, None),
    ],
)
def test_spoilt_pages(server: ExchangeServer, kind: FaultKind, offsets: list[int] | None) -> None:
    first = utc("2024-03-01")
    server.faults = FaultPlan(Rule(Fault(kind, seconds=0.2), path=PAGES[server.venue]))
    rows = ask(server, lambda client: client.fetch_ohlcv(BTC, "1h", first, 10, {"until": first + 5 * HOUR_MS}))
    binance_like = server.venue == "binance"  # the page is spoilt as it is sent: newest first at Bybit
    if kind is FaultKind.DUPLICATE:
        offsets = [0, 1, 2, 3, 4, 5, 5] if binance_like else [0, 0, 1, 2, 3, 4, 5]
    if kind is FaultKind.SHORT:
        offsets = [0, 1, 2] if binance_like else [3, 4, 5]
    assert [(row[0] - first) // HOUR_MS for row in rows] == offsets


def test_plan_does_not_depend_on_the_order() -> None:
    targets = [f"symbol=C{i}" for i in range(200)]

    def fates(order: list[str]) -> dict[tuple[str, int], bool]:
        plan = FaultPlan(Rule(Fault.failing(), share=0.3, attempts=2), seed=5)
        return {(q, n): plan.choose("/klines", q) is not None for n in range(6) for q in order}

    ahead, back = fates(targets), fates(targets[::-1])
    assert ahead == back
    hits = [sum(ahead[q, n] for n in range(6)) for q in targets]
    assert max(hits) == 2
    assert 30 < sum(ahead[q, 0] for q in targets) < 90


def test_plan_by_number_and_pattern() -> None:
    plan = FaultPlan(Rule(Fault.failing(500), path="*/klines", numbers=(2, 3)), Rule(Fault.failing(503), query="*ETH*"))
    fates = [plan.choose(path, query) for path, query in [("/a/klines", "BTC")] * 4 + [("/time", ""), ("/x", "ETH")]]
    assert [fate.status if fate else None for fate in fates] == [None, 500, 500, None, None, 503]


def test_a_failing_exchange_recovers(server: ExchangeServer) -> None:
    server.faults = FaultPlan(Rule(Fault.failing(500), path=PAGES[server.venue], numbers=(1,)))

    async def stubborn(client: Any) -> int:
        try:
            await client.fetch_ohlcv(BTC, "1h", utc("2024-03-01"), 10)
        except ccxt.BaseError:
            return len(await client.fetch_ohlcv(BTC, "1h", utc("2024-03-01"), 10))
        return -1

    assert ask(server, stubborn) == 10
    log = server.requests(PAGES[server.venue].lstrip("*"))
    assert [(seen.status, seen.fault is not None) for seen in log] == [(500, True), (200, False)]
    assert log[0].query["symbol"] == "BTCUSDT"
    assert log[0].time <= log[1].time


# the server itself


def test_pause(server: ExchangeServer) -> None:
    server.pause()
    with pytest.raises(ccxt.RequestTimeout):
        ask(server, lambda client: client.fetch_time(), timeout=200)
    server.resume()
    assert ask(server, lambda client: client.fetch_time()) == NOW


def test_a_hanging_request_does_not_hold_the_server() -> None:
    plan = FaultPlan(Rule(Fault(FaultKind.HANG)))

    async def leave_it(server: ExchangeServer) -> None:
        host, port = server.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /fapi/v1/time HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        while not server.requests():
            await asyncio.sleep(0.01)
        await asyncio.to_thread(server.stop)
        writer.close()

    with ExchangeServer(MARKET, now=NOW, faults=plan) as server:
        asyncio.run(asyncio.wait_for(leave_it(server), 5))
        assert [seen.status for seen in server.requests()] == [None]


def test_a_bug_of_the_server_reaches_the_test() -> None:
    class Broken:
        def bars(self, *span: object) -> Any:
            raise ZeroDivisionError

        settlements = bars

    def use() -> None:
        with ExchangeServer(Market(demo_contracts(), Broken()), now=NOW) as server:
            assert get(f"{server.url}/fapi/v1/klines?symbol=BTCUSDT&interval=1h")[0] == 500

    with pytest.raises(ZeroDivisionError):
        use()


@pytest.mark.parametrize("venue", VENUES)
def test_process(venue: str) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.exchange.server",
        "--venue",
        venue,
        "--seed",
        "3",
        "--now",
        "2024-03-20T00:10",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        path = "/fapi/v1/time" if venue == "binance" else "/v5/market/time"
        body = get(url + path)[1]
        assert body["serverTime" if venue == "binance" else "time"] == NOW
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=10) == 0


# real files


@pytest.mark.real_data
def test_real_market(real_data: Path) -> None:
    market = Market.from_real(real_data)
    assert {c.base for c in market.contracts} >= {"BTC", "ETH", "SOL", "XRP", "DOGE", "ORCA", "RIVER"}
    first = utc("2025-10-10")
    with ExchangeServer(market, now=utc("2026-02-19")) as server:

        async def all_kinds(client: Any) -> tuple[Any, ...]:
            listed = await client.load_markets()
            trade = await client.fetch_ohlcv("DOGE/USDT:USDT", "5m", first, 1000)
            mark = await client.fetch_ohlcv(BTC, "1h", first, 100, {"price": "mark"})
            paid = await client.fetch_funding_rate_history("ORCA/USDT:USDT", first, 1000)
            intervals = await client.fetch_funding_intervals()
            return listed, trade, mark, paid, intervals, await client.fetch_ohlcv("XMR/USDT:USDT", "1h", first, 10)

        listed, trade, mark, paid, intervals, nothing = ask(server, all_kinds)
    assert len(listed) > 700
    assert len(intervals) > 600
    assert nothing == []
    folder = real_data / "binance"
    for rows, name, count in ((trade, "DOGE_USDT_USDT-5m-futures", 1000), (mark, "BTC_USDT_USDT-1h-mark", 100)):
        stored = pl.read_ipc(folder / f"{name}.feather").filter(pl.col("date").dt.epoch("ms") >= first).head(count)
        assert [tuple(row[1:5]) for row in rows] == stored.select("open", "high", "low", "close").rows()
    stored = pl.read_ipc(folder / "DOGE_USDT_USDT-5m-futures.feather").filter(pl.col("date").dt.epoch("ms") >= first)
    assert [row[5] for row in trade] == stored["volume"].head(1000).to_list()
    rates = pl.read_ipc(folder / "ORCA_USDT_USDT-1h-funding_rate.feather").filter(
        pl.col("date").dt.epoch("ms") >= first
    )
    assert [row["fundingRate"] for row in paid] == rates["open"].head(len(paid)).to_list()
    assert len(paid) > 500
