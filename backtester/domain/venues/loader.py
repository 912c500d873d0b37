"""Reads rule packs: shipped ones by name, one's own by path."""

from __future__ import annotations

import functools
import math
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backtester.domain.venues.pack import Figure, RuleBlock, Strict, VenueClearing, VenuePack, VenueRules, day_ms
from backtester.errors import ConfigError, UnknownNameError

_HEAD = ("name", "title", "about", "extends", "exchanges", "spot_exchange", "rules", "clearing")
_FALLBACK = "generic"
_EXCHANGE = re.compile(r"[a-z0-9_]+")


def pack_names() -> list[str]:
    """Return the names of the shipped packs, sorted."""
    folder = resources.files("backtester.domain.venues")
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def load_pack(name: str | Path) -> VenuePack:
    """Return a rule pack.

    Parameters
    ----------
    name : str or Path
        Name of a shipped pack, or the path of a ``.toml`` file of one's own, which may state ``extends`` and then
        only what differs.

    Raises
    ------
    UnknownNameError
        No shipped pack has that name.
    ConfigError
        The file cannot be read, or one of its keys is wrong; names file and key.
    """
    if str(name).endswith(".toml"):
        return _read_file(Path(name))
    return _shipped(str(name))


def pack_for(venue: str) -> tuple[VenuePack, bool]:
    """Return the rules of a venue, and whether they are its own.

    A venue without a pack takes the rules of ``generic`` under its own name; it is an exchange of the data client.

    Parameters
    ----------
    venue : str
        Name of a shipped pack, the path of a ``.toml`` file of one's own, or any other venue's name.

    Raises
    ------
    ConfigError
        The file cannot be read, or one of its keys is wrong; names file and key.
    """
    if venue.endswith(".toml") or venue in pack_names():
        return load_pack(venue), True
    named = {"name": venue, "title": venue, "extends": _FALLBACK, "exchanges": (venue,)}
    return _shipped(_FALLBACK).model_copy(update=named), False


@functools.cache
def _shipped(name: str) -> VenuePack:
    if name not in pack_names():
        error = UnknownNameError("venue", name, pack_names())
        error.hint += " A pack of your own is given as the path of its .toml file."
        raise error
    file = resources.files("backtester.domain.venues") / f"{name}.toml"
    return _parse(file.read_text("utf-8"), f"{name}.toml")


def _read_file(path: Path) -> VenuePack:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such venue file.", f"Shipped: {', '.join(pack_names())}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the venue file cannot be read ({error}).") from error
    return _parse(text, str(path))


def _parse(text: str, file: str) -> VenuePack:
    """Return the pack that ``text`` describes; every rule set that it can produce is validated."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}.") from error
    _known_keys(data, _HEAD, file, "")
    base = _base(data, file)
    own = _blocks(data, "rules", VenueRules, file)
    clearing = _blocks(data, "clearing", VenueClearing, file)
    head = {key: data[key] for key in _HEAD[:-2] if key in data}
    head["exchanges"] = _exchanges(data, base, file)
    head.setdefault("spot_exchange", base.spot_exchange if base else "")
    layers = (*base.blocks, *own) if base else tuple(own)
    try:
        inherited = _clearing_base(data, base)
        pack = VenuePack.model_validate(
            {**head, "file": Path(file).name, "blocks": layers, "clearing": (*inherited, *clearing)}
        )
    except ValidationError as error:
        raise ConfigError(_message(error, file, "")) from error
    _validate_rule_sets(pack, file, len(layers) - len(own))
    _validate_clearing(pack, file)
    return pack


def _blocks(data: dict[str, Any], key: str, model: type[Strict], file: str) -> list[RuleBlock]:
    """Return the dated blocks of one part of a pack."""
    blocks = data.get(key, [])
    if not isinstance(blocks, list) or not all(isinstance(b, dict) for b in blocks):
        raise ConfigError(f"{file}: {key}: must be tables written as [[{key}]].")
    own = [_block(block, f"{key}[{i}]", model, file) for i, block in enumerate(blocks)]
    _dates_ascend(own, key, file)
    return own


def _clearing_base(data: dict[str, Any], base: VenuePack | None) -> tuple[RuleBlock, ...]:
    """Return the clearing rules on which a pack builds: its base's, else those of the generic pack."""
    if base is not None:
        return base.clearing
    return () if data.get("name") == _FALLBACK else _shipped(_FALLBACK).clearing


