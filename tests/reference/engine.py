"""The liquidation engine: steps down, then the takeover."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tests.reference.book import ZERO, Book, Position
from tests.reference.costs import slippage
from tests.reference.fills import after_close
from tests.reference.groups import Group
from tests.reference.moment import Moment
from tests.reference.prices import shortened, slipped
from tests.reference.remainder import Excess, largest_passing_size, size_below_floor
from tests.reference.spot import sell_collateral

# A fee cut to the balance leaves nothing: rounding must not decide whether that is more than zero.
NOTHING_LEFT = Fraction(1e-12)


def engine_prices(book: Book, i: int, moment: Moment) -> tuple[Fraction, Fraction]:
    """Return the engine's reference price and the price at which it closes."""
    side = book.positions[i].side
    reference = moment.marks[i]
    if book.case.settings.engine_price == "trade":
        reference = min(reference, moment.trades[i]) if side > 0 else max(reference, moment.trades[i])
    return reference, slipped(reference, -side, slippage(book, i, abs(book.positions[i].size), reference))


def liquidate(group: Group, moment: Moment) -> None:
    """Step down or take over until the group passes its test or is gone."""
    if not group.fails(moment.marks):
        return
    book = group.book
    waiting = [book.waiting.pop(i) for i in group.slots() if i in book.waiting]
    book.cancel([*waiting, *(o for o in book.live if o.slot in group.slots())], moment.time, "liquidation")
    if group.isolated is None:
        sell_collateral(book, moment)
    while group.fails(moment.marks):
        if not step_down(group, moment):
            take_over(group, moment)
    book.touched.update(group.members())


# -- the story of a row ------------------------------------------------------------------------------------------


def own_share(group: Group, i: int, moment: Moment) -> Fraction:
    """Return the part of the group's balance that stands behind one of its positions."""
    balance, required = group.balance(moment.marks), group.required(moment.marks)
    if group.isolated is not None:
        return balance
    if required == 0:
        return balance / len(group.members())
    return balance * group.book.requirement(i, moment.marks[i]) / required


def story(group: Group, i: int, moment: Moment) -> dict[str, Any]:
    """Return what the test saw just before a row."""
    book, position = group.book, group.book.positions[i]
    mark = moment.marks[i]
    return {
        "time": moment.time,
        "bar": book.bar,
        "symbol": book.slots[i].symbol,
        "position_side": "long" if position.side > 0 else "short",
        "entry_price": position.entry,
        "trigger_price": mark,
        "bankruptcy_price": book.rules[i].kind.bankrupt_at(position.size, mark, own_share(group, i, moment)),
        "margin_balance": group.balance(moment.marks),
        "requirement": group.required(moment.marks),
        "tier": book.tier(i, mark),
        "disputed": moment.disputed and group.isolated is None,
    }


def write_engine_fill(
    book: Book, i: int, closed: Fraction, moment: Moment, realised: Fraction, reason: str
) -> Fraction:
    """Write the fill that closes part of a position and return its price."""
    reference, price = engine_prices(book, i, moment)
    side = "long" if book.positions[i].side > 0 else "short"
    book.write_fill(
        moment.time,
        i,
        -closed * book.positions[i].side,
        price,
        reference,
        order_id=-1,
        position_side=side,
        fee_paid=ZERO,
        realized_pnl=realised,
        reason=reason,
    )
    return price


# -- steps -------------------------------------------------------------------------------------------------------


def step_candidate(group: Group, moment: Moment) -> int | None:
    """Return the position that would be stepped down, None when there is none or the rules forbid it."""
    book, settings = group.book, group.book.case.settings
    balance = group.balance(moment.marks)
    if settings.step == "none" or balance <= NOTHING_LEFT * Fraction(settings.balance):
        return None
    lowest = max(1, settings.step_from_tier - 1)
    once = settings.step_once or settings.step == "restore"
    able = [
        i
        for i in group.members()
        if book.tier(i, moment.marks[i]) >= lowest and not (once and book.positions[i].stepped)
    ]
    if not able:
        return None
    chosen = max(able, key=lambda i: (book.requirement(i, moment.marks[i]), -i))
    if settings.step_above_first:
        others = group.required(moment.marks) - book.requirement(chosen, moment.marks[chosen])
        if balance <= others + book.requirement(chosen, moment.marks[chosen], tier=0):
            return None
    return chosen


def step_down(group: Group, moment: Moment) -> bool:
    """Close part of one position if the venue's steps allow it."""
    book, settings = group.book, group.book.case.settings
    i = step_candidate(group, moment)
    if i is None:
        return False
    position, rules, mark = book.positions[i], book.rules[i], moment.marks[i]
    _, price = engine_prices(book, i, moment)
    fee_rate = Fraction(settings.liquidation_fee)
    balance = group.balance(moment.marks)

    def balance_with(remaining: Fraction) -> Fraction:
        closed = abs(position.size) - remaining
        after = balance + rules.kind.profit(closed * position.side, mark, price)
        return after - min(closed * rules.kind.worth(price) * fee_rate, max(ZERO, after))

    def excess_with(remaining: Fraction, tier: int) -> Fraction:
        others = other_requirements(group, i, moment, tier)
        return balance_with(remaining) - others - book.requirement(i, mark, tier=tier, size=remaining)

    if settings.step == "tier":
        choice = tier_step(book, i, mark, excess_with)
    else:
        choice = largest_passing_size(book, i, mark, excess_with)
    if choice is None:
        return False
    remaining, bound = choice
    closed = abs(position.size) - remaining
    row = story(group, i, moment)
    realised = shortened(rules.kind.profit(closed * position.side, position.entry, price))
    after = balance + rules.kind.profit(closed * position.side, mark, price)
    fee = shortened(min(closed * rules.kind.worth(price) * fee_rate, max(ZERO, after)))
    write_engine_fill(book, i, closed, moment, realised, "liquidation_step")
    book.post(moment.time, i, "realized_pnl", realised)
    book.post(moment.time, i, "liquidation_fee", -fee)
    book.outcome.liquidations.append(
        row
        | {
            "kind": "step",
            "quantity": closed,
            "execution_price": price,
            "margin_lost": fee - realised,
            "liquidation_fee": fee,
            "insurance_flow": fee,
        }
    )
    position.size -= closed * position.side
    if rules.isolated:
        position.margin += realised - fee
    position.bound = bound
    position.stepped = True
    return True


