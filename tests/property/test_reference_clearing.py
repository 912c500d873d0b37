"""What must hold in the clearing reference itself: nothing is lost, units do not matter, inverse mirrors linear."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings

from tests.property.clearing_markets import markets, with_venue, without_limits
from tests.property.strategies import CI, LONG
from tests.reference.case import Ohlc, Tiers
from tests.reference.clearing import replay_state
from tests.reference.clearing_case import Cleared, Held, Market
from tests.reference.clearing_state import State

CUT = Fraction(1, 10**40)  # stored amounts are cut to 256 bits; relative to all the money


def check_money(state: State) -> None:
    """Nothing is lost, positions sum to zero, nobody is below the limit."""
    out = state.out
    whole = sum((abs(Fraction(t.wallet)) for t in state.case.traders), Fraction(1))
    assert all(abs(m - out.money[0]) <= whole * CUT for m in out.money)
    for i in range(len(state.terms)):
        assert abs(state.sizes(i)) <= CUT * 10**6
    for account in state.accounts:
        for h in account.holdings.values():
            assert h.size != 0
        if not state.case.venue.shares:
            assert all(not account.fails(g, state.marks) for g in account.groups())
        if not account.holdings:
            assert account.free >= 0


def check_story(state: State) -> None:
    """Events say what happened to money: the fund's path and each account's are told by them and the funding."""
    start = Fraction(state.case.venue.fund_start)
    for fund in state.funds:
        assert fund.able >= start - sum((abs(Fraction(t.wallet)) for t in state.case.traders), Fraction(0)) * 100
    venue = state.case.venue
    if venue.deleverage_price == "bankruptcy" and venue.bankruptcy_band == 0:
        assert all(abs(e["result"]) < CUT * 10**9 for e in state.out.events if e["kind"] == "deleverage")
    for e in state.out.events:
        if e["kind"] == "deleverage":
            assert e["size"] != 0


@settings(CI, max_examples=200)
@given(markets())
def test_nothing_is_lost(market: Market) -> None:
    state = replay_state(market)
    check_money(state)
    check_story(state)


@pytest.mark.long
@LONG
@given(markets(accounts=20, bars=20))
def test_nothing_is_lost_in_many_markets(market: Market) -> None:
    state = replay_state(market)
    check_money(state)
    check_story(state)


# -- units ------------------------------------------------------------


def in_other_money(market: Market, factor: int) -> Market:
    """Return the market with ``factor`` times the money: wallets, sizes, lots, volumes, floors and funds grow."""

    def table(tiers: Tiers) -> Tiers:
        rows = (replace(t, floor=t.floor * factor, cap=t.cap * factor) for t in tiers.tiers)
        return replace(tiers, tiers=tuple(rows))

    listings = tuple(
        replace(
            c,
            table=table(c.table),
            volume=None if c.volume is None else tuple(v * factor for v in c.volume),
            lot=c.lot * factor,
        )
        for c in market.listings
    )
    traders = tuple(
        replace(
            t,
            wallet=t.wallet * factor,
            held=tuple(replace(h, size=h.size * factor, margin=h.margin * factor) for h in t.held),
        )
        for t in market.traders
    )
    return with_venue(replace(market, listings=listings, traders=traders), fund_start=market.venue.fund_start * factor)


def same_figures(a: Cleared, b: Cleared, factor: int = 1, turn: int = 1) -> None:
    """Compare two outcomes whose money differs by a factor and whose sizes differ by ``factor * turn``."""

    def close(x: Fraction, y: Fraction) -> bool:
        return abs(x - y) <= CUT * 10**12 * (1 + abs(x))

    for name in ("wallet", "equity", "fund"):
        for row, other in zip(getattr(a, name), getattr(b, name), strict=True):
            assert all(close(factor * x, y) for x, y in zip(row, other, strict=True)), name
    assert [e["kind"] for e in a.events] == [e["kind"] for e in b.events]
    for row, other in zip(a.size, b.size, strict=True):
        for x, y in zip(row, other, strict=True):
            assert all(close(factor * turn * p, q) for p, q in zip(x, y, strict=True))


@settings(CI, max_examples=60)
@given(markets())
def test_more_money_scales_every_amount(market: Market) -> None:
    if market.venue.ranking == "binance":  # "at least one unit" of the wallet is no ratio
        market = with_venue(market, ranking="bitmex")
    same_figures(replay_state(market).out, replay_state(in_other_money(market, 4)).out, factor=4)


# -- the order of accounts ------------------------------------------------------------


@settings(CI, max_examples=60)
@given(markets())
def test_numbers_of_accounts_mean_nothing_where_nothing_is_scarce(market: Market) -> None:
    market = without_limits(market)
    order = list(range(len(market.traders)))
    random.Random(len(order)).shuffle(order)
    mixed = replace(market, traders=tuple(market.traders[n] for n in order))
    one, other = replay_state(market).out, replay_state(mixed).out
    for row, turned in zip(one.wallet, other.wallet, strict=True):
        assert all(abs(row[n] - turned[k]) <= CUT * 10**12 * (1 + abs(row[n])) for k, n in enumerate(order))


# -- inverse and linear ------------------------------------------------------------


def one_over(price: float) -> float:
    """Return one over a price, exactly, in the place of a float."""
    return price if math.isnan(price) else 1 / Fraction(price)  # type: ignore[return-value]


def upside_down(bars: Ohlc) -> Ohlc:
    columns = (bars.open, bars.low, bars.high, bars.close)
    return Ohlc(*(tuple(one_over(p) for p in column) for column in columns))


def linear_twin(market: Market) -> Market:
    """Return the linear market that an inverse one must equal: prices upside down, sizes and rates negated.

    What rises falls upside down: the twin visits the same points in the same order by its own colour, which is turned
    too, except where a bar closes exactly at its open.
    """
    listings = tuple(
        replace(
            c,
            inverse=False,
            mark=upside_down(c.mark),
            trade=None if c.trade is None else upside_down(c.trade),
            funding=tuple(
                replace(f, rate=-f.rate, mark_price=None if f.mark_price is None else one_over(f.mark_price))
                for f in c.funding
            ),
        )
        for c in market.listings
    )
    traders = tuple(
        replace(t, held=tuple(Held(h.contract, -h.size, one_over(h.entry), h.margin) for h in t.held))
        for t in market.traders
    )
    return replace(market, listings=listings, traders=traders)


def with_a_twin(market: Market) -> Market:
    """Return the market without what has no mirror: what counts in prices or in base units."""
    return with_venue(market, impact=0.0, bankruptcy_band=0.0)


@settings(CI, max_examples=100)
@given(markets(inverse=True))
def test_inverse_equals_linear_upside_down(market: Market) -> None:
    market = with_a_twin(market)
    same_figures(replay_state(market).out, replay_state(linear_twin(market)).out, turn=-1)


# -- nothing happens ------------------------------------------------------------


@settings(CI, max_examples=40)
@given(markets())
def test_without_a_shock_nothing_happens(market: Market) -> None:
    def still(bars: Ohlc) -> Ohlc:
        return Ohlc(*((bars.open[0],) * len(bars.open) for _ in range(4)))

    listings = tuple(replace(c, mark=still(c.mark), trade=None, funding=()) for c in market.listings)
    traders = tuple(replace(t, wallet=t.wallet + 1e6, isolated=False) for t in market.traders)
    out = replay_state(replace(market, listings=listings, traders=traders)).out
    assert out.events == []
    assert all(row == out.wallet[0] for row in out.wallet)
    assert all(fund == [market.venue.fund_start] * len(fund) for fund in out.fund)
