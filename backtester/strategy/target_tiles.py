"""Compiled targets: a program of small steps over tiles of bars, straight to change points (bar, target).

A program is a list of steps in postfix order, the same for every set of a strategy; sets differ in the columns that
they read and in their literals. A tile of a set is worked through in a few buffers that stay in the processor's cache;
no row of a set is ever written out. Each step does what polars does, null by null and bit by bit: a value and whether
it is known stand apart, since a calculation can give NaN, which is not null.

Where a program is one comparison that chooses between two constants, nothing is written at all: blocks of bars in
which the comparison does not flip are passed over.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backtester.kernel._jit import njit, step

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

TILE = 512  # bars worked through at a time: 200 columns of a tile take 800 kB
BLOCK = 64  # bars in which a flip is looked for at a time
NO_ROOM = -1  # the caller's arrays are full
NOT_FINITE = -2  # a target is NaN or infinite


class Op(IntEnum):
    """What a step does; numbers are taken from the stack, the result takes their place."""

    COLUMN = 0  # argument: the place among the program's columns; NaN is null
    LITERAL = 1  # argument: the place among the program's literals
    NULL = 2
    TRUE = 3
    FALSE = 4
    ADD = 5
    SUBTRACT = 6
    MULTIPLY = 7
    DIVIDE = 8
    ADD_ONE_VALUE = 9  # one value for all bars, on top: 0 changes nothing, not even the sign of a zero
    SUBTRACT_ONE_VALUE = 10
    SUBTRACT_FROM_ONE_VALUE = 11  # the one value is the lower entry
    DIVIDE_BY_ONE_VALUE = 12  # polars multiplies by the reciprocal
    NEGATE = 13
    NEGATE_WHOLE = 14  # whole numbers have no -0
    MULTIPLY_WHOLE = 15
    ABS = 16
    SIGN = 17
    LEAST = 18
    MOST = 19
    AT_LEAST = 20  # clip to a bound from below
    AT_MOST = 21
    CLIP = 22
    GREATER = 23
    GREATER_EQUAL = 24
    LESS = 25
    LESS_EQUAL = 26
    EQUAL = 27
    NOT_EQUAL = 28
    SAME_TRUTH = 29  # of two truths
    OTHER_TRUTH = 30
    AND = 31
    OR = 32
    NOT = 33
    IS_NULL = 34
    IS_NOT_NULL = 35
    IS_NAN = 36
    IS_FINITE = 37
    IS_INFINITE = 38
    FILL_NULL = 39
    FILL_NULL_TRUTH = 40
    CHOOSE = 41
    CHOOSE_TRUTH = 42
    AS_NUMBER = 43
    AS_TRUTH = 44


_TAKE_NONE = (Op.COLUMN, Op.LITERAL, Op.NULL, Op.TRUE, Op.FALSE)
_TAKE_ONE = (
    *(Op.NEGATE, Op.NEGATE_WHOLE, Op.ABS, Op.SIGN, Op.NOT, Op.AS_NUMBER, Op.AS_TRUTH),
    *(Op.IS_NULL, Op.IS_NOT_NULL, Op.IS_NAN, Op.IS_FINITE, Op.IS_INFINITE),
)
_TAKE_THREE = (Op.CLIP, Op.CHOOSE, Op.CHOOSE_TRUTH)
TAKES = {
    **dict.fromkeys(Op, 2),
    **dict.fromkeys(_TAKE_NONE, 0),
    **dict.fromkeys(_TAKE_ONE, 1),
    **dict.fromkeys(_TAKE_THREE, 3),
}
"""How many entries of the stack each step takes."""


class ChangePoints(NamedTuple):
    """What sets decide: of set ``s`` the entries ``offsets[s]`` to ``offsets[s + 1]``.

    Attributes
    ----------
    offsets : ndarray of int64, shape (sets + 1,)
        Where each set's entries begin.
    bar : ndarray of int64
        Bars at which a target is known and differs from the last known one, rising within a set.
    target : ndarray of float64
        The target from there on; finite.
    is_finite : ndarray of bool, shape (sets,)
        False: a target of this set is NaN or infinite (it has no entries): let polars say where.
    """

    offsets: Ints
    bar: Ints
    target: Floats
    is_finite: NDArray[np.bool_]


# -- one step over a tile: the lower entry ``x`` of the stack becomes the result ---------------------------------------


@step
def _load(source: Floats, x: Floats, known: Bytes) -> None:
    for i in range(source.size):
        x[i] = source[i]
        known[i] = np.uint8(source[i] == source[i])  # NaN is the one number that is not itself


@step
def _fill(x: Floats, truth: Bytes, known: Bytes, number: float, is_true: int, is_known: int) -> None:
    for i in range(x.size):
        x[i] = number
        truth[i] = np.uint8(is_true)
        known[i] = np.uint8(is_known)


@step
def _both_known(known: Bytes, other: Bytes) -> None:
    for i in range(known.size):
        known[i] &= other[i]


@step
def _arithmetic(op: int, x: Floats, y: Floats) -> None:
    if op == Op.ADD:
        for i in range(x.size):
            x[i] += y[i]
    elif op == Op.SUBTRACT:
        for i in range(x.size):
            x[i] -= y[i]
    elif op == Op.MULTIPLY:
        for i in range(x.size):
            x[i] *= y[i]
    elif op == Op.DIVIDE:
        for i in range(x.size):
            x[i] /= y[i]
    elif op == Op.MULTIPLY_WHOLE:
        for i in range(x.size):
            x[i] = x[i] * y[i] + 0.0
    else:
        _arithmetic_with_one_value(op, x, y)


@step
def _arithmetic_with_one_value(op: int, x: Floats, y: Floats) -> None:
    if op == Op.ADD_ONE_VALUE:
        for i in range(x.size):
            x[i] = x[i] if y[i] == 0.0 else x[i] + y[i]
    elif op == Op.SUBTRACT_ONE_VALUE:
        for i in range(x.size):
            x[i] = x[i] if y[i] == 0.0 else x[i] - y[i]
    elif op == Op.SUBTRACT_FROM_ONE_VALUE:
        for i in range(x.size):
            x[i] = -y[i] if x[i] == 0.0 else x[i] - y[i]
    else:
        for i in range(x.size):
            x[i] *= 1.0 / y[i]


@step
def _of_one(op: int, x: Floats) -> None:
    if op == Op.NEGATE:
        for i in range(x.size):
            x[i] = -x[i]
    elif op == Op.NEGATE_WHOLE:
        for i in range(x.size):
            x[i] = 0.0 - x[i]
    elif op == Op.ABS:
        for i in range(x.size):
            x[i] = abs(x[i])
    else:
        for i in range(x.size):
            x[i] = 1.0 if x[i] > 0.0 else (-1.0 if x[i] < 0.0 else x[i])


@step
def _extreme(op: int, x: Floats, y: Floats, known: Bytes, other: Bytes) -> None:
    """Take the smaller or larger, passing over null and NaN; of equal ones the second."""
    sign = 1.0 if op == Op.LEAST else -1.0
    for i in range(x.size):
        a, b = x[i], y[i]
        is_better = (sign * a < sign * b) | (b != b)
        x[i] = a if (known[i] != 0) & (is_better | (other[i] == 0)) else b
    for i in range(x.size):
        known[i] |= other[i]


@step
def _clip(op: int, x: Floats, low: Floats, high: Floats) -> None:
    if op == Op.AT_LEAST:
        for i in range(x.size):
            x[i] = low[i] if x[i] < low[i] else x[i]
    elif op == Op.AT_MOST:
        for i in range(x.size):
            x[i] = low[i] if x[i] > low[i] else x[i]
    else:
        for i in range(x.size):
            x[i] = low[i] if x[i] < low[i] else (high[i] if x[i] > high[i] else x[i])


@step
def _greater(x: Floats, y: Floats, truth: Bytes, known: Bytes) -> None:
    """Compare in polars' order: NaN equals NaN and is greater than all else."""
    for i in range(x.size):
        a, b = x[i], y[i]
        truth[i] = np.uint8(((a > b) | ((a != a) & (b == b))) & (known[i] != 0))


