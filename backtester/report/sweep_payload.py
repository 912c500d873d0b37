"""The sets of a sweep as the page's script takes them: compact columns, each unpacked when it is needed."""

from __future__ import annotations

import base64
import json
import math
import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backtester.report import numbers
from backtester.report.figures import sweep as figures
from backtester.report.sweep_data import SPACE, Axis, Sweep
from backtester.report.sweep_metrics import SHOWN, Metric

MOST_SETS = 200_000
"""Sets that the page carries at most."""
DEFAULT_OUT = "reports"
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
    main = sweep.main
    return {
        "count": int(rows.size),
        "id": sweep.folder.name,
        "set": _integers(names.astype(np.float64), 0),
        "axes": [_axis(axis, rows) for axis in sweep.axes],
        "metrics": [_metric(sweep, metric, rows) for metric in sweep.metrics],
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
    decimals = min(15, math.floor(math.log10((2**31 - 1) / largest)))
    if decimals < needed:
        return {"t": "f8", "d": _base64(values.astype("<f8"))}
    return _integers(values, decimals)


def command(sweep: Sweep) -> str:
    """Return the beginning of the command that replays one set; its parameters and settings follow."""
    words = ["backtester", "run"]
    if sweep.has_file:
        words += ["--config", _from_here(sweep.folder / SPACE)]
    elif isinstance(name := sweep.fact("name", "strategy"), str):
        words.append(name)
    folders = sweep.manifest.get("folders")
    for option, paths in folders.items() if isinstance(folders, Mapping) else ():
        for path in [paths] if isinstance(paths, str) else paths:
            words += [str(option), _from_here(Path(str(path)))]
    if _from_here(sweep.folder.parent) not in {DEFAULT_OUT, "."}:
        words += ["--out", _from_here(sweep.folder.parent)]
    return shlex.join(words)


def set_command(sweep: Sweep, values: Mapping[str, Any]) -> str:
    """Return the command that replays a set with these parameters.

    Parameters
    ----------
    sweep : Sweep
        The sets.
    values : mapping
        Value of each parameter; what is None is left to the configuration.
    """
    words = []
    for name in sweep.params:
        if values[name] is not None:
            words += [option(name), f"{written_name(name)}={argument(name, values[name])}"]
    return f"{command(sweep)} {shlex.join(words)}".rstrip()


def option(name: str) -> str:
    """Return the option that sets a parameter: with a dot in its name it is a key of the run file."""
    return "--set" if "." in name else "-p"


def written_name(name: str) -> str:
    """Return a parameter's name as its option takes it."""
    if "." not in name:
        return name
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part) for part in name.split("."))


def argument(name: str, value: bool | int | float | str) -> str:
    """Return a value as the option of its parameter takes it.

    ``-p`` takes texts as they are; ``--set`` reads TOML, so that a text that would be read as something else is quoted.
    """
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if "." not in name:
        return value
    try:
        tomllib.loads(f"v = {value}")
    except tomllib.TOMLDecodeError:
        return value
    return json.dumps(value)


def _from_here(path: Path) -> str:
    """Return a path relative to the current folder where it lies below it, else absolute."""
    here, whole = Path.cwd(), Path(os.path.abspath(path))  # noqa: PTH100 - links are kept as they were written
    return (whole.relative_to(here) if whole.is_relative_to(here) else whole).as_posix()


def _axis(axis: Axis, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
    codes = axis.codes[rows].astype(np.float64)
    return {
        "name": axis.name,
        "title": axis.title,
        "kind": axis.kind,
        "values": [v if v is None or not isinstance(v, float) or math.isfinite(v) else None for v in axis.values],
        "option": option(axis.name),
        "written": written_name(axis.name),
        "arguments": [None if v is None else argument(axis.name, v) for v in axis.values],
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
    scaled = _cut(values * 10.0**decimals)
    found = scaled[np.isfinite(scaled)]
    low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 0.0)
    for kind, name in _INTEGERS:
        bounds = np.iinfo(kind)
        if bounds.min < low and high <= bounds.max:
            whole = np.where(np.isfinite(scaled), scaled, bounds.min).astype(np.dtype(kind).newbyteorder("<"))
            return {"t": name, "k": decimals, "d": _base64(whole)}
    return {"t": "f8", "d": _base64(values.astype("<f8"))}


def _cut(scaled: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return whole numbers from which rounding to fewer digits gives what rounding the numbers themselves gives.

    Rounding twice would not: 0.4996 is 0, but 1 by way of 0.50. So what is no whole number is cut off, and a last digit
    of 0 or 5 becomes a 1 or 6.
    """
    nearest, cut = np.round(scaled), np.trunc(scaled)
    is_whole = ~(np.abs(scaled - nearest) > 1e-5)
    bumped = cut + np.where(np.fmod(cut, 5) == 0, np.sign(scaled), 0)
    return np.where(is_whole, nearest, bumped)


def _base64(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
