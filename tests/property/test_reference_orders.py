"""Orders in the reference account: laws on random paths, and single rules with figures worked out by hand."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings

from tests.property.series import path_of
from tests.property.strategies import CI, rich_cases
from tests.reference.account import replay
from tests.reference.case import (
    Case,
    Contract,
    Ohlc,
    Outcome,
    OwnFill,
    Setting,
    Settings,
    Settlement,
    Submit,
    Target,
    Tier,
    Tiers,
    Transfer,
)

HOUR = 3_600_000
TABLE = (Tiers((Tier(0.0, math.inf, 0.01, 1000.0),)),)
FLAT = (100.0, 100.0, 100.0, 100.0)


def bars(*rows: tuple[float, float, float, float]) -> Ohlc:
    return Ohlc(*(tuple(column) for column in zip(*rows, strict=True)))


def contract(*rows: tuple[float, float, float, float], **terms: Any) -> Contract:
    """Return a contract whose mark is its trades."""
    series = bars(*rows)
    return Contract(**{"trade": series, "mark": series, "tables": TABLE, "leverage": 10.0, "lot": 1.0, **terms})


def run(contracts: Contract | tuple[Contract, ...], *targets: Target, rules: Any = None, **more: Any) -> Outcome:
    """Replay hourly bars from hour 0 with a balance of 1000, bars read in their colour's order."""
    held = (contracts,) if isinstance(contracts, Contract) else contracts
    count = len(held[0].trade.open)
    return replay(
        Case(
            contracts=held,
            open_time=tuple(k * HOUR for k in range(count)),
            bar_ms=HOUR,
            targets=targets,
            settings=Settings(**{"balance": 1000.0, "intrabar": "color", **(rules or {})}),
            **more,
        )
    )


def fills(outcome: Outcome) -> list[tuple[int, float, float, str, str]]:
    """Return bar, signed quantity, price, liquidity and reason of each fill."""
    return [
        (
            r["bar"],
            float(r["quantity"]) * (1 if r["side"] == "buy" else -1),
            pytest.approx(float(r["price"]), rel=1e-12),
            r["liquidity"],
            r["reason"],
        )
        for r in outcome.fills
    ]


def ends(outcome: Outcome) -> list[tuple[str, str, str, float]]:
    """Return origin, status, reason and filled quantity of each order, in the order in which they ended."""
    return [(o["origin"], o["status"], o["reason"], float(o["filled_quantity"])) for o in outcome.orders]


# -- laws --------------------------------------------------------------------------------------------------------


def stopped_at(drawn: Ohlc, side: int, level: Fraction) -> tuple[int, Fraction] | None:
    """Return the bar and the price at which a position opened at the open of bar 1 is stopped."""
    for bar in range(1, len(drawn.open)):
        first, worst = Fraction(drawn.open[bar]), Fraction((drawn.low if side > 0 else drawn.high)[bar])
        if bar > 1 and side * (first - level) <= 0:
            return bar, first
        if side * (worst - level) <= 0:
            return bar, level
    return None


@pytest.mark.parametrize("seed", range(60))
def test_a_position_never_outlives_its_stop(seed: int) -> None:
    dice = random.Random(seed)
    drawn, side = path_of(dice, 20, 100.0, 0.02), dice.choice([1, -1])
    stop = dice.uniform(0.01, 0.06)
    level = Fraction(drawn.open[1]) * (1 - side * Fraction(stop))
    outcome = replay(
        Case(
            contracts=(Contract(drawn, drawn, TABLE, leverage=10.0),),
            open_time=tuple(k * HOUR for k in range(20)),
            bar_ms=HOUR,
            targets=(Target(0, 0, side * 0.5),),
            settings=Settings(intrabar=dice.choice(["adverse", "color"])),
            settings_rows=(Setting(0, 0, "stop_loss", stop),),
        )
    )
    found = [(r["bar"], r["price"]) for r in outcome.fills[1:]]
    expected = stopped_at(drawn, side, level)
    assert found == ([] if expected is None else [expected])
    assert [r["reason"] for r in outcome.fills[1:]] == ["stop_loss"] * len(found)


@settings(CI, max_examples=120)
@given(rich_cases(groups=("requests", "times")))
def test_reduce_only_never_increases(case: Case) -> None:
    case = replace(
        case, requests=tuple(replace(r, reduce_only=True) if isinstance(r, Submit) else r for r in case.requests)
    )
    held: dict[int, Fraction] = {}
    for row in replay(case).fills:
        signed = row["quantity"] * (1 if row["side"] == "buy" else -1)
        before = held.get(row["symbol"], Fraction(0))
        if row["reason"] == "order":
            assert before * signed < 0
            assert abs(signed) <= abs(before)
        held[row["symbol"]] = before + signed


