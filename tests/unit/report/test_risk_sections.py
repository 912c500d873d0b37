"""Sections of risk and cost: sentences, links into the figures, empty states, odd accounts."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest

from backtester import analytics
from backtester.engine.result import Result
from backtester.report import figures, numbers
from backtester.report.page import render_page
from backtester.report.sections.attribution import attribution_section
from backtester.report.sections.costs import costs_section
from backtester.report.sections.exposure import STACKED, exposure_section, stacked_exposures
from backtester.report.sections.funding import RATE_SYMBOLS, funding_section
from backtester.report.sections.liquidations import CARDS, FIGURES, liquidation_focus, liquidation_section
from backtester.report.sections.margin import call_focus, margin_section
from tests.unit.analytics.books import A, at, result
from tests.unit.analytics.test_liquidation_story import isolated
from tests.unit.report import sample


@cache
def risky(takeover: str = "bankruptcy") -> Result:
    return analytics.complete(sample.make(2, 24 * 60, exposure=9.0, seed=11, takeover=takeover))


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def sentences(run: Result, number: int = 0) -> str:
    card = liquidation_section(run).context["cards"][number]
    return plain(" ".join(answer for _, answer in card.sentences))


def test_an_isolated_liquidation_is_told() -> None:
    run = isolated()
    run = replace(run, summary=analytics.summarize(run))
    told = sentences(run)
    for part in (
        "the mark of A/USDT:USDT reached 80.000",
        "the position's own margin balance was down to 3.00 USDT",
        "requires 2.40 USDT to keep it open: 1.00 % of a notional of 240.00 USDT",
        "margin tier 2, whose maintenance rate is 1.00 %",
        "opened 1 d 7 h before, with 2, was increased once to 3; the mean entry is 98.000",
        "its effective leverage went from 5.0\u00d7 to 80.0\u00d7",
        "paid 0.50 USDT of funding and 0.30 USDT of trading fees",
        "The position lost 57.00 USDT: 54.00 USDT by the price since the entry, 3.00 USDT that was left of the margin.",
        "closed A/USDT:USDT long at 80.000, better than the bankruptcy price of 79.000",
        "3.00 USDT went to the insurance fund",
    ):
        assert part in told


def test_a_step_and_a_loss_of_the_fund_are_told() -> None:
    assert "The engine closed 1 of 3" in sentences(isolated("step", 1.0))
    run = isolated()
    paid = run.liquidations.with_columns(
        execution_price=pl.lit(78.0), insurance_flow=pl.lit(-3.0), disputed=pl.lit(value=True)
    )
    told = sentences(replace(run, liquidations=paid))
    for part in ("worse than the bankruptcy price", "The insurance fund paid 3.00 USDT", "it is disputed"):
        assert part in told


def test_a_cross_liquidation_names_what_went_with_it() -> None:
    section = liquidation_section(risky())
    card = section.context["cards"][0]
    assert "and 1 other position liquidated" in card.heading
    assert len(card.others) == 1
    assert "Under cross margin all 2 positions went at once" in sentences(risky())
    assert re.fullmatch(r"price-[01]:\d+:\d+", card.focus)


def test_many_liquidations_have_a_bounded_page() -> None:
    run = risky()
    many = pl.concat(
        run.liquidations.with_columns(pl.col("time") - pl.duration(milliseconds=60_000 * i)) for i in range(30)
    ).sort("time")
    section = liquidation_section(replace(run, liquidations=many))
    assert len(section.context["cards"]) == CARDS
    assert len(section.plots) == FIGURES
    assert section.context["told"].startswith(f"The first {CARDS} of ")
    assert section.tables[0].total == many.height


def test_rows_lead_to_the_price_chart() -> None:
    run = risky()
    row = run.liquidations.to_dicts()[0]
    name, first, last = liquidation_focus(run, row) or ("", 0, 0)
    assert name == f"price-{run.symbols.index(row['symbol'])}"
    assert first < row["time"].timestamp() * 1000 < last
    assert liquidation_focus(run, {**row, "symbol": "gone"}) is None
    call = {
        "symbol": run.symbols[1],
        "close_time": row["time"],
        "from_time": row["time"],
        "end_time": None,
    }
    assert (call_focus(run, call) or ("",))[0] == "price-1"


def test_close_calls_tell_what_happened() -> None:
    table = margin_section(risky()).tables[0]
    happened = [row[6][0] for row in table.rows]
    assert any(text.startswith("liquidated") and text.endswith("later") for text in happened)
    assert "closed (flip) at once" in happened
    distances = [key[4] for key in table.keys]
    assert distances == sorted(distances)


def test_the_line_of_liquidation_is_in_sight_only_where_it_was_near() -> None:
    near, far = (margin_section(run).plots[0].figure for run in (risky(), analytics.complete(sample.one_trade())))
    assert near.layout.yaxis.range[1] > 1
    assert far.layout.yaxis.range is None
    assert all(any(shape.y0 == 1 for shape in figure.layout.shapes) for figure in (near, far))


def test_the_view_is_the_time_with_positions() -> None:
    run = analytics.complete(sample.liquidated())
    equity = run.equity.with_columns(gross_exposure=pl.Series(np.r_[1.0, 2.0, np.zeros(run.equity.height - 2)]))
    assert len(figures.exposure_figure(equity).data[0].x) == 12  # two bars and ten after them
    whole = sample.make(1, 24 * 20).equity
    assert len(figures.exposure_figure(whole).data[0].x) == whole.height


def test_the_parts_of_contracts_add_up_to_the_split() -> None:
    run = risky("market")
    section = attribution_section(run)
    shown = {key: amount for key, _, _, amount in section.context["rows"]}
    table = section.tables[0]
    for place, column in enumerate(table.columns):
        if column.key != "symbol":
            key = "net_profit" if column.key == "total" else column.key
            assert sum(row[place] for row in table.keys) == pytest.approx(shown[key], abs=1e-4)


def test_transfers_stand_apart_from_the_profit() -> None:
    run = risky()
    moved = pl.DataFrame(
        [(run.ledger["time"][0], None, "USDT", "transfer", 500.0, 0.0)], schema=run.ledger.schema, orient="row"
    )
    with_transfer = replace(
        run,
        ledger=pl.concat([run.ledger, moved]),
        equity=run.equity.with_columns(pl.col("equity", "wallet_balance") + 500.0),
    )
    section = attribution_section(replace(with_transfer, summary=analytics.summarize(with_transfer)))
    rows = {key: amount for key, _, _, amount in section.context["rows"]}
    assert rows["change"] == pytest.approx(rows["net_profit"] + 500.0)
    assert section.plots[0].figure.data[0].x[-1] == pytest.approx(rows["change"])
    assert "(whole account)" in [row[0] for row in section.tables[0].rows]


def test_fifty_contracts_fit() -> None:
    names = [f"C{i}/USDT:USDT" for i in range(50)]
    quantity = [(at(0), name, "long", 1.0 + i, 10.0, 1.0, 5.0) for i, name in enumerate(names)]
    funding = [(at(8), name, "long", 0.0001, 10.0, 1.0, -1.0 - i) for i, name in enumerate(names)]
    fills = [
        (at(0), i, name, "long", "buy", 1.0 + i, 10.0, 10.0 + i, 0.1, 0.0, 0.0, "taker", "target")
        for i, name in enumerate(names)
    ]
    run = result({n: [10.0] * 24 for n in names}, gross=[1.0] * 24, positions=quantity, funding=funding, fills=fills)
    run = analytics.complete(run)
    _, stacked = stacked_exposures(run, analytics.held.held_at_closes(run))
    assert list(stacked)[:2] == [names[49], names[48]]
    assert list(stacked)[-1] == "others"
    assert len(stacked) == STACKED + 1
    assert stacked["others"][0] == pytest.approx(sum(10.0 * (1 + i) for i in range(42)) / 1000.0)
    rates = [plot for plot in funding_section(run).plots if plot.name.startswith("funding-rate-")]
    assert len(rates) == RATE_SYMBOLS
    assert "largest amounts" in funding_section(run).context["blocks"][1].note


def test_amounts_of_a_coin_have_its_decimals() -> None:
    run = result(
        {A: [100.0, 80.0]},
        config={"instruments": {A: {"kind": "inverse"}}, "account": {"balance": 0.5}},
        equity=[0.5, 0.5],
        gross=[1.0, 1.0],
        positions=[(at(0), A, "long", 10.0, 100.0, 0.1, 50.0)],
        fills=[(at(0), 0, A, "long", "buy", 10.0, 100.0, 0.1, 0.00005, 0.0, 0.0, "taker", "target")],
        funding=[(at(1), A, "long", 0.0001, 100.0, 10.0, -0.00001)],
        ledger=[(at(0), A, "BTC", "trading_fee", -0.00005, 0.49995), (at(1), A, "BTC", "funding", -0.00001, 0.49994)],
    )
    run = analytics.complete(replace(run, settle="BTC"))
    assert "0.00005000" in costs_section(run).tables[0].rows[0][1]
    assert "0.00006000" in plain(costs_section(run).context["blocks"][0].facts[0][2])
    page = render_page(run)
    assert "BTC" in page
    assert not re.search(r"\bnan\b", re.sub(r"<script.*?</script>", "", page, flags=re.S))


def test_empty_states() -> None:
    run = analytics.complete(sample.flat())
    for section, text in (
        (margin_section(run), "No position was held at a bar close."),
        (funding_section(run), "No position was held at a settlement."),
        (costs_section(run), "Nothing was traded, so nothing was paid."),
        (exposure_section(run), "No position was held."),
        (liquidation_section(run), "No position was liquidated."),
    ):
        assert not section.plots
        assert not section.tables
        assert section.context["empty"] == text
        assert text in render_page(run)


def test_a_run_without_close_calls_says_so() -> None:
    run = analytics.complete(sample.make(1, 24 * 10, exposure=0.2))
    assert not margin_section(run).tables
    assert "No position came within 10\u00a0% or 3 ATRs of liquidation" in render_page(run)


def test_the_share_of_funding_tells_profit_from_loss() -> None:
    facts = {key: (label, text) for key, label, text in funding_section(risky()).context["blocks"][0].facts}
    assert facts["funding_share"][0] == "Share of the net loss"
    expected = risky().summary["funding"] / risky().summary["net_profit"]
    assert facts["funding_share"][1] == numbers.percent(expected, 1)


def test_hostile_names_stay_text_in_figures_and_cards() -> None:
    attack = "<script>alert('x')</script>\"'&<b>"
    run = analytics.complete(
        sample.make(2, 24 * 60, exposure=9.0, seed=11, names=(attack + "y" * 10_000, attack), takeover="bankruptcy")
    )
    page = render_page(run)
    assert "<script>alert" not in page
    assert "<b>" not in page.replace("\\u003cb\\u003e", "")
    for plot in (*funding_section(run).plots, *exposure_section(run).plots, *liquidation_section(run).plots):
        texts = [trace.name or "" for trace in plot.figure.data] + [
            str(label) for trace in plot.figure.data if trace.type == "heatmap" for label in trace.y
        ]
        assert not any("<script" in text for text in texts)
