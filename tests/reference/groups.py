"""What is liquidated together: one isolated position, or all cross positions of the account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from tests.reference.book import ZERO, Book

Prices = Mapping[int, Fraction]


@dataclass(frozen=True)
class Group:
    """Margin that stands or falls together; ``isolated`` is the slot's place, None for the cross group."""

    book: Book
    isolated: int | None

    def members(self) -> list[int]:
        """Return the slots in which the group holds a position."""
        if self.isolated is None:
            return self.book.cross_held()
        return [self.isolated] if self.book.positions[self.isolated].size != 0 else []

    def slots(self) -> list[int]:
        """Return the slots whose orders go with the group, flat ones included."""
        if self.isolated is None:
            return [i for i, rules in enumerate(self.book.rules) if not rules.isolated]
        return [self.isolated]

    def priced(self) -> list[int]:
        """Return the slots whose prices the group's balance depends on."""
        return self.members() + (self.book.collateral_held() if self.isolated is None else [])

    def balance(self, marks: Prices) -> Fraction:
        """Return the margin balance at some marks."""
        own = self.book.free_wallet if self.isolated is None else self.book.positions[self.isolated].margin
        if self.isolated is None:
            own += self.book.collateral(marks)
        return own + sum((self.book.unrealised(i, marks[i]) for i in self.members()), ZERO)

    def required(self, marks: Prices, tiers: Mapping[int, int] | None = None) -> Fraction:
        """Return the sum of the requirements, with given brackets or with those that hold at these marks."""
        return sum(
            (self.book.requirement(i, marks[i], tier=None if tiers is None else tiers[i]) for i in self.members()),
            ZERO,
        )

    def excess(self, marks: Prices, tiers: Mapping[int, int] | None = None) -> Fraction:
        """Return the balance less the requirement: at 0 or below the engine comes."""
        return self.balance(marks) - self.required(marks, tiers)

    def fails(self, marks: Prices) -> bool:
        """Tell whether the group is to be liquidated at these marks."""
        return bool(self.members()) and self.excess(marks) <= 0


def groups_held(book: Book) -> list[Group]:
    """Return the groups that hold something: isolated positions in order, then the cross group."""
    found = [Group(book, i) for i in book.isolated_held()]
    if book.cross_held():
        found.append(Group(book, None))
    return found
