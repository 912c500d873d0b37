"""The whole of a clearing replay between two events: accounts, engine, outside market, funds, and what is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tests.reference.clearing_accounts import ONE, ZERO, Account, Terms, Trunk
from tests.reference.clearing_case import Cleared, Market
from tests.reference.prices import shortened, sign

LEAST_PRICE = Fraction(1, 2)  # of the path's: the engine's own sales never move a price farther


@dataclass
class Fund:
    """One insurance fund: its balance, what waits to be booked, and the levels of the last hours."""

    balance: Fraction
    waiting: Fraction = ZERO
    levels: list[tuple[int, Fraction]] = field(default_factory=list)

    @property
    def able(self) -> Fraction:
        """What the fund can still pay: what is booked with what is to be."""
        return self.balance + self.waiting


@dataclass
class State:
    """What changes during a replay; ``path`` holds the marks of the data, ``sold`` the engine's part of the volume."""

    case: Market
    terms: list[Terms]
    accounts: list[Account]
    engine: list[Trunk]
    outside: list[Trunk]
    funds: list[Fund]
    outside_cash: Fraction = ZERO
    bar: int = 0
    path: dict[int, Fraction] = field(default_factory=dict)
    sold: dict[int, Fraction] = field(default_factory=dict)
    volume_left: dict[int, Fraction | None] = field(default_factory=dict)
    previous: dict[int, Fraction] = field(default_factory=dict)
    out: Cleared = field(default_factory=Cleared)

    @classmethod
    def opened(cls, case: Market) -> State:
        terms = [Terms.of(listing, case.venue.close_fee) for listing in case.listings]
        accounts = [Account.of(n, trader, terms) for n, trader in enumerate(case.traders)]
        count = 1 if case.venue.fund_scope == "settlement" else len(terms)
        state = cls(
            case,
            terms,
            accounts,
            [Trunk(t) for t in terms],
            [Trunk(t) for t in terms],
            [Fund(Fraction(case.venue.fund_start)) for _ in range(count)],
        )
        for i, listing in enumerate(case.listings):
            first = Fraction(listing.mark.open[0])
            over = sum((a.holdings[i].size for a in accounts if i in a.holdings), ZERO)
            state.outside[i] = Trunk(terms[i], -over, terms[i].paid(-over, first))
            state.previous[i] = first
        return state

    # -- prices ------------------------------------------------------------------------------------------------------

    def moved(self, i: int) -> Fraction:
        """Return the factor by which the engine's sales of this bar have moved a contract's price."""
        return max(LEAST_PRICE, 1 - Fraction(self.case.venue.impact) * self.sold.get(i, ZERO))

    @property
    def marks(self) -> dict[int, Fraction]:
        """The marks that accounts are tested at."""
        return {i: price * self.moved(i) for i, price in self.path.items()}

    def part_of_volume(self, i: int, size: Fraction) -> Fraction:
        """Return a signed size as a part of the bar's volume, 0 where volumes are not known."""
        volumes = self.case.listings[i].volume
        if volumes is None or not volumes[self.bar] > 0:
            return ZERO
        base = size / self.path[i] if self.terms[i].kind.inverse else size
        return base / Fraction(volumes[self.bar])

    def sale_price(self, i: int, size: Fraction) -> Fraction:
        """Return the price at which a signed size is closed at the market."""
        venue, part = self.case.venue, self.part_of_volume(i, size)
        way = max(LEAST_PRICE, 1 - Fraction(venue.impact) * (self.sold.get(i, ZERO) + part / 2))
        return self.path[i] * way * (1 - sign(size) * Fraction(venue.slippage))

    def market_takes(self, i: int, size: Fraction) -> Fraction:
        """Return how much of a size the market takes in what is left of this bar's share."""
        left = self.volume_left[i]
        if left is None:
            return size
        most = left * self.path[i] if self.terms[i].kind.inverse else left
        return sign(size) * min(abs(size), most)

    def sell(self, i: int, size: Fraction) -> Fraction:
        """Pass a signed size on to the outside market and return the price."""
        price = self.sale_price(i, size)
        part = self.part_of_volume(i, size)
        self.sold[i] = self.sold.get(i, ZERO) + part
        left = self.volume_left[i]
        if left is not None:
            base = abs(size) / self.path[i] if self.terms[i].kind.inverse else abs(size)
            self.volume_left[i] = left - base
        self.outside_cash += self.outside[i].take(size, self.terms[i].paid(size, price))
        return price

    # -- money -------------------------------------------------------------------------------------------------------

    def fund_of(self, i: int) -> int:
        return 0 if self.case.venue.fund_scope == "settlement" else i

    def to_fund(self, i: int, amount: Fraction) -> None:
        """Let a flow into the fund of a contract (negative: out of it), now or with the next booking."""
        fund = self.funds[self.fund_of(i)]
        if self.case.venue.booking_hour is None:
            fund.balance = shortened(fund.balance + amount)
            fund.levels.append((self.case.open_time[self.bar], fund.balance))
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

    def write(self, kind: str, i: int, **figures: Any) -> None:
        self.out.events.append({"bar": self.bar, "kind": kind, "contract": i, **figures})

    def price_of(self, i: int, size: Fraction, paid: Fraction) -> Fraction | None:
        """Return the price at which a size costs some cash; None where no price does."""
        unit = -paid / size if self.terms[i].kind.inverse else paid / size
        return None if unit <= 0 else 1 / unit if self.terms[i].kind.inverse else unit


def at(marks: Mapping[int, Fraction], i: int, price: Fraction) -> dict[int, Fraction]:
    """Return marks with one of them replaced."""
    return {**marks, i: price}


__all__ = ["ONE", "ZERO", "Fund", "State", "at"]
