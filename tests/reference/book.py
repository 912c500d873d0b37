"""The state of a reference replay: contracts in exact numbers, positions, orders, wallet, and the rows so far.

Positions, rules, tables and prices are numbered by slot; rows carry the contract's number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tests.reference.brackets import Table, tables_by_bar
from tests.reference.case import Case, Contract, Outcome
from tests.reference.prices import Kind, sign
from tests.reference.slots import Slot, slots_of
from tests.reference.terms import Terms

ZERO = Fraction(0)
REJECTING = {"margin", "tier_cap", "debt", "limit", "cooldown", "inactive", "post_only", "no_stop", "drawdown"}


@dataclass(frozen=True)
class Rules:
    """One contract's rules in exact numbers."""

    kind: Kind
    is_spot: bool
    isolated: bool
    taker: Fraction
    maker: Fraction
    slippage: Fraction
    contract_size: Fraction
    step: Fraction
    tick: Fraction
    min_quantity: Fraction
    min_notional: Fraction
    counts: Fraction | None  # the part of a spot holding's worth that backs cross positions


def exact_rules(contract: Contract) -> Rules:
    """Convert a contract's rules."""
    size, is_spot = Fraction(contract.contract_size), contract.kind == "spot"
    return Rules(
        kind=Kind(contract.kind == "inverse"),
        is_spot=is_spot,
        isolated=is_spot or contract.margin_mode == "isolated",
        taker=Fraction(contract.taker_fee),
        maker=Fraction(contract.maker_fee),
        slippage=Fraction(contract.slippage),
        contract_size=size,
        step=Fraction(contract.lot) * size,
        tick=Fraction(contract.tick),
        min_quantity=Fraction(contract.min_quantity),
        min_notional=Fraction(contract.min_notional),
        counts=None if contract.haircut is None else 1 - Fraction(contract.haircut),
    )


@dataclass
class Position:
    """A position; ``entry`` has no meaning while flat, ``margin`` stays 0 under cross margin."""

    size: Fraction = ZERO
    entry: Fraction = ZERO
    margin: Fraction = ZERO
    leverage: Fraction = Fraction(1)  # of its last increase
    opened: int = 0  # open of the bar in which it was opened
    base: Fraction = ZERO  # size at the last increase
    taken: set[int] = field(default_factory=set)  # take-profit rungs that have filled since
    of_base: dict[int, Fraction] = field(default_factory=dict)  # units that each rung has closed since
    bound: int | None = None  # highest bracket that may apply until the bar ends
    stepped: bool = False  # a partial liquidation was tried in this bar

    @property
    def side(self) -> int:
        return sign(self.size)


@dataclass(eq=False)
class Order:
    """An order on its way; ``left`` is the signed quantity that is still to be filled."""

    slot: int
    kind: str
    origin: str
    decision_time: int
    due_time: int
    number: int = -1
    target: Fraction | None = None
    request: int = -1
    wanted: Fraction | None = None
    left: Fraction = ZERO
    filled: Fraction = ZERO
    limit: Fraction | None = None
    trigger: Fraction | None = None
    watches: str = "last"
    distance: Fraction | None = None
    fraction: Fraction | None = None
    reduce_only: bool = False
    post_only: bool = False
    group: int = 0
    expires: int | None = None
    attached: str = ""  # "stop_loss", "trailing_stop" or "take_profit"
    rung: int = 0
    best: Fraction | None = None
    triggered: bool = False
    is_new: bool = True
    waited: int = 0
    rungs: tuple[tuple[float, float], ...] = ()

    @property
    def side(self) -> int:
        return sign(self.left)

    @property
    def is_limit(self) -> bool:
        """Tell whether it waits for its limit price now."""
        return self.kind == "limit" or (self.triggered and self.limit is not None)


