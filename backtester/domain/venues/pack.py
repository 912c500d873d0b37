"""A venue's rules: the values that a run needs, each with evidence, source and date."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backtester.domain.enums import TierForm, TierUnit
from backtester.domain.instrument import Instrument

Evidence = Literal["reproduced", "documented", "code", "secondary", "inferred", "chosen"]

EVIDENCE: dict[Evidence, str] = {
    "reproduced": "computed again from a published or captured number",
    "documented": "stated by the venue",
    "code": "read in source code",
    "secondary": "stated by others",
    "inferred": "no direct statement found",
    "chosen": "our default, not a rule of the venue",
}


class Strict(BaseModel):
    """Base of the pack's records: frozen, no unknown keys, no coercion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Figure(Strict):
    """One value and why it is believed.

    Attributes
    ----------
    value : bool, int, float or str
        The value, in the unit of the rule of the same name.
    evidence : str
        Key of ``EVIDENCE``.
    source : str
        Page, file or sample that says it.
    as_of : datetime.date
        When it was read there.
    note : str
        What else one must know.
    """

    value: bool | int | float | str
    evidence: Evidence
    source: str = Field(min_length=1)
    as_of: dt.date
    note: str = ""


class RuleBlock(Strict):
    """Figures that hold from a date on, until a later block replaces them.

    Attributes
    ----------
    valid_from : datetime.date or None
        First UTC day in force; None: always.
    figures : dict of str to Figure
        By name of the rule.
    """

    valid_from: dt.date | None = None
    figures: dict[str, Figure]

    @property
    def start(self) -> float:
        """First moment in force [ms since 1970, UTC]; minus infinity for always."""
        return -math.inf if self.valid_from is None else day_ms(self.valid_from)


