"""Neighbours of sets, against looking at every pair."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from backtester.research.neighbourhood import Space, neighbourhood_medians, neighbours


def grid(*sizes: int, drop: float = 0.0, seed: int = 0) -> np.ndarray:
    """All combinations in a random order, some left out."""
    codes = np.array(list(product(*(range(size) for size in sizes))), np.int64)
    rng = np.random.default_rng(seed)
    codes = codes[rng.permutation(len(codes))]
    return codes[rng.random(len(codes)) >= drop]


def slow_neighbours(codes: np.ndarray, ordered: list[bool], place: int) -> set[int]:
    """The same by comparing with every set."""
    found = set()
    for other in range(len(codes)):
        steps = np.abs(codes[other] - codes[place])
        if other != place and all(s <= (1 if o else 0) for s, o in zip(steps, ordered, strict=True)):
            found.add(other)
    return found


@pytest.mark.parametrize(
    ("sizes", "ordered"),
    [((7, 9), [True, True]), ((5, 4, 3), [True, False, True]), ((20,), [True]), ((3, 3), [False, False])],
)
@pytest.mark.parametrize("drop", [0.0, 0.4])
def test_neighbours_on_a_grid(sizes: tuple[int, ...], ordered: list[bool], drop: float) -> None:
    codes = grid(*sizes, drop=drop)
    space = Space(codes, ordered)
    for place in range(len(codes)):
        assert set(neighbours(space, place).tolist()) == slow_neighbours(codes, ordered, place)


def test_medians_of_neighbourhoods() -> None:
    codes = grid(8, 6, drop=0.2, seed=4)
    values = np.random.default_rng(1).normal(size=len(codes))
    values[5] = np.nan
    space = Space(codes, [True, True])
    medians = neighbourhood_medians(space, values)
    assert medians is not None
    around = [[*slow_neighbours(codes, [True, True], place), place] for place in range(len(codes))]
    counts = [np.isfinite(values[rows]).sum() - 1 for rows in around]
    for place, rows in enumerate(around):
        if counts[place] < max(counts) / 2 or np.isnan(values[place]):
            assert np.isnan(medians[place])
        else:
            assert medians[place] == pytest.approx(np.nanmedian(values[rows]))
    assert np.isfinite(medians).any()


def test_sampled_sets_have_the_nearest_as_neighbours() -> None:
    rng = np.random.default_rng(2)
    codes = np.stack([rng.permutation(300), rng.permutation(300), rng.integers(0, 2, 300)], axis=1)
    space = Space(codes, [True, True, False])
    assert not space.is_grid
    assert neighbourhood_medians(space, np.zeros(300)) is None
    found = neighbours(space, 10)
    same = [i for i in range(300) if codes[i, 2] == codes[10, 2] and i != 10]
    distance = {i: float(((codes[i, :2] - codes[10, :2]) ** 2).sum()) for i in same}
    assert sorted(found.tolist()) == sorted(sorted(same, key=distance.__getitem__)[:8])


def test_many_parameters_move_one_at_a_time() -> None:
    codes = grid(*([3] * 6))
    space = Space(codes, [True] * 6)
    middle = int(np.flatnonzero((codes == 1).all(axis=1))[0])
    assert len(neighbours(space, middle)) == 12


def test_one_set_and_no_parameter() -> None:
    assert neighbours(Space(np.zeros((1, 2), np.int64), [True, True]), 0).size == 0
    assert neighbours(Space(np.zeros((1, 0), np.int64), []), 0).size == 0
