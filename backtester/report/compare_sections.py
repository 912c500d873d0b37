"""The sections of a comparison's page, in order: comparison in, section out."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl

from backtester.analytics.attribution import PARTS
from backtester.analytics.comparison import Comparison
from backtester.report import numbers
from backtester.report.compare_metrics import (
    SHORT,
    Grid,
    GridCell,
    GridRow,
    known_metric,
    metric_grid,
    money_digits,
    short_labels,
)
from backtester.report.figures import compare as figures
from backtester.report.section import Plot, Section
from backtester.report.sections.attribution import ALWAYS, LABELS
from backtester.report.sweep_metrics import Metric
from backtester.report.table import Column, build

STYLES = ("compare.css",)
MOST_SETTINGS = 400
MOST_LINES = 1_500
_NUMBERED = 20
"""Runs up to which a table of correlations stands below the figure."""


def compare_sections(comparison: Comparison) -> list[Section]:
    """Return the sections of a comparison's page."""
    return [
        _runs(comparison),
        _equity(comparison),
        _drawdown(comparison),
        _metrics(comparison),
        _attribution(comparison),
        _months(comparison),
        _correlation(comparison),
        _settings(comparison),
        _sources(comparison),
    ]


def plot_labels(comparison: Comparison, length: int = 24) -> dict[str, str]:
    """Return the name of each run to a label that a figure takes literally."""
    return {run: escaped(label, length) for run, label in comparison.labels.items()}


def escaped(text: str, length: int = 24) -> str:
    """Return a text that a figure shows as it is."""
    return numbers.shorten(text, length).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _grid_section(grids: list[Grid], context: Mapping[str, Any], **parts: Any) -> Section:
    """Return a section whose tables have a column a run."""
    return Section(template="compare_grid.html.j2", context={"grids": grids, **context}, styles=STYLES, **parts)


def _runs(comparison: Comparison) -> Section:
    figures_of = {row["metric"]: row for row in comparison.metrics.iter_rows(named=True) if row["metric"] in SHORT}
    frame = comparison.runs
    digits = money_digits(comparison)
    columns = [
        Column("label", "Run", lambda r: (r["label"], r["run"]), is_number=False, length=60),
        Column("symbols", "Symbols", lambda r: (r["symbols"], _bars(r)), is_number=False, length=40),
        Column("start", "Span (UTC)", lambda r: (numbers.moment(r["start"]), f"to {numbers.moment(r['end'])}")),
        Column("initial_balance", "Balance", lambda r: (numbers.decimal(r["initial_balance"], digits), r["settle"])),
    ]
    for key in (key for key in SHORT if key in figures_of):
        row = figures_of[key]
        frame = frame.with_columns(pl.Series(key, [row[run] for run in frame["run"]], dtype=pl.Float64))
        metric = known_metric(key, frame[key])
        columns.append(_figure_column(metric, digits))
    return _grid_section(
        [],
        {"empty": "No run."},
        id="runs",
        title="Runs",
        short="Runs",
        lead=f"What is compared, each over its own span. {short_labels(comparison)[comparison.names[0]]} is what the "
        "others are measured against.",
        tables=(build("runs", "Runs", frame, columns),),
    )


def _figure_column(metric: Metric, digits: int) -> Column:
    is_signed = metric.kind == "percent"
    return Column(metric.key, metric.label, lambda r: metric.text(r[metric.key], digits), is_signed=is_signed)


def _bars(row: Mapping[str, Any]) -> str:
    return f"{row['timeframe']} bars" if row["timeframe"] else ""


def _common(comparison: Comparison) -> tuple[datetime, datetime] | None:
    """Return the common span where it is another one than that of a run."""
    if comparison.common_span is None or comparison.is_one_span:
        return None
    start, end = (datetime.fromtimestamp(at / 1000, UTC) for at in comparison.common_span)
    return start, end


def _equity(comparison: Comparison) -> Section:
    labels, common = plot_labels(comparison), _common(comparison)
    choices = [("own", "Growth, linear", comparison.equity, False), ("own-log", "Growth, log", comparison.equity, True)]
    if common is not None:
        rebased = comparison.common_equity
        choices += [
            ("common", "Growth since the common start, linear", rebased, False),
            ("common-log", "Growth since the common start, log", rebased, True),
        ]
    plots = tuple(
        Plot(
            f"equity-{name}",
            f"Equity of {len(labels)} runs as growth of 1 on one clock, {choice.partition(', ')[2]} scale.",
            figures.overlay_figure(curves, labels, "growth", is_log=is_log, common=common),
            choice,
        )
        for name, choice, curves, is_log in choices
        if curves.height
    )
    currencies = comparison.runs["settle"].unique(maintain_order=True).to_list()
    note = "" if len(currencies) == 1 else (
        f"Each in its own currency ({', '.join(numbers.shorten(c, 20) for c in currencies)}): growth of a coin is not "
        "growth of a dollar."
    )  # fmt: skip
    shaded = " The shaded span is the one that all runs share." if common is not None else ""
    return Section(
        id="equity",
        title="Equity",
        short="Equity",
        lead=f"Equity at bar closes over the initial balance, without deposits and withdrawals, on one clock.{shaded}",
        template="plots.html.j2",
        plots=plots,
        context={"empty": "No bar was replayed.", "choice_label": "Show", "note": note},
    )


