"""The sets of a sweep as the page's script takes them: compact columns, each unpacked when it is needed."""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import tomli_w

from backtester.report import numbers
from backtester.report.figures import sweep as figures
from backtester.report.sweep_data import Axis, Sweep
from backtester.report.sweep_metrics import CORE, SHOWN, Metric

ALL_METRICS = 30_000
"""Sets up to which the page carries every metric."""
MOST_SETS = 200_000
"""Sets that the page carries at most."""
_BEST = 1_000  # of those that are kept beyond it
_NEEDED = {"percent": 6, "share": 6, "ratio": 4, "hours": 3, "days": 3, "times": 4, "count": 2}
_INTEGERS = ((np.int8, "i1"), (np.int16, "i2"), (np.int32, "i4"))


def kept_rows(sweep: Sweep) -> npt.NDArray[np.int64]:
    """Return the rows of ``sweep.done`` that the page carries: all, or the best and an even sample of the rest."""
    count = sweep.done.height
    if count <= MOST_SETS or sweep.main is None:
        return np.arange(count)
    values = np.nan_to_num(sweep.values(sweep.main.key) * sweep.main.better, nan=-np.inf)
    order = np.argsort(-values, kind="stable")
    rest = order[_BEST:]
    room = MOST_SETS - _BEST
    sampled = rest[np.floor(np.arange(room) * rest.size / room).astype(np.int64)]
    return np.sort(np.concatenate([order[:_BEST], sampled]))


def kept_metrics(sweep: Sweep) -> list[Metric]:
    """Return the metrics that the page carries: all, or those that decide where there are very many sets."""
    if sweep.done.height <= ALL_METRICS:
        return list(sweep.metrics)
    return [m for m in sweep.metrics if m.key in CORE or (sweep.main is not None and m.key == sweep.main.key)]


def payload(sweep: Sweep) -> dict[str, Any]:
    """Return what the page's script needs: sets, parameters, metrics, the command.

    Parameters
    ----------
    sweep : Sweep
        At least one set was done.

    Returns
    -------
    dict
        Columns are packed: see ``packed``.
    """
    rows = kept_rows(sweep)
    names = sweep.done["set"].to_numpy()[rows]
    shown = kept_metrics(sweep)
    main = sweep.main
    return {
        "count": int(rows.size),
        "id": sweep.id,
        "set": _integers(names.astype(np.float64), 0),
        "axes": [_axis(axis, rows) for axis in sweep.axes],
        "metrics": [_metric(sweep, metric, rows) for metric in shown],
        "main": main.key if main is not None else "",
        "columns": list(dict.fromkeys([*([main.key] if main is not None else []), *SHOWN])),
        "command": command(sweep),
        "moneyDigits": sweep.money_digits,
        "dimensions": [a.name for a in figures.dimensions(sweep)],
        "limits": {"best": figures.BEST_LINES, "lines": figures.ALL_LINES, "dimensions": figures.DIMENSIONS},
    }


def packed(values: npt.NDArray[np.float64], metric: Metric, money_digits: int) -> dict[str, Any]:
    """Return a column of numbers, packed.

    Parameters
    ----------
    values : ndarray of float64
        NaN where there is none.
    metric : Metric
        Says how many decimals count.
    money_digits : int
        Decimals of amounts.

    Returns
    -------
    dict
        ``t`` is ``c`` (``d`` is the one value of all), ``i1``, ``i2``, ``i4`` (whole numbers of so many bytes,
        the smallest standing for none, to be divided by ten to the power of ``k``) or ``f8``; ``d`` is base64, little
        endian. Whole numbers hold nine digits of the largest value, at least two more than the page shows.
    """
    found = values[np.isfinite(values)]
    if not found.size or (found.size == values.size and (found == found[0]).all()):
        return {"t": "c", "d": float(found[0]) if found.size else None}
    largest = float(np.abs(found).max())
    if (found == np.round(found)).all() and largest < 2**31:
        return _integers(values, 0)
    needed = _NEEDED.get(metric.kind, money_digits + 2 if metric.kind in {"money", "amount"} else 99)
    decimals = min(9, math.floor(math.log10((2**31 - 1) / largest)) if largest else 9)
    if decimals < needed:
        return {"t": "f8", "d": _base64(values.astype("<f8"))}
    return _integers(values, decimals)


