"""What a venue would show of a position: margins, liquidation and bankruptcy price, by its rule pack.

The formulas are the kernel's own steps; here are only tiers, other positions and displayed rounding around them.

>>> from backtester.domain.instrument import Instrument
>>> from backtester.domain.margin_tiers import MarginTier, TierTable
>>> from backtester.domain.venues import load_pack
>>> tiers = TierTable(symbol="BTC/USDT:USDT", tiers=(MarginTier(maintenance_margin_rate=0.005, max_leverage=100),))
>>> instrument = Instrument(symbol="BTC/USDT:USDT", tick=0.1)
>>> long = Holding(instrument, quantity=1.0, entry_price=50_000.0, tiers=tiers, leverage=10.0)
>>> rules = load_pack("binance").rules_at(0)
>>> margin = initial_margin(long, rules, margin_mode="isolated")
>>> margin, liquidation_price(long, rules, margin), bankruptcy_price(long, rules, margin)
(5000.0, 45226.1, 45000.0)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from backtester.domain.enums import CloseFeeBasis, ContractKind, MarginBasis, TierUnit
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import TierTable
from backtester.domain.venues import VenueRules
from backtester.kernel import fills, funding, margin, value


@dataclass(frozen=True)
class Holding:
    """An open position.

    Attributes
    ----------
    instrument : Instrument
        The contract.
    quantity : float
        Signed size [base units; quote units for inverse]: contracts times contract size.
    entry_price : float
        Average entry [quote].
    tiers : TierTable
        The margin tiers in force.
    mark_price : float or None
        Mark [quote]; None: the entry.
    leverage : float
        Leverage setting.
    """

    instrument: Instrument
    quantity: float
    entry_price: float
    tiers: TierTable
    mark_price: float | None = None
    leverage: float = 1.0

    @property
    def sign(self) -> float:
        """+1 linear, -1 inverse: ``|v| = sign * v``."""
        return 1.0 if self.instrument.kind is ContractKind.LINEAR else -1.0

    @property
    def side(self) -> int:
        """+1 for a long, -1 for a short."""
        return 1 if self.quantity > 0 else -1

    @property
    def entry_value(self) -> float:
        """Entry in value space."""
        return value.price_to_value(self.entry_price, self.sign)

    @property
    def mark_value(self) -> float:
        """Mark in value space."""
        return value.price_to_value(self.entry_price if self.mark_price is None else self.mark_price, self.sign)

    @property
    def notional(self) -> float:
        """Notional at the mark [settlement currency]."""
        return abs(self.quantity * self.mark_value)


def unrealized_pnl(holding: Holding) -> float:
    """Return the price profit at the mark [settlement currency]."""
    return value.unrealized_pnl(holding.quantity, holding.entry_value, holding.mark_value)


def funding_payment(holding: Holding, funding_rate: float) -> float:
    """Return what one settlement at the mark takes out of the wallet [settlement currency]; negative is received."""
    return funding.funding_payment(holding.quantity, holding.mark_value, funding_rate)


def trading_fee(instrument: Instrument, quantity: float, price: float, fee_rate: float) -> float:
    """Return the fee of a fill [settlement currency]; negative for a rebate."""
    sign = 1.0 if instrument.kind is ContractKind.LINEAR else -1.0
    return fills.trading_fee(quantity, value.price_to_value(price, sign), fee_rate)


def average_entry(instrument: Instrument, trades: Sequence[tuple[float, float]]) -> float:
    """Return the average entry price of fills in one direction.

    Parameters
    ----------
    instrument : Instrument
        Linear contracts average arithmetically, inverse ones harmonically.
    trades : sequence of (float, float)
        Signed quantity and price of each fill.
    """
    sign = 1.0 if instrument.kind is ContractKind.LINEAR else -1.0
    held, entry = 0.0, math.nan
    for quantity, price in trades:
        entry = value.average_entry(held, entry, quantity, value.price_to_value(price, sign))
        held += quantity
    return value.value_to_price(entry, sign)


def initial_margin(
    holding: Holding, rules: VenueRules, *, margin_mode: Literal["cross", "isolated"] = "cross", exact: bool = False
) -> float:
    """Return the initial margin [settlement currency].

    Parameters
    ----------
    holding : Holding
        The position.
    rules : VenueRules
        Of the venue; a fee to close that stands at bankruptcy is part of the margin.
    margin_mode : {"cross", "isolated"}
        Cross margin floats with the mark, isolated margin stays at the entry.
    exact : bool
        Without the venue's rounding.
    """
    at = holding.mark_value if margin_mode == "cross" else holding.entry_value
    amount = margin.initial_margin(holding.quantity, at, holding.leverage)
    if rules.close_fee_basis == "bankruptcy":
        fee = _close_fee(holding, rules)
        amount += margin.bankruptcy_fee(holding.quantity, holding.entry_value, holding.leverage, fee)
    return amount if exact else rules.displayed_margin(amount)


def maintenance_margin(holding: Holding, rules: VenueRules, *, exact: bool = False) -> float:
    """Return the maintenance margin at the mark without any fee to close [settlement currency]."""
    constant, slope = _line(holding, rules, _tier_at(holding, rules, holding.mark_value), 0.0)
    amount = constant + slope * abs(holding.mark_value)
    return amount if exact else rules.displayed_margin(amount)


def requirement(holding: Holding, rules: VenueRules, *, exact: bool = False) -> float:
    """Return what the liquidation test asks at the mark: maintenance and fee to close [settlement currency]."""
    amount = _requirement_at(holding, rules, holding.mark_value)
    return amount if exact else rules.displayed_margin(amount)


def margin_ratio(holdings: Sequence[Holding], rules: VenueRules, balance: float) -> float:
    """Return requirement / margin balance of positions that share a balance: liquidation at 1.

    Parameters
    ----------
    holdings : sequence of Holding
        One isolated position, or all cross positions.
    rules : VenueRules
        Of the venue.
    balance : float
        Isolated margin, or wallet under cross, without unrealised profit [settlement currency].
    """
    backing = balance + sum(unrealized_pnl(h) for h in holdings)
    needed = sum(requirement(h, rules, exact=True) for h in holdings)
    return needed / backing if backing > 0 else math.inf


def opening_cost(
    instrument: Instrument,
    quantity: float,
    price: float,
    *,
    leverage: float,
    rules: VenueRules,
    mark_price: float | None = None,
) -> float:
    """Return what an opening order must find available: initial margin, fees and the loss at the mark.

    Parameters
    ----------
    instrument : Instrument
        Its taker fee, else the venue's.
    quantity : float
        Signed size.
    price : float
        Expected fill [quote].
    leverage : float
        Leverage setting.
    rules : VenueRules
        Of the venue.
    mark_price : float or None
        Mark [quote]; None: the fill.
    """
    sign = 1.0 if instrument.kind is ContractKind.LINEAR else -1.0
    fill = value.price_to_value(price, sign)
    mark = fill if mark_price is None else value.price_to_value(mark_price, sign)
    taker = rules.taker_fee if instrument.taker_fee is None else instrument.taker_fee
    cost = margin.initial_margin(quantity, fill, leverage) + fills.trading_fee(quantity, fill, taker)
    if rules.close_fee_basis == "bankruptcy":
        cost += margin.bankruptcy_fee(quantity, fill, leverage, rules.close_fee_rate(taker))
    return cost + max(0.0, -value.unrealized_pnl(quantity, fill, mark))


def liquidation_price(
    holding: Holding, rules: VenueRules, balance: float, *, others: Sequence[Holding] = (), exact: bool = False
) -> float | None:
    """Return the price at which the position is liquidated: the one nearest the mark, in value space.

    Parameters
    ----------
    holding : Holding
        The position.
    rules : VenueRules
        Of the venue.
    balance : float
        Isolated margin, or the wallet under cross, without unrealised profit [settlement currency].
    others : sequence of Holding
        The other cross positions, which stand at their marks; legs of the same symbol move along and share the price.
    exact : bool
        Without the venue's rounding.

    Returns
    -------
    float or None
        Price [quote]; None: no positive price liquidates it.

    Notes
    -----
    Between tier boundaries the test is linear in value space. At a boundary of a flat table the requirement jumps, so
    that the boundary itself can be the price.
    """
    symbol = holding.instrument.symbol
    legs = [holding, *(other for other in others if other.instrument.symbol == symbol)]
    apart = [other for other in others if other.instrument.symbol != symbol]
    backing = balance + sum(unrealized_pnl(h) - requirement(h, rules, exact=True) for h in apart)
    found = _triggers(legs, rules, backing)
    if not found:
        return None
    price = value.value_to_price(min(found, key=lambda v: abs(v - holding.mark_value)), holding.sign)
    return price if exact else rules.displayed_price(price, holding.instrument, holding.side)


def bankruptcy_price(
    holding: Holding,
    rules: VenueRules,
    balance: float,
    *,
    others: Sequence[Holding] = (),
    close_fee: float = 0.0,
    exact: bool = False,
) -> float | None:
    """Return the price at which nothing of the balance is left.

    Parameters
    ----------
    holding, rules, balance, others, exact
        As in `liquidation_price`.
    close_fee : float
        Fee to close that must be left too [fraction of notional].

    Returns
    -------
    float or None
        Price [quote]; None: no positive price uses the balance up.
    """
    backing = balance + sum(unrealized_pnl(h) for h in others)
    entry = holding.entry_value
    if close_fee == 0.0:
        at = margin.bankruptcy_value(holding.quantity, entry, backing)
    else:
        slope = abs(holding.quantity) * close_fee
        at = margin.liquidation_value(holding.quantity, entry, backing, 0.0, slope, holding.sign)
    if at * holding.sign <= 0:
        return None
    price = value.value_to_price(at, holding.sign)
    return price if exact else rules.displayed_price(price, holding.instrument, holding.side)


def _close_fee(holding: Holding, rules: VenueRules) -> float:
    taker = holding.instrument.taker_fee
    return rules.close_fee_rate(rules.taker_fee if taker is None else taker)


def _line(holding: Holding, rules: VenueRules, tier: int, close_fee: float) -> tuple[float, float]:
    """Return the requirement in a bracket as ``constant + slope * |v|``."""
    row = holding.tiers.tiers[tier]
    rate = row.maintenance_margin_rate + row.slope * abs(holding.quantity) / holding.instrument.contract_size
    return margin.requirement_line(
        holding.quantity,
        holding.entry_value,
        holding.leverage,
        rate,
        holding.tiers.deductions()[tier],
        close_fee,
        int(MarginBasis[rules.mmr_basis.upper()]),
        int(CloseFeeBasis[rules.close_fee_basis.upper()]),
    )


def _floors(holding: Holding) -> np.ndarray:
    return np.array([tier.notional_floor for tier in holding.tiers.tiers])


def _tier_at(holding: Holding, rules: VenueRules, at: float) -> int:
    """Return the bracket at a mark in value space; a boundary belongs to the upper one."""
    if holding.tiers.unit is TierUnit.CONTRACTS:
        size = abs(holding.quantity) / holding.instrument.contract_size
    else:
        size = abs(holding.quantity * (holding.entry_value if rules.mmr_basis == "entry" else at))
    floors = _floors(holding)
    return margin.find_tier(floors, 0, len(floors), size)


def _requirement_at(holding: Holding, rules: VenueRules, at: float) -> float:
    constant, slope = _line(holding, rules, _tier_at(holding, rules, at), _close_fee(holding, rules))
    return constant + slope * abs(at)


def _triggers(legs: Sequence[Holding], rules: VenueRules, backing: float) -> list[float]:
    """Return every value of a positive price at which the legs' test turns: roots of the pieces, jumps through zero."""
    sign = legs[0].sign
    edges = _boundaries(legs, rules)
    found = []
    before = math.nan
    for low, high in zip(edges, [*edges[1:], math.inf], strict=True):
        inside = sign * (low * 1.5 if math.isinf(high) else (low + high) / 2)
        lines = [_line(h, rules, _tier_at(h, rules, inside or sign), _close_fee(h, rules)) for h in legs]
        constant, slope = (sum(part) for part in zip(*lines, strict=True))
        quantity = sum(h.quantity for h in legs)
        cost = sum(h.quantity * h.entry_value for h in legs)
        # with the entry taken into the margin one call serves a single position and legs, hedged ones too
        if quantity != sign * slope:
            at = sign * margin.liquidation_value(quantity, 0.0, backing - cost, constant, slope, sign)
            if max(low, 0.0) <= at < high and at > 0.0:
                found.append(sign * at)
        excess = backing - cost - constant + (quantity * sign - slope) * low
        if low > 0.0 and before > 0.0 >= excess:
            found.append(sign * low)
        before = excess + (quantity * sign - slope) * (high - low) if math.isfinite(high) else math.nan
    return found


def _boundaries(legs: Sequence[Holding], rules: VenueRules) -> list[float]:
    """Return the unit values ``|v|`` from 0 at which some leg changes its bracket, ascending."""
    edges = {0.0}
    for leg in legs:
        if leg.tiers.unit is TierUnit.NOTIONAL and rules.mmr_basis == "mark":
            edges |= {tier.notional_floor / abs(leg.quantity) for tier in leg.tiers.tiers[1:]}
    return sorted(edges)
