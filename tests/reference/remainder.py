"""How much of a position may remain after a partial liquidation."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from tests.reference.book import Book
from tests.reference.prices import shortened

CRUMB = 1 - Fraction(1, 10**9)  # without a quantity step sizes stay this far below a bound
HALVINGS = 200

Excess = Callable[[Fraction, int], Fraction]


def unit_measure(book: Book, i: int, mark: Fraction) -> Fraction:
    """Return what one unit of size adds to the measure that chooses the bracket."""
    return book.own_measure(i, Fraction(1), mark)


def size_below_floor(book: Book, i: int, mark: Fraction, tier: int) -> Fraction:
    """Return the largest size strictly below the floor of a bracket."""
    floor, other, step = book.tables[i][book.bar].brackets[tier].floor, book.other_measure(i, mark), book.rules[i].step
    unit = unit_measure(book, i, mark)
    if step:
        return (math.ceil((floor - other) / unit / step) - 1) * step
    return shortened((floor * CRUMB - other) / unit)


def largest_passing_size(book: Book, i: int, mark: Fraction, excess: Excess) -> tuple[Fraction, int] | None:
    """Return the largest remaining size (less than all) whose excess is positive, and its bracket.

    ``excess(size, tier)`` is concave within a bracket: a line, or a parabola for a ramp.
    """
    position, table, step = book.positions[i], book.tables[i][book.bar], book.rules[i].step
    unit, held, other = unit_measure(book, i, mark), abs(position.size), book.other_measure(i, mark)
    for k in range(table.bracket_of(held * unit + other), -1, -1):
        tier = k if position.bound is None else min(k, position.bound)
        low = max(Fraction(0), (table.brackets[k].floor - other) / unit)
        high, below = held, held * CRUMB
        if k + 1 < len(table.brackets):
            floor = table.brackets[k + 1].floor
            high, below = min(held, (floor - other) / unit), min(below, (floor * CRUMB - other) / unit)
        if high <= 0:
            continue
        if step:
            found = _largest_multiple(low, high, step, lambda q, tier=tier: excess(q, tier))
        else:
            found = _supremum(low, high, shortened(below), lambda q, tier=tier: excess(q, tier))
        if found is not None:
            return found, (tier if step else book.tier(i, mark, found))
    return None


def _largest_multiple(
    low: Fraction, high: Fraction, step: Fraction, excess: Callable[[Fraction], Fraction]
) -> Fraction | None:
    """Return the largest positive multiple of ``step`` in ``[low, high)`` with a positive excess."""
    first, last = max(1, math.ceil(low / step)), math.ceil(high / step) - 1
    if first > last:
        return None
    if excess(last * step) > 0:
        return last * step
    # Climb to the top of the concave excess, then halve on its falling side.
    bottom, top = first, last
    while bottom < top:
        middle = (bottom + top) // 2
        if excess((middle + 1) * step) > excess(middle * step):
            bottom = middle + 1
        else:
            top = middle
    if excess(bottom * step) <= 0:
        return None
    good, bad = bottom, last
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if excess(middle * step) > 0 else (good, middle)
    return good * step


def _supremum(
    low: Fraction, high: Fraction, below: Fraction, excess: Callable[[Fraction], Fraction]
) -> Fraction | None:
    """Return the supremum of the sizes in ``(low, high)`` with a positive excess, less a crumb; ``below`` for high."""
    if excess(high) > 0:
        return below
    good = low if excess(low) > 0 else _inner_point(low, high, excess)
    if good is None:
        return None
    bad = high
    for _ in range(HALVINGS):
        middle = (good + bad) / 2
        good, bad = (middle, bad) if excess(middle) > 0 else (good, middle)
    return shortened(good * CRUMB)


def _inner_point(low: Fraction, high: Fraction, excess: Callable[[Fraction], Fraction]) -> Fraction | None:
    """Return a point with a positive excess between two that have none; a parabola alone can have one."""
    ends, middle = (excess(low), excess(high)), (low + high) / 2
    bend = 2 * excess(middle) - ends[0] - ends[1]
    if bend == 0:
        return None
    # excess(t) = ends[0] + slope * t + bulge * t * (1 - t) with t from 0 to 1: the top lies where its slope vanishes.
    bulge, slope = 2 * bend, ends[1] - ends[0]
    t = min(Fraction(1), max(Fraction(0), (bulge + slope) / (2 * bulge)))
    top = low + t * (high - low)
    return top if excess(top) > 0 else None
