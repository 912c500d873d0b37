"""What has to be fetched: the windows that the store lacks, cut to what the exchange can have."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from backtester.errors import BacktesterError, DataError, StoreError, format_time
from backtester.market.completeness import lacking
from backtester.market.fetch.pages import whole_page
from backtester.market.fetch.request import FIRST_DAY_MS, FetchRequest
from backtester.market.fetch.watch import Plan, Task
from backtester.market.schema import BAR_SERIES, EVENT, DatasetKey, timeframe_ms
from backtester.market.series import anchor
from backtester.market.sources.ccxt_client import Client
from backtester.market.store import Store
from backtester.market.windows import Window

_PROBED_PAGES = 3  # shorter windows are asked for as they are
_LATENCY_SECONDS = 0.2
_WEEK_MS = 7 * 86_400_000


@dataclass(frozen=True)
class Target:
    """One symbol at one exchange, with the pairs of series and timeframe that are wanted of it.

    Attributes
    ----------
    client : Client
        The exchange.
    venue, symbol : str
        Where its data belongs.
    wanted : tuple of tuple of str
        Series and timeframe.
    """

    client: Client
    venue: str
    symbol: str
    wanted: tuple[tuple[str, str], ...]


async def make_plan(
    store: Store, targets: Sequence[Target], request: FetchRequest
) -> tuple[Plan, list[tuple[DatasetKey, BacktesterError]]]:
    """Find what is missing of every target.

    Returns
    -------
    Plan
        What to fetch.
    list of tuple
        Datasets that cannot be planned (damaged, being written), each with its error.
    """
    limit = asyncio.Semaphore(request.workers)

    async def plan_one(target: Target) -> tuple[list[Task], int, list[tuple[DatasetKey, BacktesterError]]]:
        async with limit:
            return await _plan_symbol(store, target, request)

    async with asyncio.TaskGroup() as group:
        planned = [group.create_task(plan_one(target)) for target in targets]
    tasks: list[Task] = []
    failures: list[tuple[DatasetKey, BacktesterError]] = []
    complete = 0
    for done in planned:
        found, whole, failed = done.result()
        tasks += found
        complete += whole
        failures += failed
    pause = {target.client.id: target.client.seconds_per_request for target in targets}
    seconds = sum(
        max(pause[i] * n, _LATENCY_SECONDS * n / request.workers)
        for i in pause
        if (n := sum(t.requests for t in tasks if t.exchange == i))
    )
    return Plan(tuple(tasks), complete, seconds, tuple(_reach_notes(store, targets, request))), failures


def _reach_notes(store: Store, targets: Sequence[Target], request: FetchRequest) -> Iterator[str]:
    """Yield what is wanted and no longer kept, a sentence for each exchange, series and timeframe."""
    told = set()
    for target in targets:
        for series, timeframe in target.wanted:
            place = target.client.id, series, timeframe
            if series in ("tiers", "instrument") or place in told:
                continue
            since = target.client.kept_since(series, _step(timeframe))
            try:
                wanted = _wanted_since(store, DatasetKey(target.venue, target.symbol, series, timeframe), request)
            except StoreError:
                continue  # a damaged dataset is named where it is planned
            if since <= wanted:
                continue
            told.add(place)
            name = series if timeframe == EVENT else f"{series} {timeframe}"
            yield (
                f"{target.client.id} keeps {target.client.kept_text(series)}: {name} begins at {format_time(since)}; "
                "what is older has to come from files (`backtester data import`)"
            )


def _wanted_since(store: Store, key: DatasetKey, request: FetchRequest) -> int:
    """Return the first moment that is wanted of a dataset and does not lie in what is stored [ms]."""
    span, start = store.span(key), _start(store, key, request)
    return start if span is None or start < span[0] else max(start, span[1] + _step(key.timeframe))


def _start(store: Store, key: DatasetKey, request: FetchRequest) -> int:
    """Return the first moment that a request means of a dataset [ms]; an update goes no further back than what was."""
    if request.start is not None:
        return request.start
    return (store.first_import(key) if request.update else None) or FIRST_DAY_MS


def _step(timeframe: str) -> int:
    return 1 if timeframe == EVENT else timeframe_ms(timeframe)


async def _plan_symbol(
    store: Store, target: Target, request: FetchRequest
) -> tuple[list[Task], int, list[tuple[DatasetKey, BacktesterError]]]:
    client = target.client
    terms: list[Task] = []
    found: list[Task] = []
    failures: list[tuple[DatasetKey, BacktesterError]] = []
    complete = 0
    for series, timeframe in target.wanted:
        key = DatasetKey(target.venue, target.symbol, series, timeframe)
        if series in ("tiers", "instrument"):
            terms.append(Task(key, client.id, ()))
            continue
        try:
            windows = await asyncio.to_thread(_missing, store, client, key, request)
        except BacktesterError as error:
            failures.append((key, error))
            continue
        if windows:
            found.append(Task(key, client.id, tuple(windows), page_ms(client, key)))
        else:
            complete += 1
    tasks = await _since_listing(store, client, target.symbol, found)
    return [*terms, *tasks], complete, failures


def _missing(store: Store, client: Client, key: DatasetKey, request: FetchRequest) -> list[Window]:
    """Return the windows of a dataset that are missing and worth asking for."""
    if store.has(key):
        store.check_sizes(key)  # a damaged dataset is named now, even where nothing of it is missing
    start, end = _range(store, client, key, request)
    if request.start is not None and request.start >= end:
        raise DataError(
            str(key), f"the start lies after what {client.id} can have yet, which ends", end, "Start earlier."
        )
    return lacking(store, key, start, end, None if request.again else client.id)


async def _since_listing(store: Store, client: Client, symbol: str, tasks: list[Task]) -> list[Task]:
    """Return the tasks of a contract without the time before its listing, which is looked up once where it matters."""
    unexplored = {task.key: before for task in tasks if (before := _unexplored(store, task)) is not None}
    if not unexplored:
        return tasks
    # settlements may be kept for some months alone: the earliest moment of all decides where the search begins
    first_open = await _first_open(client, symbol, min(start for start, _ in unexplored.values()))
    if first_open is None:
        return tasks  # there are no long bars to look at, so every page is asked for
    return [_clipped(task, unexplored[task.key], first_open) if task.key in unexplored else task for task in tasks]


def _range(store: Store, client: Client, key: DatasetKey, request: FetchRequest) -> Window:
    """Return the range of times to have of a dataset: only finished bars, only what the exchange keeps."""
    step = _step(key.timeframe)
    end = client.now() if key.timeframe == EVENT else client.finished(step, anchor(step))
    if request.end is not None:
        end = min(end, request.end)
    return max(_start(store, key, request), client.kept_since(key.series, step)), end


def page_ms(client: Client, key: DatasetKey) -> int:
    """Return the span of one page of a dataset [ms]; of settlements, whose number is not known before, about."""
    if key.timeframe == EVENT:
        return client.profile.settlements_per_page * 4 * 3_600_000
    step = timeframe_ms(key.timeframe)
    return client.page_bars(key.series, step) * step


def _unexplored(store: Store, task: Task) -> Window | None:
    """Return the window before the first stored row, where it is so long that the listing should be found first."""
    start, end = task.windows[0]
    span = store.span(task.key)
    if (span is None or end <= span[0]) and end - start > _PROBED_PAGES * task.page_ms:
        return start, end
    return None


async def _first_open(client: Client, symbol: str, since: int) -> int | None:
    """Return the open of the first long bar of a contract, which may lie after what is wanted; None: there is none."""
    series = next(s for s in BAR_SERIES if client.has(s))
    for timeframe in (t for t in ("1w", "1d") if t in client.timeframes):
        step = timeframe_ms(timeframe)
        phase = anchor(step)
        page = client.page_bars(series, step) * step
        start, now = phase + (since - phase) // step * step, client.now()
        while start < now:
            end = min(start + page, phase - (phase - now) // step * step)
            ask = partial(client.bars, symbol, series, timeframe, unfinished=True)
            rows = await whole_page(ask, (start, end), step)  # the end of a page that was cut short is no listing
            if rows.height:
                return int(rows["open_time"].dt.epoch("ms").to_numpy().min())
            start = end
    return None


def _clipped(task: Task, before: Window, first_open: int) -> Task:
    """Return a task without the span in which the contract was not listed yet; a week's leeway for other series."""
    start, end = before
    rest = task.windows[1:]
    listed = max(start, first_open - _WEEK_MS)
    listed -= (listed - start) % _step(task.key.timeframe)
    windows = ((listed, end), *rest) if listed < end else rest
    return replace(task, windows=windows, asked=((start, min(listed, end)),) if listed > start else ())
