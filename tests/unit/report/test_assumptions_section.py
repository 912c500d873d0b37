"""The section of other assumptions: runs of earlier versions, accounts of a coin."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from backtester import analytics
from backtester.engine.result import Result
from backtester.report.page import render_page
from backtester.report.payload import run_payload
from backtester.report.sections.assumptions import assumptions_section
from tests.unit.report import sample

_FIGURES = ("total_return", "annual_return", "sharpe", "max_drawdown", "liquidations", "final_equity")


@pytest.fixture(scope="module")
def tried() -> Result:
    """A run of half a coin that was tried under one assumption by a version that told no notes."""
    made = analytics.complete(sample.one_trade())
    account = made.config.account.model_copy(update={"balance": 0.5})
    figures = {key: [0.5, 0.25] for key in _FIGURES}
    changes = {f"{key}_difference": [0.0, -0.25] for key in _FIGURES}
    words = {"assumption": ["base", "fees"], "text": ["the run", "double fees"], "reason": [None, None]}
    table = pl.DataFrame({**words, **figures, **changes}, schema_overrides={"reason": pl.String})
    return replace(made, assumptions=table, config=made.config.model_copy(update={"account": account}), settle="BTC")


def test_a_table_of_an_earlier_version_has_a_page(tried: Result) -> None:
    assert "double fees" in render_page(tried)


def test_equity_of_a_coin_keeps_its_decimals(tried: Result) -> None:
    section = assumptions_section(tried)
    assert section is not None
    assert section.tables[0].rows[1][-1] == ("0.25000000", "\u22120.25000000")
    assert run_payload(tried).head["money_digits"] == 8
