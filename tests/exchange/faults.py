"""A plan of faults, the same at each run whatever the order of requests.

A rule names a fault, the paths and (optionally) the requests that it hits: by number, or by chance. Chance is drawn
from the seed, the request's target and how often this target was asked before, so it does not depend on which of
several concurrent requests came first. ``attempts`` bounds how often one target is hit: with ``attempts=2`` the third
try is served.

What the faults become in the async client of ccxt 4.5.90 (``OperationFailed`` > ``NetworkError`` > the others;
``ExchangeError`` and ``BadResponse`` are not below it):

=========================================  ==================================  ==================================
fault                                      Binance                             Bybit
=========================================  ==================================  ==================================
429 or 418, JSON or not                    DDoSProtection (NetworkError)       RateLimitExceeded (NetworkError) by
                                                                               retCode 10006, at any HTTP status
500 to 504 with the exchange's JSON        OperationFailed, not NetworkError   ExchangeError (retCode 10016)
500, 502, 503, 403 with HTML               ExchangeNotAvailable                ExchangeNotAvailable; 403 is
                                                                               RateLimitExceeded
504 with HTML                              RequestTimeout                      RequestTimeout
200 with HTML, 200 with truncated JSON     no exception: an empty list, or     no exception: an empty list
                                           (without ``since``) rows of None
connection cut in the body                 ExchangeError, ``__cause__`` is aiohttp's ClientPayloadError
connection ends before the answer          ExchangeNotAvailable, after aiohttp's own second try
no answer within ``timeout`` ms            RequestTimeout
rows out of order                          sorted by ccxt
a row twice                                stays twice
=========================================  ==================================  ==================================

``load_markets`` on such a 200 answer returns no markets and keeps that result until ``load_markets(True)``;
``fetch_time`` returns None; ``fetch_tickers`` (Binance) and ``fetch_market_leverage_tiers`` (Bybit) raise
AttributeError and TypeError. So a subclass has to look at the body: ``handle_errors(code, reason, url, method,
headers, body, response, ...)`` is called for every answer with its own headers, and ``response`` is None when the body
is no JSON. ``last_response_headers`` is one attribute for all concurrent calls; the ``headers`` of ``handle_errors``
(and of ``on_rest_response``) are the answer's own, so Retry-After can be read there without a race; names keep the
server's case.
"""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any


class FaultKind(StrEnum):
    """What goes wrong."""

    STATUS = "status"  # an HTTP status with an error body and, given seconds, a Retry-After header
    HTML = "html"  # a page of HTML with a status, 200 too
    TRUNCATED = "truncated"  # a complete HTTP answer whose JSON stops in the middle
    CUT = "cut"  # the connection ends in the middle of the body
    REFUSE = "refuse"  # the connection ends before any answer
    HANG = "hang"  # no answer, until the server stops or the client goes
    SLOW = "slow"  # the right answer after some seconds
    SHORT = "short"  # a page with half of its rows, the ones that come first
    EMPTY = "empty"  # a page without rows
    DUPLICATE = "duplicate"  # the last row of the page twice
    SHUFFLED = "shuffled"  # rows out of order


ROW_FAULTS = frozenset({FaultKind.SHORT, FaultKind.EMPTY, FaultKind.DUPLICATE, FaultKind.SHUFFLED})


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes
    ----------
    kind : FaultKind
        What goes wrong.
    status : int
        HTTP status of ``STATUS`` and ``HTML``.
    seconds : float or None
        Delay of ``SLOW``; value of Retry-After for ``STATUS``.
    """

    kind: FaultKind
    status: int = 200
    seconds: float | None = None

    @classmethod
    def rate_limited(cls, retry_after: float | None = 1, status: int = 429) -> Fault:
        """Return 429, or Binance's 418, with Retry-After [s] unless that is None."""
        return cls(FaultKind.STATUS, status, retry_after)

    @classmethod
    def failing(cls, status: int = 500) -> Fault:
        """Return a server error."""
        return cls(FaultKind.STATUS, status)

    def spoil(self, rows: list[Any]) -> None:
        """Change a page in place as the fault says."""
        if self.kind is FaultKind.EMPTY:
            rows.clear()
        elif self.kind is FaultKind.SHORT:
            del rows[len(rows) // 2 :]
        elif self.kind is FaultKind.DUPLICATE:
            rows.extend(rows[-1:])
        elif self.kind is FaultKind.SHUFFLED:
            rows[:] = rows[1::2] + rows[::2]


@dataclass(frozen=True)
class Rule:
    """Which requests a fault hits.

    Attributes
    ----------
    fault : Fault
        What happens to them.
    path : str
        Pattern of the path, as in ``*/klines``.
    query : str
        Pattern of the query, as in ``*symbol=BTCUSDT*``.
    numbers : tuple of int or None
        Count among the requests that match the patterns, from 1; None means all of them.
    share : float
        Probability with which a matching request is hit.
    attempts : int or None
        How often one and the same target is hit at most.
    """

    fault: Fault
    path: str = "*"
    query: str = "*"
    numbers: tuple[int, ...] | None = None
    share: float = 1.0
    attempts: int | None = None


class FaultPlan:
    """Chooses the fault of each request; the first rule that hits counts. Thread-safe.

    Parameters
    ----------
    *rules : Rule
        In order of precedence.
    seed : int
        Of all chances.
    """

    def __init__(self, *rules: Rule, seed: int = 0) -> None:
        self._rules: Sequence[Rule] = rules
        self._seed = seed
        self._lock = threading.Lock()
        self._matched: Counter[int] = Counter()
        self._asked: Counter[str] = Counter()
        self._hit: Counter[tuple[int, str]] = Counter()

    def choose(self, path: str, query: str) -> Fault | None:
        """Return the fault of the next request for a target, or None when it is served well."""
        target = f"{path}?{query}"
        with self._lock:
            self._asked[target] += 1
            for place, rule in enumerate(self._rules):
                if self._hits(place, rule, target, path, query):
                    self._hit[place, target] += 1
                    return rule.fault
        return None

    def _hits(self, place: int, rule: Rule, target: str, path: str, query: str) -> bool:
        if not (fnmatchcase(path, rule.path) and fnmatchcase(query, rule.query)):
            return False
        self._matched[place] += 1
        if rule.numbers is not None and self._matched[place] not in rule.numbers:
            return False
        if rule.attempts is not None and self._hit[place, target] >= rule.attempts:
            return False
        draw = zlib.crc32(f"{self._seed}|{place}|{self._asked[target]}|{target}".encode()) / 2**32
        return draw < rule.share