@step
def _greater_equal(x: Floats, y: Floats, truth: Bytes, known: Bytes) -> None:
    for i in range(x.size):
        a, b = x[i], y[i]
        truth[i] = np.uint8(((a >= b) | (a != a)) & (known[i] != 0))


@step
def _equal(x: Floats, y: Floats, truth: Bytes, known: Bytes, wanted: bool) -> None:
    for i in range(x.size):
        a, b = x[i], y[i]
        truth[i] = np.uint8((((a == b) | ((a != a) & (b != b))) == wanted) & (known[i] != 0))


@step
def _compare(op: int, x: Floats, y: Floats, truth: Bytes, known: Bytes) -> None:
    if op == Op.GREATER:
        _greater(x, y, truth, known)
    elif op == Op.GREATER_EQUAL:
        _greater_equal(x, y, truth, known)
    elif op == Op.LESS:
        _greater(y, x, truth, known)
    elif op == Op.LESS_EQUAL:
        _greater_equal(y, x, truth, known)
    else:
        _equal(x, y, truth, known, op == Op.EQUAL)


@step
def _join(op: int, p: Bytes, q: Bytes, known: Bytes, other: Bytes) -> None:
    """Join truths, of which an unknown one stands as 0: false and null is false, true or null is true."""
    if op == Op.AND:
        for i in range(p.size):
            known[i] = (known[i] & other[i]) | (known[i] ^ p[i]) | (other[i] ^ q[i])
            p[i] &= q[i]
    elif op == Op.OR:
        for i in range(p.size):
            p[i] |= q[i]
            known[i] = (known[i] & other[i]) | p[i]
    else:
        same = np.uint8(op == Op.SAME_TRUTH)
        for i in range(p.size):
            known[i] &= other[i]
            p[i] = (p[i] ^ q[i] ^ same) & known[i]


