"""The way of the marks inside a bar, and the first point of a leg at which a group fails.

A leg is walked by its fraction ``f``. Between the points at which a position enters another bracket the excess of a
group is a straight line in ``f``. These points are found and sorted exactly; each is tested, then the line to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tests.reference.book import Book
from tests.reference.groups import Group, Prices

ONE = Fraction(1)


@dataclass(frozen=True)
class Bar:
    """One bar of exact prices."""

    open: Fraction
    high: Fraction
    low: Fraction
    close: Fraction

    def stops(self, order: str) -> list[Fraction]:
        """Return the prices visited: ``"low"`` or ``"high"`` first, or ``"close"`` for open and close alone."""
        if order == "close":
            return [self.open, self.close]
        extremes = [self.low, self.high] if order == "low" else [self.high, self.low]
        return [self.open, *extremes, self.close]


Orders = Mapping[int, str]


def marks_at(book: Book, bars: Mapping[int, Bar], orders: Orders, leg: int, f: Fraction) -> dict[int, Fraction]:
    """Return the prices of all contracts at a point of the path."""
    prices = {}
    for i, bar in bars.items():
        if i not in orders:
            continue
        stops = bar.stops(orders[i])
        prices[i] = book.rules[i].kind.between(stops[leg], stops[leg + 1], f)
    return prices


def bracket_points(book: Book, i: int, start: Fraction, end: Fraction) -> list[Fraction]:
    """Return the fractions of a leg at which what chooses a position's bracket meets the floor of one."""
    table = book.tables[i][book.bar]
    if start == end or table.counts_contracts or book.case.settings.mmr_basis == "entry":
        return []
    size = book.positions[i].size
    first, last = book.measure(i, size, start), book.measure(i, size, end)
    return [(bracket.floor - first) / (last - first) for bracket in table.brackets[1:]]


def first_failure(group: Group, bars: Mapping[int, Bar], orders: Orders, leg: int, begin: Fraction) -> Fraction | None:
    """Return the first fraction from ``begin`` on at which the group fails on this leg."""
    book, members = group.book, group.members()
    if not members:
        return None
    points = {begin, ONE}
    for i in members:
        stops = bars[i].stops(orders[i])
        points.update(f for f in bracket_points(book, i, stops[leg], stops[leg + 1]) if begin < f < ONE)
    ordered = sorted(points)

    def marks(f: Fraction) -> Prices:
        return marks_at(book, bars, {i: orders[i] for i in group.priced()}, leg, f)

    for a, b in zip(ordered, [*ordered[1:], None], strict=True):
        if group.excess(marks(a)) <= 0:
            return a
        if b is None:
            return None
        middle = marks((a + b) / 2)
        tiers = {i: book.tier(i, middle[i]) for i in members}
        after_a, before_b = group.excess(marks(a), tiers), group.excess(marks(b), tiers)
        if after_a <= 0:  # a table with a broken deduction fails just behind its floor, not on it
            return a + (b - a) / 10**12
        if before_b <= 0:
            return a + (b - a) * after_a / (after_a - before_b)
    return None


def common_order(group: Group, bars: Mapping[int, Bar]) -> str:
    """Return the joint order whose first extreme leaves the cross group less."""
    lows = group.excess({i: bars[i].low for i in group.priced()})
    highs = group.excess({i: bars[i].high for i in group.priced()})
    return "low" if lows <= highs else "high"


def own_adverse(book: Book, symbol: int, color: str) -> str:
    """Return the order that hurts a symbol's net position first, by colour where it has none."""
    net = book.symbol_size(symbol)
    return color if net == 0 else "low" if net > 0 else "high"


def visiting_orders(book: Book, bars: Mapping[int, Bar], colors: Mapping[int, str], joint: str) -> dict[int, str]:
    """Return the order in which each listed contract visits its extremes."""
    intrabar = book.case.settings.intrabar
    if intrabar == "close":
        return dict.fromkeys(bars, "close")
    if intrabar == "color":
        return {i: colors[i] for i in bars}
    orders = {i: own_adverse(book, book.slots[i].symbol, colors[i]) for i in bars}
    together = symbols_together(book)
    if joint == "common" and len(together) > 1:
        common = common_order(Group(book, None), bars)
        orders.update({i: common for i in bars if book.slots[i].symbol in together})
    return orders


def symbols_together(book: Book) -> set[int]:
    """Return the symbols that one balance joins: cross positions, and collateral where there are any."""
    group = Group(book, None)
    return {book.slots[i].symbol for i in group.priced()} if group.members() else set()


def fails_anywhere(group: Group, bars: Mapping[int, Bar], orders: Orders) -> bool:
    """Tell whether a group that stays as it is would fail on a path."""
    legs: Sequence[int] = range(len(next(iter(bars.values())).stops(next(iter(orders.values())))) - 1)
    return any(first_failure(group, bars, orders, leg, Fraction(0)) is not None for leg in legs)


def is_disputed(book: Book, bars: Mapping[int, Bar], colors: Mapping[int, str]) -> bool:
    """Tell whether only the worst joint path liquidates the cross group of several positions."""
    group = Group(book, None)
    if book.case.settings.intrabar != "adverse" or len(symbols_together(book)) < 2:
        return False
    common = visiting_orders(book, bars, colors, "common")
    worst = visiting_orders(book, bars, colors, "worst")
    return not fails_anywhere(group, bars, common) and fails_anywhere(group, bars, worst)
