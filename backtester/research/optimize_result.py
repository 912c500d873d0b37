"""What an optimisation hands back, and the files of its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from backtester.domain.config import RunConfig
from backtester.engine.decisions import dataset_keys, references_of
from backtester.engine.manifest import file_sha256, sha256
from backtester.engine.result import Notice
from backtester.engine.run_file import config_text
from backtester.errors import BacktesterError, UsageError
from backtester.market.schema import timeframe_ms
from backtester.research.constraint import parse_constraints
from backtester.research.dimension import parse_dimensions
from backtester.research.evaluation import with_values
from backtester.research.job import Job
from backtester.research.metrics import METRICS, OwnMetrics, parse_objectives
from backtester.research.optimize import Plan, best_of
from backtester.research.plan import pinned
from backtester.research.rows import ParamValue
from backtester.research.search_folder import MANIFEST, write_frame, write_json, write_search, write_whole
from backtester.strategy import registry

PLAN_FILE = "optimize.toml"
SECTION = "optimize"
TRIALS_FILE = "trials.parquet"
BEST_FILE = "best.toml"


@dataclass(frozen=True, eq=False)
class OptimizeResult:
    """Trials of an optimisation and the best of them.

    Attributes
    ----------
    run_id : str
        Name of the search and of its folder.
    config : RunConfig
        What all sets have in common, with its span.
    strategy_name : str
        The strategy.
    plan : Plan
        What was looked for and how.
    trials : polars.DataFrame
        ``trial, state, cached, feasible, error``, the parameters, ``window_1`` … and the metrics, one row a trial.
        ``state`` is ``complete``, ``pruned``, ``undefined`` (an objective has no value) or ``failed``.
    importance : polars.DataFrame
        ``objective, parameter, importance``; empty where too few sets have a value.
    notices : tuple of Notice
        What the reader must know.
    symbols : tuple of str
        Contracts that were traded.
    span : tuple of int
        First open and end of the last bar [ms since 1970, UTC].
    synthetic : bool
        Whether the market was made up.
    settle : str
        Settlement currency.
    interrupted : bool
        Whether it was ended before all trials were done.
    command : str
        Command line that repeats the best set in full; empty where there is none.
    manifest : dict
        Hashes, versions, seed and times.
    run_dir : Path or None
        The folder, where one was written.
    """

    run_id: str
    config: RunConfig
    strategy_name: str
    plan: Plan
    trials: pl.DataFrame
    importance: pl.DataFrame
    notices: tuple[Notice, ...]
    symbols: tuple[str, ...]
    span: tuple[int, int]
    synthetic: bool
    settle: str
    interrupted: bool = False
    command: str = ""
    manifest: dict[str, Any] = field(default_factory=dict)
    run_dir: Path | None = None

    @cached_property
    def ranking(self) -> pl.DataFrame:
        """The trials that count, best first; of several objectives those that no other beats in all (Pareto front)."""
        return best_of(self.trials, self.plan)

    @property
    def best(self) -> dict[str, ParamValue]:
        """Parameters of the best set; of several objectives the best in the first. Empty where no set counts."""
        if self.ranking.is_empty():
            return {}
        return self.ranking.select(self.plan.names).row(0, named=True)

    def __repr__(self) -> str:
        return f"<OptimizeResult {self.run_id}: {self.trials.height} trials, best {self.best or 'none'}>"

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows."""
        head = f"<p><b>{escape(self.run_id)}</b>: {self.trials.height} trials</p>"
        shown = [*self.plan.names, *(one.metric for one in self.plan.objectives)]
        table = self.ranking.select(shown).head(10)._repr_html_() if self.ranking.height else "<p>No set counts.</p>"
        return f"<div>{head}{table}</div>"


def plan_tree(plan: Plan, strategy: str) -> dict[str, Any]:
    """Return a plan as its file has it."""
    return {
        "strategy": strategy,
        "objectives": [one.spelled for one in plan.objectives],
        "constraints": [one.text for one in plan.constraints],
        "trials": plan.trials,
        "sampler": plan.sampler,
        "batch": plan.batch,
        "seed": plan.seed,
        "windows": plan.windows,
        "prune": plan.prune,
        "space": {one.name: one.text for one in plan.dimensions},
    }


def plan_of(tree: Mapping[str, Any], own: OwnMetrics) -> Plan:
    """Return the plan that a file holds."""
    try:
        dimensions = parse_dimensions(dict(tree["space"]))
        return Plan(
            dimensions=dimensions,
            objectives=parse_objectives(list(tree["objectives"]), own),
            constraints=parse_constraints(list(tree["constraints"]), known_names([d.name for d in dimensions], own)),
            trials=int(tree["trials"]),
            sampler=str(tree["sampler"]),
            batch=int(tree["batch"]),
            seed=int(tree["seed"]),
            windows=int(tree["windows"]),
            prune=bool(tree["prune"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{PLAN_FILE} cannot be read ({error}).", "Begin a new study.") from error


def known_names(parameters: list[str], own: OwnMetrics) -> list[str]:
    """Return the names that a constraint may hold."""
    return [*METRICS, *own.functions, *parameters]


def fixed_config(job: Job) -> RunConfig:
    """Return the configuration of a job with the strategy's name and the span that is replayed."""
    config = pinned(job.config, job.base)
    named = config.strategy.model_copy(update={"name": job.strategy.name})
    return config.model_copy(update={"strategy": named})


def job_hashes(job: Job) -> dict[str, Any]:
    """Return hashes of configuration, strategy and data, by which a search is known again."""
    config, panel = fixed_config(job), job.base.panel
    try:
        references = references_of(config, job.strategy(**config.strategy.params))
    except BacktesterError:
        references = config.data.reference
    read = (*references, *(row.symbol for row in job.base.resolved.collateral))
    keys = dataset_keys(job.store, panel, timeframe_ms(str(config.data.timeframe)), read)
    hashes: dict[str, Any] = {
        "config": sha256(config_text(config)),
        "strategy": sha256(registry.source_of(job.strategy)),
        "data": {str(key): job.store.fingerprint(key) for key in keys},
    }
    for name, feature in config.data.features.items():
        hashes[f"feature {name}"] = file_sha256(Path(feature.path))
    if str(config.data.venue).endswith(".toml"):
        hashes["venue"] = file_sha256(Path(str(config.data.venue)))
    return hashes


def write_plan(folder: Path, plan: Plan, config: RunConfig) -> None:
    """Write what is looked for and in which run, before anything is evaluated."""
    assert config.strategy.name is not None
    write_search(folder / PLAN_FILE, config, SECTION, plan_tree(plan, config.strategy.name))


def write_result(result: OptimizeResult, folder: Path) -> None:
    """Write the trials, the best set as a run file, and the manifest."""
    write_frame(folder / TRIALS_FILE, result.trials)
    if result.best:
        text = config_text(with_values(result.config, result.best))
        write_whole(folder / BEST_FILE, text.encode())
    else:
        (folder / BEST_FILE).unlink(missing_ok=True)
    write_json(folder / MANIFEST, result.manifest)
