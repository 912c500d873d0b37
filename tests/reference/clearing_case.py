"""A market of several accounts described neutrally: what goes into a clearing replay and what comes out of one.

``Market`` is read by the exact reference (``tests.reference.clearing``) and, through
``tests.reference.clearing_adapter``, by the product. Figures are plain floats, which the reference converts exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from tests.reference.case import Ohlc, Settlement, Tiers

Event = dict[str, Any]
Number = Fraction | float


@dataclass(frozen=True)
class Listing:
    """One contract: its marks, what is traded, its brackets.

    ``trade`` None: the traded bars are the marks. ``volume`` counts units of size, None: without limit. ``lot`` 0:
    sizes are not rounded.
    """

    mark: Ohlc
    table: Tiers
    inverse: bool = False
    trade: Ohlc | None = None
    volume: tuple[float, ...] | None = None
    funding: tuple[Settlement, ...] = ()
    lot: float = 0.0


@dataclass(frozen=True)
class Held:
    """A position at the start: signed size, entry price, and for an isolated one its margin."""

    contract: int
    size: float
    entry: float
    margin: float = 0.0


@dataclass(frozen=True)
class Trader:
    """One account at the start; ``wallet`` includes the margins of isolated positions, ``leverage`` ranks by return."""

    wallet: float
    held: tuple[Held, ...] = ()
    isolated: bool = False
    leverage: float = 10.0


@dataclass(frozen=True)
class Venue:
    """The rules of the venue: liquidation as in the rule packs, then the waterfall.

    ``fund_start`` is each fund's first balance; ``booking_hour`` None: at once; ``drawdown`` 0: no such trigger;
    ``bankruptcy_band`` 0: none; ``volume_share`` None: without limit. ``impact`` is the move of the traded price, as a
    fraction, for a bar's whole volume, ``mark_share`` the part of it that the mark follows.
    """

    takeover: Literal["bankruptcy", "market"] = "bankruptcy"
    step: Literal["none", "tier", "restore"] = "none"
    step_tiers: int = 1
    step_from_tier: int = 2
    step_above_first: bool = False
    step_once: bool = False
    liquidation_fee: float = 0.0
    close_fee: float = 0.0
    close_fee_basis: Literal["mark", "bankruptcy"] = "mark"
    mmr_basis: Literal["mark", "entry"] = "mark"
    funding_paid_from: Literal["margin", "wallet_first", "capped"] = "margin"
    fund: Literal["contract", "settlement"] = "settlement"
    fund_start: float = 0.0
    booking_hour: float | None = None
    waterfall: Literal[
        "market, fund", "market, fund, deleverage", "market, fund, share", "market, fund, deleverage, share"
    ] = "market, fund, deleverage"
    exhausted: bool = True
    drawdown: float = 0.0
    drawdown_hours: float = 8.0
    ranking: Literal["roi", "binance", "bitmex", "hyperliquid"] = "bitmex"
    deleverage_price: Literal["bankruptcy", "mark", "previous_mark"] = "bankruptcy"
    bankruptcy_band: float = 0.0
    sharing_hours: float = 24.0
    sharing_offset_hours: float = 0.0
    volume_share: float | None = None
    impact: float = 0.0
    mark_share: float = 1.0
    half_life_minutes: float = 10.0

    @property
    def deleverages(self) -> bool:
        return "deleverage" in self.waterfall

    @property
    def shares(self) -> bool:
        return "share" in self.waterfall


@dataclass(frozen=True)
class Market:
    """Everything that goes into one clearing replay."""

    listings: tuple[Listing, ...]
    traders: tuple[Trader, ...]
    venue: Venue
    open_time: tuple[int, ...]
    bar_ms: int


@dataclass
class Cleared:
    """Everything that comes out: figures by bar at the mark close, and the events in their order.

    ``wallet``, ``equity``: by account, then by bar. ``size``: by account, contract, bar. ``fund``: by fund and bar.
    Kinds of events: ``step`` and ``market`` (closed for the account at the mark), ``takeover`` (at bankruptcy),
    ``sale`` of the engine's, ``deleverage``, ``share``, ``booking``, ``lift``.
    """

    wallet: list[list[Number]] = field(default_factory=list)
    equity: list[list[Number]] = field(default_factory=list)
    size: list[list[list[Number]]] = field(default_factory=list)
    margin: list[list[list[Number]]] = field(default_factory=list)
    inventory: list[list[Number]] = field(default_factory=list)
    fund: list[list[Number]] = field(default_factory=list)
    waiting: list[list[Number]] = field(default_factory=list)
    money: list[Number] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
