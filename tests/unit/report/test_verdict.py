"""The verdict: what speaks against a run comes first, and nothing is said twice."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from backtester import analytics
from backtester.engine.result import Notice, Result
from backtester.report.key_figures import headline
from backtester.report.verdict import grouped, verdict
from tests.unit.report import sample


@pytest.fixture(scope="module")
def result() -> Result:
    return replace(analytics.complete(sample.make(1, 24 * 200)), synthetic=False, notices=())


def codes(run: Result) -> dict[str, str]:
    return {finding.code: finding.tone for finding in verdict(run)}


def changed(run: Result, section: str, **keys: object) -> Result:
    part = getattr(run.config, section).model_copy(update=keys)
    return replace(run, config=run.config.model_copy(update={section: part}))


def test_a_plain_run_has_nothing_against_it(result: Result) -> None:
    enough = replace(result, summary={**result.summary, "trades": 80})
    assert codes(enough) == {}
    assert grouped(verdict(enough)) == {"shown": [], "folded": [], "headline": ""}


def test_warnings_come_before_flattering_settings_and_assumptions(result: Result) -> None:
    told = (
        Notice("data", "assumption", "Assumed."),
        Notice("optimistic_fill", "warning", "Optimistic: decisions fill at the close."),
        Notice("filled", "warning", "Ten rows were filled."),
    )
    found = verdict(replace(result, notices=told))
    assert [finding.tone for finding in found if finding.code != "few_trades"] == [
        "warning",
        "optimistic",
        "assumption",
    ]
    assert next(f.word for f in found if f.code == "filled") == "Repaired data"
    assert next(f.text for f in found if f.code == "optimistic_fill") == "Decisions fill at the close."


def test_settings_that_cost_nothing_are_named(result: Result) -> None:
    free = replace(result, fills=result.fills.with_columns(fee_paid=pl.lit(0.0), slippage_paid=pl.lit(0.0)))
    free = changed(changed(free, "execution", slippage_bps=0.0), "data", mark="trade")
    found = codes(changed(free, "funding", source="none"))
    for code in ("no_fees", "no_slippage", "mark_is_trade", "no_funding"):
        assert found[code] == "optimistic"
    told = replace(free, notices=(Notice("funding_assumed", "assumption", "Funding is left out."),))
    left_out = codes(changed(told, "funding", source="none"))
    assert "no_funding" not in left_out
    assert left_out["funding_assumed"] == "optimistic"
    assert codes(changed(told, "funding", source="constant"))["funding_assumed"] == "assumption"
    own = changed(free, "strategy", fills="fills.csv")
    assert not {"no_fees", "no_slippage"} & set(codes(own))


def test_liquidations_are_counted_once_and_lead_to_their_section() -> None:
    run = analytics.complete(sample.liquidated())
    run = replace(run, notices=(Notice("liquidated", "warning", "Positions were liquidated: 1 taken over."),))
    found = [finding for finding in verdict(run) if finding.code == "liquidated"]
    assert len(found) == 1
    assert found[0].section == "liquidations"
    assert found[0].text.startswith("1 position was taken over by the venue. That lost ")
    assert "USDT" in found[0].text


def test_made_up_data_and_few_trades_are_warnings(result: Result) -> None:
    few = replace(result, synthetic=True, summary={**result.summary, "trades": 3})
    assert codes(few) == {"synthetic": "warning", "few_trades": "warning"}
    assert "3 round trips" in next(f.text for f in verdict(few) if f.code == "few_trades")
    assert "few_trades" not in codes(analytics.complete(sample.flat()))


def test_a_ratio_whose_interval_holds_zero_may_be_luck(result: Result) -> None:
    summary = {**result.summary, "trades": 80, "sharpe": 0.4, "total_return": 0.1}
    told = {"uncertainty": {"sharpe_low": -0.8, "sharpe_high": 1.5}}
    run = replace(result, summary=summary, details=told)
    found = next(finding for finding in verdict(run) if finding.code == "luck")
    assert "\u22120.80 to 1.50" in found.text
    assert found.section == "uncertainty"
    clear = replace(run, details={"uncertainty": {"sharpe_low": 0.1, "sharpe_high": 1.5}})
    lost = replace(run, summary={**summary, "total_return": -0.1})
    assert not {"luck"} & {*codes(clear), *codes(lost)}


def test_short_spans_and_open_trades_alone_are_told(result: Result) -> None:
    short = replace(result, summary={**result.summary, "trades": 0, "days": 2})
    assert codes(short) == {"short_span": "warning", "few_trades": "warning"}
    assert headline(short)[0].note == "in 2 days"
    long = replace(result, summary={**result.summary, "days": 90, "sharpe": 0.4, "total_return": -0.5})
    assert "a year" in headline(long)[0].note
    assert "yet the run lost" in headline(long)[3].note


def test_the_end_of_the_account_comes_first() -> None:
    run = analytics.complete(sample.liquidated())
    told = (Notice("orders_rejected", "warning", "25 orders."), Notice("ruined", "warning", "Equity fell."))
    found = [finding.code for finding in verdict(replace(run, notices=told))]
    assert found[:4] == ["ruined", "liquidated", "synthetic", "orders_rejected"]


def test_the_headline_counts(result: Result) -> None:
    told = (*(Notice("a", "assumption", f"{i}") for i in range(4)), Notice("w", "warning", "Beware."))
    parts = grouped(verdict(replace(result, notices=told, summary={**result.summary, "trades": 80})))
    assert parts["headline"] == "1 warning and 4 assumptions"
    assert (len(parts["shown"]), len(parts["folded"])) == (1, 4)
