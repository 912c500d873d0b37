"""The engine: takes over what fails, sells what the market takes, deleverages what the fund cannot bear."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from tests.reference.clearing_accounts import Account
from tests.reference.clearing_queue import SCORES, order_of
from tests.reference.clearing_state import ONE, ZERO, State
from tests.reference.prices import shortened, sign
from tests.reference.remainder import _largest_multiple, _supremum

DUST = Fraction(1, 10**12)  # of all the money: stored amounts are cut, and what is that little is nothing
CRUMB = 1 - Fraction(1, 10**9)  # without a lot, sizes stay this far below a bound


def treat(state: State, account: Account, group: tuple[int, ...]) -> None:
    """Step a group down or take it over until it passes its test or is gone; then sell what the engine got."""
    own = {h.contract for h in state.case.traders[account.number].held}
    touched = set(group) if account.isolated else own
    while True:
        group = tuple(i for i in group if i in account.holdings)
        if not group or not account.fails(group, state.marks):
            break
        if step_down(state, account, group):
            continue
        if state.case.venue.takeover == "bankruptcy":
            surrender(state, account, group)
        else:
            sell_out(state, account, group)
        break
    for i in sorted(touched):
        work_off(state, i)


# -- takeover ----------------------------------------------------------------------------------------------------------


def surrender(state: State, account: Account, group: tuple[int, ...]) -> None:
    """Hand all positions of a group over to the engine, with all of the balance."""
    marks = state.marks
    shares = {i: account.share_of_balance(i, group, marks) for i in group}
    for i in group:
        take_in(state, account, i, shares[i])


def take_in(state: State, account: Account, i: int, share: Fraction) -> None:
    """Move one position to the engine at the price at which its share of the balance is gone."""
    h, mark = account.holdings.pop(i), state.marks[i]
    realised = state.terms[i].kind.profit(h.size, h.entry, mark)
    if not account.isolated:
        account.free = shortened(account.free + realised - share)
    else:  # the margin with the profit is the share
        assert h.margin + realised == share
    paid = shortened(state.terms[i].paid(h.size, mark) - share)
    state.write(
        "takeover", i, account=account.number, size=h.size, trigger=mark, realized=realised, lost=share,
        bankruptcy_price=state.price_of(i, h.size, paid),
    )  # fmt: skip
    state.to_fund(i, state.engine[i].take(h.size, paid))


def sell_out(state: State, account: Account, group: tuple[int, ...]) -> None:
    """Close positions for the account at the mark, the largest requirement first, until the rest is safe."""
    marks = state.marks
    while group and account.fails(group, marks):
        i = max(group, key=lambda j: (account.requirement(j, marks), -j))
        size = account.holdings[i].size
        realised, fee = close_for_account(state, account, i, size, group)
        cover = ZERO
        if len(group) == 1:
            if account.isolated:
                cover = max(ZERO, -account.holdings[i].margin)
                account.free += account.holdings[i].margin + cover
            else:
                cover = max(ZERO, -account.free)
                account.free += cover
        account.free = shortened(account.free)
        del account.holdings[i]
        state.write(
            "market", i, account=account.number, size=size, trigger=marks[i], realized=realised, fee=fee, cover=cover
        )
        state.to_fund(i, fee - cover)
        group = tuple(j for j in group if j != i)


def close_for_account(
    state: State, account: Account, i: int, part: Fraction, group: tuple[int, ...]
) -> tuple[Fraction, Fraction]:
    """Hand a part to the engine at the mark; profit and fee stay with what backs the position."""
    marks, h, terms = state.marks, account.holdings[i], state.terms[i]
    fee_rate = Fraction(state.case.venue.liquidation_fee)
    fee = shortened(closing_fee(terms.notional(part, marks[i]), account.balance(group, marks), fee_rate))
    realised = shortened(terms.kind.profit(part, h.entry, marks[i]))
    if account.isolated:
        h.margin += realised - fee
    else:
        account.free += realised - fee
    h.size -= part
    state.to_fund(i, state.engine[i].take(part, terms.paid(part, marks[i])))
    return realised, fee


def closing_fee(notional: Fraction, left: Fraction, rate: Fraction) -> Fraction:
    """Return the liquidation fee, never more than what is left."""
    return min(notional * rate, max(ZERO, left))


# -- the inventory -----------------------------------------------------------------------------------------------------


def work_off(state: State, i: int) -> None:
    """Sell the inventory of a contract as far as the market and, before a deleveraging, the fund go."""
    trunk, venue = state.engine[i], state.case.venue
    fund = state.funds[state.fund_of(i)]
    if trunk.size == 0 or (venue.deleverages and fund.active):
        return
    offered = state.market_takes(i, trunk.size)
    if offered == 0:
        return
    price = state.sale_price(i, offered)
    part = offered
    if venue.deleverages and venue.exhausted:
        result = state.terms[i].paid(offered, price) - trunk.paid * offered / trunk.size
        if result < 0:  # each unit costs the same: as many as the fund can pay
            part = shortened(offered * min(ONE, max(ZERO, fund.able) / -result))
    if part != 0:
        sell_inventory(state, i, part, price)


def sell_inventory(state: State, i: int, part: Fraction, price: Fraction) -> None:
    """Sell a part of the inventory at a price; the result is the fund's."""
    trunk = state.engine[i]
    cost = trunk.paid * part / trunk.size
    result = shortened(state.terms[i].paid(part, price) - cost)
    state.sell(i, part, price)
    trunk.paid = shortened(trunk.paid - cost) if part != trunk.size else ZERO
    trunk.size = shortened(trunk.size - part)
    state.write("sale", i, size=part, price=price, result=result)
    state.to_fund(i, result)


