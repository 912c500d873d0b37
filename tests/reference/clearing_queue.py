"""Who is deleveraged first, what the lights show, and how a loss is shared: the venues' formulas in plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

ZERO, ONE = Fraction(0), Fraction(1)
LIGHTS = 5


@dataclass(frozen=True)
class Standing:
    """What a venue looks at when it ranks a position; money in the settlement currency.

    ``wallet`` and ``balance`` (wallet plus unrealised profit) are the isolated position's or the cross account's,
    ``maintenance`` likewise; ``cost`` and ``notional`` are the position's worth at its entry and at the mark.
    ``gain`` is mark over entry for a long, entry over mark for a short; ``leverage`` the one that the account has set.
    """

    profit: Fraction
    cost: Fraction
    notional: Fraction
    wallet: Fraction
    balance: Fraction
    maintenance: Fraction
    gain: Fraction = ONE
    leverage: Fraction = ONE


def bitmex_score(s: Standing) -> Fraction:
    """Return profit in percent, times the effective leverage for a winner, divided by it for a loser."""
    percent, leverage = s.profit / s.cost, s.notional / s.balance
    return percent * leverage if percent > 0 else percent / leverage


def binance_score(s: Standing) -> Fraction:
    """Return profit over wallet (at least one unit) times the margin ratio, of the account under cross margin."""
    return max(ZERO, s.balance - s.wallet) / max(ONE, s.wallet) * (s.maintenance / s.balance)


def hyperliquid_score(s: Standing) -> Fraction:
    """Return the price's gain times notional over account value."""
    return s.gain * (s.notional / s.balance)


def roi_score(s: Standing) -> Fraction:
    """Return the profit over the margin that the position was opened with."""
    return s.profit / (s.cost / s.leverage)


SCORES = {"bitmex": bitmex_score, "binance": binance_score, "hyperliquid": hyperliquid_score, "roi": roi_score}


def order_of(scores: Mapping[int, Fraction]) -> list[int]:
    """Return the accounts from the top of the queue down; ties by account."""
    return sorted(scores, key=lambda account: (-scores[account], account))


def shares_of_queue(quantities: Sequence[Fraction]) -> list[Fraction]:
    """Return, for each place of a queue, the part of all quantity that stands at it or before it."""
    total, passed, shares = sum(quantities, ZERO), ZERO, []
    for quantity in quantities:
        passed += quantity
        shares.append(passed / total)
    return shares


def fifths_of_queue(quantities: Sequence[Fraction]) -> list[int]:
    """Return, for each place of a queue, the fifth of all quantity in which it stands: 1 at the top, 5 at the end."""
    return [math.ceil(LIGHTS * share) for share in shares_of_queue(quantities)]


def shared_loss(
    loss: Fraction, profits: Sequence[Fraction], equities: Sequence[Fraction]
) -> tuple[Fraction, list[Fraction]]:
    """Return the rate at which winners share a loss, and what each pays."""
    won = [max(ZERO, p) for p in profits]
    total = sum(won, ZERO)
    rate = min(ONE, loss / total) if total > 0 and loss > 0 else ZERO
    return rate, [max(ZERO, min(rate * w, e)) for w, e in zip(won, equities, strict=True)]
