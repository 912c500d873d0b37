"""Tables of a page as a reader uses them: searched, filtered, saved, and gone from to a figure."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from backtester import analytics
from backtester.engine.result import Result
from backtester.report import numbers
from backtester.report.page import write_page
from tests.browser.visiting import visit
from tests.unit.report import sample

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser
FORMULA = '=HYPERLINK("http://x"),\n\'<b>'


@pytest.fixture(scope="module")
def run() -> Result:
    return analytics.complete(sample.make(3, 24 * 150, names=("BTC/USDT:USDT", "ETH/USDT:USDT", FORMULA)))


@pytest.fixture(scope="module")
def path(run: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(run, tmp_path_factory.mktemp("tables") / "page.html")


@pytest.fixture
def page(browser: Browser, path: Path) -> Iterator[Page]:
    page, faults = visit(browser, path)
    yield page
    assert faults == []
    page.close()


def trades(page: Page) -> Locator:
    return page.locator('[data-table="trades"]')


def matching(table: Locator) -> str:
    return table.locator(".matches").inner_text()


def saved(page: Page, table: Locator, folder: Path) -> tuple[str, list[dict[str, str]]]:
    """Return name and rows of the file that a table's button saves."""
    with page.expect_download() as waiting:
        table.get_by_role("button", name="Save as CSV").click()
    file = folder / "table.csv"
    waiting.value.save_as(file)
    with file.open(encoding="utf-8", newline="") as lines:
        return waiting.value.suggested_filename, list(csv.DictReader(lines))


def test_search_keeps_the_rows_that_hold_every_word(page: Page, run: Result) -> None:
    table, total = trades(page), run.trades.height
    expected = run.trades.filter((pl.col("symbol") == "ETH/USDT:USDT") & (pl.col("position_side") == "short")).height
    assert matching(table) == f"{total} rows"
    table.get_by_role("searchbox").fill("eth short")
    assert matching(table) == f"{expected} of {total} match"
    table.get_by_role("searchbox").fill("nowhere")
    assert table.locator("tbody").inner_text() == "No row matches."
    assert table.get_by_role("status").inner_text() == f"0 rows match, {total} in all"
    table.get_by_role("button", name="Show all").click()
    assert matching(table) == f"{total} rows"
    assert table.get_by_role("searchbox").input_value() == ""


def test_filters_take_figures_in_the_units_shown(page: Page, run: Result) -> None:
    table, total = trades(page), run.trades.height
    table.get_by_role("button", name="Filter").press("Enter")
    table.get_by_label("Net from").fill("0")
    gains = run.trades.filter(pl.col("net_pnl") >= 0)
    assert matching(table) == f"{gains.height} of {total} match"
    table.get_by_label("MAE from (%)").fill("-2")
    calm = gains.filter(pl.col("mae") >= -0.02)
    assert 0 < calm.height < gains.height
    assert matching(table) == f"{calm.height} of {total} match"
    table.get_by_label("Held to (hours)").fill("100")
    brief = calm.filter((pl.col("exit_time") - pl.col("entry_time")) <= pl.duration(hours=100))
    assert matching(table) == f"{brief.height} of {total} match"
    table.get_by_role("button", name="Show all").click()
    table.get_by_label("Position side", exact=True).select_option("long")
    table.get_by_label("Entry to (UTC)").fill("2024-02-01")
    early = run.trades.filter(
        (pl.col("position_side") == "long") & (pl.col("entry_time").dt.date() <= pl.date(2024, 2, 1))
    )
    assert matching(table) == f"{early.height} of {total} match"
    table.get_by_label("Entry to (UTC)").press("Escape")
    assert table.locator(".filters").is_hidden()


def test_the_file_holds_what_is_shown_with_raw_values(page: Page, run: Result, tmp_path: Path) -> None:
    table = trades(page)
    table.get_by_role("searchbox").fill("eth")
    table.locator("thead button", has_text="Net").click()
    name, rows = saved(page, table, tmp_path)
    expected = run.trades.filter(pl.col("symbol") == "ETH/USDT:USDT").sort("net_pnl", descending=True)
    assert name == "20260101-120000-trend-trades.csv"
    assert [float(r["net_pnl"]) for r in rows] == pytest.approx(expected["net_pnl"].to_list())
    assert [float(r["mfe"]) for r in rows] == pytest.approx(expected["mfe"].to_list())
    assert [datetime.fromisoformat(r["entry_time"]) for r in rows] == expected["entry_time"].to_list()
    assert {r["exit_reason"] for r in rows} == set(expected["exit_reason"])
    held = (expected["exit_time"] - expected["entry_time"]).dt.total_seconds()
    assert [float(r["held_seconds"] or "nan") for r in rows] == pytest.approx(
        [float("nan") if h is None else h for h in held], nan_ok=True
    )


def test_names_are_no_formulas_in_a_file(page: Page, run: Result, tmp_path: Path) -> None:
    _, rows = saved(page, trades(page), tmp_path)
    assert {r["symbol"] for r in rows} == {"BTC/USDT:USDT", "ETH/USDT:USDT", "'" + FORMULA}


def test_a_trade_goes_to_its_chart(page: Page, run: Result) -> None:
    page.evaluate("() => { window.gone = []; window.report.focus = (...place) => window.gone.push(place); }")
    table = trades(page)
    table.locator("thead button", has_text="Net").click()
    best = run.trades.sort("net_pnl", descending=True).row(0, named=True)
    plot = f"price-{run.symbols.index(best['symbol'])}"
    span = [round(best[key].timestamp() * 1000) for key in ("entry_time", "exit_time")]
    table.locator("tbody .focus").first.press("Enter")
    assert page.evaluate("window.gone") == [[plot, *span]]
    table.locator("tbody tr").first.locator("td").nth(4).click()
    assert page.evaluate("window.gone") == [[plot, *span]] * 2


def test_without_a_way_to_charts_there_is_no_button(browser: Browser, path: Path) -> None:
    page, _ = visit(browser, path)
    page.evaluate("window.report.focus = undefined")
    trades(page).locator("thead button", has_text="Net").click()
    assert trades(page).locator(".focus").count() == 0
    page.close()


def test_a_phone_keeps_search_and_filters(browser: Browser, path: Path, run: Result) -> None:
    page, faults = visit(browser, path, 390)
    table = trades(page)
    table.get_by_role("button", name="Filter").click()
    table.get_by_role("searchbox").fill("btc")
    expected = run.trades.filter(pl.col("symbol") == "BTC/USDT:USDT").height
    assert matching(table) == f"{expected} of {run.trades.height} match"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert faults == []
    page.close()


def test_shown_figures_are_the_raw_ones(page: Page, run: Result, tmp_path: Path) -> None:
    table = page.locator('[data-table="drawdowns"]')
    _, rows = saved(page, table, tmp_path)
    shown = table.locator("tbody td:first-child").evaluate_all("cells => cells.map(c => c.firstChild.textContent)")
    assert shown == [numbers.percent(float(r["depth"])) for r in rows]
