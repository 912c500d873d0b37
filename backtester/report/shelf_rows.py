"""One folder as a row of the shelf: a run's summary and equity, a search's best figures."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from backtester.engine.folder import CLEARING_FILE, whole_folder
from backtester.errors import StoreError
from backtester.report import numbers
from backtester.report.downsample import extremes
from backtester.report.metric_text import metric_label, metric_text, value_text

SEARCHES = {
    "sweep.toml": "sweep",
    "optimize.toml": "optimize",
    "walk_forward.toml": "walk-forward",
    CLEARING_FILE: "clearing",
}
"""File by which a folder that is no run's is known, and what made it."""

FIGURES = ("total_return", "sharpe", "max_drawdown", "net_profit", "trades", "liquidations", "worst_margin_ratio")
"""Metrics of a row."""

_TEXTS = ("strategy", "venue", "symbols", "timeframe", "settle", "start", "end")
SPARK_POINTS = 60
_INNER_POINTS = 54  # first and last come beside the extremes
_SHOWN_PARAMS = 6


def run_row(folder: Path) -> dict[str, Any]:
    """Return what the shelf shows of a run.

    Raises
    ------
    StoreError
        A file is missing or damaged.
    """
    problem = whole_folder(folder)
    if problem:
        raise StoreError(problem)
    manifest, summary = read_object(folder / "manifest.json"), read_object(folder / "summary.json")
    return {
        "created": _text(manifest.get("created")).replace(" ", "T"),
        **{key: _text(summary.get(key)) for key in _TEXTS},
        "synthetic": bool(summary.get("synthetic")),
        "figures": {key: _number(summary.get(key)) for key in FIGURES},
        "spark": _spark(folder / "equity.parquet", _number(summary.get("initial_balance"))),
    }


def clearing_row(folder: Path) -> dict[str, Any]:
    """Return what the shelf shows of the clearing of a market.

    Raises
    ------
    StoreError
        A file is missing or damaged.
    """
    manifest, summary = read_object(folder / "manifest.json"), read_object(folder / "summary.json")
    symbols = summary.get("symbols")
    cases = summary.get("cases")
    count = len(cases) if isinstance(cases, list) else 0
    return {
        "created": _text(manifest.get("created")).replace(" ", "T"),
        "strategy": f"rules of {numbers.shorten(_text(summary.get('case')), 40)}",
        "venue": _text(summary.get("data_venue")),
        "symbols": ", ".join(map(str, symbols)) if isinstance(symbols, list) else "",
        **{key: _day(summary.get(key)) for key in ("start", "end")},
        "settle": _text(summary.get("settle")),
        "synthetic": bool(summary.get("synthetic")),
        "facts": [
            f"{numbers.count(_number(summary.get('liquidated_accounts')))} of "
            f"{_counted(summary.get('accounts'), 'account')} liquidated",
            f"{numbers.count(_number(summary.get('deleveraged_accounts')))} deleveraged",
            *([f"{count} sets of rules"] if count > 1 else []),
        ],
    }


def search_row(folder: Path, kind: str) -> dict[str, Any]:
    """Return what the shelf shows of a sweep, an optimisation or a walk forward.

    Raises
    ------
    StoreError
        A file is missing or damaged.
    """
    file = next(name for name, made in SEARCHES.items() if made == kind)
    plan, manifest = _read_toml(folder / file), {}
    if (folder / "manifest.json").is_file():
        manifest = read_object(folder / "manifest.json")
    state = str(manifest.get("state") or manifest.get("status") or "running")
    data, strategy = _table(plan, "data"), _table(plan, "strategy")
    own = _table(plan, "walk_forward" if kind == "walk-forward" else kind)
    symbols = data.get("symbols") or ()
    row = {
        "created": _text(manifest.get("created")).replace(" ", "T"),
        "strategy": _text(strategy.get("name") or own.get("strategy")),
        "venue": _text(data.get("venue")),
        "symbols": symbols if isinstance(symbols, str) else ", ".join(map(str, symbols)),
        "timeframe": _text(data.get("timeframe")),
        **{key: _day(data.get(key)) for key in ("start", "end")},
        "synthetic": data.get("venue") == "synthetic",
        **_STATES.get(state, {"state": "unfinished", "reason": f"Its state is {state}."}),
    }
    read = {"sweep": _sweep, "optimize": _optimisation, "walk-forward": _walk}[kind]
    return {**row, **read(folder, manifest, own)}


_STATES: dict[str, dict[str, str]] = {
    "finished": {},
    "interrupted": {"state": "unfinished", "reason": "It was interrupted; --resume goes on with a sweep or a study."},
    "running": {"state": "unfinished", "reason": "It goes on, or ended by force."},
}


