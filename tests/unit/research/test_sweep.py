"""Parts of a sweep: their pace, the memory, the folder, the check against full replays, ranking."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backtester.domain.config import RunConfig
from backtester.errors import BacktesterError, InternalError, StoreError, UnknownNameError, UsageError
from backtester.research import exact_check as checking
from backtester.research import sweep
from backtester.research.plan import SweepPlan, differences, read_section, sample_of
from backtester.research.ranking import check_metric, lost_text, ranked
from backtester.research.space import Sample
from backtester.research.sweep import Meter, SweepProgress, evaluated
from backtester.research.sweep_folder import SweepFolder


def sets(count: int, chunk: int = 1000) -> Iterator[pl.DataFrame]:
    for first in range(0, count, chunk):
        numbers = range(first, min(first + chunk, count))
        yield pl.DataFrame({"set": numbers, "x": [float(n % 7) for n in numbers]})


def answered(part: pl.DataFrame) -> pl.DataFrame:
    return part.with_columns(
        status=pl.lit("done"), error=pl.lit(None, pl.String), path=pl.lit("replay"), sharpe=pl.col("x") * 2
    )


@dataclass
class Fake:
    """An executor that answers at once, in the order asked for, and has a memory of so many sets."""

    memory: int = 10**9
    split: int = 10**9
    held: int = 1
    sizes: list[int] = field(default_factory=list)
    entered: int = 0

    def __enter__(self) -> Fake:
        self.entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.entered -= 1

    def rows(self, job: Any, parts: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        assert self.entered == 1
        waiting: list[pl.DataFrame] = []
        for part in parts:
            self.sizes.append(part.height)
            waiting.append(part)
            if len(waiting) >= self.held:
                yield from self._done(waiting.pop())  # the last first: out of order
        while waiting:
            yield from self._done(waiting.pop())

    def _done(self, part: pl.DataFrame) -> Iterator[pl.DataFrame]:
        if part.height > self.memory:
            raise MemoryError
        for first in range(0, part.height, self.split):
            yield answered(part.slice(first, self.split))


@pytest.mark.parametrize(
    "fake", [Fake(), Fake(held=3), Fake(split=5), Fake(memory=10, held=3), Fake(memory=1), Fake(memory=40, split=3)]
)
def test_every_set_is_evaluated_once(fake: Fake) -> None:
    rows = pl.concat(evaluated(None, fake, sets(500, 130)))  # type: ignore[arg-type]  # the fake needs no job
    assert rows["set"].sort().to_list() == list(range(500))
    assert fake.entered == 0


def test_a_part_without_memory_is_halved_and_later_ones_stay_small() -> None:
    fake = Fake(memory=20)
    assert pl.concat(evaluated(None, fake, sets(300))).height == 300  # type: ignore[arg-type]
    assert fake.sizes[:3] == [64, 32, 16]
    assert max(fake.sizes[3:]) <= 16


def test_a_single_set_without_memory_is_an_error_of_its_own() -> None:
    with pytest.raises(BacktesterError, match="memory does not suffice for a single set"):
        list(evaluated(None, Fake(memory=0), sets(300)))  # type: ignore[arg-type]


def test_parts_keep_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(sweep.time, "perf_counter", lambda: now[0])

    class Timed(Fake):
        def _done(self, part: pl.DataFrame) -> Iterator[pl.DataFrame]:
            now[0] += part.height / self.memory  # `memory` sets a second
            yield answered(part)

    slow = Timed(memory=20)
    list(evaluated(None, slow, sets(400)))  # type: ignore[arg-type]
    assert slow.sizes[0] == 64
    assert slow.sizes[8:-1] == [10] * len(slow.sizes[8:-1])  # half a second each
    quick = Timed(memory=100_000)
    list(evaluated(None, quick, sets(400_000, 400_000)))  # type: ignore[arg-type]
    assert quick.sizes[:4] == [64, 256, 1024, 4096]
    assert max(quick.sizes) == 20_000


def test_a_small_sweep_is_shared_among_its_workers() -> None:
    fake = Fake(held=3)
    list(evaluated(None, fake, sets(36), sweep.share(36, 3)))  # type: ignore[arg-type]
    assert fake.sizes[:3] == [3, 3, 3]
    assert sweep.share(36, 1) == 36
    assert sweep.share(2, 8) == 1


def test_progress_tells_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(sweep.time, "perf_counter", lambda: now[0])
    told: list[SweepProgress] = []
    meter = Meter(100, 20, 1, told.append)
    now[0] = 2.0
    meter.count(answered(next(sets(10))).with_columns(status=pl.Series(["done"] * 9 + ["failed"])))
    assert told == [SweepProgress(30, 2, 100, 5.0)]
    assert told[0].seconds_left == 14.0
    assert SweepProgress(0, 0, 10).seconds_left is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (45, "45 s"), (600, "10 min"), (12_600, "3.5 hours"), (829_440, "9.6 days"), (1e9, "31.7 years")],
)
def test_durations(seconds: float, text: str) -> None:
    assert sweep.duration_text(seconds) == text


# -- the folder ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder.create(tmp_path / "runs", "one", "", {"hashes": {"config": "a", "sets": "b", "all": "c"}})


def test_parts_are_joined_in_order_with_all_their_columns(folder: SweepFolder) -> None:
    first, second = answered(next(sets(3))), answered(next(sets(3))).with_columns(pl.col("set") + 3)
    folder.write_part(second.with_columns(orders_dropped_lot=pl.lit(2)))
    folder.write_part(
        first.with_columns(status=pl.Series(["done", "failed", "done"]), error=pl.Series([None, "no", None]))
    )
    missing = folder.missing(8)
    assert missing is not None
    assert missing.tolist() == [False] * 6 + [True] * 2
    manifest = folder.finish({"state": "finished"})
    rows = pl.read_parquet(folder.path / "sets.parquet")
    assert rows["set"].to_list() == [0, 1, 2, 3, 4, 5]
    assert rows["orders_dropped_lot"].to_list() == [0, None, 0, 2, 2, 2]
    assert (manifest["done"], manifest["failed"], manifest["paths"]) == (5, 1, {"replay": 5})
    assert manifest["first_error"] == "no"
    assert sorted(path.name for path in folder.path.iterdir()) == ["manifest.json", "sets.parquet", "sweep.toml"]


def test_a_crash_between_joining_and_removing_loses_and_repeats_nothing(folder: SweepFolder) -> None:
    rows = answered(next(sets(4)))
    folder.write_part(rows)
    folder.finish({})
    with folder.locked():
        folder.write_part(rows)  # as if it had not been removed yet
        folder.write_part(rows.with_columns(pl.col("set") + 4))
    found = folder.rows()
    assert found is not None
    assert found.collect()["set"].to_list() == list(range(8))


def test_one_process_at_a_time(folder: SweepFolder) -> None:
    with folder.locked(), pytest.raises(StoreError, match="another process"), SweepFolder(folder.path).locked():
        pass


def test_folders_of_something_else(folder: SweepFolder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no folder"):
        SweepFolder.opened(tmp_path / "none")
    with pytest.raises(UsageError, match="not a sweep"):
        SweepFolder.opened(tmp_path)
    folder.refuse_another({"config": "a", "sets": "b", "all": "c"})
    with pytest.raises(UsageError, match="the axes, the filter or the sample and the market data differ"):
        folder.refuse_another({"config": "a", "sets": "x", "data": {}, "all": "d"})
    manifest = json.loads((folder.path / "manifest.json").read_text())
    (folder.path / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(StoreError, match="format 1, not 99"):
        SweepFolder.opened(folder.path)
    (folder.path / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        SweepFolder.opened(folder.path)


def test_what_differs_is_said_in_words() -> None:
    assert differences({"config": 1, "feature x": 2}, {"config": 1, "strategy": 3}) == [
        "the file of feature x",
        "the strategy's source",
    ]


# -- sweep.toml ------------------------------------------------------------------------------------------------------


def test_a_plan_is_written_and_read_back(tmp_path: Path) -> None:
    grid = {"fast": "5:20:5", "account.leverage": (1.0, 3.0), "mode": ("a", "b")}
    plan = SweepPlan(RunConfig(), grid, "fast > 5", Sample(3, "sobol", 4), "2025-07-01..")
    (tmp_path / "sweep.toml").write_text(plan.text())
    assert read_section(tmp_path / "sweep.toml") == {
        "where": "fast > 5",
        "sample": 3,
        "method": "sobol",
        "seed": 4,
        "holdout": "2025-07-01..",
        "grid": {"fast": "5:20:5", "account.leverage": [1.0, 3.0], "mode": ["a", "b"]},
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sweep]\ngird = {}\n", "sweep.grid"),
        ("[sweep]\nsample = 'many'\n", "sweep.sample must be a whole number"),
        ("[sweep]\ngrid = [1]\n", "sweep.grid must be a table of axes"),
        ("sweep = 3\n", "sweep must be a table"),
    ],
)
def test_a_wrong_section_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "sweep.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_section(tmp_path / "sweep.toml")
    assert words in str(caught.value)


def test_samples_are_stated_whole() -> None:
    assert sample_of(None, None, 5) is None
    assert sample_of(5, None, None) == Sample(5, "random", 0)
    with pytest.raises(UsageError, match="at least 0"):
        sample_of(5, None, -1)


# -- the check and the ranking ---------------------------------------------------------------------------------------


class Replays:
    """A job whose full replays give one figure too much for one set."""

    def __init__(self, wrong: int | None, by: float = 1e-6) -> None:
        self.wrong, self.by = wrong, by

    def result(self, values: dict[str, float]) -> dict[str, Any]:
        off = self.by if values["x"] == self.wrong else 0.0
        return {"sharpe": values["x"] * 2 + off, "initial_balance": 1e4}


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> pl.LazyFrame:
    monkeypatch.setattr(checking, "metrics_of", lambda result: result)
    return answered(next(sets(7))).with_columns(initial_balance=pl.lit(1e4), orders_x=pl.lit(0)).lazy()


def test_a_difference_names_set_and_metric(rows: pl.LazyFrame) -> None:
    found = checking.exact_check(Replays(None), rows, ["x"], 3, 1)  # type: ignore[arg-type]
    assert len(found["sets"]) == 3
    assert found["metrics"] == 9
    assert found["sets"] == checking.exact_check(Replays(None), rows, ["x"], 3, 1)["sets"]  # type: ignore[arg-type]
    with pytest.raises(InternalError, match=r"Set 3 \(x=3\.0\): sharpe is 6\.0 in the sweep \(replay\) and 6\.000001"):
        checking.exact_check(Replays(3), rows, ["x"], 7)  # type: ignore[arg-type]
    close = checking.exact_check(Replays(3, 1e-9), rows, ["x"], 7)  # type: ignore[arg-type]
    assert close["largest_difference"] == pytest.approx(1e-9 / 6, rel=1e-3)
    assert close["largest_at"] == "sharpe of set 3"


def test_differences_have_the_scale_of_what_is_compared() -> None:
    summary = {"initial_balance": 1e4}
    assert checking.scaled_difference("net_profit", 1.0, 1.0 + 1e-6, summary) == pytest.approx(1e-10)
    assert checking.scaled_difference("sharpe", 1.0, 1.0 + 1e-6, summary) == pytest.approx(1e-6, rel=1e-4)
    assert checking.scaled_difference("turnover", 2e3, 2e3 + 1e-6, summary) == pytest.approx(5e-10)
    assert checking.scaled_difference("sharpe", None, None, summary) == 0
    assert checking.scaled_difference("sharpe", None, 1.0, summary) == float("inf")
    assert checking.scaled_difference("sharpe", float("nan"), 1.0, summary) == float("inf")
    assert checking.scaled_difference("max_drawdown_end", "2025", "2026", summary) == float("inf")


def test_the_better_end_is_first() -> None:
    frame = pl.DataFrame(
        {
            "set": [0, 1, 2, 3],
            "x": [1, 2, 3, 4],
            "status": ["done", "done", "failed", "done"],
            "error": [None, None, "no", None],
            "path": ["replay", "replay", None, "replay"],
            "sharpe": [1.0, None, None, 2.0],
            "volatility": [0.3, 0.1, None, 0.3],
            "max_drawdown_end": ["a", "b", None, None],
        }
    )
    assert ranked(frame, "sharpe")["set"].to_list() == [3, 0, 1]
    assert ranked(frame, "volatility")["set"].to_list() == [1, 0, 3]
    assert ranked(frame, "volatility", 1)["set"].to_list() == [1]
    check_metric(frame, ["x"], "sharpe")
    for metric, error in (("sharp", UnknownNameError), ("max_drawdown_end", UsageError), ("x", UsageError)):
        with pytest.raises(error):
            check_metric(frame, ["x"], metric)


def test_sets_that_lost_their_account_rank_last_and_are_counted() -> None:
    frame = pl.DataFrame(
        {
            "set": [0, 1, 2, 3],
            "status": ["done", "done", "failed", "done"],
            "sharpe": [1.0, 5.0, None, None],
            "volatility": [0.3, 0.1, None, 0.2],
            "total_return": [0.1, -1.0, None, 0.0],
        }
    )
    assert ranked(frame, "sharpe")["set"].to_list() == [0, 3, 1]
    assert ranked(frame, "volatility")["set"].to_list() == [3, 0, 1]
    assert lost_text(frame) == "1 set of 3 lost the whole account; it ranks last."
    lost = frame.with_columns(total_return=pl.lit(-1.2)).lazy()
    assert lost_text(lost) == "All 3 sets lost the whole account: none of them can be called the best."
    assert ranked(lost, "sharpe")["set"].to_list() == [1, 0, 3]
    assert lost_text(frame.with_columns(total_return=pl.lit(0.0))) == ""
    assert lost_text(frame.drop("total_return")) == ""
