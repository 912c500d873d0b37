"""Files that are whole or absent: durable writes, one writer at a time, and what the system's refusals mean."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backtester.errors import StoreError

LOCK_NAME = ".lock"
_POLL_SECONDS = 0.05


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk holds it; a failure leaves nothing behind.

    Not atomic by itself: write to a name that nobody reads, then rename with `publish`.
    """
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def publish(temporary: Path, final: Path) -> None:
    """Put a durably written file under its final name, in one step."""
    temporary.replace(final)


def sync_folder(folder: Path) -> None:
    """Wait until the disk holds the names in a folder (where the system can)."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def explained(path: Path, action: str) -> Iterator[None]:
    """Turn the system's refusal of a file operation into a `StoreError` that says what to do.

    Parameters
    ----------
    path : Path
        The file or folder in question.
    action : str
        What was attempted: ``"write"``, ``"read"``.
    """
    try:
        yield
    except OSError as e:
        place = e.filename if isinstance(e.filename, str) else str(path)
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"The disk is full: cannot {action} {place}.",
                "Free some space and run the command again: nothing was left half-written.",
            ) from e
        if e.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(
                f"No permission to {action} {place}.",
                "Change the rights of the folder, or choose another store with --store DIR.",
            ) from e
        if e.errno in (errno.ENOTDIR, errno.EEXIST):
            raise StoreError(
                f"Cannot {action} {place}: a file is in the place of a folder.",
                "Move the file away, or choose another store with --store DIR.",
            ) from e
        raise StoreError(f"Cannot {action} {place}: {e.strerror or e}.") from e


@contextmanager
def writer_lock(folder: Path, name: str, timeout: float) -> Iterator[None]:
    """Hold the lock of a dataset; the system releases it when the process ends, however it ends.

    Parameters
    ----------
    folder : Path
        Folder of the dataset, which exists.
    name : str
        What to call the dataset in an error.
    timeout : float
        Seconds to wait for another writer.

    Raises
    ------
    StoreError
        Another process writes this dataset.
    """
    path = folder / LOCK_NAME
    with explained(path, "write"):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        give_up = time.monotonic() + timeout
        while not _try_lock(handle):
            if time.monotonic() >= give_up:
                raise StoreError(
                    f"{name}: another process is writing this dataset (lock file {path}).",
                    "Wait until it has finished, then run the command again.",
                )
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
