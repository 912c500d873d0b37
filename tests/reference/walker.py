"""Walking the marks through a bar and sending the engine where a group fails."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from tests.reference.book import Book
from tests.reference.engine import Moment, liquidate
from tests.reference.groups import Group, groups_held
from tests.reference.market import Market
from tests.reference.path import Bar, Orders, first_failure, is_disputed, marks_at, visiting_orders

START = Fraction(0)


class Walker:
    """Walks each bar, and each coarse mark bar once it is over."""

    def __init__(self, book: Book, market: Market) -> None:
        self.book, self.market = book, market
        self.sizes_at_mark_open: list[Fraction] = []

    def walk_bar(self) -> None:
        """Walk the marks of a bar."""
        bar, held = self.book.bar, self.book.held()
        marks = {i: self.market.path_bar(i, bar) for i in held}
        trades = {i: self.market.trade(i, bar) for i in held}
        self._walk(groups_held(self.book), marks, trades, self.market.colors(bar))

    def walk_mark_bar(self) -> None:
        """Walk a coarse mark bar for the groups that have not changed since its open."""
        book, bar = self.book, self.book.bar
        eligible = []
        for group in groups_held(book):
            if self._has_changed(group):
                book.outcome.counts["coarse_unchecked"] += 1
            else:
                eligible.append(group)
        marks = {i: self.market.mark_bar(i, bar) for i in book.held()}
        self._walk(eligible, marks, marks, self.market.colors(bar, self.market.first_of_mark_bar(bar)))

    def _has_changed(self, group: Group) -> bool:
        book = self.book
        watched = (
            [i for i, rules in enumerate(book.rules) if not rules.isolated]
            if group.isolated is None
            else [group.isolated]
        )
        return any(book.positions[i].size != self.sizes_at_mark_open[i] for i in watched)

    def _walk(
        self, groups: list[Group], marks: Mapping[int, Bar], trades: Mapping[int, Bar], colors: Mapping[int, str]
    ) -> None:
        if not groups:
            return
        book = self.book
        has_cross = any(group.isolated is None for group in groups)
        disputed = has_cross and is_disputed(book, marks, colors)
        book.outcome.counts["disputed_bars"] += disputed
        orders = visiting_orders(book, marks, colors, book.case.settings.joint)
        for leg in range(1 if book.case.settings.intrabar == "close" else 3):
            self._walk_leg(groups, marks, trades, orders, leg, disputed)

    def _walk_leg(
        self,
        groups: list[Group],
        marks: Mapping[int, Bar],
        trades: Mapping[int, Bar],
        orders: Orders,
        leg: int,
        disputed: bool,
    ) -> None:
        book, begin = self.book, START
        while True:
            found = [(first_failure(group, marks, orders, leg, begin), n) for n, group in enumerate(groups)]
            fired = [(f, n) for f, n in found if f is not None]
            if not fired:
                return
            begin, n = min(fired)
            moment = Moment(
                marks=marks_at(book, marks, orders, leg, begin),
                trades=marks_at(book, trades, orders, leg, begin),
                time=book.case.end_of(book.bar) - 1,
                disputed=disputed,
            )
            assert groups[n].fails(moment.marks), "the walk stopped where nothing fails"
            liquidate(groups[n], moment)
