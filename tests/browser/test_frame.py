"""The frame of a page: contents, keys, theme, paper, the library beside it, accessibility."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backtester import analytics
from backtester.engine.result import Notice, Result
from backtester.report.page import write_page
from tests.browser.visiting import scroll_through, visit
from tests.unit.report import sample

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run() -> Result:
    made = analytics.complete(sample.make(2, 24 * 60, exposure=9.0, seed=11))
    told = (*made.notices, Notice("optimistic_fill", "warning", "Optimistic: filled at the close."))
    return replace(made, notices=told)


@pytest.fixture(scope="module")
def path(run: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(run, tmp_path_factory.mktemp("frame") / "report.html")


@pytest.fixture
def page(browser: Browser, path: Path) -> Iterator[Page]:
    opened, faults = visit(browser, path)
    yield opened
    assert faults == []
    opened.close()


def test_keys_go_from_section_to_section(page: Page) -> None:
    page.evaluate("window.scrollTo({ top: 0, behavior: 'instant' })")
    titles = page.evaluate("[...document.querySelectorAll('section.panel h2')].map(title => title.id)")
    for title in titles[:3]:
        page.keyboard.press("Alt+ArrowDown")
        page.wait_for_function("title => document.activeElement.id === title", arg=title)
        page.wait_for_function(
            "title => Math.abs(document.getElementById(title).closest('section').getBoundingClientRect().top) < 60",
            arg=title,
        )
    page.keyboard.press("Alt+ArrowUp")
    page.wait_for_function("title => document.activeElement.id === title", arg=titles[1])


def test_contents_are_a_menu_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    menu, link = page.locator("#contents-switch"), page.locator('.contents a[href="#margin"]')
    assert not link.is_visible()
    menu.click()
    assert menu.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Escape")
    assert not link.is_visible()
    menu.click()
    link.click()
    assert not link.is_visible()
    page.wait_for_function("() => Math.abs(document.getElementById('margin').getBoundingClientRect().top - 58) < 40")
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_theme_is_the_systems_until_one_is_chosen(page: Page) -> None:
    theme = "document.documentElement.dataset.theme"
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"() => {theme} === 'dark'")
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"() => {theme} === 'light'")
    page.locator("#theme-switch").click()
    assert page.evaluate(theme) == "dark"
    page.emulate_media(color_scheme="dark")
    page.emulate_media(color_scheme="light")
    page.wait_for_timeout(100)
    assert page.evaluate(theme) == "dark"


def test_paper_is_light_and_has_every_figure(page: Page) -> None:
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    drawn = "[...document.querySelectorAll('.plot:not([hidden])')].every(figure => figure.querySelector('.main-svg'))"
    page.wait_for_function(f"() => {drawn}")
    assert page.evaluate("Math.max(...[...document.querySelectorAll('.main-svg')].map(svg => svg.clientWidth))") <= 700
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.wait_for_function("() => document.querySelector('.plot:not([hidden]) .main-svg').clientWidth > 700")


def test_the_verdict_leads_to_its_section(page: Page) -> None:
    verdict = page.locator("#verdict")
    assert "optimistic setting" in verdict.locator("h2").inner_text()
    assert verdict.locator('[data-finding="optimistic_fill"]').inner_text() == "Optimistic Filled at the close."
    verdict.locator('[data-finding="liquidated"] a').click()
    assert page.url.endswith("#liquidations")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_fault_of_accessibility(browser: Browser, path: Path, theme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    opened, _ = visit(browser, path)
    opened.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    for width in (1440, 390):
        opened.set_viewport_size({"width": width, "height": 900})
        scroll_through(opened)
        found = Axe().run(opened).response["violations"]
        grave = [(v["id"], v["nodes"][0]["html"][:120]) for v in found if v["impact"] in {"serious", "critical"}]
        assert grave == []
    opened.close()


def test_a_shared_library_is_found_beside_the_runs(browser: Browser, run: Result, tmp_path: Path) -> None:
    pages = [write_page(run, tmp_path / name / "report.html", "shared") for name in ("first", "second")]
    library = list((tmp_path / "assets").iterdir())
    assert len(library) == 1
    assert all(page.stat().st_size < 1_500_000 for page in pages)
    opened, faults = visit(browser, pages[1])
    scroll_through(opened)
    opened.wait_for_function(
        "() => [...document.querySelectorAll('.plot:not([hidden])')].every(figure => figure.querySelector('.main-svg'))"
    )
    assert opened.locator("#library-missing").is_hidden()
    assert opened.evaluate("document.querySelectorAll('script[src]').length") == 1
    assert faults == []
    opened.close()


def test_what_bears_no_mark_of_the_page_is_not_run(browser: Browser, run: Result, tmp_path: Path) -> None:
    """The library is let in by name of the page's own mark: another script beside it is not."""
    path = write_page(run, tmp_path / "run" / "report.html", "shared")
    (tmp_path / "assets" / "other.js").write_text("window.other = true;", encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    stray = '<script src="../assets/other.js"></script><script>window.other = true;</script></body>'
    path.write_text(text.replace("</body>", stray), encoding="utf-8")
    opened, faults = visit(browser, path)
    assert opened.evaluate("window.other") is None
    assert faults
    opened.close()


def test_a_missing_library_is_told_in_words(browser: Browser, run: Result, tmp_path: Path) -> None:
    path = write_page(run, tmp_path / "run" / "report.html", "shared")
    next((tmp_path / "assets").iterdir()).unlink()
    opened, _ = visit(browser, path)
    assert "cannot be drawn" in opened.locator("#library-missing").inner_text()
    assert "../assets/plotly-" in opened.locator("#library-missing code").first.inner_text()
    scroll_through(opened)
    assert "cannot be drawn" in opened.locator('[data-plot="equity"]').inner_text()
    opened.locator('[data-table="trades"] thead button').first.click()  # the tables still work
    opened.locator("#price-choice").select_option("price-1")
    opened.close()
