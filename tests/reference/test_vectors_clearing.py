"""Worked examples of funds, queues, bankruptcy prices, steps and shared losses, through the exact reference.

Their figures and sources stand in ``tests/unit/vectors/vectors.json``. ``SIGN_ONLY``, ``ONE_STEP`` and ``OURS`` name
those that prove little: a printed direction, one subtraction, or a result that we derived from the published formula.
"""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from tests.reference.case import Ohlc, Tier, Tiers
from tests.reference.clearing import replay
from tests.reference.clearing_accounts import ZERO, Account, Holding, Terms, Trunk
from tests.reference.clearing_case import Held, Listing, Market, Trader, Venue
from tests.reference.clearing_engine import closing_fee
from tests.reference.clearing_queue import (
    Standing,
    binance_score,
    bitmex_score,
    fifths_of_queue,
    order_of,
    shared_loss,
)
from tests.reference.prices import Kind
from tests.unit.vectors.table import Vector, read_vectors

VECTORS = read_vectors()
KINDS = {"insurance_fund", "adl_rank", "socialised_loss", "bankruptcy_price", "partial_liquidation"}
SIGN_ONLY = {"bybit-ins-AB", "bybit-ins-6950"}
ONE_STEP = {"okx-partial-liq-2019", "bitmex-insurance-1", "bitmex-insurance-2", "btcmex-ins"}
OURS = {"derived-adl-bitmex-long", "derived-adl-binance"}
NO_RULE = {"lfest-bad-debt"}  # a convention of one project: an uncapped fee on a bid and ask trigger

QUANTUM = Fraction(1, 10**6)  # of a dollar
DIGITS = Fraction(1, 10**40)  # stored amounts are cut to 256 bits
TESTED: set[str] = set()


def vector(name: str) -> Vector:
    TESTED.add(name)
    return VECTORS[name]


def exact(v: Vector, key: str) -> Fraction:
    return Fraction(v.inputs[key])


def terms(*, inverse: bool = False, rate: str = "0", table: Tiers | None = None, lot: float = 0.0) -> Terms:
    table = table or Tiers((Tier(0.0, math.inf, Fraction(rate), 100.0),))  # type: ignore[arg-type]
    return Terms.of(Listing(Ohlc((), (), (), ()), table, inverse=inverse, lot=lot))


def names(prefix: str) -> list[str]:
    return sorted(name for name in VECTORS if name.startswith(prefix))


# -- bankruptcy prices -------------------------------------------------------------------------------------------------


def dydx_account(v: Vector) -> tuple[Account, dict[int, Fraction]]:
    """The example's subaccount: quote units owned, and positions at their oracle price."""
    rows = [(Fraction(q), Fraction(p)) for q, p in v.inputs["positions"]]
    each = [terms(rate=v.inputs.get("mmf", "0.1")) for _ in rows]
    wallet = Fraction(v.inputs["usdc"]) + sum(q * p for q, p in rows)
    return Account(0, each, False, wallet, holdings={i: Holding(q, p) for i, (q, p) in enumerate(rows)}), {
        i: p for i, (_, p) in enumerate(rows)
    }


@pytest.mark.parametrize("name", names("dydx-bankruptcy-"))
def test_equity_is_shared_by_requirement(name):
    v = vector(name)
    account, marks = dydx_account(v)
    i = int(v.inputs["close_index"])
    unit = account.handed_over_for(i, marks) / account.holdings[i].size
    assert account.bankruptcy_price(i, marks) == (unit if unit > 0 else None)
    quote = -exact(v, "delta") * unit / QUANTUM
    assert math.ceil(quote) == int(v.expected["quote_quantums"])


def test_the_fee_to_close_is_part_of_an_inverse_bankruptcy_price():
    """Balance plus profit less the fee at the price itself is nothing: 10,000 USD at 8,000 with 0.5 BTC behind them."""
    v = vector("bybit-inv-cross-bust")
    kind, size, fee = Kind(inverse=True), exact(v, "contracts"), exact(v, "taker")
    without = kind.bankrupt_at(size, exact(v, "entry"), exact(v, "balance"))
    price = without * (1 + fee)
    left = exact(v, "balance") + kind.profit(size, exact(v, "entry"), price) - size * kind.worth(price) * fee
    assert left == 0
    assert abs(price - Fraction(v.expected["bankruptcy_price"])) <= Fraction(v.tolerance)


