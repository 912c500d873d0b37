"""What a fetch tells while it works, and what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field

from backtester.errors import BacktesterError
from backtester.market.merge import WriteReport
from backtester.market.schema import EVENT, DatasetKey, timeframe_ms
from backtester.market.windows import Window

# Bytes of one row in the store, and of its JSON on the way: measured on 1m and 1h bars of large contracts.
_STORED_BYTES = {"trade": 26, "mark": 21, "index": 21, "premium": 18, "funding": 20}
_SENT_BYTES = {"trade": 45, "mark": 30, "index": 30, "premium": 25, "funding": 35}
_FUNDING_MS = 4 * 3_600_000


@dataclass(frozen=True)
class Task:
    """One dataset to fetch.

    Attributes
    ----------
    key : DatasetKey
        Where it belongs.
    exchange : str
        Id of the exchange that has it.
    windows : tuple of tuple of int
        What is missing [ms].
    page_ms : int
        Span of one page [ms]; 0: the whole dataset is one answer.
    asked : tuple of tuple of int
        Spans that are known to be empty at the exchange, to be remembered [ms].
    """

    key: DatasetKey
    exchange: str
    windows: tuple[Window, ...]
    page_ms: int = 0
    asked: tuple[Window, ...] = ()

    @property
    def rows(self) -> int:
        """Rows to come: exact for bars but for holes, about right for settlements."""
        step = _FUNDING_MS if self.key.timeframe == EVENT else timeframe_ms(self.key.timeframe)
        return sum(-(-(end - start) // step) for start, end in self.windows)

    @property
    def requests(self) -> int:
        """Requests to come, about."""
        if not self.page_ms:
            return 1
        return sum(-(-(end - start) // self.page_ms) for start, end in self.windows)

    @property
    def span_ms(self) -> int:
        """Length of all windows [ms]."""
        return sum(end - start for start, end in self.windows)


@dataclass(frozen=True)
class Plan:
    """What a fetch is going to do.

    Attributes
    ----------
    tasks : tuple of Task
        Datasets with something to fetch.
    complete : int
        Datasets of which nothing is missing.
    seconds : float
        Time that the exchanges' rate limits ask for, about.
    notes : tuple of str
        What of the wish cannot be had, a sentence each.
    """

    tasks: tuple[Task, ...]
    complete: int
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows to come, about."""
        return sum(t.rows for t in self.tasks if t.page_ms)

    @property
    def requests(self) -> int:
        """Requests to come, about."""
        return sum(t.requests for t in self.tasks)

    @property
    def stored_bytes(self) -> int:
        """Bytes that the store will grow by, about."""
        return sum(t.rows * _STORED_BYTES.get(t.key.series, 0) for t in self.tasks if t.page_ms)

    @property
    def sent_bytes(self) -> int:
        """Bytes to be received, about, compressed as exchanges send them."""
        return sum(t.rows * _SENT_BYTES.get(t.key.series, 0) for t in self.tasks if t.page_ms)


class Watch:
    """Told what a fetch does; this one does not listen."""

    def note(self, text: str) -> None:
        """Take what the user should know, one sentence without its stop."""

    def planned(self, plan: Plan) -> None:
        """Take what is going to be fetched."""

    def started(self, task: Task) -> None:
        """Take the dataset that is begun."""

    def advanced(self, task: Task, span_ms: int, rows: int) -> None:
        """Take a page: how much of the task's span it settles [ms], and its number of rows."""

    def finished(self, task: Task, report: WriteReport | None) -> None:
        """Take what became of a dataset; None: the exchange had nothing."""

    def waiting(self, text: str) -> None:
        """Take why an exchange is not asked for some seconds."""

    def failed(self, key: DatasetKey, error: BacktesterError) -> None:
        """Take why a dataset could not be fetched (further); the others go on."""


@dataclass
class FetchResult:
    """What a fetch did.

    Attributes
    ----------
    plan : Plan
        What it meant to do.
    reports : list of WriteReport
        What became of each dataset that got rows.
    failures : list of tuple
        Datasets that could not be fetched (further), each with its error.
    nothing : list of DatasetKey
        Datasets of which the exchange has nothing in the range, and the store neither.
    notes : list of str
        What the user should know.
    """

    plan: Plan
    reports: list[WriteReport] = field(default_factory=list)
    failures: list[tuple[DatasetKey, BacktesterError]] = field(default_factory=list)
    nothing: list[DatasetKey] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
