"""One exchange over ccxt's async client: contracts, pages of bars and settlements, margin tiers.

Every request keeps ccxt's rate limit and is repeated where repeating can help; an answer that is no whole JSON counts
as failed too. A server that asks for a pause (``Retry-After``) gets it from all requests.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from random import Random
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import ccxt.async_support as ccxt
import polars as pl

from backtester.domain.instrument import is_spot_name
from backtester.errors import ExchangeError, KeyRequiredError
from backtester.market.retry import RetryPolicy, is_transient, retry_after_seconds
from backtester.market.schema import TIME, timeframe_ms
from backtester.market.sources.ccxt_profiles import PROFILES, SPOT_PROFILES, Profile
from backtester.market.windows import Window

_FIRST_CONTACT = RetryPolicy(attempts=3)
_DOWNLOAD = RetryPolicy(attempts=9)
_PRICE = {"mark": "mark", "index": "index", "premium": "premiumIndex"}
_HAS = {
    "trade": "fetchOHLCV",
    "mark": "fetchMarkOHLCV",
    "index": "fetchIndexOHLCV",
    "premium": "fetchPremiumIndexOHLCV",
}
_REFUSED = {
    403: "it refuses requests from here, or had too many of them: wait some minutes",
    451: "it does not serve the place that this request came from",
}
_BAR_COLUMNS = ("open_time", "open", "high", "low", "close", "volume")
_CLOSING_GRACE_MS = 2_000  # a bar is finished some moments after its end
_HOUR_MS = 3_600_000
_DOUBTS = 3  # answers to one question before a numbered page counts as the last one
_WORTH_TELLING_SECONDS = 2.0
_SPOT = "-spot"  # ends the id of a client of spot pairs
_PAGES_IN_A_ROW = 200  # of numbered pages


class _TroubleError(Exception):
    """An answer that is worth asking for again.

    Parameters
    ----------
    problem : str
        What was wrong with it, completing "the exchange …".
    retry_after : float, optional
        Pause that the server asks for [s].
    """

    def __init__(self, problem: str, retry_after: float | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.retry_after = retry_after


class _RefusedError(Exception):
    """An answer that will not change."""


class _Watched:
    """Added in front of an exchange's class: looks at each answer before ccxt does.

    Headers are at hand here alone: ccxt's own copy of the last ones belongs to whichever request came last.
    """

    server_date: datetime | None = None
    skew_ms = 0  # what the local clock lacks

    def milliseconds(self) -> int:
        """Return the exchange's time: ccxt chooses between endpoints for recent and for older bars by it."""
        return int(super().milliseconds()) + self.skew_ms  # type: ignore[misc]

    def seconds(self) -> int:
        """Return the exchange's time: ccxt cuts ranges that reach beyond it."""
        return self.milliseconds() // 1000

    def on_rest_response(self, code: int, *answer: Any) -> str:
        _reason, _url, _method, response_headers, body = answer[:5]
        headers = {k.lower(): v for k, v in response_headers.items()}
        date = headers.get("date")
        if date:
            self.server_date = parsedate_to_datetime(date)
        if is_transient(code):
            pause = retry_after_seconds(headers.get("retry-after"), self.server_date or datetime.now(UTC))
            raise _TroubleError(f"answers HTTP {code}", pause)
        if code in _REFUSED:
            raise _RefusedError(f"HTTP {code}: {_REFUSED[code]}")
        return str(body).strip()

    def parse_json(self, http_response: str) -> object:
        parsed = super().parse_json(http_response)  # type: ignore[misc]
        if parsed is None and http_response:
            raise _TroubleError("answers with something that is no whole JSON")
        return parsed


def known_exchanges() -> list[str]:
    """Return the ids of all exchanges that ccxt knows."""
    return list(ccxt.exchanges)


def spot_id(exchange_id: str) -> str:
    """Return the id under which `Client` opens the spot pairs of an exchange."""
    return f"{exchange_id}{_SPOT}"