@step
def _ask(op: int, x: Floats, truth: Bytes, known: Bytes) -> None:
    """Answer a question of one entry."""
    if op == Op.NOT:
        for i in range(truth.size):
            truth[i] ^= known[i]
    elif op == Op.IS_NULL or op == Op.IS_NOT_NULL:
        flip = np.uint8(op == Op.IS_NULL)
        for i in range(truth.size):
            truth[i] = known[i] ^ flip
            known[i] = np.uint8(1)
    elif op == Op.IS_NAN:
        for i in range(truth.size):
            truth[i] = np.uint8((x[i] != x[i]) & (known[i] != 0))
    elif op == Op.AS_TRUTH:
        for i in range(truth.size):
            truth[i] = np.uint8((x[i] != 0.0) & (known[i] != 0))
    elif op == Op.IS_FINITE:
        for i in range(truth.size):
            truth[i] = np.uint8((x[i] - x[i] == 0.0) & (known[i] != 0))
    else:
        for i in range(truth.size):
            truth[i] = np.uint8((abs(x[i]) == np.inf) & (known[i] != 0))


@step
def _fill_null(x: Floats, y: Floats, known: Bytes, other: Bytes) -> None:
    for i in range(x.size):
        x[i] = x[i] if known[i] != 0 else y[i]
        known[i] |= other[i]


@step
def _fill_null_truth(p: Bytes, q: Bytes, known: Bytes, other: Bytes) -> None:
    for i in range(p.size):
        p[i] |= q[i] & (known[i] ^ np.uint8(1))
        known[i] |= other[i]


@step
def _choose(truth: Bytes, known: Bytes, out: Floats, a: Floats, b: Floats, known_a: Bytes, known_b: Bytes) -> None:
    for i in range(out.size):
        out[i] = a[i] if truth[i] != 0 else b[i]
    for i in range(out.size):
        known[i] = known_b[i] ^ ((known_a[i] ^ known_b[i]) & truth[i])


@step
def _choose_truth(truth: Bytes, known: Bytes, p: Bytes, q: Bytes, known_p: Bytes, known_q: Bytes) -> None:
    for i in range(truth.size):
        known[i] = known_q[i] ^ ((known_p[i] ^ known_q[i]) & truth[i])
        truth[i] = q[i] ^ ((p[i] ^ q[i]) & truth[i])


@step
def _as_number(x: Floats, truth: Bytes) -> None:
    for i in range(x.size):
        x[i] = float(truth[i])


