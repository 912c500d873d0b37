"""The page of several sweeps: their best sets and how their sets are spread, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backtester.analytics.comparison import letters
from backtester.analytics.directions import direction
from backtester.engine.result import Notice
from backtester.errors import UsageError
from backtester.report import numbers
from backtester.report.compare_metrics import LABEL_LENGTH, Grid, GridCell, GridRow
from backtester.report.compare_sections import escaped
from backtester.report.figures.compare import spread_figure
from backtester.report.html_file import write_html
from backtester.report.key_figures import Tile
from backtester.report.metric_text import value_text
from backtester.report.page import page_html
from backtester.report.provenance import setting_rows
from backtester.report.section import Plot, Section
from backtester.report.sweep_data import Sweep, read_sweep
from backtester.report.sweep_metrics import Metric
from backtester.report.table import Column, Table, build
from backtester.research.ranking import ranked

MOST_SWEEPS = 12
BEST_SETS = 5
_METRICS = ("sharpe", "total_return", "max_drawdown", "calmar", "liquidations")
_LEVELS = (
    ("best", "Best"),
    ("upper", "Better quarter"),
    ("median", "Median"),
    ("lower", "Worse quarter"),
    ("worst", "Worst"),
)
_MOST_POINTS = 3_000


def compared_sweeps(folders: Sequence[Path]) -> list[Sweep]:
    """Return the sweeps of folders.

    Raises
    ------
    UsageError
        Too many sweeps, or one in which no set was done.
    StoreError
        A folder cannot be read.
    """
    if len(folders) > MOST_SWEEPS:
        raise UsageError(f"{len(folders)} sweeps are given; a comparison takes 2 to {MOST_SWEEPS}.", "Name fewer.")
    sweeps = [read_sweep(folder) for folder in folders]
    for sweep in sweeps:
        if sweep.main is None:
            raise UsageError(f"No set of the sweep {sweep.folder.name} was done.", "Its page says why.")
    return sweeps


def write_sweeps_page(sweeps: Sequence[Sweep], target: Path) -> Path:
    """Write the page of sweeps beside each other; it appears whole or not at all."""
    return write_html(target, render_sweeps_page(sweeps))


def render_sweeps_page(sweeps: Sequence[Sweep]) -> str:
    """Return the page of sweeps beside each other as HTML."""
    labels = sweep_labels(sweeps)
    synthetic = [sweep.fact("synthetic") or sweep.fact("venue", "data") == "synthetic" for sweep in sweeps]
    return page_html(
        title=f"{len(sweeps)} sweeps",
        brand="Comparison of sweeps",
        run=[
            (label.partition(" ")[0], numbers.shorten(sweep.folder.name))
            for label, sweep in zip(labels, sweeps, strict=True)
        ],
        synthetic=all(synthetic),
        notices=_notices(sweeps),
        headline=_headline(sweeps, labels),
        sections=[_spread(sweeps, labels), _best(sweeps, labels), _settings(sweeps, labels)],
    )


def sweep_labels(sweeps: Sequence[Sweep]) -> list[str]:
    """Return a short label for each sweep: ``A trend``."""
    names = [sweep.fact("name", "strategy") for sweep in sweeps]
    return [
        numbers.shorten(f"{letters(place)} {name if isinstance(name, str) else sweep.folder.name}", LABEL_LENGTH)
        for place, (name, sweep) in enumerate(zip(names, sweeps, strict=True))
    ]


def shared_metrics(sweeps: Sequence[Sweep]) -> list[Metric]:
    """Return the metrics that are compared: those that decide and that every sweep has."""
    known = [{metric.key: metric for metric in sweep.metrics} for sweep in sweeps]
    mains = [sweep.main.key for sweep in sweeps if sweep.main is not None]
    return [known[0][key] for key in dict.fromkeys((*mains, *_METRICS)) if all(key in own for own in known)]


def levels(sweep: Sweep, metric: Metric) -> dict[str, float | None]:
    """Return best, better quarter, median, worse quarter and worst of a metric over the sets that were done."""
    found = sweep.values(metric.key)
    found = found[np.isfinite(found)]
    if not found.size:
        return dict.fromkeys(name for name, _ in _LEVELS)
    quantiles = (1.0, 0.75, 0.5, 0.25, 0.0) if metric.better > 0 else (0.0, 0.25, 0.5, 0.75, 1.0)
    return {name: float(np.quantile(found, at)) for (name, _), at in zip(_LEVELS, quantiles, strict=True)}


def best_sets(sweep: Sweep, count: int = BEST_SETS) -> list[dict[str, Any]]:
    """Return the best sets of a sweep by its own metric: number, parameters and metrics."""
    assert sweep.main is not None
    return ranked(sweep.done, sweep.main.key, count).to_dicts()


def _notices(sweeps: Sequence[Sweep]) -> list[Notice]:
    spans = {(str(sweep.fact("start", "data")), str(sweep.fact("end", "data"))) for sweep in sweeps}
    found = []
    if len(spans) > 1:
        text = "The sweeps cover different spans: their figures come from different times."
        found.append(Notice("spans_differ", "warning", text))
    if len({sweep.main.key for sweep in sweeps if sweep.main}) > 1:
        found.append(Notice("metrics_differ", "warning", "The sweeps were ranked by different metrics."))
    return found


def _headline(sweeps: Sequence[Sweep], labels: Sequence[str]) -> list[Tile]:
    tiles = []
    for label, sweep in zip(labels[:6], sweeps, strict=False):
        assert sweep.main is not None
        best = levels(sweep, sweep.main)["best"]
        note = f"best {sweep.main.label} of {sweep.done.height:,} sets"
        tiles.append(Tile(f"best_{label.partition(' ')[0]}", label, sweep.main.text(best, sweep.money_digits), note))
    return tiles


def _spread(sweeps: Sequence[Sweep], labels: Sequence[str]) -> Section:
    metrics = shared_metrics(sweeps)
    plots, groups = [], []
    for metric in metrics:
        values = {
            escaped(label): _thinned(sweep.values(metric.key)) for label, sweep in zip(labels, sweeps, strict=True)
        }
        label = f"Spread of {metric.label} over the sets of each sweep."
        plots.append(Plot(f"spread-{metric.key}", label, spread_figure(values, metric.format()[0]), metric.label))
        found = [levels(sweep, metric) for sweep in sweeps]
        groups.append((metric.label, [_level_row(metric, key, name, found, sweeps) for key, name in _LEVELS]))
    counts = [
        GridRow("sets", "Sets done", [GridCell(numbers.count(sweep.done.height)) for sweep in sweeps]),
        GridRow("failed", "Sets failed", [GridCell(numbers.count(sweep.failed.height)) for sweep in sweeps]),
    ]
    grid = Grid("levels", "", "Spread of metrics", "Metric", list(labels), [("", counts), *groups])
    return Section(
        id="spread",
        title="Spread of results",
        short="Spread",
        lead="Boxes hold the middle half of a sweep's sets with their median. A high best above a poor median is luck; "
        "a high median is worth more. A star marks the best of a row.",
        template="compare_grid.html.j2",
        plots=tuple(plots),
        context={"grids": [grid], "choice_label": "Metric"},
        styles=("compare.css",),
    )


def _level_row(
    metric: Metric, key: str, name: str, found: Sequence[dict[str, float | None]], sweeps: Sequence[Sweep]
) -> GridRow:
    values = [own[key] for own in found]
    known = [value for value in values if value is not None]
    best = None
    if direction(metric.key) is not None and len(set(known)) > 1:
        best = max(known) if metric.better > 0 else min(known)
    cells = [
        GridCell(metric.text(value, sweep.money_digits), is_best=value is not None and value == best)
        for value, sweep in zip(values, sweeps, strict=True)
    ]
    return GridRow(f"{metric.key}-{key}", name, cells)


def _thinned(values: Any) -> list[float]:
    """Return finite values; of very many, evenly spaced quantiles, which keep the shape."""
    found = np.sort(values[np.isfinite(values)])
    if found.size > _MOST_POINTS:
        found = np.quantile(found, np.linspace(0.0, 1.0, _MOST_POINTS))
    return [float(f"{value:.6g}") for value in found]


def _best(sweeps: Sequence[Sweep], labels: Sequence[str]) -> Section:
    tables = [_best_table(place, label, sweep) for place, (label, sweep) in enumerate(zip(labels, sweeps, strict=True))]
    return Section(
        id="best",
        title="Best sets",
        short="Best sets",
        lead="The best of each sweep by its own metric; the sweep's page has all of them, plateaus and spikes.",
        template="compare_best.html.j2",
        tables=tuple(tables),
        context={
            "notes": dict(zip((table.name for table in tables), (sweep.folder.name for sweep in sweeps), strict=True))
        },
    )


def _best_table(place: int, label: str, sweep: Sweep) -> Table:
    assert sweep.main is not None
    frame = ranked(sweep.done, sweep.main.key, BEST_SETS)
    by_key = {metric.key: metric for metric in sweep.metrics}
    shown = [by_key[key] for key in dict.fromkeys((sweep.main.key, *_METRICS)) if key in by_key]
    columns = [Column("set", "Set", lambda r: numbers.count(r["set"]))]
    columns += [
        Column(name, numbers.shorten(name, 24), lambda r, name=name: value_text(r[name]))  # type: ignore[misc]
        for name in sweep.params
    ]
    columns += [
        Column(m.key, m.label, lambda r, m=m: m.text(r[m.key], sweep.money_digits))  # type: ignore[misc]
        for m in shown
    ]
    return build(f"best-{place}", f"{label}: best by {sweep.main.label}", frame, columns)


def _settings(sweeps: Sequence[Sweep], labels: Sequence[str]) -> Section:
    own = [dict(setting_rows({**sweep.base, "sweep": sweep.space})) for sweep in sweeps]
    keys = list(dict.fromkeys(key for rows in own for key in rows))
    different = [key for key in keys if len({rows.get(key) for rows in own}) > 1]
    rows = [
        GridRow(
            numbers.shorten(key, 120),
            numbers.shorten(key, 120),
            [GridCell(numbers.shorten(row.get(key, numbers.NONE), 160)) for row in own],
        )
        for key in different[:400]
    ]
    grid = Grid("settings", "", "Settings that differ", "Key", list(labels), [("", rows)], is_text=True)
    return Section(
        id="settings",
        title="What differs in the settings",
        short="Settings",
        lead="Grids and what the sets of a sweep have in common: only what differs.",
        template="compare_grid.html.j2",
        context={
            "grids": [grid] if rows else [],
            "note": f"{len(keys) - len(different):,} keys have the same value in every sweep.",
            "empty": "Every setting is the same.",
        },
        styles=("compare.css",),
    )
