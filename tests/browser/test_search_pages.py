"""The pages of an optimisation and of a walk forward in headless Chromium, opened from disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from backtester.domain.config import RunConfig
from backtester.engine.result import Notice
from backtester.report import numbers
from backtester.report.metric_text import metric_text
from backtester.report.optimize_page import write_optimize_page
from backtester.report.walk_page import write_walk_page
from backtester.research.importance import importances
from backtester.research.optimize import Optimization
from backtester.research.optimize_result import OptimizeResult
from backtester.research.study import opened_study
from backtester.research.walk_result import WalkForwardResult
from tests.browser.visiting import scroll_through, visit
from tests.unit.research.bowl import Bowl
from tests.unit.research.test_optimize import plan
from tests.unit.research.walk_sample import sample_walk

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
WIDTHS = (1440, 1024, 390)
HOSTILE = "<script>alert('x')</script>\"'&" + "long" * 2_500


def optimized(**changes: Any) -> OptimizeResult:
    """Return the result of a search over a bowl."""
    one = plan(changes.pop("trials", 60), **changes)
    windows: Any = [Bowl(), Bowl(shift=0.3)] if one.windows > 1 else []
    with opened_study(None, one.objectives, prune=one.prune) as study:
        search = Optimization(Bowl(), one, study, windows)  # type: ignore[arg-type]
        search.run()
        trials = search.frame()
    return OptimizeResult(
        run_id="20250101-000000-optimize-bowl",
        config=RunConfig(),
        strategy_name="bowl",
        plan=one,
        trials=trials,
        importance=importances(trials, one.dimensions, one.objectives),
        notices=(Notice("venue_chosen", "assumption", "No venue was named."),),
        symbols=("BTC/USDT:USDT",),
        span=(1_704_067_200_000, 1_709_251_200_000),
        synthetic=True,
        settle="USDT",
        command="backtester run --config reports/20250101-000000-optimize-bowl/best.toml",
        manifest={"seed": 5, "hashes": {"data": "ab" * 32}},
    )


def hostile() -> OptimizeResult:
    """A search whose texts are made of what breaks pages."""
    found = optimized(space={"x": "1:6", "y": ["-1"]}, trials=6)
    trials = found.trials.with_columns(pl.lit(HOSTILE).alias("error"), pl.lit(HOSTILE).alias("y"))
    notices = (Notice("odd", "warning", HOSTILE),)
    return replace(found, trials=trials, strategy_name=HOSTILE, run_id=HOSTILE, command=HOSTILE, notices=notices)


def without_a_value() -> OptimizeResult:
    """A search in which every set fails."""
    return optimized(space={"x": "7:7", "y": "-1:1"}, trials=3)


OPTIMISED = {
    "one": lambda: optimized(constraints=["liquidations == 0"]),
    "several": lambda: optimized(objective="sharpe,max_drawdown,-liquidations", sampler="nsga2", batch=20),
    "windows": lambda: optimized(windows=2, prune=True, sampler="random"),
    "listed": lambda: optimized(space={"x": "log:1:6", "y": "-1,0,2"}),
    "without-a-value": without_a_value,
    "hostile": hostile,
}
WALKS = {
    "walk": lambda: sample_walk(6),
    "one-window": lambda: sample_walk(1),
    "many-windows": lambda: sample_walk(120),
    "flat": lambda: sample_walk(3, idle=True),
    "none": lambda: sample_walk(0),
}


def check(browser: Browser, path: Path) -> str:
    """Open a page at every width and return its text."""
    page, faults = visit(browser, path)
    scroll_through(page)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.plot:not([hidden])')].every(f => f.querySelector('.main-svg'))"
    )
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    text: str = page.locator("body").inner_text()
    assert text.lstrip().startswith("Synthetic data.")
    assert faults == []
    page.close()
    return text


@pytest.mark.parametrize("name", OPTIMISED)
def test_an_optimisation_opens_from_disk_at_every_width(browser: Browser, tmp_path: Path, name: str) -> None:
    found = OPTIMISED[name]()
    text = check(browser, write_optimize_page(found, tmp_path / f"{name}.html"))
    assert "Importance" in text
    if found.ranking.height:
        metric = found.plan.objectives[0].metric
        assert metric_text(metric, found.ranking[metric][0]) in text


@pytest.mark.parametrize("name", WALKS)
def test_a_walk_opens_from_disk_at_every_width(browser: Browser, tmp_path: Path, name: str) -> None:
    found: WalkForwardResult = WALKS[name]()
    text = check(browser, write_walk_page(found, tmp_path / f"{name}.html"))
    assert "Parameter stability" in text
    if found.windows.height:
        assert numbers.decimal(found.summary["sharpe"]) in text  # type: ignore[arg-type]


def test_figures_can_be_chosen(browser: Browser, tmp_path: Path) -> None:
    page, faults = visit(browser, write_optimize_page(OPTIMISED["several"](), tmp_path / "page.html"))
    for group, plot in (("history", "history-1"), ("slices", "slice-1"), ("front", "front-2")):
        page.locator(f"#{group}-choice").select_option(plot)
        page.wait_for_selector(f'[data-plot="{plot}"] .main-svg')
    assert faults == []
    page.close()
    page, faults = visit(browser, write_walk_page(WALKS["walk"](), tmp_path / "walk.html"))
    for group, plot in (("against", "against-1"), ("parameters", "choice-1")):
        page.locator(f"#{group}-choice").select_option(plot)
        page.wait_for_selector(f'[data-plot="{plot}"] .main-svg')
    assert faults == []
    page.close()
