"""Workers on the machines of a Ray cluster, which read one copy of the market on each machine."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import logging
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import polars as pl

from backtester.errors import BacktesterError, InternalError, UsageError
from backtester.research.environment import ONE_THREAD, inherited
from backtester.research.job import Job
from backtester.research.job_transfer import Bytes, Packed, pack, symbols_read, unpack
from backtester.research.part_queue import WAY_ON, Part, PartQueue
from backtester.research.processes import usable_cores
from backtester.strategy import Strategy

TRIES = 4  # workers that may end over a part: a machine that is taken away is no fault of its parts
AHEAD = 2  # parts under way for each core: the next one is there when a worker is done
_SECONDS = 5.0  # that a cluster may take to answer
# Ray's workers write no reports of use and no advice.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
# A cluster of this machine alone listens on the loopback interface; the name tells where Ray does so by default.
_OWN_CLUSTER = _QUIET | ONE_THREAD | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


class RayExecutor:
    """Evaluates parts as tasks of Ray.

    Parameters
    ----------
    workers : int, optional
        Cores to use; None: all of the cluster, or all that this process may use where it starts its own.
    address : str, optional
        Of a running cluster; None: one of this machine alone is started, which listens on the loopback interface.

    Raises
    ------
    UsageError
        Ray is not installed.
    """

    name = "ray"

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        if importlib.util.find_spec("ray") is None:
            raise UsageError("The executor 'ray' needs Ray, which is not installed.", "pip install 'backtester[ray]'")
        self.workers = workers
        self.address = address
        self._has_started = False
        self._sent: _Sent | None = None

    def __enter__(self) -> RayExecutor:
        with inherited(_OWN_CLUSTER if self.address is None else _QUIET):
            if not _ray().is_initialized():  # else by who calls us, who ends it too
                _keep_silent()
                self._start()
                self._has_started = True
        return self

    def _start(self) -> None:

        options: dict[str, Any] = {"address": self.address, "runtime_env": {"env_vars": ONE_THREAD}}
        if self.address is None:
            options = {"address": "local", "num_cpus": self.workers or usable_cores(), "include_dashboard": False}
        try:
            _knock(self.address)
            _ray().init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except (OSError, ValueError, RuntimeError) as error:
            where = "can be started" if self.address is None else f"answers at {self.address}"
            raise BacktesterError(
                f"No Ray cluster {where}: {_first_line(error)}",
                "`ray start --head` starts one; name its HOST:PORT with --address. Without --address the sweep starts "
                "its own on this machine.",
            ) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the cluster; one that was started here ends."""
        self._sent = None
        if self._has_started:
            _ray().shutdown()
            self._has_started = False

    def describe(self) -> Mapping[str, object]:
        """Return the name, the address and the number of cores."""
        return {"name": self.name, "address": self.address, "workers": self.workers}

    def rows(self, job: Job, parts: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield the rows of each part as they are done; see ``Executor``."""
        # Ray would try again by itself, the same part over and over: what ends its workers is halved here
        task = _ray().remote(evaluate_part).options(num_cpus=1, max_retries=0)
        queue = PartQueue(parts, TRIES)
        busy: dict[Any, Part] = {}
        try:
            while True:
                while len(busy) < AHEAD * self._cores():
                    part = queue.take()
                    if part is None:
                        break
                    sent = self._share(job, part.sets)
                    busy[task.remote(sent.name, [sent.packed], part.sets)] = part
                if not busy:
                    return
                done, _ = _ray().wait(list(busy), num_returns=1)
                for reference in done:
                    rows = _fetched(reference, busy.pop(reference), queue)
                    if rows is not None:
                        yield rows
        finally:
            for reference in busy:  # who stops listening does not wait for what is under way
                _ray().cancel(reference, force=True)

    def _cores(self) -> int:
        """Return how many parts are evaluated at a time: machines may join and leave."""
        return self.workers or max(1, int(_ray().cluster_resources().get("CPU", 1)))

    def _share(self, job: Job, sets: pl.DataFrame) -> _Sent:
        """Return a job in the object store, with what some sets read: put there once, again where they read more."""
        symbols = symbols_read(job, sets)
        sent = self._sent
        if sent is not None and sent.job is job:
            if symbols <= sent.symbols:
                return sent
            symbols |= sent.symbols
        self._sent = None  # the store may drop the old one before the new one comes
        packed = pack(job, with_data=True, receivers=_most_cores(), symbols=symbols, by_value=_by_value)
        self._sent = _Sent(job, symbols, uuid.uuid4().hex, _ray().put(packed))
        return self._sent


@dataclass(frozen=True, eq=False)
class _Sent:
    """A job in the object store: a name by which workers know it again, and where it lies."""

    job: Job
    symbols: frozenset[str]
    name: str
    packed: Any


def _fetched(reference: Any, part: Part, queue: PartQueue) -> pl.DataFrame | None:
    """Return the rows of a part, None where its worker ended and it is tried again."""
    faults = _ray().exceptions
    gone = (faults.WorkerCrashedError, faults.NodeDiedError, faults.ObjectLostError, faults.OutOfMemoryError)
    try:
        rows = _ray().get(reference)
    except faults.RayError as error:
        cause = getattr(error, "cause", None) or error  # what the task raised, or Ray itself
        if isinstance(cause, BacktesterError):
            raise cause from None
        if isinstance(cause, (MemoryError, faults.OutOfMemoryError)):
            return queue.lost(part, f"It could not be evaluated: out of memory.\n{WAY_ON}")
        if isinstance(cause, gone):
            return queue.lost(part, f"The worker that evaluated it ended ({type(cause).__name__}).\n{WAY_ON}")
        raise InternalError(f"A worker failed: {_last_line(error)}", str(error)) from error
    assert isinstance(rows, pl.DataFrame)
    return rows


# -- in the worker ---------------------------------------------------------------------------------------------------

_held: tuple[str, Job] | None = None


def evaluate_part(name: str, packed: Sequence[Any], sets: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a part.

    Parameters
    ----------
    name : str
        Of the job: a worker unpacks it once.
    packed : sequence of one reference
        To the job in the object store, inside of a list, so that Ray fetches it only when it is asked to.
    sets : polars.DataFrame
        The part.
    """
    return job_of(name, packed).evaluate(sets)


def job_of(name: str, packed: Sequence[Any]) -> Job:
    """Return the job of a worker, its arrays where the object store has them."""
    global _held  # noqa: PLW0603 - a worker process has one job at a time, whatever task it is given
    if _held is None or _held[0] != name:
        _held = None
        found: Packed = _ray().get(packed[0])
        _held = (name, unpack(found, [writeable(buffer) for buffer in found.buffers]))
    return _held[1]


def writeable(buffer: Bytes) -> Any:
    """Return the same memory as a buffer that may be written, which keeps it alive.

    The object store hands out read-only memory. To numba a read-only array is another type: it would compile the kernel
    again, and what requires a writeable array would copy it. The kernel does not write to the market.
    """
    if not buffer.nbytes:
        return bytearray()
    alias = (ctypes.c_char * buffer.nbytes).from_address(buffer.ctypes.data)
    alias.owner = buffer  # type: ignore[attr-defined]  # the address alone would not hold it
    return alias


def _by_value(strategy: type[Strategy]) -> bytes:
    """Return the definition of a class that stands in the script that is run, which no worker can import."""
    return bytes(_ray().cloudpickle.dumps(strategy))


def _most_cores() -> int:
    """Return the cores of the largest machine of the cluster."""
    return max((int(node["Resources"].get("CPU", 1)) for node in _ray().nodes() if node["Alive"]), default=1)


def _keep_silent() -> None:
    """Keep Ray from printing what ended a worker: the sweep tells it, and standard output may have to be JSON alone."""
    worker: Any = importlib.import_module("ray._private.worker")
    if hasattr(worker, "print_to_stdstream"):  # Ray has no option for it
        worker.print_to_stdstream = lambda data, ignore_prefix: None  # noqa: ARG005 - as Ray calls it


def _knock(address: str | None) -> None:
    """Raise what the system says where nobody listens at an address: Ray would ask for minutes."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), _SECONDS).close()


def _ray() -> Any:
    """Return Ray, which takes a second to import."""
    return importlib.import_module("ray")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _last_line(error: BaseException) -> str:
    return ([*str(error).strip().splitlines(), type(error).__name__])[-1]
