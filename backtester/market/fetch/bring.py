"""Brings one dataset's missing windows from an exchange into the store, page by page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import polars as pl

from backtester.errors import BacktesterError
from backtester.market.acceptance import accept_bars, accept_funding
from backtester.market.fetch.pages import Page, settlement_pages, split, whole_page
from backtester.market.fetch.watch import Task
from backtester.market.journal import Journal
from backtester.market.merge import WriteReport
from backtester.market.schema import timeframe_ms
from backtester.market.sources.ccxt_client import Client
from backtester.market.store import Store
from backtester.market.windows import Window

_BELIEVED_AFTER_MS = 86_400_000  # what is missing of the last day may still come
_T = TypeVar("_T")


@dataclass(frozen=True)
class Brought:
    """What became of a dataset.

    Attributes
    ----------
    report : WriteReport or None
        What came in; None where the exchange had nothing.
    error : BacktesterError or None
        Why it ended before its time; what came in before is stored.
    """

    report: WriteReport | None
    error: BacktesterError | None = None


async def bring(
    store: Store,
    task: Task,
    client: Client,
    advanced: Callable[[Task, int, int], None],
    note: Callable[[str], None],
) -> Brought:
    """Download the windows of a task.

    Each page is durable once it came in. Spans of which the exchange has nothing are remembered, but for the last day.

    Parameters
    ----------
    store : Store
        Where to.
    task : Task
        A series with times.
    client : Client
        The exchange, opened.
    advanced : callable
        Told of each page: the task, the span that it settles [ms], its rows.
    note : callable
        Told what was left out of a page because it cannot be true.
    """
    horizon = client.now() - _BELIEVED_AFTER_MS
    journal: Journal | None = None
    error: BacktesterError | None = None
    try:
        async with _journal(store, task) as journal:
            for empty in task.asked:
                await _finished(journal.append, _no_rows(task), _until(empty, horizon))
            async for page in _pages(task, client):
                rows, asked = _accepted(task, page, note), _until(page.window, horizon)
                await _finished(partial(journal.append, rows, asked, source=client.source))
                advanced(task, page.window[1] - page.window[0], rows.height)
    except BacktesterError as e:
        error = e
    return Brought(journal.report if journal is not None else None, error)


def _accepted(task: Task, page: Page, note: Callable[[str], None]) -> pl.DataFrame:
    """Return the rows of a page that can be true; what is left out is said."""
    if task.key.series == "funding":
        accepted = accept_funding(page.rows, str(task.key), drop_bad=True)
    else:
        step = timeframe_ms(task.key.timeframe)
        accepted = accept_bars(page.rows, task.key.series, step, str(task.key), drop_bad=True)
    for text in accepted.notes:
        note(f"{task.key}: {text}")
    return accepted.frame


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