# -- the fund ----------------------------------------------------------------------------------------------------------


def engine_result(size: Fraction, bust: Fraction, execution: Fraction) -> Fraction:
    """Return what the engine makes of a position taken at one price and sold at another."""
    linear = terms()
    trunk = Trunk(linear)
    trunk.take(size, linear.paid(size, bust))
    return trunk.take(-size, linear.paid(-size, execution))


@pytest.mark.parametrize("name", ["bitmex-insurance-1", "bitmex-insurance-2"])
def test_the_fund_gains_or_loses_the_difference_to_the_bankruptcy_price(name):
    v = vector(name)
    delta = engine_result(exact(v, "qty"), exact(v, "bust"), exact(v, "fill"))
    assert delta == Fraction(v.expected["delta"])
    if "fund_after" in v.expected:
        assert exact(v, "fund_before") + delta == Fraction(v.expected["fund_after"])


def test_a_fill_between_liquidation_and_bankruptcy_price_feeds_the_fund():
    v = vector("btcmex-ins")
    assert engine_result(Fraction(1), exact(v, "bust"), exact(v, "fill")) == Fraction(v.expected["delta"])


def direction(amount: Fraction) -> str:
    return "inflow" if amount > 0 else "outflow"


def test_the_same_trigger_feeds_or_drains_by_the_bankruptcy_price():
    v = vector("bybit-ins-AB")
    for who, printed in v.expected.items():
        assert direction(engine_result(Fraction(1), exact(v, f"bust_{who}"), exact(v, "exec_price"))) == printed
    v = vector("bybit-ins-6950")
    for k in ("1", "2"):
        amount = engine_result(Fraction(1), exact(v, "bust"), exact(v, f"exec_{k}"))
        assert direction(amount) == v.expected[f"f{k}"]


@pytest.mark.parametrize("name", names("dydx-insurance-"))
def test_a_capped_fee_feeds_the_fund_and_a_deficit_drains_it(name):
    v = vector(name)
    account, marks = dydx_account(v)
    h, price = account.holdings[0], exact(v, "fill_price") / abs(account.holdings[0].size) * Fraction("0.1")
    assert v.inputs["is_buy"] == (h.size < 0)
    left = account.balance((0,), marks) + account.terms[0].kind.profit(h.size, marks[0], price)
    fee = closing_fee(abs(h.size) * price, left, exact(v, "max_fee"))
    deficit = max(ZERO, -(left - fee))
    assert (fee - deficit) / QUANTUM == Fraction(v.expected["delta_quote_quantums"])


def one_bar(price: float, end: float) -> Ohlc:
    return Ohlc((price, end), (price, end), (price, end), (price, end))


@pytest.mark.parametrize("name", names("dydx-insurance-"))
def test_the_same_through_a_whole_replay(name):
    """The account fails where the mark is at the example's price (its requirement is nearly all of the worth)."""
    v = vector(name)
    size, oracle = (Fraction(x) for x in v.inputs["positions"][0])
    price = exact(v, "fill_price")
    table = Tiers((Tier(0.0, math.inf, 0.9999, 1.0),))
    venue = Venue(
        takeover="market",
        liquidation_fee=exact(v, "max_fee"),  # type: ignore[arg-type]
        fund_start=Fraction(10**6),  # type: ignore[arg-type]
        waterfall="market, fund",
    )
    trader = Trader(exact(v, "usdc") + size * oracle, (Held(0, size, oracle),))  # type: ignore[arg-type]
    market = Market((Listing(one_bar(price, price), table),), (trader,), venue, (0, 60_000), 60_000)
    out = replay(market)
    assert abs((out.fund[-1][0] - 10**6) / QUANTUM - Fraction(v.expected["delta_quote_quantums"])) < DIGITS
    assert abs(out.money[0] - out.money[-1]) < DIGITS


# -- deleveraging ------------------------------------------------------------------------------------------------------