class VenueRules(Strict):
    """Everything that a venue's pack says of one moment.

    Attributes
    ----------
    settle : str
        Settlement currency where the symbol does not name one.
    leverage : float
        Leverage of an account that states none.
    taker_fee, maker_fee : float
        Lowest tier's fee rates [fraction of notional]; negative: a rebate.
    funding_paid_from : {"margin", "wallet_first", "capped"}
        Where the payments of an isolated position come from.
    funding_price : {"mark", "index"}
        Price that values a settlement.
    funding_interval_hours : float
        Hours between settlements where neither the instrument nor the records tell.
    funding_interest : float
        Interest in the funding formula [fraction per 8 hours].
    funding_clamp : float
        Half width of the clamp around the premium [fraction].
    funding_interval_scaled : bool
        Whether the formula divides by 8 / interval.
    funding_weights : {"equal", "rising"}
        Weights of the premium's samples within an interval.
    takeover : {"bankruptcy", "market"}
        Whether the fund or the trader keeps what remains.
    step, step_tiers, step_from_tier, step_above_first, step_once
        Partial liquidation, as in the run file's section ``liquidation``.
    liquidation_fee : float
        Fee of steps and of market takeovers [fraction of the notional closed].
    close_fee : float or "taker"
        Fee to close that the liquidation test includes [fraction of notional].
    close_fee_basis : {"mark", "bankruptcy"}
        Price on which that fee is computed.
    mmr_basis : {"mark", "entry"}
        Price on which maintenance margin is computed.
    engine_price : {"mark", "trade"}
        Reference price of the engine's fills.
    tier_form : {"progressive", "flat", "ramp"}
        How a bracket's rate applies.
    tier_unit : {"notional", "contracts"}
        What chooses the bracket.
    price_rounding : {"none", "against", "nearest"}
        Displayed liquidation and bankruptcy prices: exact; up for longs and down for shorts; to the nearest tick.
    margin_decimals : int
        Decimals to which displayed margins are cut; -1: not at all.
    hedge_tier : {"leg", "gross"}
        Size that chooses a leg's bracket in hedge mode: its own, or that of both legs.
    spot_taker_fee, spot_maker_fee : float or None
        Lowest tier's fee rates of spot pairs [fraction of notional]; None: no source was found.
    """

    settle: str = Field(min_length=1)
    leverage: float = Field(gt=0, allow_inf_nan=False)
    taker_fee: float = Field(gt=-1, lt=1)
    maker_fee: float = Field(gt=-1, lt=1)
    funding_paid_from: Literal["margin", "wallet_first", "capped"]
    funding_price: Literal["mark", "index"]
    funding_interval_hours: float = Field(gt=0, allow_inf_nan=False)
    funding_interest: float = Field(gt=-1, lt=1)
    funding_clamp: float = Field(ge=0, lt=1)
    funding_interval_scaled: bool
    funding_weights: Literal["equal", "rising"]
    takeover: Literal["bankruptcy", "market"]
    step: Literal["none", "tier", "restore"]
    step_tiers: int = Field(ge=0)
    step_from_tier: int = Field(ge=2)
    step_above_first: bool
    step_once: bool
    liquidation_fee: float = Field(ge=0, lt=1)
    close_fee: float | Literal["taker"]
    close_fee_basis: Literal["mark", "bankruptcy"]
    mmr_basis: Literal["mark", "entry"]
    engine_price: Literal["mark", "trade"]
    tier_form: Literal["progressive", "flat", "ramp"]
    tier_unit: Literal["notional", "contracts"]
    price_rounding: Literal["none", "against", "nearest"]
    margin_decimals: int = Field(ge=-1, le=18)
    hedge_tier: Literal["leg", "gross"] = "leg"
    spot_taker_fee: float | None = Field(None, gt=-1, lt=1)
    spot_maker_fee: float | None = Field(None, gt=-1, lt=1)

    @property
    def form(self) -> TierForm:
        """Form of the venue's tier tables."""
        return TierForm[self.tier_form.upper()]

    @property
    def unit(self) -> TierUnit:
        """Unit of the venue's tier tables."""
        return TierUnit[self.tier_unit.upper()]

    def close_fee_rate(self, taker_fee: float) -> float:
        """Return the fee to close that the test includes [fraction of notional], never below 0."""
        return max(taker_fee, 0.0) if self.close_fee == "taker" else float(self.close_fee)

    def displayed_price(self, price: float | None, instrument: Instrument, side: int) -> float | None:
        """Return a liquidation or bankruptcy price as the venue shows it.

        Parameters
        ----------
        price : float or None
            Exact price [quote]; None: there is none.
        instrument : Instrument
            Its tick; without one nothing is rounded.
        side : int
            +1 for a long, -1 for a short.
        """
        if price is None or instrument.tick is None or self.price_rounding == "none":
            return price
        ticks = price / instrument.tick
        nearest = round(ticks)
        # Prices within 1e-9 of a tick are that tick: 9850.0000000001 must not become the tick above.
        if self.price_rounding == "nearest" or abs(ticks - nearest) <= 1e-9 * max(1.0, abs(ticks)):
            return _from_ticks(nearest, instrument.tick)
        return _from_ticks(math.ceil(ticks) if side > 0 else math.floor(ticks), instrument.tick)

    def displayed_margin(self, amount: float) -> float:
        """Return a margin as the venue shows it, cut to its decimals [settlement currency]."""
        if self.margin_decimals < 0:
            return amount
        scale = 10.0**self.margin_decimals
        return math.floor(amount * scale * (1 + 1e-15) + 1e-9) / scale


class VenueClearing(Strict):
    """What a venue does with losses that margins do not cover, at one moment.

    Attributes
    ----------
    fund : {"contract", "settlement"}
        One insurance fund per contract, or one per settlement currency.
    booking : {"at_once", "daily"}
        When surpluses and losses reach the fund's balance.
    booking_hour : float
        Hour of daily bookings [UTC].
    fund_share : float
        Size of a fund at the start, where none is given [fraction of the open interest's notional].
    waterfall : str
        Who pays, in order: ``market, fund`` and then ``deleverage``, ``share`` or both, separated by commas.
    exhausted : bool
        Whether a fund that cannot pay leads to deleveraging.
    drawdown, drawdown_hours : float
        Fall of the fund from its peak within so many hours that leads to deleveraging [fraction]; 0: no such trigger.
    ranking : {"roi", "binance", "bitmex", "hyperliquid"}
        Formula of the deleveraging queue.
    deleverage_price : {"bankruptcy", "mark", "previous_mark"}
        Price at which accounts are deleveraged.
    bankruptcy_band : float
        Distance of the bankruptcy price from the mark beyond which the mark is taken [fraction]; 0: none.
    sharing_hours, sharing_offset_hours : float
        Length of the settlement period of shared losses, and its first boundary after 1970-01-01 00:00 UTC.
    volume_share : float
        Part of a bar's traded volume that the engine may take [fraction].
    impact : float
        Move of the traded price if the engine traded a bar's whole volume [fraction].
    mark_share : float
        Part of that move that the mark follows [fraction].
    impact_half_life_minutes : float
        Time in which half of the move fades.
    """

    fund: Literal["contract", "settlement"]
    booking: Literal["at_once", "daily"]
    booking_hour: float = Field(ge=0, lt=24)
    fund_share: float = Field(ge=0, allow_inf_nan=False)
    waterfall: Literal[
        "market, fund", "market, fund, deleverage", "market, fund, share", "market, fund, deleverage, share"
    ]
    exhausted: bool
    drawdown: float = Field(ge=0, lt=1)
    drawdown_hours: float = Field(gt=0, allow_inf_nan=False)
    ranking: Literal["roi", "binance", "bitmex", "hyperliquid"]
    deleverage_price: Literal["bankruptcy", "mark", "previous_mark"]
    bankruptcy_band: float = Field(ge=0, allow_inf_nan=False)
    sharing_hours: float = Field(gt=0, allow_inf_nan=False)
    sharing_offset_hours: float = Field(ge=0, allow_inf_nan=False)
    volume_share: float = Field(ge=0)
    impact: float = Field(ge=0, allow_inf_nan=False)
    mark_share: float = Field(ge=0, le=1)
    impact_half_life_minutes: float = Field(gt=0)


