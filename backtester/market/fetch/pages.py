"""Windows into pages, and pages until nothing more comes: an exchange's limits are found out, not believed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from backtester.market.intervals import HOUR_MS
from backtester.market.windows import Window, coalesced, missing_runs

_JITTER_MS = 60_000  # settlements are stamped some moments late
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


async def whole_page(ask: Callable[[Window], Awaitable[pl.DataFrame]], window: Window, step: int) -> pl.DataFrame:
    """Return the bars of a window of at most one page, asking again for what is missing until nothing more comes.

    An answer may hold fewer bars than its limit allows, from either end of the window, or none at all where the
    exchange stumbled; a hole is believed when a second answer shows it too.

    Parameters
    ----------
    ask : callable
        Asks for the bars that open in a window.
    window : tuple of int
        Opens, end excluded, on the grid [ms].
    step : int
        Length of a bar [ms].
    """
    rows = await ask(window)
    while missing := _missing(rows, window, step):
        more = [await ask(run) for run in missing]
        joined = _joined([rows, *more])
        if joined.height == rows.height:
            break
        rows = joined
    return _joined([rows])


def _missing(rows: pl.DataFrame, window: Window, step: int) -> list[Window]:
    times = np.unique(rows["open_time"].dt.epoch("ms").to_numpy())
    runs = missing_runs(times, step, *window, anchor=window[0])
    return runs if len(runs) <= _MOST_RUNS else [(runs[0][0], runs[-1][1])]


def _joined(frames: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(frames).unique("open_time", keep="last", maintain_order=True).sort("open_time")


async def settlement_pages(ask: Callable[[Window], Awaitable[pl.DataFrame]], window: Window) -> AsyncIterator[Page]:
    """Yield the settlements of a window, page by page, whichever end the exchange begins with.

    Their number is not known before, so each page is followed by questions for what lies on either side of it, until
    answers are empty. A side that is no longer than the intervals inside the page holds no other settlement.

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
        rows = await ask((start, end))
        if rows.is_empty():
            rows = await ask((start, end))  # an empty answer is believed when it is given twice
        if rows.is_empty():
            yield Page(rows, (start, end))
            continue
        times = rows["funding_time"].dt.epoch("ms").to_numpy()
        first, last = int(times.min()), int(times.max())
        interval = max(HOUR_MS, int(np.diff(np.sort(times)).max(initial=0)))
        sides = [(start, first), (last + 1, end)]
        later = [(a, b) for a, b in sides if b - a > interval + _JITTER_MS]
        settled = (first if sides[0] in later else start, last + 1 if sides[1] in later else end)
        yield Page(rows.sort("funding_time"), settled)
        open_windows += later