@settings(CI, max_examples=120)
@given(rich_cases(groups=("hedge", "requests", "brackets", "ladders")))
def test_legs_keep_their_side(case: Case) -> None:
    """A long leg never sells more than it holds, a short one never buys more."""
    held: dict[tuple[int, str], Fraction] = {}
    for row in replay(case).fills:
        key = (row["symbol"], row["position_side"])
        held[key] = held.get(key, Fraction(0)) + row["quantity"] * (1 if row["side"] == "buy" else -1)
        side = 1 if key[1] == "long" else -1
        assert side * held[key] >= -Fraction(1, 2**150) * row["quantity"]


# -- resting orders ----------------------------------------------------------------------------------------------


def test_a_new_limit_takes_and_an_older_one_makes() -> None:
    """Bar 1 opens at 98, below the limit 99 that is new there; bar 2 opens at 94, below 95, which has rested."""
    asked = (Submit(0, 0, True, 1.0, "limit", limit=99.0), Submit(0, 0, True, 2.0, "limit", limit=95.0))
    outcome = run(contract(FLAT, (98, 99, 97, 98), (94, 96, 93, 95)), requests=asked)
    assert fills(outcome) == [(1, 1.0, 98.0, "taker", "order"), (2, 2.0, 95.0, "maker", "order")]


def test_a_post_only_order_that_would_take_is_rejected() -> None:
    asked = (Submit(0, 0, True, 1.0, "limit", limit=101.0, post_only=True),)
    outcome = run(contract(FLAT, FLAT), requests=asked)
    assert ends(outcome) == [("order", "rejected", "post_only", 0.0)]


def test_the_first_fill_of_a_group_cancels_the_other() -> None:
    """The bar falls from 100 to 96 first (it closes higher): the stop at 97 comes before the target at 103."""
    asked = (
        Submit(0, 0, True, 4.0),
        Submit(0, 0, False, 4.0, "stop", trigger=97.0, reduce_only=True, group=1),
        Submit(0, 0, False, 4.0, "take_profit", trigger=103.0, reduce_only=True, group=1),
    )
    outcome = run(contract(FLAT, (100, 105, 96, 104)), requests=asked)
    assert fills(outcome) == [(1, 4.0, 100.0, "taker", "order"), (1, -4.0, 97.0, "taker", "order")]
    assert ends(outcome)[1] == ("order", "cancelled", "oco", 0.0)


def test_a_trailing_stop_follows_the_path() -> None:
    """Low 99 first, then 110: the level rises to 110*0.95 = 104.5, which the way to the close 104 passes."""
    asked = (Submit(0, 0, True, 2.0), Submit(0, 0, False, 2.0, "trailing_stop", fraction=0.05, reduce_only=True))
    outcome = run(contract(FLAT, (100, 110, 99, 104)), requests=asked)
    assert fills(outcome)[1] == (1, -2.0, 104.5, "taker", "order")


def test_a_stop_limit_rests_where_the_price_has_run_past_its_limit() -> None:
    """The open 106 has passed the trigger 103 and is above the limit 104; the bar's low 102 comes back to it."""
    asked = (Submit(0, 0, True, 3.0, "stop_limit", trigger=103.0, limit=104.0),)
    outcome = run(contract(FLAT, (106, 108, 102, 107)), requests=asked)
    assert fills(outcome) == [(1, 3.0, 104.0, "maker", "order")]


def test_a_mark_trigger_fills_at_the_traded_price_of_the_same_fraction() -> None:
    """The mark falls from 100 to 90, the trades from 100 to 80: at mark 95 half of the leg is gone, trades at 90."""
    slow = bars(FLAT, (100, 100, 90, 100))
    asked = (Submit(0, 0, True, 2.0), Submit(0, 0, False, 2.0, "stop", trigger=95.0, watches="mark", reduce_only=True))
    outcome = run(contract(FLAT, (100, 100, 80, 100), mark=slow), requests=asked)
    assert fills(outcome)[1] == (1, -2.0, 90.0, "taker", "order")


