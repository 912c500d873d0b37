"""The run file: TOML to ``RunConfig`` and back, and settings given as ``key=value``."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tomli_w
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from backtester.domain.config import RunConfig
from backtester.errors import ConfigError, UnknownNameError, UsageError, nearest_names

Tree = dict[str, Any]

SEARCH_SECTIONS = ("sweep", "optimize", "walk_forward")
"""Sections in which the file of a search says what it varies; a run leaves them out."""

# What pydantic calls a fault, by its beginning, and what the value must be.
_EXPECTED = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "string": "a text",
    "tuple": "a list",
    "dict": "a table of keys",
    "model": "a table of keys",
    "finite_number": "a finite number",
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "greater than {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "less than {lt:g}",
}


def read_tree(path: Path) -> Tree:
    """Return the content of a run file, not yet checked; of the file of a search what is common to its runs.

    Parameters
    ----------
    path : Path
        TOML file.
    """
    return {key: value for key, value in read_whole_tree(path).items() if key not in SEARCH_SECTIONS}


def read_whole_tree(path: Path) -> Tree:
    """Return the content of a run file with the sections of a search, not yet checked."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The run file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The run file {path} is not valid TOML: {error}.") from error


def parse_setting(text: str, what: str = "--set") -> Tree:
    """Return a setting like ``execution.slippage_bps=2`` as a tree.

    A value that is not TOML is taken as text, so that quotes may be left out.

    Parameters
    ----------
    text : str
        ``key=value``; a key part that holds dots or slashes stands in double quotes.
    what : str
        Option that it comes from, for the message.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"{what} {text!r} is not KEY=VALUE.", f"Example: {what} execution.slippage_bps=2")
    for candidate in (value, json.dumps(value.strip())):
        try:
            return tomllib.loads(f"{key} = {candidate}")
        except tomllib.TOMLDecodeError:
            continue
    raise UsageError(f"{what} {text!r}: the key {key.strip()!r} is not valid.", "Names with dots need double quotes.")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Return two trees as one; where both hold a value, ``over`` wins."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def build_config(tree: Mapping[str, Any]) -> RunConfig:
    """Return the checked configuration.

    Parameters
    ----------
    tree : mapping
        Sections as nested mappings.

    Raises
    ------
    ConfigError, UnknownNameError
        A key does not exist (with the nearest one) or a value is out of bounds.
    """
    try:
        return RunConfig.model_validate(_times_as_text(_own_numbers(tree)))
    except ValidationError as error:
        raise explained(error, RunConfig) from error


def config_text(config: RunConfig) -> str:
    """Return a configuration as TOML; what is None is left out."""
    return tomli_w.dumps(config.model_dump(exclude_none=True))


def parse_time(text: str, key: str) -> int:
    """Return a time as ms since 1970.

    Parameters
    ----------
    text : str
        ``2025-01-31``, ``2025-01-31T08:00`` or with an offset; without one it is UTC.
    key : str
        Where it stands, for the message.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ConfigError(
            f"{key} {text!r} is not a time.", "Write 2025-01-31 or 2025-01-31T08:00; times are UTC."
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def _own_numbers(tree: Mapping[str, Any]) -> Tree:
    """Return the tree with numpy's numbers, which notebooks hold, as Python's own."""
    return {
        key: _own_numbers(value)
        if isinstance(value, Mapping)
        else value.item()
        if isinstance(value, np.generic)
        else value
        for key, value in tree.items()
    }


def _times_as_text(tree: Mapping[str, Any]) -> Tree:
    """Return the tree with TOML's own dates as the text that the configuration holds."""
    written = dict(tree)
    if isinstance(data := tree.get("data"), Mapping):
        written["data"] = _with_text(data)
    if isinstance(rows := tree.get("transfers"), list | tuple):
        written["transfers"] = _rows_with_text(rows)
    if isinstance(events := tree.get("venue_events"), Mapping):
        written["venue_events"] = {
            k: _rows_with_text(v) if isinstance(v, list | tuple) else v for k, v in events.items()
        }
    return written


def _rows_with_text(rows: Iterable[Any]) -> list[Any]:
    return [_with_text(row) if isinstance(row, Mapping) else row for row in rows]


def _with_text(section: Mapping[str, Any]) -> Tree:
    return {k: v.isoformat() if isinstance(v, date | datetime | time) else v for k, v in section.items()}


def explained(error: ValidationError, root: type[BaseModel]) -> UsageError:
    """Return the first fault of a configuration as an error of ours.

    Parameters
    ----------
    error : ValidationError
        What pydantic says.
    root : type of BaseModel
        The model of the whole file.
    """
    fault = error.errors(include_url=False)[0]
    place = [str(part) for part in fault["loc"]]
    key = ".".join(place)
    if fault["type"] == "extra_forbidden":
        homes = _homes(key, root) if len(place) == 1 else []
        hint = f"Did you mean {' or '.join(map(repr, homes))}?" if homes else ""
        return UnknownNameError("key", key, _siblings(place, root), hint=hint)
    if fault["type"] == "literal_error":
        expected = str(fault.get("ctx", {}).get("expected", ""))
        near = nearest_names(
            str(fault["input"]), [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]
        )
        hint = f"Did you mean {near[0]!r}?" if near else ""
        return ConfigError(f"{key} must be {expected}, not {fault['input']!r}.", hint)
    if fault["type"] == "missing":
        return ConfigError(f"{key} must be given.")
    return ConfigError(f"{key} {_problem(fault)}.")


def _problem(fault: ErrorDetails) -> str:
    """Return what a value must be, in plain words."""
    expected = next((words for kind, words in _EXPECTED.items() if fault["type"].startswith(kind)), "")
    if not expected:
        return f"is refused ({fault['msg'].removeprefix('Value error, ')})"
    return f"must be {expected.format(**fault.get('ctx', {}))}, not {fault['input']!r}"


def _homes(key: str, root: type[BaseModel]) -> list[str]:
    """Return the full names of a key that was written without its section."""
    sections = {name: _first_model(field.annotation) for name, field in root.model_fields.items()}
    return [f"{name}.{key}" for name, model in sections.items() if model is not None and key in model.model_fields]


def _siblings(place: list[str], root: type[BaseModel]) -> list[str]:
    """Return the full names of the keys that exist beside an unknown one."""
    model: type[BaseModel] | None = root
    for part in place[:-1]:
        model = _model_below(model, part)
        if model is None:
            return []
    prefix = ".".join(place[:-1])
    return [f"{prefix}.{name}" if prefix else name for name in model.model_fields] if model is not None else []


def _model_below(model: type[BaseModel] | None, part: str) -> type[BaseModel] | None:
    """Return the model of a field; a key of a table of models leads to that model."""
    if model is None:
        return None
    if part not in model.model_fields:
        return model  # a symbol, or a place in a list: the model is already that of the entries
    return _first_model(model.model_fields[part].annotation)


def _first_model(annotation: object) -> type[BaseModel] | None:
    """Return the first model inside an annotation such as ``dict[str, tuple[MarginTier, ...]]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _first_model(inner))), None)
