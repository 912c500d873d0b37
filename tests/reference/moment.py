"""A point of the path: what everything is worth there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True)
class Moment:
    """Prices by slot, and the time that rows of this moment carry."""

    marks: Mapping[int, Fraction]
    trades: Mapping[int, Fraction]
    time: int
    indexes: Mapping[int, Fraction] = field(default_factory=dict)
    disputed: bool = False
    is_close: bool = False  # the fills at a close that some settings ask for

    def price(self, series: str, i: int) -> Fraction:
        """Return the price of a slot in the series that an order watches."""
        return {"last": self.trades, "mark": self.marks, "index": self.indexes}[series][i]
