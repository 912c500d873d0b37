"""A clearing replay in exact numbers: slow, plain, and written from the rules in ``docs/clearing.md`` alone."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tests.reference.case import Ohlc
from tests.reference.clearing_accounts import Account
from tests.reference.clearing_case import Cleared, Market
from tests.reference.clearing_engine import treat, waterfall, work_off
from tests.reference.clearing_queue import shared_loss
from tests.reference.clearing_state import ZERO, State
from tests.reference.prices import shortened

ONE, HOUR = Fraction(1), 3_600_000
KEEP_ABOVE = 1 + Fraction(1, 10**9)  # a capped payment leaves this multiple of the requirement
MOST_ROUNDS = 10_000


def replay(case: Market) -> Cleared:
    """Replay a market and return all that happened."""
    return replay_state(case).out


def replay_state(case: Market) -> State:
    """Replay a market and return it as it stands at the end."""
    state = State.opened(case)
    periods = Periods(state)
    state.out.money.append(state.cash_of_all())
    for bar in range(len(case.open_time)):
        begin_bar(state, bar)
        for i, record in due(state, at_open=True):
            settle(state, i, record.rate, record.mark_price)
        test_all(state)
        for i in range(len(state.terms)):
            work_off(state, i)
        settle_point(state)
        state.jumped_from = {}
        inside = due(state, at_open=False)
        closes = prices(state, "close")
        for i, record in inside:
            settle(state, i, record.rate, record.mark_price, closes[i])
        walk(state)
        for account in state.accounts:
            lift(state, account)
        periods.end_of_bar()
        book(state)
        record_bar(state)
    return state


def prices(state: State, end: str) -> dict[int, Fraction]:
    """Return the marks at a bar's open or close, moved as they are now."""
    listings = enumerate(state.case.listings)
    return {i: Fraction(getattr(c.mark, end)[state.bar]) * state.moved(i) for i, c in listings}


def stand_at(state: State, end: str) -> None:
    """Set marks and trades to a bar's open or close."""
    for i, c in enumerate(state.case.listings):
        state.path[i] = Fraction(getattr(c.mark, end)[state.bar])
        state.traded[i] = Fraction(getattr(c.trade or c.mark, end)[state.bar])


def begin_bar(state: State, bar: int) -> None:
    """Forget what holds for one bar alone."""
    if bar > 0:
        state.previous = state.marks
        for i in state.shift:
            state.fade(i)
        state.jumped_from = state.previous
    state.bar = bar
    stand_at(state, "open")
    share = state.case.venue.volume_share
    for i in range(len(state.terms)):
        volume = state.volume(i)
        if share is None or (share > 0 and volume is None):
            state.volume_left[i] = None
        else:
            state.volume_left[i] = Fraction(share) * (volume or 0)
    for account in state.accounts:
        for h in account.holdings.values():
            h.bound, h.stepped = None, False


