"""Zooming on a run's page: true bars, every trade in sight, spans that tables lead to, the log scale, the keyboard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from backtester import analytics
from backtester.engine.result import Result
from backtester.report.page import write_page
from tests.browser.visiting import visit
from tests.unit.report import sample

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

SETTLED = """async ([name, act]) => {
    const figure = document.querySelector(`[data-plot="${name}"]`);
    const done = new Promise(resolve => figure.addEventListener('explored', resolve, { once: true }));
    eval(act);
    await done;
}"""
TRACES = """name => document.querySelector(`[data-plot="${name}"] .canvas`).data.map(t => ({
    slot: (t.meta || {}).slot || (t.meta || {}).source, x: Array.from(t.x || []), y: Array.from(t.y || []),
    open: Array.from(t.open || []), high: Array.from(t.high || []), low: Array.from(t.low || []),
    close: Array.from(t.close || []), text: Array.from(t.text || []),
}))"""


def with_levels(run: Result) -> Result:
    """The run with prices on ticks and a stop under every trade."""
    prices = [pl.col(name).round(2) for name in ("open", "high", "low", "close")]
    bars = run.bars.with_columns(
        *prices, pl.col("mark_close").round(3), (pl.col("close") + 1).round(2).alias("index_close")
    )
    levels = run.trades.select(
        pl.col("symbol"),
        pl.lit("stop_loss").alias("origin"),
        pl.lit("cancelled").alias("status"),
        pl.lit("position_closed").alias("reason"),
        pl.col("entry_time").alias("decision_time"),
        pl.col("entry_time").alias("due_time"),
        pl.col("exit_time").alias("end_time"),
        (pl.col("entry_price") * 0.9).round(1).alias("trigger_price"),
    )
    return replace(run, bars=bars, orders=pl.concat([run.orders, levels], how="diagonal_relaxed"))


@pytest.fixture(scope="module")
def run() -> Result:
    return with_levels(analytics.complete(sample.make(2, 24 * 200)))


@pytest.fixture(scope="module")
def page(browser: Browser, run: Result, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    path = write_page(run, tmp_path_factory.mktemp("explorer") / "report.html")
    opened, faults = visit(browser, path)
    yield opened
    assert faults == []
    opened.close()


def settled(page: Page, name: str, act: str) -> None:
    page.evaluate(SETTLED, [name, act])


def focused(page: Page, name: str, start: int, end: int) -> dict[str, dict[str, Any]]:
    """Zoom a figure to a span and return its traces by what they show."""
    settled(page, name, f"report.focus({json.dumps(name)}, {start}, {end})")
    return {trace["slot"]: trace for trace in page.evaluate(TRACES, name)}


def sight(page: Page, name: str) -> tuple[float, float]:
    """Return the span that a figure shows."""
    found = page.evaluate(
        """name => { const axis = document.querySelector(`[data-plot="${name}"] .canvas`)._fullLayout.xaxis;
        return axis.range.map(at => axis.r2l(at)); }""",
        name,
    )
    return found[0], found[1]


def test_few_bars_are_the_true_candles(page: Page, run: Result) -> None:
    start = run.start + 1_000 * sample.HOUR
    traces = focused(page, "price-0", start, start + 80 * sample.HOUR)
    candles, low, high = traces["candles"], *sight(page, "price-0")
    own = run.bars.filter(pl.col("symbol") == run.symbols[0])
    times = own["open_time"].cast(pl.Int64)
    shown = own.filter(times.is_in(candles["x"]))
    assert (
        shown.filter((pl.col("open_time").cast(pl.Int64) >= low) & (pl.col("open_time").cast(pl.Int64) <= high)).height
        > 100
    )
    assert len(candles["x"]) == shown.height
    for name in ("open", "high", "low", "close"):
        assert candles[name] == shown[name].to_list()
    assert traces["mark"]["y"] == shown["mark_close"].to_list()
    assert traces["index"]["y"] == shown["index_close"].to_list()
    assert traces["close"]["x"] == []


def test_many_bars_are_a_band_that_holds_every_extreme(page: Page, run: Result) -> None:
    traces = focused(page, "price-1", run.start + 300 * sample.HOUR, run.start + 3_000 * sample.HOUR)
    own = run.bars.filter(pl.col("symbol") == run.symbols[1])
    times, (low, high) = own["open_time"].cast(pl.Int64), sight(page, "price-1")
    inside = own.filter((times >= low) & (times <= high))
    assert inside.height > 2_000
    assert len(traces["low"]["x"]) < 1_000
    assert max(traces["high"]["y"]) >= inside["high"].max()
    assert min(traces["low"]["y"]) <= inside["low"].min()
    assert set(traces["high"]["y"]) <= set(own["high"].to_list())
    assert inside["close"].max() in traces["close"]["y"]
    assert traces["candles"]["x"] == []


def test_a_chosen_symbol_is_drawn_whole_from_what_the_page_holds(page: Page, run: Result) -> None:
    page.locator("#price-choice").select_option("price-1")
    settled(page, "price-1", "report.explore.reset(figure)")
    traces = {trace["slot"]: trace for trace in page.evaluate(TRACES, "price-1")}
    own = run.bars.filter(pl.col("symbol") == run.symbols[1])
    assert max(traces["high"]["y"]) == own["high"].max()
    assert min(traces["low"]["y"]) == own["low"].min()
    assert traces["close"]["y"][-1] == own["close"][-1]
    trips = run.trades.filter((pl.col("symbol") == run.symbols[1]) & (pl.col("position_side") == "long"))
    assert len(traces["entry-long"]["x"]) == trips.height


def test_every_trade_and_stop_in_sight_is_marked(page: Page, run: Result) -> None:
    trip = run.trades.filter(pl.col("symbol") == run.symbols[0]).row(3, named=True)
    start, end = (int(trip[key].timestamp() * 1000) for key in ("entry_time", "exit_time"))
    traces = focused(page, "price-0", start, end)
    low, high = sight(page, "price-0")
    side = trip["position_side"]
    assert start in traces[f"entry-{side}"]["x"]
    entries = run.trades.filter(pl.col("symbol") == run.symbols[0])
    for one in ("long", "short"):
        own = entries.filter(pl.col("position_side") == one)["entry_time"].cast(pl.Int64)
        inside = [at for at in own.to_list() if low <= at <= high]
        assert set(inside) <= set(traces.get(f"entry-{one}", {"x": []})["x"])
    assert trip["entry_price"] == pytest.approx(
        traces[f"entry-{side}"]["y"][traces[f"entry-{side}"]["x"].index(start)], rel=1e-7
    )
    assert round(trip["entry_price"] * 0.9, 1) in traces["level-0"]["y"]
    assert start in traces[f"held-{side}"]["x"]


def test_equity_in_sight_is_every_close(page: Page, run: Result) -> None:
    traces = focused(page, "equity", run.start + 500 * sample.HOUR, run.start + 900 * sample.HOUR)
    times = run.equity["close_time"].cast(pl.Int64)
    shown = run.equity.filter(times.is_in(traces["equity"]["x"]))
    assert shown.height > 400
    assert traces["equity"]["y"] == [round(v, 2) for v in shown["equity"].to_list()]
    worst = run.equity["equity"].to_numpy() / run.equity["equity"].cum_max().clip(10_000.0).to_numpy() - 1
    expected = worst[times.is_in(traces["drawdown"]["x"]).to_numpy()]
    assert traces["drawdown"]["y"] == pytest.approx(expected.tolist(), abs=2e-6)


def test_the_log_scale_can_be_chosen_and_left(page: Page) -> None:
    toggle = page.locator('[data-plot="equity"]').get_by_role("button", name="Logarithmic scale")
    settled(page, "equity", "report.explore.reset(figure)")
    kind = "document.querySelector('[data-plot=\"equity\"] .canvas')._fullLayout.yaxis.type"
    assert page.evaluate(kind) == "linear"
    toggle.click()
    page.wait_for_function(f"() => {kind} === 'log'")
    assert toggle.get_attribute("aria-pressed") == "true"
    toggle.click()
    page.wait_for_function(f"() => {kind} === 'linear'")


def test_a_lost_account_has_a_log_scale(browser: Browser, tmp_path: Path) -> None:
    run = analytics.complete(sample.liquidated())
    opened, faults = visit(browser, write_page(run, tmp_path / "report.html"))
    opened.locator("#equity").scroll_into_view_if_needed()
    opened.wait_for_selector('[data-plot="equity"] .plot-tools')
    settled(opened, "equity", "figure.querySelector('[aria-pressed]').click()")
    axis = opened.evaluate("document.querySelector('[data-plot=\"equity\"] .canvas')._fullLayout.yaxis.range")
    shown = {trace["slot"]: trace for trace in opened.evaluate(TRACES, "equity")}
    assert all(value is None or value > 0 for value in shown["equity"]["y"])
    assert None in shown["equity"]["y"]
    assert -4 < axis[0] < axis[1] < 6
    assert faults == []
    opened.close()


def test_elements_lead_to_a_span_by_click_and_by_key(page: Page, run: Result) -> None:
    start = run.start + 700 * sample.HOUR
    page.evaluate(
        """span => { const cell = document.createElement('button');
        cell.id = 'lead'; cell.dataset.focus = span; cell.textContent = 'there';
        document.querySelector('footer').append(cell); }""",
        f"price-1:{start}:{start + 48 * sample.HOUR}",
    )
    for act in (lambda: page.locator("#lead").click(), lambda: page.locator("#lead").press("Enter")):
        settled(page, "price-1", "report.explore.reset(figure)")
        page.locator("#price-choice").select_option("price-0")
        act()
        page.wait_for_function("() => document.activeElement.dataset.plot === 'price-1'")
        assert page.locator("#price-choice").input_value() == "price-1"
        assert page.locator('[data-plot="price-0"]').is_hidden()
        page.wait_for_function("() => report.explore.states.get(document.activeElement).read")
        low, high = sight(page, "price-1")
        assert low < start < start + 48 * sample.HOUR < high < start + 100 * sample.HOUR
    assert page.evaluate("report.focus('nothing', 1, 2)") is False


def test_a_figure_is_zoomed_by_keyboard(page: Page, run: Result) -> None:
    settled(page, "price-0", f"report.focus('price-0', {run.start}, {run.end})")
    figure = page.locator('[data-plot="price-0"]')
    figure.focus()
    page.keyboard.press("0")
    page.wait_for_function("() => report.explore.states.get(document.activeElement).from === null")
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => report.explore.states.get(document.activeElement).from !== null")
    low, high = page.evaluate("(s => [s.from, s.to])(report.explore.states.get(document.activeElement))")
    assert high - low == pytest.approx((run.end - run.start) / 4, rel=0.01)
    assert (low + high) / 2 == pytest.approx(run.start + (run.end - run.start) * 0.625, rel=0.01)
    page.keyboard.press("Home")
    page.wait_for_function("() => report.explore.states.get(document.activeElement).from === null")


def test_dragging_in_the_figure_zooms_and_a_double_click_shows_all(page: Page) -> None:
    settled(page, "equity", "report.explore.reset(figure)")
    figure = page.locator('[data-plot="equity"]')
    figure.scroll_into_view_if_needed()
    box = figure.locator(".canvas .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 420, box["y"] + 62, steps=6)
    page.mouse.up()
    page.wait_for_function(
        "() => report.explore.states.get(document.querySelector('[data-plot=\"equity\"]')).from !== null"
    )
    page.wait_for_function(
        "() => document.querySelector('[data-plot=\"equity\"] .plot-status').textContent.includes('every one')"
    )
    figure.locator(".canvas .nsewdrag").first.dblclick(position={"x": 300, "y": 60})
    page.wait_for_function(
        "() => report.explore.states.get(document.querySelector('[data-plot=\"equity\"]')).from === null"
    )