def other_requirements(group: Group, i: int, moment: Moment, tier: int) -> Fraction:
    """Return what the rest of a group requires once a position is in a bracket, which its other leg may share."""
    book, twin, total = group.book, group.book.twin(i), ZERO
    for j in group.members():
        if j == i:
            continue
        shared = None
        if j == twin:
            bound = book.positions[j].bound
            shared = tier if bound is None else min(tier, bound)
        total += book.requirement(j, moment.marks[j], tier=shared)
    return total


def tier_step(book: Book, i: int, mark: Fraction, excess: Excess) -> tuple[Fraction, int] | None:
    """Return the size that remains after a step to a lower bracket, and that bracket."""
    settings = book.case.settings
    tier = book.tier(i, mark)
    targets = [max(0, tier - settings.step_tiers)] if settings.step_tiers else range(tier - 1, -1, -1)
    for target in targets:
        remaining = size_below_floor(book, i, mark, target + 1)
        if remaining <= 0:
            continue
        if settings.step_tiers or excess(remaining, min(target, book.tier(i, mark, remaining))) > 0:
            return remaining, target
    return None


# -- takeover ----------------------------------------------------------------------------------------------------


def take_over(group: Group, moment: Moment) -> None:
    """Take the group's positions from the trader."""
    if group.book.case.settings.takeover == "bankruptcy":
        surrender(group, moment)
    else:
        sell_out(group, moment)


def surrender(group: Group, moment: Moment) -> None:
    """Hand over the positions with all of the margin balance; the engine closes them for the fund."""
    book = group.book
    rows = {i: story(group, i, moment) for i in group.members()}
    shares = {i: own_share(group, i, moment) for i in rows}
    for i, row in rows.items():
        position, kind = book.positions[i], book.rules[i].kind
        realised = shortened(book.unrealised(i, moment.marks[i]))
        price = write_engine_fill(book, i, abs(position.size), moment, realised, "liquidation")
        book.post(moment.time, i, "realized_pnl", realised)
        last_of_cross = group.isolated is None and group.members() == [i]
        share = shortened(shares[i])
        if group.isolated is not None:
            share = position.margin + realised
        elif last_of_cross:
            share = book.free_wallet
        book.post(moment.time, i, "insurance_clearance", -share)
        book.outcome.liquidations.append(
            row
            | {
                "kind": "takeover",
                "quantity": abs(position.size),
                "execution_price": price,
                "margin_lost": share - realised,
                "liquidation_fee": ZERO,
                "insurance_flow": kind.profit(position.size, moment.marks[i], price) + share,
            }
        )
        forget(book, i, moment.time)


def sell_out(group: Group, moment: Moment) -> None:
    """Close positions at the market for the trader, the largest requirement first, until the rest is safe."""
    book = group.book
    while group.fails(moment.marks):
        i = max(group.members(), key=lambda j: (book.requirement(j, moment.marks[j]), -j))
        row, position, kind = story(group, i, moment), book.positions[i], book.rules[i].kind
        balance = group.balance(moment.marks)
        _, price = engine_prices(book, i, moment)
        realised = shortened(kind.profit(position.size, position.entry, price))
        left = balance + kind.profit(position.size, moment.marks[i], price)
        rate = Fraction(book.case.settings.liquidation_fee)
        fee = shortened(min(abs(position.size) * kind.worth(price) * rate, max(ZERO, left)))
        alone = group.members() == [i]
        own = book.free_wallet if group.isolated is None else position.margin
        clearance = max(ZERO, -(own + realised - fee)) if alone else ZERO
        write_engine_fill(book, i, abs(position.size), moment, realised, "liquidation")
        book.post(moment.time, i, "realized_pnl", realised)
        book.post(moment.time, i, "liquidation_fee", -fee)
        book.post(moment.time, i, "insurance_clearance", clearance)
        book.outcome.liquidations.append(
            row
            | {
                "kind": "takeover",
                "quantity": abs(position.size),
                "execution_price": price,
                "margin_lost": fee - realised - clearance,
                "liquidation_fee": fee,
                "insurance_flow": fee - clearance,
            }
        )
        forget(book, i, moment.time)


def forget(book: Book, i: int, time: int) -> None:
    """Leave a position that the engine has taken."""
    stepped = book.positions[i].stepped
    book.positions[i] = Position(stepped=stepped)
    book.taken_over.add(i)
    after_close(book, i, "liquidation", time)
