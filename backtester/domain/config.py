"""The configuration of a run: one frozen record per section of the run file.

A field that is None is taken from the venue's rule pack and the stored instrument when the run is resolved;
``config.toml`` of a run's folder holds the resolved values. Rates are fractions, ``_bps`` are 1e-4.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backtester.domain.instrument import SHORTEST_INTERVAL_HOURS
from backtester.domain.margin_tiers import MarginTier

Names = Annotated[tuple[str, ...], Field(strict=False)]  # TOML has lists
Brackets = Annotated[tuple[MarginTier, ...], Field(strict=False)]


class Section(BaseModel):
    """Base of the sections: frozen, no unknown keys, finite numbers, nothing else in place of a number or a boolean."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FeatureConfig(Section):
    """A table of one's own, joined as of the time at which each row could be known.

    Attributes
    ----------
    path : str
        CSV or Parquet file with ``available_time`` (UTC) and, for features by symbol, ``symbol``.
    columns : tuple of str
        Columns to join; empty: all others.
    """

    path: str
    columns: Names = ()


class DataConfig(Section):
    """What is replayed.

    Attributes
    ----------
    venue : str
        Name of the rule pack and of the store's venue.
    symbols : tuple of str
        Contracts that are traded; empty: all of the venue.
    timeframe : str or None
        Bar of decisions, and of the replay without ``detail``, ``"1h"``; None: the coarsest stored.
    detail : str or None
        Finer bar on which orders, funding and margin are replayed; None: ``timeframe``.
    start, end : str or None
        UTC, ``2025-01-01`` or ``2025-01-01T08:00``, end excluded; None: the longest span that all needed series cover.
    mark : {"mark", "trade"}
        Series on which margin is judged; ``"trade"`` is recorded as an assumption.
    mark_timeframe : str or None
        Bar of the mark series where it is coarser than the traded one; None: the finest stored that fits.
    allow_gaps : bool
        Go on over holes in the series; positions are held through them.
    reference : tuple of str
        Symbols that are read, never traded.
    features : dict of str to FeatureConfig
        Tables of one's own.
    """

    venue: str = "synthetic"
    symbols: Names = ()
    timeframe: str | None = None
    detail: str | None = None
    start: str | None = None
    end: str | None = None
    mark: Literal["mark", "trade"] = "mark"
    mark_timeframe: str | None = None
    allow_gaps: bool = False
    reference: Names = ()
    features: dict[str, FeatureConfig] = Field(default_factory=dict)


class AccountConfig(Section):
    """The account.

    Attributes
    ----------
    balance : float
        Initial wallet balance [settlement currency].
    margin_mode : {"cross", "isolated"}
        What backs a position.
    position_mode : {"one_way", "hedge"}
        One net position a contract, or a long and a short leg.
    leverage : float
        Leverage setting of every contract.
    """

    balance: float = Field(10_000.0, gt=0)
    margin_mode: Literal["cross", "isolated"] = "cross"
    position_mode: Literal["one_way", "hedge"] = "one_way"
    leverage: float = Field(5.0, gt=0)


class FeeTier(Section):
    """Fees from a traded volume on [settlement currency, 30 days]."""

    volume: float = Field(0.0, ge=0)
    taker: float = Field(gt=-1, lt=1)
    maker: float = Field(gt=-1, lt=1)


FeeTiers = Annotated[tuple[FeeTier, ...], Field(strict=False)]


class FeesConfig(Section):
    """Trading fees [fraction of notional].

    Attributes
    ----------
    taker, maker : float or None
        One rate for all contracts; None: the instrument's, then the venue's.
    tiers : tuple of FeeTier
        Rates by the notional traded in the 30 days before, rising; they replace all others.
    volume_30d : float
        Notional traded in the 30 days before the run [settlement currency].
    """

    taker: float | None = Field(None, gt=-1, lt=1)
    maker: float | None = Field(None, gt=-1, lt=1)
    tiers: FeeTiers = ()
    volume_30d: float = Field(0.0, ge=0)


