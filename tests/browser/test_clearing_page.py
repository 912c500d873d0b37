"""The page of a cleared market in headless Chromium, opened from disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backtester.clearings import ClearingStudy, clear_market
from backtester.report import numbers
from backtester.report.clearing_page import write_clearing_page
from backtester.report.clearing_text import large
from tests.browser.visiting import scroll_through, visit
from tests.unit.report.clearing_sample import case, study

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

STUDIES = {
    "whole": lambda: clear_market(contracts="both", rules=["binance", "okx"], accounts=500, out=None),
    "calm": lambda: study(case((100.0, 100.0), (100.0, 101.0))),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[ClearingStudy, Path]]:
    """Give the study and the page of a kind, each made once."""

    @cache
    def make(kind: str) -> tuple[ClearingStudy, Path]:
        made = STUDIES[kind]()
        return made, write_clearing_page(made, tmp_path_factory.mktemp(kind) / "report.html")

    return make


@pytest.mark.parametrize(("kind", "width"), [("whole", 1440), ("whole", 1024), ("whole", 390), ("calm", 390)])
def test_the_page_stands_alone_and_shows_its_summary(
    browser: Browser, written: Callable[[str], tuple[ClearingStudy, Path]], kind: str, width: int
) -> None:
    made, path = written(kind)
    page, faults = visit(browser, path, width)
    scroll_through(page)
    figures = page.locator("figure.plot:not([hidden])")
    page.wait_for_function(
        "n => document.querySelectorAll('figure.plot:not([hidden]) .main-svg').length >= n", arg=figures.count()
    )
    assert faults == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shown = {
        key: page.locator(f".headline [data-metric={key}]").inner_text()
        for key in ("liquidated_accounts", "deleveraged_accounts", "liquidated_notional", "fund_low")
    }
    summary = made.summary
    assert shown == {
        "liquidated_accounts": numbers.count(summary["liquidated_accounts"]),
        "deleveraged_accounts": numbers.count(summary["deleveraged_accounts"]),
        "liquidated_notional": large(summary["liquidated_notional"]),
        "fund_low": large(summary["fund_low"]),
    }
    page.close()
