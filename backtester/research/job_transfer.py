"""A job as bytes: what another process needs to evaluate the same sets, its arrays apart so that nobody copies them."""

from __future__ import annotations

import io
import json
import pickle
import tempfile
import weakref
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from backtester.domain.config import RunConfig
from backtester.engine.manifest import sha256, versions
from backtester.errors import BacktesterError, UsageError
from backtester.kernel._jit import source_digest
from backtester.market.snapshot import Snapshot
from backtester.market.store import Store
from backtester.research.job import Job
from backtester.strategy import Strategy, registry
from backtester.strategy.fault import show_from

SMALL = 1 << 12  # bytes up to which an array travels with the rest: a buffer of its own costs more
_DECIDING = ("backtester", "numba", "numpy", "polars")  # packages that figures depend on

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Packed:
    """A job as bytes.

    Attributes
    ----------
    versions : dict of str to str
        What the sender computes with: only a receiver with the same gets the same figures.
    folder : str
        The sender's current folder, from which errors name files.
    memory : int
        Bytes that indicators of one receiver may take.
    head : ndarray of uint8
        Everything but the buffers, pickled.
    buffers : tuple of ndarray of uint8
        The content of its larger arrays, in the order in which the head names them; they are views, not copies.
    """

    versions: dict[str, str]
    folder: str
    memory: int
    head: Bytes
    buffers: tuple[Bytes, ...]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self.head.nbytes + sum(buffer.nbytes for buffer in self.buffers)


