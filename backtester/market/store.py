"""The Parquet store: one dataset per venue, symbol, series and timeframe, one file a year.

::

    data/venue=binance/symbol=BTC%2FUSDT%3AUSDT/series=trade/timeframe=1h/2025.parquet
                                                                          manifest.json

A write first puts every new part beside the old one under a name that carries its checksum, then replaces the manifest
in one step, then renames the parts. So a write that is killed leaves the dataset as it was or as it was meant to be: a
part whose checksum the manifest names counts, under whichever of the two names it lies.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

import polars as pl
from pydantic import ValidationError

from backtester.domain.enums import ContractKind
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.errors import DataError, StoreError
from backtester.market.atomic import explained, publish, sync_folder, write_durably, writer_lock
from backtester.market.manifest import MANIFEST_NAME, Import, Manifest, Part, is_stored, read_manifest
from backtester.market.merge import merge
from backtester.market.parts import check_part, settle_names, stage, staged_name, time_span
from backtester.market.schema import SERIES, TIME, DatasetKey, conform

__all__ = ["DatasetKey", "Store", "WriteReport"]

LOCK_TIMEOUT_SECONDS = 5.0
_EMPTY = Manifest({}, ())


@dataclass(frozen=True)
class WriteReport:
    """What a write did.

    Attributes
    ----------
    key : DatasetKey
        The dataset.
    rows : int
        Rows that were brought.
    added, changed, unchanged : int
        How many of them were new, replaced a row with other values, or were there already.
    total : int
        Rows of the dataset now.
    span : tuple of int or None
        First and last time of the dataset now [ms].
    """

    key: DatasetKey
    rows: int
    added: int
    changed: int
    unchanged: int
    total: int
    span: tuple[int, int] | None


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
        found = read_manifest(self.folder(key), str(key))
        if found is None:
            raise DataError(
                str(key),
                f"there is no such series in the store {self.root}",
                hint="`backtester data list` shows what is stored; `backtester data import` brings a series in.",
            )
        return found

    def span(self, key: DatasetKey) -> tuple[int, int] | None:
        """Return the first and last time of a dataset [ms], None where it is not stored or has no times."""
        found = read_manifest(self.folder(key), str(key))
        return found.span if found is not None else None

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
        paths = self.paths(key, start, end)
        if not paths:
            return pl.LazyFrame(schema=dict(key.schema.columns))
        frame = pl.scan_parquet(paths, glob=False, hive_partitioning=False)
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

    def instrument(self, venue: str, symbol: str) -> Instrument | None:
        """Return the stored contract, None where there is none."""
        key = DatasetKey(venue, symbol, "instrument", "event")
        if not self.has(key):
            return None
        row = self.read(key).row(0, named=True)
        try:
            return Instrument(**{**row, "kind": ContractKind[row["kind"].upper()]})
        except ValidationError as e:
            fault = e.errors(include_url=False)[0]
            problem = f"{fault['loc'][0]} {fault['input']!r} is out of bounds"
            raise DataError(str(key), problem, hint="Import the contract again with a figure that fits.") from e

    def damaged(self, key: DatasetKey) -> list[str]:
        """Return what is wrong with a dataset's files, by full checksum; empty when all are whole."""
        problems = []
        try:
            parts = self.manifest(key).parts
        except StoreError as e:
            return [str(e)]
        for name, part in sorted(parts.items()):
            try:
                self._trusted.pop(self._part_path(key, name, part), None)
                self._trusted_part(key, name, part)
            except StoreError as e:
                problems.append(str(e))
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
                if not (key.schema.by_year and _outside(part, start, end))
            }
            try:
                return [self._trusted_part(key, name, part) for name, part in wanted.items()]
            except StoreError:
                newer = self.manifest(key)  # another process may have finished a write in between
                if newer == manifest:
                    raise
                manifest = newer

    def confirm(self, key: DatasetKey, paths: Iterable[Path]) -> None:
        """Refuse files that were replaced since `paths` returned them: reading them piece by piece mixed two versions.

        Raises
        ------
        StoreError
            A file is missing or another one.
        """
        for path in paths:
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
            with suppress(StoreError), writer_lock(folder, str(key), self.lock_timeout), suppress(OSError):
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
                raise _damaged(key, path, "is missing") from e
            except ValueError as e:
                raise _damaged(key, path, str(e)) from e
        return path

    # ---- writing

    def write(self, key: DatasetKey, frame: pl.DataFrame, *, source: str, replace: bool = False) -> WriteReport:
        """Merge rows into a dataset: atomic, checksummed, sorted.

        Rows are merged by time: new ones win, but a value that they do not know (``volume``, ``mark_price``) is kept
        from the old one. Margin tiers are merged by table, an instrument is replaced. The interval of funding is
        measured again over all records.

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
        folder = self.folder(key)
        with explained(folder, "write"):
            folder.mkdir(parents=True, exist_ok=True)
            with writer_lock(folder, str(key), self.lock_timeout):
                return self._write_locked(key, rows, source, replace=replace)

    def _write_locked(self, key: DatasetKey, rows: pl.DataFrame, source: str, *, replace: bool) -> WriteReport:
        folder = self.folder(key)
        stored = _stored_manifest(folder, str(key), replace=replace)
        settle_names(folder, stored)
        old = _EMPTY if replace else stored
        parts, counts = merge(key, rows, lambda name: self._old_part(key, old, name), old.parts)
        new = old
        if parts:
            new = self._put(key, old, parts, rows, source)
        return WriteReport(key, rows.height, counts.added, counts.changed, counts.unchanged, new.rows, new.span)

    def _put(
        self, key: DatasetKey, old: Manifest, parts: dict[str, pl.DataFrame], rows: pl.DataFrame, source: str
    ) -> Manifest:
        """Stage the changed parts, put the manifest that names them in place, then rename them."""
        folder, time = self.folder(key), key.schema.time
        now = datetime.now(UTC).isoformat(timespec="seconds")
        temporary = folder / f".{MANIFEST_NAME}.next"
        try:
            staged = {name: stage(folder, name, part, time, source=source, now=now) for name, part in parts.items()}
            first, last = time_span(rows, time)
            if time is not None and rows[time].null_count():
                first = None  # a table that always held
            imports = (*old.imports, Import(source, now, rows.height, first, last))
            new = Manifest({**old.parts, **staged}, imports)
            write_durably(temporary, new.encoded(str(key)))
        except BaseException:
            settle_names(folder, old)
            raise
        publish(temporary, folder / MANIFEST_NAME)  # from here on the new parts count
        sync_folder(folder)
        settle_names(folder, new)
        return new

    def _old_part(self, key: DatasetKey, old: Manifest, name: str) -> pl.DataFrame | None:
        part = old.parts.get(name)
        if part is None:
            return None
        # not through `_part_path`: the lock is held already, and an interrupted write has just been finished
        path = self.folder(key) / name
        try:
            check_part(path, part)
        except FileNotFoundError as e:
            raise _damaged(key, path, "is missing") from e
        except ValueError as e:
            raise _damaged(key, path, str(e)) from e
        return pl.read_parquet(path, glob=False, hive_partitioning=False)


def _stored_manifest(folder: Path, name: str, *, replace: bool) -> Manifest:
    try:
        return read_manifest(folder, name) or _EMPTY
    except StoreError:
        if replace:
            return _EMPTY
        raise


def _damaged(key: DatasetKey, path: Path, problem: str) -> StoreError:
    return StoreError(
        f"{key}: the file {path} {problem}.",
        "Import the whole series again with `backtester data import … --replace`, or delete the folder "
        f"{path.parent}; `backtester data verify` checks the whole store.",
    )


def _folder_name(name: str, value: str) -> str:
    return f"{name}={quote(value, safe='')}"


def _outside(part: Part, start: int | None, end: int | None) -> bool:
    if part.first is None or part.last is None:
        return part.rows == 0
    return (start is not None and part.last < start) or (end is not None and part.first >= end)