def _sweep(folder: Path, manifest: Mapping[str, Any], _own: Mapping[str, Any]) -> dict[str, Any]:
    from backtester.research.ranking import ranked  # noqa: PLC0415 - most folders are runs

    facts = [_counted(manifest.get("done"), "set")]
    if manifest.get("failed"):
        facts.append(f"{numbers.count(manifest['failed'])} failed")
    path = folder / "sets.parquet"
    if not path.is_file():
        return {"facts": facts}
    rows = pl.scan_parquet(path, glob=False)
    columns = rows.collect_schema().names()
    metric = str(manifest.get("metric") or "sharpe")
    metric = metric if metric in columns else "sharpe"
    best = ranked(rows, metric, 1)
    params = columns[1 : columns.index("status")] if "status" in columns else []
    return _best(best, params, metric, facts)


def _optimisation(folder: Path, manifest: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    facts = [_counted(manifest.get("trials"), "trial")]
    path = folder / "trials.parquet"
    objective = str(next(iter(own.get("objectives") or ()), "max:sharpe"))
    direction, _, metric = objective.rpartition(":")
    if not path.is_file():
        return {"facts": facts}
    trials = pl.read_parquet(path)
    space = own.get("space")
    params = [name for name in (space if isinstance(space, Mapping) else ()) if name in trials.columns]
    if metric not in trials.columns:
        return {"facts": facts}
    counted = trials.filter((pl.col("state") == "complete") & pl.col("feasible") & pl.col(metric).is_not_null())
    best = counted.sort(metric, "trial", descending=[direction != "min", False]).head(1)
    return _best(best, params, metric, facts)


def _walk(folder: Path, manifest: Mapping[str, Any], _own: Mapping[str, Any]) -> dict[str, Any]:
    found = manifest.get("summary")
    summary: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    equity = folder / "equity.parquet"
    balance = _number(summary.get("initial_balance"))
    return {
        "facts": [f"{_counted(manifest.get('windows'), 'window')} out of sample"],
        "figures": {key: _number(summary.get(key)) for key in FIGURES},
        "spark": _spark(equity, balance) if equity.is_file() else [],
    }


def _best(best: pl.DataFrame, params: list[str], metric: str, facts: list[str]) -> dict[str, Any]:
    """Return the figures of the best set and its parameters in words."""
    if best.is_empty():
        return {"facts": [*facts, "none counts"]}
    row = best.row(0, named=True)
    values = [f"{numbers.shorten(name, 24)}={numbers.shorten(value_text(row[name]), 24)}" for name in params]
    more = f" and {len(values) - _SHOWN_PARAMS} more" if len(values) > _SHOWN_PARAMS else ""
    facts = [*facts, f"best {', '.join(values[:_SHOWN_PARAMS])}{more}"] if values else facts
    if metric not in FIGURES:
        facts = [*facts, f"{metric_label(metric)} {metric_text(metric, row[metric])}"]
    return {"facts": facts, "figures": {key: _number(row.get(key)) for key in FIGURES}}


def _spark(path: Path, balance: float | None) -> list[list[float]]:
    """Return at most 60 points of an equity, its extremes among them: share of the span, share of the first balance.

    Raises
    ------
    StoreError
        The file is damaged.
    """
    try:
        equity = pl.read_parquet(path, columns=["equity"], glob=False)["equity"].cast(pl.Float64)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StoreError(f"{path.name} is damaged.") from error
    values = equity.fill_null(math.nan).to_numpy()
    if not values.size:
        return []
    rows = extremes(values, SPARK_POINTS if values.size <= SPARK_POINTS else _INNER_POINTS)
    base, last = balance or float(values[0]) or 1.0, max(values.size - 1, 1)
    points = zip((rows / last).tolist(), (values[rows] / base).tolist(), strict=True)
    return [[round(x, 4), float(f"{y:.5g}")] for x, y in points if math.isfinite(y)]


def read_object(path: Path) -> dict[str, Any]:
    """Return a JSON object of a folder.

    Raises
    ------
    StoreError
        It is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(f"{path.name} is missing.") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{path.name} is damaged.") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path.name} is damaged.")
    return content


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path.name} is damaged.") from error


def _table(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = tree.get(name)
    return found if isinstance(found, Mapping) else {}


def _counted(value: Any, noun: str) -> str:
    count = value if isinstance(value, int) else 0
    return f"{numbers.count(count)} {noun}{'' if count == 1 else 's'}"


def _number(value: Any) -> float | None:
    """Return a finite number; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _day(value: Any) -> str:
    """Return a time of a run file to the minute: TOML has text, dates and times."""
    return str(value).replace("T", " ")[:16].removesuffix("Z") if value is not None else ""