def book(state: State) -> None:
    """Book what has been collected at the close that reaches the hour."""
    hour = state.case.venue.booking_hour
    if hour is None:
        return
    now = state.case.open_time[state.bar]
    first, last = ((time - int(hour * HOUR)) // (24 * HOUR) for time in (now, now + state.case.bar_ms))
    if last > first:
        for n, fund in enumerate(state.funds):
            if fund.waiting != 0:
                state.write("booking", n, amount=fund.waiting)
            fund.balance, fund.waiting = fund.balance + fund.waiting, ZERO


# -- funding -----------------------------------------------------------------------------------------------------------


def due(state: State, *, at_open: bool) -> list:
    """Return the settlements at the open or inside the bar, by time, then contract."""
    start = state.case.open_time[state.bar]
    found = [(r.time, i, r) for i, c in enumerate(state.case.listings) for r in c.funding]
    inside = [(t, i, r) for t, i, r in found if (t == start if at_open else start < t < start + state.case.bar_ms)]
    return [(i, r) for _, i, r in sorted(inside, key=lambda row: row[:2])]


def settle(state: State, i: int, rate: float, given: float | None, otherwise: Fraction | None = None) -> None:
    """Let everybody who holds a contract pay or receive funding; the engine's part is the fund's."""
    price = Fraction(given) if given is not None else otherwise if otherwise is not None else state.marks[i]
    unit, venue = state.terms[i].kind.worth(price) * Fraction(rate), state.case.venue
    short_of = ZERO
    marks = {**state.marks, i: price}
    for account in state.accounts:
        if i not in account.holdings:
            continue
        h, group = account.holdings[i], account.group_of(i)
        owed = shortened(h.size * unit)
        payment = owed
        if venue.funding_paid_from == "capped" and owed > 0:
            room = account.balance(group, marks) - account.required(group, marks) * KEEP_ABOVE
            payment = shortened(min(owed, max(ZERO, room)))
        short_of += owed - payment
        if account.isolated:
            from_free = ZERO
            if venue.funding_paid_from == "wallet_first":
                from_free = min(payment, max(account.free, ZERO))
            account.free -= from_free
            h.margin -= payment - from_free
        else:
            account.free -= payment
    # The outside market settles what the others leave, so that nothing is lost by cutting digits.
    state.to_fund(i, -shortened(state.engine[i].size * unit) - short_of)
    state.outside_cash -= state.outside[i].size * unit


# -- the path ----------------------------------------------------------------------------------------------------------


def walk(state: State) -> None:
    """Walk all prices along the bar, treating every failure where it comes."""
    bar = state.bar
    rises = [(c.trade or c.mark).close[bar] >= (c.trade or c.mark).open[bar] for c in state.case.listings]
    orders = [("open", "low", "high", "close") if r else ("open", "high", "low", "close") for r in rises]

    def stops(series: Ohlc, i: int) -> list[Fraction]:
        return [Fraction(getattr(series, name)[bar]) for name in orders[i]]

    marks = [stops(c.mark, i) for i, c in enumerate(state.case.listings)]
    trades = [stops(c.trade or c.mark, i) for i, c in enumerate(state.case.listings)]
    for leg in range(3):
        ends = [(s[leg], s[leg + 1]) for s in marks]
        traded = [(s[leg], s[leg + 1]) for s in trades]
        f = ZERO
        while (found := next_failure(state, ends, f)) is not None:
            f, account, group = found
            state.path, state.traded = path_at(state, ends, f), path_at(state, traded, f)
            treat(state, account, group)
            test_all(state)
        state.path, state.traded = path_at(state, ends, ONE), path_at(state, traded, ONE)
        settle_point(state)


def path_at(state: State, ends: list[tuple[Fraction, Fraction]], f: Fraction) -> dict[int, Fraction]:
    return {i: state.terms[i].kind.between(a, b, f) for i, (a, b) in enumerate(ends)}


def settle_point(state: State) -> None:
    """Treat who fails and deleverage, until nobody fails and nobody is deleveraged."""
    again = True
    while again:
        test_all(state)
        again = waterfall(state)


def test_all(state: State) -> None:
    """Treat everybody who fails at the marks of this moment, one at a time."""
    for _ in range(MOST_ROUNDS):
        marks = state.marks
        failing = [(a, g) for a in state.accounts for g in a.groups() if a.fails(g, marks)]
        if not failing:
            return
        treat(state, *min(failing, key=lambda pair: place_after_jump(state, *pair)))
    raise AssertionError("a bar that does not end")


def place_after_jump(state: State, account: Account, group: tuple[int, ...]) -> tuple[Any, ...]:
    """Return what orders those who fail at one moment: contract, longs before shorts, the trigger passed first.

    Cross accounts of several positions (at the start) have no single trigger and come last, by number.
    """
    if not account.isolated and len(state.case.traders[account.number].held) > 1:
        return (1, account.number)
    (i,) = group
    h, kind = account.holdings[i], account.terms[i].kind
    trigger = passed_trigger(state, account, i)
    rising = (h.size < 0) != kind.inverse  # a short fails as the price rises, where one over the price falls
    return (0, i, h.size < 0, trigger if rising else -trigger, account.number)


def passed_trigger(state: State, account: Account, i: int) -> Fraction:
    """Return where a position that fails met its trigger: on the way of a jump, else in the bracket that holds now.

    In the scale in which balance and requirement are straight lines: the price, or one over it.
    """
    kind, mark = account.terms[i].kind, state.marks[i]

    def scale(price: Fraction) -> Fraction:
        return 1 / price if kind.inverse else price

    before = state.jumped_from.get(i, mark)
    if not account.fails((i,), {i: before}):
        ends = [(before / state.moved(i), state.path[i]) if j == i else (ONE, ONE) for j in range(len(state.terms))]
        f = first_failure(state, account, (i,), ends, ZERO)
        if f is not None:
            return scale(path_at(state, ends, f)[i] * state.moved(i))
    bracket = account.bracket(i, before)

    def excess(price: Fraction) -> Fraction:
        return account.balance((i,), {i: price}) - account.needs(i, price, bracket)

    here, there = excess(mark), excess(2 * mark)
    return scale(mark) - here * (scale(2 * mark) - scale(mark)) / (there - here)


def next_failure(
    state: State, ends: list[tuple[Fraction, Fraction]], begin: Fraction
) -> tuple[Fraction, Account, tuple[int, ...]] | None:
    """Return the first failure on a leg from a fraction on."""
    best: tuple[Fraction, Account, tuple[int, ...]] | None = None
    for account in state.accounts:
        for group in account.groups():
            f = first_failure(state, account, group, ends, begin)
            if f is not None and (best is None or f < best[0]):
                best = (f, account, group)
    return best


def first_failure(
    state: State, account: Account, group: tuple[int, ...], ends: list[tuple[Fraction, Fraction]], begin: Fraction
) -> Fraction | None:
    """Return the first fraction of a leg at which a group fails.

    Between the points at which a position's notional meets the floor of a bracket, balance and requirement are straight
    lines in the fraction.
    """
    points = {begin, ONE}
    factor = {i: state.moved(i) for i in group}
    for i in group:
        terms, h = state.terms[i], account.holdings[i]
        if terms.table.counts_contracts or terms.by_entry:
            continue
        first, last = (terms.notional(h.size, end * factor[i]) for end in ends[i])
        if first != last:
            crossings = ((row.floor - first) / (last - first) for row in terms.table.brackets[1:])
            points.update(f for f in crossings if begin < f < ONE)
    ordered = sorted(points)

    def marks(f: Fraction) -> dict[int, Fraction]:
        return {i: price * factor[i] for i, price in path_at(state, ends, f).items() if i in factor}

    def excess(f: Fraction, middle: Fraction) -> Fraction:
        """Balance less requirement at ``f`` in the brackets that hold at ``middle``."""
        here, there = marks(f), marks(middle)
        needed = ZERO
        for i in group:
            needed += account.needs(i, here[i], account.bracket(i, there[i]))
        return account.balance(group, here) - needed

    for a, b in zip(ordered, [*ordered[1:], None], strict=True):
        if account.fails(group, marks(a)):
            return a
        if b is None:
            return None
        after_a, before_b = excess(a, (a + b) / 2), excess(b, (a + b) / 2)
        if before_b <= 0 < after_a:
            return a + (b - a) * after_a / (after_a - before_b)
    return None


# -- the end of a bar --------------------------------------------------------------------------------------------------


def lift(state: State, account: Account) -> None:
    """Let the fund lift an account that holds nothing and owes something."""
    if not account.holdings and account.free < 0:
        state.write("lift", -1, account=account.number, amount=-account.free)
        state.to_fund(0, account.free)
        account.free = ZERO


class Periods:
    """Shared losses at the end of each settlement period."""

    def __init__(self, state: State) -> None:
        self.state = state
        first = {i: Fraction(c.mark.open[0]) for i, c in enumerate(state.case.listings)}
        self.start = {a.number: a.equity(first) for a in state.accounts}

    def end_of_bar(self) -> None:
        state, venue = self.state, self.state.case.venue
        now = state.case.open_time[state.bar]
        offset, length = int(venue.sharing_offset_hours * HOUR), int(venue.sharing_hours * HOUR)
        first, last = ((time - offset) // length for time in (now, now + state.case.bar_ms))
        if not venue.shares or last == first:
            return
        for n in range(len(state.funds)):
            lacking = -state.worth_of(n)
            if lacking <= 0:
                continue
            equity = [a.equity(state.marks) for a in state.accounts]
            profits = [e - self.start[a.number] for e, a in zip(equity, state.accounts, strict=True)]
            rate, paid = shared_loss(lacking, profits, [max(ZERO, e) for e in equity])
            for account, share in zip(state.accounts, paid, strict=True):
                if share > 0:
                    amount = shortened(share)
                    pay_share(state, account, amount)
                    state.write("share", n, account=account.number, amount=amount, rate=rate)
                    state.to_fund(n, amount, at_once=True)
        self.start = {a.number: a.equity(state.marks) for a in state.accounts}


def pay_share(state: State, account: Account, amount: Fraction) -> None:
    """Take a shared loss: from the free wallet first, then from isolated margins by what stands behind each."""
    behind = {g[0]: max(ZERO, account.balance(g, state.marks)) for g in account.groups()} if account.isolated else {}
    total = sum(behind.values(), ZERO)
    from_margins = min(max(ZERO, amount - max(ZERO, account.free)), total)
    for i, part in behind.items():
        if from_margins > 0:
            account.holdings[i].margin -= shortened(from_margins * part / total)
    account.free -= amount - sum((shortened(from_margins * p / total) for p in behind.values() if total), ZERO)


def record_bar(state: State) -> None:
    """Write what everybody has at the mark close."""
    out, marks = state.out, state.marks
    out.wallet.append([a.wallet for a in state.accounts])
    out.equity.append([a.equity(marks) for a in state.accounts])
    contracts = range(len(state.terms))
    out.size.append([[a.holdings[i].size if i in a.holdings else ZERO for i in contracts] for a in state.accounts])
    out.margin.append([[a.holdings[i].margin if i in a.holdings else ZERO for i in contracts] for a in state.accounts])
    out.inventory.append([trunk.size for trunk in state.engine])
    out.fund.append([fund.balance for fund in state.funds])
    out.waiting.append([fund.waiting for fund in state.funds])
    out.money.append(state.cash_of_all())
    for n, fund in enumerate(state.funds):
        fund.closes.append((state.case.open_time[state.bar] + state.case.bar_ms, state.worth_of(n)))
