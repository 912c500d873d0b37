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

    ``trade`` None: the traded bars are the marks. ``volume`` counts base units, None: without limit. ``lot`` 0: sizes
    are not rounded.
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
    """One account at the start; ``wallet`` includes the margins of isolated positions."""

    wallet: float
    held: tuple[Held, ...] = ()
    isolated: bool = False


@dataclass(frozen=True)
class Venue:
    """The rules of the venue: liquidation as in the rule packs, then the waterfall.

    ``fund_scope``: one fund per contract, or one for all. ``fund_start`` is each fund's first balance. ``booking_hour``
    None: at once. ``drop`` is the fall from the peak of the last ``drop_hours`` that triggers, 0: none. ``remainder``
    says what becomes of what fund and market do not bear: accounts are deleveraged, or winners share, or the fund owes.
    """

    takeover: Literal["bankruptcy", "market"] = "bankruptcy"
    step: Literal["none", "tier", "restore"] = "none"
    step_tiers: int = 1
    step_from_tier: int = 2
    step_above_first: bool = False
    step_once: bool = False
    liquidation_fee: float = 0.0
    close_fee: float = 0.0
    slippage: float = 0.0
    intrabar: Literal["color", "close"] = "color"
    funding_paid_from: Literal["margin", "wallet_first", "capped"] = "margin"
    volume_share: float | None = None
    impact: float = 0.0
    fund_scope: Literal["contract", "settlement"] = "settlement"
    fund_start: float = 0.0
    booking_hour: int | None = None
    drop: float = 0.0
    drop_hours: float = 8.0
    remainder: Literal["deleverage", "share", "owe"] = "deleverage"
    ranking: Literal["binance", "bitmex", "hyperliquid"] = "bitmex"
    deleverage_price: Literal["bankruptcy", "mark", "previous_mark"] = "bankruptcy"
    share_hours: int = 24


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
    Kinds of events: ``step``, ``takeover``, ``market``, ``deleverage``, ``share``, ``booking``.
    """

    wallet: list[list[Number]] = field(default_factory=list)
    equity: list[list[Number]] = field(default_factory=list)
    size: list[list[list[Number]]] = field(default_factory=list)
    margin: list[list[list[Number]]] = field(default_factory=list)
    inventory: list[list[Number]] = field(default_factory=list)
    fund: list[list[Number]] = field(default_factory=list)
    money: list[Number] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
