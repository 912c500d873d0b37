"""The list of runs in headless Chromium, opened from disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backtester.engine.tags import change_tags
from backtester.report.shelf_page import write_shelf
from tests.browser.visiting import visit
from tests.unit.report import shelf_sample

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
ATTACK = "<script>document.title='taken'</script>\"'&" + "long" * 50
RETURNS = {"20260101-a": 0.25, "20260102-b": -0.5, "20260103-c": None, "20260104-d": 1.5}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shelf") / "reports"
    first = shelf_sample.add_run(out, "20260101-a", summary={"total_return": 0.25, "strategy": "trend"})
    for name in ("20260102-b", "20260103-c", "20260104-d"):
        strategy = "pairs" if name.endswith("d") else "trend"
        shelf_sample.copy_run(first, name, total_return=RETURNS[name], strategy=strategy)
    (out / "20260103-c" / "report.html").unlink()
    change_tags(out / "20260102-b", ["keep"])
    change_tags(out / "20260104-d", ["keep", "paper"])
    shelf_sample.add_sweep(out, "20260105-sweep")
    shelf_sample.add_study(out, "20260106-study")
    broken = shelf_sample.copy_run(first, "20260107-broken")
    (broken / "fills.parquet").unlink()
    shelf_sample.leave_half(out)
    write_shelf(out)
    return out / "index.html"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hostile")
    texts = dict.fromkeys(("strategy", "venue", "symbols", "timeframe"), ATTACK)
    folder = shelf_sample.add_run(out, "<img src=x onerror=alert(1)>'\" $(reboot)", summary=texts)
    shelf_sample.copy_run(folder, "plain", strategy="javascript:alert(1)", symbols="x" * 10_000)
    change_tags(folder, ["<b>bold</b>", "a'\"&b"])
    write_shelf(out)
    return out / "index.html"


def names(page: Page, table: str = "runs") -> list[str]:
    """Return the runs that are shown, in order."""
    cells = page.locator(f'[data-shelf="{table}"] tbody tr:not([hidden]) .run-name')
    return [text.strip() for text in cells.all_inner_texts()]


def test_search_and_filters_narrow_the_list(browser: Browser, shelf: Path) -> None:
    page, faults = visit(browser, shelf)
    assert names(page) == ["20260104-d", "20260103-c", "20260102-b", "20260101-a"]
    page.locator("#search").fill("PAIRS")
    assert names(page) == ["20260104-d"]
    assert page.locator("#found").inner_text() == "1 of 6"
    page.locator("#search").fill("sweep")
    assert names(page, "searches") == ["20260105-sweep"]
    assert page.get_by_text("No run passes the search.").is_visible()
    page.get_by_role("button", name="Show all").click()
    assert len(names(page)) == 4
    assert not page.get_by_role("button", name="Show all").is_visible()
    page.locator("#strategy").select_option("trend")
    assert names(page) == ["20260103-c", "20260102-b", "20260101-a"]
    page.locator('tr:not([hidden]) [data-tag="keep"]').click()
    assert names(page) == ["20260102-b"]
    assert page.locator("#tag").input_value() == "keep"
    assert faults == []
    page.close()


def test_headings_sort_and_what_is_undefined_stands_last(browser: Browser, shelf: Path) -> None:
    page, faults = visit(browser, shelf)
    heading = page.locator('[data-shelf="runs"] th[data-sort="total_return"]')
    heading.get_by_role("button").click()
    assert names(page) == ["20260104-d", "20260101-a", "20260102-b", "20260103-c"]
    assert heading.get_attribute("aria-sort") == "descending"
    heading.get_by_role("button").press("Enter")
    assert names(page) == ["20260102-b", "20260101-a", "20260104-d", "20260103-c"]
    assert page.locator("[aria-sort]").count() == 2  # of both tables one heading
    page.locator('[data-shelf="runs"] th[data-sort="strategy"]').get_by_role("button").click()
    assert names(page)[0] == "20260104-d"
    assert faults == []
    page.close()


def test_ticked_runs_become_a_command(browser: Browser, shelf: Path) -> None:
    page, faults = visit(browser, shelf)
    assert not page.locator("#compare").is_visible()
    page.get_by_label("Compare 20260104-d").check()
    assert not page.locator("#compare-command").is_visible()
    page.get_by_label("Compare 20260101-a").check()
    command = page.locator("#compare-command").inner_text()
    assert command == f"backtester compare 20260104-d 20260101-a --out {shelf.parent}"
    page.locator("#compare").get_by_role("button", name="Copy").click()
    page.wait_for_function("() => ['Copied', 'Selected'].includes(document.querySelector('[data-copy]').textContent)")
    page.get_by_role("button", name="Untick").click()
    assert not page.locator("#compare").is_visible()
    assert faults == []
    page.close()


def test_links_lead_to_the_pages(browser: Browser, shelf: Path) -> None:
    page, faults = visit(browser, shelf)
    page.locator('[data-shelf="runs"] a').first.click()
    assert page.title() == "a run"
    page.go_back()
    without = page.locator("tr", has_text="20260103-c")
    assert without.locator("a").count() == 0
    assert without.get_by_text("no page").is_visible()
    assert faults == []
    page.close()


def test_what_is_not_whole_says_why(browser: Browser, shelf: Path) -> None:
    page, _ = visit(browser, shelf)
    text = page.locator("#unreadable").inner_text()
    assert "Broken 20260107-broken fills.parquet is missing." in text
    assert "Half-written .partial-left" in text
    assert "interrupted" in page.locator("#searches").inner_text()
    page.close()


@pytest.mark.parametrize("name", ["shelf", "hostile"])
def test_fits_every_width_in_light_and_dark(browser: Browser, request: pytest.FixtureRequest, name: str) -> None:
    page, faults = visit(browser, request.getfixturevalue(name))
    for width in (1440, 1024, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme-switch").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert faults == []
    page.close()


def test_a_phone_sorts_by_a_choice(browser: Browser, shelf: Path) -> None:
    page, faults = visit(browser, shelf, 390)
    assert not page.locator("thead").first.is_visible()
    page.locator("#sort").select_option("total_return")
    assert names(page)[0] == "20260104-d"
    page.get_by_role("button", name="Reverse the order").click()
    assert names(page)[0] == "20260102-b"
    page.get_by_label("Compare 20260104-d").check()
    page.get_by_label("Compare 20260102-b").check()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert faults == []
    page.close()


def test_names_stay_text(browser: Browser, hostile: Path) -> None:
    page, faults = visit(browser, hostile)
    assert page.title() == "Runs \u00b7 backtest reports"
    assert page.evaluate("document.querySelectorAll('main img, main b').length") == 0
    for box in page.locator(".tick input").all():
        box.check()
    command = page.locator("#compare-command").text_content() or ""
    assert "'<img src=x onerror=alert(1)>'\"'\"'\" $(reboot)'" in command
    page.locator('[data-tag="<b>bold</b>"]').click()
    assert len(names(page)) == 1
    page.locator("a").filter(has_text="<script>").click()
    assert page.title() == "a run"
    assert faults == []
    page.close()


def test_an_empty_folder_has_no_filters(browser: Browser, tmp_path: Path) -> None:
    page, faults = visit(browser, write_shelf(tmp_path))
    assert page.get_by_text("There is no run here yet").is_visible()
    assert page.locator("#filters").count() == 0
    page.locator("#theme-switch").click()
    assert faults == []
    page.close()


def test_nothing_serious_hinders_a_reader_with_aids(browser: Browser, shelf: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page, _ = visit(browser, shelf)
    page.get_by_label("Compare 20260104-d").check()
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        found = axe.Axe().run(page).response["violations"]
        assert [v["id"] for v in found if v["impact"] in {"serious", "critical"}] == []
    page.close()
