"""The calculator: hand-worked figures, jumps of flat tables, legs, and agreement with the replay's own walk."""

from __future__ import annotations

import math
from dataclasses import replace

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backtester.domain.enums import CloseFeeBasis, ContractKind, MarginBasis, MarginMode, TierForm, TierUnit
from backtester.domain.instrument import Instrument
from backtester.domain.margin_tiers import MarginTier, TierTable
from backtester.domain.venues import VenueRules, load_pack
from backtester.engine import calculator as calc
from backtester.kernel import path, state

GENERIC = load_pack("generic").rules_at(0)


def tiers(
    *rows: tuple[float, float], form: TierForm = TierForm.PROGRESSIVE, unit: TierUnit = TierUnit.NOTIONAL
) -> TierTable:
    caps = [*(floor for floor, _ in rows[1:]), math.inf]
    return TierTable(
        symbol="X",
        form=form,
        unit=unit,
        tiers=tuple(
            MarginTier(notional_floor=floor, notional_cap=cap, maintenance_margin_rate=rate, max_leverage=100)
            for (floor, rate), cap in zip(rows, caps, strict=True)
        ),
    )


def held(quantity: float, entry: float = 100.0, table: TierTable | None = None, *, inverse: bool = False,
         **more: float) -> calc.Holding:  # fmt: skip
    kind = ContractKind.INVERSE if inverse else ContractKind.LINEAR
    return calc.Holding(Instrument(symbol="X", kind=kind), quantity, entry, table or tiers((0, 0.01)), **more)


def test_a_long_by_hand():
    # 10 at 100 with 100 of margin: (1000 - 100) / (10 * 0.99)
    h = held(10, leverage=10)
    assert calc.initial_margin(h, GENERIC, margin_mode="isolated") == 100
    assert calc.maintenance_margin(h, GENERIC) == 10
    assert calc.liquidation_price(h, GENERIC, 100) == pytest.approx(900 / 9.9)
    assert calc.bankruptcy_price(h, GENERIC, 100) == 90
    at = replace(h, mark_price=calc.liquidation_price(h, GENERIC, 100))
    assert calc.margin_ratio([at], GENERIC, 100) == pytest.approx(1)


def test_a_short_by_hand():
    h = held(-10, leverage=10)
    assert calc.liquidation_price(h, GENERIC, 100) == pytest.approx(1100 / 10.1)
    assert calc.bankruptcy_price(h, GENERIC, 100) == 110


def test_an_inverse_long_loses_faster_than_it_wins():
    # 1000 USD at 100 are 10 coins; one coin of margin: -1/v = 1/100 + 0.001 less maintenance at the mark
    h = held(1000, inverse=True, leverage=10)
    assert calc.liquidation_price(h, GENERIC, 1.0) == pytest.approx(1000 * 1.01 / 11)
    assert calc.bankruptcy_price(h, GENERIC, 1.0) == pytest.approx(1000 / 11)
    assert calc.bankruptcy_price(held(-1000, inverse=True), GENERIC, 1.0) == pytest.approx(1000 / 9)


def test_initial_margin_floats_under_cross_only():
    h = held(10, leverage=10, mark_price=120.0)
    assert calc.initial_margin(h, GENERIC) == 120
    assert calc.initial_margin(h, GENERIC, margin_mode="isolated") == 100


def test_without_a_positive_price_there_is_none():
    assert calc.liquidation_price(held(10), GENERIC, 1000) is None
    assert calc.bankruptcy_price(held(10), GENERIC, 1000) is None
    # an inverse short that is covered by as many coins gains more than it loses for ever
    assert calc.liquidation_price(held(-1000, inverse=True), GENERIC, 11.0) is None


def test_the_bracket_at_the_price_counts_not_that_at_the_entry():
    table = tiers((0, 0.01), (800, 0.05))  # deduction 32
    h = held(10, table=table)
    price = calc.liquidation_price(h, GENERIC, 100)
    assert price == pytest.approx((1000 - 100 - 32) / (10 * 0.95))
    assert price * 10 > 800
    deep = calc.liquidation_price(h, GENERIC, 300)
    assert deep == pytest.approx(700 / 9.9)  # below 800 the first bracket holds


def test_a_flat_table_can_trigger_on_the_boundary():
    table = tiers((0, 0.01), (1100, 0.3), form=TierForm.FLAT)
    # at 110 a long of 10 with 50 of margin has 150 and needs 330: a favourable move liquidates it
    h = held(10, table=table, mark_price=109.0)
    assert calc.liquidation_price(h, GENERIC, 50) == 110
    near_root = replace(h, mark_price=97.0)
    assert calc.liquidation_price(near_root, GENERIC, 50) == pytest.approx(950 / 9.9)


