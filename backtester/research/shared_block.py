"""A packed job in memory that the processes of one machine share."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from backtester.errors import BacktesterError
from backtester.research.job import Job
from backtester.research.job_transfer import Packed, unpack

ALIGNMENT = 64  # bytes: a cache line, and what vector instructions like
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - the system's own folder for shared memory
_OPEN_FILES = Path("/proc/self/fd")


@dataclass(frozen=True)
class BlockAddress:
    """Where the parts of a packed job lie.

    Attributes
    ----------
    name : str
        Of this block and no other.
    path : str
        Its file.
    versions, folder, memory
        Of ``Packed``.
    sizes : tuple of int
        Bytes of the head, then of each buffer; each begins at the next multiple of ``ALIGNMENT``.
    """

    name: str
    path: str
    versions: dict[str, str]
    folder: str
    memory: int
    sizes: tuple[int, ...]

    def places(self) -> Iterator[tuple[int, int]]:
        """Return where each part begins and its size."""
        first = 0
        for size in self.sizes:
            yield first, size
            first += -(-size // ALIGNMENT) * ALIGNMENT

    @property
    def size(self) -> int:
        """Bytes of the block."""
        return sum(-(-size // ALIGNMENT) * ALIGNMENT for size in self.sizes)


class SharedBlock:
    """A packed job in shared memory, which is given back on leaving.

    Parameters
    ----------
    packed : Packed
        The job; its bytes are copied once, for all workers.

    Raises
    ------
    BacktesterError
        Neither memory nor the temporary folder has room for it.
    """

    def __init__(self, packed: Packed) -> None:
        parts = (packed.head, *packed.buffers)
        sizes = tuple(part.nbytes for part in parts)
        self._file = _reserved(BlockAddress("", "", {}, "", 0, sizes).size)
        self.address = BlockAddress(
            uuid.uuid4().hex, _path_of(self._file), packed.versions, packed.folder, packed.memory, sizes
        )
        with mmap.mmap(self._file.fileno(), 0) as block:
            for part, (first, size) in zip(parts, self.address.places(), strict=True):
                block[first : first + size] = part.data

    def __enter__(self) -> SharedBlock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back; processes that read it keep it until they are done."""
        self._file.close()


def read_block(address: BlockAddress) -> Job:
    """Return the job of a block, its arrays in the shared memory: writeable, a page that is written becomes private."""
    with Path(address.path).open("rb") as file:
        block = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    parts = [block[first : first + size] for first, size in address.places()]
    packed = Packed(address.versions, address.folder, address.memory, np.frombuffer(parts[0], np.uint8), ())
    return unpack(packed, parts[1:])


def _reserved(size: int) -> IO[bytes]:
    """Return an empty file of a size for which there is room, in memory where the system has a folder for that."""
    told = ""
    for base in (_IN_MEMORY, Path(tempfile.gettempdir())):
        # containers often have little shared memory, which is told only to who asks before writing
        if not base.is_dir() or shutil.disk_usage(base).free < size:
            continue
        file = _opened(base)
        try:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            file.close()
            told = f" ({error.strerror})"
            continue
        return file
    raise BacktesterError(
        f"There is no room for the {size / 1e6:.0f} MB of market data that workers share{told}.",
        f"Free some of {_IN_MEMORY} or {tempfile.gettempdir()}, or use the executor local.",
    )


def _opened(base: Path) -> IO[bytes]:
    """Return a new file; where the system shows open files by number it has no name, so that nothing can leave it."""
    if _OPEN_FILES.is_dir():
        return tempfile.TemporaryFile(prefix="backtester-", dir=base)
    return tempfile.NamedTemporaryFile(prefix="backtester-", dir=base)


def _path_of(file: IO[bytes]) -> str:
    """Return where other processes open a file."""
    return f"/proc/{os.getpid()}/fd/{file.fileno()}" if _OPEN_FILES.is_dir() else str(file.name)
