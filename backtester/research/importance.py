"""How much each parameter matters for an objective (PED-ANOVA)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import polars as pl

from backtester.research.dimension import Dimension
from backtester.research.metrics import Objective
from backtester.research.trials import COMPLETE

LEAST_SETS = 20
"""Sets with a value from which importances are told."""

SCHEMA = pl.Schema({"objective": pl.String(), "parameter": pl.String(), "importance": pl.Float64()})


def importances(trials: pl.DataFrame, dimensions: Sequence[Dimension], objectives: Sequence[Objective]) -> pl.DataFrame:
    """Return the share of each parameter in what sets the best tenth of the sets apart.

    Parameters
    ----------
    trials : polars.DataFrame
        Trials as rows; those with a value count, each set once.
    dimensions : sequence of Dimension
        The space.
    objectives : sequence of Objective
        What was looked for.

    Returns
    -------
    polars.DataFrame
        ``objective, parameter, importance`` (the shares of an objective add up to 1), largest first. Empty where fewer
        than `LEAST_SETS` sets have a value, or a single parameter varies.
    """
    names = [one.name for one in dimensions]
    counted = trials.filter(pl.col("state") == COMPLETE).unique(names, keep="first", maintain_order=True)
    varied = [one for one in dimensions if counted[one.name].n_unique() > 1]
    if counted.height < LEAST_SETS or len(varied) < 2:
        return pl.DataFrame(schema=SCHEMA)
    rows = []
    for one in objectives:
        found = _shares(counted, varied, one)
        rows += [(one.metric, name, share) for name, share in found]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _shares(trials: pl.DataFrame, dimensions: Sequence[Dimension], objective: Objective) -> list[tuple[str, float]]:
    import optuna  # noqa: PLC0415 - takes a while to import

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the evaluator says that it may change
            study = optuna.create_study(direction="maximize" if objective.direction == "max" else "minimize")
            distributions = {one.name: one.distribution() for one in dimensions}
            for row in trials.select(*distributions, objective.metric).iter_rows(named=True):
                params = {name: row[name] for name in distributions}
                value = float(row[objective.metric])
                study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
            found = optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
            )
    finally:
        optuna.logging.set_verbosity(verbosity)
    total = sum(found.values())
    return [(name, share / total if total > 0 else 0.0) for name, share in found.items()]
