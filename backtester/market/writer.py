"""The one writer of a dataset: merges rows into the year files, whole or not at all.

A write first puts every new part beside the old one under a name that carries its checksum, then replaces the manifest
in one step, then renames the parts. So a write that is killed leaves the dataset as it was or as it was meant to be: a
part whose checksum the manifest names counts, under whichever of the two names it lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from backtester.errors import StoreError
from backtester.market.atomic import explained, publish, sync_folder, write_durably, writer_lock
from backtester.market.journal import page_paths, read_pages
from backtester.market.manifest import MANIFEST_NAME, Asked, Import, Manifest, Part, read_manifest, with_asked
from backtester.market.merge import WriteReport, merge
from backtester.market.parts import check_part, is_compact, settle_names, stage, time_span
from backtester.market.schema import EVENT, DatasetKey, conform, timeframe_ms
from backtester.market.windows import subtracted

_EMPTY = Manifest({}, ())


@contextmanager
def open_writer(
    folder: Path, key: DatasetKey, timeout: float, *, forget: bool = False, settle: bool = True
) -> Iterator[Writer]:
    """Hold the lock of a dataset, finish what an interrupted writer left, and hand out its writer.

    Parameters
    ----------
    folder : Path
        Folder of the dataset, made where it does not exist.
    key : DatasetKey
        The dataset.
    timeout : float
        Seconds to wait for another writer.
    forget : bool
        Begin anew: nothing that was stored before counts, not even a damaged manifest.
    settle : bool
        Bring in the pages that an interrupted download left; they wait on where a part is damaged.
    """
    with explained(folder, "write"):
        folder.mkdir(parents=True, exist_ok=True)
    with writer_lock(folder, str(key), timeout):
        with explained(folder, "write"):
            if forget:
                for path in page_paths(folder):
                    path.unlink()
            writer = Writer(folder, key, _stored_manifest(folder, str(key), forget=forget))
        if settle:
            writer.merge_pages()
        yield writer


class Writer:
    """Writes one dataset while its lock is held; made by `open_writer`.

    Parameters
    ----------
    folder : Path
        Folder of the dataset.
    key : DatasetKey
        The dataset.
    stored : Manifest
        What its folder holds.
    """

    def __init__(self, folder: Path, key: DatasetKey, stored: Manifest) -> None:
        self._folder = folder
        self._key = key
        self.manifest = stored
        settle_names(folder, stored)

    def put(
        self,
        rows: pl.DataFrame,
        source: str,
        *,
        asked: Iterable[Asked] = (),
        forget: bool = False,
        joins_last: bool = False,
    ) -> WriteReport:
        """Merge rows in stored form into the dataset.

        Parameters
        ----------
        rows : polars.DataFrame
            As `schema.conform` leaves them.
        source : str
            Where they come from, in words.
        asked : iterable of Asked
            Spans of which their source has nothing more.
        forget : bool
            Drop what was stored before.
        joins_last : bool
            Count them to the last import where that had the same source.
        """
        with explained(self._folder, "write"):
            return self._put(rows, source, asked, forget=forget, joins_last=joins_last)

    def _put(
        self, rows: pl.DataFrame, source: str, asked: Iterable[Asked], *, forget: bool, joins_last: bool
    ) -> WriteReport:
        old = _EMPTY if forget else self.manifest
        parts, counts = merge(self._key, rows, lambda name: self._part(old, name), old.parts)
        known = with_asked(old.asked, asked)
        if parts:
            imports = _with_import(old.imports, self._import(rows, source), joins_last=joins_last)
            self._publish(replace(old, imports=imports, asked=known), parts, source)
        elif known != old.asked:
            self._publish(replace(old, asked=known), {}, source)
        now = self.manifest
        return WriteReport(self._key, rows.height, counts.added, counts.changed, counts.unchanged, now.rows, now.span)

    def merge_pages(self) -> WriteReport | None:
        """Bring waiting pages into the dataset; None where there are none, or none with rows into an empty one."""
        with explained(self._folder, "write"):
            paths = page_paths(self._folder)
            return self._merge(paths) if paths else None

    def _merge(self, paths: list[Path]) -> WriteReport | None:
        batch = read_pages(paths, str(self._key.schema.time))
        report = None
        if not batch.rows.is_empty():
            rows = conform(batch.rows, self._key.series, str(self._key))
            report = self._put(rows, batch.source, batch.asked, forget=False, joins_last=True)
        elif self.manifest.parts:
            known = with_asked(self.manifest.asked, batch.asked)
            if known != self.manifest.asked:
                self._publish(replace(self.manifest, asked=known), {}, batch.source)
        for path in batch.paths:
            path.unlink()
        return report

    def compact(self) -> int:
        """Rewrite parts that are not as a fresh write leaves them, fold the imports; return the parts rewritten."""
        manifest = self.manifest
        for name, part in manifest.parts.items():
            self._check(name, part)
        loose = [name for name in sorted(manifest.parts) if not is_compact(self._folder / name)]
        parts = {name: frame for name in loose if (frame := self._part(manifest, name)) is not None}
        folded: tuple[Import, ...] = ()
        for entry in manifest.imports:
            folded = _with_import(folded, entry, joins_last=True)
        if parts or folded != manifest.imports:
            with explained(self._folder, "write"):
                self._publish(replace(manifest, imports=folded), parts, "compaction")
        return len(parts)

    def drop(self, names: Iterable[str]) -> None:
        """Forget parts, and that their spans were asked for, so that a fetch brings them again."""
        gone = [self.manifest.parts[name] for name in names]
        step = 1 if self._key.timeframe == EVENT else timeframe_ms(self._key.timeframe)
        spans = [(p.first, p.last + step) for p in gone if p.first is not None and p.last is not None]
        asked = [
            Asked(start, end, a.source)
            for a in self.manifest.asked
            for start, end in subtracted([(a.start, a.end)], spans)
        ]
        kept = {n: p for n, p in self.manifest.parts.items() if p not in gone}
        self._publish(Manifest(kept, self.manifest.imports, with_asked((), asked)), {}, "")

    def _import(self, rows: pl.DataFrame, source: str) -> Import:
        time = self._key.schema.time
        first, last = time_span(rows, time)
        if time is not None and rows[time].null_count():
            first = None  # a table that always held
        return Import(source, _now(), rows.height, first, last)

    def _publish(self, new: Manifest, parts: dict[str, pl.DataFrame], source: str) -> None:
        """Stage changed parts, put the manifest that names them in place, then rename them."""
        folder, time, now = self._folder, self._key.schema.time, _now()
        temporary = folder / f".{MANIFEST_NAME}.next"
        old = self.manifest
        try:
            staged: dict[str, Part] = {}
            for name, rows in parts.items():
                said = source if source != "compaction" else old.parts[name].source
                staged[name] = stage(folder, name, rows, time, source=said, now=now)
            new = replace(new, parts={**new.parts, **staged})
            write_durably(temporary, new.encoded(str(self._key)))
        except BaseException:
            with suppress(OSError):
                settle_names(folder, old)
            raise
        publish(temporary, folder / MANIFEST_NAME)  # from here on the new parts count
        self.manifest = new
        sync_folder(folder)
        settle_names(folder, new)

    def _part(self, manifest: Manifest, name: str) -> pl.DataFrame | None:
        """Return a stored part in today's form."""
        part = manifest.parts.get(name)
        if part is None:
            return None
        self._check(name, part)
        frame = pl.read_parquet(self._folder / name, glob=False, hive_partitioning=False)
        return conform(frame, self._key.series, str(self._key))

    def _check(self, name: str, part: Part) -> None:
        path = self._folder / name
        with explained(path, "read"):
            try:
                check_part(path, part)
            except FileNotFoundError as e:
                raise damaged_part(self._key, path, "is missing") from e
            except ValueError as e:
                raise damaged_part(self._key, path, str(e)) from e


def damaged_part(key: DatasetKey, path: Path, problem: str) -> StoreError:
    """Return the error of a part that is not what its manifest says."""
    return StoreError(
        f"{key}: the file {path} {problem}.",
        "`backtester data delete --damaged` drops such files alone, and a fetch or import brings their rows again; "
        "`backtester data verify` checks the whole store.",
    )


def _stored_manifest(folder: Path, name: str, *, forget: bool) -> Manifest:
    try:
        return read_manifest(folder, name) or _EMPTY
    except StoreError:
        if forget:
            return _EMPTY
        raise


def _with_import(imports: tuple[Import, ...], new: Import, *, joins_last: bool) -> tuple[Import, ...]:
    """Return the imports with one more, counted to the last one where both have one source."""
    last = imports[-1] if imports else None
    if not joins_last or last is None or last.source != new.source:
        return (*imports, new)
    if last.first is None or new.first is None or last.last is None or new.last is None:
        return (*imports, new)  # tables without a date are told apart by their import
    joined = replace(new, rows=last.rows + new.rows, first=min(last.first, new.first), last=max(last.last, new.last))
    return (*imports[:-1], joined)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