def pack(
    job: Job,
    *,
    with_data: bool,
    receivers: int = 1,
    symbols: Collection[str] = (),
    by_value: Callable[[type[Strategy]], bytes] | None = None,
) -> Packed:
    """Return a job as bytes.

    The class of a strategy that stands in a file travels as the file's content; other classes are imported by the
    receiver.

    Parameters
    ----------
    job : Job
        Its market arrays are not copied: they must not change as long as the result is used.
    with_data : bool
        Send what evaluation reads from files too: the store's series of the symbols that are traded or read, and the
        files that the configuration names. Without, the receiver must see the same files.
    receivers : int
        How many on one machine share the job's memory.
    symbols : collection of str
        What sets read besides, from ``symbols_read``.
    by_value : callable, optional
        Returns the pickled definition of a class that no import finds elsewhere, as one of a script.

    Raises
    ------
    UsageError
        The job holds something that cannot be sent.
    """
    buffers: list[Bytes] = []
    out = io.BytesIO()
    carried = _Carried.of(job, symbols) if with_data else None
    packer = _Packer(out, buffers, carried, by_value)
    try:
        packer.dump(job)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise UsageError(
            f"Strategy {job.strategy.name!r} cannot be sent to another process: {error}",
            "Define its class in a file of its own (`backtester strategy new`), not in a console or a function.",
        ) from error
    memory = max(job.memory // receivers, 1)
    return Packed(own_versions(), str(Path.cwd()), memory, np.frombuffer(out.getbuffer(), np.uint8), tuple(buffers))


def unpack(packed: Packed, buffers: Sequence[Any] | None = None) -> Job:
    """Return the job of another process.

    Parameters
    ----------
    packed : Packed
        From ``pack``.
    buffers : sequence of buffers, optional
        The same bytes as those of ``packed``, on which the arrays of the job are to lie: they stay in use as long as
        the job. Writeable ones make writeable arrays, the type for which the kernel is compiled; it never writes to
        the market.

    Raises
    ------
    UsageError
        This process computes with other versions than the sender.
    """
    own = own_versions()
    for name, wanted in packed.versions.items():
        if own.get(name) != wanted:
            raise UsageError(
                f"A worker has {name} {own.get(name)} where this process has {wanted}: its rows would differ.",
                "Install the same versions on every machine.",
            )
    show_from(Path(packed.folder))
    reader = _Unpacker(io.BytesIO(packed.head.data), packed.buffers if buffers is None else buffers)
    job = reader.load()
    assert isinstance(job, Job)
    job.memory = packed.memory
    job.threads = 1  # there is a worker for every core
    return job


def symbols_read(job: Job, sets: pl.DataFrame) -> frozenset[str]:
    """Return the symbols that the strategies of sets read and the configuration does not name.

    Only strategies whose source calls ``ref`` are asked.
    """
    classes = [base for base in job.strategy.__mro__ if issubclass(base, Strategy) and base is not Strategy]
    if not any("ref(" in registry.source_of(base) for base in classes):
        return frozenset()
    bare = [name for name in sets.columns if name in job.strategy.model_fields]
    found: set[str] = set()
    for params in sets.select(bare).unique().iter_rows(named=True) if bare else [{}]:
        with suppress(BacktesterError):  # its row will say so
            found.update(job.strategy(**{**job.config.strategy.params, **params}).references)
    return frozenset(found)


def own_versions() -> dict[str, str]:
    """Return what the figures of this process depend on, by package; the kernel by its sources."""
    found = versions()
    return {name: found[name] for name in _DECIDING if name in found} | {"kernel": source_digest()}


# -- what is written otherwise ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Carried:
    """What a job reads from files, to be sent along."""

    store: Store
    snapshot: Snapshot
    files: dict[str, Bytes]

    @classmethod
    def of(cls, job: Job, symbols: Collection[str]) -> _Carried:
        """Return the series of the symbols that are traded, read or held, and the configuration's own files."""
        panel, resolved = job.base.panel, job.base.resolved
        held = [row.symbol for row in resolved.collateral]
        names = dict.fromkeys((*panel.symbols, *resolved.config.data.reference, *held, *symbols))
        keys = [key for name in names for key in job.store.keys(panel.venue, name)]
        return cls(job.store, Snapshot.taken(job.store, keys), _own_files(job.config))


class _Packer(pickle.Pickler):
    """Writes a job, its arrays apart, its store and files as their content where they are asked for."""

    def __init__(
        self,
        out: io.BytesIO,
        buffers: list[Bytes],
        carried: _Carried | None,
        by_value: Callable[[type[Strategy]], bytes] | None,
    ) -> None:
        def keep(buffer: pickle.PickleBuffer) -> bool:
            raw = buffer.raw()
            if raw.nbytes < SMALL:
                return True
            buffers.append(np.frombuffer(raw, np.uint8))
            return False

        super().__init__(out, protocol=5, buffer_callback=keep)
        self._by_value = by_value
        self._carried = carried
        self._files = {} if carried is None else carried.files

    def persistent_id(self, item: object) -> object:
        """Mark texts that name a file which is sent along: it lies elsewhere at the receiver's."""
        if not self._files or not isinstance(item, str):
            return None
        named = [path for path in self._files if _names(item, path)]
        # as bytes, since texts inside of a mark would be marked again
        return (item.encode(), [(path.encode(), self._files[path]) for path in named]) if named else None

    def reducer_override(self, item: object) -> Any:
        """Write a class from a file as the file's content, a store as its snapshot, a frame as buffers."""
        if isinstance(item, pl.DataFrame):
            return _frame_from, (pickle.PickleBuffer(_frame_bytes(item).data),)
        if self._carried is not None and item is self._carried.store:
            return self._carried.snapshot.__reduce__()
        if isinstance(item, type) and issubclass(item, Strategy):
            if registry.is_plugin(item):
                return registry.from_content, (*registry.plugin_file(item), item.__qualname__)
            if self._by_value is not None and item.__module__ == "__main__":
                return pickle.loads, (self._by_value(item),)
        return NotImplemented


class _Unpacker(pickle.Unpickler):
    """Reads a job, and writes the files that came along into a folder that goes with the process."""

    def __init__(self, head: io.BytesIO, buffers: Sequence[Any]) -> None:
        super().__init__(head, buffers=buffers)
        self._folder: Path | None = None

    def persistent_load(self, pid: Any) -> str:
        """Return a text with the names that its files have here."""
        text, files = pid[0].decode(), [(path.decode(), content) for path, content in pid[1]]
        for path, content in files:
            here = str(self._written(path, content))
            text = here if text == path else text.replace(json.dumps(path), json.dumps(here))
        return str(text)

    def _written(self, path: str, content: Bytes) -> Path:
        if self._folder is None:
            folder = tempfile.TemporaryDirectory(prefix="backtester-", ignore_cleanup_errors=True)
            weakref.finalize(_FILES, folder.cleanup)  # at the end of the process
            self._folder = Path(folder.name)
        file = self._folder / f"{sha256(path)[:16]}-{Path(path).name}"
        if not file.exists():
            content.tofile(file)
        return file


class _Files:
    """What the folders of sent files live as long as."""


_FILES = _Files()


def _names(text: str, path: str) -> bool:
    """Return whether a text is a path, or has it as a value in JSON."""
    return text == path or json.dumps(path) in text


def _own_files(config: RunConfig) -> dict[str, Bytes]:
    """Return the content of the files that a configuration names, by their names there."""
    paths = [feature.path for feature in config.data.features.values()]
    paths += [config.universe.file] if config.universe.file is not None else []
    paths += [config.data.venue] if config.data.venue.endswith(".toml") else []
    return {path: np.fromfile(path, np.uint8) for path in dict.fromkeys(paths)}


def _frame_bytes(frame: pl.DataFrame) -> Bytes:
    """Return a frame in Arrow's own layout, of which its columns can be read in place."""
    sink = pa.BufferOutputStream()
    table = frame.to_arrow(compat_level=pl.CompatLevel.newest())
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return np.frombuffer(sink.getvalue(), np.uint8)


def _frame_from(buffer: Any) -> pl.DataFrame:
    frame = pl.from_arrow(pa.ipc.open_stream(pa.py_buffer(buffer)).read_all())
    assert isinstance(frame, pl.DataFrame)
    return frame
