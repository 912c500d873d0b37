"""One self-contained HTML file of a run: library, style, script and data are inside, nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from backtester.analytics.details import with_details
from backtester.engine.result import Notice, Result
from backtester.report import numbers, theme
from backtester.report.html_file import environment, plotly_script, write_html
from backtester.report.key_figures import Tile, headline
from backtester.report.section import Section
from backtester.report.sections import run_sections

OPEN_ASSUMPTIONS = 3
"""More assumptions than this are folded up."""

_GRAVITY = {"error": 0, "warning": 1, "assumption": 2}


def write_page(result: Result, path: Path | str) -> Path:
    """Write the page of an analysed run.

    Parameters
    ----------
    result : Result
        A run whose ``summary`` and ``trades`` are filled in.
    path : path
        The HTML file; it appears whole or not at all.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        When the file cannot be written.
    """
    return write_html(Path(path), render_page(result))


def render_page(result: Result) -> str:
    """Return the page of an analysed run as HTML."""
    result = with_details(result)
    return page_html(
        title=numbers.shorten(result.strategy_name, 200) or "Signals",
        run=_run_facts(result),
        synthetic=result.synthetic,
        notices=result.notices,
        headline=headline(result),
        sections=run_sections(result),
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
    """
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            brand=brand,
            run=run,
            synthetic=synthetic,
            notices=_notices(notices),
            headline=headline,
            sections=sections,
            themes={name: theme.template(name) for name in theme.SURFACES},
            plotly_js=plotly_script(),
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


def _notices(notices: Sequence[Notice]) -> dict[str, list[Notice]]:
    """Return the notices to show, warnings first, and the assumptions to fold up where there are many.

    The first line of the page says that data is synthetic, so they do not.
    """
    kept = sorted((n for n in notices if n.code != "synthetic"), key=lambda n: _GRAVITY[n.severity])
    assumed = [n for n in kept if n.severity == "assumption"]
    if len(assumed) <= OPEN_ASSUMPTIONS:
        return {"shown": kept, "folded": []}
    return {"shown": [n for n in kept if n.severity != "assumption"], "folded": assumed}
