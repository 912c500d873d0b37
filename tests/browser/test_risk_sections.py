"""Cards and rows of risk in a browser: they unfold, and lead to the price chart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backtester import analytics
from backtester.report.page import write_page
from tests.browser.visiting import scroll_through, visit
from tests.unit.report import sample

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = analytics.complete(sample.make(2, 24 * 100, exposure=9.0, seed=11))
    return write_page(run, tmp_path_factory.mktemp("risk") / "report.html")


SIGHT = """([name, first, last]) => {
    const figure = document.querySelector(`.plot[data-plot="${name}"] .canvas`)._fullLayout;
    if (!figure) return false;
    const ms = at => typeof at === "number" ? at : Date.parse(at.replace(" ", "T") + "Z");
    const [low, high] = figure.xaxis.range.map(ms);
    return low <= first && last <= high && high - low < 3 * (last - first);
}"""
"""Whether a figure shows a span of time [ms] and little more."""


def test_a_card_leads_to_the_price_chart(browser: Browser, page_file: Path) -> None:
    page, faults = visit(browser, page_file)
    page.locator("#liquidations").scroll_into_view_if_needed()
    button = page.locator("#liquidations .story[open] [data-focus]").first
    plot, first, last = (button.get_attribute("data-focus") or "").split(":")
    button.click()
    page.wait_for_function(SIGHT, arg=[plot, int(first), int(last)])
    assert faults == []
    page.close()


def test_a_close_call_leads_to_the_price_chart(browser: Browser, page_file: Path) -> None:
    page, faults = visit(browser, page_file)
    page.locator('[data-table="close-calls"]').scroll_into_view_if_needed()
    row = page.locator('[data-table="close-calls"] tbody tr').first
    row.locator("button").first.click()
    page.wait_for_function("() => document.activeElement.matches('.plot[data-plot^=price-]')")
    assert faults == []
    page.close()


def test_folded_stories_open(browser: Browser, page_file: Path) -> None:
    page, faults = visit(browser, page_file, 390)
    scroll_through(page)
    stories = page.locator("#liquidations .story")
    assert stories.count() > 1
    page.evaluate("document.querySelectorAll('.story').forEach(story => { story.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert stories.last.locator("h3").first.inner_text() == "Why was it liquidated?"
    assert faults == []
    page.close()
