"""What a run was made of: hashes, versions, time by phase."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from backtester.version import __version__

_PACKAGES = ("numba", "numpy", "plotly", "polars", "pyarrow", "pydantic")


class Phases:
    """Wall time of a run, phase by phase [s]."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a phase."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - before, 4)


def sha256(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def combined_hash(parts: Mapping[str, object]) -> str:
    """Return one SHA-256 for a mapping of JSON values, whatever the order of its keys."""
    return sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")))


def versions() -> dict[str, str]:
    """Return the versions that a run depends on."""
    found = {"backtester": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def timestamp() -> datetime:
    """Return the present second, UTC."""
    return datetime.now(UTC).replace(microsecond=0)
