"""The series of a case in exact prices, bar by bar; marks on a coarser clock are brought to the traded one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from tests.reference.case import Case, Contract, Ohlc
from tests.reference.path import Bar
from tests.reference.slots import slots_of


@dataclass(frozen=True)
class Due:
    """One funding settlement of one slot."""

    time: int
    slot: int
    rate: Fraction
    mark_price: Fraction | None


def exact_bar(series: Ohlc, k: int) -> Bar:
    """Return one bar of a series."""
    return Bar(Fraction(series.open[k]), Fraction(series.high[k]), Fraction(series.low[k]), Fraction(series.close[k]))


def clamped(price: Fraction, bounds: Bar) -> Fraction:
    """Return the price moved into a bar's range."""
    return min(max(price, bounds.low), bounds.high)


class Market:
    """Prices, volumes and settlements of a case; series are asked for by slot."""

    def __init__(self, case: Case) -> None:
        self.case, self.slots = case, slots_of(case)
        self.per_mark_bar = 1 if case.mark_bar_ms is None else case.mark_bar_ms // case.bar_ms
        self.is_coarse = self.per_mark_bar > 1
        dues = [
            Due(s.time, i, Fraction(s.rate), None if s.mark_price is None else Fraction(s.mark_price))
            for i, slot in enumerate(self.slots)
            for s in case.contracts[slot.symbol].funding
            if not slot.is_spot
        ]
        self.dues = sorted(dues, key=lambda d: (d.time, d.slot))

    def contract(self, i: int) -> Contract:
        return self.case.contracts[self.slots[i].symbol]

    def is_listed(self, i: int, bar: int) -> bool:
        """Tell whether a contract has a bar."""
        return not math.isnan(self.contract(i).trade.open[bar])

    def first_listed(self, i: int) -> int | None:
        """Return the first bar of a contract."""
        return next((b for b in range(len(self.case.open_time)) if self.is_listed(i, b)), None)

    def listed(self, bar: int) -> list[int]:
        return [i for i in range(len(self.slots)) if self.is_listed(i, bar)]

    def trade(self, i: int, bar: int) -> Bar:
        return exact_bar(self.contract(i).trade, bar)

    def index(self, i: int, bar: int) -> Bar:
        series = self.contract(i).index
        assert series is not None, "this run needs an index series"
        return exact_bar(series, bar)

    def indexed(self, bar: int) -> dict[int, Bar]:
        """Return the index bars of the contracts that have one."""
        return {i: self.index(i, bar) for i in self.listed(bar) if self.contract(i).index is not None}

    def traded(self, bar: int) -> dict[int, Bar]:
        """Return the traded bars of the contracts in which orders can fill."""
        found = {}
        for i in self.listed(bar):
            volume = self.contract(i).volume
            if volume is None or volume[bar] > 0:
                found[i] = self.trade(i, bar)
        return found

    def settlements(self, bar: int) -> list[Due]:
        """Return what is due in ``[open, end)`` of a bar, by time, then in the contracts' order."""
        start, end = self.case.open_time[bar], self.case.end_of(bar)
        return [d for d in self.dues if start <= d.time < end]

    # -- marks ---------------------------------------------------------------------------------------------------

    def mark_bar_number(self, bar: int) -> int:
        if not self.is_coarse:
            return bar
        assert self.case.mark_bar_ms is not None
        return (self.case.open_time[bar] - self.case.open_time[0]) // self.case.mark_bar_ms

    def mark_bar(self, i: int, bar: int) -> Bar:
        """Return the bar of the mark series, on its own clock, that holds a traded bar."""
        return exact_bar(self.contract(i).mark, self.mark_bar_number(bar))

    def first_of_mark_bar(self, bar: int) -> int:
        """Return the first traded bar inside the same mark bar."""
        return min(b for b in range(bar + 1) if self.mark_bar_number(b) == self.mark_bar_number(bar))

    def opens_mark_bar(self, bar: int) -> bool:
        return self.is_coarse and self.first_of_mark_bar(bar) == bar

    def closes_mark_bar(self, bar: int) -> bool:
        """Tell whether a coarse mark bar ends together with this traded bar."""
        if not self.is_coarse:
            return False
        ended = self.case.open_time[bar] + self.case.bar_ms - self.case.open_time[0]
        return ended % self.case.mark_bar_ms == 0

    def mark(self, i: int, bar: int) -> Bar:
        """Return the marks on the traded clock: the series, or the trades scaled to a coarse mark bar's open."""
        if not self.is_coarse:
            return self.mark_bar(i, bar)
        ratio = self.mark_bar(i, bar).open / self.trade(i, self.first_of_mark_bar(bar)).open
        fine = self.trade(i, bar)
        return Bar(fine.open * ratio, fine.high * ratio, fine.low * ratio, fine.close * ratio)

    def path_bar(self, i: int, bar: int) -> Bar:
        """Return the marks that liquidation is judged on: a coarse mark bar's range bounds them."""
        mark = self.mark(i, bar)
        if not self.is_coarse:
            return mark
        bounds = self.mark_bar(i, bar)
        return Bar(*(clamped(p, bounds) for p in (mark.open, mark.high, mark.low, mark.close)))

    def mark_opens(self, bar: int) -> dict[int, Fraction]:
        return {i: self.mark(i, bar).open for i in self.listed(bar)}

    def mark_closes(self, bar: int) -> dict[int, Fraction]:
        return {i: self.mark(i, bar).close for i in self.listed(bar)}

    # -- colours -------------------------------------------------------------------------------------------------

    def colors(self, bar: int, first: int | None = None) -> dict[int, str]:
        """Return which extreme comes first by the colour of the traded bar (from bar ``first`` to ``bar``)."""
        begin = bar if first is None else first
        return {i: "low" if self.trade(i, bar).close >= self.trade(i, begin).open else "high" for i in self.listed(bar)}
