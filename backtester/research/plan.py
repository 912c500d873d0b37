"""What a sweep is: a base configuration and what is varied in it, as ``sweep.toml`` holds it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from backtester.domain.config import RunConfig
from backtester.engine.decisions import dataset_keys, references_of
from backtester.engine.manifest import combined_hash, file_sha256, sha256
from backtester.engine.run import Loaded
from backtester.engine.run_file import build_config, config_text, merge, read_whole_tree
from backtester.errors import BacktesterError, ConfigError, UnknownNameError, UsageError
from backtester.market.schema import timeframe_ms
from backtester.research.axes import Written, build_axis
from backtester.research.holdout import iso
from backtester.research.job import Job
from backtester.research.rows import ParamValue
from backtester.research.space import METHODS, Sample, Space
from backtester.strategy import Strategy, registry

SWEEP_FILE = "sweep.toml"
SECTION = "sweep"
_KEYS = ("grid", "where", "sample", "method", "seed", "holdout")


@dataclass(frozen=True)
class SweepPlan:
    """A base configuration and what is varied in it.

    Attributes
    ----------
    config : RunConfig
        What all sets have in common.
    grid : dict of str to str or tuple
        Axes as they were given, by name; the first varies slowest.
    where : str or None
        Condition on a set, in SQL.
    sample : Sample or None
        Draw so many sets.
    holdout : str or None
        Bars put aside, as they were given.
    """

    config: RunConfig
    grid: Mapping[str, Written]
    where: str | None = None
    sample: Sample | None = None
    holdout: str | None = None

    def space(self, strategy: type[Strategy]) -> Space:
        """Return the sets."""
        axes = [build_axis(name, given, strategy, self.config) for name, given in self.grid.items()]
        return Space(axes, self.where, self.sample)

    def section(self) -> dict[str, Any]:
        """Return the section ``[sweep]``; what is None is left out."""
        sample = self.sample
        content: dict[str, Any] = {
            "where": self.where,
            "sample": None if sample is None else sample.count,
            "method": None if sample is None else sample.method,
            "seed": None if sample is None else sample.seed,
            "holdout": self.holdout,
            "grid": {name: given if isinstance(given, str) else list(given) for name, given in self.grid.items()},
        }
        return {key: value for key, value in content.items() if value is not None}

    def text(self) -> str:
        """Return the file: a run file, and the section ``[sweep]``."""
        tree = self.config.model_dump(exclude_unset=True, exclude_none=True)
        return tomli_w.dumps({**tree, SECTION: self.section()})


def read_section(path: Path) -> dict[str, Any]:
    """Return the section ``[sweep]`` of a file, checked for unknown keys; empty where there is none.

    Raises
    ------
    ConfigError, UnknownNameError
        A key does not exist or holds something else than it should.
    """
    section = read_whole_tree(path).get(SECTION, {})
    kinds: dict[str, type | tuple[type, ...]] = {"grid": dict, "sample": int, "seed": int}
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: {SECTION} must be a table of keys.")
    for key, value in section.items():
        if key not in _KEYS:
            raise UnknownNameError("key", f"{SECTION}.{key}", [f"{SECTION}.{known}" for known in _KEYS])
        if not isinstance(value, kinds.get(key, str)) or isinstance(value, bool):
            wanted = {dict: "a table of axes", int: "a whole number"}.get(kinds.get(key, str), "a text")  # type: ignore[arg-type]  # single types alone
            raise ConfigError(f"{path}: {SECTION}.{key} must be {wanted}, not {value!r}.")
    return section


def sample_of(count: int | None, method: str | None, seed: int | None) -> Sample | None:
    """Return how sets are drawn, None without a number.

    Raises
    ------
    UsageError
        A method or a seed without a number of sets; an unknown method; a seed below 0.
    """
    if method is not None and method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    if count is None:
        if method is not None:
            raise UsageError("--method says how a sample is drawn, and none is asked for.", "Add --sample N.")
        return None
    if seed is not None and seed < 0:
        raise UsageError(f"The seed is {seed}; it must be at least 0.")
    return Sample(count, "sobol" if method == "sobol" else "random", seed or 0)


def pinned(config: RunConfig, loaded: Loaded, end: int | None = None) -> RunConfig:
    """Return a configuration in which the data that was chosen is written out, and all else stays as it was given.

    Parameters
    ----------
    config : RunConfig
        As given.
    loaded : Loaded
        The market that it stands for.
    end : int, optional
        An earlier end [ms since 1970, UTC].
    """
    data, panel = loaded.config.data, loaded.panel
    chosen: dict[str, Any] = {
        "venue": str(Path(data.venue).resolve()) if data.venue.endswith(".toml") else data.venue,
        "symbols": list(data.symbols),
        "timeframe": data.timeframe,
        "start": iso(panel.start),
        "end": iso(panel.end if end is None else end),
    }
    if data.features:
        chosen["features"] = {
            name: {"path": str(Path(feature.path).resolve()), "columns": list(feature.columns)}
            for name, feature in data.features.items()
        }
    return build_config(merge(config.model_dump(exclude_unset=True), {"data": chosen}))


def identity(plan: SweepPlan, job: Job) -> dict[str, object]:
    """Return the hashes of all that determines a sweep: two with the same hashes have the same rows."""
    panel, config = job.base.panel, job.base.resolved.config
    read = (*_references(job), *(row.symbol for row in job.base.resolved.collateral))
    keys = dataset_keys(job.store, panel, timeframe_ms(str(config.data.timeframe)), read)
    varied = {key: value for key, value in plan.section().items() if key != "holdout"}
    hashes: dict[str, object] = {
        "config": sha256(config_text(plan.config)),
        "sets": sha256(json.dumps(varied, sort_keys=False)),
        "strategy": sha256(registry.source_of(job.strategy)),
        "data": {str(key): job.store.fingerprint(key) for key in keys},
    }
    for name, feature in plan.config.data.features.items():
        hashes[f"feature {name}"] = file_sha256(Path(feature.path))
    if plan.config.data.venue.endswith(".toml"):
        hashes["venue"] = file_sha256(Path(plan.config.data.venue))
    return {**hashes, "all": combined_hash(hashes)}


def symbols_seen(job: Job, tried: Iterable[Mapping[str, ParamValue]] = ()) -> tuple[str, ...]:
    """Return the contracts that are traded or read.

    Parameters
    ----------
    job : Job
        With base parameters.
    tried : iterable of mapping
        Other parameters with which the strategy may read others.
    """
    read = [name for params in ({}, *tried) for name in _references(job, params)]
    return tuple(dict.fromkeys((*job.base.panel.traded_symbols, *read)))


def _references(job: Job, params: Mapping[str, ParamValue] | None = None) -> tuple[str, ...]:
    """Return the symbols that are read and not traded, as far as parameters tell; those of the base by default."""
    config = job.base.resolved.config
    try:
        return references_of(config, job.strategy(**{**job.config.strategy.params, **(params or {})}))
    except BacktesterError:  # refused, as without the values of the axes
        return config.data.reference


_NAMES = {
    "config": "the configuration",
    "sets": "the axes, the filter or the sample",
    "strategy": "the strategy's source",
    "data": "the market data",
    "venue": "the venue's rules",
}


def changed_keys(path: Path, config: RunConfig) -> list[str]:
    """Return the keys of a configuration whose values are others in the file of a sweep, dotted."""
    tree = {name: part for name, part in read_whole_tree(path).items() if name != SECTION}
    one, other = _flat(build_config(tree).model_dump(exclude_none=True)), _flat(config.model_dump(exclude_none=True))
    return [key for key in dict.fromkeys((*one, *other)) if one.get(key) != other.get(key)]


def _flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return found


def differences(one: Mapping[str, object], other: Mapping[str, object], keys: Sequence[str] = ()) -> list[str]:
    """Return in words what differs between two identities; ``keys`` of the configuration are named."""
    named = {**_NAMES, "config": f"{_NAMES['config']} ({', '.join(keys)})"} if keys else _NAMES
    keys = [key for key in dict.fromkeys((*one, *other)) if key != "all" and one.get(key) != other.get(key)]
    return [named.get(key, f"the file of {key}") for key in keys]
