"""Margin brackets with their maintenance amounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from tests.exchange.contract import Bracket


@dataclass(frozen=True)
class BracketRow:
    """One bracket of a table.

    Attributes
    ----------
    number : int
        From 1.
    floor, cap : int
        Span of notional [quote currency].
    maintenance_rate : Decimal
        Maintenance margin [fraction of notional].
    amount : Decimal
        Deduction that makes the requirement continuous [quote currency].
    leverage : int
        Largest leverage.
    """

    number: int
    floor: int
    cap: int
    maintenance_rate: Decimal
    amount: Decimal
    leverage: int


def bracket_rows(brackets: Sequence[Bracket]) -> list[BracketRow]:
    """Return brackets, the smallest first, with floors and maintenance amounts."""
    rows: list[BracketRow] = []
    floor, before, amount = 0, Decimal(0), Decimal(0)
    for number, bracket in enumerate(brackets, start=1):
        rate = Decimal(bracket.maintenance_rate)
        amount += floor * (rate - before)
        rows.append(BracketRow(number, floor, bracket.cap, rate, amount, bracket.leverage))
        floor, before = bracket.cap, rate
    return rows
