"""The page in headless Chromium, opened from disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from backtester import analytics
from backtester.engine.result import Notice, Result
from backtester.report import numbers
from backtester.report.page import write_page
from tests.browser.visiting import scroll_through, visit, wait_until_drawn
from tests.unit.report import sample

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
HOSTILE = "<script>alert('x')</script>\"'&" + "long" * 2_500


def ruined() -> Result:
    """A run with many liquidations and many assumptions."""
    run = sample.make(2, 24 * 100, exposure=9.0, seed=11)
    many = pl.concat([run.liquidations] * (40 // run.liquidations.height + 1))
    assumed = tuple(Notice("data", "assumption", f"Assumption number {i}.") for i in range(6))
    return replace(run, liquidations=many, notices=(*run.notices, *assumed))


def hostile() -> Result:
    """A run whose names and parameters are made of what breaks pages."""
    run = sample.make(2, 24 * 40, names=(HOSTILE, "B/USDT:USDT"))
    strategy = run.config.strategy.model_copy(update={"params": {HOSTILE: HOSTILE}})
    config = run.config.model_copy(update={"strategy": strategy})
    notices = (*run.notices, Notice("odd", "warning", HOSTILE))
    return replace(run, config=config, strategy_name=HOSTILE, run_id=HOSTILE, notices=notices, manifest={"x": HOSTILE})


RUNS: dict[str, Callable[[], Result]] = {
    "several": lambda: sample.make(3, 24 * 150),
    "risky": lambda: sample.make(2, 24 * 100, exposure=9.0, seed=11),
    "ruined": ruined,
    "flat": sample.flat,
    "one-trade": sample.one_trade,
    "liquidated": sample.liquidated,
    "hostile": hostile,
    "book": lambda: sample.make(50, 24 * 20, names=tuple(f"C{number:02}/USDT:USDT" for number in range(50))),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Result, Path]]:
    folder = tmp_path_factory.mktemp("pages")
    runs = {name: analytics.complete(make()) for name, make in RUNS.items()}
    return {name: (run, write_page(run, folder / f"{name}.html")) for name, run in runs.items()}


@pytest.mark.parametrize("name", RUNS)
def test_opens_from_disk_at_every_width(browser: Browser, pages: dict[str, tuple[Result, Path]], name: str) -> None:
    page, faults = visit(browser, pages[name][1])
    scroll_through(page)
    wait_until_drawn(page)
    for width in (1440, 1024, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("body").inner_text().lstrip().startswith("Synthetic data.")
    assert faults == []
    page.close()


def test_rows_of_the_key_figures_stay_in_step(browser: Browser, pages: dict[str, tuple[Result, Path]]) -> None:
    """Names and figures share one line each, so that the four columns line up."""
    page, _ = visit(browser, pages["risky"][1], 1280)
    heights = "[...document.querySelectorAll('.group:not(.wide) dl > div')].map(row => Math.round(row.offsetHeight))"
    assert len(set(page.evaluate(heights))) == 1
    page.close()


def test_opens_on_a_phone(browser: Browser, pages: dict[str, tuple[Result, Path]]) -> None:
    page, faults = visit(browser, pages["risky"][1], 390)
    scroll_through(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert faults == []
    page.close()


@pytest.mark.parametrize("name", RUNS)
def test_key_figures_equal_the_summary(browser: Browser, pages: dict[str, tuple[Result, Path]], name: str) -> None:
    run, path = pages[name]
    page, _ = visit(browser, path)

    def shown(key: str) -> str:
        return page.locator(f'[data-metric="{key}"]').first.inner_text()

    s = run.summary
    for key in ("total_return", "max_drawdown", "annual_return", "best_day", "average_mae"):
        assert shown(key) == numbers.percent(s[key])
    for key in ("volatility", "hit_rate", "worst_margin_ratio", "time_at_risk"):
        assert shown(key) == numbers.percent(s[key], signed=False)
    for key in ("sharpe", "sortino", "calmar", "profit_factor"):
        assert shown(key) == numbers.decimal(s[key])
    for key in ("funding", "fees", "slippage", "liquidation", "average_trade"):
        unit = "" if s[key] is None else "\u00a0USDT"
        assert shown(key) == numbers.decimal(s[key], signed=True) + unit
    for key in ("trades", "liquidations", "orders_filled"):
        assert shown(key) == numbers.count(s[key])
    page.close()


def column(page: Page, index: int) -> list[str]:
    return page.locator(f'[data-table="trades"] tbody tr td:nth-child({index})').all_inner_texts()


def test_trades_sort_by_clicking_a_heading_and_page(browser: Browser, pages: dict[str, tuple[Result, Path]]) -> None:
    run, path = pages["several"]
    page, faults = visit(browser, path)
    headings = page.locator('[data-table="trades"] thead th')
    names = headings.all_inner_texts()
    net = names.index("Net") + 1
    expected = [numbers.decimal(v, signed=True) for v in run.trades["net_pnl"].sort(descending=True)]
    headings.nth(net - 1).locator("button").click()
    assert column(page, net) == expected[:50]
    assert headings.nth(net - 1).get_attribute("aria-sort") == "descending"
    headings.nth(net - 1).locator("button").press("Enter")
    assert column(page, net) == expected[::-1][:50]
    if run.trades.height > 50:
        page.locator('[data-table="trades"]').get_by_role("button", name="Next").click()
        assert column(page, net) == expected[::-1][50:100]
    assert faults == []
    page.close()


def test_many_assumptions_open_by_keyboard_and_on_paper(
    browser: Browser, pages: dict[str, tuple[Result, Path]]
) -> None:
    page, faults = visit(browser, pages["ruined"][1])
    assert page.get_by_text("mark and trade differ").is_visible()
    last = page.get_by_text("Assumption number 5.")
    assert not last.is_visible()
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert last.is_visible()
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert not last.is_visible()
    page.emulate_media(media="print")
    assert last.is_visible()
    page.emulate_media(media="screen")
    assert not last.is_visible()
    page.locator("#verdict summary").press("Enter")
    assert last.is_visible()
    assert faults == []
    page.close()


def test_liquidations_page_at_fifteen_rows(browser: Browser, pages: dict[str, tuple[Result, Path]]) -> None:
    page, _ = visit(browser, pages["ruined"][1])
    table = page.locator('[data-table="liquidations"]')
    assert table.locator("tbody tr").count() == 15
    table.get_by_role("button", name="Next").click()
    assert table.get_by_role("status").inner_text().startswith("16\u201330 of ")
    page.close()


def test_theme_and_symbol_can_be_switched(browser: Browser, pages: dict[str, tuple[Result, Path]]) -> None:
    page, faults = visit(browser, pages["several"][1])
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme-switch").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.locator("#price-choice").select_option("price-2")
    page.wait_for_selector('[data-plot="price-2"] .main-svg')
    assert page.locator('[data-plot="price-0"]').is_hidden()
    assert faults == []
    page.close()


def test_reachable_by_keyboard(browser: Browser, pages: dict[str, tuple[Result, Path]]) -> None:
    page, _ = visit(browser, pages["one-trade"][1])
    page.evaluate("window.scrollTo(0, 0)")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.hash") == "#top"
    page.close()
