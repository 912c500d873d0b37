"""Gate v4, public endpoints of perpetual contracts: a pure function of market, request and time.

``candlesticks``: times in seconds; ``from`` and ``to`` are both included, at most 2,000 points between them, and
``limit`` beside either is an error; ``mark_BTC_USDT`` and ``index_BTC_USDT`` name the other prices. Volumes count
contracts, each ``quanto_multiplier`` of the base currency (0: an inverse contract of one dollar). ``7d`` counts weeks
from 1970, ``1w`` from Monday. ``funding_rate``: 100 rows, 1,000 at most, newest first, of ``from`` to ``to``.
``risk_limit_tiers``: all tiers of up to 100 contracts a page.

Confirmed in the exchange's own client libraries: 2,000 points, the conflict with ``limit``, defaults, the two kinds
of weeks. Not confirmed: that ``to`` is included (ccxt's ``to = from + (limit - 1) * duration`` supposes so; our
windows end a second before the next bar, so either is served), ``from`` and ``to`` of ``funding_rate``, the text of
errors.

What ccxt 4.5.90 asks for: ``load_markets()`` spot currencies, then contracts by ``fetchMarkets.types`` (swap: one
request a settlement currency, btc and usdt); ``fetch_ohlcv`` never sends ``limit`` with ``since`` and cuts ``to`` at
the local clock; its timeframe ``1w`` is the exchange's ``7d``.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tests.exchange.answer import TIMEFRAMES_MS, Answer, Refused, Request
from tests.exchange.bars import DAY_MS, decimal_text
from tests.exchange.contract import Contract
from tests.exchange.day import last_day
from tests.exchange.margin import bracket_rows
from tests.exchange.market import BarRequest, Market

_PREFIX = "/api/v4"
_POINTS = 2000
_INTERVALS = {label: TIMEFRAMES_MS[label] for label in ("1m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "1d", "1w")}


def answer(market: Market, request: Request) -> Answer:
    """Return what Gate answers; errors are answers too."""
    path = request.path.removeprefix(_PREFIX)
    try:
        if path == "/spot/time":
            return Answer({"server_time": request.now})
        if path == "/spot/currencies":
            return Answer([])
        settle, _, name = path.removeprefix("/futures/").partition("/")
        if name in _ENDPOINTS:
            return _ENDPOINTS[name](market, request, settle.upper())
    except Refused as refusal:
        return refusal.answer
    return Answer({"label": "NOT_FOUND", "message": "URL not found"}, 404)


def fault_body(status: int) -> dict[str, Any]:
    """Return the body of an error that the exchange itself reports."""
    label = "TOO_MANY_REQUESTS" if status == 429 else "SERVER_ERROR"
    return {"label": label, "message": label.replace("_", " ").title()}


def _refusal(label: str, message: str) -> Refused:
    return Refused(Answer({"label": label, "message": message}, 400))


def _id(contract: Contract) -> str:
    return f"{contract.base}_{contract.quote}"


def _contracts(market: Market, now: int, settle: str) -> list[Contract]:
    return [c for c in market.contracts if c.settle == settle and c.is_traded(now)]


def _contract(market: Market, request: Request, settle: str, name: str) -> Contract:
    found = next((c for c in _contracts(market, request.now, settle) if _id(c) == name), None)
    if found is None:
        raise _refusal("CONTRACT_NOT_FOUND", "contract not found")
    return found


def _candlesticks(market: Market, request: Request, settle: str) -> Answer:
    name = request.query.get("contract", "")
    prefix = next((p for p in ("mark_", "index_") if name.startswith(p)), "")
    contract = _contract(market, request, settle, name.removeprefix(prefix))
    label = request.query.get("interval", "5m")
    step = 7 * DAY_MS if label == "7d" else _INTERVALS.get(label)
    if step is None or label == "7d":
        raise _refusal("INVALID_PARAM_VALUE", f"invalid interval {label}")  # weeks from 1970 are not made here
    bounded = "from" in request.query or "to" in request.query
    if bounded and "limit" in request.query:
        raise _refusal("INVALID_PARAM_VALUE", "limit conflicts with from and to")
    last = int(request.query.get("to", request.now // 1000)) * 1000
    limit = int(request.query.get("limit", 100))
    first = int(request.query["from"]) * 1000 if "from" in request.query else last - (limit - 1) * step
    if (last - first) // step + 1 > _POINTS:
        raise _refusal("INVALID_PARAM_VALUE", f"more than {_POINTS} points")
    series = prefix.rstrip("_") or "trade"
    bars = market.page(BarRequest(contract, series, step, first, last, request.now, request.number), _POINTS)
    rows = [_row(time, texts, contract, series) for time, texts in bars.rows()]
    return Answer(rows, rows=rows)


def _row(time: int, texts: list[str], contract: Contract, series: str) -> dict[str, Any]:
    *prices, volume = texts
    row: dict[str, Any] = {"t": time // 1000, **dict(zip("ohlc", prices, strict=True))}
    if series != "trade":
        return row
    worth = Decimal(prices[3]) if contract.is_inverse else 1 / Decimal(contract.contract_size)
    return {**row, "v": int(Decimal(volume) * worth), "sum": f"{Decimal(volume) * Decimal(prices[3]):.4f}"}


def _funding_rate(market: Market, request: Request, settle: str) -> Answer:
    contract = _contract(market, request, settle, request.query.get("contract", ""))
    limit = int(request.query.get("limit", 100))
    if not 1 <= limit <= 1000:
        raise _refusal("INVALID_PARAM_VALUE", "invalid limit")
    last = min(int(request.query.get("to", request.now // 1000)) * 1000, request.now)
    found = market.settlements(contract, int(request.query.get("from", 0)) * 1000, last)
    rows = [
        {"t": time // 1000, "r": decimal_text(rate, 8)}
        for time, rate in zip(found.time.tolist(), found.rate.tolist(), strict=True)
    ][-limit:][::-1]
    return Answer(rows, rows=rows)


def _listed(market: Market, request: Request, settle: str) -> Answer:
    return Answer([_listing(market, c, request.now) for c in _contracts(market, request.now, settle)])


def _listing(market: Market, contract: Contract, now: int) -> dict[str, Any]:
    day = last_day(market, contract, now)
    return {
        "name": _id(contract),
        "type": "inverse" if contract.is_inverse else "direct",
        "quanto_multiplier": "0" if contract.is_inverse else contract.contract_size,
        "order_price_round": contract.tick,
        "mark_price_round": contract.tick,
        "order_size_min": 1,
        "order_size_max": 1_000_000,
        "enable_decimal": False,
        "order_price_deviate": "0.5",
        "mark_price": day.close,
        "last_price": day.close,
        "leverage_min": "1",
        "leverage_max": str(contract.brackets[0].leverage),
        "maintenance_rate": contract.brackets[0].maintenance_rate,
        "funding_interval": contract.interval_hours(now) * 3600,
        "funding_cap_ratio": "0.75",
        "funding_rate_limit": "0.02",
        "create_time": contract.listed // 1000,
        "launch_time": contract.listed // 1000,
        "in_delisting": False,
        "status": "trading",
    }


def _tickers(market: Market, request: Request, settle: str) -> Answer:
    return Answer([_ticker(market, c, request.now) for c in _contracts(market, request.now, settle)])


def _ticker(market: Market, contract: Contract, now: int) -> dict[str, str]:
    day = last_day(market, contract, now)
    return {
        "contract": _id(contract),
        "last": day.close,
        "high_24h": day.high,
        "low_24h": day.low,
        "volume_24h": f"{day.volume / Decimal(contract.contract_size):.0f}",
        "volume_24h_base": f"{day.volume:f}",
        "volume_24h_quote": f"{day.turnover:.4f}",
        "volume_24h_settle": f"{day.turnover:.4f}",
    }


def _tiers(market: Market, request: Request, settle: str) -> Answer:
    begin, count = int(request.query.get("offset", 0)), int(request.query.get("limit", 100))
    page = _contracts(market, request.now, settle)[begin : begin + count]
    rows = [
        {
            "contract": _id(contract),
            "tier": row.number,
            "risk_limit": str(row.cap),
            "initial_rate": f"{1 / row.leverage:.4f}",
            "maintenance_rate": str(row.maintenance_rate),
            "leverage_max": str(row.leverage),
            "deduction": str(row.amount),
        }
        for contract in page
        for row in bracket_rows(contract.brackets)
    ]
    return Answer(rows)


_ENDPOINTS: dict[str, Callable[[Market, Request, str], Answer]] = {
    "candlesticks": _candlesticks,
    "funding_rate": _funding_rate,
    "contracts": _listed,
    "tickers": _tickers,
    "risk_limit_tiers": _tiers,
}
