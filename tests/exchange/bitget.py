"""Bitget v2, public endpoints of perpetual contracts: a pure function of market, request and time.

``candles`` knows recent bars (1m, 3m, 5m: a month; 15m: 52 days; 30m: 62; 1H: 83; 2H: 120; 4H: 240; 6H: 360), 100 by
default, 1,000 at most; ``history-candles``, ``history-mark-candles`` and ``history-index-candles`` know all, 200 at
most. Both take ``startTime`` and ``endTime``, at most 90 days apart, and give the bars nearest to the end, oldest
first. ``history-fund-rate`` takes the number of a page, newest first: 20 rows, 100 at most. Volumes are in base
units. Names of bars of 6 hours and more end in ``utc`` unless they stand on China's clock. Tiers count quote
currency.

Confirmed in the exchange's documents (and mirrors of them): reach of ``candles``, limits, 90 days, page numbers. Not
confirmed: whether ``startTime`` is included (here it is; ``endTime`` is not, "before this time"), the code of the
error for longer spans, how many pages of settlements there are.

What ccxt 4.5.90 asks for: ``load_markets()`` coins, then contracts by product type (six of them); ``fetch_ohlcv`` the
history where ``since`` is older than some days *by the local clock*, with ``startTime`` = until - limit bars whatever
``since`` says, and of a longer span than 90 days only the beginning; ``fetch_funding_rate_history`` takes neither
``since`` nor ``until`` to the exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.exchange.answer import FOREVER_MS, TIMEFRAMES_MS, Answer, Refused, Request
from tests.exchange.bars import DAY_MS, decimal_text
from tests.exchange.contract import Contract
from tests.exchange.day import last_day
from tests.exchange.margin import bracket_rows
from tests.exchange.market import BarRequest, Market

_HISTORY = {"history-candles": "trade", "history-mark-candles": "mark", "history-index-candles": "index"}
_BARS = {
    (label.upper() + "utc" if step >= TIMEFRAMES_MS["6h"] else label.replace("h", "H")): step
    for label, step in TIMEFRAMES_MS.items()
    if label != "8h"
}
_RECENT_DAYS = {"1m": 30, "3m": 30, "5m": 30, "15m": 52, "30m": 62, "1H": 83, "2H": 120, "4H": 240, "6Hutc": 360}
_LONGEST_MS = 90 * DAY_MS


def answer(market: Market, request: Request) -> Answer:
    """Return what Bitget answers; errors are answers too."""
    name = request.path.removeprefix("/api/v2/")
    try:
        if name == "public/time":
            return _envelope(request, {"serverTime": str(request.now)})
        if name == "spot/public/coins":
            return _envelope(request, [])
        endpoint = name.removeprefix("mix/market/")
        if endpoint == "candles" or endpoint in _HISTORY:
            return _candles(market, request, endpoint)
        if endpoint in _ENDPOINTS:
            return _ENDPOINTS[endpoint](market, request)
    except Refused as refusal:
        return refusal.answer
    return Answer({"code": "40404", "msg": "Request URL NOT FOUND", "data": None}, 404)


def fault_body(status: int) -> dict[str, Any]:
    """Return the body of an error that the exchange itself reports."""
    code, message = ("429", "Too Many Requests") if status == 429 else ("45001", "Unknown error")
    return {"code": code, "msg": message, "requestTime": 0, "data": None}


def _envelope(request: Request, data: object, rows: list[Any] | None = None) -> Answer:
    return Answer({"code": "00000", "msg": "success", "requestTime": request.now, "data": data}, rows=rows)


def _refusal(request: Request, code: str, message: str) -> Refused:
    return Refused(Answer({"code": code, "msg": message, "requestTime": request.now, "data": None}, 400))


def _contracts(market: Market, request: Request) -> list[Contract]:
    product = request.query.get("productType", "").upper()
    return [c for c in market.contracts if f"{c.settle}-FUTURES" == product and c.is_traded(request.now)]


def _contract(market: Market, request: Request) -> Contract:
    found = next((c for c in _contracts(market, request) if c.id == request.query.get("symbol")), None)
    if found is None:
        raise _refusal(request, "40034", "Parameter symbol does not exist")
    return found


def _candles(market: Market, request: Request, endpoint: str) -> Answer:
    contract = _contract(market, request)
    granularity = request.query.get("granularity", "")
    step = _BARS.get(granularity)
    if step is None:
        raise _refusal(request, "400171", "Parameter granularity error")
    limit = min(int(request.query.get("limit", 100)), 200 if endpoint in _HISTORY else 1000)
    first, last = int(request.query.get("startTime", 0)), int(request.query.get("endTime", FOREVER_MS)) - 1
    if first and last - first >= _LONGEST_MS:
        raise _refusal(request, "00001", "startTime and endTime interval cannot be greater than 90 days")
    if endpoint == "candles" and granularity in _RECENT_DAYS:
        first = max(first, request.now - _RECENT_DAYS[granularity] * DAY_MS)
    series = _HISTORY.get(endpoint) or {"mark": "mark", "index": "index"}.get(
        request.query.get("kLineType", "").lower(), "trade"
    )
    if first > last:
        return _envelope(request, [])
    wanted = BarRequest(contract, series, step, first, last, request.now, request.number)
    bars = market.page(wanted, limit, newest=True)
    rows = [
        [str(time), *prices, volume, f"{float(volume) * float(prices[3]):.4f}"]
        for time, (*prices, volume) in bars.rows()
    ]
    return _envelope(request, rows, rows)


def _funding(market: Market, request: Request) -> Answer:
    contract = _contract(market, request)
    size, number = min(int(request.query.get("pageSize", 20)), 100), int(request.query.get("pageNo", 1))
    found = market.settlements(contract, contract.listed, request.now)
    table = list(zip(found.time.tolist(), found.rate.tolist(), strict=True))[::-1]
    rows = [
        {"symbol": contract.id, "fundingRate": decimal_text(rate, 8), "fundingTime": str(time)}
        for time, rate in table[(number - 1) * size : number * size]
    ]
    return _envelope(request, rows, rows)


def _listed(market: Market, request: Request) -> Answer:
    return _envelope(request, [_listing(c, request.now) for c in _contracts(market, request)])


def _listing(contract: Contract, now: int) -> dict[str, Any]:
    return {
        "symbol": contract.id,
        "baseCoin": contract.base,
        "quoteCoin": contract.quote,
        "supportMarginCoins": [contract.settle],
        "symbolType": "perpetual",
        "symbolStatus": "normal",
        "makerFeeRate": "0.0002",
        "takerFeeRate": "0.0006",
        "minTradeNum": contract.lot,
        "sizeMultiplier": contract.lot,
        "volumePlace": str(contract.lot_decimals),
        "pricePlace": str(contract.tick_decimals),
        "priceEndStep": str(contract.tick_units),
        "minTradeUSDT": contract.min_notional,
        "fundInterval": str(contract.interval_hours(now)),
        "minLever": "1",
        "maxLever": str(contract.brackets[0].leverage),
        "launchTime": str(contract.listed),
        "offTime": "-1",
        "deliveryTime": "",
    }


def _tickers(market: Market, request: Request) -> Answer:
    return _envelope(request, [_ticker(market, c, request.now) for c in _contracts(market, request)])


def _ticker(market: Market, contract: Contract, now: int) -> dict[str, str]:
    day = last_day(market, contract, now)
    return {
        "symbol": contract.id,
        "lastPr": day.close,
        "open24h": day.open,
        "high24h": day.high,
        "low24h": day.low,
        "baseVolume": f"{day.volume:f}",
        "quoteVolume": f"{day.turnover:.4f}",
        "usdtVolume": f"{day.turnover:.4f}",
        "ts": str(now),
    }


def _tiers(market: Market, request: Request) -> Answer:
    contract = _contract(market, request)
    rows = [
        {
            "symbol": contract.id,
            "level": str(row.number),
            "startUnit": str(row.floor),
            "endUnit": str(row.cap),
            "leverage": str(row.leverage),
            "keepMarginRate": str(row.maintenance_rate),
        }
        for row in bracket_rows(contract.brackets)
    ]
    return _envelope(request, rows)


_ENDPOINTS: dict[str, Callable[[Market, Request], Answer]] = {
    "history-fund-rate": _funding,
    "contracts": _listed,
    "tickers": _tickers,
    "query-position-lever": _tiers,
}