def test_contracts_choose_one_bracket_for_every_price():
    table = tiers((0, 0.01), (5, 0.05), form=TierForm.FLAT, unit=TierUnit.CONTRACTS)
    instrument = Instrument(symbol="X", contract_size=2.0)
    h = calc.Holding(instrument, 10, 100.0, table)
    assert calc.maintenance_margin(h, GENERIC) == 50  # 10 / 2 contracts reach the second bracket
    assert calc.maintenance_margin(replace(h, quantity=9.9), GENERIC) == pytest.approx(9.9)


def test_a_ramp_rises_with_contracts():
    tier = MarginTier(maintenance_margin_rate=0.01, max_leverage=50, slope=0.001)
    table = TierTable(symbol="X", tiers=(tier,), form=TierForm.RAMP, unit=TierUnit.CONTRACTS)
    assert calc.maintenance_margin(held(10, table=table), GENERIC) == pytest.approx(1000 * 0.02)


def test_the_fee_to_close_stands_in_the_test_but_not_in_what_is_shown():
    rules = GENERIC.model_copy(update={"close_fee": "taker"})
    h = held(10, leverage=10)
    assert calc.maintenance_margin(h, rules) == 10
    assert calc.requirement(h, rules) == pytest.approx(10.5)
    assert calc.liquidation_price(h, rules, 100) == pytest.approx(900 / (10 * (1 - 0.0105)))
    dear = replace(h, instrument=Instrument(symbol="X", taker_fee=0.002))
    assert calc.requirement(dear, rules) == pytest.approx(12)


def test_a_fee_reserved_at_bankruptcy_cancels_in_an_isolated_position():
    bybit = load_pack("bybit").rules_at(0)
    h = held(10, leverage=10)
    own = calc.initial_margin(h, bybit, margin_mode="isolated", exact=True)
    assert own == pytest.approx(100 + 900 * 0.00055)
    assert calc.requirement(h, bybit, exact=True) == pytest.approx(10 + 900 * 0.00055)
    assert calc.liquidation_price(h, bybit, own) == pytest.approx(100 - (100 - 10) / 10)


def test_others_stand_at_their_marks():
    other = calc.Holding(Instrument(symbol="Y"), 5.0, 100.0, tiers((0, 0.02)), mark_price=90.0)
    h = held(10)
    alone = calc.liquidation_price(h, GENERIC, 100 - 50 - 9)
    assert calc.liquidation_price(h, GENERIC, 100, others=[other]) == pytest.approx(alone)
    assert calc.bankruptcy_price(h, GENERIC, 100, others=[other]) == pytest.approx(95)


def test_legs_of_a_symbol_share_one_price():
    long, short = held(10), held(-4, entry=110.0)
    expected = (10 * 100 - 4 * 110 - 60) / (6 - 14 * 0.01)
    for first, second in ((long, short), (short, long)):
        assert calc.liquidation_price(first, GENERIC, 60, others=[second]) == pytest.approx(expected)


def test_fully_hedged_legs_are_liquidated_by_maintenance_alone():
    long, short = held(10), held(-10)
    # nothing is won or lost: 20 * p * 0.01 reaches 60 at 300
    assert calc.liquidation_price(long, GENERIC, 60, others=[short]) == pytest.approx(300)


def test_opening_asks_for_margin_fee_and_the_loss_at_the_mark():
    instrument = Instrument(symbol="X")
    cost = calc.opening_cost(instrument, 10, 100.0, leverage=10, rules=GENERIC, mark_price=99.0)
    assert cost == pytest.approx(100 + 0.5 + 10)
    better = calc.opening_cost(instrument, 10, 100.0, leverage=10, rules=GENERIC, mark_price=101.0)
    assert better == pytest.approx(100.5)
    short = calc.opening_cost(instrument, -10, 100.0, leverage=10, rules=GENERIC, mark_price=101.0)
    assert short == pytest.approx(100 + 0.5 + 10)


def test_entries_average_in_value_space():
    linear, inverse = Instrument(symbol="X"), Instrument(symbol="X", kind=ContractKind.INVERSE)
    trades = [(1.0, 100.0), (3.0, 200.0)]
    assert calc.average_entry(linear, trades) == 175
    assert calc.average_entry(inverse, trades) == pytest.approx(4 / (1 / 100 + 3 / 200))


def test_funding_and_fees():
    assert calc.funding_payment(held(-10, mark_price=120.0), 0.0001) == pytest.approx(-0.12)
    assert calc.funding_payment(held(1000, inverse=True, mark_price=125.0), 0.0001) == pytest.approx(0.0008)
    assert calc.trading_fee(Instrument(symbol="X"), -10, 100.0, 0.0005) == pytest.approx(0.5)


def test_a_used_up_balance_has_an_infinite_ratio():
    assert calc.margin_ratio([held(10, mark_price=80.0)], GENERIC, 100) == math.inf