class CostsConfig(Section):
    """Slippage beside ``execution.slippage_bps``; see ``docs/execution.md``.

    Attributes
    ----------
    slippage : {"fixed", "half_spread", "volatility", "impact"}
        What is added: nothing, half a spread, a part of the volatility, or square-root impact.
    half_spread_bps : float
        Half the distance between bid and ask [1e-4].
    volatility_factor : float
        Part of a bar's volatility.
    impact_factor : float
        Cost of trading a whole bar's volume, in units of a bar's volatility.
    window : int
        Bars from which the volatility is taken.
    """

    slippage: Literal["fixed", "half_spread", "volatility", "impact"] = "fixed"
    half_spread_bps: float = Field(0.0, ge=0, lt=5_000)
    volatility_factor: float = Field(0.1, ge=0)
    impact_factor: float = Field(1.0, ge=0)
    window: int = Field(24, ge=1)


class SizingConfig(Section):
    """What a target means.

    Attributes
    ----------
    unit : {"weight", "notional", "quantity", "volatility", "risk"}
        Fraction of equity; settlement currency; base units; fraction of equity at ``vol_target``; loss at the stop as
        a fraction of equity.
    vol_target : float
        Annual volatility of a target of 1 under ``"volatility"`` [fraction].
    vol_window : int
        Signal bars from which the volatility is taken.
    """

    unit: Literal["weight", "notional", "quantity", "volatility", "risk"] = "weight"
    vol_target: float = Field(0.5, gt=0)
    vol_window: int = Field(168, ge=2)


class LimitsConfig(Section):
    """Bounds of the whole account; None: none.

    Attributes
    ----------
    gross, net, per_symbol : float or None
        Sum of notionals, signed sum, and a symbol's, as multiples of equity.
    max_drawdown_stop : float or None
        Fall from the peak of equity after which all is closed [fraction].
    """

    gross: float | None = Field(None, gt=0)
    net: float | None = Field(None, gt=0)
    per_symbol: float | None = Field(None, gt=0)
    max_drawdown_stop: float | None = Field(None, gt=0, lt=1)


class CollateralConfig(Section):
    """An asset held from the start that counts as margin.

    Attributes
    ----------
    quantity : float
        Units of the asset.
    haircut : float
        Part of its worth that does not count [fraction].
    symbol : str or None
        Series that values it; None: the asset's spot pair, else its perpetual, in the settlement currency.
    """

    quantity: float = Field(gt=0)
    haircut: float = Field(0.0, ge=0, lt=1)
    symbol: str | None = None


class TransferConfig(Section):
    """A deposit (positive) or withdrawal (negative) at a time (UTC) [settlement currency]."""

    time: str
    amount: float


class UniverseConfig(Section):
    """Which symbols may be held when; what leaves is closed.

    Attributes
    ----------
    file : str or None
        CSV or Parquet with ``time`` (UTC), ``symbol`` and ``member`` (bool); rows hold until the symbol's next.
    min_age_days : float or None
        Days since the symbol's first bar or its listing.
    top_volume : int or None
        Rank by the quote volume of the ``volume_days`` before.
    volume_days : int
        Days that the rank looks back.
    """

    file: str | None = None
    min_age_days: float | None = Field(None, ge=0)
    top_volume: int | None = Field(None, ge=1)
    volume_days: int = Field(30, ge=1)


