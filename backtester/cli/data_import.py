"""What ``backtester data import`` does with each format."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backtester.errors import UsageError

if TYPE_CHECKING:
    from backtester.market.intake import Imported, Intake, Refusal
    from backtester.market.sources.archive.bring import ArchiveImport
    from backtester.market.sources.archive.layout import Layout
    from backtester.market.sources.archive.origin import Origin, Selection
    from backtester.market.store import Store

    Done = list[Imported | Refusal]

FREQTRADE = "freqtrade"
TABLES = ("csv", "parquet")
TERMS = ("ccxt-tiers", "ccxt-markets", "binance-info")
"""Formats of margin tiers and contracts, which hold from a date on."""
ARCHIVES = ("binance-archive", "bybit-archive", "okx-archive")


@dataclass(frozen=True)
class ImportRequest:
    """What the command line asks for.

    Attributes
    ----------
    path : str
        A file, a folder or an address.
    file_format : str
        What is there.
    venue : str
        Name of the rule pack.
    symbols, series, timeframes : tuple of str
        Filters, or what a table is.
    columns : dict of str to str
        Our column names to the file's.
    valid_from : str or None
        From when tiers or contracts hold.
    start, end : int or None
        Range of the rows [ms].
    drop_bad, replace, quiet : bool
        Leave impossible rows out; forget what is stored; show no progress.
    """

    path: str
    file_format: str
    venue: str
    symbols: tuple[str, ...]
    series: tuple[str, ...]
    timeframes: tuple[str, ...]
    columns: dict[str, str]
    valid_from: str | None
    start: int | None
    end: int | None
    drop_bad: bool
    replace: bool
    quiet: bool

    def __post_init__(self) -> None:
        is_table, is_archive = self.file_format in TABLES, self.file_format in ARCHIVES
        is_terms = self.file_format in TERMS
        for value, option, is_understood in (
            (self.columns, "--columns", is_table),
            (self.series, "--series", not is_terms),
            (self.timeframes, "--timeframe", not is_terms),
            (self.valid_from, "--valid-from", is_terms),
            (self.start, "--start", is_archive),
            (self.end, "--end", is_archive),
        ):
            if value not in (None, (), {}) and not is_understood:
                raise UsageError(f"{option} means nothing with --format {self.file_format}.", "Leave it out.")

    @property
    def is_address(self) -> bool:
        """Whether the path is one of the web."""
        from backtester.market.sources.guess import is_address

        return is_address(self.path)


def bring_in_request(store: Store, request: ImportRequest) -> tuple[Done, tuple[str, ...]]:
    """Import what is asked for; return what came of each file or series, and notes on the whole.

    Raises
    ------
    UsageError
        The request does not fit what is there.
    DataError
        Nothing of it can be had.
    StoreError
        The store cannot be written.
    """
    if request.file_format in ARCHIVES:
        return _archive(store, request)
    if request.is_address:
        raise UsageError(
            f"--format {request.file_format} reads files, not an address.",
            "Download them first. Addresses are read with --format binance-archive, bybit-archive and okx-archive.",
        )
    from backtester.market.intake import bring_in

    intakes, notes = _intakes(request)
    return _watched(bring_in(store, intakes, replace=request.replace), quiet=request.quiet), notes


def _intakes(request: ImportRequest) -> tuple[Iterable[Intake | Refusal], tuple[str, ...]]:
    path = Path(request.path)
    if request.file_format == FREQTRADE:
        from backtester.market.sources.freqtrade import find_files, read_files

        files = find_files(path, request.symbols, request.timeframes, request.series)
        return read_files(files, request.venue, drop_bad=request.drop_bad), ()
    if request.file_format in TERMS:
        from backtester.market.sources.binance_info import read_info
        from backtester.market.sources.ccxt_json import read_markets, read_tiers

        if request.file_format == "ccxt-tiers":
            return read_tiers(path, request.venue, request.symbols, request.valid_from)
        read = read_markets if request.file_format == "ccxt-markets" else read_info
        return read(path, request.venue, request.symbols, request.valid_from)
    return [_table(request)], ()


def _table(request: ImportRequest) -> Intake:
    from backtester.market.intake import check_symbol
    from backtester.market.sources.table import read_table

    for values, option in (
        (request.symbols, "--symbol"),
        (request.series, "--series"),
        (request.timeframes, "--timeframe"),
    ):
        if len(values) > 1:
            raise UsageError(f"A table is one series of one symbol: {len(values)} values of {option} are too many.")
    if not request.symbols:
        raise UsageError("A table does not say whose prices it holds.", _symbol_hint(Path(request.path).name))
    return read_table(
        Path(request.path),
        request.venue,
        check_symbol(request.symbols[0]),
        kind=request.file_format,
        series=next(iter(request.series), None),
        timeframe=next(iter(request.timeframes), None),
        columns=request.columns,
        drop_bad=request.drop_bad,
    )


def _symbol_hint(file_name: str) -> str:
    """Return the way on for a table without a symbol: the one that its name looks like, else an example."""
    import re

    found = re.match(r"([A-Z0-9]{2,12}?)[-_/]?(USDT|USDC|USD)(?![A-Za-z0-9])", file_name)
    if found is None or found[2] == "USD":  # margined in coins or in dollars: the name does not tell
        return "Give --symbol, for example --symbol BTC/USDT:USDT."
    base, quote = found.groups()
    series = " --series funding" if "funding" in file_name.lower() else ""
    return f"By its name it is of {base}/{quote}: give --symbol {base}/{quote}:{quote}{series} (spot: {base}/{quote})."


# ---- archives


def _archive(store: Store, request: ImportRequest) -> tuple[Done, tuple[str, ...]]:
    from backtester.market.intake import check_contract
    from backtester.market.sources.archive.bring import layout_named
    from backtester.market.sources.archive.download import Downloader
    from backtester.market.sources.archive.origin import ArchiveFolder, PublishedArchive, Selection

    symbols = tuple(check_contract(s) for s in request.symbols)
    selection = Selection(symbols, request.series, request.timeframes, request.start, request.end)
    layout = layout_named(request.file_format, request.series[0] if len(request.series) == 1 else None)
    if not request.is_address:
        folder = ArchiveFolder(Path(request.path), layout, request.venue, selection)
        return _run(store, request, folder, layout, selection)
    with Downloader() as client:
        place = PublishedArchive(request.path, layout, request.venue, selection, client, _now())
        return _run(store, request, place, layout, selection)


def _run(
    store: Store, request: ImportRequest, origin: Origin, layout: Layout, selection: Selection
) -> tuple[Done, tuple[str, ...]]:
    from backtester.market.sources.archive.bring import ArchiveImport
    from backtester.market.sources.archive.reading import Reading

    reading = Reading(selection, _now(), drop_bad=request.drop_bad)
    with _progress(quiet=request.quiet) as progress:
        work = ArchiveImport(store, origin, layout, reading, replace=request.replace, progress=progress)
        done = _beside(lambda: _all_of(work), work.stop)
    return done, tuple(work.notes)


def _all_of(work: ArchiveImport) -> Done:
    with closing(work.run()) as items:
        return list(items)


def _beside(work: Callable[[], Done], stop: Callable[[], None]) -> Done:
    """Return what work returns that is done in another thread, so that Ctrl-C always ends it.

    Left alone, polars takes the signal while it computes, and may lose it; and where Python raises it inside a call of
    polars, it becomes an error of another kind. So Python gets the signal back, and the main thread, which it reaches,
    only waits.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)
    with ThreadPoolExecutor(1, thread_name_prefix="backtester-import") as beside:
        result = beside.submit(work)
        try:
            return result.result()
        except KeyboardInterrupt:
            stop()
            raise


