"""The page on clearing: its code runs, its table is the packs'."""

from __future__ import annotations

import doctest
from pathlib import Path

from backtester.clearing import clearing_rules

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "clearing.md"


def test_code_of_the_page_runs() -> None:
    result = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert (result.failed, result.attempted >= 10) == (0, True)


def test_table_of_venues_is_true() -> None:
    table = PAGE.read_text("utf-8").partition("| venue |")[2].partition("\n\n")[0]
    lines = table.splitlines()[2:]
    assert len(lines) >= 6
    for line in lines:
        venue, fund, trigger, queue, price = (cell.strip() for cell in line.strip("|").split("|"))
        rules = clearing_rules(venue)
        assert fund.split(",")[0] == rules.fund
        assert ("daily" in fund) == (rules.booking == "daily")
        assert ("exhausted" in trigger, "-30 %" in trigger) == (rules.exhausted, rules.drawdown == 0.3)
        assert queue == rules.ranking
        assert price.split(",")[0] == rules.deleverage_price
        assert ("5 %" in price) == (rules.bankruptcy_band == 0.05)
