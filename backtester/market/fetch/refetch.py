"""Fetches single windows of datasets again, for `market.quality.repair`."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from backtester.errors import BacktesterError, DataError
from backtester.market.fetch.bring import bring
from backtester.market.fetch.planning import page_ms
from backtester.market.fetch.venues import Route, needed_ids, opened, venue_exchanges
from backtester.market.fetch.watch import Task
from backtester.market.schema import DatasetKey, timeframe_ms
from backtester.market.sources.ccxt_client import Client
from backtester.market.store import Store
from backtester.market.windows import Window


class Refetcher:
    """Keeps the exchanges open between the windows of one repair; use it with ``with``.

    Parameters
    ----------
    store : Store
        Where the datasets are.
    route : Route, optional
        How the exchanges are reached; None: as ccxt does.
    """

    def __init__(self, store: Store, route: Route | None = None) -> None:
        self._store = store
        self._route = route or Route()
        self._runner = asyncio.Runner()
        self._open = AsyncExitStack()
        self._clients: dict[str, Client | BacktesterError] = {}
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self._open.aclose())
        finally:
            self._runner.__exit__(kind, error, trace)

    def __call__(self, key: DatasetKey, windows: list[Window]) -> int:
        """Fetch windows of a dataset and return how many rows are new or other than before.

        Raises
        ------
        UsageError
            The venue is served by no exchange.
        DataError
            The exchange does not trade the contract any more, or has no such series.
        ExchangeError
            It cannot be reached.
        """
        return self._runner.run(self._fetch(key, windows))

    async def _fetch(self, key: DatasetKey, windows: list[Window]) -> int:
        client = await self._owner(key)
        if client is None:
            raise DataError(str(key), "the contract is not traded any more", hint="Import its archive instead.")
        if not client.has(key.series):
            raise DataError(str(key), f"{client.id} has no such series in ccxt", hint="Import it instead.")
        step = 1 if key.series == "funding" else timeframe_ms(key.timeframe)
        task = Task(key, client.id, tuple((-(-a // step) * step, b) for a, b in windows), page_ms(client, key))
        brought = await bring(self._store, task, client, lambda *_: None, self.notes.append)
        if brought.error is not None:
            raise brought.error
        return 0 if brought.report is None else brought.report.added + brought.report.changed

    async def _owner(self, key: DatasetKey) -> Client | None:
        """Return the exchange that trades a contract."""
        for exchange_id in needed_ids(venue_exchanges(key.venue), [key.symbol]):
            client = await self._opened(exchange_id)
            if key.symbol in client.contracts:
                return client
        return None

    async def _opened(self, exchange_id: str) -> Client:
        """Return an exchange; one that cannot be opened is tried once."""
        if exchange_id not in self._clients:
            try:
                (self._clients[exchange_id],) = await self._open.enter_async_context(
                    opened((exchange_id,), self._route)
                )
            except BacktesterError as error:
                self._clients[exchange_id] = error
        found = self._clients[exchange_id]
        if isinstance(found, BacktesterError):
            raise found
        return found
