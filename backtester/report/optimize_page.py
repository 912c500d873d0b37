"""The page of an optimisation."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl

from backtester.report import numbers
from backtester.report.figures.search import (
    front_figure,
    history_figure,
    hover_text,
    importance_figure,
    slice_figure,
)
from backtester.report.html_file import write_html
from backtester.report.key_figures import Tile
from backtester.report.metric_text import metric_label, metric_text, value_text
from backtester.report.page import page_html
from backtester.report.section import Plot, Section
from backtester.report.table import Column, Table, build
from backtester.research.importance import LEAST_SETS
from backtester.research.optimize_result import OptimizeResult
from backtester.research.trials import COMPLETE

BEST_ROWS = 50
TRIAL_ROWS = 5_000
_PLOTTED = 8  # parameters of which slices are drawn
_SIDE_METRICS = ("total_return", "sharpe", "max_drawdown", "trades", "liquidations")

NOT_OUT_OF_SAMPLE = (
    "The figures of the best sets are those of the bars on which they were chosen; on other bars expect less "
    "(backtester walk-forward shows how much)."
)


def write_optimize_page(result: OptimizeResult, path: Path | str) -> Path:
    """Write the page of an optimisation; it appears whole or not at all."""
    return write_html(Path(path), render_optimize_page(result))


def render_optimize_page(result: OptimizeResult) -> str:
    """Return the page of an optimisation as HTML."""
    complete = _complete(result)
    sections = [_best(result), _history(result, complete)]
    if len(result.plan.objectives) > 1:
        sections.insert(1, _front(result, complete))
    sections += [_importance(result), _slices(result, complete), _trials(result), _settings(result)]
    return page_html(
        title=f"{numbers.shorten(result.strategy_name, 120)}: optimisation",
        brand="Optimisation",
        run=_facts(result),
        synthetic=result.synthetic,
        notices=result.notices,
        headline=_headline(result),
        sections=sections,
    )


def _facts(result: OptimizeResult) -> list[tuple[str, str]]:
    start, end = result.span
    return [
        ("Venue", result.config.data.venue),
        ("Symbols", numbers.shorten(", ".join(result.symbols))),
        ("Bars", str(result.config.data.timeframe)),
        ("Span (UTC)", f"{numbers.moment(start)} to {numbers.moment(end)}"),
        ("Sampler", f"{result.plan.sampler}, seed {result.plan.seed}"),
        ("Search", numbers.shorten(result.run_id)),
    ]


def _headline(result: OptimizeResult) -> list[Tile]:
    """Return the figures that decide: the best value of each objective, and what became of the trials."""
    best = result.ranking.row(0, named=True) if result.ranking.height else {}
    states = dict(result.trials["state"].value_counts().iter_rows())
    several = len(result.plan.objectives) > 1
    tiles = []
    for one in result.plan.objectives[:2]:
        values = result.ranking[one.metric] if best else None
        top = None if values is None else values.max() if one.direction == "max" else values.min()
        note = "best on the front" if several else numbers.shorten(_set_text(best, result.plan.names), 60)
        tiles.append(Tile(one.metric, f"Best {metric_label(one.metric).lower()}", metric_text(one.metric, top), note))
    if several:
        tiles.append(Tile("front", "Pareto front", numbers.count(result.ranking.height), "sets that none beats"))
    sets = result.trials.select(result.plan.names).n_unique() if result.trials.height else 0
    tiles.append(Tile("trial_count", "Trials", numbers.count(result.trials.height), f"{sets:,} different sets"))
    allowed = int(result.trials["feasible"].fill_null(value=False).sum())
    text = "keep the constraints" if result.plan.constraints else "with metrics"
    tiles.append(Tile("feasible", "Sets that count", numbers.count(allowed), text))
    lost = sum(states.get(state, 0) for state in ("failed", "undefined"))
    note = f"and {states.get('pruned', 0):,} given up early" if result.plan.prune else "failed, or no value"
    tiles.append(Tile("lost", "Without a value", numbers.count(lost), note, -1 if lost else 0))
    return tiles[:6]


def _best(result: OptimizeResult) -> Section:
    names = result.plan.names
    metrics = list(
        dict.fromkeys(
            (*(o.metric for o in result.plan.objectives), *(m for m in _SIDE_METRICS if m in result.trials.columns))
        )
    )
    windows = [name for name in result.trials.columns if name.startswith("window_")]
    one = result.plan.objectives[0].metric
    columns = [
        Column("trial", "Trial", lambda r: numbers.count(r["trial"])),
        *(_parameter(name) for name in names),
        *(_metric(name) for name in metrics),
        *(_metric(name, one, f"Window {place + 1}") for place, name in enumerate(windows)),
    ]
    tables: tuple[Table, ...] = ()
    if result.ranking.height:
        tables = (build("best", "Best sets", result.ranking.head(BEST_ROWS), columns, page_size=15),)
    title = "Pareto front" if len(result.plan.objectives) > 1 else "Best sets"
    return Section(
        id="best",
        title=title,
        short=title,
        lead=NOT_OUT_OF_SAMPLE,
        template="plots.html.j2",
        tables=tables,
        context={"empty": "No set counts: none has a value and keeps the constraints."},
    )


def _front(result: OptimizeResult, complete: pl.DataFrame) -> Section:
    metrics = [one.metric for one in result.plan.objectives]
    front = complete.filter(pl.col("trial").is_in(result.ranking["trial"].implode()))
    plots: tuple[Plot, ...] = ()
    if front.height:
        pairs = list(combinations(metrics, 2))
        plots = tuple(
            Plot(
                f"front-{place}",
                f"{metric_label(y)} over {metric_label(x)} of all trials, with the Pareto front",
                front_figure(complete.filter(pl.col("feasible")), front, x, y),
                f"{metric_label(y)} over {metric_label(x)}" if len(pairs) > 1 else "",
            )
            for place, (x, y) in enumerate(pairs)
        )
    return Section(
        id="front",
        title="Trade-off",
        short="Trade-off",
        lead="No set is better than one on the front in one objective without being worse in another.",
        template="plots.html.j2",
        plots=plots,
        context={"empty": "No set counts.", "choice_label": "Objectives"},
    )


def _history(result: OptimizeResult, complete: pl.DataFrame) -> Section:
    objectives = result.plan.objectives
    plots = tuple(
        Plot(
            f"history-{place}",
            f"{metric_label(one.metric)} of each trial and the best so far",
            history_figure(complete, one.metric, one.direction),
            metric_label(one.metric) if len(objectives) > 1 else "",
        )
        for place, one in enumerate(objectives)
        if complete.height
    )
    return Section(
        id="history",
        title="History",
        short="History",
        lead="Value of each trial in the order in which they were asked for, and the best so far.",
        template="plots.html.j2",
        plots=plots,
        context={"empty": "No trial has a value.", "choice_label": "Objective"},
    )


def _importance(result: OptimizeResult) -> Section:
    plots: tuple[Plot, ...] = ()
    if result.importance.height:
        plots = (Plot("importance", "Share of each parameter", importance_figure(result.importance)),)
    return Section(
        id="importance",
        title="Importance",
        short="Importance",
        lead="How much each parameter sets the best tenth of the sets apart from all (PED-ANOVA); the shares add up "
        "to 100 %. It rests on the sets that were tried, which are denser where the values are good.",
        template="plots.html.j2",
        plots=plots,
        context={"empty": f"Told from {LEAST_SETS} sets with a value on, where two parameters vary."},
    )


def _slices(result: OptimizeResult, complete: pl.DataFrame) -> Section:
    metric = result.plan.objectives[0].metric
    shown = result.plan.dimensions[:_PLOTTED] if complete.height else ()
    plots = tuple(
        Plot(
            f"slice-{place}",
            f"{metric_label(metric)} over {numbers.shorten(one.name, 40)}",
            slice_figure(complete, one.name, metric, log=one.log, listed=bool(one.choices)),
            numbers.shorten(one.name, 40) if len(shown) > 1 else "",
        )
        for place, one in enumerate(shown)
    )
    return Section(
        id="slices",
        title="Parameters",
        short="Parameters",
        lead=f"{metric_label(metric)} over the values of one parameter, whatever the others are: a broad hill is worth "
        "more than a needle.",
        template="plots.html.j2",
        plots=plots,
        context={"empty": "No trial has a value.", "choice_label": "Parameter"},
    )


def _trials(result: OptimizeResult) -> Section:
    objectives = [one.metric for one in result.plan.objectives]
    known = [name for name in objectives if name in result.trials.columns]
    columns = [
        Column("trial", "Trial", lambda r: numbers.count(r["trial"])),
        Column("state", "State", _state, is_number=False),
        *(_parameter(name) for name in result.plan.names),
        *(_metric(name) for name in known),
    ]
    tables = (build("trials", "All trials", result.trials, columns, TRIAL_ROWS, page_size=15),)
    cut = result.trials.height > TRIAL_ROWS
    return Section(
        id="trials",
        title="Trials",
        short="Trials",
        lead=f"The first {TRIAL_ROWS:,} of {result.trials.height:,}; trials.parquet holds all."
        if cut
        else "All trials.",
        template="plots.html.j2",
        tables=tables if result.trials.height else (),
        context={"empty": "No trial is done."},
    )


def _settings(result: OptimizeResult) -> Section:
    plan = result.plan
    search = [
        ("objectives", ", ".join(one.spelled for one in plan.objectives)),
        ("constraints", "; ".join(one.text for one in plan.constraints) or "none"),
        ("trials", numbers.count(plan.trials)),
        ("sampler", plan.sampler),
        ("batch", numbers.count(plan.batch)),
        ("seed", str(plan.seed)),
        ("windows", "none" if plan.windows < 2 else f"{plan.windows}{', pruned' if plan.prune else ''}"),
    ]
    space = [(one.name, one.text) for one in plan.dimensions]
    return Section(
        id="configuration",
        title="Configuration",
        short="Configuration",
        lead="What repeats the best set in full, and what was looked for.",
        template="configuration.html.j2",
        context={
            "command": result.command or "The best set cannot be repeated by a command: run it from Python.",
            "settings": [("search", search), ("space", space)],
            "manifest": _flat(result.manifest),
        },
    )


def _complete(result: OptimizeResult) -> pl.DataFrame:
    """Return trials with a value, with what the cursor shows of each."""
    objectives = [one.metric for one in result.plan.objectives]
    if any(name not in result.trials.columns for name in objectives):
        return pl.DataFrame()
    names = result.plan.names
    kept = result.trials.filter(pl.col("state") == COMPLETE).select("trial", "feasible", *names, *objectives)
    texts = [hover_text(row, names, objectives) for row in kept.iter_rows(named=True)]
    return kept.with_columns(pl.Series("text", texts, pl.String))


def _parameter(name: str) -> Column:
    return Column(name, numbers.shorten(name, 24), lambda r: value_text(r[name]))


def _metric(name: str, style: str = "", label: str = "") -> Column:
    return Column(name, label or metric_label(name), lambda r: metric_text(style or name, r[name]))


def _state(row: dict[str, Any]) -> str | tuple[str, str]:
    """Return what became of a trial, with why it has no value."""
    if row["error"]:
        return str(row["state"]), str(row["error"]).partition("\n")[0]
    if row["feasible"] is False:
        return str(row["state"]), "breaks a constraint"
    return str(row["state"]), "known set" if row["cached"] else ""


def _set_text(row: dict[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name} {value_text(row[name])}" for name in names) if row else "no set counts"


def _flat(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key} ")
        else:
            rows.append((f"{prefix}{key}", str(value)))
    return rows
