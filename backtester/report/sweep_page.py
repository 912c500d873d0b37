"""The page of a sweep: one self-contained HTML file with every set in it."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup
from pydantic_core import to_json

from backtester.report import numbers, theme
from backtester.report.html_file import environment, plotly_script, safe_json, write_html
from backtester.report.sweep_data import Sweep, read_sweep
from backtester.report.sweep_payload import payload
from backtester.report.sweep_sections import facts, sweep_sections, tiles
from backtester.report.sweep_verdict import findings


def write_sweep_page(folder: Path, target: Path) -> None:
    """Write the page of a sweep.

    Parameters
    ----------
    folder : Path
        The sweep's folder: ``sets.parquet``, ``sweep.toml`` and ``manifest.json``.
    target : Path
        The HTML file; it appears whole or not at all.

    Raises
    ------
    StoreError
        The folder is none of a sweep, or the file cannot be written.
    """
    write_html(target, render_sweep_page(read_sweep(folder)))


def render_sweep_page(sweep: Sweep) -> str:
    """Return the page of a sweep as HTML."""
    strategy = sweep.fact("name", "strategy")
    name = strategy if isinstance(strategy, str) else sweep.folder.name
    return (
        environment()
        .get_template("sweep.html.j2")
        .render(
            title=f"Sweep of {numbers.shorten(name, 200)}",
            brand="Parameter sweep",
            run=facts(sweep),
            synthetic=_is_synthetic(sweep),
            findings=findings(sweep),
            headline=tiles(sweep),
            sections=sweep_sections(sweep),
            themes={name: theme.template(name) for name in theme.SURFACES},
            plotly_js=plotly_script(),
            data=_data(sweep),
        )
    )


def _is_synthetic(sweep: Sweep) -> bool:
    told = sweep.fact("synthetic")
    return bool(told) if told is not None else sweep.fact("venue", "data") == "synthetic"


def _data(sweep: Sweep) -> Markup:
    """Return the sets for the page's script; nothing where no set was done."""
    return safe_json(to_json(payload(sweep)).decode()) if sweep.main is not None else Markup("null")
