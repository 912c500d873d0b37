"""Optimise: ask for trials in batches, evaluate each batch at once, tell what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import polars as pl

from backtester.engine.result import Notice
from backtester.engine.run import Progress, silent
from backtester.errors import UsageError
from backtester.market.schema import timeframe_ms
from backtester.research.constraint import Constraint, violations
from backtester.research.dimension import Dimension, space_size
from backtester.research.evaluation import evaluated, is_lost, spanned
from backtester.research.job import Job
from backtester.research.metrics import Objective, OwnMetric
from backtester.research.rows import DONE, FACTS, ParamValue
from backtester.research.study import OpenStudy, asked, next_batch, sampler_of
from backtester.research.trials import (
    ATTRIBUTE,
    COMPLETE,
    FAILED,
    PRUNED,
    UNDEFINED,
    Outcome,
    finished,
    ranked,
    trials_frame,
)

if TYPE_CHECKING:
    from optuna.trial import Trial

_DAY = 86_400_000
_SPOKEN_SETS = 4  # parameters that a line of progress shows


@dataclass(frozen=True)
class Plan:
    """What is looked for and how.

    Attributes
    ----------
    dimensions : tuple of Dimension
        The space.
    objectives : tuple of Objective
        One or several.
    constraints : tuple of Constraint
        Conditions.
    trials : int
        Trials in all, those of an interrupted beginning included.
    sampler : str
        Name of the sampler.
    batch : int
        Trials that are evaluated together.
    seed : int
        Of the sampler.
    windows : int
        Time windows whose values are told one after the other; 1: none.
    prune : bool
        Give up what falls behind in the windows.
    """

    dimensions: tuple[Dimension, ...]
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    trials: int
    sampler: str
    batch: int
    seed: int
    windows: int = 1
    prune: bool = False

    @property
    def names(self) -> list[str]:
        """The parameters."""
        return [one.name for one in self.dimensions]

    @property
    def own(self) -> dict[str, OwnMetric]:
        """Own metrics among the objectives."""
        return {one.metric: one.own for one in self.objectives if one.own is not None}


class Optimization:
    """A study under way.

    Parameters
    ----------
    job : Job
        The market and the strategy, on the whole span.
    plan : Plan
        What is looked for.
    opened : OpenStudy
        New, or one that was interrupted.
    windows : sequence of Job
        The same on each time window, in order; empty: no windows.
    own : mapping, optional
        Own metrics that constraints read, beside those of the objectives.
    """

    def __init__(
        self,
        job: Job,
        plan: Plan,
        opened: OpenStudy,
        windows: Sequence[Job] = (),
        own: dict[str, OwnMetric] | None = None,
    ) -> None:
        self._job = job
        self._plan = plan
        self._opened, self._study = opened, opened.study
        self._windows = windows
        self._own = {**plan.own, **(own or {})}
        self._done = finished(opened.study)
        self._known = {_key(params): outcome for _, params, outcome in self._done if not outcome.cached}
        self._best: tuple[float, dict[str, ParamValue]] | None = None
        for _, params, outcome in self._done:
            if not any(self._broken(params, outcome).values()):
                self._note_best(params, outcome)

    def run(self, progress: Progress = silent, told: Callable[[], None] = lambda: None) -> tuple[Notice, ...]:
        """Ask, evaluate and tell until all trials are done, or each set of the space was tried.

        Parameters
        ----------
        progress : callable
            Called after each batch.
        told : callable
            Called after each batch that was told.

        Returns
        -------
        tuple of Notice
            Why it ended early, where it did.
        """
        plan, size = self._plan, space_size(self._plan.dimensions)
        begun, before = time.monotonic(), len(self._done)
        while len(self._done) < plan.trials:
            if size is not None and len(self._known) >= size:
                text = f"All {size} sets of the space were tried after {len(self._done)} trials; there are no others."
                return (Notice("space_exhausted", "assumption", text),)
            batch = next_batch(plan.sampler, len(self._done), plan.batch, plan.trials)
            before = len(self._study.get_trials(deepcopy=False))  # what a kill left open has its parameters already
            self._study.sampler = sampler_of(plan.sampler, plan.seed, before, plan.batch)
            with self._opened.whole():
                pairs = asked(self._study, plan.dimensions, batch.missing)
            self._evaluate(pairs)
            rate = (len(self._done) - before) / max(time.monotonic() - begun, 1e-9)
            progress(self._told(rate), len(self._done) / plan.trials)
            told()
        return ()

    def frame(self) -> pl.DataFrame:
        """Return all trials that are done, one row each."""
        plan = self._plan
        return trials_frame(self._done, plan.names, plan.windows, plan.constraints)

    # -- one batch ---------------------------------------------------------------------------------------------------

    def _evaluate(self, batch: list[tuple[Trial, dict[str, ParamValue]]]) -> None:
        """Evaluate the sets of a batch that are new, and tell all of its trials."""
        new: dict[tuple[ParamValue, ...], tuple[Trial, dict[str, ParamValue]]] = {}
        for trial, params in batch:
            if _key(params) not in self._known:
                new.setdefault(_key(params), (trial, params))
        with self._opened.whole():
            self._evaluate_new(batch, new)

    def _evaluate_new(
        self,
        batch: list[tuple[Trial, dict[str, ParamValue]]],
        new: dict[tuple[ParamValue, ...], tuple[Trial, dict[str, ParamValue]]],
    ) -> None:
        """Evaluate what is new in a batch, and tell all of it; nothing of it is kept where that is broken off."""
        found = self._through_windows(list(new.values()))
        alive = [pair for key, pair in new.items() if key not in found or found[key].state != PRUNED]
        for (_, params), row in zip(alive, self._rows(self._job, alive), strict=True):
            values = found[_key(params)].windows if _key(params) in found else []
            found[_key(params)] = replace(self._outcome(row), windows=values)
        done = []
        for trial, params in batch:
            key = _key(params)
            is_first = key in new and new[key][0] is trial
            outcome = self._known[key] if key in self._known else found[key]
            outcome = outcome if is_first else replace(outcome, cached=True)
            self._tell(trial, params, outcome, reported=is_first)
            done.append((trial.number, params, outcome))
        self._done += done
        self._known |= found

    def _through_windows(
        self, pairs: list[tuple[Trial, dict[str, ParamValue]]]
    ) -> dict[tuple[ParamValue, ...], Outcome]:
        """Return what the time windows say of sets, one window after the other; those given up miss the rest."""
        found = {_key(params): Outcome(COMPLETE) for _, params in pairs} if self._windows else {}
        alive = pairs
        for place, job in enumerate(self._windows):
            metric, left = self._plan.objectives[0].metric, []
            for (trial, params), row in zip(alive, self._rows(job, alive), strict=True):
                key = _key(params)
                outcome = found[key]
                outcome = replace(outcome, windows=[*outcome.windows, _number(row.get(metric))])
                if self._reported(trial, outcome.windows, place) and self._plan.prune and trial.should_prune():
                    text = f"Behind the median of finished trials after window {place + 1} of {len(self._windows)}."
                    outcome = replace(outcome, state=PRUNED, error=text)
                else:
                    left.append((trial, params))
                found[key] = outcome
            alive = left
        return found

    def _reported(self, trial: Trial, values: list[float | None], place: int) -> bool:
        """Report the mean over the windows so far, which is what trials are compared by; False: there is none."""
        known = [value for value in values if value is not None]
        if not known or values[-1] is None:
            return False
        trial.report(sum(known) / len(known), place)
        return True

    def _rows(self, job: Job, pairs: Sequence[tuple[Trial, dict[str, ParamValue]]]) -> list[dict[str, Any]]:
        """Return facts and metrics of sets."""
        if not pairs:
            return []
        names = self._plan.names
        sets = pl.DataFrame({name: [params[name] for _, params in pairs] for name in names})
        return evaluated(job, sets, self._own).select(pl.exclude(names)).to_dicts()

    def _outcome(self, row: dict[str, Any]) -> Outcome:
        """Return what became of a set on the whole span."""
        if row["status"] != DONE:
            return Outcome(FAILED, error=str(row["error"]))
        metrics = {key: value for key, value in row.items() if key not in FACTS}
        missing = [one.metric for one in self._plan.objectives if _number(metrics.get(one.metric)) is None]
        if missing:
            return Outcome(UNDEFINED, metrics, error=f"{missing[0]} is not defined for this set.")
        if is_lost(metrics):
            return Outcome(UNDEFINED, metrics, error="The account was lost, so the set does not count.")
        return Outcome(COMPLETE, metrics)

    def _tell(self, trial: Trial, params: dict[str, ParamValue], outcome: Outcome, *, reported: bool) -> None:
        """Tell the study of a trial."""
        from optuna.trial import TrialState  # noqa: PLC0415 - takes a while to import

        if not reported:
            for place in range(len(outcome.windows)):
                self._reported(trial, outcome.windows[: place + 1], place)
        amounts = self._broken(params, outcome)
        for text, amount in amounts.items() if self._plan.sampler != "cmaes" else ():
            trial.set_constraint(text, amount)
        broken = any(amounts.values())
        trial.set_user_attr(ATTRIBUTE, outcome.stored())
        if outcome.state == PRUNED:
            self._study.tell(trial, state=TrialState.PRUNED)
        elif outcome.state == COMPLETE and not (broken and self._plan.sampler == "cmaes"):
            self._study.tell(trial, [float(outcome.row[one.metric]) for one in self._plan.objectives])
        else:  # CMA-ES knows no constraints: what breaks one is no part of its generations
            self._study.tell(trial, state=TrialState.FAIL)
        if not broken:
            self._note_best(params, outcome)

    def _broken(self, params: dict[str, ParamValue], outcome: Outcome) -> dict[str, float]:
        """Return how far a trial breaks each condition; nothing where it has no metrics."""
        if not outcome.row or not self._plan.constraints:
            return {}
        return violations(self._plan.constraints, pl.DataFrame([{**params, **outcome.row}])).row(0, named=True)

    # -- progress ----------------------------------------------------------------------------------------------------

    def _note_best(self, params: dict[str, ParamValue], outcome: Outcome) -> None:
        first = self._plan.objectives[0]
        if outcome.state != COMPLETE:
            return
        value = float(outcome.row[first.metric])
        if self._best is None or first.is_better(value, self._best[0]):
            self._best = value, params

    def _told(self, rate: float) -> str:
        """Return a line: how far, the best so far, the rate and the time left."""
        first, done, total = self._plan.objectives[0], len(self._done), self._plan.trials
        best = f"no set with a {first.metric} yet"
        if self._best is not None:
            best = f"best {first.metric} {self._best[0]:.4g} ({spoken(self._best[1])})"
        left = clock((total - done) / rate) if rate > 0 else "?"
        return f"Trial {done:,} of {total:,}: {best}, {rate:.3g} trials/s, {left} left"


def window_jobs(job: Job, count: int, make: Callable[[Any], Job]) -> list[Job]:
    """Return jobs on the parts of a job's span, of equal length in whole days, or bars where days are too long.

    Parameters
    ----------
    job : Job
        On the whole span.
    count : int
        Number of parts.
    make : callable
        Configuration to job.

    Raises
    ------
    UsageError
        There are more windows than bars.
    """
    start, end = job.base.panel.start, job.base.panel.end
    step = timeframe_ms(str(job.base.config.data.timeframe))
    grid = _DAY if (end - start) // _DAY >= 2 * count else step
    if (end - start) // step < count:
        raise UsageError(f"The span has fewer bars than {count} windows.", "Ask for fewer --windows.")
    inner = [(start + (end - start) * i // count) // grid * grid for i in range(1, count)]
    edges = [start, *inner, end]
    return [make(spanned(job.base.config, a, b)) for a, b in pairwise(edges)]


def best_of(trials: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """Return the trials that count, best first; of several objectives the Pareto front."""
    return ranked(trials, plan.objectives, plan.names)


def spoken(params: dict[str, ParamValue]) -> str:
    """Return parameters as a line has them."""
    shown = [f"{name}={_text(value)}" for name, value in list(params.items())[:_SPOKEN_SETS]]
    return ", ".join([*shown, *(["…"] if len(params) > _SPOKEN_SETS else [])])


def clock(seconds: float) -> str:
    """Return a time in seconds as ``4:05`` or ``1:04:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _text(value: ParamValue) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _key(params: dict[str, ParamValue]) -> tuple[ParamValue, ...]:
    return tuple(params.values())
