"""The engine: takes over what fails, sells what the market takes, deleverages what the fund cannot bear."""

from __future__ import annotations

import math
from fractions import Fraction

from tests.reference.clearing_accounts import Account
from tests.reference.clearing_queue import SCORES, hand_out, order_of
from tests.reference.clearing_state import ZERO, State
from tests.reference.prices import shortened, sign

HALVINGS = 200
CRUMB = 1 - Fraction(1, 10**9)  # without a lot, sizes stay this far below a bound


def treat(state: State, account: Account, group: tuple[int, ...]) -> None:
    """Step a group down or take it over until it passes its test or is gone."""
    while True:
        group = tuple(i for i in group if i in account.holdings)
        if not group or not account.fails(group, state.marks):
            return
        if step_down(state, account, group):
            continue
        if state.case.venue.takeover == "bankruptcy":
            surrender(state, account, group)
        else:
            sell_out(state, account, group)


# -- takeover ----------------------------------------------------------------------------------------------------------


def surrender(state: State, account: Account, group: tuple[int, ...]) -> None:
    """Hand all positions of a group over to the engine, with all of the balance."""
    marks = state.marks
    shares = {i: account.share_of_balance(i, group, marks) for i in group}
    for i in group:
        take_in(state, account, i, shares[i])
    for i in group:
        work_off(state, i)


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
    """Close positions at the market for the account, largest requirement first; the engine takes what does not sell."""
    marks = state.marks
    i = max(group, key=lambda j: (account.requirement(j, marks), -j))
    h = account.holdings[i]
    part = state.market_takes(i, h.size)
    if part != 0:
        sell_for_account(state, account, i, part, final=part == h.size)
    if i in account.holdings:
        group = tuple(j for j in group if j in account.holdings)
        take_in(state, account, i, account.share_of_balance(i, group, state.marks))
        work_off(state, i)


def sell_for_account(state: State, account: Account, i: int, part: Fraction, *, final: bool) -> None:
    """Close a part at the market: the fee is cut to what is left, what is missing at the end comes from the fund."""
    group, marks, h = account.group_of(i), state.marks, account.holdings[i]
    price = state.sell(i, part)
    kind = state.terms[i].kind
    left = account.balance(group, marks) + kind.profit(part, marks[i], price)
    fee = shortened(closing_fee(abs(part) * kind.worth(price), left, Fraction(state.case.venue.liquidation_fee)))
    entry = h.entry
    realised = kind.profit(part, entry, price)
    alone = len(group) == 1
    if account.isolated:
        h.margin += realised - fee
        h.size -= part
        cover = ZERO
        if h.size == 0:
            cover = max(ZERO, -h.margin)
            account.free += h.margin + cover
            del account.holdings[i]
    else:
        account.free += realised - fee
        h.size -= part
        if h.size == 0:
            del account.holdings[i]
        cover = max(ZERO, -account.free) if alone and final else ZERO
        account.free += cover
    account.free = shortened(account.free)
    state.write(
        "market", i, account=account.number, size=part, trigger=marks[i], price=price, realized=realised, fee=fee,
        cover=cover,
    )  # fmt: skip
    state.to_fund(i, fee - cover)


def closing_fee(notional: Fraction, left: Fraction, rate: Fraction) -> Fraction:
    """Return the liquidation fee, never more than what is left."""
    return min(notional * rate, max(ZERO, left))


# -- the inventory -----------------------------------------------------------------------------------------------------


def work_off(state: State, i: int) -> None:
    """Sell the inventory of a contract as far as market and fund go; deleverage when the venue's trigger says so."""
    trunk, venue = state.engine[i], state.case.venue
    if trunk.size == 0:
        return
    if not has_fallen(state, i):
        part = state.market_takes(i, trunk.size)
        if venue.remainder == "deleverage":
            part = bearable(state, i, part)
        if part != 0:
            sell_inventory(state, i, part)
    if trunk.size != 0 and venue.remainder == "deleverage" and (has_fallen(state, i) or is_exhausted(state, i)):
        deleverage(state, i)


def result_of_sale(state: State, i: int, part: Fraction) -> Fraction:
    """Return what the engine would earn by selling a part of its inventory."""
    trunk = state.engine[i]
    return state.terms[i].paid(part, state.sale_price(i, part)) - trunk.paid * part / trunk.size


def bearable(state: State, i: int, part: Fraction) -> Fraction:
    """Return how much of a part can be sold before the fund would fall below zero."""
    able = state.funds[state.fund_of(i)].able
    if part == 0 or able + result_of_sale(state, i, part) >= 0:
        return part
    if able < 0:
        return ZERO
    good, bad = ZERO, part
    for _ in range(HALVINGS):
        middle = (good + bad) / 2
        good, bad = (middle, bad) if able + result_of_sale(state, i, middle) >= 0 else (good, middle)
    return shortened(good)


def sell_inventory(state: State, i: int, part: Fraction) -> None:
    """Sell a part of the inventory; the result is the fund's."""
    trunk, result = state.engine[i], shortened(result_of_sale(state, i, part))
    cost = trunk.paid * part / trunk.size
    price = state.sell(i, part)
    trunk.size, trunk.paid = (
        shortened(trunk.size - part),
        (shortened(trunk.paid - cost) if part != trunk.size else ZERO),
    )
    state.write("sale", i, size=part, price=price, result=result)
    state.to_fund(i, result)


def has_fallen(state: State, i: int) -> bool:
    """Tell whether the fund stands the venue's part below its highest level of the last hours."""
    drop = Fraction(state.case.venue.drop)
    if drop == 0:
        return False
    fund = state.funds[state.fund_of(i)]
    since = state.case.open_time[state.bar] - int(state.case.venue.drop_hours * 3_600_000)
    before = [level for time, level in fund.levels if time < since][-1:]
    peak = max([*before, *(level for time, level in fund.levels if time >= since)])
    return fund.balance <= (1 - drop) * peak