def test_lights_are_fifths_of_quantity():
    v = vector("bitmex-adl-quintile")
    rows = {row["id"]: row for row in v.inputs["accounts"]}
    order = order_of({name: Fraction(row["rank_score"]) for name, row in rows.items()})
    assert order == v.expected["order"]
    fifths = fifths_of_queue([Fraction(rows[name]["qty"]) for name in order])
    assert [f"{20 * fifth}%" for fifth in fifths] == v.expected["percentile"]


def test_a_deleveraged_account_gets_the_bankruptcy_price():
    v = vector("dydx-deleverage-54999")
    oracle = exact(v, "oracle")
    size, owned = exact(v, "liquidated_size"), exact(v, "liquidated_usdc")
    failing = Account(0, [terms(rate="0.05")], False, owned + size * oracle, holdings={0: Holding(size, oracle)})
    price = failing.bankruptcy_price(0, {0: oracle})
    assert price == Fraction(v.expected["price"])
    size, owned = exact(v, "offsetting_size"), exact(v, "offsetting_usdc")
    other = Account(1, [terms()], False, owned + size * oracle, holdings={0: Holding(size, oracle)})
    other.close(0, size, price)
    assert other.wallet == Fraction(v.expected["offset_usdc_after"])


def test_the_published_formula_of_profit_times_leverage():
    """1,000 USD of an inverse contract from 5,000 to 5,500 at 10x: 9.09 % times 0.1818 / 0.0382."""
    v = vector("derived-adl-bitmex-long")
    inverse, entry, mark = terms(inverse=True), exact(v, "entry"), exact(v, "mark")
    size = exact(v, "contracts")
    margin = size / entry / exact(v, "leverage")
    account = Account(0, [inverse], True, ZERO, holdings={0: Holding(size, entry, margin)})
    score = bitmex_score(account.standing(0, {0: mark}))
    assert score > 0
    assert v.expected["score_positive"] is True
    assert float(score) == pytest.approx(0.43290043, abs=5e-9)


def test_the_published_formula_of_profit_times_margin_ratio():
    v = vector("derived-adl-binance")
    wallet, profit = exact(v, "wallet"), exact(v, "upnl")
    # An equity of 1,500 and a maintenance of 30: the example's 0.02.
    standing = Standing(profit, Fraction(1), Fraction(1), wallet, wallet + profit, exact(v, "mm"))
    assert binance_score(standing) == Fraction(v.expected["leverage_pnl"])


# -- shared losses and steps -------------------------------------------------------------------------------------------


def test_winners_share_what_the_fund_leaves():
    v = vector("58coin-clawback")
    mine, all_of_them = exact(v, "user_profit"), exact(v, "total_profit")
    profits = [mine, all_of_them - mine, Fraction(-(10**9))]
    rate, paid = shared_loss(exact(v, "after_fund"), profits, [abs(p) for p in profits])
    assert rate == Fraction(v.expected["coefficient"])
    assert paid[0] == Fraction(v.expected["user_pays"])
    assert sum(paid) == exact(v, "after_fund")


def test_a_step_to_the_first_tier():
    """15,000 contracts of 1 at 1, of which the first tier holds 2,000: the next begins a contract higher."""
    v = vector("okx-partial-liq-2019")
    held, most = float(v.inputs["position_swaps"]), float(v.inputs["tier1_max"])
    table = Tiers(
        (Tier(0.0, most + 1, 0.01, 100.0), Tier(most + 1, math.inf, 0.02, 100.0)), form="flat", unit="contracts"
    )
    trader = Trader(250.0, (Held(0, held, 1.0),))  # between 1 % of 2,000 and 2 % of 15,000
    venue = Venue(step="tier", step_tiers=1, waterfall="market, fund")
    market = Market((Listing(one_bar(1.0, 1.0), table, lot=1.0),), (trader,), venue, (0, 60_000), 60_000)
    step, sale = replay(market).events
    assert sale["size"] == step["size"]
    assert (step["kind"], step["size"]) == ("step", Fraction(v.expected["close_swaps"]))


def test_every_example_of_these_kinds_is_tested_or_no_rule():
    of_kinds = {name for name, v in VECTORS.items() if v.kind in KINDS}
    assert len(of_kinds) == 31
    assert of_kinds - TESTED == NO_RULE
    assert {name for name in of_kinds if VECTORS[name].convention} == NO_RULE
    assert SIGN_ONLY | ONE_STEP | OURS <= TESTED
