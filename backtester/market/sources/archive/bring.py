"""Import of exchange archives: read in parallel, written in order of time, never read again once stored."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import polars as pl

from backtester.errors import DataError
from backtester.market.completeness import lacking
from backtester.market.intake import Imported, Intake, Refusal
from backtester.market.journal import Journal
from backtester.market.merge import WriteReport
from backtester.market.schema import EVENT, DatasetKey, timeframe_ms
from backtester.market.series import anchor
from backtester.market.sources.archive.binance import BinanceArchive
from backtester.market.sources.archive.bybit import BybitArchive
from backtester.market.sources.archive.download import UnreachableError
from backtester.market.sources.archive.layout import ArchiveFile, Layout
from backtester.market.sources.archive.okx import OkxArchive
from backtester.market.sources.archive.origin import Origin, shown_periods
from backtester.market.sources.archive.reading import Reading, read_archive_file
from backtester.market.store import Store
from backtester.market.windows import Window, missing_runs

LAYOUT_NAMES = (BinanceArchive.name, BybitArchive.name, OkxArchive.name)
_READ_AHEAD = 8
_ROWS_PER_MERGE = 600_000

Progress = Callable[[int, int, str], None]
"""Called with the files done, those known so far, and the name of the last."""


def layout_named(name: str, unstated_series: str | None = None) -> Layout:
    """Return the layout of a format.

    Parameters
    ----------
    name : str
        One of `LAYOUT_NAMES`.
    unstated_series : str, optional
        What bars are whose names do not say it.
    """
    if name == BinanceArchive.name:
        return BinanceArchive(unstated_series)
    return BybitArchive() if name == BybitArchive.name else OkxArchive()


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What became of reading one file: rows, a refusal, or neither, where it is not published."""

    file: ArchiveFile
    intake: Intake | None = None
    refusal: Refusal | None = None
    has_checksum: bool = True

    @property
    def is_unpublished(self) -> bool:
        """Whether there is no such file."""
        return self.intake is None and self.refusal is None


@dataclass(eq=False)
class _Dataset:
    """What happened to the files of one dataset so far."""

    key: DatasetKey
    journal: Journal | None = None
    report: WriteReport | None = None
    waiting_rows: int = 0  # appended to the journal and not merged yet
    begun: bool = False  # the source has something: an unpublished month is no longer before its history
    missing: dict[ArchiveFile, list[Window]] = field(default_factory=dict)  # what each file may bring
    unpublished: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