def is_exhausted(state: State, i: int) -> bool:
    """Tell whether fund and inventory at the mark together are worth less than nothing, or the fund is gone."""
    able = state.funds[state.fund_of(i)].able
    return able + state.engine[i].unrealised(state.marks[i]) < 0


# -- deleveraging ------------------------------------------------------------------------------------------------------


def deleveraging_price(state: State, i: int) -> Fraction:
    """Return the price at which accounts are closed against the engine."""
    trunk, venue = state.engine[i], state.case.venue
    if venue.deleverage_price == "mark":
        return state.marks[i]
    if venue.deleverage_price == "previous_mark":
        return state.previous[i]
    unit = trunk.paid / trunk.size
    return -1 / unit if state.terms[i].kind.inverse else unit


def offer(state: State, account: Account, i: int, price: Fraction) -> Fraction:
    """Return how much an account can give at a price before its balance would fall below zero.

    What an isolated position gives takes its margin along in proportion, so that there it is all or nothing.
    """
    h, marks, kind = account.holdings[i], state.marks, state.terms[i].kind
    balance = account.balance(account.group_of(i), marks)
    if balance < 0:
        return ZERO
    loss = -kind.profit(h.size, marks[i], price)  # of closing all of it at that price instead of the mark
    if loss <= balance:
        return abs(h.size)
    return ZERO if account.isolated else abs(h.size) * balance / loss


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


def deleverage(state: State, i: int) -> None:
    """Close the engine's inventory against the queue."""
    trunk, price = state.engine[i], deleveraging_price(state, i)
    side, marks, kind = sign(trunk.size), state.marks, state.terms[i].kind
    queue = queue_of(state, i, -side)
    given = hand_out(abs(trunk.size), [offer(state, account, i, price) for account in queue])
    for account, amount in zip(queue, given, strict=True):
        if amount == 0:
            continue
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


# -- steps -------------------------------------------------------------------------------------------------------------


def step_down(state: State, account: Account, group: tuple[int, ...]) -> bool:
    """Let the engine close a part of one position for the account, where the venue does."""
    venue, marks = state.case.venue, state.marks
    if venue.step == "none" or account.balance(group, marks) <= 0:
        return False
    once = venue.step_once or venue.step == "restore"
    lowest = max(1, venue.step_from_tier - 1)
    able = [i for i in group if account.bracket(i, marks) >= lowest and not (once and account.holdings[i].stepped)]
    if not able:
        return False
    i = max(able, key=lambda j: (account.requirement(j, marks), -j))
    h, terms = account.holdings[i], state.terms[i]
    others = account.required(group, marks) - account.requirement(i, marks)
    balance = account.balance(group, marks)
    if venue.step_above_first and balance <= others + terms.requirement(h.size, marks[i], 0):
        return False
    found = step_target(state, account, i, balance, others)
    if found is None:
        return False
    remaining, bound = found
    closed = abs(h.size) - remaining
    side = sign(h.size)
    if state.market_takes(i, side * closed) != side * closed:  # fill or kill
        return False
    price = state.sell(i, side * closed)
    left = balance + terms.kind.profit(side * closed, marks[i], price)
    fee = shortened(closing_fee(closed * terms.kind.worth(price), left, Fraction(venue.liquidation_fee)))
    realised = account.close(i, side * closed, price, release=False)
    if account.isolated:
        h.margin -= fee
    else:
        account.free -= fee
    h.bound, h.stepped = bound, True
    state.write(
        "step", i, account=account.number, size=side * closed, trigger=marks[i], price=price, realized=realised, fee=fee
    )
    state.to_fund(i, fee)
    return True


def step_target(
    state: State, account: Account, i: int, balance: Fraction, others: Fraction
) -> tuple[Fraction, int] | None:
    """Return the size that remains after a step and the bracket that binds it."""
    venue, terms, marks, h = state.case.venue, state.terms[i], state.marks, account.holdings[i]
    bracket = account.bracket(i, marks)

    def passes(remaining: Fraction, at: int) -> bool:
        closed = sign(h.size) * (abs(h.size) - remaining)
        price = state.sale_price(i, closed)
        left = balance + terms.kind.profit(closed, marks[i], price)
        left -= closing_fee(abs(closed) * terms.kind.worth(price), left, Fraction(venue.liquidation_fee))
        return left > others + terms.requirement(remaining, marks[i], at)

    if venue.step == "tier":
        targets = [max(0, bracket - venue.step_tiers)] if venue.step_tiers else list(range(bracket - 1, -1, -1))
        for target in targets:
            remaining = below_floor(state, i, target + 1)
            if remaining > 0 and (venue.step_tiers or passes(remaining, terms.bracket_at(remaining, marks[i], target))):
                return remaining, target
        return None
    step = terms.lot
    assert step > 0, "restoring steps are defined in lots"
    lots = math.ceil(abs(h.size) / step) - 1
    while lots > 0:
        at = terms.bracket_at(lots * step, marks[i], h.bound)
        if passes(lots * step, at):
            return lots * step, at
        lots -= 1
    return None


def below_floor(state: State, i: int, bracket: int) -> Fraction:
    """Return the largest size strictly below the floor of a bracket."""
    terms = state.terms[i]
    unit = Fraction(1) if terms.table.counts_contracts else terms.kind.worth(state.marks[i])
    floor = terms.table.brackets[bracket].floor / unit
    return (math.ceil(floor / terms.lot) - 1) * terms.lot if terms.lot else shortened(floor * CRUMB)