# -- the waterfall -----------------------------------------------------------------------------------------------------


def waterfall(state: State) -> bool:
    """Deleverage where a fund's trigger holds; tell whether anybody was."""
    if not state.case.venue.deleverages:
        return False
    any_given = False
    for number, fund in enumerate(state.funds):
        fund.active = trigger_holds(state, number)
        if fund.active:
            for i in state.contracts_of(number):
                if state.engine[i].size != 0:
                    any_given = deleverage(state, i) or any_given
    return any_given


def trigger_holds(state: State, number: int) -> bool:
    """Tell whether a fund is exhausted, or has fallen from the highest close of the last hours."""
    venue, worth = state.case.venue, state.worth_of(number)
    if venue.exhausted and worth < -DUST * state.money_at_start:
        return True
    if venue.drawdown == 0:
        return False
    since = state.case.open_time[state.bar] - int(venue.drawdown_hours * 3_600_000)
    peak = max((w for time, w in state.funds[number].closes if time >= since), default=ZERO)
    return peak > 0 and worth <= (1 - Fraction(venue.drawdown)) * peak


# -- deleveraging ------------------------------------------------------------------------------------------------------


def deleveraging_price(state: State, i: int) -> Fraction:
    """Return the price at which accounts are closed against the engine."""
    trunk, venue, mark = state.engine[i], state.case.venue, state.marks[i]
    if venue.deleverage_price == "mark":
        return mark
    if venue.deleverage_price == "previous_mark":
        return state.previous[i]
    price = state.price_of(i, trunk.size, trunk.paid)
    band = Fraction(venue.bankruptcy_band)
    if price is None or (band and abs(price - mark) > band * mark):
        return mark
    return price


def bears(state: State, account: Account, i: int, amount: Fraction, price: Fraction) -> bool:
    """Tell whether an account's balance stays at or above zero when it closes an amount at a price.

    What an isolated position gives takes its margin along in proportion, so that there the whole position is asked.
    """
    h, marks, kind = account.holdings[i], state.marks, state.terms[i].kind
    part = h.size if account.isolated else sign(h.size) * amount
    return account.balance(account.group_of(i), marks) + kind.profit(part, marks[i], price) >= 0


def queue_of(state: State, i: int, side: int) -> list[Account]:
    """Return the accounts that hold a side of a contract, from the top of the queue down."""
    score, marks = SCORES[state.case.venue.ranking], state.marks
    scores = {}
    for account in state.accounts:
        if i not in account.holdings or sign(account.holdings[i].size) != side:
            continue
        if account.balance(account.group_of(i), marks) > 0:
            scores[account.number] = score(account.standing(i, marks))
    return [state.accounts[n] for n in order_of(scores)]


