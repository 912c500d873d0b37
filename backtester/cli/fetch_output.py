"""What ``backtester data fetch`` shows: the estimate, a bar for each dataset, what came in."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from backtester.cli.datasets import (
    by_venue,
    days,
    duration_text,
    key_json,
    name_cells,
    print_write_table,
    report_json,
    size_text,
)
from backtester.cli.output import print_json, print_table, say
from backtester.market.fetch import FetchResult, Watch
from backtester.market.quality.finding import counted

if TYPE_CHECKING:
    from backtester.errors import BacktesterError
    from backtester.market.fetch.watch import Plan, Task
    from backtester.market.merge import WriteReport
    from backtester.market.schema import DatasetKey
    from backtester.market.store import Store

_SILENCE_SECONDS = 5.0


class FetchScreen(Watch):
    """Shows a fetch on stderr: bars on a terminal, lines elsewhere, nothing but notes of trouble when quiet.

    Parameters
    ----------
    store : Store
        Where the data goes.
    quiet : bool
        Show failures alone.
    """

    def __init__(self, store: Store, *, quiet: bool) -> None:
        self._store = store
        self._quiet = quiet
        console = Console(stderr=True)
        self._bars = console.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not self._bars,
        )
        self._ids: dict[DatasetKey, TaskID] = {}
        self._rows: Counter[DatasetKey] = Counter()
        self._overall: TaskID | None = None
        self._silent_until = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt) and self._rows:
            say(
                f"{sum(self._rows.values()):,} rows came in and are stored. "
                "The same command goes on where this one was interrupted."
            )

    def note(self, text: str) -> None:
        """Print what the user should know."""
        if not self._quiet:
            self._say(f"Note: {text}.")

    def planned(self, plan: Plan) -> None:
        """Print the estimate."""
        if self._quiet:
            return
        if not plan.tasks:
            return
        self._say(
            f"To fetch: {counted(len(plan.tasks), 'dataset')}, about {plan.rows:,} rows in "
            f"{counted(plan.requests, 'request')}: {size_text(plan.sent_bytes)} received, "
            f"{size_text(plan.stored_bytes)} in {self._store.root}, {duration_text(plan.seconds)}."
            + (f" {counted(plan.complete, 'dataset')} complete already." if plan.complete else "")
        )
        if self._bars and len(plan.tasks) > 1:
            self._overall = self._progress.add_task("all", total=max(plan.rows, 1), rate="")

    def started(self, task: Task) -> None:
        """Open a dataset's bar."""
        if self._bars:
            name = f"{task.key.symbol} {task.key.series} {task.key.timeframe}".removesuffix(" event")
            self._ids[task.key] = self._progress.add_task(name, total=max(task.rows, 1), rate="")

    def advanced(self, task: Task, span_ms: int, rows: int) -> None:
        """Move a dataset's bar: by the share of its span that is settled, whatever number of rows that had."""
        self._rows[task.key] += rows
        share = task.rows * span_ms / max(task.span_ms, 1)
        for place, count in ((self._ids.get(task.key), self._rows[task.key]), (self._overall, self._rows.total())):
            if place is not None:
                elapsed = self._progress.tasks[self._progress.task_ids.index(place)].elapsed or 0.0
                rate = f"{count / elapsed:,.0f} rows/s" if elapsed > 0 else ""
                self._progress.update(place, advance=share, rate=rate)

    def finished(self, task: Task, report: WriteReport | None) -> None:
        """Close a dataset's bar; elsewhere than on a terminal, print a line."""
        if task.key in self._ids:
            self._progress.remove_task(self._ids.pop(task.key))
        elif not self._quiet and not self._bars:
            is_new = report is not None and report.added + report.changed > 0
            came = f"{_came(report)}, {report.total:,} in all" if report is not None and is_new else "nothing new"
            say(f"{task.key}: {came}")

    def waiting(self, text: str) -> None:
        """Print why nothing moves, once for all requests that wait for the same."""
        now = time.monotonic()
        if not self._quiet and now >= self._silent_until:
            self._silent_until = now + _SILENCE_SECONDS
            self._say(f"{text}.")

    def failed(self, key: DatasetKey, error: BacktesterError) -> None:
        """Print why a dataset stopped."""
        if key in self._ids:
            self._progress.remove_task(self._ids.pop(key))
        self._say(f"Not fetched: {key}: {str(error).removeprefix(f'{key}: ')}")

    def _say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=not self._bars)


def print_fetch(store: Store, result: FetchResult, *, dry_run: bool, as_json: bool, quiet: bool) -> None:
    """Print what a fetch did, or would do."""
    plan = result.plan
    if as_json:
        print_json(
            {
                "store": str(store.root),
                "planned": {
                    "datasets": len(plan.tasks),
                    "complete": plan.complete,
                    "rows": plan.rows,
                    "requests": plan.requests,
                    "bytes_received": plan.sent_bytes,
                    "bytes_stored": plan.stored_bytes,
                    "seconds": round(plan.seconds, 1),
                },
                "fetched": [report_json(report) for report in result.reports],
                "failed": [
                    {**key_json(key), "error": error.message, "hint": error.hint} for key, error in result.failures
                ],
                "nothing": [str(key) for key in result.nothing],
                "notes": result.notes,
            }
        )
        return
    if quiet:
        return
    if dry_run:
        _print_plan(plan)
        return
    reports = [report for report in result.reports if report.added or report.changed]
    print_write_table(sorted(reports, key=lambda report: report.key))
    if not reports and result.nothing and not result.failures:
        typer.echo(
            f"Nothing came in: there is nothing of {counted(len(result.nothing), 'dataset')} to be had, see above."
        )
        return
    if not reports and not result.failures:
        whole = counted(plan.complete + len(plan.tasks), "dataset")
        typer.echo(f"Nothing is missing: {whole} in {store.root} complete.")
        return
    came = ", ".join(filter(None, (_rows_text(reports, "added", "new"), _rows_text(reports, "changed", "changed"))))
    typer.echo(
        f"{came or 'No new row'} in {store.root}"
        + (f"; {counted(len(result.failures), 'dataset')} failed, see above." if result.failures else ".")
        + " `backtester data check` says whether they can be trusted."
    )


def _came(report: WriteReport) -> str:
    return ", ".join(filter(None, (_rows_text([report], "added", "new"), _rows_text([report], "changed", "changed"))))


def _rows_text(reports: Sequence[WriteReport], field: str, what: str) -> str:
    """Return ``3 new rows``, or nothing where there are none."""
    number = sum(getattr(report, field) for report in reports)
    return counted(number, f"{what} row") if number else ""


def _print_plan(plan: Plan) -> None:
    for venue, tasks in by_venue(plan.tasks, lambda task: task.key):
        rows = [
            (
                *name_cells(task.key),
                f"{task.rows:,}" if task.page_ms else "",
                *(days((task.windows[0][0], task.windows[-1][1])) if task.windows else ("", "")),
            )
            for task in tasks
        ]
        print_table(("symbol", "series", "missing rows", "from", "until"), rows, venue, right=(2,))
    if not plan.tasks:
        typer.echo(f"Nothing is missing: {counted(plan.complete, 'dataset')} complete.")
