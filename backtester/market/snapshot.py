"""Datasets of a store held in memory: what a process reads that cannot see the store's folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backtester.errors import InternalError
from backtester.market.manifest import Manifest
from backtester.market.parts import PartSource
from backtester.market.store import DatasetKey, Store, is_outside


@dataclass(frozen=True, eq=False)
class HeldDataset:
    """One dataset.

    Attributes
    ----------
    manifest : Manifest
        As it stands in the store.
    parts : dict of str to ndarray of uint8
        Content of each Parquet file by its name, as arrays so that they are pickled without a copy.
    """

    manifest: Manifest
    parts: dict[str, NDArray[np.uint8]]


class Snapshot(Store):
    """Some datasets of a store as they were at one moment, read like the store itself.

    It knows the names of all that was stored, so that what is looked up by name is found, or refused, as in the store.

    Parameters
    ----------
    root : Path
        Folder of the store, which errors name and nothing reads.
    known : sequence of DatasetKey
        Every dataset of the store.
    held : mapping of DatasetKey to HeldDataset
        Those that can be read.
    """

    def __init__(self, root: Path, known: Iterable[DatasetKey], held: Mapping[DatasetKey, HeldDataset]) -> None:
        super().__init__(root)
        self._known = sorted(known)
        self._held = dict(held)
        self._content: dict[tuple[DatasetKey, str], bytes] = {}

    @classmethod
    def taken(cls, store: Store, keys: Iterable[DatasetKey]) -> Snapshot:
        """Return a snapshot of some datasets of a store; each file is compared with its checksum."""
        held = {}
        for key in keys:
            parts = {path: np.fromfile(path, np.uint8) for path in store.paths(key)}
            store.confirm(key, parts)  # all of one version, that of the manifest
            manifest = store.manifest(key)
            names = sorted(manifest.parts)
            held[key] = HeldDataset(manifest, dict(zip(names, parts.values(), strict=True)))
        return cls(store.root, store.keys(), held)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(part.nbytes for dataset in self._held.values() for part in dataset.parts.values())

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.root, self._known, self._held)

    def keys(
        self,
        venue: str | None = None,
        symbol: str | None = None,
        series: str | None = None,
        timeframe: str | None = None,
    ) -> list[DatasetKey]:
        """Return the datasets of the store, sorted; each argument narrows the list."""
        wanted = {"venue": venue, "symbol": symbol, "series": series, "timeframe": timeframe}
        given = [(name, value) for name, value in wanted.items() if value is not None]
        return [key for key in self._known if all(getattr(key, name) == value for name, value in given)]

    def has(self, key: DatasetKey) -> bool:
        """Return whether a dataset is stored."""
        return key in self._held or key in self._known

    def folder(self, key: DatasetKey) -> Path:
        """Refuse: there is no folder.

        Raises
        ------
        InternalError
            Always.
        """
        raise InternalError(f"{key}: a snapshot of the store {self.root} can be read, not changed.")

    def sources(self, key: DatasetKey, start: int | None = None, end: int | None = None) -> list[PartSource]:
        """Return the content of the parts that hold rows of a range, in order of time."""
        manifest = self.manifest(key)
        wanted = [
            name
            for name, part in sorted(manifest.parts.items())
            if not (key.schema.by_year and is_outside(part, start, end))
        ]
        return [self._bytes(key, name) for name in wanted]

    def confirm(self, key: DatasetKey, sources: Iterable[PartSource]) -> None:
        """Do nothing: what is held does not change."""

    def _found(self, key: DatasetKey) -> Manifest | None:
        held = self._held.get(key)
        if held is not None:
            return held.manifest
        if key in self._known:
            raise InternalError(
                f"{key} is stored in {self.root} and was not sent to this worker.",
                "Name the symbol in data.symbols or data.reference, or use another executor.",
            )
        return None

    def _bytes(self, key: DatasetKey, name: str) -> bytes:
        """Return a part as polars takes it; the copy is made once a process."""
        content = self._content.get((key, name))
        if content is None:
            content = self._content[key, name] = self._held[key].parts[name].tobytes()
        return content
