"""A run described neutrally: what goes into a replay and what comes out of one.

``Case`` is read by the reference account (``tests.reference.account``) and, through ``tests.reference.adapter``, by the
compiled kernel. Both return an ``Outcome``. All figures of a case are plain floats; the reference converts each one
exactly, so that the very same numbers enter both sides. Rates are fractions, times ms since 1970 (UTC).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

Row = dict[str, Any]


@dataclass(frozen=True)
class Ohlc:
    """Bars of one series, NaN where there is none (yet)."""

    open: tuple[float, ...]
    high: tuple[float, ...]
    low: tuple[float, ...]
    close: tuple[float, ...]


@dataclass(frozen=True)
class Tier:
    """One bracket ``[floor, cap)`` in notional, or in contracts where its table counts those.

    ``amount`` is the stated deduction of a progressive table (None: completed by continuity), ``slope`` the rise of the
    rate per contract of a ramp.
    """

    floor: float
    cap: float
    rate: float
    max_leverage: float
    amount: float | None = None
    slope: float = 0.0


@dataclass(frozen=True)
class Tiers:
    """The brackets in force from ``valid_from`` on (None: always)."""

    tiers: tuple[Tier, ...]
    valid_from: int | None = None
    form: Literal["progressive", "flat", "ramp"] = "progressive"
    unit: Literal["notional", "contracts"] = "notional"


@dataclass(frozen=True)
class Settlement:
    """One funding record; ``mark_price`` None where the record carries none."""

    time: int
    rate: float
    mark_price: float | None = None


@dataclass(frozen=True)
class Contract:
    """One contract with its rules and its series.

    Sizes are in base units (quote units for inverse contracts): contracts times ``contract_size``. The quantity step is
    ``lot * contract_size``; ``lot = 0`` means that sizes are not rounded. ``min_quantity`` counts contracts.
    ``trade``, ``volume`` and ``index`` stand on the case's clock, ``mark`` on the mark's (``Case.mark_bar_ms``).
    """

    trade: Ohlc
    mark: Ohlc
    tables: tuple[Tiers, ...]
    kind: Literal["linear", "inverse", "spot"] = "linear"
    contract_size: float = 1.0
    lot: float = 0.0
    tick: float = 0.0
    min_quantity: float = 0.0
    min_notional: float = 0.0
    margin_mode: Literal["cross", "isolated"] = "cross"
    leverage: float = 5.0
    taker_fee: float = 0.0
    maker_fee: float = 0.0
    slippage: float = 0.0
    volume: tuple[float, ...] | None = None
    index: Ohlc | None = None
    funding: tuple[Settlement, ...] = ()
    haircut: float | None = None  # spot alone: counts as collateral less this part
    holding: float = 0.0  # spot alone: quantity held from the first open on
    last_bar: int | None = None  # delisted at the close of this bar; later bars are NaN


@dataclass(frozen=True)
class Target:
    """Wanted size of contract number ``symbol`` in ``Settings.sizing``, decided at the close of bar number ``bar``.

    ``side`` is the leg in hedge mode (+1, -1), 0 the net. ``rungs`` are limit prices with the share of the order that
    each takes; none: a market order.
    """

    bar: int
    symbol: int
    value: float
    side: int = 0
    rungs: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Setting:
    """A change of what stands beside the target, decided at the close of a bar.

    ``name`` is a member of ``SettingField`` in lower case; 0 switches off. ``side`` 0 means every leg of the symbol.
    """

    bar: int
    symbol: int
    name: str
    value: float
    side: int = 0
    rung: int = 0


@dataclass(frozen=True)
class Submit:
    """An order of an ``on_bar`` function, made at the close of a bar.

    ``buy`` or sell ``quantity`` units; ``kind`` is a member of ``OrderKind`` in lower case; ``limit``, ``trigger``,
    ``distance`` (a price) and ``fraction`` as the kind needs. ``good_for`` counts bars, 0: no end. ``side`` is the leg
    in hedge mode.
    """

    bar: int
    symbol: int
    buy: bool
    quantity: float
    kind: str = "market"
    limit: float | None = None
    trigger: float | None = None
    watches: Literal["last", "mark", "index"] = "last"
    distance: float | None = None
    fraction: float | None = None
    reduce_only: bool = False
    post_only: bool = False
    good_for: int = 0
    group: int = 0
    side: int = 0


@dataclass(frozen=True)
class Amend:
    """A change of the order that request number ``request`` of the case submitted; None leaves a figure as it is.

    ``quantity`` is what is still to be filled. A changed price makes the order new at the open at which it takes
    effect.
    """

    bar: int
    request: int
    quantity: float | None = None
    limit: float | None = None
    trigger: float | None = None


@dataclass(frozen=True)
class Cancel:
    """Cancels the order of a request; ``request`` None: every resting order of ``symbol``, or (None) of all."""

    bar: int
    request: int | None = None
    symbol: int | None = None


@dataclass(frozen=True)
class Close:
    """Closes the positions of ``symbol`` (every leg) at the market, or (None) all of them."""

    bar: int
    symbol: int | None = None


Request = Submit | Amend | Cancel | Close


@dataclass(frozen=True)
class Transfer:
    """A deposit, or a withdrawal (negative)."""

    time: int
    amount: float


@dataclass(frozen=True)
class OwnFill:
    """A trade executed elsewhere; ``fee`` None: by the contract's rates."""

    time: int
    symbol: int
    quantity: float  # signed
    price: float
    fee: float | None = None
    is_maker: bool = False
    side: int = 0


