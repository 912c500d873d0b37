"""BloFin, public endpoints: a pure function of market, request and time.

Paging as the exchange does it (`tests.exchange.cursor`): newest first, bounds excluded. ``candles``,
``mark-price-candles`` and ``index-candles``: 500 bars, 1,440 at most; ``funding-rate-history``: 100. Volumes count
contracts, base and quote currency; a contract is ``contractValue`` of the base currency. There is no endpoint for the
time: the header ``Date`` has it.

Confirmed in the exchange's documents (their repository, ``index.md``): limits, cursors, fields of all answers but the
tiers, whose fields come from an answer that a user published. Not confirmed: on which clock its bars of a day and
more open (UTC here), how far back candles go, what becomes of a ``limit`` beyond the largest (taken for the largest
here), whether tiers count contracts (here, as ``minSize`` of an order does) or quote currency.

What ccxt 4.5.90 asks for: ``market/instruments``, ``market/candles`` with ``before`` = since - 1 and ``after`` =
until, ``market/funding-rate-history``, ``market/tickers`` (contracts as ``baseVolume``, no ``quoteVolume``). It has
no unified call for mark and index bars, for tiers, for the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.exchange import cursor
from tests.exchange.answer import TIMEFRAMES_MS, Answer, Refused, Request
from tests.exchange.bars import decimal_text
from tests.exchange.contract import Contract
from tests.exchange.day import last_day
from tests.exchange.margin import bracket_rows
from tests.exchange.market import BarRequest, Market

_CANDLES = {"candles": "trade", "mark-price-candles": "mark", "index-candles": "index"}
_BARS = {label if label.endswith("m") else label.upper(): s for label, s in TIMEFRAMES_MS.items()}


def answer(market: Market, request: Request) -> Answer:
    """Return what BloFin answers; errors are answers too."""
    name = request.path.removeprefix("/api/v1/market/")
    try:
        if name in _CANDLES:
            return _candles(market, request, _CANDLES[name])
        if name in _ENDPOINTS:
            return _ENDPOINTS[name](market, request)
    except Refused as refusal:
        return refusal.answer
    return Answer({"code": "404", "msg": "Not Found"}, 404)


def fault_body(status: int) -> dict[str, Any]:
    """Return the body of an error that the exchange itself reports."""
    return {"code": str(status), "msg": "Too Many Requests" if status == 429 else "Internal Server Error"}


def _id(contract: Contract) -> str:
    return f"{contract.base}-{contract.quote}"


def _contract(market: Market, request: Request) -> Contract:
    for contract in market.contracts:
        if _id(contract) == request.query.get("instId") and contract.is_listed(request.now):
            return contract
    raise cursor.refusal("152002", "Parameter instId error.", 200)


def _candles(market: Market, request: Request, series: str) -> Answer:
    contract = _contract(market, request)
    step = _BARS.get(request.query.get("bar", "1m"))
    if step is None:
        raise cursor.refusal("152002", "Parameter bar error.", 200)
    limit = min(cursor.whole(request, "limit", 500), 1440)
    wanted = BarRequest(contract, series, step, *cursor.span(request), request.now, request.number)
    rows = cursor.candles(cursor.newest_bars(market, wanted, limit), contract, series, step, request.now)
    return cursor.answered(rows, rows)


def _funding(market: Market, request: Request) -> Answer:
    found = cursor.settlements(market, request, _contract(market, request), 100)
    rows = [
        {"instId": request.query["instId"], "fundingRate": decimal_text(rate, 8), "fundingTime": str(time)}
        for time, rate in zip(found.time.tolist(), found.rate.tolist(), strict=True)
    ][::-1]
    return cursor.answered(rows, rows)


def _instruments(market: Market, request: Request) -> Answer:
    return cursor.answered([_instrument(c) for c in market.contracts if c.is_traded(request.now)])


def _instrument(contract: Contract) -> dict[str, Any]:
    return {
        "instId": _id(contract),
        "baseCurrency": contract.base,
        "quoteCurrency": contract.quote,
        "settleCurrency": contract.settle,
        "contractValue": contract.contract_size,
        "contractType": "linear",
        "instType": "SWAP",
        "listTime": str(contract.listed),
        "expireTime": "4102444800000",
        "maxLeverage": str(contract.brackets[0].leverage),
        "minSize": contract.contract_lot,
        "lotSize": contract.contract_lot,
        "tickSize": contract.tick,
        "maxLimitSize": "100000000",
        "maxMarketSize": "1000000",
        "state": "live",
    }


def _tickers(market: Market, request: Request) -> Answer:
    return cursor.answered([_ticker(market, c, request.now) for c in market.contracts if c.is_traded(request.now)])


def _ticker(market: Market, contract: Contract, now: int) -> dict[str, str]:
    day = last_day(market, contract, now)
    return {
        "instId": _id(contract),
        "last": day.close,
        "open24h": day.open,
        "high24h": day.high,
        "low24h": day.low,
        "volCurrency24h": f"{day.volume:f}",
        "vol24h": f"{day.volume / type(day.volume)(contract.contract_size):f}",
        "ts": str(now),
    }


def _tiers(market: Market, request: Request) -> Answer:
    if request.query.get("marginMode") not in ("cross", "isolated"):
        raise cursor.refusal("152002", "Parameter marginMode error.", 200)
    contract = _contract(market, request)
    rows = [
        {
            "symbol": _id(contract),
            "marginMode": request.query["marginMode"],
            "minSize": str(row.floor),
            "maxSize": str(row.cap),
            "maintenanceMarginRate": str(row.maintenance_rate),
            "maxLeverage": str(row.leverage),
        }
        for row in bracket_rows(contract.brackets)
    ]
    return cursor.answered(rows)


_ENDPOINTS: dict[str, Callable[[Market, Request], Answer]] = {
    "position-tiers": _tiers,
    "instruments": _instruments,
    "funding-rate-history": _funding,
    "tickers": _tickers,
}
