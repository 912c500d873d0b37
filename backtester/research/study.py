"""The study of an optimisation: samplers by name, batches of trials, and its file."""

from __future__ import annotations

import math
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backtester.errors import StoreError, UnknownNameError, UsageError
from backtester.research.dimension import Dimension
from backtester.research.metrics import Objective
from backtester.research.rows import ParamValue

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial

    from backtester.research.study_log import StepLog

SAMPLERS = ("tpe", "cmaes", "nsga2", "random", "sobol")
STUDY_FILE = "study.db"
_NAME = "backtester"
_ALONE_FIRST = ("cmaes", "sobol")  # they learn the space from a first finished trial


@dataclass(frozen=True, eq=False)
class OpenStudy:
    """A study and its file.

    Attributes
    ----------
    study : optuna.Study
        The study; no longer of use once a `whole` of it was broken off.
    log : StepLog or None
        The file; None in memory.
    """

    study: Study
    log: StepLog | None = None

    def whole(self) -> AbstractContextManager[None]:
        """Keep all that is asked or told inside, or nothing of it where it is broken off."""
        return nullcontext() if self.log is None else self.log.whole()


@dataclass(frozen=True)
class Batch:
    """Trials that are asked for together: which batch it is, and how many trials are missing in it."""

    number: int
    missing: int


def check_sampler(name: str, dimensions: Sequence[Dimension], objectives: Sequence[Objective]) -> None:
    """Refuse a sampler that does not exist, or that cannot look for these objectives in this space.

    Raises
    ------
    UnknownNameError, UsageError
        With those that can.
    """
    if name not in SAMPLERS:
        raise UnknownNameError("sampler", name, SAMPLERS)
    if name != "cmaes":
        return
    if len(objectives) > 1:
        raise UsageError(
            f"The sampler cmaes looks for one objective, and {len(objectives)} are named.",
            "Several are the work of nsga2 (the default then) and tpe.",
        )
    listed = [one.name for one in dimensions if len(one.choices) > 1]
    if listed:
        raise UsageError(
            f"The sampler cmaes knows ranges alone, and {listed[0]} is a list.", "Give a range, or take tpe."
        )
    if sum(one.size != 1 for one in dimensions) < 2:
        raise UsageError("The sampler cmaes needs two parameters at least.", "Take tpe.")


def default_batch(sampler: str, dimensions: Sequence[Dimension]) -> int:
    """Return how many trials of a sampler are asked for together: a whole generation where it has generations."""
    if sampler == "cmaes":
        return 4 + math.floor(3 * math.log(len(dimensions)))
    return {"tpe": 16, "nsga2": 50}.get(sampler, 64)


def next_batch(sampler: str, finished: int, size: int, trials: int) -> Batch:
    """Return the batch that comes after a number of finished trials, which may lie inside it."""
    alone = 1 if sampler in _ALONE_FIRST else 0
    if finished < alone:
        return Batch(0, min(alone, trials) - finished)
    number = (finished - alone) // size + 1
    return Batch(number, min(alone + number * size, trials) - finished)


def sampler_of(name: str, seed: int, before: int, size: int) -> BaseSampler:
    """Return the sampler of a batch.

    Each batch has a sampler of its own, seeded by the study's seed and the number of trials asked before it: a study
    that goes on after an interruption draws what it would have drawn without, and one that is extended draws anew,
    also inside a batch.

    Parameters
    ----------
    name : str
        One of `SAMPLERS`.
    seed : int
        Of the study.
    before : int
        Trials of the study that have been asked for.
    size : int
        Trials in a batch.
    """
    from optuna import samplers  # noqa: PLC0415 - takes a while to import

    own = int(np.random.SeedSequence([seed, before]).generate_state(1)[0])
    if name == "tpe":
        return samplers.TPESampler(seed=own, n_startup_trials=max(10, size), multivariate=True, constant_liar=True)
    if name == "cmaes":
        return samplers.CmaEsSampler(seed=own, popsize=max(2, size), with_margin=True, warn_independent_sampling=False)
    if name == "nsga2":
        return samplers.NSGAIISampler(seed=own, population_size=max(2, size))
    if name == "sobol":
        return samplers.QMCSampler(
            seed=seed,  # one sequence for the whole study, its place is kept in the study
            scramble=True,
            independent_sampler=samplers.RandomSampler(seed=own),
            warn_independent_sampling=False,
            warn_asynchronous_seeding=False,
        )
    return samplers.RandomSampler(seed=own)


@contextmanager
def opened_study(path: Path | None, objectives: Sequence[Objective], *, prune: bool) -> Iterator[OpenStudy]:
    """Give a study, gone on with where its file exists; None keeps it in memory.

    Raises
    ------
    StoreError
        The file cannot be read or written.
    """
    import optuna  # noqa: PLC0415 - takes a while to import

    directions: list[Any] = ["maximize" if one.direction == "max" else "minimize" for one in objectives]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    log: StepLog | None = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # what was told before a kill is told again when its batch is
            warnings.filterwarnings("ignore", message="The (reported|constraint) value is ignored")
            if path is not None:
                from backtester.research.study_log import StepLog  # noqa: PLC0415 - it imports optuna

                log = StepLog(path)
            study = optuna.create_study(
                storage=None if log is None else optuna.storages.JournalStorage(log),
                study_name=_NAME,
                directions=directions,
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(n_startup_trials=5) if prune else optuna.pruners.NopPruner(),
            )
            yield OpenStudy(study, log)
    except sqlite3.Error as error:
        raise StoreError(
            f"The study {path} cannot be read or written: {str(error).partition(chr(10))[0]}.",
            "Free some space, or begin a new study.",
        ) from error
    finally:
        optuna.logging.set_verbosity(verbosity)
        if log is not None:
            log.close()


def asked(study: Study, dimensions: Sequence[Dimension], count: int) -> list[tuple[Trial, dict[str, ParamValue]]]:
    """Return the next trials with their parameters; those that an interruption left open come first."""
    from optuna.trial import Trial, TrialState  # noqa: PLC0415 - takes a while to import

    left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))[:count]
    found = []
    for place in range(count):
        trial = Trial(study, left[place]._trial_id) if place < len(left) else study.ask()
        found.append((trial, {one.name: one.suggest(trial) for one in dimensions}))  # the next one must know of it
    return found