class ExecutionConfig(Section):
    """How decisions become fills.

    Attributes
    ----------
    fill : {"next_open", "close"}
        When a decision fills; ``"close"`` is optimistic and said so.
    latency_bars : int
        Whole bars between a decision and the open at which it is due.
    slippage_bps : float
        Cost of each market and engine fill against its reference price [1e-4].
    intrabar : {"adverse", "color", "close", "favorable"}
        Order in which a bar visits its extremes; ``"favorable"`` is for comparison.
    joint : {"common", "worst"}
        How several marks move together under cross margin.
    rebalance : {"on_change", "every_bar", "band"}
        When a target becomes an order.
    band : float
        Drift that ``"band"`` tolerates [fraction of equity].
    insufficient_margin : {"clip", "reject"}
        What happens to an order that the margin does not carry.
    latency_ms : int
        Added to the time at which a decision is due.
    trigger : {"last", "mark", "index"}
        Series that attached stops and targets watch.
    take_profit : {"market", "limit"}
        Whether attached targets take or rest as limit orders.
    stop_limit_bps : float or None
        Distance of an attached stop's limit beyond its trigger; None: it fills at the market.
    limit_bars : int
        Signal bars for which a limit order of a target rests; 0: until another target acts.
    post_only : bool
        Limit orders of targets never take.
    through_ticks : int
        Ticks that the price must trade beyond a limit to fill it; 0: touching is enough.
    volume_share : float or None
        Largest share of a bar's volume that limit orders fill; None: no bound.
    """

    fill: Literal["next_open", "close"] = "next_open"
    latency_bars: int = Field(0, ge=0)
    slippage_bps: float = Field(0.0, ge=0, lt=10_000)
    intrabar: Literal["adverse", "color", "close", "favorable"] = "adverse"
    joint: Literal["common", "worst"] = "common"
    rebalance: Literal["on_change", "every_bar", "band"] = "on_change"
    band: float = Field(0.05, ge=0)
    insufficient_margin: Literal["clip", "reject"] = "clip"
    latency_ms: int = Field(0, ge=0)
    trigger: Literal["last", "mark", "index"] = "last"
    take_profit: Literal["market", "limit"] = "market"
    stop_limit_bps: float | None = Field(None, ge=0, lt=10_000)
    limit_bars: int = Field(0, ge=0)
    post_only: bool = False
    through_ticks: int = Field(0, ge=0)
    volume_share: float | None = Field(None, gt=0, le=1)


class FundingConfig(Section):
    """Funding.

    Attributes
    ----------
    source : {"history", "none", "constant"}
        Stored settlements, nothing, or one rate at every interval of the instrument.
    rate : float
        Rate of ``"constant"`` [fraction of notional per settlement].
    paid_from : {"margin", "wallet_first", "capped"} or None
        Where the payments of an isolated position come from.
    price : {"mark", "index"} or None
        Price that values a settlement whose record carries none.
    """

    source: Literal["history", "none", "constant"] = "history"
    rate: float = Field(0.0, gt=-1, lt=1)
    paid_from: Literal["margin", "wallet_first", "capped"] | None = None
    price: Literal["mark", "index"] | None = None


class LiquidationConfig(Section):
    """The venue's liquidation rules; None: the rule pack's.

    Attributes
    ----------
    takeover : {"bankruptcy", "market"}
        Whether the fund or the trader keeps what remains.
    step : {"none", "tier", "restore"}
        Partial liquidation before the takeover.
    step_tiers : int
        Brackets that one step of ``"tier"`` goes down; 0: to the highest lower bracket that passes the test.
    step_from_tier : int
        Lowest bracket (the first is 1) from which steps are tried; below it the takeover follows at once.
    step_above_first : bool
        Step only while the balance exceeds the first bracket's requirement.
    step_once : bool
        One try per position and bar.
    fee : float
        Liquidation fee [fraction of the notional closed].
    close_fee : float
        Fee to close that the liquidation test includes [fraction of notional].
    close_fee_basis : {"mark", "bankruptcy"}
        Price on which that fee is computed; at bankruptcy it is part of initial margin too.
    mmr_basis : {"mark", "entry"}
        Price on which maintenance margin is computed.
    engine_price : {"mark", "trade"}
        Reference price of the engine's fills.
    hedge_tier : {"leg", "gross"}
        Size that chooses a leg's bracket in hedge mode: its own, or that of both legs.
    then : {"continue", "stop"}
        Whether the run goes on.
    """

    takeover: Literal["bankruptcy", "market"] | None = None
    step: Literal["none", "tier", "restore"] | None = None
    step_tiers: int | None = Field(None, ge=0)
    step_from_tier: int | None = Field(None, ge=2)
    step_above_first: bool | None = None
    step_once: bool | None = None
    fee: float | None = Field(None, ge=0, lt=1)
    close_fee: float | None = Field(None, ge=0, lt=1)
    close_fee_basis: Literal["mark", "bankruptcy"] | None = None
    mmr_basis: Literal["mark", "entry"] | None = None
    engine_price: Literal["mark", "trade"] | None = None
    hedge_tier: Literal["leg", "gross"] | None = None
    then: Literal["continue", "stop"] = "continue"


