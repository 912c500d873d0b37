"""The trials of an optimisation as rows, and which of them are best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtester.research.constraint import Constraint, violations
from backtester.research.metrics import Objective
from backtester.research.rows import ParamValue

if TYPE_CHECKING:
    from optuna import Study

COMPLETE = "complete"
PRUNED = "pruned"
UNDEFINED = "undefined"
FAILED = "failed"
ATTRIBUTE = "backtester"
COLUMNS = {"trial", "state", "cached", "feasible", "error"}
"""Columns of a trial beside its parameters, its values by window (``window_1`` …) and its metrics."""


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes
    ----------
    state : {"complete", "pruned", "undefined", "failed"}
        Whether it has a value; ``undefined``: it was replayed, and an objective has no value.
    row : dict
        Its metrics.
    windows : list
        Value of the objective in each time window that was reached; None where it is not defined.
    error : str or None
        Why it has no value.
    cached : bool
        Whether the same set had been evaluated before.
    """

    state: str
    row: dict[str, Any] = field(default_factory=dict)
    windows: list[float | None] = field(default_factory=list)
    error: str | None = None
    cached: bool = False

    def stored(self) -> dict[str, Any]:
        """Return it as a study keeps it."""
        return asdict(self)


def outcome_of(attributes: dict[str, Any]) -> Outcome | None:
    """Return the outcome that a trial's attributes hold, None where it has none."""
    found = attributes.get(ATTRIBUTE)
    return None if found is None else Outcome(**found)


def finished(study: Study) -> list[tuple[int, dict[str, ParamValue], Outcome]]:
    """Return number, parameters and outcome of each trial that is done."""
    done = []
    for trial in study.get_trials(deepcopy=False):
        outcome = outcome_of(trial.user_attrs)
        if trial.state.is_finished() and outcome is not None:
            done.append((trial.number, trial.params, outcome))
    return done


def trials_frame(
    done: Sequence[tuple[int, dict[str, ParamValue], Outcome]],
    names: Sequence[str],
    windows: int,
    constraints: Sequence[Constraint],
) -> pl.DataFrame:
    """Return trials as a frame.

    Parameters
    ----------
    done : sequence of tuple
        What `finished` returns.
    names : sequence of str
        Parameters, in order.
    windows : int
        Time windows; 1: none.
    constraints : sequence of Constraint
        Conditions.

    Returns
    -------
    polars.DataFrame
        ``trial, state, cached, feasible, error``, the parameters, ``window_1`` … and the metrics; ``feasible`` is
        null where a trial has no metrics.
    """
    outcomes = [outcome for _, _, outcome in done]
    metrics = list(dict.fromkeys(key for outcome in outcomes for key in outcome.row))
    spans = range(windows if windows > 1 else 0)
    columns = [
        pl.Series("trial", [number for number, _, _ in done], pl.Int64),
        pl.Series("state", [outcome.state for outcome in outcomes], pl.String),
        pl.Series("cached", [outcome.cached for outcome in outcomes], pl.Boolean),
        pl.Series("error", [outcome.error for outcome in outcomes], pl.String),
        *(pl.Series(name, [params.get(name) for _, params, _ in done]) for name in names),
        *(
            pl.Series(f"window_{i + 1}", [o.windows[i] if i < len(o.windows) else None for o in outcomes], pl.Float64)
            for i in spans
        ),
        *(_metric(key, outcomes) for key in metrics),
    ]
    frame = pl.DataFrame(columns)
    broken = violations(constraints, frame)
    holds = broken.select(pl.all_horizontal(pl.all() == 0))[:, 0] if constraints and frame.height else None
    feasible = pl.lit(value=True) if holds is None else holds
    known = pl.Series("known", [bool(outcome.row) for outcome in outcomes], pl.Boolean)
    judged = pl.when(known).then(feasible).otherwise(None).alias("feasible")
    return frame.with_columns(judged).select("trial", "state", "cached", "feasible", *frame.columns[3:])


def ranked(trials: pl.DataFrame, objectives: Sequence[Objective], names: Sequence[str]) -> pl.DataFrame:
    """Return the trials that count, best first: complete, within the constraints, each set once.

    Of several objectives those that no other one beats in all of them (the Pareto front), by the first objective.
    """
    counted = trials.filter((pl.col("state") == COMPLETE) & pl.col("feasible"))
    if counted.is_empty():
        return counted
    counted = counted.unique(list(names), keep="first", maintain_order=True)
    if len(objectives) > 1:
        worse = [_falling(counted, one) for one in objectives]
        counted = counted.filter(pl.Series(_is_front(np.column_stack(worse))))
    down = [one.direction == "max" for one in objectives]
    return counted.sort([*(one.metric for one in objectives), "trial"], descending=[*down, False])


def _metric(key: str, outcomes: Sequence[Outcome]) -> pl.Series:
    """Return a metric of all trials; counts of orders stand in a summary only where they are not zero."""
    missing = 0 if key.startswith("orders_") else None
    values = [outcome.row.get(key, missing if outcome.row else None) for outcome in outcomes]
    if any(isinstance(value, str) for value in values):
        return pl.Series(key, values, pl.String)
    whole = all(value is None or isinstance(value, int) for value in values)
    return pl.Series(key, values, pl.Int64 if whole and any(v is not None for v in values) else pl.Float64)


def _falling(frame: pl.DataFrame, objective: Objective) -> NDArray[np.float64]:
    """Return an objective's values so that smaller is better."""
    values = frame[objective.metric].cast(pl.Float64).to_numpy()
    return -values if objective.direction == "max" else values


def _is_front(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows no other row beats: nowhere worse, somewhere better."""
    return np.array(
        [not (np.all(costs <= row, axis=1) & np.any(costs < row, axis=1)).any() for row in costs], dtype=np.bool_
    )
