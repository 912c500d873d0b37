"""The page of a sweep in headless Chromium, opened from disk."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from backtester.report import numbers
from backtester.report.figures import sweep as figures
from backtester.report.sweep_data import Sweep, read_sweep
from backtester.report.sweep_metrics import KNOWN
from backtester.report.sweep_page import write_sweep_page
from backtester.report.sweep_payload import set_command
from tests.browser.visiting import visit
from tests.unit.report import sweep_sample

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

SWEEPS: dict[str, Callable[[], pl.DataFrame]] = {
    "small": sweep_sample.small,
    "large": sweep_sample.large,
    "sampled": sweep_sample.sampled,
    "one-parameter": sweep_sample.one_parameter,
    "one-set": sweep_sample.one_set,
    "all-failed": sweep_sample.all_failed,
    "liquidated": sweep_sample.liquidated,
    "hostile": sweep_sample.hostile,
}
SHARPE = KNOWN["sharpe"]
Pages = dict[str, tuple[Sweep, Path]]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    root = tmp_path_factory.mktemp("sweeps")
    made = {}
    for name, make in SWEEPS.items():
        strategy = {"strategy": {"name": sweep_sample.HOSTILE}} if name == "hostile" else {}
        folder = sweep_sample.write(root / name, make(), {**sweep_sample.BASE, **strategy})
        write_sweep_page(folder, folder / "report.html")
        made[name] = (read_sweep(folder), folder / "report.html")
    return made


def draw(page: Page, name: str) -> None:
    """Bring a figure into the window and wait until it is there."""
    page.locator(f'[data-plot="{name}"]').scroll_into_view_if_needed()
    page.wait_for_selector(f'[data-plot="{name}"] .main-svg')


def draw_all(page: Page) -> None:
    """Bring every figure into the window, one after the other."""
    for name in page.evaluate("[...document.querySelectorAll('.plot')].map(f => f.dataset.plot)"):
        draw(page, name)


def traces(page: Page, name: str) -> list[dict[str, Any]]:
    """The traces of a figure as they are drawn."""
    found = page.evaluate(
        """name => JSON.stringify(document.querySelector(`[data-plot="${name}"] .canvas`).data)""", name
    )
    return list(json.loads(found))


def same(found: Any, wanted: Any) -> bool:
    """Compare lists of numbers, texts and gaps; the page keeps nine digits."""
    if isinstance(wanted, (list, tuple)):
        return len(found) == len(wanted) and all(same(f, w) for f, w in zip(found, wanted, strict=True))
    if isinstance(wanted, (float, np.floating)) and not isinstance(found, str) and found is not None:
        return math.isclose(found, wanted, rel_tol=1e-6, abs_tol=1e-7)
    return bool(found == wanted)


def column(page: Page, label: str) -> list[str]:
    """The texts of a column of the table."""
    return page.locator(f'#sets-table tbody td[data-label="{label}"]').all_inner_texts()


def heading(page: Page, label: str) -> Any:
    return page.locator("#sets-table thead th").filter(has_text=label).first


@pytest.mark.parametrize("name", SWEEPS)
def test_opens_from_disk_at_every_width(browser: Browser, pages: Pages, name: str) -> None:
    page, faults = visit(browser, pages[name][1])
    draw_all(page)
    for width in (1440, 1024, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert faults == []
    page.close()


@pytest.mark.parametrize("name", ["small", "sampled", "hostile"])
def test_opens_on_a_phone(browser: Browser, pages: Pages, name: str) -> None:
    page, faults = visit(browser, pages[name][1], 390)
    draw_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    lines = traces(page, "parallel")[-1]
    assert lines["y"][:3] == [0, 1, 2]  # the axes lie below each other
    assert faults == []
    page.close()


def test_first_screen_of_ten_thousand_sets(browser: Browser, pages: Pages) -> None:
    page, _ = visit(browser, pages["large"][1])
    page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length > 0")
    assert page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") < 2_000
    assert page.locator("#verdict li").count() >= 3
    page.close()


@pytest.mark.parametrize("name", ["small", "sampled", "liquidated"])
def test_map_shows_the_sets(browser: Browser, pages: Pages, name: str) -> None:
    """The numbers that the script gathers equal those of the frame, for every choice."""
    sweep, path = pages[name]
    page, faults = visit(browser, path)
    draw(page, "map")
    metrics = {m.key: m for m in sweep.metrics}
    axes = [a for a in sweep.axes if len(a.values) > 1]
    x, y = axes[0], axes[1]

    def check(metric: Any, collapse: Any = "median", *, smooth: bool = False) -> None:
        wanted = figures.heatmap_figure(sweep, x, y, metric, collapse, smooth=smooth)
        found = traces(page, "map")
        for key in ("x", "y", "z"):
            assert same(found[0][key], [list(v) if key == "z" else v for v in wanted.data[0][key]])
        assert same([found[0]["zmin"], found[0]["zmax"]], [wanted.data[0].zmin, wanted.data[0].zmax])
        assert found[1]["x"] == list(wanted.data[1].x)
        assert found[1]["y"] == list(wanted.data[1].y)

    check(SHARPE)
    page.locator("#map-smooth").check()
    check(SHARPE, smooth=True)
    page.locator("#map-smooth").uncheck()
    if page.locator("#map-collapse").is_visible():
        for collapse in ("best", "worst"):
            page.locator("#map-collapse").select_option(collapse)
            check(SHARPE, collapse)
        page.locator("#map-collapse").select_option("median")
    page.locator("#map-metric").select_option("worst_margin_ratio")
    check(metrics["worst_margin_ratio"])
    assert page.locator("#spread-metric").input_value() == "worst_margin_ratio"
    page.locator("#map-x").select_option("1")
    x, y = y, x
    check(metrics["worst_margin_ratio"])
    assert faults == []
    page.close()


def test_a_cell_names_its_best_set(browser: Browser, pages: Pages) -> None:
    sweep, path = pages["small"]
    page, _ = visit(browser, path)
    draw(page, "map")
    before = page.locator("#map-picked code").inner_text()
    best = sweep.done.sort("sharpe", descending=True, nulls_last=True).row(0, named=True)
    assert before == set_command(sweep, best)
    page.wait_for_timeout(300)
    page.locator('[data-plot="map"] .nsewdrag').click(position={"x": 12, "y": 12})  # the upper left cell
    page.wait_for_function(
        "() => before => document.querySelector('#map-picked code').textContent !== before", arg=before
    )
    cell = sweep.done.filter((pl.col("fast") == 8) & (pl.col("slow") == 336)).sort("sharpe", descending=True)
    assert page.locator("#map-picked code").inner_text() == set_command(sweep, cell.row(0, named=True))
    page.close()


@pytest.mark.parametrize("name", ["small", "large"])
def test_lines_and_spread_follow_the_metric(browser: Browser, pages: Pages, name: str) -> None:
    sweep, path = pages[name]
    page, faults = visit(browser, path)
    metric = KNOWN["max_drawdown"]
    for plot in ("parallel", "distribution", "against-0"):
        draw(page, plot)
    page.locator("#parallel-metric").select_option(metric.key)
    found, wanted = traces(page, "parallel"), figures.parallel_figure(sweep, metric)
    assert len(found) == len(wanted.data)
    for one, other in zip(found, wanted.data, strict=True):
        assert same(one["y"][: len(other.y)], list(other.y))
        assert one.get("meta") == (dict(other.meta) if other.meta else None)
        assert len(one["y"]) - len(other.y) in {0, 1}  # the best line may end in a gap
    drawn, counted = traces(page, "distribution")[0], figures.distribution_figure(sweep, metric).data[0]
    assert sum(drawn["y"]) == sum(counted.y) == sweep.done.height
    assert same(drawn["x"], list(counted.x))
    assert np.abs(np.array(drawn["y"]) - np.array(counted.y)).max() <= 1  # on the edge of a bin the ninth digit decides
    box, quartiles = traces(page, "against-0")[0], figures.against_figure(sweep, sweep.axes[0], metric).data[0]
    for key in ("lowerfence", "q1", "median", "q3", "upperfence"):
        assert same(box[key], list(quartiles[key]))
    if name == "large":
        assert "Drawn are the best 300" in page.locator("#parallel-note").inner_text()
    assert faults == []
    page.close()


def test_table_sorts_by_clicking_a_heading_and_pages(browser: Browser, pages: Pages) -> None:
    sweep, path = pages["large"]
    page, faults = visit(browser, path)
    ranked = sweep.done.sort("sharpe", descending=True, nulls_last=True)
    assert column(page, "Sharpe ratio") == [numbers.decimal(v) for v in ranked["sharpe"][:200]]
    assert column(page, "Set") == [numbers.count(v) for v in ranked["set"][:200]]
    assert heading(page, "Sharpe").get_attribute("aria-sort") == "descending"
    heading(page, "Funding").locator("button").click()
    paid = sweep.done["funding"].sort(descending=True)
    assert column(page, "Funding") == [numbers.decimal(v, signed=True) for v in paid[:200]]
    heading(page, "Funding").locator("button").press("Enter")
    assert column(page, "Funding") == [numbers.decimal(v, signed=True) for v in paid.reverse()[:200]]
    page.get_by_role("button", name="Next").click()
    assert column(page, "Funding") == [numbers.decimal(v, signed=True) for v in paid.reverse()[200:400]]
    assert page.locator("#sets-pages [role=status]").inner_text() == "201\u2013400 of 10,000"
    heading(page, "fast").locator("button").click()
    assert column(page, "fast") == ["2"] * 200
    assert faults == []
    page.close()


def test_filters_narrow_table_and_lines(browser: Browser, pages: Pages) -> None:
    sweep, path = pages["small"]
    page, faults = visit(browser, path)
    draw(page, "parallel")
    page.locator("#filter-column").select_option("m:total_return")
    page.locator("#filter-value").fill("-5")
    page.locator("#filter-value").press("Enter")
    wanted = sweep.done.filter(pl.col("total_return") >= -0.05)
    assert page.locator("#filter-note").inner_text() == f"{wanted.height} of {sweep.done.height} sets pass."
    page.locator("#filter-column").select_option("p1")
    page.locator("#filter-test").select_option("is")
    page.locator("#filter-value").fill("170")
    page.get_by_role("button", name="Add filter").click()
    wanted = wanted.filter(pl.col("slow") == 170)
    assert 0 < wanted.height < 12
    assert sorted(column(page, "Set")) == sorted(numbers.count(v) for v in wanted["set"])
    points = sum(len(trace["y"]) for trace in traces(page, "parallel")[:-1])
    axes = len(traces(page, "parallel")[-1]["y"])
    assert points == wanted.height * axes
    page.get_by_role("button", name="Remove filter slow equals 170").click()
    page.get_by_role("button", name="Remove filter Total return").click()
    assert len(column(page, "Set")) == sweep.done.height
    page.locator("#filter-value").fill("no number")
    page.get_by_role("button", name="Add filter").click()
    assert page.locator("#sets-chips li").count() == 0
    page.locator("#sets-search").fill("336")
    page.wait_for_function("() => document.querySelector('#filter-note').textContent !== ''")
    assert set(column(page, "slow")) == {"336"}
    page.locator("#sets-search").fill("99999")
    page.wait_for_function("() => document.querySelector('#sets-table').textContent.includes('No set passes')")
    assert faults == []
    page.close()


def test_columns_command_and_download(browser: Browser, pages: Pages) -> None:
    sweep, path = pages["small"]
    page, faults = visit(browser, path)
    page.locator(".columns summary").click()
    page.get_by_role("checkbox", name="Profit factor").check()
    page.get_by_role("checkbox", name="Trading fees").uncheck()
    page.keyboard.press("Escape")
    assert not page.get_by_role("checkbox", name="Profit factor").is_visible()
    ranked = sweep.done.sort("sharpe", descending=True, nulls_last=True)
    assert column(page, "Profit factor") == [numbers.decimal(v) for v in ranked["profit_factor"]]
    assert column(page, "Trading fees") == []
    page.locator("#sets-table .row-button").nth(1).click()
    assert page.locator("#sets-table .detail code").inner_text() == set_command(sweep, ranked.row(1, named=True))
    page.locator("#sets-table .row-button").nth(1).press("Enter")
    assert page.locator("#sets-table .detail").count() == 0
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download CSV").click()
    assert waiting.value.suggested_filename == "small.csv"
    rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text(encoding="utf-8"))))
    assert [int(r["set"]) for r in rows] == ranked["set"].to_list()
    assert [float(r["sharpe"]) for r in rows] == pytest.approx(ranked["sharpe"].to_list(), abs=1e-8)
    assert [r["profit_factor"] == "" for r in rows] == [v is None for v in ranked["profit_factor"]]
    assert list(rows[0])[:4] == ["set", "fast", "slow", "account.leverage"]
    assert "fees" not in rows[0]
    assert faults == []
    page.close()


def test_names_stay_text(browser: Browser, pages: Pages) -> None:
    sweep, path = pages["hostile"]
    page, faults = visit(browser, path)
    draw_all(page)
    assert page.evaluate("document.querySelectorAll('main b, main i').length") == 0
    assert page.locator("h1").inner_text().startswith("Sweep of <script>alert")
    texts = page.locator("#sets-table tbody td.text").all_inner_texts()
    assert "<i>c</i>" in texts
    assert page.get_by_text('say "hi"; $HOME').first.is_visible()
    page.locator("#sets-table .row-button").first.click()
    best = sweep.done.sort("sharpe", descending=True, nulls_last=True).row(0, named=True)
    assert page.locator("#sets-table .detail code").text_content() == set_command(sweep, best)
    assert page.locator("#failed").get_by_text("<script>alert").first.is_visible()
    assert faults == []
    page.close()


def test_theme_changes_the_colours_of_values(browser: Browser, pages: Pages) -> None:
    page, faults = visit(browser, pages["small"][1])
    draw(page, "map")
    before = traces(page, "map")[0]["colorscale"]
    page.locator("#theme-switch").click()
    assert traces(page, "map")[0]["colorscale"] != before
    assert faults == []
    page.close()


def test_failed_sets_have_a_table_of_their_own(browser: Browser, pages: Pages) -> None:
    sweep, path = pages["small"]
    page, _ = visit(browser, path)
    kinds = page.locator('[data-table="errors"] tbody tr')
    assert kinds.count() == 1
    assert kinds.first.locator("td").nth(1).inner_text() == str(sweep.failed.height)
    assert page.locator('[data-table="failed-sets"] tbody tr').count() == min(25, sweep.failed.height)
    assert page.locator("#sets-table").get_by_text(sweep_sample.REFUSED).count() == 0
    page.close()
    page, faults = visit(browser, pages["all-failed"][1])
    assert page.get_by_text("None of the 4 sets could be replayed").is_visible()
    assert page.locator("#map").count() == 0
    assert faults == []
    page.close()
