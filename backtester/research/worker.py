"""The life of a worker process: it takes a job and parts of a sweep, and gives rows back."""

from __future__ import annotations

import signal
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection

import polars as pl

from backtester.errors import BacktesterError
from backtester.research.job import Job
from backtester.research.shared_block import BlockAddress, read_block

OUT_OF_MEMORY = "the memory is used up"


@dataclass(frozen=True)
class Ready:
    """The worker has the job."""


@dataclass(frozen=True)
class Lost:
    """The worker goes on, and could not evaluate the part."""

    why: str


@dataclass(frozen=True)
class Raised:
    """The job raised: a refusal, or a bug with the text of its traceback."""

    refusal: BacktesterError | None
    trace: str


Answer = Ready | Lost | Raised | pl.DataFrame


def serve(connection: Connection) -> None:
    """Answer until the other end is closed: with the rows of each part, and ``Ready`` whenever a job is loaded."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it, who ends it
    held: tuple[BlockAddress, Job] | None = None
    while True:
        try:
            address, sets = connection.recv()
        except EOFError:
            return
        try:
            if held is None or held[0].name != address.name:
                held = None  # the old job goes before the new one comes
                held = (address, read_block(address))
                connection.send(Ready())
            connection.send(held[1].evaluate(sets))
        except MemoryError:
            connection.send(Lost(OUT_OF_MEMORY))
        except BacktesterError as error:
            connection.send(Raised(error, ""))
        except Exception:  # noqa: BLE001 - a bug is told where the sweep runs
            connection.send(Raised(None, traceback.format_exc()))