def test_prices_are_shown_as_the_venue_rounds_them():
    h = replace(held(3), instrument=Instrument(symbol="X", tick=0.5))
    bybit = load_pack("bybit").rules_at(0)
    exact = calc.bankruptcy_price(h, bybit, 32, exact=True)
    assert exact == pytest.approx(89.3333333)
    assert calc.bankruptcy_price(h, bybit, 32) == 89.5
    assert calc.bankruptcy_price(replace(h, quantity=-3), bybit, 32) == 110.5


@numba.njit
def displayed_liquidation(setup, book):
    """Call the kernel's step, which has no entry from Python."""
    return path.displayed_liquidation(setup, book, 0, 0.0)


def kernel_liquidation(h: calc.Holding, rules: VenueRules, balance: float) -> float | None:
    """Return what the replay shows for the same position, isolated."""
    count = len(h.tiers.tiers)
    instruments = np.zeros(1, state.INSTRUMENT)
    instruments["sign"], instruments["contract_size"] = h.sign, h.instrument.contract_size
    instruments["leverage"], instruments["margin_mode"] = h.leverage, MarginMode.ISOLATED
    instruments["close_fee"] = rules.close_fee_rate(rules.taker_fee)
    instruments["sibling"] = state.NONE
    table = np.zeros(1, state.TABLE)
    table["stop"], table["unit"] = count, h.tiers.unit
    rows = np.zeros(count, state.TIER)
    rows["rate"] = [t.maintenance_margin_rate for t in h.tiers.tiers]
    rows["deduction"] = h.tiers.deductions()
    general = np.zeros(1, state.RULES)
    general["mmr_basis"] = MarginBasis[rules.mmr_basis.upper()]
    general["close_fee_basis"] = CloseFeeBasis[rules.close_fee_basis.upper()]
    floors, slots = np.array([t.notional_floor for t in h.tiers.tiers]), np.array([[0, state.NONE]])
    setup = state.Setup(general, instruments, table, rows, floors, np.zeros(0, state.FEE_TIER), slots)
    positions = np.zeros(1, state.POSITION)
    positions["quantity"], positions["entry_value"], positions["margin"] = h.quantity, h.entry_value, balance
    positions["value_now"], positions["tier_bound"] = h.mark_value, state.NO_TIER_BOUND
    positions["leverage"] = positions["held_leverage"] = h.leverage
    held_slots = [np.zeros(1, np.int64) for _ in range(4)]
    orders = [np.zeros(0, state.RUNG), np.zeros(0, state.RESTING), np.zeros(0, state.REQUEST)]
    rest = [np.zeros(31), np.zeros(1, np.int64), np.zeros(1, state.LINE), np.zeros((state.MARKS, 1), np.int64)]
    book = state.Book(np.zeros(1, state.ACCOUNT), positions, *held_slots, *orders, *rest)
    found = displayed_liquidation(setup, book)
    return None if math.isnan(found) else h.sign * found if h.sign > 0 else -1 / found


@settings(max_examples=300, deadline=None)
@given(
    quantity=st.floats(0.5, 50) | st.floats(-50, -0.5),
    entry=st.floats(20, 200),
    move=st.floats(0.9, 1.1),
    leverage=st.floats(1.5, 20),
    rates=st.lists(st.floats(0.001, 0.05), min_size=1, max_size=4),
    widths=st.lists(st.floats(100, 3000), min_size=3, max_size=3),
    form=st.sampled_from([TierForm.PROGRESSIVE, TierForm.FLAT]),
    unit=st.sampled_from(list(TierUnit)),
    venue=st.sampled_from(["generic", "bybit", "blofin", "bitmex"]),
    inverse=st.booleans(),
)
def test_the_replay_shows_the_same_price(
    quantity, entry, move, leverage, rates, widths, form, unit, venue, inverse
):  # fmt: skip
    assume(form is TierForm.FLAT or unit is TierUnit.NOTIONAL)  # deductions do not follow from counts of contracts
    floors = [0.0, *np.cumsum(widths)][: len(rates)]
    table = tiers(*zip(floors, np.cumsum(rates).tolist(), strict=True), form=form, unit=unit)
    size = quantity * entry if inverse else quantity
    scale = entry if inverse else 1.0  # an inverse notional counts coins: brackets of the same reach
    if inverse:
        table = tiers(
            *((f / scale, r) for f, r in zip(floors, np.cumsum(rates).tolist(), strict=True)), form=form, unit=unit
        )
    h = held(size, entry, table, inverse=inverse, mark_price=entry * move, leverage=leverage)
    rules = load_pack(venue).rules_at(0)
    balance = calc.initial_margin(h, rules, margin_mode="isolated", exact=True)
    assume(calc.margin_ratio([h], rules, balance) < 0.999)  # the walk starts where the position still stands
    ours, theirs = calc.liquidation_price(h, rules, balance, exact=True), kernel_liquidation(h, rules, balance)
    if theirs is None or theirs > 1e9:
        assert ours is None or ours > 1e8
    else:
        assert ours == pytest.approx(theirs, rel=1e-9)
