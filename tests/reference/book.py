"""The state of a reference replay: contracts in exact numbers, positions, wallet, and the rows written so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tests.reference.brackets import Table, tables_by_bar
from tests.reference.case import Case, Contract, Outcome
from tests.reference.prices import Kind, sign

ZERO = Fraction(0)


@dataclass(frozen=True)
class Rules:
    """One contract's rules in exact numbers."""

    kind: Kind
    isolated: bool
    leverage: Fraction
    fee: Fraction
    slippage: Fraction
    contract_size: Fraction
    step: Fraction
    min_quantity: Fraction
    min_notional: Fraction


def exact_rules(contract: Contract) -> Rules:
    """Convert a contract's rules."""
    size = Fraction(contract.contract_size)
    return Rules(
        kind=Kind(contract.kind == "inverse"),
        isolated=contract.margin_mode == "isolated",
        leverage=Fraction(contract.leverage),
        fee=Fraction(contract.taker_fee),
        slippage=Fraction(contract.slippage),
        contract_size=size,
        step=Fraction(contract.lot) * size,
        min_quantity=Fraction(contract.min_quantity),
        min_notional=Fraction(contract.min_notional),
    )


@dataclass
class Position:
    """A position; ``entry`` has no meaning while flat, ``margin`` stays 0 under cross margin."""

    size: Fraction = ZERO
    entry: Fraction = ZERO
    margin: Fraction = ZERO
    bound: int | None = None  # highest bracket that may apply until the bar ends
    stepped: bool = False  # a partial liquidation was tried in this bar

    @property
    def side(self) -> int:
        return sign(self.size)


@dataclass
class Order:
    """A decided target on its way."""

    order_id: int
    symbol: int
    target: Fraction
    decision_time: int
    due_time: int
    waited: int = 0


@dataclass
class Book:
    """Everything that changes during a replay."""

    case: Case
    rules: list[Rules]
    tables: list[list[Table]]
    positions: list[Position]
    wallet: Fraction
    outcome: Outcome = field(default_factory=Outcome)
    bar: int = 0
    waiting: dict[int, Order] = field(default_factory=dict)
    taken_over: set[int] = field(default_factory=set)  # symbols, in this bar

    @classmethod
    def opened(cls, case: Case) -> Book:
        """Return the book before the first bar."""
        book = cls(
            case=case,
            rules=[exact_rules(c) for c in case.contracts],
            tables=tables_by_bar(case),
            positions=[Position() for _ in case.contracts],
            wallet=Fraction(case.settings.balance),
        )
        book.outcome.counts = {"bars_waited": 0, "disputed_bars": 0, "coarse_unchecked": 0}
        return book

    # -- money ---------------------------------------------------------------------------------------------------

    @property
    def free_wallet(self) -> Fraction:
        return self.wallet - sum((p.margin for p in self.positions), ZERO)

    def held(self) -> list[int]:
        return [i for i, p in enumerate(self.positions) if p.size != 0]

    def isolated_held(self) -> list[int]:
        return [i for i in self.held() if self.rules[i].isolated]

    def cross_held(self) -> list[int]:
        return [i for i in self.held() if not self.rules[i].isolated]

    def unrealised(self, i: int, mark: Fraction) -> Fraction:
        position = self.positions[i]
        return self.rules[i].kind.profit(position.size, position.entry, mark)

    def notional(self, i: int, price: Fraction) -> Fraction:
        return abs(self.positions[i].size) * self.rules[i].kind.worth(price)

    def equity(self, marks: dict[int, Fraction]) -> Fraction:
        return self.wallet + sum((self.unrealised(i, marks[i]) for i in self.held()), ZERO)

    # -- what the venue requires ---------------------------------------------------------------------------------

    def measure(self, i: int, size: Fraction, mark: Fraction) -> Fraction:
        """Return what chooses the bracket: contracts, or notional at mark or at entry."""
        rules = self.rules[i]
        if self.tables[i][self.bar].counts_contracts:
            return abs(size) / rules.contract_size
        at = self.positions[i].entry if self.case.settings.mmr_basis == "entry" else mark
        return abs(size) * rules.kind.worth(at)

    def tier(self, i: int, mark: Fraction, size: Fraction | None = None) -> int:
        """Return the bracket that applies to a position, or to what would remain of it."""
        position = self.positions[i]
        found = self.tables[i][self.bar].bracket_of(self.measure(i, position.size if size is None else size, mark))
        return found if position.bound is None else min(found, position.bound)

    def requirement(
        self,
        i: int,
        mark: Fraction,
        *,
        tier: int | None = None,
        size: Fraction | None = None,
        close_fee: bool = True,
    ) -> Fraction:
        """Return the balance at or below which a position is liquidated (without ``close_fee``: as displayed)."""
        settings, rules, position = self.case.settings, self.rules[i], self.positions[i]
        quantity = abs(position.size if size is None else size)
        bracket = self.tables[i][self.bar].brackets[self.tier(i, mark, size) if tier is None else tier]
        rate = bracket.rate + bracket.slope * quantity / rules.contract_size
        by_entry = settings.mmr_basis == "entry"
        required = quantity * rules.kind.worth(position.entry if by_entry else mark) * rate - bracket.deduction
        if not close_fee:
            return required
        fee = Fraction(settings.close_fee)
        if settings.close_fee_basis == "bankruptcy":
            worth = rules.kind.margin_exhausted(position.side, position.entry, rules.leverage)
            return required + quantity * worth * fee
        return required + quantity * rules.kind.worth(mark) * fee

    # -- rows ----------------------------------------------------------------------------------------------------

    def post(self, time: int, i: int, kind: str, amount: Fraction) -> None:
        """Change the wallet and write the ledger row."""
        if amount == 0:
            return
        self.wallet += amount
        self.outcome.ledger.append(
            {"time": time, "bar": self.bar, "symbol": i, "kind": kind, "amount": amount, "wallet_balance": self.wallet}
        )

    def write_fill(
        self, time: int, i: int, signed: Fraction, price: Fraction, reference: Fraction, **more: Any
    ) -> None:
        """Write a fill's row; ``more`` brings what the caller alone knows."""
        kind = self.rules[i].kind
        self.outcome.fills.append(
            {
                "time": time,
                "bar": self.bar,
                "symbol": i,
                "side": "buy" if signed > 0 else "sell",
                "quantity": abs(signed),
                "price": price,
                "notional": abs(signed) * kind.worth(price),
                "slippage_paid": abs(kind.profit(signed, reference, price)),
                "liquidity": "taker",
                **more,
            }
        )

    def finish_order(self, order: Order, time: int, status: str, reason: str, **sizes: Fraction) -> None:
        """Write what became of an order."""
        self.outcome.orders.append(
            {
                "order_id": order.order_id,
                "symbol": order.symbol,
                "decision_time": order.decision_time,
                "due_time": order.due_time,
                "end_time": time,
                "target": order.target,
                "wanted_quantity": sizes.get("wanted"),
                "filled_quantity": sizes.get("filled", ZERO),
                "status": status,
                "reason": reason,
                "bars_waited": order.waited,
            }
        )
