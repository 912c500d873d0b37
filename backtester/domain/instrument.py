"""One tradable contract or spot pair: kind, size, increments, fees."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backtester.domain.enums import ContractKind

SHORTEST_INTERVAL_HOURS = 1 / 60
END_OF_TIME_MS = 253_402_300_800_000
"""The year 10000, which no date can hold."""


def is_spot_name(symbol: str) -> bool:
    """Return whether a unified name is that of a spot pair: ``BTC/USDT``, without a settlement currency."""
    return "/" in symbol and ":" not in symbol


def quote_of(symbol: str) -> str:
    """Return the quote currency of a unified name; empty where it names none."""
    return symbol.partition(":")[0].partition("/")[2]


class Instrument(BaseModel):
    """A perpetual contract or a spot pair at one venue, with the terms that hold from a date on.

    An unknown tick, lot or minimum is None, which means that there is none; a run warns about it.

    Attributes
    ----------
    symbol : str
        Unified name, ``BTC/USDT:USDT``: base/quote:settle; of a spot pair ``BTC/USDT``.
    kind : ContractKind
        Linear contracts settle in the quote currency, inverse ones in the coin; spot is paid in the quote currency.
    contract_size : float
        Size of one contract [base units; quote units for inverse].
    tick : float or None
        Smallest price step [quote].
    lot : float or None
        Smallest quantity step [contracts].
    min_quantity : float or None
        Smallest order that opens or increases [contracts].
    min_notional : float or None
        Smallest notional of an order that opens or increases [settlement currency].
    settle : str
        Settlement currency.
    taker_fee, maker_fee : float or None
        Fee rates [fraction of notional]; None takes the run's.
    funding_interval_hours : float or None
        Hours between settlements where the records do not tell; None takes the venue's.
    funding_cap, funding_floor : float or None
        Bounds of the rate of one settlement [fraction of notional]; None: unknown.
    listed, delisted : int or None
        When trading began and ended [ms since 1970, UTC]; None: unknown, or not yet.
    valid_from : int or None
        First moment at which these terms hold [ms since 1970, UTC]; None: always.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    symbol: str
    kind: ContractKind = ContractKind.LINEAR
    contract_size: float = Field(1.0, gt=0)
    tick: float | None = Field(None, gt=0)
    lot: float | None = Field(None, gt=0)
    min_quantity: float | None = Field(None, ge=0)
    min_notional: float | None = Field(None, ge=0)
    settle: str = "USDT"
    taker_fee: float | None = Field(None, gt=-1, lt=1)
    maker_fee: float | None = Field(None, gt=-1, lt=1)
    funding_interval_hours: float | None = Field(None, ge=SHORTEST_INTERVAL_HOURS)
    funding_cap: float | None = Field(None, gt=-1, lt=1)
    funding_floor: float | None = Field(None, gt=-1, lt=1)
    listed: int | None = Field(None, ge=0, lt=END_OF_TIME_MS)
    delisted: int | None = Field(None, ge=0, lt=END_OF_TIME_MS)
    valid_from: int | None = Field(None, ge=0, lt=END_OF_TIME_MS)

    @model_validator(mode="after")
    def _bounds_ascend(self) -> Instrument:
        if self.funding_cap is not None and self.funding_floor is not None and self.funding_cap <= self.funding_floor:
            raise ValueError(f"funding_cap {self.funding_cap} must exceed funding_floor {self.funding_floor}")
        if self.listed is not None and self.delisted is not None and self.delisted <= self.listed:
            raise ValueError(f"delisted {self.delisted} must come after listed {self.listed}")
        return self

    @property
    def base(self) -> str:
        """Base currency of the unified name."""
        return self.symbol.split("/", 1)[0]

    @property
    def quantity_step(self) -> float:
        """Smallest step of a position [base units; quote units for inverse], 0 where there is none."""
        return self.lot * self.contract_size if self.lot is not None else 0.0


def instrument_in_force(dated: Sequence[Instrument], time: float) -> Instrument:
    """Return the newest terms valid at ``time``, or the oldest where all are younger.

    Parameters
    ----------
    dated : sequence of Instrument
        Terms of one contract, any order, at least one.
    time : float
        Moment [ms since 1970, UTC]; infinity asks for the newest.
    """
    by_date = sorted(dated, key=lambda terms: -math.inf if terms.valid_from is None else terms.valid_from)
    begun = [terms for terms in by_date if terms.valid_from is None or terms.valid_from <= time]
    return begun[-1] if begun else by_date[0]
