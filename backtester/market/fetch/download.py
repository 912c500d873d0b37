"""Runs a fetch: opens the exchanges, plans, and brings the datasets in, several at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from backtester.errors import BacktesterError, DataError, KeyRequiredError, UnknownNameError
from backtester.market.fetch.bring import Brought, bring
from backtester.market.fetch.planning import Target, make_plan
from backtester.market.fetch.request import FetchRequest, chosen_symbols
from backtester.market.fetch.terms import TermsDesk
from backtester.market.fetch.venues import Route, VenueExchanges, first_of, lacks, needed_ids, opened, venue_exchanges
from backtester.market.fetch.watch import FetchResult, Plan, Task, Watch
from backtester.market.schema import EVENT, DatasetKey
from backtester.market.sources.ccxt_client import Client
from backtester.market.store import Store


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
        self._store.recover()
        exchanges = self._exchanges()
        named = self._request.symbols or tuple(self._to_update(exchanges.venue) if self._request.update else ())
        async with opened(needed_ids(exchanges, named), self._route) as clients:
            for client in clients:
                client.told = self._watch.waiting
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

    def _exchanges(self) -> VenueExchanges:
        try:
            return venue_exchanges(self._request.venue)
        except UnknownNameError as error:
            if self._request.venue in self._store.venues():
                error.hint = "The store has data of it: give the path of its rule pack (.toml), which names exchanges."
            raise

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
        """Return a target without what its exchange lacks, which is said once; spot has trades and terms alone."""
        if target.client.is_spot:
            served = tuple((s, t) for s, t in target.wanted if target.client.has(s))
            target = replace(target, wanted=served or target.wanted)
        for text in lacks(target.client, target.wanted):
            if text not in self._result.notes:
                self._note(text)
        known = {*target.client.timeframes, EVENT}
        kept = tuple((s, t) for s, t in target.wanted if target.client.has(s) and t in known)
        return Target(target.client, target.venue, target.symbol, kept)

    def _to_update(self, venue: str) -> list[str]:
        """Return the stored symbols that an update is to extend."""
        stored = sorted({k.symbol for k in self._store.keys(venue) if k.series not in ("tiers", "instrument")})
        if not stored:
            raise DataError(
                venue,
                f"{self._store.root} holds nothing of this venue that could be extended",
                hint="Name what to fetch: --symbols BTC/USDT:USDT.",
            )
        return chosen_symbols(self._request, stored, {}, f"the store's venue {venue!r}")

    def _still_traded(self, venue: str, owner: dict[str, Client]) -> list[str]:
        """Return the stored symbols that an update can extend."""
        wanted = self._to_update(venue)
        gone = [s for s in wanted if s not in owner]
        if gone:
            shown = ", ".join(gone[:5]) + (", …" if len(gone) > 5 else "")
            self._note(f"no longer traded, so nothing extends them: {shown}")
        return [s for s in wanted if s in owner]

    # ---- the download

    async def _download(self, plan: Plan, clients: dict[str, Client]) -> None:
        limit = asyncio.Semaphore(self._request.workers)
        desk = TermsDesk(self._store, clients, plan.tasks, self._note)

        async def one(task: Task) -> None:
            async with limit:
                self._watch.started(task)
                try:
                    if task.page_ms:
                        brought = await bring(
                            self._store, task, clients[task.exchange], self._watch.advanced, self._note
                        )
                    else:
                        brought = await desk.bring(task)
                    self._finish(task, brought)
                except KeyRequiredError as error:
                    if self._request.series:
                        self._fail(task.key, error)
                    else:  # it came with the default, so the rest is what was asked for
                        self._note(f"{error.message} {error.hint}".removesuffix("."))
                        self._watch.finished(task, None)
                except BacktesterError as error:
                    self._fail(task.key, error)

        try:
            async with asyncio.TaskGroup() as group:
                for task in plan.tasks:
                    group.create_task(one(task))
        except* Exception as errors:  # noqa: BLE001 - one exception is raised as itself, whichever it is
            raise first_of(errors) from None

    # ---- what is told

    def _note(self, text: str) -> None:
        self._result.notes.append(text)
        self._watch.note(text)

    def _finish(self, task: Task, brought: Brought) -> None:
        if brought.report is not None:
            self._result.reports.append(brought.report)
        if brought.error is not None:
            self._fail(task.key, brought.error)
            return
        if brought.report is None and task.page_ms and not self._store.has(task.key):
            self._result.nothing.append(task.key)
            self._note(f"{task.exchange} has nothing of {task.key} in that range")
        self._watch.finished(task, brought.report)

    def _fail(self, key: DatasetKey, error: BacktesterError) -> None:
        self._result.failures.append((key, error))
        self._watch.failed(key, error)