class InstrumentConfig(Section):
    """What the run file states of one contract; the rest comes from the store and the rule pack."""

    kind: Literal["linear", "inverse", "spot"] | None = None
    contract_size: float | None = Field(None, gt=0)
    tick: float | None = Field(None, gt=0)
    lot: float | None = Field(None, gt=0)
    min_quantity: float | None = Field(None, ge=0)
    min_notional: float | None = Field(None, ge=0)
    settle: str | None = None
    taker_fee: float | None = Field(None, gt=-1, lt=1)
    maker_fee: float | None = Field(None, gt=-1, lt=1)
    funding_interval_hours: float | None = Field(None, ge=SHORTEST_INTERVAL_HOURS)
    leverage: float | None = Field(None, gt=0)
    margin_mode: Literal["cross", "isolated"] | None = None
    haircut: float | None = Field(None, ge=0, lt=1)


class StrategyConfig(Section):
    """Which strategy with which parameters.

    Attributes
    ----------
    name : str or None
        Name of the plugin; None with ``signals``.
    params : dict
        Parameters that differ from the strategy's defaults.
    signals : str or None
        File of targets made elsewhere.
    fills : str or None
        File of executed trades that are settled instead.
    compiled : bool
        Whether an ``on_bar`` function is compiled; False: Python calls it, for debugging.
    """

    name: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    signals: str | None = None
    fills: str | None = None
    compiled: bool = True


class ClearingConfig(Section):
    """A market of many accounts that the run's own account is cleared with; see ``docs/clearing.md``.

    Attributes
    ----------
    venue : str or None
        Rule pack by which the market is cleared; None: the run's.
    rules : dict
        Rules that differ, by their names.
    open_interest : float, dict of str to float, or None
        Notional of each contract [settlement currency], or size by symbol [units]; needed without ``file``.
    accounts : int
        How many accounts hold it.
    leverage_mix : dict of str to float
        Share of the open interest by leverage; empty: the usual mix.
    seed : int
        Of the draw.
    isolated_share, several_share : float
        Parts of the accounts with isolated margin, and with all contracts under cross margin.
    size_spread, spare_wallet, holding_hours : float
        As ``backtester.clearing.from_open_interest`` takes them.
    past_days : float
        Days before the run over whose prices the accounts' entries are spread, where they are stored; 0: none.
    file : str or None
        CSV or Parquet file of accounts instead.
    most_rounds : int
        Rounds after which a run that does not settle is given up.
    """

    venue: str | None = None
    rules: dict[str, Any] = Field(default_factory=dict)
    open_interest: float | dict[str, float] | None = None
    accounts: int = Field(10_000, ge=2)
    leverage_mix: dict[str, float] = Field(default_factory=dict)
    seed: int = Field(0, ge=0)
    isolated_share: float = Field(0.5, ge=0, le=1)
    several_share: float = Field(0.0, ge=0, le=1)
    size_spread: float = Field(1.5, ge=0)
    spare_wallet: float = Field(0.0, ge=0)
    holding_hours: float = Field(72.0, gt=0)
    past_days: float = Field(10.0, ge=0)
    file: str | None = None
    most_rounds: int = Field(100, ge=2)


