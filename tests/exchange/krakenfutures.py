"""Kraken Futures, public endpoints: a pure function of market, request and time; a venue of which we know no figure.

``charts/v1/{tick type}/{symbol}/{resolution}``: ``from`` and ``to`` in seconds, both included, oldest first, at most
1,000 bars here, with ``more_candles`` where there are others: fewer than the 2,000 that ccxt 4.5.90 states, on
purpose. ``historicalfundingrates`` gives everything at once, hourly. There is no endpoint for the time: the header
``Date``.

Not confirmed against the exchange: nearly everything; the forms are those that ccxt's source shows. It only has to be
an exchange that answers less than was believed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.exchange.answer import TIMEFRAMES_MS, Answer, Request
from tests.exchange.bars import decimal_text
from tests.exchange.contract import Contract
from tests.exchange.market import BarRequest, Market

_TICKS = {"trade": "trade", "mark": "mark", "spot": "index"}
_PAGE = 1000


def answer(market: Market, request: Request) -> Answer:
    """Return what the exchange answers; errors are answers too."""
    path = request.path
    if path == "/derivatives/api/v3/instruments":
        instruments = [_instrument(c) for c in market.contracts if c.is_traded(request.now)]
        return Answer({"result": "success", "instruments": instruments, "serverTime": _iso(request.now)})
    if path == "/derivatives/api/v4/historicalfundingrates":
        return _funding(market, request)
    if path.startswith("/api/charts/v1/"):
        return _candles(market, request, *path.removeprefix("/api/charts/v1/").split("/"))
    return Answer({"result": "error", "error": "notFound"}, 404)


def fault_body(status: int) -> dict[str, Any]:
    """Return the body of an error that the exchange itself reports."""
    return {"result": "error", "error": "apiLimitExceeded" if status == 429 else "Server Error"}


def _iso(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _id(contract: Contract) -> str:
    return f"PF_{'XBT' if contract.base == 'BTC' else contract.base}{contract.quote}"


def _contract(market: Market, name: str) -> Contract:
    return next(c for c in market.contracts if _id(c) == name)


def _instrument(contract: Contract) -> dict[str, Any]:
    return {
        "symbol": _id(contract),
        "type": "flexible_futures_vanilla",
        "tradeable": True,
        "tickSize": float(contract.tick),
        "contractSize": 1,
        "contractValueTradePrecision": contract.lot_decimals,
        "openingDate": _iso(contract.listed),
        "marginLevels": [],
    }


def _candles(market: Market, request: Request, tick: str, name: str, resolution: str) -> Answer:
    contract, series, step = _contract(market, name), _TICKS[tick], TIMEFRAMES_MS[resolution]
    first, last = int(request.query["from"]) * 1000, int(request.query["to"]) * 1000
    bars = market.page(BarRequest(contract, series, step, first, last, request.now, request.number), _PAGE + 1)
    rows = [
        {"time": time, **dict(zip(("open", "high", "low", "close"), prices, strict=True)), "volume": volume}
        for time, (*prices, volume) in bars.rows()
    ]
    more, rows = len(rows) > _PAGE, rows[:_PAGE]
    return Answer({"candles": rows, "more_candles": more}, rows=rows)


def _funding(market: Market, request: Request) -> Answer:
    found = market.settlements(_contract(market, request.query["symbol"]), 0, request.now)
    rates = [
        {"timestamp": _iso(time), "fundingRate": 0.0, "relativeFundingRate": decimal_text(rate, 8)}
        for time, rate in zip(found.time.tolist(), found.rate.tolist(), strict=True)
    ]
    return Answer({"rates": rates}, rows=rates)