@step
def _apply(op: int, top: int, n: int, value: Floats, truth: Bytes, known: Bytes) -> None:
    """Do a step that reads the stack: its lowest entry is ``top``."""
    x, p, kx = value[top][:n], truth[top][:n], known[top][:n]
    if Op.NEGATE <= op <= Op.NEGATE_WHOLE or op == Op.ABS or op == Op.SIGN:
        _of_one(op, x)
        return
    if Op.NOT <= op <= Op.IS_INFINITE or op == Op.AS_TRUTH:
        _ask(op, x, p, kx)
        return
    if op == Op.AS_NUMBER:
        _as_number(x, p)
        return
    y, q, ky = value[top + 1][:n], truth[top + 1][:n], known[top + 1][:n]
    if Op.ADD <= op <= Op.MULTIPLY_WHOLE:
        _arithmetic(op, x, y)
        _both_known(kx, ky)
    elif op == Op.LEAST or op == Op.MOST:
        _extreme(op, x, y, kx, ky)
    elif Op.AT_LEAST <= op <= Op.CLIP:
        _clip(op, x, y, value[top + 2][:n] if op == Op.CLIP else y)
    elif Op.GREATER <= op <= Op.NOT_EQUAL:
        _both_known(kx, ky)
        _compare(op, x, y, p, kx)
    elif Op.SAME_TRUTH <= op <= Op.OR:
        _join(op, p, q, kx, ky)
    elif op == Op.FILL_NULL:
        _fill_null(x, y, kx, ky)
    elif op == Op.FILL_NULL_TRUTH:
        _fill_null_truth(p, q, kx, ky)
    elif op == Op.CHOOSE:
        _choose(p, kx, x, y, value[top + 2][:n], ky, known[top + 2][:n])
    else:
        _choose_truth(p, kx, q, truth[top + 2][:n], ky, known[top + 2][:n])


@step
def _evaluate(
    steps: Ints, literals: Floats, places: Ints, s: int, columns: Floats, begin: int, n: int,
    value: Floats, truth: Bytes, known: Bytes,
) -> None:  # fmt: skip
    """Leave the target of bars ``begin`` to ``begin + n`` in the first entry of the stack."""
    height = 0
    for k in range(steps.shape[0]):
        op, argument, takes = steps[k, 0], steps[k, 1], steps[k, 2]
        if op == Op.COLUMN:
            _load(columns[places[s, argument], begin : begin + n], value[height], known[height])
        elif op <= Op.FALSE:
            number = literals[s, argument] if op == Op.LITERAL else 0.0
            _fill(value[height][:n], truth[height], known[height], number, op == Op.TRUE, op != Op.NULL)
        else:
            _apply(op, height - takes, n, value, truth, known)
        height += 1 - takes


# -- from the targets of a tile to change points -----------------------------------------------------------------------


@step
def _is_finite(target: Floats, known: Bytes) -> bool:
    bad = 0
    for i in range(target.size):
        bad |= (target[i] - target[i] != 0.0) & (known[i] != 0)
    return bad == 0


@step
def _differs(target: Floats, known: Bytes, last: float) -> bool:
    other = 0
    for i in range(target.size):
        other |= (target[i] != last) & (known[i] != 0)
    return other != 0


@step
def _changes_of_tile(
    target: Floats, known: Bytes, begin: int, last: float, out_bar: Ints, out_target: Floats, count: int
) -> tuple[int, float]:
    """Write the known targets that differ from the last known one; ``last`` is NaN before the first."""
    for low in range(0, target.size, BLOCK):
        high = min(low + BLOCK, target.size)
        if _differs(target[low:high], known[low:high], last):
            for i in range(low, high):
                if known[i] != 0 and target[i] != last:
                    if count == out_bar.size:
                        return NO_ROOM, last
                    last = target[i]
                    out_bar[count] = begin + i
                    out_target[count] = last
                    count += 1
    return count, last


# -- one comparison that chooses between two constants -----------------------------------------------------------------