class ArchiveImport:
    """Brings the files of one origin into a store.

    Parameters
    ----------
    store : Store
        Where to.
    origin : Origin
        Where the files lie.
    layout : Layout
        Of the exchange that published them.
    reading : Reading
        What is taken of them.
    replace : bool
        Forget what was stored before of the datasets that come in.
    progress : callable, optional
        Told about every file.

    Attributes
    ----------
    notes : list of str
        What concerns more than one file, for the user; complete when `run` is.
    """

    def __init__(
        self,
        store: Store,
        origin: Origin,
        layout: Layout,
        reading: Reading,
        *,
        replace: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.notes: list[str] = []
        self._store = store
        self._origin = origin
        self._layout = layout
        self._reading = reading
        self._replace = replace
        self._progress = progress
        self._done = self._total = self._stored = self._unchecked = 0
        self._is_stopped = False

    def run(self) -> Generator[Imported | Refusal, None, None]:
        """Yield each refused file, and each dataset when its files are in.

        A file of which the store holds all, or whose holes its source is known to have, is not read. Where a month is
        not published, is refused, or lacks bars, its days are tried.

        Raises
        ------
        UsageError
            There is nothing to import.
        UnreachableError
            The server gives no answer; what came in before stays.
        DataError
            Nothing of all that is wanted is published.
        StoreError
            The store cannot be written; what came in before stays.
        """
        datasets = self._origin.datasets()
        self._total = sum(len(files) for files in datasets.values())
        is_empty = True
        pool = ThreadPoolExecutor(_READ_AHEAD, thread_name_prefix="backtester-archive")
        try:
            for key, files in datasets.items():
                for item in self._bring_in(_Dataset(key), files, pool):
                    is_empty = False
                    yield item
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # whoever interrupts does not wait for downloads
        if is_empty and self._done and not self._stored:
            raise DataError(
                f"{self._layout.name} at {self._origin.place}",
                f"none of the {_counted(self._done)} asked for is published ({'; '.join(map(str, [*datasets][:3]))})",
                hint="Check the symbols and the dates, and that the address is that of the archive itself.",
            )
        self.notes += self._origin.notes
        if self._stored:
            self.notes.append(f"{_counted(self._stored)} hold nothing that is not stored, and were not read")
        if self._unchecked:
            self.notes.append(f"{_counted(self._unchecked)} had no checksum beside them: their content is unproven")

    def stop(self) -> None:
        """Make `run` end with a `CancelledError` after the file in hand, from another thread; what is in stays."""
        self._is_stopped = True
        self._origin.stop()

    # ---- one dataset

    def _bring_in(
        self, dataset: _Dataset, files: Sequence[ArchiveFile], pool: ThreadPoolExecutor
    ) -> Iterator[Imported | Refusal]:
        dataset.missing = self._new_windows(dataset.key, files)
        wanted = list(dataset.missing)
        dataset.begun = bool(wanted) and wanted[0] != files[0]
        self._total -= len(files) - len(wanted)
        early: list[ArchiveFile] = []
        with ExitStack() as stack:
            for outcome in self._read_ahead(wanted, pool):
                if outcome.is_unpublished and not dataset.begun:
                    early.append(outcome.file)
                    continue
                yield from self._take_early(dataset, early, pool, stack)
                early = []
                yield from self._take(dataset, outcome, pool, stack)
            yield from self._take_early(dataset, early, pool, stack)
        if dataset.journal is not None:
            dataset.report = dataset.journal.report  # complete now that the journal is closed
        yield from self._summary(dataset)

    def _new_windows(self, key: DatasetKey, files: Sequence[ArchiveFile]) -> dict[ArchiveFile, list[Window]]:
        """Return the files that may bring something, and its spans: neither stored nor known to be missing there."""
        spans = {file: (start, end) for file in files for start, end in [self._reading.window(file)] if start < end}
        if self._replace or not spans:
            return {file: [span] for file, span in spans.items()}
        first, last = min(start for start, _ in spans.values()), max(end for _, end in spans.values())
        windows = lacking(self._store, key, first, last, self._layout.source)
        found = {}
        for file, (start, end) in spans.items():
            pieces = [(max(a, start), min(b, end)) for a, b in windows if a < end and start < b]
            if pieces:
                found[file] = pieces
        self._stored += len(spans) - len(found)
        return found

    def _take(
        self, dataset: _Dataset, outcome: _Outcome, pool: ThreadPoolExecutor, stack: ExitStack
    ) -> Iterator[Refusal]:
        """Take a file, and where a month is refused, unpublished or lacks bars, the days that stand in for it."""
        dataset.begun = True
        file = outcome.file
        yield from self._take_one(dataset, outcome, stack)
        windows = dataset.missing[file] if outcome.intake is None else _holes(outcome.intake)
        days = list(self._read_ahead(self._days(file, windows), pool))
        for day in days:
            yield from self._take_one(dataset, day, stack)
        if outcome.is_unpublished:
            if all(day.is_unpublished for day in days):
                dataset.unpublished.append(file.period.label)
            else:
                dataset.unpublished += [day.file.period.label for day in days if day.is_unpublished]

    def _take_early(
        self, dataset: _Dataset, early: Sequence[ArchiveFile], pool: ThreadPoolExecutor, stack: ExitStack
    ) -> Iterator[Refusal]:
        """Take the days of unpublished months before the first published one.

        From the newest back: a month of which no day is published lies before the history, and those before it too.
        """
        dataset.unpublished += [f.period.label for f in early if not f.period.is_month]
        found: list[_Outcome] = []
        left = [f for f in early if f.period.is_month]
        while left:
            outcomes = list(self._read_ahead(self._days(left[-1], dataset.missing[left[-1]]), pool))
            if all(o.is_unpublished for o in outcomes):
                break
            found = outcomes + found
            left.pop()
        dataset.unpublished += [f.period.label for f in left]
        for day in found:
            yield from self._take_one(dataset, day, stack)
        dataset.unpublished += [day.file.period.label for day in found if day.is_unpublished]

    def _days(self, file: ArchiveFile, windows: Sequence[Window]) -> list[ArchiveFile]:
        """Return the files of the days of a month that may bring something into windows."""
        if not file.period.is_month or not windows:
            return []
        days = [
            day
            for day in self._origin.daily(file)
            if any(day.period.start < end and start < day.period.end for start, end in windows)
        ]
        self._total += len(days)
        return days

    def _take_one(self, dataset: _Dataset, outcome: _Outcome, stack: ExitStack) -> Iterator[Refusal]:
        if outcome.refusal is not None:
            yield outcome.refusal
        if outcome.intake is not None:
            self._append(dataset, outcome.intake, stack)
            self._unchecked += bool(self._layout.checksum_suffix) and not outcome.has_checksum

    def _append(self, dataset: _Dataset, intake: Intake, stack: ExitStack) -> None:
        if dataset.journal is None:  # not before there is something to write: a failed download leaves no folder
            if self._replace:
                self._store.delete(dataset.key)
            dataset.journal = stack.enter_context(self._store.journal(dataset.key, self._layout.source))
        dataset.journal.append(intake.frame, intake.window)
        dataset.waiting_rows += intake.frame.height
        if dataset.waiting_rows >= _ROWS_PER_MERGE:  # a month of minutes is a large page: 64 of them fill the memory
            dataset.journal.flush()
            dataset.waiting_rows = 0
        dataset.notes.update(intake.notes)

    def _summary(self, dataset: _Dataset) -> Iterator[Imported]:
        if dataset.unpublished:
            self.notes.append(f"{dataset.key}: not published: {shown_periods(dataset.unpublished)}")
        if dataset.report is not None:
            notes = tuple(n if c == 1 else f"{n} (in {c} files)" for n, c in dataset.notes.items())
            nothing = pl.DataFrame(schema=dict(dataset.key.schema.columns))  # the rows are in the store already
            yield Imported(Intake(dataset.key, nothing, self._layout.source, notes), dataset.report)

    # ---- reading

    def _read_ahead(self, files: Iterable[ArchiveFile], pool: ThreadPoolExecutor) -> Iterator[_Outcome]:
        """Yield what files hold, in their order, while the next few are read."""
        pending: deque[Future[_Outcome]] = deque()
        for file in files:
            pending.append(pool.submit(self._read, file))
            if len(pending) >= _READ_AHEAD:
                yield self._told(pending.popleft())
        while pending:
            yield self._told(pending.popleft())

    def _read(self, file: ArchiveFile) -> _Outcome:
        try:
            fetched = self._origin.read(file)
            if fetched is None:
                return _Outcome(file)
            intake = read_archive_file(fetched, file, self._layout, self._reading)
        except UnreachableError:
            raise
        except DataError as e:
            return _Outcome(file, refusal=Refusal(file.name, e))
        return _Outcome(file, intake, has_checksum=fetched.checksum is not None)

    def _told(self, reading: Future[_Outcome]) -> _Outcome:
        outcome = reading.result()
        if self._is_stopped:
            raise CancelledError
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total, str(outcome.file))
        return outcome


def _holes(intake: Intake) -> list[Window]:
    """Return the spans of a file in which bars are missing; none for settlements, whose number nobody knows before."""
    if intake.key.timeframe == EVENT or intake.window is None:
        return []
    step = timeframe_ms(intake.key.timeframe)
    times = intake.frame["open_time"].dt.epoch("ms").to_numpy()
    return missing_runs(times, step, *intake.window, anchor(step))


def _counted(number: int) -> str:
    return f"{number:,} file{'s' * (number != 1)}"