class Client:
    """One exchange, opened.

    Parameters
    ----------
    exchange_id : str
        Name in ccxt, or what `spot_id` makes of it.
    base_url : str, optional
        Scheme and host that take the place of the exchange's own in every request: a mirror or proxy.
    pause_ms : float, optional
        Pause between requests in place of ccxt's rate limit [ms].
    timeout_ms : int
        How long an answer is waited for [ms].
    policy : RetryPolicy
        How failed requests are repeated.

    Attributes
    ----------
    id : str
        The same.
    is_spot : bool
        Whether it serves spot pairs.
    contracts : dict of str to dict
        Perpetual contracts, or spot pairs, by unified name, in ccxt's form; empty before `open`.
    profile : Profile
        What the exchange allows.
    told : callable
        Told when the next attempt is some seconds away, and why.
    """

    def __init__(
        self,
        exchange_id: str,
        base_url: str | None = None,
        *,
        pause_ms: float | None = None,
        timeout_ms: int = 20_000,
        policy: RetryPolicy = _DOWNLOAD,
    ) -> None:
        self.id = exchange_id
        self.is_spot = exchange_id.endswith(_SPOT)
        ccxt_id = exchange_id.removesuffix(_SPOT)
        self.profile = (SPOT_PROFILES if self.is_spot else PROFILES).get(ccxt_id, Profile())
        base = getattr(ccxt, ccxt_id)
        name = ccxt_id.upper()
        keys = {"apiKey": os.environ.get(f"{name}_APIKEY"), "secret": os.environ.get(f"{name}_SECRET")}
        options = {
            "enableRateLimit": True,
            "timeout": timeout_ms,
            "aiohttp_trust_env": True,
            **{k: v for k, v in keys.items() if v},
        }
        if pause_ms is not None:
            options |= {"enableRateLimit": pause_ms > 0, "rateLimit": pause_ms}
        self._exchange = type(ccxt_id, (_Watched, base), {})(options)
        self.host = urlsplit(base_url).netloc if base_url else _host(self._exchange)
        self._exchange.options |= self.profile.options
        self._exchange.timeframes = {**(self._exchange.timeframes or {}), **self.profile.timeframes}
        self._settlement_pause = self.profile.settlement_pause_seconds if pause_ms is None else 0.0
        self._next_settlements = 0.0
        self._is_mirror = base_url is not None
        if base_url:
            self._exchange.urls["api"] = _redirected(self._exchange.urls["api"], base_url.rstrip("/"))
        self.contracts: dict[str, dict[str, Any]] = {}
        self.told: Callable[[str], None] = lambda _: None
        self._policy = policy
        self._random = Random()  # noqa: S311 - jitter
        self._resume_at = 0.0
        self._skew_ms = 0.0

    async def open(self) -> None:
        """Load the contracts and compare clocks.

        Raises
        ------
        ExchangeError
            The exchange cannot be reached, or refuses.
        """
        markets = await self._call("its contracts", self._exchange.load_markets, _FIRST_CONTACT)
        if self.is_spot:
            self.contracts = {m["symbol"]: m for m in markets.values() if m.get("spot") and is_spot_name(m["symbol"])}
        else:
            self.contracts = {m["symbol"]: m for m in markets.values() if m.get("swap")}
        before = time.time()
        if self._exchange.has.get("fetchTime"):
            server = await self._call("its time", self._exchange.fetch_time, _FIRST_CONTACT)
            self._skew_ms = float(server) - 500 * (before + time.time())
        elif self._exchange.server_date is not None:
            self._skew_ms = self._exchange.server_date.timestamp() * 1000 - time.time() * 1000
        self._exchange.skew_ms = round(self._skew_ms)

    @property
    def source(self) -> str:
        """Where its rows come from, in words."""
        return f"{self.id} by ccxt" + (f", at {self.host}" if self._is_mirror else "")

    async def close(self) -> None:
        """Close the connections."""
        await self._exchange.close()

    def now(self) -> int:
        """Return the exchange's time [ms since 1970]: the local clock may be wrong."""
        return int(time.time() * 1000 + self._skew_ms)

    def finished(self, step: int, phase: int = 0) -> int:
        """Return the end of the last bar that has finished [ms]; no later bar is to be stored.

        Parameters
        ----------
        step : int
            Length of a bar [ms].
        phase : int
            A moment at which a bar opens [ms].
        """
        return phase + (self.now() - _CLOSING_GRACE_MS - phase) // step * step

    def kept_since(self, series: str, step: int) -> int:
        """Return the moment before which the exchange keeps nothing of a series [ms]; 0: no such limit."""
        if series == "funding":
            reach = self.profile.settlements_reach_ms
            return (self.now() - reach) // _HOUR_MS * _HOUR_MS if reach else 0
        newest = self.profile.newest_bars
        return self.finished(step) - newest * step if newest else 0

    def kept_text(self, series: str) -> str:
        """Return how much the exchange keeps of a series, in words; empty where `kept_since` knows no limit."""
        if series == "funding":
            days = self.profile.settlements_reach_ms // 86_400_000
            return f"settlements of the last {days} days" if days else ""
        newest = self.profile.newest_bars
        return f"the newest {newest:,} bars of a timeframe" if newest else ""

    # ---- what the exchange has

    def has(self, series: str) -> bool:
        """Return whether a series can be asked for; of spot pairs trades and terms alone."""
        if self.is_spot and series not in ("trade", "instrument"):
            return False
        if series in _HAS:
            return bool(self._exchange.has.get(_HAS[series])) or series in self.profile.raw_candles
        if series == "funding":
            return bool(self._exchange.has.get("fetchFundingRateHistory"))
        if series == "tiers":
            return bool(self.profile.raw_tiers) or any(
                self._exchange.has.get(n) is True for n in ("fetchLeverageTiers", "fetchMarketLeverageTiers")
            )
        return series == "instrument"

    @property
    def timeframes(self) -> list[str]:
        """Timeframes of bars, in ccxt's order."""
        return [t for t in self._exchange.timeframes or {} if not t.endswith(("M", "Y", "y"))]

    def page_bars(self, series: str, step: int) -> int:
        """Return how many bars one request brings."""
        profile = self.profile
        count = profile.bars_per_page or self._stated_limit() or 100
        if series != "trade" and profile.price_bars_per_page:
            count = profile.price_bars_per_page
        if profile.longest_window_ms:
            count = min(count, profile.longest_window_ms // step)
        return max(1, count)

    @property
    def seconds_per_request(self) -> float:
        """Seconds between two full pages that the rate limit asks for."""
        return float(self._exchange.rateLimit) * self.profile.request_cost / 1000

    def _stated_limit(self) -> int:
        features = self._exchange.features or {}
        linear = features.get("spot") if self.is_spot else (features.get("swap") or {}).get("linear")
        linear = linear or {}
        return int((linear.get("fetchOHLCV") or {}).get("limit") or 0)

    # ---- pages

    async def bars(
        self, symbol: str, series: str, timeframe: str, window: Window, *, unfinished: bool = False
    ) -> pl.DataFrame:
        """Return the finished bars that open in a window of at most one page, as far as the exchange gives them.

        Parameters
        ----------
        symbol : str
            Unified name.
        series : str
            ``"trade"``, ``"mark"``, ``"index"`` or ``"premium"``.
        timeframe : str
            In ccxt's form.
        window : tuple of int
            Opens, end excluded [ms].
        unfinished : bool
            Keep bars that are still open, which is for looking, never for the store.
        """
        start, end = window
        step = timeframe_ms(timeframe)
        limit = -(-(end - start) // step)
        finished = self.now() - _CLOSING_GRACE_MS  # before the request: what finishes meanwhile may still change
        params = {"until": end - 1} | ({"price": _PRICE[series]} if series in _PRICE else {})
        is_raw = series in self.profile.raw_candles
        frame = await self._call(
            f"{symbol} {series} {timeframe}",
            (lambda: self._raw_bars(symbol, series, timeframe, window))
            if is_raw
            else (lambda: self._exchange.fetch_ohlcv(symbol, timeframe, start, limit, params)),
            read=lambda rows: _bar_frame(rows, series),
        )
        if self.profile.volume_in_contracts and series == "trade":
            frame = frame.with_columns(_base_volume(frame["volume"], self.contracts[symbol]))
        opens = pl.col("open_time").dt.epoch("ms")
        inside = (opens >= start) & (opens < end)
        return cast("pl.DataFrame", frame).filter(inside if unfinished else inside & (opens + step <= finished))

    async def _raw_bars(self, symbol: str, series: str, timeframe: str, window: Window) -> list[list[Any]]:
        start, end = window
        step = timeframe_ms(timeframe)
        method = getattr(self._exchange, self.profile.raw_candles[series])
        answer = await method(
            {
                "instId": self.contracts[symbol]["id"],
                "bar": self._exchange.timeframes[timeframe],
                "before": str(start - 1),
                "after": str(end),
                "limit": str(-(-(end - start) // step)),
            }
        )
        return [[int(row[0]), *map(float, row[1:5]), None] for row in answer["data"]]

    async def settlements(self, symbol: str, window: Window) -> pl.DataFrame:
        """Return settlements within a window: ``funding_time``, ``funding_rate``, ``mark_price``; one page of them.

        Which end of the window a page holds is the exchange's affair; those in between are without a gap.
        """
        if self.profile.settlement_pages == "numbered":
            return await self._numbered_settlements(symbol, window)
        start, end = window
        params: dict[str, Any] = {"until": end - 1}
        if self.profile.settlement_end:
            params = {self.profile.settlement_end: str(end)}
        limit = self.profile.settlements_per_page
        return await self._settlement_page(symbol, start, limit, params, window)

    async def _numbered_settlements(self, symbol: str, window: Window) -> pl.DataFrame:
        """Turn the pages back from the newest until one begins before the window."""
        found = []
        for number in range(1, _PAGES_IN_A_ROW + 1):
            page = await self._numbered_page(symbol, number)
            found.append(page)
            if page.is_empty() or int(page["funding_time"].dt.epoch("ms").min() or 0) <= window[0]:  # type: ignore[arg-type]
                break
        moment = pl.col("funding_time").dt.epoch("ms")
        return pl.concat(found).filter((moment >= window[0]) & (moment < window[1])).unique().sort("funding_time")

    async def _numbered_page(self, symbol: str, number: int) -> pl.DataFrame:
        """Return one page; one that is not full may be cut, which no later page would show, so it is doubted."""
        size = self.profile.settlements_per_page
        longest = pl.DataFrame()
        for _ in range(_DOUBTS):
            page = await self._settlement_page(symbol, None, size, {"pageNo": number}, (0, 1 << 62))
            longest = page if page.height >= longest.height else longest
            if longest.height >= size:
                break
        return longest

    async def _settlement_page(
        self, symbol: str, since: int | None, limit: int, params: dict[str, Any], window: Window
    ) -> pl.DataFrame:
        await self._settlement_turn()
        frame = await self._call(
            f"{symbol} funding",
            lambda: self._exchange.fetch_funding_rate_history(symbol, since, limit, params),
            read=self._settlement_frame,
        )
        moment = pl.col("funding_time").dt.epoch("ms")
        return cast("pl.DataFrame", frame).filter((moment >= window[0]) & (moment < window[1]))

    def _settlement_frame(self, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        field = self.profile.settlement_mark
        records = [
            (int(r["timestamp"]), float(r["fundingRate"]), float(r["info"].get(field) or "nan") if field else None)
            for r in rows
        ]
        schema = {"funding_time": pl.Int64, "funding_rate": pl.Float64, "mark_price": pl.Float64}
        frame = pl.DataFrame(records, schema=schema, orient="row")
        return frame.with_columns(pl.col("funding_time").cast(TIME))

    # ---- terms

    async def tiers(self, symbols: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the brackets in force now by symbol, in ccxt's form.

        Raises
        ------
        ExchangeError
            Among others: the exchange wants an API key for them.
        """
        if self._exchange.has.get("fetchLeverageTiers") is True:
            found = await self._call("margin tiers", lambda: self._exchange.fetch_leverage_tiers(list(symbols)))
            return {s: found[s] for s in symbols if found.get(s)}
        ask = self._raw_tiers if self.profile.raw_tiers else self._exchange.fetch_market_leverage_tiers
        out = {}
        for symbol in symbols:
            found = await self._call(f"{symbol} tiers", partial(ask, symbol))
            if found:
                out[symbol] = found
        return out

    async def _raw_tiers(self, symbol: str) -> list[dict[str, Any]]:
        """Return brackets in ccxt's form; sizes stay what the exchange counts."""
        method = getattr(self._exchange, self.profile.raw_tiers)
        answer = await method({"instId": self.contracts[symbol]["id"], "marginMode": "cross"})
        return [
            {
                "minNotional": float(row["minSize"]),
                "maxNotional": float(row["maxSize"]),
                "maintenanceMarginRate": float(row["maintenanceMarginRate"]),
                "maxLeverage": float(row["maxLeverage"]),
                "info": row,
            }
            for row in answer["data"]
        ]

    async def funding_terms(self) -> dict[str, dict[str, float]]:
        """Return ``funding_interval_hours``, ``funding_cap`` and ``funding_floor`` by symbol, as far as published."""
        published: Mapping[str, Any] = {}
        if self.profile.funding_info:
            rows = await self._call("funding terms", getattr(self._exchange, self.profile.funding_info))
            published = {row["symbol"]: row for row in rows}
        hours, cap, floor = self.profile.funding_fields
        out = {}
        for symbol, market in self.contracts.items():
            row = published.get(market["id"], {}) if self.profile.funding_info else market["info"]
            found = {
                "funding_interval_hours": _figure(row, hours, self.profile.funding_unit_hours),
                "funding_cap": _figure(row, cap, 1.0),
                "funding_floor": _figure(row, floor, 1.0),
            }
            out[symbol] = {name: value for name, value in found.items() if value is not None}
        return out

    async def volumes(self) -> dict[str, float]:
        """Return the quote volume of the last 24 hours by symbol; nothing for spot pairs."""
        if self.is_spot:
            return {}
        is_linear = any(market.get("linear") for market in self.contracts.values())
        params = {"type": "swap", "subType": "linear" if is_linear else "inverse"}
        tickers = await self._call("volumes", lambda: self._exchange.fetch_tickers(None, params))
        return {s: self._turnover(t) for s, t in tickers.items() if s in self.contracts}

    def _turnover(self, ticker: Mapping[str, Any]) -> float:
        field = self.profile.ticker_volume
        if not field:
            return float(ticker.get("quoteVolume") or 0.0)
        return float(ticker["info"].get(field) or 0.0) * float(ticker.get("last") or 0.0)

    # ---- requests

    async def _call(
        self,
        what: str,
        request: Callable[[], Awaitable[Any]],
        policy: RetryPolicy | None = None,
        read: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Return the answer to a request, repeated while that can help.

        Parameters
        ----------
        what : str
            What is asked for, in an error.
        request : callable
            Starts the request.
        policy : RetryPolicy, optional
            Other than the client's.
        read : callable, optional
            Turns the answer into what is returned; raises where it is not of the expected form.
        """
        policy = policy or self._policy
        attempt = 0
        while True:
            attempt += 1
            await self._respect_pause()
            try:
                answer = await request()
                return answer if read is None else read(answer)
            except (ccxt.BaseError, _TroubleError, _RefusedError) as error:
                problem, pause = self._judged(what, error)
            except (TypeError, KeyError, ValueError, AttributeError, IndexError) as error:
                # ccxt (or we) stumbled over an answer of another form
                problem, pause = f"answers with something unexpected ({type(error).__name__}: {error})", None
            delay = policy.delay(attempt, pause, self._random)
            if delay is None:
                raise ExchangeError(f"{self.id} ({self.host}) {problem}; gave up on {what} after {attempt} attempts.")
            if delay >= _WORTH_TELLING_SECONDS:
                self.told(f"{self.id} ({self.host}) {problem}: trying again in {delay:.0f} s")
            if pause is not None:
                self._resume_at = max(self._resume_at, time.monotonic() + delay)
            await asyncio.sleep(delay)

    def _judged(self, what: str, error: Exception) -> tuple[str, float | None]:
        """Return what is wrong and the pause asked for, or raise where repeating cannot help."""
        if isinstance(error, _TroubleError):
            return error.problem, error.retry_after
        if isinstance(error, _RefusedError):
            raise ExchangeError(f"{self.id} ({self.host}): {error}.") from error
        if isinstance(error, ccxt.AuthenticationError | ccxt.ArgumentsRequired | ccxt.PermissionDenied):
            name = self.id.removesuffix(_SPOT).upper()
            raise KeyRequiredError(
                f"{self.id} wants an API key for {what}.",
                f"Set {name}_APIKEY and {name}_SECRET in the environment to a key that may read.",
            ) from error
        if isinstance(error, ccxt.RequestTimeout):
            return "does not answer", None
        if isinstance(error, ccxt.NetworkError) or isinstance(error.__cause__, aiohttp.ClientError):
            cause = error.__cause__
            return f"cannot be reached ({_plain(cause)})" if cause is not None else f"says {_said(error)}", None
        raise ExchangeError(f"{self.id} ({self.host}) refuses {what}: {_said(error)}.") from error

    async def _settlement_turn(self) -> None:
        """Wait until settlements may be asked for again."""
        now = time.monotonic()
        turn = max(now, self._next_settlements)
        self._next_settlements = turn + self._settlement_pause
        if turn > now:
            await asyncio.sleep(turn - now)

    async def _respect_pause(self) -> None:
        while (left := self._resume_at - time.monotonic()) > 0:
            await asyncio.sleep(left)


def _bar_frame(rows: Sequence[Sequence[Any]], series: str) -> pl.DataFrame:
    schema = {"open_time": pl.Int64, **dict.fromkeys(_BAR_COLUMNS[1:], pl.Float64)}
    frame = pl.DataFrame([tuple(row[:6]) for row in rows], schema=schema, orient="row")
    frame = frame.with_columns(pl.col("open_time").cast(TIME))
    return frame if series == "trade" else frame.drop("volume")


def _base_volume(contracts: pl.Series, market: Mapping[str, Any]) -> pl.Series:
    """Return volumes in base units from those in contracts; of inverse contracts, which count money, none are known."""
    size = market.get("contractSize")
    if not size or not market.get("linear"):
        return pl.Series(contracts.name, [None] * len(contracts), pl.Float64)
    parts = round(1 / float(size))
    counts = contracts.to_numpy()  # polars divides by a number as it multiplies with its reciprocal
    # 3 / 10 is 0.3 and 3 * 0.1 is not
    volumes = counts / parts if parts > 1 and 1 / parts == float(size) else counts * float(size)
    return pl.Series(contracts.name, volumes).fill_nan(None)


def _figure(row: Mapping[str, Any], field: str, unit: float) -> float | None:
    """Return a raw figure in our unit, None where it is not published."""
    text = row.get(field) if field else None
    return None if text in (None, "") else float(cast("str", text)) * unit


def _redirected(urls: Any, base_url: str) -> Any:
    """Return ccxt's table of addresses with another scheme and host."""
    if isinstance(urls, dict):
        return {key: _redirected(value, base_url) for key, value in urls.items()}
    return re.sub(r"^\w+://[^/]+", base_url, urls) if isinstance(urls, str) else urls


def _host(exchange: Any) -> str:
    """Return the host of the exchange's public interface, for messages."""
    text = str(exchange.urls.get("www") or exchange.id)
    return urlsplit(text).netloc or text


def _plain(cause: BaseException) -> str:
    return str(cause).split(" [")[0].splitlines()[0] if str(cause) else type(cause).__name__


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:200].rstrip(".") or type(error).__name__