def _now() -> int:
    return int(time.time() * 1000)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int, int, str], None] | None]:
    """Yield what draws a bar on a terminal: files done, their rate, the time left; None where nothing is drawn."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("Importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}", style="dim"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("files", total=None, rate="", last="")

        def show(done: int, total: int, last: str) -> None:
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            rate = "" if speed is None else f"{speed:.1f} files/s"
            bar.update(task, completed=done, total=max(total, done), rate=rate, last=last)

        yield show


def _watched(done: Iterable[Imported | Refusal], *, quiet: bool) -> Done:
    """Return what comes in, with a line of progress on a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    out = []
    if quiet or not console.is_terminal:
        return list(done)
    with console.status("Importing …") as status:
        for item in done:
            out.append(item)
            name = item.intake.key if hasattr(item, "intake") else item.name
            status.update(f"Importing … {len(out)} series, last {name}")
    return out


def column_map(columns: list[str] | None) -> dict[str, str]:
    """Return ``OURS=THEIRS`` pairs as a mapping.

    Raises
    ------
    UsageError
        A value is no pair.
    """
    out = {}
    for entry in columns or ():
        ours, sign, theirs = entry.partition("=")
        if not (ours and sign and theirs):
            raise UsageError(
                f"--columns {entry!r} names no pair.", "Write OURS=THEIRS, for example --columns open_time=stamp."
            )
        out[ours.strip()] = theirs.strip()
    return out