class VenuePack(Strict):
    """The rules of one venue through time.

    Attributes
    ----------
    name : str
        Name of the pack and of the store's venue.
    title : str
        How people call the venue.
    about : str
        What the pack covers and what it leaves out.
    extends : str
        Name of the pack on which this one is built; empty: none.
    exchanges : tuple of str
        The venue's names in ccxt, from which market data is fetched; the one of its linear contracts first.
    spot_exchange : str
        The one that serves spot pairs; empty: the first of ``exchanges``.
    file : str
        File name, for messages.
    blocks : tuple of RuleBlock
        In the order in which they apply: the base's first, each layer by date.
    clearing : tuple of RuleBlock
        The same for the rules of insurance fund, deleveraging and shared losses.
    """

    name: str = Field(min_length=1)
    title: str = Field(min_length=1)
    about: str = ""
    extends: str = ""
    exchanges: tuple[str, ...] = ()
    spot_exchange: str = ""
    file: str = ""
    blocks: tuple[RuleBlock, ...] = Field(min_length=1)
    clearing: tuple[RuleBlock, ...] = ()

    def clearing_figures_at(self, time_ms: float) -> dict[str, Figure]:
        """Return the figure of each clearing rule in force at a moment [ms since 1970, UTC]."""
        found: dict[str, Figure] = {}
        for block in self.clearing:
            if block.start <= time_ms:
                found |= block.figures
        return {key: found[key] for key in VenueClearing.model_fields if key in found}

    def clearing_at(self, time_ms: float) -> VenueClearing:
        """Return the rules of fund, deleveraging and shared losses in force at a moment [ms since 1970, UTC]."""
        return VenueClearing.model_validate(
            {key: figure.value for key, figure in self.clearing_figures_at(time_ms).items()}
        )

    def figures_at(self, time_ms: float) -> dict[str, Figure]:
        """Return the figure of each rule in force at a moment [ms since 1970, UTC]."""
        found: dict[str, Figure] = {}
        for block in self.blocks:
            if block.start <= time_ms:
                found |= block.figures
        return {key: found[key] for key in VenueRules.model_fields if key in found}

    def rules_at(self, time_ms: float) -> VenueRules:
        """Return the rules in force at a moment.

        Parameters
        ----------
        time_ms : float
            Moment [ms since 1970, UTC]; infinity asks for the newest.
        """
        return VenueRules.model_validate(self.values_at(time_ms))

    def values_at(self, time_ms: float) -> dict[str, Any]:
        """Return the value of each rule in force at a moment [ms since 1970, UTC]."""
        return {key: figure.value for key, figure in self.figures_at(time_ms).items()}

    def changes(self, start: float = -math.inf, end: float = math.inf) -> list[dt.date]:
        """Return the days after ``start`` and before ``end`` on which a rule changes [ms since 1970, UTC]."""
        days = {b.valid_from for b in self.blocks if b.valid_from is not None and start < b.start < end}
        return sorted(days)


def day_ms(day: dt.date) -> int:
    """Return the first moment of a UTC day [ms since 1970]."""
    return (day - dt.date(1970, 1, 1)).days * 86_400_000


def _from_ticks(ticks: int, tick: float) -> float:
    """Return a price from whole ticks, without the dust of the product of two floats."""
    return round(ticks * tick, max(0, 15 - len(str(abs(int(ticks * tick))))))
