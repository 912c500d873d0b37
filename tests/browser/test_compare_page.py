"""The pages of comparisons in headless Chromium, opened from disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backtester import analytics
from backtester.analytics.comparison import Comparison
from backtester.engine.result import Result
from backtester.report import numbers
from backtester.report.compare_page import write_compare_page
from backtester.report.compare_sweeps import compared_sweeps, levels, write_sweeps_page
from tests.browser.visiting import scroll_through, visit
from tests.unit.report import sample, sweep_sample

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
WIDTHS = (1440, 1024, 390)
HOSTILE = "<script>alert('x')</script>\"'&%{y}" + "long" * 2_500


def named(result: Result, name: str, source: str = "fast = 24\n", **params: Any) -> Result:
    strategy = result.config.strategy.model_copy(update={"params": {"fast": 24, **params}})
    config = result.config.model_copy(update={"strategy": strategy})
    return analytics.complete(replace(result, run_id=name, config=config, strategy_source=source))


def base() -> Result:
    return named(sample.make(2, 24 * 90), "base")


def pair() -> Comparison:
    return Comparison.of([base(), named(sample.make(2, 24 * 90, exposure=1.2), "other", "fast = 48\n", fast=48)])


def mixed() -> Comparison:
    """Other spans, another currency, a run without a trade, one that is gone, equal ones."""
    late = named(sample.make(2, 24 * 90), "late")
    late = replace(late, equity=late.equity[24 * 10 :])
    coin = replace(named(sample.make(2, 24 * 90, exposure=9.0, seed=11), "coin"), settle="BTC")
    return Comparison.of([base(), late, coin, named(sample.flat(24 * 90), "idle"), named(sample.liquidated(), "gone"),
                          replace(base(), run_id="again")])  # fmt: skip


def hostile() -> Comparison:
    one = replace(base(), run_id=HOSTILE, strategy_name=HOSTILE, settle=HOSTILE)
    other = named(sample.make(2, 24 * 90, exposure=1.2), HOSTILE, HOSTILE + "\n", **{HOSTILE: HOSTILE})
    return Comparison.of([one, replace(other, strategy_name=HOSTILE)])


def many() -> Comparison:
    short = named(sample.make(1, 24 * 10, exposure=0.3), "run")
    return Comparison.of([replace(short, run_id=f"run-{place}") for place in range(50)])


PAGES: dict[str, Callable[[], Comparison]] = {"pair": pair, "mixed": mixed, "hostile": hostile, "many": many}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Comparison, Path]]:
    folder = tmp_path_factory.mktemp("pages")
    made = {name: make() for name, make in PAGES.items()}
    return {name: (found, write_compare_page(found, folder / f"{name}.html")) for name, found in made.items()}


def check(browser: Browser, path: Path) -> str:
    """Open a page at every width, switch the theme, and return its text."""
    page, faults = visit(browser, path)
    scroll_through(page)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.plot:not([hidden])')].every(f => f.querySelector('.main-svg'))"
    )
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme-switch").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    text: str = page.locator("body").inner_text()
    assert faults == []
    page.close()
    return text


@pytest.mark.parametrize("name", PAGES)
def test_opens_from_disk_at_every_width(browser: Browser, pages: dict[str, tuple[Comparison, Path]], name: str) -> None:
    text = check(browser, pages[name][1])
    assert text.lstrip().startswith("Synthetic data.")


def test_figures_equal_the_summaries(browser: Browser, pages: dict[str, tuple[Comparison, Path]]) -> None:
    found, path = pages["pair"]
    page, _ = visit(browser, path)
    metrics = {row["metric"]: row for row in found.metrics.iter_rows(named=True)}

    def cell(metric: str, place: int, grid: str = "own") -> str:
        return page.locator(f'[data-grid="{grid}"] [data-metric="{metric}"][data-place="{place}"] .figure').inner_text()

    for place, name in enumerate(found.names):
        for key in ("total_return", "max_drawdown", "best_day"):
            assert cell(key, place) == numbers.percent(metrics[key][name])
        for key in ("sharpe", "profit_factor"):
            assert cell(key, place) == numbers.decimal(metrics[key][name])
        for key in ("trades", "liquidations"):
            assert cell(key, place) == numbers.count(metrics[key][name])
        parts = [cell(part, place, "attribution") for part in ("price", "funding", "fees", "slippage", "liquidation")]
        whole = sum(float(text.replace(",", "").replace(numbers.MINUS, "-")) for text in parts)
        shown = float(cell("total", place, "attribution").replace(",", "").replace(numbers.MINUS, "-"))
        assert whole == pytest.approx(shown, abs=0.03)
    best = page.locator('[data-grid="own"] [data-metric="sharpe"].best')
    assert [int(best.get_attribute("data-place") or -1)] == [found.names.index(metrics["sharpe"]["best"][0])]
    assert "best" in best.inner_text()  # not by colour alone
    page.close()


def test_settings_and_sources_that_differ_are_shown(
    browser: Browser, pages: dict[str, tuple[Comparison, Path]]
) -> None:
    page, _ = visit(browser, pages["pair"][1])
    keys = page.locator('[data-grid="settings"] tbody th[scope="row"]').all_inner_texts()
    assert keys == ["strategy.params.fast", "strategy.source"]
    assert page.locator(".diff .removed").all_inner_texts() == ["-fast = 24"]
    assert page.locator(".diff .added").all_inner_texts() == ["+fast = 48"]
    page.close()


def test_equity_can_be_shown_on_other_scales(browser: Browser, pages: dict[str, tuple[Comparison, Path]]) -> None:
    page, faults = visit(browser, pages["mixed"][1])
    for plot in ("equity-own-log", "equity-common", "equity-common-log"):
        page.locator("#equity-choice").select_option(plot)
        page.wait_for_selector(f'[data-plot="{plot}"] .main-svg')
    assert faults == []
    page.close()


def test_what_stands_in_the_way_of_comparing_is_said(
    browser: Browser, pages: dict[str, tuple[Comparison, Path]]
) -> None:
    page, _ = visit(browser, pages["mixed"][1])
    told = page.locator("#verdict").inner_text()
    for text in ("cover different spans", "settle in different currencies", "never traded", "are equal"):
        assert text in told
    assert page.locator('[data-grid="common"]').count() == 1
    page.close()


def test_hostile_names_stay_text(browser: Browser, pages: dict[str, tuple[Comparison, Path]]) -> None:
    page, faults = visit(browser, pages["hostile"][1])
    scroll_through(page)
    page.wait_for_timeout(200)
    assert page.evaluate("document.querySelectorAll('main script:not([type])').length") == 0
    assert "<script>alert" in page.locator("#runs").inner_text()
    assert "<script>" in page.locator('[data-plot="drawdowns"] .legend').first.text_content()  # type: ignore[operator]
    assert faults == []
    page.close()


def test_sweeps_beside_each_other(browser: Browser, tmp_path: Path) -> None:
    made = {"one": sweep_sample.small(), "two": sweep_sample.sampled(200), "hostile": sweep_sample.hostile()}
    sweeps = compared_sweeps([sweep_sample.write(tmp_path / name, frame) for name, frame in made.items()])
    path = write_sweeps_page(sweeps, tmp_path / "sweeps.html")
    text = check(browser, path)
    main = sweeps[0].main
    assert main is not None
    assert main.text(levels(sweeps[0], main)["median"]) in text
    page, faults = visit(browser, path)
    for option in page.locator("#spread-choice option").all():
        value = option.get_attribute("value")
        page.locator("#spread-choice").select_option(value)
        page.wait_for_selector(f'[data-plot="{value}"] .main-svg')
    assert faults == []
    page.close()
