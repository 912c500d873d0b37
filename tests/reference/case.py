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
    kind: Literal["linear", "inverse"] = "linear"
    contract_size: float = 1.0
    lot: float = 0.0
    min_quantity: float = 0.0
    min_notional: float = 0.0
    margin_mode: Literal["cross", "isolated"] = "cross"
    leverage: float = 5.0
    taker_fee: float = 0.0
    slippage: float = 0.0
    volume: tuple[float, ...] | None = None
    index: Ohlc | None = None
    funding: tuple[Settlement, ...] = ()


@dataclass(frozen=True)
class Target:
    """Wanted exposure of contract number ``symbol``, decided at the close of bar number ``bar``."""

    bar: int
    symbol: int
    value: float


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


@dataclass(frozen=True)
class Case:
    """A whole run.

    ``open_time`` are the opens of the traded bars, each ``bar_ms`` long (a larger distance is a permitted gap).
    ``mark_bar_ms`` is None when the marks stand on the same clock, else a multiple of ``bar_ms``: then mark bar ``j``
    opens at ``open_time[0] + j * mark_bar_ms`` and the marks reach at least to the last traded bar.
    """

    contracts: tuple[Contract, ...]
    open_time: tuple[int, ...]
    bar_ms: int
    targets: tuple[Target, ...]
    settings: Settings = Settings()
    mark_bar_ms: int | None = None

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
    ``coarse_unchecked``.
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
