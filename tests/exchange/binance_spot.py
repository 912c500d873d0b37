"""Binance spot (``/api/v3``), public endpoints: a pure function of market, request and time.

Pairs are the contracts of the market that settle in the quote currency, under the same names, and their trades.
Klines: 500 by default, at most 1,000, a larger ``limit`` gives 1,000; ``startTime`` and ``endTime`` are both included,
oldest first. ccxt 4.5.90 (``ccxt.async_support.binance``) asks for ``exchangeInfo``, ``time`` and ``klines``; rows are
those of the futures.
"""

from __future__ import annotations

from typing import Any

from tests.exchange import binance
from tests.exchange.answer import Answer, Refused, Request
from tests.exchange.contract import Contract
from tests.exchange.market import Market

PREFIX = "/api/v3/"


def answer(market: Market, request: Request) -> Answer:
    """Return what the exchange answers; errors are answers too."""
    name = request.path.removeprefix(PREFIX)
    try:
        if name == "time":
            return Answer({"serverTime": request.now})
        if name == "exchangeInfo":
            pairs = [_pair(c, request.now) for c in market.contracts if c.is_listed(request.now) and not c.is_inverse]
            return Answer({"timezone": "UTC", "serverTime": request.now, "rateLimits": [], "symbols": pairs})
        if name == "klines":
            return binance.spot_klines(market, request)
    except Refused as refusal:
        return refusal.answer
    return Answer({"code": -5000, "msg": f"Path {request.path}, Method GET is invalid"}, 404)


def _pair(contract: Contract, now: int) -> dict[str, Any]:
    return {
        "symbol": contract.id,
        "status": "TRADING" if contract.is_traded(now) else "BREAK",
        "baseAsset": contract.base,
        "baseAssetPrecision": 8,
        "quoteAsset": contract.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": contract.tick, "maxPrice": "4529764", "tickSize": contract.tick},
            {"filterType": "LOT_SIZE", "minQty": contract.lot, "stepSize": contract.lot, "maxQty": "100000"},
            {"filterType": "NOTIONAL", "minNotional": contract.min_notional, "applyMinToMarket": True},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }
