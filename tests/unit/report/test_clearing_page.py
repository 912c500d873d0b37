"""The page of a cleared market: its figures are the result's, its tables say who paid, nothing breaks it."""

from __future__ import annotations

import re
from dataclasses import replace

import polars as pl
import pytest

from backtester.analytics.clearing_tables import (
    crash_moment,
    disposals,
    falls,
    liquidated,
    over_price,
    over_time,
    payers,
    queue,
    survival,
)
from backtester.clearings import clear_market
from backtester.report.clearing_page import render_clearing_page
from tests.unit.report.clearing_sample import LONG, SHORT, SLOW_SHORT, case, study

ATTACK = "<script>alert('x')</script>\"'&" + "a" * 10_000
CALM = ((100.0, 100.0), (100.0, 101.0))


def text_of(page: str) -> str:
    body = page[page.index("<main") : page.index("</main>")]
    body = re.sub(r"<script.*?</script>", " ", body, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def metric(page: str, key: str) -> str:
    found = re.search(rf'data-metric="{key}">([^<]*)<', page)
    assert found is not None, key
    return found.group(1).replace("\u00a0", " ")


def test_who_paid_adds_up_to_the_loss() -> None:
    """Bankrupt at 90 with the market at 80: a loss of 10 beyond the margin; the fund has 4, the winners pay 6."""
    parts = payers(case())
    assert parts["own"] == pytest.approx(10.0)
    assert parts["loss"] == pytest.approx(10.0)
    assert (parts["fund"], parts["deleveraged"]) == (pytest.approx(4.0), pytest.approx(6.0))
    assert (parts["clawback"], parts["venue"]) == (0.0, 0.0)
    where = disposals(case())
    assert where["market"] + where["deleveraged"] == pytest.approx(0.4 * 80 + 0.6 * 80)
    assert where["held"] == 0.0


def test_shared_losses_and_what_nobody_pays_are_told_apart() -> None:
    """Without deleveraging the fund's lack of 6 is taken from the winners, or stays with the venue."""
    shared = payers(case(waterfall=["market", "fund", "share"], sharing_hours=1 / 60))
    assert (shared["fund"], shared["clawback"]) == (pytest.approx(4.0), pytest.approx(6.0))
    assert (shared["deleveraged"], shared["venue"]) == (0.0, pytest.approx(0.0, abs=1e-9))
    alone = payers(case(waterfall=["market", "fund"]))
    assert (alone["fund"], alone["venue"]) == (pytest.approx(4.0), pytest.approx(6.0))


@pytest.mark.parametrize("venue", ["binance", "bitmex", "hyperliquid", "bybit"])
def test_the_queue_ranks_as_the_replay_does(venue: str) -> None:
    """Accounts that all gain, at leverages, entries and modes that the formulas tell apart."""
    shorts = [
        replace(SHORT, account=1, quantity=-0.1, wallet=3.0, isolated=True),
        replace(SHORT, account=2, quantity=-0.2, entry=110.0, wallet=11.0, leverage=2.0),
        replace(SHORT, account=3, quantity=-0.3, entry=95.0, wallet=10.0, leverage=3.0),
        replace(SLOW_SHORT, account=4, quantity=-0.4, entry=120.0, wallet=40.0),
    ]
    one = case(name=venue, holdings=(LONG, *shorts), fund_start=0.0, volume_share=0.0)
    rows = one.result.deleveragings
    assert rows.height == 4
    assert queue(one, one.market.symbols[0], crash_moment(one))["account"].to_list() == rows["account"].to_list()
    lights = queue(one, one.market.symbols[0], crash_moment(one))
    assert lights["light"].to_list() == rows["light"].to_list()


def test_tables_count_what_happened() -> None:
    one = case()
    table = survival(one)
    assert table.filter(pl.col("side") == "long")["survivors"].to_list() == [0]
    assert table.filter(pl.col("side") == "short")["share"].to_list() == [1.0, 1.0]
    rows = liquidated(one)
    assert over_time(one, rows, "group")["notional"].sum() == pytest.approx(one.result.summary["liquidated_notional"])
    assert over_price(rows)["notional"].sum() == pytest.approx(one.result.summary["liquidated_notional"])
    assert falls(one).row(0) == ("10\u00d7", 1, pytest.approx(0.2))


def test_the_page_holds_the_figures_of_the_summary() -> None:
    one = study()
    page = render_clearing_page(one)
    summary = one.summary
    assert metric(page, "liquidated_accounts") == str(summary["liquidated_accounts"]) == "1"
    assert metric(page, "deleveraged_accounts") == str(summary["deleveraged_accounts"]) == "1"
    assert metric(page, "profit_lost") == "6.0000"
    assert metric(page, "paid_by_fund") == "4.0000 USDT"
    text = text_of(page)
    assert "1 account with a notional of 80.00 USDT was liquidated." in text.replace("\u00a0", " ")
    assert "Rules compared" not in text
    assert "Coin-margined contracts" not in text
    for section in ("outcome", "fund", "liquidations", "deleveraging", "survivors", "engine", "books", "configuration"):
        assert f'id="{section}"' in page


def test_a_market_without_events_says_so() -> None:
    text = text_of(render_clearing_page(study(case(*CALM))))
    for said in (
        "Nobody was liquidated",
        "the margins of the liquidated covered all their losses",
        "No loss reached the fund",
        "No account was liquidated.",
        "Nobody was deleveraged.",
        "The engine never held a position",
    ):
        assert said in text, said


def test_rules_are_compared_side_by_side() -> None:
    page = render_clearing_page(study(case(), case(name="okx")))
    assert 'id="compare"' in page
    assert "okx" in text_of(page)


def test_coin_margined_longs_die_sooner() -> None:
    """In the replay as in theory: at 1/(1 + L), not 1/L, less the maintenance margin."""
    one = clear_market(contracts="both", rules="okx", accounts=600, out=None)
    linear, inverse = one.cases
    both = falls(linear).join(falls(inverse), on="band", suffix="_coin")
    assert both.height >= 3
    assert (both["median_fall_coin"] < both["median_fall"]).all()
    for band, _, fall, _, coin in both.iter_rows():
        leverage = float(band[:-1])
        assert fall == pytest.approx(1 / leverage, abs=0.02)
        assert coin == pytest.approx(1 / (1 + leverage), abs=0.02)
    assert linear.population.leverage.tolist() == inverse.population.leverage.tolist()
    page = render_clearing_page(one)
    assert "Why: how far the price may fall" in page


def test_hostile_names_stay_text() -> None:
    one = case()
    accounts = replace(one.population, labels=(ATTACK, ATTACK + "1", ATTACK + "2"))
    frames = {
        name: getattr(one.result, name).with_columns(pl.lit(ATTACK).alias("label"))
        for name in ("liquidations", "deleveragings", "clawbacks", "accounts")
    }
    bad = replace(one, name=ATTACK, population=accounts, result=replace(one.result, **frames))
    page = render_clearing_page(study(bad, replace(bad, name=ATTACK + "2"), run_id=ATTACK, venue=ATTACK))
    assert "<script>alert" not in page
    assert len(page) < 6_500_000
