"""The fewest lots that a restoring step closes, against counting them one by one."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from tests.property.strategies import random_case, with_settings
from tests.reference import engine
from tests.reference.account import replay
from tests.reference.book import Book
from tests.reference.remainder import Excess, largest_passing_size

COUNTABLE = 2_000


def counted(book: Book, i: int, mark: Fraction, excess: Excess) -> tuple[Fraction, int] | None:
    """Return the largest passing size by trying every number of lots."""
    step = book.rules[i].step
    for lots in range(int(abs(book.positions[i].size) / step) - 1, 0, -1):
        tier = book.tier(i, mark, lots * step)
        if excess(lots * step, tier) > 0:
            return lots * step, tier
    return None


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let each restoring step be counted too; the list says for each whether some size passed."""
    seen: list[bool] = []

    def both(book: Book, i: int, mark: Fraction, excess: Excess) -> tuple[Fraction, int] | None:
        found = largest_passing_size(book, i, mark, excess)
        step = book.rules[i].step
        if step and abs(book.positions[i].size) / step < COUNTABLE:
            assert found == counted(book, i, mark, excess)
            seen.append(found is not None)
        return found

    monkeypatch.setattr(engine, "largest_passing_size", both)
    return seen


def test_fewest_lots(compared: list[bool]) -> None:
    for seed in range(80):
        dice = random.Random(seed)
        replay(with_settings(random_case(dice, 14, 2), step="restore", step_from_tier=2, then="continue"))
    assert len(compared) > 15
    assert any(compared)
