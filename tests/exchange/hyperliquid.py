"""Hyperliquid, ``POST /info``: a pure function of market, request and time.

``candleSnapshot``: opens of ``startTime`` to ``endTime``, both included, oldest first, of the newest 5,000 bars of a
timeframe and no others. ``fundingHistory``: the oldest 500 settlements from ``startTime`` on, both ends included,
every hour, some milliseconds late. Volumes are in base units. ``metaAndAssetCtxs`` lists delisted contracts too
(``isDelisted``).

Confirmed in copies of the exchange's documents: 5,000 bars, 500 elements of an answer over a time range, and the last
time as the next ``startTime``. Not confirmed: that a bar that is open counts among the 5,000 (here it does).

What ccxt 4.5.90 asks for: ``load_markets()`` ``spotMeta`` (currencies), then ``metaAndAssetCtxs``,
``spotMetaAndAssetCtxs`` and ``perpDexs``; ``fetch_time()`` ``exchangeStatus``; ``fetch_ohlcv`` sends ``since`` and
``until`` unchanged; so does ``fetch_funding_rate_history``. It has no mark, index or tiers: the exchange keeps no
history of the first two, and its margin tables stand in ``meta``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from tests.exchange.answer import FOREVER_MS, TIMEFRAMES_MS, Answer, Request
from tests.exchange.bars import MINUTE_MS, decimal_text, open_of
from tests.exchange.contract import Contract
from tests.exchange.day import last_day
from tests.exchange.market import BarRequest, Market

_NEWEST_BARS = 5000
_SETTLEMENTS = 500
_LATEST_STAMP_MS = 90


def answer(market: Market, request: Request) -> Answer:
    """Return what Hyperliquid answers; errors are answers too."""
    kind = request.query.get("type", "")
    if request.path != "/info" or kind not in _KINDS:
        return Answer("Failed to deserialize the JSON body into the target type", 422)
    return _KINDS[kind](market, request)


def fault_body(status: int) -> None:
    """Return the body of an error that the exchange itself reports."""


def _contract(market: Market, request: Request) -> Contract | None:
    return next((c for c in market.contracts if c.base == request.query.get("coin") and c.is_listed(request.now)), None)


def _candles(market: Market, request: Request) -> Answer:
    contract, step = _contract(market, request), TIMEFRAMES_MS.get(request.query.get("interval", ""))
    if contract is None or step is None:
        return Answer(None, 500)
    oldest = open_of(request.now, step) - (_NEWEST_BARS - 1) * step
    first = max(int(request.query["startTime"]), oldest)
    last = int(request.query.get("endTime", FOREVER_MS))
    if first > last:
        return Answer([])
    wanted = BarRequest(contract, "trade", step, first, last, request.now, request.number)
    bars = market.page(wanted, _NEWEST_BARS, newest=True)
    rows = [
        {
            "t": time,
            "T": time + step - 1,
            "s": contract.base,
            "i": request.query["interval"],
            **dict(zip("ohlc", prices, strict=True)),
            "v": volume,
            "n": 40,
        }
        for time, (*prices, volume) in bars.rows()
    ]
    return Answer(rows, rows=rows)


def _funding(market: Market, request: Request) -> Answer:
    contract = _contract(market, request)
    if contract is None:
        return Answer(None, 500)
    first, last = int(request.query["startTime"]), min(int(request.query.get("endTime", FOREVER_MS)), request.now)
    found = market.settlements(contract, max(first - _LATEST_STAMP_MS, 0), last)
    salt = zlib.crc32(contract.base.encode())
    stamps = found.time + (found.time // MINUTE_MS * 7919 + salt) % (_LATEST_STAMP_MS + 1)
    rows = [
        {"coin": contract.base, "fundingRate": decimal_text(rate, 8), "premium": "0.0", "time": stamp}
        for stamp, rate in zip(stamps.tolist(), found.rate.tolist(), strict=True)
        if first <= stamp <= last
    ][:_SETTLEMENTS]
    return Answer(rows, rows=rows)


def _meta(market: Market, request: Request) -> Answer:
    listed = [c for c in market.contracts if c.is_listed(request.now)]
    universe = [_listed(c, request.now) for c in listed]
    return Answer([{"universe": universe, "marginTables": []}, [_context(market, c, request.now) for c in listed]])


def _listed(contract: Contract, now: int) -> dict[str, Any]:
    gone = {} if contract.is_traded(now) else {"isDelisted": True}
    leverage = contract.brackets[0].leverage
    return {"name": contract.base, "szDecimals": contract.lot_decimals, "maxLeverage": leverage, **gone}


def _context(market: Market, contract: Contract, now: int) -> dict[str, str]:
    day = last_day(market, contract, now)
    return {"dayNtlVlm": f"{day.turnover:.4f}", "markPx": day.close, "midPx": day.close, "prevDayPx": day.open}


def _status(market: Market, request: Request) -> Answer:
    return Answer({"time": request.now, "specialStatuses": None})


def _constant(body: object) -> Callable[[Market, Request], Answer]:
    return lambda market, request: Answer(body)


_KINDS: dict[str, Callable[[Market, Request], Answer]] = {
    "candleSnapshot": _candles,
    "fundingHistory": _funding,
    "metaAndAssetCtxs": _meta,
    "exchangeStatus": _status,
    "spotMeta": _constant({"tokens": [], "universe": []}),
    "spotMetaAndAssetCtxs": _constant([{"tokens": [], "universe": []}, []]),
    "perpDexs": _constant([None]),
}
