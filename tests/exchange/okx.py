"""OKX v5, public endpoints: a pure function of market, request and time.

Paging as the exchange does it (`tests.exchange.cursor`): newest first, bounds excluded. ``candles`` (and
``mark-price-candles``, ``index-candles``) know the newest 1,440 bars of a timeframe, at most 300 a page (mark and
index 100); ``history-candles`` and its siblings know older ones, 100 a page. Funding: 100 a page, of the last three
months. Volumes count contracts (``vol``), base (``volCcy``) and quote currency (``volCcyQuote``). Bars of 6 hours and
more stand on Hong Kong's clock unless their name ends in ``utc``. Margin tiers count contracts, ``minSz`` one step
above the ``maxSz`` before.

Confirmed in copies of the exchange's documents and in reports of users: the 1,440, 300 and 100 bars, three months and
100 settlements, cursors that exclude, ``before`` alone gives the newest. Not confirmed: newer documents may allow 300
bars of history (ccxt asks for them; the answer here stays at 100) and 400 settlements; that ``history-candles`` holds
no open bar; errors of odd parameters.

What ccxt 4.5.90 asks for: ``load_markets()`` ``public/instruments`` per type (SWAP alone with
``fetchMarkets.types``), ``fetch_ohlcv`` the history endpoint where ``since`` is older than 1,439 bars *by the local
clock*, with ``before`` = since - 1 and ``after`` = until, ``fetch_funding_rate_history`` without ``until``,
``realizedRate`` as the rate; ``fetch_tickers`` gives contracts as ``baseVolume`` and no ``quoteVolume``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.exchange import cursor
from tests.exchange.answer import TIMEFRAMES_MS, Answer, Refused, Request
from tests.exchange.bars import DAY_MS, decimal_text
from tests.exchange.contract import Contract
from tests.exchange.day import last_day
from tests.exchange.margin import bracket_rows
from tests.exchange.market import BarRequest, Market

_RECENT = {"candles": ("trade", 300), "mark-price-candles": ("mark", 100), "index-candles": ("index", 100)}
_HISTORY = {f"history-{name}": (series, 100) for name, (series, _) in _RECENT.items()}
_NEWEST_BARS = 1440
_FUNDING_KEPT_MS = 92 * DAY_MS
_BARS = {
    (label.upper() + "utc" if step >= TIMEFRAMES_MS["6h"] else label.replace("h", "H")): step
    for label, step in TIMEFRAMES_MS.items()
    if label != "8h"
}


def answer(market: Market, request: Request) -> Answer:
    """Return what OKX answers; errors are answers too."""
    name = request.path.removeprefix("/api/v5/")
    try:
        kind, _, endpoint = name.partition("/")
        if kind == "market" and endpoint in {**_RECENT, **_HISTORY}:
            return _candles(market, request, endpoint)
        if name in _ENDPOINTS:
            return _ENDPOINTS[name](market, request)
    except Refused as refusal:
        return refusal.answer
    return Answer({"code": "404", "msg": "", "data": []}, 404)


def fault_body(status: int) -> dict[str, Any]:
    """Return the body of an error that the exchange itself reports."""
    code, message = ("50011", "Too Many Requests") if status == 429 else ("50001", "Service temporarily unavailable.")
    return {"code": code, "msg": message, "data": []}


def _family(contract: Contract) -> str:
    return f"{contract.base}-{contract.quote}"


def _contract(market: Market, request: Request, *, is_family: bool = False) -> Contract:
    name = request.query.get("instFamily" if "instFamily" in request.query else "instId", "")
    for contract in market.contracts:
        own = _family(contract) if is_family else f"{_family(contract)}-SWAP"
        if own == name and contract.is_listed(request.now):
            return contract
    raise cursor.refusal("51001", "Instrument ID doesn't exist.", 200)


def _candles(market: Market, request: Request, endpoint: str) -> Answer:
    series, most = {**_RECENT, **_HISTORY}[endpoint]
    contract = _contract(market, request, is_family=series == "index")
    step = _BARS.get(request.query.get("bar", "1m"))
    if step is None:
        raise cursor.refusal("51000", "Parameter bar error")
    limit = min(cursor.whole(request, "limit", 100), most)
    first, last = cursor.span(request)
    if endpoint in _HISTORY:
        last = min(last, request.now - step)  # finished bars
    wanted = BarRequest(contract, series, step, first, last, request.now, request.number)
    bars = cursor.newest_bars(market, wanted, limit, kept=None if endpoint in _HISTORY else _NEWEST_BARS)
    rows = cursor.candles(bars, contract, series, step, request.now)
    return cursor.answered(rows, rows)


def _funding(market: Market, request: Request) -> Answer:
    contract = _contract(market, request)
    found = cursor.settlements(market, request, contract, 100, request.now - _FUNDING_KEPT_MS)
    table = zip(found.time.tolist(), found.rate.tolist(), strict=True)
    rows = [
        {
            "instType": "SWAP",
            "instId": request.query["instId"],
            "fundingRate": decimal_text(rate + 100, 8),  # what was predicted before
            "realizedRate": decimal_text(rate, 8),
            "fundingTime": str(time),
            "method": "current_period",
        }
        for time, rate in table
    ][::-1]
    return cursor.answered(rows, rows)


def _time(market: Market, request: Request) -> Answer:
    return cursor.answered([{"ts": str(request.now)}])


def _instruments(market: Market, request: Request) -> Answer:
    listed = market.contracts if request.query.get("instType") == "SWAP" else ()
    return cursor.answered([_instrument(c) for c in listed if c.is_traded(request.now)])


def _instrument(contract: Contract) -> dict[str, Any]:
    return {
        "instType": "SWAP",
        "instId": f"{_family(contract)}-SWAP",
        "instFamily": _family(contract),
        "uly": _family(contract),
        "baseCcy": "",
        "quoteCcy": "",
        "settleCcy": contract.settle,
        "ctVal": contract.contract_size,
        "ctMult": "1",
        "ctValCcy": contract.base,
        "ctType": "linear",
        "listTime": str(contract.listed),
        "contTdSwTime": str(contract.listed),
        "expTime": "",
        "lever": str(contract.brackets[0].leverage),
        "tickSz": contract.tick,
        "lotSz": contract.contract_lot,
        "minSz": contract.contract_lot,
        "maxLmtSz": "100000000",
        "maxMktSz": "85000",
        "state": "live",
    }


def _tickers(market: Market, request: Request) -> Answer:
    return cursor.answered([_ticker(market, c, request.now) for c in market.contracts if c.is_traded(request.now)])


def _ticker(market: Market, contract: Contract, now: int) -> dict[str, str]:
    day = last_day(market, contract, now)
    return {
        "instType": "SWAP",
        "instId": f"{_family(contract)}-SWAP",
        "last": day.close,
        "open24h": day.open,
        "high24h": day.high,
        "low24h": day.low,
        "volCcy24h": f"{day.volume:f}",
        "vol24h": f"{day.volume / type(day.volume)(contract.contract_size):f}",
        "ts": str(now),
    }


def _tiers(market: Market, request: Request) -> Answer:
    contract = _contract(market, request, is_family=True)
    rows = bracket_rows(contract.brackets)
    data = [
        {
            "instFamily": _family(contract),
            "instId": "",
            "uly": _family(contract),
            "tier": str(row.number),
            "minSz": str(row.floor + 1 if row.floor else 0),
            "maxSz": str(row.cap),
            "mmr": str(row.maintenance_rate),
            "imr": f"{1 / row.leverage:.4f}",
            "maxLever": f"{row.leverage}.00",
        }
        for row in rows
    ]
    return cursor.answered(data)


_ENDPOINTS: dict[str, Callable[[Market, Request], Answer]] = {
    "public/time": _time,
    "public/instruments": _instruments,
    "public/funding-rate-history": _funding,
    "public/position-tiers": _tiers,
    "market/tickers": _tickers,
}
