"""Pages as OKX and BloFin turn them: newest first, ``after`` and ``before`` are times that are not included.

``after`` asks for older rows, ``before`` for newer ones; with both, or with ``before`` alone, a page is the newest
part.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.exchange.answer import FOREVER_MS, Answer, Refused, Request
from tests.exchange.bars import Bars, Settlements, open_of
from tests.exchange.contract import Contract
from tests.exchange.market import BarRequest, Market


def answered(data: list[Any], rows: list[Any] | None = None) -> Answer:
    """Return an answer in the envelope ``code, msg, data``."""
    return Answer({"code": "0", "msg": "", "data": data}, rows=rows)


def refusal(code: str, message: str, status: int = 400) -> Refused:
    """Return a refusal in the same envelope."""
    return Refused(Answer({"code": code, "msg": message, "data": []}, status))


def whole(request: Request, name: str, default: int) -> int:
    """Return a parameter that is a whole number."""
    text = request.query.get(name) or str(default)
    if not text.isdigit():
        raise refusal("51000", f"Parameter {name} error")
    return int(text)


def span(request: Request) -> tuple[int, int]:
    """Return the first and the last time that lie between the cursors [ms]."""
    return whole(request, "before", -1) + 1 if "before" in request.query else 0, whole(request, "after", FOREVER_MS) - 1


def newest_bars(market: Market, wanted: BarRequest, limit: int, *, kept: int | None = None) -> Bars:
    """Return the newest bars of a span, oldest first, none where the cursors leave nothing.

    Parameters
    ----------
    market : Market
        What there is.
    wanted : BarRequest
        The span.
    limit : int
        Bars of a page.
    kept : int or None
        How many of the newest bars the exchange has at all.
    """
    step = wanted.timeframe_ms
    first = wanted.first if kept is None else max(wanted.first, open_of(wanted.now, step) - (kept - 1) * step)
    if first > wanted.last:
        first = wanted.last + step  # an empty span
    span_of = BarRequest(wanted.contract, wanted.series, step, first, wanted.last, wanted.now, wanted.revision)
    return market.page(span_of, limit, newest=True)


def candles(bars: Bars, contract: Contract, series: str, step: int, now: int) -> list[list[str]]:
    """Return bars newest first as texts: with volumes in contracts, base and quote currency for trades."""
    rows = []
    for time, (*prices, volume) in bars.rows():
        confirm = "1" if time + step <= now else "0"
        base = Decimal(volume)
        contracts = f"{(base / Decimal(contract.contract_size)).normalize():f}"
        volumes = [contracts, volume, f"{base * Decimal(prices[3]):.4f}"] if series == "trade" else []
        rows.append([str(time), *prices, *volumes, confirm])
    return rows[::-1]


def settlements(market: Market, request: Request, contract: Contract, most: int, oldest: int = 0) -> Settlements:
    """Return a page of settlements, oldest first.

    Parameters
    ----------
    market : Market
        What there is.
    request : Request
        Carries the cursors and ``limit``.
    contract : Contract
        Of whom.
    most : int
        Rows of a page, at most and when nothing is said.
    oldest : int
        Time before which the exchange keeps none [ms].
    """
    first, last = span(request)
    found = market.settlements(contract, max(first, oldest), min(last, request.now))
    return found.at(slice(max(len(found) - min(whole(request, "limit", most), most), 0), None))
