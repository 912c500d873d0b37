"""Tiered maintenance margin: brackets, tables by date, continuity."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backtester.domain.enums import TierForm, TierUnit

CONTINUITY_TOLERANCE = 1e-6


class MarginTier(BaseModel):
    """One bracket.

    Attributes
    ----------
    notional_floor : float
        Included lower bound [settlement currency, or contracts where the table counts those].
    notional_cap : float
        Excluded upper bound; infinity in an open last bracket.
    maintenance_margin_rate : float
        Fraction of notional.
    max_leverage : float
        Largest leverage setting with which a position may grow into this bracket.
    maintenance_amount : float or None
        Deduction of a progressive table [settlement currency]; None is completed by continuity.
    slope : float
        Rise of the rate per contract, for ramps only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    notional_floor: float = Field(0.0, ge=0)
    notional_cap: float = Field(math.inf, gt=0, allow_inf_nan=True)
    maintenance_margin_rate: float = Field(ge=0, lt=1)
    max_leverage: float = Field(gt=0)
    maintenance_amount: float | None = None
    slope: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _bounds_ascend(self) -> MarginTier:
        if self.notional_cap <= self.notional_floor:
            raise ValueError(f"notional_cap {self.notional_cap} must exceed notional_floor {self.notional_floor}")
        return self


class TierTable(BaseModel):
    """The brackets of one contract, in force from a date on.

    Attributes
    ----------
    symbol : str
        Unified name.
    tiers : tuple of MarginTier
        In ascending order, the first from 0, without holes.
    valid_from : int or None
        First moment in force [ms since 1970, UTC]; None: always.
    form : TierForm
        How a bracket's rate applies.
    unit : TierUnit
        Whether notional or contracts choose the bracket.
    source : str
        Where the figures come from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: str
    tiers: tuple[MarginTier, ...] = Field(min_length=1)
    valid_from: int | None = None
    form: TierForm = TierForm.PROGRESSIVE
    unit: TierUnit = TierUnit.NOTIONAL
    source: str = ""

    @model_validator(mode="after")
    def _table_is_whole(self) -> TierTable:
        if self.tiers[0].notional_floor != 0:
            raise ValueError(f"{self.symbol}: the first tier must start at 0, not {self.tiers[0].notional_floor}")
        for low, high in zip(self.tiers, self.tiers[1:], strict=False):
            if low.notional_cap != high.notional_floor:
                raise ValueError(
                    f"{self.symbol}: a tier ends at {low.notional_cap} and the next starts at {high.notional_floor}"
                )
            if high.maintenance_margin_rate < low.maintenance_margin_rate:
                raise ValueError(f"{self.symbol}: the maintenance rate falls at {high.notional_floor}")
        if (
            self.form is TierForm.PROGRESSIVE
            and self.unit is TierUnit.CONTRACTS
            and any(t.maintenance_amount is None for t in self.tiers[1:])
        ):
            raise ValueError(f"{self.symbol}: a progressive table that counts contracts must state its amounts")
        if self.form is TierForm.RAMP and self.unit is not TierUnit.CONTRACTS:
            raise ValueError(f"{self.symbol}: a ramp counts contracts")
        return self

    @property
    def max_leverage(self) -> float:
        """Largest leverage setting of any bracket."""
        return max(t.max_leverage for t in self.tiers)

    def deductions(self) -> tuple[float, ...]:
        """Return the deduction of each bracket [settlement currency].

        Stated amounts are taken; missing ones follow from continuity:
        ``d_k = d_{k-1} + floor_k * (mmr_k - mmr_{k-1})``. Flat tables and ramps have none.
        """
        if self.form is not TierForm.PROGRESSIVE:
            return (0.0,) * len(self.tiers)
        out: list[float] = []
        for k, tier in enumerate(self.tiers):
            if tier.maintenance_amount is not None:
                out.append(tier.maintenance_amount)
            elif k == 0:
                out.append(0.0)
            else:
                low = self.tiers[k - 1]
                out.append(out[-1] + tier.notional_floor * (tier.maintenance_margin_rate - low.maintenance_margin_rate))
        return tuple(out)

    def discontinuities(self) -> list[tuple[int, float, float]]:
        """Return ``(tier, stated, expected)`` of each stated deduction that breaks continuity.

        A deviation counts when it exceeds 1e-6, relative to the larger of 1 and the expected amount.
        """
        if self.form is not TierForm.PROGRESSIVE:
            return []
        stated = self.deductions()
        found = []
        for k, tier in enumerate(self.tiers):
            low = self.tiers[k - 1] if k else None
            expected = (
                0.0
                if low is None
                else stated[k - 1] + tier.notional_floor * (tier.maintenance_margin_rate - low.maintenance_margin_rate)
            )
            if abs(stated[k] - expected) > CONTINUITY_TOLERANCE * max(1.0, abs(expected)):
                found.append((k, stated[k], expected))
        return found

    def lookup(self, size: float) -> int:
        """Return the bracket whose ``[floor, cap)`` holds ``size``; beyond the last cap, the last bracket."""
        for k in range(len(self.tiers) - 1, 0, -1):
            if size >= self.tiers[k].notional_floor:
                return k
        return 0

    def position_cap(self, leverage: float) -> float:
        """Return the size below which every bracket allows ``leverage``; 0 where none does."""
        cap = 0.0
        for tier in self.tiers:
            if tier.max_leverage < leverage:
                break
            cap = tier.notional_cap
        return cap


def table_in_force(tables: Sequence[TierTable], time: int) -> TierTable:
    """Return the newest table valid at ``time``, or the oldest where all are younger.

    Parameters
    ----------
    tables : sequence of TierTable
        Tables of one contract, any order, at least one.
    time : int
        Moment [ms since 1970, UTC].
    """
    by_date = sorted(tables, key=lambda t: -math.inf if t.valid_from is None else t.valid_from)
    chosen = by_date[0]
    for table in by_date:
        if table.valid_from is None or table.valid_from <= time:
            chosen = table
    return chosen
