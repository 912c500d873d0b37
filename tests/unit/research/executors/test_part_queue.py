from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from backtester.research.part_queue import PartQueue


def part(*numbers: int) -> pl.DataFrame:
    return pl.DataFrame({"set": numbers})


def test_parts_are_asked_for_one_by_one() -> None:
    asked = []

    def parts() -> Iterator[pl.DataFrame]:
        for k in range(3):
            asked.append(k)
            yield part(k)

    queue = PartQueue(parts(), 2)
    assert queue.take() is not None
    assert asked == [0]


def test_empty_parts_are_passed_over() -> None:
    queue = PartQueue([part(), part(1)], 2)
    taken = queue.take()
    assert taken is not None
    assert taken.sets["set"].to_list() == [1]
    assert queue.take() is None


def test_what_ends_its_worker_is_halved_down_to_one_set_and_the_others_are_done() -> None:
    queue = PartQueue([part(*range(8))], 2)
    done, rows, workers = [], [], 0
    while (taken := queue.take()) is not None:
        if 5 in taken.sets["set"]:
            workers += 1
            row = queue.lost(taken, "it ended")
            if row is not None:
                rows.append(row)
        else:
            done += taken.sets["set"].to_list()
    assert sorted(done) == [0, 1, 2, 3, 4, 6, 7]
    assert [row.to_dicts() for row in rows] == [
        [{"set": 5, "status": "failed", "error": "it ended", "path": None, "targets": None}]
    ]
    assert workers == 6  # 8 twice, 4, 2, 1 twice


def test_a_worker_that_ends_by_chance_costs_nothing() -> None:
    queue = PartQueue([part(1, 2)], 2)
    taken = queue.take()
    assert taken is not None
    assert queue.lost(taken, "by chance") is None
    again = queue.take()
    assert again is not None
    assert again.sets.equals(taken.sets)
