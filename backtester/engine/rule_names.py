"""What the rules of a venue are called in messages to people."""

from __future__ import annotations

from collections.abc import Iterable

RULE_NAMES = {
    "settle": "settlement currency",
    "leverage": "default leverage",
    "taker_fee": "taker fee",
    "maker_fee": "maker fee",
    "funding_paid_from": "what isolated positions pay funding from",
    "funding_price": "price that values a settlement",
    "funding_interval_hours": "hours between settlements",
    "funding_interest": "interest in the funding rate",
    "funding_clamp": "clamp of the funding rate around the premium",
    "funding_interval_scaled": "scaling of the funding rate to the interval",
    "funding_weights": "weights of the premium's samples",
    "takeover": "who keeps what a liquidation leaves",
    "step": "kind of partial liquidation",
    "step_tiers": "tiers that a partial liquidation goes down",
    "step_from_tier": "lowest tier with partial liquidation",
    "step_above_first": "partial liquidation only above the first tier's requirement",
    "step_once": "one partial liquidation a bar",
    "liquidation_fee": "liquidation fee",
    "close_fee": "closing fee in the liquidation test",
    "close_fee_basis": "price of that closing fee",
    "mmr_basis": "price on which maintenance margin is computed",
    "engine_price": "price at which liquidations fill",
    "tier_form": "how a margin tier's rate applies",
    "tier_unit": "what chooses the margin tier",
    "price_rounding": "rounding of displayed liquidation prices",
    "margin_decimals": "decimals of displayed margins",
    "hedge_tier": "size that chooses a leg's tier in hedge mode",
    "spot_taker_fee": "taker fee of spot pairs",
    "spot_maker_fee": "maker fee of spot pairs",
}


def named_rules(keys: Iterable[str]) -> str:
    """Return rules as people call them, each with its key behind it."""
    return ", ".join(f"{RULE_NAMES[key]} ({key})" for key in keys)
