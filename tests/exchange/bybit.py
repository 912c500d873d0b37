"""Bybit v5, public market endpoints: a pure function of market, request and time.

Paging as the exchange does it: rows come newest first, as texts, in the envelope ``retCode, retMsg, result, time``.
Klines: 200 by default, 1000 at most; ``start`` and ``end`` are included, and the bar that holds ``start`` counts. When
the span holds more than ``limit``, the newest ``limit`` rows of it are returned, so pages go backward; with ``start``
alone the oldest from there. Funding history: 200 at most, newest first, and ``startTime`` without ``endTime`` is an
error. Instruments: 500 by default, 1000 at most, with a cursor; only traded ones unless ``status`` asks for others.
Risk limits: 15 symbols a page, with a cursor. A ``limit`` beyond the largest is taken for the largest: an assumption,
the documents only give the range. Mark, index and premium bars have five fields and no volume.

What ccxt 4.5.90 (``ccxt.async_support.bybit``) asks for:

=============================================  ===============================================================
call                                           request
=============================================  ===============================================================
``load_markets()``                             11 times ``GET /v5/market/instruments-info``: spot; linear and
                                               inverse with limit=1000, each also with status=PreLaunch; option
                                               for six base coins; then the cursors. Two with
                                               ``options["fetchMarkets"]["types"] = ["linear"]``
``fetch_time()``                               ``GET /v5/market/time``
``fetch_ohlcv(symbol, timeframe, since,        ``GET /v5/market/kline``, ``mark-price-kline`` (price=mark),
limit, {"until": t, "price": p})``             ``index-price-kline``, ``premium-index-price-kline``
``fetch_funding_rate_history(...)``            ``GET /v5/market/funding/history``
``fetch_funding_intervals()``                  not supported; ``info["fundingInterval"]`` of a market [minutes]
``fetch_tickers()``                            ``GET /v5/market/tickers`` with category=linear
``fetch_leverage_tiers()``                     ``GET /v5/market/risk-limit``, all pages by cursor
``fetch_market_leverage_tiers(symbol)``        ``GET /v5/market/risk-limit`` with symbol
=============================================  ===============================================================

* ``fetch_ohlcv`` sends ``limit`` as given (200 when not, although ``since`` and ``until`` may span more), ``since``
  rounded up to the grid as ``start``, ``until`` as ``end``. With both and a longer span the page is the newest part of
  it, so keep ``until - since`` below ``limit`` bars, or page backward. What comes back is sorted, cut to rows at or
  after ``since``, then to the first ``limit`` rows. The volume of mark, index and premium bars is None.
* ``fetch_funding_rate_history`` with ``since`` and without ``until`` sends ``endTime = since + limit * interval`` with
  the interval of *today*. Where settlements were more frequent than that, the page is the newest part of the window and
  those before it are missing without a word. Pass ``until``, and page backward from the oldest row.
* Without ``status`` only traded instruments are listed: ccxt knows no delisted ones (BadSymbol).
* Rate limit: a leaky bucket of 20 ms a unit; each of these requests costs 5, so 10 requests a second, whatever
  ``limit``.
* ``fetch_leverage_tiers`` swallows up to three errors a page and asks again at once. The maintenance amount is only
  under ``info["mmDeduction"]``, empty for none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.exchange.answer import FOREVER_MS, TIMEFRAMES_MS, Answer, Refused, Request
from tests.exchange.bars import HOUR_MS, Bars, decimal_text, open_of
from tests.exchange.contract import Contract
from tests.exchange.margin import bracket_rows
from tests.exchange.market import BarRequest, Market

_KLINES = {
    "kline": "trade",
    "mark-price-kline": "mark",
    "index-price-kline": "index",
    "premium-index-price-kline": "premium",
}
_NAMES = {"D": "1d", "W": "1w"} | {str(step // 60_000): label for label, step in TIMEFRAMES_MS.items()}
_INTERVALS = {name: TIMEFRAMES_MS[label] for name, label in _NAMES.items() if label not in ("8h", "3d")}
_SYMBOLS_A_PAGE = 15


def answer(market: Market, request: Request) -> Answer:
    """Return what Bybit answers; errors are answers too, with HTTP status 200."""
    name = request.path.removeprefix("/v5/market/")
    try:
        if name in _KLINES:
            return _klines(market, request, _KLINES[name])
        if name in _ENDPOINTS:
            return _ENDPOINTS[name](market, request)
    except Refused as refusal:
        return refusal.answer
    return Answer("", 404)


def fault_body(status: int) -> dict[str, Any]:
    """Return the body of an error that the exchange itself reports."""
    code, message = (
        (10006, "Too many visits. Exceeded the API Rate Limit.") if status < 500 else (10016, "Server error.")
    )
    return {"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, "time": 0}


def _envelope(request: Request, result: dict[str, Any], rows: list[Any] | None = None) -> Answer:
    body = {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": request.now}
    limits = {"X-Bapi-Limit-Status": "599", "X-Bapi-Limit": "600", "X-Bapi-Limit-Reset-Timestamp": str(request.now)}
    return Answer(body, headers=limits, rows=rows)


def _refusal(request: Request, message: str, code: int = 10001) -> Refused:
    body = {"retCode": code, "retMsg": f"params error: {message}", "result": {}, "retExtInfo": {}, "time": request.now}
    return Refused(Answer(body))


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query.get(name) or str(default)
    if not text.isdigit():
        raise _refusal(request, f"{name} invalid")
    return int(text)


def _limit(request: Request, default: int, most: int) -> int:
    limit = _whole(request, "limit", default)
    if limit < 1:
        raise _refusal(request, "limit invalid")
    return min(limit, most)


def _category(request: Request) -> str:
    category = request.query.get("category", "linear")
    if category not in ("spot", "linear", "inverse", "option"):
        raise _refusal(request, "Category is invalid")
    return category


def _contract(market: Market, request: Request) -> Contract:
    contract = market.contract(request.query.get("symbol", ""))
    if contract is None or not contract.is_listed(request.now) or _category(request) != "linear":
        raise _refusal(request, "Symbol Is Invalid")
    return contract


def _klines(market: Market, request: Request, series: str) -> Answer:
    contract = _contract(market, request)
    step = _INTERVALS.get(request.query.get("interval", ""))
    if step is None:
        raise _refusal(request, "Interval Is Invalid")
    limit = _limit(request, 200, 1000)
    first, last = open_of(_whole(request, "start", 0), step), _whole(request, "end", FOREVER_MS)
    if first > last:
        raise _refusal(request, "Start time must not be later than end time")
    wanted = BarRequest(contract, series, step, first, last, request.now, request.number)
    forward = "start" in request.query and "end" not in request.query
    rows = _kline_rows(market.page(wanted, limit, newest=not forward), series)[::-1]
    return _envelope(request, {"symbol": contract.id, "category": "linear", "list": rows}, rows)


def _kline_rows(bars: Bars, series: str) -> list[list[str]]:
    if series != "trade":
        return [[str(time), *prices] for time, (*prices, _) in bars.rows()]
    return [
        [str(time), *prices, volume, f"{float(volume) * float(prices[3]):.4f}"]
        for time, (*prices, volume) in bars.rows()
    ]


def _funding_history(market: Market, request: Request) -> Answer:
    contract = _contract(market, request)
    if "startTime" in request.query and "endTime" not in request.query:
        raise _refusal(request, "endTime is required when startTime is given")
    limit = _limit(request, 200, 200)
    first, last = _whole(request, "startTime", 0), min(_whole(request, "endTime", FOREVER_MS), request.now)
    found = market.settlements(contract, first, last)
    rows = [
        {"symbol": contract.id, "fundingRate": decimal_text(rate, 8), "fundingRateTimestamp": str(time)}
        for time, rate in zip(found.time.tolist(), found.rate.tolist(), strict=True)
    ]
    rows = rows[-limit:][::-1]
    return _envelope(request, {"category": "linear", "list": rows}, rows)


def _time(market: Market, request: Request) -> Answer:
    return _envelope(request, {"timeSecond": str(request.now // 1000), "timeNano": str(request.now * 1_000_000)})


def _instruments(market: Market, request: Request) -> Answer:
    category, status = _category(request), request.query.get("status", "Trading")
    known = market.contracts if category == "linear" else ()
    wanted = {
        "Trading": [c for c in known if c.is_traded(request.now)],
        "Closed": [c for c in known if c.is_listed(request.now) and not c.is_traded(request.now)],
    }.get(status, [])
    if "symbol" in request.query:
        wanted = [c for c in known if c.id == request.query["symbol"] and c.is_listed(request.now)]
    limit, begin = _limit(request, 500, 1000), _whole(request, "cursor", 0)
    rows = [_instrument(contract, request.now) for contract in wanted[begin : begin + limit]]
    cursor = str(begin + limit) if begin + limit < len(wanted) else ""
    return _envelope(request, {"category": category, "list": rows, "nextPageCursor": cursor})


def _instrument(contract: Contract, now: int) -> dict[str, Any]:
    return {
        "symbol": contract.id,
        "contractType": "LinearPerpetual",
        "status": "Trading" if contract.is_traded(now) else "Closed",
        "baseCoin": contract.base,
        "quoteCoin": contract.quote,
        "settleCoin": contract.quote,
        "launchTime": str(contract.listed),
        "deliveryTime": str(contract.delisted or 0),
        "deliveryFeeRate": "",
        "priceScale": str(contract.tick_decimals),
        "leverageFilter": {
            "minLeverage": "1",
            "maxLeverage": f"{contract.brackets[0].leverage}.00",
            "leverageStep": "0.01",
        },
        "priceFilter": {"minPrice": contract.tick, "maxPrice": "1999999.80", "tickSize": contract.tick},
        "lotSizeFilter": {
            "maxOrderQty": "100000",
            "minOrderQty": contract.lot,
            "qtyStep": contract.lot,
            "postOnlyMaxOrderQty": "100000",
            "maxMktOrderQty": "50000",
            "minNotionalValue": contract.min_notional,
        },
        "unifiedMarginTrade": True,
        "fundingInterval": contract.interval_hours(now) * 60,
        "copyTrading": "both",
        "upperFundingRate": "0.02",
        "lowerFundingRate": "-0.02",
        "isPreListing": False,
    }


def _tickers(market: Market, request: Request) -> Answer:
    named = request.query.get("symbol")
    known = market.contracts if _category(request) == "linear" else ()
    chosen = [c for c in known if named in (None, c.id) and c.is_traded(request.now)]
    rows = [_ticker(market, contract, request.now) for contract in chosen]
    return _envelope(request, {"category": _category(request), "list": rows})


def _ticker(market: Market, contract: Contract, now: int) -> dict[str, Any]:
    """Return the last 24 whole hours of a contract."""
    last = now // HOUR_MS * HOUR_MS - 1
    bars = market.bars(contract, "trade", HOUR_MS, last + 1 - 24 * HOUR_MS, last)
    if not len(bars):
        return {"symbol": contract.id, "lastPrice": "", "volume24h": "0", "turnover24h": "0"}
    opened, high, low, close = (
        decimal_text(int(value), bars.price_decimals)
        for value in (bars.prices[0, 0], bars.prices[:, 1].max(), bars.prices[:, 2].min(), bars.prices[-1, 3])
    )
    turnover = np.sum(bars.volume * 10.0**-bars.volume_decimals * bars.prices[:, 3] * 10.0**-bars.price_decimals)
    return {
        "symbol": contract.id,
        "lastPrice": close,
        "prevPrice24h": opened,
        "highPrice24h": high,
        "lowPrice24h": low,
        "volume24h": decimal_text(int(bars.volume.sum()), bars.volume_decimals),
        "turnover24h": f"{turnover:.4f}",
    }


def _risk_limit(market: Market, request: Request) -> Answer:
    known = market.contracts if _category(request) == "linear" else ()
    traded = [c for c in known if c.is_traded(request.now)]
    begin = _whole(request, "cursor", 0)
    page = [_contract(market, request)] if "symbol" in request.query else traded[begin : begin + _SYMBOLS_A_PAGE]
    more = "symbol" not in request.query and begin + _SYMBOLS_A_PAGE < len(traded)
    rows = [row for contract in page for row in _risk_rows(contract)]
    cursor = str(begin + _SYMBOLS_A_PAGE) if more else ""
    return _envelope(request, {"category": _category(request), "list": rows, "nextPageCursor": cursor})


def _risk_rows(contract: Contract) -> list[dict[str, Any]]:
    return [
        {
            "id": row.number,
            "symbol": contract.id,
            "riskLimitValue": str(row.cap),
            "maintenanceMargin": str(row.maintenance_rate),
            "initialMargin": f"{1 / row.leverage:.4f}",
            "isLowestRisk": int(row.number == 1),
            "maxLeverage": f"{row.leverage}.00",
            "mmDeduction": str(row.amount) if row.amount else "",
        }
        for row in bracket_rows(contract.brackets)
    ]


_ENDPOINTS: dict[str, Callable[[Market, Request], Answer]] = {
    "time": _time,
    "funding/history": _funding_history,
    "instruments-info": _instruments,
    "tickers": _tickers,
    "risk-limit": _risk_limit,
}
