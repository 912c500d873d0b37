"""Runs a fetch: opens the exchanges, plans, and brings the datasets in, several at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import polars as pl

from backtester.errors import BacktesterError, DataError, KeyRequiredError, UnknownNameError
from backtester.market.acceptance import accept_bars, accept_funding
from backtester.market.fetch.pages import Page, settlement_pages, split, whole_page
from backtester.market.fetch.planning import Target, make_plan
from backtester.market.fetch.request import FetchRequest, chosen_symbols
from backtester.market.fetch.terms import TermsDesk
from backtester.market.fetch.venues import Route, VenueExchanges, first_of, lacks, needed_ids, opened, venue_exchanges
from backtester.market.fetch.watch import FetchResult, Plan, Task, Watch
from backtester.market.journal import Journal
from backtester.market.schema import EVENT, DatasetKey, timeframe_ms
from backtester.market.sources.ccxt_client import Client
from backtester.market.store import Store
from backtester.market.windows import Window
from backtester.market.writer import WriteReport

_BELIEVED_AFTER_MS = 86_400_000  # what is missing of the last day may still come
_T = TypeVar("_T")


def fetch(
    store: Store,
    request: FetchRequest,
    *,
    watch: Watch | None = None,
    route: Route | None = None,
    dry_run: bool = False,
) -> FetchResult:
    """Bring what is missing from a venue's exchanges into the store.

    Each page is durable once it came in, so an interrupted fetch goes on where it ended. What is complete is neither
    asked for nor rewritten; spans of which the exchange has nothing are remembered, but for the last day.

    Parameters
    ----------
    store : Store
        Where to.
    request : FetchRequest
        What.
    watch : Watch, optional
        Told what happens.
    route : Route, optional
        How the exchanges are reached; None: as ccxt does.
    dry_run : bool
        Plan only.

    Raises
    ------
    UnknownNameError, UsageError
        The venue, a symbol or a timeframe does not exist.
    ExchangeError
        An exchange cannot be reached, before anything was stored.
    """
    return asyncio.run(_Fetch(store, request, watch or Watch(), route or Route()).run(dry_run=dry_run))


class _Fetch:
    """One fetch while it runs."""

    def __init__(self, store: Store, request: FetchRequest, watch: Watch, route: Route) -> None:
        self._store = store
        self._request = request
        self._watch = watch
        self._route = route
        self._result = FetchResult(Plan((), 0, 0.0))

    async def run(self, *, dry_run: bool) -> FetchResult:
        exchanges = venue_exchanges(self._request.venue)
        named = self._request.symbols or tuple(self._stored_symbols(exchanges.venue) if self._request.update else ())
        async with opened(needed_ids(exchanges, named), self._route) as clients:
            targets = await self._targets(exchanges, clients)
            plan, failures = await make_plan(self._store, targets, self._request)
            self._result.plan = plan
            for text in plan.notes:
                self._note(text)
            for key, error in failures:
                self._fail(key, error)
            self._watch.planned(plan)
            if not dry_run:
                await self._download(plan, {client.id: client for client in clients})
        return self._result

    # ---- what to fetch

    async def _targets(self, exchanges: VenueExchanges, clients: Sequence[Client]) -> list[Target]:
        request = self._request
        owner = {symbol: client for client in reversed(clients) for symbol in client.contracts}
        if request.update:
            symbols = self._still_traded(exchanges.venue, owner)
        else:
            volumes: dict[str, float] = {}
            if request.top is not None:
                for client in clients:
                    volumes |= await client.volumes()
                self._note(
                    f"the {request.top} contracts with the largest volume today were chosen with hindsight: those that "
                    "were large once and were delisted since are missing (survivorship bias)"
                )
            symbols = chosen_symbols(request, owner, volumes, " and ".join(c.id for c in clients))
        targets = []
        for symbol in symbols:
            client = owner[symbol]
            stored = [(k.series, k.timeframe) for k in self._store.keys(exchanges.venue, symbol)]
            targets.append(Target(client, exchanges.venue, symbol, tuple(request.wanted(stored))))
        return [self._possible(target) for target in targets]

    def _possible(self, target: Target) -> Target:
        """Return a target without what its exchange lacks, which is said once."""
        for text in lacks(target.client, target.wanted):
            if text not in self._result.notes:
                self._note(text)
        known = {*target.client.timeframes, EVENT}
        kept = tuple((s, t) for s, t in target.wanted if target.client.has(s) and t in known)
        return Target(target.client, target.venue, target.symbol, kept)

    def _stored_symbols(self, venue: str) -> list[str]:
        return sorted({k.symbol for k in self._store.keys(venue) if k.series not in ("tiers", "instrument")})

    def _still_traded(self, venue: str, owner: dict[str, Client]) -> list[str]:
        """Return the stored symbols that an update can extend."""
        stored = self._stored_symbols(venue)
        if not stored:
            raise DataError(
                f"the store {self._store.root}",
                f"nothing of the venue {venue!r} is stored that could be extended",
                hint="Name what to fetch: --symbols BTC/USDT:USDT.",
            )
        for symbol in self._request.symbols:
            if symbol not in stored:
                raise UnknownNameError("symbol", symbol, stored, f"in the store's venue {venue!r}")
        wanted = self._request.symbols or stored
        gone = [s for s in wanted if s not in owner]
        if gone:
            shown = ", ".join(gone[:5]) + (", …" if len(gone) > 5 else "")
            self._note(f"no longer traded, so nothing extends them: {shown}")
        return [s for s in wanted if s in owner]

    # ---- the download

    async def _download(self, plan: Plan, clients: dict[str, Client]) -> None:
        limit = asyncio.Semaphore(self._request.workers)
        desk = TermsDesk(self._store, clients, plan.tasks)

        async def one(task: Task) -> None:
            async with limit:
                self._watch.started(task)
                try:
                    if task.page_ms:
                        await self._bring(task, clients[task.exchange])
                    else:
                        self._finish(task, await desk.bring(task))
                except KeyRequiredError as error:
                    if self._request.series:
                        self._fail(task.key, error)
                    else:  # it came with the default, so the rest is what was asked for
                        self._note(f"{error.message} {error.hint}".removesuffix("."))
                except BacktesterError as error:
                    self._fail(task.key, error)

        try:
            async with asyncio.TaskGroup() as group:
                for task in plan.tasks:
                    group.create_task(one(task))
        except* Exception as errors:  # noqa: BLE001 - one exception is raised as itself, whichever it is
            raise first_of(errors) from None

    async def _bring(self, task: Task, client: Client) -> None:
        """Download one dataset page by page."""
        horizon = client.now() - _BELIEVED_AFTER_MS
        source = f"{client.id} by ccxt" + ("" if self._route.base_url is None else f", at {client.host}")
        async with _journal(self._store, task) as journal:
            for empty in task.asked:
                await _finished(journal.append, _no_rows(task), _until(empty, horizon))
            async for page in _pages(task, client):
                frame = self._accepted(task, page)
                await _finished(lambda f=frame, p=page: journal.append(f, _until(p.window, horizon), source=source))
                self._watch.advanced(task, page.window[1] - page.window[0], frame.height)
        self._finish(task, journal.report)

    def _accepted(self, task: Task, page: Page) -> pl.DataFrame:
        """Return the rows of a page that can be true; what is left out is said."""
        if task.key.series == "funding":
            accepted = accept_funding(page.rows, str(task.key), drop_bad=True)
        else:
            step = timeframe_ms(task.key.timeframe)
            accepted = accept_bars(page.rows, task.key.series, step, str(task.key), drop_bad=True)
        for text in accepted.notes:
            self._note(f"{task.key}: {text}")
        return accepted.frame

    # ---- what is told

    def _note(self, text: str) -> None:
        self._result.notes.append(text)
        self._watch.note(text)

    def _finish(self, task: Task, report: WriteReport | None) -> None:
        if report is not None:
            self._result.reports.append(report)
        self._watch.finished(task, report)

    def _fail(self, key: DatasetKey, error: BacktesterError) -> None:
        self._result.failures.append((key, error))
        self._watch.failed(key, error)


async def _pages(task: Task, client: Client) -> AsyncIterator[Page]:
    """Yield the pages of a dataset's missing windows."""
    key = task.key
    if key.series == "funding":
        for window in task.windows:
            async for page in settlement_pages(lambda part: client.settlements(key.symbol, part), window):
                yield page
        return
    step = timeframe_ms(key.timeframe)
    for window in split(task.windows, task.page_ms):
        rows = await whole_page(lambda part: client.bars(key.symbol, key.series, key.timeframe, part), window, step)
        yield Page(rows, window)


@asynccontextmanager
async def _journal(store: Store, task: Task) -> AsyncIterator[Journal]:
    """Hold a dataset's journal; opening and merging run beside the event loop."""
    held = store.journal(task.key, task.exchange)
    journal = await _finished(held.__enter__)
    try:
        yield journal
    finally:
        await _finished(lambda: held.__exit__(None, None, None))


async def _finished(work: Callable[..., _T], *arguments: object) -> _T:
    """Run work on files in a thread and wait for its end, also when interrupted: nothing goes on behind our back."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


def _until(window: Window, horizon: int) -> Window | None:
    """Return the part of a window that counts as asked: the last day may still change."""
    return (window[0], min(window[1], horizon)) if window[0] < horizon else None


def _no_rows(task: Task) -> pl.DataFrame:
    return pl.DataFrame(schema=dict(task.key.schema.columns))
