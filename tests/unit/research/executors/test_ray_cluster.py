"""Real Ray: a cluster of this machine, and one of two node processes of which one is taken away."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from backtester.errors import BacktesterError, UnknownNameError, UsageError
from backtester.research.executors import make_executor
from backtester.research.ray_cluster import RayExecutor, job_of
from backtester.research.rows import joined
from tests.unit.research.executors.conftest import MakeJob
from tests.unit.research.executors.probe import (
    CALM,
    KILLS,
    KILLS_ONCE,
    RAISES,
    READS,
    SLEEPS,
    in_order,
    parquet,
    parts_of,
    sets_of,
)

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or sys.platform == "win32",
    reason="Ray is not installed (pip install 'backtester[ray]'), or does not form clusters on this system",
)
# Ray leaves the ends of its child processes to the system.
pytestmark = [
    pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.fixture
def cluster(probe_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of two nodes with a core each, on the loopback interface."""
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.setenv(name, "0")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.other = cluster.add_node(**node)
    yield cluster
    cluster.shutdown()


@needs_ray
def test_a_node_is_taken_away_in_mid_sweep(
    cluster: Any,
    make_job: MakeJob,
    demo_store: Path,
    probe_folder: Path,
    tmp_path: Path,
) -> None:
    store = Path(shutil.copytree(demo_store / "venue=synthetic", tmp_path / "store" / "venue=synthetic")).parent
    job = make_job(store)
    sets = sets_of([READS, SLEEPS, RAISES, *[SLEEPS] * 11])
    wanted = in_order(make_executor("local").rows(job, parts_of(sets, 1)))

    def parts() -> Iterator[pl.DataFrame]:
        for k, part in enumerate(parts_of(sets, 1)):
            if k == 1:  # the job is in the object store, and no worker has begun
                store.rename(tmp_path / "gone")
                (tmp_path / "own" / "probe.py").unlink()
            yield part

    done = []
    with make_executor("ray", address=cluster.address) as executor:
        for rows in executor.rows(job, parts()):
            done.append(rows)
            if cluster.other is not None and len(list(probe_folder.glob("node-*"))) == 2:
                cluster.remove_node(cluster.other, allow_graceful=False)
                cluster.other = None
    assert cluster.other is None, "only one node was given parts"
    rows = in_order(done)
    assert_frame_equal(rows, wanted, check_exact=True)
    assert parquet(rows) == parquet(wanted)


@needs_ray
@pytest.mark.long
def test_a_cluster_of_this_machine(make_job: MakeJob) -> None:
    job = make_job()
    sets = sets_of([CALM, CALM, KILLS, KILLS_ONCE, RAISES, CALM])
    wanted = in_order(make_executor("local").rows(job, parts_of(sets, 1)))
    with RayExecutor(2) as executor:
        rows = in_order(executor.rows(job, parts_of(sets, 3)))
        assert executor.describe() == {"name": "ray", "address": None, "workers": 2}
        with pytest.raises(UnknownNameError, match="Unknown parameter 'lokback' of strategy 'probe'"):
            list(executor.rows(job, [pl.DataFrame({"set": [0], "lokback": [5]})]))
        assert executor._sent is not None
        check_memory(executor._sent.name, executor._sent.packed)
    assert rows["status"].to_list() == ["done", "done", "failed", "done", "failed", "done"]
    assert rows["error"][2].startswith("The worker that evaluated it ended (WorkerCrashedError)")
    assert_frame_equal(
        joined([rows[:2], rows[3:]]).sort("set"), joined([wanted[:2], wanted[3:]]).sort("set"), check_exact=True
    )


def check_memory(name: str, packed: Any) -> None:
    """Check in a worker that market arrays lie in the object store, and that the kernel takes them as they are."""
    import ray

    def seen(name: str, holder: list[Any], sets: pl.DataFrame) -> tuple[list[str], list[str], list[str]]:
        from backtester.kernel import replay as kernel

        found = job_of(name, holder)
        trade = found.base.panel.trade
        stored = [np.asarray(buffer) for buffer in ray.get(holder[0]).buffers]
        arrays = (trade.open, trade.high, trade.low, trade.close)
        copied = [str(k) for k, values in enumerate(arrays) if not any(np.shares_memory(values, s) for s in stored)]
        frozen = [str(k) for k, values in enumerate(arrays) if not values.flags.writeable]
        before = kernel.replay.stats.cache_misses.copy()
        found.evaluate(sets)
        return copied, frozen, [str(key) for key in kernel.replay.stats.cache_misses if key not in before]

    task = ray.remote(seen)
    copied, frozen, compiled = ray.get(task.remote(name, [packed], sets_of([CALM, CALM])))
    assert not copied
    assert not frozen
    assert not compiled


def test_ray_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'backtester\[ray\]'"):
        make_executor("ray")


@needs_ray
def test_an_address_at_which_nobody_answers() -> None:
    with (
        pytest.raises(BacktesterError, match=r"No Ray cluster answers at 127\.0\.0\.1:9"),
        RayExecutor(None, "127.0.0.1:9"),
    ):
        pass
