"""What ``backtester compare`` prints of runs and sweeps beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from backtester.comparing import CompareResult

_SHOWN = (
    "total_return", "annual_return", "volatility", "sharpe", "sortino", "calmar", "max_drawdown", "worst_margin_ratio",
    "liquidations", "trades", "hit_rate", "profit_factor", "funding", "fees", "slippage", "liquidation",
)  # fmt: skip
_COLUMNS = 6
"""Runs that stand beside each other in the terminal; more are listed below each other."""
_LISTED = ("total_return", "sharpe", "max_drawdown", "trades", "liquidations")
_LENGTH = 26


def print_comparison(found: CompareResult) -> None:
    """Print the metrics, the best starred, the settings that differ, and the correlation of two runs."""
    is_common = found.common_metrics.height > 0
    frame = found.common_metrics if is_common else found.metrics
    span = "over the common span" if is_common else "over their span" if found.is_one_span else "each over its own span"
    if len(found.names) <= _COLUMNS:
        _print_beside(found, frame, span)
    else:
        _print_below(found, frame, span)
    _print_settings(found)
    if len(found.names) == 2 and (value := found.correlation[found.names[1]][0]) is not None:
        typer.echo(f"Correlation of daily returns: {value:+.2f}")


def _print_beside(found: CompareResult, frame: pl.DataFrame, span: str) -> None:
    from backtester.cli.output import print_table

    rows = {row["metric"]: row for row in frame.iter_rows(named=True)}
    cells = []
    for key in (key for key in _SHOWN if key in rows):
        metric, texts = _texts(found, frame, key)
        cells.append([metric, *texts])
    heads = [_short(label) for label in found.labels.values()]
    print_table(("", *heads), cells, f"{len(heads)} runs, {span}; * is the best", right=range(1, len(heads) + 1))


def _print_below(found: CompareResult, frame: pl.DataFrame, span: str) -> None:
    from backtester.cli.output import print_table

    known = [key for key in _LISTED if key in frame["metric"]]
    columns = [_texts(found, frame, key) for key in known]
    cells = [
        [_short(label), *(texts[place] for _, texts in columns)] for place, label in enumerate(found.labels.values())
    ]
    title = f"{len(cells)} runs, {span}; * is the best"
    print_table(("run", *(label for label, _ in columns)), cells, title, right=range(1, len(columns) + 1))


def _texts(found: CompareResult, frame: pl.DataFrame, key: str) -> tuple[str, list[str]]:
    """Return the name of a metric and its text for each run, the best starred."""
    import polars as pl

    from backtester.report.compare_metrics import known_metric, money_digits

    row = frame.row(by_predicate=pl.col("metric") == key, named=True)
    metric = known_metric(key, pl.Series([row[name] for name in found.names], dtype=pl.Float64))
    digits = money_digits(found)
    texts = [("* " if name in row["best"] else "") + metric.text(row[name], digits) for name in found.names]
    return metric.label, [text.replace("\u00a0", " ").replace("\u2212", "-").replace("\u2013", "-") for text in texts]


def _print_settings(found: CompareResult) -> None:
    from backtester.cli.output import print_table

    if found.settings.is_empty():
        typer.echo("Every setting, the data and the versions are the same.")
        return
    if len(found.names) > _COLUMNS:
        typer.echo(f"{found.settings.height} settings differ; the page has them.")
        return
    shown = found.settings.head(12)
    cells = [[_short(row["key"], 40), *(_short(row[name] or "-") for name in found.names)] for row in shown.to_dicts()]
    more = f", the first {shown.height} of {found.settings.height}" if shown.height < found.settings.height else ""
    heads = ("key", *(label.partition(" ")[0] for label in found.labels.values()))
    print_table(heads, cells, f"Settings that differ{more}; {found.equal_settings} are equal")


def print_comparison_json(found: CompareResult, page: Path) -> None:
    """Print a comparison as JSON."""
    from backtester.cli.output import print_json

    print_json(comparison_json(found) | {"page": str(page)})


def comparison_json(found: CompareResult) -> dict[str, Any]:
    """Return a comparison as JSON has it."""
    from backtester.errors import format_time

    names = found.names
    span = found.common_span
    runs = [
        row | {"start": f"{row['start']:%Y-%m-%dT%H:%M:%SZ}", "end": f"{row['end']:%Y-%m-%dT%H:%M:%SZ}"}
        for row in found.runs.to_dicts()
    ]
    return {
        "runs": runs,
        "common_span": None if span is None else [format_time(at) for at in span],
        "metrics": _metrics(found.metrics, found.differences, names),
        "common_metrics": _metrics(found.common_metrics, found.common_differences, names),
        "correlation": _columns(found.correlation, "run", names),
        "months": _columns(found.months.with_columns(found.months["month"].cast(str).str.head(7)), "month", names),
        "attribution": _columns(found.attribution, "part", names),
        "settings": {row["key"]: {name: row[name] for name in names} for row in found.settings.to_dicts()},
        "equal_settings": found.equal_settings,
        "same_source": len(set(found.sources.values())) == 1,
        "notices": [{"code": n.code, "severity": n.severity, "text": n.text} for n in found.notices],
    }


def _metrics(frame: pl.DataFrame, differences: pl.DataFrame, names: Sequence[str]) -> list[dict[str, Any]]:
    apart = {row["metric"]: row for row in differences.to_dicts()}
    return [
        {
            "metric": row["metric"],
            "better": row["better"],
            "best": row["best"],
            "values": {name: row[name] for name in names},
            "differences": {name: apart[row["metric"]][name] for name in names[1:]},
        }
        for row in frame.to_dicts()
    ]


def _columns(frame: pl.DataFrame, key: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return each run's column by the values of the key."""
    return {name: dict(zip(frame[key].to_list(), frame[name].to_list(), strict=True)) for name in names}


