"""Windows into pages, and pages until nothing more comes: an exchange's limits are found out, not believed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from backtester.market.intervals import HOUR_MS
from backtester.market.windows import Window, coalesced, missing_runs

_JITTER_MS = 60_000  # settlements are stamped some moments late
_DOUBTS = 2
_MOST_RUNS = 4  # holes of one page that are asked for one by one; more are asked for as one


@dataclass(frozen=True, eq=False)
class Page:
    """Rows that an exchange gave, and the span that they settle.

    Attributes
    ----------
    rows : polars.DataFrame
        Sorted by time, possibly none.
    window : tuple of int
        The exchange has nothing more there, end excluded [ms].
    """

    rows: pl.DataFrame
    window: Window


def split(windows: tuple[Window, ...], page_ms: int) -> list[Window]:
    """Return windows cut into pieces of at most one page; small neighbours share a page.

    Examples
    --------
    >>> split(((0, 25), (28, 30), (90, 100)), 10)
    [(0, 10), (10, 20), (20, 30), (90, 100)]
    """
    joined = coalesced(windows, page_ms // 2)
    return [(a, min(a + page_ms, end)) for start, end in joined for a in range(start, end, page_ms)]


async def _believed(ask: Callable[[Window], Awaitable[pl.DataFrame]], window: Window) -> pl.DataFrame:
    """Return the answer for a window; an empty one only when it is given three times.

    Parameters
    ----------
    ask : callable
        Asks for the rows in a window.
    window : tuple of int
        End excluded [ms].
    """
    rows = await ask(window)
    for _ in range(_DOUBTS):
        if not rows.is_empty():
            break
        rows = await ask(window)
    return rows


async def whole_page(ask: Callable[[Window], Awaitable[pl.DataFrame]], window: Window, step: int) -> pl.DataFrame:
    """Return the bars of a window of at most one page, asking again for what is missing until nothing more comes.

    An answer may hold fewer bars than its limit allows, from either end of the window, or none at all where the
    exchange stumbled; a hole is believed when a second answer shows it too, an empty page when a third one does. What
    lacks at an end of the window counts as a page: an answer cut short is no evidence that there is nothing.

    Parameters
    ----------
    ask : callable
        Asks for the bars that open in a window.
    window : tuple of int
        Opens, end excluded, on the grid [ms].
    step : int
        Length of a bar [ms].
    """
    rows = _joined([await _believed(ask, window)])
    while not rows.is_empty() and (missing := _missing(rows, window, step)):
        at_end = [run[0] == window[0] or run[1] >= window[1] for run in missing]
        found = [await (_believed(ask, run) if end else ask(run)) for run, end in zip(missing, at_end, strict=True)]
        joined = _joined([rows, *found])
        if joined.height == rows.height:
            break
        rows = joined
    return rows


def _missing(rows: pl.DataFrame, window: Window, step: int) -> list[Window]:
    times = np.unique(rows["open_time"].dt.epoch("ms").to_numpy())
    runs = missing_runs(times, step, *window, anchor=window[0])
    return runs if len(runs) <= _MOST_RUNS else [(runs[0][0], runs[-1][1])]


def _joined(frames: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(frames).unique("open_time", keep="last", maintain_order=True).sort("open_time")


async def settlement_pages(ask: Callable[[Window], Awaitable[pl.DataFrame]], window: Window) -> AsyncIterator[Page]:
    """Yield the settlements of a window, page by page, whichever end the exchange begins with.

    Their number is not known before, so each page is followed by questions for what lies on either side of it, until
    answers are empty. A side that is no longer than the interval at that end of the page holds no other settlement.

    Parameters
    ----------
    ask : callable
        Asks for one page of the settlements in a window; those that it returns are without a gap.
    window : tuple of int
        End excluded [ms].
    """
    open_windows = [window]
    while open_windows:
        start, end = open_windows.pop()
        rows = await _believed(ask, (start, end))
        if rows.is_empty():
            yield Page(rows, (start, end))
            continue
        times = np.unique(rows["funding_time"].dt.epoch("ms").to_numpy())
        first, last = int(times[0]), int(times[-1])
        distances = np.diff(times)
        before, after = (distances[0], distances[-1]) if len(distances) else (HOUR_MS, HOUR_MS)
        is_open = first - start > before + _JITTER_MS, end - last > after + _JITTER_MS
        yield Page(rows.sort("funding_time"), (first if is_open[0] else start, last + 1 if is_open[1] else end))
        open_windows += [side for side, left in zip(((start, first), (last + 1, end)), is_open, strict=True) if left]