@dataclass
class Book:
    """Everything that changes during a replay."""

    case: Case
    slots: list[Slot]
    rules: list[Rules]
    tables: list[list[Table]]
    positions: list[Position]
    terms: list[Terms]
    wallet: Fraction
    peak: Fraction
    outcome: Outcome = field(default_factory=Outcome)
    bar: int = 0
    waiting: dict[int, Order] = field(default_factory=dict)  # targets at the market, by slot
    live: list[Order] = field(default_factory=list)  # all others, by number
    placed: int = 0
    has_ended: bool = False  # trading: nothing is attached any more
    taken_over: set[int] = field(default_factory=set)  # slots, in this bar
    left_flat: set[int] = field(default_factory=set)  # slots closed in this bar by what a strategy must not undo
    touched: set[int] = field(default_factory=set)  # slots whose attached orders have to be looked at
    closed_at: dict[int, int] = field(default_factory=dict)  # open of the bar in which a slot was last closed
    volume_left: dict[int, Fraction] = field(default_factory=dict)  # by symbol, for limit orders in this bar
    traded: dict[int, Fraction] = field(default_factory=dict)  # notional of own fills by UTC day
    period: tuple[Fraction, int] = (ZERO, 0)  # equity after the last clawback, and the ledger's rows by then

    @classmethod
    def opened(cls, case: Case) -> Book:
        """Return the book before the first bar."""
        slots, rules, tables = slots_of(case), [exact_rules(c) for c in case.contracts], tables_by_bar(case)
        book = cls(
            case=case,
            slots=slots,
            rules=[rules[s.symbol] for s in slots],
            tables=[tables[s.symbol] for s in slots],
            positions=[Position() for _ in slots],
            terms=[Terms(Fraction(1) if s.is_spot else Fraction(case.contracts[s.symbol].leverage)) for s in slots],
            wallet=Fraction(case.settings.balance),
            peak=Fraction(case.settings.balance),
            period=(Fraction(case.settings.balance), 0),
        )
        book.outcome.counts = dict.fromkeys(("bars_waited", "disputed_bars", "coarse_unchecked", "transfers_cut"), 0)
        return book

    @property
    def open_time(self) -> int:
        return self.case.open_time[self.bar]

    @property
    def signal_ms(self) -> int:
        return self.case.bar_ms * self.case.signal_bars

    def leverage(self, i: int) -> Fraction:
        """Return the leverage that an opening has now."""
        return self.terms[i].current_leverage(self.rules[i].is_spot)

    # -- money ---------------------------------------------------------------------------------------------------

    @property
    def free_wallet(self) -> Fraction:
        return self.wallet - sum((p.margin for p in self.positions), ZERO)

    def held(self) -> list[int]:
        return [i for i, p in enumerate(self.positions) if p.size != 0]

    def isolated_held(self) -> list[int]:
        return [i for i in self.held() if self.rules[i].isolated and not self.rules[i].is_spot]

    def cross_held(self) -> list[int]:
        return [i for i in self.held() if not self.rules[i].isolated]

    def collateral_held(self) -> list[int]:
        return [i for i in self.held() if self.rules[i].counts is not None]

    def collateral(self, marks: Mapping[int, Fraction]) -> Fraction:
        """Return what spot holdings add to the balance of cross positions."""
        worth = ZERO
        for i in self.collateral_held():
            counts = self.rules[i].counts
            assert counts is not None
            worth += counts * self.notional(i, marks[i])
        return worth

    def unrealised(self, i: int, mark: Fraction) -> Fraction:
        position = self.positions[i]
        return self.rules[i].kind.profit(position.size, position.entry, mark)

    def notional(self, i: int, price: Fraction) -> Fraction:
        return abs(self.positions[i].size) * self.rules[i].kind.worth(price)

    def equity(self, marks: Mapping[int, Fraction]) -> Fraction:
        return self.wallet + sum((self.unrealised(i, marks[i]) for i in self.held()), ZERO)

    def symbol_size(self, symbol: int) -> Fraction:
        """Return the net size of a symbol's legs."""
        return sum((p.size for p, s in zip(self.positions, self.slots, strict=True) if s.symbol == symbol), ZERO)

    # -- what the venue requires ---------------------------------------------------------------------------------

    def own_measure(self, i: int, size: Fraction, mark: Fraction) -> Fraction:
        """Return what a leg adds to the measure that chooses the bracket."""
        rules = self.rules[i]
        if self.tables[i][self.bar].counts_contracts:
            return abs(size) / rules.contract_size
        at = self.positions[i].entry if self.case.settings.mmr_basis == "entry" and self.positions[i].size else mark
        return abs(size) * rules.kind.worth(at)

    def twin(self, i: int) -> int | None:
        """Return the other leg where both together choose the bracket."""
        if self.case.settings.hedge_tier != "gross" or self.slots[i].leg == 0:
            return None
        return i + self.slots[i].leg

    def other_measure(self, i: int, mark: Fraction) -> Fraction:
        """Return what the other leg adds to the measure that chooses the bracket: its size, at this leg's price."""
        twin = self.twin(i)
        return ZERO if twin is None else self.own_measure(i, self.positions[twin].size, mark)

    def measure(self, i: int, size: Fraction, mark: Fraction) -> Fraction:
        """Return what chooses the bracket: contracts, or notional at mark or at entry."""
        return self.own_measure(i, size, mark) + self.other_measure(i, mark)

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
        if rules.is_spot:
            return ZERO
        quantity = abs(position.size if size is None else size)
        bracket = self.tables[i][self.bar].brackets[self.tier(i, mark, size) if tier is None else tier]
        rate = bracket.rate + bracket.slope * quantity / rules.contract_size
        by_entry = settings.mmr_basis == "entry"
        required = quantity * rules.kind.worth(position.entry if by_entry else mark) * rate - bracket.deduction
        if not close_fee:
            return required
        fee = Fraction(settings.close_fee)
        if settings.close_fee_basis == "bankruptcy":
            worth = rules.kind.margin_exhausted(position.side, position.entry, position.leverage)
            return required + quantity * worth * fee
        return required + quantity * rules.kind.worth(mark) * fee

    # -- rows ----------------------------------------------------------------------------------------------------

    def post(self, time: int, i: int, kind: str, amount: Fraction) -> None:
        """Change the wallet and write the ledger row; ``i`` is a slot, -1 the whole account."""
        if amount == 0:
            return
        self.wallet += amount
        self.outcome.ledger.append(
            {
                "time": time,
                "bar": self.bar,
                "symbol": i if i < 0 else self.slots[i].symbol,
                "kind": kind,
                "amount": amount,
                "wallet_balance": self.wallet,
            }
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
                "symbol": self.slots[i].symbol,
                "side": "buy" if signed > 0 else "sell",
                "quantity": abs(signed),
                "price": price,
                "notional": abs(signed) * kind.worth(price),
                "slippage_paid": abs(kind.profit(signed, reference, price)),
                "liquidity": "taker",
                **more,
            }
        )

    # -- orders --------------------------------------------------------------------------------------------------

    def number(self, order: Order) -> Order:
        """Give an order the next number."""
        order.number = self.placed
        self.placed += 1
        return order

    def place(self, order: Order) -> None:
        """Let an order rest."""
        self.live.append(self.number(order))

    def put_back(self, order: Order) -> None:
        """Let an order that was taken in hand rest again, in its old place."""
        self.live.append(order)
        self.live.sort(key=lambda o: o.number)

    def finish(self, order: Order, time: int, status: str, reason: str) -> None:
        """Write what became of an order and forget it."""
        if order in self.live:
            self.live.remove(order)
        self.outcome.orders.append(
            {
                "order_id": order.number,
                "symbol": self.slots[order.slot].symbol,
                "position_side": self.slots[order.slot].shown_side,
                "kind": order.kind,
                "origin": order.origin,
                "request": order.request,
                "decision_time": order.decision_time,
                "due_time": order.due_time,
                "end_time": time,
                "target": order.target,
                "wanted_quantity": order.wanted,
                "filled_quantity": order.filled,
                "limit_price": order.limit,
                "trigger_price": None if order.kind == "trailing_stop" else order.trigger,
                "status": status,
                "reason": reason,
                "bars_waited": order.waited,
            }
        )

    def cancel(self, orders: list[Order], time: int, reason: str) -> None:
        """Cancel several orders."""
        for order in orders:
            self.finish(order, time, "cancelled", reason)