def _validate_clearing(pack: VenuePack, file: str) -> None:
    """Build the clearing rules of every stretch, so that a wrong value is found on load."""
    for block in pack.clearing:
        try:
            pack.clearing_at(block.start)
        except ValidationError as error:
            raise ConfigError(_message(error, file, "clearing", value=True)) from error


def _base(data: dict[str, Any], file: str) -> VenuePack | None:
    name = data.get("extends")
    if name is None:
        return None
    if name not in pack_names():
        raise UnknownNameError("venue", str(name), pack_names(), f"in {file}: extends")
    return _shipped(name)


def _exchanges(data: dict[str, Any], base: VenuePack | None, file: str) -> tuple[str, ...]:
    """Return the names of the exchanges in the data client, the base's where the file states none."""
    stated = data.get("exchanges")
    if stated is None:
        return base.exchanges if base else ()
    if not isinstance(stated, list) or not all(isinstance(e, str) and _EXCHANGE.fullmatch(e) for e in stated):
        raise ConfigError(
            f"{file}: exchanges: must be a list of ccxt's exchange names (got {stated!r}).",
            'Such as exchanges = ["binanceusdm", "binancecoinm"]; [] where there is none.',
        )
    if len(set(stated)) < len(stated):
        raise ConfigError(f"{file}: exchanges: names one twice (got {stated!r}).")
    return tuple(stated)


def _block(table: dict[str, Any], where: str, model: type[Strict], file: str) -> RuleBlock:
    figures: dict[str, Figure] = {}
    _known_keys(table, ("valid_from", *model.model_fields), file, where)
    for key, value in table.items():
        if key == "valid_from":
            continue
        try:
            figures[key] = Figure.model_validate(value)
        except ValidationError as error:
            raise ConfigError(_message(error, file, f"{where}.{key}")) from error
    try:
        return RuleBlock(valid_from=table.get("valid_from"), figures=figures)
    except ValidationError as error:
        raise ConfigError(_message(error, file, where)) from error


def _dates_ascend(blocks: list[RuleBlock], key: str, file: str) -> None:
    for i in range(1, len(blocks)):
        if blocks[i].start <= blocks[i - 1].start:
            raise ConfigError(f"{file}: {key}[{i}].valid_from: must be later than that of the block before.")


def _validate_rule_sets(pack: VenuePack, file: str, inherited: int) -> None:
    """Build the rules of every stretch between two changes, so that a wrong value is found on load.

    The first ``inherited`` blocks are the base's; the file's own are counted from there.
    """
    for start in [-math.inf, *(day_ms(day) for day in pack.changes())]:
        values = pack.values_at(start)
        missing = [key for key, rule in VenueRules.model_fields.items() if rule.is_required() and key not in values]
        if missing:
            raise ConfigError(
                f"{file}: rules[0].{missing[0]}: missing ({len(missing)} rules in all).",
                'State it in a block without valid_from, or build on a shipped pack: extends = "generic".',
            )
        try:
            rules = VenueRules.model_validate(values)
        except ValidationError as error:
            key = str(error.errors()[0]["loc"][0])
            index = max(i for i, b in enumerate(pack.blocks) if b.start <= start and key in b.figures)
            raise ConfigError(_message(error, file, f"rules[{index - inherited}]", value=True)) from error
        if rules.close_fee != "taker" and not 0 <= float(rules.close_fee) < 1:
            raise ConfigError(f"{file}: close_fee: {rules.close_fee} is not a rate in [0, 1).")


def _known_keys(table: dict[str, Any], known: tuple[str, ...], file: str, where: str) -> None:
    for key in table:
        if key not in known:
            raise ConfigError(*_unknown_key(key, known, file, where))


def _unknown_key(key: str, known: tuple[str, ...], file: str, where: str) -> tuple[str, str]:
    told = UnknownNameError("key", f"{where}.{key}".lstrip("."), known)
    near = UnknownNameError("key", key, known)
    return f"{file}: {told.message}", near.hint


def _message(error: ValidationError, file: str, where: str, *, value: bool = False) -> str:
    """Return the first complaint of pydantic as ``file: key: what``."""
    first = error.errors()[0]
    loc = [str(p) for p in first["loc"] if not str(p).startswith(("float", "literal", "bool", "int", "str"))]
    key = ".".join([where, *loc] if where else loc) + (".value" if value else "")
    given = "" if first["type"] == "missing" else f" (got {first['input']!r:.60})"
    return f"{file}: {key}: {first['msg']}{given}."