def test_limit_orders_share_the_volume() -> None:
    """A quarter of 20, then of 12 units: 5 (4 and 1), then 3 of the 5 that are left of the second."""
    asked = (Submit(0, 0, True, 4.0, "limit", limit=99.0), Submit(0, 0, True, 6.0, "limit", limit=98.0))
    outcome = run(
        contract(FLAT, (100, 100, 97, 98.5), (98.5, 99, 97, 98), volume=(20.0, 20.0, 12.0)),
        requests=asked,
        rules={"volume_share": 0.25},
    )
    assert fills(outcome) == [
        (1, 4.0, 99.0, "maker", "order"),
        (1, 1.0, 98.0, "maker", "order"),
        (2, 3.0, 98.0, "maker", "order"),
    ]
    assert ends(outcome)[1] == ("order", "pending", "none", 4.0)


def test_a_limit_order_ends_after_its_bars() -> None:
    asked = (Submit(0, 0, True, 4.0, "limit", limit=95.0, good_for=2),)
    outcome = run(contract(FLAT, FLAT, FLAT, FLAT, FLAT), requests=asked)
    assert [(o["due_time"], o["end_time"], o["status"]) for o in outcome.orders] == [(HOUR, 3 * HOUR, "expired")]


# -- what is attached --------------------------------------------------------------------------------------------


def test_take_profits_close_shares_and_the_last_one_the_rest() -> None:
    """10 at 100: 3 of them (0.35 of 10) at 102, at 104 the 7 that are left."""
    rows = (
        Setting(0, 0, "take_profit", 0.02, rung=0),
        Setting(0, 0, "take_profit_share", 0.35, rung=0),
        Setting(0, 0, "take_profit", 0.04, rung=1),
        Setting(0, 0, "take_profit_share", 0.65, rung=1),
        Setting(0, 0, "stop_loss", 0.05),
    )
    outcome = run(contract(FLAT, (100, 103, 99, 103), (103, 105, 103, 105)), Target(0, 0, 1.0), settings_rows=rows)
    assert fills(outcome) == [
        (1, 10.0, 100.0, "taker", "target"),
        (1, -3.0, 102.0, "taker", "take_profit"),
        (2, -7.0, 104.0, "taker", "take_profit"),
    ]
    assert ends(outcome)[-2] == ("stop_loss", "cancelled", "position_closed", 0.0)
    assert outcome.orders[-2]["wanted_quantity"] == -7


def test_a_stop_follows_the_average_entry() -> None:
    """10 at 100 and 10 at 91: the average is 95.5, its stop at ten per cent 85.95; that of the first entry was 90."""
    rows = (Setting(0, 0, "stop_loss", 0.1),)
    asked = (Submit(0, 0, True, 10.0, "limit", limit=91.0),)
    outcome = run(
        contract(FLAT, (100, 100, 90.5, 95), (95, 95, 85, 86)), Target(0, 0, 1.0), settings_rows=rows, requests=asked
    )
    assert fills(outcome)[-1] == (2, -20.0, 85.95, "taker", "stop_loss")


def test_holding_time_and_pause() -> None:
    """Opened at hour 1, closed at hour 3; with a pause of three bars from there nothing opens before hour 6."""
    rows = (Setting(0, 0, "hold_bars", 2.0), Setting(0, 0, "cooldown_bars", 3.0))
    wanted = tuple(Target(k, 0, 0.5 + k / 100) for k in (0, 3, 4, 5))
    outcome = run(contract(*[FLAT] * 8), *wanted, settings_rows=rows)
    assert fills(outcome) == [
        (1, 5.0, 100.0, "taker", "target"),
        (3, -5.0, 100.0, "taker", "time_exit"),
        (6, 5.0, 100.0, "taker", "target"),
    ]
    assert [o["reason"] for o in outcome.orders if o["status"] == "rejected"] == ["cooldown", "cooldown"]


# -- targets -----------------------------------------------------------------------------------------------------


def test_a_ladder_and_what_supersedes_it() -> None:
    """10 units in two rungs: 3 (0.35 of 10) at 99, 7 at 97; the next target finds 3 held and cancels the second."""
    wanted = (Target(0, 0, 1.0, rungs=((99.0, 0.35), (97.0, 0.65))), Target(1, 0, 0.2))
    outcome = run(contract(FLAT, (100, 100, 98, 100), FLAT), *wanted)
    # the equity is 1003 then: 0.2 * 1003 / 100 = 2.006 -> 2
    assert fills(outcome) == [(1, 3.0, 99.0, "maker", "target"), (2, -1.0, 100.0, "taker", "target")]
    assert ends(outcome)[1] == ("target", "superseded", "none", 0.0)