def compare_sweeps(folders: Sequence[Path], to: Path | None, out: Path, *, as_json: bool, quiet: bool) -> Path:
    """Write the page of one sweep anew, or that of several; print what they came to, and return where the page is."""
    from backtester.cli.output import print_json, print_table, say
    from backtester.comparing import page_path, refuse_twice
    from backtester.engine.folder import REPORT_FILE
    from backtester.report import compare_sweeps as several
    from backtester.report.sweep_page import write_sweep_page

    refuse_twice(folders)
    if len(folders) == 1:
        page = to or folders[0] / REPORT_FILE
        write_sweep_page(folders[0], page)
        if as_json:
            print_json({"sweeps": [{"sweep": folders[0].name}], "page": str(page)})
        else:
            typer.echo(str(page) if quiet else f"Report: {page.resolve()}")
        return page
    sweeps = several.compared_sweeps(folders)
    page = several.write_sweeps_page(sweeps, to or page_path(folders, out))
    metrics = several.shared_metrics(sweeps)
    if as_json:
        content = [
            {
                "sweep": sweep.folder.name,
                "sets": sweep.done.height,
                "failed": sweep.failed.height,
                "metric": sweep.main.key if sweep.main else None,
                "levels": {metric.key: several.levels(sweep, metric) for metric in metrics},
                "best": [
                    {key: row[key] for key in ("set", *sweep.params, *(m.key for m in metrics))}
                    for row in several.best_sets(sweep)
                ],
            }
            for sweep in sweeps
        ]
        print_json({"sweeps": content, "page": str(page)})
        return page
    if quiet:
        typer.echo(str(page))
        return page
    labels = several.sweep_labels(sweeps)
    cells = []
    for metric in metrics:
        found = [several.levels(sweep, metric) for sweep in sweeps]
        for level in ("best", "median"):
            texts = [metric.text(own[level], sweep.money_digits) for own, sweep in zip(found, sweeps, strict=True)]
            cells.append([f"{metric.label}, {level}", *(text.replace("\u2212", "-") for text in texts)])
    heads = [f"{label} ({sweep.done.height:,} sets)" for label, sweep in zip(labels, sweeps, strict=True)]
    print_table(("", *heads), cells, f"{len(sweeps)} sweeps", right=range(1, len(heads) + 1))
    say(f"Each set of a sweep is on its own page: `backtester compare {folders[0].name}` writes it anew.")
    typer.echo(f"Report: {page.resolve()}")
    return page


def _short(text: str, length: int = _LENGTH) -> str:
    plain = "".join(c if c.isprintable() else "?" for c in text)
    return plain if len(plain) <= length else plain[: length - 1] + "\u2026"