@step
def _flip_of(steps: Ints) -> tuple[int, int, int, int, int, int]:
    """Return the one comparison that the steps stand for.

    Returns
    -------
    tuple of int
        1 for greater, 0 for greater or equal, -1 for other programs; the places of the first and the second column, -1
        for the literal; that literal; the literals for true and for false, -1 for null.
    """
    none = (-1, 0, 0, 0, 0, 0)
    if steps.shape[0] != 6 or steps[5, 0] != Op.CHOOSE:
        return none
    op = steps[2, 0]
    if op < Op.GREATER or op > Op.LESS_EQUAL or steps[0, 0] > Op.LITERAL or steps[1, 0] > Op.LITERAL:
        return none
    if steps[0, 0] == steps[1, 0] == Op.LITERAL:
        return none
    if steps[3, 0] < Op.LITERAL or steps[3, 0] > Op.NULL or steps[4, 0] < Op.LITERAL or steps[4, 0] > Op.NULL:
        return none
    a, b = (1, 0) if op >= Op.LESS else (0, 1)  # a < b is b > a
    first = steps[a, 1] if steps[a, 0] == Op.COLUMN else -1
    second = steps[b, 1] if steps[b, 0] == Op.COLUMN else -1
    literal = steps[a, 1] if first < 0 else steps[b, 1]
    if_true = steps[3, 1] if steps[3, 0] == Op.LITERAL else -1
    if_false = steps[4, 1] if steps[4, 0] == Op.LITERAL else -1
    is_strict = 1 if op == Op.GREATER or op == Op.LESS else 0
    return is_strict, first, second, literal, if_true, if_false


@step
def _bits_greater(a: Floats, b: Floats) -> np.uint64:
    """Return a bit for each of 64 bars; NaN, which is null here, gives 0."""
    bits = np.uint64(0)
    for i in range(BLOCK):
        bits |= (np.uint64(1) << np.uint64(i)) if a[i] > b[i] else np.uint64(0)
    return bits


@step
def _bits_greater_equal(a: Floats, b: Floats) -> np.uint64:
    bits = np.uint64(0)
    for i in range(BLOCK):
        bits |= (np.uint64(1) << np.uint64(i)) if a[i] >= b[i] else np.uint64(0)
    return bits


@step
def _bits_of_few(is_strict: int, a: Floats, b: Floats, count: int) -> np.uint64:
    bits = np.uint64(0)
    for i in range(count):
        if a[i] > b[i] or (is_strict == 0 and a[i] >= b[i]):
            bits |= np.uint64(1) << np.uint64(i)
    return bits


@step
def _lowest_bit(bits: np.uint64) -> int:
    """Return the place of the lowest bit that is set; some is."""
    alone = bits & (~bits + np.uint64(1))
    place = 0
    if alone & np.uint64(0xFFFFFFFF00000000):
        place += 32
    if alone & np.uint64(0xFFFF0000FFFF0000):
        place += 16
    if alone & np.uint64(0xFF00FF00FF00FF00):
        place += 8
    if alone & np.uint64(0xF0F0F0F0F0F0F0F0):
        place += 4
    if alone & np.uint64(0xCCCCCCCCCCCCCCCC):
        place += 2
    if alone & np.uint64(0xAAAAAAAAAAAAAAAA):
        place += 1
    return place


@step
def _next_flip(
    is_strict: int, a: Floats, a_moves: int, b: Floats, b_moves: int, low: int, end: int, before: np.uint64
) -> tuple[int, np.uint64]:
    """Return the first whole block from ``low`` on that differs from ``before``, 0 or all bits, and its bits."""
    bits = before
    if is_strict == 1:
        while low + BLOCK <= end:
            bits = _bits_greater(a[low * a_moves :], b[low * b_moves :])
            if bits != before:
                break
            low += BLOCK
    else:
        while low + BLOCK <= end:
            bits = _bits_greater_equal(a[low * a_moves :], b[low * b_moves :])
            if bits != before:
                break
            low += BLOCK
    return low, bits


@step
def _flips_of_tile(
    flip: tuple[int, int, int, int, int, int], literals: Floats, places: Ints, s: int, columns: Floats,
    constant: Floats, begin: int, end: int, before: int, last: float, out_bar: Ints, out_target: Floats, count: int,
) -> tuple[int, int, float]:  # fmt: skip
    """Write the changes of a set; ``before``: the comparison at the bar before ``begin``, 2 for none.

    ``constant`` is a block of room for the literal that a column is compared with.
    """
    is_strict, first, second, literal, place_true, place_false = flip
    a_moves, b_moves = int(first >= 0), int(second >= 0)
    a, b = constant, constant
    if a_moves + b_moves < 2:
        for i in range(BLOCK):
            constant[i] = literals[s, literal]
    if a_moves:
        a = columns[places[s, first]]
    if b_moves:
        b = columns[places[s, second]]
    if_true = literals[s, place_true] if place_true >= 0 else np.nan
    if_false = literals[s, place_false] if place_false >= 0 else np.nan
    one = np.uint64(1)
    low = begin
    while low < end:
        if before != 2:
            low, bits = _next_flip(is_strict, a, a_moves, b, b_moves, low, end, np.uint64(0) - np.uint64(before))
            if low == end:
                break
        n = min(BLOCK, end - low)
        if n < BLOCK or before == 2:
            bits = _bits_of_few(is_strict, a[low * a_moves :], b[low * b_moves :], n)
        flips = bits ^ ((bits << one) | np.uint64(before & 1))
        if before == 2:
            flips |= one
        if n < BLOCK:
            flips &= (one << np.uint64(n)) - one
        before = int(np.int64((bits >> np.uint64(n - 1)) & one))
        count, last = _write_flips(bits, flips, low, last, if_true, if_false, out_bar, out_target, count)
        if count < 0:
            return count, before, last
        low += n
    return count, before, last


@step
def _write_flips(
    bits: np.uint64, flips: np.uint64, low: int, last: float, if_true: float, if_false: float,
    out_bar: Ints, out_target: Floats, count: int,
) -> tuple[int, float]:  # fmt: skip
    """Write what the bars of a block choose where they flip."""
    one = np.uint64(1)
    while flips != np.uint64(0):
        place = _lowest_bit(flips)
        flips &= flips - one
        chosen = if_true if (bits >> np.uint64(place)) & one else if_false
        if chosen == chosen and chosen != last:  # null changes nothing
            if count == out_bar.size:
                return NO_ROOM, last
            last = chosen
            out_bar[count] = low + place
            out_target[count] = last
            count += 1
    return count, last


# -- sets --------------------------------------------------------------------------------------------------------------


@step
def _height(steps: Ints) -> int:
    """Return how many entries the stack needs."""
    height, most = 0, 1
    for k in range(steps.shape[0]):
        height += 1 - steps[k, 2]
        most = max(most, height)
    return most


@step
def _tile_of_set(
    steps: Ints, literals: Floats, places: Ints, s: int, columns: Floats, begin: int, end: int, start: int, last: float,
    value: Floats, truth: Bytes, known: Bytes, out_bar: Ints, out_target: Floats, count: int,
) -> tuple[int, float]:  # fmt: skip
    """Write the changes of bars ``begin`` to ``end``, those from ``start`` on; all of them must be finite."""
    n = end - begin
    _evaluate(steps, literals, places, s, columns, begin, n, value, truth, known)
    if not _is_finite(value[0][:n], known[0][:n]):
        return NOT_FINITE, last
    skip = min(max(start - begin, 0), n)
    return _changes_of_tile(value[0][skip:n], known[0][skip:n], begin + skip, last, out_bar, out_target, count)


@njit
def change_points(
    steps: Ints, literals: Floats, places: Ints, columns: Floats, first: int, start: int,
    out_bar: Ints, out_target: Floats,
) -> int:  # fmt: skip
    """Write the bars at which the target of one set is known and differs from the last known one.

    Parameters
    ----------
    steps : ndarray of int64, shape (steps, 3)
        Of ``TargetProgram.steps``.
    literals : ndarray of float64, shape (1, literals)
        The set's literals.
    places : ndarray of int64, shape (1, columns of the program)
        Rows of ``columns`` that the set reads, in the order of ``TargetProgram.columns``.
    columns : ndarray of float64, shape (columns, bars), C-contiguous
        Of one symbol; NaN is null.
    first : int
        Bar before which nothing is decided: where the last of the strategy's indicators has its first value.
    start : int
        First replayed bar: targets of earlier bars are not written, but they must be finite.
    out_bar, out_target : ndarray of int64 and float64
        Written.

    Returns
    -------
    int
        How many were written; ``NO_ROOM`` (the arrays are too short) or ``NOT_FINITE`` (a target is NaN or infinite:
        the polars evaluation says which).
    """
    bars = columns.shape[1]
    flip = _flip_of(steps)
    last = np.nan
    count = 0
    if flip[0] >= 0:
        begin = max(first, start, 0)
        return _flips_of_tile(
            flip, literals, places, 0, columns, np.empty(BLOCK), begin, bars, 2, last, out_bar, out_target, 0
        )[0]
    height = _height(steps)
    value = np.empty((height, TILE))
    truth = np.zeros((height, TILE), np.uint8)
    known = np.zeros((height, TILE), np.uint8)
    for begin in range(max(first, 0), bars, TILE):
        count, last = _tile_of_set(
            steps, literals, places, 0, columns, begin, min(begin + TILE, bars), start, last,
            value, truth, known, out_bar, out_target, count,
        )  # fmt: skip
        if count < 0:
            return count
    return count


@njit
def _grown(array: Any, used: int) -> Any:
    """Return an array of twice the size that begins with the used part of another."""
    larger = np.empty(2 * array.size, array.dtype)
    larger[:used] = array[:used]
    return larger


@njit
def _points_of_sets(
    steps: Ints, literals: Floats, places: Ints, columns: Floats, firsts: Ints, start: int
) -> tuple[Ints, Ints, Ints, Floats]:
    """Return how many entries each set has (``NOT_FINITE``: none), then set, bar and target, by tile, set and bar."""
    sets, bars = firsts.size, columns.shape[1]
    flip = _flip_of(steps)
    height = _height(steps)
    value = np.empty((height, TILE))
    truth = np.zeros((height, TILE), np.uint8)
    known = np.zeros((height, TILE), np.uint8)
    constant = np.zeros(BLOCK)
    last = np.full(sets, np.nan)
    before = np.full(sets, 2, np.int64)
    counts = np.zeros(sets, np.int64)
    owner = np.empty(max(4 * sets, TILE), np.int64)
    bar = np.empty(owner.size, np.int64)
    target = np.empty(owner.size)
    used = 0
    for begin in range(0, bars, TILE):
        end = min(begin + TILE, bars)
        for s in range(sets):
            low = max(begin, firsts[s], start if flip[0] >= 0 else 0)
            if low >= end or counts[s] < 0:
                continue
            if used + TILE > owner.size:
                owner, bar, target = _grown(owner, used), _grown(bar, used), _grown(target, used)
            if flip[0] >= 0:
                count, before[s], last[s] = _flips_of_tile(
                    flip, literals, places, s, columns, constant, low, end, before[s], last[s], bar, target, used
                )
            else:
                count, last[s] = _tile_of_set(
                    steps, literals, places, s, columns, low, end, start, last[s],
                    value, truth, known, bar, target, used,
                )  # fmt: skip
            if count < 0:
                counts[s] = NOT_FINITE
                continue
            owner[used:count] = s
            counts[s] += count - used
            used = count
    return counts, owner[:used], bar[:used], target[:used]


@njit
def _by_set(counts: Ints, owner: Ints, bar: Ints, target: Floats) -> tuple[Ints, Ints, Floats]:
    """Return where each set begins, and bars and targets in the order of the sets."""
    offsets = np.zeros(counts.size + 1, np.int64)
    for s in range(counts.size):
        offsets[s + 1] = offsets[s] + max(counts[s], 0)
    place = offsets[:-1].copy()
    bars = np.empty(offsets[-1], np.int64)
    targets = np.empty(offsets[-1])
    for k in range(owner.size):
        s = owner[k]
        if counts[s] >= 0:
            bars[place[s]] = bar[k]
            targets[place[s]] = target[k]
            place[s] += 1
    return offsets, bars, targets


def change_points_of_sets(
    steps: Ints, literals: Floats, places: Ints, columns: Floats, firsts: Ints, start: int
) -> ChangePoints:
    """Return the change points of many sets that share their steps, tile by tile, so that columns stay in the cache.

    Parameters
    ----------
    steps, columns, start
        As ``change_points`` takes them.
    literals : ndarray of float64, shape (sets, literals)
        Each set's literals.
    places : ndarray of int64, shape (sets, columns of a program)
        Rows of ``columns`` that each set reads.
    firsts : ndarray of int64, shape (sets,)
        Bar before which a set decides nothing.

    Returns
    -------
    ChangePoints
        By set.

    Notes
    -----
    The interpreter is free while it works: call it for parts of the sets in several threads. While it works it needs
    24 bytes an entry (up to twice that while the arrays grow), and 16 more for the result.
    """
    counts, owner, bar, target = _points_of_sets(steps, literals, places, columns, firsts, start)
    offsets, bars, targets = _by_set(counts, owner, bar, target)
    return ChangePoints(offsets, bars, targets, counts >= 0)
