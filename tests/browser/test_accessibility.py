"""axe-core finds no serious fault on any kind of page, in light and dark, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backtester import analytics
from backtester.analytics.comparison import Comparison
from backtester.report.compare_page import write_compare_page
from backtester.report.compare_sweeps import compared_sweeps, write_sweeps_page
from backtester.report.optimize_page import write_optimize_page
from backtester.report.page import write_page
from backtester.report.sweep_page import write_sweep_page
from backtester.report.walk_page import write_walk_page
from tests.browser.test_compare_page import mixed, pair
from tests.browser.test_page import RUNS
from tests.browser.test_search_pages import OPTIMISED, WALKS
from tests.browser.visiting import visit
from tests.unit.report import sweep_sample

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

pytestmark = pytest.mark.browser
GRAVE = {"serious", "critical"}
OPTIONS: dict[str, Any] = {"resultTypes": ["violations"]}
# A theme changes colours alone.
COLOURS = OPTIONS | {"runOnly": ["color-contrast"]}
# What plotly draws is told in words by the label of its figure, and takes most of the time to look through.
CONTEXT = {"exclude": [[".main-svg"]]}


# Figures near the window are drawn, with buttons of their own.
DRAWN = """() => [...document.querySelectorAll('.plot:not([hidden])')].every(figure =>
    figure.getBoundingClientRect().top > window.innerHeight || figure.querySelector('.main-svg'))"""


def _run(name: str) -> Callable[[Path], Path]:
    return lambda folder: write_page(analytics.complete(RUNS[name]()), folder / "page.html")


def _sweep(frame: Callable[[], Any]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        page = folder / "page.html"
        write_sweep_page(sweep_sample.write(folder / "sweep", frame()), page)
        return page

    return write


def _sweeps(folder: Path) -> Path:
    made = {"one": sweep_sample.small(), "two": sweep_sample.sampled(100)}
    sweeps = compared_sweeps([sweep_sample.write(folder / name, frame) for name, frame in made.items()])
    return write_sweeps_page(sweeps, folder / "page.html")


def _comparison(make: Callable[[], Comparison]) -> Callable[[Path], Path]:
    return lambda folder: write_compare_page(make(), folder / "page.html")


PAGES: dict[str, Callable[[Path], Path]] = {
    "run": _run("ruined"),
    "sweep": _sweep(sweep_sample.small),
    "optimisation": lambda folder: write_optimize_page(OPTIMISED["several"](), folder / "page.html"),
    "walk forward": lambda folder: write_walk_page(WALKS["walk"](), folder / "page.html"),
    "comparison": _comparison(mixed),
}
MORE_PAGES: dict[str, Callable[[Path], Path]] = {
    "empty run": _run("flat"),
    "failed sweep": _sweep(sweep_sample.all_failed),
    "comparison of two": _comparison(pair),
    "sweeps": _sweeps,
}


def faults(page: Page, options: dict[str, Any]) -> list[str]:
    """Return what axe-core finds to be serious or critical: rule, element, what is wrong."""
    response = axe.Axe().run(page, context=CONTEXT, options=options).response
    return [
        f"{violation['id']} ({violation['impact']}): {node['target']}: {' '.join(node['failureSummary'].split())[:240]}"
        for violation in response["violations"]
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("name", [*PAGES, *(pytest.param(name, marks=pytest.mark.long) for name in MORE_PAGES)])
def test_no_serious_fault(browser: Browser, tmp_path: Path, name: str) -> None:
    path = (PAGES | MORE_PAGES)[name](tmp_path)
    found: dict[str, list[str]] = {}
    for width in (1440, 390):
        page, _ = visit(browser, path, width)
        page.wait_for_function(DRAWN)
        for theme, options in (("light", OPTIONS), ("dark", COLOURS)):
            page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            if told := faults(page, options):
                found[f"{theme}, {width} px"] = told
        page.close()
    assert found == {}, "\n".join(f"{place}: {line}" for place, lines in found.items() for line in lines)