def _drawdown(comparison: Comparison) -> Section:
    figure = figures.overlay_figure(comparison.equity, plot_labels(comparison), "drawdown", common=_common(comparison))
    plots = (Plot("drawdowns", "Drawdown of each run from its highest close so far.", figure),)
    return Section(
        id="drawdown",
        title="Drawdown",
        short="Drawdown",
        lead="How far each run is below its highest close so far.",
        template="plots.html.j2",
        plots=plots if comparison.equity.height else (),
        context={"empty": "No bar was replayed."},
    )


def _metrics(comparison: Comparison) -> Section:
    grids = [metric_grid(comparison)]
    if comparison.common_metrics.height:
        grids.insert(0, metric_grid(comparison, common=True))
    others = len(comparison.names) - 1
    below = "the difference" if others == 1 else "the differences"
    return _grid_section(
        grids,
        {"note": "" if comparison.is_one_currency else "Amounts are in each run's own currency and are not compared."},
        id="metrics",
        title="Metrics",
        short="Metrics",
        lead=f"A star marks the best of a row, where one is better; small below, {below} to the first run "
        "(pp: percentage points).",
    )


def _attribution(comparison: Comparison) -> Section:
    frame, labels = comparison.attribution, short_labels(comparison)
    amounts = {run: dict(zip(frame["part"], frame[run], strict=True)) for run in labels}
    shown = [part for part in PARTS if part in ALWAYS or any(own[part] for own in amounts.values())]
    shown.sort(key=(*ALWAYS, *PARTS).index)
    balances = dict(comparison.runs.select("run", "initial_balance").iter_rows())
    settles = {run: numbers.shorten(name, 12) for run, name in comparison.runs.select("run", "settle").iter_rows()}
    digits = money_digits(comparison)

    def cell(run: str, part: str) -> GridCell:
        value = amounts[run][part]
        share = numbers.percent(value / balances[run], signed=True) if balances[run] > 0 else ""
        tone = 0 if not value else 1 if value > 0 else -1
        return GridCell(numbers.decimal(value, digits, signed=True), share, tone)

    rows = [GridRow(part, LABELS[part], [cell(run, part) for run in labels]) for part in shown]
    rows.append(GridRow("total", "Change of equity", [cell(run, "total") for run in labels], is_total=True))
    heads = [f"{label} ({settles[run]})" for run, label in labels.items()]
    moved = any(own[part] for own in amounts.values() for part in PARTS)
    plots: tuple[Plot, ...] = ()
    if moved:
        names = plot_labels(comparison)
        shares = {
            names[run]: [amounts[run][part] / (balances[run] or 1.0) for part in (*shown, "total")] for run in labels
        }
        texts = {
            names[run]: [
                numbers.decimal(amounts[run][part], digits, signed=True, unit=f" {settles[run]}")
                for part in (*shown, "total")
            ]
            for run in labels
        }
        figure = figures.parts_figure([*(LABELS[part] for part in shown), "Total"], shares, texts)
        plots = (Plot("parts", "Causes of the profit of each run as shares of its initial balance.", figure),)
    return _grid_section(
        [Grid("attribution", "", "Causes of the profit of each run", "Cause", heads, [("", rows)])],
        {},
        id="attribution",
        title="Where the profit came from",
        short="Profit split",
        lead="Each cause on its own, adding up to the change of equity; below each amount its share of the initial "
        "balance.",
        plots=plots,
    )


def _months(comparison: Comparison) -> Section:
    frame, labels = comparison.months, short_labels(comparison)
    columns = [Column("month", "Month", lambda r: str(r["month"])[:7], is_number=False)]
    columns += [
        Column(run, label, lambda r, run=run: numbers.percent(r[run]), is_signed=True)  # type: ignore[misc]
        for run, label in labels.items()
    ]
    plots: tuple[Plot, ...] = ()
    if frame.height:
        figure = figures.months_figure(frame, plot_labels(comparison))
        plots = (
            Plot("months-map", "Return of each run in each calendar month; the table below has the numbers.", figure),
        )
    return _grid_section(
        [],
        {"empty": "No day was completed."},
        id="months",
        title="Month by month",
        short="Months",
        lead="Compounded returns of calendar months (UTC): blue gained, orange lost; both ends may be partial.",
        plots=plots,
        tables=(build("months", "Returns by month", frame, columns, page_size=24),) if frame.height else (),
    )


