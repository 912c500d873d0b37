"""Tier tables: which bracket holds, what it requires, how large a position may grow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from tests.reference.case import Case, Tiers


@dataclass(frozen=True)
class Bracket:
    """One bracket in exact numbers; ``cap`` None is infinite."""

    floor: Fraction
    cap: Fraction | None
    rate: Fraction
    max_leverage: Fraction
    deduction: Fraction
    slope: Fraction


@dataclass(frozen=True)
class Table:
    """The brackets in force at a time."""

    brackets: tuple[Bracket, ...]
    counts_contracts: bool

    def bracket_of(self, measure: Fraction) -> int:
        """Return the bracket whose ``[floor, cap)`` holds a notional (or a number of contracts)."""
        found = 0
        for k, bracket in enumerate(self.brackets):
            if measure >= bracket.floor:
                found = k
        return found

    def cap(self, leverage: Fraction) -> Fraction | None:
        """Return the measure below which all brackets allow the leverage; None: no cap."""
        cap: Fraction | None = Fraction(0)
        for bracket in self.brackets:
            if bracket.max_leverage < leverage:
                return cap
            cap = bracket.cap
        return cap


def exact_table(tiers: Tiers) -> Table:
    """Convert a table, completing the deductions of a progressive one by continuity."""
    brackets: list[Bracket] = []
    for k, tier in enumerate(tiers.tiers):
        deduction = Fraction(0)
        if tiers.form == "progressive":
            if tier.amount is not None:
                deduction = Fraction(tier.amount)
            elif k > 0:
                jump = Fraction(tier.rate) - brackets[-1].rate
                deduction = brackets[-1].deduction + Fraction(tier.floor) * jump
        brackets.append(
            Bracket(
                floor=Fraction(tier.floor),
                cap=None if math.isinf(tier.cap) else Fraction(tier.cap),
                rate=Fraction(tier.rate),
                max_leverage=Fraction(tier.max_leverage),
                deduction=deduction,
                slope=Fraction(tier.slope) if tiers.form == "ramp" else Fraction(0),
            )
        )
    return Table(tuple(brackets), tiers.unit == "contracts")


def table_at(tables: tuple[Tiers, ...], time: int) -> Tiers:
    """Return the youngest table that is valid at a time, else the oldest."""
    dated = sorted(tables, key=lambda t: -math.inf if t.valid_from is None else t.valid_from)
    valid = [t for t in dated if t.valid_from is None or t.valid_from <= time]
    return valid[-1] if valid else dated[0]


def tables_by_bar(case: Case) -> list[list[Table]]:
    """Return the table of each contract at the open of each bar."""
    exact = {id(t): exact_table(t) for contract in case.contracts for t in contract.tables}
    return [[exact[id(table_at(contract.tables, time))] for time in case.open_time] for contract in case.contracts]
