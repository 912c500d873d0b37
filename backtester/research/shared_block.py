"""A packed job in memory that the processes of one machine share."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from backtester.errors import BacktesterError
from backtester.research.job import Job
from backtester.research.job_transfer import Packed, unpack

ALIGNMENT = 64  # bytes: a cache line, and what vector instructions like
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - the system's own folder for shared memory


@dataclass(frozen=True)
class BlockAddress:
    """Where the parts of a packed job lie.

    Attributes
    ----------
    path : str
        File of the block.
    versions : dict of str to str
        Of ``Packed``.
    sizes : tuple of int
        Bytes of the head, then of each buffer; each begins at the next multiple of ``ALIGNMENT``.
    """

    path: str
    versions: dict[str, str]
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
    """A packed job in a file of shared memory, removed on leaving.

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
        self._folder, path = _reserved(BlockAddress("", {}, sizes).size)
        self.address = BlockAddress(str(path), packed.versions, sizes)
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as block:
            for part, (first, size) in zip(parts, self.address.places(), strict=True):
                block[first : first + size] = part.data

    def __enter__(self) -> SharedBlock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the block; processes that read it keep it until they are done."""
        self._folder.cleanup()


def read_block(address: BlockAddress) -> Job:
    """Return the job of a block, its arrays in the shared memory: writeable, a page that is written becomes private."""
    with Path(address.path).open("rb") as file:
        block = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    parts = [block[first : first + size] for first, size in address.places()]
    packed = Packed(address.versions, np.frombuffer(parts[0], np.uint8), ())
    return unpack(packed, parts[1:])


def _reserved(size: int) -> tuple[tempfile.TemporaryDirectory[str], Path]:
    """Return an empty file of a size for which there is room, in memory where the system has a folder for that."""
    told: OSError | None = None
    for base in (_IN_MEMORY, Path(tempfile.gettempdir())):
        if not base.is_dir():
            continue
        folder: tempfile.TemporaryDirectory[str] | None = None
        try:
            # containers often have little shared memory, which is told only to who asks before writing
            if shutil.disk_usage(base).free < size:
                continue
            folder = tempfile.TemporaryDirectory(prefix="backtester-", dir=base, ignore_cleanup_errors=True)
            path = Path(folder.name) / "job"
            with path.open("wb") as file:
                file.truncate(size)
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            told = error
            if folder is not None:
                with suppress(OSError):
                    folder.cleanup()
            continue
        return folder, path
    reason = f" ({told.strerror})" if told is not None else ""
    raise BacktesterError(
        f"There is no room for the {size / 1e6:.0f} MB of market data that workers share{reason}.",
        f"Free some of {_IN_MEMORY} or {tempfile.gettempdir()}, or use the executor local.",
    )
