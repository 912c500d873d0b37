"""One self-contained HTML file of a run: library, style, script and data are inside, nothing is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from backtester.analytics.details import with_details
from backtester.engine.result import Notice, Result
from backtester.report import numbers, theme
from backtester.report.html_file import (
    ASSETS_FOLDER,
    environment,
    plotly_script,
    render_section,
    shared_library,
    write_html,
)
from backtester.report.key_figures import Tile, headline
from backtester.report.payload import Payload, run_payload
from backtester.report.section import Section
from backtester.report.sections import run_sections
from backtester.report.verdict import Finding, from_notices, grouped, verdict

Assets = Literal["inline", "shared"]


def write_page(result: Result, path: Path | str, assets: Assets | None = None) -> Path:
    """Write the page of an analysed run.

    Parameters
    ----------
    result : Result
        A run whose ``summary`` and ``trades`` are filled in.
    path : path
        The HTML file, in the run's folder; it appears whole or not at all.
    assets : {"inline", "shared"}, optional
        Whether the library that draws stands in the page or once for all runs, in ``assets`` beside their folders;
        None: as the run's configuration has it.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        When the file cannot be written.
    """
    target, library = Path(path), ""
    if (assets or result.config.report.assets) == "shared":
        folder = target.absolute().parent.parent / ASSETS_FOLDER
        library = f"../{ASSETS_FOLDER}/{shared_library(folder)}"
    return write_html(target, render_page(result, library=library))


def render_page(result: Result, *, library: str = "") -> str:
    """Return the page of an analysed run as HTML.

    Parameters
    ----------
    result : Result
        The run.
    library : str
        Relative address of the library that draws; empty: it stands in the page.
    """
    result = with_details(result)
    return page_html(
        title=numbers.shorten(result.strategy_name, 200) or "Signals",
        run=_run_facts(result),
        synthetic=result.synthetic,
        notices=(),
        headline=headline(result),
        sections=run_sections(result),
        payload=run_payload(result),
        findings=verdict(result),
        library=library,
    )


def page_html(
    *,
    title: str,
    run: Sequence[tuple[str, str]],
    synthetic: bool,
    notices: Sequence[Notice],
    headline: Sequence[Tile],
    sections: Sequence[Section],
    brand: str = "Backtest report",
    payload: Payload | None = None,
    findings: Sequence[Finding] | None = None,
    library: str = "",
) -> str:
    """Return a page as HTML.

    Parameters
    ----------
    title : str
        What it is about.
    run : sequence of tuple of str
        Name and text of each fact under the title.
    synthetic : bool
        Whether the market was made up, which the first line then says.
    notices : sequence of Notice
        What the reader must know.
    headline : sequence of Tile
        The figures that decide.
    sections : sequence of Section
        The rest, in order.
    brand : str
        What kind of page it is.
    payload : Payload, optional
        Columns into which its figures zoom.
    findings : sequence of Finding, optional
        What decides whether it may be believed; None: what the notices say.
    library : str
        Relative address of the library that draws; empty: it stands in the page.
    """
    bodies = [render_section(section) for section in sections]
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            brand=brand,
            run=run,
            synthetic=synthetic,
            verdict=grouped(from_notices(notices) if findings is None else findings),
            headline=headline,
            sections=sections,
            payload=payload,
            themes={name: theme.template(name) for name in theme.SURFACES},
            plotly_js="" if library else plotly_script(),
            library=library,
            nonce=_nonce((title, *bodies)) if library else "",
            bodies=bodies,
            styles=_once(name for section in sections for name in section.styles),
            scripts=_once(name for section in sections for name in section.scripts),
        )
    )


def _once(names: Iterable[str]) -> list[str]:
    """Return names without repetitions, in order."""
    return list(dict.fromkeys(names))


def _run_facts(result: Result) -> list[tuple[str, str]]:
    """Return what stands under the title."""
    symbols = ", ".join(numbers.shorten(s) for s in result.symbols[:6]) + (
        f" and {len(result.symbols) - 6} more" if len(result.symbols) > 6 else ""
    )
    return [
        ("Venue", result.config.data.venue),
        ("Symbols", symbols),
        ("Bars", _bars_text(result)),
        ("Span (UTC)", f"{numbers.moment(result.start)} to {numbers.moment(result.end)}"),
        ("Account", f"{result.config.account.margin_mode}, {_leverage_text(result)}"),
        ("Run", numbers.shorten(result.run_id)),
    ]


def _bars_text(result: Result) -> str:
    """Return the bar of the decisions and, where it is another one, that of the replay."""
    replayed, decided = numbers.timeframe(result.timeframe_ms), result.config.data.timeframe
    if result.config.data.detail is None or decided is None:
        return replayed
    return f"{decided}, replayed on {replayed}"


def _leverage_text(result: Result) -> str:
    """Return the leverage that was set, the least and the largest where contracts or decisions differ."""
    account, own = result.config.account.leverage, result.config.instruments
    is_decided = "leverage" in result.targets.columns
    found: set[float] = set()
    for symbol in result.symbols:
        decided = result.targets.filter(pl.col("symbol") == symbol)["leverage"].drop_nulls() if is_decided else ()
        stated = own[symbol].leverage if symbol in own else None
        found |= {float(value) or stated or account for value in decided} or {stated or account}
    low, high = (f"{numbers.quantity(value)}{numbers.TIMES}" for value in (min(found), max(found)))
    span = low if low == high else f"{low} to {high}"
    return f"{span}, set by the strategy" if is_decided else span


def _nonce(parts: Iterable[str]) -> str:
    """Return what marks the scripts of a page: equal for equal pages, and nothing inside a page can know it."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
    return digest.hexdigest()[:32]
