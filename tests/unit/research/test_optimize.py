"""The loop of an optimisation: batches, repeated sets, pruning, constraints, and going on after an end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backtester.errors import UnknownNameError, UsageError
from backtester.research.constraint import parse_constraints
from backtester.research.dimension import Dimension, parse_dimensions
from backtester.research.metrics import parse_objectives
from backtester.research.optimize import Optimization, Plan, best_of, clock
from backtester.research.study import SAMPLERS, check_sampler, next_batch, opened_study
from tests.unit.research.bowl import Bowl

SPACE = {"x": "-5.0:6.0", "y": "-5.0:5.0"}


def plan(trials: int = 24, **changes: Any) -> Plan:
    space = changes.pop("space", SPACE)
    objectives = parse_objectives(changes.pop("objective", "sharpe"))
    constraints = changes.pop("constraints", [])
    settings: dict[str, Any] = {"sampler": "tpe", "batch": 8, "seed": 5, **changes}
    return Plan(
        parse_dimensions(space),
        objectives,
        parse_constraints(constraints, ["sharpe", "max_drawdown", "liquidations", "x", "y"]),
        trials,
        **settings,
    )


def search(one: Plan, job: Any = None, path: Path | None = None, windows: Any = ()) -> tuple[pl.DataFrame, Any]:
    job = Bowl() if job is None else job
    with opened_study(path, one.objectives, prune=one.prune) as study:
        running = Optimization(job, one, study, windows)
        told = running.run()
        return running.frame(), told


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_comes_near_the_best(sampler: str) -> None:
    frame, _ = search(plan(96, sampler=sampler))
    assert frame.height == 96
    assert frame["trial"].to_list() == list(range(96))
    assert frame["sharpe"].max() > 3.5  # type: ignore[operator]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_gives_the_same_trials(sampler: str) -> None:
    frames = [search(plan(20, sampler=sampler, seed=seed))[0] for seed in (5, 5, 6)]
    assert frames[0].equals(frames[1])
    assert not frames[0].equals(frames[2])


def test_a_batch_is_one_evaluation() -> None:
    job = Bowl()
    search(plan(20, batch=8), job)
    assert [call.height for call in job.calls] == [8, 8, 4]


def test_a_set_is_evaluated_once() -> None:
    job = Bowl()
    frame, told = search(plan(200, space={"x": "1:4", "y": "-1:0"}), job)
    asked = pl.concat(job.calls)
    assert asked.height == asked.n_unique() == 8
    assert frame.filter(~pl.col("cached")).height == 8
    assert [notice.code for notice in told] == ["space_exhausted"]
    again = frame.filter(pl.col("cached")).join(frame.filter(~pl.col("cached")), on=["x", "y"], suffix="_first")
    assert (again["sharpe"] == again["sharpe_first"]).all()


def test_failed_and_undefined_sets_are_rows() -> None:
    frame, _ = search(plan(60, space={"x": "6:9", "y": "-1:0"}))
    states = dict(frame.unique("x").select("x", "state").iter_rows())
    assert states == {6: "complete", 7: "failed", 8: "undefined", 9: "complete"}
    errors = dict(frame.unique("x").select("x", "error").iter_rows())
    assert errors[7] == "x may not be 7."
    assert errors[8] == "sharpe is not defined for this set."
    ranking = best_of(frame, plan(space={"x": "6:9", "y": "-1:0"}))
    assert ranking.select("x", "y").rows() == [(6, -1), (6, 0), (9, -1), (9, 0)]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "cmaes"])
def test_what_breaks_a_constraint_is_no_best_set(sampler: str) -> None:
    one = plan(160, sampler=sampler, constraints=["x < 1", "liquidations == 0"])
    frame, _ = search(one)
    best = best_of(frame, one).row(0, named=True)
    assert best["x"] < 1
    assert best["sharpe"] > -1
    assert frame.filter(pl.col("x") >= 1)["feasible"].any() is False
    assert frame.filter(pl.col("x") < 1)["feasible"].all()


def test_several_objectives_have_a_front() -> None:
    one = plan(60, objective="sharpe,max_drawdown", sampler="nsga2", batch=20)
    frame, _ = search(one)
    front = best_of(frame, one)
    assert front["sharpe"].is_sorted(descending=True)
    assert front["max_drawdown"].is_sorted()
    for row in front.iter_rows(named=True):
        better = (pl.col("sharpe") >= row["sharpe"]) & (pl.col("max_drawdown") >= row["max_drawdown"])
        assert frame.filter(better & (pl.col("sharpe") > row["sharpe"])).is_empty()
        assert frame.filter(better & (pl.col("max_drawdown") > row["max_drawdown"])).is_empty()


def test_windows_are_told_and_prune_what_falls_behind() -> None:
    parts = [Bowl(shift=0.1 * i) for i in range(3)]
    whole = Bowl()
    one = plan(64, batch=8, windows=3, prune=True, sampler="random")
    frame, _ = search(one, whole, windows=parts)
    pruned = frame.filter(pl.col("state") == "pruned")
    assert 0 < pruned.height < 64
    assert pruned["sharpe"].null_count() == pruned.height
    assert pruned["feasible"].null_count() == pruned.height
    assert "Behind the median" in pruned["error"][0]
    # what was given up in one window is not evaluated in the next, and not on the whole
    sizes = [sum(call.height for call in job.calls) for job in (*parts, whole)]
    assert sizes[0] == 64
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 64 - pruned.height
    kept = frame.filter(pl.col("state") == "complete")
    expected = kept.select(5 - (pl.col("x") - 3.2) ** 2 - (pl.col("y") + 1) ** 2).to_series()
    assert (kept["window_3"] - expected).abs().max() < 1e-9  # type: ignore[operator]
    # the survivors are better on the whole than what was given up would have been
    lost = pruned.select((5 - (pl.col("x") - 3) ** 2 - (pl.col("y") + 1) ** 2).median())[0, 0]
    assert kept["sharpe"].median() > lost  # type: ignore[operator]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("changes", [{}, {"windows": 2, "prune": True}])
def test_a_study_goes_on_where_it_was_interrupted(sampler: str, changes: dict[str, Any], tmp_path: Path) -> None:
    """Trial by trial the same as a study that nobody interrupted."""
    one = plan(36, sampler=sampler, **changes)
    parts = [Bowl(), Bowl(shift=0.3)] if changes else []
    expected, _ = search(one, path=tmp_path / "whole.db", windows=parts)

    def stop(call: int) -> None:
        if call == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(one, Bowl(stop), tmp_path / "cut.db", windows=parts)
    found, _ = search(one, path=tmp_path / "cut.db", windows=parts)
    assert found.height == 36
    assert found.equals(expected)


@pytest.mark.parametrize(("owner", "name", "call"), [(Dimension, "suggest", 21), (Optimization, "_tell", 11)])
def test_a_batch_is_asked_and_told_whole_or_not_at_all(
    owner: type, name: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off between two trials of a batch, a study goes on as if it had not begun with that batch."""
    expected, _ = search(plan(24), path=tmp_path / "whole.db")
    calls, before = [0], getattr(owner, name)

    def broken_off(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            raise KeyboardInterrupt
        return before(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, broken_off)
        with pytest.raises(KeyboardInterrupt):
            search(plan(24), path=tmp_path / "cut.db")
    found, _ = search(plan(24), path=tmp_path / "cut.db")
    assert found.equals(expected)


def test_more_trials_can_be_added(tmp_path: Path) -> None:
    job = Bowl()
    search(plan(8), path=tmp_path / "study.db")
    frame, _ = search(plan(24), job, tmp_path / "study.db")
    assert frame.height == 24
    assert sum(call.height for call in job.calls) == 16


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("first", [6, 8, 12])
def test_more_trials_are_others(sampler: str, first: int, tmp_path: Path) -> None:
    """Also where the first part ended inside a batch."""
    path = tmp_path / "study.db"
    search(plan(first, sampler=sampler, batch=16), path=path)
    frame, _ = search(plan(48, sampler=sampler, batch=16), path=path)
    assert frame.select("x", "y").n_unique() == 48
    assert not frame["cached"].any()


def test_a_killed_batch_that_is_extended_draws_no_set_twice(tmp_path: Path) -> None:
    def stop(call: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "study.db"
    with pytest.raises(KeyboardInterrupt):
        search(plan(6, sampler="random", batch=16), Bowl(stop), path)
    frame, _ = search(plan(24, sampler="random", batch=16), path=path)
    assert frame.select("x", "y").n_unique() == 24


@pytest.mark.parametrize("values", ["0,0.5,1,2", [1, 2.5]])
def test_a_list_may_mix_whole_and_broken_numbers(values: Any) -> None:
    frame, _ = search(plan(16, space={"x": values, "y": "-1.0:1.0"}))
    assert frame["x"].dtype == pl.Float64
    assert set(frame["state"]) == {"complete"}


def test_a_lost_account_is_no_best_set() -> None:
    one = plan(48, space={"x": "0:4", "y": "-1:0"})
    frame, _ = search(one, Bowl(lost=2))
    assert best_of(frame, one).row(0, named=True)["x"] == 2  # x = 3 has the best ratio and no account
    lost = frame.filter(pl.col("x") > 2)
    assert set(lost["state"]) == {"undefined"}
    assert lost["error"][0] == "The account was lost, so the set does not count."


def test_progress_tells_the_best_the_rate_and_the_time_left() -> None:
    lines: list[tuple[str, float | None]] = []
    with opened_study(None, plan().objectives, prune=False) as study:
        Optimization(Bowl(), plan(16), study).run(lambda text, done: lines.append((text, done)))  # type: ignore[arg-type]
    assert [done for _, done in lines] == [0.5, 1.0]
    assert lines[0][0].startswith("Trial 8 of 16: best sharpe ")
    assert "x=" in lines[0][0]
    assert lines[1][0].endswith("trials/s, 0:00 left")


@pytest.mark.parametrize(("finished", "number", "missing"), [(0, 1, 8), (3, 1, 5), (8, 2, 8), (16, 3, 4), (19, 3, 1)])
def test_batches_follow_each_other(finished: int, number: int, missing: int) -> None:
    batch = next_batch("tpe", finished, 8, 20)
    assert (batch.number, batch.missing) == (number, missing)


def test_samplers_that_learn_the_space_begin_alone() -> None:
    assert [next_batch("cmaes", done, 8, 20).missing for done in (0, 1, 9)] == [1, 8, 8]


@pytest.mark.parametrize(
    ("name", "space", "objective", "error", "words"),
    [
        ("tpee", SPACE, "sharpe", UnknownNameError, "Did you mean 'tpe'"),
        ("cmaes", SPACE, "sharpe,max_drawdown", UsageError, "one objective"),
        ("cmaes", {"x": "1,2", "y": "1:5"}, "sharpe", UsageError, "ranges alone"),
        ("cmaes", {"x": "1:5"}, "sharpe", UsageError, "two parameters"),
    ],
)
def test_samplers_that_cannot_do_it_are_refused(
    name: str, space: Any, objective: str, error: type[UsageError], words: str
) -> None:
    with pytest.raises(error, match=words):
        check_sampler(name, parse_dimensions(space), parse_objectives(objective))


def test_clock() -> None:
    assert [clock(seconds) for seconds in (0.4, 65, 3_905)] == ["0:00", "1:05", "1:05:05"]
