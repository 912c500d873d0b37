"""Binance USD-M futures, public endpoints: a pure function of market, request and time.

Paging as the exchange does it: ``startTime`` and ``endTime`` are both included; oldest first; with ``startTime`` the
oldest ``limit`` rows from there, without it the newest. Klines: 500 by default, 1500 at most, beyond that error -1130;
``fundingRate``: 100 by default, 1000 at most, beyond that an error body of another form with code "000002" (its HTTP
status, 400, is an assumption). ``fundingTime`` is some milliseconds late. Settlements before 2023-10-31 have an empty
mark price. ``fundingInfo`` names only contracts whose interval is not 8 hours. A delisted contract stays listed as
SETTLING, its ``deliveryDate`` the end of trading. Bars of a month (``1M``) are not served.

What ccxt 4.5.90 (``ccxt.async_support.binanceusdm``) asks for:

=============================================  ===============================================================
call                                           request
=============================================  ===============================================================
``load_markets()``                             ``GET /fapi/v1/exchangeInfo`` once
``fetch_time()``                               ``GET /fapi/v1/time``
``fetch_ohlcv(symbol, timeframe, since,        ``GET /fapi/v1/klines``, ``markPriceKlines`` (price=mark),
limit, {"until": t, "price": p})``             ``premiumIndexKlines`` (price=premiumIndex) with ``symbol``,
                                               ``indexPriceKlines`` (price=index) with ``pair``
``fetch_funding_rate_history(...)``            ``GET /fapi/v1/fundingRate``
``fetch_funding_intervals()``                  ``GET /fapi/v1/fundingInfo``
``fetch_tickers()``                            ``GET /fapi/v1/ticker/24hr``
``fetch_leverage_tiers()``                     ``GET /fapi/v1/leverageBracket``, signed: without ``apiKey`` and
                                               ``secret`` ccxt raises AuthenticationError and sends nothing
=============================================  ===============================================================

* ``fetch_ohlcv`` clamps ``limit`` to 1000, and sends 500 when none is given (1000 when both ``since`` and ``until``
  are). ``since`` becomes ``startTime`` and ``until`` becomes ``endTime``, unchanged, so both are included. What comes
  back is sorted by time, cut to rows at or after ``since``, then to the first ``limit`` rows; repeated rows stay.
* Rows are ``[time, open, high, low, close, volume]``; the volume of mark, index and premium bars is 0.0.
* ``fetch_funding_rate_history`` sends ``limit`` only when given and does not clamp it. ``markPrice`` is only under
  ``info``. Its times are the stamped ones, and a stamp a few ms after ``since`` counts: a page that begins at the last
  stamp + 1 loses nothing, one that begins at the rounded time repeats the row.
* The unified market keeps neither delisting nor interval: ``info["deliveryDate"]`` (4133404800000: none) and
  ``info["status"]``. ``created`` is ``onboardDate``. A market with status SETTLING has ``active`` False.
* ``precision`` holds tick and lot as sizes (TICK_SIZE); ``limits["cost"]["min"]`` is the smallest notional.
* ``fetch_funding_intervals`` returns only what ``fundingInfo`` lists; ``interval`` is a text such as ``4h``.
* With ``apiKey`` and ``secret``, ``load_markets`` first asks ``sapi`` on api.binance.com for currencies and margin
  pairs, signed; ``options["fetchCurrencies"] = False`` prevents it.
* Rate limit: a leaky bucket of 50 ms a unit; a page of klines costs 1, 2, 5 or 10 units for up to 99, 499, 1000, 1500
  bars, so 499 bars a page (about 5000 bars/s) are no slower than 1000 (about 4000 bars/s). A page of funding costs 1
  although the exchange allows ``fundingRate`` and ``fundingInfo`` together 500 requests in 5 minutes (600 ms each).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np

from tests.exchange.answer import FOREVER_MS, TIMEFRAMES_MS, Answer, Refused, Request
from tests.exchange.bars import HOUR_MS, MINUTE_MS, Bars, Ints, decimal_text
from tests.exchange.contract import Contract, utc
from tests.exchange.margin import bracket_rows
from tests.exchange.market import BarRequest, Market

API_KEY = "loopback-key"
NO_DELIVERY = 4133404800000
MARK_PRICE_SINCE = utc("2023-10-31")
_KLINES = {"klines": "trade", "markPriceKlines": "mark", "indexPriceKlines": "index", "premiumIndexKlines": "premium"}
_LATEST_STAMP_MS = 17  # settlements are stamped up to this late


def answer(market: Market, request: Request) -> Answer:
    """Return what Binance answers; errors are answers too."""
    name = request.path.removeprefix("/fapi/v1/")
    try:
        if name in _KLINES:
            return _klines(market, request, _KLINES[name])
        if name in _ENDPOINTS:
            return _ENDPOINTS[name](market, request)
    except Refused as refusal:
        return refusal.answer
    return Answer({"code": -5000, "msg": f"Path {request.path}, Method GET is invalid"}, 404)


def stamped(times: Ints, contract: Contract) -> Ints:
    """Return the times [ms] at which settlements are stamped: some milliseconds late, the same at each request."""
    salt = zlib.crc32(contract.id.encode())
    return times + (times // MINUTE_MS * 2_654_435_761 + salt) % 2**32 // 97 % (_LATEST_STAMP_MS + 1)


def _refusal(code: int, message: str, status: int = 400) -> Refused:
    return Refused(Answer({"code": code, "msg": message}, status))


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not text.lstrip("-").isdigit():
        raise _refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return int(text)


def _span(request: Request) -> tuple[int, int]:
    first, last = _whole(request, "startTime", 0), _whole(request, "endTime", FOREVER_MS)
    if first > last:
        raise _refusal(-1023, "Start time is greater than end time.")
    return first, last


def _contract(market: Market, request: Request, parameter: str) -> Contract | None:
    """Return a contract that has data, or None for one that is only listed."""
    name = request.query.get(parameter)
    if not name:
        raise _refusal(-1102, f"Mandatory parameter '{parameter}' was not sent, was empty/null, or malformed.")
    contract = market.contract(name)
    if contract is None and name not in {row["symbol"] for row in _symbols(market, request.now)}:
        raise _refusal(-1121, "Invalid symbol.")
    return contract if contract is not None and contract.is_listed(request.now) else None


def _klines(market: Market, request: Request, series: str) -> Answer:
    contract = _contract(market, request, "pair" if series == "index" else "symbol")
    step = TIMEFRAMES_MS.get(request.query.get("interval", ""))
    if step is None:
        raise _refusal(-1120, "Invalid interval.")
    limit = _whole(request, "limit", 500)
    if not 1 <= limit <= 1500:
        raise _refusal(-1130, "Data sent for parameter 'limit' is not valid.")
    first, last = _span(request)
    if contract is None:
        return _page([], weight=1)
    wanted = BarRequest(contract, series, step, first, last, request.now, request.number)
    bars = market.page(wanted, limit, newest="startTime" not in request.query)
    return _page(_kline_rows(bars, series, step), weight=_kline_weight(limit))


def spot_klines(market: Market, request: Request) -> Answer:
    """Return the trades of a spot pair, at most 1,000 bars whatever is asked for."""
    limit = min(_whole(request, "limit", 500), 1000)
    wanted = {**request.query, "limit": str(limit)}
    return _klines(market, replace(request, query=wanted), "trade")


def _kline_weight(limit: int) -> int:
    return next(weight for most, weight in ((99, 1), (499, 2), (1000, 5), (1500, 10)) if limit <= most)


def _kline_rows(bars: Bars, series: str, step: int) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for time, (*prices, volume) in bars.rows():
        if series == "trade":
            turnover = f"{Decimal(volume) * Decimal(prices[3]):.4f}"
            rows.append([time, *prices, volume, time + step - 1, turnover, 40, volume, turnover, "0"])
        else:
            rows.append([time, *prices, "0", time + step - 1, "0", step // MINUTE_MS * 60, "0", "0", "0"])
    return rows


def _page(rows: list[Any], weight: int) -> Answer:
    return Answer(rows, headers={"X-MBX-USED-WEIGHT-1M": str(weight)}, rows=rows)


def _funding_rate(market: Market, request: Request) -> Answer:
    limit = _whole(request, "limit", 100)
    if limit > 1000:  # seen on the real exchange: not its usual error body
        reason = {"limit": "limit can not greater than 1000"}
        body = {"status": "ERROR", "type": "VALID", "code": "000002", "errorData": reason, "data": None}
        raise Refused(Answer({**body, "subData": None, "params": None}, 400))
    first, last = _span(request)
    contract = _contract(market, request, "symbol")
    if contract is None:
        return _page([], weight=0)
    found = market.settlements(contract, max(first - _LATEST_STAMP_MS, 0), min(last, request.now))
    stamps = stamped(found.time, contract)
    seen = (stamps >= first) & (stamps <= min(last, request.now))
    table = zip(stamps[seen].tolist(), found.rate[seen].tolist(), found.mark[seen].tolist(), strict=True)
    rows = [
        {
            "symbol": contract.id,
            "fundingTime": time,
            "fundingRate": decimal_text(rate, 8),
            "markPrice": decimal_text(mark, 8) if mark and time >= MARK_PRICE_SINCE else "",
        }
        for time, rate, mark in table
    ]
    return _page(rows[:limit] if "startTime" in request.query else rows[-limit:], weight=0)


def _time(market: Market, request: Request) -> Answer:
    return Answer({"serverTime": request.now})


def _exchange_info(market: Market, request: Request) -> Answer:
    if "exchangeInfo" in market.raw:
        return Answer(market.raw["exchangeInfo"])
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400}]
    head = {"timezone": "UTC", "serverTime": request.now, "futuresType": "U_MARGINED", "rateLimits": limits}
    return Answer({**head, "exchangeFilters": [], "assets": [], "symbols": _symbols(market, request.now)})


def _symbols(market: Market, now: int) -> list[dict[str, Any]]:
    raw: Any = market.raw.get("exchangeInfo")
    if raw is not None:
        return list(raw["symbols"])
    return [_symbol(c, now) for c in market.contracts if c.is_listed(now) and not c.is_inverse]


def _symbol(contract: Contract, now: int) -> dict[str, Any]:
    lots = {"minQty": contract.lot, "stepSize": contract.lot, "maxQty": "100000"}
    return {
        "symbol": contract.id,
        "pair": contract.id,
        "contractType": "PERPETUAL",
        "deliveryDate": contract.delisted or NO_DELIVERY,
        "onboardDate": contract.listed,
        "status": "TRADING" if contract.is_traded(now) else "SETTLING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": contract.base,
        "quoteAsset": contract.quote,
        "marginAsset": contract.quote,
        "pricePrecision": contract.tick_decimals,
        "quantityPrecision": contract.lot_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": contract.tick, "maxPrice": "4529764", "tickSize": contract.tick},
            {"filterType": "LOT_SIZE", **lots},
            {"filterType": "MARKET_LOT_SIZE", **lots},
            {"filterType": "MIN_NOTIONAL", "notional": contract.min_notional},
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK"],
    }


def _funding_info(market: Market, request: Request) -> Answer:
    if "fundingInfo" in market.raw:
        return Answer(market.raw["fundingInfo"])
    traded = [contract for contract in market.contracts if contract.is_traded(request.now)]
    return Answer(
        [
            {
                "symbol": contract.id,
                "adjustedFundingRateCap": "0.02000000",
                "adjustedFundingRateFloor": "-0.02000000",
                "fundingIntervalHours": contract.interval_hours(request.now),
                "disclaimer": False,
            }
            for contract in traded
            if contract.interval_hours(request.now) != 8
        ]
    )


def _ticker(market: Market, request: Request) -> Answer:
    names = [request.query["symbol"]] if "symbol" in request.query else [c.id for c in market.contracts]
    contracts = [market.contract(name) for name in names]
    rows = [_day(market, c, request) for c in contracts if c is not None and c.is_traded(request.now)]
    return Answer(rows[0] if "symbol" in request.query and rows else rows)


def _day(market: Market, contract: Contract, request: Request) -> dict[str, Any]:
    """Return the last 24 whole hours of a contract."""
    last = request.now // HOUR_MS * HOUR_MS - 1
    bars = market.bars(contract, "trade", HOUR_MS, last + 1 - 24 * HOUR_MS, last)
    if not len(bars):
        bars = Bars(np.zeros(1, np.int64), np.zeros((1, 4), np.int64), np.zeros(1, np.int64), 0, 0)
    turnover = np.sum(bars.volume * 10.0**-bars.volume_decimals * bars.prices[:, 3] * 10.0**-bars.price_decimals)
    price = [
        decimal_text(int(v), bars.price_decimals)
        for v in (bars.prices[0, 0], bars.prices[:, 1].max(), bars.prices[:, 2].min(), bars.prices[-1, 3])
    ]
    return {
        "symbol": contract.id,
        "openPrice": price[0],
        "highPrice": price[1],
        "lowPrice": price[2],
        "lastPrice": price[3],
        "volume": decimal_text(int(bars.volume.sum()), bars.volume_decimals),
        "quoteVolume": f"{turnover:.2f}",
        "openTime": last + 1 - 24 * HOUR_MS,
        "closeTime": last,
        "count": 1000,
    }


def _leverage_bracket(market: Market, request: Request) -> Answer:
    key = request.headers.get("x-mbx-apikey")
    if not key:
        raise _refusal(-2014, "API-key format invalid.", 401)
    if key != API_KEY:
        raise _refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    if "timestamp" not in request.query or "signature" not in request.query:
        raise _refusal(-1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed.")
    named = request.query.get("symbol")
    chosen = [c for c in market.contracts if named in (None, c.id) and c.is_traded(request.now)]
    return Answer([{"symbol": c.id, "notionalCoef": 1.0, "brackets": brackets(c)} for c in chosen])


def brackets(contract: Contract) -> list[dict[str, float]]:
    """Return the brackets of a contract as the exchange writes them, the maintenance amount in ``cum``."""
    return [
        {
            "bracket": row.number,
            "initialLeverage": row.leverage,
            "notionalCap": row.cap,
            "notionalFloor": row.floor,
            "maintMarginRatio": float(row.maintenance_rate),
            "cum": float(row.amount),
        }
        for row in bracket_rows(contract.brackets)
    ]


def fault_body(status: int) -> dict[str, Any]:
    """Return the body of an error that the exchange itself reports."""
    if status in (418, 429):
        return {"code": -1003, "msg": "Too many requests; current limit is 2400 requests per minute."}
    return {"code": -1001, "msg": "Internal error; unable to process your request. Please try again."}


_ENDPOINTS: dict[str, Callable[[Market, Request], Answer]] = {
    "time": _time,
    "exchangeInfo": _exchange_info,
    "fundingRate": _funding_rate,
    "fundingInfo": _funding_info,
    "ticker/24hr": _ticker,
    "leverageBracket": _leverage_bracket,
}
