"""The rules by which a venue liquidates accounts and spreads what their margins do not cover."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from backtester.domain.venues import load_pack
from backtester.errors import ConfigError, UnknownNameError

Payer = Literal["market", "fund", "deleverage", "share"]
_VENUE_FIELDS = (
    "takeover",
    "step",
    "step_tiers",
    "step_from_tier",
    "step_above_first",
    "step_once",
    "liquidation_fee",
    "close_fee_basis",
    "mmr_basis",
    "funding_paid_from",
)


class ClearingRules(BaseModel):
    """How a venue liquidates, what its fund does, whom it deleverages, who shares a loss; frozen.

    Attributes
    ----------
    name : str
        Venue or name of one's own, for pages and messages.
    takeover : {"bankruptcy", "market"}
        Whether the account loses all that is left of its margin, or keeps it after the fee.
    step, step_tiers, step_from_tier, step_above_first, step_once
        Partial liquidation, as in the run file's section ``liquidation``.
    liquidation_fee : float
        Fee of steps and of market takeovers, paid to the fund [fraction of the notional closed].
    close_fee : float
        Fee to close that the liquidation test includes [fraction of notional].
    close_fee_basis : {"mark", "bankruptcy"}
        Price on which that fee is computed.
    mmr_basis : {"mark", "entry"}
        Price on which maintenance margin is computed.
    funding_paid_from : {"margin", "wallet_first", "capped"}
        What isolated positions pay funding from: their margin; the free wallet first, which receives it too; their
        margin, cut (for cross accounts too) so that the balance stays above the requirement, the fund paying the rest.
    fund : {"contract", "settlement"}
        One fund per contract, or one for all contracts of the settlement currency.
    fund_start : float or None
        Balance of each fund at the start [settlement currency]; None: ``fund_share``.
    fund_share : float
        The same as a fraction of the open interest's notional at the first mark of the fund's contracts.
    booking : {"at_once", "daily"}
        When surpluses and losses reach the fund's balance; until then they are pending.
    booking_hour : float
        Hour of daily bookings [UTC].
    waterfall : tuple of str
        Who pays, in order: ``"market"``, ``"fund"`` and then ``"deleverage"``, ``"share"`` or both.
    exhausted : bool
        Whether a fund that is worth less than nothing, the engine's open loss included, leads to deleveraging. Then
        the engine sells at a loss only what the fund can pay.
    drawdown : float
        Fall from the peak within ``drawdown_hours`` that leads to deleveraging [fraction]; 0: no such trigger.
    drawdown_hours : float
        Hours that the peak is looked for.
    ranking : {"roi", "binance", "bitmex", "hyperliquid"}
        Formula of the queue; ``"roi"`` is profit over initial margin.
    deleverage_price : {"bankruptcy", "mark", "previous_mark"}
        Price at which accounts are closed against the engine: its average entry, the mark, the last bar's mark close.
    bankruptcy_band : float
        Distance of the bankruptcy price from the mark beyond which the mark is taken [fraction]; 0: none.
    sharing_hours, sharing_offset_hours : float
        Settlement period of shared losses, and its first boundary after 1970-01-01 00:00 UTC.
    volume_share : float
        Part of a bar's volume that the engine may trade [fraction]; infinity: without limit, 0: nothing.
    impact : float
        Move of the traded price if the engine traded a bar's whole volume [fraction]; linear in the share.
    mark_share : float
        Part of that move that the mark follows [fraction].
    impact_half_life_minutes : float
        Time in which half of the move fades; infinity: it stays.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = "generic"
    takeover: Literal["bankruptcy", "market"] = "bankruptcy"
    step: Literal["none", "tier", "restore"] = "none"
    step_tiers: int = Field(1, ge=0)
    step_from_tier: int = Field(2, ge=1)
    step_above_first: bool = False
    step_once: bool = False
    liquidation_fee: float = Field(0.0, ge=0, lt=1)
    close_fee: float = Field(0.0, ge=0, lt=1)
    close_fee_basis: Literal["mark", "bankruptcy"] = "mark"
    mmr_basis: Literal["mark", "entry"] = "mark"
    funding_paid_from: Literal["margin", "wallet_first", "capped"] = "margin"
    fund: Literal["contract", "settlement"] = "settlement"
    fund_start: float | None = Field(None, ge=0, allow_inf_nan=False)
    fund_share: float = Field(0.005, ge=0, allow_inf_nan=False)
    booking: Literal["at_once", "daily"] = "at_once"
    booking_hour: float = Field(0.0, ge=0, lt=24)
    waterfall: tuple[Payer, ...] = ("market", "fund", "deleverage")
    exhausted: bool = True
    drawdown: float = Field(0.0, ge=0, lt=1)
    drawdown_hours: float = Field(8.0, gt=0, allow_inf_nan=False)
    ranking: Literal["roi", "binance", "bitmex", "hyperliquid"] = "roi"
    deleverage_price: Literal["bankruptcy", "mark", "previous_mark"] = "bankruptcy"
    bankruptcy_band: float = Field(0.0, ge=0, allow_inf_nan=False)
    sharing_hours: float = Field(24.0, gt=0, allow_inf_nan=False)
    sharing_offset_hours: float = Field(0.0, ge=0, allow_inf_nan=False)
    volume_share: float = Field(0.1, ge=0)
    impact: float = Field(0.05, ge=0, allow_inf_nan=False)
    mark_share: float = Field(1.0, ge=0, le=1)
    impact_half_life_minutes: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _waterfall_is_known(self) -> ClearingRules:
        head, tail = self.waterfall[:2], self.waterfall[2:]
        if head != ("market", "fund") or tail not in ((), ("deleverage",), ("share",), ("deleverage", "share")):
            raise ValueError(
                "waterfall: the market comes first, then the fund, then deleverage, share or both in this order"
            )
        if self.deleverages and not self.exhausted and self.drawdown == 0.0:
            raise ValueError("waterfall: deleverage needs a trigger: exhausted = true, or a drawdown above 0")
        return self

    @property
    def deleverages(self) -> bool:
        """Whether accounts can be deleveraged."""
        return "deleverage" in self.waterfall

    @property
    def shares_losses(self) -> bool:
        """Whether what stays uncovered is taken from the winners."""
        return "share" in self.waterfall

    def with_changes(self, **changes: Any) -> ClearingRules:
        """Return the rules with some of them changed.

        Raises
        ------
        UnknownNameError
            A name is none of the rules.
        ConfigError
            A value is out of bounds.
        """
        for key in changes:
            if key not in ClearingRules.model_fields:
                raise UnknownNameError("clearing rule", key, ClearingRules.model_fields)
        if isinstance(changes.get("waterfall"), list):
            changes["waterfall"] = tuple(changes["waterfall"])
        for key, value in changes.items():
            if isinstance(value, int) and not isinstance(value, bool) and key not in ("step_tiers", "step_from_tier"):
                changes[key] = float(value)
        try:
            return ClearingRules.model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in fault["loc"]) or "rules"
            raise ConfigError(f"clearing.{key}: {fault['msg']} (given: {changes.get(key, '')!r:.60}).") from error


def clearing_rules(venue: str | Path, at: float = math.inf, **changes: Any) -> ClearingRules:
    """Return the rules of a venue's pack.

    Parameters
    ----------
    venue : str or Path
        Name of a shipped pack, or the path of one's own.
    at : float
        Moment [ms since 1970, UTC]; infinity asks for the newest.
    **changes
        Rules that differ, by name of the field.

    Raises
    ------
    UnknownNameError
        There is no such pack or no such rule.
    ConfigError
        A value is out of bounds.
    """
    pack = load_pack(venue)
    rules = pack.rules_at(at)
    clearing = pack.clearing_at(at).model_dump()
    clearing["waterfall"] = tuple(clearing["waterfall"].split(", "))
    values = {key: getattr(rules, key) for key in _VENUE_FIELDS}
    close_fee = rules.close_fee_rate(rules.taker_fee)
    return ClearingRules(name=pack.name, close_fee=close_fee, **values, **clearing).with_changes(**changes)
