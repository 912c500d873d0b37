"""When a target acts, when its order is due, and what becomes of orders that cannot fill yet."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from tests.reference.book import Book, Order
from tests.reference.case import Target
from tests.reference.market import Market
from tests.reference.orders import execute
from tests.reference.prices import sign


class Decisions:
    """The targets of a run and the orders that they became."""

    def __init__(self, book: Book, market: Market) -> None:
        self.book, self.market = book, market
        self.rows: dict[int, list[Target]] = {}
        for row in sorted(book.case.targets, key=lambda r: (r.bar, r.symbol)):
            self.rows.setdefault(row.bar, []).append(row)
        self.due: dict[int, list[Order]] = {}  # by the bar at whose open (or close) they are due
        self.last_target: dict[int, Fraction] = {}
        self.blocked_by: dict[int, Fraction] = {}
        self.made = 0
        self.stopped = False

    # -- deciding ------------------------------------------------------------------------------------------------

    def decide(self, closes: Mapping[int, Fraction]) -> None:
        """Turn the targets decided at this bar's close into orders."""
        book, settings = self.book, self.book.case.settings
        for i in book.taken_over:
            if i in self.last_target:
                self.blocked_by[i] = self.last_target[i]
        if self.stopped:
            return
        for row in self.rows.get(book.bar, []):
            target = Fraction(row.value)
            acts = self._acts(row.symbol, target, closes)
            self.last_target[row.symbol] = target
            if acts:
                due_bar = book.bar if settings.fill == "close" else book.bar + 1 + settings.latency_bars
                self.due.setdefault(due_bar, []).append(
                    Order(self.made, row.symbol, target, book.case.end_of(book.bar) - 1, self._due_time(due_bar))
                )
                self.made += 1

    def _due_time(self, bar: int) -> int:
        case = self.book.case
        if case.settings.fill == "close":
            return case.end_of(bar) - 1
        beyond = bar - (len(case.open_time) - 1)
        return case.open_time[bar] if beyond <= 0 else case.open_time[-1] + beyond * case.bar_ms

    def _acts(self, i: int, target: Fraction, closes: Mapping[int, Fraction]) -> bool:
        rule = self.book.case.settings.rebalance
        if rule == "every_bar":
            return True
        if rule == "on_change":
            return self.last_target.get(i) != target
        if i in self.blocked_by:
            if self.blocked_by[i] == target:
                return False
            del self.blocked_by[i]
        position = self.book.positions[i]
        if sign(target) != position.side:
            return True
        if position.side == 0:
            return False
        equity = self.book.equity(dict(closes))
        if equity <= 0:
            return True
        exposure = position.side * self.book.notional(i, closes[i]) / equity
        return abs(exposure - target) > Fraction(self.book.case.settings.band)

    # -- filling -------------------------------------------------------------------------------------------------

    def fill_at(self, time: int, references: Mapping[int, Fraction], marks: Mapping[int, Fraction]) -> None:
        """Fill what is due or has waited; ``references`` names the contracts that trade."""
        if self.stopped:
            return
        book = self.book
        for order in self.due.pop(book.bar, []):
            old = book.waiting.pop(order.symbol, None)
            if old is not None:
                book.finish_order(old, time, "superseded", "no_volume")
            book.waiting[order.symbol] = order
        ready = []
        for i in sorted(book.waiting):
            if i in references:
                ready.append(book.waiting.pop(i))
            else:
                book.waiting[i].waited += 1
                book.outcome.counts["bars_waited"] += 1
        execute(book, ready, references, marks, time)

    # -- ends ----------------------------------------------------------------------------------------------------

    def _open_orders(self) -> list[Order]:
        undue = [order for orders in self.due.values() for order in orders]
        return [*self.book.waiting.values(), *undue]

    def stop(self) -> None:
        """End all trading after a liquidation, where the run is set so."""
        if self.stopped:
            return
        self.stopped = True
        for order in self._open_orders():
            self.book.finish_order(order, self.book.case.end_of(self.book.bar) - 1, "cancelled", "stopped")
        self.book.waiting, self.due = {}, {}

    def leave_pending(self) -> None:
        """Write the orders that are still on their way at the end of the run."""
        for order in self._open_orders():
            self.book.finish_order(order, -1, "pending", "no_volume" if order.waited else "none")
