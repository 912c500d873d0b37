"""Compiled targets: each step on known, missing and infinite numbers, and how tiles become change points."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from backtester.strategy.target_program import program_of
from backtester.strategy.target_tiles import (
    BLOCK,
    NO_ROOM,
    NOT_FINITE,
    TILE,
    Op,
    change_points,
    change_points_of_sets,
)

NAN, INF = math.nan, math.inf
A, B, ZERO = pl.col("a"), pl.col("b"), pl.col("zero")
T, U = A > 0.5, B > 0.5
BAD = "not finite"


def program(expr: pl.Expr):
    return program_of(expr.meta.serialize(format="json"))


def inputs(expr: pl.Expr, **columns):
    """Return steps, literals, places and the matrix of one set."""
    made = program(expr)
    length = len(next(iter(columns.values())))
    matrix = np.array([columns[name] for name in made.columns], np.float64).reshape(len(made.columns), length)
    places = np.arange(len(made.columns)).reshape(1, -1)
    return made.steps, np.array([made.literals]), places, matrix


def points(expr: pl.Expr, first: int = 0, start: int = 0, room: int = 10_000, **columns):
    """Return bars and targets of one set, or the code; one set alone and as a batch agree."""
    given = inputs(expr, **columns)
    bar, target = np.empty(room, np.int64), np.empty(room)
    count = change_points(*given, first, start, bar, target)
    if count != NO_ROOM:
        batch = change_points_of_sets(*given, np.array([first]), start)
        assert batch.is_finite[0] == (count != NOT_FINITE)
        assert batch.bar.tolist() == bar[: max(count, 0)].tolist()
        assert batch.target.tolist() == target[: max(count, 0)].tolist()
    return count if count < 0 else list(zip(bar[:count].tolist(), target[:count].tolist(), strict=True))


def each(expr: pl.Expr, **columns):
    """Return the target of each bar: None where it is null."""
    found = []
    for place in range(len(columns["a"])):
        result = points(expr, **{name: values[place : place + 1] for name, values in columns.items()})
        found.append(BAD if result == NOT_FINITE else (result[0][1] if result else None))
    return found


def on_frame(expr: pl.Expr):
    """Return the targets on the six pairs of two columns that every test below uses."""
    a = [0.0, 1.0, -2.5, NAN, 3.0, NAN]
    b = [1.0, 0.0, NAN, 2.0, 3.0, NAN]
    return each(expr, a=a, b=b, zero=[0.0] * 6)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (A, [0.0, 1.0, -2.5, None, 3.0, None]),
        (A + B, [1.0, 1.0, None, None, 6.0, None]),
        (A - B, [-1.0, 1.0, None, None, 0.0, None]),
        (A * B, [0.0, 0.0, None, None, 9.0, None]),
        (A / B, [0.0, BAD, None, None, 1.0, None]),
        (A / 3, [0.0, 1 * (1 / 3), -2.5 * (1 / 3), None, 3 * (1 / 3), None]),
        (A + 1, [1.0, 2.0, -1.5, None, 4.0, None]),
        (1 + A, [1.0, 2.0, -1.5, None, 4.0, None]),
        (A - 1, [-1.0, 0.0, -3.5, None, 2.0, None]),
        (1 - A, [1.0, 0.0, 3.5, None, -2.0, None]),
        (-A, [-0.0, -1.0, 2.5, None, -3.0, None]),
        (A.abs(), [0.0, 1.0, 2.5, None, 3.0, None]),
        (A.sign(), [0.0, 1.0, -1.0, None, 1.0, None]),
        (A.clip(-1, 1), [0.0, 1.0, -1.0, None, 1.0, None]),
        (A.clip(1, -1), [1.0, -1.0, 1.0, None, -1.0, None]),
        (A.clip(lower_bound=0.5), [0.5, 1.0, 0.5, None, 3.0, None]),
        (A.clip(upper_bound=0.5), [0.0, 0.5, -2.5, None, 0.5, None]),
        (pl.min_horizontal(A, B), [0.0, 0.0, -2.5, 2.0, 3.0, None]),
        (pl.max_horizontal(A, B, 1), [1.0, 1.0, 1.0, 2.0, 3.0, 1.0]),
        (pl.max_horizontal(A, ZERO / ZERO), [0.0, 1.0, -2.5, BAD, 3.0, BAD]),
        (A.fill_null(7.0), [0.0, 1.0, -2.5, 7.0, 3.0, 7.0]),
        (A.fill_null(B), [0.0, 1.0, -2.5, 2.0, 3.0, None]),
        (pl.coalesce(A, B, 9.0), [0.0, 1.0, -2.5, 2.0, 3.0, 9.0]),
        (pl.when(T).then(A), [None, 1.0, None, None, 3.0, None]),
        (pl.when(T).then(A).otherwise(B), [1.0, 1.0, None, 2.0, 3.0, None]),
        (pl.when(T).then(None).when(U).then(B).otherwise(5), [1.0, None, 5.0, 2.0, None, 5.0]),
        (pl.when(T).then(3).otherwise(2.5), [2.5, 3.0, 2.5, 2.5, 3.0, 2.5]),
        (pl.lit(0.5), [0.5] * 6),
        (pl.lit(1) / pl.lit(2), [0.5] * 6),
        (pl.lit(None).cast(pl.Float64), [None] * 6),
        ((A / ZERO).fill_nan(None).clip(-1, 1), [None, 1.0, -1.0, None, 1.0, None]),
        (A.alias("x"), [0.0, 1.0, -2.5, None, 3.0, None]),
        (1 / -T.cast(pl.Int8), [BAD, -1.0, BAD, None, -1.0, None]),
        (pl.when(1 / -(T.cast(pl.Int8) * 0) > 0).then(1.0).otherwise(0.0), [1.0, 1.0, 1.0, 0.0, 1.0, 0.0]),
        (pl.when(1 / (T.cast(pl.Int8) * 0 * -1) > 0).then(1.0).otherwise(0.0), [1.0, 1.0, 1.0, 0.0, 1.0, 0.0]),
        (pl.when(1 / (-(A * 0)) > 0).then(1.0).otherwise(0.0), [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_numbers(expr, expected) -> None:
    assert on_frame(expr) == expected


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (A > B, [0, 1, None, None, 0, None]),
        (A >= B, [0, 1, None, None, 1, None]),
        (A < B, [1, 0, None, None, 0, None]),
        (A <= B, [1, 0, None, None, 1, None]),
        (A == B, [0, 0, None, None, 1, None]),
        (A != B, [1, 1, None, None, 0, None]),
        (T & U, [0, 0, 0, None, 1, None]),
        (T | U, [1, 1, None, 1, 1, None]),
        (~T, [1, 0, 1, None, 0, None]),
        (T ^ U, [1, 1, None, None, 0, None]),
        (T == U, [0, 0, None, None, 1, None]),
        (T != U, [1, 1, None, None, 0, None]),
        (A.is_null(), [0, 0, 0, 1, 0, 1]),
        (A.is_not_null(), [1, 1, 1, 0, 1, 0]),
        ((T & U).is_null(), [0, 0, 0, 1, 0, 1]),
        (T.fill_null(value=True), [0, 1, 0, 1, 1, 1]),
        (T.fill_null(U), [0, 1, 0, 1, 1, None]),
        (A.is_between(0, 1), [1, 1, 0, None, 0, None]),
        (A.is_between(0, 1, "none"), [0, 0, 0, None, 0, None]),
        (A.is_between(0, 1, "left"), [1, 0, 0, None, 0, None]),
        (A.is_between(B, 1), [0, 1, None, None, 0, None]),
        (pl.all_horizontal(T, U), [0, 0, 0, None, 1, None]),
        (pl.any_horizontal(T, U), [1, 1, None, 1, 1, None]),
        (A.cast(pl.Boolean), [0, 1, 1, None, 1, None]),
        (pl.when(T).then(U).otherwise(pl.lit(value=True)), [1, 0, 1, 1, 1, 1]),
        ((A / ZERO).is_nan(), [1, 0, 0, None, 0, None]),
        ((A / ZERO).is_not_nan(), [0, 1, 1, None, 1, None]),
        ((A / ZERO).is_infinite(), [0, 1, 1, None, 1, None]),
        (A.is_finite(), [1, 1, 1, None, 1, None]),
        # NaN equals NaN and is greater than all else, infinity included
        (A / ZERO > 1e308, [1, 1, 0, None, 1, None]),
        (A / ZERO == ZERO / ZERO, [1, 0, 0, None, 0, None]),
        (A / ZERO != ZERO / ZERO, [0, 1, 1, None, 1, None]),
        (A / ZERO >= ZERO / ZERO, [1, 0, 0, None, 0, None]),
        (A / ZERO < ZERO / ZERO, [0, 1, 1, None, 1, None]),
        (A / ZERO <= ZERO / ZERO, [1, 1, 1, None, 1, None]),
        (ZERO / ZERO > A / ZERO, [0, 1, 1, None, 1, None]),
        (pl.lit(value=True) & pl.lit(value=False), [0] * 6),
    ],
)
def test_truths(expr, expected) -> None:
    assert on_frame(expr.cast(pl.Float64)) == expected


def test_every_step_is_tried_above() -> None:
    marks = [mark for test in (test_numbers, test_truths) for mark in test.pytestmark]
    seen = {op for mark in marks for expr, _ in mark.args[1] for op, _ in program(_as_number(expr)).ops}
    assert {Op(op).name for op in seen} == {op.name for op in Op}


def _as_number(expr: pl.Expr) -> pl.Expr:
    return expr.cast(pl.Float64)


# -- change points -----------------------------------------------------------------------------------------------------


def naive(values, first: int, start: int):
    """Return the change points of targets, NaN for null."""
    found, last = [], None
    for bar, value in enumerate(values):
        if bar >= max(first, start) and not math.isnan(value) and value != last:
            last = value
            found.append((bar, value))
    return found


SIDES = {
    "columns": lambda a, b: (A, B, a, b),
    "column and literal": lambda a, b: (A, pl.lit(0.25), a, np.full(a.size, 0.25)),
    "literal and column": lambda a, b: (pl.lit(0.25), A, np.full(a.size, 0.25), a),
}
COMPARISONS = {
    ">": (lambda x, y: x > y, np.greater),
    ">=": (lambda x, y: x >= y, np.greater_equal),
    "<": (lambda x, y: x < y, np.less),
    "<=": (lambda x, y: x <= y, np.less_equal),
    "!=": (lambda x, y: x != y, lambda x, y: (x < y) | (x > y)),
}
BRANCHES = {
    "both": (1.0, -1.0),
    "no otherwise": (1.0, None),
    "no then": (None, 0.5),
    "the same": (2.0, 2.0),
    "none": (None, None),
}


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize("branches", BRANCHES)
def test_one_comparison_gives_its_flips(sides, comparison, branches) -> None:
    written, calculated = COMPARISONS[comparison]
    then, otherwise = BRANCHES[branches]
    for seed, bars in enumerate((1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, TILE + 7, 2 * TILE + BLOCK + 3)):
        dice = np.random.default_rng(seed)
        a, b = np.repeat(dice.choice([0.0, 0.25, 0.5, 1.0], (2, bars)), dice.integers(1, 50), axis=1)[:, :bars]
        a[dice.random(bars) < 0.05] = NAN
        x, y, left, right = SIDES[sides](a, b)
        target = pl.when(written(x, y)).then(then).otherwise(pl.lit(otherwise)).cast(pl.Float64)
        plain = np.where(calculated(left, right), *(NAN if item is None else item for item in (then, otherwise)))
        for first, start in ((0, 0), (bars // 2, 0), (bars // 3, bars // 2), (bars, 0)):
            expected = naive(plain, first, start)
            if then is not None or otherwise is not None:
                assert points(target, first, start, a=a, b=b) == expected
            assert points(target + 0.0, first, start, a=a, b=b) == expected  # the general way


def test_warm_up_is_not_written_but_has_to_be_finite() -> None:
    a = np.arange(1.0, 11.0)
    assert points(A, 0, 4, a=a) == [(bar, bar + 1.0) for bar in range(4, 10)]
    assert points(1 / (A - 3), 0, 4, a=a) == NOT_FINITE  # as the evaluation by polars refuses it
    assert points(1 / (A - 3), 3, 4, a=a)[0] == (4, 0.5)  # silent there


def test_too_little_room_is_said() -> None:
    a = np.tile([0.0, 1.0], TILE)
    for target in (pl.when(A > 0.5).then(1.0).otherwise(-1.0), A):
        assert points(target, room=2 * TILE - 1, a=a) == NO_ROOM
        assert len(points(target, room=2 * TILE, a=a)) == 2 * TILE


def test_sets_of_a_batch_do_not_disturb_each_other() -> None:
    """Sets that read different columns, one of them not finite, with more entries than there is room at first."""
    bars, sets = 3 * TILE + 11, 5
    dice = np.random.default_rng(3)
    columns = dice.normal(size=(4, bars))
    columns[3, 700] = 0.0
    for expr in (pl.when(A > B).then(0.5).otherwise(-0.5), A / B * 0.5 - 0.5):
        made = program(expr)
        places = np.array([(0, 1), (1, 2), (0, 3), (2, 2), (1, 0)])
        literals = np.array(made.literals) * np.arange(1.0, sets + 1)[:, None]
        firsts = np.array([0, 10, TILE, bars, TILE + 1])
        found = change_points_of_sets(made.steps, literals, places, columns, firsts, 5)
        assert found.is_finite.tolist() == [True, True, made.ops[2][0] != Op.DIVIDE, True, True]
        for s in range(sets):
            bar, target = np.empty(bars, np.int64), np.empty(bars)
            given = (made.steps, literals[s : s + 1], places[s : s + 1], columns)
            count = max(change_points(*given, firsts[s], 5, bar, target), 0)
            own = slice(found.offsets[s], found.offsets[s + 1])
            assert found.bar[own].tolist() == bar[:count].tolist()
            assert found.target[own].tolist() == target[:count].tolist()


def test_nothing_to_do_gives_nothing() -> None:
    made = program(A * 2.0)
    none = change_points_of_sets(
        made.steps, np.empty((0, 1)), np.empty((0, 1), np.int64), np.empty((1, 9)), np.empty(0, np.int64), 0
    )
    assert none.offsets.tolist() == [0]
    assert none.bar.size == 0
