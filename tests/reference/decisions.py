"""When a target acts, when decisions are due, and what becomes of orders that cannot fill yet."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction

from tests.reference import exits
from tests.reference.book import Book, Order
from tests.reference.case import Request, Setting, Target
from tests.reference.fills import fill_resting
from tests.reference.moment import Moment
from tests.reference.orders import execute
from tests.reference.prices import sign
from tests.reference.requests import change_terms, obey
from tests.reference.slots import chosen


class Decisions:
    """The targets, settings and requests of a run and the orders that they become."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.rows: dict[int, list[Target]] = {}
        for row in sorted(book.case.targets, key=lambda r: (r.bar, r.symbol, -r.side)):
            self.rows.setdefault(row.bar, []).append(row)
        self.due: dict[int, list[Order]] = {}  # by the bar at whose open (or close) they are due
        self.settings_due: dict[int, list[Setting]] = {}
        self.requests_due: dict[int, list[tuple[int, Request]]] = {}
        for setting in book.case.settings_rows:
            self.settings_due.setdefault(self.due_bar(setting.bar), []).append(setting)
        for number, request in enumerate(book.case.requests):
            self.requests_due.setdefault(self.due_bar(request.bar), []).append((number, request))
        self.last_target: dict[int, Fraction] = {}
        self.blocked_by: dict[int, Fraction] = {}
        self.stopped = False  # nothing is decided any more
        self.closing = False  # all positions are to be closed

    # -- deciding ------------------------------------------------------------------------------------------------

    def decide(self, closes: Mapping[int, Fraction]) -> None:
        """Turn the targets decided at this bar's close into orders."""
        book = self.book
        for i in book.taken_over | book.left_flat:
            if i in self.last_target:
                self.blocked_by[i] = self.last_target[i]
        if self.stopped:
            return
        for row in self.rows.get(book.bar, []):
            for i in chosen(book.slots, row.symbol, row.side):
                self._decide_one(i, row, closes)

    def _decide_one(self, i: int, row: Target, closes: Mapping[int, Fraction]) -> None:
        book, only = self.book, self.book.slots[i].only_side
        target = Fraction(row.value)
        if sign(target) == -only:
            target = Fraction(0)
        acts = self._acts(i, target, closes)
        self.last_target[i] = target
        if acts:
            due_bar = self.due_bar(book.bar)
            self.due.setdefault(due_bar, []).append(
                Order(
                    slot=i,
                    kind="limit" if row.rungs else "market",
                    origin="target",
                    decision_time=book.case.end_of(book.bar) - 1,
                    due_time=self._due_time(due_bar),
                    target=target,
                    rungs=row.rungs,
                )
            )

    def due_bar(self, bar: int) -> int:
        """Return the bar at whose open (or close) a decision takes effect; bars beyond the end follow evenly."""
        case = self.book.case
        if case.settings.fill == "close":
            return bar
        last = bar + case.settings.latency_bars * case.signal_bars
        found = last + 1
        if case.settings.latency_ms:
            earliest = self._opens(last) + case.bar_ms + case.settings.latency_ms
            while self._opens(found) < earliest:
                found += 1
        return found

    def _opens(self, bar: int) -> int:
        case = self.book.case
        beyond = bar - (len(case.open_time) - 1)
        return case.open_time[bar] if beyond <= 0 else case.open_time[-1] + beyond * case.bar_ms

    def _due_time(self, bar: int) -> int:
        if self.book.case.settings.fill == "close":
            return self.book.case.end_of(bar) - 1
        return self._opens(bar)

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
        equity = self.book.equity(closes)
        if equity <= 0:
            return True
        exposure = position.side * self.book.notional(i, closes[i]) / equity
        return abs(exposure - target) > Fraction(self.book.case.settings.band)

    # -- taking effect -------------------------------------------------------------------------------------------

    def take_effect(self, moment: Moment) -> None:
        """Let the settings, then the requests that are due take effect."""
        bar = self.book.bar
        settings, requests = self.settings_due.pop(bar, []), self.requests_due.pop(bar, [])
        if self.stopped:
            return
        for row in settings:
            change_terms(self.book, row)
        for i in sorted(self.book.touched):
            exits.drop_unwanted(self.book, i, moment.time)
        for number, request in requests:
            obey(self.book, number, request, self.book.case.end_of(request.bar) - 1, moment)

    def fill_targets(self, moment: Moment, traded: Collection[int]) -> None:
        """Fill the targets that are due or have waited, and what closes positions by time or for good."""
        book = self.book
        if self.stopped and not self.closing:
            return
        for order in sorted(self.due.pop(book.bar, []), key=lambda o: o.slot):
            self._replace_older(order, moment.time)
        ready = []
        for i in sorted(book.waiting):
            if i in traded:
                ready.append(book.waiting.pop(i))
            else:
                book.waiting[i].waited += 1
                book.outcome.counts["bars_waited"] += 1
        closing = [] if moment.is_close else self._closing_orders({o.slot for o in ready}, moment, traded)
        execute(book, ready, closing, moment)

    def close_out(self, moment: Moment, traded: Collection[int]) -> None:
        """Close at an open what is to be closed, where targets fill at the close alone."""
        if not self.stopped or self.closing:
            execute(self.book, [], self._closing_orders(self.book.waiting, moment, traded), moment)

    def _replace_older(self, order: Order, time: int) -> None:
        """Let a target that is due take the place of the older one of its slot."""
        book = self.book
        book.number(order)
        old = book.waiting.pop(order.slot, None)
        if old is not None:
            book.finish(old, time, "superseded", "no_volume")
        for resting in [o for o in book.live if o.slot == order.slot and o.origin == "target"]:
            book.finish(resting, time, "superseded", "none")
        book.waiting[order.slot] = order

    def _closing_orders(self, targeted: Collection[int], moment: Moment, traded: Collection[int]) -> list[Order]:
        """Return the orders that close positions whose time is over, or all of them after a drawdown stop."""
        book, found = self.book, []
        for i in book.held():
            hold = book.terms[i].get("hold_bars") * book.signal_ms
            is_over = hold > 0 and i not in targeted and moment.time >= book.positions[i].opened + hold
            if i in traded and (self.closing or is_over):
                wanted = -book.positions[i].size
                origin = "drawdown_stop" if self.closing else "time_exit"
                order = Order(i, "market", origin, moment.time, moment.time, wanted=wanted, left=wanted)
                found.append(book.number(order))
        return found

    def fill_market_orders(self, moment: Moment, traded: Collection[int]) -> None:
        """Fill the market orders of requests one after another."""
        book = self.book
        for order in [o for o in book.live if o.kind == "market"]:
            if order not in book.live:
                continue  # another order of its group was filled
            if order.slot not in traded:
                continue
            if order.origin == "close" and book.positions[order.slot].size != 0:
                order.left = order.wanted = -book.positions[order.slot].size
            fill_resting(book, order, moment.trades[order.slot], moment, attaches=False)
        for order in [o for o in book.live if o.kind == "market"]:
            order.waited += 1
            book.outcome.counts["bars_waited"] += 1

    def attach_exits(self, moment: Moment) -> None:
        """Attach stops and targets to the positions that need it."""
        for i in range(len(self.book.slots)):
            exits.follow(self.book, i, moment)

    # -- ends ----------------------------------------------------------------------------------------------------

    def _undue(self) -> list[Order]:
        found = [order for bar in sorted(self.due) for order in self.due[bar]]
        return [self.book.number(o) if o.number < 0 else o for o in found]

    def stop(self, reason: str) -> None:
        """End all deciding: after a liquidation, where the run is set so, or after a drawdown stop."""
        if self.stopped:
            return
        self.stopped, self.closing = True, reason == "drawdown"
        book = self.book
        book.has_ended = True
        orders = [*book.waiting.values(), *book.live, *self._undue()]
        book.cancel(orders, book.case.end_of(book.bar) - 1, reason)
        book.waiting, self.due = {}, {}

    def leave_pending(self) -> None:
        """Write the orders that are still on their way at the end of the run."""
        book = self.book
        for order in [*book.waiting.values(), *book.live, *self._undue()]:
            book.finish(order, -1, "pending", "no_volume" if order.waited else "none")
