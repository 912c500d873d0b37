"""A contract with the settings that the account has on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backtester.domain.enums import ContractKind, MarginMode
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import TierTable


@dataclass(frozen=True)
class ContractTerms:
    """One contract with the settings that the account has on it.

    Attributes
    ----------
    instrument : Instrument
        The contract.
    tables : sequence of TierTable
        Its margin tiers, any order.
    margin_mode : MarginMode
        What backs its position.
    leverage : float
        Leverage setting.
    taker_fee : float
        Fraction of notional.
    slippage : float
        Fraction of the price.
    close_fee : float
        Fee to close in the liquidation test [fraction of notional].
    maker_fee : float
        Fraction of notional.
    haircut : float or None
        Spot alone: the part of its worth that does not count as collateral; None: it does not count at all.
    holding : float
        Spot alone: quantity held from the first open on.
    last_bar : int or None
        Bar at whose close the contract is delisted.
    """

    instrument: Instrument
    tables: Sequence[TierTable]
    margin_mode: MarginMode
    leverage: float
    taker_fee: float
    slippage: float = 0.0
    close_fee: float = 0.0
    maker_fee: float = 0.0
    haircut: float | None = None
    holding: float = 0.0
    last_bar: int | None = None

    @property
    def is_spot(self) -> bool:
        """Whether it is paid in full and has neither funding nor liquidation."""
        return self.instrument.kind is ContractKind.SPOT
