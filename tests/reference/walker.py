"""Walking the prices through a bar: orders fire and the engine comes, whatever is first on each leg."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

from tests.reference.book import Book, Order
from tests.reference.engine import liquidate
from tests.reference.groups import Group, groups_held
from tests.reference.market import Market
from tests.reference.moment import Moment
from tests.reference.path import Bar, Orders, first_failure, is_disputed, marks_at, visiting_orders
from tests.reference.resting import Leg, fire, first_fire, is_ready, see_closes

START, END = Fraction(0), Fraction(1)
Bars = Mapping[int, Bar]


class Walker:
    """Walks each bar, and each coarse mark bar once it is over."""

    def __init__(self, book: Book, market: Market) -> None:
        self.book, self.market = book, market
        self.sizes_at_mark_open: list[Fraction] = []

    def walk_bar(self) -> None:
        """Walk the prices of a bar."""
        bar = self.book.bar
        listed = self.market.listed(bar)
        walk = Walk(
            self.book,
            marks={i: self.market.path_bar(i, bar) for i in listed},
            trades={i: self.market.trade(i, bar) for i in listed},
            indexes=self.market.indexed(bar),
            colors=self.market.colors(bar),
            groups=lambda: groups_held(self.book),
            traded=self.market.traded(bar),
        )
        walk.run()

    def walk_mark_bar(self) -> None:
        """Walk a coarse mark bar for the groups that have not changed since its open."""
        book, bar = self.book, self.book.bar
        eligible = []
        for group in groups_held(book):
            if self._has_changed(group):
                book.outcome.counts["coarse_unchecked"] += 1
            else:
                eligible.append(group)
        if not eligible:
            return
        marks = {i: self.market.mark_bar(i, bar) for i in book.held()}
        colors = self.market.colors(bar, self.market.first_of_mark_bar(bar))
        Walk(book, marks, marks, {}, colors, groups=lambda: eligible, traded={}).run()

    def _has_changed(self, group: Group) -> bool:
        return any(self.book.positions[i].size != self.sizes_at_mark_open[i] for i in group.slots())


class Walk:
    """One way of all prices from open to close; ``traded`` are the slots whose orders can fire."""

    def __init__(
        self,
        book: Book,
        marks: Bars,
        trades: Bars,
        indexes: Bars,
        colors: Mapping[int, str],
        groups: Callable[[], list[Group]],
        traded: Bars,
    ) -> None:
        self.book, self.marks, self.trades, self.indexes = book, marks, trades, indexes
        self.groups, self.traded = groups, traded
        has_cross = any(group.isolated is None for group in groups())
        self.disputed = has_cross and is_disputed(book, marks, colors)
        book.outcome.counts["disputed_bars"] += self.disputed
        self.orders: Orders = visiting_orders(book, marks, colors, book.case.settings.joint)

    def run(self) -> None:
        legs = 1 if self.book.case.settings.intrabar == "close" else 3
        for leg in range(legs):
            self._walk_leg(leg)
        for order in self.book.live:
            order.is_new = False
        if self.traded:
            see_closes(self.book, self._moment(legs - 1, END), self.traded)

    def _walk_leg(self, leg: int) -> None:
        begin = START
        while True:
            group, f_group = self._first_group(leg, begin)
            order, f_order = self._first_order(leg, begin)
            if group is not None and (order is None or f_group <= f_order):
                begin = f_group
                moment = self._moment(leg, begin)
                assert group.fails(moment.marks), "the walk stopped where nothing fails"
                liquidate(group, moment)
            elif order is not None:
                begin = f_order
                fire(self.book, order, self._moment(leg, begin))
            else:
                return

    def _first_group(self, leg: int, begin: Fraction) -> tuple[Group | None, Fraction]:
        first, at = None, END
        for group in self.groups():
            f = first_failure(group, self.marks, self.orders, leg, begin)
            if f is not None and (first is None or f < at):
                first, at = group, f
        return first, at

    def _first_order(self, leg: int, begin: Fraction) -> tuple[Order | None, Fraction]:
        first, at, way = None, END, self._leg(leg)
        for order in self.book.live:
            if is_ready(self.book, order, self.traded):
                f = first_fire(self.book, order, way, begin)
                still = f is not None and is_ready(self.book, order, self.traded)  # it may be new no more
                if still and (first is None or f < at):
                    first, at = order, f
        return first, at

    def _leg(self, leg: int) -> Leg:
        def ends(bars: Bars) -> dict[int, tuple[Fraction, Fraction]]:
            stops = {i: bars[i].stops(self.orders[i]) for i in bars}
            return {i: (s[leg], s[leg + 1]) for i, s in stops.items()}

        return Leg({"last": ends(self.trades), "mark": ends(self.marks), "index": ends(self.indexes)})

    def _moment(self, leg: int, f: Fraction) -> Moment:
        return Moment(
            marks=marks_at(self.book, self.marks, self.orders, leg, f),
            trades=marks_at(self.book, self.trades, self.orders, leg, f),
            indexes=marks_at(self.book, self.indexes, self.orders, leg, f),
            time=self.book.case.end_of(self.book.bar) - 1,
            disputed=self.disputed,
        )
