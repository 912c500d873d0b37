"""What a contract's price means in money, written once per kind in ordinary prices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Kind:
    """A linear contract (base units, settled in the quote) or an inverse one (quote units, settled in the coin)."""

    inverse: bool

    def worth(self, price: Fraction) -> Fraction:
        """Return what one unit of size is worth in the settlement currency."""
        return 1 / price if self.inverse else price

    def profit(self, size: Fraction, entry: Fraction, exit_price: Fraction) -> Fraction:
        """Return the profit of a signed size between two prices."""
        if self.inverse:
            return size * (1 / entry - 1 / exit_price)
        return size * (exit_price - entry)

    def average(self, size: Fraction, entry: Fraction, added: Fraction, price: Fraction) -> Fraction:
        """Return the entry price after adding to a position: arithmetic mean, harmonic for inverse contracts."""
        if self.inverse:
            return 1 / shortened((size / entry + added / price) / (size + added))
        return shortened((size * entry + added * price) / (size + added))

    def between(self, start: Fraction, end: Fraction, f: Fraction) -> Fraction:
        """Return the price a fraction of the way from one to another, at constant speed of the contract's worth."""
        if self.inverse:
            return 1 / ((1 - f) / start + f / end)
        return (1 - f) * start + f * end

    def fraction_at(self, start: Fraction, end: Fraction, level: Fraction) -> Fraction:
        """Return how much of the way from one price to another lies before a level between them."""
        if self.inverse:
            return (1 / level - 1 / start) / (1 / end - 1 / start)
        return (level - start) / (end - start)

    def bankrupt_at(self, size: Fraction, start: Fraction, money: Fraction) -> Fraction | None:
        """Return the price at which a position held at ``start`` has lost ``money``; None where no price does."""
        if self.inverse:
            coins = 1 / start + money / size
            return 1 / coins if coins > 0 else None
        price = start - money / size
        return price if price > 0 else None

    def margin_exhausted(self, side: int, entry: Fraction, leverage: Fraction) -> Fraction:
        """Return the worth of one unit where the initial margin of a fill at ``entry`` is used up."""
        worth = self.worth(entry)
        gone = worth / leverage
        # A linear long and an inverse long both lose when the unit's price falls; the coin value of an inverse unit
        # rises then.
        return abs(worth + side * gone) if self.inverse else abs(worth - side * gone)


def slipped(price: Fraction, side: int, slippage: Fraction) -> Fraction:
    """Return the price of a market fill: a buyer pays more, a seller gets less."""
    return price * (1 + side * slippage)


SNAP = Fraction(1e-9)


def to_tick(price: Fraction, tick: Fraction, side: int) -> Fraction:
    """Return a price rounded to the tick, down for a buyer and up for a seller; a price next to a tick is that tick."""
    if tick == 0:
        return price
    ticks = price / tick
    nearest = math.floor(ticks + Fraction(1, 2))
    if abs(ticks - nearest) <= SNAP:
        return nearest * tick
    return (math.floor(ticks) if side > 0 else math.ceil(ticks)) * tick


SIGNIFICANT_BITS = 256


def shortened(number: Fraction) -> Fraction:
    """Return the number cut to 256 significant bits.

    Sizes, entries and amounts are cut when they are stored: a position that is reduced at a computed trigger has as
    many digits as all that led there, and twice as many after the next step. Within an event all is exact. The cut
    keeps floats, signs and powers of two as they are.
    """
    if number == 0:
        return number
    shift = SIGNIFICANT_BITS - (abs(number.numerator).bit_length() - number.denominator.bit_length())
    scaled = number * 2**shift if shift >= 0 else number / 2**-shift
    whole = Fraction(abs(scaled.numerator) // scaled.denominator * (1 if number > 0 else -1))
    return whole / 2**shift if shift >= 0 else whole * 2**-shift


def sign(number: Fraction | float) -> int:
    """Return -1, 0 or 1."""
    return (number > 0) - (number < 0)
