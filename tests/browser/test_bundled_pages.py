"""The pages of the bundled strategies on the demo market, opened from disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import backtester
from tests.browser.visiting import scroll_through, visit, wait_until_drawn

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

NAMES = (
    "bracket", "breakout", "buy_and_hold", "cross_momentum", "funding_carry", "funding_fade", "grid", "market_maker",
    "martingale", "pairs", "premium_reversion", "trend",
)  # fmt: skip
SHOWN = {"trades": ",", "liquidations": ",", "orders_filled": ","}


def test_every_bundled_strategy_is_here() -> None:
    found = {path.stem for path in (Path(__file__).parents[2] / "strategies").glob("*.py")} - {"__init__"}
    assert found == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_its_page_opens_at_every_width(browser: Browser, demo_store: Path, tmp_path: Path, name: str) -> None:
    run = backtester.run(name, data=demo_store, out=tmp_path, start="2024-08-01", end="2024-11-01")
    assert run.run_dir is not None
    page, faults = visit(browser, run.run_dir / "report.html")
    scroll_through(page)
    wait_until_drawn(page)
    for width in (1440, 1024, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    stored = json.loads((run.run_dir / "summary.json").read_text(encoding="utf-8"))
    for key, style in SHOWN.items():
        assert page.locator(f'[data-metric="{key}"]').first.inner_text().split()[0] == format(stored[key], style)
    assert faults == []
    page.close()
