"""The Parquet store: one dataset per venue, symbol, series and timeframe, one file a year.

::

    data/venue=binance/symbol=BTC%2FUSDT%3AUSDT/series=trade/timeframe=1h/2025.parquet
                                                                          manifest.json

How rows are merged and written stands in `market.writer`, pages of a running download in `market.journal`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, unquote

import polars as pl
from pydantic import ValidationError

from backtester.domain.enums import ContractKind
from backtester.domain.instrument import Instrument, instrument_in_force
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.errors import DataError, StoreError, UsageError
from backtester.market.atomic import LOCK_NAME, explained, publish, writer_lock
from backtester.market.journal import PAGE_SUFFIX, Journal, page_paths
from backtester.market.manifest import MANIFEST_NAME, Manifest, Part, is_part_name, is_stored, read_manifest
from backtester.market.merge import WriteReport
from backtester.market.parts import PartSource, check_part, scan_parts, staged_name
from backtester.market.schema import SERIES, TIME, DatasetKey, conform
from backtester.market.writer import damaged_part, open_writer

__all__ = ["DatasetKey", "Store", "WriteReport"]

LOCK_TIMEOUT_SECONDS = 5.0
_RENAME_SECONDS = 0.2


class Store:
    """Market data in a folder.

    Parameters
    ----------
    root : Path
        The folder; it is created by the first write.
    lock_timeout : float
        Seconds that a write waits for another writer of the same dataset.
    """

    def __init__(self, root: Path, *, lock_timeout: float = LOCK_TIMEOUT_SECONDS) -> None:
        self.root = Path(root)
        self.lock_timeout = lock_timeout
        self._trusted: dict[Path, tuple[int, int]] = {}  # size and mtime of the parts whose checksum was right

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    # ---- what is there

    def keys(
        self,
        venue: str | None = None,
        symbol: str | None = None,
        series: str | None = None,
        timeframe: str | None = None,
    ) -> list[DatasetKey]:
        """Return the stored datasets, sorted; each argument narrows the list."""
        wanted = (("venue", venue), ("symbol", symbol), ("series", series), ("timeframe", timeframe))
        found: list[DatasetKey] = []
        with explained(self.root, "read"):
            self._collect(self.root, wanted, (), found)
        return sorted(found)

    def _collect(
        self,
        folder: Path,
        wanted: tuple[tuple[str, str | None], ...],
        values: tuple[str, ...],
        found: list[DatasetKey],
    ) -> None:
        if not wanted:
            if values[2] in SERIES and is_stored(folder):  # a later version may store other series
                with suppress(UsageError):  # a folder of another program
                    found.append(DatasetKey(*values))
            return
        (name, value), rest = wanted[0], wanted[1:]
        if value is not None:
            self._collect(folder / _folder_name(name, value), rest, (*values, value), found)
            return
        if not folder.is_dir():
            return
        for child in folder.iterdir():
            if child.name.startswith(f"{name}="):
                self._collect(child, rest, (*values, unquote(child.name[len(name) + 1 :])), found)

    def venues(self, series: str | None = None) -> list[str]:
        """Return the venues that have a series, sorted; None: any data."""
        return sorted({k.venue for k in self.keys(series=series)})

    def symbols(self, venue: str, series: str | None = "trade") -> list[str]:
        """Return the symbols of a venue that have a series, sorted; None: any series.

        Tier tables come for hundreds of contracts that have no bars, hence the default.
        """
        return sorted({k.symbol for k in self.keys(venue, series=series)})

    def has(self, key: DatasetKey) -> bool:
        """Return whether a dataset is stored."""
        return is_stored(self.folder(key))

    def folder(self, key: DatasetKey) -> Path:
        """Return the folder of a dataset, which need not exist."""
        names = ("venue", "symbol", "series", "timeframe")
        return self.root.joinpath(*(_folder_name(n, getattr(key, n)) for n in names))

    def manifest(self, key: DatasetKey) -> Manifest:
        """Return the manifest of a dataset.

        Raises
        ------
        DataError
            The dataset is not stored.
        """
        found = self._found(key)
        if found is None:
            raise DataError(
                str(key),
                f"there is no such series in the store {self.root}",
                hint="`backtester data list` shows what is stored; `data fetch` or `data import` brings a series in.",
            )
        return found

    def span(self, key: DatasetKey) -> tuple[int, int] | None:
        """Return the first and last time of a dataset [ms], None where it is not stored or has no times."""
        found = self._found(key)
        return found.span if found is not None else None

    def first_import(self, key: DatasetKey) -> int | None:
        """Return the first time that was ever stored of a dataset [ms], also where its part was dropped since."""
        found = self._found(key)
        if found is None:
            return None
        times = [entry.first for entry in found.imports if entry.first is not None]
        return min([*times, *(found.span or ())], default=None)

    def _found(self, key: DatasetKey) -> Manifest | None:
        return read_manifest(self.folder(key), str(key))

    def waiting_pages(self, key: DatasetKey) -> int:
        """Return how many pages of an interrupted download wait to be brought in."""
        return len(page_paths(self.folder(key)))

    def fingerprint(self, key: DatasetKey) -> str:
        """Return the SHA-256 of the dataset's content checksums: equal values give equal fingerprints."""
        return self.manifest(key).fingerprint

    # ---- reading

    def scan(self, key: DatasetKey, start: int | None = None, end: int | None = None) -> pl.LazyFrame:
        """Return a dataset's rows with ``start <= time < end``, sorted by time, read when collected.

        Only files that hold part of the range are touched; each is checked against its checksum once a process.

        Parameters
        ----------
        key : DatasetKey
            The dataset.
        start, end : int, optional
            UTC [ms since 1970].

        Raises
        ------
        DataError
            The dataset is not stored.
        StoreError
            A file is missing or damaged.
        """
        time = key.schema.time
        parts = self.sources(key, start, end)
        if not parts:
            return pl.LazyFrame(schema=dict(key.schema.columns))
        frame = scan_parts(parts, key.schema)
        if not key.schema.by_year or time is None:
            return frame
        if start is not None:
            frame = frame.filter(pl.col(time) >= pl.lit(start).cast(TIME))
        if end is not None:
            frame = frame.filter(pl.col(time) < pl.lit(end).cast(TIME))
        return frame.set_sorted(time)

    def read(self, key: DatasetKey, start: int | None = None, end: int | None = None) -> pl.DataFrame:
        """Return what `scan` describes, read now."""
        return self.scan(key, start, end).collect()

    def tier_tables(self, venue: str, symbol: str) -> list[TierTable]:
        """Return the dated margin tables of a contract, oldest first; empty where none is stored.

        The tables are progressive and count notional; a venue whose brackets work otherwise says so in its rule pack.
        """
        key = DatasetKey(venue, symbol, "tiers", "event")
        if not self.has(key):
            return []
        manifest = self.manifest(key)
        tables = []
        for (moment,), rows in self.read(key).group_by(["valid_from"], maintain_order=True):
            valid_from = int(moment.timestamp() * 1000) if isinstance(moment, datetime) else None
            tiers = tuple(MarginTier(**r) for r in rows.drop("valid_from", "tier").iter_rows(named=True))
            source = manifest.source_at(valid_from)
            tables.append(TierTable(symbol=symbol, tiers=tiers, valid_from=valid_from, source=source))
        return tables

    def instruments(self, venue: str, symbol: str) -> list[Instrument]:
        """Return the dated terms of a contract, oldest first; empty where none are stored.

        Raises
        ------
        DataError
            A stored figure is out of bounds.
        """
        key = DatasetKey(venue, symbol, "instrument", "event")
        if not self.has(key):
            return []
        rows = self.read(key).with_columns(pl.col("listed", "delisted", "valid_from").dt.epoch("ms"))
        try:
            return [
                Instrument(**{**row, "kind": ContractKind[row["kind"].upper()]}) for row in rows.iter_rows(named=True)
            ]
        except ValidationError as e:
            raise DataError(str(key), _fault(e), hint="Import the contract again with a figure that fits.") from e

    def instrument(self, venue: str, symbol: str, at: int | None = None) -> Instrument | None:
        """Return the terms of a contract in force at a moment, None where none are stored.

        Parameters
        ----------
        venue, symbol : str
            The contract.
        at : int, optional
            Moment [ms since 1970, UTC]; before the first date the oldest terms serve. None: the newest.
        """
        dated = self.instruments(venue, symbol)
        return instrument_in_force(dated, math.inf if at is None else at) if dated else None

    def damaged(self, key: DatasetKey) -> list[str]:
        """Return what is wrong with a dataset's files, by full checksum; empty when all are whole."""
        try:
            return [str(error) for _, error in self._problems(key)]
        except StoreError as e:
            return [str(e)]

    def check_sizes(self, key: DatasetKey) -> None:
        """Refuse a dataset of which a part is missing or has another size than its manifest says: a look, no reading.

        Raises
        ------
        StoreError
            A part is damaged.
        """
        for name, part in sorted(self.manifest(key).parts.items()):
            path = self._part_path(key, name, part)
            size = path.stat().st_size if path.exists() else None
            if size != part.bytes:
                problem = "is missing" if size is None else f"has {size} bytes where its manifest says {part.bytes}"
                raise damaged_part(key, path, problem)

    def strangers(self, key: DatasetKey) -> list[Path]:
        """Return the files in a dataset's folder that the store did not put there; it leaves them alone."""
        named = (MANIFEST_NAME, LOCK_NAME)
        return [
            path
            for path in sorted(self.folder(key).iterdir())
            if not (path.name in named or is_part_name(path.name) or path.suffix in (".next", PAGE_SUFFIX))
        ]

    def _problems(self, key: DatasetKey) -> list[tuple[str, StoreError]]:
        """Return the parts that are not as their manifest says, by name, each with its error."""
        problems = []
        for name, part in sorted(self.manifest(key).parts.items()):
            try:
                self._trusted.pop(self._part_path(key, name, part), None)
                self._trusted_part(key, name, part)
            except StoreError as e:
                problems.append((name, e))
        return problems

    def paths(self, key: DatasetKey, start: int | None = None, end: int | None = None) -> list[Path]:
        """Return the files that hold part of a range, in order of time, each compared with its checksum.

        Threads may ask for several datasets at once: a checksum is computed without the interpreter's lock.

        Parameters
        ----------
        key : DatasetKey
            The dataset.
        start, end : int, optional
            UTC [ms since 1970], end excluded.

        Raises
        ------
        DataError
            The dataset is not stored.
        StoreError
            A file is missing or damaged.
        """
        manifest = self.manifest(key)
        while True:
            wanted = {
                name: part
                for name, part in sorted(manifest.parts.items())
                if not (key.schema.by_year and is_outside(part, start, end))
            }
            try:
                return [self._trusted_part(key, name, part) for name, part in wanted.items()]
            except StoreError:
                newer = self.manifest(key)  # another process may have finished a write in between
                if newer == manifest:
                    raise
                manifest = newer

    def sources(self, key: DatasetKey, start: int | None = None, end: int | None = None) -> list[PartSource]:
        """Return what the rows of a range are read from: the files of `paths`."""
        return list(self.paths(key, start, end))

    def confirm(self, key: DatasetKey, sources: Iterable[PartSource]) -> None:
        """Refuse files that were replaced since `sources` gave them: reading them piece by piece mixed two versions.

        Raises
        ------
        StoreError
            A file is missing or another one.
        """
        for path in sources:
            assert isinstance(path, Path)
            with explained(path, "read"):
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    stat = None
            if stat is None or self._trusted.get(path) != (stat.st_size, stat.st_mtime_ns):
                raise StoreError(
                    f"{key}: the file {path} was replaced while it was read.",
                    "Another process writes the series: try again when it has finished.",
                )

    def _part_path(self, key: DatasetKey, name: str, part: Part) -> Path:
        """Return where a part lies; finishes a write that was interrupted after its manifest was in place."""
        folder = self.folder(key)
        staged = folder / staged_name(name, part.sha256)
        if staged.exists():
            # a writer that is at work renames it by itself, in a moment
            with suppress(StoreError), writer_lock(folder, str(key), _RENAME_SECONDS), suppress(OSError):
                publish(staged, folder / name)
        return staged if staged.exists() else folder / name

    def _trusted_part(self, key: DatasetKey, name: str, part: Part) -> Path:
        """Return the path of a part whose checksum is right."""
        path = self._part_path(key, name, part)
        with explained(path, "read"):
            try:
                stat = path.stat()
                seen = (stat.st_size, stat.st_mtime_ns)
                if self._trusted.get(path) != seen:
                    check_part(path, part)
                    self._trusted[path] = seen
            except FileNotFoundError as e:
                raise damaged_part(key, path, "is missing") from e
            except ValueError as e:
                raise damaged_part(key, path, str(e)) from e
        return path

    # ---- writing

    def write(self, key: DatasetKey, frame: pl.DataFrame, *, source: str, replace: bool = False) -> WriteReport:
        """Merge rows into a dataset: atomic, checksummed, sorted.

        Rows are merged by time: new ones win, but a value that they do not know (``volume``, ``mark_price``) is kept
        from the old one. Margin tiers are merged by table, a contract's terms by date: what new terms do not know is
        taken from those in force, and terms that change nothing are left out. The interval of funding is measured
        again over all records.

        Parameters
        ----------
        key : DatasetKey
            The dataset, which need not exist.
        frame : polars.DataFrame
            Rows, in any order, with the columns of the series.
        source : str
            Where they come from, in words, for the manifest.
        replace : bool
            Forget what was stored before.

        Raises
        ------
        DataError
            The rows do not fit the series: columns, nulls, duplicates.
        StoreError
            The disk is full, the folder cannot be written, another process writes the dataset, or an old part is
            damaged.
        """
        rows = conform(frame, key.series, str(key))
        with open_writer(self.folder(key), key, self.lock_timeout, forget=replace) as writer:
            return writer.put(rows, source, forget=replace)

    @contextmanager
    def journal(self, key: DatasetKey, source: str) -> Iterator[Journal]:
        """Hold a dataset for a download that brings its rows page by page.

        Each page is durable once appended; the pages join the year files in batches and at the end, also when the
        download is interrupted. What a killed process left joins them at the next write, journal or `settle`.

        Parameters
        ----------
        key : DatasetKey
            A series with times, which need not be stored yet.
        source : str
            Name of the source: the ccxt id of an exchange, or an archive.

        Raises
        ------
        StoreError
            Another process writes the dataset, or the store cannot be written.
        """
        folder = self.folder(key)
        with open_writer(folder, key, self.lock_timeout) as writer:
            journal = Journal(folder, source, lambda rows: conform(rows, key.series, str(key)), writer.merge_pages)
            try:
                yield journal
            finally:
                journal.flush()

    def settle(self, key: DatasetKey) -> None:
        """Bring in the pages that an interrupted download left, if there are any."""
        folder = self.folder(key)
        if page_paths(folder):
            with open_writer(folder, key, self.lock_timeout):
                pass

    def recover(self) -> None:
        """Bring in the pages of every dataset that an interrupted download left; one that is at work keeps its own."""
        for folder in sorted({path.parent for path in self.root.rglob(f".*{PAGE_SUFFIX}")}):
            names = [part.partition("=")[2] for part in folder.relative_to(self.root).parts]
            with suppress(StoreError, UsageError, TypeError):
                key = DatasetKey(*map(unquote, names))
                with open_writer(folder, key, _RENAME_SECONDS):
                    pass

    def delete(self, key: DatasetKey) -> None:
        """Remove a dataset, and the folders that it leaves empty; files of other programs stay.

        Raises
        ------
        StoreError
            Another process writes it, or the folder cannot be changed.
        """
        folder = self.folder(key)
        with explained(folder, "delete"):
            if not folder.is_dir():
                return
            with writer_lock(folder, str(key), self.lock_timeout):
                # the manifest goes last: until then the dataset is there, if only as damaged
                kept = {folder / LOCK_NAME, *self.strangers(key)}
                for path in sorted(folder.iterdir(), key=lambda p: p.name == MANIFEST_NAME):
                    if path not in kept:
                        path.unlink()
                (folder / LOCK_NAME).unlink(missing_ok=True)
            for empty in (folder, *folder.parents):
                if empty == self.root.parent or any(empty.iterdir()):
                    break
                empty.rmdir()

    def compact(self, key: DatasetKey) -> int:
        """Bring a dataset into the form of a fresh write, remove leftovers; return the number of files rewritten."""
        with open_writer(self.folder(key), key, self.lock_timeout) as writer:
            return writer.compact()

    def drop_damaged(self, key: DatasetKey) -> list[str]:
        """Forget the parts of a dataset that are missing or damaged, and return their names.

        Raises
        ------
        StoreError
            A part may not be read, so that nobody knows whether it is sound; nothing is dropped then.
        """
        problems = self._problems(key)
        for _, error in problems:
            if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
                raise error
        names = [name for name, _ in problems]
        if names:
            with open_writer(self.folder(key), key, self.lock_timeout, settle=False) as writer:
                writer.drop(n for n in names if n in writer.manifest.parts)
                writer.merge_pages()
        return names


def _fault(error: ValidationError) -> str:
    """Return the first complaint on a stored contract in words."""
    first = error.errors(include_url=False)[0]
    if first["loc"]:
        return f"{first['loc'][0]} {first['input']!r} is out of bounds"
    return str(first["msg"]).removeprefix("Value error, ")


def _folder_name(name: str, value: str) -> str:
    return f"{name}={quote(value, safe='')}"


def is_outside(part: Part, start: int | None, end: int | None) -> bool:
    """Return whether no row of a part opens in ``[start, end)``; None does not bound."""
    if part.first is None or part.last is None:
        return part.rows == 0
    return (start is not None and part.last < start) or (end is not None and part.first >= end)