def test_risk_is_the_loss_at_the_stop() -> None:
    """Two per cent of 1000 over a stop of five per cent of 100: 20 / 5 = 4 units. Without a stop nothing opens."""
    rows = (Setting(1, 0, "stop_loss", 0.05),)
    outcome = run(
        contract(FLAT, FLAT, FLAT), Target(0, 0, 0.01), Target(1, 0, 0.02), settings_rows=rows, rules={"sizing": "risk"}
    )
    assert fills(outcome) == [(2, 4.0, 100.0, "taker", "target")]
    assert ends(outcome)[0] == ("target", "rejected", "no_stop", 0.0)


def test_a_plain_target_means_one_leg_and_closes_the_other() -> None:
    wanted = (Target(0, 0, 0.5, side=1), Target(0, 0, -0.3, side=-1), Target(1, 0, -0.6))
    rates = (Settlement(2 * HOUR, 0.01),)
    outcome = run(contract(FLAT, FLAT, FLAT, FLAT, funding=rates), *wanted, rules={"position_mode": "hedge"})
    assert [(r["bar"], float(r["quantity"]), r["side"], r["position_side"]) for r in outcome.fills] == [
        (1, 5.0, "buy", "long"),
        (1, 3.0, "sell", "short"),
        (2, 5.0, "sell", "long"),
        (2, 2.0, "sell", "short"),  # 0.6 * (1000 - 5 + 3) / 100 = 5.988 -> 5, of which 3 are there
    ]
    assert [float(r["funding_payment"]) for r in outcome.funding] == [-5.0, 3.0]


# -- costs and bounds --------------------------------------------------------------------------------------------


def test_impact_grows_with_the_root_of_the_part_of_the_volume() -> None:
    """Returns 0.1 and -0.1: sigma 0.1. 4 units of 100: 0.5 * 0.1 * sqrt(0.04) = 0.01, and 0.002 fixed."""
    day = contract(
        (100, 100, 100, 100),
        (100, 110, 100, 110),
        (110, 110, 99, 99),
        (100, 100, 100, 100),
        volume=(100.0,) * 4,
        slippage=0.002,
    )
    rules = {"slippage_model": "impact", "impact_factor": 0.5, "sizing": "quantity"}
    outcome = run(day, Target(2, 0, 4.0), rules=rules)
    assert fills(outcome) == [(3, 4.0, 101.2, "taker", "target")]
    assert float(outcome.fills[0]["slippage_paid"]) == pytest.approx(4.8)


def test_fees_fall_with_the_volume_of_the_days_before() -> None:
    """Eight-hour bars: 900 of volume before the run are 30 a day. On the second day 29 * 30 + 500 = 1370 is reached."""
    tiers = ((0.0, 0.001, 0.0005), (1000.0, 0.0005, 0.0002))
    case = Case(
        contracts=(contract(*[FLAT] * 5),),
        open_time=tuple(k * 8 * HOUR for k in range(5)),
        bar_ms=8 * HOUR,
        targets=(Target(0, 0, 5.0), Target(2, 0, 8.0)),
        settings=Settings(balance=1000.0, sizing="quantity", fee_tiers=tiers, volume_30d=900.0),
    )
    assert [float(r["fee_paid"]) for r in replay(case).fills] == [0.5, 0.15]


def test_limits_cut_what_opens() -> None:
    """Gross 1.5, net 0.7: 7 long of the first; of the second 8 short, the gross leaves no more."""
    wanted = (Target(0, 0, 1.0), Target(0, 1, -1.0))
    outcome = run((contract(FLAT, FLAT), contract(FLAT, FLAT)), *wanted, rules={"gross_limit": 1.5, "net_limit": 0.7})
    assert [float(o["filled_quantity"]) for o in outcome.orders] == [7.0, -8.0]
    assert {(o["status"], o["reason"]) for o in outcome.orders} == {("clipped", "limit")}


def test_a_drawdown_stop_closes_and_ends() -> None:
    """20 at 100, close 94: equity 880 is below 0.9 of the peak 1000. Closed at the next open, 93."""
    wanted = (Target(0, 0, 2.0), Target(2, 0, 1.0))
    outcome = run(contract(FLAT, (100, 100, 94, 94), (93, 93, 93, 93), FLAT), *wanted, rules={"max_drawdown_stop": 0.1})
    assert fills(outcome)[1:] == [(2, -20.0, 93.0, "taker", "drawdown_stop")]
    assert len(outcome.orders) == 2


# -- money -------------------------------------------------------------------------------------------------------


