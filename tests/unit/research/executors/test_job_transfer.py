from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from backtester.errors import ConfigError, DataError, UnknownNameError, UsageError
from backtester.kernel import replay as kernel
from backtester.market.snapshot import Snapshot
from backtester.market.store import Store
from backtester.research.job import Job
from backtester.research.job_transfer import pack, symbols_read, unpack
from backtester.research.ray_cluster import writeable
from backtester.research.shared_block import SharedBlock, read_block
from backtester.strategy import Strategy
from tests.unit.research.executors.conftest import MakeJob
from tests.unit.research.executors.probe import CALM, RAISES, READS, sets_of

SETS = sets_of([CALM, RAISES, CALM, CALM])


def addresses(job: Job) -> list[int]:
    trade = job.base.panel.trade
    return [values.ctypes.data for values in (trade.open, trade.high, trade.low, trade.close)]


def test_a_job_comes_back_the_same(make_job: MakeJob) -> None:
    job = make_job()
    back = unpack(pack(job, with_data=True))
    assert isinstance(back.store, Snapshot)
    assert_frame_equal(back.evaluate(SETS), job.evaluate(SETS), check_exact=True)


def test_packing_copies_no_market_array(make_job: MakeJob) -> None:
    job = make_job()
    packed = pack(job, with_data=False)
    assert set(addresses(job)) <= {buffer.ctypes.data for buffer in packed.buffers}
    assert addresses(unpack(packed)) == addresses(job)


def test_arrays_of_a_block_lie_in_it_and_may_be_written_without_changing_it(make_job: MakeJob) -> None:
    job = make_job()
    with SharedBlock(pack(job, with_data=False)) as block:
        first, second = read_block(block.address), read_block(block.address)
        close = first.base.panel.trade.close
        assert close.flags.writeable
        assert close.ctypes.data % 64 == 0
        close[:] = 0.0
        np.testing.assert_array_equal(second.base.panel.trade.close, job.base.panel.trade.close)
    assert not Path(block.address.path).exists()


def test_read_only_memory_is_used_in_place_and_compiles_nothing(make_job: MakeJob) -> None:
    job = make_job()
    wanted = job.evaluate(SETS)
    compiled = list(kernel.replay.signatures)
    packed = pack(job, with_data=False)
    frozen = []
    for buffer in packed.buffers:  # as an object store hands it out
        copy = buffer.copy()
        copy.flags.writeable = False
        frozen.append(copy)
    back = unpack(replace(packed, buffers=tuple(frozen)), [writeable(buffer) for buffer in frozen])
    assert set(addresses(back)) <= {buffer.ctypes.data for buffer in frozen}
    assert back.base.panel.trade.close.flags.writeable
    assert_frame_equal(back.evaluate(SETS), wanted, check_exact=True)
    assert list(kernel.replay.signatures) == compiled


def test_workers_share_the_memory(make_job: MakeJob) -> None:
    job = make_job()
    back = unpack(pack(job, with_data=False, receivers=4))
    assert (back.memory, back.threads) == (job.memory // 4, 1)


def test_other_versions_are_refused(make_job: MakeJob) -> None:
    packed = pack(make_job(), with_data=False)
    other = replace(packed, versions=packed.versions | {"polars": "0.1"})
    with pytest.raises(UsageError, match=r"A worker has polars .* where this process has 0\.1"):
        unpack(other)


def test_a_class_that_no_import_finds_is_refused(demo_store: Path, make_job: MakeJob) -> None:
    class Hidden(Strategy):
        """Cannot be imported."""

        warmup = 0

        def target(self) -> pl.Expr:
            return pl.lit(1.0)

    job = Job(make_job().config, Store(demo_store), strategy=Hidden)
    with pytest.raises(UsageError, match=r"(?s)'hidden' cannot be sent.*in a file of its own"):
        pack(job, with_data=False)


def test_symbols_that_only_some_sets_read_are_found(make_job: MakeJob) -> None:
    job = make_job()
    assert symbols_read(job, sets_of([CALM])) == frozenset()
    assert symbols_read(job, sets_of([CALM, READS])) == {"ETH/USDT:USDT"}
    sets = sets_of([CALM, READS])
    back = unpack(pack(job, with_data=True, symbols=symbols_read(job, sets)))
    assert_frame_equal(back.evaluate(sets), job.evaluate(sets), check_exact=True)
    assert "was not sent to this worker" in unpack(pack(job, with_data=True)).evaluate(sets)["error"][1]


def test_files_of_the_configuration_go_along(make_job: MakeJob, tmp_path: Path) -> None:
    file = tmp_path / "members.csv"
    file.write_text("time,symbol,member\n2024-03-10,BTC/USDT:USDT,true\n", encoding="utf-8")
    job = make_job(universe={"file": str(file)})
    wanted = job.evaluate(SETS)
    packed = pack(job, with_data=True)
    file.unlink()
    back = unpack(packed)
    assert back.config.universe.file not in (None, str(file))
    assert_frame_equal(back.evaluate(SETS), wanted, check_exact=True)


@pytest.mark.parametrize(
    "error",
    [
        UnknownNameError("symbol", "BTX", ["BTC"], "here"),
        DataError("a trade 1h", "is missing", 0, "Fetch it."),
        ConfigError("It is wrong.", "Change it."),
    ],
)
def test_refusals_cross_processes_as_they_are(error: Exception) -> None:
    import pickle

    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)
