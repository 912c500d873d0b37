"""Opening pages as a reader does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def visit(browser: Browser, path: Path, width: int = 1440) -> tuple[Page, list[str]]:
    """Open a page; return it with the list that every console error and network request goes to."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    faults: list[str] = []
    page.on("console", lambda m: faults.append(m.text) if m.type in {"error", "warning"} else None)
    page.on("pageerror", lambda e: faults.append(str(e)))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else faults.append(r.url))
    page.goto(path.as_uri())
    return page, faults


def scroll_through(page: Page) -> None:
    """Bring every figure near the window, so that it is drawn."""
    page.evaluate("""async () => {
        for (let y = 0; y < document.documentElement.scrollHeight; y += 600) {
            window.scrollTo({ top: y, behavior: 'instant' });
            await new Promise(done => setTimeout(done, 30));
        }
    }""")


def wait_until_drawn(page: Page, seconds: float = 60.0) -> None:
    """Wait until every figure that is shown is drawn; a page's own rules forbid the browser driver's way to wait."""
    waiting = "[...document.querySelectorAll('.plot:not([hidden])')].filter(f => !f.querySelector('.main-svg')).length"
    end = time.monotonic() + seconds
    while page.evaluate(waiting):
        assert time.monotonic() < end, "figures are missing"
        page.wait_for_timeout(100)
