from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from backtester.errors import UnknownNameError, UsageError
from backtester.research.executors import make_executor
from backtester.research.processes import ProcessExecutor
from tests.unit.research.executors.conftest import MakeJob
from tests.unit.research.executors.probe import CALM, KILLS, KILLS_ONCE, RAISES, in_order, parquet, parts_of, sets_of


def test_two_processes_return_what_one_process_does(make_job: MakeJob) -> None:
    job, other = make_job(), make_job(data={"end": "2024-03-15"})
    sets = sets_of([CALM, RAISES, CALM, CALM, KILLS_ONCE, CALM, CALM])
    with make_executor("local") as executor:
        wanted = in_order(executor.rows(job, parts_of(sets, 2)))
        shorter = in_order(executor.rows(other, parts_of(sets[:4], 2)))
    assert wanted["status"].to_list() == ["done", "failed", *["done"] * 5]
    with make_executor("processes", workers=2) as executor:
        rows = in_order(executor.rows(job, parts_of(sets, 2)))  # one worker is killed over the fifth set
        assert_frame_equal(rows, wanted, check_exact=True)
        assert parquet(rows) == parquet(wanted)
        again = in_order(executor.rows(other, parts_of(sets[:4], 2)))  # the same workers, another job
        assert_frame_equal(again, shorter, check_exact=True)


def test_a_set_that_ends_every_worker_is_a_failed_row(make_job: MakeJob) -> None:
    sets = sets_of([CALM, CALM, KILLS, CALM])
    with make_executor("processes", workers=2) as executor:
        rows = in_order(executor.rows(make_job(), parts_of(sets, 4)))
    assert rows["status"].to_list() == ["done", "done", "failed", "done"]
    assert "The worker that evaluated it ended (killed by SIGKILL): out of memory?" in rows["error"][2]


def test_parts_are_asked_for_when_a_worker_is_free(make_job: MakeJob) -> None:
    asked = []

    def parts() -> Iterator[pl.DataFrame]:
        for part in parts_of(sets_of([CALM] * 12), 1):
            asked.append(part)
            yield part

    with ProcessExecutor(2) as executor:
        rows = executor.rows(make_job(), parts())
        done = [next(rows)]
        assert len(asked) <= len(done) + 3  # two under way, and the one that finished beside the first
        rows.close()  # type: ignore[attr-defined]  # a generator: the sweep is interrupted
        assert not [worker for worker in executor._idle if not worker.process.is_alive()]


def test_a_name_that_the_job_lacks_is_refused_as_here(make_job: MakeJob) -> None:
    sets = pl.DataFrame({"set": [0], "lokback": [5]})
    refused = pytest.raises(UnknownNameError, match="Unknown parameter 'lokback' of strategy 'probe'")
    with make_executor("processes", workers=1) as executor, refused:
        list(executor.rows(make_job(), [sets]))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ({"name": "cloud"}, "Unknown executor 'cloud'"),
        ({"name": "processes", "workers": 0}, "0 workers cannot"),
        ({"name": "processes", "address": "here:1"}, "has no address"),
    ],
)
def test_wrong_executors_are_refused(call: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        make_executor(**call)  # type: ignore[arg-type]


def test_what_a_manifest_says() -> None:
    assert make_executor("processes", workers=3).describe() == {"name": "processes", "workers": 3}
    assert make_executor("local").describe() == {"name": "local"}


@pytest.mark.long
def test_a_script_without_a_guard_is_told_what_is_missing(make_job: MakeJob, tmp_path: Path, demo_store: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"""
from pathlib import Path
import polars as pl
from backtester.engine.run_file import build_config
from backtester.market.store import Store
from backtester.research.executors import make_executor
from backtester.research.job import Job
data = {{"symbols": ["BTC/USDT:USDT"], "timeframe": "1h", "start": "2024-03-01", "end": "2024-03-10"}}
job = Job(build_config({{"data": data, "strategy": {{"name": "trend"}}}}), Store(Path({str(demo_store)!r})))
with make_executor("processes", workers=1) as executor:
    print(list(executor.rows(job, [pl.DataFrame({{"set": [0], "fast": [5]}})])))
""",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=os.environ, check=False)
    assert 'below `if __name__ == "__main__":`' in done.stderr


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches a group of processes in another way")
def test_ctrl_c_keeps_the_rows_and_ends_the_workers_in_silence(tmp_path: Path, demo_store: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"""
from pathlib import Path
import polars as pl
from backtester.engine.run_file import build_config
from backtester.market.store import Store
from backtester.research.executors import make_executor
from backtester.research.job import Job
if __name__ == "__main__":
    data = {{"symbols": ["BTC/USDT:USDT"], "timeframe": "5m"}}
    job = Job(build_config({{"data": data, "strategy": {{"name": "trend"}}}}), Store(Path({str(demo_store)!r})))
    done = 0
    try:
        with make_executor("processes", workers=2) as executor:
            for rows in executor.rows(job, pl.DataFrame({{"set": range(200)}}).iter_slices(1)):
                done += rows.height
                print("row", flush=True)
    except KeyboardInterrupt:
        print("kept", done)
""",
        encoding="utf-8",
    )
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        out, told = process.communicate(timeout=60)  # returns when every process that inherited the pipes has ended
    assert "kept" in out
    assert told == ""