def command(sweep: Sweep) -> str:
    """Return the beginning of the command that replays one set; its parameters and settings follow."""
    recorded = sweep.manifest.get("run_command")
    if isinstance(recorded, str) and recorded:
        return recorded
    strategy = sweep.fact("strategy")
    name = sweep.fact("name", "strategy")
    named = strategy if isinstance(strategy, str) else name if isinstance(name, str) else ""
    words = ["backtester", "run", *([named] if named else [])]
    if sweep.run_file:
        return shlex.join([*words, "--config", f"reports/{sweep.id}/{sweep.run_file}"])
    for key, value in _leaves(sweep.base):
        if key.startswith("strategy.params."):
            words += ["-p", f"{key.removeprefix('strategy.params.')}={_toml(value)}"]
        elif not key.startswith(("strategy.", "report.")):
            words += ["--set", f"{key}={_toml(value)}"]
    return shlex.join(words)


def set_command(sweep: Sweep, values: Mapping[str, Any]) -> str:
    """Return the command that replays a set with these parameters."""
    words = []
    for name in sweep.params:
        if values[name] is not None:
            words += ["--set" if "." in name else "-p", f"{name}={argument(values[name])}"]
    return f"{command(sweep)} {shlex.join(words)}".rstrip()


def argument(value: bool | int | float | str) -> str:
    """Return a value as an option takes it: TOML, the quotes of a text left out where it cannot be mistaken."""
    if isinstance(value, str) and _is_word(value):
        return value
    return _toml(value)


def _is_word(text: str) -> bool:
    letters = text.replace("_", "").replace("-", "")
    return letters.isascii() and letters.isalnum() and text[0].isalpha() and text not in {"true", "false", "inf", "nan"}


def _axis(axis: Axis, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
    codes = axis.codes[rows].astype(np.float64)
    return {
        "name": axis.name,
        "title": axis.title,
        "kind": axis.kind,
        "values": [v if v is None or not isinstance(v, float) or math.isfinite(v) else None for v in axis.values],
        "arguments": [None if v is None else argument(v) for v in axis.values],
        "labels": axis.labels,
        "cells": axis.cells if axis.cells is not axis.labels else None,
        "cellOf": axis.cell_of if axis.cells is not axis.labels else None,
        "codes": _integers(codes, 0),
    }


def _metric(sweep: Sweep, metric: Metric, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
    number, unit = metric.format(sweep.money_digits)
    return {
        "key": metric.key,
        "label": numbers.shorten(metric.label, 60),
        "kind": metric.kind,
        "better": metric.better,
        "centred": metric.is_centred,
        "scale": figures.scale_of(metric),
        "format": number,
        "unit": unit,
        **packed(sweep.values(metric.key)[rows], metric, sweep.money_digits),
    }


def _integers(values: npt.NDArray[np.float64], decimals: int) -> dict[str, Any]:
    scaled = np.round(values * 10.0**decimals)
    found = scaled[np.isfinite(scaled)]
    low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 0.0)
    for kind, name in _INTEGERS:
        bounds = np.iinfo(kind)
        if bounds.min < low and high <= bounds.max:
            whole = np.where(np.isfinite(scaled), scaled, bounds.min).astype(np.dtype(kind).newbyteorder("<"))
            return {"t": name, "k": decimals, "d": _base64(whole)}
    return {"t": "f8", "d": _base64(values.astype("<f8"))}


def _base64(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return settings with their dotted keys; parts that hold dots stand in quotes."""
    leaves: list[tuple[str, Any]] = []
    for key, value in tree.items():
        part = key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _toml(key)
        name = f"{prefix}.{part}" if prefix else part
        if isinstance(value, Mapping) and value:
            leaves += _leaves(value, name)
        elif value is not None:
            leaves.append((name, value))
    return leaves


def _toml(value: Any) -> str:
    """Return a value as TOML writes it, on one line."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(v) for v in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(str(k))} = {_toml(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, (datetime, date)):
        return f'"{value.isoformat()}"'
    return tomli_w.dumps({"v": value}).removeprefix("v = ").rstrip("\n")