def _correlation(comparison: Comparison) -> Section:
    names = comparison.names
    labels = plot_labels(comparison, 20) if len(names) <= 12 else _letters(comparison)
    known = any(value is not None for run in names for value in comparison.correlation[run])
    plots: list[Plot] = []
    grids: list[Grid] = []
    if known:
        if len(names) == 2:
            value = comparison.correlation[names[1]][0]
            text = f"Daily returns of the two runs; their correlation is {numbers.decimal(value, 2, signed=True)}."
            plots.append(Plot("scatter", text, figures.scatter_figure(comparison.returns, labels)))
        figure = figures.correlation_figure(comparison.correlation, labels)
        plots.append(Plot("correlation-map", "Correlation of daily returns of each pair of runs.", figure))
        if len(names) <= _NUMBERED:
            grids.append(_correlation_grid(comparison))
    return _grid_section(
        grids,
        {"empty": "No two runs have three days in common on which both moved."},
        id="correlation",
        title="Correlation of daily returns",
        short="Correlation",
        lead="Over the days that both have: near 1 they win and lose together, near 0 each spreads the other's risk; a "
        "dash stands where a run never moved or days are too few.",
        plots=tuple(plots),
    )


def _letters(comparison: Comparison) -> dict[str, str]:
    return {run: label.partition(" ")[0] for run, label in comparison.labels.items()}


def _correlation_grid(comparison: Comparison) -> Grid:
    labels = short_labels(comparison)
    rows = [
        GridRow(f"correlation-{place}", labels[run], [
            GridCell(numbers.decimal(comparison.correlation[other][place], 2, signed=True)) for other in labels
        ])
        for place, run in enumerate(labels)
    ]  # fmt: skip
    return Grid("correlation", "", "Correlation of daily returns", "Run", list(labels.values()), [("", rows)])


def _settings(comparison: Comparison) -> Section:
    frame, labels = comparison.settings, short_labels(comparison)
    rows = [
        GridRow(
            numbers.shorten(row["key"], 120),
            numbers.shorten(row["key"], 120),
            [GridCell(numbers.NONE if row[run] is None else numbers.shorten(row[run], 160)) for run in labels],
        )
        for row in frame.head(MOST_SETTINGS).iter_rows(named=True)
    ]
    groups: dict[str, list[GridRow]] = {}
    for row in rows:
        groups.setdefault(row.key.partition(".")[0], []).append(row)
    alike = f"{comparison.equal_settings:,} keys have the same value in every run."
    cut = (
        f" Of {frame.height:,} keys that differ, the first {MOST_SETTINGS:,} are shown."
        if frame.height > MOST_SETTINGS
        else ""
    )
    grid = Grid(
        "settings", "", "Settings that differ", "Key", list(labels.values()), list(groups.items()), is_text=True
    )
    return _grid_section(
        [grid] if rows else [],
        {"note": alike + cut, "empty": "Every setting, the data and the versions are the same."},
        id="settings",
        title="What differs in the settings",
        short="Settings",
        lead="Configuration, strategy, data and versions: only what differs; a dash where a run has no such key.",
    )


def _sources(comparison: Comparison) -> Section:
    first, *others = comparison.names
    labels = short_labels(comparison)
    shown: list[dict[str, Any]] = []
    seen: dict[str, dict[str, Any]] = {}
    for name in others:
        text = comparison.sources[name]
        if text == comparison.sources[first]:
            continue
        if text in seen:
            seen[text]["title"] += f", {labels[name]}"
            continue
        seen[text] = _diff(comparison.sources[first], text, labels[first], labels[name])
        shown.append(seen[text])
    return Section(
        id="sources",
        title="Strategy source",
        short="Source",
        lead="Lines that the first run's strategy has (\u2212) and the other's has instead (+).",
        template="compare_sources.html.j2",
        context={"sources": shown, "empty": "Every run has the same strategy source."},
        styles=STYLES,
    )


def _diff(old: str, new: str, first: str, other: str) -> dict[str, Any]:
    """Return the lines of a unified difference with the kind of each."""
    found = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm=""))[2:]
    kinds = {"+": "added", "-": "removed", "@": "place"}
    added, removed = (sum(line[:1] == sign for line in found) for sign in "+-")
    lines = [(kinds.get(line[:1], "same"), numbers.shorten(line, 400)) for line in found[:MOST_LINES]]
    cut = f"The first {MOST_LINES:,} of {len(found):,} lines." if len(found) > MOST_LINES else ""
    return {
        "title": f"{first} against {other}",
        "changed": f"{numbers.count(added)} lines added, {numbers.count(removed)} removed",
        "lines": lines,
        "cut": cut,
    }
