"""The whole of a clearing replay between two events: accounts, engine, outside market, funds, and what is written."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tests.reference.clearing_accounts import ONE, ZERO, Account, Terms, Trunk
from tests.reference.clearing_case import Cleared, Market
from tests.reference.prices import shortened, sign

MINUTE = 60_000


@dataclass
class Fund:
    """One insurance fund: its balance, what waits to be booked, its worth at the closes so far.

    ``active``: the trigger held when it was last looked at.
    """

    balance: Fraction
    waiting: Fraction = ZERO
    closes: list[tuple[int, Fraction]] = field(default_factory=list)
    active: bool = False

    @property
    def able(self) -> Fraction:
        """What the fund can still pay: what is booked with what is to be."""
        return self.balance + self.waiting


@dataclass
class State:
    """What changes during a replay.

    ``path`` and ``traded`` hold the marks and trades of the data at this moment, ``shift`` the fraction by which the
    engine has moved the traded price.
    """

    case: Market
    terms: list[Terms]
    accounts: list[Account]
    engine: list[Trunk]
    outside: list[Trunk]
    funds: list[Fund]
    outside_cash: Fraction = ZERO
    bar: int = 0
    path: dict[int, Fraction] = field(default_factory=dict)
    traded: dict[int, Fraction] = field(default_factory=dict)
    shift: dict[int, Fraction] = field(default_factory=dict)
    volume_left: dict[int, Fraction | None] = field(default_factory=dict)
    previous: dict[int, Fraction] = field(default_factory=dict)
    jumped_from: dict[int, Fraction] = field(default_factory=dict)
    out: Cleared = field(default_factory=Cleared)

    @classmethod
    def opened(cls, case: Market) -> State:
        terms = [Terms.of(listing, case.venue) for listing in case.listings]
        accounts = [Account.of(n, trader, terms) for n, trader in enumerate(case.traders)]
        count = 1 if case.venue.fund == "settlement" else len(terms)
        state = cls(
            case,
            terms,
            accounts,
            [Trunk(t) for t in terms],
            [Trunk(t) for t in terms],
            [Fund(Fraction(case.venue.fund_start)) for _ in range(count)],
        )
        for fund in state.funds:  # as the close before the first bar left it
            fund.closes.append((case.open_time[0], fund.balance))
        for i, listing in enumerate(case.listings):
            first = Fraction(listing.mark.open[0])
            over = sum((a.holdings[i].size for a in accounts if i in a.holdings), ZERO)
            state.outside[i] = Trunk(terms[i], -over, terms[i].paid(-over, first))
            state.previous[i] = first
            state.shift[i] = ZERO
        return state

    # -- prices --------------------------------------------------------------------------------------------------------

    @property
    def marks(self) -> dict[int, Fraction]:
        """The marks that accounts are tested at."""
        return {i: price * self.moved(i) for i, price in self.path.items()}

    def moved(self, i: int) -> Fraction:
        """Return the factor by which the engine has moved a contract's mark."""
        return 1 + Fraction(self.case.venue.mark_share) * self.shift[i]

    def impact_of(self, i: int, size: Fraction) -> Fraction:
        """Return how far selling a signed size moves the traded price, as a positive fraction for a sale."""
        volume = self.volume(i)
        if volume is None or volume == 0:
            return ZERO
        return Fraction(self.case.venue.impact) * size / volume

    def volume(self, i: int) -> Fraction | None:
        volumes = self.case.listings[i].volume
        return None if volumes is None or math.isnan(volumes[self.bar]) else Fraction(volumes[self.bar])

    def sale_price(self, i: int, size: Fraction) -> Fraction:
        """Return the price at which a signed size is closed at the market: the price gives way while it is sold."""
        return self.traded[i] * (1 + self.shift[i] - self.impact_of(i, size) / 2)

    def market_takes(self, i: int, size: Fraction) -> Fraction:
        """Return how much of a size the market takes in what is left of this bar's share."""
        left = self.volume_left[i]
        if left is None:
            return size
        return sign(size) * min(abs(size), left)

    def sell(self, i: int, size: Fraction, price: Fraction) -> None:
        """Pass a signed size on to the outside market."""
        left = self.volume_left[i]
        if left is not None:
            self.volume_left[i] = shortened(left - abs(size))
        self.shift[i] = shortened(self.shift[i] - self.impact_of(i, size))
        self.outside_cash += self.outside[i].take(size, self.terms[i].paid(size, price))

    def fade(self, i: int) -> None:
        """Let the engine's move of the price fade over one bar."""
        venue = self.case.venue
        self.shift[i] *= Fraction(0.5 ** (self.case.bar_ms / (venue.half_life_minutes * MINUTE)))

    @property
    def money_at_start(self) -> Fraction:
        return sum((abs(Fraction(t.wallet)) for t in self.case.traders), ZERO)

    # -- money ---------------------------------------------------------------------------------------------------------

    def fund_of(self, i: int) -> int:
        return 0 if self.case.venue.fund == "settlement" else i

    def contracts_of(self, fund: int) -> list[int]:
        return [i for i in range(len(self.terms)) if self.fund_of(i) == fund]

    def worth_of(self, fund: int) -> Fraction:
        """Return a fund with what waits to be booked and the inventory's open result at the mark."""
        marks = self.marks
        return self.funds[fund].able + sum((self.engine[i].unrealised(marks[i]) for i in self.contracts_of(fund)), ZERO)

    def to_fund(self, i: int, amount: Fraction, *, at_once: bool = False) -> None:
        """Let a flow into the fund of a contract (negative: out of it), now or with the next booking."""
        fund = self.funds[self.fund_of(i)]
        if at_once or self.case.venue.booking_hour is None:
            fund.balance = shortened(fund.balance + amount)
        else:
            fund.waiting = shortened(fund.waiting + amount)

    def cash_of_all(self) -> Fraction:
        """Return what can only change by transfers: everybody's money less the cost of what they hold."""
        held = sum((a.cash() for a in self.accounts), ZERO) + self.outside_cash
        trunks = sum((t.paid for t in [*self.engine, *self.outside]), ZERO)
        return held - trunks + sum((f.able for f in self.funds), ZERO)

    def sizes(self, i: int) -> Fraction:
        """Return the sum of all positions of a contract, which is zero."""
        held = sum((a.holdings[i].size for a in self.accounts if i in a.holdings), ZERO)
        return held + self.engine[i].size + self.outside[i].size

    # -- records -------------------------------------------------------------------------------------------------------

    def write(self, kind: str, i: int, **figures: Any) -> None:
        self.out.events.append({"bar": self.bar, "kind": kind, "contract": i, **figures})

    def price_of(self, i: int, size: Fraction, paid: Fraction) -> Fraction | None:
        """Return the price at which a size costs some cash; None where no price does."""
        unit = -paid / size if self.terms[i].kind.inverse else paid / size
        return None if unit <= 0 else 1 / unit if self.terms[i].kind.inverse else unit


__all__ = ["ONE", "ZERO", "Fund", "State"]
