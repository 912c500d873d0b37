"""Spot pairs of an exchange: trades and terms, beside contracts and alone."""

from __future__ import annotations

import pytest
from polars.testing import assert_frame_equal

from backtester.domain.enums import ContractKind
from backtester.market.fetch.venues import needed_ids, venue_exchanges
from backtester.market.schema import DatasetKey
from backtester.market.store import Store
from tests.exchange.market import Market
from tests.exchange.server import ExchangeServer
from tests.fetch.truth import BTC, HOUR, NOW, START, Fetch, truth

SPOT = "BTC/USDT"
LAST_HOUR = NOW // HOUR * HOUR


def test_trades_and_terms_of_a_spot_pair_come_in(store: Store, bring: Fetch) -> None:
    market = Market.generated(seed=3)
    with ExchangeServer(market, venue="binance", now=NOW) as server:
        result = bring(server, symbols=(SPOT,))
        assert {seen.path.rsplit("/", 1)[0] for seen in server.requests()} == {"/api/v3"}
        assert result.notes == []
        server.forget()
        bring(server, symbols=(SPOT,))
        assert server.requests("klines") == []  # what is there is not asked for again
    assert [(k.series, k.timeframe) for k in store.keys("binance", SPOT)] == [("instrument", "event"), ("trade", "1h")]
    wanted = truth(market, BTC, "trade", "1h", START, LAST_HOUR)
    assert wanted.height == (22 + 29 + 19) * 24 + 10  # from the 10th of January to the 20th of March, 10:00
    found = store.read(DatasetKey("binance", SPOT, "trade", "1h"))
    assert_frame_equal(found, wanted.select(found.columns), check_dtypes=False)
    terms = store.instruments("binance", SPOT)[-1]
    assert (terms.kind, terms.settle, terms.tick, terms.lot) == (ContractKind.SPOT, "USDT", 0.1, 0.001)
    assert (terms.min_notional, terms.contract_size) == (100.0, 1.0)


def test_contract_and_spot_pair_come_in_together(store: Store, bring: Fetch) -> None:
    with ExchangeServer(Market.generated(seed=3), venue="binance", now=NOW) as server:
        result = bring(server, symbols=(BTC, SPOT), series=("trade", "mark"))
        assert [failure for failure in result.notes if "spot" in failure] == []
    assert [(k.symbol, k.series) for k in store.keys("binance")] == [(SPOT, "trade"), (BTC, "mark"), (BTC, "trade")]
    later = NOW + 3 * HOUR
    with ExchangeServer(Market.generated(seed=3), venue="binance", now=later) as server:
        bring(server, symbols=(), update=True, start=None)
    ends = {k.symbol: store.span(k) for k in store.keys("binance", series="trade")}
    assert {span[1] for span in ends.values() if span} == {LAST_HOUR + 2 * HOUR}


@pytest.mark.parametrize(
    ("venue", "symbols", "ids"),
    [
        ("binance", ("BTC/USDT",), ("binance-spot",)),
        ("binance", ("*/USDT",), ("binance-spot",)),
        ("binance", ("BTC/*",), ("binanceusdm",)),
        ("binance", (), ("binanceusdm",)),
        ("binance", ("BTC/USDT", "ETH/USDT:USDT"), ("binanceusdm", "binance-spot")),
        ("binance", ("BTC/USDT", "BTC/USD:BTC"), ("binanceusdm", "binancecoinm", "binance-spot")),
        ("okx", ("BTC/USDT",), ("okx-spot",)),
        ("krakenfutures", ("BTC/USD",), ("krakenfutures-spot",)),
    ],
)
def test_the_exchange_of_spot_pairs_is_opened_where_one_is_named(
    venue: str, symbols: tuple[str, ...], ids: tuple[str, ...]
) -> None:
    assert needed_ids(venue_exchanges(venue), symbols) == ids