Transfers = Annotated[tuple[TransferConfig, ...], Field(strict=False)]


class DeleverageConfig(Section):
    """A deleveraging by the venue.

    Attributes
    ----------
    time : str
        UTC; at a bar's open it happens there, else at the close of the bar that holds it.
    symbol : str
        Contract.
    fraction : float or None
        Part of the position that is closed; None, without a quantity: all of it.
    quantity : float or None
        Instead of a fraction: units, as positions are counted; at most what is held.
    price : float or None
        At which it is closed; None: the mark.
    mark : float or None
        Mark at which the profit is realised; None: that of the bar.
    side : {"long", "short"} or None
        Side that the position must have; needed in hedge mode.
    """

    time: str
    symbol: str
    fraction: float | None = Field(None, gt=0, le=1)
    quantity: float | None = Field(None, gt=0)
    price: float | None = Field(None, gt=0)
    mark: float | None = Field(None, gt=0)
    side: Literal["long", "short"] | None = None


class ClawbackConfig(Section):
    """A shared loss that the venue takes out of profit.

    Attributes
    ----------
    time : str
        UTC; at a bar's open it happens there, else at the close of the bar that holds it.
    rate : float or None
        Part of the account's net profit of the settlement period.
    amount : float or None
        Instead of a rate [settlement currency]; at most that profit.
    since : str or None
        When the period began; None: with the clawback before, or with the run.
    """

    time: str
    rate: float | None = Field(None, ge=0, le=1)
    amount: float | None = Field(None, ge=0)
    since: str | None = None


Deleverages = Annotated[tuple[DeleverageConfig, ...], Field(strict=False)]
Clawbacks = Annotated[tuple[ClawbackConfig, ...], Field(strict=False)]


class VenueEventsConfig(Section):
    """What the venue does to an account that did nothing: rows, or files of them.

    Attributes
    ----------
    deleverage : tuple of DeleverageConfig
        Deleveragings.
    clawback : tuple of ClawbackConfig
        Shared losses.
    deleverage_file, clawback_file : str or None
        CSV, Parquet or JSON with the columns of the same names, in place of the rows.
    """

    deleverage: Deleverages = ()
    clawback: Clawbacks = ()
    deleverage_file: str | None = None
    clawback_file: str | None = None


class ReportConfig(Section):
    """The page.

    Attributes
    ----------
    enabled : bool
        Whether it is written.
    assets : {"inline", "shared"}
        Where the library that draws its figures stands: in the page, or once for all runs in ``assets`` beside them.
    """

    enabled: bool = True
    assets: Literal["inline", "shared"] = "inline"


class RunConfig(Section):
    """Everything that determines a run.

    ``instruments`` and ``tiers`` are keyed by symbol; the key ``"*"`` of ``tiers`` serves all others.
    """

    data: DataConfig = DataConfig()
    account: AccountConfig = AccountConfig()
    fees: FeesConfig = FeesConfig()
    costs: CostsConfig = CostsConfig()
    sizing: SizingConfig = SizingConfig()
    limits: LimitsConfig = LimitsConfig()
    collateral: dict[str, CollateralConfig] = Field(default_factory=dict)
    transfers: Transfers = ()
    venue_events: VenueEventsConfig = VenueEventsConfig()
    clearing: ClearingConfig | None = None
    universe: UniverseConfig = UniverseConfig()
    execution: ExecutionConfig = ExecutionConfig()
    funding: FundingConfig = FundingConfig()
    liquidation: LiquidationConfig = LiquidationConfig()
    instruments: dict[str, InstrumentConfig] = Field(default_factory=dict)
    tiers: dict[str, Brackets] = Field(default_factory=dict)
    strategy: StrategyConfig = StrategyConfig()
    report: ReportConfig = ReportConfig()
