"""The sections of a sweep's page, in order: one function each, sweep in, section out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from backtester.report import numbers
from backtester.report.figures import sweep as figures
from backtester.report.key_figures import Tile
from backtester.report.provenance import SECTION_TITLES, setting_rows
from backtester.report.section import Plot, Section
from backtester.report.sweep_data import ALL_METRICS, Axis, Sweep
from backtester.report.sweep_metrics import KNOWN, Metric
from backtester.report.sweep_payload import MOST_SETS, command
from backtester.report.sweep_verdict import best_of, luck, set_name, share_liquidated, share_losing
from backtester.report.table import Column, Table, build

FAILED_ROWS = 2_000
"""Failed sets that the page lists one by one."""
_AGAINST = 12  # parameters that a metric is drawn against
_ERROR = 400  # characters of an error
_WHOLE_PATHS = {"segments": "between events", "replay": "bar by bar"}


def sweep_sections(sweep: Sweep) -> list[Section]:
    """Return the sections of a sweep; where every set failed, those that have something to say."""
    made = [failed_section(sweep)] if sweep.failed.height else []
    if sweep.main is None:
        return [*made, configuration_section(sweep)]
    shown = [
        map_section(sweep, sweep.main),
        parallel_section(sweep, sweep.main),
        spread_section(sweep, sweep.main),
        sets_section(sweep),
    ]
    return [*shown, *made, configuration_section(sweep)]


def varying(sweep: Sweep) -> list[Axis]:
    """Return the parameters with more than one value, ordered ones first."""
    axes = [axis for axis in sweep.axes if len(axis.values) > 1]
    return sorted(axes, key=lambda axis: not axis.is_ordered)


def map_section(sweep: Sweep, main: Metric) -> Section:
    """Return the heatmap over two parameters."""
    axes = varying(sweep)
    plots: tuple[Plot, ...] = ()
    if len(axes) > 1:
        figure = figures.heatmap_figure(sweep, axes[0], axes[1], main)
        plots = (Plot("map", f"Heatmap of {main.label} over {axes[0].title} and {axes[1].title}.", figure),)
    is_binned = any(axis.cells is not axis.labels for axis in axes)
    return Section(
        id="map",
        title="Map of two parameters",
        short="Map",
        lead="Wide areas of one colour are plateaus; a lone bright cell is a spike. The star is the best cell; "
        "choose a cell to see its set.",
        template="sweep_map.html.j2",
        plots=plots,
        context={
            "metrics": sweep.metrics,
            "main": main.key,
            "axes": axes,
            "has_others": len(axes) > 2 or is_binned,
            "is_binned": is_binned,
            "empty": "A map needs two parameters with more than one value.",
        },
    )


def parallel_section(sweep: Sweep, main: Metric) -> Section:
    """Return the lines through parameters and key figures."""
    is_drawable = sweep.done.height > 1 and len(varying(sweep)) > 0
    plot = Plot(
        "parallel",
        f"One line a set through its parameters and key figures, coloured by {main.label}.",
        figures.parallel_figure(sweep, main),
    )
    return Section(
        id="parallel",
        title="Sets as lines",
        short="Lines",
        lead="Each line is a set, from its parameters on to its figures. Where the lines of good sets run together, "
        "that value matters; where they fan out, it does not. The red line is the best set.",
        template="sweep_figures.html.j2",
        plots=(plot,) if is_drawable else (),
        context={
            "metrics": sweep.metrics,
            "main": main.key,
            "empty": "Lines need two sets that differ.",
            "note_id": "parallel-note",
            "note": "Filters of the table below hold for the lines too.",
            "is_grid": False,
        },
    )


def spread_section(sweep: Sweep, main: Metric) -> Section:
    """Return the distribution of a metric, and the metric against each parameter."""
    plots = []
    if sweep.done.height > 1:
        label = f"How many sets have which {main.label}."
        plots.append(Plot("distribution", label, figures.distribution_figure(sweep, main)))
        for place, axis in enumerate(varying(sweep)[:_AGAINST]):
            figure = figures.against_figure(sweep, axis, main)
            plots.append(Plot(f"against-{place}", f"{main.label} for each value of {axis.title}.", figure))
    return Section(
        id="spread",
        title="Spread of results",
        short="Spread",
        lead="How the sets are spread, then for each value of a parameter: the box holds the middle half of its sets "
        "with their median, the whiskers reach the worst and the best.",
        template="sweep_figures.html.j2",
        plots=tuple(plots),
        context={
            "metrics": sweep.metrics,
            "main": main.key,
            "empty": "A spread needs more than one set.",
            "note_id": "spread-note",
            "note": "",
            "is_grid": True,
            "names": [axis.title for axis in varying(sweep)[:_AGAINST]],
        },
    )


def sets_section(sweep: Sweep) -> Section:
    """Return the table of all sets."""
    notes = []
    if sweep.done.height > MOST_SETS:
        notes.append(
            f"This page carries {MOST_SETS:,} of {sweep.done.height:,} sets: the best and an even sample of the rest."
        )
    if sweep.sets.height > ALL_METRICS:
        notes.append("The page of so many sets carries the metrics that decide; sets.parquet holds all.")
    note = " ".join(notes)
    return Section(
        id="sets",
        title="All sets",
        short="Sets",
        lead="Sort by a heading, narrow down with filters, choose columns. Each row shows the command that replays its "
        "set in full.",
        template="sweep_table.html.j2",
        context={"note": note},
    )


def failed_section(sweep: Sweep) -> Section:
    """Return the sets that failed, by error and one by one."""
    failed = sweep.failed.with_columns(pl.col("error").fill_null("no error was recorded"))
    by_error = (
        failed.group_by("error", maintain_order=True)
        .agg(pl.len().alias("sets"), pl.col("set").first().alias("first"))
        .sort("sets", descending=True, maintain_order=True)
    )
    kinds = build(
        "errors",
        "Errors, the most frequent first",
        by_error,
        [
            Column("error", "Error", lambda r: r["error"], is_number=False, length=_ERROR),
            Column("sets", "Sets", lambda r: numbers.count(r["sets"])),
            Column("first", "First set", lambda r: numbers.count(r["first"])),
        ],
        200,
        page_size=10,
    )
    columns = [Column("set", "Set", lambda r: numbers.count(r["set"]), is_number=False)]
    columns += [_param_column(name) for name in sweep.params]
    columns.append(Column("error", "Error", lambda r: r["error"], is_number=False, length=_ERROR))
    rows = build("failed-sets", "Failed sets", failed, columns, FAILED_ROWS, page_size=25)
    cut = f" The first {FAILED_ROWS:,} of them are listed." if failed.height > FAILED_ROWS else ""
    tables: tuple[Table, ...] = (kinds, rows) if by_error.height < failed.height else (rows,)
    return Section(
        id="failed",
        title="Failed sets",
        short="Failed",
        lead=f"{failed.height:,} of {sweep.sets.height:,} sets were refused by the strategy or the account.{cut}",
        template="plots.html.j2",
        tables=tables,
        context={"empty": ""},
    )


def configuration_section(sweep: Sweep) -> Section:
    """Return what the sets have in common, what was swept, and where the rows come from."""
    settings = [("Swept", setting_rows(sweep.space))] if sweep.space else []
    settings += [(SECTION_TITLES.get(name, name.capitalize()), setting_rows(v)) for name, v in sweep.base.items() if v]
    return Section(
        id="configuration",
        title="Base configuration",
        short="Configuration",
        lead="What all sets have in common; where a set names a parameter or setting, that one holds. Times are UTC.",
        template="sweep_configuration.html.j2",
        context={
            "settings": [
                (name, [(numbers.shorten(k, 120), numbers.shorten(v, 2000)) for k, v in rows])
                for name, rows in settings
            ],
            "command": command(sweep),
            "manifest": [(numbers.shorten(k, 120), numbers.shorten(v, 2000)) for k, v in setting_rows(sweep.manifest)],
        },
    )


def facts(sweep: Sweep) -> list[tuple[str, str]]:
    """Return what stands under the title."""
    rows = [
        ("Venue", _text(sweep.fact("venue", "data"))),
        ("Symbols", _symbols(sweep.fact("symbols", "data"))),
        ("Bars", _text(sweep.fact("timeframe", "data"))),
        ("Span (UTC)", _span(sweep)),
        ("Sets", _counts(sweep)),
        ("Replayed", _paths(sweep)),
        ("Took", _took(sweep)),
    ]
    rows += [(axis.title, axis.span()) for axis in sweep.axes[:8]]
    if len(sweep.axes) > 8:
        rows.append(("Parameters", f"and {len(sweep.axes) - 8} more"))
    rows += [("Filter", _text(sweep.space.get("where"))), ("Holdout", _text(sweep.space.get("holdout")))]
    rows.append(("Exact check", _exact_check(sweep)))
    rows.append(("Sweep", sweep.folder.name))
    return [(name, numbers.shorten(text, 200)) for name, text in rows if text]


def tiles(sweep: Sweep) -> list[Tile]:
    """Return the figures that decide."""
    main = sweep.main
    best = best_of(sweep, main) if main is not None else None
    if main is None or best is None:
        return []
    shown = [
        Tile(
            main.key, f"Best {_lower(main.label)}", main.text(best.value, sweep.money_digits), set_name(sweep, best.row)
        )
    ]
    for key in ("total_return", "max_drawdown", "sharpe"):
        if key != main.key and any(m.key == key for m in sweep.metrics) and len(shown) < 3:
            value = float(sweep.values(key)[best.row])
            text = KNOWN[key].text(value, sweep.money_digits)
            shown.append(Tile(key, f"Its {_lower(KNOWN[key].label)}", text, "in sample", (value > 0) - (value < 0)))
    shown.append(_luck_tile(sweep))
    shown.append(_share_tile("losing", "Sets that lose money", share_losing(sweep)))
    shown.append(_share_tile("liquidated", "Sets liquidated", share_liquidated(sweep)))
    return shown


def _luck_tile(sweep: Sweep) -> Tile:
    found = luck(sweep)
    if found is None:
        return Tile("luck", "Best Sharpe by luck", numbers.NONE, "needs several sets and days")
    return Tile(
        "luck", "Best Sharpe by luck", numbers.decimal(found[1]), f"expected of {found[2]:,} trials without skill"
    )


def _share_tile(key: str, label: str, found: tuple[int, int] | None) -> Tile:
    if found is None:
        return Tile(key, label, numbers.NONE)
    part, whole = found
    return Tile(key, label, numbers.percent(part / whole, 1, signed=False), f"{part:,} of {whole:,}")


def _param_column(name: str) -> Column:
    def text(row: dict[str, Any]) -> str:
        value = row[name]
        if value is None:
            return numbers.NONE
        if isinstance(value, bool):
            return "true" if value else "false"
        return value if isinstance(value, str) else numbers.quantity(value)

    return Column(name, numbers.shorten(name, 40), text)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _symbols(value: Any) -> str:
    names = [value] if isinstance(value, str) else list(value or ())
    shown = ", ".join(numbers.shorten(str(n)) for n in names[:6])
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown


def _span(sweep: Sweep) -> str:
    start, end = (_text(sweep.fact(key, "data")).replace("T", " ")[:16] for key in ("start", "end"))
    if start and end:
        return f"{start} to {end}"
    return f"from {start}" if start else f"to {end}" if end else "all that is stored"


def _counts(sweep: Sweep) -> str:
    text = numbers.count(sweep.sets.height)
    failed = sweep.failed.height
    asked = sweep.manifest.get("sets")
    if isinstance(asked, int) and not isinstance(asked, bool) and asked > sweep.sets.height:
        text += f" of {asked:,} so far"
    return f"{text}, {numbers.count(failed)} failed" if failed else f"{text}, none failed"


def _paths(sweep: Sweep) -> str:
    counted = sweep.done.group_by("path").len().sort("len", descending=True)
    parts = [f"{count:,} {_WHOLE_PATHS.get(path, path)}" for path, count in counted.iter_rows() if path]
    return ", ".join(parts)


def _exact_check(sweep: Sweep) -> str:
    """Return what became of the sets that were replayed in full to check the others."""
    found = sweep.manifest.get("exact_check")
    if not isinstance(found, Mapping):
        return ""
    if "failed" in found:
        return "failed, see below"
    checked, largest = found.get("sets"), found.get("largest_difference")
    if not isinstance(checked, list) or not isinstance(largest, (int, float)):
        return ""
    return f"{numbers.count(len(checked))} sets replayed in full, largest difference {largest:.1g}"


def _took(sweep: Sweep) -> str:
    """Return the wall time and the rate."""
    found = sweep.manifest.get("seconds")
    if isinstance(found, bool) or not isinstance(found, (int, float)) or found < 0:
        return ""
    rate = f", {numbers.quantity(float(f'{sweep.sets.height / found:.3g}'))} sets a second" if found else ""
    return f"{_seconds(found)}{rate}"


def _seconds(value: float) -> str:
    if value < 10:
        return f"{value:.2g}\u00a0s"
    whole = round(value)
    hours, minutes, seconds = whole // 3600, whole // 60 % 60, whole % 60
    parts = [(hours, "h"), (minutes, "min"), (seconds, "s")]
    return " ".join(f"{n}\u00a0{unit}" for n, unit in parts if n)


def _lower(label: str) -> str:
    return label if label.startswith(("Sharpe", "Calmar", "Sortino")) else label[:1].lower() + label[1:]
