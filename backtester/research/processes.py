"""Workers in processes of this machine, which share one copy of the market."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import TracebackType

import polars as pl

from backtester.errors import BacktesterError, InternalError
from backtester.research.environment import ONE_THREAD, inherited
from backtester.research.job import Job
from backtester.research.job_transfer import pack
from backtester.research.part_queue import WAY_ON, Part, PartQueue
from backtester.research.shared_block import BlockAddress, SharedBlock
from backtester.research.worker import Answer, Lost, Raised, Ready, serve

TRIES = 2  # workers that may end over a part before it is halved
_STILLBORN = 3  # workers that may end, one after the other, before they have the job
_SECONDS = 5.0  # that a worker may take to end by itself


def usable_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class ProcessExecutor:
    """Evaluates parts in processes of this machine.

    Parameters
    ----------
    workers : int, optional
        Processes; None: one for every core that this process may use.
    """

    name = "processes"

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or usable_cores()
        self._idle: list[_Worker] = []
        self._sent: tuple[Job, SharedBlock] | None = None
        self._stillborn = 0

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes and remove what they share."""
        for worker in self._idle:
            worker.dismiss()
        for worker in self._idle:
            worker.join()
        self._idle.clear()
        self._forget()

    def describe(self) -> Mapping[str, object]:
        """Return the name and the number of processes."""
        return {"name": self.name, "workers": self.workers}

    def rows(self, job: Job, parts: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield the rows of each part as they are done; see ``Executor``."""
        address = self._share(job)
        queue = PartQueue(parts, TRIES)
        busy: dict[Connection, _Worker] = {}
        try:
            self._set_to_work(queue, address, busy)
            while busy:
                done = [self._heard(busy, connection, queue) for connection in _readable(busy)]
                self._set_to_work(queue, address, busy)  # before the rows are handed on, which may take a while
                yield from (rows for rows in done if rows is not None)
        finally:
            for worker in busy.values():  # who stops listening does not wait for what is under way
                worker.kill()

    def _share(self, job: Job) -> BlockAddress:
        if self._sent is None or self._sent[0] is not job:
            self._forget()
            self._sent = (job, SharedBlock(pack(job, with_data=False, receivers=self.workers)))
        return self._sent[1].address

    def _forget(self) -> None:
        if self._sent is not None:
            self._sent[1].close()
            self._sent = None

    def _set_to_work(self, queue: PartQueue, address: BlockAddress, busy: dict[Connection, _Worker]) -> None:
        """Give a part to every worker that is free, and start those that are missing, as long as there are parts."""
        while len(busy) < self.workers:
            part = queue.take()
            if part is None:
                return
            worker = self._idle.pop() if self._idle else _Worker()
            busy[worker.connection] = worker
            worker.give(address, part)

    def _heard(self, busy: dict[Connection, _Worker], connection: Connection, queue: PartQueue) -> pl.DataFrame | None:
        """Return the rows that a worker gives, if it does."""
        worker = busy[connection]
        assert worker.part is not None
        try:
            answer: Answer = connection.recv()
        except (EOFError, OSError):
            del busy[connection]
            how = worker.how_ended()
            if worker.has_job:
                return queue.lost(worker.part, f"The worker that evaluated it ended ({how}): out of memory?\n{WAY_ON}")
            self._count_stillborn(how)
            queue.put_back(worker.part)
            return None
        if isinstance(answer, Ready):
            worker.has_job = True
            self._stillborn = 0
            return None
        self._idle.append(busy.pop(connection))
        if isinstance(answer, Raised):
            raise _error_of(answer)
        if isinstance(answer, Lost):
            return queue.lost(worker.part, f"It could not be evaluated: {answer.why}.\n{WAY_ON}")
        return answer

    def _count_stillborn(self, how: str) -> None:
        """Give up where worker after worker ends before it has the job."""
        self._stillborn += 1
        if self._stillborn >= _STILLBORN:
            raise BacktesterError(
                f"Worker processes end before they begin ({how}).",
                'In a script, start the sweep below `if __name__ == "__main__":`, since workers import the script; '
                "else the memory may not do for so many: use fewer workers.",
            )


class _Worker:
    """A process at the other end of a connection, and the part that it is at."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy threads that polars and numba have started
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), name="backtester-worker", daemon=True)
        try:
            with inherited(ONE_THREAD), _deaf_to_interrupts():
                self.process.start()
        except OSError as error:
            raise BacktesterError(
                f"A worker process cannot be started: {error.strerror}.", "Use fewer workers, or the executor local."
            ) from error
        finally:
            theirs.close()
        self.part: Part | None = None
        self.has_job = False
        self._address: BlockAddress | None = None

    def give(self, address: BlockAddress, part: Part) -> None:
        """Send a part; what becomes of a worker that has just ended shows when it is listened to."""
        self.part = part
        if address != self._address:
            self._address, self.has_job = address, False
        try:
            self.connection.send((address, part.sets))
        except OSError:
            self.process.join(_SECONDS)

    def how_ended(self) -> str:
        """Wait for the end of a process that has closed its connection, and return how it ended."""
        self.join()
        code = self.process.exitcode or 0
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    def dismiss(self) -> None:
        """Let the process end, which waits for its next part."""
        self.connection.close()

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.dismiss()
        self.join()

    def join(self) -> None:
        """Wait for the end of the process, which is helped along where it takes long."""
        self.process.join(_SECONDS)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()


def _readable(busy: Mapping[Connection, _Worker]) -> list[Connection]:
    """Wait until some worker has said something, or has ended."""
    return [connection for connection in wait(list(busy)) if isinstance(connection, Connection)]


def _error_of(answer: Raised) -> BacktesterError:
    if answer.refusal is not None:
        return answer.refusal
    return InternalError(f"A worker failed: {answer.trace.strip().splitlines()[-1]}", answer.trace)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: who started them ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # whose start would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children keep what is blocked
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