def deleverage(state: State, i: int) -> bool:
    """Close the engine's inventory against the queue; tell whether anybody was there."""
    trunk, price = state.engine[i], deleveraging_price(state, i)
    side, marks, kind = sign(trunk.size), state.marks, state.terms[i].kind
    queue = queue_of(state, i, -side)
    any_given = False
    for account in queue:
        amount = min(abs(trunk.size), abs(account.holdings[i].size))
        if amount == 0:
            break
        if not bears(state, account, i, amount, price):
            continue
        any_given = True
        part = -side * amount
        at_mark = kind.profit(part, account.holdings[i].entry, marks[i])
        total = account.close(i, part, price)
        cost = trunk.paid * (-part) / trunk.size
        result = shortened(state.terms[i].paid(-part, price) - cost)
        trunk.size, trunk.paid = shortened(trunk.size + part), shortened(trunk.paid - cost)
        if trunk.size == 0:
            trunk.paid = ZERO
        state.write(
            "deleverage", i, account=account.number, size=part, price=price, mark=marks[i], realized=at_mark,
            deleveraged=total - at_mark, result=result,
        )  # fmt: skip
        state.to_fund(i, result)
    return any_given


# -- steps -------------------------------------------------------------------------------------------------------------


def step_down(state: State, account: Account, group: tuple[int, ...]) -> bool:
    """Let the engine close a part of one position for the account, where the venue does."""
    venue, marks = state.case.venue, state.marks
    if venue.step == "none" or account.balance(group, marks) <= 0:
        return False
    once = venue.step_once or venue.step == "restore"
    lowest = max(1, venue.step_from_tier - 1)
    able = [i for i in group if account.bracket(i, marks[i]) >= lowest and not (once and account.holdings[i].stepped)]
    if not able:
        return False
    i = max(able, key=lambda j: (account.requirement(j, marks), -j))
    h = account.holdings[i]
    others = account.required(group, marks) - account.requirement(i, marks)
    balance = account.balance(group, marks)
    if venue.step_above_first and balance <= others + account.needs(i, marks[i], 0):
        return False
    found = step_target(state, account, i, balance, others)
    if found is None:
        return False
    remaining, bound = found
    closed = abs(h.size) - remaining
    side = sign(h.size)
    realised, fee = close_for_account(state, account, i, side * closed, group)
    h.bound, h.stepped = bound, True
    state.write("step", i, account=account.number, size=side * closed, trigger=marks[i], realized=realised, fee=fee)
    state.to_fund(i, fee)
    return True


def step_target(
    state: State, account: Account, i: int, balance: Fraction, others: Fraction
) -> tuple[Fraction, int] | None:
    """Return the size that remains after a step and the bracket that binds it."""
    venue, terms, mark, h = state.case.venue, state.terms[i], state.marks[i], account.holdings[i]

    def excess(remaining: Fraction, bracket: int) -> Fraction:
        fee = closing_fee(terms.notional(abs(h.size) - remaining, mark), balance, Fraction(venue.liquidation_fee))
        return balance - fee - others - account.needs(i, mark, bracket, remaining)

    if venue.step == "tier":
        bracket = account.bracket(i, mark)
        targets = [max(0, bracket - venue.step_tiers)] if venue.step_tiers else list(range(bracket - 1, -1, -1))
        for target in targets:
            remaining = below_floor(account, i, mark, target + 1)
            if remaining <= 0:
                continue
            if venue.step_tiers or excess(remaining, min(target, account.bracket(i, mark, remaining))) > 0:
                return remaining, target
        return None
    return restoring(account, i, mark, excess)


def restoring(
    account: Account, i: int, mark: Fraction, excess: Callable[[Fraction, int], Fraction]
) -> tuple[Fraction, int] | None:
    """Return the largest remaining size with a positive excess; found bracket by bracket, from the top."""
    h, terms, unit = account.holdings[i], account.terms[i], account.measure_of_one(i, mark)
    rows, lot, held = terms.table.brackets, terms.lot, abs(account.holdings[i].size)
    for k in range(terms.table.bracket_of(held * unit), -1, -1):
        bracket = k if h.bound is None else min(k, h.bound)
        low, high, below = rows[k].floor / unit, held, held * CRUMB
        if k + 1 < len(rows):
            high, below = min(held, rows[k + 1].floor / unit), min(below, rows[k + 1].floor / unit * CRUMB)

        def within(size: Fraction, bracket: int = bracket) -> Fraction:
            return excess(size, bracket)

        found = _largest_multiple(low, high, lot, within) if lot else _supremum(low, high, shortened(below), within)
        if found is not None:
            return found, (bracket if lot else account.bracket(i, mark, found))
    return None


def below_floor(account: Account, i: int, mark: Fraction, bracket: int) -> Fraction:
    """Return the largest size strictly below the floor of a bracket."""
    terms = account.terms[i]
    floor = terms.table.brackets[bracket].floor / account.measure_of_one(i, mark)
    return (math.ceil(floor / terms.lot) - 1) * terms.lot if terms.lot else shortened(floor * CRUMB)
