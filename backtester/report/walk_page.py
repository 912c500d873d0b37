"""The page of a walk forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backtester.report import numbers
from backtester.report.figures.walk import against_figure, choice_figure, walk_equity_figure
from backtester.report.html_file import write_html
from backtester.report.key_figures import Tile
from backtester.report.metric_text import metric_label, metric_text, value_text
from backtester.report.page import page_html
from backtester.report.section import Plot, Section
from backtester.report.table import Column, Table, build
from backtester.research.walk_result import WalkForwardResult
from backtester.research.windows import duration_text

_COMPARED = ("total_return", "sharpe", "max_drawdown")
_FIGURES = (
    "annual_return", "volatility", "sortino", "calmar", "best_day", "worst_day", "trades", "hit_rate", "profit_factor",
    "fees", "funding", "liquidations",
)  # fmt: skip


def write_walk_page(result: WalkForwardResult, path: Path | str) -> Path:
    """Write the page of a walk forward; it appears whole or not at all."""
    return write_html(Path(path), render_walk_page(result))


def render_walk_page(result: WalkForwardResult) -> str:
    """Return the page of a walk forward as HTML."""
    sections = [_equity(result), _against(result), _choices(result), _windows(result), _settings(result)]
    return page_html(
        title=f"{numbers.shorten(result.strategy_name, 120)}: walk forward",
        brand="Walk forward",
        run=_facts(result),
        synthetic=result.synthetic,
        notices=result.notices,
        headline=_headline(result),
        sections=sections,
    )


def _facts(result: WalkForwardResult) -> list[tuple[str, str]]:
    start, end = result.span
    settings = result.settings
    kind = "anchored" if settings["anchored"] else "rolling"
    return [
        ("Venue", result.config.data.venue),
        ("Symbols", numbers.shorten(", ".join(result.symbols))),
        ("Bars", str(result.config.data.timeframe)),
        ("Span (UTC)", f"{numbers.moment(start)} to {numbers.moment(end)}"),
        ("Windows", f"train {settings['train']}, test {settings['test']}, {kind}"),
        ("Search", numbers.shorten(result.run_id)),
    ]


def _headline(result: WalkForwardResult) -> list[Tile]:
    s, metric = result.summary, result.plan.objective.metric
    total: Any = s.get("total_return")
    tone = 0 if not total else 1 if total > 0 else -1
    done, planned = result.windows.height, len(result.plan.windows)
    within, without = (metric_text(metric, s.get(f"{kind}_objective")) for kind in ("train", "test"))
    ranks: Any = s.get("rank_correlation")
    return [
        Tile("total_return", "Return out of sample", numbers.percent(total), _annual(s), tone),
        Tile("sharpe", "Sharpe out of sample", numbers.decimal(s.get("sharpe")), "of the stitched account"),  # type: ignore[arg-type]
        Tile("max_drawdown", "Largest drawdown", numbers.percent(s.get("max_drawdown")), "out of sample"),  # type: ignore[arg-type]
        Tile(
            "test_objective",
            f"{metric_label(metric)} in test",
            without,
            f"{within} in training (means of windows)",
        ),
        Tile("efficiency", "Efficiency", _share(s.get("efficiency")), "daily return, test over training"),
        Tile(
            "windows",
            "Windows",
            numbers.count(done) if done == planned else f"{done} of {planned}",
            f"{_share(s.get('profitable_windows'))} with a profit"
            + ("" if ranks is None else f"; rank correlation {numbers.decimal(ranks, signed=True)}"),
        ),
    ]


def _annual(summary: dict[str, Any]) -> str:
    return f"{numbers.percent(summary.get('annual_return'))} a year"


def _share(value: Any) -> str:
    return numbers.percent(value, 0, signed=False)


def _equity(result: WalkForwardResult) -> Section:
    plots: tuple[Plot, ...] = ()
    first = float(result.summary.get("initial_balance") or 0.0)
    if result.equity.height:
        figure = walk_equity_figure(result.equity, first, result.settle)
        plots = (Plot("walk-equity", "Equity out of sample with the borders of the windows, and drawdown", figure),)
    known = [name for name in _FIGURES if name in result.summary]
    return Section(
        id="equity",
        title="Out of sample",
        short="Out of sample",
        lead="The tests one after the other, none of whose bars was seen when its parameters were chosen; dotted lines "
        "are where a test begins.",
        template="plots.html.j2",
        plots=plots,
        context={
            "empty": "No window is done.",
            "facts": [(name, metric_label(name), metric_text(name, result.summary[name])) for name in known],
        },
    )


def _against(result: WalkForwardResult) -> Section:
    columns = result.windows.columns
    metrics = [
        name
        for name in dict.fromkeys((result.plan.objective.metric, *_COMPARED))
        if f"train_{name}" in columns and f"test_{name}" in columns
    ]
    plots = tuple(
        Plot(
            f"against-{place}",
            f"{metric_label(name)} of the chosen set in training and in test",
            against_figure(result.windows, name),
            metric_label(name) if len(metrics) > 1 else "",
        )
        for place, name in enumerate(metrics)
    )
    return Section(
        id="against",
        title="Training against test",
        short="Training and test",
        lead="What the chosen set had in its training window, and what came of it in the test behind it.",
        template="plots.html.j2",
        plots=plots,
        context={"empty": "No test was run.", "choice_label": "Metric"},
    )


def _choices(result: WalkForwardResult) -> Section:
    names = result.plan.names if result.stability.height else ()
    plots = tuple(
        Plot(
            f"choice-{place}",
            f"Value of {numbers.shorten(name, 40)} that each window chose",
            choice_figure(result.windows, name, numbers.shorten(name, 40)),
            numbers.shorten(name, 40) if len(names) > 1 else "",
        )
        for place, name in enumerate(names)
    )
    columns = [
        Column("parameter", "Parameter", lambda r: r["parameter"], is_number=False),
        Column("values", "Different values", lambda r: numbers.count(r["values"])),
        Column("most_frequent", "Most frequent", lambda r: r["most_frequent"], is_number=False),
        Column("share", "In windows", lambda r: _share(r["share"])),
        Column("changes", "Changes", lambda r: numbers.count(r["changes"])),
        Column("smallest", "Smallest", lambda r: numbers.quantity(r["smallest"])),
        Column("largest", "Largest", lambda r: numbers.quantity(r["largest"])),
        Column("deviation", "Deviation", lambda r: numbers.quantity(r["deviation"])),
    ]
    tables: tuple[Table, ...] = ()
    if result.stability.height:
        tables = (build("stability", "Steadiness of the choices", result.stability, columns),)
    return Section(
        id="parameters",
        title="Parameter stability",
        short="Parameters",
        lead="What each window chose. Values that jump from window to window were fitted to noise.",
        template="plots.html.j2",
        plots=plots,
        tables=tables,
        context={"empty": "No window chose a set.", "choice_label": "Parameter"},
    )


def _windows(result: WalkForwardResult) -> Section:
    metric = result.plan.objective.metric
    known = [name for name in dict.fromkeys((metric, *_COMPARED)) if f"test_{name}" in result.windows.columns]
    columns = [
        Column("window", "Window", lambda r: (numbers.count(r["window"]), r["error"] or "")),
        Column("train_start", "Training", lambda r: _span(r, "train"), is_number=False),
        Column("test_start", "Test", lambda r: _span(r, "test"), is_number=False),
        *(_parameter(name) for name in result.plan.names),
        *(_pair(name) for name in known),
        Column("final_balance", "Equity", lambda r: numbers.decimal(r["final_balance"])),
    ]
    tables: tuple[Table, ...] = ()
    if result.windows.height:
        tables = (build("windows", "Windows", result.windows, columns, page_size=25),)
    return Section(
        id="windows",
        title="Windows",
        short="Windows",
        lead="Test figures, with those of training below; windows.parquet holds every metric.",
        template="plots.html.j2",
        tables=tables,
        context={"empty": "No window is done."},
    )


def _settings(result: WalkForwardResult) -> Section:
    plan, settings = result.plan, result.settings
    lengths = plan.windows[0]
    walk = [
        (name, text)
        for name, text in (
            ("objective", plan.objective.spelled),
            ("constraints", "; ".join(one.text for one in plan.constraints) or "none"),
            ("optimizer", plan.optimizer),
            ("trials", str(settings.get("trials") or "every set")),
            ("where", str(settings.get("where") or "none")),
            ("train", duration_text(lengths.train_end - lengths.train_start)),
            ("test", duration_text(lengths.test_end - lengths.test_start)),
            ("anchored", "yes" if settings["anchored"] else "no"),
        )
    ]
    space = [(name, values if isinstance(values, str) else ", ".join(map(str, values)))
             for name, values in settings["space"].items()]  # fmt: skip
    run = [
        part for name, section in result.config.model_dump(exclude_unset=True).items() for part in _flat(section, name)
    ]
    return Section(
        id="configuration",
        title="Configuration",
        short="Configuration",
        lead="What was walked through; walk_forward.toml holds it all.",
        template="settings.html.j2",
        context={"settings": [("walk forward", walk), ("space", space), ("run", run)]},
    )


def _flat(value: Any, name: str) -> list[tuple[str, str]]:
    """Return the keys of a section with their values as text."""
    if isinstance(value, dict):
        return [part for key, below in value.items() for part in _flat(below, f"{name}.{key}")]
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return [(name, numbers.shorten(text))]


def _span(row: dict[str, Any], kind: str) -> tuple[str, str]:
    return numbers.moment(row[f"{kind}_start"]), f"to {numbers.moment(row[f'{kind}_end'])}"


def _parameter(name: str) -> Column:
    return Column(name, numbers.shorten(name, 24), lambda r: value_text(r[name]))


def _pair(name: str) -> Column:
    def text(row: dict[str, Any]) -> tuple[str, str]:
        return metric_text(name, row[f"test_{name}"]), metric_text(name, row[f"train_{name}"])

    return Column(f"test_{name}", metric_label(name), text)
