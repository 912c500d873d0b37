"""Binance COIN-M futures (``/dapi``), public endpoints: a pure function of market, request and time.

Klines: 500 by default, 1,500 at most; ``startTime`` and ``endTime`` are included and at most 200 days apart; of a
longer page the *newest* part is given, oldest first; with ``startTime`` alone the end is 200 days later. The sixth
field is the volume in contracts (of so many dollars), the eighth the one in base currency. Index klines take
``pair``. Funding as on USD-M, in contracts of the same name, ``BTCUSD_PERP``; every record has its mark price.

Confirmed in the exchange's documents and by its staff (a page is the part nearest to the end): limits, 200 days,
fields. Not confirmed: the code of the error for longer spans; ``premiumIndexKlines`` are taken to page like the
others.

What ccxt 4.5.90 (``ccxt.async_support.binancecoinm``) asks for: the calls of USD-M under ``/dapi/v1``; as base volume
of a bar it takes the eighth field. Brackets want a key.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tests.exchange import binance
from tests.exchange.answer import FOREVER_MS, TIMEFRAMES_MS, Answer, Refused, Request
from tests.exchange.bars import DAY_MS, Bars, decimal_text
from tests.exchange.contract import Contract
from tests.exchange.day import last_day
from tests.exchange.market import BarRequest, Market

PREFIX = "/dapi/v1/"
_KLINES = {"klines": "trade", "markPriceKlines": "mark", "indexPriceKlines": "index", "premiumIndexKlines": "premium"}
_LONGEST_MS = 200 * DAY_MS


def answer(market: Market, request: Request) -> Answer:
    """Return what the exchange answers; errors are answers too."""
    name = request.path.removeprefix(PREFIX)
    try:
        if name in _KLINES:
            return _klines(market, request, _KLINES[name])
        if name in _ENDPOINTS:
            return _ENDPOINTS[name](market, request)
    except Refused as refusal:
        return refusal.answer
    return Answer({"code": -5000, "msg": f"Path {request.path}, Method GET is invalid"}, 404)


def _refusal(code: int, message: str) -> Refused:
    return Refused(Answer({"code": code, "msg": message}, 400))


def _contracts(market: Market, now: int) -> list[Contract]:
    return [c for c in market.contracts if c.is_inverse and c.is_listed(now)]


def _contract(market: Market, request: Request) -> Contract:
    name = request.query.get("pair") or request.query.get("symbol", "").removesuffix("_PERP")
    found = next((c for c in _contracts(market, request.now) if c.id == name), None)
    if found is None:
        raise _refusal(-1121, "Invalid symbol.")
    return found


def _klines(market: Market, request: Request, series: str) -> Answer:
    if ("pair" in request.query) != (series == "index"):
        raise _refusal(-1102, "A mandatory parameter was not sent, was empty/null, or malformed.")
    contract = _contract(market, request)
    step = TIMEFRAMES_MS.get(request.query.get("interval", ""))
    if step is None:
        raise _refusal(-1120, "Invalid interval.")
    limit = int(request.query.get("limit", 500))
    if not 1 <= limit <= 1500:
        raise _refusal(-1130, "Data sent for parameter 'limit' is not valid.")
    last = int(request.query.get("endTime", request.now))
    first = int(request.query.get("startTime", last - _LONGEST_MS + 1))
    if "endTime" not in request.query and "startTime" in request.query:
        last = min(last, first + _LONGEST_MS - 1)
    if last - first >= _LONGEST_MS:
        raise _refusal(-4145, "startTime and endTime interval is larger than 200 days.")
    if first > last:
        raise _refusal(-1023, "Start time is greater than end time.")
    wanted = BarRequest(contract, series, step, first, last, request.now, request.number)
    rows = _rows(market.page(wanted, limit, newest=True), contract, series, step)
    return Answer(rows, rows=rows)


def _rows(bars: Bars, contract: Contract, series: str, step: int) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for time, (*prices, volume) in bars.rows():
        if series == "trade":
            contracts = f"{Decimal(volume) * Decimal(prices[3]) / Decimal(contract.contract_size):.0f}"
            rows.append([time, *prices, contracts, time + step - 1, volume, 40, "0", "0", "0"])
        else:
            rows.append([time, *prices, "0", time + step - 1, "0", 60, "0", "0", "0"])
    return rows


def _funding_rate(market: Market, request: Request) -> Answer:
    contract = _contract(market, request)
    limit = int(request.query.get("limit", 100))
    if not 1 <= limit <= 1000:
        raise _refusal(-1130, "Data sent for parameter 'limit' is not valid.")
    first, last = (
        int(request.query.get("startTime", 0)),
        min(int(request.query.get("endTime", FOREVER_MS)), request.now),
    )
    found = market.settlements(contract, first // DAY_MS * DAY_MS, last)
    table = zip(binance.stamped(found.time, contract).tolist(), found.rate.tolist(), found.mark.tolist(), strict=True)
    rows = [
        {
            "symbol": f"{contract.id}_PERP",
            "fundingTime": stamp,
            "fundingRate": decimal_text(rate, 8),
            "markPrice": decimal_text(mark, 8),
        }
        for stamp, rate, mark in table
        if first <= stamp <= last
    ]
    rows = rows[:limit] if "startTime" in request.query else rows[-limit:]
    return Answer(rows, rows=rows)


def _time(market: Market, request: Request) -> Answer:
    return Answer({"serverTime": request.now})


def _exchange_info(market: Market, request: Request) -> Answer:
    symbols = [_symbol(contract, request.now) for contract in _contracts(market, request.now)]
    return Answer({"timezone": "UTC", "serverTime": request.now, "rateLimits": [], "symbols": symbols})


def _symbol(contract: Contract, now: int) -> dict[str, Any]:
    lots = {"minQty": "1", "stepSize": "1", "maxQty": "1000000"}
    return {
        "symbol": f"{contract.id}_PERP",
        "pair": contract.id,
        "contractType": "PERPETUAL",
        "deliveryDate": contract.delisted or binance.NO_DELIVERY,
        "onboardDate": contract.listed,
        "contractStatus": "TRADING" if contract.is_traded(now) else "SETTLING",
        "contractSize": int(contract.contract_size),
        "baseAsset": contract.base,
        "quoteAsset": contract.quote,
        "marginAsset": contract.base,
        "pricePrecision": contract.tick_decimals,
        "quantityPrecision": 0,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": contract.tick, "maxPrice": "4520958", "tickSize": contract.tick},
            {"filterType": "LOT_SIZE", **lots},
            {"filterType": "MARKET_LOT_SIZE", **lots},
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK"],
    }


def _funding_info(market: Market, request: Request) -> Answer:
    return Answer(
        [
            {
                "symbol": f"{c.id}_PERP",
                "adjustedFundingRateCap": "0.00750000",
                "adjustedFundingRateFloor": "-0.00750000",
                "fundingIntervalHours": c.interval_hours(request.now),
            }
            for c in _contracts(market, request.now)
        ]
    )


def _ticker(market: Market, request: Request) -> Answer:
    return Answer([_day(market, contract, request.now) for contract in _contracts(market, request.now)])


def _day(market: Market, contract: Contract, now: int) -> dict[str, Any]:
    day = last_day(market, contract, now)
    return {
        "symbol": f"{contract.id}_PERP",
        "pair": contract.id,
        "weightedAvgPrice": f"{day.turnover / float(day.volume):.8f}" if day.volume else "0",
        "lastPrice": day.close,
        "openPrice": day.open,
        "highPrice": day.high,
        "lowPrice": day.low,
        "volume": f"{day.turnover / float(contract.contract_size):.0f}",
        "baseVolume": f"{day.volume:f}",
        "closeTime": now,
    }


_ENDPOINTS: dict[str, Callable[[Market, Request], Answer]] = {
    "time": _time,
    "exchangeInfo": _exchange_info,
    "fundingRate": _funding_rate,
    "fundingInfo": _funding_info,
    "ticker/24hr": _ticker,
}
