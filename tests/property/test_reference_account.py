"""What must hold in the reference account itself: money is conserved, units do not matter, inverse mirrors linear."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.series import path_of
from tests.property.strategies import CI, LONG, cases, rich_cases, with_settings
from tests.reference.account import replay, replay_book
from tests.reference.book import Book
from tests.reference.case import (
    Amend,
    Case,
    Contract,
    Ohlc,
    Outcome,
    Request,
    Settings,
    Settlement,
    Submit,
    Target,
    Tier,
    Tiers,
)

HOUR = 3_600_000
CUT = Fraction(1, 2**200)  # amounts are stored with 256 significant bits


def check_ledger(case: Case, outcome: Outcome) -> None:
    """The wallet is the initial balance plus the ledger, at every bar."""
    wallet, entries = Fraction(case.settings.balance), list(outcome.ledger)
    for bar, recorded in enumerate(outcome.wallet):
        while entries and entries[0]["bar"] <= bar:
            row = entries.pop(0)
            wallet += row["amount"]
            assert row["wallet_balance"] == wallet
        assert recorded == wallet
    assert not entries


def check_money(book: Book) -> None:
    """What left the account went to the market, to the venue's fees, to other holders or to the fund.

    A fill exchanges its size for its worth; with the cost of what is still held on the account's side, all adds up.
    """
    outcome = book.outcome
    cost = Fraction(0)  # of what is held, at entry, as cash that has gone out
    for i in book.held():
        kind, position = book.rules[i].kind, book.positions[i]
        cost += value(kind.inverse, position.size, position.entry)
    to_market = Fraction(0)
    for fill in outcome.fills:
        signed = fill["quantity"] if fill["side"] == "buy" else -fill["quantity"]
        to_market += value(book.rules[fill["symbol"]].kind.inverse, signed, fill["price"])
    fees = sum((f["fee_paid"] for f in outcome.fills), Fraction(0))
    funding = sum((f["funding_payment"] for f in outcome.funding), Fraction(0))
    fund = sum((r["insurance_flow"] for r in outcome.liquidations), Fraction(0))
    whole = [r for r in outcome.ledger if r["symbol"] == -1]
    lifted = sum((r["amount"] for r in whole if r["kind"] == "insurance_clearance"), Fraction(0))
    # a holding that enters brings its own worth, which counts as its cost
    paid_in = sum((r["amount"] for r in whole if r["kind"] == "transfer"), Fraction(book.case.settings.balance))
    shared = sum((r["amount"] for r in outcome.ledger if r["kind"] == "socialized_loss"), Fraction(0))  # to others
    left_over = book.wallet - cost + to_market + fees - funding + fund - lifted - shared - paid_in
    assert abs(left_over) < Fraction(book.case.settings.balance) * CUT


def value(inverse: bool, size: Fraction, price: Fraction) -> Fraction:
    """Return the cash that buying a size takes: a buyer of inverse contracts owes coins worth the size."""
    return -size / price if inverse else size * price


def check_sanity(book: Book) -> None:
    """Things that no replay may show."""
    outcome = book.outcome
    assert all(f["quantity"] > 0 for f in outcome.fills)
    assert all(f["slippage_paid"] >= 0 for f in outcome.fills if f["reason"] != "auto_deleverage")  # may be a gain
    assert all(r["margin_balance"] <= r["requirement"] for r in outcome.liquidations)
    assert all(m >= 0 for m in outcome.maintenance)
    assert all(d <= 0 for d in outcome.drawdown)
    if not book.held():
        assert outcome.wallet[-1] >= 0 or outcome.equity[-1] == outcome.wallet[-1]
    for rows in (outcome.fills, outcome.funding, outcome.liquidations, outcome.ledger):
        assert [r["bar"] for r in rows] == sorted(r["bar"] for r in rows)


def check_account(case: Case) -> None:
    book = replay_book(case)
    check_ledger(case, book.outcome)
    check_money(book)
    check_sanity(book)


@CI
@given(cases())
def test_money_is_conserved(case: Case) -> None:
    check_account(case)


@settings(CI, max_examples=250)
@given(rich_cases())
def test_money_is_conserved_whatever_is_traded(case: Case) -> None:
    check_account(case)


@pytest.mark.long
@LONG
@given(st.one_of(cases(), rich_cases()))
def test_money_is_conserved_in_many_runs(case: Case) -> None:
    check_account(case)


# -- units -------------------------------------------------------------------------------------------------------


def in_other_money(case: Case, factor: int) -> Case:
    """Return the run with ``factor`` times the money: balance, sizes and tables grow, prices stay."""

    def table(tiers: Tiers) -> Tiers:
        rows = tuple(
            replace(t, floor=t.floor * factor, cap=t.cap * factor, slope=Fraction(t.slope) / factor)
            for t in tiers.tiers
        )
        return replace(tiers, tiers=rows)

    contracts = tuple(
        replace(
            c,
            lot=c.lot * factor,
            min_quantity=c.min_quantity * factor,
            min_notional=c.min_notional * factor,
            tables=tuple(table(t) for t in c.tables),
        )
        for c in case.contracts
    )
    return with_settings(replace(case, contracts=contracts), balance=case.settings.balance * factor)


@settings(CI, max_examples=50)
@given(cases())
def test_more_money_scales_every_amount(case: Case) -> None:
    small, large = replay(case), replay(in_other_money(case, 4))
    assert [4 * e for e in small.equity] == large.equity
    assert [4 * r["amount"] for r in small.ledger] == [r["amount"] for r in large.ledger]
    assert small.margin_ratio == large.margin_ratio
    assert [r["trigger_price"] for r in small.liquidations] == [r["trigger_price"] for r in large.liquidations]


# -- inverse and linear ------------------------------------------------------------------------------------------


def upside_down(bars: Ohlc) -> Ohlc:
    """Return one over each price, exactly; high and low change places."""

    def one_over(column: tuple[float, ...]) -> tuple[Fraction, ...]:
        return tuple(p if math.isnan(p) else 1 / Fraction(p) for p in column)  # type: ignore[misc]

    return Ohlc(one_over(bars.open), one_over(bars.low), one_over(bars.high), one_over(bars.close))  # type: ignore[arg-type]


def linear_twin(case: Case) -> Case:
    """Return the linear run that an inverse one must equal: prices upside down, targets and rates negated."""
    contracts = tuple(
        replace(
            c,
            kind="linear",
            trade=upside_down(c.trade),
            mark=upside_down(c.mark),
            index=None if c.index is None else upside_down(c.index),
            funding=tuple(
                replace(f, rate=-f.rate, mark_price=None if f.mark_price is None else 1 / Fraction(f.mark_price))
                for f in c.funding
            ),
        )
        for c in case.contracts
    )
    turned = tuple(replace(t, value=-t.value, rungs=tuple((one_over(p), r) for p, r in t.rungs)) for t in case.targets)
    return replace(
        case,
        contracts=contracts,
        targets=turned,
        settings_rows=tuple(
            replace(r, value=one_over(r.value)) if r.name in LEVELS and r.value else r for r in case.settings_rows
        ),
        requests=tuple(turned_request(r) for r in case.requests),
        own_fills=tuple(replace(f, quantity=-f.quantity, price=one_over(f.price)) for f in case.own_fills),
    )


LEVELS = {"stop_price", "take_profit_price"}
BY_FRACTION = {"stop_loss", "trailing_stop", "take_profit"}


def one_over(price: float) -> float:
    """Return one over a price, exactly, in the place of a float."""
    return 1 / Fraction(price)  # type: ignore[return-value]


def turned_request(request: Request) -> Request:
    """Return what is asked for when prices stand upside down."""
    if not isinstance(request, (Submit, Amend)):
        return request
    limit, trigger = (None if p is None else one_over(p) for p in (request.limit, request.trigger))
    if isinstance(request, Submit):
        return replace(request, buy=not request.buy, limit=limit, trigger=trigger)
    return replace(request, limit=limit, trigger=trigger)


def with_a_twin(case: Case) -> Case:
    """Return the run without what has no mirror: ticks, slippage, distances and fractions of prices."""
    rows = tuple(r for r in case.settings_rows if r.name not in BY_FRACTION)
    requests = tuple(
        replace(r, kind="stop", trigger=100.0 if r.trigger is None else r.trigger)
        if isinstance(r, Submit) and r.kind == "trailing_stop"
        else r
        for r in case.requests
    )
    plain = replace(
        case,
        contracts=tuple(replace(c, slippage=0.0, tick=0.0) for c in case.contracts),
        settings_rows=rows,
        requests=requests,
    )
    return with_settings(plain, stop_limit_bps=None, slippage_model="fixed", volume_share=None)


def check_duality(case: Case) -> None:
    case = with_a_twin(case)
    inverse, linear = replay(case), replay(linear_twin(case))
    assert inverse.equity == linear.equity
    assert inverse.margin_ratio == linear.margin_ratio
    assert [r["amount"] for r in inverse.ledger] == [r["amount"] for r in linear.ledger]
    assert [(r["kind"], r["tier"], 1 / r["trigger_price"]) for r in inverse.liquidations] == [
        (r["kind"], r["tier"], r["trigger_price"]) for r in linear.liquidations
    ]
    assert [(o["status"], o["filled_quantity"]) for o in inverse.orders] == [
        (o["status"], -o["filled_quantity"]) for o in linear.orders
    ]


@CI
@given(cases(inverse=True))
def test_inverse_equals_linear_upside_down(case: Case) -> None:
    check_duality(case)


WITH_TWINS = ("detail", "costs", "limits", "transfers", "brackets", "times", "ladders", "requests", "delisting")


@settings(CI, max_examples=150)
@given(rich_cases(inverse=True, groups=WITH_TWINS))
def test_inverse_orders_equal_linear_ones_upside_down(case: Case) -> None:
    check_duality(case)


@pytest.mark.long
@LONG
@given(st.one_of(cases(inverse=True), rich_cases(inverse=True, groups=WITH_TWINS)))
def test_inverse_equals_linear_upside_down_in_many_runs(case: Case) -> None:
    check_duality(case)


# -- mirrored prices ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_mirrored_prices_mirror_profit(seed: int) -> None:
    """A long on a path and a short of the same size on the mirrored path earn the same, while margin plays no part."""
    dice = random.Random(seed)
    drawn = path_of(dice, 12, 100.0, 0.02)
    pivot = Fraction(drawn.open[1])  # where both are opened

    def mirrored(column: tuple[float, ...]) -> tuple[Fraction, ...]:
        return tuple(2 * pivot - Fraction(p) for p in column)

    mirror = Ohlc(mirrored(drawn.open), mirrored(drawn.low), mirrored(drawn.high), mirrored(drawn.close))  # type: ignore[arg-type]
    table = Tiers((Tier(0.0, math.inf, 0.001, 100.0),))
    times = tuple(k * HOUR for k in range(12))
    outcomes = [
        replay(
            Case(
                contracts=(Contract(bars, bars, (table,), leverage=2.0),),
                open_time=times,
                bar_ms=HOUR,
                targets=(Target(0, 0, target), Target(9, 0, 0.0)),
            )
        )
        for bars, target in ((drawn, 0.75), (mirror, -0.75))
    ]
    assert outcomes[0].equity == outcomes[1].equity


# -- more of a cost never earns more ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_funding_passes_from_longs_to_shorts(seed: int) -> None:
    """At entry's own mark, what a long pays a short of the same size receives."""
    dice = random.Random(seed)
    bars = path_of(dice, 10, 50.0, 0.01)
    records = tuple(Settlement(k * HOUR, dice.gauss(0.0, 0.001)) for k in range(10))
    table = Tiers((Tier(0.0, math.inf, 0.001, 100.0),))
    rows = [
        replay(
            Case(
                contracts=(Contract(bars, bars, (table,), leverage=2.0, funding=records),),
                open_time=tuple(k * HOUR for k in range(10)),
                bar_ms=HOUR,
                targets=(Target(0, 0, side * 0.5),),
                settings=Settings(),
            )
        ).funding
        for side in (1, -1)
    ]
    assert [r["funding_payment"] for r in rows[0]] == [-r["funding_payment"] for r in rows[1]]
    assert len(rows[0]) == 8