@dataclass(frozen=True)
class Deleverage:
    """The venue closes a fraction, or units, of what is held, at a price (None: the mark).

    ``side`` 0: whatever is held; ``mark`` None: the bar's.
    """

    time: int
    symbol: int
    fraction: float = 1.0
    price: float | None = None
    side: int = 0
    quantity: float | None = None
    mark: float | None = None


@dataclass(frozen=True)
class Clawback:
    """The venue takes a rate of the net profit since a time (None: the clawback before, or the start), or an amount."""

    time: int
    rate: float | None = None
    amount: float | None = None
    since: int | None = None


@dataclass(frozen=True)
class Settings:
    """The account's and the venue's rules; words as in the run's configuration."""

    balance: float = 10_000.0
    fill: Literal["next_open", "close"] = "next_open"
    latency_bars: int = 0
    intrabar: Literal["adverse", "color", "close"] = "adverse"
    joint: Literal["common", "worst"] = "common"
    rebalance: Literal["on_change", "every_bar", "band"] = "on_change"
    band: float = 0.05
    insufficient_margin: Literal["clip", "reject"] = "clip"
    funding_paid_from: Literal["margin", "wallet_first", "capped"] = "margin"
    funding_price: Literal["mark", "index"] = "mark"
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
    engine_price: Literal["mark", "trade"] = "mark"
    then: Literal["continue", "stop"] = "continue"
    position_mode: Literal["one_way", "hedge"] = "one_way"
    hedge_tier: Literal["leg", "gross"] = "leg"  # what chooses the bracket of a leg in hedge mode
    sizing: Literal["weight", "notional", "quantity", "risk"] = "weight"
    latency_ms: int = 0
    trigger: Literal["last", "mark", "index"] = "last"
    take_profit: Literal["market", "limit"] = "market"
    stop_limit_bps: float | None = None
    limit_bars: int = 0
    post_only: bool = False
    through_ticks: int = 0
    volume_share: float | None = None
    gross_limit: float | None = None
    net_limit: float | None = None
    symbol_limit: float | None = None
    max_drawdown_stop: float | None = None
    slippage_model: Literal["fixed", "half_spread", "volatility", "impact"] = "fixed"
    half_spread_bps: float = 0.0
    volatility_factor: float = 0.1
    impact_factor: float = 1.0
    cost_window: int = 24
    fee_tiers: tuple[tuple[float, float, float], ...] = ()  # volume, taker, maker
    volume_30d: float = 0.0


@dataclass(frozen=True)
class Case:
    """A whole run.

    ``open_time`` are the opens of the traded bars, each ``bar_ms`` long (a larger distance is a permitted gap).
    ``mark_bar_ms`` is None when the marks stand on the same clock, else a multiple of ``bar_ms``: then mark bar ``j``
    opens at ``open_time[0] + j * mark_bar_ms`` and the marks reach at least to the last traded bar.
    ``signal_bars`` is the number of traded bars in a signal bar (a detail replay), from the first bar on; decisions,
    requests included, stand on the last traded bar of a signal bar, and every count of bars in rules (latency, holding,
    expiry) counts signal bars.
    """

    contracts: tuple[Contract, ...]
    open_time: tuple[int, ...]
    bar_ms: int
    targets: tuple[Target, ...]
    settings: Settings = Settings()
    mark_bar_ms: int | None = None
    signal_bars: int = 1
    settings_rows: tuple[Setting, ...] = ()  # sorted by bar
    requests: tuple[Request, ...] = ()  # sorted by bar
    transfers: tuple[Transfer, ...] = ()
    own_fills: tuple[OwnFill, ...] = ()  # sorted by time
    venue_events: tuple[Deleverage | Clawback, ...] = ()  # sorted by time

    def end_of(self, bar: int) -> int:
        """Return the first moment after a bar: the next bar's open, or the end of the run."""
        if bar + 1 < len(self.open_time):
            return self.open_time[bar + 1]
        return self.open_time[-1] + self.bar_ms


Number = Fraction | float


@dataclass
class Outcome:
    """What a replay produced.

    Rows are dictionaries with the columns of ``backtester.domain.records``: times and bars are int, ``symbol`` is the
    contract's place (-1: the whole account), enumerated columns are lower-case text such as ``"realized_pnl"``, numbers
    are Fraction or float, a figure that does not exist is None. ``kind`` of ``liquidations`` is ``"step"`` or
    ``"takeover"``, ``disputed`` is bool. The per-bar lists hold one number per bar at the mark close; ``margin_ratio``
    may be infinite, ``gross`` and ``net`` may be None. ``counts``: ``bars_waited``, ``disputed_bars``,
    ``coarse_unchecked``, ``transfers_cut``.
    """

    fills: list[Row] = field(default_factory=list)
    funding: list[Row] = field(default_factory=list)
    liquidations: list[Row] = field(default_factory=list)
    ledger: list[Row] = field(default_factory=list)
    orders: list[Row] = field(default_factory=list)
    equity: list[Number] = field(default_factory=list)
    wallet: list[Number] = field(default_factory=list)
    maintenance: list[Number] = field(default_factory=list)
    margin_ratio: list[Number] = field(default_factory=list)
    gross: list[Number | None] = field(default_factory=list)
    net: list[Number | None] = field(default_factory=list)
    drawdown: list[Number] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
