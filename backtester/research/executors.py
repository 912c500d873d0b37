"""Where parameter sets are evaluated: in this process, in several of this machine, on the machines of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Literal, Protocol, get_args

import polars as pl

from backtester.errors import UnknownNameError, UsageError
from backtester.research.job import Job

ExecutorName = Literal["local", "processes", "ray"]
EXECUTORS: tuple[str, ...] = get_args(ExecutorName)


class Executor(AbstractContextManager["Executor"], Protocol):
    """Evaluates the parts of sweeps; as a context it ends what it started.

    Attributes
    ----------
    name : str
        One of ``EXECUTORS``.
    """

    name: str

    def rows(self, job: Job, parts: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield what ``job.evaluate`` returns for each part, as they are done.

        Parameters
        ----------
        job : Job
            Sent to the workers at the first call; a later call with the same job finds it there.
        parts : iterable of polars.DataFrame
            Parameter sets, each part with a column ``set`` by which the caller puts the rows in order. Parts are asked
            for when a worker is free, so that few are held.

        Yields
        ------
        polars.DataFrame
            Rows of sets, in any order; the rows of a part over which a worker ended may come in several frames. A set
            that ends every worker is a failed row.

        Raises
        ------
        BacktesterError
            The parts name what the job does not know, or no worker can be started.
        """
        ...

    def describe(self) -> Mapping[str, object]:
        """Return what a manifest says of it: its name, how many workers it has."""
        ...


class LocalExecutor:
    """Evaluates parts one after the other in this process; ``Job(threads=N)`` has them use N threads.

    Parameters
    ----------
    threads : int, optional
        For the manifest.
    """

    name = "local"

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to end."""

    def rows(self, job: Job, parts: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield the rows of each part; see ``Executor``."""
        self._threads = job.threads
        for part in parts:
            if part.height:
                yield job.evaluate(part)

    def describe(self) -> Mapping[str, object]:
        """Return the name and the threads of the job."""
        return {"name": self.name} if self._threads is None else {"name": self.name, "threads": self._threads}


def make_executor(name: str, *, workers: int | None = None, address: str | None = None) -> Executor:
    """Return an executor, which starts its workers when it is entered.

    Parameters
    ----------
    name : {"local", "processes", "ray"}
        Where sets are evaluated.
    workers : int, optional
        Processes, or tasks at a time; None: as many as there are cores that this process may use, or in the cluster.
    address : str, optional
        Of a running Ray cluster (``HOST:PORT``, or ``auto``); None: one of this machine, started and ended with the
        sweep.

    Raises
    ------
    UnknownNameError
        There is no such executor.
    UsageError
        The number of workers is below 1, an address is given to another executor than ray, or Ray is not installed.
    """
    if name not in EXECUTORS:
        raise UnknownNameError("executor", name, EXECUTORS)
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers cannot evaluate anything.", "Give 1 or more.")
    if address is not None and name != "ray":
        raise UsageError(f"The executor {name!r} has no address: it is on this machine.", "Use it with --executor ray.")
    if name == "processes":
        from backtester.research.processes import ProcessExecutor  # noqa: PLC0415 - what is not asked for is not loaded

        return ProcessExecutor(workers)
    if name == "ray":
        from backtester.research.ray_cluster import RayExecutor  # noqa: PLC0415 - Ray takes a second to import

        return RayExecutor(workers, address)
    return LocalExecutor(workers)
