"""Pages on their way into a dataset: each is durable once appended, and joins the year files in batches.

A long download brings its rows page by page. Rewriting a year's file for each would cost more than the download, so a
page is first a small file of its own beside the year files, invisible to readers. A killed process loses the page in
flight; whoever writes the dataset next first brings in what was left.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from backtester.market.atomic import explained, publish, write_durably
from backtester.market.manifest import Asked
from backtester.market.windows import Window

if TYPE_CHECKING:
    from backtester.market.merge import WriteReport

_PREFIX = "."
PAGE_SUFFIX = ".page"
_SOURCE = "backtester.source"
_ORIGIN = "backtester.origin"
_WINDOWS = "backtester.windows"
PAGES_PER_MERGE = 64


@dataclass(frozen=True, eq=False)
class Batch:
    """Pages that are merged in one step.

    Attributes
    ----------
    paths : tuple of Path
        Their files.
    rows : polars.DataFrame
        All rows in order of time; of two of the same time the later page's.
    asked : tuple of Asked
        The spans that the pages cover at their source.
    source : str
        Where the rows come from, in words.
    """

    paths: tuple[Path, ...]
    rows: pl.DataFrame
    asked: tuple[Asked, ...]
    source: str


def page_paths(folder: Path) -> list[Path]:
    """Return the files of the pages that wait in a dataset's folder, oldest first."""
    return sorted(folder.glob(f"{_PREFIX}*{PAGE_SUFFIX}"))


def write_page(path: Path, rows: pl.DataFrame, windows: Iterable[Window], origin: str, source: str) -> None:
    """Write one page durably.

    Parameters
    ----------
    path : Path
        Its file.
    rows : polars.DataFrame
        Rows in stored form; may be empty, where the source has nothing.
    windows : iterable of tuple of int
        Spans of which the page holds all that the source has [ms].
    origin : str
        Name of the source, as `Asked` keeps it.
    source : str
        Where the rows come from, in words.
    """
    spans = ",".join(f"{start}:{end}" for start, end in windows)
    buffer = io.BytesIO()
    rows.write_parquet(buffer, compression="zstd", metadata={_SOURCE: source, _ORIGIN: origin, _WINDOWS: spans})
    temporary = path.with_name(path.name + ".next")
    write_durably(temporary, buffer.getvalue())
    publish(temporary, path)


def read_pages(paths: Iterable[Path], time: str) -> Batch:
    """Return pages as one batch.

    A page that cannot be read is passed over: as nothing says that its span was asked for, the next download asks
    for its rows again.
    """
    chosen = tuple(paths)
    frames, asked, source = [pl.DataFrame()], [], ""
    for path in chosen:
        try:
            rows, spans, source = _read_page(path)
        except (pl.exceptions.PolarsError, OSError, KeyError, ValueError):
            continue
        frames.append(rows)
        asked += spans
    rows = pl.concat(frames, how="diagonal")
    if rows.width:
        rows = rows.unique(time, keep="last", maintain_order=True).sort(time)
    return Batch(chosen, rows, tuple(asked), source)


def _read_page(path: Path) -> tuple[pl.DataFrame, list[Asked], str]:
    """Return the rows of a page, the spans that it covers, and where it comes from."""
    content = path.read_bytes()
    about = pl.read_parquet_metadata(io.BytesIO(content))
    pairs = (span.partition(":") for span in about[_WINDOWS].split(",") if span)
    spans = [Asked(int(start), int(end), about[_ORIGIN]) for start, _, end in pairs]
    return pl.read_parquet(io.BytesIO(content)), spans, about[_SOURCE]


class Journal:
    """Takes the pages of one dataset while its lock is held; made by `Store.journal`.

    Parameters
    ----------
    folder : Path
        Folder of the dataset.
    source : str
        Name of the source: the ccxt id of an exchange, or an archive.
    conform : callable
        Brings rows into stored form.
    merge : callable
        Brings all waiting pages into the year files.
    """

    def __init__(
        self,
        folder: Path,
        source: str,
        conform: Callable[[pl.DataFrame], pl.DataFrame],
        merge: Callable[[], WriteReport | None],
    ) -> None:
        self._folder = folder
        self._source = source
        self._conform = conform
        self._merge = merge
        self._written = 0
        self._waiting = 0
        self.report: WriteReport | None = None

    def append(self, rows: pl.DataFrame, window: Window | None = None, *, source: str = "") -> None:
        """Make a page durable; every now and then the pages join the year files.

        Parameters
        ----------
        rows : polars.DataFrame
            Rows with the columns of the series, possibly none.
        window : tuple of int, optional
            Span of which they are all that the source has, end excluded [ms]; it is not asked for again.
        source : str
            Where they come from, in words, for the manifest; empty: the name of the source.
        """
        windows = [] if window is None else [window]
        path = self._folder / f"{_PREFIX}{self._written:08d}{PAGE_SUFFIX}"
        with explained(self._folder, "write"):
            write_page(path, self._conform(rows), windows, self._source, source or self._source)
        self._written += 1
        self._waiting += 1
        if self._waiting >= PAGES_PER_MERGE:
            self.flush()

    def flush(self) -> None:
        """Bring the waiting pages into the year files."""
        if not self._waiting:
            return
        done = self._merge()
        self._waiting = 0
        if done is not None:
            self.report = done if self.report is None else self.report.plus(done)
