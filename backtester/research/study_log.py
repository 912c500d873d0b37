"""A study's file: every step of it as a row of SQLite, which a kill leaves whole."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend


class StepLog(BaseJournalBackend):
    """Steps of a study in the order in which they were made.

    Optuna's own tables take tens of milliseconds a trial; a row a step takes well under one, and the study lives in
    memory beside it. Rows are handed to the system with each step, so that only a crash of the machine, not one of the
    process, can lose the last of them.

    Parameters
    ----------
    path : Path
        The file; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS steps (number INTEGER PRIMARY KEY, step TEXT NOT NULL)")

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yield the steps from a number on, the first of which is 0."""
        rows = self._connection.execute("SELECT step FROM steps WHERE number > ? ORDER BY number", (log_number_from,))
        for (step,) in rows.fetchall():
            yield json.loads(step)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add steps, at once, or with all others of `whole`."""
        rows = [(json.dumps(log),) for log in logs]
        if self._connection.in_transaction:
            self._connection.executemany("INSERT INTO steps (step) VALUES (?)", rows)
            return
        with self.whole():
            self._connection.executemany("INSERT INTO steps (step) VALUES (?)", rows)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Keep all steps that are made inside, or none of them where it ends by an exception or a kill."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
