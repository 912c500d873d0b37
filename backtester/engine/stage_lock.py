"""Who writes a run's temporary folder: a lock on it that the system releases when the process ends, however it ends."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SILENT_SECONDS = 86_400  # where folders cannot be locked, one that nobody touched for a day has no owner


@contextmanager
def owned(stage: Path) -> Iterator[None]:
    """Own a temporary folder for the time of the block; it may be renamed meanwhile."""
    handle = _opened(stage)
    try:
        if handle is not None:
            _try_lock(handle)
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
    handle = _opened(stage)
    if handle is not None:
        try:
            locked = _try_lock(handle)
        finally:
            os.close(handle)
        if locked is not None:
            return locked
    try:
        return time.time() - stage.stat().st_mtime > _SILENT_SECONDS
    except OSError:
        return False


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
