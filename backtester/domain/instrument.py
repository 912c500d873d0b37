"""One tradable contract: kind, size, increments, fees."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from backtester.domain.enums import ContractKind

SHORTEST_INTERVAL_HOURS = 1 / 60


class Instrument(BaseModel):
    """A perpetual contract at one venue.

    An unknown tick, lot or minimum is None, which means that there is none; a run warns about it.

    Attributes
    ----------
    symbol : str
        Unified name, ``BTC/USDT:USDT``: base/quote:settle.
    kind : ContractKind
        Linear contracts settle in the quote currency, inverse ones in the coin.
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
    funding_interval_hours : float
        Hours between settlements where the records do not tell.
    funding_cap, funding_floor : float or None
        Largest and smallest rate of one settlement [fraction of notional]; None unknown.
    listed, delisted : int or None
        First and last moment of trading [ms since 1970, UTC]; None unknown.
    valid_from : int or None
        From when these terms hold [ms since 1970, UTC]; None: always.
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
    funding_interval_hours: float = Field(8.0, ge=SHORTEST_INTERVAL_HOURS)
    funding_cap: float | None = None
    funding_floor: float | None = None
    listed: int | None = None
    delisted: int | None = None
    valid_from: int | None = None

    @property
    def base(self) -> str:
        """Base currency of the unified name."""
        return self.symbol.split("/", 1)[0]

    @property
    def quantity_step(self) -> float:
        """Smallest step of a position [base units; quote units for inverse], 0 where there is none."""
        return self.lot * self.contract_size if self.lot is not None else 0.0
