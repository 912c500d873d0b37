"""Files over HTTP: several at once, repeated with growing pauses where that may help, never larger than agreed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from datetime import UTC, datetime
from random import Random
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp

from backtester.errors import DataError
from backtester.market.retry import RetryPolicy, is_transient, retry_after_seconds
from backtester.version import __version__

_T = TypeVar("_T")
_CHUNK = 1 << 16
_NOT_THERE = frozenset({404, 410})
_NO_CONNECTION = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class UnreachableError(DataError):
    """A server that gives no answer at all: asking it for the next file is of no use."""


class Downloader:
    """Fetches files; made for use by several threads, which wait while its own thread talks to the server.

    Parameters
    ----------
    policy : RetryPolicy
        How often a request is repeated.
    connections : int
        How many requests run at once.
    timeout : float
        Longest silence of the server [s].
    seed : int, optional
        Of the jitter; None: another one each time.

    Notes
    -----
    Use it as a context manager: leaving it ends what still runs.
    """

    def __init__(
        self,
        policy: RetryPolicy | None = None,
        *,
        connections: int = 8,
        timeout: float = 60.0,
        seed: int | None = None,
    ) -> None:
        self._policy = policy if policy is not None else RetryPolicy()
        self._connections = connections
        self._timeout = timeout
        self._random = Random(seed)  # noqa: S311 - spreads pauses, keeps no secret
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="backtester-download", daemon=True)
        self._session: aiohttp.ClientSession | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._gate = threading.Lock()
        self._is_open = True

    def __enter__(self) -> Downloader:
        self._thread.start()
        self._session = self._wait(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cancel(self) -> None:
        """End all requests: who waits for one, or asks for another, gets a `concurrent.futures.CancelledError`."""
        with self._gate:
            self._is_open = False
        asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result()

    def get(self, address: str, limit: int) -> bytes | None:
        """Return the content of a file, None where the server has none of that name.

        Parameters
        ----------
        address : str
            ``http://`` or ``https://``.
        limit : int
            Bytes beyond which it is refused.

        Raises
        ------
        UnreachableError
            The server gives no answer, after all attempts.
        DataError
            It refuses, keeps failing, or sends more than ``limit``.
        """
        return self._wait(self._get(address, limit))

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        with self._gate:  # nothing is handed to a loop that is about to stop, where it would wait for ever
            if not self._is_open:
                work.close()
                raise CancelledError
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result()

    async def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=self._connections)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=self._timeout)
        # the files are packed already; a server that packs them once more could hide their size
        headers = {"User-Agent": f"backtester/{__version__}", "Accept-Encoding": "identity"}
        return aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers, trust_env=True)

    async def _cancel(self) -> None:
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _get(self, address: str, limit: int) -> bytes | None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            return await self._get_patiently(address, limit)
        finally:
            self._running.discard(task)

    async def _get_patiently(self, address: str, limit: int) -> bytes | None:
        attempt = 1
        while True:
            retry_after = None
            unreachable = False
            try:
                status, retry_after, content = await self._ask(address, limit)
                if status == 200 or status in _NOT_THERE:
                    return content
                problem = f"the server answers with status {status}"
            except (aiohttp.ClientError, TimeoutError, OSError) as e:
                problem = _reason(e)
                unreachable = isinstance(e, _NO_CONNECTION)
            pause = self._policy.delay(attempt, retry_after, self._random)
            if pause is None:
                raise _given_up(address, problem, attempt, retry_after, unreachable=unreachable)
            await asyncio.sleep(pause)
            attempt += 1

    async def _ask(self, address: str, limit: int) -> tuple[int, float | None, bytes | None]:
        """Send one request; return status, what the server asks to wait [s], and the content."""
        assert self._session is not None
        async with self._session.get(address) as response:
            if response.status in _NOT_THERE:
                return response.status, None, None
            if is_transient(response.status):
                wait = retry_after_seconds(response.headers.get("Retry-After"), datetime.now(UTC))
                return response.status, wait, None
            if response.status != 200:
                raise DataError(
                    address,
                    f"the server refuses it (status {response.status})",
                    hint="Check the address; a venue may be closed to your country, or ask for a sign-in.",
                )
            if (response.content_length or 0) > limit:
                raise _too_large(address, limit)
            content = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK):
                content += chunk
                if len(content) > limit:
                    raise _too_large(address, limit)
            return response.status, None, bytes(content)


def _too_large(address: str, limit: int) -> DataError:
    return DataError(
        address, f"the file is larger than {limit:,} bytes", hint="No archive of bars is: check the address."
    )


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "the server does not answer in time"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection was cut in the middle of the file"
    text = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return f"no connection ({text})" if isinstance(error, _NO_CONNECTION) else f"the connection failed ({text})"


def _given_up(address: str, problem: str, attempts: int, retry_after: float | None, *, unreachable: bool) -> DataError:
    if unreachable:
        return UnreachableError(
            urlsplit(address).netloc,
            f"{problem}, after {attempts} attempts",
            hint="Check the network and the address, then run the command again: what is stored stays.",
        )
    wish = f", and asks to wait {retry_after:.0f} s" if retry_after is not None else ""
    return DataError(
        address,
        f"{problem}{wish}; given up after {attempts} attempt{'s' * (attempts > 1)}",
        hint="Run the command again later: only what is missing is fetched.",
    )
