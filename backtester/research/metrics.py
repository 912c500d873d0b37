"""What sets are judged by: metrics of the summary with the direction in which each is better, and own ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from backtester.analytics.directions import DIRECTIONS, Direction
from backtester.engine.result import Notice, Result
from backtester.errors import StrategyError, UnknownNameError, UsageError

GROUP = "backtester.metrics"

OwnMetric = Callable[[Result], float | None]
"""A metric of one's own: a completed run to a number; None where it is not defined."""

METRICS = DIRECTIONS
"""Numeric metrics of a summary and which of their values are better; None: neither by itself."""
_OF_ORDERS = "orders_"  # counts of orders by status and reason, of which a summary has those that occurred
_SIGNS = {"max:": "max", "min:": "min", "-": "min"}


@dataclass(frozen=True)
class Objective:
    """A metric and where its better values lie.

    Attributes
    ----------
    metric : str
        Key of the summary, or name of an own metric.
    direction : {"max", "min"}
        Whether larger or smaller is better.
    own : callable or None
        The function of an own metric.
    """

    metric: str
    direction: Direction
    own: OwnMetric | None = None

    @property
    def spelled(self) -> str:
        """As it can be given: ``max:sharpe``."""
        return f"{self.direction}:{self.metric}"

    def is_better(self, value: float, than: float) -> bool:
        """Return whether a value beats another."""
        return value > than if self.direction == "max" else value < than


@dataclass(frozen=True)
class OwnMetrics:
    """Metrics of one's own by name, and what of the entry points cannot be used, in words."""

    functions: Mapping[str, OwnMetric]
    broken: tuple[str, ...] = ()

    @property
    def notices(self) -> tuple[Notice, ...]:
        """A warning for each broken one."""
        return tuple(Notice("metric_broken", "warning", text) for text in self.broken)


def own_metrics(given: Mapping[str, OwnMetric] | None = None) -> OwnMetrics:
    """Return the own metrics: those given in Python, then those of the entry-point group ``backtester.metrics``.

    Parameters
    ----------
    given : mapping, optional
        Functions by name.

    Returns
    -------
    OwnMetrics
        An entry point that cannot be imported, is no function or has the name of a metric of the summary is listed as
        broken and hides no other.

    Raises
    ------
    UsageError
        A given one is no function or has the name of a metric of the summary.
    """
    functions: dict[str, OwnMetric] = {}
    for name, function in (given or {}).items():
        if problem := _problem(name, function):
            raise UsageError(f"The metric {name!r} {problem}.", "Give a function of a Result under a name of its own.")
        functions[name] = function
    broken = []
    for point in entry_points(group=GROUP):
        if point.name in functions:
            continue
        loaded, problem = _loaded(point)
        if loaded is None:
            broken.append(f"The metric {point.name!r} of the entry point {point.value} {problem}; it is passed over.")
        else:
            functions[point.name] = loaded
    return OwnMetrics(functions, tuple(broken))


def parse_objectives(texts: str | Iterable[str], own: OwnMetrics | None = None) -> tuple[Objective, ...]:
    """Return the objectives that are named.

    Parameters
    ----------
    texts : str or iterable of str
        ``sharpe``; several are separated by commas. ``max:``, ``min:`` or a ``-`` before the name (which means
        ``min:``) say where the better values lie; without, the metric's own direction holds. Own metrics are better
        the larger they are.
    own : OwnMetrics, optional
        Metrics beside those of the summary.

    Raises
    ------
    UnknownNameError
        With the nearest names.
    UsageError
        No name, one twice, or a metric whose better values nobody knows without being told.
    """
    own = OwnMetrics({}) if own is None else own
    given = [texts] if isinstance(texts, str) else list(texts)
    names = [part.strip() for text in given for part in text.split(",") if part.strip()]
    if not names:
        raise UsageError("No objective is named.", "Example: --objective sharpe, or --objective sharpe,max_drawdown.")
    found = tuple(_objective(name, own) for name in names)
    for i, one in enumerate(found):
        if one.metric in [other.metric for other in found[:i]]:
            raise UsageError(f"The objective {one.metric} is named twice.", "Name each metric once.")
    return found


def known_metric(name: str) -> bool:
    """Return whether a name is a numeric metric of the summary."""
    return name in METRICS or name.startswith(_OF_ORDERS)


def odd_directions(objectives: Sequence[Objective]) -> tuple[Notice, ...]:
    """Return a warning for each objective that looks for the worse values of its metric."""
    return tuple(
        Notice(
            "objective_direction",
            "warning",
            f"{one.spelled} looks for the {'largest' if one.direction == 'max' else 'smallest'} {one.metric}, "
            "which is its worst (drawdowns and costs are negative); "
            f"{METRICS[one.metric]}:{one.metric} looks for its best.",
        )
        for one in objectives
        if METRICS.get(one.metric) not in (None, one.direction)
    )


def own_value(name: str, function: OwnMetric, result: Result) -> float | None:
    """Return an own metric of a run, None where it is not defined (None, not finite).

    Raises
    ------
    StrategyError
        The function raised, or returned what is no number.
    """
    try:
        value: Any = function(result)
        number = None if value is None else float(value)
    except Exception as error:
        text = " ".join(str(error).split())
        raise StrategyError(f"The metric {name!r} raised {type(error).__name__}: {text}") from error
    return number if number is not None and math.isfinite(number) else None


def _objective(text: str, own: OwnMetrics) -> Objective:
    sign = next((sign for sign in _SIGNS if text.startswith(sign)), "")
    name = text.removeprefix(sign).strip()
    if name not in own.functions and not known_metric(name):
        raise UnknownNameError("objective", name, [*METRICS, *own.functions])
    direction: Any = _SIGNS[sign] if sign else "max" if name in own.functions else METRICS.get(name)
    if direction is None:
        raise UsageError(
            f"The objective {name} is better neither large nor small.", f"Say which: max:{name} or min:{name}."
        )
    return Objective(name, direction, own.functions.get(name))


def _loaded(point: EntryPoint) -> tuple[OwnMetric | None, str]:
    try:
        loaded: Any = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything when it is imported
        return None, f"cannot be imported ({type(error).__name__}: {' '.join(str(error).split())})"
    problem = _problem(point.name, loaded)
    return (None, problem) if problem else (loaded, "")


def _problem(name: str, function: object) -> str:
    if not callable(function):
        return "is no function"
    return "has the name of a metric of the summary" if known_metric(name) else ""
