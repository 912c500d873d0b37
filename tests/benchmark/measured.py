"""Time and memory of a piece of work in a process of its own.

``python -m tests.benchmark.measured MODULE:FUNCTION JSON`` calls a function with keywords and prints what it returns.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Usage:
    """What a piece of work took.

    Attributes
    ----------
    wall, waited, processor : float
        Seconds from start to end, of these ready to run and waiting for a core (the thread that waited longest; 0 where
        the system does not say), and of all cores.
    memory : int
        Growth of the resident size to its peak [bytes].
    """

    wall: float
    waited: float
    processor: float
    memory: int

    @property
    def seconds(self) -> float:
        """Wall time less the wait for a core: what other work on the machine takes falls away."""
        return self.wall - self.waited


def resident(line: str) -> int:
    """Return a figure of this process's memory, ``VmRSS`` or ``VmHWM`` [bytes]."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{line}:")[2].split()[0]) * 1024


def waits() -> dict[str, float]:
    """Return how long each thread of this process was ready and not running [s]."""
    found = {}
    for task in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError, IndexError):  # it ended, or the system does not say
            found[task.parent.name] = int(task.read_text().split()[1]) * 1e-9
    return found


def used_by(action: Callable[[], Any]) -> tuple[Any, Usage]:
    """Return what an action returns, and what it took."""
    gc.collect()
    with suppress(AttributeError):  # an allocator that keeps what is freed would hide what the action takes
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, waited, begin, begun = resident("VmRSS"), waits(), time.perf_counter(), time.process_time()
    result = action()
    wall, processor = time.perf_counter() - begin, time.process_time() - begun
    longest = max((wait - waited.get(thread, 0.0) for thread, wait in waits().items()), default=0.0)
    return result, Usage(wall, min(longest, wall), processor, max(resident("VmHWM") - before, 0))


def in_child(function: Callable[..., Any], **keywords: Any) -> Any:
    """Call a function of a module in a fresh process; it takes and returns what JSON can say."""
    module = function.__module__
    if module == "__main__":  # the caller was started with -m
        module = sys.modules[module].__spec__.name  # type: ignore[union-attr]
    name = f"{module}:{function.__name__}"
    command = [sys.executable, "-m", "tests.benchmark.measured", name, json.dumps(keywords)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} in a process of its own: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Carry out what the command line asks for."""
    target, keywords = sys.argv[1:3]
    module, _, name = target.partition(":")
    result = getattr(import_module(module), name)(**json.loads(keywords))
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
