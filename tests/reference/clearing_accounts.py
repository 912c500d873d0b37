"""Accounts, the engine and the outside market of a clearing replay, in ordinary prices and money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from tests.reference.brackets import Table, exact_table
from tests.reference.clearing_case import Listing, Trader, Venue
from tests.reference.clearing_queue import Standing
from tests.reference.prices import Kind, shortened, sign

ZERO, ONE = Fraction(0), Fraction(1)
Marks = Mapping[int, Fraction]


@dataclass(frozen=True)
class Terms:
    """What holds for one contract; ``by_entry`` and ``fee_at_bankruptcy`` say on which prices margin is computed."""

    kind: Kind
    table: Table
    lot: Fraction
    close_fee: Fraction
    by_entry: bool = False
    fee_at_bankruptcy: bool = False

    @classmethod
    def of(cls, listing: Listing, venue: Venue | None = None) -> Terms:
        venue = venue or Venue()
        return cls(
            Kind(listing.inverse),
            exact_table(listing.table),
            Fraction(listing.lot),
            Fraction(venue.close_fee),
            venue.mmr_basis == "entry",
            venue.close_fee_basis == "bankruptcy",
        )

    def paid(self, size: Fraction, price: Fraction) -> Fraction:
        """Return what buying a signed size takes out of the cash: coins are owed for inverse contracts."""
        return -size / price if self.kind.inverse else size * price

    def notional(self, size: Fraction, price: Fraction) -> Fraction:
        return abs(size) * self.kind.worth(price)


@dataclass
class Holding:
    """One position of an account; ``margin`` is 0 under cross margin."""

    size: Fraction
    entry: Fraction
    margin: Fraction = ZERO
    bound: int | None = None
    stepped: bool = False


@dataclass
class Account:
    """One account: the free wallet, and its positions by contract."""

    number: int
    terms: Sequence[Terms]
    isolated: bool
    free: Fraction
    leverage: Fraction = ONE
    holdings: dict[int, Holding] = field(default_factory=dict)

    @classmethod
    def of(cls, number: int, trader: Trader, terms: Sequence[Terms]) -> Account:
        margins = sum((Fraction(h.margin) for h in trader.held), ZERO) if trader.isolated else ZERO
        account = cls(number, terms, trader.isolated, Fraction(trader.wallet) - margins, Fraction(trader.leverage))
        for h in trader.held:
            margin = Fraction(h.margin) if trader.isolated else ZERO
            account.holdings[h.contract] = Holding(Fraction(h.size), Fraction(h.entry), margin)
        return account

    @property
    def wallet(self) -> Fraction:
        return self.free + sum((h.margin for h in self.holdings.values()), ZERO)

    def profit(self, i: int, price: Fraction) -> Fraction:
        """Return what closing a position at a price would realise."""
        h = self.holdings[i]
        return self.terms[i].kind.profit(h.size, h.entry, price)

    def equity(self, marks: Marks) -> Fraction:
        return self.wallet + sum((self.profit(i, marks[i]) for i in self.holdings), ZERO)

    def cash(self) -> Fraction:
        """Return the wallet less the cost of what is held: the money put in, had all been bought with cash."""
        return self.wallet - sum((self.terms[i].paid(h.size, h.entry) for i, h in self.holdings.items()), ZERO)

    def groups(self) -> list[tuple[int, ...]]:
        """Return the contracts that stand or fall together: each isolated position, or all cross ones."""
        held = sorted(self.holdings)
        return [(i,) for i in held] if self.isolated else [tuple(held)] if held else []

    def group_of(self, i: int) -> tuple[int, ...]:
        return next(group for group in self.groups() if i in group)

    def backing(self, group: tuple[int, ...]) -> Fraction:
        """Return the money behind a group without its unrealised profit."""
        return self.holdings[group[0]].margin if self.isolated else self.free

    def balance(self, group: tuple[int, ...], marks: Marks) -> Fraction:
        return self.backing(group) + sum((self.profit(i, marks[i]) for i in group), ZERO)

    def measure_of_one(self, i: int, mark: Fraction) -> Fraction:
        """Return what one unit of a position adds to the measure that chooses the bracket."""
        terms = self.terms[i]
        return (
            ONE
            if terms.table.counts_contracts
            else terms.kind.worth(self.holdings[i].entry if terms.by_entry else mark)
        )

    def bracket(self, i: int, mark: Fraction, size: Fraction | None = None) -> int:
        """Return the bracket that judges a position or what would remain of it, never above the one it is bound to."""
        h = self.holdings[i]
        found = self.terms[i].table.bracket_of(abs(h.size if size is None else size) * self.measure_of_one(i, mark))
        return found if h.bound is None else min(found, h.bound)

    def needs(
        self, i: int, mark: Fraction, bracket: int, size: Fraction | None = None, *, closing: bool = True
    ) -> Fraction:
        """Return what a position, or what would remain of it, must keep in a bracket."""
        h, terms = self.holdings[i], self.terms[i]
        held, row = abs(h.size if size is None else size), terms.table.brackets[bracket]
        kept = held * terms.kind.worth(h.entry if terms.by_entry else mark) * (row.rate + row.slope * held)
        fee_worth = terms.kind.worth(mark)
        if terms.fee_at_bankruptcy:
            fee_worth = terms.kind.margin_exhausted(sign(h.size), h.entry, self.leverage)
        return kept - row.deduction + (held * fee_worth * terms.close_fee if closing else ZERO)

    def requirement(self, i: int, marks: Marks, *, closing: bool = True) -> Fraction:
        return self.needs(i, marks[i], self.bracket(i, marks[i]), closing=closing)

    def required(self, group: tuple[int, ...], marks: Marks, *, closing: bool = True) -> Fraction:
        return sum((self.requirement(i, marks, closing=closing) for i in group), ZERO)

    def fails(self, group: tuple[int, ...], marks: Marks) -> bool:
        return self.balance(group, marks) <= self.required(group, marks)

    def share_of_balance(self, i: int, group: tuple[int, ...], marks: Marks) -> Fraction:
        """Return the part of a group's balance that stands behind one position: by its requirement."""
        balance, required = self.balance(group, marks), self.required(group, marks)
        if len(group) == 1:
            return balance
        return balance * self.requirement(i, marks) / required if required else balance / len(group)

    def bankruptcy_price(self, i: int, marks: Marks) -> Fraction | None:
        """Return the price at which the position's share of the balance is gone; None: no price does that."""
        share = self.share_of_balance(i, self.group_of(i), marks)
        return self.terms[i].kind.bankrupt_at(self.holdings[i].size, marks[i], share)

    def handed_over_for(self, i: int, marks: Marks) -> Fraction:
        """Return the cash for which a position changes hands at bankruptcy, also where no price expresses it."""
        share = self.share_of_balance(i, self.group_of(i), marks)
        return self.terms[i].paid(self.holdings[i].size, marks[i]) - share

    def standing(self, i: int, marks: Marks) -> Standing:
        """Return what the queue looks at."""
        h, group, kind = self.holdings[i], self.group_of(i), self.terms[i].kind
        return Standing(
            profit=self.profit(i, marks[i]),
            cost=abs(h.size) * kind.worth(h.entry),
            notional=abs(h.size) * kind.worth(marks[i]),
            wallet=self.backing(group),
            balance=self.balance(group, marks),
            maintenance=self.required(group, marks, closing=False),
            gain=marks[i] / h.entry if h.size > 0 else h.entry / marks[i],
            leverage=self.leverage,
        )

    def close(self, i: int, part: Fraction, price: Fraction, *, release: bool = True) -> Fraction:
        """Close a signed part of a position at a price and return what it realised.

        ``release``: an isolated position's margin comes free in proportion, and profit or loss goes to the free
        wallet; else both stay with the position (steps of the engine).
        """
        h = self.holdings[i]
        assert sign(part) == sign(h.size)
        assert abs(part) <= abs(h.size)
        realised = shortened(self.terms[i].kind.profit(part, h.entry, price))
        if not self.isolated:
            self.free += realised
        elif release:
            freed = shortened(h.margin * part / h.size) if part != h.size else h.margin
            h.margin -= freed
            self.free += freed + realised
        else:
            h.margin += realised
        h.size -= part
        if h.size == 0:
            self.free += h.margin
            del self.holdings[i]
        return realised


@dataclass
class Trunk:
    """What somebody without margin holds of one contract: a size and the cash paid for it (negative: received)."""

    terms: Terms
    size: Fraction = ZERO
    paid: Fraction = ZERO

    def unrealised(self, price: Fraction) -> Fraction:
        return self.terms.paid(self.size, price) - self.paid

    def take(self, size: Fraction, paid: Fraction) -> Fraction:
        """Add a signed size for a price in cash; what meets the other side is settled, and its result returned."""
        if sign(size) * sign(self.size) >= 0:
            self.size, self.paid = self.size + size, self.paid + paid
            return ZERO
        meeting = min(abs(size), abs(self.size))
        of_held, of_new = meeting / abs(self.size), meeting / abs(size)
        result = -(self.paid * of_held + paid * of_new)
        left_held, left_new = self.paid * (1 - of_held), paid * (1 - of_new)
        self.size, self.paid = shortened(self.size + size), shortened(left_held + left_new)
        return shortened(result)
