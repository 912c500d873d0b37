"""Who writes a run's temporary folder: a lock on it that the system releases when the process ends, however it ends."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_YOUNG_SECONDS = 5  # a folder may just have been made, and not yet be locked
_PATIENCE_SECONDS = 2.0  # a look at a folder holds its lock for an instant
_SILENT_SECONDS = 86_400  # where folders cannot be locked, one that nobody touched for a day has no owner


@contextmanager
def owned(stage: Path) -> Iterator[None]:
    """Own a temporary folder for the time of the block; it may be renamed meanwhile."""
    handle = _opened(stage)
    try:
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while handle is not None and _try_lock(handle) is False and time.monotonic() < give_up:
            time.sleep(0.01)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def is_abandoned(stage: Path) -> bool:
    """Return whether no living process writes a temporary folder any more.

    Parameters
    ----------
    stage : Path
        The folder. Where the system or the disk cannot lock folders, one that was untouched for a day counts as left.
    """
    try:
        silent = time.time() - stage.stat().st_mtime
    except OSError:
        return False
    if silent < _YOUNG_SECONDS:
        return False
    handle = _opened(stage)
    if handle is not None:
        try:
            locked = _try_lock(handle)
        finally:
            os.close(handle)
        if locked is not None:
            return locked
    return silent > _SILENT_SECONDS


if sys.platform == "win32":

    def _opened(stage: Path) -> int | None:  # noqa: ARG001 - folders cannot be opened there
        return None

    def _try_lock(handle: int) -> bool | None:  # noqa: ARG001
        return None

else:
    import fcntl

    def _opened(stage: Path) -> int | None:
        try:
            return os.open(stage, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return None

    def _try_lock(handle: int) -> bool | None:
        """Return whether the lock was free and is held now; None where there are no locks."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True
