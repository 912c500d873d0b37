"""Who pays in small markets, against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from backtester.clearing import ClearingResult, ClearingRules, Guest, simulate
from backtester.domain.enums import TierForm
from backtester.domain.margin_tiers import MarginTier, TierTable
from tests.unit.clearing.scene import HOUR, MINUTE, A, B, Holding, market, population

PLAIN = ClearingRules(fund_start=0.0, impact=0.0, volume_share=float("inf"))
FALL = [(100.0, 100.0), (100.0, 89.0), (89.0, 89.0)]  # through the trigger at 90.909...
GAP = [(100.0, 100.0), (80.0, 80.0), (80.0, 80.0)]  # beyond the bankruptcy price of 90
LONG = Holding(0, 1.0, 100.0, 10.0, isolated=True)  # 10x: liquidated at (100 - 10) / 0.99, bankrupt at 90


def checked(result: ClearingResult) -> ClearingResult:
    assert result.summary["conservation_error"] <= 1e-12
    return result


def worth(result: ClearingResult) -> list[float]:
    return result.fund["worth"].to_list()


def test_a_surplus_goes_to_the_fund() -> None:
    m = market(FALL)
    result = checked(simulate(m, population(m, LONG, Holding(1, -1.0, 100.0, 100.0)), PLAIN))
    row = result.liquidations.row(0, named=True)
    assert row["mark_price"] == pytest.approx(90 / 0.99)
    assert row["bankruptcy_price"] == pytest.approx(90.0)
    assert row["margin_balance"] == pytest.approx(row["requirement"])
    assert worth(result) == pytest.approx([0.0, 90 / 0.99 - 90, 90 / 0.99 - 90])
    assert result.accounts["equity"].to_list() == pytest.approx([0.0, 111.0])
    assert result.accounts["survived"].to_list() == [False, True]
    at_once = market(FALL[1:])
    result = simulate(at_once, population(at_once, LONG, Holding(1, -1.0, 100.0, 100.0)), PLAIN)
    assert worth(result)[0] > 0.9
    assert result.summary["fund_low"] == 0.0  # with which it began


def test_rounding_is_no_lack_of_the_fund() -> None:
    """Seven positions are taken over and closed against the shorts at their mean bankruptcy price: nothing is left."""
    m = market([(100, 100), (100, 100), (80, 80), (70, 70), (70, 70)])
    sizes = (0.7, 1.1, 1.1, 0.7, 1.1, 0.3)
    entries = (98.94, 103.15, 102.7, 96.04, 92.84, 96.2)
    wallets = (19.33, 14.06, 5.35, 16.73, 31.02, 32.62)
    longs = [Holding(k, q, p, w) for k, (q, p, w) in enumerate(zip(sizes, entries, wallets, strict=True))]
    third = sum(sizes) / 3
    shorts = [Holding(6, -third, 100.0, 1000.0), Holding(7, -third, 101.0, 1000.0)]
    shorts.append(Holding(8, -sum(sizes) + 2 * third, 101.3, 1000.0))
    rules = PLAIN.with_changes(
        volume_share=0.0, waterfall=("market", "fund", "deleverage", "share"), sharing_hours=1 / 60
    )
    result = checked(simulate(m, population(m, *longs, *shorts), rules))
    assert len(result.deleveragings) > 0
    assert result.clawbacks.is_empty()
    assert not result.fund.filter(pl.col("worth").abs() < 1e-12)["deleveraging"].any()


def test_a_deficit_is_covered_by_the_fund() -> None:
    m = market(GAP)
    rules = PLAIN.with_changes(fund_start=25.0)
    result = checked(simulate(m, population(m, LONG, Holding(1, -1.0, 100.0, 100.0)), rules))
    assert worth(result) == pytest.approx([25.0, 15.0, 15.0])
    assert result.summary["deleveraged_accounts"] == 0
    assert result.summary["fund_deficit"] == pytest.approx(10.0)


def test_a_deficit_beyond_the_fund_is_taken_from_the_other_side() -> None:
    m = market(GAP)
    rules = PLAIN.with_changes(fund_start=4.0)
    result = checked(simulate(m, population(m, LONG, Holding(1, -1.0, 100.0, 100.0)), rules))
    # 0.4 is sold at 80, a loss of 10 each; 0.6 is closed against the short at 90
    row = result.deleveragings.row(0, named=True)
    assert (row["quantity"], row["price"], row["mark_price"]) == pytest.approx((-0.6, 90.0, 80.0))
    assert row["fraction"] == pytest.approx(0.6)
    assert row["profit_lost"] == pytest.approx(6.0)
    assert worth(result) == pytest.approx([4.0, 0.0, 0.0], abs=1e-12)
    assert result.accounts["equity"].to_list() == pytest.approx([0.0, 100 + 20 - 6])
    assert result.summary["sold_notional"] == pytest.approx(0.4 * 80)


def test_deleveraging_across_three_accounts_the_last_in_part() -> None:
    m = market(GAP)
    five = Holding(0, 5.0, 100.0, 50.0, isolated=True)
    holder = Holding(1, 1.0, 100.0, 1000.0, leverage=1.0)
    shorts = [Holding(2, -3.0, 100.0, 900.0, leverage=5.0), Holding(3, -1.0, 100.0, 300.0, leverage=20.0)]
    result = checked(
        simulate(m, population(m, five, holder, *shorts, Holding(4, -2.0, 100.0, 600.0, leverage=10.0)), PLAIN)
    )
    # by return on initial margin: 20 % x 20, then x 10, then x 5
    assert result.deleveragings["account"].to_list() == [3, 4, 2]
    assert result.deleveragings["rank"].to_list() == [1, 2, 3]
    assert result.deleveragings["quantity"].to_list() == pytest.approx([-1.0, -2.0, -2.0])
    assert result.deleveragings["fraction"].to_list() == pytest.approx([1.0, 1.0, 2 / 3])
    assert result.deleveragings["light"].to_list() == [1, 3, 5]  # 1/6, 3/6 and 6/6 of the quantity
    assert result.deleveragings["profit_lost"].to_list() == pytest.approx([10.0, 20.0, 20.0])
    assert result.summary["deleveraged_accounts"] == 3
    assert worth(result) == pytest.approx([0.0, 0.0, 0.0])


def test_winners_share_what_the_fund_lacks() -> None:
    m = market(GAP, start=24 * HOUR - 2 * MINUTE)  # the second bar ends the day
    rules = PLAIN.with_changes(fund_start=4.0, waterfall=("market", "fund", "share"))
    shorts = (Holding(1, -0.75, 100.0, 100.0), Holding(2, -0.25, 100.0, 100.0))
    result = checked(simulate(m, population(m, LONG, *shorts), rules))
    assert result.clawbacks["profit"].to_list() == pytest.approx([15.0, 5.0])
    assert result.clawbacks["rate"].to_list() == pytest.approx([0.3, 0.3])
    assert result.clawbacks["paid"].to_list() == pytest.approx([4.5, 1.5])
    assert worth(result) == pytest.approx([4.0, 0.0, 0.0], abs=1e-12)
    assert result.accounts["equity"].to_list() == pytest.approx([0.0, 110.5, 103.5])


def test_isolated_winners_pay_from_what_stands_behind_their_positions() -> None:
    m = market([*GAP, (80.0, 230.0)], start=24 * HOUR - 2 * MINUTE)
    rules = PLAIN.with_changes(fund_start=4.0, waterfall=("market", "fund", "share"))
    shorts = (Holding(1, -0.75, 100.0, 100.0, isolated=True), Holding(2, -0.25, 100.0, 100.0, isolated=True))
    result = checked(simulate(m, population(m, LONG, *shorts), rules))
    assert result.clawbacks["paid"].to_list() == pytest.approx([4.5, 1.5])
    # the first stands on 95.5 now: without the loss it would last until 175 / 0.7575 = 231
    row = result.liquidations.row(-1, named=True)
    assert (row["account"], row["mark_price"]) == (1, pytest.approx((75 + 95.5) / 0.7575))
    assert row["margin_balance"] == pytest.approx(row["requirement"])


def test_no_winner_pays_more_than_the_profit() -> None:
    m = market(GAP, start=24 * HOUR - 2 * MINUTE)
    rules = PLAIN.with_changes(waterfall=("market", "fund", "share"))
    # the long loses 10 beyond its margin, the late short has won 5 only; the old short's profit is older
    old = Holding(1, -0.75, 160.0, 100.0)
    result = checked(simulate(m, population(m, LONG, old, Holding(2, -0.25, 85.0, 100.0)), rules))
    assert result.clawbacks["profit"].to_list() == pytest.approx([15.0, 5.0])
    assert result.clawbacks["paid"].to_list() == pytest.approx([7.5, 2.5])
    assert worth(result)[-1] == pytest.approx(0.0, abs=1e-12)


def test_two_contracts_share_a_fund() -> None:
    still = [(100.0, 100.0)]
    m = market([*FALL, (89.0, 89.0), (89.0, 89.0)], [*still * 3, (90.0, 89.0), (89.0, 89.0)])
    holdings = (
        LONG,
        Holding(1, -1.0, 100.0, 100.0),
        Holding(2, 1.0, 100.0, 9.5, isolated=True, contract=1),  # bankrupt at 90.5, the gap goes to 90
        Holding(3, -1.0, 100.0, 100.0, contract=1),
    )
    shared = checked(simulate(m, population(m, *holdings), PLAIN))
    assert shared.summary["deleveraged_accounts"] == 0
    assert worth(shared)[-1] == pytest.approx(90 / 0.99 - 90 - 0.5)
    own = checked(simulate(m, population(m, *holdings), PLAIN.with_changes(fund="contract")))
    assert own.deleveragings.select("symbol", "account").rows() == [(B, 3)]
    last = own.fund.group_by("fund", maintain_order=True).last()
    assert dict(zip(last["fund"], last["worth"], strict=True)) == pytest.approx({A: 90 / 0.99 - 90, B: 0.0})


def test_liquidations_move_the_price_into_more_liquidations() -> None:
    m = market([(100.0, 100.0), (100.0, 90.5), (90.5, 90.5)], volume=1.0)
    holdings = (
        LONG,  # liquidated at 90.909, reached
        Holding(1, 1.0, 99.0, 9.9, isolated=True),  # at 90, not reached by the market alone
        Holding(2, -2.0, 100.0, 1000.0),
    )
    calm = checked(simulate(m, population(m, *holdings), PLAIN))
    assert calm.liquidations["account"].to_list() == [0]
    rules = PLAIN.with_changes(fund_start=10.0, impact=0.02, impact_half_life_minutes=float("inf"))
    cascade = checked(simulate(m, population(m, *holdings), rules))
    assert cascade.liquidations["account"].to_list() == [0, 1]
    # the first sale of 1, the bar's whole volume, moves the price by 2 %: the mark jumps past the trigger at 90
    assert cascade.liquidations["mark_price"].to_list() == pytest.approx([90 / 0.99, 90 / 0.99 * 0.98])
    assert cascade.bars["price_shift"].to_list() == pytest.approx([0.0, -0.04, -0.04])
    assert cascade.bars["mark_price"].to_list() == pytest.approx([100.0, 90.5 * 0.96, 90.5 * 0.96])
    # sold at the trade price moved by half of each sale's own impact
    first = 90 / 0.99 * 0.99 - 90
    second = 90 / 0.99 * 0.97 - 89.1
    assert worth(cascade)[-1] == pytest.approx(10 + first + second)


def test_the_mark_follows_as_far_as_stated() -> None:
    m = market([(100.0, 100.0), (100.0, 90.5), (90.5, 90.5)], volume=1.0)
    holdings = (LONG, Holding(1, 1.0, 99.0, 9.9, isolated=True), Holding(2, -2.0, 100.0, 1000.0))
    rules = PLAIN.with_changes(impact=0.02, mark_share=0.0, impact_half_life_minutes=1.0)
    result = checked(simulate(m, population(m, *holdings), rules))
    assert result.liquidations["account"].to_list() == [0]
    assert result.bars["mark_price"].to_list() == [100.0, 90.5, 90.5]
    assert result.bars["price_shift"].to_list() == pytest.approx([0.0, -0.02, -0.01])


def test_the_engine_sells_within_its_share_of_the_volume() -> None:
    m = market([(100.0, 100.0), (100.0, 90.5), (90.5, 90.5), (90.5, 90.5)], volume=4.0)
    rules = PLAIN.with_changes(volume_share=0.1)
    result = checked(simulate(m, population(m, LONG, Holding(1, -1.0, 100.0, 100.0)), rules))
    assert result.bars["inventory"].to_list() == pytest.approx([0.0, 0.6, 0.2, 0.0], abs=1e-15)
    assert worth(result)[-1] == pytest.approx(0.4 * (90 / 0.99 - 90) + 0.6 * 0.5)


def test_a_fallen_fund_stops_the_sales_and_deleverages_at_the_mark() -> None:
    m = market([(100.0, 100.0), (86.0, 86.0), (86.0, 80.0), (80.0, 80.0)])
    rules = PLAIN.with_changes(fund_start=10.0, drawdown=0.3, deleverage_price="mark")
    late = Holding(2, 1.0, 100.0, 18.0, isolated=True)  # liquidated at 82 / 0.99
    result = checked(simulate(m, population(m, LONG, Holding(1, -2.0, 100.0, 200.0), late), rules))
    # 4 of 10 lost at 86 is more than 30 %: what is taken over next is closed at the leg's end, at 80
    assert worth(result)[:2] == pytest.approx([10.0, 6.0])
    row = result.deleveragings.row(0, named=True)
    assert (row["account"], row["price"], row["profit_lost"]) == (1, 80.0, 0.0)
    assert worth(result)[-1] == pytest.approx(6.0 - 2.0)
    assert result.fund["peak"].to_list() == [10.0] * 4
    assert result.fund["drawdown"].to_list() == pytest.approx([0.0, 0.4, 0.6, 0.6])


def test_the_previous_mark_and_the_band_around_the_mark() -> None:
    m = market(GAP)
    holdings = (LONG, Holding(1, -1.0, 100.0, 100.0))
    before = checked(simulate(m, population(m, *holdings), PLAIN.with_changes(deleverage_price="previous_mark")))
    assert before.deleveragings["price"].to_list() == [100.0]
    assert worth(before)[-1] == pytest.approx(10.0)  # the engine stood at 90
    band = checked(simulate(m, population(m, *holdings), PLAIN.with_changes(bankruptcy_band=0.05)))
    assert band.deleveragings["price"].to_list() == [80.0]
    assert worth(band)[-1] == pytest.approx(-10.0)
    assert band.summary["uncovered_loss"] == pytest.approx(10.0)


def test_an_account_that_could_not_bear_the_price_is_passed_over() -> None:
    m = market([(100.0, 100.0), (80.0, 80.0), (80.0, 80.0), (80.0, 60.0)], volume=0.0, funding=[(2 * MINUTE, -0.2)])
    able = Holding(1, -0.5, 100.0, 100.0)
    poor = Holding(2, -0.5, 84.0, 8.6)  # pays 8 of funding: 0.6 + 12 at 60, but 0.6 - 3 at 90
    rules = PLAIN.with_changes(fund_start=11.0, ranking="hyperliquid", volume_share=0.1)
    result = checked(simulate(m, population(m, LONG, able, poor), rules))
    # the engine stands at 90 and has received 16: 27 - 30 at 60
    assert result.deleveragings.select("account", "rank", "price").rows() == [(1, 2, 90.0)]
    assert result.bars["inventory"].to_list()[-1] == pytest.approx(0.5)


def test_daily_booking_at_eight() -> None:
    m = market(FALL, start=8 * HOUR - 3 * MINUTE)
    rules = PLAIN.with_changes(booking="daily", booking_hour=8.0)
    result = checked(simulate(m, population(m, LONG, Holding(1, -1.0, 100.0, 100.0)), rules))
    surplus = 90 / 0.99 - 90
    assert result.fund["balance"].to_list() == pytest.approx([0.0, 0.0, surplus])
    assert result.fund["pending"].to_list() == pytest.approx([0.0, surplus, 0.0])


def test_everybody_pays_funding_the_engine_too() -> None:
    m = market([(100.0, 100.0), (100.0, 90.5), (90.5, 90.5)], volume=0.0, funding=[(2 * MINUTE, 0.01)])
    rules = PLAIN.with_changes(fund_start=1.0, volume_share=0.1)
    result = checked(simulate(m, population(m, LONG, Holding(1, -1.0, 100.0, 100.0)), rules))
    # the engine holds what it could not sell, at 90, and pays 1 % of 90.5 to the short
    assert result.fund["funding"].to_list() == pytest.approx([0.0, 0.0, -0.905])
    assert result.accounts["equity"].to_list() == pytest.approx([0.0, 100 + 9.5 + 0.905])
    assert worth(result)[-1] == pytest.approx(1.0 + 0.5 - 0.905)


def test_at_market_the_account_keeps_the_rest_and_pays_the_fee() -> None:
    m = market(FALL)
    rules = PLAIN.with_changes(takeover="market", liquidation_fee=0.002)
    result = checked(simulate(m, population(m, LONG, Holding(1, -1.0, 100.0, 100.0)), rules))
    mark = 90 / 0.99
    fee = 0.002 * mark
    assert result.liquidations["liquidation_fee"].to_list() == pytest.approx([fee])
    assert result.accounts["equity"].to_list() == pytest.approx([mark - 90 - fee, 111.0])
    assert worth(result)[-1] == pytest.approx(fee)


def test_a_step_closes_the_fewest_lots_down_to_the_lower_bracket() -> None:
    tiers = (
        MarginTier(notional_floor=0.0, notional_cap=100.0, maintenance_margin_rate=0.01, max_leverage=100.0),
        MarginTier(notional_floor=100.0, maintenance_margin_rate=0.05, max_leverage=20.0),
    )
    table = TierTable(symbol=A, tiers=tiers, form=TierForm.PROGRESSIVE)
    m = market([(100.0, 100.0), (100.0, 92.0)], tables=[table], lot=0.1)
    holdings = (Holding(0, 2.0, 100.0, 20.0, isolated=True), Holding(1, -2.0, 100.0, 500.0))
    result = checked(simulate(m, population(m, *holdings), PLAIN.with_changes(step="tier")))
    # 20 + 2 (p - 100) = 2 p 0.05 - 4 at p = 176 / 1.9; below 100 there lie 1.0 at most
    row = result.liquidations.row(0, named=True)
    assert (row["kind"], row["tier"], row["quantity"]) == ("step", 2, pytest.approx(1.0))
    assert row["mark_price"] == pytest.approx(176 / 1.9)
    assert len(result.liquidations) == 1
    assert result.accounts["survived"].to_list() == [True, True]
    assert result.accounts["equity"][0] == pytest.approx(20 - 1.0 * (100 - 176 / 1.9) - 8)


def test_a_flat_table_liquidates_on_its_boundary_on_a_favourable_move() -> None:
    tiers = (
        MarginTier(notional_floor=0.0, notional_cap=110.0, maintenance_margin_rate=0.01, max_leverage=100.0),
        MarginTier(notional_floor=110.0, maintenance_margin_rate=0.25, max_leverage=4.0),
    )
    m = market([(100.0, 120.0), (120.0, 120.0)], tables=[TierTable(symbol=A, tiers=tiers, form=TierForm.FLAT)])
    holdings = (Holding(0, 1.0, 100.0, 10.0, isolated=True), Holding(1, -1.0, 100.0, 500.0))
    result = checked(simulate(m, population(m, *holdings), PLAIN))
    assert result.liquidations["mark_price"].to_list()[0] == pytest.approx(110.0)
    assert result.liquidations["requirement"].to_list()[0] == pytest.approx(27.5)


def test_a_cross_account_over_two_contracts() -> None:
    fall = [(100.0, 100.0), (100.0, 80.0)]
    m = market(fall, fall)
    holdings = (
        Holding(0, 1.0, 100.0, 20.0),
        Holding(0, 1.0, 100.0, 20.0, contract=1),
        Holding(1, -1.0, 100.0, 100.0),
        Holding(2, -1.0, 100.0, 100.0, contract=1),
    )
    result = checked(simulate(m, population(m, *holdings), PLAIN))
    # 20 + 2 (p - 100) = 2 p 0.01 at p = 180 / 1.98; each gives up its half of what is left
    assert result.liquidations["symbol"].to_list() == [A, B]
    assert result.liquidations["mark_price"].to_list() == pytest.approx([180 / 1.98] * 2)
    assert result.liquidations["bankruptcy_price"].to_list() == pytest.approx([90.0, 90.0])
    assert worth(result)[-1] == pytest.approx(2 * (180 / 1.98 - 90))


def test_a_hedged_cross_account_outlives_the_fall() -> None:
    m = market([(100.0, 100.0), (100.0, 50.0)], [(100.0, 100.0), (100.0, 50.0)])
    holdings = (
        Holding(0, 1.0, 100.0, 20.0),
        Holding(0, -1.0, 100.0, 20.0, contract=1),
        Holding(1, -1.0, 100.0, 100.0),
        Holding(2, 1.0, 100.0, 100.0, contract=1),
    )
    result = checked(simulate(m, population(m, *holdings), PLAIN))
    assert result.accounts["equity"].to_list() == pytest.approx([20.0, 150.0, 50.0])
    assert result.liquidations.is_empty()


def test_an_inverse_market_is_the_mirror_of_a_linear_one() -> None:
    prices = [(100.0, 96.0), (96.0, 104.0), (104.0, 90.0), (80.0, 70.0), (70.0, 75.0)]
    inverse = market(prices, inverse=True)
    mirrored = market([(1 / o, 1 / c) for o, c in prices])
    sizes = [(0, 1000.0, 100.0, 1.0), (1, -600.0, 98.0, 2.0), (2, -400.0, 99.0, 3.0)]
    rules = PLAIN.with_changes(fund_start=0.01)
    real = checked(simulate(inverse, population(inverse, *(Holding(a, q, e, w) for a, q, e, w in sizes)), rules))
    dual = checked(simulate(mirrored, population(mirrored, *(Holding(a, -q, 1 / e, w) for a, q, e, w in sizes)), rules))
    assert len(real.liquidations) == len(dual.liquidations) == 1
    assert real.liquidations["mark_price"][0] == pytest.approx(1 / dual.liquidations["mark_price"][0])
    for column in ("equity", "profit_lost"):
        assert real.accounts[column].to_list() == pytest.approx(dual.accounts[column].to_list(), abs=1e-12)
    assert worth(real) == pytest.approx(worth(dual), abs=1e-12)


def test_the_guest_is_deleveraged_and_clawed_back() -> None:
    m = market([(100.0, 99.0), *GAP[1:]], start=24 * HOUR - 2 * MINUTE)
    path = pl.DataFrame(
        {
            "time": [24 * HOUR - 2 * MINUTE],
            "symbol": [A],
            "quantity_change": [-1.0],
            "price": [100.0],
            "cash_change": [-0.05],
        }
    )
    guest = Guest(1000.0, path, leverage=40.0)
    holdings = (LONG, Holding(1, -1.0, 100.0, 1000.0))
    result = checked(simulate(m, population(m, *holdings), PLAIN, guest=guest))
    row = result.guest.row(0, named=True)
    assert (row["kind"], row["quantity"], row["price"], row["amount"]) == ("auto_deleverage", -1.0, 90.0, -10.0)
    last = result.accounts.row(-1, named=True)
    assert last["guest"]
    assert last["equity"] == pytest.approx(1000 - 0.05 + 10)
    assert result.lights["light"].to_list()[0] == 3  # half of the shorts' quantity, at the front
    sharing = PLAIN.with_changes(waterfall=("market", "fund", "share"))
    shared = checked(simulate(m, population(m, *holdings), sharing, guest=guest))
    assert shared.guest["kind"].to_list() == ["socialized_loss"]
    assert shared.guest["amount"].to_list() == pytest.approx([-5.0])


def test_the_guest_is_never_liquidated() -> None:
    m = market(FALL)
    path = pl.DataFrame({"time": [0], "symbol": [A], "quantity_change": [1.0], "price": [100.0], "cash_change": [0.0]})
    result = simulate(m, population(m, LONG, Holding(1, -1.0, 100.0, 100.0)), PLAIN, guest=Guest(1.0, path))
    assert result.accounts["equity"][-1] == pytest.approx(-10.0)
    assert result.liquidations["account"].to_list() == [0]


def test_the_same_inputs_give_the_same_result() -> None:
    m = market(GAP)
    pop = population(m, LONG, Holding(1, -1.0, 100.0, 100.0))
    first, second = (simulate(m, pop, PLAIN) for _ in range(2))
    assert first.summary == second.summary
    assert first.deleveragings.equals(second.deleveragings)
    assert np.isfinite([v for v in first.summary.values() if isinstance(v, float)]).all()