def test_a_withdrawal_is_cut_to_what_is_available() -> None:
    """20 at 100 and leverage 10 bind 200; after the rise to 105 they bind 210 of 1100: 890 can leave."""
    outcome = run(
        contract(FLAT, (100, 105, 100, 105), (105,) * 4),
        Target(0, 0, 2.0),
        transfers=(Transfer(2 * HOUR - 5, -950.0), Transfer(HOUR, 0.0)),
    )
    assert [(r["bar"], float(r["amount"])) for r in outcome.ledger if r["kind"] == "transfer"] == [(2, -890.0)]
    assert outcome.counts["transfers_cut"] == 1
    assert float(outcome.equity[-1]) == 210.0
    assert float(outcome.drawdown[-1]) == 0.0


def test_collateral_backs_a_position_and_is_sold_before_it_is_taken() -> None:
    """5 coins at 100, haircut 0.2, count 400 beside a wallet of 1000: 130 units at leverage 10 take 1300 of 1400.

    The coins stay at 100; the position fails where 1400 - 130 * d = 130 * (100 - d) * 0.01, at d = 1270 / 128.7.
    They are sold at 80; then nothing is left for the account but the balance that the fund keeps.
    """
    coins = contract(*[FLAT] * 2, kind="spot", haircut=0.2, holding=5.0)
    perp = contract(FLAT, (100, 100, 80, 90))
    outcome = run((perp, coins), Target(0, 0, 130.0), rules={"sizing": "quantity"})
    d = Fraction(1270) / (Fraction(130) - Fraction(13, 10))
    assert [(r["symbol"], r["reason"]) for r in outcome.fills] == [(0, "target"), (1, "collateral"), (0, "liquidation")]
    assert float(outcome.fills[1]["price"]) == 80.0
    assert float(outcome.fills[1]["realized_pnl"]) == -100.0
    assert float(outcome.liquidations[0]["trigger_price"]) == pytest.approx(float(100 - d), rel=1e-12)
    assert outcome.wallet[0] == 1500
    assert abs(outcome.wallet[-1]) < Fraction(1, 10**60)


def test_a_delisted_contract_is_settled_at_the_mark() -> None:
    nan = (math.nan,) * 4
    gone = contract(FLAT, (100, 104, 100, 104), nan, taker_fee=0.001, last_bar=1)
    asked = (Submit(0, 0, False, 1.0, "limit", limit=120.0),)
    outcome = run(gone, Target(0, 0, 1.0), requests=asked)
    assert fills(outcome) == [(1, 10.0, 100.0, "taker", "target"), (1, -10.0, 104.0, "taker", "delisting")]
    assert ends(outcome)[-1] == ("order", "cancelled", "delisted", 0.0)
    assert float(outcome.wallet[-1]) == pytest.approx(1000 - 1 + 40)


def test_own_fills_are_booked_as_they_are() -> None:
    """Bought 3 at 99, sold 5 at 101 with a stated fee of 2: 3 close with 6 of profit, 2 open short."""
    given_fills = (
        OwnFill(HOUR + 60_000, 0, 3.0, 99.0, is_maker=True),
        OwnFill(HOUR + 120_000, 0, -5.0, 101.0, fee=2.0),
    )
    outcome = run(contract(FLAT, FLAT, maker_fee=0.001), own_fills=given_fills)
    assert [(float(r["quantity"]), float(r["fee_paid"]), r["reason"]) for r in outcome.fills] == [
        (3.0, pytest.approx(0.297), "own"),
        (3.0, pytest.approx(1.2), "own"),
        (2.0, pytest.approx(0.8), "own"),
    ]
    assert float(outcome.equity[-1]) == pytest.approx(1000 - 0.297 + 6 - 2 + 2)
    assert outcome.orders == []


def test_detail_waits_for_the_signal_bar_and_its_latency() -> None:
    """Three bars make a signal bar. Decided at the end of bar 2, one bar and a half late: due at the open of bar 5."""
    case = Case(
        contracts=(contract(*[FLAT] * 9),),
        open_time=tuple(k * HOUR for k in range(9)),
        bar_ms=HOUR,
        targets=(Target(2, 0, 0.5),),
        settings=Settings(balance=1000.0, latency_ms=HOUR * 3 // 2),
        signal_bars=3,
        settings_rows=(Setting(2, 0, "hold_bars", 1.0),),
    )
    assert fills(replay(case)) == [(5, 5.0, 100.0, "taker", "target"), (8, -5.0, 100.0, "taker", "time_exit")]
